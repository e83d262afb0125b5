package quality_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/quality"
)

func TestInferenceRefused(t *testing.T) {
	yes := []bool{true, false, true, false}
	s := []float64{1, 2, 3, 4}
	second := func(_ any, err error) error { return err }
	test := func(_, _ float64, err error) error { return err }
	r := quality.NewRanking()
	require.NoError(t, r.Add(yes, s, nil))
	p := new(quality.Paired)
	require.ErrorIs(t, test(p.McNemarExact()), quality.ErrNoRows)
	require.ErrorIs(t, test(p.McNemarChiSquare(true)), quality.ErrNoRows)
	require.NoError(t, p.Add([]int{1, 1, 0, 0}, []int{1, 0, 0, 1}, []int{1, 1, 1, 1}, []float64{1, 2, 0.5, 4}))
	m := quality.BinaryConfusion(0, 0, 0, 5)
	g := quality.NewRegression()
	require.ErrorIs(t, second(g.MAEInterval(0.95)), quality.ErrNoRows)
	require.NoError(t, g.Add([]float64{1}, []float64{2}, nil))
	huge := quality.NewRegression()
	require.NoError(t, huge.Add([]float64{1e200, -1e200}, []float64{0, 0}, nil))
	one := func(rows int, v float64, err error, o quality.BootstrapOptions) error {
		return second(quality.Bootstrap(rows, func([]float64) (float64, error) { return v, err }, o))
	}
	failed := errors.New("no such figure")
	for want, err := range map[string]error{
		"confidence 1, must be between":                    second(quality.Wilson(1, 2, 1)),
		"confidence NaN":                                   second(quality.Wilson(1, 2, math.NaN())),
		"wilson: 3 successes of 2 rows":                    second(quality.Wilson(3, 2, 0.9)),
		"wilson: -1 successes":                             second(quality.Wilson(-1, 2, 0.9)),
		"wilson: 1 successes of +Inf":                      second(quality.Wilson(1, math.Inf(1), 0.9)),
		"wilson: no labelled rows":                         second(quality.Wilson(0, 0, 0.9)),
		"confidence 0, must":                               second(quality.Student(1, 1, 3, 0)),
		"student: mean NaN":                                second(quality.Student(math.NaN(), 1, 3, 0.9)),
		"deviation -1":                                     second(quality.Student(0, -1, 3, 0.9)),
		"student: undefined: 1.5 rows, needs":              second(quality.Student(0, 1, 1.5, 0.9)),
		"student: overflow":                                second(quality.Student(0, 1e308, 2, 0.9999)),
		"precision: undefined: class 1 has no rows":        second(m.PrecisionInterval(1, 0.9)),
		"recall: class 2, must":                            errUnlabelled(second(m.RecallInterval(2, 0.9))),
		"mae: undefined: the interval needs at least two":  second(g.MAEInterval(0.9)),
		"mae: overflow":                                    second(huge.MAEInterval(0.9)),
		"confidence -1, must":                              second(r.ROCAUCInterval(-1)),
		"confidence 2, must":                               second(quality.CompareROCAUC(yes, s, s, nil, 2)),
		"4 labels and 3 values of score of b":              second(quality.CompareROCAUC(yes, s, s[:3], nil, 0.9)),
		"4 rows and 1 weights":                             second(quality.CompareROCAUC(yes, s, s, s[:1], 0.9)),
		"row 0: score of a is NaN":                         second(quality.CompareROCAUC(yes, []float64{math.NaN(), 1, 2, 3}, s, nil, 0.9)),
		"here are 1 positive and 3 negative":               second(quality.CompareROCAUC([]bool{true, false, false, false}, s, s, nil, 0.9)),
		"no row is labelled positive":                      second(quality.CompareROCAUC(make([]bool, 4), s, s, nil, 0.9)),
		"the difference has no variance":                   second(quality.CompareROCAUC([]bool{false, false, true, true}, s, []float64{4, 3, 2, 1}, nil, 0.9)),
		"3 predictions of a":                               p.Add([]int{1}, []int{1, 2, 3}, []int{1}, nil),
		"row 0: weight NaN":                                p.Add([]int{1}, []int{1}, []int{1}, []float64{math.NaN()}),
		"mcnemar of 0.5 and 2 rows: the exact test needs":  test(p.McNemarExact()),
		"mcnemar: undefined: both models are right on the": test(quality.PairedOf(5, 0, 0, 3).McNemarChiSquare(true)),
		"confidence 5, must":                               one(5, 1, nil, quality.BootstrapOptions{Confidence: 5}),
		"bootstrap of 1 resamples":                         one(5, 1, nil, quality.BootstrapOptions{Resamples: 1}),
		"bootstrap of 1 rows":                              one(1, 1, nil, quality.BootstrapOptions{}),
		"the figure is NaN":                                one(5, math.NaN(), nil, quality.BootstrapOptions{}),
		"no such figure":                                   one(5, 0, failed, quality.BootstrapOptions{}),
		"bca of 0 resamples":                               second(quality.BCa(1, nil, s, 0.9)),
		"bca: row 1: figure is NaN":                        second(quality.BCa(1, s, []float64{1, math.NaN()}, 0.9)),
		"bca: row 0: figure is +Inf":                       second(quality.BCa(1, []float64{math.Inf(1)}, s, 0.9)),
		"confidence 9, must":                               second(quality.BCa(1, s, s, 9)),
		"the figure lies outside of all resamples":         second(quality.BCa(9, s, s, 0.9)),
		"is too strong for confidence":                     second(quality.BCa(2.5, s, append(make([]float64, 100), 50), 1-1e-15)),
	} {
		require.ErrorContains(t, err, want)
	}
	require.ErrorIs(t, test(p.McNemarExact()), quality.ErrFractional)

	// A figure that every resample lacks, or that fails in the middle.
	calls := 0
	_, err := quality.Bootstrap(3, func([]float64) (float64, error) {
		if calls++; calls > 4 {
			return 0, fmt.Errorf("one class: %w", quality.ErrUndefined)
		}
		return 1, nil
	}, quality.BootstrapOptions{Resamples: 10})
	require.ErrorIs(t, err, quality.ErrUndefined)
	require.ErrorContains(t, err, "101 of 101 resamples have no figure")
	calls = 0
	_, err = quality.Bootstrap(3, func([]float64) (float64, error) {
		if calls++; calls > 2 {
			return 0, failed
		}
		return 1, nil
	}, quality.BootstrapOptions{})
	require.ErrorIs(t, err, failed)
	require.ErrorContains(t, err, "without row 1")
	good := func([]float64) (float64, error) { return 1, nil }
	bad := func([]float64) (float64, error) { return 0, failed }
	_, err = quality.BootstrapDifference(3, bad, good, quality.BootstrapOptions{})
	require.EqualError(t, err, "model a: no such figure")
	_, err = quality.BootstrapDifference(3, good, bad, quality.BootstrapOptions{})
	require.EqualError(t, err, "model b: no such figure")
}

