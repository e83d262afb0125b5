package stattest_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/stattest"
)

func TestNewBins(t *testing.T) {
	for want, edges := range map[string][]float64{
		"1 edges, at least 2":               {1},
		"edge 1 is NaN, must be finite":     {1, math.NaN()},
		"edge 0 is -Inf, must be finite":    {math.Inf(-1), 1},
		"edge 2 is 2, must be above the on": {1, 2, 2},
	} {
		_, err := stattest.NewBins(edges)
		require.ErrorContains(t, err, want)
	}
	edges := []float64{0, 1, 3}
	bins, err := stattest.NewBins(edges)
	require.NoError(t, err)
	edges[0] = 9
	require.Equal(t, []float64{0, 1, 3}, bins.Edges, "a copy")
	require.Equal(t, 2, bins.Len())
	inf := math.Inf(1)
	for v, want := range map[float64]int{-inf: 0, -5: 0, 0: 0, 0.99: 0, 1: 1, 2: 1, 3: 1, 4: 1, inf: 1} {
		require.Equal(t, want, bins.Index(v), "%v", v)
	}
	require.Equal(t, -1, bins.Index(math.NaN()))
	sample := stattest.NewSample([]float64{-inf, 0, 1, 3, inf, math.NaN()})
	require.Equal(t, []float64{2, 3}, bins.Count(sample))
	weighted, err := stattest.NewWeightedSample([]float64{0.5, 1, 7}, []float64{0.25, 2, 4})
	require.NoError(t, err)
	require.Equal(t, []float64{0.25, 6}, bins.Count(weighted))
	require.Empty(t, stattest.Bins{}.Count(sample))
}

// TestBinsOfOneValue: values below and above the only one of the reference are told apart
// from it, at any scale.
func TestBinsOfOneValue(t *testing.T) {
	for _, v := range []float64{0, 1, -7.5, 5e-324, 1e-300, 1e16, -1e300, math.MaxFloat64, -math.MaxFloat64} {
		reference := stattest.NewSample([]float64{v, v, v})
		for _, make := range []func(stattest.Sample) (stattest.Bins, error){
			func(s stattest.Sample) (stattest.Bins, error) { return stattest.QuantileBins(s, 10) },
			func(s stattest.Sample) (stattest.Bins, error) { return stattest.EqualWidthBins(s, 10) },
			func(s stattest.Sample) (stattest.Bins, error) { return stattest.SturgesBins(s, true) },
		} {
			bins, err := make(reference)
			require.NoError(t, err)
			at := bins.Index(v)
			r := bins.Count(reference)
			require.InDelta(t, 3, r[at], 0, "%v", v)
			if below := math.Nextafter(v, math.Inf(-1)); !math.IsInf(below, 0) {
				require.Equal(t, at-1, bins.Index(below), "%v in %v", v, bins.Edges)
				require.Equal(t, at-1, bins.Index(math.Inf(-1)))
			}
			if above := math.Nextafter(v, math.Inf(1)); !math.IsInf(above, 0) {
				require.Equal(t, at+1, bins.Index(above), "%v in %v", v, bins.Edges)
				require.Equal(t, at+1, bins.Index(math.Inf(1)))
			}
		}
	}
}

func TestBinsOfNothing(t *testing.T) {
	inf, empty := stattest.NewSample([]float64{math.Inf(1), math.Inf(-1), math.NaN()}), stattest.Sample{}
	some := stattest.NewSample([]float64{1, 2})
	for _, s := range []stattest.Sample{inf, empty} {
		_, err := stattest.QuantileBins(s, 10)
		require.ErrorContains(t, err, "quantile bins: no finite values")
		_, err = stattest.EqualWidthBins(s, 10)
		require.ErrorContains(t, err, "equal width bins: no finite values")
		_, err = stattest.SturgesBins(s, false)
		require.ErrorContains(t, err, "sturges bins: no finite values")
		for _, sides := range [][2]stattest.Sample{{s, some}, {some, s}} {
			_, err = stattest.EvidentlyBins(sides[0], sides[1], false)
			require.ErrorContains(t, err, "no finite values")
			_, err = stattest.EvidentlyHellingerBins(sides[0], sides[1], false)
			require.ErrorContains(t, err, "no finite values")
		}
	}
	_, err := stattest.QuantileBins(some, 0)
	require.ErrorContains(t, err, "0 bins, at least 1")
	_, err = stattest.EqualWidthBins(some, -1)
	require.ErrorContains(t, err, "-1 bins, at least 1")
}

