package quality_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/internal/golden"
	"github.com/millrace/millrace/drift/quality"
)

// tolerance is the relative error that figures may have against scikit-learn.
const tolerance = 1e-12

// figures are one number or several.
type figures []golden.Float

func (f *figures) UnmarshalJSON(b []byte) error {
	if b[0] == '[' {
		return json.Unmarshal(b, (*[]golden.Float)(f))
	}
	*f = make(figures, 1)
	return json.Unmarshal(b, &(*f)[0])
}

type figureCase struct {
	Family  string
	K       int
	Bins    int
	Truth   []golden.Spec
	Noise   []golden.Spec
	Score   []golden.Spec
	Guess   *golden.Spec
	Weights *golden.Spec
	Keep    float64
	Share   float64
	Shift   float64
	Boost   float64
	Labels  []int
	Want    map[string]figures
}

func (c figureCase) weights() []float64 {
	if c.Weights == nil {
		return nil
	}
	return c.Weights.Generate()
}

func ints(v []float64) []int {
	out := make([]int, len(v))
	for i, x := range v {
		out[i] = int(x)
	}
	return out
}

func below(v []float64, limit float64) []bool {
	out := make([]bool, len(v))
	for i, x := range v {
		out[i] = x < limit
	}
	return out
}

// confusion returns labels and predictions.
func (c figureCase) confusion() (labels, predictions []int) {
	labels, predictions = ints(c.Truth[0].Generate()), ints(c.Guess.Generate())
	for i, u := range c.Noise[0].Generate() {
		if u < c.Keep {
			predictions[i] = labels[i]
		}
	}
	return labels, predictions
}

// multilabel returns the columns of labels, predictions and scores.
func (c figureCase) multilabel() (labels, predictions [][]bool, scores [][]float64) {
	for l := range c.Truth {
		y := below(c.Truth[l].Generate(), c.Share)
		p, s := make([]bool, len(y)), c.Score[l].Generate()
		for i, u := range c.Noise[l].Generate() {
			p[i] = y[i] == (u < c.Keep)
			if y[i] {
				s[i] += c.Shift
			}
		}
		labels, predictions, scores = append(labels, y), append(predictions, p), append(scores, s)
	}
	return labels, predictions, scores
}

// ranking returns a binary target and its scores.
func (c figureCase) ranking() ([]bool, []float64) {
	y, s := below(c.Truth[0].Generate(), c.Share), c.Score[0].Generate()
	for i := range s {
		if y[i] {
			s[i] += c.Shift
		}
	}
	return y, s
}

// binary returns a binary target and its probabilities.
func (c figureCase) binary() ([]bool, []float64) {
	y, p, v := below(c.Truth[0].Generate(), c.Share), c.Score[0].Generate(), c.Score[1].Generate()
	for i := range p {
		p[i] *= 0.5
		if y[i] {
			p[i] += float64(0.5 * v[i])
		}
	}
	return y, p
}

// multiclass returns labels and the columns of their probabilities.
func (c figureCase) multiclass() ([]int, [][]float64) {
	y := ints(c.Truth[0].Generate())
	p := make([][]float64, c.K)
	for k := range p {
		p[k] = c.Score[k].Generate()
	}
	for i, label := range y {
		total := 0.0
		for k := range p {
			boost := 0.0
			if k == label {
				boost = c.Boost
			}
			p[k][i] = p[k][i] + boost + 0.001
			total += p[k][i]
		}
		for k := range p {
			p[k][i] /= total
		}
	}
	return y, p
}

// regression returns target and prediction.
func (c figureCase) regression() (target, prediction []float64) {
	target, prediction = c.Truth[0].Generate(), c.Score[0].Generate()
	for i := range prediction {
		prediction[i] += target[i]
	}
	return target, prediction
}