// errUnlabelled drops what every message of a class out of range starts with.
func errUnlabelled(err error) error {
	if err == nil {
		return nil
	}
	return errors.New("recall: " + err.Error()[len("recall: labels: "):])
}

// TestSameModel: a model against itself differs by nothing.
func TestSameModel(t *testing.T) {
	y := []bool{true, false, true, false, true}
	a, b := []float64{1, 2, 3, 4, 5}, []float64{10, 20, 30, 40, 50} // ranks alike
	d, err := quality.CompareROCAUC(y, a, b, []float64{1, 0.3, 0.1, 0.9, 2}, 0.95)
	require.NoError(t, err)
	require.ErrorIs(t, d.NoInterval, quality.ErrTooFew)
	d.NoInterval = nil
	require.Equal(t, quality.Difference{A: d.A, B: d.A, PValue: 1}, d)
	_, p, err := quality.PairedOf(5, 0, 0, 3).McNemarExact()
	require.NoError(t, err)
	require.Equal(t, 1.0, p)
	figure := func(w []float64) (float64, error) { return w[0], nil }
	d, err = quality.BootstrapDifference(5, figure, figure, quality.BootstrapOptions{Resamples: 50})
	require.NoError(t, err)
	require.ErrorIs(t, d.NoInterval, quality.ErrTooFew)
	d.NoInterval = nil
	require.Equal(t, quality.Difference{A: 1, B: 1, PValue: 1}, d)

	r := quality.NewRanking()
	require.NoError(t, r.Add([]bool{false, false, true, true}, a[:4], nil))
	i, err := r.DeLongInterval(0.95)
	require.NoError(t, err)
	require.Equal(t, quality.Interval{Low: 1, High: 1}, i) // classes that scores separate
}

