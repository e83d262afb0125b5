package stattest_test

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/stattest"
)

// TestExactByEnumeration: exact p-values are shares of all ways to part n+m distinct values.
func TestExactByEnumeration(t *testing.T) {
	type figures struct{ d, t, u float64 }
	statistics := func(n, m, mask int) figures {
		var f figures
		var a, b, ranks float64
		for k := range n + m {
			if mask>>k&1 == 1 {
				a++
				ranks += b
			} else {
				b++
			}
			gap := a/float64(n) - b/float64(m)
			f.d = max(f.d, math.Abs(gap))
			f.t += gap * gap
		}
		f.u = ranks
		total := float64(n + m)
		f.t *= float64(n) * float64(m) / (total * total)
		return f
	}
	const slack = 1e-9
	r := rand.New(rand.NewPCG(3, 4))
	for _, size := range [][2]int{{2, 2}, {2, 3}, {3, 2}, {2, 9}, {4, 6}, {5, 5}, {7, 3}, {6, 8}, {8, 8}} {
		n, m := size[0], size[1]
		var all []figures
		var masks []int
		for mask := range 1 << (n + m) {
			if bits.OnesCount(uint(mask)) == n {
				all = append(all, statistics(n, m, mask))
				masks = append(masks, mask)
			}
		}
		for range 12 {
			k := r.IntN(len(masks))
			var x, y []float64
			for i := range n + m {
				if masks[k]>>i&1 == 1 {
					x = append(x, float64(i))
				} else {
					y = append(y, float64(i))
				}
			}
			var d, tt, u float64
			for _, f := range all {
				if f.d >= all[k].d-slack {
					d++
				}
				if f.t >= all[k].t-slack {
					tt++
				}
				least := min(all[k].u, float64(n*m)-all[k].u)
				if f.u <= least+slack {
					u++
				}
			}
			for name, count := range map[string]float64{"ks": d, "cramer_von_mises": tt, "mannw": 2 * u} {
				got, err := run(name, stattest.NewSample(x), stattest.NewSample(y))
				require.NoError(t, err)
				require.Equal(t, "exact", got.Method, name)
				require.InEpsilon(t, min(1, count/float64(len(all))), *got.PValue, 1e-12, "%s of %v and %v", name, x, y)
			}
		}
	}
}

// TestExactSmirnov: the exact distribution tends to the asymptotic one, in the tail as well.
func TestExactSmirnov(t *testing.T) {
	for _, gap := range []int{100, 200, 400, 1000} {
		exact := stattest.SmirnovExact(9000, 9000, gap*9000)
		d := float64(gap) / 9000
		require.InEpsilon(t, 1, math.Log(stattest.KolmogorovSurvival(4500, d))/math.Log(exact), 0.02, "%d", gap)
	}
}

// TestBirnbaumTingeyStride: the trapezoidal rule of large samples against every term.
func TestBirnbaumTingeyStride(t *testing.T) {
	for _, n := range []int{40001, 500000} {
		for _, z2 := range []float64{2.2, 10, 50, 345} {
			d := math.Sqrt(z2 / float64(n))
			require.InEpsilon(t, stattest.BirnbaumTingey(n, d, 1), stattest.BirnbaumTingey(n, d, n/8192), 1e-10, "%d %v", n, z2)
		}
	}
}

// TestCramerSurvival: critical values of the limiting distribution (Anderson and Darling 1952,
// table 1).
func TestCramerSurvival(t *testing.T) {
	for x, p := range map[float64]float64{0.34730: 0.1, 0.46136: 0.05, 0.74346: 0.01, 1.16786: 0.001, 0.11888: 0.5} {
		require.InEpsilon(t, p, stattest.CramerSurvival(x), 2e-3, "%v", x)
	}
	require.InDelta(t, 1, stattest.CramerSurvival(0.0031), 1e-12)
	require.Equal(t, 1.0, stattest.CramerSurvival(0))
}
