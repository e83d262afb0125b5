package quality_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/quality"
)

func TestMetricNames(t *testing.T) {
	seen := map[quality.Metric]bool{}
	for _, m := range quality.Metrics() {
		require.True(t, m.Known(), m)
		require.False(t, seen[m], m)
		seen[m] = true
	}
	require.False(t, quality.Metric("gini").Known())
	require.False(t, quality.MetricGain.Regression())
	require.True(t, quality.MetricMAE.Regression())
	require.True(t, quality.MetricBias.Regression())
	require.False(t, quality.Metric("gini").Regression())
	require.True(t, quality.MetricLogLoss.LowerIsBetter())
	require.False(t, quality.MetricR2.LowerIsBetter())
}

// TestNoRows: without rows, or with weights of 0 alone, every figure is ErrNoRows.
func TestNoRows(t *testing.T) {
	for name, weights := range map[string][]float64{"empty": nil, "weights of 0": {0, 0}} {
		t.Run(name, func(t *testing.T) {
			n := len(weights)
			c, err := quality.NewConfusion(2)
			require.NoError(t, err)
			require.NoError(t, c.Add(make([]int, n), make([]int, n), weights))
			m, err := quality.NewMultilabel(1)
			require.NoError(t, err)
			require.NoError(t, m.Add([][]bool{make([]bool, n)}, [][]bool{make([]bool, n)}, weights))
			r := quality.NewRanking()
			require.NoError(t, r.Add(make([]bool, n), make([]float64, n), weights))
			p, err := quality.NewProbabilities(2, 0)
			require.NoError(t, err)
			require.NoError(t, p.AddBinary(make([]bool, n), make([]float64, n), weights))
			g := quality.NewRegression()
			require.NoError(t, g.Add(make([]float64, n), make([]float64, n), weights))
			require.Zero(t, c.Rows())
			require.Zero(t, p.Rows())
			require.Zero(t, g.Rows())
			require.Zero(t, r.Distinct())
			require.Empty(t, p.Calibration())
			for what, f := range map[string]func() (float64, error){
				"accuracy": c.Accuracy, "balanced": c.BalancedAccuracy, "matthews": c.Matthews,
				"kappa":     func() (float64, error) { return c.Kappa("") },
				"precision": func() (float64, error) { return c.Precision(quality.Options{}) },
				"binary":    func() (float64, error) { return c.Recall(quality.Options{Average: quality.AverageBinary}) },
				"exact":     m.Accuracy,
				"macro":     func() (float64, error) { return m.Recall(quality.Options{}) },
				"samples":   func() (float64, error) { return m.FBeta(1, quality.Options{Average: quality.AverageSamples}) },
				"roc auc":   r.ROCAUC, "average precision": r.AveragePrecision, "pr auc": r.PRAUC, "ties": r.TieBound,
				"log loss": p.LogLoss, "brier": p.Brier, "ece": p.ECE,
				"mae": g.MAE, "mse": g.MSE, "rmse": g.RMSE, "mape": g.MAPE, "smape": g.SMAPE, "bias": g.Bias, "r2": g.R2,
				"quantile loss": func() (float64, error) { return g.QuantileLoss(0.5) },
				"median": func() (float64, error) {
					return quality.MedianAbsoluteError(make([]float64, n), make([]float64, n), weights)
				},
			} {
				v, err := f()
				require.ErrorIs(t, err, quality.ErrNoRows, what)
				require.Zero(t, v, what)
			}
			_, err = r.Gain()
			require.ErrorIs(t, err, quality.ErrNoRows)
			_, err = c.PerClass(1, quality.Options{})
			require.ErrorIs(t, err, quality.ErrNoRows)
		})
	}
}