// TestMidP: the tails beyond the ends, by the terms of the binomial distribution, and what is
// beyond counting.
func TestMidP(t *testing.T) {
	tail := func(k, n int, p float64) float64 { // of more than k, and half of k
		out := 0.0
		for i := k; i <= n; i++ {
			a, _ := math.Lgamma(float64(n + 1))
			b, _ := math.Lgamma(float64(i + 1))
			c, _ := math.Lgamma(float64(n - i + 1))
			term := math.Exp(a - b - c + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
			if i == k {
				term /= 2
			}
			out += term
		}
		return out
	}
	for _, c := range [][2]int{{1, 10}, {5, 30}, {29, 30}, {300, 1000}} {
		i, err := quality.MidP(float64(c[0]), float64(c[1]), 0.95)
		require.NoError(t, err)
		require.InDelta(t, 0.025, tail(c[0], c[1], i.Low), 1e-10)
		require.InDelta(t, 0.975, tail(c[0], c[1], i.High), 1e-10)
	}
	i, err := quality.MidP(0, 10, 0.95)
	require.NoError(t, err)
	require.Zero(t, i.Low)
	i, err = quality.MidP(10, 10, 0.95)
	require.NoError(t, err)
	require.Equal(t, 1.0, i.High)
	below, err := quality.MidP(1e4, 1e6, 0.95)
	require.NoError(t, err)
	above, err := quality.Wilson(1e4, 1e6, 0.95)
	require.NoError(t, err)
	require.InDelta(t, above.Low, below.Low, 1e-6, "the change to Wilson's is less than a row")
	require.InDelta(t, above.High, below.High, 1e-6)
	_, err = quality.MidP(3, 2, 0.95)
	require.ErrorContains(t, err, "3 successes of 2 rows")
}

// TestTooFew: where there is no interval, the reason says how many rows it takes.
func TestTooFew(t *testing.T) {
	second := func(_ any, err error) error { return err }
	ranking := func(positive, negative int, score func(i int, positive bool) float64) *quality.Ranking {
		r := quality.NewRanking()
		for i := range positive + negative {
			y := i < positive
			require.NoError(t, r.Add([]bool{y}, []float64{score(i, y)}, nil))
		}
		return r
	}
	apart := func(_ int, positive bool) float64 {
		if positive {
			return 1
		}
		return 0
	}
	wrong := func(_ int, positive bool) float64 { return -apart(0, positive) }
	// One of 100 positive rows scores below all negative ones.
	blunder := func(i int, positive bool) float64 {
		if i == 0 {
			return -1
		}
		return apart(i, positive)
	}
	for want, err := range map[string]error{
		"accuracy: too few for an interval: 29 rows, at least 30 are needed":                                    second(quality.BinaryConfusion(9, 5, 5, 10).AccuracyInterval(0.95)),
		"accuracy: too few for an interval: 4 of 100 rows are wrong, at least 5 are needed":                     second(quality.BinaryConfusion(50, 4, 0, 46).AccuracyInterval(0.95)),
		"precision: too few for an interval: 3 of 40 rows are right, at least 5 are needed":                     second(quality.BinaryConfusion(3, 37, 0, 9).PrecisionInterval(1, 0.95)),
		"recall: too few for an interval: 4 of 60 rows are missed, at least 5 are needed":                       second(quality.BinaryConfusion(56, 0, 4, 9).RecallInterval(1, 0.95)),
		"recall: too few for an interval: all of 60 rows are found; at least 0.9513 at 95 % confidence":         second(quality.BinaryConfusion(60, 0, 0, 9).RecallInterval(1, 0.95)),
		"roc_auc: too few for an interval: 49 positive and 200 negative rows, at least 50 of each are needed":   second(ranking(49, 200, func(i int, _ bool) float64 { return float64(i * 7 % 11) }).ROCAUCInterval(0.95)),
		"roc_auc: too few for an interval: the scores separate the classes: at least 0.7411 at 95 % confidence": second(ranking(10, 200, apart).ROCAUCInterval(0.95)),
		"roc_auc: too few for an interval: the scores separate the classes: at most 0.2589 at 95 % confidence":  second(ranking(10, 200, wrong).ROCAUCInterval(0.95)),
		"roc_auc: too few for an interval: all rows have one score":                                             second(ranking(60, 60, func(int, bool) float64 { return 3 }).ROCAUCInterval(0.95)),
		"roc_auc: too few for an interval: misplaced pairs are worth 1 rows, at least 15 are needed":            second(ranking(100, 200, blunder).ROCAUCInterval(0.95)),
	} {
		require.ErrorIs(t, err, quality.ErrTooFew)
		require.EqualError(t, err, want)
	}
	g := quality.NewRegression()
	require.NoError(t, g.Add(make([]float64, 999), make([]float64, 999), nil))
	require.EqualError(t, second(g.MAEInterval(0.95)), "mae: too few for an interval: 999 rows, at least 1000 are needed")
	require.ErrorContains(t, second(g.StudentInterval(quality.MetricR2, 0.95)), "must be mae or bias")
}

// TestErrorsMerge: parts have the interval of the whole, cubes included, which a few great
// errors widen on their side.
func TestErrorsMerge(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed, 3))
	const n = 1200
	p := make([]float64, n)
	for i := range p {
		p[i] = rng.ExpFloat64() * float64(1-2*(i%2)*(i%3)/2)
	}
	whole, parts, rest := quality.NewRegression(), quality.NewRegression(), quality.NewRegression()
	require.NoError(t, whole.Add(make([]float64, n), p, nil))
	require.NoError(t, parts.Add(make([]float64, 150), p[:150], nil))
	require.NoError(t, rest.Add(make([]float64, n-150), p[150:], nil))
	parts.Merge(rest)
	for m, interval := range map[quality.Metric]func(*quality.Regression) (quality.Interval, error){
		quality.MetricMAE:  func(r *quality.Regression) (quality.Interval, error) { return r.MAEInterval(0.95) },
		quality.MetricBias: func(r *quality.Regression) (quality.Interval, error) { return r.BiasInterval(0.95) },
	} {
		want, err := interval(whole)
		require.NoError(t, err)
		got, err := interval(parts)
		require.NoError(t, err)
		require.InDelta(t, want.Low, got.Low, 1e-14)
		require.InDelta(t, want.High, got.High, 1e-14)
		student, err := whole.StudentInterval(m, 0.95)
		require.NoError(t, err)
		require.Equal(t, student.Low, want.Low)
		require.Greater(t, want.High, student.High)
	}
}