// TestGoldenFigures compares all figures with scikit-learn's; where that has none, ours is a
// declared error.
func TestGoldenFigures(t *testing.T) {
	for i, c := range golden.Load[figureCase](t, "testdata/golden_figures.json") {
		t.Run(fmt.Sprintf("%s %d", c.Family, i), func(t *testing.T) {
			compute := figuresOf(t, c)
			for name, want := range c.Want {
				if strings.HasSuffix(name, "/index") {
					continue // which points of a curve are compared
				}
				got, err := compute(name)
				if math.IsNaN(float64(want[0])) && len(want) == 1 && len(got) == 0 {
					require.Error(t, err, name)
					if !errors.Is(err, quality.ErrUndefined) && !errors.Is(err, quality.ErrOverflow) {
						t.Errorf("%s: %v is neither undefined nor an overflow", name, err)
					}
					golden.Equal(t, "quality "+function(name), name, 0, 0, 0) // both have no value
					continue
				}
				require.NoError(t, err, name)
				require.Len(t, got, len(want), name)
				for k := range want {
					golden.Equal(t, "quality "+function(name), name, float64(want[k]), got[k], tolerance)
				}
			}
		})
	}
}

// function is the name under which comparisons are counted.
func function(name string) string {
	name, _, _ = strings.Cut(name, "/")
	if strings.HasPrefix(name, "fbeta") {
		return "fbeta"
	}
	return name
}

// figuresOf returns the function that computes figures of a case by name.
func figuresOf(t *testing.T, c figureCase) func(name string) ([]float64, error) {
	t.Helper()
	w := c.weights()
	switch c.Family {
	case "confusion":
		labels, predictions := c.confusion()
		m, err := quality.NewConfusion(c.K)
		require.NoError(t, err)
		require.NoError(t, m.Add(labels, predictions, w))
		return func(name string) ([]float64, error) {
			part := strings.Split(name, "/")
			switch part[0] {
			case "accuracy":
				return one(m.Accuracy())
			case "balanced_accuracy":
				return one(m.BalancedAccuracy())
			case "matthews":
				return one(m.Matthews())
			case "kappa":
				return one(m.Kappa(quality.KappaWeights(part[1])))
			case "matrix":
				rows, err := m.Matrix(quality.Normalize(part[1]))
				var out []float64
				for _, r := range rows {
					out = append(out, r...)
				}
				return out, err
			default:
				return scores(m, m.PerClass, part, c.Labels)
			}
		}
	case "multilabel":
		labels, predictions, scored := c.multilabel()
		m, err := quality.NewMultilabel(c.K)
		require.NoError(t, err)
		require.NoError(t, m.Add(labels, predictions, w))
		return func(name string) ([]float64, error) {
			part := strings.Split(name, "/")
			switch part[0] {
			case "accuracy":
				return one(m.Accuracy())
			case "roc_auc":
				return one(quality.MultilabelROCAUC(labels, scored, w, quality.Average(part[1])))
			case "average_precision":
				return one(quality.MultilabelAveragePrecision(labels, scored, w, quality.Average(part[1])))
			default:
				return scores(m, m.PerLabel, part, nil)
			}
		}
	case "ranking":
		y, s := c.ranking()
		r := quality.NewRanking()
		require.NoError(t, r.Add(y, s, w))
		return func(name string) ([]float64, error) { return rankingFigure(c, r, name) }
	case "binary":
		y, p := c.binary()
		m, err := quality.NewProbabilities(2, c.Bins)
		require.NoError(t, err)
		require.NoError(t, m.AddBinary(y, p, w))
		return func(name string) ([]float64, error) { return probabilityFigure(m, name) }
	case "multiclass":
		y, p := c.multiclass()
		m, err := quality.NewProbabilities(c.K, c.Bins)
		require.NoError(t, err)
		require.NoError(t, m.Add(y, p, w))
		return func(name string) ([]float64, error) {
			part := strings.Split(name, "/")
			switch {
			case strings.HasPrefix(name, "roc_auc/ovr/"):
				return one(quality.MulticlassROCAUC(y, p, w, quality.Average(part[2])))
			case strings.HasPrefix(name, "roc_auc/ovo/"):
				return one(quality.PairwiseROCAUC(y, p, quality.Average(part[2])))
			case part[0] == "average_precision":
				return one(quality.MulticlassAveragePrecision(y, p, w, quality.Average(part[1])))
			default:
				return probabilityFigure(m, name)
			}
		}
	case "regression":
		target, prediction := c.regression()
		r := quality.NewRegression()
		require.NoError(t, r.Add(target, prediction, w))
		return func(name string) ([]float64, error) {
			if q, ok := strings.CutPrefix(name, "quantile/"); ok {
				quantile, err := strconv.ParseFloat(q, 64)
				require.NoError(t, err)
				return one(r.QuantileLoss(quantile))
			}
			if name == "median" {
				return one(quality.MedianAbsoluteError(target, prediction, w))
			}
			return one(map[string]func() (float64, error){
				"mae": r.MAE, "mse": r.MSE, "rmse": r.RMSE, "mape": r.MAPE, "smape": r.SMAPE, "r2": r.R2, "bias": r.Bias,
			}[name]())
		}
	default:
		require.FailNow(t, "unknown family "+c.Family)
		return nil
	}
}

