package drift

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Config bounds the monitor's work.
type Config struct {
	// MaxWindows bounds the windows, and MaxRows the labelled rows, of one query. A single
	// window may have more rows. One query over 500,000 rows takes ClickHouse about 1 CPU
	// second and 0.4 GB to join labels.
	MaxWindows int
	MaxRows    uint64

	// LateWindows is how many of the last judged windows of a version are looked at for
	// late rows, LateInterval the least time between two looks. LateOverlap is how far
	// scored_at may lie behind the moment at which a row was stored.
	LateWindows  int
	LateInterval time.Duration
	LateOverlap  time.Duration

	// TrainingSpan is how far before a window's end the rows of a retraining start.
	TrainingSpan time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		MaxWindows: 256, MaxRows: 500_000,
		LateWindows: 31, LateInterval: time.Minute, LateOverlap: 10 * time.Minute,
		TrainingSpan: 31 * 24 * time.Hour,
	}
}

// Validate reports every bound that makes no sense, by its key.
func (c Config) Validate() error {
	var errs []error
	if c.MaxWindows < 1 {
		errs = append(errs, fmt.Errorf("monitor.max_windows: must be at least 1, got %d", c.MaxWindows))
	}
	if c.MaxRows < 1 {
		errs = append(errs, errors.New("monitor.max_rows: must be at least 1"))
	}
	if c.LateWindows < 0 {
		errs = append(errs, fmt.Errorf("monitor.late_windows: must be at least 0, got %d", c.LateWindows))
	}
	if c.LateInterval < 0 || c.LateOverlap < 0 {
		errs = append(errs, fmt.Errorf("monitor.late_interval and late_overlap: must be at least 0, got %s and %s", c.LateInterval, c.LateOverlap))
	}
	if c.TrainingSpan <= 0 {
		errs = append(errs, fmt.Errorf("monitor.training_span: must be above 0, got %s", c.TrainingSpan))
	}
	return errors.Join(errs...)
}

// Judged is one finished window of one job.
type Judged struct {
	schemas.FinishedWindow
	Drift    []schemas.DriftResult    // of job drift; empty when there were too few rows
	Accuracy []schemas.AccuracyResult // of job accuracy; empty when there were too few rows or labels
	Events   []schemas.Event          // as published
}

// TickStats says what one pass did.
type TickStats struct {
	Judged     []Judged
	Watermarks map[string]time.Time // by "<model>/<version>"; absent where nothing was seen
}

// Monitor judges closed event-time windows. Its methods are for one goroutine.
type Monitor struct {
	cfg      Config
	store    Store
	pub      Publisher
	log      zerolog.Logger
	marks    watermarks
	versions map[string]*versionState
}

// versionState is what the monitor remembers of a version. All of it is in ClickHouse too:
// a restarted monitor reads it back.
type versionState struct {
	jobs map[schemas.Job]*jobState
	// raised holds, by window start, the job that raised the retraining event, once that
	// job has finished the window.
	raised map[int64]schemas.Job
	// lateAt and lateRequests are when late rows were last looked for, and the version's
	// rows then. Before the first look lateAt is zero.
	lateAt       time.Time
	lateRequests uint64
}

// jobState is how far a job of a version has come.
type jobState struct {
	next time.Time            // start of the first window that is not finished; zero: none is
	done map[int64]doneWindow // by window start, in microseconds; the last LateWindows and more
}

type doneWindow struct {
	rows     uint64
	revision uint32
}

// NewMonitor returns a monitor of a valid configuration. It starts nothing.
func NewMonitor(cfg Config, store Store, pub Publisher, log zerolog.Logger) *Monitor {
	return &Monitor{cfg: cfg, store: store, pub: pub, log: log, versions: map[string]*versionState{}}
}

