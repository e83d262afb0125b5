package dataset_test

import (
	"archive/zip"
	"bytes"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/decimal128"
	"github.com/apache/arrow/go/v15/arrow/float16"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	pq "github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/dataset"
)

func utf16Text(tb testing.TB, order unicode.Endianness, mark unicode.BOMPolicy, text string) string {
	tb.Helper()
	out, err := unicode.UTF16(order, mark).NewEncoder().String(text)
	require.NoError(tb, err)
	return out
}

func utf32Text(tb testing.TB, text string) string {
	tb.Helper()
	out, err := utf32.UTF32(utf32.LittleEndian, utf32.UseBOM).NewEncoder().String(text)
	require.NoError(tb, err)
	return out
}

func zipOf(tb testing.TB, files map[string]string) string {
	tb.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range files {
		f, err := w.Create(name)
		require.NoError(tb, err)
		_, err = f.Write([]byte(text))
		require.NoError(tb, err)
	}
	require.NoError(tb, w.Close())
	return b.String()
}

// TestTextsAsTheyAre: forms of text that programs write and people make.
func TestTextsAsTheyAre(t *testing.T) {
	const rows = "a int64: 1 2\nb utf8: \"x\" \"y\"\n"
	comma := dataset.Options{Delimiter: ';', Decimal: ','}
	for name, tc := range map[string]struct {
		file, content string
		options       dataset.Options
		want          string
	}{
		"array":             {"a.json", `[{"a":1,"b":"x"},{"a":2,"b":"y"}]`, dataset.Options{}, rows},
		"array, indented":   {"a.json", "\xef\xbb\xbf[\n  {\n \"a\": 1,\n \"b\": \"x\"\n },\n {\n \"a\": 2, \"b\": \"y\"} ]\n", dataset.Options{}, rows},
		"array in lines":    {"a.jsonl", "[{\"a\":1,\"b\":\"x\"},\n{\"a\":2,\"b\":\"y\"}]", dataset.Options{}, rows},
		"array of a format": {"a", `[{"a":1,"b":"x"},{"a":2,"b":"y"}]`, dataset.Options{Format: "json"}, rows},
		"objects, indented": {"a.json", "{\n\"a\":1,\n\"b\":\"x\"\n}\n{\"a\":2,\n\"b\":\"y\"}", dataset.Options{}, rows},
		"objects, one line": {"a.json", `{"a":1,"b":"x"}{"a":2,"b":"y"}`, dataset.Options{}, rows},
		"columns":           {"a.json", `{"a":{"0":1,"1":2},"b":{"0":"x","1":"y"}}`, dataset.Options{}, rows},
		"columns, indented": {"a.json", "{\n\"a\":{\n\"7\":1,\"9\":2\n},\n\"b\":{\"7\":\"x\",\"9\":\"y\"}}", dataset.Options{}, rows},
		"columns of lists":  {"a.json", `{"a":[1,2],"b":["x","y"]}`, dataset.Options{}, rows},
		"rows by name":      {"a.json", `{"0":{"a":1,"b":"x"},"1":{"a":2,"b":"y"}}`, dataset.Options{}, rows},
		"rows as data":      {"a.json", `{"schema":{"fields":[]},"data":[{"a":1,"b":"x"},{"a":2,"b":"y"}]}`, dataset.Options{}, rows},
		"an escaped brace":  {"a.json", `[{"a":1,"b":"}\""},{"a":2,"b":"]"}]`, dataset.Options{}, "a int64: 1 2\nb utf8: \"}\\\"\" \"]\"\n"},

		"utf-16 little":         {"a.csv", utf16Text(t, unicode.LittleEndian, unicode.UseBOM, "ä,b\n1,x\n"), dataset.Options{}, "ä int64: 1\nb utf8: \"x\"\n"},
		"utf-16 big":            {"a.csv", utf16Text(t, unicode.BigEndian, unicode.UseBOM, "ä,b\n1,x\n"), dataset.Options{}, "ä int64: 1\nb utf8: \"x\"\n"},
		"utf-16 without a mark": {"a.csv", utf16Text(t, unicode.LittleEndian, unicode.IgnoreBOM, "ä,b\n1,x\n"), dataset.Options{Encoding: "utf-16le"}, "ä int64: 1\nb utf8: \"x\"\n"},
		"utf-32":                {"a.csv", utf32Text(t, "ä,b\n1,x\n"), dataset.Options{}, "ä int64: 1\nb utf8: \"x\"\n"},
		"utf-16 JSON":           {"a.json", utf16Text(t, unicode.LittleEndian, unicode.UseBOM, `[{"a":1}]`), dataset.Options{}, "a int64: 1\n"},
		"windows-1252":          {"a.csv", "a\nK\xf6ln\n\x80\n", dataset.Options{Encoding: "windows-1252"}, "a utf8: \"Köln\" \"€\"\n"},
		"a mark before a name":  {"a.csv", "\xef\xbb\xbfa\nK\xc3\xb6ln\n", dataset.Options{Encoding: "windows-1252"}, "a utf8: \"Köln\"\n"},

		"sep=":                  {"a.csv", "sep=;\r\na;b\r\n1;x\r\n2;y\r\n", dataset.Options{}, rows},
		"sep= beside an option": {"a.csv", "sep=;\na,b\n1,x\n2,y\n", dataset.Options{Delimiter: ','}, rows},
		"delimiter at the end":  {"a.csv", "a,b,\n1,x,\n2,y,\n", dataset.Options{}, rows + "Unnamed: 2 float64: null null\n"},
		"zip":                   {"a.zip", zipOf(t, map[string]string{"deep/a.csv": "a,b\n1,x\n2,y\n"}), dataset.Options{}, rows},
		"zip of lines":          {"a.zip", zipOf(t, map[string]string{"a.jsonl": `{"a":1,"b":"x"}` + "\n" + `{"a":2,"b":"y"}`}), dataset.Options{}, rows},
		"gzip by another name":  {"a.csv", gzipped("a,b\n1,x\n2,y\n"), dataset.Options{}, rows},

		"zeros":                     {"a.csv", "a,b\n0870,00.5\n870,0\n", dataset.Options{}, "a utf8: \"0870\" \"870\"\nb float64: 0.5 0\n"},
		"zeros given as numbers":    {"a.csv", "a\n0870\n870\n", dataset.Options{Types: map[string]arrow.DataType{"a": dataset.Int64}}, "a int64: 870 870\n"},
		"quoted missing words":      {"a.csv", "a,b\n\"NA\",\"NA\"\nx,1\nNA,NA\n\"\",\"\"\n", dataset.Options{}, "a utf8: \"NA\" \"x\" null null\nb int64: null 1 null null\n"},
		"no missing words":          {"a.csv", "a,b\nNA,1\n,2\n", dataset.Options{NA: []string{}}, "a utf8: \"NA\" null\nb int64: 1 2\n"},
		"decimal comma":             {"a.csv", "a;b;c\n1,5;-2;1.5\n,5;+3,0;1,5\n", comma, "a float64: 1.5 0.5\nb float64: -2 3\nc utf8: \"1.5\" \"1,5\"\n"},
		"thousands":                 {"a.csv", "a,b\n\"1,234.50\",\"12,34\"\n\"1,234,567\",1\n", dataset.Options{Thousands: ','}, "a float64: 1234.5 1.234567e+06\nb utf8: \"12,34\" \"1\"\n"},
		"thousands of India":        {"a.csv", "a\n\"12,34,567.5\"\n", dataset.Options{Thousands: ','}, "a float64: 1.2345675e+06\n"},
		"points between thousands":  {"a.csv", "a;b\n1.234,5;1.234\n2;2\n", dataset.Options{Delimiter: ';', Decimal: ',', Thousands: '.'}, "a float64: 1234.5 2\nb int64: 1234 2\n"},
		"spaces between thousands":  {"a.csv", "a\n1\u00a0234\n1\u202f234\n1 234\n", dataset.Options{Thousands: ' '}, "a int64: 1234 1234 1234\n"},
		"apostrophes":               {"a.csv", "a\n1'234\n1’234.5\n", dataset.Options{Thousands: '\''}, "a float64: 1234 1234.5\n"},
		"a minus of typesetters":    {"a.csv", "a;b\n\u22121,5;x\n", comma, "a float64: -1.5\nb utf8: \"x\"\n"},
		"times beside commas":       {"a.csv", "a;b\n2024-01-01 00:00:00.5;1,5\n", comma, "a timestamp: 1704067200500000\nb float64: 1.5\n"},
		"units":                     {"a.csv", "a,b,c\n5 %,€1.50,(2)\n-6%,2 EUR,-$3\n", dataset.Options{Types: map[string]arrow.DataType{"a": dataset.Float64, "b": dataset.Float64, "c": dataset.Int64}}, "a float64: 5 -6\nb float64: 1.5 2\nc int64: -2 -3\n"},
		"large beside fractions":    {"a.csv", "a\n9007199254740993\n1.5\n", dataset.Options{}, "a float64: 9.007199254740992e+15 1.5\n"},
		"gzip of two members":       {"a.csv.gz", gzipped("a,b\n1,x\n") + gzipped("2,y\n"), dataset.Options{}, rows},
		"gzip filled up with zeros": {"a.csv.gz", gzipped("a,b\n1,x\n2,y\n") + strings.Repeat("\x00", 300), dataset.Options{}, rows},
		"JSON by another name":      {"a.csv", `{"a":1,"b":"x"}` + "\n" + `{"a":2,"b":"y"}`, dataset.Options{}, rows},
		"a leap second":             {"a.csv", "a\n2016-12-31T23:59:60Z\n2017-01-01T00:00:00Z\n", dataset.Options{}, "a timestamp: 1483228800000000 1483228800000000\n"},
		"the end of a day":          {"a.csv", "a\n2016-12-31 24:00\n2017-01-01 00:00\n", dataset.Options{}, "a timestamp: 1483228800000000 1483228800000000\n"},
		"no such times":             {"a.csv", "a,b\n2016-12-31 24:01,2016-12-31 23:58:60\n", dataset.Options{}, "a utf8: \"2016-12-31 24:01\"\nb utf8: \"2016-12-31 23:58:60\"\n"},
		"booleans in all spellings": {"a.csv", "a,b\nTrue,TRUE\nfalse,False\n", dataset.Options{}, "a bool: true false\nb bool: true false\n"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, describe(t, open(t, write(t, tc.file, tc.content), tc.options)))
		})
	}
}

