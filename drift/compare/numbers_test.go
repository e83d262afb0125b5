package compare

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/stattest"
)

// TestNumbersHoldAllOrASample: while they fit, as values or as counts, the sample has every
// value; beyond, as many as fit, each of them one that came. Counts and extremes are exact.
func TestNumbersHoldAllOrASample(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(2, 50).Draw(t, "limit")
		levels := rapid.IntRange(1, 60).Draw(t, "levels")
		given := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float64 {
			switch k := rapid.IntRange(-2, levels).Draw(t, "value"); k {
			case -2:
				return math.NaN()
			case -1:
				return math.Inf(1)
			default:
				return float64(k) - 10
			}
		}), 0, 400).Draw(t, "given")
		n := newNumbers(limit, rapid.Uint64().Draw(t, "seed"), 1)
		for rest := given; len(rest) > 0; {
			k := min(rapid.IntRange(1, 60).Draw(t, "block"), len(rest))
			n.add(rest[:k])
			rest = rest[k:]
		}
		got := n.finish(new([]float64))
		var want []float64
		missing, infinite := int64(0), int64(0)
		for _, v := range given {
			switch {
			case math.IsNaN(v):
				missing++
			case math.IsInf(v, 0):
				infinite++
			default:
				want = append(want, v)
			}
		}
		slices.Sort(want)
		require.Equal(t, missing, n.missing)
		require.Equal(t, infinite, n.infinite)
		require.Equal(t, int64(len(want)), n.n)
		require.True(t, slices.IsSorted(got.Values))
		if len(want) == 0 {
			require.Empty(t, got.Values)
			return
		}
		require.InDelta(t, want[0], n.min, 0)
		require.InDelta(t, want[len(want)-1], n.max, 0)
		mean, squares := 0.0, 0.0
		for _, v := range want {
			mean += v / float64(len(want))
		}
		for _, v := range want {
			squares += (v - mean) * (v - mean)
		}
		require.InDelta(t, mean, n.mean, 1e-9)
		require.InDelta(t, squares, n.m2, 1e-6)
		if n.sampled {
			require.Len(t, got.Values, limit)
			require.Greater(t, len(want), limit)
			rest := slices.Clone(want)
			for _, v := range got.Values { // each row is drawn once at most
				i := slices.Index(rest, v)
				require.GreaterOrEqual(t, i, 0)
				rest = slices.Delete(rest, i, i+1)
			}
			return
		}
		var all []float64
		for i, v := range got.Values {
			rows := 1
			if got.Weights != nil {
				rows = int(got.Weights[i])
			}
			all = append(all, slices.Repeat([]float64{v}, rows)...)
		}
		require.Equal(t, want, all)
	})
}

// TestSampleIsUniform: over many seeds, each row is as often in the sample as any other,
// those before the sample began and those after it.
func TestSampleIsUniform(t *testing.T) {
	const rows, limit, seeds = 200, 20, 5000
	times := make([]float64, rows)
	block := make([]float64, rows)
	for i := range block {
		block[i] = float64(i)
	}
	for seed := range uint64(seeds) {
		n := newNumbers(limit, seed, 2)
		n.add(block)
		for _, v := range n.finish(new([]float64)).Values {
			times[int(v)]++
		}
	}
	even := slices.Repeat([]float64{1e9}, rows) // as good as a known distribution
	r, err := stattest.ChiSquare(even, times)
	require.NoError(t, err)
	// Draws without replacement vary less than the test takes for given, so that its p is
	// too large, not too small.
	require.Greater(t, *r.PValue, 0.01, "statistic %v of %d rows", r.Score, rows)
}

func TestQuantile(t *testing.T) {
	weighted := stattest.Sample{Values: []float64{1, 2, 4}, Weights: []float64{2, 1, 3}}
	plain := stattest.NewSample([]float64{1, 1, 2, 4, 4, 4})
	for _, p := range []float64{0, 0.1, 0.25, 0.5, 0.6, 0.9, 1} {
		require.InDelta(t, quantile(plain, p), quantile(weighted, p), 1e-15)
	}
	require.InDelta(t, 3, quantile(plain, 0.5), 0) // numpy.quantile([1, 1, 2, 4, 4, 4], 0.5)
	huge := stattest.NewSample([]float64{-math.MaxFloat64, math.MaxFloat64})
	require.InDelta(t, 0, quantile(huge, 0.5), 0)
}
