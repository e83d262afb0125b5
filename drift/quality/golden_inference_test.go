package quality_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/internal/golden"
	"github.com/millrace/millrace/drift/quality"
)

// pTolerance is the relative error that p-values may have.
const pTolerance = 1e-9

type inferenceCase struct {
	figureCase

	Name                        string
	K, N                        int64
	Confidence, Mean, Deviation float64
	Index                       *golden.Spec
}

// TestGoldenInference compares intervals and tests with SciPy, statsmodels and their own
// definitions.
func TestGoldenInference(t *testing.T) {
	for i, c := range golden.Load[inferenceCase](t, "testdata/golden_inference.json") {
		t.Run(fmt.Sprintf("%s %d", c.Family, i), func(t *testing.T) {
			map[string]func(*testing.T, inferenceCase){
				"wilson": goldenWilson, "student": goldenStudent, "errors": goldenErrors, "delong": goldenDeLong,
				"mcnemar": goldenMcNemar, "bca": goldenBCa,
			}[c.Family](t, c)
		})
	}
}

func (c inferenceCase) interval(t *testing.T, function, name string, got quality.Interval, tolerance float64) {
	t.Helper()
	require.Len(t, c.Want[name], 2, name)
	golden.Equal(t, "quality "+function, name+" low", float64(c.Want[name][0]), got.Low, tolerance)
	golden.Equal(t, "quality "+function, name+" high", float64(c.Want[name][1]), got.High, tolerance)
}

func goldenWilson(t *testing.T, c inferenceCase) {
	t.Helper()
	got, err := quality.Wilson(float64(c.K), float64(c.N), c.Confidence)
	require.NoError(t, err)
	if c.K == 0 {
		require.Zero(t, got.Low)
		c.Want["interval"][0] = 0 // the last digit of 50
	}
	c.interval(t, "wilson", "interval", got, tolerance)
}

func goldenStudent(t *testing.T, c inferenceCase) {
	t.Helper()
	got, err := quality.Student(c.Mean, c.Deviation, float64(c.N), c.Confidence)
	require.NoError(t, err)
	c.interval(t, "student", "interval", got, tolerance)
}

func goldenErrors(t *testing.T, c inferenceCase) {
	t.Helper()
	target, prediction := c.regression()
	r := quality.NewRegression()
	require.NoError(t, r.Add(target, prediction, c.weights()))
	got, err := r.StudentInterval(quality.MetricMAE, 0.95)
	require.NoError(t, err)
	c.interval(t, "mae interval", "mae", got, 1e-11)
	got, err = r.StudentInterval(quality.MetricBias, 0.95)
	require.NoError(t, err)
	c.interval(t, "bias interval", "bias", got, 1e-11)
}

func goldenDeLong(t *testing.T, c inferenceCase) {
	t.Helper()
	y := below(c.Truth[0].Generate(), c.Share)
	a, b := c.Score[0].Generate(), c.Score[1].Generate()
	for i := range a {
		if y[i] {
			a[i] += c.Shift
		}
		b[i] += a[i]
	}
	w := c.weights()
	want := func(name string) float64 { return float64(c.Want[name][0]) }
	r := quality.NewRanking()
	require.NoError(t, r.Add(y, a, w))
	auc, variance, err := r.DeLong()
	require.NoError(t, err)
	golden.Equal(t, "quality delong", "auc", want("auc"), auc, tolerance)
	golden.Equal(t, "quality delong", "variance", want("variance"), variance, 1e-11)
	interval, err := r.DeLongInterval(0.95)
	require.NoError(t, err)
	c.interval(t, "delong", "interval", interval, tolerance)
	d, err := quality.CompareROCAUC(y, a, b, w, 0.95)
	require.NoError(t, err)
	golden.Equal(t, "quality delong paired", "a", want("a"), d.A, tolerance)
	golden.Equal(t, "quality delong paired", "b", want("b"), d.B, tolerance)
	golden.Equal(t, "quality delong paired", "statistic", want("statistic"), d.Statistic, 1e-9)
	golden.Equal(t, "quality delong paired", "p-value", want("p_value"), d.PValue, pTolerance)
	c.interval(t, "delong paired", "difference", d.Reference, 1e-9)
}