// TestRefusalsSayWhatToDo: what cannot be read is named, with its line or the option that reads it.
func TestRefusalsSayWhatToDo(t *testing.T) {
	for name, tc := range map[string]struct {
		file, content string
		options       dataset.Options
		want          string
	}{
		"latin1":                   {"a.csv", "a\nx\n\"K\n\xf6ln\"\n", dataset.Options{}, "line 4 is not UTF-8: the byte 0xf6 is none of it; say what the file is by --encoding, such as windows-1252"},
		"latin1 header":            {"a.csv", "gr\xf6\xdfe\n1\n", dataset.Options{}, "line 1 is not UTF-8: the byte 0xf6 is none of it; say what the file is by --encoding, such as windows-1252"},
		"latin1 JSON":              {"a.jsonl", "{\"a\":1}\n{\"a\":\"\xf6\"}\n", dataset.Options{}, "line 2 is not UTF-8: the byte 0xf6 is none of it; say what the file is by --encoding, such as windows-1252"},
		"latin1 array":             {"a.json", "[\n{\"a\":1},\n{\"a\":\n\"\xf6\"}]", dataset.Options{}, "line 4 is not UTF-8: the byte 0xf6 is none of it; say what the file is by --encoding, such as windows-1252"},
		"latin1 columns":           {"a.json", "{\"a\":{\"0\":\n\"\xf6\"}}", dataset.Options{}, "line 2 is not UTF-8: the byte 0xf6 is none of it; say what the file is by --encoding, such as windows-1252"},
		"zeros":                    {"a.csv", "a\n1\n\x00\n", dataset.Options{}, "line 3 holds a byte of zero, which no text has: it is UTF-16 without a mark (--encoding utf-16le or utf-16be), or was cut or filled up when it was written"},
		"another encoding":         {"a.csv", "a\n1\n\x81\xff\n", dataset.Options{Encoding: "shift_jis"}, "line 3 has bytes that are none of the encoding shift_jis"},
		"no encoding":              {"a.csv", "a\n1\n", dataset.Options{Encoding: "klingon"}, `unknown encoding "klingon": want a name such as windows-1252, iso-8859-15, utf-16le, shift_jis or gb18030`},
		"tabs":                     {"a.csv", "a\tb\n1\t2\n", dataset.Options{}, `its only column is called "a\tb": its lines look like values with '\t' between them: --delimiter '\t', or --delimiter , where that is right`},
		"a comment":                {"a.csv", "# May\na,b\n1,2\n", dataset.Options{}, `line 2 has 2 fields, and the first has 1: is its first line, "# May", the header? Take off what stands before it`},
		"delimiters at the end":    {"a.csv", "a,b\n1,2,\n", dataset.Options{}, "line 2 has 3 fields, and the first has 2: it ends with a delimiter, and the first line does not"},
		"spaces before quotes":     {"a.csv", "a, b\n1, \"x,y\"\n", dataset.Options{}, "line 2 has 3 fields, and the first has 2: a space stands before a quote, which then is none: take the spaces behind delimiters off"},
		"single quotes":            {"a.csv", "a,b\n1,'x,y'\n", dataset.Options{}, "line 2 has 3 fields, and the first has 2: single quotes are no quotes: write double ones"},
		"an end of DOS":            {"a.csv", "a,b\n1,2\n\x1a", dataset.Options{}, "line 3 has 1 field, and the first has 2: it is the mark by which DOS ends files (Ctrl-Z): take it off"},
		"a quote too few":          {"a.csv", "a,b\n\"1,x\n2,y\n\"3,z\"\n", dataset.Options{}, "line 2: a quote opens a value that goes on over lines, and behind the quote that closes it more text stands: one quote is too many, or missing (quotes within a value are doubled)"},
		"gzip twice":               {"a.csv.gz", gzipped(gzipped("a\n1\n")), dataset.Options{}, "what is compressed in it is compressed once more: unpack it once"},
		"gzip and more":            {"a.csv.gz", gzipped("a\n1\n") + "more of it", dataset.Options{}, "line 1: something else stands behind the end of what is compressed: unpack it by gzip -dc, which passes over that"},
		"CSV called JSON":          {"a.json", "a,b\n1,2\n", dataset.Options{}, "its name says jsonl, and its first line looks like CSV: --input-format csv reads it"},
		"CSV called Parquet":       {"a.parquet", "a,b\n1,2\n3,4\n5,6\n", dataset.Options{}, "its name says parquet, and its first line looks like CSV: --input-format csv reads it"},
		"an array of lists":        {"a.json", "[[1,2],[3,4]]", dataset.Options{}, "it is a JSON array of other than objects: its values have no names (pandas: to_json(orient='records'))"},
		"split":                    {"a.json", `{"columns":["a"],"index":[0],"data":[[1]]}`, dataset.Options{}, "line 1: it has its rows as lists, apart from their names, as pandas writes by orient='split': write orient='records'"},
		"columns of other lengths": {"a.json", `{"a":[1,2],"b":[1]}`, dataset.Options{}, "its columns are not of one length: some end after row 1, others do not"},
		"columns of other rows":    {"a.json", `{"a":{"0":1},"b":{"1":1}}`, dataset.Options{}, `column "b" has the row "1" where "a" has "0": columns of one table have the same rows in one order`},
		"a cut array":              {"a.json", `[{"a":1},{"a":`, dataset.Options{}, "line 1: it is not one JSON object after the other"},
		"an array without commas":  {"a.json", `[{"a":1}{"a":2}]`, dataset.Options{}, "line 1: it is not one JSON object after the other"},
		"behind an array":          {"a.json", "[{\"a\":1}]\n[{\"a\":2}]", dataset.Options{}, "line 2: something follows the end of the array"},
		"an empty array":           {"a.json", "[]", dataset.Options{}, "it has no rows"},
		"Excel":                    {"a.xlsx", zipOf(t, map[string]string{"[Content_Types].xml": "x", "xl/workbook.xml": "x"}), dataset.Options{}, "it is a workbook of Excel: save the sheet as CSV, or write it as Parquet"},
		"Excel by another name":    {"a.csv", zipOf(t, map[string]string{"[Content_Types].xml": "x"}), dataset.Options{}, "it is a workbook of Excel: save the sheet as CSV, or write it as Parquet"},
		"OpenDocument":             {"a.ods", zipOf(t, map[string]string{"mimetype": "x"}), dataset.Options{}, "it is an OpenDocument file: save the sheet as CSV"},
		"zip of two":               {"a.zip", zipOf(t, map[string]string{"a.csv": "a\n1\n", "b.csv": "a\n1\n"}), dataset.Options{}, "it is a zip archive of 2 files: unpack it, and name one"},
		"zip of Parquet":           {"a.zip", zipOf(t, map[string]string{"a.parquet": "PAR1...."}), dataset.Options{}, "it is compressed as a whole: unpack it first, since parquet is read in parts"},
		"gzip of Parquet":          {"a.parquet.gz", gzipped("PAR1...."), dataset.Options{}, "it is compressed as a whole: unpack it first, since parquet is read in parts"},
		"gzip of nothing":          {"a.csv.gz", gzipped(""), dataset.Options{}, "it is empty: there is nothing compressed in it"},
		"SQLite":                   {"a.csv", "SQLite format 3\x00....", dataset.Options{}, "it is a SQLite database: what is read is CSV, JSON, Parquet and Arrow"},
		"ORC":                      {"a.orc", "ORC....", dataset.Options{}, "it is an ORC file: what is read is CSV, JSON, Parquet and Arrow"},
		"Avro":                     {"a.avro", "Obj\x01....", dataset.Options{}, "it is an Avro file: what is read is CSV, JSON, Parquet and Arrow"},
		"tar":                      {"a.tar.gz", gzipped("a.csv" + strings.Repeat("\x00", 252) + "ustar\x0000"), dataset.Options{}, "it is a tar archive: what is read is CSV, JSON, Parquet and Arrow"},
		"a web page":               {"a.csv", "<!doctype html>\n<p>Sign in\n", dataset.Options{}, "it is a web page: what is read is CSV, JSON, Parquet and Arrow"},
		"old Feather":              {"a.csv", "FEA1....", dataset.Options{}, "it is Feather of version 1: write it again, with version 2"},
		"one separator for both":   {"a.csv", "a\n1\n", dataset.Options{Decimal: ',', Thousands: ','}, "the decimal point and the separator of thousands are both ','"},
		"a digit":                  {"a.csv", "a\n1\n", dataset.Options{Thousands: '0'}, "the separator of thousands '0' cannot be one within numbers"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, tc.file, tc.content)
			_, err := dataset.Open(t.Context(), path, tc.options)
			require.EqualError(t, err, path+": "+tc.want)
		})
	}
	_, err := dataset.Open(t.Context(), "testdata/*.csv", dataset.Options{})
	require.ErrorContains(t, err, "name one file, since patterns are not expanded")
}

