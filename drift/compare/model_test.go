package compare_test

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/compare"
)

func metric(t *testing.T, q *compare.Quality, name string) compare.Metric {
	t.Helper()
	require.NotNil(t, q)
	i := slices.IndexFunc(q.Metrics, func(m compare.Metric) bool { return m.Metric == name })
	require.GreaterOrEqual(t, i, 0, name)
	return q.Metrics[i]
}

var modelOptions = compare.Options{Target: "y", Prediction: "p"}

// TestModelOfLabels: figures by hand, of classes that are numbers, texts or booleans, read
// by column or all at once.
func TestModelOfLabels(t *testing.T) {
	// 40 right of 50 positive, 30 right of 50 negative; then 45 and 10.
	side := func(right1, right0 int) (y, p []float64) {
		for i := range 50 {
			y = append(y, 1, 0)
			one, zero := 0.0, 1.0
			if i < right1 {
				one = 1
			}
			if i < right0 {
				zero = 0
			}
			p = append(p, one, zero)
		}
		return y, p
	}
	as := map[string]func([]float64) any{
		"floats": func(v []float64) any { return v },
		"integers": func(v []float64) any {
			out := make([]int64, len(v))
			for i, x := range v {
				out[i] = int64(x)
			}
			return out
		},
		"texts": func(v []float64) any {
			out := make([]string, len(v))
			for i, x := range v {
				out[i] = []string{"no", "yes"}[int(x)]
			}
			return out
		},
		"booleans": func(v []float64) any {
			out := make([]bool, len(v))
			for i, x := range v {
				out[i] = x == 1
			}
			return out
		},
	}
	positive := map[string]string{"floats": "1", "integers": "1", "texts": "yes", "booleans": "true"}
	for name, of := range as {
		for _, columnar := range []bool{true, false} {
			y1, p1 := side(40, 30)
			y2, p2 := side(45, 10)
			o := modelOptions
			if name == "floats" { // else a target of numbers
				o.Categorical = []string{"y"}
			}
			a, b := newTable(t, "a", namedColumn{"p", of(p1)}, namedColumn{"y", of(y1)}), newTable(t, "b", namedColumn{"y", of(y2)}, namedColumn{"p", of(p2)})
			a.columnar, a.batch = columnar, 7
			r := run(t, a, b, o)
			require.Equal(t, "binary", r.Quality.Task, name)
			require.Equal(t, positive[name], r.Quality.Positive)
			m := metric(t, r.Quality, "accuracy")
			require.InDelta(t, 0.7, *m.Reference, 1e-15)
			require.InDelta(t, 0.55, *m.Current, 1e-15)
			require.InDelta(t, 0.60491, m.ReferenceInterval[0], 1e-4) // mid-p
			require.InDelta(t, 0.78365, m.ReferenceInterval[1], 1e-4)
			require.Empty(t, m.ReferenceNoInterval)
			require.Equal(t, "", m.CurrentNoInterval)
			require.InDelta(t, 40.0/60, *metric(t, r.Quality, "precision").Reference, 1e-15)
			require.InDelta(t, 0.9, *metric(t, r.Quality, "recall").Current, 1e-15)
			require.NotNil(t, metric(t, r.Quality, "recall").CurrentInterval)
			require.Equal(t, compare.RoleTarget, column(t, r, "y").Role)
			require.Equal(t, compare.RolePrediction, column(t, r, "p").Role)
			require.False(t, column(t, r, "y").Drifted)
			require.True(t, column(t, r, "p").Drifted, "the model says yes more often: %s", column(t, r, "p").Explanation)
		}
	}
}

func TestModelOfProbabilities(t *testing.T) {
	n := 400
	y, good, bad := integers(1, n, 2), make([]float64, n), make([]float64, n)
	noise := normal(2, n, 0, 0.2)
	for i := range y {
		good[i] = min(max(float64(y[i])*0.6+0.2+noise[i], 0), 1)
		bad[i] = min(max(0.5+noise[i], 0), 1)
	}
	good[0] = math.NaN()
	r := run(t, newTable(t, "a", namedColumn{"y", y}, namedColumn{"p", good}), newTable(t, "b", namedColumn{"y", y}, namedColumn{"p", bad}), modelOptions)
	require.Equal(t, "binary", r.Quality.Task)
	auc := metric(t, r.Quality, "roc_auc")
	require.Greater(t, *auc.Reference, 0.95)
	require.InDelta(t, 0.5, *auc.Current, 0.1)
	require.Less(t, auc.CurrentInterval[1], 0.7)
	require.Nil(t, auc.ReferenceInterval)
	require.Regexp(t, "^too few for an interval: misplaced pairs are worth [0-9.]+ rows, at least 15 are needed$", auc.ReferenceNoInterval)
	require.Empty(t, auc.CurrentNoInterval)
	for _, write := range []func(*bytes.Buffer) error{
		func(b *bytes.Buffer) error { return compare.WriteTable(b, r, false, 0) },
		func(b *bytes.Buffer) error { return compare.WriteHTML(b, r, time.Time{}) },
	} {
		var out bytes.Buffer
		require.NoError(t, write(&out))
		require.Contains(t, out.String(), "roc_auc, reference: "+auc.ReferenceNoInterval)
		require.NotContains(t, out.String(), "roc_auc, current: ")
	}
	loss := metric(t, r.Quality, "log_loss")
	require.True(t, loss.LowerIsBetter)
	require.Less(t, *loss.Reference, *loss.Current)
	require.Contains(t, r.Notes, "quality of the model: 1 row of a lack the target or the prediction and do not count")

	// A side of one class has no area.
	ones := slices.Repeat([]int64{1}, n)
	r = run(t, newTable(t, "a", namedColumn{"y", y}, namedColumn{"p", bad}), newTable(t, "b", namedColumn{"y", ones}, namedColumn{"p", bad}), modelOptions)
	require.Nil(t, metric(t, r.Quality, "roc_auc").Current)
	require.NotNil(t, metric(t, r.Quality, "roc_auc").Reference)
}

