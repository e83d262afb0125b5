package compare_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/compare"
	"github.com/millrace/millrace/drift/dataset"
)

func normal(seed uint64, n int, mean, std float64) []float64 {
	rng := rand.New(rand.NewPCG(seed, 7))
	out := make([]float64, n)
	for i := range out {
		out[i] = mean + std*rng.NormFloat64()
	}
	return out
}

// letters returns n texts; those of later weights come more often.
func letters(seed uint64, n int, weights ...float64) []string {
	rng := rand.New(rand.NewPCG(seed, 8))
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	out := make([]string, n)
	for i := range out {
		x := rng.Float64() * sum
		k := 0
		for x >= weights[k] {
			x -= weights[k]
			k++
		}
		out[i] = string(rune('a' + k))
	}
	return out
}

func integers(seed uint64, n, levels int) []int64 {
	rng := rand.New(rand.NewPCG(seed, 9))
	out := make([]int64, n)
	for i := range out {
		out[i] = rng.Int64N(int64(levels))
	}
	return out
}

func run(t *testing.T, reference, current dataset.Source, o compare.Options) *compare.Result {
	t.Helper()
	r, err := compare.Compare(t.Context(), reference, current, o)
	require.NoError(t, err)
	return r
}

func column(t *testing.T, r *compare.Result, name string) compare.Column {
	t.Helper()
	for _, c := range r.Columns {
		if c.Column == name {
			return c
		}
	}
	require.Fail(t, "no such column", "%s among %d, notes %q", name, len(r.Columns), r.Notes)
	return compare.Column{}
}

// TestChoice: the test of a column follows from its type, the reference's rows and the
// distinct values of both sides, and may be set, the narrower setting standing.
func TestChoice(t *testing.T) {
	for name, tc := range map[string]struct {
		values    func(seed uint64, n int) any
		n         int
		o         compare.Options
		kind, was string
		threshold float64
	}{
		"small numbers":         {func(s uint64, n int) any { return normal(s, n, 0, 1) }, 1000, compare.Options{}, "num", "ks", 0.05},
		"many numbers":          {func(s uint64, n int) any { return normal(s, n, 0, 1) }, 1001, compare.Options{}, "num", "wasserstein", 0.1},
		"few distinct integers": {func(s uint64, n int) any { return integers(s, n, 5) }, 1000, compare.Options{}, "cat", "chisquare", 0.05},
		"two integers":          {func(s uint64, n int) any { return integers(s, n, 2) }, 1000, compare.Options{}, "cat", "z", 0.05},
		"two of many integers":  {func(s uint64, n int) any { return integers(s, n, 2) }, 1001, compare.Options{}, "cat", "jensenshannon", 0.1},
		"ten integers":          {func(s uint64, n int) any { return integers(s, n, 10) }, 500, compare.Options{}, "cat", "chisquare", 0.05},
		"eleven integers":       {func(s uint64, n int) any { return integers(s, n, 11) }, 500, compare.Options{}, "num", "ks", 0.05},
		"floats of few values": {func(s uint64, n int) any {
			out := make([]float64, n)
			for i, v := range integers(s, n, 4) {
				out[i] = float64(v) / 2
			}
			return out
		}, 900, compare.Options{}, "num", "chisquare", 0.05},
		"texts":         {func(s uint64, n int) any { return letters(s, n, 1, 2, 3) }, 700, compare.Options{}, "cat", "chisquare", 0.05},
		"many texts":    {func(s uint64, n int) any { return letters(s, n, 1, 2, 3) }, 7000, compare.Options{}, "cat", "jensenshannon", 0.1},
		"by all":        {func(s uint64, n int) any { return normal(s, n, 0, 1) }, 700, compare.Options{Tests: []string{"psi"}}, "num", "psi", 0.1},
		"by type":       {func(s uint64, n int) any { return normal(s, n, 0, 1) }, 700, compare.Options{Tests: []string{"num=wasserstein", "psi", "cat=TVD"}, Thresholds: []string{"0.3"}}, "num", "wasserstein", 0.3},
		"by column":     {func(s uint64, n int) any { return normal(s, n, 0, 1) }, 700, compare.Options{Tests: []string{"x=hellinger", "num=wasserstein"}, Thresholds: []string{"num=0.3", "x=0.2"}}, "num", "hellinger", 0.2},
		"declared text": {func(s uint64, n int) any { return integers(s, n, 50) }, 700, compare.Options{Categorical: []string{"x"}}, "cat", "chisquare", 0.05},
		"declared numbers": {func(s uint64, n int) any {
			var out []string
			for _, v := range normal(s, n, 0, 1) {
				out = append(out, fmt.Sprint(v))
			}
			return out
		}, 700, compare.Options{Numeric: []string{"x"}}, "num", "ks", 0.05},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, newTable(t, "a", namedColumn{"x", tc.values(1, tc.n)}), newTable(t, "b", namedColumn{"x", tc.values(2, 600)}), tc.o)
			c := column(t, r, "x")
			require.Equal(t, tc.kind, c.Type)
			require.Equal(t, tc.was, c.Stattest)
			if c.Expected == nil || tc.o.Thresholds != nil {
				require.InDelta(t, tc.threshold, c.Threshold, 0)
			} else { // the score that has the effect
				require.Greater(t, c.Threshold, tc.threshold)
				require.LessOrEqual(t, c.Threshold, tc.threshold+*c.Expected)
			}
			tc.o.Rule = compare.RuleEvidently
			c = column(t, run(t, newTable(t, "a", namedColumn{"x", tc.values(1, tc.n)}), newTable(t, "b", namedColumn{"x", tc.values(2, 600)}), tc.o), "x")
			require.InDelta(t, tc.threshold, c.Threshold, 0)
			require.NotNil(t, c.Score, c.Explanation)
			require.False(t, c.Drifted, c.Explanation)
			require.Equal(t, compare.VerdictOK, c.Verdict)
			require.Equal(t, int64(tc.n), c.NReference)
			require.Equal(t, int64(600), c.NCurrent)
			rows := 0.0
			for _, n := range c.Bins.Reference {
				rows += n
			}
			require.InDelta(t, float64(tc.n), rows, 0)
			require.Len(t, c.Bins.Current, len(c.Bins.Reference))
		})
	}
}