// TestRefused: input that has no meaning is an error that says where, and changes nothing.
func TestRefused(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	c, err := quality.NewConfusion(2)
	require.NoError(t, err)
	m, err := quality.NewMultilabel(2)
	require.NoError(t, err)
	r, g := quality.NewRanking(), quality.NewRegression()
	p, err := quality.NewProbabilities(2, 5)
	require.NoError(t, err)
	p3, err := quality.NewProbabilities(3, 5)
	require.NoError(t, err)
	other := func(classes, bins int) *quality.Probabilities {
		q, err := quality.NewProbabilities(classes, bins)
		require.NoError(t, err)
		return q
	}
	wide, err := quality.NewConfusion(3)
	require.NoError(t, err)
	three, err := quality.NewMultilabel(3)
	require.NoError(t, err)
	yes, ys := []bool{true, false}, [][]bool{{true, false}, {false, false}}
	third := [][]float64{{0.2}, {0.3}, {0.6}}
	full, err := quality.ConfusionOf([][]float64{{1, 2, 0}, {0, 3, 1}, {0, 0, 4}})
	require.NoError(t, err)
	edges, err := quality.ConfusionOf([][]float64{{1, 0, 2}, {0, 0, 0}, {1, 0, 4}})
	require.NoError(t, err)
	binary := quality.Options{Average: quality.AverageBinary}
	second := func(_ any, err error) error { return err }

	for want, err := range map[string]error{
		"2 labels and 1 predictions":                     c.Add([]int{0, 1}, []int{0}, nil),
		"row 1: label is class 2, must be in [0, 2)":     c.Add([]int{0, 2}, []int{0, 1}, nil),
		"row 0: prediction is class -1":                  c.Add([]int{0, 1}, []int{-1, 1}, nil),
		"row 1: weight -1, must be":                      c.Add([]int{0, 1}, []int{0, 1}, []float64{1, -1}),
		"row 0: weight NaN":                              c.Add([]int{0, 1}, []int{0, 1}, []float64{nan, 1}),
		"2 rows and 1 weights":                           c.Add([]int{0, 1}, []int{0, 1}, []float64{1}),
		"matrices of 2 and 3 classes":                    c.Merge(wide),
		"counts of 2 and 3 labels":                       m.Merge(three),
		"confusion matrix of 0 classes":                  second(quality.NewConfusion(0)),
		"of 5000 classes":                                second(quality.NewConfusion(5000)),
		"row 1 has 1 cells":                              second(quality.ConfusionOf([][]float64{{1, 2}, {3}})),
		"cell (0, 1) is -2":                              second(quality.ConfusionOf([][]float64{{1, -2}, {3, 4}})),
		"average binary of 3 classes":                    second(full.Precision(binary)),
		"positive class 1 is none of the two":            second(edges.Precision(binary)),
		"class 7, must be in [0, 3)":                     second(full.Precision(quality.Options{Labels: []int{7}})),
		"class 1 is listed twice":                        second(full.Recall(quality.Options{Labels: []int{1, 1}})),
		"labels: none given":                             second(full.Recall(quality.Options{Labels: []int{}})),
		`average "samples" is not one of`:                second(full.Recall(quality.Options{Average: quality.AverageSamples})),
		"beta is -1":                                     second(full.FBeta(-1, quality.Options{})),
		"beta is NaN":                                    second(full.PerClass(nan, quality.Options{})),
		`kappa: weights "cubic"`:                         second(full.Kappa("cubic")),
		`normalise a confusion matrix by "rows"`:         second(full.Matrix("rows")),
		"multilabel of 0 labels":                         second(quality.NewMultilabel(0)),
		"multilabel of 2 labels: 1 columns":              m.Add([][]bool{yes}, ys, nil),
		"label 1: 1 labels and 2 predictions":            m.Add([][]bool{yes, {true}}, ys, nil),
		"2 rows and 3 weights":                           m.Add(ys, ys, []float64{1, 2, 3}),
		"2 labels and 1 values of score":                 r.Add(yes, []float64{1}, nil),
		"row 1: score is NaN":                            r.Add(yes, []float64{1, nan}, nil),
		"row 0: score is -Inf":                           r.Add(yes, []float64{-inf, 1}, nil),
		"row 1: weight +Inf":                             r.Add(yes, []float64{1, 2}, []float64{1, inf}),
		"ranking of 2 scores, 1 positive":                second(quality.RankingOf([]float64{1, 2}, []float64{1}, []float64{1, 1})),
		"score 1 is not above":                           second(quality.RankingOf([]float64{1, 1}, []float64{1, 1}, []float64{1, 1})),
		"ranking counts: row 0: weight -1":               second(quality.RankingOf([]float64{1}, []float64{-1}, []float64{1})),
		"row 0: score is NaN":                            second(quality.RankingOf([]float64{nan}, []float64{1}, []float64{1})),
		"row 0: probability is 1.5":                      p.AddBinary(yes, []float64{1.5, 0}, nil),
		"row 1: probability is -0.5":                     p.AddBinary(yes, []float64{1, -0.5}, nil),
		"row 1: probability is NaN":                      p.AddBinary(yes, []float64{1, nan}, nil),
		"2 rows and 0 weights":                           p.AddBinary(yes, []float64{1, 0}, []float64{}),
		"binary rows for probabilities of 3 classes":     p3.AddBinary(yes, []float64{1, 0}, nil),
		"probabilities of 1 classes":                     second(quality.NewProbabilities(1, 5)),
		"in -1 bins":                                     second(quality.NewProbabilities(2, -1)),
		"2 columns of probabilities, must have one for":  p3.Add([]int{0}, third[:2], nil),
		"the probabilities of the classes sum to 1.1":    p3.Add([]int{0}, third, nil),
		"row 0: label is class 3":                        p3.Add([]int{3}, [][]float64{{0.2}, {0.3}, {0.5}}, nil),
		"probability of class 2 is NaN":                  p3.Add([]int{1}, [][]float64{{0.2}, {0.3}, {nan}}, nil),
		"with 3 in 5":                                    p.Merge(p3),
		"in 5 bins with 2 in 4":                          p.Merge(other(2, 4)),
		"row 1: target is NaN":                           g.Add([]float64{1, nan}, []float64{1, 2}, nil),
		"row 0: prediction is +Inf":                      g.Add([]float64{1, 2}, []float64{inf, 2}, nil),
		"2 labels and 1 values of prediction":            g.Add([]float64{1, 2}, []float64{2}, nil),
		"quantile 1.5, must be in [0, 1]":                second(g.QuantileLoss(1.5)),
		"1 columns of probabilities, several":            second(quality.MulticlassROCAUC([]int{0}, third[:1], nil, "")),
		"roc_auc: average samples is for several labels": second(quality.MulticlassROCAUC([]int{0}, [][]float64{{0.5}, {0.5}}, nil, quality.AverageSamples)),
		`roc_auc: average "binary" is not`:               second(quality.MultilabelROCAUC(ys, [][]float64{{1, 2}, {3, 4}}, nil, quality.AverageBinary)),
		"roc_auc: 2 columns of labels and 1 of scores":   second(quality.MultilabelROCAUC(ys, [][]float64{{1, 2}}, nil, "")),
		"label 1 has 1 rows":                             second(quality.MultilabelROCAUC([][]bool{yes, {true}}, [][]float64{{1, 2}, {3, 4}}, nil, "")),
		"score of label 1 is NaN":                        second(quality.MultilabelROCAUC(ys, [][]float64{{1, 2}, {3, nan}}, nil, "")),
		`average "micro", must be macro or weighted`:     second(quality.PairwiseROCAUC([]int{0}, [][]float64{{0.5}, {0.5}}, quality.AverageMicro)),
		"median_absolute_error: overflow":                second(quality.MedianAbsoluteError([]float64{1e308}, []float64{-1e308}, nil)),
		"2 labels and 3 values of prediction":            second(quality.MedianAbsoluteError([]float64{1, 2}, []float64{1, 2, 3}, nil)),
	} {
		require.ErrorContains(t, err, want)
	}
	require.Zero(t, c.Rows())
	require.Zero(t, r.Distinct())
	require.Zero(t, p.Rows()+p3.Rows()+g.Rows())
	_, err = m.Accuracy()
	require.ErrorIs(t, err, quality.ErrNoRows)
}

