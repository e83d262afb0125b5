package estimate

import (
	"fmt"
	"math"
	"slices"
)

// Fitted is a BinaryCBPE as numbers, to be kept beside a reference: what estimates of counts
// need of it. It has no intervals, which need the reference's rows.
type Fitted struct {
	// X and Y are the points of the calibration, empty where scores stay as they are.
	X       []float64      `json:"x,omitempty"`
	Y       []float64      `json:"y,omitempty"`
	Metrics []FittedMetric `json:"metrics"` // in the order of BinaryMetrics
}

// FittedMetric is what the reference says of a metric; nil as in Estimate.
type FittedMetric struct {
	Metric         Metric   `json:"metric"`
	Deviation      *float64 `json:"deviation,omitempty"` // of a row that counts
	Share          float64  `json:"share"`               // of the rows that count
	LowerThreshold *float64 `json:"lower_threshold,omitempty"`
	UpperThreshold *float64 `json:"upper_threshold,omitempty"`
}

// Fitted returns c as numbers.
func (c *BinaryCBPE) Fitted() Fitted {
	var f Fitted
	if i := c.Calibration.Isotonic; i != nil {
		f.X, f.Y = slices.Clone(i.X), slices.Clone(i.Y)
	}
	for k, m := range c.metrics {
		s := c.sampling[k]
		f.Metrics = append(f.Metrics, FittedMetric{m, exists(s.std), s.share, c.lower[k], c.upper[k]})
	}
	return f
}

// BinaryCBPE returns the estimator of checked numbers. It estimates as the one that they are of,
// without intervals.
func (f Fitted) BinaryCBPE() (*BinaryCBPE, error) {
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("fitted cbpe: %w", err)
	}
	c := &BinaryCBPE{Calibration: &Calibration{}, metrics: BinaryMetrics[:len(f.Metrics)]}
	if len(f.X) > 0 {
		c.Calibration.Needed, c.Calibration.Isotonic = true, &Isotonic{X: slices.Clone(f.X), Y: slices.Clone(f.Y)}
	}
	for _, m := range f.Metrics {
		s := sampling{std: math.NaN(), share: m.Share}
		if m.Deviation != nil {
			s.std = *m.Deviation
		}
		c.sampling = append(c.sampling, s)
		c.lower, c.upper = append(c.lower, m.LowerThreshold), append(c.upper, m.UpperThreshold)
	}
	return c, nil
}

func (f Fitted) check() error {
	if len(f.X) != len(f.Y) {
		return fmt.Errorf("%d x and %d y", len(f.X), len(f.Y))
	}
	for k, x := range f.X {
		if !(x >= 0 && x <= 1) || !(f.Y[k] >= 0 && f.Y[k] <= 1) {
			return fmt.Errorf("point %d is (%v, %v), must be from 0 to 1", k, x, f.Y[k])
		}
		if k > 0 && (!(x > f.X[k-1]) || f.Y[k] < f.Y[k-1]) {
			return fmt.Errorf("point %d, (%v, %v), must be beyond (%v, %v)", k, x, f.Y[k], f.X[k-1], f.Y[k-1])
		}
	}
	if len(f.Metrics) != 1 && len(f.Metrics) != len(BinaryMetrics) {
		return fmt.Errorf("%d metrics, want %v, or the first of them", len(f.Metrics), BinaryMetrics)
	}
	for k, m := range f.Metrics {
		if m.Metric != BinaryMetrics[k] {
			return fmt.Errorf("metric %d is %q, want %q", k, m.Metric, BinaryMetrics[k])
		}
		if !(m.Share >= 0 && m.Share <= 1) || m.Deviation != nil && (!finite(*m.Deviation) || *m.Deviation < 0) {
			return fmt.Errorf("%s: share %v, must be from 0 to 1, and no deviation below 0", m.Metric, m.Share)
		}
		for _, v := range []*float64{m.LowerThreshold, m.UpperThreshold} {
			if v != nil && !finite(*v) {
				return fmt.Errorf("%s: threshold %v, must be finite", m.Metric, *v)
			}
		}
	}
	return nil
}
