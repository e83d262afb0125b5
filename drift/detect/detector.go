package detect

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// ErrValue is returned by Update for a value that the detector does not take. The detector
// is as it was before.
var ErrValue = errors.New("value refused")

// Detector watches one stream. It is not safe for concurrent use.
type Detector interface {
	// Kind is the detector's name, one of Kinds.
	Kind() string

	// Update takes the next value. A value that is NaN, infinite or outside the detector's
	// range is an ErrValue and changes nothing.
	Update(value float64) error

	// DriftDetected says whether the last value showed a drift. The next one starts over.
	DriftDetected() bool

	// WarningDetected says whether the stream is in the warning zone. Detectors without one
	// never warn.
	WarningDetected() bool

	// Seen is the number of values taken, so that Seen()-1 is the index of the last one.
	Seen() int64

	// Detections is the number of drifts found.
	Detections() int64

	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
	encoding.BinaryAppender
}

// Kinds of detectors, as Kind returns them.
const (
	KindADWIN       = "adwin"
	KindPageHinkley = "page_hinkley"
	KindDDM         = "ddm"
	KindEDDM        = "eddm"
	KindKSWIN       = "kswin"
	KindCUSUM       = "cusum"
	KindEDetector   = "e_detector"
)

// Kinds returns the names of all detectors.
func Kinds() []string {
	return []string{KindADWIN, KindPageHinkley, KindDDM, KindEDDM, KindKSWIN, KindCUSUM, KindEDetector}
}

// New returns a detector of the kind with its defaults.
func New(kind string) (Detector, error) { return NewWith(kind, []byte("{}")) }

// NewWith returns a detector of the kind whose parameters are its defaults, but for those that
// are given: a JSON object by their names. A name that it does not have is an error.
func NewWith(kind string, parameters []byte) (Detector, error) {
	switch kind {
	case KindADWIN:
		return newWith(DefaultADWINConfig(), parameters, NewADWIN)
	case KindPageHinkley:
		return newWith(DefaultPageHinkleyConfig(), parameters, NewPageHinkley)
	case KindDDM:
		return newWith(DefaultDDMConfig(), parameters, NewDDM)
	case KindEDDM:
		return newWith(DefaultEDDMConfig(), parameters, NewEDDM)
	case KindKSWIN:
		return newWith(DefaultKSWINConfig(), parameters, func(c KSWINConfig) (*KSWIN, error) { return NewKSWIN(c) })
	case KindCUSUM:
		return newWith(DefaultCUSUMConfig(), parameters, NewCUSUM)
	case KindEDetector:
		return newWith(DefaultEDetectorConfig(), parameters, NewEDetector)
	}
	return nil, fmt.Errorf("no detector %q; there are %v", kind, Kinds())
}

func newWith[C any, D Detector](config C, parameters []byte, make func(C) (D, error)) (Detector, error) {
	decoder := json.NewDecoder(bytes.NewReader(parameters))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&config); err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	d, err := make(config)
	if err != nil {
		return nil, err // not a Detector that is nil inside
	}
	return d, nil
}

// base is what all detectors have.
type base struct {
	drift, warning   bool
	seen, detections int64
}

// DriftDetected implements Detector.
func (b *base) DriftDetected() bool { return b.drift }

// WarningDetected implements Detector.
func (b *base) WarningDetected() bool { return b.warning }

// Seen implements Detector.
func (b *base) Seen() int64 { return b.seen }

// Detections implements Detector. River's ADWIN has it as n_detections, but forgets it when
// it starts over.
func (b *base) Detections() int64 { return b.detections }

// count closes an update.
func (b *base) count() {
	b.seen++
	if b.drift {
		b.detections++
	}
}

// maxMagnitude bounds what detectors that sum values or their squares take: a sum of 2^53
// squares of differences stays finite. River answers infinities and NaN beyond.
const maxMagnitude = 1e140

func checkMagnitude(x float64) error {
	if !(math.Abs(x) <= maxMagnitude) { // NaN, too
		return fmt.Errorf("%w: %v, must be a number between -1e140 and 1e140", ErrValue, x)
	}
	return nil
}

func checkBinary(x float64) error {
	if x != 0 && x != 1 {
		return fmt.Errorf("%w: %v, must be 1 (error) or 0 (no error)", ErrValue, x)
	}
	return nil
}

// moments are a running mean and, by Welford's algorithm, sum of squared deviations (West
// 1979), in the order of operations of river.stats. Conversions of products keep the compiler
// from fusing them with a sum, so that all platforms agree to the bit.
type moments struct {
	n       int64
	mean, s float64
}

func (m *moments) update(x float64) {
	m.n++
	old := m.mean
	m.mean += float64(1 / float64(m.n) * (x - old))
	m.s += float64((x - old) * (x - m.mean))
}

// variance is the sample variance, 0 of one value.
func (m *moments) variance() float64 {
	if m.n < 2 {
		return 0
	}
	return m.s / float64(m.n-1)
}

// parameters collects violations of a configuration.
type parameters struct{ errs []error }

func (p *parameters) require(ok bool, name, rule string, got any) {
	if !ok {
		p.errs = append(p.errs, fmt.Errorf("%s must be %s, got %v", name, rule, got))
	}
}

func (p *parameters) err() error { return errors.Join(p.errs...) }

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
