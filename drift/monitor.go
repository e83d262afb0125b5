package drift

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/drift/alarm"
	"github.com/millrace/millrace/schemas"
)

// Config bounds the monitor's work. No key of the configuration sets it: programs take DefaultConfig.
type Config struct {
	// MaxWindows bounds the windows, and MaxRows the labelled rows, of one query. A single
	// window may have more rows. One query over 500,000 rows takes ClickHouse about 1.5 CPU
	// seconds and 0.4 GB to join labels.
	MaxWindows int
	MaxRows    uint64

	// LateWindows is how many of the last judged windows of a version are looked at for
	// late rows, LateInterval the least time between two looks. LateOverlap is how far
	// scored_at may lie behind the moment at which a row was stored.
	LateWindows  int
	LateInterval time.Duration
	LateOverlap  time.Duration

	// LabelSpan is how far behind the last judged window labels still change windows, by event
	// time. Between two looks for labels lies a LabelShare of a window's length, but at least
	// LateInterval and at most an hour: a window is judged again at most so often. LabelOverlap
	// is how long after its stored_at a label may become visible: longer than an insert that a
	// recorder's lease allows takes.
	LabelSpan    time.Duration
	LabelShare   int
	LabelOverlap time.Duration

	// ReportLink returns where the report of a window is, by the kind of windows; nil: events name none.
	ReportLink func(model, version, kind string, start time.Time) string

	// TrainingSpan is how far before a window's end the rows of a retraining start.
	TrainingSpan time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		MaxWindows: 256, MaxRows: 500_000,
		LateWindows: 31, LateInterval: time.Minute, LateOverlap: 10 * time.Minute,
		LabelSpan: 92 * 24 * time.Hour, LabelShare: 24, LabelOverlap: 10 * time.Minute,
		TrainingSpan: 31 * 24 * time.Hour,
	}
}

// Judged is one finished window of one job.
type Judged struct {
	schemas.FinishedWindow
	Drift    []schemas.DriftResult    // of job drift; empty when there were too few rows
	Accuracy []schemas.AccuracyResult // of jobs estimate and accuracy; empty when there were too few rows or labels
	Event    *schemas.Event           // as published; nil where nothing breached

	Segments     []schemas.SegmentResult     // of job accuracy
	Delays       *schemas.LabelDelayResult   // of job accuracy; nil where there were too few rows or labels
	Requirements []schemas.RequirementResult // of jobs requirement and accuracy
	Required     *schemas.Event              // as published; nil where no requirement is breached
	Scored       *alarm.Scored               // of job drift, by the alarm (monitoring.false_alarms); nil where none decides
	Alarms       []schemas.Event             // that the alarm has published
}

// TickStats says what one pass did.
type TickStats struct {
	Judged     []Judged
	Watermarks map[string]time.Time // by "<model>/<version>"; absent where nothing was seen
	Learning   []Learning           // of the versions that learn their reference, in the order of Tick's
}

// Monitor judges closed event-time windows. Its methods are for one goroutine.
type Monitor struct {
	cfg      Config
	store    Store
	pub      Publisher
	log      zerolog.Logger
	marks    watermarks
	versions map[string]*versionState // by Version.Name
}

// NewMonitor returns a monitor. cfg has at least one window and one row a query, no negative bound and
// a TrainingSpan above 0. It starts nothing.
func NewMonitor(cfg Config, store Store, pub Publisher, log zerolog.Logger) *Monitor {
	return &Monitor{cfg: cfg, store: store, pub: pub, log: log, versions: map[string]*versionState{}}
}

// Tick is one pass at the time now: it reads the watermark, and judges what has closed
// since the last pass, and what late rows and labels have changed. An idle pass is one small query.
// A version whose pass fails does not keep the others from theirs.
func (m *Monitor) Tick(ctx context.Context, now time.Time, versions []Version) (TickStats, error) {
	stats := TickStats{Watermarks: map[string]time.Time{}}
	var models []string
	var monitored []Version
	for _, v := range versions {
		if v.Manifest.Monitoring == nil || len(v.jobs()) == 0 {
			continue
		}
		monitored = append(monitored, v)
		if !slices.Contains(models, v.Manifest.Name) {
			models = append(models, v.Manifest.Name)
		}
	}
	if len(monitored) == 0 {
		return stats, nil
	}
	if err := m.marks.read(ctx, m.store, models); err != nil {
		return stats, err
	}
	var errs []error
	for _, v := range monitored {
		for _, spread := range v.Spread() {
			if err := m.tickVersion(ctx, now, spread, &stats); err != nil {
				errs = append(errs, fmt.Errorf("monitor %s: %w", spread.Name(), err))
			}
		}
	}
	return stats, errors.Join(errs...)
}

// tickVersion is the part of a pass that one version takes.
func (m *Monitor) tickVersion(ctx context.Context, now time.Time, v Version, stats *TickStats) error {
	man, mon := v.Manifest, v.Manifest.Monitoring
	key := man.Name + "/" + man.Version
	seen := m.marks.models[man.Name]
	requests, known := seen.requests[man.Version]
	if !known {
		return nil // no row of this version yet, and perhaps no table
	}
	watermark := seen.watermark(now, mon.IdleTimeout.Std(), mon.Lateness.Std())
	if !watermark.IsZero() {
		stats.Watermarks[key] = watermark
	}
	if known := m.versions[v.Name()]; known != nil && !known.does(v.jobs()) {
		delete(m.versions, v.Name()) // its files were replaced
	}
	state := m.versions[v.Name()]
	if state == nil {
		var err error
		if state, err = m.recover(ctx, v); err != nil {
			return err
		}
		m.versions[v.Name()] = state
	}
	var open time.Time
	if !watermark.IsZero() {
		open = v.closedBy(watermark)
	}
	if v.Learns() {
		l, err := m.learn(ctx, v, state, open)
		if err != nil {
			p := &pass{Monitor: m, Version: v.withoutDrift(), now: now, state: state, stats: stats}
			err = errors.Join(err, p.run(ctx, watermark, requests))
			state.lateAt, state.lateRequests = time.Time{}, 0 // the next pass looks for the late rows of drift too
			return err
		}
		if man.WindowKind() == "" {
			stats.Learning = append(stats.Learning, l)
		}
		if err := m.learnEstimator(ctx, v, state, watermark); err != nil {
			// Nothing else waits for it.
			m.log.Warn().Err(err).Str("model", man.Name).Str("version", man.Version).Msg("quality is not estimated yet")
		}
		v.Reference = state.learning.reference
	}
	if err := m.readyAlarm(ctx, v, state, open); err != nil {
		return err
	}
	p := &pass{Monitor: m, Version: v, now: now, state: state, stats: stats}
	return p.run(ctx, watermark, requests)
}
