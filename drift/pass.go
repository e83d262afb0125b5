package drift

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// pass is one pass over the windows of one version.
type pass struct {
	*Monitor
	Version
	now   time.Time
	state *versionState
	stats *TickStats
}

// window is one judgement to be made.
type window struct {
	profile.WindowRows
	revision uint32
}

// windowsOf are judgements of windows for the first time.
func windowsOf(counts []profile.WindowRows) []window {
	windows := make([]window, len(counts))
	for i, c := range counts {
		windows[i] = window{WindowRows: c}
	}
	return windows
}

// run judges the windows that late rows have changed, those that the watermark has closed, and
// then those that labels have changed. requests are the version's rows by now.
func (p *pass) run(ctx context.Context, watermark time.Time, requests uint64) error {
	if err := p.judgeLate(ctx, requests); err != nil {
		return err
	}
	// Drift first: accuracy, which closes later, then knows whether retraining was asked for.
	for _, job := range p.jobs() {
		delay := time.Duration(0)
		if job == schemas.JobAccuracy {
			delay = p.Manifest.Monitoring.LabelDelay.Std()
		}
		if err := p.judgeClosed(ctx, job, p.closedBy(watermark.Add(-delay))); err != nil {
			return err
		}
	}
	if err := p.judgeLabels(ctx); err != nil {
		return err
	}
	p.state.forget(p.state.keepFrom(p.cfg.LateWindows, p.length()))
	return nil
}

// judgeClosed judges the windows that ended by end and are not finished yet.
func (p *pass) judgeClosed(ctx context.Context, job schemas.Job, end time.Time) error {
	js := p.state.jobs[job]
	if !end.After(js.next) {
		return nil
	}
	counts, err := p.store.CountRows(ctx, p.Manifest, profile.Span{Start: js.next, End: end}, time.Time{})
	if err != nil {
		return err
	}
	windows := windowsOf(counts)
	if job == schemas.JobDrift {
		windows = p.withoutRows(p.withEmpty(windows, profile.Span{Start: js.next, End: end}), js.next, end)
	}
	if err := p.judge(ctx, job, windows); err != nil {
		return err
	}
	js.next = end // also past windows that had no rows
	return nil
}

// judgeLate judges again the finished windows that have got rows since. Their rows are
// counted only when the version has stored any, and only where such a row was scored
// since the last look; the first look after a start counts all of the last LateWindows.
func (p *pass) judgeLate(ctx context.Context, requests uint64) error {
	state := p.state
	if p.cfg.LateWindows == 0 || requests == state.lateRequests || p.now.Sub(state.lateAt) < p.cfg.LateInterval {
		return nil
	}
	next := state.next()
	if next.IsZero() {
		return nil
	}
	span := profile.Span{Start: next.Add(-time.Duration(p.cfg.LateWindows) * p.length()), End: next}
	if !state.lateAt.IsZero() {
		fresh, err := p.store.CountRows(ctx, p.Manifest, span, state.lateAt.Add(-p.cfg.LateOverlap))
		if err != nil {
			return err
		}
		if len(fresh) == 0 {
			state.lateAt, state.lateRequests = p.now, requests
			return nil
		}
		span = profile.Span{Start: fresh[0].Start, End: fresh[len(fresh)-1].Start.Add(p.step())}
	}
	counts, err := p.store.CountRows(ctx, p.Manifest, span, time.Time{})
	if err != nil {
		return err
	}
	for _, job := range p.jobs() {
		windows, _, err := p.revisions(ctx, job, state.jobs[job].grown(counts))
		if err != nil {
			return err
		}
		if err := p.judge(ctx, job, windows); err != nil {
			return err
		}
	}
	state.lateAt, state.lateRequests = p.now, requests
	return nil
}

