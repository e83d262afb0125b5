package compare_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/compare"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file, which only -update creates.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "go test -update makes it")
	require.Equal(t, string(want), string(got))
}

var made = time.Date(2026, 11, 26, 20, 0, 0, 0, time.UTC)

const hostile = `</style><script>alert("x")</script>&amp;`

// example has one of everything.
func example() *compare.Result {
	numeric := compare.Column{
		Column: "delay", Type: compare.TypeNumeric, Stattest: "wasserstein", Score: new(0.2661), Threshold: 0.1, Drifted: true, Verdict: compare.VerdictDrifted,
		Explanation: "wasserstein is 0.2661, at or above its threshold 0.1; the share of values from 20 up fell from 25 % to 10 %.",
		NReference:  4000, NCurrent: 3900, MissingCurrent: 100,
		Bins: compare.Bins{Edges: []float64{-80, -5, 0, 20, 1688}, Reference: []float64{1000, 1000, 1000, 1000}, Current: []float64{1510, 1000, 1000, 390}},
		DataQuality: compare.DataQuality{
			Reference:  compare.SideQuality{Distinct: 535, Infinite: 1, Min: new(-80.0), Max: new(1688.0), Mean: new(6.339), Std: new(30.92), Quantiles: []float64{-30, -21, -8, -1, 10, 59, 140}},
			Current:    compare.SideQuality{Distinct: 506, TypeErrors: 12, Min: new(-95.0), Max: new(1299.0), Mean: new(3.264), Std: new(27.4), Quantiles: []float64{-31, -21, -9, -3, 8, 49, 120}},
			OutOfRange: 2,
		},
		Tests: map[string]compare.Trial{
			"ks":            {Score: new(0.128), PValue: new(0.0), Threshold: 0.05, Drifted: true},
			"psi":           {Score: new(0.0154), Threshold: 0.1},
			"empirical_mmd": {Threshold: 0.05, Error: "more values than it can compare"},
		},
	}
	equal := compare.Column{
		Column: "late_probability", Type: compare.TypeNumeric, Role: "prediction", Stattest: "ks", Score: new(0.0312), PValue: new(0.0084), RawPValue: new(0.0021), EffectSize: new(0.0312),
		Threshold: 0.05, Drifted: true, Verdict: compare.VerdictDrifted, Method: "asymptotic", Sampled: true, Explanation: "ks finds a p-value of 0.0084, below its threshold 0.05.",
		NReference: 1000, NCurrent: 900,
		Bins: compare.Bins{Edges: []float64{0, 0.25, 0.5, 0.75, 1}, Reference: []float64{700, 200, 80, 20}, Current: []float64{600, 200, 80, 20}},
	}
	categories := compare.Column{
		Column: "terminal", Type: compare.TypeCategorical, Stattest: "jensenshannon", Score: new(0.0588), Threshold: 0.1, Verdict: compare.VerdictOK,
		Explanation: "jensenshannon is 0.0588, below its threshold 0.1.", NReference: 4000, NCurrent: 4000,
		Bins: compare.Bins{Categories: []string{"A", "B\nC", hostile, "(other)"}, Reference: []float64{2800, 1195, 0, 5}, Current: []float64{2700, 1200, 100, 0}},
		DataQuality: compare.DataQuality{
			Reference: compare.SideQuality{Distinct: 7}, Current: compare.SideQuality{Distinct: 3},
			NewCategories: []string{hostile}, NewRows: 100, VanishedCategories: []string{"1", "2", "3", "4", "5", "6", ""},
		},
	}
	few := compare.Column{
		Column: hostile, Type: compare.TypeNumeric, Stattest: "wasserstein", Threshold: 0.1, Verdict: compare.VerdictTooFew, Explanation: "Not judged: 3 values, fewer than 30.",
		NReference: 3, NCurrent: 0, MissingReference: 3997, MissingCurrent: 4000,
		DataQuality: compare.DataQuality{Reference: compare.SideQuality{Distinct: 1, Constant: true}, DuplicateOf: "delay"},
	}
	return &compare.Result{
		Reference: compare.Input{Name: "january.parquet", Rows: 4000, DuplicatedRows: new(int64(1204))},
		Current:   compare.Input{Name: "may.parquet", Rows: 4000},
		Dataset:   compare.Dataset{Verdict: compare.VerdictDrifted, Rule: compare.RuleEvidently, Drifted: true, Share: 2.0 / 3, Columns: 3, Threshold: 0.5, Correction: "benjamini-hochberg"},
		Columns:   []compare.Column{few, categories, equal, numeric},
		Multivariate: []compare.Multivariate{
			{
				Method: "pca_reconstruction", Score: 1.184, Reference: new(1.102), Threshold: new(1.0), UpperLimit: new(1.14), Drifted: true, Columns: []string{"delay", "late_probability"}, Rows: 4000,
				Contributions: []compare.Contribution{{Column: "delay", Share: 0.75}, {Column: "late_probability", Share: 0.25}},
			},
			{Method: "energy", Score: 0.0021, PValue: new(0.23), Columns: []string{"delay"}, Rows: 2000},
		},
		Quality: &compare.Quality{Task: "binary", Target: "late", Metrics: []compare.Metric{
			{Metric: "roc_auc", Reference: new(0.8714), Current: new(0.8592), ReferenceInterval: &[2]float64{0.8701, 0.8727}, CurrentInterval: &[2]float64{0.8579, 0.8605}},
			{Metric: "precision", Current: new(0.71)},
		}},
		Segments: []compare.Segment{
			{Segment: "ORD", Dataset: compare.Dataset{Verdict: compare.VerdictDrifted, Rule: compare.RuleEvidently, Drifted: true, Share: 1, Columns: 2, Threshold: 0.5}, Columns: []compare.Column{numeric, equal}},
			{Segment: "DFW", Dataset: compare.Dataset{Verdict: compare.VerdictOK, Rule: compare.RuleRate, Columns: 1, Threshold: 0.5}, Columns: []compare.Column{categories}},
			{Segment: "", Dataset: compare.Dataset{Verdict: compare.VerdictOK, Rule: compare.RuleRate, NotJudged: 1, Threshold: 0.5}, Columns: []compare.Column{few}},
		},
		Notes: []string{"late_probability: compared by a sample of 1,000 values."}, Seed: 42, Version: "1",
	}
}