// TestUndefined: figures that rows give no value.
func TestUndefined(t *testing.T) {
	r := quality.NewRanking()
	require.NoError(t, r.Add([]bool{false, false}, []float64{1, 2}, nil))
	for _, f := range []func() (float64, error){r.ROCAUC, r.AveragePrecision, r.PRAUC, r.TieBound} {
		_, err := f()
		require.ErrorIs(t, err, quality.ErrUndefined)
		require.ErrorContains(t, err, "no row is labelled positive")
	}
	_, _, err := r.GainAt(0.5)
	require.ErrorIs(t, err, quality.ErrUndefined)
	_, err = r.ROC()
	require.ErrorIs(t, err, quality.ErrUndefined)

	r = quality.NewRanking()
	require.NoError(t, r.Add([]bool{true, true}, []float64{1, 2}, nil))
	_, err = r.ROCAUC()
	require.EqualError(t, err, "roc_auc: undefined: no row is labelled negative")
	ap, err := r.AveragePrecision()
	require.NoError(t, err)
	require.Equal(t, 1.0, ap)
	for _, share := range []float64{0, -1, 1.5, math.NaN()} {
		_, _, err = r.GainAt(share)
		require.ErrorContains(t, err, "must be above 0 and at most 1")
	}

	g := quality.NewRegression()
	require.NoError(t, g.Add([]float64{1}, []float64{2}, []float64{5}))
	_, err = g.R2()
	require.ErrorIs(t, err, quality.ErrUndefined)
	require.NoError(t, g.Add([]float64{1e200}, []float64{-1e200}, nil))
	for _, f := range []func() (float64, error){g.MSE, g.RMSE, g.R2} {
		v, err := f()
		require.ErrorIs(t, err, quality.ErrOverflow)
		require.Zero(t, v)
	}
	mae, err := g.MAE()
	require.NoError(t, err)
	require.InEpsilon(t, 2e200/6, mae, 1e-15)

	_, err = quality.BinaryConfusion(0, 0, 0, 3).Kappa(quality.KappaLinear)
	require.ErrorIs(t, err, quality.ErrUndefined)
	_, err = quality.BinaryConfusion(0, 0, 2, 3).Precision(quality.Options{Average: quality.AverageBinary, ZeroDivision: quality.ZeroDivisionUndefined})
	require.ErrorIs(t, err, quality.ErrUndefined)
	v, err := quality.BinaryConfusion(0, 0, 2, 3).Precision(quality.Options{Average: quality.AverageBinary})
	require.NoError(t, err)
	require.Zero(t, v)

	labels, p := []int{0, 0, 1}, [][]float64{{0.5, 0.4, 0.1}, {0.4, 0.5, 0.8}, {0.1, 0.1, 0.1}}
	_, err = quality.MulticlassROCAUC(labels, p, nil, quality.AverageMacro)
	require.ErrorIs(t, err, quality.ErrUndefined)
	require.ErrorContains(t, err, "class 2")
	_, err = quality.MulticlassROCAUC(labels, p, nil, quality.AverageWeighted) // leaves class 2 out
	require.NoError(t, err)
	_, err = quality.PairwiseROCAUC(labels[:2], [][]float64{{0.5, 0.5}, {0.5, 0.5}}, "")
	require.ErrorIs(t, err, quality.ErrUndefined)
	_, err = quality.PairwiseROCAUC(nil, [][]float64{{}, {}}, "")
	require.ErrorIs(t, err, quality.ErrNoRows)
	_, err = quality.MultilabelROCAUC([][]bool{{false}}, [][]float64{{1}}, nil, quality.AverageWeighted)
	require.ErrorIs(t, err, quality.ErrUndefined)
	_, err = quality.MultilabelROCAUC([][]bool{{true}, {true}}, [][]float64{{1}, {2}}, nil, quality.AverageSamples)
	require.ErrorIs(t, err, quality.ErrUndefined)
	_, err = quality.MultilabelROCAUC([][]bool{{true}, {false}}, [][]float64{{1}, {2}}, []float64{0}, quality.AverageSamples)
	require.ErrorIs(t, err, quality.ErrNoRows)
}

