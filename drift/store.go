package drift

import (
	"context"
	"time"

	"github.com/millrace/millrace/schemas"
)

// Store is ClickHouse as the monitor sees it. Both methods return when ClickHouse has
// answered; the monitor calls one at a time.
type Store interface {
	// Select runs a query and puts its rows into dest, a pointer to a slice of structs
	// with `ch:"column"` tags.
	Select(ctx context.Context, dest any, query string, args ...any) error
	// InsertRows inserts a slice of such structs into a table of the configured database, as
	// one insert: all of it or nothing.
	InsertRows(ctx context.Context, table string, rows any) error
}

// Publisher puts events on the events topic. It returns when Kafka has acknowledged.
type Publisher interface {
	Publish(ctx context.Context, e schemas.Event) error
}

// Job names a row of the table windows: what was finished.
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

// ScoreRow is a row of drift_results.
type ScoreRow struct {
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

// AccuracyRow is a row of accuracy_results.
type AccuracyRow struct {
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

// WindowRow is a row of windows.
type WindowRow struct {
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