func table(tb testing.TB, r *compare.Result, colour bool, width int) string {
	tb.Helper()
	var out bytes.Buffer
	require.NoError(tb, compare.WriteTable(&out, r, colour, width))
	return out.String()
}

func page(tb testing.TB, r *compare.Result) string {
	tb.Helper()
	var out bytes.Buffer
	require.NoError(tb, compare.WriteHTML(&out, r, made))
	return out.String()
}

func TestTable(t *testing.T) {
	golden(t, "table.txt", []byte(table(t, example(), false, 0)))
	golden(t, "table80.txt", []byte(table(t, example(), false, 80)))
	coloured := table(t, example(), true, 80)
	require.Contains(t, coloured, "\x1b[31mdrifted\x1b[0m")
	require.Equal(t, table(t, example(), false, 80), regexp.MustCompile("\x1b\\[[0-9]+m").ReplaceAllString(coloured, ""), "colour only repeats")
	empty := table(t, &compare.Result{}, false, 80)
	require.Contains(t, empty, "NOT JUDGED: No column was judged.")
	require.Contains(t, empty, "no columns to compare")
}

func TestTableFitsItsWidth(t *testing.T) {
	r := example()
	r.Reference.Name = strings.Repeat("long/", 100)
	r.Columns[1].Column = strings.Repeat("x", 10_000)
	r.Columns[2].Column = strings.Repeat("列", 500)
	r.Notes = append(r.Notes, strings.Repeat("y", 500))
	r.Segments[0].Segment = strings.Repeat("日本", 100)
	for _, width := range []int{1, 40, 60, 79, 80, 100, 132, 200} {
		for l := range strings.Lines(table(t, r, false, width)) {
			wide := utf8.RuneCountInString(strings.TrimSpace(l)) + strings.Count(l, "列") + strings.Count(l, "日") + strings.Count(l, "本")
			require.LessOrEqual(t, wide, max(width, 40), "width %d: %s", width, l)
		}
	}
	narrow := table(t, r, false, 40)
	require.Contains(t, narrow, "xxx…")
	require.Contains(t, narrow, "SCORE")
}

func TestTableShowsNoControlCharacters(t *testing.T) {
	r := example()
	r.Columns[0].Column = "\x1b[31mred\r\n\u202e"
	r.Notes = []string{"a\x1b]0;title\x07b"}
	text := table(t, r, false, 0)
	require.NotContains(t, text, "\x1b")
	require.Contains(t, text, `\x1b[31mred\r\n\u202e`)
	require.Contains(t, text, `a\x1b]0;title\ab`)
}