// TestExtremeWeights: only the proportions of weights matter.
func TestExtremeWeights(t *testing.T) {
	for _, f := range []float64{0x1p-1000, 1, 0x1p+1000} {
		c, err := quality.ConfusionOf([][]float64{{5 * f, 2 * f}, {1 * f, 4 * f}})
		require.NoError(t, err)
		v, err := c.Matthews()
		require.NoError(t, err)
		require.InEpsilon(t, 18/math.Sqrt(7*5*6*6), v, 1e-15)
		v, err = c.Kappa(quality.KappaQuadratic)
		require.NoError(t, err)
		require.InEpsilon(t, 0.5, v, 1e-15)
		r, err := quality.RankingOf([]float64{1, 2}, []float64{1 * f, 3 * f}, []float64{2 * f, 1 * f})
		require.NoError(t, err)
		v, err = r.ROCAUC()
		require.NoError(t, err, f)
		require.InEpsilon(t, 17.0/24, v, 1e-15, f)
		v, err = r.TieBound()
		require.NoError(t, err)
		require.InEpsilon(t, 5.0/24, v, 1e-15)
	}
}

// rows are drawn rows of every kind of task.
type rows struct {
	labels, predictions []int
	positive            []bool
	scores, probability []float64
	target, prediction  []float64
	weights             []float64 // whole, from 0
}