func goldenMcNemar(t *testing.T, c inferenceCase) {
	t.Helper()
	p := quality.PairedOf(7, c.K, c.N, 9)
	for name, want := range c.Want {
		test := p.McNemarExact
		if name != "exact" {
			test = func() (float64, float64, error) { return p.McNemarChiSquare(name == "corrected") }
		}
		statistic, pValue, err := test()
		require.NoError(t, err)
		golden.Equal(t, "quality mcnemar "+name, "statistic", float64(want[0]), statistic, tolerance)
		golden.Equal(t, "quality mcnemar "+name, "p-value", float64(want[1]), pValue, pTolerance)
	}
}

// goldenBCa draws the resamples of the golden case and gives them to BCa.
func goldenBCa(t *testing.T, c inferenceCase) {
	t.Helper()
	columns := [2][]float64{c.Score[0].Generate(), c.Score[1].Generate()}
	n := int(c.N)
	weights := make([]float64, n)
	figure := func() float64 {
		v, err := bootstrapFigure(c.Name, columns, weights)
		require.NoError(t, err)
		return v
	}
	for i := range weights {
		weights[i] = 1
	}
	value := figure()
	golden.Equal(t, "quality bca", "value", float64(c.Want["value"][0]), value, tolerance)
	var resamples, jackknife []float64
	for i := range weights {
		weights[i] = 0
		jackknife = append(jackknife, figure())
		weights[i] = 1
	}
	index := c.Index.Generate()
	for len(index) > 0 {
		clear(weights)
		for _, i := range index[:n] {
			weights[int(i)]++
		}
		resamples = append(resamples, figure())
		index = index[n:]
	}
	require.Len(t, resamples, int(c.K))
	for name := range c.Want {
		if of, ok := strings.CutPrefix(name, "interval/"); ok {
			confidence, err := strconv.ParseFloat(of, 64)
			require.NoError(t, err)
			got, err := quality.BCa(value, resamples, jackknife, confidence)
			require.NoError(t, err)
			c.interval(t, "bca", name, got, 1e-9)
		}
	}
	var mean, squares float64
	for _, v := range resamples {
		mean += v / float64(len(resamples))
	}
	for _, v := range resamples {
		squares += (v - mean) * (v - mean)
	}
	golden.Equal(t, "quality bca", "standard error", float64(c.Want["standard_error"][0]), math.Sqrt(squares/float64(len(resamples)-1)), 1e-10)
}

// bootstrapFigure is a figure by name of rows with weights.
func bootstrapFigure(name string, columns [2][]float64, weights []float64) (float64, error) {
	y, s := columns[0], columns[1]
	switch name {
	case "accuracy":
		m, err := quality.NewConfusion(2)
		if err == nil {
			err = m.Add(ints(y), ints(s), weights)
		}
		if err != nil {
			return 0, err
		}
		return m.Accuracy()
	case "roc_auc":
		r := quality.NewRanking()
		if err := r.Add(below(negated(y), 0), s, weights); err != nil {
			return 0, err
		}
		return r.ROCAUC()
	case "log_loss":
		p, err := quality.NewProbabilities(2, 0)
		if err == nil {
			err = p.AddBinary(below(negated(y), 0), s, weights)
		}
		if err != nil {
			return 0, err
		}
		return p.LogLoss()
	case "median":
		return quality.MedianAbsoluteError(y, s, weights)
	default:
		r := quality.NewRegression()
		if err := r.Add(y, s, weights); err != nil {
			return 0, err
		}
		return map[string]func() (float64, error){"mae": r.MAE, "mse": r.MSE, "r2": r.R2}[name]()
	}
}

func negated(v []float64) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = -x
	}
	return out
}
