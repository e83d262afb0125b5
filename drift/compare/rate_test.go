package compare_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/compare"
)

// zipf returns n texts of k categories, of which the i-th has a share of 1/i.
func zipf(seed uint64, n, k int) []string {
	rng := rand.New(rand.NewPCG(seed, 10))
	sum := 0.0
	for i := range k {
		sum += 1 / float64(i+1)
	}
	out := make([]string, n)
	for i := range out {
		x, c := rng.Float64()*sum, 0
		for x -= 1; x >= 0 && c < k-1; x -= 1 / float64(c+1) {
			c++
		}
		out[i] = fmt.Sprintf("c%03d", c)
	}
	return out
}

// wander returns values of which each is like the one before.
func wander(seed uint64, n int) []float64 {
	rng := rand.New(rand.NewPCG(seed, 11))
	out, x := make([]float64, n), rng.NormFloat64()
	for i := range out {
		x = 0.95*x + math.Sqrt(1-0.95*0.95)*rng.NormFloat64()
		out[i] = x
	}
	return out
}

// alarms returns how many of the comparisons call a column drifted.
func alarms(t *testing.T, trials int, o compare.Options, reference, current func(seed uint64) []namedColumn) int {
	t.Helper()
	n := 0
	for i := range uint64(trials) {
		for _, c := range run(t, newTable(t, "a", reference(2*i)...), newTable(t, "b", current(2*i+1)...), o).Columns {
			if c.Drifted {
				n++
				break
			}
		}
	}
	return n
}

// holds fails where a share of trials is more than chance allows at a rate: by three standard
// errors.
func holds(t *testing.T, rate float64, alarms, trials int) {
	t.Helper()
	n := float64(trials)
	require.LessOrEqual(t, float64(alarms)/n, rate+3*math.Sqrt(rate*(1-rate)/n), "%d of %d", alarms, trials)
}

// TestDefaultHoldsItsRate: thirty rows do not make noise a drift. Evidently's rule calls these
// drifted in nearly all cases.
func TestDefaultHoldsItsRate(t *testing.T) {
	const trials = 100
	numbers := func(n int) func(uint64) []namedColumn {
		return func(seed uint64) []namedColumn { return []namedColumn{{"x", normal(seed, n, 0, 1)}} }
	}
	texts := func(n int) func(uint64) []namedColumn {
		return func(seed uint64) []namedColumn { return []namedColumn{{"x", zipf(seed, n, 40)}} }
	}
	for name, of := range map[string]func(n int) func(uint64) []namedColumn{"wasserstein": numbers, "jensenshannon": texts} {
		t.Run(name, func(t *testing.T) {
			holds(t, 0.05, alarms(t, trials, compare.Options{}, of(1001), of(30)), trials)
			require.Greater(t, alarms(t, 20, compare.Options{Rule: compare.RuleEvidently}, of(1001), of(30)), 18)
		})
	}
	t.Run("columns that go together", func(t *testing.T) {
		several := func(n int) func(uint64) []namedColumn {
			return func(seed uint64) (out []namedColumn) {
				common := normal(seed, n, 0, 1)
				for k := range uint64(12) {
					x := normal(1000*(k+1)+seed, n, 0, 1)
					for i := range x {
						x[i] += common[i]
					}
					out = append(out, namedColumn{fmt.Sprint("x", k), x})
				}
				return out
			}
		}
		holds(t, 0.05, alarms(t, 40, compare.Options{}, several(1001), several(40)), 40)
	})
}

