package drift

import (
	"context"
	"slices"
	"time"
)

// partition is one request partition of a model.
type partition struct {
	topicID string
	number  int32
}

// progress is how far a partition has come.
type progress struct {
	eventTime time.Time // greatest usable event time seen; zero: none yet
	scoredAt  time.Time // when a row was last scored
}

// modelProgress is what minute_states says about one model.
type modelProgress struct {
	partitions map[partition]progress
	// requests counts the rows of each version since watermarks.since: when it changes,
	// rows were stored.
	requests map[string]uint64
}

// watermark returns the least, over request partitions, of the greatest event time, less
// the lateness. A partition from which nothing was scored for idleTimeout before now does
// not hold it back; when all are idle it is the greatest over them. The zero time means
// that nothing was seen.
//
// Event times in the future are not usable, and do not reach here: see
// schemas.MinuteStatesSelect. A partition with no others says nothing about event time, so
// it counts as if it had no rows: it holds nothing back, which one bad producer could make
// last for ever, and joins with its first usable row. Such a row may then be late.
func (p *modelProgress) watermark(now time.Time, idleTimeout, lateness time.Duration) time.Time {
	var least, greatest time.Time
	for _, x := range p.partitions {
		if x.eventTime.IsZero() {
			continue
		}
		if greatest.IsZero() || x.eventTime.After(greatest) {
			greatest = x.eventTime
		}
		if now.Sub(x.scoredAt) > idleTimeout {
			continue
		}
		if least.IsZero() || x.eventTime.Before(least) {
			least = x.eventTime
		}
	}
	if least.IsZero() {
		least = greatest
	}
	if least.IsZero() {
		return least
	}
	return least.Add(-lateness)
}

// watermarks follows minute_states. After the first time it reads only the last day of
// minutes, so that a tick costs the same after a year.
type watermarks struct {
	models map[string]*modelProgress
	newest time.Time // minute
	since  time.Time // minutes from here are read
}

func (w *watermarks) read(ctx context.Context, store Counter, models []string) error {
	for _, m := range models {
		if w.models[m] == nil {
			w.since = time.Time{} // a new model's minutes are all unread
		}
	}
	rows, err := store.Progress(ctx, models, w.since)
	if err != nil {
		return err
	}
	if w.models == nil {
		w.models = map[string]*modelProgress{}
	}
	for _, m := range models {
		if w.models[m] == nil {
			w.models[m] = &modelProgress{partitions: map[partition]progress{}, requests: map[string]uint64{}}
		}
		for version := range w.models[m].requests {
			w.models[m].requests[version] = 0
		}
	}
	for _, r := range rows {
		m := w.models[r.Model]
		if m == nil || !slices.Contains(models, r.Model) {
			continue
		}
		key := partition{r.TopicID, r.Partition}
		p := m.partitions[key]
		if r.EventTime.After(p.eventTime) {
			p.eventTime = r.EventTime
		}
		if r.ScoredAt.After(p.scoredAt) {
			p.scoredAt = r.ScoredAt
		}
		m.partitions[key] = p
		m.requests[r.Version] += r.Requests
		if r.Newest.After(w.newest) {
			w.newest = r.Newest
		}
	}
	// A whole day back, and by whole days, so that requests are comparable between ticks.
	if !w.newest.IsZero() {
		w.since = w.newest.UTC().Truncate(24 * time.Hour).Add(-24 * time.Hour)
	}
	return nil
}
