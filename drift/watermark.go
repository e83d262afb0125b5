package drift

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
	// requests counts the rows of each version since Watermarks.since: when it changes,
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

type progressRow struct {
	Model     string    `ch:"model"`
	Version   string    `ch:"version"`
	TopicID   string    `ch:"request_topic_id"`
	Partition int32     `ch:"request_partition"`
	EventTime time.Time `ch:"event_time"`
	ScoredAt  time.Time `ch:"scored_at"`
	Newest    time.Time `ch:"newest"`
	Requests  uint64    `ch:"requests"`
}

func (w *watermarks) read(ctx context.Context, store Store, database string, models []string) error {
	var list []string
	for _, m := range models {
		list = append(list, quote(m))
		if w.models[m] == nil {
			w.since = time.Time{} // a new model's minutes are all unread
		}
	}
	since := ""
	if !w.since.IsZero() {
		since = fmt.Sprintf(" AND minute >= toDateTime(%d, 'UTC')", w.since.Unix())
	}
	// States that were written before these left out event times in the future may hold one.
	var rows []progressRow
	err := store.Select(ctx, &rows, fmt.Sprintf(`SELECT model, version, request_topic_id, request_partition,
  maxIf(event_time_max, event_time_max != toDateTime64(0, 6, 'UTC') AND event_time_max <= scored_at_max + INTERVAL 1 HOUR) AS event_time,
  max(scored_at_max) AS scored_at, max(minute) AS newest, sum(minute_states.requests) AS requests
FROM %s.minute_states WHERE model IN (%s)%s
GROUP BY model, version, request_topic_id, request_partition`, database, strings.Join(list, ", "), since))
	if err != nil {
		return fmt.Errorf("read the progress of request partitions: %w", err)
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
		// 1970 is the answer of maxIf where no state has a usable event time.
		if r.EventTime.UnixMicro() != 0 && r.EventTime.After(p.eventTime) {
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