func TestValueBins(t *testing.T) {
	a, b := stattest.NewSample([]float64{3, 1, 1, math.Inf(1)}), stattest.NewSample([]float64{2, 1})
	bins := stattest.ValueBins(a, b)
	require.Equal(t, []float64{1, 2, 3, math.Inf(1)}, bins.Values)
	require.Equal(t, []float64{2, 0, 1, 1}, bins.Count(a))
	require.Equal(t, []float64{1, 1, 0, 0}, bins.Count(b))
	require.Equal(t, -1, bins.Index(1.5))
	require.Equal(t, 4, stattest.Distinct(9, a, b))
	require.Equal(t, 2, stattest.Distinct(2, a, b))
	require.Equal(t, 3, stattest.Distinct(3, a))
	require.Zero(t, stattest.Distinct(1))
	require.Equal(t, []float64{1, 1, 3}, stattest.FiniteOnly(a).Values)
	require.Empty(t, stattest.FiniteOnly(stattest.NewSample([]float64{math.Inf(1), math.Inf(-1)})).Values)
}

// TestHellingerBinsOfOneValue: NumPy moves equal ends apart by a half each.
func TestHellingerBinsOfOneValue(t *testing.T) {
	s := stattest.NewSample([]float64{2, 2})
	bins, err := stattest.EvidentlyHellingerBins(s, s, false)
	require.NoError(t, err)
	require.Equal(t, []float64{1.5, 2.5}, bins.Edges)
	s = stattest.NewSample([]float64{1e300})
	bins, err = stattest.EvidentlyHellingerBins(s, s, false)
	require.NoError(t, err, "NumPy refuses: a half does not move the ends")
	require.Equal(t, 1, bins.Index(1e300))
}

func anyValue() *rapid.Generator[float64] {
	return rapid.OneOf(
		rapid.Float64(),
		rapid.Map(rapid.IntRange(-5, 5), func(n int) float64 { return float64(n) }),
		rapid.SampledFrom([]float64{0, 5e-324, -5e-324, 1e-310, 1e16, 1e16 + 2, 1e300, math.MaxFloat64, -math.MaxFloat64, math.Inf(1), math.Inf(-1), math.NaN()}),
	)
}

// TestBinsOfAnyScale: bins have finite edges, every value falls into one of them, and both
// ways of counting agree.
func TestBinsOfAnyScale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(anyValue(), 0, 40).Draw(t, "reference")
		currentValues := rapid.SliceOfN(anyValue(), 0, 40).Draw(t, "current")
		reference, current := stattest.NewSample(values), stattest.NewSample(currentValues)
		n, integers := rapid.IntRange(1, 30).Draw(t, "bins"), rapid.Bool().Draw(t, "integers")
		for name, make := range map[string]func() (stattest.Bins, error){
			"quantile":  func() (stattest.Bins, error) { return stattest.QuantileBins(reference, n) },
			"width":     func() (stattest.Bins, error) { return stattest.EqualWidthBins(reference, n) },
			"sturges":   func() (stattest.Bins, error) { return stattest.SturgesBins(reference, integers) },
			"evidently": func() (stattest.Bins, error) { return stattest.EvidentlyBins(reference, current, integers) },
			"values": func() (stattest.Bins, error) {
				if len(reference.Values)+len(current.Values) == 0 {
					return stattest.Bins{}, errors.New("no finite values")
				}
				return stattest.ValueBins(reference, current), nil
			},
			"hellinger": func() (stattest.Bins, error) {
				return stattest.EvidentlyHellingerBins(reference, current, integers)
			},
		} {
			bins, err := make()
			if err != nil {
				require.ErrorContains(t, err, "no finite values", name)
				continue
			}
			require.Positive(t, bins.Len(), name)
			if bins.Values != nil {
				require.Equal(t, bins.Len(), stattest.Distinct(math.MaxInt, reference, current), name)
				require.True(t, slices.IsSorted(bins.Values) && len(slices.Compact(slices.Clone(bins.Values))) == bins.Len(), "%s: %v", name, bins.Values)
			}
			for i, e := range bins.Edges {
				require.False(t, math.IsInf(e, 0) || math.IsNaN(e), "%s: %v", name, bins.Edges)
				require.True(t, i == 0 || e > bins.Edges[i-1] || e == math.MaxFloat64, "%s: %v", name, bins.Edges)
			}
			for _, s := range []stattest.Sample{reference, current} {
				counts, one := bins.Count(s), slices.Repeat([]float64{0}, bins.Len())
				sum := 0.0
				for _, v := range s.Values {
					one[bins.Index(v)]++
				}
				for _, c := range counts {
					sum += c
				}
				require.Equal(t, one, counts, name)
				require.InDelta(t, s.Rows(), sum, 0, name)
			}
		}
	})
}

