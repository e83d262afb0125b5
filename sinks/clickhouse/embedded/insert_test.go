package embedded

import (
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
		require.Equal(t, want, outputFormat(text), text)
	}
}

// Whatever the text, the offsets are in order and inside it.
func FuzzParseInsert(f *testing.F) {
	for _, seed := range []string{"INSERT INTO t SETTINGS a=1 FORMAT CSV 1", "INSERT INTO t($a$'$a$) VALUES", "INSERT INTO `t\\` /*", "'"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		outputFormat(text)
		if ins, ok := parseInsert(text); ok && (ins.from < 0 || ins.from > ins.end || ins.end > ins.data || ins.data > len(text) || ins.format == "") {
			t.Fatalf("parseInsert(%q) = %+v", text, ins)
		}
	})
}
