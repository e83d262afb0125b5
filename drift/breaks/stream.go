package breaks

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/drift/detect"
	"github.com/millrace/millrace/schemas"
)

// How the scale of a regression's error is learned, where the manifest has none.
const (
	scaleErrors   = 500
	scaleQuantile = 0.99
)

// maxError bounds errors and their scale, so that the quotient is a number.
const (
	maxError = 1e300
	minScale = 1e-300
)

// stream is a detector and what of its values a break tells.
type stream struct {
	plan     *schemas.BreakDetector
	key      string // all that the meaning of the state depends on
	feed     Feed
	column   int // of the feed
	detector detect.Detector
	counts   Counts
	levels   levels

	scaled bool      // its values are errors of a regression
	scale  float64   // 0: not known yet
	errors []float64 // that the scale is learned from
}

func newStream(m *schemas.Manifest, plan *schemas.BreakDetector) (*stream, error) {
	parameters := map[string]any{}
	for name, value := range plan.Parameters {
		parameters[name] = value
	}
	if plan.Mode != "" {
		parameters["mode"] = plan.Mode
	}
	if plan.Detector == schemas.DetectorE {
		parameters["run_length"] = plan.RunLength
		parameters["low"], parameters["high"], _ = m.BreakRange(plan)
	}
	text, err := json.Marshal(parameters)
	if err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	detector, err := detect.NewWith(plan.Detector, text)
	if err != nil {
		return nil, err
	}
	s := &stream{plan: plan, detector: detector, scale: plan.Scale}
	var target *schemas.Target
	if plan.On == schemas.BreakOnError || plan.On == schemas.BreakOnScore {
		target = m.Target
		s.scaled = plan.On == schemas.BreakOnError && target.Kind == schemas.TargetRegression
	}
	key, err := json.Marshal([]any{plan.On, plan.Detector, json.RawMessage(text), plan.Scale, target})
	if err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	s.key = string(key)
	return s, nil
}

// take takes a value, and says whether it shows a break.
func (s *stream) take(value float64) bool {
	if math.IsNaN(value) {
		s.counts.Missing++
		return false
	}
	if s.scaled {
		if value < 0 {
			s.counts.Refused++
			return false
		}
		if value = math.Min(value, maxError); s.scale == 0 {
			s.learn(value)
			return false
		}
		value = math.Min(value/s.scale, 1)
	}
	if s.detector.Update(value) != nil {
		s.counts.Refused++
		return false
	}
	s.counts.Taken++
	s.levels.take(value)
	if s.detector.DriftDetected() {
		s.counts.Breaks++
		return true
	}
	return false
}

// learn takes one of the errors that the scale is learned from: the least error that at least
// scaleQuantile of them do not exceed. The detector gets those that come after.
func (s *stream) learn(value float64) {
	s.counts.Learning++
	if s.errors = append(s.errors, value); len(s.errors) < scaleErrors {
		return
	}
	slices.Sort(s.errors)
	rank := int(math.Ceil(scaleQuantile*scaleErrors)) - 1
	s.scale, s.errors = math.Max(s.errors[rank], minScale), nil
}

// recentValues is how many values a break takes for the ones after it.
const recentValues = 50

// levels are means of the values since the start or the last break: of the last ones, and of
// those before.
type levels struct {
	older  int64 // values before recent
	sum    float64
	recent [recentValues]float64 // a ring of the last ones
	n      int64                 // values in all
}

func (l *levels) take(x float64) {
	at := &l.recent[l.n%recentValues]
	if l.n >= recentValues {
		l.older++
		l.sum += *at
	}
	*at = x
	l.n++
}

// last returns the last values, the oldest first.
func (l *levels) last() []float64 {
	n := min(l.n, recentValues)
	out := make([]float64, 0, n)
	for i := l.n - n; i < l.n; i++ {
		out = append(out, l.recent[i%recentValues])
	}
	return out
}

// split returns the mean of the last values and of those before: of fewer than twice as many,
// those of the halves.
func (l *levels) split() (before, after float64) {
	last := l.last()
	if len(last) == 0 {
		return 0, 0
	}
	from := 0
	if l.older < recentValues {
		from = int(min(l.n/2-l.older, int64(len(last)-1)))
	}
	sum, n := l.sum, float64(l.older)
	for _, x := range last[:from] {
		sum += x
		n++
	}
	for _, x := range last[from:] {
		after += x
	}
	after /= float64(len(last) - from)
	if n == 0 {
		return after, after
	}
	return sum / n, after
}

// statistic returns the name of the figure by which a detector has decided last, the figure, and
// its threshold.
func statistic(d detect.Detector) (name string, value, threshold float64) {
	switch d := d.(type) {
	case *detect.EDetector:
		return "e_value", d.EValue(), d.Threshold()
	case *detect.PageHinkley:
		increase, decrease := d.Statistics()
		value = math.Max(increase, decrease)
		switch d.Config().Mode {
		case detect.ModeUp:
			value = increase
		case detect.ModeDown:
			value = decrease
		}
		return "page_hinkley", value, d.Config().Threshold
	case *detect.CUSUM:
		upper, lower := d.Sums()
		return "cumulative_sum", math.Max(upper, lower), d.Config().H
	case *detect.DDM:
		rate, deviation := d.ErrorRate()
		least, leastDeviation := d.Least()
		return "error_rate", rate + deviation, least + float64(d.Config().DriftThreshold*leastDeviation)
	case *detect.EDDM:
		return "error_distance", d.Level(), d.Config().Beta
	case *detect.KSWIN:
		_, p := d.Test()
		return "p_value", p, d.Config().Alpha
	case *detect.ADWIN:
		return "window", float64(d.Width()), 0
	}
	return "", 0, 0
}
