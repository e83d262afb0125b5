package multivariate_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/multivariate"
	"github.com/millrace/millrace/drift/stattest"
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

// heldOutP is the p-value of the difference of the mean errors of both sides.
func heldOutP(t *testing.T, a, b multivariate.Matrix, seed uint64) float64 {
	t.Helper()
	x, y, err := multivariate.HeldOutErrors(a, b, multivariate.PCAOptions{})
	require.NoError(t, err)
	require.Len(t, x, a.Rows())
	require.Len(t, y, b.Rows())
	n, err := stattest.NullOfMeans(stattest.NewSample(x), stattest.NewSample(y), stattest.NullOptions{Seed: seed})
	require.NoError(t, err)
	mean := func(values []float64) (out float64) {
		for _, v := range values {
			out += v / float64(len(values))
		}
		return out
	}
	return n.PValue(math.Abs(mean(x) - mean(y)))
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
		if heldOutP(t, a, b, uint64(i)) <= 0.05 {
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
	require.Less(t, heldOutP(t, together(rng, 400, 6, 0.8), together(rng, 200, 6, 0), 1), 1e-6)
}

// Where all components are kept, no error can be seen, which is not "no drift".
func TestPCAThatKeepsAllIsBlind(t *testing.T) {
	rng := rand.New(rand.NewPCG(pcaSeed, 2))
	a := together(rng, 100, 3, 0.2)
	_, _, err := multivariate.HeldOutErrors(a, a, multivariate.PCAOptions{Components: 3})
	require.ErrorIs(t, err, multivariate.ErrBlind)
	_, _, err = multivariate.HeldOutErrors(together(rng, 9, 3, 0), a, multivariate.PCAOptions{})
	require.ErrorIs(t, err, multivariate.ErrNoData)
	require.InDelta(t, 1, heldOutP(t, a, a, 0), 0)
}
