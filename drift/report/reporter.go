package report

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Config says where reports go and how much one pass does.
type Config struct {
	Dir            string // is made when it is missing
	MaxReports     int    // per pass and version; the newest windows come first
	HistoryWindows int    // length of the small time series
	// Due returns until when windows must have been finished whose reports are due at the time now;
	// nil: all are due.
	Due func(now time.Time) time.Time
	// Indexed returns the versions that the index lists, where others report on some; nil: those of Tick.
	Indexed func() []drift.Version
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Dir: "reports", MaxReports: 64, HistoryWindows: 60}
}

// Validate reports every setting that makes no sense, by its key.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("reports.dir: missing"))
	}
	if c.MaxReports < 1 {
		errs = append(errs, fmt.Errorf("reports.max_reports: must be at least 1, got %d", c.MaxReports))
	}
	if c.HistoryWindows < 1 {
		errs = append(errs, fmt.Errorf("reports.history_windows: must be at least 1, got %d", c.HistoryWindows))
	}
	return errors.Join(errs...)
}

// Store has what reports are made of, and keeps which were written. The reporter makes one
// call at a time.
type Store interface {
	drift.LearnedReferences
	drift.Reasons
	// DueReports returns windows that were finished, or revised, since their report was
	// written, the newest first; unless before is zero, not what was finished from then on.
	DueReports(ctx context.Context, m *schemas.Manifest, before time.Time, most int) ([]schemas.DueReport, error)
	// CountCells counts rows by window and cell of the reference's columns.
	CountCells(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, starts []time.Time) ([]profile.WindowCounts, error)
	// Found returns what was last found beside scores and figures: of segments those that differ.
	Found(ctx context.Context, m *schemas.Manifest, first, last time.Time) (schemas.Found, error)
	// WindowSummaries returns the verdicts on windows, the newest first.
	WindowSummaries(ctx context.Context, m *schemas.Manifest, most int) ([]schemas.WindowSummary, error)
	WriteWindows(ctx context.Context, windows []schemas.FinishedWindow) error
	// RowsSQL returns plain SQL for the rows of a span.
	RowsSQL(m *schemas.Manifest, span profile.Span) string
}

// Reporter writes the reports of finished windows that have none yet, and those of windows
// of which a job was finished, or revised, since. Its methods are for one goroutine.
type Reporter struct {
	cfg     Config
	store   Store
	log     zerolog.Logger
	indexed bool                // the index was written since the start
	learned map[string]*learned // by "<model>/<version>"
}

// learned is a reference that a version has learned.
type learned struct {
	reference *schemas.Reference
	to        time.Time // windows that start before it were not compared with it
}

// NewReporter returns a reporter of a valid configuration. It starts nothing.
func NewReporter(cfg Config, store Store, log zerolog.Logger) *Reporter {
	return &Reporter{cfg: cfg, store: store, log: log, learned: map[string]*learned{}}
}

// Tick is one pass at the time now. It returns the paths of the HTML files written; as
// many as Config.MaxReports for a version means that there may be more to write. An idle
// pass is one small query per version.
func (r *Reporter) Tick(ctx context.Context, now time.Time, versions []drift.Version) ([]string, error) {
	var paths []string
	var errs []error
	for _, v := range versions {
		if v.Manifest.Monitoring == nil {
			continue
		}
		for _, spread := range v.Spread() {
			written, err := r.tickVersion(ctx, now, spread)
			paths = append(paths, written...)
			if err != nil {
				errs = append(errs, fmt.Errorf("report %s: %w", spread.Name(), err))
			}
		}
	}
	if len(paths) > 0 || !r.indexed {
		if r.cfg.Indexed != nil {
			versions = r.cfg.Indexed()
		}
		if err := r.writeIndex(ctx, versions); err != nil {
			errs = append(errs, err)
		} else {
			r.indexed = true
		}
	}
	return paths, errors.Join(errs...)
}