// judge judges windows of one job, in chunks: scores, result rows, events, and last the
// rows of windows. Only after these are written does the state move.
func (p *pass) judge(ctx context.Context, job schemas.Job, windows []window) error {
	for len(windows) > 0 {
		n := p.chunk(job, windows)
		var judged []Judged
		var err error
		switch job {
		case schemas.JobDrift:
			judged, err = p.judgeDrift(ctx, windows[:n])
		case schemas.JobEstimate:
			judged, err = p.judgeEstimates(ctx, windows[:n])
		case schemas.JobRequirement:
			judged, err = p.judgeRequirements(ctx, windows[:n])
		default:
			judged, err = p.judgeAccuracy(ctx, windows[:n])
		}
		if err != nil {
			return err
		}
		if err := p.finish(ctx, job, judged); err != nil {
			return err
		}
		p.stats.Judged = append(p.stats.Judged, judged...)
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
func (p *pass) chunk(job schemas.Job, windows []window) int {
	most := p.cfg.MaxWindows
	if job == schemas.JobDrift && p.Reference != nil {
		cells := 0
		for _, c := range p.Reference.Columns {
			cells += len(c.Counts) + 2
		}
		most = min(most, max(1, chunkCells/cells))
	}
	if job == schemas.JobEstimate && p.estimates() {
		most = min(most, chunkCells/(2*len(p.Reference.Estimator.X)+2))
	}
	var rows uint64
	for i, w := range windows {
		rows += w.Rows * uint64(p.passes())
		if i > 0 && (i == most || w.Start.Sub(windows[0].Start) > chunkSpan || (job == schemas.JobAccuracy && rows > p.cfg.MaxRows)) {
			return i
		}
	}
	return len(windows)
}

// passes is how many times over the labelled rows of a window are ranked.
func (p *pass) passes() int {
	if p.Manifest.Target == nil {
		return 1
	}
	return max(1, len(p.Manifest.Target.Probabilities))
}

func startsOf(windows []window) []time.Time {
	out := make([]time.Time, len(windows))
	for i, w := range windows {
		out[i] = w.Start
	}
	return out
}

func (p *pass) judgeDrift(ctx context.Context, windows []window) ([]Judged, error) {
	judged := make([]Judged, len(windows))
	learning := p.learning(windows)
	for i, w := range windows[:learning] {
		judged[i].FinishedWindow = p.finishedWindow(schemas.JobDrift, w)
		judged[i].Verdict = string(schemas.VerdictLearning)
		if w.Rows < uint64(p.Manifest.Monitoring.MinRows) {
			judged[i].Verdict = string(schemas.VerdictTooFew)
		}
	}
	if learning == len(windows) {
		return judged, nil
	}
	counts, err := p.store.CountCells(ctx, p.Manifest, p.Reference, startsOf(windows[learning:]))
	if err != nil {
		return nil, err
	}
	faults, err := p.faults(ctx, windows[learning:])
	if err != nil {
		return nil, err
	}
	p.logUnprofiled(counts)
	for i, w := range windows[learning:] {
		w.Rows = counts[i].Rows // rows may have come since they were counted
		j := &judged[learning+i]
		j.FinishedWindow = p.finishedWindow(schemas.JobDrift, w)
		if j.Scored, err = p.scoreAlarm(w, counts[i].Columns); err != nil {
			return nil, err
		}
		if w.Rows < uint64(p.Manifest.Monitoring.MinRows) {
			j.Verdict = string(schemas.VerdictTooFew)
			if j.Drift, err = p.tooFewRows(w); err != nil {
				return nil, err
			}
			continue
		}
		if j.Drift, err = p.driftResults(w, counts[i].Columns, &faults[i]); err != nil {
			p.log.Warn().Err(err).Str("model", p.Manifest.Name).Str("version", p.Manifest.Version).Msg("drift scores left out")
		}
		j.Verdict = string(windowVerdict(j.Drift))
	}
	return judged, nil
}

// logUnprofiled says which windows were counted from rows although there are profiles.
func (p *pass) logUnprofiled(counts []profile.WindowCounts) {
	windows, first := 0, -1
	for i := range counts {
		if counts[i].Unprofiled != "" {
			if windows++; first < 0 {
				first = i
			}
		}
	}
	if windows > 0 {
		p.log.Info().Str("model", p.Manifest.Name).Str("version", p.Manifest.Version).Int("windows", windows).Time("first", counts[first].Start).
			Str("why", counts[first].Unprofiled).Msg("windows are counted from their rows, not from profiles")
	}
}

func (p *pass) judgeAccuracy(ctx context.Context, windows []window) ([]Judged, error) {
	// The state first: labels that come in between are counted, and change it the next time.
	states, err := p.store.LabelStates(ctx, p.Manifest, startsOf(windows))
	if err != nil {
		return nil, err
	}
	quality, err := p.store.CountQuality(ctx, p.Manifest, startsOf(windows))
	if err != nil {
		return nil, err
	}
	judged := make([]Judged, len(windows))
	for i, w := range windows {
		j := &judged[i]
		j.FinishedWindow = p.finishedWindow(schemas.JobAccuracy, w)
		j.Labels, j.LabelState = uint64(quality[i].Labels()), states[i].State
		if least := uint64(p.Manifest.Monitoring.MinRows); w.Rows < least || j.Labels < least {
			j.Verdict = string(schemas.VerdictTooFew)
			continue
		}
		j.Accuracy = p.accuracyResults(w, quality[i])
		j.Requirements = p.requiredAccuracy(w, j.Accuracy)
	}
	if err := p.segments(ctx, windows, quality, judged); err != nil {
		return nil, err
	}
	if err := p.labelDelays(ctx, windows, judged); err != nil {
		return nil, err
	}
	return judged, p.lessEstimated(ctx, windows, quality, judged)
}

func (p *pass) finishedWindow(job schemas.Job, w window) schemas.FinishedWindow {
	return schemas.FinishedWindow{
		Model: p.Manifest.Name, Version: p.Manifest.Version, Job: string(job),
		WindowStart: w.Start, WindowEnd: w.Start.Add(p.length()),
		Revision: w.revision, Rows: w.Rows, Verdict: string(schemas.VerdictOK), DoneAt: p.now, WindowKind: p.Manifest.WindowKind(),
	}
}

// recall brings to the state what the store knows of retraining that was asked for: a window that was judged
// again by hand has asked, too. It returns the window that asked last. It asks the store only where one of the
// windows is about to ask. What the store has of these judgements themselves does not count: a
// pass that did not hear that they were written makes them again, with the same events.
func (p *pass) recall(ctx context.Context, judged []Judged, breaches [][]schemas.Breach) (*schemas.FinishedWindow, error) {
	last := p.state.last
	asks := func(b schemas.Breach) bool { return b.Retrain }
	if p.Manifest.Monitoring.Retraining.When == "" && !slices.ContainsFunc(breaches, func(of []schemas.Breach) bool { return slices.ContainsFunc(of, asks) }) {
		return last, nil
	}
	repeated := repeats(judged)
	stored, err := p.store.LastRetraining(ctx, p.Manifest)
	if err != nil {
		return nil, err
	}
	if stored != nil && !repeated(*stored) {
		last = later(last, *stored)
	}
	finished, err := p.store.FinishedWindows(ctx, p.Manifest, judged[0].WindowStart)
	if err != nil {
		return nil, err
	}
	p.state.raise(slices.DeleteFunc(slices.Clone(finished), repeated))
	return last, nil
}

// repeats tells of a finished window whether it is one of these judgements.
func repeats(judged []Judged) func(schemas.FinishedWindow) bool {
	return func(w schemas.FinishedWindow) bool {
		return slices.ContainsFunc(judged, func(j Judged) bool {
			return j.Job == w.Job && j.WindowKind == w.WindowKind && j.Revision == w.Revision && j.WindowStart.Equal(w.WindowStart)
		})
	}
}

// events gives judged windows their verdicts and events, and returns the window that asks for retraining last.
func (p *pass) events(ctx context.Context, job schemas.Job, judged []Judged) (*schemas.FinishedWindow, error) {
	breaches := make([][]schemas.Breach, len(judged))
	for i := range judged {
		breaches[i] = append(driftBreaches(judged[i].Drift), accuracyBreaches(judged[i].Accuracy)...)
	}
	last, err := p.recall(ctx, judged, breaches)
	if err != nil {
		return nil, err
	}
	facts, err := p.facts(ctx, job, judged, repeats(judged))
	if err != nil {
		return nil, err
	}
	for i := range judged {
		j := &judged[i]
		j.Required = p.requirementEvent(job, j)
		if len(breaches[i]) > 0 || j.Required != nil {
			j.Verdict = string(schemas.VerdictBreached)
		}
		asks, err := p.asks(facts, j, breaches[i], last)
		if err != nil {
			return nil, err
		}
		j.Event = p.event(job, &j.FinishedWindow, breaches[i], asks, last)
		p.explain(ctx, j)
		if j.Event != nil && j.Event.Data.Kind == schemas.EventRetraining {
			j.Retraining = true
			last = later(last, j.FinishedWindow)
			if facts != nil {
				facts.finished(j.FinishedWindow)
			}
		}
	}
	return last, nil
}

// finish writes result rows, publishes events, and then writes the rows of windows.
func (p *pass) finish(ctx context.Context, job schemas.Job, judged []Judged) error {
	var scores []schemas.DriftResult
	var figures []schemas.AccuracyResult
	var found schemas.Found
	windows := make([]schemas.FinishedWindow, len(judged))
	last, err := p.events(ctx, job, judged)
	if err != nil {
		return err
	}
	alarms, err := p.decide(judged)
	if err != nil {
		return err
	}
	if err := p.complete(ctx, &alarms); err != nil {
		return err
	}
	p.explainAlarms(ctx, judged)
	for i := range judged {
		j := &judged[i]
		scores, figures = append(scores, j.Drift...), append(figures, j.Accuracy...)
		windows[i] = j.FinishedWindow
		found.Segments, found.Requirements = append(found.Segments, j.Segments...), append(found.Requirements, j.Requirements...)
		if j.Delays != nil {
			found.Delays = append(found.Delays, *j.Delays)
		}
	}
	if err := p.store.WriteResults(ctx, scores, figures); err != nil {
		return err
	}
	if err := p.store.WriteFound(ctx, found); err != nil {
		return err
	}
	for i := range judged {
		var events []schemas.Event
		for _, e := range []*schemas.Event{judged[i].Event, judged[i].Required} {
			if e != nil {
				events = append(events, *e)
			}
		}
		for _, e := range append(events, judged[i].Alarms...) {
			if err := p.pub.Publish(ctx, e); err != nil {
				return fmt.Errorf("publish the %s event of window %s: %w", e.Data.Kind, e.Data.WindowStart.Format(time.RFC3339), err)
			}
		}
	}
	if err := p.store.WriteAlarms(ctx, alarms.rows); err != nil {
		return err
	}
	if err := p.store.WriteWindows(ctx, windows); err != nil {
		return fmt.Errorf("write %d finished windows: %w", len(windows), err)
	}
	p.took(alarms)
	js := p.state.jobs[job]
	p.state.last = last
	for i := range judged {
		j := &judged[i]
		js.done[j.WindowStart.UnixMicro()] = j.Rows
		if next := j.WindowStart.Add(p.step()); next.After(js.next) {
			js.next = next
		}
		if j.Retraining {
			p.state.raised[j.WindowStart.UnixMicro()] = true
		}
		p.log.Info().Str("model", j.Model).Str("version", j.Version).Str("windows", p.Manifest.WindowName()).Str("job", j.Job).Time("window", j.WindowStart).
			Uint32("revision", j.Revision).Uint64("rows", j.Rows).Uint64("labels", j.Labels).Str("verdict", j.Verdict).
			Bool("event", j.Event != nil).Msg("window judged")
	}
	return nil
}
