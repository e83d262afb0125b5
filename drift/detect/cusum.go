package detect

import (
	"fmt"
	"math"
)

// CUSUMConfig are the parameters of CUSUM, named as in Montgomery, "Introduction to
// Statistical Quality Control", chapter 9.
type CUSUMConfig struct {
	Target    float64 `json:"target"`     // mean in control; used with a sigma
	Sigma     float64 `json:"sigma"`      // standard deviation in control; 0: both are estimated
	K         float64 `json:"k"`          // reference value, in sigmas: half the shift to find
	H         float64 `json:"h"`          // decision interval, in sigmas
	WarmStart int     `json:"warm_start"` // values that the target and sigma are estimated from
}

// DefaultCUSUMConfig returns Montgomery's recommendation for shifts of one sigma, with the
// target estimated from as many values as the other detectors warm up with.
func DefaultCUSUMConfig() CUSUMConfig { return CUSUMConfig{K: 0.5, H: 5, WarmStart: 30} }

// minSigma keeps a sum of 2^53 deviations in sigmas finite.
const minSigma = 1e-140

// Validate returns everything that is wrong.
func (c CUSUMConfig) Validate() error {
	var p parameters
	p.require(math.Abs(c.Target) <= maxMagnitude, "target", "between -1e140 and 1e140", c.Target)
	p.require(c.Sigma == 0 || c.Sigma >= minSigma && c.Sigma <= maxMagnitude, "sigma", "0 (estimated) or between 1e-140 and 1e140", c.Sigma)
	p.require(c.K >= 0 && finite(c.K), "k", "at least 0", c.K)
	p.require(c.H > 0 && finite(c.H), "h", "above 0", c.H)
	p.require(c.Sigma != 0 || c.WarmStart >= 2, "warm_start", "at least 2 to estimate sigma", c.WarmStart)
	return p.err()
}

// CUSUM is the two-sided cumulative sum chart (Page 1954, "Continuous inspection schemes", in
// the tabular form):
//
//	upper = max(0, upper + z - k), lower = max(0, lower - z - k), z = (x - target) / sigma
//
// and a drift where one of them exceeds h. Without a given sigma, target and sigma are the
// mean and sample standard deviation of the first values, again after each drift; while these
// are constant to the last bit, there is no scale yet, and the estimate goes on.
type CUSUM struct {
	base
	config CUSUMConfig

	origin       float64 // first value of the estimate, which is of distances from it: so an offset costs no digits
	estimate     moments // of the warm start; unused with a given sigma
	ready        bool    // the estimate is done
	upper, lower float64
}

// NewCUSUM returns a detector that has seen nothing.
func NewCUSUM(c CUSUMConfig) (*CUSUM, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("cusum: %w", err)
	}
	return &CUSUM{config: c, ready: c.Sigma != 0}, nil
}

// Kind implements Detector.
func (d *CUSUM) Kind() string { return KindCUSUM }

// Config returns the parameters.
func (d *CUSUM) Config() CUSUMConfig { return d.config }

// Control returns the target and sigma, given or estimated so far.
func (d *CUSUM) Control() (target, sigma float64) {
	if d.config.Sigma != 0 {
		return d.config.Target, d.config.Sigma
	}
	return d.origin + d.estimate.mean, math.Sqrt(d.estimate.variance())
}

// Sums are the two cumulative sums, in sigmas.
func (d *CUSUM) Sums() (upper, lower float64) { return d.upper, d.lower }

// Update implements Detector: value is any number up to 1e140.
func (d *CUSUM) Update(value float64) error {
	if err := checkMagnitude(value); err != nil {
		return fmt.Errorf("cusum: %w", err)
	}
	if d.drift {
		d.upper, d.lower, d.drift = 0, 0, false
		d.origin, d.estimate, d.ready = 0, moments{}, d.config.Sigma != 0
	}
	if d.ready {
		z := d.standardise(value)
		d.upper = math.Max(0, d.upper+z-d.config.K)
		d.lower = math.Max(0, d.lower-z-d.config.K)
		d.drift = d.upper > d.config.H || d.lower > d.config.H
	} else {
		if d.estimate.n == 0 {
			d.origin = value
		}
		d.estimate.update(value - d.origin)
		_, sigma := d.Control()
		d.ready = d.estimate.n >= int64(d.config.WarmStart) && sigma >= minSigma
	}
	d.count()
	return nil
}

func (d *CUSUM) standardise(value float64) float64 {
	if d.config.Sigma != 0 {
		return (value - d.config.Target) / d.config.Sigma
	}
	return (value - d.origin - d.estimate.mean) / math.Sqrt(d.estimate.variance())
}

// AppendBinary implements encoding.BinaryAppender.
func (d *CUSUM) AppendBinary(b []byte) ([]byte, error) {
	w := newWriter(b, KindCUSUM)
	w.f64(d.config.Target)
	w.f64(d.config.Sigma)
	w.f64(d.config.K)
	w.f64(d.config.H)
	w.int(d.config.WarmStart)
	w.base(&d.base)
	w.f64(d.origin)
	w.moments(&d.estimate)
	w.f64(d.upper)
	w.f64(d.lower)
	return w.close(), nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (d *CUSUM) MarshalBinary() ([]byte, error) { return d.AppendBinary(nil) }

// UnmarshalBinary implements encoding.BinaryUnmarshaler; it changes nothing on an error.
func (d *CUSUM) UnmarshalBinary(b []byte) error {
	r := newReader(b, KindCUSUM)
	c := CUSUM{config: CUSUMConfig{Target: r.f64(), Sigma: r.f64(), K: r.f64(), H: r.f64(), WarmStart: r.int()}}
	r.parameters(c.config.Validate())
	c.base = r.base()
	r.require(!c.warning, "warning")
	c.origin = r.magnitude(maxMagnitude, "origin")
	c.estimate = r.moments(2 * maxMagnitude)
	r.require(c.estimate.n > 0 || c.origin == 0, "origin")
	r.require(c.estimate.n <= c.seen && (c.config.Sigma == 0 || c.estimate == moments{}), "estimate")
	_, sigma := c.Control()
	c.ready = c.config.Sigma != 0 || c.estimate.n >= int64(c.config.WarmStart) && sigma >= minSigma
	c.upper, c.lower = r.f64(), r.f64()
	r.require(c.upper >= 0 && c.lower >= 0 && finite(c.upper) && finite(c.lower), "sum")
	r.require(c.ready || c.upper == 0 && c.lower == 0, "sum")
	if err := r.close(); err != nil {
		return fmt.Errorf("cusum: %w", err)
	}
	*d = c
	return nil
}