func TestDatasetVerdict(t *testing.T) {
	reference := newTable(t, "a", namedColumn{"x", normal(1, 500, 0, 1)}, namedColumn{"y", normal(2, 500, 0, 1)}, namedColumn{"z", letters(3, 500, 1, 1)})
	current := newTable(t, "b", namedColumn{"x", normal(4, 500, 1, 1)}, namedColumn{"y", normal(5, 500, 0, 1)}, namedColumn{"z", letters(6, 500, 1, 4)})
	r := run(t, reference, current, compare.Options{})
	byRate := compare.Dataset{
		Drifted: true, Verdict: compare.VerdictDrifted, Share: 2.0 / 3, Columns: 3, Threshold: 0.5,
		Rule: compare.RuleRate, Rate: new(0.05), Effect: new(0.1), Detectable: new(0.5), Correction: "holm",
	}
	require.Equal(t, byRate, r.Dataset)
	require.Equal(t, []string{"x", "y", "z"}, []string{r.Columns[0].Column, r.Columns[1].Column, r.Columns[2].Column})
	require.Equal(t, []bool{true, false, true}, []bool{r.Columns[0].Drifted, r.Columns[1].Drifted, r.Columns[2].Drifted})
	require.False(t, run(t, reference, current, compare.Options{DriftShare: new(0.7)}).Dataset.Drifted)
	require.True(t, run(t, reference, current, compare.Options{DriftShare: new(2.0 / 3)}).Dataset.Drifted)
	r = run(t, reference, current, compare.Options{Columns: []string{"y"}})
	byRate.Drifted, byRate.Verdict, byRate.Share, byRate.Columns = false, compare.VerdictOK, 0, 1
	require.Equal(t, byRate, r.Dataset)
	r = run(t, reference, current, compare.Options{Rule: compare.RuleEvidently})
	require.Equal(t, compare.Dataset{Drifted: true, Verdict: compare.VerdictDrifted, Share: 2.0 / 3, Columns: 3, Threshold: 0.5, Rule: compare.RuleEvidently}, r.Dataset)
	r = run(t, reference, current, compare.Options{Ignore: []string{"x", "z"}})
	require.Len(t, r.Columns, 1)
}

// TestCorrection: p-values are adjusted over the columns that have one, and only these.
func TestCorrection(t *testing.T) {
	var a, b []namedColumn
	for i := range 20 {
		mean := 0.0
		if i == 0 {
			mean = 1
		}
		a = append(a, namedColumn{fmt.Sprintf("f%02d", i), normal(uint64(i), 300, 0, 1)})
		b = append(b, namedColumn{fmt.Sprintf("f%02d", i), normal(uint64(100+i), 300, mean, 1)})
	}
	reference, current := newTable(t, "a", a...), newTable(t, "b", b...)
	evidently := compare.Options{Rule: compare.RuleEvidently, Tests: []string{"f19=wasserstein"}}
	plain := run(t, reference, current, evidently)
	for _, method := range []string{"bonferroni", "bh"} {
		evidently.Correction = method
		r := run(t, reference, current, evidently)
		require.Equal(t, method, r.Dataset.Correction)
		var raw []float64
		for i, c := range r.Columns {
			if c.Stattest == "wasserstein" {
				require.Nil(t, c.PValue)
				require.Nil(t, c.RawPValue)
				continue
			}
			require.InDelta(t, *plain.Columns[i].PValue, *c.RawPValue, 0)
			raw = append(raw, *c.RawPValue)
			require.Equal(t, *c.PValue < 0.05, c.Drifted)
			require.Contains(t, c.Explanation, "corrected p-value")
		}
		require.Len(t, raw, 19)
		slices.Sort(raw)
		for _, c := range r.Columns[:19] {
			want := min(*c.RawPValue*19, 1)
			if method == "bh" {
				want = 1
				for k := slices.Index(raw, *c.RawPValue); k < len(raw); k++ {
					want = min(want, raw[k]*19/float64(k+1))
				}
			}
			require.InEpsilon(t, want, *c.PValue, 1e-12)
		}
		require.True(t, r.Columns[0].Drifted)
	}
}