// TestPropertyPaired: the order of models turns the sign, the parts merge to the whole, and
// weights repeat rows.
func TestPropertyPaired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRows(t)
		b := make([]float64, len(r.scores))
		other := make([]int, len(r.labels))
		for i := range b {
			b[i] = rapid.Float64Range(-1, 1).Draw(t, "score of b")
			other[i] = rapid.IntRange(0, classes-1).Draw(t, "prediction of b")
		}
		var index []int
		for i, w := range r.weights {
			for range int(w) {
				index = append(index, i)
			}
		}
		ab, err := quality.CompareROCAUC(r.positive, r.scores, b, r.weights, 0.9)
		ba, err2 := quality.CompareROCAUC(r.positive, b, r.scores, r.weights, 0.9)
		repeated, err3 := quality.CompareROCAUC(at(r.positive, index), at(r.scores, index), at(b, index), nil, 0.9)
		require.Equal(t, err == nil, err2 == nil)
		require.Equal(t, err == nil, err3 == nil)
		if err == nil {
			require.InDelta(t, ab.Value, -ba.Value, 1e-14)
			require.InDelta(t, ab.PValue, ba.PValue, 1e-9)
			require.InDelta(t, ab.Reference.Low, -ba.Reference.High, 1e-12)
			require.InDelta(t, ab.Value, repeated.Value, 1e-12)
			require.InDelta(t, ab.PValue, repeated.PValue, 1e-9)
			require.LessOrEqual(t, ab.Reference.Low, ab.Value)
			require.GreaterOrEqual(t, ab.Reference.High, ab.Value)
		}

		whole, parts := new(quality.Paired), new(quality.Paired)
		require.NoError(t, whole.Add(r.labels, r.predictions, other, r.weights))
		k := rapid.IntRange(0, len(r.labels)).Draw(t, "cut")
		rest := new(quality.Paired)
		require.NoError(t, parts.Add(r.labels[:k], r.predictions[:k], other[:k], r.weights[:k]))
		require.NoError(t, rest.Add(r.labels[k:], r.predictions[k:], other[k:], r.weights[k:]))
		parts.Merge(rest)
		require.Equal(t, *whole, *parts)
		both, onlyA, onlyB, neither := whole.Counts()
		require.Equal(t, float64(len(index)), both+onlyA+onlyB+neither)
		turned := quality.PairedOf(int64(both), int64(onlyB), int64(onlyA), int64(neither))
		_, p, err := whole.McNemarExact()
		_, q, err2 := turned.McNemarExact()
		require.Equal(t, err, err2)
		require.Equal(t, p, q)
		require.LessOrEqual(t, p, 1.0)
	})
}

