package detect

import (
	"fmt"
	"math"
)

// DDMConfig are the parameters of DDM.
type DDMConfig struct {
	WarmStart        int     `json:"warm_start"`        // no verdict up to this many values
	WarningThreshold float64 `json:"warning_threshold"` // in standard deviations
	DriftThreshold   float64 `json:"drift_threshold"`
}

// DefaultDDMConfig returns River's defaults.
func DefaultDDMConfig() DDMConfig {
	return DDMConfig{WarmStart: 30, WarningThreshold: 2, DriftThreshold: 3}
}

// Validate returns everything that is wrong.
func (c DDMConfig) Validate() error {
	var p parameters
	p.require(c.WarmStart >= 0, "warm_start", "at least 0", c.WarmStart)
	p.require(finite(c.WarningThreshold), "warning_threshold", "a number", c.WarningThreshold)
	p.require(finite(c.DriftThreshold), "drift_threshold", "a number", c.DriftThreshold)
	return p.err()
}

// DDM watches a model's errors, and finds a drift when their rate is well above the least it
// had been (Gama, Medas, Castillo and Rodrigues 2004, "Learning with drift detection").
type DDM struct {
	base
	config DDMConfig

	rate       moments
	pMin, sMin float64 // where rate and deviation together were least; set once past the warm start
}

// NewDDM returns a detector that has seen nothing.
func NewDDM(c DDMConfig) (*DDM, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("ddm: %w", err)
	}
	return &DDM{config: c}, nil
}

// Kind implements Detector.
func (d *DDM) Kind() string { return KindDDM }

// Config returns the parameters.
func (d *DDM) Config() DDMConfig { return d.config }

// ErrorRate is the rate since the start or the last drift, and its standard deviation.
func (d *DDM) ErrorRate() (rate, deviation float64) {
	if d.rate.n == 0 {
		return 0, 0
	}
	p := d.rate.mean
	return p, math.Sqrt(p * (1 - p) / float64(d.rate.n))
}

// Least is the least rate so far, and its standard deviation; both are 0 during the warm
// start.
func (d *DDM) Least() (rate, deviation float64) { return d.pMin, d.sMin }

// Update implements Detector: value is 1 for an error and 0 else.
func (d *DDM) Update(value float64) error {
	if err := checkBinary(value); err != nil {
		return fmt.Errorf("ddm: %w", err)
	}
	if d.drift {
		d.rate, d.pMin, d.sMin = moments{}, 0, 0
	}
	d.drift, d.warning = false, false
	first := d.rate.n <= int64(d.config.WarmStart)
	d.rate.update(value)
	if d.rate.n > int64(d.config.WarmStart) {
		p, s := d.ErrorRate()
		if first || p+s <= d.pMin+d.sMin {
			d.pMin, d.sMin = p, s
		}
		d.drift = p+s > d.pMin+float64(d.config.DriftThreshold*d.sMin)
		d.warning = !d.drift && p+s > d.pMin+float64(d.config.WarningThreshold*d.sMin)
	}
	d.count()
	return nil
}

// AppendBinary implements encoding.BinaryAppender.
func (d *DDM) AppendBinary(b []byte) ([]byte, error) {
	w := newWriter(b, KindDDM)
	w.int(d.config.WarmStart)
	w.f64(d.config.WarningThreshold)
	w.f64(d.config.DriftThreshold)
	w.base(&d.base)
	w.moments(&d.rate)
	w.f64(d.pMin)
	w.f64(d.sMin)
	return w.close(), nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (d *DDM) MarshalBinary() ([]byte, error) { return d.AppendBinary(nil) }

// UnmarshalBinary implements encoding.BinaryUnmarshaler; it changes nothing on an error.
func (d *DDM) UnmarshalBinary(b []byte) error {
	r := newReader(b, KindDDM)
	m := DDM{config: DDMConfig{WarmStart: r.int(), WarningThreshold: r.f64(), DriftThreshold: r.f64()}}
	r.parameters(m.config.Validate())
	m.base = r.base()
	m.rate = r.moments(1)
	r.require(m.rate.mean >= 0 && m.rate.n <= m.seen, "error rate")
	m.pMin, m.sMin = r.f64(), r.f64()
	r.require(m.pMin >= 0 && m.pMin <= 1 && m.sMin >= 0 && m.sMin <= 0.5, "least error rate")
	r.require(m.rate.n > int64(m.config.WarmStart) || m.pMin == 0 && m.sMin == 0, "least error rate")
	if err := r.close(); err != nil {
		return fmt.Errorf("ddm: %w", err)
	}
	*d = m
	return nil
}