func TestWorstFirst(t *testing.T) {
	column := func(name string, score, p *float64, threshold float64, verdict string) compare.Column {
		return compare.Column{Column: name, Stattest: "t", Score: score, PValue: p, Threshold: threshold, Verdict: verdict, Drifted: verdict == compare.VerdictDrifted}
	}
	r := &compare.Result{Columns: []compare.Column{
		column("few", nil, nil, 0.1, compare.VerdictTooFew),
		column("without", new(0.5), nil, 0.1, "not_judged"),
		column("near", new(0.099), nil, 0.1, compare.VerdictOK),
		column("p-ok", new(3.0), new(0.9), 0.05, compare.VerdictOK),
		column("double", new(0.2), nil, 0.1, compare.VerdictDrifted),
		column("p-zero", new(5.0), new(0.0), 0.05, compare.VerdictDrifted),
		column("p-small", new(4.0), new(0.0005), 0.05, compare.VerdictDrifted),
		column("p-zero-greater", new(6.0), new(0.0), 0.05, compare.VerdictDrifted),
		column("no-unit", new(-1.0), nil, 0, compare.VerdictOK),
	}}
	want := []string{"p-zero-greater", "p-zero", "p-small", "double", "near", "p-ok", "no-unit", "without", "few"}
	var got []string
	for l := range strings.Lines(table(t, r, false, 0)) {
		if f := strings.Fields(l); len(f) > 2 && (f[0] == "ok" || f[0] == "drifted") {
			got = append(got, f[1])
		} else if len(f) > 2 && (f[1] == "few" || f[1] == "judged") {
			got = append(got, f[2])
		}
	}
	require.Equal(t, want, got)
	last := -1
	html := page(t, r)
	for _, name := range want {
		at := strings.Index(html, "<bdi>"+name+"</bdi>")
		require.Greater(t, at, last, name)
		last = at
	}
}

func TestJSON(t *testing.T) {
	for _, indent := range []bool{false, true} {
		var out bytes.Buffer
		require.NoError(t, compare.WriteJSON(&out, example(), indent))
		require.Contains(t, out.String(), "</style><script>", "not escaped for HTML")
		require.Equal(t, indent, strings.Contains(out.String(), "\n  "))
		var back compare.Result
		require.NoError(t, json.Unmarshal(out.Bytes(), &back))
		require.Equal(t, 2.0/3, back.Dataset.Share, "all digits")
		var again bytes.Buffer
		require.NoError(t, compare.WriteJSON(&again, &back, indent))
		require.Equal(t, out.String(), again.String())
	}
	var out bytes.Buffer
	require.NoError(t, compare.WriteJSON(&out, &compare.Result{Segments: []compare.Segment{{}}, Multivariate: []compare.Multivariate{{}}, Quality: &compare.Quality{}}, false))
	for _, always := range []string{`"columns":[]`, `"contributions":[]`, `"metrics":[]`} {
		require.Contains(t, out.String(), always)
	}
	require.NotContains(t, out.String(), `"columns":null`)
	out.Reset()
	require.NoError(t, compare.WriteJSON(&out, &compare.Result{Columns: []compare.Column{{}}}, false))
	require.Contains(t, out.String(), `"score":null`)
	require.Contains(t, out.String(), `"bins":{"reference":[],"current":[]}`)
	require.ErrorContains(t, compare.WriteJSON(io.Discard, &compare.Result{Columns: []compare.Column{{Threshold: math.NaN()}}}, false), "as JSON")
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestWritersPassErrorsOn(t *testing.T) {
	require.ErrorContains(t, compare.WriteTable(full{}, example(), false, 0), "write the table of january.parquet and may.parquet: no space left")
	require.ErrorContains(t, compare.WriteHTML(full{}, example(), made), "write the comparison of january.parquet and may.parquet as HTML: no space left")
	require.ErrorContains(t, compare.WriteJSON(full{}, example(), false), "as JSON: no space left")
}

// wellFormed parses a page as XML, which is stricter than HTML, and checks that pictures
// hold only finite numbers.
func wellFormed(t require.TestingT, html string) {
	d := xml.NewDecoder(strings.NewReader(html))
	var pictures int
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		switch e := token.(type) {
		case xml.StartElement:
			require.NotContains(t, []string{"script", "link", "img", "iframe", "object"}, e.Name.Local)
			if e.Name.Local == "svg" {
				pictures++
			}
			for _, a := range e.Attr {
				require.False(t, strings.HasPrefix(a.Name.Local, "on"), "handler %s", a.Name.Local)
				switch a.Name.Local {
				case "href":
					require.Regexp(t, `^#c[0-9]+$`, a.Value)
				case "style":
					require.Regexp(t, `^(left|top):[0-9.]+%$`, a.Value)
				case "x", "y", "width", "height":
					v, err := strconv.ParseFloat(a.Value, 64)
					require.NoError(t, err)
					require.True(t, v >= 0 && v <= 1000, "%s=%s", a.Name.Local, a.Value)
				case "d":
					require.Regexp(t, `^M[0-9. MHVLZ]+$`, a.Value)
				}
			}
		case xml.EndElement:
			if e.Name.Local == "svg" {
				pictures--
			}
		case xml.CharData:
			if pictures > 0 {
				require.NotContains(t, string(e), "NaN")
			}
		}
	}
}

