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
	at    time.Time        // when it was last asked which labels came, by the monitor's clock; zero: not since the start
	noted time.Time        // the newest stored_at that was seen; zero: none ever was
	seen  map[int64]uint64 // the arrivals by their second, from the overlap before noted on
	kept  time.Time        // up to where nothing is left to be done, as the store has it
	looks []labelLook      // for the requests of labels, by depth: see lookBack

	// Starts of finished windows, ascending, of which the labels are still to be compared with
	// those that they were judged with: labels came for found; unknown are those that were
	// finished before labels were ever looked at.
	found, unknown []time.Time
}

// labelLook is a look for the requests of labels that lie no further back than its depth.
type labelLook struct {
	from time.Time // the requests of labels that were stored from here on are to be looked for; zero: none are
	next time.Time // not before
}

// labelInterval is the least time between two looks for labels.
func (c Config) labelInterval(window time.Duration) time.Duration {
	return max(c.LateInterval, min(window/time.Duration(max(c.LabelShare, 1)), time.Hour))
}

// lookWindows is how many windows the first look for requests goes back.
const lookWindows = 4

// lookBack is how far the look of a depth goes back from the last finished window: four windows,
// four times as many, and so on up to LabelSpan. last is the depth that does.
func (p *pass) lookBack(depth int) (back time.Duration, last bool) {
	back = lookWindows * p.length()
	for ; depth > 0 && back < p.cfg.LabelSpan; depth-- {
		back *= 4
	}
	return min(back, p.cfg.LabelSpan), back >= p.cfg.LabelSpan
}

// lookPause is how long after the look of a depth no other of that depth follows: a share of the
// event time that it searches. The requests of some labels never come, and other labels are of
// requests of long ago: without a pause these would make every look go back all the way. With it a
// row is read about as often in its life by the look of any depth, however many rows are stored.
func (p *pass) lookPause(depth int) time.Duration {
	back, _ := p.lookBack(depth)
	pause := (back + p.Manifest.Monitoring.LabelDelay.Std()) / time.Duration(lookWindows*max(p.cfg.LabelShare, 1))
	if depth == 0 {
		pause = min(pause, time.Hour)
	}
	return max(pause, p.cfg.labelInterval(p.length()))
}

// judgeLabels judges again the finished windows in which other labels count by now than they
// were judged with: labels came late, or corrections did. It looks at the labels that were
// stored since the last look, and for their requests, and then compares as many windows as one
// query takes; the next pass goes on. What was looked at is noted after the windows are written; a
// monitor that ends before looks again, and judges nothing twice, because a window's row says by
// its LabelState which labels it was judged with.
func (p *pass) judgeLabels(ctx context.Context) error {
	js, labels := p.state.jobs[schemas.JobAccuracy], &p.state.labels
	if js == nil || js.next.IsZero() {
		return nil
	}
	if labels.at.IsZero() || p.now.Sub(labels.at) >= p.cfg.labelInterval(p.length()) {
		if err := p.lookForLabels(ctx); err != nil {
			return err
		}
	}
	queue, unknown := &labels.found, false
	if len(*queue) == 0 {
		queue, unknown = &labels.unknown, true
	}
	if len(*queue) > 0 {
		windows, rest, err := p.relabelled(ctx, *queue, unknown)
		if err != nil {
			return err
		}
		if err := p.judge(ctx, schemas.JobAccuracy, windows); err != nil {
			return err
		}
		*queue = rest
	}
	done := labels.noted
	for _, l := range labels.looks {
		if !l.from.IsZero() && l.from.Before(done) {
			done = l.from
		}
	}
	if len(labels.found)+len(labels.unknown) > 0 || !done.After(labels.kept) {
		return nil
	}
	if err := p.store.NoteLabels(ctx, p.Manifest, done); err != nil {
		return err
	}
	labels.kept = done
	return nil
}