// TestNotesOfReaders: what a reader left out, passed over or took for missing is said.
func TestNotesOfReaders(t *testing.T) {
	notes := func(file, text string, o dataset.Options) []string { return open(t, write(t, file, text), o).Notes() }
	require.Equal(t, []string{`2 blank lines are passed over, since a row of one column that has no value looks like no row: "" is read as a missing value`}, notes("a.csv", "\na\n1\n\n\n2\n\n", dataset.Options{}))
	require.Empty(t, notes("a.csv", "a\n1\n2\n\n\n", dataset.Options{}), "lines at the end are none of the table")
	require.Empty(t, notes("a.csv", "a,b\n1,2\n\n2,3\n", dataset.Options{}))
	require.Equal(t, []string{`2 values are read with the text behind the closing quote, from line 3 on: within a value, quotes are doubled (""), and \" is none`}, notes("a.csv", "a,b\n1,\"x\"\n2,\"y\" z\n3,\"\\\"x\\\"\"\n", dataset.Options{}))
	require.Equal(t, []string{`column "c": 2 values are read as missing, such as "NA", which text may mean: --na= keeps such words`}, notes("a.csv", "c,n\nNA,NA\nZA,1\nnull,2\n\"NA\",3\n,4\n", dataset.Options{}))
	require.Empty(t, notes("a.csv", "c,n\nNA,NA\nZA,1\n", dataset.Options{NA: dataset.DefaultNA}), "it was asked for")
	require.Equal(t, []string{`column "__index_level_0__" is left out: pandas keeps an index without a name in it`}, open(t, "testdata/pandas_index.parquet", dataset.Options{}).Notes())
	for text, want := range map[string]bool{",a\n0,1\n": true, "Unnamed: 0,a\n0,1\n": true, "Unnamed: 0.1,a\n0,1\n": true, "a,\n0,1\n": false, "\"\"\n0\n": false, "id,a\n0,1\n": false} {
		require.Equal(t, want, dataset.Index(open(t, write(t, "a.csv", text), dataset.Options{}).Schema().Field(0)), text)
	}
}