func TestHTML(t *testing.T) {
	html := page(t, example())
	golden(t, "report.html", []byte(html))
	wellFormed(t, html)
	for _, no := range []string{"<script", "http:", "https:", "url(", "@import", "ZgotmplZ", "NaN"} {
		require.NotContains(t, html, no)
	}
	require.Contains(t, html, "&lt;/style&gt;&lt;script&gt;")
	require.Contains(t, html, `B\nC`)
	require.Contains(t, html, "&lt;1e-300")
	wellFormed(t, page(t, &compare.Result{}))
}

// many is a comparison of n columns of 20 bins or 30 categories, without and with long names.
func many(n int, name string) *compare.Result {
	r := &compare.Result{Dataset: compare.Dataset{Verdict: compare.VerdictOK, Rule: compare.RuleRate, Columns: n, Threshold: 0.5}}
	for i := range n {
		c := compare.Column{
			Column: fmt.Sprintf("%s%d", name, i), Type: compare.TypeNumeric, Stattest: "wasserstein", Score: new(1 / float64(i+2)), Threshold: 0.1, Drifted: i < 9, Verdict: compare.VerdictOK,
			Explanation: strings.Repeat("It says what it found. ", 6), NReference: 1000, NCurrent: 1000, MissingCurrent: 30,
		}
		if c.Drifted {
			c.Verdict = compare.VerdictDrifted
		}
		for k := range 30 {
			if i%2 == 0 && k < 20 {
				c.Bins.Edges = append(c.Bins.Edges, float64(k*k)*1.234567)
			} else if i%2 == 1 {
				c.Type, c.Bins.Categories = compare.TypeCategorical, append(c.Bins.Categories, fmt.Sprintf("%s%d", name, k))
			}
			c.Bins.Reference, c.Bins.Current = append(c.Bins.Reference, float64(k*37%11)), append(c.Bins.Current, float64(k*31%17))
		}
		q := compare.SideQuality{Distinct: 500, Min: new(-1.2345678), Max: new(2.3456789), Mean: new(math.Pi), Std: new(math.E), Quantiles: []float64{1, 2, 3, 4, 5, 6, 7}}
		c.DataQuality = compare.DataQuality{Reference: q, Current: q, NewCategories: c.Bins.Categories[:min(20, len(c.Bins.Categories))]}
		r.Columns = append(r.Columns, c)
	}
	return r
}

func TestHTMLIsSmall(t *testing.T) {
	twenty := page(t, many(20, "feature_"))
	require.Less(t, len(twenty), 150_000)
	require.Equal(t, 10, strings.Count(twenty, `role="img"`))
	require.Equal(t, 10, strings.Count(twenty, `class="bars"`))

	thousand := many(1000, "feature_")
	for i := range 200 {
		thousand.Segments = append(thousand.Segments, compare.Segment{Segment: strconv.Itoa(i), Dataset: thousand.Dataset, Columns: thousand.Columns})
	}
	html := page(t, thousand)
	require.Less(t, len(html), 1_000_000)
	require.Equal(t, 30, strings.Count(html, `role="img"`))
	require.Contains(t, html, "The worst 60 of 1000 columns")
	require.Contains(t, html, "The worst 30 of 1000 columns")
	require.Contains(t, html, "The first 20 of 200 segments")
	require.Contains(t, page(t, many(2500, "f")), "The worst 2000 of 2500 columns")

	long := many(100, strings.Repeat("<&>", 3000))
	long.Notes = make([]string, 500)
	for i := range long.Notes {
		long.Notes[i] = strings.Repeat("note ", 10_000)
	}
	html = page(t, long)
	wellFormed(t, html)
	require.Less(t, len(html), 1_500_000)
	require.Contains(t, html, "400 more notes")
}

