package stattest_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/stattest"
)

// TestKSPValueFallsWithDistance walks the asymptotic p-value through all of its methods: for
// every size of the samples and every distance there is one, and it falls as the distance
// grows.
func TestKSPValueFallsWithDistance(t *testing.T) {
	for _, n := range []float64{10_001, 103_101, 1_000_000, 1e9} {
		for _, m := range []float64{1, 2, 5, 100, 140, 141, 2828, 10_001, 1_000_000} {
			last := 1.0
			for share := 1e-5; share < 1; share *= 1.1 {
				high := math.Round(n * share)
				if high < 1 || high >= n {
					continue
				}
				r, err := stattest.KS(
					stattest.Sample{Values: []float64{0, 1}, Weights: []float64{n - high, high}},
					stattest.Sample{Values: []float64{0}, Weights: []float64{m}})
				require.NoError(t, err)
				require.InDelta(t, high/n, r.Score, 1e-12)
				p := *r.PValue
				require.Truef(t, p >= 0 && p <= last+1e-9, "%v rows, %v of them larger, and %v: p %v after %v", n, high, m, p, last)
				last = p
			}
		}
	}
}
