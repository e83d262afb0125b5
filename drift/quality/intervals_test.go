package quality_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/quality"
)

// TestIntervalsOfAllFigures: the errors that intervals are made of are those of resampled
// rows, parts merge to the whole, and a weight of 2 is two rows.
func TestIntervalsOfAllFigures(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed, 7))
	const n = 2000
	y, labels, answers := make([]bool, n), make([]int, n), make([]int, n)
	scores, target, prediction := make([]float64, n), make([]float64, n), make([]float64, n)
	classes, guesses := make([]int, n), make([]int, n)
	for i := range n {
		odds := 1.5 * rng.NormFloat64()
		scores[i] = 1 / (1 + math.Exp(-odds))
		if y[i] = rng.Float64() < scores[i]; y[i] {
			labels[i] = 1
		}
		if scores[i] >= 0.5 {
			answers[i] = 1
		}
		target[i] = 5 + rng.Float64()*3
		prediction[i] = target[i] + 0.3*rng.NormFloat64()
		classes[i] = rng.IntN(3)
		if guesses[i] = classes[i]; rng.Float64() < 0.3 {
			guesses[i] = rng.IntN(3)
		}
	}
	lists := map[string]func(w []float64, from, to int) []quality.Figure{
		"binary": func(w []float64, from, to int) []quality.Figure {
			c, err := quality.NewConfusion(2)
			require.NoError(t, err)
			p, err := quality.NewProbabilities(2, 0)
			require.NoError(t, err)
			r := quality.NewRanking()
			for _, part := range [][2]int{{from, n / 3}, {n / 3, to}} {
				a, b := part[0], part[1]
				c2, _ := quality.NewConfusion(2)
				p2, _ := quality.NewProbabilities(2, 0)
				r2 := quality.NewRanking()
				require.NoError(t, c2.Add(labels[a:b], answers[a:b], w[a:b]))
				require.NoError(t, p2.AddBinary(y[a:b], scores[a:b], w[a:b]))
				require.NoError(t, r2.Add(y[a:b], scores[a:b], w[a:b]))
				require.NoError(t, c.Merge(c2))
				require.NoError(t, p.Merge(p2))
				r.Merge(r2)
			}
			return quality.BinaryFigures(c, r, p, 0.95)
		},
		"multiclass": func(w []float64, from, to int) []quality.Figure {
			c, err := quality.NewConfusion(3)
			require.NoError(t, err)
			require.NoError(t, c.Add(classes[from:to], guesses[from:to], w[from:to]))
			return quality.MulticlassFigures(c, nil, 0.95)
		},
		"regression": func(w []float64, from, to int) []quality.Figure {
			r := quality.NewRegression()
			for _, part := range [][2]int{{from, n / 3}, {n / 3, to}} {
				a, b := part[0], part[1]
				r2 := quality.NewRegression()
				require.NoError(t, r2.Add(target[a:b], prediction[a:b], w[a:b]))
				r.Merge(r2)
			}
			return quality.RegressionFigures(r, 0.95)
		},
	}
	const resamples = 120
	for name, list := range lists {
		weights := make([]float64, n)
		for i := range weights {
			weights[i] = 1
		}
		figures := list(weights, 0, n)
		sums, squares := make([]float64, len(figures)), make([]float64, len(figures))
		for range resamples {
			clear(weights)
			for range n {
				weights[rng.IntN(n)]++
			}
			for k, f := range list(weights, 0, n) {
				sums[k] += *f.Value
				squares[k] += *f.Value * *f.Value
			}
		}
		for k, f := range figures {
			if f.Metric == quality.MetricECE {
				continue
			}
			require.NoError(t, f.NoInterval, name)
			mean := sums[k] / resamples
			se := math.Sqrt(squares[k]/resamples - mean*mean)
			// Hulls are wider than one of their parts by what skewness is.
			require.InDelta(t, 1, (f.Interval.High-f.Interval.Low)/2/1.96/se, 0.25, "%s: %s", name, f.Metric)
			require.Less(t, f.Interval.Low, *f.Value)
			require.Greater(t, f.Interval.High, *f.Value)
		}
	}
}