func (r *Reporter) tickVersion(ctx context.Context, now time.Time, v drift.Version) ([]string, error) {
	m := v.Manifest
	var before time.Time
	if r.cfg.Due != nil {
		before = r.cfg.Due(now)
	}
	due, err := r.store.DueReports(ctx, m, before, r.cfg.MaxReports)
	if err != nil {
		return nil, err
	}
	if len(due) == 0 {
		return nil, nil
	}
	slices.Reverse(due)
	var compared time.Time
	if v.Learns() {
		if v.Reference, compared, err = r.reference(ctx, m); err != nil {
			return nil, err
		}
	}
	reports, err := r.collect(ctx, now, v, due, compared)
	if err != nil {
		return nil, err
	}
	var paths []string
	rows := make([]schemas.FinishedWindow, len(reports))
	for i, rep := range reports {
		written, err := Write(r.cfg.Dir, rep)
		if err != nil {
			return paths, err
		}
		paths = append(paths, written[0])
		rows[i] = schemas.FinishedWindow{
			Model: m.Name, Version: m.Version, Job: string(schemas.JobReport), WindowStart: rep.WindowStart, WindowEnd: rep.WindowEnd,
			Rows: rep.Rows, Labels: rep.Labels, Verdict: worst(rep.Drift, rep.Estimate, rep.Requirement, rep.Accuracy),
			// What the report has seen, and not now: a job that finishes in between is seen next time.
			DoneAt: due[i].Done, WindowKind: m.WindowKind(),
		}
	}
	if err := r.store.WriteWindows(ctx, rows); err != nil {
		return paths, fmt.Errorf("write %d reported windows: %w", len(rows), err)
	}
	r.log.Info().Str("model", m.Name).Str("version", m.Version).Int("reports", len(paths)).Msg("reports written")
	return paths, nil
}

// reference returns the reference that a version has learned, and from when on windows are
// compared with it; nil where it has not learned one yet.
func (r *Reporter) reference(ctx context.Context, m *schemas.Manifest) (*schemas.Reference, time.Time, error) {
	key := m.Name + "/" + m.Version
	if r.learned[key] == nil {
		ref, to, err := drift.Learned(ctx, r.store, m)
		if err != nil || ref == nil {
			return nil, time.Time{}, err
		}
		r.learned[key] = &learned{ref, to}
	}
	return r.learned[key].reference, r.learned[key].to, nil
}

// worst is the verdict that tells most: breached, else ok, else why there is none.
func worst(verdicts ...*Standing) string {
	out := ""
	for _, v := range verdicts {
		none := slices.Contains([]string{"", string(schemas.VerdictTooFew), string(schemas.VerdictNotJudged), string(schemas.VerdictLearning)}, out)
		if v != nil && (none || v.Verdict == string(schemas.VerdictBreached)) {
			out = v.Verdict
		}
	}
	return out
}

// results are the latest revisions of what the monitor wrote, by window start in
// microseconds.
type results struct {
	windows  map[int64][]schemas.FinishedWindow
	drift    map[int64][]schemas.DriftResult
	accuracy map[int64][]schemas.AccuracyResult
	starts   []time.Time // ascending
}

// byWindow arranges what the store has.
func byWindow(found schemas.Results) results {
	out := results{windows: map[int64][]schemas.FinishedWindow{}, drift: map[int64][]schemas.DriftResult{}, accuracy: map[int64][]schemas.AccuracyResult{}}
	for _, w := range found.Windows {
		at := w.WindowStart.UnixMicro()
		if len(out.windows[at]) == 0 {
			out.starts = append(out.starts, w.WindowStart.UTC())
		}
		out.windows[at] = append(out.windows[at], w)
	}
	for _, s := range found.Drift {
		out.drift[s.WindowStart.UnixMicro()] = append(out.drift[s.WindowStart.UnixMicro()], s)
	}
	for _, f := range found.Accuracy {
		out.accuracy[f.WindowStart.UnixMicro()] = append(out.accuracy[f.WindowStart.UnixMicro()], f)
	}
	return out
}