func TestModelOfManyClasses(t *testing.T) {
	n := 300
	y := letters(1, n, 1, 1, 1)
	p := slices.Clone(y)
	for i := range 30 {
		p[i*10] = "z" // a class that the target never has
	}
	r := run(t, newTable(t, "a", namedColumn{"y", y}, namedColumn{"p", y}), newTable(t, "b", namedColumn{"y", y}, namedColumn{"p", p}), modelOptions)
	require.Equal(t, "multiclass", r.Quality.Task)
	require.Empty(t, r.Quality.Positive)
	require.InDelta(t, 1, *metric(t, r.Quality, "accuracy").Reference, 0)
	require.InDelta(t, 0.9, *metric(t, r.Quality, "accuracy").Current, 1e-15)
	require.NotNil(t, metric(t, r.Quality, "f1").Current)
	require.NotNil(t, metric(t, r.Quality, "cohen_kappa").Current)
}

func TestModelOfNumbers(t *testing.T) {
	n := 1000
	y := normal(1, n, 10, 5)
	p, worse := slices.Clone(y), slices.Clone(y)
	for i := range p {
		p[i] += []float64{-1, 1}[i%2]
		worse[i] += 2
	}
	r := run(t, newTable(t, "a", namedColumn{"y", y}, namedColumn{"p", p}), newTable(t, "b", namedColumn{"y", y}, namedColumn{"p", worse}), modelOptions)
	require.Equal(t, "regression", r.Quality.Task)
	require.InDelta(t, 1, *metric(t, r.Quality, "mae").Reference, 1e-12)
	require.InDelta(t, 2, *metric(t, r.Quality, "mae").Current, 1e-12)
	require.InDelta(t, 0, *metric(t, r.Quality, "bias").Reference, 1e-12)
	require.InDelta(t, 2, *metric(t, r.Quality, "bias").Current, 1e-12)
	require.NotNil(t, metric(t, r.Quality, "bias").ReferenceInterval)
	require.InDelta(t, 1, *metric(t, r.Quality, "rmse").Reference, 1e-12)
	for _, m := range r.Quality.Metrics { // an interval or why there is none, never a blank
		require.NotEqual(t, m.ReferenceInterval == nil, m.ReferenceNoInterval == "", m.Metric)
		require.NotEqual(t, m.CurrentInterval == nil, m.CurrentNoInterval == "", m.Metric)
	}
	var out bytes.Buffer
	require.NoError(t, compare.WriteTable(&out, r, false, 0))
	require.Contains(t, out.String(), "rmse, both sides: too few for an interval: 1000 rows, at least 2000 are needed")
}

func TestModelThatCannotBeJudged(t *testing.T) {
	n := 100
	y, numbers, words := integers(1, n, 2), normal(2, n, 0, 1), letters(3, n, 1, 1)
	for want, tc := range map[string][2]any{
		`prediction "p" holds numbers that are neither classes of target "y" (0, 1) nor, of two classes, probabilities of "1"`: {y, numbers},
		`target "y" holds numbers and prediction "p" texts`:                                                                    {numbers, words},
		`hold the one class x`: {slices.Repeat([]string{"x"}, n), slices.Repeat([]string{"x"}, n)},
	} {
		_, err := compare.Compare(t.Context(), newTable(t, "a", namedColumn{"y", tc[0]}, namedColumn{"p", tc[1]}), newTable(t, "b", namedColumn{"y", tc[0]}, namedColumn{"p", tc[1]}), modelOptions)
		require.ErrorContains(t, err, want)
	}
	// Alone, either is only a column with a role.
	r := run(t, newTable(t, "a", namedColumn{"y", y}), newTable(t, "b", namedColumn{"y", y}), compare.Options{Target: "y"})
	require.Nil(t, r.Quality)
	require.Equal(t, compare.RoleTarget, r.Columns[0].Role)
	many := make([]string, 2*maxClassesOfTest)
	for i := range many {
		many[i] = strconv.Itoa(i / 2)
	}
	_, err := compare.Compare(t.Context(), newTable(t, "a", namedColumn{"y", many}, namedColumn{"p", many}), newTable(t, "b", namedColumn{"y", many}, namedColumn{"p", many}), modelOptions)
	require.ErrorContains(t, err, "more than 1000 classes")
}

const maxClassesOfTest = 1001