// TestNumericText: a column that is text because of how people write numbers says so, and names
// the option; one of codes does not.
func TestNumericText(t *testing.T) {
	for column, want := range map[string]string{
		"\"21,38\" 7 \"9,5\"":           `numbers, which are text because of "21,38" (--decimal , reads it)`,
		"\"1,234.50\" 950.00 \"2,000\"": `numbers, which are text because of "1,234.50" (--thousands , reads it)`,
		"\"1.234,50\" 99":               `numbers, which are text because of "1.234,50" (--decimal , --thousands . reads it)`,
		"1'234 5":                       `numbers, which are text because of "1'234" (--thousands "'" reads it)`,
		"58.7% 3.1%":                    `numbers, which are text because of "58.7%" (--type n=float reads it without the unit)`,
		"€5 7.5EUR (3.00)":              `numbers, which are text because of "€5" (--type n=float reads it without the unit)`,
		"1 2 3 4 - 6":                   `numbers, which are text because of "-" (--na default,- takes it for missing)`,
		"1 2 3 4 ? 6":                   `numbers, which are text because of "?" (--na 'default,?' takes it for missing)`,
		"1 #DIV/0! 3":                   `numbers, which are text because of "#DIV/0!" (--na 'default,#DIV/0!' takes it for missing)`,
		"1 2 3 4 5 6 seven":             `numbers, which are text because of "seven" (--type n=float takes it for missing, and counts it)`,
		"0870 870":                      `numbers, which are text because of "0870" (--type n=int reads it as a number)`,
		"A1 B2 C3":                      "",
		"3A 12 7 x y z":                 "",
		"10.0.0.1 10.0.0.2":             "",
		"01.02.2024 03.04.2024":         "",
		"12:30 08:15":                   "",
		"a b c":                         "",
		"- - -":                         "",
		"1 2 3":                         "",
	} {
		s := open(t, write(t, "a.csv", "n,m\n"+strings.Join(strings.Fields(column), ",1\n")+",1\n"), dataset.Options{})
		require.Equal(t, want, dataset.NumericText(s.Schema().Field(0)), column)
	}
	s := open(t, write(t, "a.csv", "n\n0870\n0871\n"), dataset.Options{})
	require.True(t, dataset.Declared(s.Schema().Field(0)), "ids with zeros are text, as if they were declared")
	s = open(t, write(t, "a.jsonl", `{"a":"1","b":"x"}`+"\n"+`{"a":2,"b":"2024-01-01"}`), dataset.Options{})
	require.True(t, dataset.Declared(s.Schema().Field(0)))
	s = open(t, write(t, "a.csv", "n\nx\ny\n"), dataset.Options{})
	require.False(t, dataset.Declared(s.Schema().Field(0)))
}