// TestIntervalsOfShares: F1 is the share of what is labelled or predicted so that is both, and a
// mean of shares has the ends that are as far as those of its parts, squared and summed.
func TestIntervalsOfShares(t *testing.T) {
	c := quality.BinaryConfusion(60, 20, 30, 90)
	share, err := quality.MidP(60, 110, 0.95)
	require.NoError(t, err)
	got, err := c.F1Interval(1, 0.95)
	require.NoError(t, err)
	require.InDelta(t, 2*share.Low/(1+share.Low), got.Low, 1e-15)
	require.InDelta(t, 2*share.High/(1+share.High), got.High, 1e-15)

	mean, err := c.BalancedAccuracyInterval(0.95)
	require.NoError(t, err)
	a, err := quality.MidP(60, 90, 0.95)
	require.NoError(t, err)
	b, err := quality.MidP(90, 110, 0.95)
	require.NoError(t, err)
	value := (60.0/90 + 90.0/110) / 2
	require.InDelta(t, value-math.Hypot(60.0/90-a.Low, 90.0/110-b.Low)/2, mean.Low, 1e-15)
	require.InDelta(t, value+math.Hypot(a.High-60.0/90, b.High-90.0/110)/2, mean.High, 1e-15)
}

// TestClassWithoutRows: a figure of other classes than all has no interval.
func TestClassWithoutRows(t *testing.T) {
	c := quality.BinaryConfusion(0, 20, 0, 80)
	_, err := c.BalancedAccuracyInterval(0.95)
	require.EqualError(t, err, "balanced_accuracy: too few for an interval: no row of class 1")
	_, err = c.MatthewsInterval(0.95)
	require.ErrorIs(t, err, quality.ErrTooFew)
}

// TestHeavyTails: errors that are too far apart for an interval have none, whatever the rows.
func TestHeavyTails(t *testing.T) {
	second := func(_ quality.Interval, err error) error { return err }
	rng := rand.New(rand.NewPCG(seed, 8))
	const n = 2000
	errs, targets := make([]float64, n), make([]float64, n)
	for i := range errs {
		errs[i], targets[i] = math.Exp(3*rng.NormFloat64()), math.Exp(2*rng.NormFloat64())
	}
	far := quality.NewRegression()
	require.NoError(t, far.Add(make([]float64, n), errs, nil))
	for _, err := range []error{second(far.MAEInterval(0.95)), second(far.RMSEInterval(0.95)), second(far.MAPEInterval(0.95))} {
		require.ErrorIs(t, err, quality.ErrTooFew)
		require.ErrorContains(t, err, "the greatest errors make up the figure, their tail is")
	}
	// Whether errors are is not a matter of their unit: here, quantiles of exponential errors, whose
	// squares have a tail of 0.65, and of Pareto's, which have one of 0.8.
	for step := range 16 {
		unit := math.Exp2(float64(step) / 16)
		near, pareto := quality.NewRegression(), quality.NewRegression()
		light, heavy := make([]float64, n), make([]float64, n)
		for i := range n {
			left := (float64(i) + 0.5) / n
			light[i], heavy[i] = -unit*math.Log(left), unit*math.Pow(left, -0.4)
		}
		require.NoError(t, near.Add(make([]float64, n), light, nil))
		require.NoError(t, pareto.Add(make([]float64, n), heavy, nil))
		require.NoError(t, second(near.MSEInterval(0.95)), "unit %v", unit)
		err := second(pareto.MSEInterval(0.95))
		require.ErrorIs(t, err, quality.ErrTooFew, "unit %v", unit)
		require.Regexp(t, `their tail is 0\.(78|79|8|81), at most 0\.7$`, err.Error(), "unit %v", unit)
	}
	spread, right := quality.NewRegression(), make([]float64, n)
	for i, y := range targets {
		right[i] = y + rng.NormFloat64()
	}
	require.NoError(t, spread.Add(targets, right, nil))
	require.NoError(t, second(spread.RMSEInterval(0.95)))
	require.ErrorContains(t, second(spread.R2Interval(0.95)), "a few targets make up the spread, its kurtosis is")
}

// Sizes beyond the range of a float64 overflow the figure, and nothing else.
func TestTailOfInfiniteErrors(t *testing.T) {
	r := quality.NewRegression()
	for range 3 {
		require.NoError(t, r.Add([]float64{1, 0, 1e308, 2}, []float64{1.5, math.MaxFloat64, -1e308, 2.5}, nil))
	}
	_, err := r.MAPE()
	require.ErrorIs(t, err, quality.ErrOverflow)
}
