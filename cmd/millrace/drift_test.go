package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// table writes a CSV file of rows: a number around mean, a letter, two flags.
func table(t *testing.T, name string, rows int, mean float64) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(len(name)), math.Float64bits(mean)))
	var b strings.Builder
	b.WriteString("x,letter,flag\n")
	for range rows {
		fmt.Fprintf(&b, "%g,%c,%t\n", mean+rng.NormFloat64(), 'a'+rune(rng.IntN(3)), rng.IntN(2) == 0)
	}
	return file(t, name, b.String())
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

type comparison struct {
	Reference struct{ Name string }
	Dataset   struct {
		Drifted bool
		Share   float64
		Columns int
	}
	Columns []struct {
		Column, Type, Stattest, Verdict string
		Score                           *float64
		Drifted                         bool
	}
	Seed uint64
}

func TestDriftCompare(t *testing.T) {
	t.Setenv("MILLRACE_CONFIG", "/nowhere/millrace.yaml") // files need no configuration
	a, b, moved := table(t, "a.csv", 300, 0), table(t, "bb.csv", 300, 0), table(t, "moved.csv", 300, 3)
	text := must(t, "drift", "compare", "--reference", a, "--current", b)
	require.Contains(t, text, "NOT DRIFTED: 0 of 3 judged columns drifted")
	require.NotContains(t, text, "\x1b[", "no colour where there is no terminal")

	var got comparison
	require.NoError(t, json.Unmarshal([]byte(must(t, "drift", "compare", "--reference", a, "--current", moved,
		"--format", "json", "--test", "num=wasserstein", "--threshold", "x=0.2", "--drift-share", "0.3", "--seed", "7")), &got))
	require.Equal(t, a, got.Reference.Name)
	require.True(t, got.Dataset.Drifted)
	require.Equal(t, uint64(7), got.Seed)
	require.Equal(t, "wasserstein", got.Columns[0].Stattest)
	require.InDelta(t, 3, *got.Columns[0].Score, 0.3)
	require.Equal(t, []string{"drifted", "ok", "ok"}, []string{got.Columns[0].Verdict, got.Columns[1].Verdict, got.Columns[2].Verdict})

	report := filepath.Join(t.TempDir(), "report.html")
	code, stdout, stderr := millrace(t, "drift", "compare", "--reference", a, "--current", moved, "-o", report, "--fail-on-drift", "--drift-share", "0.3")
	require.Equal(t, 3, code)
	require.Empty(t, stdout)
	require.Equal(t, "millrace: the data set drifted\n", stderr)
	html, err := os.ReadFile(report)
	require.NoError(t, err)
	require.Contains(t, string(html), "<html")
	entries, err := os.ReadDir(filepath.Dir(report))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing else is left beside the report")
	must(t, "drift", "compare", "--reference", a, "--current", b, "--fail-on-drift", "-o", filepath.Join(filepath.Dir(report), "r.json"))
}

// TestDriftCompareFormats reads one table in every format: none differs from another.
func TestDriftCompareFormats(t *testing.T) {
	dir := filepath.Join("..", "..", "drift", "dataset", "testdata")
	files := []string{"default.parquet", "pages_v2.parquet", "file.arrow", "stream.arrows", "pandas.csv", "pandas.csv.gz", "rows.jsonl.zst", "pandas.feather"}
	for _, name := range files {
		var got comparison
		out := must(t, "drift", "compare", "--reference", filepath.Join(dir, files[0]), "--current", filepath.Join(dir, name), "--format", "json")
		require.NoError(t, json.Unmarshal([]byte(out), &got))
		require.NotEmpty(t, got.Columns, name)
		require.False(t, got.Dataset.Drifted, "%s: %s", name, out)
	}
}