// TestCalibrationHoldsItsRate: rows that are like those before them are as far apart as chunks
// of the reference are, whatever the sizes; as independent rows, they are called drifted.
func TestCalibrationHoldsItsRate(t *testing.T) {
	const trials = 60
	of := func(n int) func(uint64) []namedColumn {
		return func(seed uint64) []namedColumn { return []namedColumn{{"x", wander(seed, n)}} }
	}
	calibrated := compare.Options{Calibrate: compare.Calibration{Chunks: 10}}
	for _, rows := range []int{60, 1500} {
		holds(t, 0.05, alarms(t, trials, calibrated, of(2000), of(rows)), trials)
	}
	require.Greater(t, alarms(t, 20, compare.Options{}, of(2000), of(200)), 10)
	// Categories, too, and a shift is still found.
	texts := func(k int) func(uint64) []namedColumn {
		return func(seed uint64) []namedColumn { return []namedColumn{{"x", zipf(seed, 1500, k)}} }
	}
	holds(t, 0.05, alarms(t, 40, calibrated, texts(10), texts(10)), 40)
	require.Greater(t, alarms(t, 10, calibrated, texts(10), texts(20)), 8)
	r := run(t, newTable(t, "a", texts(10)(1)...), newTable(t, "b", texts(10)(2)...), calibrated)
	require.True(t, r.Columns[0].Calibrated, r.Notes)
}

// TestDriftIsMoreThanChanceAndMatters: a million rows do not make a hair's breadth a drift, nor
// is what thirty rows cannot show called none.
func TestDriftIsMoreThanChanceAndMatters(t *testing.T) {
	// Every second value moves by 0.02 of a standard deviation, which is surely no chance.
	n := 200_000
	x, y := normal(1, n, 0, 1), normal(2, n, 0.02, 1)
	a, b := newTable(t, "a", namedColumn{"x", x}), newTable(t, "b", namedColumn{"x", y})
	c := column(t, run(t, a, b, compare.Options{}), "x")
	require.Equal(t, compare.VerdictOK, c.Verdict)
	require.Less(t, *c.PValue, 1e-6)
	require.InDelta(t, 0.02, *c.EffectSize, 0.01)
	require.Contains(t, c.Explanation, "No drift that matters: the Wasserstein distance of 0.0")
	require.True(t, column(t, run(t, a, b, compare.Options{Effect: new(0.01)}), "x").Drifted)
	require.True(t, column(t, run(t, a, b, compare.Options{Thresholds: []string{"0.005"}}), "x").Drifted, "a threshold stands for itself")

	side := func(name string, seed uint64, shift float64) *memoryTable {
		return newTable(t, name, namedColumn{"x", normal(seed, 30, shift, 1)}, namedColumn{"y", normal(seed+1, 30, 0, 1)}, namedColumn{"z", normal(seed+2, 30, 0, 1)})
	}
	few := side("few", 3, 0)
	r := run(t, few, side("too", 13, 0), compare.Options{})
	require.Equal(t, compare.VerdictNotJudged, r.Dataset.Verdict)
	require.Equal(t, 3, r.Dataset.NotJudged)
	require.Equal(t, compare.VerdictNotJudged, r.Columns[0].Verdict)
	require.Regexp(t, "^Not judged: of these rows, only an effect of 0.5\\d+ or more would have been found, not one of 0.5; about 3\\d rows on each side would do.$", r.Columns[0].Explanation)
	require.Greater(t, *r.Columns[0].SmallestEffect, 0.5)
	r = run(t, few, side("far", 13, 3), compare.Options{DriftShare: new(0.3)})
	require.True(t, r.Columns[0].Drifted, "what is found is drift at any number of rows")
	require.True(t, r.Dataset.Drifted)
	r = run(t, few, side("far", 13, 3), compare.Options{})
	require.False(t, r.Dataset.Drifted, "one of three, where the others may have drifted or not")
	require.Equal(t, compare.VerdictNotJudged, r.Dataset.Verdict)
	r = run(t, few, few, compare.Options{Detectable: 0.9})
	require.Equal(t, compare.VerdictOK, r.Dataset.Verdict)
}

