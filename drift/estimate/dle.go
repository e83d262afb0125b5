package estimate

import (
	"fmt"
	"math"
	"slices"
)

// Metrics of regression models.
const (
	MAE   Metric = "mae"
	MAPE  Metric = "mape"
	MSE   Metric = "mse"
	RMSE  Metric = "rmse"
	MSLE  Metric = "msle"
	RMSLE Metric = "rmsle"
)

// RegressionMetrics are the metrics of a regression model.
var RegressionMetrics = []Metric{MAE, MAPE, MSE, RMSE, MSLE, RMSLE}

// Regression is what a regression model saw and said, one row an entry.
type Regression struct {
	Features  []Feature
	Predicted []float64 // finite
	Targets   []float64 // NaN: unknown; nil: none are known
}

func (r Regression) check() error {
	if len(r.Predicted) == 0 {
		return ErrEmpty
	}
	for i, p := range r.Predicted {
		if !finite(p) {
			return fmt.Errorf("prediction of row %d is %v, must be finite", i, p)
		}
	}
	for _, f := range r.Features {
		if len(f.Values) != len(r.Predicted) {
			return fmt.Errorf("%d predictions and %d values of feature %q", len(r.Predicted), len(f.Values), f.Name)
		}
	}
	if r.Targets != nil && len(r.Targets) != len(r.Predicted) {
		return fmt.Errorf("%d predictions and %d targets", len(r.Predicted), len(r.Targets))
	}
	for i, y := range r.Targets {
		if math.IsInf(y, 0) {
			return fmt.Errorf("target of row %d is %v, must be finite, or NaN where unknown", i, y)
		}
	}
	return nil
}

// known returns the rows with a target.
func (r Regression) known() Regression {
	if !slices.ContainsFunc(r.Targets, math.IsNaN) {
		return r
	}
	pick := func(v []float64) []float64 {
		out := make([]float64, 0, len(v))
		for i, x := range v {
			if !math.IsNaN(r.Targets[i]) {
				out = append(out, x)
			}
		}
		return out
	}
	out := Regression{Predicted: pick(r.Predicted), Targets: pick(r.Targets)}
	for _, f := range r.Features {
		f.Values = pick(f.Values)
		out.Features = append(out.Features, f)
	}
	return out
}

// inputs returns the features of a nanny: those of the model and its prediction.
func (r Regression) inputs() []Feature {
	return append(slices.Clone(r.Features), Feature{Name: "prediction", Values: r.Predicted})
}

// Nanny expects a loss of each row.
type Nanny interface {
	Predict(features []Feature) ([]float64, error)
}

// Train trains a nanny on the loss of each row.
type Train func(features []Feature, loss []float64) (Nanny, error)

// TrainTrees returns the training of boosted trees.
func TrainTrees(o TreeOptions) Train {
	return func(features []Feature, loss []float64) (Nanny, error) { return FitTrees(features, loss, o) }
}

// DLE estimates the quality of a regression model from the loss that a nanny expects.
type DLE struct {
	metrics  []Metric
	nannies  map[Metric]Nanny // by the metric that is the plain mean of the loss
	sampling [][2]float64     // by metric: deviation and mean of the reference's losses
	lower    []*float64       // thresholds by metric
	upper    []*float64
}

// loss is the metric that is the plain mean of a metric's loss: of roots, that below the root.
func (m Metric) loss() Metric {
	switch m {
	case RMSE:
		return MSE
	case RMSLE:
		return MSLE
	default:
		return m
	}
}

// FitDLE learns nannies, sampling errors and thresholds from the rows of a reference whose
// target is known; chunks are those of the reference. nil metrics are all, where MSLE and
// RMSLE take no negative target or prediction. nil train is TrainTrees with its defaults,
// where NannyML trains LightGBM with its own; MSE and RMSE, MSLE and RMSLE share a nanny.
func FitDLE(reference Regression, chunks []Chunk, metrics []Metric, train Train) (*DLE, error) {
	if err := reference.check(); err != nil {
		return nil, fmt.Errorf("fit dle: %w", err)
	}
	if err := checkChunks(chunks, len(reference.Predicted)); err != nil {
		return nil, fmt.Errorf("fit dle: %w", err)
	}
	if metrics == nil {
		metrics = RegressionMetrics
	}
	if train == nil {
		train = TrainTrees(TreeOptions{})
	}
	d := &DLE{metrics: slices.Clone(metrics), nannies: map[Metric]Nanny{}}
	known := reference
	if reference.Targets != nil {
		known = reference.known()
	}
	if len(known.Targets) == 0 {
		return nil, fmt.Errorf("fit dle: rows of the reference with a target: %w", ErrEmpty)
	}
	for _, m := range d.metrics {
		if !slices.Contains(RegressionMetrics, m) {
			return nil, fmt.Errorf("fit dle: unknown metric %q, must be one of %v", m, RegressionMetrics)
		}
		losses := make([]float64, len(known.Targets))
		sampled := make([]float64, len(known.Targets))
		for i, y := range known.Targets {
			l := loss(m, y, known.Predicted[i])
			if !finite(l) {
				return nil, fmt.Errorf("fit dle: %s of target %v and prediction %v is not a number of float64", m, y, known.Predicted[i])
			}
			losses[i], sampled[i] = l, l
			if m == MAPE { // NannyML takes the sign, and no least divisor
				sampled[i] = math.Abs(y-known.Predicted[i]) / y
			}
		}
		mean, std := meanStd(sampled)
		d.sampling = append(d.sampling, [2]float64{std, mean})
		if d.nannies[m.loss()] == nil {
			nanny, err := train(known.inputs(), losses)
			if err != nil {
				return nil, fmt.Errorf("fit dle: nanny of %s: %w", m.loss(), err)
			}
			d.nannies[m.loss()] = nanny
		}
		var realized []*float64
		for _, c := range chunks {
			realized = append(realized, realizedLoss(m, reference, c))
		}
		lower, upper := Thresholds(realized, 0, math.Inf(1))
		d.lower, d.upper = append(d.lower, lower), append(d.upper, upper)
	}
	return d, nil
}

