package schemas

import "time"

// SegmentResult is a row of accuracy_segments: a quality figure of the rows of a segment.
type SegmentResult struct {
	Model       string    `ch:"model"`
	Version     string    `ch:"version"`
	WindowStart time.Time `ch:"window_start"`
	WindowEnd   time.Time `ch:"window_end"`
	Revision    uint32    `ch:"revision"`
	Segment     string    `ch:"segment"`       // the feature
	Of          string    `ch:"segment_value"` // its value as text; empty where it is missing
	Other       bool      `ch:"other"`         // all values but the most frequent ones
	Metric      string    `ch:"metric"`
	Value       *float64  `ch:"value"`
	Low         *float64  `ch:"low"` // of the interval of 95 %
	High        *float64  `ch:"high"`
	Whole       *float64  `ch:"whole"`   // of all rows of the window
	Differs     bool      `ch:"differs"` // from whole, at 95 % over all segments of the feature together
	Labels      uint64    `ch:"labels"`
	ComputedAt  time.Time `ch:"computed_at"`
	WindowKind  string    `ch:"window_kind"` // Manifest.WindowKind
}

// RequirementResult is a row of requirement_results: what a window tells of a requirement.
type RequirementResult struct {
	Model       string    `ch:"model"`
	Version     string    `ch:"version"`
	WindowStart time.Time `ch:"window_start"`
	WindowEnd   time.Time `ch:"window_end"`
	Revision    uint32    `ch:"revision"` // of the job that measured it
	Requirement string    `ch:"requirement"`
	Required    float64   `ch:"required"`
	Value       *float64  `ch:"value"`
	Low         *float64  `ch:"low"` // of the interval of 95 %; nil: there is none
	High        *float64  `ch:"high"`
	Verdict     string    `ch:"verdict"`
	Rows        uint64    `ch:"rows"` // that it was measured by
	ComputedAt  time.Time `ch:"computed_at"`
	WindowKind  string    `ch:"window_kind"` // Manifest.WindowKind
}

// LabelDelayResult is a row of label_delays: how long after the event time of a window's rows their
// first usable label became known, in seconds.
type LabelDelayResult struct {
	Model       string    `ch:"model"`
	Version     string    `ch:"version"`
	WindowStart time.Time `ch:"window_start"`
	WindowEnd   time.Time `ch:"window_end"`
	Revision    uint32    `ch:"revision"`
	Rows        uint64    `ch:"rows"`
	Labels      uint64    `ch:"labels"`
	Median      float64   `ch:"median_s"`
	P90         float64   `ch:"p90_s"`
	P99         float64   `ch:"p99_s"`
	Longest     float64   `ch:"longest_s"`
	ComputedAt  time.Time `ch:"computed_at"`
	WindowKind  string    `ch:"window_kind"` // Manifest.WindowKind
}

// Found is what jobs find in windows beside scores and figures.
type Found struct {
	Segments     []SegmentResult
	Requirements []RequirementResult
	Delays       []LabelDelayResult
}

// LearnedEstimator is a row of learned_estimators: the estimator of a reference that was learned,
// which is made once the labels of its rows have come.
type LearnedEstimator struct {
	Model     string    `ch:"model"`
	Version   string    `ch:"version"`
	LearnedTo time.Time `ch:"learned_to"` // of the reference
	Rows      uint64    `ch:"rows"`
	Estimator string    `ch:"estimator"` // an Estimator as JSON
}