func TestDriftCompareExitCodes(t *testing.T) {
	a, b := table(t, "a.csv", 100, 0), table(t, "bb.csv", 100, 0)
	words := file(t, "words.csv", "x\n"+strings.Repeat("p\nq\n", 50))
	dates := file(t, "dates.csv", "when\n"+strings.Repeat("2024-01-01\n2024-01-02\n", 50))
	broken := file(t, "broken.parquet", "PAR1 and nothing that follows from it PAR1")
	pipe := filepath.Join(t.TempDir(), "pipe.csv")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	for name, tc := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"nothing":             {nil, 2, "--reference: name a file, or give a query with --reference-sql"},
		"one side":            {[]string{"--reference", a}, 2, "--current: name a file"},
		"file and query":      {[]string{"--reference", a, "--current", b, "--current-sql", "SELECT 1"}, 2, "--current and --current-sql: give one of them"},
		"argument":            {[]string{a, b}, 2, "name the files by --reference and --current"},
		"no such flag":        {[]string{"--references", a}, 2, "--references"},
		"no such test":        {[]string{"--reference", a, "--current", b, "--test", "kss"}, 2, `test kss: "kss" is not one of ks`},
		"threshold":           {[]string{"--reference", a, "--current", b, "--threshold", "x=big"}, 2, `"big" is no number from 0`},
		"share":               {[]string{"--reference", a, "--current", b, "--drift-share", "50"}, 2, "drift share: must be above 0 and at most 1, got 50"},
		"rate of 0":           {[]string{"--reference", a, "--current", b, "--rate", "0"}, 2, "--rate: must be above 0 and at most 0.5, got 0"},
		"detectable of 0":     {[]string{"--reference", a, "--current", b, "--detectable", "0"}, 2, "--detectable: must be above 0, got 0"},
		"correction":          {[]string{"--reference", a, "--current", b, "--correction", "fdr"}, 2, `"fdr" is not one of holm, bh, bonferroni, none`},
		"bins":                {[]string{"--reference", a, "--current", b, "--bins", "many"}, 2, "bins many"},
		"memory":              {[]string{"--reference", a, "--current", b, "--memory", "much"}, 2, `"much" is no number of bytes`},
		"format":              {[]string{"--reference", a, "--current", b, "--format", "pdf"}, 2, `--format: "pdf" is not one of table, json, html`},
		"input format":        {[]string{"--reference", a, "--current", b, "--input-format", "xls"}, 2, `--input-format: "xls" is not one of csv`},
		"delimiter":           {[]string{"--reference", a, "--current", b, "--delimiter", "::"}, 2, `--delimiter: "::" is no single character`},
		"no type":             {[]string{"--reference", a, "--current", b, "--type", "x"}, 2, `--type: "x" is not COLUMN=TYPE`},
		"unknown type":        {[]string{"--reference", a, "--current", b, "--type", "x=number"}, 2, `--type x=number: unknown column type "number"`},
		"type of no column":   {[]string{"--reference", a, "--current", b, "--type", "z=int"}, 1, `a.csv: a type is given for column "z", which is not there`},
		"no such file":        {[]string{"--reference", a, "--current", b + "x"}, 1, "bb.csvx"},
		"no such column":      {[]string{"--reference", a, "--current", b, "--columns", "x,y"}, 1, `a.csv has no column "y", which --columns names; it has x, letter, flag`},
		"different types":     {[]string{"--reference", a, "--current", words}, 1, `text such as "p" in ` + words},
		"empty file":          {[]string{"--reference", a, "--current", file(t, "e.csv", "")}, 1, "e.csv"},
		"no rows":             {[]string{"--reference", a, "--current", file(t, "head.csv", "x,letter,flag\n")}, 1, "head.csv: it has no rows"},
		"broken":              {[]string{"--reference", a, "--current", broken}, 1, "broken.parquet"},
		"only missing":        {[]string{"--reference", a, "--current", file(t, "nan.csv", "x\n"+strings.Repeat("NaN\n", 100))}, 1, "no column has values in both"},
		"a pipe":              {[]string{"--reference", a, "--current", pipe}, 1, "pipe.csv: it is no regular file"},
		"output not there":    {[]string{"--reference", a, "--current", b, "-o", filepath.Join(b, "report.json")}, 1, "write the report"},
		"query, no settings":  {[]string{"--reference", a, "--current-sql", "SELECT 1", "--config", "/nowhere.yaml"}, 2, "/nowhere.yaml"},
		"query, no server":    {[]string{"--reference", a, "--current-sql", "SELECT 1", "--set", "clickhouse.addr=127.0.0.1:1"}, 1, "query of the current"},
		"faults are joined":   {[]string{"--reference", a, "--current", b, "--min-rows", "0", "--bins", "x"}, 2, "minimum of rows: must be at least 1, got 0"},
		"times alone":         {[]string{"--reference", dates, "--current", dates}, 1, `column "when" is left out: it holds times`},
		"sigmas alone":        {[]string{"--reference", a, "--current", b, "--calibrate-sigmas", "3"}, 2, "3 sigmas need chunks"},
		"done":                {[]string{"--reference", a, "--current", b, "--fail-on-drift", "--memory", "4GiB", "--delimiter", ","}, 0, ""},
		"drift is no failure": {[]string{"--reference", a, "--current", table(t, "far.csv", 100, 9), "--columns", "x"}, 0, ""},
		"drift":               {[]string{"--reference", a, "--current", table(t, "far.csv", 100, 9), "--columns", "x", "--fail-on-drift"}, 3, "the data set drifted"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := millrace(t, append([]string{"drift", "compare"}, tc.args...)...)
			require.Equal(t, tc.code, code, stderr)
			require.Contains(t, stderr, tc.stderr)
			require.Equal(t, code == 0 || code == 3, stdout != "", stdout)
			require.LessOrEqual(t, strings.Count(stderr, "\n"), 2, stderr)
		})
	}
}

