package drift

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// TestExactShares: at the ends of an interval, what was seen or more, or less, has the probability
// that is left out; ends without a tail are 0 and 1. R: binom.test(8, 20)$conf.int.
func TestExactShares(t *testing.T) {
	i := share{8, 20, func(s float64) float64 { return s }}.exact(0.95)
	require.InDelta(t, 0.1911901, i.Low, 1e-7)
	require.InDelta(t, 0.6394574, i.High, 1e-7)
	for n := 1.0; n < 60; n += 7 {
		for k := 0.0; k <= n; k++ {
			i := share{k, n, func(s float64) float64 { return s }}.exact(0.99)
			require.Equal(t, k == 0, i.Low == 0)
			require.Equal(t, k == n, i.High == 1)
			if k > 0 {
				require.InDelta(t, 0.005, 1-distuv.Binomial{N: n, P: i.Low}.CDF(k-1), 1e-9)
			}
			if k < n {
				require.InDelta(t, 0.005, distuv.Binomial{N: n, P: i.High}.CDF(k), 1e-9)
			}
		}
	}
}

// TestSegmentsByChance: where all segments are alike, one of a window stands out in at most one of
// twenty windows, however many segments there are; one that is always wrong does.
func TestSegmentsByChance(t *testing.T) {
	const seed = 20261203
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	target := &schemas.Target{Kind: schemas.TargetBinary, Threshold: 0.5}
	p := &pass{Version: Version{Manifest: &schemas.Manifest{Target: target, Monitoring: &schemas.Monitoring{}}}}
	windows, apart := 100, 0
	for range windows {
		var segments []profile.Segment
		var whole profile.Confusion
		for k := range 30 {
			c := profile.Confusion{}
			for range 5 + r.IntN(100) {
				switch x := r.Float64(); {
				case x < 0.3:
					c.TruePositive++
				case x < 0.4:
					c.FalsePositive++
				case x < 0.55:
					c.FalseNegative++
				default:
					c.TrueNegative++
				}
			}
			segments = append(segments, profile.Segment{Value: string(rune('a' + k)), Confusion: c})
			whole = profile.Confusion{
				TruePositive: whole.TruePositive + c.TruePositive, FalsePositive: whole.FalsePositive + c.FalsePositive,
				FalseNegative: whole.FalseNegative + c.FalseNegative, TrueNegative: whole.TrueNegative + c.TrueNegative,
			}
		}
		found := p.segmentResults(window{}, "f", segmentFigures(target), profile.Quality{Confusion: whole}, segments)
		require.Len(t, found, 120)
		differs := false
		for _, s := range found {
			if s.Value == nil { // no row is said to be positive, or none is
				require.False(t, s.Differs)
				continue
			}
			require.LessOrEqual(t, *s.Low, *s.Value)
			require.GreaterOrEqual(t, *s.High, *s.Value)
			differs = differs || s.Differs
		}
		if differs {
			apart++
		}
		segments[3].Confusion = profile.Confusion{FalsePositive: 20, FalseNegative: 20}
		for _, s := range p.segmentResults(window{}, "f", segmentFigures(target), profile.Quality{Confusion: whole}, segments) {
			if s.Of == "d" && s.Metric != "precision" { // which 20 rows do not tell over 120 figures
				require.True(t, s.Differs, s.Metric)
			}
		}
	}
	t.Logf("%d of %d windows", apart, windows)
	require.LessOrEqual(t, apart, windows/20)
}
