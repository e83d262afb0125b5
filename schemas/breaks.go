package schemas

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// BreakDetector is one detector of sudden changes: it takes the values of a version's stream one
// by one, as rows or labels come, and needs no window.
//
// On is BreakOnError, BreakOnScore, or a feature or output that is a number or a bool. The error of a
// classification is 1 where the prediction is wrong and 0 else. That of a regression is the
// absolute error over Scale, and 1 where it is more.
type BreakDetector struct {
	On       string `yaml:"on"`
	Detector string `yaml:"detector,omitempty"` // default e_detector; see BreakDetectors
	// RunLength is the mean number of values between false alarms, at least: what an e_detector
	// promises. Others promise nothing. Default DefaultRunLength.
	RunLength float64 `yaml:"run_length,omitempty"`
	// Mode is up, down or both: the changes of the mean that count, of an e_detector and of
	// page_hinkley. Default up for errors, both for others.
	Mode string `yaml:"mode,omitempty"`
	// Scale is the absolute error of a regression that counts as 1; 0: the 0.99 quantile of the
	// first errors.
	Scale      float64            `yaml:"scale,omitempty"`
	Severity   Severity           `yaml:"severity,omitempty"`   // default warning
	Parameters map[string]float64 `yaml:"parameters,omitempty"` // of the detector, over its defaults
}

// What a BreakDetector can be on, beside columns. A column of such a name is not meant.
const (
	BreakOnError = "error" // of the target
	BreakOnScore = "score" // the number that the target names
)

// The detectors, as package drift/detect calls them.
const (
	DetectorE           = "e_detector"
	DetectorADWIN       = "adwin"
	DetectorPageHinkley = "page_hinkley"
	DetectorDDM         = "ddm"
	DetectorEDDM        = "eddm"
	DetectorKSWIN       = "kswin"
	DetectorCUSUM       = "cusum"
)

// DefaultRunLength is that of BreakDetector.RunLength.
const DefaultRunLength = 100_000

// MaxBreaks bounds Monitoring.Breaks.
const MaxBreaks = 100

// parameterRange is what a parameter may be. Detectors check what depends on other parameters.
type parameterRange struct {
	low, high float64
	whole     bool
}

var (
	parameterCount  = parameterRange{0, 1e9, true}
	parameterShare  = parameterRange{0, 1, false}
	parameterNumber = parameterRange{-math.MaxFloat64, math.MaxFloat64, false}
	parameterSize   = parameterRange{0, math.MaxFloat64, false}
)

// breakParameters are the parameters of each detector by its name. Names are those of package
// drift/detect.
var breakParameters = map[string]map[string]parameterRange{
	DetectorE: {
		"low": parameterNumber, "high": parameterNumber, "block": {1, 1e6, true}, "warm_start": parameterCount,
		"mean": parameterNumber, "miss": {1e-6, 0.5, false}, "slack": parameterSize,
	},
	DetectorADWIN: {
		"delta": parameterShare, "clock": {1, 1e9, true}, "max_buckets": {2, 4096, true},
		"min_window_length": {1, 1e9, true}, "grace_period": parameterCount,
	},
	DetectorPageHinkley: {"min_instances": parameterCount, "delta": parameterNumber, "threshold": parameterSize, "alpha": parameterShare},
	DetectorDDM:         {"warm_start": parameterCount, "warning_threshold": parameterNumber, "drift_threshold": parameterNumber},
	DetectorEDDM:        {"warm_start": parameterCount, "alpha": parameterNumber, "beta": parameterNumber},
	DetectorKSWIN:       {"alpha": parameterShare, "window_size": {2, 1e5, true}, "stat_size": {1, 1e4, true}, "seed": {0, 1 << 53, true}},
	DetectorCUSUM: {
		"target": parameterNumber, "sigma": parameterSize, "k": parameterSize, "h": parameterSize, "warm_start": parameterCount,
	},
}

// BreakDetectors returns the names of all detectors, sorted.
func BreakDetectors() []string { return slices.Sorted(maps.Keys(breakParameters)) }

// BreakParameters returns the names of the parameters of a detector, sorted.
func BreakParameters(detector string) []string {
	return slices.Sorted(maps.Keys(breakParameters[detector]))
}

// setDefaults sets what is not set.
func (b *BreakDetector) setDefaults() {
	if b.Detector == "" {
		b.Detector = DetectorE
	}
	if b.RunLength == 0 && b.Detector == DetectorE {
		b.RunLength = DefaultRunLength
	}
	if b.Mode == "" && b.hasMode() {
		b.Mode = "both"
		if b.On == BreakOnError {
			b.Mode = "up"
		}
	}
	if b.Severity == "" {
		b.Severity = SeverityWarning
	}
}

func (b *BreakDetector) hasMode() bool {
	return b.Detector == DetectorE || b.Detector == DetectorPageHinkley
}

// BreakColumn returns the feature or output that a detector of the version is on: of score that
// of the target. Of error it is "".
func (m *Manifest) BreakColumn(b *BreakDetector) string {
	switch {
	case b.On == BreakOnError:
		return ""
	case b.On == BreakOnScore && m.Target != nil:
		return m.Target.Score
	}
	return b.On
}

