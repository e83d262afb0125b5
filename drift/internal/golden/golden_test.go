package golden_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/internal/golden"
)

// TestGoldenInputs generates what Python generated, to the bit.
func TestGoldenInputs(t *testing.T) {
	for _, c := range golden.Load[struct {
		Spec   golden.Spec    `json:"spec"`
		Values []golden.Float `json:"values"`
	}](t, "testdata/golden_inputs.json") {
		got := c.Spec.Generate()
		require.Len(t, got, len(c.Values))
		for i, want := range c.Values {
			if math.IsNaN(float64(want)) {
				require.True(t, math.IsNaN(got[i]), "value %d of %+v", i, c.Spec)
				continue
			}
			require.Equal(t, math.Float64bits(float64(want)), math.Float64bits(got[i]), "value %d of %+v", i, c.Spec)
		}
	}
}

func TestRelativeError(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	require.InDelta(t, 0.1, golden.RelativeError(-10, -11), 1e-15)
	require.Zero(t, golden.RelativeError(nan, nan))
	require.Zero(t, golden.RelativeError(inf, inf))
	for _, pair := range [][2]float64{{nan, 1}, {1, nan}, {inf, 1}, {1, inf}, {inf, -inf}} {
		require.Equal(t, inf, golden.RelativeError(pair[0], pair[1]), "%v", pair)
	}
}
