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
	// CountQuality counts labelled rows by window, prediction and label.
	CountQuality(ctx context.Context, m *schemas.Manifest, starts []time.Time) ([]profile.Quality, error)
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
type Keeper interface {
	LearnedReferences
	// WriteReference keeps a reference that was learned. What has been kept before stays.
	WriteReference(ctx context.Context, r schemas.LearnedReference) error
	// LastFinished returns the start of the last window that each job has finished.
	LastFinished(ctx context.Context, m *schemas.Manifest) (map[schemas.Job]time.Time, error)
	// FinishedWindows returns the finished windows from a start on, by revision.
	FinishedWindows(ctx context.Context, m *schemas.Manifest, from time.Time) ([]schemas.FinishedWindow, error)
	// LastRetraining returns the latest window that asked for retraining, or nil.
	LastRetraining(ctx context.Context, m *schemas.Manifest) (*schemas.FinishedWindow, error)
	// Results returns what was last found in the windows from first to last, both starts.
	Results(ctx context.Context, m *schemas.Manifest, first, last time.Time) (schemas.Results, error)
	WriteResults(ctx context.Context, scores []schemas.DriftResult, figures []schemas.AccuracyResult) error
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

// Publisher puts events on the events topic. It returns when Kafka has acknowledged.
type Publisher interface {
	Publish(ctx context.Context, e schemas.Event) error
}
