package drift

import (
	"context"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Store counts what is stored and keeps what was found. The monitor makes one call at a
// time. A zero time, where a method takes the time to begin at, is the beginning.
type Store interface {
	Counter
	Labels
	Keeper
	Reasons
	// TrainingSQL returns plain SQL for the rows that a retraining would start from.
	TrainingSQL(m *schemas.Manifest, span profile.Span) string
}

// Counter counts the answered rows of versions. Starts of windows ascend, and there is an
// answer for each of them, which may be zero.
type Counter interface {
	// Progress says how far request partitions have come, in the minutes from since on.
	Progress(ctx context.Context, models []string, since time.Time) ([]schemas.PartitionProgress, error)
	// CountRows counts rows by window, oldest first, and leaves out windows without any. Unless
	// scoredSince is zero, it leaves out rows that were scored before it.
	CountRows(ctx context.Context, m *schemas.Manifest, span profile.Span, scoredSince time.Time) ([]profile.WindowRows, error)
	// CountCells counts rows by window and cell of the reference's columns.
	CountCells(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, starts []time.Time) ([]profile.WindowCounts, error)
	// MakeReference reduces the rows of spans, which ascend, to a reference.
	MakeReference(ctx context.Context, m *schemas.Manifest, spans []profile.Span) (*schemas.Reference, error)
	// CountFaults counts rows with faults of their data, by window, as far as the manifest checks them.
	CountFaults(ctx context.Context, m *schemas.Manifest, starts []time.Time) ([]profile.Faults, error)
	// CountQuality counts labelled rows by window, prediction and label.
	CountQuality(ctx context.Context, m *schemas.Manifest, starts []time.Time) ([]profile.Quality, error)
	// CountScores counts rows of a binary target by window, prediction and cell of their score,
	// or those that have a label. The edges of cells ascend.
	CountScores(ctx context.Context, m *schemas.Manifest, edges []float64, starts []time.Time, labelled bool) ([]profile.ScoreCounts, error)
	// LabelledScores returns score and target of at most so many rows of windows that have both,
	// and counts all of them. The same rows are the same sample.
	LabelledScores(ctx context.Context, m *schemas.Manifest, starts []time.Time, most int) (scores []float64, positive []bool, total uint64, err error)
	// CountSegmentQuality counts labelled rows by window and value of a feature.
	CountSegmentQuality(ctx context.Context, m *schemas.Manifest, feature string, starts []time.Time) ([][]profile.Segment, error)
	// LabelDelays says how long labels took.
	LabelDelays(ctx context.Context, m *schemas.Manifest, starts []time.Time) ([]profile.LabelDelays, error)
	// Latencies says how long rows took.
	Latencies(ctx context.Context, m *schemas.Manifest, starts []time.Time) ([]profile.Latency, error)
}

// Labels finds which windows labels change, whenever they come. Times at which labels were
// stored are those of the server's clock.
type Labels interface {
	// LabelsNoted returns up to when labels were looked at by NoteLabels; zero: never.
	LabelsNoted(ctx context.Context, m *schemas.Manifest) (time.Time, error)
	NoteLabels(ctx context.Context, m *schemas.Manifest, storedAt time.Time) error
	// LabelArrivals returns when labels were stored, from since on, oldest first; for a zero
	// since one arrival, at the time of the newest, or none where there is no label.
	LabelArrivals(ctx context.Context, m *schemas.Manifest, since time.Time) ([]profile.LabelArrival, error)
	// LabelledWindows returns the starts of the windows, ascending, from the one that starts at
	// from on, with requests of labels that were stored from since on, and whether all requests of
	// these labels lie there, whichever version answered them.
	LabelledWindows(ctx context.Context, m *schemas.Manifest, from, since time.Time) (starts []time.Time, all bool, err error)
	// LabelStates says which labels count in windows: as many as CountQuality finds there.
	LabelStates(ctx context.Context, m *schemas.Manifest, starts []time.Time) ([]profile.LabelState, error)
}

// Keeper keeps what the jobs found in the windows of versions. A write is there as a whole,
// by table, or not at all; the same rows written again replace each other.
//
// The results of a manifest are those of the windows that it is about (schemas.Spread), unless said otherwise.
type Keeper interface {
	LearnedReferences
	// WriteReference keeps a reference that was learned. What has been kept before stays.
	WriteReference(ctx context.Context, r schemas.LearnedReference) error
	LearnedEstimators
	// WriteEstimator keeps the estimator of a learned reference. What has been kept before stays.
	WriteEstimator(ctx context.Context, e schemas.LearnedEstimator) error
	// LastFinished returns the start of the last window that each job has finished.
	LastFinished(ctx context.Context, m *schemas.Manifest) (map[schemas.Job]time.Time, error)
	// FinishedWindows returns the finished windows from a start on, by revision.
	FinishedWindows(ctx context.Context, m *schemas.Manifest, from time.Time) ([]schemas.FinishedWindow, error)
	// LastRetraining returns the latest window, of any kind, that asked for retraining, or nil.
	LastRetraining(ctx context.Context, m *schemas.Manifest) (*schemas.FinishedWindow, error)
	// Retrainings returns the windows, of any kind, that have asked for retraining, by revision.
	Retrainings(ctx context.Context, m *schemas.Manifest) ([]schemas.FinishedWindow, error)
	WriteResults(ctx context.Context, scores []schemas.DriftResult, figures []schemas.AccuracyResult) error
	// WriteFound writes what was found beside scores and figures.
	WriteFound(ctx context.Context, f schemas.Found) error
	WriteWindows(ctx context.Context, windows []schemas.FinishedWindow) error
	Alarms
}

// Alarms keeps calibrated alarms. Rows of a version are those of its length of windows.
type Alarms interface {
	// AlarmCalibrations returns what alarms were calibrated to, the first one first.
	AlarmCalibrations(ctx context.Context, m *schemas.Manifest) ([]schemas.AlarmCalibration, error)
	// AlarmWindows returns what was decided of windows from a start on, by start, then by revision.
	AlarmWindows(ctx context.Context, m *schemas.Manifest, from time.Time) ([]schemas.AlarmWindow, error)
	WriteAlarmCalibration(ctx context.Context, c schemas.AlarmCalibration) error
	WriteAlarms(ctx context.Context, windows []schemas.AlarmWindow) error
}

// LearnedReferences has the references that versions have learned.
type LearnedReferences interface {
	// LearnedReference returns the first one that was kept of a version; false where there is none.
	LearnedReference(ctx context.Context, m *schemas.Manifest) (schemas.LearnedReference, bool, error)
}

// Reasons has what the reason of a breach is made of.
type Reasons interface {
	// CountBuckets counts the rows of a span by bucket (profile.Bucket of the manifest's Unit) and cell:
	// the buckets that are profiled, and as many others, from the end of the span, as have at most so
	// many rows. Those without rows are left out.
	CountBuckets(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, span profile.Span, most uint64) ([]profile.WindowCounts, error)
	// CountSegments counts the rows of a span by the values of a feature, which may be left out where they have no row.
	CountSegments(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, segment string, span profile.Span) ([]profile.SegmentCounts, error)
	// Results returns what was last found in the windows from first to last, both starts.
	Results(ctx context.Context, m *schemas.Manifest, first, last time.Time) (schemas.Results, error)
	// SelectedSQL returns plain SQL for the rows of a span that a selection is of.
	SelectedSQL(m *schemas.Manifest, span profile.Span, rows schemas.RowSelection) string
}

// LearnedEstimators has the estimators of learned references.
type LearnedEstimators interface {
	// LearnedEstimator returns the first one that was kept of the reference that a version has learned
	// up to a time; false where there is none.
	LearnedEstimator(ctx context.Context, m *schemas.Manifest, learnedTo time.Time) (schemas.LearnedEstimator, bool, error)
}

// Publisher puts events on the events topic. It returns when Kafka has acknowledged.
type Publisher interface {
	Publish(ctx context.Context, e schemas.Event) error
}