func TestTooFewAndOnlyMissing(t *testing.T) {
	nan := math.NaN()
	missing := slices.Repeat([]float64{nan}, 100)
	some := append(normal(1, 29, 0, 1), missing[:71]...)
	reference := newTable(t, "a.csv", namedColumn{"x", normal(1, 100, 0, 1)}, namedColumn{"few", normal(2, 100, 0, 1)}, namedColumn{"none", normal(3, 100, 0, 1)})
	current := newTable(t, "b.csv", namedColumn{"x", normal(4, 100, 0, 1)}, namedColumn{"few", some}, namedColumn{"none", missing})
	r := run(t, reference, current, compare.Options{})
	require.Equal(t, 1, r.Dataset.Columns)
	for _, name := range []string{"few", "none"} {
		c := column(t, r, name)
		require.Equal(t, compare.VerdictTooFew, c.Verdict)
		require.Nil(t, c.Score)
		require.False(t, c.Drifted)
	}
	require.Equal(t, "Not judged: 29 values of the current data; at least 30 are needed on each side.", column(t, r, "few").Explanation)
	require.Equal(t, "Not judged: no value in the current data, where all 100 rows are missing; at least 30 are needed on each side.", column(t, r, "none").Explanation)
	require.NotNil(t, column(t, run(t, reference, current, compare.Options{MinRows: new(29)}), "few").Score)

	_, err := compare.Compare(t.Context(), reference, current, compare.Options{Columns: []string{"x", "none"}})
	require.EqualError(t, err, `column "none" has no value in b.csv: all 100 rows are missing; leave it out of --columns`)
	_, err = compare.Compare(t.Context(), newTable(t, "a.csv", namedColumn{"x", missing}), current, compare.Options{})
	require.EqualError(t, err, "no column has values in both a.csv and b.csv: every value is missing on one side at least")
}

func TestInfiniteValuesAreLeftOutAndCounted(t *testing.T) {
	inf := math.Inf(1)
	x := append(normal(1, 100, 0, 1), inf, -inf, inf, math.NaN())
	r := run(t, newTable(t, "a", namedColumn{"x", x}), newTable(t, "b", namedColumn{"x", normal(2, 100, 0, 1)}), compare.Options{})
	c := column(t, r, "x")
	require.Equal(t, int64(3), c.DataQuality.Reference.Infinite)
	require.Equal(t, int64(1), c.MissingReference)
	require.Equal(t, int64(100), c.NReference)
	clean := column(t, run(t, newTable(t, "a", namedColumn{"x", x[:100]}), newTable(t, "b", namedColumn{"x", normal(2, 100, 0, 1)}), compare.Options{}), "x")
	require.Equal(t, clean.Score, c.Score)
}

func TestDataQuality(t *testing.T) {
	n := 200
	x := normal(1, n, 0, 1)
	half := make([]float64, n)
	for i := range half {
		half[i] = float64(i % 2)
	}
	reference := newTable(t, "a",
		namedColumn{"x", x}, namedColumn{"twin", x}, namedColumn{"c", letters(2, n, 1, 2, 3)},
		namedColumn{"one", slices.Repeat([]float64{5}, n)}, namedColumn{"half", half})
	// The current side repeats its first 100 rows.
	y := normal(3, n, 0, 1)
	copy(y[100:], y[:100])
	y[0], y[100] = 50, 50
	c := letters(4, n, 0, 2, 3, 1)
	copy(c[100:], c[:100])
	current := newTable(t, "b",
		namedColumn{"x", y}, namedColumn{"twin", y}, namedColumn{"c", c},
		namedColumn{"one", slices.Repeat([]float64{5}, n)}, namedColumn{"half", half})
	r := run(t, reference, current, compare.Options{})
	require.Equal(t, int64(0), *r.Reference.DuplicatedRows)
	require.Equal(t, int64(100), *r.Current.DuplicatedRows)
	require.Equal(t, "x", column(t, r, "twin").DataQuality.DuplicateOf)
	require.Empty(t, column(t, r, "x").DataQuality.DuplicateOf)
	q := column(t, r, "c").DataQuality
	require.Equal(t, []string{"d"}, q.NewCategories)
	require.Equal(t, []string{"a"}, q.VanishedCategories)
	fresh := int64(0)
	for _, v := range c {
		if v == "d" {
			fresh++
		}
	}
	require.Equal(t, fresh, q.NewRows)
	require.Equal(t, int64(3), q.Reference.Distinct)
	require.True(t, column(t, r, "one").DataQuality.Reference.Constant)
	require.False(t, column(t, r, "x").DataQuality.Reference.Constant)
	q = column(t, r, "x").DataQuality
	outside := int64(0)
	for _, v := range y {
		if v < slices.Min(x) || v > slices.Max(x) {
			outside++
		}
	}
	require.Equal(t, outside, q.OutOfRange)
	require.InDelta(t, 50, *q.Current.Max, 0)
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	require.InEpsilon(t, sum/200, *q.Reference.Mean, 1e-12)
	sorted := slices.Sorted(slices.Values(x))
	require.InEpsilon(t, (sorted[99]+sorted[100])/2, q.Reference.Quantiles[3], 1e-12)
	require.Len(t, q.Reference.Quantiles, 7)
	// Row order matters to what a duplicate column is.
	shuffled := slices.Clone(x)
	shuffled[0], shuffled[1] = shuffled[1], shuffled[0]
	r = run(t, newTable(t, "a", namedColumn{"x", x}, namedColumn{"s", shuffled}), newTable(t, "b", namedColumn{"x", y}, namedColumn{"s", y}), compare.Options{})
	require.Empty(t, column(t, r, "s").DataQuality.DuplicateOf)
}