// BreakRange returns the range of the values that a detector of the version takes, where it is
// known: by the detector's parameters low and high, of errors, bools and probabilities, or by the
// feature's min and max.
func (m *Manifest) BreakRange(b *BreakDetector) (low, high float64, ok bool) {
	name := m.BreakColumn(b)
	f, isFeature := m.Feature(name)
	o, isOutput := m.Output(name)
	switch {
	case b.On == BreakOnError, isFeature && f.Type == TypeBool, isOutput && o.Type == TypeBool,
		isOutput && m.Target != nil && m.Target.Kind == TargetBinary && m.Target.Score == name:
		low, high, ok = 0, 1, true
	case isFeature && f.Min != nil && f.Max != nil:
		low, high, ok = *f.Min, *f.Max, true
	}
	givenLow, hasLow := b.Parameters["low"]
	givenHigh, hasHigh := b.Parameters["high"]
	if hasLow {
		low = givenLow
	}
	if hasHigh {
		high = givenHigh
	}
	return low, high, ok || hasLow && hasHigh
}

// validateBreaks checks monitoring.breaks.
func (m *Manifest) validateBreaks(v *violations) {
	breaks := m.Monitoring.Breaks
	if len(breaks) > MaxBreaks {
		v.add("monitoring.breaks", "at most %d, got %d", MaxBreaks, len(breaks))
	}
	seen := map[string]bool{}
	for i := range breaks {
		b, key := &breaks[i], fmt.Sprintf("monitoring.breaks[%d]", i)
		if id := b.On + "\n" + b.Detector; seen[id] {
			v.add(key, "a second %s on %s", b.Detector, b.On)
		} else {
			seen[id] = true
		}
		v.oneOf(key+".severity", string(b.Severity), string(SeverityInfo), string(SeverityWarning), string(SeverityCritical))
		if _, ok := breakParameters[b.Detector]; !ok {
			v.add(key+".detector", "%q is not one of %s", b.Detector, strings.Join(BreakDetectors(), ", "))
			continue
		}
		if m.validateBreakOn(v, key, b) {
			m.validateBreakRange(v, key, b)
		}
		b.validateParameters(v, key)
	}
}

// validateBreakOn checks what a detector is on, and says whether there is such a thing.
func (m *Manifest) validateBreakOn(v *violations, key string, b *BreakDetector) bool {
	if m.Target == nil && (b.On == BreakOnError || b.On == BreakOnScore) {
		v.add(key+".on", "%s is of the target, and the manifest has none", b.On)
		return false
	}
	regression := b.On == BreakOnError && m.Target.Kind == TargetRegression
	if b.Scale != 0 && !regression {
		v.add(key+".scale", "is of the error of a regression target")
	}
	v.between(key+".scale", b.Scale, 0, math.MaxFloat64)
	binary := b.On == BreakOnError && !regression
	if b.On != BreakOnError {
		name, typ := m.BreakColumn(b), FeatureType("")
		if f, ok := m.Feature(name); ok {
			typ = f.Type
		} else if o, ok := m.Output(name); ok {
			typ = o.Type
		}
		switch {
		case typ == "":
			v.add(key+".on", "%q is neither %s, %s, a feature nor an output", b.On, BreakOnError, BreakOnScore)
			return false
		case b.On == BreakOnScore && m.Target.Kind == TargetMulticlass:
			v.add(key+".on", "output %q is a class, not a number; name a feature or an output", name)
			return false
		case !typ.Numeric() && typ != TypeBool:
			v.add(key+".on", "%q is %s, neither a number nor a bool", name, typ)
			return false
		}
		binary = typ == TypeBool
	}
	if (b.Detector == DetectorDDM || b.Detector == DetectorEDDM) && !binary {
		v.add(key+".detector", "%s takes right and wrong alone: the error of a classification, or a bool", b.Detector)
	}
	return true
}

// validateBreakRange checks that the values of an e-detector are bounded.
func (m *Manifest) validateBreakRange(v *violations, key string, b *BreakDetector) {
	if b.Detector != DetectorE {
		return
	}
	low, high, ok := m.BreakRange(b)
	switch {
	case !ok:
		v.add(key+".parameters", "e_detector needs low and high, between which the values of %q lie; or a feature with min and max", b.On)
	case !(low < high):
		v.add(key+".parameters", "low must be below high, got %v and %v", low, high)
	case b.On == BreakOnError && (low != 0 || high != 1):
		v.add(key+".parameters", "low and high of error are 0 and 1; leave them out")
	}
}

func (b *BreakDetector) validateParameters(v *violations, key string) {
	if b.Detector == DetectorE {
		v.between(key+".run_length", b.RunLength, 100, 1e12)
	} else if b.RunLength != 0 {
		v.add(key+".run_length", "is a promise of e_detector; %s makes none", b.Detector)
	}
	if b.hasMode() {
		v.oneOf(key+".mode", b.Mode, "up", "down", "both")
	} else if b.Mode != "" {
		v.add(key+".mode", "is of e_detector and page_hinkley, and this is %s", b.Detector)
	}
	ranges := breakParameters[b.Detector]
	for _, name := range slices.Sorted(maps.Keys(b.Parameters)) {
		value, field := b.Parameters[name], key+".parameters."+name
		r, ok := ranges[name]
		switch {
		case !ok:
			v.add(field, "%s has no such parameter; it has %s", b.Detector, strings.Join(BreakParameters(b.Detector), ", "))
		case !(value >= r.low && value <= r.high):
			v.between(field, value, r.low, r.high)
		case r.whole && value != math.Trunc(value):
			v.add(field, "must be a whole number, got %v", value)
		}
	}
}