// TestUnjudgedColumnsMayDecide: a data set of which most columns have no values any more is not
// one that did not drift, and the table says why of each.
func TestUnjudgedColumnsMayDecide(t *testing.T) {
	gone := slices.Repeat([]float64{math.NaN()}, 300)
	a := newTable(t, "a", namedColumn{"x", normal(1, 300, 0, 1)}, namedColumn{"y", normal(2, 300, 0, 1)}, namedColumn{"z", normal(3, 300, 0, 1)}, namedColumn{"never", gone})
	b := newTable(t, "b", namedColumn{"x", normal(4, 300, 0, 1)}, namedColumn{"y", gone}, namedColumn{"z", gone}, namedColumn{"never", gone})
	r := run(t, a, b, compare.Options{})
	require.Equal(t, compare.VerdictOK, column(t, r, "x").Verdict)
	require.Equal(t, compare.VerdictNotJudged, r.Dataset.Verdict)
	text := table(t, r, false, 0)
	require.Contains(t, text, "NOT JUDGED: 0 of 1 judged column drifted; the data set drifts from a share of 50 %. 3 columns not judged, which might decide.")
	require.Contains(t, text, "\n- y, z: no value in the current data, where all 300 rows are missing; at least 30 are needed on each side.\n")
	require.Contains(t, text, "Not part of this verdict: missing values of y 0 % → 100 %, z 0 % → 100 %.")
	require.Equal(t, compare.VerdictOK, run(t, a, b, compare.Options{Ignore: []string{"y", "z"}}).Dataset.Verdict, "what never has values cannot drift")
	require.Equal(t, compare.VerdictOK, run(t, a, b, compare.Options{Rule: compare.RuleEvidently}).Dataset.Verdict, "Evidently does not count them")
}

// TestSegmentsAreNotJudgedEither: a segment in which drift would have been missed is not ok.
func TestSegmentsAreNotJudgedEither(t *testing.T) {
	kinds := slices.Concat(slices.Repeat([]string{"many"}, 400), slices.Repeat([]string{"some"}, 60), slices.Repeat([]string{"few"}, 20))
	side := func(name string, seed uint64) *memoryTable {
		return newTable(t, name, namedColumn{"x", normal(seed, len(kinds), 0, 1)}, namedColumn{"y", normal(seed+1, len(kinds), 0, 1)}, namedColumn{"kind", kinds})
	}
	text := table(t, run(t, side("a", 1), side("b", 5), compare.Options{Segment: "kind", Detectable: 0.25}), false, 0)
	require.Regexp(t, `(?m)^ok +many +0 of 2`, text)
	require.Regexp(t, `(?m)^not judged +some +–`, text)
	require.Regexp(t, `(?m)^too few +few +–`, text)
}

// TestHeadlineSaysWhatHolds: nothing is said of a rate by which no column is judged, and what is
// beside the verdict is named.
func TestHeadlineSaysWhatHolds(t *testing.T) {
	a, b := newTable(t, "a", namedColumn{"x", normal(1, 300, 0, 1)}), newTable(t, "b", namedColumn{"x", normal(2, 300, 0, 1)})
	head := func(a, b *memoryTable, o compare.Options) string {
		line, _, _ := strings.Cut(table(t, run(t, a, b, o), false, 0), "\n")
		return strings.TrimPrefix(line, "NOT DRIFTED: 0 of 1 judged column drifted; the data set drifts from a share of 50 %.")
	}
	require.Equal(t, " Drift is an effect from 0.1 that is more than chance, at a rate of 5 %. P-values are corrected: holm.", head(a, b, compare.Options{}))
	require.Equal(t, " Drift is an effect from 0.1 that is more than chance, at a rate of 5 % for each column.", head(a, b, compare.Options{Correction: "none"}))
	require.Equal(t, " A threshold that was given stands for itself.", head(a, b, compare.Options{Thresholds: []string{"0.001"}}))
	long := newTable(t, "a", namedColumn{"x", normal(1, 3000, 0, 1)})
	require.Equal(t, " Drift is an effect from 0.1 that is more than chance.", head(long, b, compare.Options{Calibrate: compare.Calibration{Chunks: 8, Sigmas: 3}}))
	require.Empty(t, head(a, b, compare.Options{Rule: compare.RuleEvidently}))
	require.ErrorContains(t, compare.Options{Calibrate: compare.Calibration{Sigmas: 3}}.Validate(), "3 sigmas need chunks")

	// x and y are as before, each on its own.
	x, y := normal(1, 300, 0, 1), normal(2, 300, 0, 1)
	mirrored := make([]float64, len(x))
	for i := range x {
		mirrored[i] = x[i] + 0.1*y[i]
	}
	require.Contains(t, head(
		newTable(t, "a", namedColumn{"x", x}, namedColumn{"y", mirrored}),
		newTable(t, "b", namedColumn{"x", normal(3, 300, 0, 1)}, namedColumn{"y", normal(4, 300, 0, 1)}),
		compare.Options{Multivariate: []string{"energy"}}), "Not part of this verdict: columns together drifted by energy.")
}