func TestDifferentTypes(t *testing.T) {
	words := letters(1, 100, 1, 2)
	numbers := normal(2, 100, 0, 1)
	numbersAsText := make([]string, 100)
	for i, v := range numbers {
		numbersAsText[i] = fmt.Sprint(v)
	}
	numbersAsText[7] = "n/a"
	reference := newTable(t, "a.csv", namedColumn{"x", numbers})
	_, err := compare.Compare(t.Context(), reference, newTable(t, "b.csv", namedColumn{"x", words}), compare.Options{})
	require.ErrorContains(t, err, `no column is left to compare: not compared: column "x" holds numbers in a.csv and text such as "`)
	require.ErrorContains(t, err, `" in b.csv: compare it as text`)
	require.ErrorContains(t, err, "--categorical x")
	_, err = compare.Compare(t.Context(), reference, newTable(t, "b.csv", namedColumn{"x", numbersAsText}), compare.Options{})
	require.ErrorContains(t, err, `"n/a"`)
	c := column(t, run(t, reference, newTable(t, "b.csv", namedColumn{"x", numbersAsText}), compare.Options{Numeric: []string{"x"}}), "x")
	require.Equal(t, int64(1), c.DataQuality.Current.TypeErrors)
	require.Equal(t, int64(1), c.MissingCurrent)
	require.Equal(t, int64(99), c.NCurrent)

	flags := make([]bool, 100)
	for i := range flags {
		flags[i] = i%3 == 0
	}
	_, err = compare.Compare(t.Context(), reference, newTable(t, "b.csv", namedColumn{"x", flags}), compare.Options{})
	require.ErrorContains(t, err, `column "x" holds numbers in a.csv and booleans in b.csv`)
	c = column(t, run(t, newTable(t, "a.csv", namedColumn{"x", flags}), newTable(t, "b.csv", namedColumn{"x", flags}), compare.Options{}), "x")
	require.Equal(t, "z", c.Stattest)
	require.Equal(t, []string{"false", "true"}, c.Bins.Categories)

	// A text column without a value is of any type.
	empty := slices.Repeat([]string{"\x00"}, 100)
	c = column(t, run(t, newTable(t, "a.csv", namedColumn{"x", numbers}, namedColumn{"y", numbers}), newTable(t, "b.csv", namedColumn{"x", empty}, namedColumn{"y", numbers}), compare.Options{}), "x")
	require.Equal(t, compare.VerdictTooFew, c.Verdict)

	// So is one of numbers, which a reader takes an empty column for.
	none := slices.Repeat([]float64{math.NaN()}, 100)
	for name, values := range map[string]any{"text": words, "booleans": flags, "times": make([]arrow.Timestamp, 100)} {
		for _, columnar := range []bool{true, false} {
			a := newTable(t, "a.csv", namedColumn{"x", values}, namedColumn{"y", numbers}, namedColumn{"z", words})
			b := newTable(t, "b.csv", namedColumn{"x", none}, namedColumn{"y", numbers}, namedColumn{"z", words})
			a.columnar, b.columnar = columnar, columnar
			r := run(t, a, b, compare.Options{})
			require.Zero(t, *r.Reference.DuplicatedRows)
			if name == "times" {
				require.Len(t, r.Columns, 2)
				continue
			}
			c = r.Columns[0]
			require.Equal(t, compare.VerdictTooFew, c.Verdict, name)
			require.Equal(t, compare.TypeCategorical, c.Type, name)
			require.Equal(t, int64(100), c.NReference)
			require.Equal(t, int64(100), c.MissingCurrent)
			require.Len(t, c.Bins.Categories, 2)
		}
		_, err = compare.Compare(t.Context(), newTable(t, "a.csv", namedColumn{"x", values}), newTable(t, "b.csv", namedColumn{"x", numbers}), compare.Options{})
		require.ErrorContains(t, err, "and numbers in b.csv")
		require.ErrorContains(t, err, `column "x" holds `+name)
	}
}

func TestColumnsThatAreNotThere(t *testing.T) {
	a := newTable(t, "a.csv", namedColumn{"x", normal(1, 50, 0, 1)}, namedColumn{"left", normal(1, 50, 0, 1)})
	b := newTable(t, "b.csv", namedColumn{"right", normal(1, 50, 0, 1)}, namedColumn{"x", normal(2, 50, 0, 1)})
	r := run(t, a, b, compare.Options{})
	require.Len(t, r.Columns, 1)
	require.Equal(t, []string{"only the reference has left: not compared", "only the current side has right: not compared"}, r.Notes)
	for option, o := range map[string]compare.Options{
		"--columns":     {Columns: []string{"left"}},
		"--categorical": {Categorical: []string{"left"}},
		"--numeric":     {Numeric: []string{"left"}},
		"--segment":     {Segment: "left"},
		"--target":      {Target: "left"},
		"--test":        {Tests: []string{"left=ks"}},
		"--threshold":   {Thresholds: []string{"left=0.2"}},
	} {
		_, err := compare.Compare(t.Context(), a, b, o)
		require.EqualError(t, err, `b.csv has no column "left", which `+option+" names; it has right, x")
	}
	_, err := compare.Compare(t.Context(), a, b, compare.Options{Ignore: []string{"up"}})
	require.EqualError(t, err, `neither side has a column "up", which --ignore names; the reference has x, left`)
	_, err = compare.Compare(t.Context(), a, newTable(t, "c.csv", namedColumn{"q", normal(1, 50, 0, 1)}), compare.Options{})
	require.EqualError(t, err, "a.csv and c.csv have no column to compare: the first has x, left, the second q")
	_, err = compare.Compare(t.Context(), a, newTable(t, "c.csv", namedColumn{"x", []float64{}}), compare.Options{})
	require.EqualError(t, err, "c.csv has no rows: there is nothing to compare")
}

