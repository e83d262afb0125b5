package estimate_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/estimate"
)

func TestIsotonicErrors(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for want, in := range map[string][3][]float64{
		"isotonic fit: no rows":                                        {},
		"isotonic fit: lengths of x 1, y 2 and weights 0 differ":       {{1}, {1, 2}, nil},
		"isotonic fit: lengths of x 1, y 1 and weights 2 differ":       {{1}, {1}, {1, 2}},
		"isotonic fit: row 1 is (NaN, 2), must be finite":              {{1, nan}, {1, 2}, nil},
		"isotonic fit: row 0 is (1, +Inf), must be finite":             {{1}, {inf}, nil},
		"isotonic fit: weight 1 is -1, must be finite and at least 0":  {{1, 2}, {1, 2}, {1, -1}},
		"isotonic fit: weight 0 is NaN, must be finite and at least 0": {{1}, {1}, {nan}},
		"isotonic fit: the mean of x from 1 to 1 overflows":            {{1}, {1e300}, {1e300}},
	} {
		_, err := estimate.FitIsotonic(in[0], in[1], in[2])
		require.EqualError(t, err, want)
	}
	_, err := estimate.FitIsotonic([]float64{1, 2}, []float64{1, 2}, []float64{0, 0})
	require.ErrorIs(t, err, estimate.ErrEmpty)
	f := must(estimate.FitIsotonic([]float64{0, 1e-10}, []float64{-1e308, 1e308}, nil))
	require.Zero(t, f.At(0.5e-10), "the slope overflows, the value does not")
	require.True(t, math.IsNaN(f.At(nan)))
	require.Equal(t, 1e308, f.At(inf))
}

func TestBinaryErrors(t *testing.T) {
	one := []estimate.Chunk{{Start: 0, End: 1}}
	for want, b := range map[string]estimate.Binary{
		"no rows": {},
		"score of row 1 is 1.5, must be from 0 to 1":                                     {Scores: []float64{0, 1.5}, Targets: []int{0, 1}},
		"score of row 0 is NaN, must be from 0 to 1":                                     {Scores: []float64{math.NaN()}, Targets: []int{0}},
		"score of row 0 is -0.1, must be from 0 to 1":                                    {Scores: []float64{-0.1}, Targets: []int{0}},
		"target of row 0 is 2, must be a class from 0 to 1":                              {Scores: []float64{0}, Targets: []int{2}},
		"target of row 0 is -1, must be a class from 0 to 1":                             {Scores: []float64{0}, Targets: []int{estimate.Unknown}},
		"prediction of row 0 is -1, must be a class from 0 to 1":                         {Scores: []float64{0}, Predicted: []int{-1}, Targets: []int{0}},
		"1 rows and 0 targets":                                                           {Scores: []float64{0}},
		"1 rows and 2 predictions":                                                       {Scores: []float64{0}, Predicted: []int{0, 1}, Targets: []int{0}},
		"calibrate: the reference has 1 row of class 1, at least 2 are needed to choose": {Scores: []float64{0.1, 0.2, 0.15}, Targets: []int{0, 0, 1}},
		"calibrate: the reference has 10 rows, at least 11 are needed to choose": {
			Scores: []float64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, Targets: []int{0, 1, 0, 1, 0, 1, 0, 1, 0, 1},
		},
	} {
		_, err := estimate.FitBinaryCBPE(b, one)
		require.EqualError(t, err, "fit binary cbpe: "+want)
	}

	good := binarySide{B: 1, Cut: 0.5}
	good.Scores.Kind, good.Scores.N = "uniform", 200
	reference := good.generate()
	for want, chunks := range map[string][]estimate.Chunk{
		"fit binary cbpe: chunks: no rows":                                       nil,
		"fit binary cbpe: chunk 1 is rows 5 to 5, must have rows of the 200":     {{Start: 0, End: 5}, {Start: 5, End: 5}},
		"fit binary cbpe: chunk 0 is rows 100 to 201, must have rows of the 200": {{Start: 100, End: 201}},
		"fit binary cbpe: chunk 0 is rows -1 to 5, must have rows of the 200":    {{Start: -1, End: 5}},
	} {
		_, err := estimate.FitBinaryCBPE(reference, chunks)
		require.EqualError(t, err, want)
	}
	f := must(estimate.FitBinaryCBPE(reference, must(estimate.ChunksOf(200, 50))))
	_, err := f.Estimate(estimate.Binary{Scores: []float64{0.5}}, one)
	require.EqualError(t, err, "binary cbpe: the reference has predictions and the data has none")
	_, err = f.Estimate(estimate.Binary{Scores: []float64{2}}, one)
	require.EqualError(t, err, "binary cbpe: score of row 0 is 2, must be from 0 to 1")
	_, err = f.Estimate(estimate.Binary{}, nil)
	require.ErrorIs(t, err, estimate.ErrEmpty)

	// Without predictions there is ROC AUC alone; of one expected class there is none.
	reference.Predicted = nil
	f = must(estimate.FitBinaryCBPE(reference, must(estimate.ChunksOf(200, 50))))
	got := must(f.Estimate(estimate.Binary{Scores: []float64{0.5, 0.6}}, []estimate.Chunk{{Start: 0, End: 2}}))
	require.Len(t, got[0].Estimates, 1)
	require.Equal(t, estimate.ROCAUC, got[0].Estimates[0].Metric)
	require.NotNil(t, got[0].Estimates[0].Value)

	// A reference of one class: scores stay as they are, and what needs both classes is nil.
	single := estimate.Binary{Scores: []float64{0, 0, 0}, Predicted: []int{0, 0, 0}, Targets: []int{0, 0, 0}}
	three := []estimate.Chunk{{Start: 0, End: 3}}
	f = must(estimate.FitBinaryCBPE(single, three))
	require.False(t, f.Calibration.Needed)
	require.Nil(t, f.Calibration.Before)
	for _, e := range must(f.Estimate(single, three))[0].Estimates {
		switch e.Metric {
		case estimate.Accuracy, estimate.Specificity:
			require.Equal(t, 1.0, *e.Realized)
			require.Equal(t, 1.0, *e.Value)
		case estimate.ROCAUC:
			require.Nil(t, e.Value, "no positive is expected")
			require.Nil(t, e.Lower)
			require.Nil(t, e.Realized)
			require.Nil(t, e.LowerThreshold)
		default:
			require.Zero(t, *e.Value)
			require.Nil(t, e.SamplingError)
			require.Nil(t, e.Realized)
		}
		require.False(t, e.Alert)
	}
}

