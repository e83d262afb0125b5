package estimator

import (
	"fmt"

	"github.com/millrace/millrace/drift/estimate"
	"github.com/millrace/millrace/schemas"
)

// Enough is how many labelled rows intervals take.
const Enough = 500

// chunks is how many the reference is cut into for its thresholds, as NannyML does.
const chunks = 10

// Fit fits the CBPE of a binary target to labelled rows: scores from 0 to 1, which predict a positive
// from the threshold on, and whether they are positive. The rows are in the order of time where
// they have one. All rows make the calibration, and schemas.MaxEstimatorRows of them the
// intervals. It retains nothing.
func Fit(scores []float64, positive []bool, threshold float64) (*schemas.Estimator, error) {
	rows := estimate.Binary{Scores: scores, Predicted: predicted(scores, threshold), Targets: make([]int, len(scores))}
	for i, p := range positive {
		if p {
			rows.Targets[i] = 1
		}
	}
	parts, err := estimate.Chunks(len(scores), min(chunks, max(len(scores), 1)))
	if err != nil {
		return nil, err
	}
	fitted, err := estimate.FitBinaryCBPE(rows, parts)
	if err != nil {
		return nil, err
	}
	numbers := fitted.Fitted()
	if n := len(numbers.X); n > schemas.MaxCalibrationPoints {
		return nil, fmt.Errorf("the calibration has %d points, at most %d are kept", n, schemas.MaxCalibrationPoints)
	}
	out := &schemas.Estimator{Rows: int64(len(scores)), X: numbers.X, Y: numbers.Y}
	for _, m := range numbers.Metrics {
		out.Metrics = append(out.Metrics, schemas.EstimatorMetric{
			Metric: schemas.Stattest(m.Metric), Deviation: m.Deviation, Share: m.Share, LowerThreshold: m.LowerThreshold, UpperThreshold: m.UpperThreshold,
		})
	}
	if len(scores) < Enough {
		return out, nil
	}
	n := min(len(scores), schemas.MaxEstimatorRows)
	targets := make([]byte, n)
	for i := range n {
		from := i * len(scores) / n
		out.Scores = append(out.Scores, scores[from])
		targets[i] = '0' + byte(rows.Targets[from])
	}
	out.Targets = string(targets)
	return out, nil
}

func predicted(scores []float64, threshold float64) []int {
	out := make([]int, len(scores))
	for i, s := range scores {
		if s >= threshold {
			out[i] = 1
		}
	}
	return out
}

// Of returns the CBPE of an Estimator that has been checked. Where that keeps rows it learns the
// intervals, which takes some tenths of a second for 10,000.
func Of(e *schemas.Estimator) (*estimate.BinaryCBPE, error) {
	numbers := estimate.Fitted{X: e.X, Y: e.Y}
	for _, m := range e.Metrics {
		numbers.Metrics = append(numbers.Metrics, estimate.FittedMetric{
			Metric: estimate.Metric(m.Metric), Deviation: m.Deviation, Share: m.Share, LowerThreshold: m.LowerThreshold, UpperThreshold: m.UpperThreshold,
		})
	}
	c, err := numbers.BinaryCBPE()
	if err != nil || len(e.Scores) < Enough {
		return c, err
	}
	rows := estimate.Binary{Scores: e.Scores, Targets: make([]int, len(e.Targets))}
	for i := range e.Targets {
		rows.Targets[i] = int(e.Targets[i] - '0')
	}
	return c, c.LearnIntervals(rows)
}
