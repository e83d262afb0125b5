package history

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// labelOrder orders the labels of a request; the greatest counts. A label that became known
// later corrects one that was known before, whichever partition it came through: offsets of
// different partitions are not comparable. Of labels that became known at the same time, the
// one with the later Kafka timestamp counts; coordinates decide between the others, so that
// every query finds the same one. The comment on the table feedback says it to analysts
// (migration 4).
const labelOrder = "(f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)"

// latestLabels selects request_id, label and label_class of the labels that count: of each
// request, the last of those that satisfy usable, a condition on the columns of feedback,
// which is called f. ids is a query of request ids; feedback is read by its primary key
// (model, request_id).
func (t versionRows) latestLabels(usable, ids string) string {
	return fmt.Sprintf("SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), %[1]s) AS `0last`).1 AS label, `0last`.2 AS label_class"+
		" FROM %[2]s.feedback AS f WHERE f.model = %[3]s AND %[4]s AND f.request_id IN (%[5]s) GROUP BY f.request_id",
		labelOrder, t.database, quote(t.model), usable, ids)
}

// LabelsNoted reads up to which stored_at the labels of a version have been looked at; the
// zero time: never.
func (s *Store) LabelsNoted(ctx context.Context, m *schemas.Manifest) (time.Time, error) {
	var rows []struct {
		At time.Time `ch:"at"`
	}
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf("SELECT looked_at AS at FROM %s.label_looks FINAL WHERE %s", s.database, ofWindows(m))); err != nil {
		return time.Time{}, fmt.Errorf("read how far labels were looked at: %w", err)
	}
	if len(rows) == 0 {
		return time.Time{}, nil
	}
	return rows[0].At.UTC(), nil
}

// NoteLabels keeps up to which stored_at the labels of a version have been looked at.
func (s *Store) NoteLabels(ctx context.Context, m *schemas.Manifest, at time.Time) error {
	rows := []struct {
		Model   string    `ch:"model"`
		Version string    `ch:"version"`
		At      time.Time `ch:"looked_at"`
		Kind    string    `ch:"window_kind"`
	}{{m.Name, m.Version, at, m.WindowKind()}}
	if err := s.conn.InsertRows(ctx, "label_looks", rows); err != nil {
		return fmt.Errorf("note how far labels were looked at: %w", err)
	}
	return nil
}

// LabelArrivals reads when the labels of a model were stored that were stored from since on,
// oldest first. Where since is zero it returns one arrival that stands for all, at the time of
// the newest. Parts that hold nothing so new are not read: stored_at is their partition key.
func (s *Store) LabelArrivals(ctx context.Context, m *schemas.Manifest, since time.Time) ([]profile.LabelArrival, error) {
	at, where, group := "max(stored_at)", "", " HAVING count() > 0"
	if !since.IsZero() {
		at, where, group = "stored_at", " AND stored_at >= "+schemas.SecondsSQL(since.Unix()), " GROUP BY at ORDER BY at"
	}
	var rows []struct {
		At    time.Time `ch:"at"`
		State uint64    `ch:"state"`
	}
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf(
		"SELECT %s AS at, sum(cityHash64(feedback_topic_id, feedback_partition, feedback_offset)) AS state FROM %s.feedback WHERE model = %s%s%s",
		at, s.database, quote(m.Name), where, group)); err != nil {
		return nil, fmt.Errorf("look for labels of %s: %w", m.Name, err)
	}
	out := make([]profile.LabelArrival, len(rows))
	for i, r := range rows {
		out[i] = profile.LabelArrival{StoredAt: r.At.UTC(), State: r.State}
	}
	return out, nil
}

// LabelledWindows finds the requests of the labels that were stored from since on among the rows
// from the window on that starts at from. It returns the windows, oldest first, in which requests
// lie that the version has answered, those that are not closed too, and whether it has found all
// requests, those that another version answered included. Of each row it reads no more than the
// request id and what selects it.
func (s *Store) LabelledWindows(ctx context.Context, m *schemas.Manifest, from, since time.Time) ([]time.Time, bool, error) {
	if step := steps(m); step != nil {
		found, all, err := s.LabelledWindows(ctx, step, from, since)
		return windowsOfSteps(found, m.Monitoring.Window.Std(), m.Monitoring.Step()), all, err
	}
	t := s.rowsOf(m)
	labels := fmt.Sprintf("FROM %s.feedback AS f WHERE f.model = %s AND f.stored_at >= %s AND %s",
		t.database, quote(t.model), schemas.SecondsSQL(since.Unix()), usable(m.Target))
	var found []struct {
		Windows []int64 `ch:"ws"`
		All     bool    `ch:"found_all"`
	}
	if err := s.conn.Select(ctx, &found, fmt.Sprintf(
		"SELECT arraySort(groupUniqArrayIf(toInt64(%[1]s), version = %[2]s AND outcome = %[3]s)) AS ws, uniqExact(request_id) >= (SELECT uniqExact(f.request_id) %[6]s) AS found_all FROM %[4]s WHERE event_time >= %[5]s AND request_id IN (SELECT f.request_id %[6]s)",
		t.index(from), quote(t.version), quote(schemas.OutcomeOK), t.observations(), instant(from), labels)); err != nil {
		return nil, false, fmt.Errorf("find the requests of labels in %s: %w", t.observations(), err)
	}
	if len(found) == 0 {
		return nil, true, nil
	}
	starts := make([]time.Time, len(found[0].Windows))
	for i, w := range found[0].Windows {
		starts[i] = from.Add(time.Duration(w) * t.window)
	}
	return starts, found[0].All, nil
}

// LabelStates returns for each window how many of its requests have a prediction and a label, and a
// number that depends on which label that is. starts are the starts of windows. It takes a query for each: one of many
// windows has to join rows and labels, which took 1.8 times the CPU.
func (s *Store) LabelStates(ctx context.Context, m *schemas.Manifest, starts []time.Time) ([]profile.LabelState, error) {
	t := s.rowsOf(m)
	out := make([]profile.LabelState, len(starts))
	for i, start := range starts {
		var rows []struct {
			Labels uint64 `ch:"n"`
			State  uint64 `ch:"state"`
		}
		ids := fmt.Sprintf("SELECT request_id FROM %s WHERE %s AND %s", t.observations(), t.where(profile.Span{Start: start, End: start.Add(t.window)}), predicted(m.Target))
		if err := s.conn.Select(ctx, &rows, fmt.Sprintf("SELECT count() AS n, sum(cityHash64(request_id, ifNull(label, 0), label_class)) AS state FROM (%s)",
			t.latestLabels(usable(m.Target), ids))); err != nil {
			return nil, fmt.Errorf("read which labels of %s version %s count: %w", t.observations(), t.version, err)
		}
		if len(rows) == 1 {
			out[i] = profile.LabelState{Labels: rows[0].Labels, State: rows[0].State}
		}
	}
	return out, nil
}
