package detect

import (
	"fmt"
	"math"
)

// EDDMConfig are the parameters of EDDM.
type EDDMConfig struct {
	WarmStart int     `json:"warm_start"` // no level up to this many values, and no verdict up to this many errors
	Alpha     float64 `json:"alpha"`      // below: warning
	Beta      float64 `json:"beta"`       // below: drift
}

// DefaultEDDMConfig returns River's defaults.
func DefaultEDDMConfig() EDDMConfig { return EDDMConfig{WarmStart: 30, Alpha: 0.95, Beta: 0.9} }

// Validate returns everything that is wrong.
func (c EDDMConfig) Validate() error {
	var p parameters
	p.require(c.WarmStart >= 0, "warm_start", "at least 0", c.WarmStart)
	p.require(finite(c.Beta), "beta", "a number", c.Beta)
	p.require(c.Alpha >= c.Beta && finite(c.Alpha), "alpha", "a number not below beta", c.Alpha)
	return p.err()
}

// EDDM watches the distances between a model's errors, and finds a drift when they become
// shorter (Baena-García and others 2006, "Early drift detection method").
type EDDM struct {
	base
	config EDDMConfig

	distances    moments // n: errors
	n, lastError int64
	level, most  float64 // mean + 2 standard deviations of the distances, now and at most; -1: not yet
}

// NewEDDM returns a detector that has seen nothing.
func NewEDDM(c EDDMConfig) (*EDDM, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("eddm: %w", err)
	}
	return &EDDM{config: c, level: -1, most: -1}, nil
}

// Kind implements Detector.
func (d *EDDM) Kind() string { return KindEDDM }

// Config returns the parameters.
func (d *EDDM) Config() EDDMConfig { return d.config }

// Errors is their number since the start or the last drift.
func (d *EDDM) Errors() int64 { return d.distances.n }

// Distance is the mean distance between two errors since the start or the last drift, and its
// standard deviation.
func (d *EDDM) Distance() (mean, deviation float64) {
	return d.distances.mean, math.Sqrt(d.distances.variance())
}

// Most is the greatest sum of the distance's mean and two standard deviations at an error since the
// last drift, but for the first WarmStart values; -1 before there is one.
func (d *EDDM) Most() float64 { return d.most }

// Level is what Alpha and Beta bound: the sum of the distance's mean and two standard deviations at
// the last error, divided by Most. It is 1 while there is no Most.
func (d *EDDM) Level() float64 {
	if d.most < 0 {
		return 1
	}
	return d.level / d.most
}

// Update implements Detector: value is 1 for an error and 0 else. Without an error, a warning
// stays as it is.
func (d *EDDM) Update(value float64) error {
	if err := checkBinary(value); err != nil {
		return fmt.Errorf("eddm: %w", err)
	}
	if d.drift {
		*d = EDDM{base: base{seen: d.seen, detections: d.detections}, config: d.config, level: -1, most: -1}
	}
	d.n++
	if value == 1 {
		d.distances.update(float64(d.n - d.lastError))
		d.lastError = d.n
		if d.n > int64(d.config.WarmStart) {
			d.judge()
		}
	}
	d.count()
	return nil
}

func (d *EDDM) judge() {
	mean, deviation := d.Distance()
	d.level = mean + float64(2*deviation)
	switch {
	case d.level > d.most:
		d.most = d.level
	case d.distances.n > int64(d.config.WarmStart):
		switch level := d.Level(); {
		case level < d.config.Beta:
			d.drift = true // a warning stays on, as River's does
		default:
			d.warning = level < d.config.Alpha
		}
	}
}

// AppendBinary implements encoding.BinaryAppender.
func (d *EDDM) AppendBinary(b []byte) ([]byte, error) {
	w := newWriter(b, KindEDDM)
	w.int(d.config.WarmStart)
	w.f64(d.config.Alpha)
	w.f64(d.config.Beta)
	w.base(&d.base)
	w.moments(&d.distances)
	w.i64(d.n)
	w.i64(d.lastError)
	w.f64(d.level)
	w.f64(d.most)
	return w.close(), nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (d *EDDM) MarshalBinary() ([]byte, error) { return d.AppendBinary(nil) }

// UnmarshalBinary implements encoding.BinaryUnmarshaler; it changes nothing on an error.
func (d *EDDM) UnmarshalBinary(b []byte) error {
	r := newReader(b, KindEDDM)
	e := EDDM{config: EDDMConfig{WarmStart: r.int(), Alpha: r.f64(), Beta: r.f64()}}
	r.parameters(e.config.Validate())
	e.base = r.base()
	e.distances = r.moments(1 << 53)
	e.n, e.lastError = r.count(), r.count()
	r.require(e.n <= e.seen && e.lastError <= e.n && e.distances.n <= e.lastError && e.distances.mean >= 0, "errors")
	e.level, e.most = r.f64(), r.f64()
	r.require(e.level == -1 && e.most == -1 || e.level > 0 && e.level <= e.most && finite(e.most) && e.distances.n > 0, "level")
	if err := r.close(); err != nil {
		return fmt.Errorf("eddm: %w", err)
	}
	*d = e
	return nil
}