func TestTimesAndIdentifiersAreLeftOut(t *testing.T) {
	n := 100
	times, ids := make([]arrow.Timestamp, n), make([]string, n)
	for i := range n {
		times[i], ids[i] = arrow.Timestamp(1_700_000_000+i*60), fmt.Sprintf("order-%d", i)
	}
	a := newTable(t, "a", namedColumn{"at", times}, namedColumn{"id", ids}, namedColumn{"x", normal(1, n, 0, 1)})
	r := run(t, a, a, compare.Options{})
	require.Len(t, r.Columns, 1)
	require.Len(t, r.Notes, 2)
	require.Contains(t, strings.Join(r.Notes, "\n"), `column "at" is left out: it holds times`)
	require.Contains(t, strings.Join(r.Notes, "\n"), `column "id" is left out: more than half of the reference's texts are different`)
	r = run(t, a, a, compare.Options{Numeric: []string{"at"}, Categorical: []string{"id"}})
	require.Len(t, r.Columns, 3)
	require.InDelta(t, 1_700_000_000, *column(t, r, "at").DataQuality.Reference.Min, 0)
	require.Len(t, column(t, r, "id").Bins.Categories, 30)
	require.Equal(t, "(other)", column(t, r, "id").Bins.Categories[29])
	require.InDelta(t, 71, column(t, r, "id").Bins.Reference[29], 0)
}

// TestTypesAreTheReferences: a small current side, in which few values come twice and few
// come at all, changes the type of no column; nor does a segment.
func TestTypesAreTheReferences(t *testing.T) {
	n := 2000
	codes, fewer := make([]string, n), make([]string, 60)
	for i := range codes {
		codes[i] = fmt.Sprintf("code %d", i%200)
	}
	for i := range fewer {
		fewer[i] = codes[i*7]
	}
	g := letters(5, n, 40, 1)
	a := newTable(t, "a", namedColumn{"code", codes}, namedColumn{"i", integers(1, n, 12)}, namedColumn{"g", g})
	b := newTable(t, "b", namedColumn{"code", fewer}, namedColumn{"i", integers(2, 60, 9)}, namedColumn{"g", g[:60]})
	r := run(t, a, b, compare.Options{Segment: "g"})
	require.Empty(t, r.Notes)
	require.Equal(t, "cat", column(t, r, "code").Type)
	require.Equal(t, "num", column(t, r, "i").Type)
	for _, s := range r.Segments {
		require.Equal(t, []string{"cat", "num"}, []string{s.Columns[0].Type, s.Columns[1].Type}, s.Segment)
	}
}

// TestOrderOfReading: reading by column or all at once, in batches of any length and with
// any number of workers, finds the same.
func TestOrderOfReading(t *testing.T) {
	a := newTable(t, "a", namedColumn{"x", normal(1, 5000, 0, 1)}, namedColumn{"c", letters(2, 5000, 1, 2, 3)}, namedColumn{"i", integers(3, 5000, 40)}, namedColumn{"g", letters(4, 5000, 1, 1)})
	b := newTable(t, "b", namedColumn{"g", letters(5, 3000, 1, 1)}, namedColumn{"i", integers(6, 3000, 44)}, namedColumn{"x", normal(7, 3000, 0.2, 1)}, namedColumn{"c", letters(8, 3000, 1, 2, 4)})
	for _, o := range []compare.Options{{}, {Segment: "g"}, {Memory: 16 << 10, Seed: 3}} {
		a.columnar, b.columnar, a.batch, b.batch = true, true, 1000, 1000
		o.Workers = 1
		want := run(t, a, b, o)
		if o.Memory == 0 {
			require.Empty(t, want.Notes)
		}
		for _, batch := range []int64{1, 4096, 5000} {
			a.batch, b.batch = batch, batch
			o.Workers = 1
			require.Equal(t, want, run(t, a, b, o))
		}
		if o.Memory == 0 { // the workers share it
			o.Workers = 4
			require.Equal(t, want, run(t, a, b, o))
			b.columnar = false
			require.Equal(t, want, run(t, a, b, o))
		}
	}
}