// exactly describes what Exact makes of a source.
func exactly(tb testing.TB, s dataset.Source) string {
	tb.Helper()
	return describe(tb, dataset.Exact(s))
}

// TestExactNumbers: what 64-bit floats round is text of all digits, alike for equal numbers.
func TestExactNumbers(t *testing.T) {
	for name, tc := range map[string]struct{ file, text, want string }{
		"beside a fraction":      {"a.csv", "a\n9007199254740993\n1.50\n-0\n1e3\n\n", "a utf8: \"9007199254740993\" \"1.5\" \"0\" \"1000\"\n"},
		"beyond 64 bits":         {"a.csv", "a,b\n089,18446744073709551616\n1,-1\n", "a utf8: \"089\" \"1\"\nb utf8: \"18446744073709551616\" \"-1\"\n"},
		"with a point":           {"a.csv", "a\n10000000000000000000000001.0\n1\n", "a utf8: \"10000000000000000000000001\" \"1\"\n"},
		"signed beside unsigned": {"a.csv", "a\n18446744073709551615\n-1\nnan\n", "a utf8: \"18446744073709551615\" \"-1\" null\n"},
		"JSON":                   {"a.jsonl", `{"a":9007199254740993}` + "\n" + `{"a":1.5}`, "a utf8: \"9007199254740993\" \"1.5\"\n"},
		"64 bits hold them":      {"a.csv", "a,b\n9007199254740993,18446744073709551615\n", "a int64: 9007199254740993\nb uint64: 18446744073709551615\n"},
		"floats":                 {"a.csv", "a\n0.1234567890123456789\n1e300\n", "a float64: 0.12345678901234568 1e+300\n"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, exactly(t, open(t, write(t, tc.file, tc.text), dataset.Options{})))
		})
	}
	given := open(t, write(t, "a.csv", "a\n9007199254740993\n1.5\n"), dataset.Options{Types: map[string]arrow.DataType{"a": dataset.Float64}})
	require.Equal(t, "a float64: 9.007199254740992e+15 1.5\n", exactly(t, given), "a type that is given stays")

	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: &arrow.Decimal128Type{Precision: 38}},
		{Name: "price", Type: &arrow.Decimal128Type{Precision: 20, Scale: 4}},
		{Name: "small", Type: &arrow.Decimal128Type{Precision: 10, Scale: 2}},
		{Name: "whole", Type: &arrow.Decimal128Type{Precision: 18}},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	huge, _ := new(big.Int).SetString("-12345678901234567890123", 10)
	for i, v := range []decimal128.Num{decimal128.FromBigInt(huge), decimal128.FromI64(12345600), decimal128.FromI64(150), decimal128.FromI64(-90071992547409931)} {
		b.Field(i).(*array.Decimal128Builder).Append(v)
	}
	record := b.NewRecord()
	defer record.Release()
	const plain = "id float64: -1.2345678901234568e+22\nprice float64: 1234.56\nsmall float64: 1.5\nwhole int64: -90071992547409931\n"
	const exact = "id utf8: \"-12345678901234567890123\"\nprice utf8: \"1234.56\"\nsmall float64: 1.5\nwhole int64: -90071992547409931\n"
	for _, path := range []string{writeRecord(t, "a.arrow", record), writeDecimals(t, huge)} {
		s := open(t, path, dataset.Options{})
		require.Equal(t, plain, describe(t, s), path)
		require.Equal(t, exact, exactly(t, s), path)
		require.Equal(t, dataset.NumbersWhole, dataset.ExactNumbers(dataset.Exact(s).Schema().Field(0)))
		require.Equal(t, dataset.NumbersDecimal, dataset.ExactNumbers(dataset.Exact(s).Schema().Field(1)))
		typed := open(t, path, dataset.Options{Types: map[string]arrow.DataType{"id": dataset.Text}})
		require.Contains(t, exactly(t, typed), "price utf8: \"1234.56\"\n")
	}
}

