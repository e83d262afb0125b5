package dataset_test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/dataset"
)

func write(tb testing.TB, name, content string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	require.NoError(tb, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// describe is a table as text: names with types, and the columns' values.
func describe(tb testing.TB, s dataset.Source) string {
	tb.Helper()
	var b strings.Builder
	columns := all(s)
	for i, v := range values(tb, s, columns...) {
		f := s.Schema().Field(columns[i])
		b.WriteString(f.Name + " " + f.Type.Name() + ": " + strings.Join(v, " ") + "\n")
	}
	return b.String()
}

func TestTexts(t *testing.T) {
	for name, tc := range map[string]struct {
		file, content string
		options       dataset.Options
		want          string
	}{
		"header, types, missing": {"a.csv", "i,f,s,b\n1,1.5,x,true\n,,,\nNA,nan,None,null\n-3,2,\"\",False\n", dataset.Options{}, "i int64: 1 null null -3\nf float64: 1.5 null null 2\ns utf8: \"x\" null null null\nb bool: true null null false\n"},
		"quotes":                 {"a.csv", "a,\"b,\"\"c\"\"\"\n\"x\ny\",\"1\"\n\"p\"q,\"2\"\n", dataset.Options{}, "a utf8: \"x\\ny\" \"pq\"\nb,\"c\" int64: 1 2\n"},
		"quote within a field":   {"a.csv", "a\nx\"y\"\n", dataset.Options{}, "a utf8: \"x\\\"y\\\"\"\n"},
		"crlf, no last line end": {"a.csv", "a,b\r\n1,2\r\n3,4", dataset.Options{}, "a int64: 1 3\nb int64: 2 4\n"},
		"cr only":                {"a.csv", "a,b\r1,2\r3,4\r", dataset.Options{}, "a int64: 1 3\nb int64: 2 4\n"},
		"byte order mark":        {"a.csv", "\xef\xbb\xbf\"a\",b\n1,2\n", dataset.Options{}, "a int64: 1\nb int64: 2\n"},
		"blank lines":            {"a.csv", "\n\na\n1\n\n2\n\n", dataset.Options{}, "a int64: 1 2\n"},
		"quoted blank":           {"a.csv", "a\n1\n\"\"\n2\n", dataset.Options{}, "a int64: 1 null 2\n"},
		"float in the last row":  {"a.csv", "a\n" + strings.Repeat("1\n", 5) + "0.5\n", dataset.Options{BatchRows: 2}, "a float64: 1 1 1 1 1 0.5\n"},
		"text in the last row":   {"a.csv", "a\n1\n007\nx\n", dataset.Options{}, "a utf8: \"1\" \"007\" \"x\"\n"},
		"unsigned":               {"a.csv", "a,b,c\n18446744073709551615,18446744073709551615,18446744073709551616\n0,-1,1\n", dataset.Options{}, "a uint64: 18446744073709551615 0\nb float64: 1.8446744073709552e+19 -1\nc float64: 1.8446744073709552e+19 1\n"},
		"limits of int64":        {"a.csv", "a\n-9223372036854775808\n9223372036854775807\n", dataset.Options{}, "a int64: -9223372036854775808 9223372036854775807\n"},
		"below int64":            {"a.csv", "a\n-9223372036854775809\n", dataset.Options{}, "a float64: -9.223372036854776e+18\n"},
		"infinities":             {"a.csv", "a\ninf\n-Infinity\n1e999\n 2 \n", dataset.Options{}, "a float64: +Inf -Inf +Inf 2\n"},
		"no numbers":             {"a.csv", "a,b,c,d\n0x10,1_000,1e,-\n", dataset.Options{}, "a utf8: \"0x10\"\nb utf8: \"1_000\"\nc utf8: \"1e\"\nd utf8: \"-\"\n"},
		"dates":                  {"a.csv", "d,t,m,x\n1970-01-02,1970-01-01T00:00:01,1970-01-01,2024-02-30\n1969-12-31,1970-01-01 01:00:00.5+01:00,1970-01-01 00:00Z,2024-01-01\n2000-02-29,,,\n", dataset.Options{}, "d date32: 1 -1 11016\nt timestamp: 1000000 500000 null\nm timestamp: 0 0 null\nx utf8: \"2024-02-30\" \"2024-01-01\" null\n"},
		"nothing but missing":    {"a.csv", "a,b\n,1\nNA,2\n", dataset.Options{}, "a float64: null null\nb int64: 1 2\n"},
		"booleans and numbers":   {"a.csv", "a\ntrue\n1\n", dataset.Options{}, "a utf8: \"true\" \"1\"\n"},
		"pandas' index":          {"a.csv", ",a\n0,x\n", dataset.Options{}, "Unnamed: 0 int64: 0\na utf8: \"x\"\n"},
		"semicolon":              {"a.csv", "a;b\n1,5;2\n", dataset.Options{Delimiter: ';'}, "a utf8: \"1,5\"\nb int64: 2\n"},
		"tab":                    {"a.tsv", "a\tb\n1\t2\n", dataset.Options{}, "a int64: 1\nb int64: 2\n"},
		"no header":              {"a.csv", "1,x\n2,y\n", dataset.Options{NoHeader: true}, "column_1 int64: 1 2\ncolumn_2 utf8: \"x\" \"y\"\n"},
		"own missing words":      {"a.csv", "a,b\n-999,NA\n5,x\n", dataset.Options{NA: []string{"-999"}}, "a int64: null 5\nb utf8: \"NA\" \"x\"\n"},
		"no extension":           {"table", "a\n1\n", dataset.Options{}, "a int64: 1\n"},
		"format before name":     {"a.parquet", "a\n1\n", dataset.Options{Format: "csv"}, "a int64: 1\n"},
		"types given": {"a.csv", "i,f,s,b,d,t\n1.0,1,1,1,2024-01-02 23:59:59,2024-01-02\nx,y,2,2,z,w\n1.5,-1,,0,,\n", dataset.Options{Types: map[string]arrow.DataType{
			"i": dataset.Int64, "f": dataset.Float32, "s": dataset.Text, "b": dataset.Boolean, "d": dataset.Date, "t": dataset.Timestamp,
		}}, "i int64: 1 null null\nf float32: 1 null -1\ns utf8: \"1\" \"2\" null\nb bool: true null false\nd date32: 19724 null null\nt timestamp: 1704153600000000 null null\n"},

		"json":                   {"a.jsonl", `{"a":1,"b":"x","c":true}` + "\n\n" + ` { "c" : false , "a" : -2.5e1, "d" : null } ` + "\r\n{}", dataset.Options{}, "a float64: 1 -25 null\nb utf8: \"x\" null null\nc bool: true false null\nd float64: null null null\n"},
		"json escapes":           {"a.ndjson", `{"\u0061\"":"\u00fc\ud83d\ude00\ud83d\n\/"}`, dataset.Options{}, "a\" utf8: \"ü😀\ufffd\\n/\"\n"},
		"json conflicts":         {"a.jsonl", `{"a":1,"b":true,"c":"2024-01-01","d":1}` + "\n" + `{"a":"1","b":0,"c":"2024-01-01T00:00:00Z","d":1.5}`, dataset.Options{}, "a utf8: \"1\" \"1\"\nb utf8: \"true\" \"0\"\nc timestamp: 1704067200000000 1704067200000000\nd float64: 1 1.5\n"},
		"json texts":             {"a.jsonl", `{"a":"12","b":"NA","c":""}`, dataset.Options{}, "a utf8: \"12\"\nb utf8: \"NA\"\nc utf8: \"\"\n"},
		"json key twice":         {"a.jsonl", `{"a":1,"a":2}` + "\n" + `{"b":NaN,"a":Infinity}`, dataset.Options{}, "a float64: 2 +Inf\nb float64: null null\n"},
		"json nested":            {"a.jsonl", `{"a":{"x":["}\"",1]},"b":[],"c":3}`, dataset.Options{}, "c int64: 3\n"},
		"json nested as text":    {"a.jsonl", `{"a":{"x":1}}` + "\n" + `{"a":2}`, dataset.Options{Types: map[string]arrow.DataType{"a": dataset.Text}}, "a utf8: \"{\\\"x\\\":1}\" \"2\"\n"},
		"json without extension": {"rows", " \n{\"a\":1}\n", dataset.Options{}, "a int64: 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, describe(t, open(t, write(t, tc.file, tc.content), tc.options)))
		})
	}
}

func TestTypeErrors(t *testing.T) {
	s := open(t, write(t, "a.csv", "a,b\n1,x\n2,3\nz,y\n,\n"), dataset.Options{Types: map[string]arrow.DataType{"a": dataset.Int64, "b": dataset.Float64}})
	require.Equal(t, []int64{0, 0}, s.TypeErrors())
	values(t, s, 1)
	require.Equal(t, []int64{0, 2}, s.TypeErrors())
	values(t, s, 0, 1)
	values(t, s, 1, 0)
	require.Equal(t, []int64{1, 2}, s.TypeErrors(), "not the sum of scans")

	s = open(t, write(t, "a.jsonl", `{"a":"5"}`+"\n"+`{"a":[1]}`+"\n"+`{"a":"x"}`), dataset.Options{Types: map[string]arrow.DataType{"a": dataset.Int64}})
	require.Equal(t, "a int64: 5 null null\n", describe(t, s))
	require.Equal(t, []int64{2}, s.TypeErrors())
}

func TestRefusals(t *testing.T) {
	types := dataset.Options{Types: map[string]arrow.DataType{"c": dataset.Int64}}
	for name, tc := range map[string]struct {
		file, content string
		options       dataset.Options
		want          string
	}{
		"empty":                {"a.csv", "", dataset.Options{}, "it is empty"},
		"blank":                {"a.csv", "\n\n", dataset.Options{}, "it has neither a header nor rows"},
		"only a mark":          {"a.csv", "\xef\xbb\xbf", dataset.Options{}, "it has neither a header nor rows"},
		"no rows":              {"a.csv", "a,b\n", dataset.Options{}, "it has no rows"},
		"ragged":               {"a.csv", "a,b\n\"1\n\n\",2\n\n3\n", dataset.Options{}, "line 6 has 1 field, and the first has 2"},
		"too many":             {"a.csv", "a\n1\n2,3", dataset.Options{}, "line 3 has 2 fields, and the first has 1"},
		"open quote":           {"a.csv", "a\n1\n\"2\n3\n", dataset.Options{}, "line 3: a quote is not closed before the end of the file"},
		"column twice":         {"a.csv", "a,b,a\n1,2,3\n", dataset.Options{}, `columns 1 and 3 are both called "a": rename one of them`},
		"type of no column":    {"a.csv", "a,b\n1,2\n", types, `a type is given for column "c", which is not there; there are a, b`},
		"odd type":             {"a.csv", "c\n1\n", dataset.Options{Types: map[string]arrow.DataType{"c": arrow.PrimitiveTypes.Int8}}, `column "c" cannot be read as int8`},
		"delimiter":            {"a.csv", "a\n1\n", dataset.Options{Delimiter: '"'}, `the delimiter '"' cannot separate values`},
		"no text":              {"a.pkl", "\x80\x05\x95\x00\x00a,b\n1,2\n", dataset.Options{}, "it is a pickle of Python: what is read is CSV, JSON, Parquet and Arrow"},
		"commas for points":    {"a.csv", "a;b\n1,5;2\n", dataset.Options{}, `line 2 has 2 fields, and the first has 1: its lines look like values with ';' between them: --delimiter ';' --decimal ,`},
		"json over two lines":  {"a.jsonl", "{\"a\":1}\n{\n\"a\":1}", dataset.Options{}, "line 2: it is not one JSON object"},
		"json number":          {"a.jsonl", `{"a":1x}`, dataset.Options{}, "line 1: it is not one JSON object"},
		"json without keys":    {"a.jsonl", "{}\n{}\n", dataset.Options{}, "it has no columns"},
		"json without rows":    {"a.jsonl", "\n", dataset.Options{}, "it has no rows"},
		"other delimiter":      {"a.csv", "a;b\n1;2\n", dataset.Options{}, `its only column is called "a;b": its lines look like values with ';' between them: --delimiter ';', or --delimiter , where that is right`},
		"broken gzip":          {"a.csv.gz", gzipped("a\n" + strings.Repeat("1\n", 100))[:20], dataset.Options{}, "line 1: the file is cut short"},
		"parquet that is none": {"a.parquet", "a,b\n1,2\n3,4\n5,6\n", dataset.Options{}, "its name says parquet, and its first line looks like CSV: --input-format csv reads it"},
		"short parquet":        {"a.parquet", "PAR1", dataset.Options{}, "it has 4 bytes, too few for a Parquet file"},
		"cut parquet":          {"a.parquet", "PAR1 and then nothing more", dataset.Options{}, "it is cut short: a Parquet file ends with PAR1, and this one does not"},
		"parquet footer":       {"a.parquet", "PAR1\xff\xff\xff\xffPAR1", dataset.Options{}, "its footer says that it has 4294967295 bytes, of a file of 12"},
		"parquet metadata":     {"a.parquet", "PAR1\x29\xfc\xff\xff\xff\x0f\x06\x00\x00\x00PAR1", dataset.Options{}, "its footer is broken"},
		"encrypted parquet":    {"a.parquet", "PARE\x00\x00\x00\x00PARE", dataset.Options{}, "it is encrypted, which is not supported"},
		"arrow that is none":   {"a.arrow", "a,b\n1,2\n3,4\n", dataset.Options{}, "its name says arrow, and its first line looks like CSV: --input-format csv reads it"},
		"old feather":          {"a.feather", "FEA1............", dataset.Options{}, "it is Feather of version 1: write it again, with version 2"},
		"cut arrow":            {"a.arrow", "ARROW1\x00\x00\xff\xff\xff\xff", dataset.Options{}, "it is cut short: an Arrow file ends with ARROW1, and this one does not"},
		"arrow claims much":    {"a.arrows", "\xff\xff\xff\xff\xff\xff\xff\x7f", dataset.Options{}, "a message says that its metadata has 2147483647 bytes, at most 67108864 are read"},
		"arrow ends early":     {"a.arrows", "\xff\xff\xff\xff\x80\x00\x00\x00abc", dataset.Options{}, "it is cut short within a message"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, tc.file, tc.content)
			_, err := dataset.Open(t.Context(), path, tc.options)
			require.EqualError(t, err, path+": "+tc.want)
		})
	}
	_, err := dataset.Open(t.Context(), "testdata", dataset.Options{})
	require.EqualError(t, err, "testdata: it is a directory: name a file")
	_, err = dataset.Open(t.Context(), "testdata/none.csv", dataset.Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = dataset.Open(t.Context(), "testdata/table.json", dataset.Options{Format: "xml"})
	require.EqualError(t, err, `unknown format "xml": want one of csv, parquet, arrow, arrows, jsonl`)
	_, err = dataset.ParseType("decimal")
	require.EqualError(t, err, `unknown column type "decimal": want int, uint, float, bool, text, date or timestamp`)
	typ, err := dataset.ParseType("Category")
	require.NoError(t, err)
	require.Equal(t, dataset.Text, typ)
}

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