// TestSmallestEffectIsFound: a shift of the size that is printed is found in 80 % of cases, and
// as often as by ks.
func TestSmallestEffectIsFound(t *testing.T) {
	const trials = 60
	for _, test := range []string{"wasserstein", "ks", "t_test", "mannw"} {
		shifted := func(shift float64) func(uint64) []namedColumn {
			return func(seed uint64) []namedColumn { return []namedColumn{{"x", normal(seed, 300, shift, 1)}} }
		}
		o := compare.Options{Tests: []string{test}}
		still := column(t, run(t, newTable(t, "a", shifted(0)(1)...), newTable(t, "b", shifted(0)(2)...), o), "x")
		shift := *still.SmallestEffect // in standard deviations
		switch test {
		case "ks": // the distance of two normal distribution functions
			shift = 2 * math.Sqrt2 * math.Erfinv(shift)
		case "mannw": // 2·P(X<Y)-1
			shift = 2 * math.Erfinv(shift)
		}
		found := alarms(t, trials, o, shifted(0), shifted(shift))
		require.InDelta(t, 0.8, float64(found)/trials, 3*math.Sqrt(0.8*0.2/trials)+0.05, "%s at %v", test, shift)
	}
}

// TestRuleEvidentlySaysWhereItDoesNotHold and is otherwise what it was.
func TestRuleEvidentlySaysWhereItDoesNotHold(t *testing.T) {
	a, b := newTable(t, "a", namedColumn{"x", normal(1, 1001, 0, 1)}), newTable(t, "b", namedColumn{"x", normal(2, 50, 0, 1)})
	r := run(t, a, b, compare.Options{Rule: compare.RuleEvidently})
	require.Regexp(t, `^the rule evidently does not hold at these sizes: where nothing drifted, up to 9\d(\.\d)? % of comparisons reach the threshold of x; --rule rate does$`, r.Notes[0])
	c := r.Columns[0]
	require.Nil(t, c.PValue)
	require.Nil(t, c.Expected)
	require.InDelta(t, 0.1, c.Threshold, 0)
	r = run(t, a, newTable(t, "b", namedColumn{"x", normal(2, 20_000, 0, 1)}), compare.Options{Rule: compare.RuleEvidently})
	require.Empty(t, r.Notes)
}

// TestEffectsHaveNoUnit: a column in other units has the same effect, whichever distance finds it.
func TestEffectsHaveNoUnit(t *testing.T) {
	var effects, smallest []float64
	for _, unit := range []float64{1, 1000} {
		x, y := normal(1, 500, 0, unit), normal(2, 500, 0.3*unit, unit)
		a, b := newTable(t, "a", namedColumn{"x", x}), newTable(t, "b", namedColumn{"x", y})
		for _, test := range []string{"wasserstein", "wasserstein_raw", "ed"} {
			c := column(t, run(t, a, b, compare.Options{Tests: []string{test}}), "x")
			require.True(t, c.Drifted, "%s: %s", test, c.Explanation)
			effects, smallest = append(effects, *c.EffectSize), append(smallest, *c.SmallestEffect)
		}
	}
	require.InDeltaSlice(t, effects[:3], effects[3:], 1e-9)
	require.InDeltaSlice(t, smallest[:3], smallest[3:], 1e-9)
	require.InDelta(t, effects[0], effects[1], 0.02)
}

