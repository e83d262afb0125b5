package stattest_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/stattest"
)

func TestTooFew(t *testing.T) {
	require.False(t, stattest.TooFew(30, 30, stattest.DefaultMinRows))
	require.True(t, stattest.TooFew(29, 1000, stattest.DefaultMinRows))
	require.True(t, stattest.TooFew(1000, 29, stattest.DefaultMinRows))
	require.False(t, stattest.TooFew(0, 0, 0))
}

// TestCorrectionProperties: adjusted p-values are not smaller, keep their order, do not depend
// on that of the columns, and Bonferroni's are the larger ones.
func TestCorrectionProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(rapid.Float64Range(0, 1), 0, 30).Draw(t, "p")
		bh, err := stattest.BenjaminiHochberg(p)
		require.NoError(t, err)
		bonferroni, err := stattest.Bonferroni(p)
		require.NoError(t, err)
		for i := range p {
			require.True(t, bh[i] >= p[i] && bh[i] <= bonferroni[i]+1e-15 && bonferroni[i] <= 1, "%v, %v, %v", p[i], bh[i], bonferroni[i])
			for j := range p {
				require.False(t, p[i] < p[j] && bh[i] > bh[j], "order")
			}
		}
		slices.Reverse(p)
		reversed, err := stattest.BenjaminiHochberg(p)
		require.NoError(t, err)
		slices.Reverse(reversed)
		require.Equal(t, bh, reversed)
	})
	for _, bad := range []float64{-0.1, 1.1, math.NaN(), math.Inf(1)} {
		_, err := stattest.BenjaminiHochberg([]float64{0.5, bad})
		require.ErrorContains(t, err, "value 1 is")
		_, err = stattest.Bonferroni([]float64{bad})
		require.ErrorContains(t, err, "value 0 is")
	}
}

func TestThresholdGuards(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, scores := range [][]float64{nil, {nan, nan}} {
		_, _, err := stattest.SigmaThresholds(scores, 3)
		require.ErrorIs(t, err, stattest.ErrNoValues)
		_, err = stattest.QuantileThreshold(scores, 0.9)
		require.ErrorIs(t, err, stattest.ErrNoValues)
	}
	_, _, err := stattest.SigmaThresholds([]float64{1, inf}, 3)
	require.ErrorContains(t, err, "chunk 1 is +Inf")
	for _, k := range []float64{-1, nan, inf} {
		_, _, err = stattest.SigmaThresholds([]float64{1}, k)
		require.ErrorContains(t, err, "standard deviations, must be at least 0")
	}
	for _, q := range []float64{-0.1, 1.1, nan} {
		_, err = stattest.QuantileThreshold([]float64{1}, q)
		require.ErrorContains(t, err, "must be from 0 to 1")
	}
	lower, upper, err := stattest.SigmaThresholds([]float64{1e-200, 3e-200}, 1)
	require.NoError(t, err)
	require.InEpsilon(t, 1e-200, lower, 1e-12, "squares would vanish")
	require.InEpsilon(t, 3e-200, upper, 1e-12)
}