// collect gathers the reports of windows, oldest first: results and history by one query
// of each table, distributions by one count over the rows. Windows that start before compared
// have no distributions: the reference is made of them.
func (r *Reporter) collect(ctx context.Context, now time.Time, v drift.Version, due []schemas.DueReport, compared time.Time) ([]Report, error) {
	first := due[0].WindowStart.Add(-time.Duration(r.cfg.HistoryWindows) * v.Manifest.Monitoring.Step())
	stored, err := r.store.Results(ctx, v.Manifest, first, due[len(due)-1].WindowStart)
	if err != nil {
		return nil, err
	}
	found := byWindow(stored)
	starts := make([]time.Time, len(due))
	for i, d := range due {
		starts[i] = d.WindowStart.UTC()
	}
	var counts []profile.WindowCounts
	if v.Reference != nil && len(v.Reference.Columns) > 0 {
		if counts, err = r.store.CountCells(ctx, v.Manifest, v.Reference, starts); err != nil {
			return nil, err
		}
	}
	beside, err := r.store.Found(ctx, v.Manifest, starts[0], starts[len(starts)-1])
	if err != nil {
		return nil, err
	}
	reports := make([]Report, len(due))
	for i, start := range starts {
		var c *profile.WindowCounts
		if counts != nil && !start.Before(compared) {
			c = &counts[i]
		}
		reports[i] = r.compose(now, v, start, found, c)
		r.explain(ctx, v, &reports[i], found)
		reports[i].add(beside)
	}
	return reports, nil
}

// explain adds why a window breached. A report goes without it where that cannot be found, and says so.
func (r *Reporter) explain(ctx context.Context, v drift.Version, rep *Report, found results) {
	if rep.Drift == nil || rep.Drift.Verdict != string(schemas.VerdictBreached) {
		return
	}
	at := rep.WindowStart.UnixMicro()
	reason, err := drift.Explain(ctx, r.store, v, rep.WindowStart, found.drift[at], found.accuracy[at])
	if err != nil {
		r.log.Warn().Err(err).Str("model", rep.Model).Str("version", rep.Version).Time("window", rep.WindowStart).Msg("a report goes without its reason")
		rep.NoReason = err.Error()
		return
	}
	rep.Reason = reason
}

func (r *Reporter) compose(now time.Time, v drift.Version, start time.Time, found results, counts *profile.WindowCounts) Report {
	m, at := v.Manifest, start.UnixMicro()
	end := start.Add(m.Monitoring.Window.Std())
	rep := Report{
		Model: m.Name, Version: m.Version, WindowStart: start, WindowEnd: end, WindowKind: m.WindowKind(), MadeAt: now.UTC(),
		SQL: r.store.RowsSQL(m, profile.Span{Start: start, End: end}),
	}
	for _, w := range found.windows[at] {
		verdict := &Standing{w.Verdict, w.Revision}
		switch schemas.Job(w.Job) {
		case schemas.JobDrift:
			rep.Drift = verdict
		case schemas.JobAccuracy:
			rep.Accuracy, rep.Labels = verdict, w.Labels
		case schemas.JobEstimate:
			rep.Estimate = verdict
		case schemas.JobRequirement:
			rep.Requirement = verdict
		case schemas.JobReport:
			continue
		}
		rep.Rows = max(rep.Rows, w.Rows)
	}
	scores := map[string][]Score{}
	for _, d := range found.drift[at] {
		s := scoreOf(d)
		switch {
		case d.Stattest == string(schemas.StattestShare):
			rep.Share = &s
			continue
		case d.Column == "":
			rep.Window = append(rep.Window, s)
			continue
		}
		scores[d.Column] = append(scores[d.Column], s)
	}
	if v.Reference != nil {
		rep.ReferenceRows, rep.ReferenceMade, rep.OutOfFold = v.Reference.Rows, v.Reference.Made, v.Reference.OutOfFold
	}
	recent := r.recent(start, m.Monitoring.Step(), found)
	if counts != nil {
		rep.CountedFrom, rep.Unprofiled = "rows", counts.Unprofiled
		if counts.Profiled {
			rep.CountedFrom = "profiles"
		}
		for i := range v.Reference.Columns {
			rep.Columns = append(rep.Columns, column(&v.Reference.Columns[i], counts.Columns[i], scores[v.Reference.Columns[i].Name], recent, found))
		}
		rep.sortColumns()
	}
	history := func(metric string, threshold *float64) History {
		h := History{Stattest: metric, Threshold: threshold}
		for _, s := range recent {
			for _, b := range found.accuracy[s.UnixMicro()] {
				if b.Metric == metric && b.Value != nil {
					h.Windows, h.Scores = append(h.Windows, s), append(h.Scores, *b.Value)
				}
			}
		}
		return h
	}
	var realized []schemas.AccuracyResult
	realized, rep.Estimates = estimated(found.accuracy[at], history)
	for _, a := range realized {
		f := Figure{Metric: a.Metric, Value: a.Value, Low: a.Low, High: a.High, Labels: a.Labels, Threshold: a.Threshold, Breached: a.Breached}
		if known, ok := schemas.FigureOf(schemas.Stattest(a.Metric)); ok {
			f.Breaches = known.Direction
		}
		f.History = history(a.Metric, a.Threshold)
		if v.Reference != nil {
			if q, ok := v.Reference.Quality[schemas.Stattest(a.Metric)]; ok {
				f.Reference = &q
			}
		}
		rep.Quality = append(rep.Quality, f)
	}
	if m.Target != nil {
		order := m.Target.Figures()
		at := func(f Figure) int {
			return slices.IndexFunc(order, func(o schemas.Figure) bool { return string(o.Name) == f.Metric })
		}
		slices.SortStableFunc(rep.Quality, func(a, b Figure) int { return cmp.Compare(at(a), at(b)) })
	}
	return rep
}