func TestSampleBeyondTheBudget(t *testing.T) {
	n := 200_000
	x, y := normal(1, n, 3, 2), normal(2, n, 3.5, 2)
	few := integers(3, n, 25)
	a := newTable(t, "a", namedColumn{"x", x}, namedColumn{"i", few})
	b := newTable(t, "b", namedColumn{"x", y}, namedColumn{"i", few})
	exact := run(t, a, b, compare.Options{Workers: 1})
	small := compare.Options{Workers: 1, Memory: 32 * 10_000, Seed: 5} // 10,000 values of each side
	r := run(t, a, b, small)
	require.Equal(t, r, run(t, a, b, small), "the same seed makes the same sample")
	c, want := column(t, r, "x"), column(t, exact, "x")
	require.True(t, c.Sampled)
	require.False(t, want.Sampled)
	require.Contains(t, r.Notes, "more values than fit the memory allowed: x compared by samples of 10,000 values of a side at most; raise --memory for all")
	require.NotEqual(t, *want.Score, *c.Score)
	require.InDelta(t, *want.Score, *c.Score, 0.05)
	require.Equal(t, want.NReference, c.NReference)
	require.InDelta(t, *want.DataQuality.Reference.Mean, *c.DataQuality.Reference.Mean, 1e-12, "figures that need no memory are of all values")
	require.Equal(t, want.DataQuality.Reference.Max, c.DataQuality.Reference.Max)
	require.InDelta(t, *want.DataQuality.Reference.Std, *c.DataQuality.Reference.Std, 1e-9)
	exact = run(t, a, b, compare.Options{Workers: 1, Seed: 5})
	wantI := column(t, exact, "i")
	other := small
	other.Seed = 6
	require.NotEqual(t, *c.Score, *column(t, run(t, a, b, other), "x").Score)
	i := column(t, r, "i")
	require.False(t, i.Sampled, "few distinct values are counted")
	require.InDelta(t, *wantI.DataQuality.Reference.Mean, *i.DataQuality.Reference.Mean, 1e-12)
	require.InDelta(t, *wantI.DataQuality.Reference.Std, *i.DataQuality.Reference.Std, 1e-12)
	i.DataQuality, wantI.DataQuality = compare.DataQuality{}, compare.DataQuality{}
	require.Equal(t, wantI, i)
	require.Nil(t, r.Reference.DuplicatedRows)
}

func TestAllTests(t *testing.T) {
	r := run(t,
		newTable(t, "a", namedColumn{"x", normal(1, 400, 0, 1)}, namedColumn{"c", letters(2, 400, 1, 2)}),
		newTable(t, "b", namedColumn{"x", normal(3, 400, 1, 1)}, namedColumn{"c", letters(4, 400, 2, 1)}), compare.Options{AllTests: true, Thresholds: []string{"x=0.01"}})
	x, c := column(t, r, "x"), column(t, r, "c")
	require.Equal(t, *x.Score, *x.Tests["ks"].Score)
	require.Equal(t, *x.PValue, *x.Tests["ks"].PValue)
	require.True(t, x.Tests["wasserstein"].Drifted)
	require.InDelta(t, 0.01, x.Tests["psi"].Threshold, 0)
	require.NotContains(t, x.Tests, "chisquare")
	require.NotContains(t, c.Tests, "ks")
	require.True(t, c.Tests["psi"].Drifted)
	for name, trial := range x.Tests {
		require.Equal(t, trial.Error == "", trial.Score != nil, name)
	}
}

// TestTestThatDoesNotFit: a column whose test has no answer is not judged, and says why.
func TestTestThatDoesNotFit(t *testing.T) {
	a := newTable(t, "a", namedColumn{"x", normal(1, 400, 0, 1)}, namedColumn{"c", letters(2, 400, 1, 2, 3)})
	r := run(t, a, a, compare.Options{Tests: []string{"x=chisquare", "c=ks"}})
	require.Equal(t, 0, r.Dataset.Columns)
	require.False(t, r.Dataset.Drifted)
	for name, want := range map[string]string{
		"x": "Not judged: chisquare compares categories, and the column has many values.",
		"c": "Not judged: ks compares values, not categories.",
	} {
		c := column(t, r, name)
		require.Equal(t, want, c.Explanation)
		require.Equal(t, compare.VerdictNotJudged, c.Verdict)
		require.Nil(t, c.Score)
	}
	require.Contains(t, column(t, run(t, a, a, compare.Options{Tests: []string{"c=z"}}), "c").Explanation, "Not judged: z compares two categories")
}

func TestCalibratedThresholds(t *testing.T) {
	// The reference wanders by more than the default threshold allows.
	n := 10_000
	x := normal(1, n, 0, 1)
	for i := range x {
		x[i] += math.Sin(float64(i) / 500)
	}
	y := normal(2, 1000, 0.3, 1)
	a, b := newTable(t, "a", namedColumn{"x", x}), newTable(t, "b", namedColumn{"x", y})
	require.True(t, column(t, run(t, a, b, compare.Options{}), "x").Drifted)
	c := column(t, run(t, a, b, compare.Options{Calibrate: compare.Calibration{Chunks: 10}}), "x")
	require.True(t, c.Calibrated)
	require.Greater(t, c.Threshold, 0.3)
	require.False(t, c.Drifted)
	for _, o := range []compare.Options{
		{Calibrate: compare.Calibration{Chunks: 10, Quantile: 0.99}},
		{Calibrate: compare.Calibration{Chunks: 10, Sigmas: 3}},
		{Calibrate: compare.Calibration{Chunks: 10}, Rule: compare.RuleEvidently},
	} {
		q := column(t, run(t, a, b, o), "x")
		require.True(t, q.Calibrated)
		require.False(t, q.Drifted)
		require.Equal(t, o.Rule == compare.RuleEvidently, q.Threshold > 1.1*c.Threshold, "Evidently's rule has nothing but the threshold")
	}
	set := column(t, run(t, a, b, compare.Options{Calibrate: compare.Calibration{Chunks: 10}, Thresholds: []string{"0.1"}}), "x")
	require.False(t, set.Calibrated, "a given threshold stands")
	r := run(t, a, b, compare.Options{Calibrate: compare.Calibration{Chunks: 1000}})
	require.False(t, column(t, r, "x").Calibrated)
	require.Contains(t, r.Notes[0], "a chunk has 10 values, at least 30 are needed: make fewer chunks")
}