func TestHTMLOfAnyResult(t *testing.T) {
	weights := rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(0, 1e6), rapid.SampledFrom([]float64{1, 1e-300, 1e300, math.MaxFloat64, -1, math.Inf(1), math.NaN()}))
	values := rapid.OneOf(rapid.Float64Range(-1000, 1000), rapid.SampledFrom([]float64{0, 1, 1, 5e-324, 1e-300, 1e300, -math.MaxFloat64, math.MaxFloat64, math.Inf(1), math.NaN()}))
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", hostile, "a\nb\x00\x1b[0m", "\u202eright to left", "שלום", "\xff\xfe", "]]>", "(other)", strings.Repeat("x", 10_000)}))
	maybe := func(t *rapid.T, name string) *float64 {
		if v := values.Draw(t, name); rapid.Bool().Draw(t, name+" exists") {
			return &v
		}
		return nil
	}
	column := func(t *rapid.T) compare.Column {
		c := compare.Column{
			Column: text.Draw(t, "column"), Type: rapid.SampledFrom([]string{"num", "cat", "?"}).Draw(t, "type"), Stattest: text.Draw(t, "stattest"),
			Score: maybe(t, "score"), PValue: maybe(t, "p"), EffectSize: maybe(t, "effect"), Threshold: values.Draw(t, "threshold"), Drifted: rapid.Bool().Draw(t, "drifted"),
			Verdict: rapid.SampledFrom([]string{"drifted", "ok", "too_few"}).Draw(t, "verdict"), Explanation: text.Draw(t, "explanation"),
			NReference: rapid.Int64Range(0, 1e15).Draw(t, "n"), MissingCurrent: rapid.Int64Range(0, 1e15).Draw(t, "missing"),
		}
		n := rapid.IntRange(0, 130).Draw(t, "cells")
		draw := func(name string, n int) []float64 { return rapid.SliceOfN(weights, n, n).Draw(t, name) }
		c.Bins.Reference, c.Bins.Current = draw("reference", n), draw("current", n)
		switch rapid.IntRange(0, 3).Draw(t, "bins") {
		case 0:
			c.Bins.Edges = rapid.SliceOfN(values, n+1, n+1).Draw(t, "edges")
		case 1: // ascending, as they should be
			edge := -1e3
			for range n + 1 {
				c.Bins.Edges = append(c.Bins.Edges, edge)
				edge += rapid.SampledFrom([]float64{0, 1e-9, 1, 1, 50, 1e6}).Draw(t, "width")
			}
		case 2:
			c.Bins.Categories = rapid.SliceOfN(text, n, n).Draw(t, "categories")
		}
		q := &c.DataQuality
		q.NewCategories, q.DuplicateOf = rapid.SliceOfN(text, 0, 7).Draw(t, "new"), text.Draw(t, "duplicate")
		q.Current.Mean, q.Current.Min, q.Reference.Quantiles = maybe(t, "mean"), maybe(t, "min"), rapid.SliceOfN(values, 0, 8).Draw(t, "quantiles")
		if rapid.Bool().Draw(t, "tests") {
			c.Tests = map[string]compare.Trial{text.Draw(t, "test"): {Score: maybe(t, "score"), PValue: maybe(t, "p"), Threshold: values.Draw(t, "threshold"), Error: text.Draw(t, "error")}}
		}
		return c
	}
	rapid.Check(t, func(t *rapid.T) {
		columns := func(name string) (out []compare.Column) {
			for range rapid.IntRange(0, 3).Draw(t, name) {
				out = append(out, column(t))
			}
			return out
		}
		set := func() compare.Dataset {
			return compare.Dataset{Verdict: compare.VerdictOK, Rule: compare.RuleRate, Share: values.Draw(t, "share"), Columns: rapid.IntRange(0, 3).Draw(t, "judged"), Threshold: values.Draw(t, "threshold"), Correction: text.Draw(t, "correction")}
		}
		r := &compare.Result{
			Reference: compare.Input{Name: text.Draw(t, "name"), Rows: rapid.Int64().Draw(t, "rows")}, Dataset: set(), Columns: columns("columns"), Notes: rapid.SliceOfN(text, 0, 3).Draw(t, "notes"),
			Multivariate: []compare.Multivariate{{
				Method: text.Draw(t, "method"), Score: values.Draw(t, "score"), Threshold: maybe(t, "threshold"), UpperLimit: maybe(t, "upper"),
				Contributions: []compare.Contribution{{Column: text.Draw(t, "column"), Share: values.Draw(t, "share")}},
			}},
			Quality: &compare.Quality{Task: text.Draw(t, "task"), Metrics: []compare.Metric{{
				Metric: text.Draw(t, "metric"), Reference: maybe(t, "reference"), Current: maybe(t, "current"),
				ReferenceInterval: &[2]float64{values.Draw(t, "low"), values.Draw(t, "high")}, CurrentInterval: &[2]float64{values.Draw(t, "low"), values.Draw(t, "high")},
			}}},
			Segments: []compare.Segment{{Segment: text.Draw(t, "segment"), Dataset: set(), Columns: columns("segment columns")}},
		}
		var out bytes.Buffer
		require.NoError(t, compare.WriteHTML(&out, r, made))
		wellFormed(t, out.String())
		require.NotContains(t, out.String(), "<script")
		width := rapid.IntRange(0, 200).Draw(t, "width")
		out.Reset()
		require.NoError(t, compare.WriteTable(&out, r, false, width))
		require.NotContains(t, out.String(), "\x1b")
		require.True(t, utf8.Valid(out.Bytes()))
	})
}