// writeDecimals writes the decimals of TestExactNumbers as Parquet.
func writeDecimals(tb testing.TB, huge *big.Int) string {
	tb.Helper()
	fixed := func(n *big.Int) pq.Value { // two's complement, big-endian
		if n.Sign() < 0 {
			n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), 128))
		}
		return pq.FixedLenByteArrayValue(n.FillBytes(make([]byte, 16)))
	}
	var b bytes.Buffer
	w := pq.NewWriter(&b, pq.NewSchema("decimals", pq.Group{
		"id":    pq.Decimal(0, 38, pq.FixedLenByteArrayType(16)),
		"price": pq.Decimal(4, 20, pq.FixedLenByteArrayType(16)),
		"small": pq.Decimal(2, 10, pq.Int64Type),
		"whole": pq.Decimal(0, 18, pq.FixedLenByteArrayType(16)),
	}))
	row := pq.Row{fixed(huge).Level(0, 0, 0), fixed(big.NewInt(12345600)).Level(0, 0, 1), pq.Int64Value(150).Level(0, 0, 2), fixed(big.NewInt(-90071992547409931)).Level(0, 0, 3)}
	_, err := w.WriteRows([]pq.Row{row})
	require.NoError(tb, err)
	require.NoError(tb, w.Close())
	return write(tb, "a.parquet", b.String())
}