func TestCalibrateErrors(t *testing.T) {
	_, err := estimate.Calibrate([]float64{0.5, 7}, []int{0, 1})
	require.EqualError(t, err, "calibrate: score of row 1 is 7, must be from 0 to 1")
	_, err = estimate.Calibrate([]float64{0.5}, []int{0, 1})
	require.EqualError(t, err, "calibrate: 1 rows and 2 targets")
	c := must(estimate.Calibrate([]float64{0.2, 0.3}, []int{1, 1}))
	require.False(t, c.Needed)
	require.Equal(t, 0.25, c.At(0.25))
}

func TestMulticlassErrors(t *testing.T) {
	half, none := []float64{0.5, 0.25}, []float64{0, 0.25}
	three := [][]float64{half, half, {0, 0.5}}
	one := []estimate.Chunk{{Start: 0, End: 2}}
	for want, m := range map[string]estimate.Multiclass{
		"scores of 2 classes, at least 3 are needed":            {Scores: [][]float64{half, half}},
		"class 0: no rows":                                      {Scores: [][]float64{{}, {}, {}}},
		"2 scores of class 0 and 1 of class 2":                  {Scores: [][]float64{half, half, {0}}},
		"class 1: score of row 0 is 2, must be from 0 to 1":     {Scores: [][]float64{half, {2, 0}, none}},
		"scores of row 1 add up to 0.75, must be 1":             {Scores: [][]float64{half, half, none}},
		"2 rows and 0 predictions":                              {Scores: three},
		"prediction of row 1 is 3, must be a class from 0 to 2": {Scores: three, Predicted: []int{0, 3}},
		"2 rows and 0 targets":                                  {Scores: three, Predicted: []int{0, 2}},
		"target of row 0 is -1, must be a class from 0 to 2":    {Scores: three, Predicted: []int{0, 2}, Targets: []int{-1, 2}},
		"class 0 against the rest: calibrate: the reference has 1 row of class 0, at least 2 are needed to choose": {
			Scores: [][]float64{{0.25, 0.25}, {0.25, 0.25}, {0.5, 0.5}}, Predicted: []int{0, 2}, Targets: []int{0, 1},
		},
		"no row of the reference has target 0": {Scores: three, Predicted: []int{0, 2}, Targets: []int{1, 2}},
	} {
		_, err := estimate.FitMulticlassCBPE(m, one)
		require.EqualError(t, err, "fit multiclass cbpe: "+want)
	}
	good := multiclassSide{N: 300, Classes: 3, Seed: 1, Mix: 0.9}.generate()
	f := must(estimate.FitMulticlassCBPE(good, must(estimate.ChunksOf(300, 100))))
	_, err := f.Estimate(estimate.Multiclass{Scores: [][]float64{{1}, {0}, {0}, {0}}, Predicted: []int{0}}, one)
	require.EqualError(t, err, "multiclass cbpe: scores of 4 classes, the reference has 3")
	_, err = f.Estimate(good, nil)
	require.ErrorIs(t, err, estimate.ErrEmpty)
	good.Targets = nil
	for _, e := range must(f.Estimate(good, one))[0].Estimates {
		require.NotNil(t, e.Value)
		require.Nil(t, e.Realized)
		require.ErrorIs(t, e.NoInterval, estimate.ErrNoInterval)
		require.EqualError(t, e.NoInterval, string(e.Metric)+": no interval: how far the calibrations of several classes err together is not measured")
	}
}

