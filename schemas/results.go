package schemas

import "time"

// Job names what is done with a window, in the table windows.
type Job string

// The jobs.
const (
	JobDrift    Job = "drift"
	JobAccuracy Job = "accuracy"
	JobReport   Job = "report"
)

// Verdict is what a job found in a window.
type Verdict string

// The verdicts.
const (
	VerdictOK       Verdict = "ok"
	VerdictBreached Verdict = "breached"
	VerdictTooFew   Verdict = "too_few" // fewer rows, or labels, than min_rows
)

// DriftResult is a row of drift_results: one score of one column, or drift_share of none.
type DriftResult struct {
	Model       string    `ch:"model"`
	Version     string    `ch:"version"`
	WindowStart time.Time `ch:"window_start"`
	WindowEnd   time.Time `ch:"window_end"`
	Revision    uint32    `ch:"revision"`
	Column      string    `ch:"column"`
	Stattest    string    `ch:"stattest"`
	Score       float64   `ch:"score"`
	PValue      *float64  `ch:"p_value"`
	Threshold   *float64  `ch:"threshold"`
	Drifted     bool      `ch:"drifted"`
	Severity    string    `ch:"severity"`
	Retrain     bool      `ch:"retrain"`
	Rows        uint64    `ch:"rows"`
	Missing     uint64    `ch:"missing"`
	ComputedAt  time.Time `ch:"computed_at"`
}

// AccuracyResult is a row of accuracy_results: one quality figure.
type AccuracyResult struct {
	Model       string    `ch:"model"`
	Version     string    `ch:"version"`
	WindowStart time.Time `ch:"window_start"`
	WindowEnd   time.Time `ch:"window_end"`
	Revision    uint32    `ch:"revision"`
	Metric      string    `ch:"metric"`
	Value       *float64  `ch:"value"`
	Threshold   *float64  `ch:"threshold"`
	Breached    bool      `ch:"breached"`
	Severity    string    `ch:"severity"`
	Retrain     bool      `ch:"retrain"`
	Rows        uint64    `ch:"rows"`
	Labels      uint64    `ch:"labels"`
	ComputedAt  time.Time `ch:"computed_at"`
}

// FinishedWindow is a row of windows: a window that a job has finished.
type FinishedWindow struct {
	Model       string    `ch:"model"`
	Version     string    `ch:"version"`
	Job         string    `ch:"job"`
	WindowStart time.Time `ch:"window_start"`
	WindowEnd   time.Time `ch:"window_end"`
	Revision    uint32    `ch:"revision"`
	Rows        uint64    `ch:"rows"`
	Labels      uint64    `ch:"labels"`
	Verdict     string    `ch:"verdict"`
	DoneAt      time.Time `ch:"done_at"`
}
