package drift

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Again judges the windows that overlap a span once more, as the manifest and the reference are
// now and with the labels that have come: of those that the manifest is about (Version.Spread) the
// ones that each job has finished, and not those that the monitor has still to close. Each becomes a revision. It asks the store what was judged
// before, so that it may be called beside a running monitor, by another Monitor. A zero end of
// the span is no bound.
func (m *Monitor) Again(ctx context.Context, now time.Time, v Version, span profile.Span) ([]Judged, error) {
	state, err := m.recover(ctx, v)
	if err != nil {
		return nil, err
	}
	if v.Learns() {
		learned := &state.learning
		if learned.reference, learned.to, err = Learned(ctx, m.store, v.Manifest); err != nil {
			return nil, err
		}
		if learned.reference != nil && v.binaryTarget() {
			if err := learned.keepEstimator(ctx, m.store, v.Manifest); err != nil {
				return nil, err
			}
		}
		v.Reference = learned.reference
	}
	if err := m.readyAlarm(ctx, v, state, time.Time{}); err != nil {
		return nil, err
	}
	stats := TickStats{}
	p := &pass{Monitor: m, Version: v, now: now, state: state, stats: &stats}
	for _, job := range v.jobs() {
		closed := profile.Span{End: state.jobs[job].next}
		if closed.End.IsZero() {
			continue // it has finished no window, and there may be no table
		}
		if job == schemas.JobDrift && v.Reference == nil {
			continue // the reference is being learned
		}
		if !span.Start.IsZero() {
			closed.Start = p.closedBy(span.Start)
		}
		if !span.End.IsZero() && span.End.Before(closed.End) {
			closed.End = profile.WindowStart(span.End.Add(p.step()-time.Microsecond), p.step())
		}
		if !closed.Start.Before(closed.End) {
			continue
		}
		counts, err := m.store.CountRows(ctx, v.Manifest, closed, time.Time{})
		if err != nil {
			return stats.Judged, err
		}
		// Which revision a window has is asked just before it is judged: the monitor may have made one by then.
		for chunk := range slices.Chunk(counts, m.cfg.MaxWindows) {
			windows, _, err := p.revisions(ctx, job, chunk)
			if err != nil {
				return stats.Judged, err
			}
			if err := p.judge(ctx, job, windows); err != nil {
				return stats.Judged, fmt.Errorf("judge %s of %s again: %w", job, v.Name(), err)
			}
		}
	}
	return stats.Judged, nil
}