func TestSegments(t *testing.T) {
	n := 600
	x, y := normal(1, n, 0, 1), normal(2, n, 0, 1)
	g := make([]string, n)
	for i := range g {
		g[i] = []string{"north", "south", "north"}[i%3]
		if g[i] == "south" {
			y[i] += 3
		}
	}
	g[0] = "\x00"
	a := newTable(t, "a", namedColumn{"x", x}, namedColumn{"g", g}, namedColumn{"c", letters(3, n, 1, 1)})
	b := newTable(t, "b", namedColumn{"x", y}, namedColumn{"g", g}, namedColumn{"c", letters(4, n, 1, 1)})
	r := run(t, a, b, compare.Options{Segment: "g", Correction: "none"})
	require.Len(t, r.Columns, 2, "the segment column is not compared")
	require.Len(t, r.Segments, 3)
	north, south, none := r.Segments[0], r.Segments[1], r.Segments[2]
	require.Equal(t, []string{"north", "south", "(missing)"}, []string{north.Segment, south.Segment, none.Segment})
	require.False(t, north.Columns[0].Drifted)
	require.True(t, south.Columns[0].Drifted)
	require.Equal(t, int64(399), north.Columns[0].NReference)
	require.Equal(t, int64(200), south.Columns[1].NCurrent)
	require.Equal(t, 0, none.Dataset.Columns)
	require.Equal(t, compare.VerdictTooFew, none.Columns[0].Verdict)
	// A segment's figures are those of its rows alone.
	var xs, ys []float64
	for i := range g {
		if g[i] == "south" {
			xs, ys = append(xs, x[i]), append(ys, y[i])
		}
	}
	alone := run(t, newTable(t, "a", namedColumn{"x", xs}), newTable(t, "b", namedColumn{"x", ys}), compare.Options{Correction: "none"})
	require.Equal(t, alone.Columns[0], south.Columns[0])

	many := make([]string, n)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	r = run(t, newTable(t, "a", namedColumn{"x", x}, namedColumn{"g", many}), newTable(t, "b", namedColumn{"x", y}, namedColumn{"g", many}), compare.Options{Segment: "g"})
	require.Len(t, r.Segments, 50)
	require.Contains(t, r.Notes[0], "the 50 values")
}

func TestLittleMemoryIsNoOtherType(t *testing.T) {
	a := newTable(t, "a", namedColumn{"x", integers(1, 5000, 4000)})
	r := run(t, a, newTable(t, "b", namedColumn{"x", integers(2, 5000, 4000)}), compare.Options{Memory: 1, Tests: []string{"ks"}})
	c := column(t, r, "x")
	require.True(t, c.Sampled)
	require.Equal(t, compare.TypeNumeric, c.Type)
	require.False(t, c.Drifted)
	require.Contains(t, strings.Join(r.Notes, "\n"), "samples of 256 values")
}