const classes = 3

func drawRows(t *rapid.T) rows {
	n := rapid.IntRange(2, 60).Draw(t, "rows")
	var r rows
	class, quantum := rapid.IntRange(0, classes-1), rapid.SampledFrom([]float64{0, 0.125}).Draw(t, "quantum")
	number := rapid.Map(rapid.IntRange(-1<<20, 1<<20), func(n int) float64 { return float64(n) / 1024 })
	for range n {
		r.labels = append(r.labels, class.Draw(t, "label"))
		r.predictions = append(r.predictions, class.Draw(t, "prediction"))
		p := rapid.Float64Range(0, 1).Draw(t, "probability")
		if quantum > 0 {
			p = math.Floor(p/quantum) * quantum
		}
		r.probability = append(r.probability, p)
		r.scores = append(r.scores, 2*p-1)
		r.target = append(r.target, number.Draw(t, "target"))
		r.prediction = append(r.prediction, number.Draw(t, "prediction"))
		r.weights = append(r.weights, float64(rapid.IntRange(0, 3).Draw(t, "weight")))
	}
	for _, l := range r.labels {
		r.positive = append(r.positive, l == 0)
	}
	return r
}

// pick returns the rows of the given indices.
func (r rows) pick(index []int) rows {
	return rows{
		at(r.labels, index), at(r.predictions, index), at(r.positive, index), at(r.scores, index),
		at(r.probability, index), at(r.target, index), at(r.prediction, index), at(r.weights, index),
	}
}

func at[T any](v []T, index []int) []T {
	out := make([]T, len(index))
	for i, k := range index {
		out[i] = v[k]
	}
	return out
}

// judge holds every accumulator.
type judge struct {
	confusion     *quality.Confusion
	multilabel    *quality.Multilabel
	ranking       *quality.Ranking
	probabilities *quality.Probabilities
	multiclass    *quality.Probabilities
	regression    *quality.Regression
	median        func() (float64, error)
}

func judgeRows(t require.TestingT, r rows, weights []float64) judge {
	var j judge
	var err error
	j.confusion, err = quality.NewConfusion(classes)
	require.NoError(t, err)
	j.multilabel, err = quality.NewMultilabel(2)
	require.NoError(t, err)
	j.probabilities, err = quality.NewProbabilities(2, 7)
	require.NoError(t, err)
	j.multiclass, err = quality.NewProbabilities(classes, 7)
	require.NoError(t, err)
	j.ranking, j.regression = quality.NewRanking(), quality.NewRegression()
	require.NoError(t, j.confusion.Add(r.labels, r.predictions, weights))
	require.NoError(t, j.ranking.Add(r.positive, r.scores, weights))
	require.NoError(t, j.probabilities.AddBinary(r.positive, r.probability, weights))
	require.NoError(t, j.regression.Add(r.target, r.prediction, weights))
	predicted, odd, oddPredicted := make([]bool, len(r.labels)), make([]bool, len(r.labels)), make([]bool, len(r.labels))
	columns := [][]float64{r.probability, make([]float64, len(r.labels)), make([]float64, len(r.labels))}
	for i, p := range r.predictions {
		predicted[i], odd[i], oddPredicted[i] = p == 0, r.labels[i] == 1, p != 2
		columns[1][i] = (1 - r.probability[i]) / 4
		columns[2][i] = 1 - columns[0][i] - columns[1][i]
	}
	require.NoError(t, j.multilabel.Add([][]bool{r.positive, odd}, [][]bool{predicted, oddPredicted}, weights))
	require.NoError(t, j.multiclass.Add(r.labels, columns, weights))
	j.median = func() (float64, error) { return quality.MedianAbsoluteError(r.target, r.prediction, weights) }
	return j
}

