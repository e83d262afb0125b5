package schemas

import (
	"slices"
	"strings"
)

// Figures that are estimated without labels bear the figure's name behind EstimatedPrefix, as
// NannyML has it. What labels then showed, less what is estimated of the same rows, bears it
// behind DifferencePrefix: a change of the features alone moves both, so that this is what concept
// drift looks like.
const (
	EstimatedPrefix  = "estimated_"
	DifferencePrefix = "realized_less_estimated_"
)

// StattestSpecificity is the share of the negative rows that are predicted so. It is estimated,
// and no figure of its own.
const StattestSpecificity Stattest = "specificity"

// EstimatedFigures are the figures of a binary target that are estimated, in the order of the
// estimates.
var EstimatedFigures = []Stattest{StattestAUC, StattestF1, StattestPrecision, StattestRecall, StattestSpecificity, StattestAccuracy}

// Estimated returns the name of a figure as it is estimated.
func (s Stattest) Estimated() Stattest { return EstimatedPrefix + s }

// LessEstimated returns the name of what labels showed of a figure less what is estimated.
func (s Stattest) LessEstimated() Stattest { return DifferencePrefix + s }

// OfEstimate tells whether the figure is an estimate, or is made with one.
func (s Stattest) OfEstimate() bool {
	for _, prefix := range []string{EstimatedPrefix, DifferencePrefix} {
		if of, ok := strings.CutPrefix(string(s), prefix); ok {
			return slices.Contains(EstimatedFigures, Stattest(of))
		}
	}
	return false
}

// estimateFigure returns the figure of an estimate's name.
func estimateFigure(name Stattest) (Figure, bool) {
	switch {
	case !name.OfEstimate():
		return Figure{}, false
	case strings.HasPrefix(string(name), DifferencePrefix):
		return Figure{Name: name, Kinds: binaries, Direction: BreachesBeyond}, true
	default:
		return Figure{Name: name, Kinds: binaries, Direction: BreachesBelow}, true
	}
}

// Estimator is what a reference's labelled rows say of how scores become targets: the CBPE
// (confidence-based performance estimation) of package drift/estimate as numbers, and rows of which
// its intervals are made.
type Estimator struct {
	Rows int64 `json:"rows"` // labelled rows that it was fitted to
	// X and Y are the points of the calibration, at most MaxCalibrationPoints; none where scores
	// are probabilities as they are.
	X       []float64         `json:"x,omitempty"`
	Y       []float64         `json:"y,omitempty"`
	Metrics []EstimatorMetric `json:"metrics"` // in the order of EstimatedFigures
	// Scores and Targets are those of at most MaxEstimatorRows of the rows, evenly taken; a target
	// is 1 or 0. With fewer than 500 estimates have no interval.
	Scores  []float64 `json:"scores,omitempty"`
	Targets string    `json:"targets,omitempty"`
}

// EstimatorMetric is what the rows say of a figure: see estimate.FittedMetric.
type EstimatorMetric struct {
	Metric         Stattest `json:"metric"`
	Deviation      *float64 `json:"deviation,omitempty"`
	Share          float64  `json:"share"`
	LowerThreshold *float64 `json:"lower_threshold,omitempty"`
	UpperThreshold *float64 `json:"upper_threshold,omitempty"`
}

// Bounds of an Estimator: its points are in the text of a query.
const (
	MaxCalibrationPoints = 4096
	MaxEstimatorRows     = 10_000
)

// Check reports each number that makes no sense.
func (e *Estimator) Check(bad func(format string, args ...any)) {
	unit := func(x float64) bool { return x >= 0 && x <= 1 }
	if len(e.X) != len(e.Y) || len(e.X) > MaxCalibrationPoints {
		bad("estimator: %d x and %d y, must be as many, and at most %d", len(e.X), len(e.Y), MaxCalibrationPoints)
		return
	}
	for k, x := range e.X {
		if !unit(x) || !unit(e.Y[k]) || k > 0 && (x <= e.X[k-1] || e.Y[k] < e.Y[k-1]) {
			bad("estimator: point %d is (%v, %v), points must ascend and be from 0 to 1", k, x, e.Y[k])
		}
	}
	if len(e.Metrics) != len(EstimatedFigures) {
		bad("estimator: %d metrics, must be %v", len(e.Metrics), EstimatedFigures)
		return
	}
	for k, m := range e.Metrics {
		if m.Metric != EstimatedFigures[k] {
			bad("estimator: metric %d is %q, must be %q", k, m.Metric, EstimatedFigures[k])
		}
		if !unit(m.Share) || m.Deviation != nil && (!finite(*m.Deviation) || *m.Deviation < 0) {
			bad("estimator: %s has share %v, must be from 0 to 1, and a deviation of at least 0", m.Metric, m.Share)
		}
		for _, x := range []*float64{m.LowerThreshold, m.UpperThreshold} {
			if x != nil && !finite(*x) {
				bad("estimator: a threshold of %s is %v", m.Metric, *x)
			}
		}
	}
	if len(e.Scores) != len(e.Targets) || len(e.Scores) > MaxEstimatorRows || int64(len(e.Scores)) > e.Rows {
		bad("estimator: %d scores and %d targets of %d rows, must be as many, and at most %d", len(e.Scores), len(e.Targets), e.Rows, MaxEstimatorRows)
	}
	if i := slices.IndexFunc(e.Scores, func(s float64) bool { return !unit(s) }); i >= 0 {
		bad("estimator: score %d is %v, must be from 0 to 1", i, e.Scores[i])
	}
	if strings.Trim(e.Targets, "01") != "" {
		bad("estimator: targets must be 0 and 1")
	}
}