// recent are the starts of the windows that the history of a window shows, itself last.
func (r *Reporter) recent(start time.Time, step time.Duration, found results) []time.Time {
	from := start.Add(-time.Duration(r.cfg.HistoryWindows) * step)
	return slices.DeleteFunc(slices.Clone(found.starts), func(s time.Time) bool { return !s.After(from) || s.After(start) })
}

func column(ref *schemas.ReferenceColumn, n profile.Counts, scores []Score, recent []time.Time, found results) Column {
	c := Column{
		Column: ref.Name, Type: "categorical", Scores: scores, Missing: uint64(n.Missing),
		Bins: Bins{
			Edges: ref.Edges, Categories: ref.Categories, Reference: ref.Counts, Current: n.Cells,
			OtherReference: ref.Other, OtherCurrent: n.Other, MissingReference: ref.Missing, MissingCurrent: n.Missing,
		},
	}
	if len(ref.Edges) > 0 {
		c.Type = "numeric"
	}
	slices.SortStableFunc(c.Scores, worseFirst) // the judged before those without a check
	c.Explanation = explain(c)
	if len(c.Scores) == 0 {
		return c
	}
	c.History = History{Stattest: c.Scores[0].Stattest, Threshold: c.Scores[0].Threshold}
	for _, s := range recent {
		for _, d := range found.drift[s.UnixMicro()] {
			if d.Column == c.Column && d.Stattest == c.History.Stattest {
				c.History.Windows, c.History.Scores = append(c.History.Windows, s), append(c.History.Scores, d.Score)
			}
		}
	}
	return c
}

type indexVersion struct {
	Model, Version, Kind string
	Windows              []indexWindow // newest first
	More                 bool
}

type indexWindow struct {
	Start           time.Time
	Link            string
	Drift, Accuracy string
	Rows, Labels    uint64
}

// maxIndexed bounds the windows of a version in the index.
const maxIndexed = 1000

func (r *Reporter) writeIndex(ctx context.Context, versions []drift.Version) error {
	var page struct{ Versions []indexVersion }
	var all []drift.Version
	for _, v := range versions {
		if v.Manifest.Monitoring != nil {
			all = append(all, v.Spread()...)
		}
	}
	for _, v := range all {
		rows, err := r.store.WindowSummaries(ctx, v.Manifest, maxIndexed+1)
		if err != nil {
			return err
		}
		iv := indexVersion{Model: v.Manifest.Name, Version: v.Manifest.Version, Kind: v.Manifest.WindowKind(), More: len(rows) > maxIndexed}
		for _, row := range rows[:min(len(rows), maxIndexed)] {
			w := indexWindow{Start: row.WindowStart, Drift: row.Drift, Accuracy: row.Accuracy, Rows: row.Rows, Labels: row.Labels}
			if row.Reported {
				w.Link = Link("")(iv.Model, iv.Version, iv.Kind, row.WindowStart)
			}
			iv.Windows = append(iv.Windows, w)
		}
		if len(iv.Windows) > 0 {
			page.Versions = append(page.Versions, iv)
		}
	}
	slices.SortStableFunc(page.Versions, func(a, b indexVersion) int {
		return strings.Compare(a.Model+"/"+a.Version, b.Model+"/"+b.Version)
	})
	var text bytes.Buffer
	if err := indexPage.Execute(&text, page); err != nil {
		return fmt.Errorf("render the report index: %w", err)
	}
	return writeIndexFile(r.cfg.Dir, text.Bytes())
}