// In every layout, what a bin covers is its share of the values: of both sides to one scale.
func TestHistogramAreasAreShares(t *testing.T) {
	for name, edges := range map[string][]float64{
		"equal":          {0, 10, 20, 30, 40},
		"unequal":        {0, 10, 15, 22, 30},
		"both ends cut":  {-1e6, 0, 1, 2, 1e9},
		"spike":          {0, 1e-9, 5, 10, 20},
		"zero width":     {0, 0, 5, 10, 20},
		"one value":      {7, 7, 7, 7, 7},
		"great numbers":  {-1.7e308, -1, 0, 1, 1.7e308},
		"small numbers":  {0, 1e-310, 2e-310, 3e-310, 9e-310},
		"not finite":     {math.Inf(-1), 0, 1, 2, math.Inf(1)},
		"not ascending":  {0, 3, 1, 2, 4},
		"powers of ten":  {1, 10, 100, 1000, 10_000},
		"a wide first":   {-5000, 0, 1, 2, 3},
		"a wide second":  {0, 1, 500, 501, 502},
		"negative range": {-40, -30, -15, -10, -2},
	} {
		t.Run(name, func(t *testing.T) {
			reference, current := []float64{100, 200, 300, 400}, []float64{1, 2, 0, 1}
			html := page(t, &compare.Result{Columns: []compare.Column{{Bins: compare.Bins{Edges: edges, Reference: reference, Current: current}}}})
			wellFormed(t, html)
			area := func(class string) []float64 {
				m := regexp.MustCompile(`<path class="` + class + `" d="M0 100(.*?)V100Z?"`).FindStringSubmatch(html)
				require.NotNil(t, m)
				var areas []float64
				x := 0.0
				for _, step := range strings.Split(m[1], "V")[1:] {
					y, to, _ := strings.Cut(step, "H")
					high, err := strconv.ParseFloat(y, 64)
					require.NoError(t, err)
					right, err := strconv.ParseFloat(to, 64)
					require.NoError(t, err)
					require.Greater(t, right, x, "every bin has a width")
					areas = append(areas, (100-high)*(right-x))
					x = right
				}
				require.Equal(t, 1000.0, x)
				return areas
			}
			r, c := area("r"), area("c")
			require.Len(t, r, 4)
			scale := (r[0] + r[1] + r[2] + r[3]) / 1000
			for i := range r {
				require.InDelta(t, reference[i]*scale, r[i], 60, "bin %d", i)
				require.InDelta(t, current[i]*250*scale, c[i], 60, "bin %d", i)
			}
		})
	}
}
