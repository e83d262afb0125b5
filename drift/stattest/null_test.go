package stattest_test

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/stattest"
)

// nullSeed is of all that the tests of nulls draw.
const nullSeed = 11

// drawn returns n values of a kind.
func drawn(rng *rand.Rand, kind string, n int) stattest.Sample {
	values := make([]float64, n)
	for i := range values {
		switch x := rng.NormFloat64(); kind {
		case "lognormal":
			values[i] = math.Exp(x)
		case "zeros": // nine of ten
			if rng.Float64() >= 0.9 {
				values[i] = rng.ExpFloat64()
			}
		case "ties":
			values[i] = math.Round(2 * x)
		default:
			values[i] = x
		}
	}
	return stattest.NewSample(values)
}

// zipf returns n rows in k cells, of which the i-th has a share of 1/i.
func zipf(rng *rand.Rand, n, k int) []float64 {
	upTo := make([]float64, k)
	sum := 0.0
	for i := range upTo {
		sum += 1 / float64(i+1)
		upTo[i] = sum
	}
	out := make([]float64, k)
	for range n {
		out[sort.SearchFloat64s(upTo, rng.Float64()*sum)]++
	}
	return out
}

// atMost fails where a share of trials is more than chance allows at a rate: by three standard
// errors.
func atMost(t *testing.T, rate float64, alarms, trials int, what string) {
	t.Helper()
	n := float64(trials)
	require.LessOrEqual(t, float64(alarms)/n, rate+3*math.Sqrt(rate*(1-rate)/n), "%s: %d of %d, seed %d", what, alarms, trials, nullSeed)
}

// deciles are bins as a comparison makes them.
func deciles(reference stattest.Sample) (stattest.Bins, error) {
	return stattest.QuantileBins(reference, 10)
}

// judgedBy returns the score of a test and its null.
func judgedBy(t *testing.T, name string, a, b stattest.Sample, seed uint64) (float64, *stattest.Null) {
	t.Helper()
	test := stattest.Lookup(name)
	o := stattest.NullOptions{Seed: seed}
	var r stattest.Result
	var err error
	if test.Numeric != nil {
		r, err = test.Numeric(a, b, stattest.Options{})
	} else {
		o.Bins = deciles
		bins, e := deciles(a)
		require.NoError(t, e)
		r, err = test.Cells(bins.Count(a), bins.Count(b), stattest.Options{})
	}
	require.NoError(t, err)
	n, err := stattest.NullOfValues(test, a, b, o)
	require.NoError(t, err)
	return r.Score, n
}

// Where nothing drifted, a p-value is below a rate as often as that says, whatever the rows of
// the sides, the values and the distance: by Evidently's rule, thirty rows were called drifted
// in 99.8 % of cases.
func TestNullOfValuesHoldsItsRate(t *testing.T) {
	const trials = 100
	for _, name := range []string{"wasserstein", "ed", "jensenshannon", "psi"} {
		for _, kind := range []string{"lognormal", "ties"} {
			for _, rows := range [][2]int{{1001, 30}, {60, 60}} {
				rng := rand.New(rand.NewPCG(nullSeed, uint64(rows[1])))
				alarms, effects := 0, 0.0
				for i := range trials {
					score, n := judgedBy(t, name, drawn(rng, kind, rows[0]), drawn(rng, kind, rows[1]), uint64(i))
					if n.PValue(score) <= 0.05 {
						alarms++
					}
					effects += (score - n.Expected) / n.Spread / trials
				}
				atMost(t, 0.05, alarms, trials, name+" of "+kind)
				require.InDelta(t, 0, effects, 0.6, "%s of %s at %v: the expected distance is that of the data", name, kind, rows)
			}
		}
	}
}

func TestNullOfCellsHoldsItsRate(t *testing.T) {
	const trials = 200
	for _, name := range []string{"jensenshannon", "psi", "chisquare"} {
		test := stattest.Lookup(name)
		for _, c := range []struct{ n, m, cells int }{{1001, 30, 40}, {1001, 1001, 2}, {30, 100, 10}} {
			rng := rand.New(rand.NewPCG(nullSeed, uint64(c.cells)))
			alarms := 0
			for i := range trials {
				a, b := zipf(rng, c.n, c.cells), zipf(rng, c.m, c.cells)
				if name == "chisquare" { // which has no answer for cells without rows
					var left [2][]float64
					for k := range a {
						if a[k]+b[k] > 0 {
							left[0], left[1] = append(left[0], a[k]), append(left[1], b[k])
						}
					}
					a, b = left[0], left[1]
				}
				r, err := test.Cells(a, b, stattest.Options{Permutations: 1})
				require.NoError(t, err)
				n, err := stattest.NullOfCells(test, a, b, stattest.NullOptions{Seed: uint64(i)})
				require.NoError(t, err)
				if n.PValue(r.Score) <= 0.05 {
					alarms++
				}
			}
			atMost(t, 0.05, alarms, trials, name)
		}
	}
}