// seed of all simulations.
const seed = 20261126

// TestBootstrap: the same seed gives the same interval, another one a similar one; many rows
// are left out in groups; resamples without a figure are drawn again.
func TestBootstrap(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed, 2))
	const n = 1500
	columns := [2][]float64{make([]float64, n), make([]float64, n)}
	for i := range n {
		columns[1][i] = rng.NormFloat64() * 2
	}
	mse := func(w []float64) (float64, error) { return bootstrapFigure("mse", columns, w) }
	b, err := quality.Bootstrap(n, mse, quality.BootstrapOptions{Seed: 5, Resamples: 500})
	require.NoError(t, err)
	again, err := quality.Bootstrap(n, mse, quality.BootstrapOptions{Seed: 5, Resamples: 500})
	require.NoError(t, err)
	require.Equal(t, b, again)
	other, err := quality.Bootstrap(n, mse, quality.BootstrapOptions{Seed: 6, Resamples: 500})
	require.NoError(t, err)
	require.NotEqual(t, b.BCa, other.BCa)
	require.Equal(t, b.Interval, other.Interval) // by leaving rows out: resamples do not matter
	// The mean of 4·χ²₁ has the standard error 4·√(2/n).
	require.InEpsilon(t, 4*math.Sqrt(2.0/n), b.StandardError, 0.15)
	require.InDelta(t, b.BCa.Low, other.BCa.Low, b.StandardError/2)
	require.InDelta(t, b.BCa.Low, b.Interval.Low, b.StandardError/4)
	require.InDelta(t, b.BCa.High, b.Interval.High, b.StandardError/4)
	require.Less(t, b.Interval.Low, b.Value)
	require.Greater(t, b.Interval.High, b.Value)

	skewed := [2][]float64{make([]float64, 20), {5, 1, 0, 0, 1, 0, 2, 0, 0, 1, 0, 0, 0, 3, 0, 1, 0, 0, 0, 0}}
	b, err = quality.Bootstrap(20, func(w []float64) (float64, error) { return bootstrapFigure("mae", skewed, w) }, quality.BootstrapOptions{})
	require.NoError(t, err)
	require.Greater(t, b.BCa.High-b.Value, 1.3*(b.Value-b.BCa.Low), "a skewed figure has a skewed interval")
	require.Nil(t, b.Interval)
	require.EqualError(t, b.NoInterval, "too few for an interval: 20 rows, at least 200 are needed")

	few := [2][]float64{{1, 1, 0, 0, 0, 0, 0, 0}, {0.9, 0.4, 0.2, 0.5, 0.1, 0.3, 0.6, 0.2}}
	auc := func(w []float64) (float64, error) { return bootstrapFigure("roc_auc", few, w) }
	b, err = quality.Bootstrap(8, auc, quality.BootstrapOptions{Seed: 1, Resamples: 200})
	require.NoError(t, err)
	require.Positive(t, b.Redrawn)

	worse := func(w []float64) (float64, error) {
		v, err := mse(w)
		return v + 0.01*w[0] + 0.1, err
	}
	d, err := quality.BootstrapDifference(n, worse, mse, quality.BootstrapOptions{Resamples: 300})
	require.NoError(t, err)
	require.InDelta(t, 0.11, d.Value, 1e-12)
	require.InDelta(t, d.A-d.B, d.Value, 1e-12)
	require.Positive(t, d.Reference.Low)
	require.EqualError(t, d.NoInterval, "bootstrap: too few for an interval: few rows make up the figure, its skewness is 1, at most 0.5", "one row makes up the difference")
	require.InDelta(t, 2.0/301, d.PValue, 1e-15)
}