// writeRecord writes a record as an Arrow file, between batches of no rows, and returns its path.
func writeRecord(tb testing.TB, name string, record arrow.Record) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	f, err := os.Create(path)
	require.NoError(tb, err)
	w, err := ipc.NewFileWriter(f, ipc.WithSchema(record.Schema()))
	require.NoError(tb, err)
	empty := record.NewSlice(0, 0)
	defer empty.Release()
	for _, r := range []arrow.Record{empty, record, empty} {
		require.NoError(tb, w.Write(r))
	}
	require.NoError(tb, w.Close())
	require.NoError(tb, f.Close())
	return path
}

// TestFieldsSayWhatTheFileHas: precision, units and declared text of binary formats.
func TestFieldsSayWhatTheFileHas(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "half", Type: arrow.FixedWidthTypes.Float16},
		{Name: "single", Type: arrow.PrimitiveTypes.Float32},
		{Name: "time", Type: arrow.FixedWidthTypes.Time32s},
		{Name: "duration", Type: arrow.FixedWidthTypes.Duration_us},
		{Name: "text", Type: arrow.BinaryTypes.String},
		{Name: "int", Type: arrow.PrimitiveTypes.Int8},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Float16Builder).Append(float16.New(0.5))
	b.Field(1).(*array.Float32Builder).Append(0.1)
	b.Field(2).(*array.Time32Builder).Append(3)
	b.Field(3).(*array.DurationBuilder).Append(4)
	b.Field(4).(*array.StringBuilder).Append("0870")
	b.Field(5).(*array.Int8Builder).Append(5)
	record := b.NewRecord()
	defer record.Release()
	s := open(t, writeRecord(t, "a.arrow", record), dataset.Options{})
	require.Equal(t, "half float32: 0.5\nsingle float32: 0.1\ntime int64: 3\nduration int64: 4\ntext utf8: \"0870\"\nint int64: 5\n", describe(t, s))
	bits, units, declared := []int{16, 32, 64, 64, 0, 64}, []int64{0, 0, 1e9, 1e3, 0, 0}, []bool{false, false, false, false, true, false}
	for i, f := range s.Schema().Fields() {
		require.Equal(t, bits[i], dataset.FloatBits(f), f.Name)
		require.Equal(t, units[i], dataset.Unit(f), f.Name)
		require.Equal(t, declared[i], dataset.Declared(f), f.Name)
	}
}

