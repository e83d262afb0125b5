package stattest_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/stattest"
)

// TestSmallestEffectOfRareCells: where all rows are in one cell, or nearly all, the smallest effect
// that is claimed to be found in 80 % of cases is found in about as many. Deals of such rows are
// all alike, and by these alone any effect would be.
func TestSmallestEffectOfRareCells(t *testing.T) {
	const trials, rate, mark = 40, 0.01, 0.02
	for _, name := range []string{"psi", "jensenshannon", "chisquare"} {
		for _, c := range []struct{ n, others, m float64 }{{300, 0, 100}, {100, 0, 300}, {20_000, 3, 500}} {
			t.Run(fmt.Sprint(name, c), func(t *testing.T) {
				test, rng := stattest.Lookup(name), rand.New(rand.NewPCG(nullSeed, 21))
				// null is that of a reference and of so many current rows of others.
				null := func(k float64, seed uint64) (*stattest.Null, stattest.Power, func(k float64) (score, effect float64)) {
					r, other := []float64{c.n - c.others, c.others}, []float64{c.m - k, k}
					n, err := stattest.NullOfCells(test, r, other, stattest.NullOptions{Seed: seed})
					require.NoError(t, err)
					power := n.Power()
					if name == "chisquare" {
						power = power.Over(stattest.EvenRows(c.n, c.m))
					}
					return n, power, func(k float64) (float64, float64) {
						result, err := test.Cells(r, []float64{c.m - k, k}, stattest.Options{SciPy: true})
						require.NoError(t, err)
						if name == "chisquare" {
							return result.Score, *result.EffectSize
						}
						return result.Score, n.Effect(result.Score)
					}
				}
				_, power, at := null(0, 0)
				smallest := power.SmallestEffect(rate, mark)
				low, high := c.others/c.n*c.m+1e-9, c.m
				for range 50 {
					if _, effect := at((low + high) / 2); effect < smallest {
						low = (low + high) / 2
					} else {
						high = (low + high) / 2
					}
				}
				found := 0
				for i := range trials {
					k := 0.0
					for range int(c.m) {
						if rng.Float64() < low/c.m {
							k++
						}
					}
					n, _, at := null(k, uint64(i))
					if k == 0 {
						continue
					}
					if score, effect := at(k); n.PValue(score) <= rate && effect >= mark {
						found++
					}
				}
				by := 3 * math.Sqrt(0.8*0.2*trials)
				require.InDelta(t, 0.8*trials, found, by, "an effect of %.3g, %.3g rows of %v; seed %d", smallest, low, c.m, nullSeed)
			})
		}
	}
}

// TestPValuesOfRareCells compares p-values of few others with a sum over all that can be dealt.
func TestPValuesOfRareCells(t *testing.T) {
	for _, name := range []string{"psi", "kl_div", "jensenshannon", "hellinger", "chisquare", "g_test", "z", "TVD", "l_infinity"} {
		for _, c := range []struct{ n, others, m float64 }{
			{300, 0, 100}, {100, 0, 300}, {20_000, 3, 500}, {500, 5, 20_000}, {20_000, 150, 400}, {30, 1, 30}, {5, 0, 3}, {1, 0, 1}, {2, 1, 50},
		} {
			null, err := stattest.NullOfCells(stattest.Lookup(name), []float64{c.n - c.others, c.others}, []float64{c.m, 0}, stattest.NullOptions{Seed: 1})
			require.NoError(t, err)
			for current := 0.0; current <= c.m; current = math.Max(current+1, math.Floor(1.3*current)) {
				byParts, whole := null.Power().RarePValue(current)
				require.InDelta(t, whole, byParts, 1e-12*whole, "%s of %v, %v in the current data", name, c, current)
			}
		}
	}
}

// TestQuantilesAreDealtAsValues: bins that are quantiles are dealt without each value, where rows
// are few to the same bytes, and of many rows to the same distribution.
func TestQuantilesAreDealtAsValues(t *testing.T) {
	psi := stattest.Lookup("psi")
	for _, c := range []struct {
		kind string
		n, m int
	}{{"normal", 1001, 100}, {"ties", 60, 300}, {"zeros", 500, 500}, {"lognormal", 30_000, 20_000}, {"zeros", 40_000, 30_000}} {
		rng := rand.New(rand.NewPCG(nullSeed, 22))
		a, b := drawn(rng, c.kind, c.n), drawn(rng, c.kind, c.m)
		null := func(o stattest.NullOptions) *stattest.Null {
			n, err := stattest.NullOfValues(psi, a, b, o)
			require.NoError(t, err)
			return n
		}
		one, other := null(stattest.NullOptions{Quantiles: 10}), null(stattest.NullOptions{Bins: deciles})
		if c.n+c.m <= 2000 {
			require.Equal(t, []float64{other.Expected, other.Spread, other.PValue(0.3)}, []float64{one.Expected, one.Spread, one.PValue(0.3)}, c.kind)
			continue
		}
		for rate, by := range map[float64]float64{0.5: 0.12, 0.1: 0.06} { // where values are few, so are distances
			require.InEpsilon(t, other.Threshold(rate), one.Threshold(rate), by, "%s at %g, seed %d", c.kind, rate, nullSeed)
		}
	}
}