func TestBCaPoint(t *testing.T) {
	i, err := quality.BCa(3, []float64{3, 3, 3}, []float64{3, 3}, 0.95)
	require.NoError(t, err)
	require.Equal(t, quality.Interval{Low: 3, High: 3}, i)
	require.Zero(t, quality.Acceleration([]float64{0.1, 0.1, 0.1}))
	require.Zero(t, quality.Acceleration(nil))
	require.Zero(t, quality.Bias(2, nil))
	require.Zero(t, quality.Bias(2, []float64{1, 2, 3}))
	require.InEpsilon(t, quality.Acceleration([]float64{1, 2, 9}), quality.Acceleration([]float64{1e-200, 2e-200, 9e-200}), 1e-12)
}

// TestPropertyIntervals: whatever the confidence, the share lies in its interval, a wider
// confidence gives a wider one, and the complement has the complement.
func TestPropertyIntervals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Float64Range(0.01, 1e12).Draw(t, "rows")
		k := n * rapid.Float64Range(0, 1).Draw(t, "share")
		a, b := rapid.Float64Range(1e-18, 1-0x1p-53).Draw(t, "confidence"), rapid.Float64Range(1e-18, 1-0x1p-53).Draw(t, "confidence")
		narrow, err := quality.Wilson(k, n, min(a, b))
		require.NoError(t, err)
		wide, err := quality.Wilson(k, n, max(a, b))
		require.NoError(t, err)
		within := 1e-14
		require.LessOrEqual(t, narrow.Low, k/n+within)
		require.GreaterOrEqual(t, narrow.High, k/n-within)
		require.LessOrEqual(t, wide.Low, narrow.Low+within)
		require.GreaterOrEqual(t, wide.High, narrow.High-within)
		require.GreaterOrEqual(t, wide.Low, 0.0)
		require.LessOrEqual(t, wide.High, 1.0)
		exact, err := quality.MidP(k, n, max(a, b))
		require.NoError(t, err)
		require.GreaterOrEqual(t, exact.Low, 0.0)
		require.LessOrEqual(t, exact.Low, exact.High)
		require.LessOrEqual(t, exact.High, 1.0)
		other, err := quality.Wilson(n-k, n, max(a, b))
		require.NoError(t, err)
		require.InDelta(t, 1-wide.Low, other.High, 1e-9)

		m, d := 2+n, rapid.Float64Range(0, 100).Draw(t, "deviation")
		inner, err := quality.Student(5, d, m, min(a, b))
		require.NoError(t, err)
		outer, err := quality.Student(5, d, m, max(a, b))
		require.NoError(t, err)
		require.LessOrEqual(t, inner.Low, inner.High)
		slack := 1e-9 * (1 + outer.High - outer.Low)
		require.LessOrEqual(t, outer.Low, inner.Low+slack)
		require.GreaterOrEqual(t, outer.High, inner.High-slack)
	})
}
