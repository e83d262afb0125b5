package stattest_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/stattest"
)

// TestExtremeWeights: rows that cannot be counted, or that vanish, are an error of every test.
func TestExtremeWeights(t *testing.T) {
	values := []float64{1, 2, 3, 4, 5, 6}
	plain := stattest.NewSample(values)
	for _, w := range []float64{1e16, 1e200, 1e300, 1e308, 1e-200} {
		s, err := stattest.NewWeightedSample(values, []float64{w, w, w, w, w, w})
		require.NoError(t, err)
		for _, test := range stattest.Tests() {
			if test.Numeric == nil {
				continue
			}
			for _, sides := range [][2]stattest.Sample{{s, plain}, {plain, s}, {s, s}} {
				_, err := test.Numeric(sides[0], sides[1], stattest.Options{})
				require.Errorf(t, err, "%s, weights %v", test.Name, w)
			}
		}
	}
}

// TestKSHalfRows: 10,001·27,537/37,538 rows are 7336.5 exactly, which SciPy rounds to 7336.
func TestKSHalfRows(t *testing.T) {
	p := func(n, m float64) float64 {
		r, err := stattest.KS(
			stattest.Sample{Values: []float64{0, 1}, Weights: []float64{n - 1000, 1000}},
			stattest.Sample{Values: []float64{0}, Weights: []float64{m}})
		require.NoError(t, err)
		return *r.PValue
	}
	d := 1000.0 / 10001
	require.InEpsilon(t, stattest.KolmogorovSurvival(7336, d), p(10001, 27537), 1e-9)
}

// TestEmpiricalMMDHugeConstant has a reference without a scale at an extreme one.
func TestEmpiricalMMDHugeConstant(t *testing.T) {
	r, err := stattest.EmpiricalMMD(stattest.NewSample([]float64{1e200, 1e200, 1e200}),
		stattest.NewSample([]float64{1e200, 2e200, 3e200}), stattest.Options{})
	require.NoError(t, err)
	require.False(t, math.IsNaN(r.Score))
}
