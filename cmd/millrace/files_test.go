package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/compare"
)

// oddTable makes a file of a case: text, or rows of a structure, written as Parquet.
func oddTable[T any](t *testing.T, name string, rows []T) {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b)
	_, err := w.Write(rows)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, os.WriteFile(name, b.Bytes(), 0o600))
}

func oddText(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
}

// withEmptyGroups puts a row group of no rows, whose chunks lie nowhere, before, between and behind
// the row groups of a Parquet file.
func withEmptyGroups(t *testing.T, name string) {
	t.Helper()
	file, err := os.ReadFile(name)
	require.NoError(t, err)
	size := int(binary.LittleEndian.Uint32(file[len(file)-8:]))
	var meta format.FileMetaData
	require.NoError(t, thrift.Unmarshal(new(thrift.CompactProtocol), file[len(file)-8-size:len(file)-8], &meta))
	empty := format.RowGroup{}
	for _, c := range meta.RowGroups[0].Columns {
		none := format.ColumnChunk{MetaData: c.MetaData}
		none.MetaData.NumValues, none.MetaData.TotalCompressedSize, none.MetaData.TotalUncompressedSize = 0, 0, 0
		none.MetaData.DataPageOffset, none.MetaData.DictionaryPageOffset = 0, 0
		empty.Columns = append(empty.Columns, none)
	}
	groups := []format.RowGroup{empty}
	for _, g := range meta.RowGroups {
		groups = append(groups, g, empty)
	}
	meta.RowGroups = groups
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), &meta)
	require.NoError(t, err)
	out := append(slices.Clone(file[:len(file)-8-size]), footer...)
	out = append(binary.LittleEndian.AppendUint32(out, uint32(len(footer))), "PAR1"...)
	require.NoError(t, os.WriteFile(name, out, 0o600))
}

// lines are n lines of CSV.
func lines(header string, n int, line func(i int) string) string {
	var b strings.Builder
	b.WriteString(header + "\n")
	for i := range n {
		b.WriteString(line(i) + "\n")
	}
	return b.String()
}