// TestDriftCompareIntoAPipe keeps what is no file, such as /dev/null, from being replaced.
func TestDriftCompareIntoAPipe(t *testing.T) {
	a := table(t, "a.csv", 100, 0)
	pipe := filepath.Join(t.TempDir(), "out")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	end, err := os.OpenFile(pipe, os.O_RDWR, 0) // both ends: neither waits for the other
	require.NoError(t, err)
	defer end.Close()
	must(t, "drift", "compare", "--reference", a, "--current", a, "-o", pipe)
	info, err := os.Lstat(pipe)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeNamedPipe)
	buf := make([]byte, len("NOT DRIFTED:"))
	_, err = end.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "NOT DRIFTED:", string(buf))

	link, report := filepath.Join(t.TempDir(), "link"), file(t, "report.txt", "")
	require.NoError(t, os.Symlink(report, link))
	must(t, "drift", "compare", "--reference", a, "--current", a, "-o", link)
	info, err = os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	text, err := os.ReadFile(report)
	require.NoError(t, err)
	require.Contains(t, string(text), "NOT DRIFTED:")
}

// TestDriftCompareUndecided: where the columns that lost their values might decide, it is no
// success that the others did not drift.
func TestDriftCompareUndecided(t *testing.T) {
	full, half := "x,y\n", "x,y\n"
	for i := range 100 {
		full, half = full+fmt.Sprintf("%d.5,%d.5\n", i, i*i), half+fmt.Sprintf("%d.5,\n", i)
	}
	a, b := file(t, "a.csv", full), file(t, "b.csv", half)
	code, stdout, stderr := millrace(t, "drift", "compare", "--reference", a, "--current", b, "--fail-on-drift")
	require.Equal(t, 1, code)
	require.Contains(t, stdout, "NOT JUDGED: 0 of 1 judged column drifted")
	require.Contains(t, stdout, "- y: no value in the current data")
	require.Contains(t, stderr, "might decide whether the data set drifted")
	must(t, "drift", "compare", "--reference", a, "--current", b, "--fail-on-drift", "--rule", "evidently")
}

// TestDriftCompareTypes: codes that look like numbers are told apart as texts.
func TestDriftCompareTypes(t *testing.T) {
	a, b := file(t, "a.csv", "zip\n"+strings.Repeat("01\n1\n2\n", 40)), file(t, "b.csv", "zip\n"+strings.Repeat("1\n1\n2\n", 40))
	require.Contains(t, must(t, "drift", "compare", "--reference", a, "--current", b, "--type", "zip=int"), "NOT DRIFTED: 0 of 1")
	for _, options := range [][]string{nil, {"--type", "zip=text"}} {
		out := must(t, append([]string{"drift", "compare", "--reference", a, "--current", b}, options...)...)
		require.Contains(t, out, "\nDRIFTED: 1 of 1"[1:])
		require.Contains(t, out, "vanished categories 01")
	}
}
