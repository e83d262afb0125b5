package history

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
)

// labelSettling is how long after a label was stored it is counted: its request, which may take
// another way, is stored by then.
const labelSettling = 10 * time.Minute

// The bounds of a count of labels. It looks for their requests among the rows that were scored in
// the last firstLook, then four times as far back, and so on until it has found all of them. A
// model whose requests it looked for far back is not counted again before a lookShare of that
// time has passed, at most mostWaiting, or mostLabels have come: in its life a row is read some
// hundred times, however many rows are stored and labels of requests that never come are sent.
const (
	firstLook   = time.Hour
	wholeLook   = 366 * 24 * time.Hour // what looks further looks at all rows
	lookShare   = 96
	mostWaiting = 24 * time.Hour
	mostLabels  = 1_000_000
)

// LabelCounter counts what became of labels. It is for one goroutine.
type LabelCounter struct {
	store   *Store
	to      time.Time // labels that were stored before were counted, but for those that wait
	waiting map[string]waitingLabels
	next    map[string]time.Time // by model: when it is counted again
}

// waitingLabels are those of a model that were stored from a time on and are not counted yet.
type waitingLabels struct {
	from   time.Time
	labels uint64
}

// NewLabelCounter returns a counter that goes on where the last one has ended.
func NewLabelCounter(s *Store) *LabelCounter {
	return &LabelCounter{store: s, next: map[string]time.Time{}}
}

// Count counts what became of the labels that were stored since it was called last, but for those
// of the last ten minutes, keeps it in label_counts and returns it. The labels of a model whose
// requests had to be looked for far back wait up to a day. Whoever ends in between leaves nothing
// behind that is counted twice. The first call goes back a day, where nothing was counted before.
// manifests are those of the versions whose windows labels are joined to.
func (c *LabelCounter) Count(ctx context.Context, manifests []*schemas.Manifest) ([]schemas.LabelCount, error) {
	var clock []struct {
		To time.Time `ch:"to"`
	}
	if err := c.store.conn.Select(ctx, &clock, fmt.Sprintf("SELECT now('UTC') - INTERVAL %d SECOND AS to", int(labelSettling.Seconds()))); err != nil {
		return nil, fmt.Errorf("read the time to count labels at: %w", err)
	}
	if len(clock) == 0 {
		return nil, nil
	}
	to := clock[0].To.UTC()
	if c.to.IsZero() {
		if err := c.start(ctx, to); err != nil {
			return nil, err
		}
	}
	if !c.to.Before(to) {
		return nil, nil
	}
	waiting, out, err := c.arrived(ctx, to)
	if err != nil {
		return nil, err
	}
	next := maps.Clone(c.next)
	for _, model := range slices.Sorted(maps.Keys(waiting)) {
		w := waiting[model]
		if to.Before(next[model]) && w.labels < mostLabels {
			continue
		}
		reasons, back, err := c.store.labelReasons(ctx, model, usableByAny(model, manifests), w.from, to)
		if err != nil {
			return nil, err
		}
		for _, r := range reasons {
			out = append(out, schemas.LabelCount{Model: model, Reason: r.Reason, StoredFrom: w.from, StoredTo: to, Labels: r.Labels})
		}
		delete(waiting, model)
		next[model] = to.Add(min(back/lookShare, mostWaiting))
	}
	if len(out) > 0 {
		if err := c.store.conn.InsertRows(ctx, "label_counts", out); err != nil {
			return nil, fmt.Errorf("write what became of labels: %w", err)
		}
	}
	c.to, c.waiting, c.next = to, waiting, next
	return out, nil
}

// start reads how far labels were counted, and which were left waiting then.
func (c *LabelCounter) start(ctx context.Context, now time.Time) error {
	var last []struct {
		To time.Time `ch:"to"`
	}
	if err := c.store.conn.Select(ctx, &last, fmt.Sprintf("SELECT max(stored_to) AS to FROM %s.label_counts HAVING count() > 0", c.store.database)); err != nil {
		return fmt.Errorf("read how far labels were counted: %w", err)
	}
	if len(last) == 0 {
		c.to = now.Add(-24 * time.Hour)
		return nil
	}
	to := last[0].To.UTC()
	since := schemas.SecondsSQL(to.Add(-2 * mostWaiting).Unix())
	var left []struct {
		Model  string    `ch:"model"`
		From   time.Time `ch:"from"`
		Labels uint64    `ch:"n"`
	}
	if err := c.store.conn.Select(ctx, &left, fmt.Sprintf(`SELECT f.model AS model, any(c.counted) AS from, count() AS n
FROM %[1]s.feedback AS f INNER JOIN (SELECT model, max(stored_to) AS counted FROM %[1]s.label_counts WHERE stored_to >= %[2]s GROUP BY model) AS c ON c.model = f.model
WHERE f.stored_at >= %[2]s AND f.stored_at < %[3]s AND f.stored_at >= c.counted GROUP BY model ORDER BY model`,
		c.store.database, since, schemas.SecondsSQL(to.Unix()))); err != nil {
		return fmt.Errorf("read which labels were left uncounted: %w", err)
	}
	waiting := map[string]waitingLabels{}
	for _, l := range left {
		waiting[l.Model] = waitingLabels{from: l.From.UTC(), labels: l.Labels}
	}
	c.to, c.waiting = to, waiting
	return nil
}