// TestLongLine reads sparse files of one line of 2 GiB.
func TestLongLine(t *testing.T) {
	for name, want := range map[string]string{"a.csv": "line 1 is longer than 64 MiB", "a.jsonl": "line 1 is longer than 64 MiB"} {
		path := write(t, name, "\"") // a quote, since what follows is then searched fastest
		require.NoError(t, os.Truncate(path, 2<<30))
		_, err := dataset.Open(t.Context(), path, dataset.Options{})
		require.EqualError(t, err, path+": "+want)
	}
}

// TestCSVAsEncodingCSV splits what encoding/csv can read into the same fields, whatever the
// blocks in which it comes.
func TestCSVAsEncodingCSV(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		field := rapid.StringOf(rapid.SampledFrom([]rune{'a', 'ü', '"', ',', '\n', ' ', '1'}))
		columns := rapid.IntRange(1, 5).Draw(t, "columns")
		records := rapid.SliceOfN(rapid.SliceOfN(field, columns, columns), 1, 20).Draw(t, "records")
		var text bytes.Buffer
		w := csv.NewWriter(&text)
		w.UseCRLF = rapid.Bool().Draw(t, "crlf")
		if w.UseCRLF { // it turns line feeds within fields into CRLF
			for _, r := range records {
				for i := range r {
					r[i] = strings.ReplaceAll(r[i], "\n", "")
				}
			}
		}
		var want [][]string
		for _, r := range records {
			if len(r) > 1 || r[0] != "" {
				want = append(want, r)
				require.NoError(t, w.Write(r))
			}
		}
		w.Flush()
		got, err := dataset.SplitCSV(text.Bytes(), rapid.IntRange(1, 40).Draw(t, "block"))
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

// BenchmarkSplit compares with encoding/csv.
func BenchmarkSplit(b *testing.B) {
	text := bytes.Repeat([]byte("2024-01-31,12.75,-3,\"Portland, OR\",some text,0.00012345,17,LAX\n"), 10_000)
	b.Run("dataset", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			require.NoError(b, dataset.CountCSV(text))
		}
	})
	b.Run("encoding_csv", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			r := csv.NewReader(bytes.NewReader(text))
			r.ReuseRecord = true
			for {
				if _, err := r.Read(); err != nil {
					break
				}
			}
		}
	})
}

