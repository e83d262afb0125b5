package embedded

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseInsert(t *testing.T) {
	for text, want := range map[string]string{ // statement up to FROM INFILE | rest of it | format | rows
		"INSERT INTO t FORMAT CSV 1,2":                          "INSERT INTO t ||CSV|1,2",
		"insert into db.t(a,b)values(1,2)":                      "insert into db.t(a,b)||Values|(1,2)",
		"INSERT INTO t FORMAT Native\n\n\x01":                   "INSERT INTO t ||Native|\n\x01",
		"INSERT INTO t SETTINGS a=1, b='FORMAT x' FORMAT CSV\n": "INSERT INTO t |SETTINGS a=1, b='FORMAT x' |CSV|",
		"INSERT INTO FUNCTION s3('VALUES', $$a'b$$) VALUES (1)": "INSERT INTO FUNCTION s3('VALUES', $$a'b$$) ||Values| (1)",
		"INSERT INTO format (values, format) FORMAT TSV x":      "INSERT INTO format (values, format) ||TSV|x",
		"INSERT INTO t (select, `fo``rmat (`) VALUES":           "INSERT INTO t (select, `fo``rmat (`) ||Values|",
		"/* a /* b */ VALUES */ INSERT INTO t # VALUES\nVALUES": "/* a /* b */ VALUES */ INSERT INTO t # VALUES\n||Values|",
		"INSERT INTO t SELECT 1 FORMAT CSV":                     "",
		"INSERT INTO t (a) ((SELECT 1))":                        "",
		"INSERT INTO t WITH 1 AS x SELECT x":                    "",
		"INSERT INTO t FROM INFILE 'f' FORMAT CSV":              "",
		"INSERT INTO t":                     "",
		"INSERT":                            "",
		"SELECT 'INSERT INTO t VALUES (1)'": "",
		"":                                  "",
	} {
		t.Run(text, func(t *testing.T) {
			got := ""
			if ins, ok := parseInsert(text); ok {
				got = text[:ins.from] + "|" + text[ins.from:ins.end] + "|" + ins.format + "|" + text[ins.data:]
			}
			require.Equal(t, want, got)
		})
	}
}

// INSERT … SELECT … FROM input(…) reads the rows that follow it.
func TestInsertFromInput(t *testing.T) {
	for text, want := range map[string]string{ // what is run | rows
		"INSERT INTO t SELECT * FROM input('a Int8') FORMAT CSV\n1":                                            "INSERT INTO t SELECT * FROM file('/f', CSV, 'a Int8') |1",
		"insert into db.t (a, format) select a, 'input(' from INPUT ( 'a Int8' ) where a format ArrowStream x": "insert into db.t (a, format) select a, 'input(' from file('/f', ArrowStream,  'a Int8' ) where a |x",
		"INSERT INTO t SELECT (SELECT 1 FORMAT CSV), * FROM input('a Int8') SETTINGS b = 1 FORMAT Native ":     "INSERT INTO t SELECT (SELECT 1 FORMAT CSV), * FROM file('/f', Native, 'a Int8') SETTINGS b = 1 |",
		"INSERT INTO t SELECT input FROM u FORMAT CSV":                                                         "",
		"INSERT INTO t SELECT * FROM input('a Int8')":                                                          "",
	} {
		t.Run(text, func(t *testing.T) {
			got := ""
			if ins, ok := parseInsert(text); ok {
				got = ins.statement(text, "/f") + "|" + text[ins.data:]
			}
			require.Equal(t, want, got)
		})
	}
}

func TestOutputFormat(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT 1":                "",
		"SELECT 1 format Native;": "Native",
		"SELECT 1 FORMAT CSV SETTINGS max_threads=1":     "CSV",
		"SELECT format FROM t":                           "",
		"SELECT format('{}', 1) AS format":               "",
		"SELECT * FROM (SELECT 1 FORMAT CSV)":            "",
		"SELECT ' FORMAT CSV' -- FORMAT TSV":             "",
		"SHOW TABLES FORMAT JSONEachRow -- as JSON":      "JSONEachRow",
		"SELECT 1 FORMAT /* which? */ TabSeparatedRaw\n": "TabSeparatedRaw",
	} {
		got, at := outputFormat(text)
		require.Equal(t, want, got, text)
		if want == "" {
			require.Equal(t, len(text), at)
		} else {
			require.True(t, strings.HasPrefix(strings.ToUpper(text[at:]), "FORMAT"), text)
		}
	}
}