// Tick is one pass at the time now: it reads the watermark, and judges what has closed
// since the last pass, and what late rows have changed. An idle pass is one small query.
// A version whose pass fails does not keep the others from theirs.
func (m *Monitor) Tick(ctx context.Context, now time.Time, versions []Version) (TickStats, error) {
	stats := TickStats{Watermarks: map[string]time.Time{}}
	var models []string
	var monitored []Version
	for _, v := range versions {
		if v.Manifest.Monitoring == nil || (v.Reference == nil && v.Manifest.Target == nil) {
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
		if err := m.tickVersion(ctx, now, v, &stats); err != nil {
			errs = append(errs, fmt.Errorf("monitor %s/%s: %w", v.Manifest.Name, v.Manifest.Version, err))
		}
	}
	return stats, errors.Join(errs...)
}

func jobsOf(v Version) []schemas.Job {
	var jobs []schemas.Job
	if v.Reference != nil && len(v.Reference.Columns) > 0 {
		jobs = append(jobs, schemas.JobDrift)
	}
	if v.Manifest.Target != nil {
		jobs = append(jobs, schemas.JobAccuracy)
	}
	return jobs
}

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

	state := m.versions[key]
	if state == nil {
		var err error
		if state, err = m.recover(ctx, v); err != nil {
			return err
		}
		m.versions[key] = state
	}
	if err := m.judgeLate(ctx, now, v, state, requests, stats); err != nil {
		return err
	}
	// Drift first: accuracy, which closes later, then knows whether retraining was asked for.
	for _, job := range jobsOf(v) {
		delay := time.Duration(0)
		if job == schemas.JobAccuracy {
			delay = mon.LabelDelay.Std()
		}
		if err := m.judgeClosed(ctx, now, v, state, job, profile.WindowStart(watermark.Add(-delay), mon.Window.Std()), stats); err != nil {
			return err
		}
	}
	m.forget(state, mon.Window.Std())
	return nil
}

// judgeClosed judges the windows that ended by end and are not finished yet.
func (m *Monitor) judgeClosed(ctx context.Context, now time.Time, v Version, state *versionState, job schemas.Job, end time.Time, stats *TickStats) error {
	js := state.jobs[job]
	if !end.After(js.next) {
		return nil
	}
	counts, err := m.store.CountRows(ctx, v.Manifest, profile.Span{Start: js.next, End: end}, time.Time{})
	if err != nil {
		return err
	}
	windows := make([]window, len(counts))
	for i, c := range counts {
		windows[i] = window{WindowRows: c}
	}
	if err := m.judge(ctx, now, v, state, job, windows, stats); err != nil {
		return err
	}
	js.next = end // also past windows that had no rows
	return nil
}

// judgeLate judges again the finished windows that have got rows since. Their rows are
// counted only when the version has stored any, and only where such a row was scored
// since the last look; the first look after a start counts all of the last LateWindows.
func (m *Monitor) judgeLate(ctx context.Context, now time.Time, v Version, state *versionState, requests uint64, stats *TickStats) error {
	if m.cfg.LateWindows == 0 || requests == state.lateRequests || now.Sub(state.lateAt) < m.cfg.LateInterval {
		return nil
	}
	var next time.Time
	for _, js := range state.jobs {
		if js.next.After(next) {
			next = js.next
		}
	}
	if next.IsZero() {
		return nil
	}
	length := v.Manifest.Monitoring.Window.Std()
	span := profile.Span{Start: next.Add(-time.Duration(m.cfg.LateWindows) * length), End: next}
	if !state.lateAt.IsZero() {
		fresh, err := m.store.CountRows(ctx, v.Manifest, span, state.lateAt.Add(-m.cfg.LateOverlap))
		if err != nil {
			return err
		}
		if len(fresh) == 0 {
			state.lateAt, state.lateRequests = now, requests
			return nil
		}
		span = profile.Span{Start: fresh[0].Start, End: fresh[len(fresh)-1].Start.Add(length)}
	}
	counts, err := m.store.CountRows(ctx, v.Manifest, span, time.Time{})
	if err != nil {
		return err
	}
	for _, job := range jobsOf(v) {
		js := state.jobs[job]
		var windows []window
		for _, c := range counts {
			done, ok := js.done[c.Start.UnixMicro()]
			if !c.Start.Before(js.next) || c.Rows <= done.rows {
				continue
			}
			w := window{WindowRows: c}
			if ok {
				w.revision = done.revision + 1
			}
			windows = append(windows, w)
		}
		if err := m.judge(ctx, now, v, state, job, windows, stats); err != nil {
			return err
		}
	}
	state.lateAt, state.lateRequests = now, requests
	return nil
}

