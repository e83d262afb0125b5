package profile_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
)

func TestEdgeRanks(t *testing.T) {
	require.Equal(t, slices.Repeat([]int64{0}, profile.MaxBins-1), profile.EdgeRanks(1))
	ranks := profile.EdgeRanks(80)
	require.Equal(t, int64(1), ranks[0], "2 of 80 values are 1/40 of them")
	require.Equal(t, int64(77), ranks[38])
	require.Equal(t, int64(2), profile.EdgeRanks(81)[0], "2 of 81 values are less")
	require.Equal(t, int64(1)<<52/40*39-1, profile.EdgeRanks(1 << 52 / 40 * 40)[38])
}

func TestEdges(t *testing.T) {
	at := func(values []float64) []float64 {
		slices.Sort(values)
		out := make([]float64, 0, profile.MaxBins)
		for _, rank := range profile.EdgeRanks(int64(len(values))) {
			out = append(out, values[rank])
		}
		return profile.Edges(out, values[0])
	}
	require.Equal(t, []float64{1}, at([]float64{0, 0, 1, 1}))
	require.Equal(t, []float64{5, math.Nextafter(5, 6)}, at([]float64{5, 5, 5}), "below, equal and above are told apart")
	require.Equal(t, []float64{math.MaxFloat64}, at([]float64{math.MaxFloat64}))
	zero := at([]float64{math.Copysign(0, -1), math.Copysign(0, -1)})
	require.False(t, math.Signbit(zero[0]))

	const seed = 3
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, seed))
	values := make([]float64, 4000)
	for i := range values {
		values[i] = r.NormFloat64()
	}
	edges := at(values)
	require.Len(t, edges, profile.MaxBins-1)
	low := math.Inf(-1)
	for i := range profile.MaxBins {
		high := math.Inf(1)
		if i < len(edges) {
			high = edges[i]
		}
		n := 0
		for _, v := range values {
			if low <= v && v < high {
				n++
			}
		}
		require.InDelta(t, 100, n, 1, "bin %d", i)
		low = high
	}
}