// TestAppendNumber: the text of a number is the number, and there is one for each.
func TestAppendNumber(t *testing.T) {
	for given, want := range map[string]string{
		"1": "1", "-0": "0", "+007": "7", "1.50": "1.5", ".5": "0.5", "5.": "5", "1e3": "1000", "1.25E+1": "12.5", "12e-4": "0.0012", "-0.00": "0",
		"123456789012345678901234567890.10": "123456789012345678901234567890.1", "1e100": "1e100", "25e-100": "2.5e-99",
	} {
		got, ok := dataset.AppendNumber(nil, []byte(given))
		require.True(t, ok, given)
		require.Equal(t, want, string(got), given)
	}
	got, ok := dataset.AppendNumber(nil, []byte("\t7 "))
	require.True(t, ok)
	require.Equal(t, "7", string(got), "as numbers may have around them")
	for _, given := range []string{"", "x", "1,5", "0x10", "1e", "nan", "-"} {
		_, ok := dataset.AppendNumber(nil, []byte(given))
		require.False(t, ok, given)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		zeros := strings.Repeat("0", rapid.IntRange(0, 5).Draw(t, "zeros"))
		text := big.NewInt(n).String()
		for _, same := range []string{text, text + "." + zeros, text + "." + zeros + "e0", text + zeros + "e-" + string(rune('0'+len(zeros)))} {
			got, ok := dataset.AppendNumber(nil, []byte(same))
			require.True(t, ok, same)
			require.Equal(t, text, string(got), same)
		}
	})
}