// judge judges windows of one job, in chunks: scores, result rows, events, and last the
// rows of windows. Only after these are written does the state move.
func (m *Monitor) judge(ctx context.Context, now time.Time, v Version, state *versionState, job schemas.Job, windows []window, stats *TickStats) error {
	for len(windows) > 0 {
		n := m.chunk(v, job, windows)
		var judged []Judged
		var err error
		if job == schemas.JobDrift {
			judged, err = m.judgeDrift(ctx, now, v, windows[:n])
		} else {
			judged, err = m.judgeAccuracy(ctx, now, v, windows[:n])
		}
		if err != nil {
			return err
		}
		if err := m.finish(ctx, now, v, state, job, judged); err != nil {
			return err
		}
		stats.Judged = append(stats.Judged, judged...)
		windows = windows[n:]
	}
	return nil
}

// chunkSpan and chunkCells bound what one query may answer: cells are rows of its answer,
// and windows are numbered by 32 bits within it, whatever event times requests carry.
const (
	chunkSpan  = 10 * 366 * 24 * time.Hour
	chunkCells = 500_000
)

// chunk returns how many of the windows one query takes, at least one.
func (m *Monitor) chunk(v Version, job schemas.Job, windows []window) int {
	most := m.cfg.MaxWindows
	if job == schemas.JobDrift {
		cells := 0
		for _, c := range v.Reference.Columns {
			cells += len(c.Counts) + 2
		}
		most = min(most, max(1, chunkCells/cells))
	}
	var rows uint64
	for i, w := range windows {
		rows += w.Rows
		if i > 0 && (i == most || w.Start.Sub(windows[0].Start) > chunkSpan || (job == schemas.JobAccuracy && rows > m.cfg.MaxRows)) {
			return i
		}
	}
	return len(windows)
}

func startsOf(windows []window) []time.Time {
	out := make([]time.Time, len(windows))
	for i, w := range windows {
		out[i] = w.Start
	}
	return out
}

func (m *Monitor) judgeDrift(ctx context.Context, now time.Time, v Version, windows []window) ([]Judged, error) {
	counts, err := m.store.CountCells(ctx, v.Manifest, v.Reference, startsOf(windows))
	if err != nil {
		return nil, err
	}
	judged := make([]Judged, len(windows))
	for i, w := range windows {
		w.Rows = counts[i].Rows // rows may have come since they were counted
		j := &judged[i]
		j.FinishedWindow = finishedWindow(v, schemas.JobDrift, w, now)
		if w.Rows < uint64(v.Manifest.Monitoring.MinRows) {
			j.Verdict = string(schemas.VerdictTooFew)
			continue
		}
		if j.Drift, err = judgeDrift(v, w, counts[i], now); err != nil {
			m.log.Warn().Err(err).Str("model", v.Manifest.Name).Str("version", v.Manifest.Version).Msg("drift scores left out")
		}
	}
	return judged, nil
}

func (m *Monitor) judgeAccuracy(ctx context.Context, now time.Time, v Version, windows []window) ([]Judged, error) {
	quality, err := m.store.CountQuality(ctx, v.Manifest, startsOf(windows))
	if err != nil {
		return nil, err
	}
	judged := make([]Judged, len(windows))
	for i, w := range windows {
		j := &judged[i]
		j.FinishedWindow = finishedWindow(v, schemas.JobAccuracy, w, now)
		j.Labels = uint64(quality[i].Labels())
		if least := uint64(v.Manifest.Monitoring.MinRows); w.Rows < least || j.Labels < least {
			j.Verdict = string(schemas.VerdictTooFew)
			continue
		}
		j.Accuracy = judgeAccuracy(v.Manifest, w, quality[i], now)
	}
	return judged, nil
}

func finishedWindow(v Version, job schemas.Job, w window, now time.Time) schemas.FinishedWindow {
	return schemas.FinishedWindow{
		Model: v.Manifest.Name, Version: v.Manifest.Version, Job: string(job),
		WindowStart: w.Start, WindowEnd: w.Start.Add(v.Manifest.Monitoring.Window.Std()),
		Revision: w.revision, Rows: w.Rows, Verdict: string(schemas.VerdictOK), DoneAt: now,
	}
}