// TestLongTexts flushes batches early, at a size that does not depend on the rows.
func TestLongTexts(t *testing.T) {
	row := strings.Repeat("x", 1<<20) + "," + strings.Repeat("y", 1<<20) + "\n"
	s := open(t, write(t, "a.csv.gz", gzipped("a,b\n"+strings.Repeat(row, 40))), dataset.Options{})
	var rows []int64
	require.NoError(t, s.Scan(t.Context(), []int{0, 1}, func(r arrow.Record) error {
		rows = append(rows, r.NumRows())
		return nil
	}))
	require.Equal(t, []int64{16, 16, 8}, rows)
}

// TestZoned: what the times of a column say of their zone is known, whatever the format.
func TestZoned(t *testing.T) {
	const all, none, unknown = dataset.ZoneAll, dataset.ZoneNone, dataset.ZoneUnknown
	for text, want := range map[string]dataset.ZoneForm{
		"2024-05-01T00:00:00Z\n2024-05-01 00:00+02": all, "2024-05-01T00:00:00\n2024-05-01 00:00": none, "2024-05-01\n2024-05-02": none,
		"2024-05-01\n2024-05-01T00:00:00": none, "2024-05-01T00:00:00\n2024-05-01T00:00:00Z": unknown, "2024-05-01T00:00:00\nsoon": unknown, "1\n2": unknown,
	} {
		src := open(t, write(t, "a.csv", "at\n"+text+"\n"), dataset.Options{})
		require.Equal(t, want, dataset.Zoned(src.Schema().Field(0)), text)
		lines := strings.Split(text, "\n")
		src = open(t, write(t, "a.jsonl", fmt.Sprintf("{\"at\":%q}\n{\"at\":%q}\n", lines[0], lines[1])), dataset.Options{})
		require.Equal(t, want, dataset.Zoned(src.Schema().Field(0)), text)
	}
}