func TestCategoriesOfDifferentTypes(t *testing.T) {
	flags, words, numbers, decimals := make([]bool, 100), make([]string, 100), make([]int64, 100), make([]string, 100)
	for i := range flags {
		flags[i], words[i], numbers[i], decimals[i] = i%2 == 0, "True", 1, "1.0"
		if i%2 == 1 {
			words[i], numbers[i], decimals[i] = "FALSE", 0, "0.00"
		}
	}
	words[0], decimals[0] = "unknown", "unknown"
	for _, sides := range [][2]any{{flags, words}, {words, flags}, {numbers, decimals}, {decimals, numbers}, {flags, numbers}, {numbers, flags}} {
		c := column(t, run(t, newTable(t, "a", namedColumn{"x", sides[0]}), newTable(t, "b", namedColumn{"x", sides[1]}), compare.Options{Categorical: []string{"x"}}), "x")
		require.False(t, c.Drifted, "%+v", c.Bins)
		require.LessOrEqual(t, c.DataQuality.NewRows, int64(1), "%+v", c.Bins)
		require.LessOrEqual(t, len(c.Bins.Categories), 3, "%+v", c.Bins)
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	for want, o := range map[string]compare.Options{
		"drift share: must be above 0 and at most 1, got 2":                                {DriftShare: new(2.0)},
		"minimum of rows: must be at least 1, got 0":                                       {MinRows: new(0)},
		`correction: "fdr" is not one of holm, bh, bonferroni, none`:                       {Correction: "fdr"},
		`multivariate: "umap" is not one of pca, domain, energy`:                           {Multivariate: []string{"umap"}},
		`column "x" cannot be numeric and categorical at once`:                             {Numeric: []string{"x"}, Categorical: []string{"x"}},
		`column "x" is both to be compared and to be ignored`:                              {Columns: []string{"x"}, Ignore: []string{"x"}},
		`target and prediction are both "x"`:                                               {Target: "x", Prediction: "x"},
		`test x=kss: "kss" is not one of ks`:                                               {Tests: []string{"x=kss"}},
		`threshold num=much: "much" is no number from 0`:                                   {Thresholds: []string{"num=much"}},
		"bins deciles: want quantile, width, sturges or evidently":                         {Bins: "deciles"},
		"bins width:0: the number of bins must be from 1 to 1000":                          {Bins: "width:0"},
		"bins sturges:5: sturges finds the number of bins itself":                          {Bins: "sturges:5"},
		"must be above the one before":                                                     {Bins: "0,1,1"},
		"calibration: needs at least 8 chunks, got 7":                                      {Calibrate: compare.Calibration{Chunks: 7}},
		"calibration: sigmas must be from 0 to 37, got -1":                                 {Calibrate: compare.Calibration{Chunks: 8, Sigmas: -1}},
		`rule: "nannyml" is not one of rate, evidently`:                                    {Rule: "nannyml"},
		"rule evidently: it knows no rate":                                                 {Rule: "evidently", Rate: 0.01},
		"rate: must be above 0 and at most 0.5, got 0.6":                                   {Rate: 0.6},
		"effect: must be at least 0, got -1":                                               {Effect: new(-1.0)},
		"detectable effect: must be a number above the effect that matters, 0.1, got 0.1":  {Detectable: 0.1},
		"detectable effect: must be a number above the effect that matters, 0.1, got +Inf": {Detectable: math.Inf(1)},
		"3 sigmas need chunks":                                                             {Calibrate: compare.Calibration{Sigmas: 3}},
		"quantile 0.9 and 3 sigmas are two limits":                                         {Calibrate: compare.Calibration{Chunks: 8, Quantile: 0.9, Sigmas: 3}},
		"calibration: quantile must be from 0 to below 1, got 2":                           {Calibrate: compare.Calibration{Quantile: 2}},
		"quantile 0.9 needs chunks":                                                        {Calibrate: compare.Calibration{Quantile: 0.9}},
		`target: column "y" is to be ignored, too`:                                         {Target: "y", Prediction: "p", Ignore: []string{"y"}},
		`prediction: column "p" is to be ignored, too`:                                     {Target: "y", Prediction: "p", Ignore: []string{"p"}},
		`segment: column "y" is constant within each of its segments`:                      {Target: "y", Prediction: "p", Segment: "y"},
		`segment: column "x" is constant within each of its segments`:                      {Columns: []string{"x"}, Segment: "x"},
		"memory: must be above 0, got -1":                                                  {Memory: -1},
		"drift share: must be above 0 and at most 1, got NaN\nminimum of rows: must b":     {DriftShare: new(math.NaN()), MinRows: new(-3)},
	} {
		require.ErrorContains(t, o.Validate(), want)
		_, err := compare.Compare(t.Context(), nil, nil, o)
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, compare.Options{}.Validate())
}

func TestBins(t *testing.T) {
	a, b := newTable(t, "a", namedColumn{"x", normal(1, 1000, 0, 1)}), newTable(t, "b", namedColumn{"x", normal(2, 1000, 2, 1)})
	for bins, edges := range map[string]int{"": 11, "quantile": 11, "quantile:4": 5, "width:7": 8, "sturges": 12, "-1,0,1": 3} {
		c := column(t, run(t, a, b, compare.Options{Bins: bins, Tests: []string{"psi"}}), "x")
		require.Len(t, c.Bins.Edges, edges, bins)
		require.Len(t, c.Bins.Reference, edges-1, bins)
		require.True(t, c.Drifted)
	}
	width := column(t, run(t, a, b, compare.Options{Bins: "width:7"}), "x")
	self := column(t, run(t, a, a, compare.Options{Bins: "width:7"}), "x")
	require.Equal(t, self.Bins.Edges, width.Bins.Edges, "bins belong to the reference")
	evidently := column(t, run(t, a, b, compare.Options{Bins: "evidently"}), "x")
	require.Equal(t, *evidently.DataQuality.Current.Max, evidently.Bins.Edges[len(evidently.Bins.Edges)-1], "Evidently's go to the end of both sides")
}

// TestLargeIntegersAreNoted: what a float64 cannot tell apart is not silently one value. Where few values are
// left of it, each is told apart; else it is said.
func TestLargeIntegersAreNoted(t *testing.T) {
	side := func(name string, from int64) *memoryTable {
		large, spread, small := make([]int64, 100), make([]int64, 100), make([]int64, 100)
		for i := range large {
			large[i], spread[i], small[i] = from+int64(i), from+int64(i)<<30, int64(i)
		}
		return newTable(t, name, namedColumn{"large", large}, namedColumn{"spread", spread}, namedColumn{"small", small})
	}
	r, err := compare.Compare(t.Context(), side("a", 1<<60), side("b", 1<<60+50), compare.Options{})
	require.NoError(t, err)
	require.Equal(t, []string{
		`column "large" is left out: more than half of the reference's numbers are different (an identifier or free text); --categorical large compares it nevertheless`,
		`column "spread" has numbers of more digits than a 64-bit float holds (integers beyond 2^53), of which neighbours are compared as one number; --categorical spread tells them apart`,
	}, r.Notes)
	require.Equal(t, []compare.LeftOut{{Column: "large", Reason: compare.LeftIdentifier}}, r.LeftOut)
}
