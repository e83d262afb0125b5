package multivariate_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/multivariate"
)

// pcaSeed is of all that these tests draw.
const pcaSeed = 5

// together returns rows of columns that share a part of what they are, or nothing.
func together(rng *rand.Rand, rows, columns int, shared float64) multivariate.Matrix {
	m := multivariate.Matrix{Columns: make([][]float64, columns)}
	for range rows {
		common := rng.NormFloat64()
		for j := range columns {
			m.Columns[j] = append(m.Columns[j], shared*common+math.Sqrt(1-shared*shared)*rng.NormFloat64())
		}
	}
	return m
}

// Where nothing drifted, the errors of rows that the components were not fitted to are as far
// apart as chance has it: the limits by chunks, which the components were fitted to, call more
// than a fifth of comparisons drifted.
func TestPCAHoldsItsRate(t *testing.T) {
	const trials = 100
	rng := rand.New(rand.NewPCG(pcaSeed, 1))
	alarms, byLimits := 0, 0
	for i := range trials {
		a, b := together(rng, 1500, 6, 0.7), together(rng, 30, 6, 0.7)
		r, err := multivariate.TestPCA(a, b, multivariate.PCAOptions{}, uint64(i))
		require.NoError(t, err)
		if r.PValue <= 0.05 {
			alarms++
		}
		p, err := multivariate.FitPCA(a, multivariate.PCAOptions{})
		require.NoError(t, err)
		limits, err := p.Compare(b)
		require.NoError(t, err)
		if limits.Drifted {
			byLimits++
		}
	}
	require.LessOrEqual(t, float64(alarms)/trials, 0.05+3*math.Sqrt(0.05*0.95/trials), "seed %d", pcaSeed)
	require.Greater(t, byLimits, trials/8, "chunks of 150 rows say nothing of 30")
	// And finds columns that do not move together any more.
	r, err := multivariate.TestPCA(together(rng, 400, 6, 0.8), together(rng, 200, 6, 0), multivariate.PCAOptions{}, 1)
	require.NoError(t, err)
	require.Less(t, r.PValue, 1e-6)
	require.Greater(t, r.Effect, 0.5)
	require.Greater(t, r.Current, r.Reference)
	require.InDelta(t, (1.96+0.84)*math.Sqrt(1.0/400+1.0/200), r.SmallestEffect, 0.05)
}

// Where all components are kept, no error can be seen, which is not "no drift".
func TestPCAThatKeepsAllIsBlind(t *testing.T) {
	rng := rand.New(rand.NewPCG(pcaSeed, 2))
	a := together(rng, 100, 3, 0.2)
	_, err := multivariate.TestPCA(a, a, multivariate.PCAOptions{Components: 3}, 0)
	require.ErrorIs(t, err, multivariate.ErrBlind)
	_, err = multivariate.TestPCA(together(rng, 9, 3, 0), a, multivariate.PCAOptions{}, 0)
	require.ErrorIs(t, err, multivariate.ErrNoData)
	r, err := multivariate.TestPCA(a, a, multivariate.PCAOptions{}, 0)
	require.NoError(t, err)
	require.InDelta(t, 1, r.PValue, 0)
}