// A null is of its input and seed alone: not of the processors, nor of what it was asked.
func TestNullIsOfItsSeed(t *testing.T) {
	rng := rand.New(rand.NewPCG(nullSeed, 1))
	a, b := drawn(rng, "lognormal", 3000), drawn(rng, "lognormal", 700)
	score, n := judgedBy(t, "wasserstein", a, b, 3)
	p, far, threshold := n.PValue(score), n.PValue(2*score), n.Threshold(0.001)
	for _, processors := range []int{1, 2, 8} {
		before := runtime.GOMAXPROCS(processors)
		_, again := judgedBy(t, "wasserstein", a, b, 3)
		runtime.GOMAXPROCS(before)
		require.Equal(t, threshold, again.Threshold(0.001))
		require.Equal(t, far, again.PValue(2*score))
		require.Equal(t, p, again.PValue(score))
		require.Equal(t, []float64{n.Expected, n.Spread}, []float64{again.Expected, again.Spread})
	}
	_, other := judgedBy(t, "wasserstein", a, b, 4)
	require.NotEqual(t, n.Expected, other.Expected)
}

// The order of categories says nothing, and a p-value falls as the distance grows.
func TestNullProperties(t *testing.T) {
	rng := rand.New(rand.NewPCG(nullSeed, 2))
	a, b := zipf(rng, 500, 30), zipf(rng, 200, 30)
	test := stattest.Lookup("jensenshannon")
	n, err := stattest.NullOfCells(test, a, b, stattest.NullOptions{})
	require.NoError(t, err)
	slices.Reverse(a)
	slices.Reverse(b)
	reversed, err := stattest.NullOfCells(test, a, b, stattest.NullOptions{})
	require.NoError(t, err)
	mirrored, err := stattest.NullOfCells(test, b, a, stattest.NullOptions{})
	require.NoError(t, err)
	last, effect := 1.0, 0.0
	for i := range 80 {
		score := float64(i) / 100
		p := n.PValue(score)
		require.LessOrEqual(t, p, last)
		require.Positive(t, p)
		require.GreaterOrEqual(t, n.Effect(score), effect)
		require.InDelta(t, p, reversed.PValue(score), 0)
		last, effect = p, n.Effect(score)
		require.InDelta(t, max(score, n.Expected), n.Mark(effect), 1e-12)
	}
	require.Less(t, last, 1e-11)
	require.InDelta(t, n.Expected, mirrored.Expected, 4*n.Spread/math.Sqrt(200), "the distance is symmetric")
	for _, rate := range []float64{0.2, 0.1, 0.01, 0.001, 0.00005} {
		by := 3 * math.Sqrt(rate*(1-rate)/200) // p-values that are not small are by 200 deals
		if rate < 0.05 {
			by = rate/4 + 1.0/4000
		}
		require.InDelta(t, rate, n.PValue(n.Threshold(rate)), by)
	}
}

// The distances of tests that have a p-value of their own are their scores: a null of two
// cells, which has few scores, shows them.
func TestNullIsOfTheScore(t *testing.T) {
	rng := rand.New(rand.NewPCG(nullSeed, 3))
	for _, name := range []string{"chisquare", "g_test", "z", "TVD"} {
		a, b := zipf(rng, 80, 2), zipf(rng, 50, 2)
		test := stattest.Lookup(name)
		r, err := test.Cells(a, b, stattest.Options{})
		require.NoError(t, err)
		n, err := stattest.NullOfCells(test, a, b, stattest.NullOptions{})
		require.NoError(t, err)
		// Just above the score, the deals that have it do not reach it any more.
		at, above := n.PValue(math.Abs(r.Score)), n.PValue(math.Abs(r.Score)*(1+1e-6))
		require.Greater(t, at, above, "%s: %v", name, r.Score)
	}
}

func TestHolm(t *testing.T) {
	got, err := stattest.Holm([]float64{0.04, 0.01, 0.02, 0.9, 0.01})
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{0.08, 0.05, 0.06, 0.9, 0.05}, got, 1e-12)
	_, err = stattest.Holm([]float64{1.5})
	require.ErrorContains(t, err, "value 0 is 1.5")
}

// TestNullOfRareRows: what most deals do not show is no rarer than it is. One row of 20,040 is
// on a side of 40 in 0.2 % of deals, and most often in none of the first 200.
func TestNullOfRareRows(t *testing.T) {
	const share = 40.0 / 20040
	rng := rand.New(rand.NewPCG(nullSeed, 12))
	out := make([]float64, 40)
	for i := range out {
		out[i] = rng.NormFloat64()
	}
	out[0] = 1e6
	reference, current := drawn(rng, "normal", 20000), stattest.NewSample(out)
	wasserstein := stattest.Lookup("wasserstein")
	far, err := wasserstein.Numeric(reference, current, stattest.Options{})
	require.NoError(t, err)
	for seed := range uint64(8) {
		o := stattest.NullOptions{Seed: seed}
		for _, name := range []string{"jensenshannon", "psi", "hellinger", "chisquare"} {
			test := stattest.Lookup(name)
			r, c := []float64{20000, 0}, []float64{39, 1}
			n, err := stattest.NullOfCells(test, r, c, o)
			require.NoError(t, err)
			result, err := test.Cells(r, c, stattest.Options{})
			require.NoError(t, err)
			p := n.PValue(result.Score)
			require.Greater(t, p, share/8, "%s, seed %d", name, seed)
			require.Less(t, p, share*4, "%s, seed %d", name, seed)
			require.Falsef(t, math.IsNaN(n.Threshold(1e-5)), "%s, seed %d", name, seed)
		}
		if seed >= 3 { // values cost more
			continue
		}
		n, err := stattest.NullOfValues(wasserstein, reference, current, o)
		require.NoError(t, err)
		require.Greater(t, n.PValue(far.Score), share/20, "seed %d", seed)
	}
}
