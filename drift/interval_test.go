package drift

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/quality"
	"github.com/millrace/millrace/schemas"
)

// TestFigureIntervals: figures of counted rows have intervals that hold them, all others say
// why they have none.
func TestFigureIntervals(t *testing.T) {
	binary := &schemas.Target{Kind: schemas.TargetBinary}
	q := profile.Quality{Confusion: profile.Confusion{TruePositive: 80, FalsePositive: 25, FalseNegative: 20, TrueNegative: 300}, TwiceU: 2 * 100 * 300}
	counted := map[schemas.Stattest]bool{
		schemas.StattestAccuracy: true, schemas.StattestPrecision: true, schemas.StattestRecall: true, schemas.StattestF1: true,
		schemas.StattestBalancedAccuracy: true, schemas.StattestMatthews: true, schemas.StattestKappa: true,
	}
	for _, f := range binary.Figures() {
		i, err := figureInterval(binary, q, f.Name, confidence)
		if !counted[f.Name] {
			require.ErrorIs(t, err, errNotCounted, f.Name)
			continue
		}
		require.NoError(t, err, f.Name)
		value, ok := qualityFigure(binary, q, f.Name)
		require.True(t, ok)
		require.Less(t, i.Low, value, f.Name)
		require.Less(t, value, i.High, f.Name)
	}
	_, err := figureInterval(binary, profile.Quality{Confusion: profile.Confusion{TruePositive: 5, TrueNegative: 10}}, schemas.StattestAccuracy, confidence)
	require.ErrorIs(t, err, quality.ErrTooFew)

	classes := &schemas.Target{Kind: schemas.TargetMulticlass}
	i, err := figureInterval(classes, profile.Quality{Classes: profile.Classes{Rows: 200, Right: 150, Distinct: 3}}, schemas.StattestAccuracy, confidence)
	require.NoError(t, err)
	same, err := quality.MidP(150, 200, 0.95)
	require.NoError(t, err)
	require.Equal(t, same, i)
	_, err = figureInterval(classes, profile.Quality{}, schemas.StattestF1, confidence)
	require.EqualError(t, err, "f1: no interval: counts of a window do not tell it")
}