// TestConstantColumnsAreJudgedByTheirRows: where all rows are alike, the smallest effect is that of
// so many other rows as chance would not bring; of few rows, it says that it was not judged.
func TestConstantColumnsAreJudgedByTheirRows(t *testing.T) {
	for _, test := range []string{"psi", "jensenshannon", "chisquare"} {
		of := func(rows int) compare.Column {
			a := newTable(t, "a", namedColumn{"x", make([]float64, rows)})
			return column(t, run(t, a, a, compare.Options{Tests: []string{test}, MinRows: new(2)}), "x")
		}
		many, few := of(500), of(3)
		require.Equal(t, compare.VerdictOK, many.Verdict, test)
		require.InDelta(t, 0.13, *many.SmallestEffect, 0.031, test)
		require.Equal(t, compare.VerdictNotJudged, few.Verdict, test)
		require.Nil(t, few.SmallestEffect, test)
		require.Contains(t, few.Explanation, "finds no effect, however great, of so few rows")
	}
	// No effect is greater than there is.
	one := newTable(t, "one", namedColumn{"x", []float64{1}})
	c := column(t, run(t, newTable(t, "a", namedColumn{"x", normal(1, 50, 0, 1)}), one, compare.Options{Tests: []string{"ks"}, MinRows: new(1)}), "x")
	require.Equal(t, compare.VerdictNotJudged, c.Verdict)
	require.Nil(t, c.SmallestEffect)
}

// TestTimesAreTimes: a column of times that is compared as seconds says when, not how many.
func TestTimesAreTimes(t *testing.T) {
	days := func(from int) (out []arrow.Timestamp) {
		for i := range 101 {
			out = append(out, arrow.Timestamp(time.Date(2024, 1, from+i, 0, 0, 0, 0, time.UTC).Unix()))
		}
		return out
	}
	a, b := newTable(t, "a", namedColumn{"at", days(1)}), newTable(t, "b", namedColumn{"at", days(41)})
	r := run(t, a, b, compare.Options{Numeric: []string{"at"}})
	require.Contains(t, column(t, r, "at").Explanation, "The median rose from 2024-02-20 to 2024-03-31, ")
	var out bytes.Buffer
	require.NoError(t, compare.WriteHTML(&out, r, time.Time{}))
	require.Contains(t, out.String(), "2024-03-31")
}

// TestChunksOfAnotherSizeAreSaid: chunks that have many more or fewer rows than the current data
// say less of them, and the report says which would say more.
func TestChunksOfAnotherSizeAreSaid(t *testing.T) {
	of := func(n int) *memoryTable { return newTable(t, "a", namedColumn{"x", wander(7, n)}) }
	notes := func(rows, chunks int) string {
		r := run(t, of(4000), of(rows), compare.Options{Calibrate: compare.Calibration{Chunks: chunks}})
		return strings.Join(r.Notes, "\n")
	}
	require.Contains(t, notes(50, 8), "--calibrate judges x by chunks of about 500 rows for 50: --calibrate 80 has chunks of the size that is compared")
	require.Contains(t, notes(3000, 100), "a longer reference would tell")
	require.Empty(t, notes(300, 10))
}