// finish writes result rows, publishes events, and then writes the rows of windows.
func (m *Monitor) finish(ctx context.Context, now time.Time, v Version, state *versionState, job schemas.Job, judged []Judged) error {
	var drift []schemas.DriftResult
	var accuracy []schemas.AccuracyResult
	rows := make([]schemas.FinishedWindow, len(judged))
	for i := range judged {
		j := &judged[i]
		breaches := append(driftBreaches(j.Drift), accuracyBreaches(j.Accuracy)...)
		if len(breaches) > 0 {
			j.Verdict = string(schemas.VerdictBreached)
		}
		w := window{profile.WindowRows{Start: j.WindowStart, Rows: j.Rows}, j.Revision}
		j.Events = eventsOf(m.store.TrainingSQL, v, job, w, j.Labels, breaches, state.raised[j.WindowStart.UnixMicro()], m.cfg.TrainingSpan, now)
		drift, accuracy = append(drift, j.Drift...), append(accuracy, j.Accuracy...)
		rows[i] = j.FinishedWindow
	}
	if err := m.store.WriteResults(ctx, drift, accuracy); err != nil {
		return err
	}
	for i := range judged {
		for _, e := range judged[i].Events {
			if err := m.pub.Publish(ctx, e); err != nil {
				return fmt.Errorf("publish the %s event of window %s: %w", e.Data.Kind, e.Data.WindowStart.Format(time.RFC3339), err)
			}
		}
	}
	if err := m.store.WriteWindows(ctx, rows); err != nil {
		return fmt.Errorf("write %d finished windows: %w", len(rows), err)
	}
	js := state.jobs[job]
	for i := range judged {
		j := &judged[i]
		js.done[j.WindowStart.UnixMicro()] = doneWindow{j.Rows, j.Revision}
		if j.WindowEnd.After(js.next) {
			js.next = j.WindowEnd
		}
		if slices.ContainsFunc(j.Events, func(e schemas.Event) bool { return e.Data.Kind == schemas.EventRetraining }) {
			state.raised[j.WindowStart.UnixMicro()] = job
		}
		m.log.Info().Str("model", j.Model).Str("version", j.Version).Str("job", j.Job).Time("window", j.WindowStart).
			Uint32("revision", j.Revision).Uint64("rows", j.Rows).Uint64("labels", j.Labels).Str("verdict", j.Verdict).
			Int("events", len(j.Events)).Msg("window judged")
	}
	return nil
}

// recover reads back how far the jobs of a version have come.
func (m *Monitor) recover(ctx context.Context, v Version) (*versionState, error) {
	state := &versionState{jobs: map[schemas.Job]*jobState{}, raised: map[int64]schemas.Job{}}
	length := v.Manifest.Monitoring.Window.Std()
	for _, job := range jobsOf(v) {
		state.jobs[job] = &jobState{done: map[int64]doneWindow{}}
	}
	last, err := m.store.LastFinished(ctx, v.Manifest)
	if err != nil {
		return nil, err
	}
	for job, start := range last {
		if js := state.jobs[job]; js != nil {
			js.next = start.Add(length)
		}
	}
	from := m.keepFrom(state, length)
	done, err := m.store.FinishedWindows(ctx, v.Manifest, from)
	if err != nil {
		return nil, err
	}
	for _, r := range done {
		if js := state.jobs[schemas.Job(r.Job)]; js != nil {
			js.done[r.WindowStart.UnixMicro()] = doneWindow{r.Rows, r.Revision}
		}
	}
	raised, err := m.store.RetrainingBreaches(ctx, v.Manifest, from)
	if err != nil {
		return nil, err
	}
	for _, r := range raised { // drift first: where both breached, it was the one that raised it
		js, at := state.jobs[schemas.Job(r.Job)], r.WindowStart.UnixMicro()
		if js == nil {
			continue
		}
		if d, ok := js.done[at]; ok && d.revision >= r.Revision && state.raised[at] == "" {
			state.raised[at] = schemas.Job(r.Job)
		}
	}
	return state, nil
}

// keepFrom is the start of the windows that may still be judged, or judged again; zero
// when a job has not finished any.
func (m *Monitor) keepFrom(state *versionState, length time.Duration) time.Time {
	var least time.Time
	for _, js := range state.jobs {
		if js.next.IsZero() {
			return time.Time{}
		}
		if least.IsZero() || js.next.Before(least) {
			least = js.next
		}
	}
	return least.Add(-time.Duration(m.cfg.LateWindows) * length)
}

// forget drops what keepFrom excludes, so that memory does not grow with time.
func (m *Monitor) forget(state *versionState, length time.Duration) {
	from := m.keepFrom(state, length)
	if from.IsZero() {
		return
	}
	for _, js := range state.jobs {
		for at := range js.done {
			if at < from.UnixMicro() {
				delete(js.done, at)
			}
		}
	}
	for at := range state.raised {
		if at < from.UnixMicro() {
			delete(state.raised, at)
		}
	}
}
