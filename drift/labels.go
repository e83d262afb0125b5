package drift

import (
	"context"
	"slices"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// labelState is how far the labels of a version have been looked at.
type labelState struct {
	at    time.Time        // when, by the monitor's clock; zero: not since the start
	noted time.Time        // the newest stored_at that was looked at; zero: none ever was
	seen  map[int64]uint64 // the arrivals by their second, from the overlap before noted on
}

// interval is the least time between two looks for labels.
func (c Config) labelInterval(window time.Duration) time.Duration {
	return max(c.LateInterval, min(window/time.Duration(max(c.LabelShare, 1)), time.Hour))
}

// judgeLabels judges again the finished windows in which other labels count by now than they
// were judged with: labels came late, or corrections did. It looks at the labels that were
// stored since the last look, and for their requests. What was looked at is noted after the
// windows are written; a monitor that ends before looks again, and judges nothing twice,
// because a window's row says by its LabelState which labels it was judged with.
func (p *pass) judgeLabels(ctx context.Context) error {
	js, labels := p.state.jobs[schemas.JobAccuracy], &p.state.labels
	if js == nil || js.next.IsZero() || (!labels.at.IsZero() && p.now.Sub(labels.at) < p.cfg.labelInterval(p.length())) {
		return nil
	}
	since := labels.noted
	if !since.IsZero() {
		since = since.Add(-p.cfg.LabelOverlap)
	}
	arrivals, err := p.store.LabelArrivals(ctx, p.Manifest, since)
	if err != nil {
		return err
	}
	fresh := slices.IndexFunc(arrivals, func(a profile.LabelArrival) bool {
		state, ok := labels.seen[a.StoredAt.Unix()]
		return !ok || state != a.State
	})
	if fresh < 0 {
		labels.at = p.now
		return nil
	}
	windows, err := p.relabelled(ctx, arrivals[fresh].StoredAt)
	if err != nil {
		return err
	}
	if err := p.judge(ctx, schemas.JobAccuracy, windows); err != nil {
		return err
	}
	newest := arrivals[len(arrivals)-1].StoredAt
	if err := p.store.NoteLabels(ctx, p.Manifest, newest); err != nil {
		return err
	}
	labels.at, labels.noted, labels.seen = p.now, newest, map[int64]uint64{}
	for _, a := range arrivals {
		if !a.StoredAt.Before(newest.Add(-p.cfg.LabelOverlap)) {
			labels.seen[a.StoredAt.Unix()] = a.State
		}
	}
	return nil
}

// relabelled returns the finished windows of job accuracy whose labels differ from those that
// they were judged with, because of labels stored from since on, or of any where none was ever
// looked at.
func (p *pass) relabelled(ctx context.Context, since time.Time) ([]window, error) {
	next := p.state.jobs[schemas.JobAccuracy].next
	span := profile.Span{Start: profile.WindowStart(next.Add(-p.cfg.LabelSpan), p.length()), End: next}
	var counts []profile.WindowRows
	first := p.state.labels.noted.IsZero()
	if !first {
		starts, err := p.store.LabelledWindows(ctx, p.Manifest, span, since)
		if err != nil || len(starts) == 0 {
			return nil, err
		}
		if counts, err = p.rowsOf(ctx, starts); err != nil {
			return nil, err
		}
	} else {
		var err error
		if counts, err = p.store.CountRows(ctx, p.Manifest, span, time.Time{}); err != nil {
			return nil, err
		}
	}
	windows, finished, err := p.revisions(ctx, schemas.JobAccuracy, counts)
	if err != nil {
		return nil, err
	}
	var changed []window
	for len(windows) > 0 {
		n := p.chunk(schemas.JobAccuracy, windows)
		states, err := p.store.LabelStates(ctx, p.Manifest, startsOf(windows[:n]))
		if err != nil {
			return nil, err
		}
		for i, w := range windows[:n] {
			was := finished[w.Start.UnixMicro()]
			switch {
			case was != nil && was.LabelState == states[i].State:
			case was != nil && first && was.LabelState == 0 && was.Labels == states[i].Labels:
				// A release that kept no state has judged it, with as many labels.
			default:
				changed = append(changed, w)
			}
		}
		windows = windows[n:]
	}
	return changed, nil
}

// rowsOf counts the rows of windows, by their starts.
func (p *pass) rowsOf(ctx context.Context, starts []time.Time) ([]profile.WindowRows, error) {
	counts, err := p.store.CountRows(ctx, p.Manifest, profile.Span{Start: starts[0], End: starts[len(starts)-1].Add(p.length())}, time.Time{})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(counts, func(c profile.WindowRows) bool {
		_, wanted := slices.BinarySearchFunc(starts, c.Start, time.Time.Compare)
		return !wanted
	}), nil
}

// revisions returns the judgements by which windows are judged again, and how a job has
// finished them, by start in microseconds. It asks the store, which also knows of revisions
// that were made by hand, and of windows that the state has forgotten. Windows of which rows have
// expired since keep the judgement that they have. What the store knows becomes part of
// the state, so that both jobs of a window know whether it has asked for retraining.
func (p *pass) revisions(ctx context.Context, job schemas.Job, counts []profile.WindowRows) ([]window, map[int64]*schemas.FinishedWindow, error) {
	windows := windowsOf(counts)
	if len(windows) == 0 {
		return nil, nil, nil
	}
	rows, err := p.store.FinishedWindows(ctx, p.Manifest, windows[0].Start)
	if err != nil {
		return nil, nil, err
	}
	finished := map[int64]*schemas.FinishedWindow{}
	for i, r := range rows { // by revision
		if r.Retraining {
			p.state.raised[r.WindowStart.UnixMicro()] = true
		}
		if r.Job == string(job) {
			finished[r.WindowStart.UnixMicro()] = &rows[i]
		}
	}
	kept := windows[:0]
	for _, w := range windows {
		if f := finished[w.Start.UnixMicro()]; f != nil {
			if w.Rows < f.Rows {
				continue // of its rows some have expired: it was judged by more
			}
			w.revision = f.Revision + 1
		}
		kept = append(kept, w)
	}
	return kept, finished, nil
}

// later returns the one of two windows that ends last.
func later(a *schemas.FinishedWindow, b schemas.FinishedWindow) *schemas.FinishedWindow {
	if a != nil && a.WindowEnd.After(b.WindowEnd) {
		return a
	}
	return &b
}