// lookForLabels adds the windows to those to be compared in which requests of new labels lie:
// those that no look has found before. Where no labels were ever looked at it adds all windows.
func (p *pass) lookForLabels(ctx context.Context) error {
	labels := p.state.labels // which stays as it is until everything is known
	labels.looks = slices.Clone(labels.looks)
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
	end := p.state.jobs[schemas.JobAccuracy].next
	switch {
	case fresh < 0:
	case labels.noted.IsZero():
		counts, err := p.store.CountRows(ctx, p.Manifest, profile.Span{Start: profile.WindowStart(end.Add(-p.cfg.LabelSpan), p.step()), End: end}, time.Time{})
		if err != nil {
			return err
		}
		labels.unknown = startsOf(windowsOf(counts))
		// Those of the overlap, which are not new the next time.
		if arrivals, err = p.store.LabelArrivals(ctx, p.Manifest, arrivals[0].StoredAt.Add(-p.cfg.LabelOverlap)); err != nil {
			return err
		}
	default:
		labels.look(0, arrivals[fresh].StoredAt)
	}
	for depth := 0; depth < len(labels.looks); depth++ {
		l := &labels.looks[depth]
		if l.from.IsZero() || p.now.Before(l.next) {
			continue
		}
		back, last := p.lookBack(depth)
		starts, all, err := p.store.LabelledWindows(ctx, p.Manifest, profile.WindowStart(end.Add(-back), p.step()), l.from)
		if err != nil {
			return err
		}
		closed, _ := slices.BinarySearchFunc(starts, end, time.Time.Compare)
		labels.found = slices.Concat(labels.found, starts[:closed])
		slices.SortFunc(labels.found, time.Time.Compare)
		labels.found = slices.CompactFunc(labels.found, time.Time.Equal)
		from := l.from
		l.from, l.next = time.Time{}, p.now.Add(p.lookPause(depth))
		if !all && !last {
			labels.look(depth+1, from)
		}
	}
	labels.at = p.now
	if len(arrivals) > 0 {
		labels.noted, labels.seen = arrivals[len(arrivals)-1].StoredAt, map[int64]uint64{}
		for _, a := range arrivals {
			if !a.StoredAt.Before(labels.noted.Add(-p.cfg.LabelOverlap)) {
				labels.seen[a.StoredAt.Unix()] = a.State
			}
		}
	}
	p.state.labels = labels
	return nil
}

// look has the look of a depth go for the labels that were stored from a time on.
func (l *labelState) look(depth int, from time.Time) {
	if depth == len(l.looks) {
		l.looks = append(l.looks, labelLook{})
	}
	if of := &l.looks[depth].from; of.IsZero() || from.Before(*of) {
		*of = from
	}
}

// relabelled takes the first of finished windows, as many as one query takes, and returns those
// whose labels differ from the ones that they were judged with, and the windows that are left.
// Of windows that were finished before labels were ever looked at, those that an earlier release
// has judged with as many labels, and kept no state of, are left alone.
func (p *pass) relabelled(ctx context.Context, starts []time.Time, unknown bool) (changed []window, rest []time.Time, err error) {
	n := min(len(starts), p.cfg.MaxWindows)
	counts, err := p.rowsOf(ctx, starts[:n])
	if err != nil {
		return nil, nil, err
	}
	if taken := p.chunk(schemas.JobAccuracy, windowsOf(counts)); taken < len(counts) {
		n = slices.IndexFunc(starts, func(s time.Time) bool { return !s.Before(counts[taken].Start) })
		counts = counts[:taken]
	}
	windows, finished, err := p.revisions(ctx, schemas.JobAccuracy, counts)
	if err != nil || len(windows) == 0 {
		return nil, starts[n:], err
	}
	states, err := p.store.LabelStates(ctx, p.Manifest, startsOf(windows))
	if err != nil {
		return nil, nil, err
	}
	for i, w := range windows {
		was := finished[w.Start.UnixMicro()]
		switch {
		case was != nil && was.LabelState == states[i].State:
		case was != nil && unknown && was.LabelState == 0 && was.Labels == states[i].Labels:
		default:
			changed = append(changed, w)
		}
	}
	return changed, starts[n:], nil
}

// rowsOf counts the rows of windows, by their starts.
func (p *pass) rowsOf(ctx context.Context, starts []time.Time) ([]profile.WindowRows, error) {
	counts, err := p.store.CountRows(ctx, p.Manifest, profile.Span{Start: starts[0], End: starts[len(starts)-1].Add(p.step())}, time.Time{})
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
	p.state.raise(rows)
	finished := map[int64]*schemas.FinishedWindow{}
	for i, r := range rows { // by revision
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