func (j judge) merge(t require.TestingT, o judge) {
	require.NoError(t, j.confusion.Merge(o.confusion))
	require.NoError(t, j.multilabel.Merge(o.multilabel))
	require.NoError(t, j.probabilities.Merge(o.probabilities))
	require.NoError(t, j.multiclass.Merge(o.multiclass))
	j.ranking.Merge(o.ranking)
	j.regression.Merge(o.regression)
}

// figures returns every figure by name.
func (j judge) figures() map[string]func() (float64, error) {
	out := map[string]func() (float64, error){
		"accuracy": j.confusion.Accuracy, "balanced": j.confusion.BalancedAccuracy, "matthews": j.confusion.Matthews,
		"exact": j.multilabel.Accuracy, "roc": j.ranking.ROCAUC, "ap": j.ranking.AveragePrecision, "pr": j.ranking.PRAUC,
		"ties": j.ranking.TieBound, "log loss": j.probabilities.LogLoss, "brier": j.probabilities.Brier,
		"ece": j.probabilities.ECE, "log loss of classes": j.multiclass.LogLoss, "brier of classes": j.multiclass.Brier,
		"ece of classes": j.multiclass.ECE, "mae": j.regression.MAE, "mse": j.regression.MSE, "rmse": j.regression.RMSE,
		"mape": j.regression.MAPE, "smape": j.regression.SMAPE, "bias": j.regression.Bias, "r2": j.regression.R2,
		"quantile": func() (float64, error) { return j.regression.QuantileLoss(0.3) },
		"lift":     func() (float64, error) { _, lift, err := j.ranking.GainAt(0.3); return lift, err },
	}
	if j.median != nil {
		out["median"] = j.median
	}
	for _, w := range []quality.KappaWeights{"", quality.KappaLinear, quality.KappaQuadratic} {
		out["kappa "+string(w)] = func() (float64, error) { return j.confusion.Kappa(w) }
	}
	for _, a := range []quality.Average{quality.AverageMicro, quality.AverageMacro, quality.AverageWeighted, quality.AverageSamples} {
		o := quality.Options{Average: a, ZeroDivision: quality.ZeroDivisionOne}
		if a != quality.AverageSamples {
			out["precision "+string(a)] = func() (float64, error) { return j.confusion.Precision(o) }
			out["f2 "+string(a)] = func() (float64, error) { return j.confusion.FBeta(2, o) }
		}
		out["labels "+string(a)] = func() (float64, error) { return j.multilabel.FBeta(1, o) }
	}
	return out
}

// requireSame compares every figure, and that both or none have it. within is relative to 1
// or to the figure.
func requireSame(t require.TestingT, want, got judge, within float64) {
	other := got.figures()
	for name, f := range want.figures() {
		g, ok := other[name]
		if !ok {
			continue
		}
		v, err := f()
		u, err2 := g()
		require.Equal(t, err == nil, err2 == nil, "%s: %v, %v", name, err, err2)
		require.InDelta(t, v, u, within*(1+math.Abs(v)), name)
	}
}

func TestPropertyWeightsRepeatRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRows(t)
		var index []int
		kept := 0
		for i, w := range r.weights {
			if w > 0 {
				kept++
			}
			for range int(w) {
				index = append(index, i)
			}
		}
		if kept < 2 {
			t.Skip("R² counts rows, not weights, to refuse one row")
		}
		requireSame(t, judgeRows(t, r.pick(index), nil), judgeRows(t, r, r.weights), 1e-12)
	})
}

func TestPropertyOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRows(t)
		index := make([]int, len(r.labels))
		for i := range index {
			index[i] = i
		}
		p := r.pick(rapid.Permutation(index).Draw(t, "order"))
		requireSame(t, judgeRows(t, r, r.weights), judgeRows(t, p, p.weights), 1e-14)
	})
}

func TestPropertyMergedIsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRows(t)
		var parts [3][]int
		for i := range r.labels {
			k := rapid.IntRange(0, 2).Draw(t, "part")
			parts[k] = append(parts[k], i)
		}
		j := judgeRows(t, r.pick(nil), nil)
		for _, index := range parts {
			p := r.pick(index)
			j.merge(t, judgeRows(t, p, p.weights))
		}
		j.median = nil
		requireSame(t, j, judgeRows(t, r, r.weights), 1e-14)
	})
}

// TestPropertyAUCFlips: of the other class, the area is the rest; so it is of scores turned
// around; and of scores under any growing function it is the same.
func TestPropertyAUCFlips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRows(t)
		flipped, turned, stretched := make([]bool, len(r.positive)), make([]float64, len(r.scores)), make([]float64, len(r.scores))
		for i, p := range r.positive {
			flipped[i], turned[i], stretched[i] = !p, -r.scores[i], 8*r.scores[i]
			if r.scores[i] > 0 {
				stretched[i] *= 16 // exact
			}
		}
		auc := func(positive []bool, scores []float64) (float64, error) {
			k := quality.NewRanking()
			require.NoError(t, k.Add(positive, scores, r.weights))
			return k.ROCAUC()
		}
		v, err := auc(r.positive, r.scores)
		for name, f := range map[string]func() (float64, error){
			"flipped": func() (float64, error) { v, err := auc(flipped, r.scores); return 1 - v, err },
			"turned":  func() (float64, error) { v, err := auc(r.positive, turned); return 1 - v, err },
			"both":    func() (float64, error) { return auc(flipped, turned) },
			"growing": func() (float64, error) { return auc(r.positive, stretched) },
		} {
			u, err2 := f()
			require.Equal(t, err == nil, err2 == nil, name)
			if err == nil {
				require.InDelta(t, v, u, 1e-14, name)
			}
		}
	})
}

