package schemas

import "time"

// Job names what is done with a window, in the table windows.
type Job string

// The jobs.
const (
	JobDrift    Job = "drift"
	JobAccuracy Job = "accuracy"
	JobReport   Job = "report"

	JobEstimate    Job = "estimate"    // quality as it is estimated, before labels come
	JobRequirement Job = "requirement" // what the manifest requires of rows without labels
)

// Verdict is what a job found in a window.
type Verdict string

// The verdicts.
const (
	VerdictOK       Verdict = "ok"
	VerdictBreached Verdict = "breached"
	VerdictTooFew   Verdict = "too_few" // fewer rows, or labels, than min_rows

	VerdictNotJudged Verdict = "not_judged" // no check could be judged; drift_results says why
	VerdictLearning  Verdict = "learning"   // the version's reference is learned from windows up to here
)

// DriftVerdict is what a check found in one score of a window.
type DriftVerdict string

// The verdicts on a score.
const (
	ScoreDrifted   DriftVerdict = "drifted"
	ScoreOK        DriftVerdict = "ok"         // a shift as great as the threshold would have been seen
	ScoreNotJudged DriftVerdict = "not_judged" // it would not have been: too few rows for these cells
)

// The rows below repeat the columns that all of them begin with: each is its table, column by column.

// DriftResult is a row of drift_results: one score of a column, or drift_share, which has none.
// Expected to Reason say what a check found; they are empty where no check judges the score.
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
	Expected    *float64  `ch:"expected"`        // the score where nothing drifted
	Effect      *float64  `ch:"effect"`          // the score without it, which is held to Threshold
	PCorrected  *float64  `ch:"p_corrected"`     // over the checks of the window, which is held to the rate
	Smallest    *float64  `ch:"smallest_effect"` // that is told from chance in 80 % of such windows; nil: none is
	Threshold   *float64  `ch:"threshold"`
	Drifted     bool      `ch:"drifted"`
	Verdict     string    `ch:"verdict"` // a DriftVerdict
	Reason      string    `ch:"reason"`  // why it is not judged
	Severity    string    `ch:"severity"`
	Retrain     bool      `ch:"retrain"`
	Rows        uint64    `ch:"rows"`
	Missing     uint64    `ch:"missing"`
	ComputedAt  time.Time `ch:"computed_at"`
	WindowKind  string    `ch:"window_kind"` // Manifest.WindowKind
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
	Low         *float64  `ch:"low"`         // of the interval of 95 %; nil: there is none
	High        *float64  `ch:"high"`        // its upper end
	NoInterval  string    `ch:"no_interval"` // why there is none

	SamplingError *float64 `ch:"sampling_error"` // standard error of the figure over as many rows; of estimates
	Realized      *float64 `ch:"realized"`       // of realized_less_estimated_…, by labels
	Estimated     *float64 `ch:"estimated"`      // of realized_less_estimated_…, of the rows with a label
	Within        *float64 `ch:"counted_within"` // how far the estimate from counts may be from that of the rows

	Threshold  *float64  `ch:"threshold"`
	Breached   bool      `ch:"breached"`
	Severity   string    `ch:"severity"`
	Retrain    bool      `ch:"retrain"`
	Rows       uint64    `ch:"rows"`
	Labels     uint64    `ch:"labels"`
	ComputedAt time.Time `ch:"computed_at"`
	WindowKind string    `ch:"window_kind"` // Manifest.WindowKind
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
	LabelState  uint64    `ch:"label_state"` // of the labels that counted; 0: none, or not known
	Retraining  bool      `ch:"retraining"`  // it asked for retraining
	WindowKind  string    `ch:"window_kind"` // Manifest.WindowKind
}

// LearnedReference is a row of learned_references: a reference made of the rows of windows.
type LearnedReference struct {
	Model     string      `ch:"model"`
	Version   string      `ch:"version"`
	Windows   []time.Time `ch:"windows"`    // their starts, ascending
	LearnedTo time.Time   `ch:"learned_to"` // end of the last of them
	Rows      uint64      `ch:"rows"`
	Reference string      `ch:"reference"` // a Reference as JSON
}

// BreakState is a row of break_states: how far the detectors of a version's breaks are.
type BreakState struct {
	Model      string    `ch:"model"`
	Version    string    `ch:"version"`
	Number     uint64    `ch:"number"`      // the last one counts
	State      string    `ch:"state"`       // of breaks.Runner
	Events     []string  `ch:"events"`      // of the breaks that led to it, as JSON: they may not have been published
	LabelsFrom time.Time `ch:"labels_from"` // labels that were stored before are not looked at any more
	RowsFrom   time.Time `ch:"rows_from"`   // nor rows
}

// Results are what was found in windows.
type Results struct {
	Windows  []FinishedWindow
	Drift    []DriftResult
	Accuracy []AccuracyResult
}

// DueReport is a window that was finished, or revised, since its report was written.
type DueReport struct {
	WindowStart time.Time `ch:"window_start"`
	Done        time.Time `ch:"done"` // when a job last finished it
}

// WindowSummary is what the jobs found in a window; no verdict: not judged yet.
type WindowSummary struct {
	WindowStart time.Time `ch:"window_start"`
	Drift       string    `ch:"drift"`
	Accuracy    string    `ch:"accuracy"`
	Reported    bool      `ch:"reported"`
	Rows        uint64    `ch:"n"`
	Labels      uint64    `ch:"l"`
}

// PartitionProgress is how far a version has come in a request partition, by the minutes
// that were read.
type PartitionProgress struct {
	Model     string    `ch:"model"`
	Version   string    `ch:"version"`
	TopicID   string    `ch:"request_topic_id"`
	Partition int32     `ch:"request_partition"`
	EventTime time.Time `ch:"event_time"` // greatest usable event time; zero: none
	ScoredAt  time.Time `ch:"scored_at"`  // when a row was last scored
	Newest    time.Time `ch:"newest"`     // the last minute that has rows
	Requests  uint64    `ch:"requests"`   // rows
}

// LabelReason is what became of a label.
type LabelReason string

// What becomes of labels.
const (
	LabelCounts         LabelReason = "counts"
	LabelSuperseded     LabelReason = "superseded"      // another label of the request counts: it was corrected, or sent twice
	LabelUnknownRequest LabelReason = "unknown_request" // no row has this request id
	LabelUnusable       LabelReason = "unusable"        // the target of no version can use it, such as text where a number is predicted
	LabelUnknownModel   LabelReason = "unknown_model"   // no row of the model was ever stored
)

// LabelCount is a row of label_counts: how many labels of those that were stored in a span
// came to what.
type LabelCount struct {
	Model      string    `ch:"model"`
	Reason     string    `ch:"reason"` // a LabelReason
	StoredFrom time.Time `ch:"stored_from"`
	StoredTo   time.Time `ch:"stored_to"`
	Labels     uint64    `ch:"labels"`
}
