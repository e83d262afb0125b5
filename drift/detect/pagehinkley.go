package detect

import (
	"fmt"
	"math"
	"slices"
)

// Modes of PageHinkley: which changes of the mean count.
const (
	ModeUp   = "up"
	ModeDown = "down"
	ModeBoth = "both"
)

var modes = []string{ModeUp, ModeDown, ModeBoth} // the order is part of the saved state

// PageHinkleyConfig are the parameters of PageHinkley.
type PageHinkleyConfig struct {
	MinInstances int     `json:"min_instances"` // no drift before
	Delta        float64 `json:"delta"`         // change that is allowed
	Threshold    float64 `json:"threshold"`     // lambda
	Alpha        float64 `json:"alpha"`         // forgetting factor of the sums
	Mode         string  `json:"mode"`
}

// DefaultPageHinkleyConfig returns River's defaults.
func DefaultPageHinkleyConfig() PageHinkleyConfig {
	return PageHinkleyConfig{MinInstances: 30, Delta: 0.005, Threshold: 50, Alpha: 1 - 0.0001, Mode: ModeBoth}
}

// Validate returns everything that is wrong.
func (c PageHinkleyConfig) Validate() error {
	var p parameters
	p.require(c.MinInstances >= 0, "min_instances", "at least 0", c.MinInstances)
	p.require(math.Abs(c.Delta) <= maxMagnitude, "delta", "between -1e140 and 1e140", c.Delta)
	p.require(c.Threshold >= 0 && finite(c.Threshold), "threshold", "at least 0", c.Threshold)
	p.require(c.Alpha > 0 && c.Alpha <= 1, "alpha", "above 0 and at most 1", c.Alpha)
	p.require(slices.Contains(modes, c.Mode), "mode", "up, down or both", c.Mode)
	return p.err()
}

// PageHinkley sums how far values are from the running mean, and finds a drift when the sum
// is far from its extreme (Page 1954, "Continuous inspection schemes"; with fading, Sebastião
// and Fernandes 2017).
type PageHinkley struct {
	base
	config PageHinkleyConfig

	mean                     moments
	sumIncrease, sumDecrease float64
	minIncrease, maxDecrease float64
}

// NewPageHinkley returns a detector that has seen nothing.
func NewPageHinkley(c PageHinkleyConfig) (*PageHinkley, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("page_hinkley: %w", err)
	}
	d := &PageHinkley{config: c}
	d.restart()
	return d, nil
}

// restart has River's start of the maximum, -1.
func (d *PageHinkley) restart() {
	d.mean = moments{}
	d.sumIncrease, d.sumDecrease = 0, 0
	d.minIncrease, d.maxDecrease = math.Inf(1), -1
}

// Kind implements Detector.
func (d *PageHinkley) Kind() string { return KindPageHinkley }

// Config returns the parameters.
func (d *PageHinkley) Config() PageHinkleyConfig { return d.config }

// Mean is that of the values since the start or the last drift.
func (d *PageHinkley) Mean() float64 { return d.mean.mean }

// Width is the number of values since the start or the last drift.
func (d *PageHinkley) Width() int64 { return d.mean.n }

// Statistics are what the threshold is for: how far the sums are above their minimum and
// below their maximum.
func (d *PageHinkley) Statistics() (increase, decrease float64) {
	if d.mean.n == 0 {
		return 0, 0
	}
	return d.sumIncrease - d.minIncrease, d.maxDecrease - d.sumDecrease
}

// Update implements Detector: value is any number up to 1e140.
func (d *PageHinkley) Update(value float64) error {
	if err := checkMagnitude(value); err != nil {
		return fmt.Errorf("page_hinkley: %w", err)
	}
	if d.drift {
		d.restart()
	}
	d.mean.update(value)
	deviation := value - d.mean.mean
	d.sumIncrease = float64(d.config.Alpha*d.sumIncrease) + deviation - d.config.Delta
	d.sumDecrease = float64(d.config.Alpha*d.sumDecrease) + deviation + d.config.Delta
	d.minIncrease = math.Min(d.minIncrease, d.sumIncrease)
	d.maxDecrease = math.Max(d.maxDecrease, d.sumDecrease)

	increase, decrease := d.Statistics()
	d.drift = d.mean.n >= int64(d.config.MinInstances) &&
		(d.config.Mode != ModeDown && increase > d.config.Threshold ||
			d.config.Mode != ModeUp && decrease > d.config.Threshold)
	d.count()
	return nil
}

// AppendBinary implements encoding.BinaryAppender.
func (d *PageHinkley) AppendBinary(b []byte) ([]byte, error) {
	w := newWriter(b, KindPageHinkley)
	w.int(d.config.MinInstances)
	w.f64(d.config.Delta)
	w.f64(d.config.Threshold)
	w.f64(d.config.Alpha)
	w.int(slices.Index(modes, d.config.Mode))
	w.base(&d.base)
	w.moments(&d.mean)
	for _, v := range []float64{d.sumIncrease, d.sumDecrease, d.minIncrease, d.maxDecrease} {
		w.f64(v)
	}
	return w.close(), nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (d *PageHinkley) MarshalBinary() ([]byte, error) { return d.AppendBinary(nil) }

// UnmarshalBinary implements encoding.BinaryUnmarshaler; it changes nothing on an error.
func (d *PageHinkley) UnmarshalBinary(b []byte) error {
	r := newReader(b, KindPageHinkley)
	p := PageHinkley{config: PageHinkleyConfig{
		MinInstances: r.int(), Delta: r.f64(), Threshold: r.f64(), Alpha: r.f64(),
	}}
	mode := r.int()
	r.require(mode >= 0 && mode < len(modes), "mode")
	if r.err == nil {
		p.config.Mode = modes[mode]
		r.parameters(p.config.Validate())
	}
	p.base = r.base()
	r.require(!p.warning, "warning")
	p.mean = r.moments(maxMagnitude)
	r.require(p.mean.n <= p.seen, "count of values")
	limit := 3 * maxMagnitude * math.Max(1, float64(p.mean.n)) // a value's part is at most 3e140
	p.sumIncrease, p.sumDecrease = r.magnitude(limit, "sum"), r.magnitude(limit, "sum")
	p.minIncrease, p.maxDecrease = r.f64(), r.magnitude(limit, "maximum")
	if p.mean.n == 0 {
		r.require(math.IsInf(p.minIncrease, 1) && p.maxDecrease == -1 && p.sumIncrease == 0 && p.sumDecrease == 0, "start")
	} else {
		r.require(p.minIncrease <= p.sumIncrease && p.minIncrease >= -limit && p.maxDecrease >= p.sumDecrease, "extremes")
	}
	if err := r.close(); err != nil {
		return fmt.Errorf("page_hinkley: %w", err)
	}
	*d = p
	return nil
}