// oddFiles are tables of public reports, each made anew, and what is right of them.
var oddFiles = map[string]struct {
	files   func(t *testing.T)
	command string
	code    int
	has     []string // in what it writes, or in its error
	hasNot  []string
}{
	"integers beyond 2^53": {
		// jrothbaum/stata_parquet_io#51, nao1215/filesql#474.
		files: func(t *testing.T) {
			t.Helper()
			type row struct {
				Shard int64  `parquet:"shard"`
				Key   uint64 `parquet:"key"`
			}
			type swapped struct {
				Shard uint64 `parquet:"shard"`
				Key   int64  `parquet:"key"`
			}
			var ref []row
			var cur []swapped
			for i := range 600 {
				r, c := skewed(i), 5-skewed(i)
				ref = append(ref, row{Shard: 1<<60 + int64(r), Key: 1<<62 + uint64(r)})
				cur = append(cur, swapped{Shard: 1<<60 + uint64(c), Key: 1<<62 + int64(c)})
			}
			oddTable(t, "ref.parquet", ref)
			oddTable(t, "cur.parquet", cur)
		},
		command: "drift compare --reference ref.parquet --current cur.parquet --format json",
		has:     []string{`"distinct": 6`, `"1152921504606846977"`, `"4611686018427387909"`, `"share": 1`, `"verdict": "drifted"`},
	},
	"an export of Excel": {
		// pandas-dev/pandas#4793, Rdatatable/data.table#2431.
		files:   semicolons,
		command: "drift compare --reference ref.csv --current cur.csv --delimiter ';'",
		has: []string{
			"NOT JUDGED: 0 of 1 judged column drifted", "1 column could not be compared as it is (größe), which might decide", "stück",
			`column "größe" is left out: it holds numbers, which are text because of "20,50" (--decimal , reads it)`,
		},
	},
	"an export of Excel, as it is": {
		files:   semicolons,
		command: "drift compare --reference ref.csv --current cur.csv --delimiter ';' --decimal ,",
		has:     []string{"NOT DRIFTED: 0 of 2 judged columns drifted", "größe   num"},
		hasNot:  []string{"left out", "Notes"},
	},
	"semicolons without a flag": {
		// Rdatatable/data.table#2431, mholt/PapaParse#153.
		files:   semicolons,
		command: "drift compare --reference ref.csv --current cur.csv",
		code:    1,
		has:     []string{"ref.csv: line 2 has 2 fields, and the first has 1: its lines look like values with ';' between them: --delimiter ';' --decimal ,"},
	},
	"Namibia": {
		// wireservice/csvkit#806, OasisLMF/OasisLMF#307.
		files:   countries,
		command: "drift compare --reference ref.csv --current cur.parquet",
		has:     []string{`ref.csv: column "country": 60 values are read as missing, such as "NA", which text may mean: --na= keeps such words`},
	},
	"Namibia, as it is": {
		files:   countries,
		command: "drift compare --reference ref.csv --current cur.parquet --na=",
		has:     []string{"NOT DRIFTED: 0 of 2 judged columns drifted"},
		hasNot:  []string{"Notes", "missing"},
	},
	"Namibia in quotes": {
		files: func(t *testing.T) {
			t.Helper()
			countries(t)
			text, err := os.ReadFile("ref.csv")
			require.NoError(t, err)
			oddText(t, "ref.csv", strings.ReplaceAll(string(text), "NA,", `"NA",`))
		},
		command: "drift compare --reference ref.csv --current cur.parquet",
		has:     []string{"NOT DRIFTED: 0 of 2 judged columns drifted"},
		hasNot:  []string{"Notes", "missing"},
	},
	"row groups of no rows": {
		// ClickHouse/ClickHouse#107746, apache/parquet-java#2728.
		files: func(t *testing.T) {
			t.Helper()
			type row struct {
				V float64 `parquet:"v"`
				C string  `parquet:"c"`
			}
			var rows []row
			for i := range 80 {
				rows = append(rows, row{float64(i), []string{"a", "b"}[i%2]})
			}
			oddTable(t, "ref.parquet", rows)
			oddTable(t, "cur.parquet", rows)
			withEmptyGroups(t, "ref.parquet")
		},
		command: "drift compare --reference ref.parquet --current cur.parquet",
		has:     []string{"NOT DRIFTED: 0 of 2 judged columns drifted", "reference  ref.parquet, 80 rows", "current    cur.parquet, 80 rows"},
	},
	"Windows-1252": {
		files:   cities,
		command: "drift compare --reference ref.csv --current cur.csv",
		code:    1,
		has:     []string{"cur.csv: line 2 is not UTF-8: the byte 0xf6 is none of it; say what the file is by --encoding, such as windows-1252"},
	},
	"Windows-1252, as it is": {
		files:   cities,
		command: "drift compare --reference ref.csv --current cur.csv --encoding current=windows-1252",
		has:     []string{"NOT DRIFTED: 0 of 2 judged columns drifted"},
		hasNot:  []string{"new categories"},
	},
	"booleans": {
		// AndreaBozzo/dataprof#303, evidentlyai/evidently#48.
		files:   booleans,
		command: "drift compare --reference ref.csv --current cur.parquet",
		has: []string{
			"NOT DRIFTED: 0 of 3 judged columns drifted", "1 column could not be compared as it is (y)", "ok       p", "ok       u", "ok       z", "11.1 % → 11.1 %",
			`column "z" holds integers in ref.csv and booleans in cur.parquet: 1 is taken for true, and 0 for false`,
			`not compared: column "y" holds text such as "no" in ref.csv and booleans in cur.parquet`,
		},
		hasNot: []string{"new categories"},
	},
	"booleans by category": {
		files:   booleans,
		command: "drift compare --reference ref.csv --current cur.parquet --columns y --categorical y",
		has:     []string{`column "y" holds text in ref.csv and booleans in cur.parquet: compared as text`},
	},
	"a JSON array and pandas' columns": {
		// mbostock/ndjson-cli#36.
		files: func(t *testing.T) {
			t.Helper()
			var rows []string
			var a, b []string
			for i := range 100 {
				word := []string{"x", "y"}[i%2]
				rows = append(rows, fmt.Sprintf(" {\n  \"a\": %d,\n  \"b\": %q\n }", i%50, word))
				a, b = append(a, fmt.Sprintf("%q:%d", strconv.Itoa(i), i%50)), append(b, fmt.Sprintf("%q:%q", strconv.Itoa(i), word))
			}
			oddText(t, "ref.json", "[\n"+strings.Join(rows, ",\n")+"\n]\n")
			oddText(t, "cur.json", `{"a":{`+strings.Join(a, ",")+`},"b":{`+strings.Join(b, ",")+`}}`)
		},
		command: "drift compare --reference ref.json --current cur.json",
		has:     []string{"NOT DRIFTED: 0 of 2 judged columns drifted", "reference  ref.json, 100 rows", "current    cur.json, 100 rows"},
	},
	"nine thousand categories": {
		// NannyML/nannyml#292.
		files: func(t *testing.T) {
			t.Helper()
			for side, name := range []string{"ref.csv", "cur.csv"} {
				rng := rand.New(rand.NewPCG(37, uint64(side)))
				oddText(t, name, lines("town", 20_000, func(int) string { return fmt.Sprintf("T%d", rng.IntN(9000)) }))
			}
		},
		command: "drift compare --reference ref.csv --current cur.csv --categorical town --format json",
		has:     []string{`"verdict": "ok"`, `"new_categories_total": `, `"vanished_categories_total": `, `"total": `},
		hasNot:  []string{"NaN"},
	},
	"numbers as people write them": {
		// Rdatatable/data.table#2431.
		files:   written,
		command: "drift compare --reference ref.csv --current cur.csv",
		has: []string{
			"NOT JUDGED: 0 of 1 judged column drifted", "3 columns could not be compared as they are (amount, pct, dash), which might decide", "ok       pad     num",
			`"1,000.50" (--thousands , reads it)`, `"0.5%" (--type pct=float reads it without the unit)`, `"-" (--na default,- takes it for missing)`,
		},
	},
	"numbers as people write them, as they are": {
		files:   written,
		command: "drift compare --reference ref.csv --current cur.csv --thousands , --type pct=float --na default,-",
		has:     []string{"NOT DRIFTED: 0 of 4 judged columns drifted", "ok       amount  num", "ok       pct     num", "ok       dash    num"},
		hasNot:  []string{"Notes"},
	},
	"ids of twenty digits": {
		// nao1215/filesql#476, elastic/kibana#1274.
		files: func(t *testing.T) {
			t.Helper()
			of := func(share ...int) func(i int) string {
				return func(i int) string {
					for k, n := range share {
						if i -= n; i < 0 {
							return fmt.Sprintf("8949000000001234567%d", k)
						}
					}
					return ""
				}
			}
			oddText(t, "ref.csv", lines("acct", 400, of(280, 80, 40)))
			oddText(t, "cur.csv", lines("acct", 400, of(40, 80, 280)))
		},
		command: "drift compare --reference ref.csv --current cur.csv --categorical acct --format json",
		has:     []string{`"89490000000012345670"`, `"89490000000012345672"`, `"distinct": 3`, `"duplicated_rows": 397`, `"verdict": "drifted"`},
	},
	"text beside integers": {
		// molgenis/molgenis-service-armadillo#1029, DOI-USGS/dataretrieval-python#420.
		files: func(t *testing.T) {
			t.Helper()
			type row struct {
				R string `parquet:"r"`
			}
			var rows []row
			for i := range 100 {
				rows = append(rows, row{[]string{"0870", "870"}[i%2]})
			}
			oddText(t, "ref.csv", lines("r", 100, func(int) string { return "870" }))
			oddTable(t, "cur.parquet", rows)
		},
		command: "drift compare --reference ref.csv --current cur.parquet",
		has: []string{
			"DRIFTED: 1 of 1 judged column drifted", "r: new categories 0870, 50 % of the current rows",
			`column "r" holds integers in ref.csv and text in cur.parquet: compared as text, in which 0870 is not 870; --numeric r compares numbers`,
		},
	},
	"floats beside doubles": {
		// pola-rs/polars#17082.
		files: func(t *testing.T) {
			t.Helper()
			type float struct {
				R float32 `parquet:"r"`
			}
			type double struct {
				R float64 `parquet:"r"`
			}
			var floats []float
			var doubles []double
			for i := range 300 {
				floats, doubles = append(floats, float{[]float32{0.1, 0.7}[i%2]}), append(doubles, double{[]float64{0.1, 0.7}[i%2]})
			}
			oddTable(t, "ref.parquet", floats)
			oddTable(t, "cur.parquet", doubles)
		},
		command: "drift compare --reference ref.parquet --current cur.parquet --test psi",
		has: []string{
			"NOT DRIFTED: 0 of 1 judged column drifted",
			`column "r" holds floats of 32 bits in ref.parquet and floats of 64 bits in cur.parquet: compared as floats of 32 bits, which is all that one side has`,
		},
		hasNot: []string{"new categories", "outside"},
	},
}