func TestCheckExternal(t *testing.T) {
	for _, text := range []string{
		"SELECT * FROM file('/etc/passwd')", "SELECT * FROM FILE /* x */ ('a')", "select * from `file`('a')", `SELECT * FROM "url" ('http://a')`,
		"SELECT * FROM `\\x66ile`('a')", "SELECT // '\n * FROM url('http://a') --'", "SELECT ‘'’, * FROM file('a') --'", "SELECT * FROM file\u00a0('a')",
		"SELECT x'\\', * FROM file('a') --'", "SELECT * FROM s3Cluster('c', 'a')", "SELECT * FROM remoteSecure('h', t)", "SELECT * FROM icebergS3('a')",
		"SELECT 1 INTO OUTFILE 'a'", "SELECT 1 into/**/outfile 'a'", "INSERT INTO t FROM INFILE 'a' FORMAT CSV", "INSERT INTO FUNCTION null('x Int8') SELECT 1",
		"INSERT INTO TABLE FUNCTION null('x Int8') VALUES", "CREATE TABLE a (x Int8) ENGINE = File(CSV)", "CREATE TABLE a (x Int8) ENGINE URL", "CREATE TABLE a ENGINE=`S3`",
		"CREATE DATABASE a ENGINE = Filesystem", "CREATE DICTIONARY d SOURCE(HTTP(url 'a'))", "BACKUP TABLE t TO File('a')", "SELECT file('a')",
		"SELECT * FROM '/etc/passwd'", "SELECT * FROM default.`/etc/passwd`", "SELECT * FROM t, '/etc/passwd'", "SELECT * FROM (SELECT 1), `go.mod`", "DESCRIBE TABLE `a/b`",
		"SELECT 1 FORMAT Template SETTINGS format_template_row = 'a'", "SELECT 1; SELECT * FROM url('a')", "SELECT * FROM {t:Identifier}",
	} {
		var e *exception
		require.ErrorAs(t, checkExternal(text, []string{"/etc/passwd"}), &e, text)
		require.Equal(t, 403, e.status())
	}
	for _, text := range []string{
		"SELECT file, url FROM t WHERE url IN ('a') AND file = 'file(1)' -- url('a')", "SELECT `s3`, \"mysql\" FROM redis", "SELECT 'INTO OUTFILE', $$ file('a') $$ /* file( */",
		"SELECT name FROM system.tables WHERE engine = 'File'", "SELECT a AS \"requests/s\", `a.b`, t.`a.b` FROM d.t, u ORDER BY \"requests/s\"",
		"SELECT * FROM t WHERE path IN ('/a', '/b') AND p = '/a'", "CREATE TABLE t (file String, url String) ENGINE = MergeTree ORDER BY file", "SELECT x'4142', 'größe', {n:String}",
		"SELECT URLHash(url), s3, remote FROM t ARRAY JOIN ['/a', '/b'] AS p", "INSERT INTO t (file, url) VALUES", "SELECT filesystemCapacity() FROM numbers(3), generate_series(1, 2)",
	} {
		require.NoError(t, checkExternal(text, []string{"/etc/passwd"}), text)
	}
}

// Whatever the text, the offsets are in order and inside it.
func FuzzParseInsert(f *testing.F) {
	for _, seed := range []string{"INSERT INTO t SETTINGS a=1 FORMAT CSV 1", "INSERT INTO t($a$'$a$) VALUES", "INSERT INTO `t\\` /*", "'"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		outputFormat(text)
		_ = checkExternal(text, []string{"/"})
		if ins, ok := parseInsert(text); ok && (ins.from < 0 || ins.from > ins.end || ins.end > ins.data || ins.data > len(text) || ins.format == "" ||
			ins.input[0] > ins.input[1] || ins.input[1] > ins.end) {
			t.Fatalf("parseInsert(%q) = %+v", text, ins)
		}
	})
}