func TestDLEErrors(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	one := []estimate.Chunk{{Start: 0, End: 1}}
	for want, r := range map[string]estimate.Regression{
		"no rows": {},
		"prediction of row 0 is NaN, must be finite":                             {Predicted: []float64{nan}, Targets: []float64{1}},
		"1 predictions and 2 targets":                                            {Predicted: []float64{1}, Targets: []float64{1, 2}},
		"target of row 0 is +Inf, must be finite, or NaN where unknown":          {Predicted: []float64{1}, Targets: []float64{inf}},
		"rows of the reference with a target: no rows":                           {Predicted: []float64{1}, Targets: []float64{nan}},
		`1 predictions and 2 values of feature "a"`:                              {Predicted: []float64{1}, Targets: []float64{1}, Features: []estimate.Feature{{Name: "a", Values: []float64{1, 2}}}},
		"msle of target -1 and prediction 1 is not a number of float64":          {Predicted: []float64{1}, Targets: []float64{-1}},
		"mse of target 1e+300 and prediction -1e+300 is not a number of float64": {Predicted: []float64{-1e300}, Targets: []float64{1e300}},
	} {
		_, err := estimate.FitDLE(r, one, nil, nil)
		require.EqualError(t, err, "fit dle: "+want)
	}
	_, err := estimate.FitDLE(estimate.Regression{Predicted: []float64{1}, Targets: []float64{-1}}, one, []estimate.Metric{"r2"}, nil)
	require.EqualError(t, err, `fit dle: unknown metric "r2", must be one of [mae mape mse rmse msle rmsle]`)
	_, err = estimate.FitDLE(estimate.Regression{Predicted: []float64{1}}, one, nil, nil)
	require.ErrorIs(t, err, estimate.ErrEmpty)

	r := regressionSide{N: 100, Seed: 1, Shift: 9}.generate()
	f := must(estimate.FitDLE(r, must(estimate.ChunksOf(100, 20)), nil, nil))
	_, err = f.Estimate(estimate.Regression{Predicted: []float64{1}}, one)
	require.ErrorContains(t, err, "trees: 1 features, trained on 4")
	_, err = f.Estimate(estimate.Regression{Predicted: []float64{inf}}, one)
	require.EqualError(t, err, "dle: prediction of row 0 is +Inf, must be finite")

	// A negative target takes MSLE's realized value, not its estimate.
	r.Targets[3] = -5
	for _, e := range must(f.Estimate(r, one[:1]))[0].Estimates {
		require.NotNil(t, e.Realized, "row 3 is not in the chunk: %s", e.Metric)
	}
	for _, e := range must(f.Estimate(r, []estimate.Chunk{{Start: 0, End: 50}}))[0].Estimates {
		require.NotNil(t, e.Value)
		require.Equal(t, e.Metric == estimate.MSLE || e.Metric == estimate.RMSLE, e.Realized == nil, "%s", e.Metric)
		require.EqualError(t, e.NoInterval, string(e.Metric)+": no interval: how far the nanny errs is not measured")
	}
}

func TestTreesErrors(t *testing.T) {
	a := []estimate.Feature{{Name: "a", Values: []float64{1, 2}}}
	y := []float64{1, 2}
	for want, c := range map[string]struct {
		features []estimate.Feature
		target   []float64
	}{
		"trees: no rows":     {a, nil},
		"trees: no features": {nil, y},
		`trees: feature "a" has 2 rows, the target 1`:   {a, y[:1]},
		"trees: target of row 1 is NaN, must be finite": {a, []float64{1, math.NaN()}},
	} {
		_, err := estimate.FitTrees(c.features, c.target, estimate.TreeOptions{})
		require.EqualError(t, err, want)
	}
	_, err := estimate.FitTrees(a, y, estimate.TreeOptions{Leaves: 1})
	require.ErrorContains(t, err, "want at least 1 tree, 2 leaves, 1 row and a learning rate in (0, 1]")
	f := must(estimate.FitTrees(a, y, estimate.TreeOptions{}))
	require.Equal(t, []float64{1.5, 1.5}, must(f.Predict(a)), "too few rows to split: the mean")
	_, err = f.Predict([]estimate.Feature{{Name: "b", Values: y}})
	require.EqualError(t, err, `trees: feature 0 is "b" (categorical: false), trained on "a" (categorical: false)`)
}

// TestOverflow takes finite numbers whose sums or differences are not.
func TestOverflow(t *testing.T) {
	_, err := estimate.FitIsotonic([]float64{1, 1}, []float64{0.1, 0.1}, []float64{1.5e308, 1.5e308})
	require.ErrorContains(t, err, "overflow")

	_, err = estimate.FitTrees([]estimate.Feature{{Name: "x", Values: []float64{1, 2, 3}}}, []float64{1.7e308, 1.7e308, -1.7e308}, estimate.TreeOptions{MinRows: 1})
	require.ErrorContains(t, err, "overflow")
}