// TestRankingInManyBatches: beyond what waits to be sorted, as one batch.
func TestRankingInManyBatches(t *testing.T) {
	const n = 60_000
	positive, scores := make([]bool, n), make([]float64, n)
	for i := range n {
		scores[i] = float64(i * 7919 % 50_021)
		positive[i] = i*31%5 < 2
	}
	whole, batched := quality.NewRanking(), quality.NewRanking()
	require.NoError(t, whole.Add(positive, scores, nil))
	for i := 0; i < n; i += 1000 {
		require.NoError(t, batched.Add(positive[i:i+1000], scores[i:i+1000], nil))
	}
	require.Equal(t, 50_021, batched.Distinct())
	want, err := whole.ROCAUC()
	require.NoError(t, err)
	got, err := batched.ROCAUC()
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// TestFigures: the lists hold what the accumulators say, and why something is missing.
func TestFigures(t *testing.T) {
	byName := func(list []quality.Figure) map[quality.Metric]quality.Figure {
		out := map[quality.Metric]quality.Figure{}
		for _, f := range list {
			require.True(t, f.Metric.Known(), f.Metric)
			require.NotContains(t, out, f.Metric)
			require.Equal(t, f.Value == nil, f.Err != nil, f.Metric)
			out[f.Metric] = f
		}
		return out
	}
	c := quality.BinaryConfusion(0, 0, 4, 6) // nothing predicted positive
	r := quality.NewRanking()
	require.NoError(t, r.Add([]bool{true, false, true, false}, []float64{1, 2, 3, 0}, nil))
	p, err := quality.NewProbabilities(2, 0)
	require.NoError(t, err)
	require.NoError(t, p.AddBinary([]bool{true, false}, []float64{0.5, 0.5}, nil))
	list := byName(quality.BinaryFigures(c, r, p, 0.95))
	require.Len(t, list, 12)
	require.ErrorIs(t, list[quality.MetricPrecision].Err, quality.ErrUndefined)
	require.Nil(t, list[quality.MetricPrecision].Interval)
	require.InDelta(t, 0.6, *list[quality.MetricAccuracy].Value, 1e-15)
	require.Nil(t, list[quality.MetricAccuracy].Interval)
	require.EqualError(t, list[quality.MetricAccuracy].NoInterval, "accuracy: too few for an interval: 10 rows, at least 30 are needed")
	require.EqualError(t, list[quality.MetricF1].NoInterval, "f1: too few for an interval: 4 rows, at least 30 are needed")
	require.ErrorIs(t, list[quality.MetricECE].NoInterval, quality.ErrNoInterval)
	for m, f := range list {
		require.True(t, f.Interval != nil || f.NoInterval != nil || f.Value == nil, "%s has neither an interval nor a reason", m)
	}
	require.InDelta(t, 0.75, *list[quality.MetricROCAUC].Value, 1e-15)
	require.ErrorIs(t, list[quality.MetricROCAUC].NoInterval, quality.ErrTooFew)
	many := byName(quality.BinaryFigures(quality.BinaryConfusion(40, 10, 5, 45), nil, nil, 0.95))
	want, err := quality.MidP(85, 100, 0.95)
	require.NoError(t, err)
	require.Equal(t, want, *many[quality.MetricAccuracy].Interval)
	require.NoError(t, many[quality.MetricAccuracy].NoInterval)
	require.InDelta(t, math.Ln2, *list[quality.MetricLogLoss].Value, 1e-15)
	require.Len(t, quality.BinaryFigures(nil, nil, p, 0.95), 3)

	m, err := quality.ConfusionOf([][]float64{{3, 0, 0}, {0, 2, 1}, {0, 0, 4}})
	require.NoError(t, err)
	list = byName(quality.MulticlassFigures(m, nil, 0.95))
	require.Len(t, list, 7)
	require.InDelta(t, (1+2.0/3+1)/3, *list[quality.MetricRecall].Value, 1e-15)
	require.InDelta(t, (1+1+0.8)/3, *list[quality.MetricPrecision].Value, 1e-15)

	g := quality.NewRegression()
	require.NoError(t, g.Add([]float64{1, 2, 4}, []float64{2, 2, 2}, nil))
	list = byName(quality.RegressionFigures(g, 0.95))
	require.Len(t, list, 7)
	require.InDelta(t, -1.0/3, *list[quality.MetricBias].Value, 1e-15)
	require.EqualError(t, list[quality.MetricBias].NoInterval, "bias: too few for an interval: 3 rows, at least 1000 are needed")
	for _, f := range quality.RegressionFigures(quality.NewRegression(), 0.95) {
		require.ErrorIs(t, f.Err, quality.ErrNoRows)
	}
}

// TestDiffersFromScikitLearn holds the differences that doc.go names.
func TestDiffersFromScikitLearn(t *testing.T) {
	c, err := quality.NewConfusion(3)
	require.NoError(t, err)
	require.NoError(t, c.Add([]int{0, 1, 2}, []int{0, 1, 1}, []float64{1, 1, 0}))
	v, err := c.Precision(quality.Options{})
	require.NoError(t, err)
	require.Equal(t, 1.0, v) // 2/3

	g := quality.NewRegression()
	require.NoError(t, g.Add([]float64{0.1, 0.1, 0.1}, []float64{0.1, 0.1, 0.2}, nil))
	v, err = g.R2()
	require.NoError(t, err)
	require.Zero(t, v) // -1.7e31

	r := quality.NewRanking()
	require.NoError(t, r.Add([]bool{false, false}, []float64{0.1, 0.2}, nil))
	_, err = r.AveragePrecision()
	require.ErrorIs(t, err, quality.ErrUndefined) // 0

	p, err := quality.NewProbabilities(3, 0)
	require.NoError(t, err)
	require.ErrorContains(t, p.Add([]int{0}, [][]float64{{0.5}, {0.4}, {0.2}}, nil), "must sum to 1") // 0.69
}
