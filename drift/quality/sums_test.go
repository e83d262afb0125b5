package quality_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/quality"
)

// TestFiguresOfSums has sums whose figures are known by hand.
func TestFiguresOfSums(t *testing.T) {
	r := quality.RegressionOf(quality.RegressionSums{
		Rows: 100, Under: 90, Over: 110, Squares: 400, Percentage: 30, Symmetric: 20, Target: 0, TargetSquares: 1600, LeastTarget: -5, MostTarget: 7,
	})
	p, err := quality.ProbabilitiesOf(2, quality.ProbabilitySums{Rows: 100, LogLoss: 50, Brier: 25, Predicted: []float64{20, 40}, Observed: []float64{25, 30}})
	require.NoError(t, err)
	for want, figure := range map[float64]func() (float64, error){
		2: r.MAE, 0.2: r.Bias, 4: r.MSE, 0.3: r.MAPE, 0.75: r.R2, 0.5: p.LogLoss, 0.25: p.Brier, 0.15: p.ECE,
	} {
		got, err := figure()
		require.NoError(t, err)
		require.InDelta(t, want, got, 1e-15)
	}
	_, err = quality.ProbabilitiesOf(2, quality.ProbabilitySums{Predicted: make([]float64, 10)})
	require.ErrorContains(t, err, "10 bins predicted and 0 observed")
}

func TestTalliesOfOneClass(t *testing.T) {
	one := quality.Tallies{{Right: 3, Predicted: 3, Labelled: 3}}
	mcc, err := one.Matthews()
	require.NoError(t, err)
	require.Zero(t, mcc)
	_, err = one.Kappa()
	require.ErrorIs(t, err, quality.ErrUndefined)
	_, err = quality.Tallies{}.Macro(quality.MetricF1)
	require.ErrorIs(t, err, quality.ErrNoRows)
	_, err = one.Macro(quality.MetricROCAUC)
	require.ErrorContains(t, err, "no macro average")
}