// arrived returns the labels that wait to be counted, by model, with those that have come up to a
// time, and the counts of those that have come of models that are not known.
func (c *LabelCounter) arrived(ctx context.Context, to time.Time) (map[string]waitingLabels, []schemas.LabelCount, error) {
	var models []struct {
		Model  string `ch:"model"`
		Known  bool   `ch:"known"`
		Labels uint64 `ch:"n"`
	}
	if err := c.store.conn.Select(ctx, &models, fmt.Sprintf(
		"SELECT f.model AS model, f.model IN (SELECT model FROM %[1]s.model_versions) AS known, count() AS n FROM %[1]s.feedback AS f WHERE %[2]s GROUP BY model ORDER BY model",
		c.store.database, storedIn(c.to, to))); err != nil {
		return nil, nil, fmt.Errorf("read of which models labels came: %w", err)
	}
	waiting := map[string]waitingLabels{}
	maps.Copy(waiting, c.waiting)
	var unknown []schemas.LabelCount
	for _, m := range models {
		if !m.Known {
			unknown = append(unknown, schemas.LabelCount{Model: m.Model, Reason: string(schemas.LabelUnknownModel), StoredFrom: c.to, StoredTo: to, Labels: m.Labels})
			continue
		}
		w, there := waiting[m.Model]
		if !there {
			w.from = c.to
		}
		w.labels += m.Labels
		waiting[m.Model] = w
	}
	return waiting, unknown, nil
}

// storedIn is the condition of a label, of feedback as f, that was stored in a span.
func storedIn(from, to time.Time) string {
	return fmt.Sprintf("f.stored_at >= %s AND f.stored_at < %s", schemas.SecondsSQL(from.Unix()), schemas.SecondsSQL(to.Unix()))
}

// usableByAny is the condition of a label that the target of any version of a model can use. Where
// no version has a target, every label is.
func usableByAny(model string, manifests []*schemas.Manifest) string {
	var conditions []string
	for _, m := range manifests {
		if m.Name == model && m.Target != nil && !slices.Contains(conditions, usable(m.Target)) {
			conditions = append(conditions, usable(m.Target))
		}
	}
	if len(conditions) == 0 {
		return "1"
	}
	return "(" + strings.Join(conditions, " OR ") + ")"
}

type labelReason struct {
	Reason string `ch:"reason"`
	Labels uint64 `ch:"n"`
}

// labelReasons counts the labels of a model that were stored in a span by what became of them, and
// says how far back it has looked for their requests. usable is the condition of a label that
// counts, if no other does.
func (s *Store) labelReasons(ctx context.Context, model, usable string, from, to time.Time) ([]labelReason, time.Duration, error) {
	feedback := fmt.Sprintf("%s.feedback AS f WHERE f.model = %s", s.database, quote(model))
	stored := storedIn(from, to)
	ids := fmt.Sprintf("SELECT f.request_id FROM %s AND %s", feedback, stored)
	for back := firstLook; ; back *= 4 {
		all, scored := back > wholeLook, ""
		if !all {
			scored = " AND scored_at >= " + instant(to.Add(-back))
		}
		var reasons []labelReason
		if err := s.conn.Select(ctx, &reasons, fmt.Sprintf(`SELECT multiIf(g.request_id NOT IN (SELECT request_id FROM %[1]s WHERE request_id IN (%[2]s)%[3]s), '%[4]s', NOT g.usable, '%[5]s', g.place < l.last, '%[6]s', '%[7]s') AS reason, count() AS n
FROM (SELECT f.request_id AS request_id, %[8]s AS place, %[9]s AS usable FROM %[10]s AND %[11]s) AS g
INNER JOIN (SELECT f.request_id AS request_id, maxIf(%[8]s, %[9]s) AS last FROM %[10]s AND f.request_id IN (%[2]s) GROUP BY f.request_id) AS l ON l.request_id = g.request_id
GROUP BY reason ORDER BY reason`,
			s.database+"."+schemas.ObservationsTable(model), ids, scored,
			schemas.LabelUnknownRequest, schemas.LabelUnusable, schemas.LabelSuperseded, schemas.LabelCounts, labelOrder, usable, feedback, stored)); err != nil {
			return nil, 0, fmt.Errorf("read what became of labels of %s: %w", model, err)
		}
		if all || !slices.ContainsFunc(reasons, func(r labelReason) bool { return r.Reason == string(schemas.LabelUnknownRequest) }) {
			return reasons, back, nil
		}
	}
}