// TestBinsOfWeights: a weight stands for as many rows, in the edges and in the counts, and so
// counts and samples have the same distance.
func TestBinsOfWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.IntRange(1, 40).Draw(t, "values")
		values := rapid.SliceOfN(rapid.Float64Range(-100, 100), k, k).Draw(t, "value")
		var weights, repeated []float64
		for _, v := range values {
			w := rapid.IntRange(0, 200).Draw(t, "weight")
			weights = append(weights, float64(w))
			for range w {
				repeated = append(repeated, v)
			}
		}
		weighted, err := stattest.NewWeightedSample(values, weights)
		require.NoError(t, err)
		rows := stattest.NewSample(repeated)
		if len(repeated) == 0 {
			return
		}
		current := stattest.NewSample(rapid.SliceOfN(rapid.Float64Range(-150, 150), 1, 50).Draw(t, "current"))
		n := rapid.IntRange(1, 20).Draw(t, "bins")
		for name, make := range map[string]func(s stattest.Sample) (stattest.Bins, error){
			"quantile":  func(s stattest.Sample) (stattest.Bins, error) { return stattest.QuantileBins(s, n) },
			"sturges":   func(s stattest.Sample) (stattest.Bins, error) { return stattest.SturgesBins(s, false) },
			"evidently": func(s stattest.Sample) (stattest.Bins, error) { return stattest.EvidentlyBins(s, current, false) },
		} {
			a, err := make(weighted)
			require.NoError(t, err, name)
			b, err := make(rows)
			require.NoError(t, err, name)
			require.Equal(t, b, a, name)
			require.Equal(t, b.Count(rows), a.Count(weighted), name)
			x, err := stattest.JensenShannon(a.Count(weighted), a.Count(current))
			require.NoError(t, err)
			y, err := stattest.JensenShannon(b.Count(rows), b.Count(current))
			require.NoError(t, err)
			require.Equal(t, y, x, name)
		}
	})
}

// TestQuantileBinsHoldTheSame: without ties, each bin has its share of the reference.
func TestQuantileBinsHoldTheSame(t *testing.T) {
	values := make([]float64, 1000)
	for i := range values {
		values[i] = math.Exp(float64(i) / 37)
	}
	sample := stattest.NewSample(values)
	bins, err := stattest.QuantileBins(sample, stattest.DefaultBins)
	require.NoError(t, err)
	require.Equal(t, slices.Repeat([]float64{100}, 10), bins.Count(sample))
	// Nine rows of ten are 0: the edges that are equal become one.
	bins, err = stattest.QuantileBins(stattest.NewSample([]float64{0, 0, 0, 0, 0, 0, 0, 0, 0, 8}), 4)
	require.NoError(t, err)
	require.Equal(t, []float64{0, 8}, bins.Edges)
}

func TestCategories(t *testing.T) {
	reference := map[string]float64{"b": 5, "a": 5, "c": 9, "d": 1, "gone": 0}
	require.Equal(t, []string{"c", "a", "b", "d"}, stattest.TopCategories(reference, 0).Names)
	top := stattest.TopCategories(reference, 2)
	require.Equal(t, []string{"c", "a"}, top.Names)
	names, r, c := top.Cells(reference, map[string]float64{"a": 2, "new": 3, "b": 1})
	require.Equal(t, []string{"c", "a", stattest.OtherCategory}, names)
	require.Equal(t, []float64{9, 5, 6}, r)
	require.Equal(t, []float64{0, 2, 4}, c)
	names, r, c = stattest.TopCategories(reference, 4).Cells(reference, map[string]float64{"a": 2})
	require.Equal(t, []string{"c", "a", "b", "d"}, names, "nothing is left over")
	require.Equal(t, []float64{9, 5, 5, 1}, r)
	require.Equal(t, []float64{0, 2, 0, 0}, c)
	names, r, c = stattest.TopCategories(nil, 3).Cells(nil, map[string]float64{"x": 1})
	require.Equal(t, []string{stattest.OtherCategory}, names)
	require.Equal(t, []float64{0}, r)
	require.Equal(t, []float64{1}, c)
}