// skewed is 0 to 5, the lower ones more often.
func skewed(i int) int {
	return []int{0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5}[i*7%20]
}

func semicolons(t *testing.T) {
	t.Helper()
	text := lines(`"größe";"stück"`, 150, func(i int) string { return fmt.Sprintf("%d,%d;%d", 20+i%7, 50+i%47, 10+i*3%20) })
	oddText(t, "ref.csv", "\ufeff"+text)
	oddText(t, "cur.csv", text)
}

func countries(t *testing.T) {
	t.Helper()
	type row struct {
		Country string `parquet:"country"`
		Qty     int64  `parquet:"qty"`
	}
	codes := []string{"NA", "ZA", "BW", "AO", "ZM"}
	var rows []row
	for i := range 300 {
		rows = append(rows, row{codes[i%5], int64(i % 50)})
	}
	oddText(t, "ref.csv", lines("country,qty", 300, func(i int) string { return fmt.Sprintf("%s,%d", rows[i].Country, rows[i].Qty) }))
	oddTable(t, "cur.parquet", rows)
}

func cities(t *testing.T) {
	t.Helper()
	names := []string{"Köln", "Zürich", "Bern"}
	text := lines("stadt,n", 150, func(i int) string { return fmt.Sprintf("%s,%d", names[i%3], i%40) })
	oddText(t, "ref.csv", text)
	oddText(t, "cur.csv", strings.NewReplacer("ö", "\xf6", "ü", "\xfc").Replace(text))
}