// TestSameBytes: the same input and seed make the same bytes in all forms, however many
// processors there are. MILLRACE_SAME_BYTES runs of each are made, 1 by default (make same-bytes
// makes 100).
func TestSameBytes(t *testing.T) {
	runs := 1
	if text := os.Getenv("MILLRACE_SAME_BYTES"); text != "" {
		var err error
		runs, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	side := func(seed uint64, name string, n, categories int) *memoryTable {
		x, score := normal(seed, n, float64(seed)/20, 1), normal(seed+3, n, 0.5, 0.1)
		label := make([]int64, n)
		for i := range label {
			score[i] = min(max(score[i]+0.1*x[i], 0), 1)
			if label[i] = 0; x[i] > 0 {
				label[i] = 1
			}
		}
		return newTable(t, name, namedColumn{"x", x}, namedColumn{"y", wander(seed+1, n)}, namedColumn{"c", zipf(seed+2, n, categories)},
			namedColumn{"g", letters(seed, n, 1, 1)}, namedColumn{"label", label}, namedColumn{"score", score})
	}
	a, b := side(1, "a", 400, 30), side(8, "b", 150, 20)
	for name, o := range map[string]compare.Options{
		"segments":     {Segment: "g", Seed: 3},
		"calibration":  {Calibrate: compare.Calibration{Chunks: 8}, Correction: "bh"},
		"sigmas":       {Calibrate: compare.Calibration{Chunks: 10, Sigmas: 2}, Columns: []string{"x", "c"}},
		"together":     {Multivariate: []string{"pca", "domain", "energy"}, Seed: 4},
		"model":        {Target: "label", Prediction: "score", Correction: "bonferroni"},
		"evidently":    {Rule: compare.RuleEvidently, Bins: "evidently"},
		"all tests":    {AllTests: true, Bins: "width:7", Columns: []string{"y", "c"}},
		"distances":    {Tests: []string{"x=psi", "y=ed", "c=psi", "score=wasserstein_raw"}, Correction: "none", Effect: new(0.02)},
		"permutations": {Tests: []string{"num=t_test", "cat=g_test", "y=empirical_mmd"}, Thresholds: []string{"y=0.2"}},
		"little":       {Memory: 6000, Seed: 5, Columns: []string{"x", "y"}},
	} {
		t.Run(name, func(t *testing.T) {
			var want string
			for range runs {
				for _, processors := range []int{1, 2, 8} {
					before := runtime.GOMAXPROCS(processors)
					r, err := compare.Compare(t.Context(), a, b, o)
					runtime.GOMAXPROCS(before)
					require.NoError(t, err)
					var out bytes.Buffer
					require.NoError(t, compare.WriteJSON(&out, r, true))
					require.NoError(t, compare.WriteTable(&out, r, false, 100))
					require.NoError(t, compare.WriteTable(&out, r, true, 60))
					require.NoError(t, compare.WriteHTML(&out, r, time.Time{}))
					if want == "" {
						want = out.String()
						require.True(t, json.Valid([]byte(want[:strings.Index(want, "\n}\n")+2])))
					}
					require.Equal(t, want, out.String())
				}
			}
		})
	}
}

// TestMethodIsOfThePValue: where rows are dealt anew, the p-value shown is theirs, and SciPy's
// stands beside it. Of a constant column nothing says that a few other rows would be found.
func TestMethodIsOfThePValue(t *testing.T) {
	column := func(seed uint64) []namedColumn {
		return []namedColumn{{"x", zipf(seed, 200, 4)}, {"one", slices.Repeat([]string{"a"}, 200)}}
	}
	r := run(t, newTable(t, "a", column(1)...), newTable(t, "b", column(2)...), compare.Options{})
	x, one := r.Columns[0], r.Columns[1]
	require.Equal(t, "chisquare", x.Stattest)
	require.Equal(t, "permutation", x.Method)
	require.NotNil(t, x.SciPyPValue)
	require.NotNil(t, x.RawPValue)
	require.NotEqual(t, *x.RawPValue, *x.SciPyPValue)
	require.Equal(t, "z", one.Stattest)
	require.Greater(t, *one.SmallestEffect, 0.2)
}