// Estimate estimates each chunk of data. Realized values are those of the rows with a target;
// MSLE and RMSLE have none where one of these, or its prediction, is negative.
func (d *DLE) Estimate(data Regression, chunks []Chunk) ([]ChunkEstimates, error) {
	if err := data.check(); err != nil {
		return nil, fmt.Errorf("dle: %w", err)
	}
	if err := checkChunks(chunks, len(data.Predicted)); err != nil {
		return nil, fmt.Errorf("dle: %w", err)
	}
	expected := map[Metric][]float64{}
	for m, nanny := range d.nannies {
		p, err := nanny.Predict(data.inputs())
		if err != nil {
			return nil, fmt.Errorf("dle: nanny of %s: %w", m, err)
		}
		if len(p) != len(data.Predicted) {
			return nil, fmt.Errorf("dle: nanny of %s: %d losses of %d rows", m, len(p), len(data.Predicted))
		}
		expected[m] = p
	}
	out := make([]ChunkEstimates, len(chunks))
	for i, c := range chunks {
		out[i].Chunk = c
		for k, m := range d.metrics {
			sum := 0.0
			for _, l := range expected[m.loss()][c.Start:c.End] {
				sum += max(l, 0)
			}
			e := Estimate{
				Metric:        m,
				Value:         exists(root(m, sum/float64(c.Len()))),
				SamplingError: regressionError(m, d.sampling[k], c.Len()),
				Realized:      realizedLoss(m, data, c),
				NoInterval:    fmt.Errorf("%s: %w: how far the nanny errs is not measured", m, ErrNoInterval),
			}
			out[i].Estimates = append(out[i].Estimates, e.bound(d.lower[k], d.upper[k], 0, math.Inf(1)))
		}
	}
	return out, nil
}

// loss returns what a row adds to the mean of a metric, or below its root; NaN where MSLE has
// none. MAPE's divisor is at least the machine epsilon, as scikit-learn's.
func loss(m Metric, target, predicted float64) float64 {
	switch m.loss() {
	case MAE:
		return math.Abs(target - predicted)
	case MAPE:
		return math.Abs(target-predicted) / max(math.Abs(target), 0x1p-52)
	case MSLE:
		if target < 0 || predicted < 0 {
			return math.NaN()
		}
		e := math.Log1p(target) - math.Log1p(predicted)
		return e * e
	default:
		return (target - predicted) * (target - predicted)
	}
}

// root returns a metric of its mean loss.
func root(m Metric, mean float64) float64 {
	if m != m.loss() {
		return math.Sqrt(mean)
	}
	return mean
}

// realizedLoss returns a metric over the rows of a chunk with a target; nil of none.
func realizedLoss(m Metric, r Regression, c Chunk) *float64 {
	if r.Targets == nil {
		return nil
	}
	sum, n := 0.0, 0
	for i := c.Start; i < c.End; i++ {
		if y := r.Targets[i]; !math.IsNaN(y) {
			sum += loss(m, y, r.Predicted[i])
			n++
		}
	}
	return exists(root(m, sum/float64(n)))
}

// regressionError returns the standard error over n rows (nannyml/sampling_error/regression.py):
// of a mean of losses, or of its root by the delta method.
func regressionError(m Metric, stdMean [2]float64, n int) *float64 {
	std, mean := stdMean[0], stdMean[1]
	if m != m.loss() {
		return exists(std / (2 * math.Sqrt(float64(n)) * math.Sqrt(mean)))
	}
	return exists(std / math.Sqrt(float64(n)))
}