func booleans(t *testing.T) {
	t.Helper()
	type row struct {
		P *bool `parquet:"p"`
		U *bool `parquet:"u"`
		Z *bool `parquet:"z"`
		Y *bool `parquet:"y"`
	}
	var rows []row
	text := lines("p,u,z,y", 180, func(i int) string {
		if i%9 == 0 {
			rows = append(rows, row{})
			return ",,,"
		}
		is := i%3 == 0
		rows = append(rows, row{&is, &is, &is, &is})
		if is {
			return "True,TRUE,1,yes"
		}
		return "False,FALSE,0,no"
	})
	oddText(t, "ref.csv", text)
	oddTable(t, "cur.parquet", rows)
}

func written(t *testing.T) {
	t.Helper()
	for side, name := range []string{"ref.csv", "cur.csv"} {
		oddText(t, name, lines("amount,pct,pad,dash", 120, func(i int) string {
			k := (i*37 + side*60) % 120
			dash := "-"
			if i%2 == 1 {
				dash = fmt.Sprintf("0.%03d", k)
			}
			return fmt.Sprintf("\"%d,%03d.50\",%d.5%%, -1.%02d ,%s", 1+k, k*8%1000, k, k*10/12, dash)
		}))
	}
}

// TestFilesAsTheyAre: tables that other programs failed on are compared, or it is said what is to
// be done with them; never is a verdict ok because of what could not be read.
func TestFilesAsTheyAre(t *testing.T) {
	for name, tc := range oddFiles {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			tc.files(t)
			args := strings.Fields(tc.command)
			for i := range args {
				args[i] = strings.Trim(args[i], "'")
			}
			code, stdout, stderr := millrace(t, args...)
			require.Equal(t, tc.code, code, stderr)
			for _, s := range tc.has {
				require.Contains(t, stdout+stderr, s)
			}
			for _, s := range tc.hasNot {
				require.NotContains(t, stdout+stderr, s)
			}
		})
	}
}

// TestConflictsAreAllNamed: columns whose sides differ are all named, in one order, and the others
// are compared; a target of which the sides differ is an error.
func TestConflictsAreAllNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	oddText(t, "a.csv", lines("x,late,size,flag,y", 100, func(i int) string { return fmt.Sprintf("%d,%d,%d,true,%d", i, i%7, i, i%2) }))
	oddText(t, "b.csv", lines("x,late,size,flag,y", 100, func(i int) string { return fmt.Sprintf("%d,%s,big,2024-01-01,no", i, []string{"early", "late"}[i%2]) }))
	var first string
	for range 5 {
		out := must(t, "drift", "compare", "--reference", "a.csv", "--current", "b.csv")
		if first == "" {
			first = out
		}
		require.Equal(t, first, out)
	}
	require.Contains(t, first, "NOT JUDGED: 0 of 1 judged column drifted")
	require.Contains(t, first, "4 columns could not be compared as they are (late, size, flag, 1 more), which might decide")
	for _, name := range []string{"late", "size", "flag", "y"} {
		require.Contains(t, first, fmt.Sprintf("not compared: column %q holds", name))
	}
	var r compare.Result
	require.NoError(t, json.Unmarshal([]byte(must(t, "drift", "compare", "--reference", "a.csv", "--current", "b.csv", "--format", "json")), &r))
	require.Equal(t, []compare.LeftOut{{Column: "late", Reason: "types_differ"}, {Column: "size", Reason: "types_differ"}, {Column: "flag", Reason: "types_differ"}, {Column: "y", Reason: "types_differ"}}, r.LeftOut)
	require.Equal(t, compare.VerdictNotJudged, r.Dataset.Verdict)
	code, _, stderr := millrace(t, "drift", "compare", "--reference", "a.csv", "--current", "b.csv", "--fail-on-drift")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "might decide")
	code, _, stderr = millrace(t, "drift", "compare", "--reference", "a.csv", "--current", "b.csv", "--target", "y", "--prediction", "late")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, `column "late" holds`)
	require.Contains(t, stderr, `column "y" holds`)
}