func one(v float64, err error) ([]float64, error) {
	if err != nil {
		return nil, err
	}
	return []float64{v}, nil
}

// scores computes figure/average/zero-division[/labels].
func scores(m interface {
	Precision(quality.Options) (float64, error)
	Recall(quality.Options) (float64, error)
	FBeta(float64, quality.Options) (float64, error)
}, perClass func(float64, quality.Options) ([]quality.ClassScores, error), part []string, labels []int,
) ([]float64, error) {
	o := quality.Options{
		Average:      quality.Average(part[1]),
		ZeroDivision: map[string]quality.ZeroDivision{"0": quality.ZeroDivisionZero, "1": quality.ZeroDivisionOne, "nan": quality.ZeroDivisionUndefined}[part[2]],
	}
	if len(part) == 4 {
		o.Labels = labels
	}
	if positive, ok := strings.CutPrefix(part[1], "binary"); ok {
		o.Average = quality.AverageBinary
		if positive == "0" { // 1 is the default
			o.Labels = []int{0}
		}
	}
	beta := 1.0
	if b, ok := strings.CutPrefix(part[0], "fbeta"); ok {
		var err error
		if beta, err = strconv.ParseFloat(b, 64); err != nil {
			return nil, err
		}
	}
	if part[1] == "class" {
		all, err := perClass(beta, o)
		var out []float64
		for _, s := range all {
			p := s.FBeta
			switch part[0] {
			case "precision":
				p = s.Precision
			case "recall":
				p = s.Recall
			}
			if p == nil {
				out = append(out, math.NaN())
			} else {
				out = append(out, *p)
			}
		}
		return out, err
	}
	switch part[0] {
	case "precision":
		return one(m.Precision(o))
	case "recall":
		return one(m.Recall(o))
	default:
		return one(m.FBeta(beta, o))
	}
}

func rankingFigure(c figureCase, r *quality.Ranking, name string) ([]float64, error) {
	family, what, _ := strings.Cut(name, "/")
	switch family {
	case "roc_auc":
		return one(r.ROCAUC())
	case "average_precision":
		return one(r.AveragePrecision())
	case "pr_auc":
		return one(r.PRAUC())
	}
	if name == "gain/at" {
		var out []float64
		for _, share := range []float64{0.05, 0.1, 0.5, 1} {
			g, lift, err := r.GainAt(share)
			if err != nil || math.Abs(lift-g/share) > 1e-15*lift {
				return nil, fmt.Errorf("lift %v of gain %v: %w", lift, g, err)
			}
			out = append(out, g)
		}
		return out, nil
	}
	var curve []float64
	if family == "gain" {
		points, err := r.Gain()
		if err != nil {
			return nil, err
		}
		for _, p := range points {
			switch what {
			case "share":
				curve = append(curve, p.Share)
			case "gain":
				curve = append(curve, p.Gain)
			default:
				curve = append(curve, p.Lift)
			}
		}
	} else {
		points, err := r.ROC()
		if err != nil {
			return nil, err
		}
		for _, p := range points {
			if what == "fpr" {
				curve = append(curve, p.FalsePositiveRate)
			} else {
				curve = append(curve, p.TruePositiveRate)
			}
		}
	}
	var out []float64
	for _, i := range c.Want[family+"/index"] {
		out = append(out, curve[int(i)])
	}
	return out, nil
}

func probabilityFigure(m *quality.Probabilities, name string) ([]float64, error) {
	return one(map[string]func() (float64, error){"log_loss": m.LogLoss, "brier": m.Brier, "ece": m.ECE}[name]())
}
