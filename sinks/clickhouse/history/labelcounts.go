package history

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace/millrace/schemas"
)

// labelSettling is how long after a label was stored it is counted: its request, which may take
// another way, is stored by then.
const labelSettling = 10 * time.Minute

// CountLabels counts what became of the labels that were stored since it was called last, but
// for those of the last ten minutes, keeps it in label_counts and returns it. Whoever ends in
// between leaves nothing behind that is counted twice. The first call goes back a day.
func (s *Store) CountLabels(ctx context.Context) ([]schemas.LabelCount, error) {
	var spans []struct {
		From time.Time `ch:"from"`
		To   time.Time `ch:"to"`
	}
	if err := s.conn.Select(ctx, &spans, fmt.Sprintf(
		"SELECT now('UTC') - INTERVAL %d SECOND AS to, if(count() = 0, now('UTC') - INTERVAL 1 DAY, max(stored_to)) AS from FROM %s.label_counts",
		int(labelSettling.Seconds()), s.database)); err != nil {
		return nil, fmt.Errorf("read how far labels were counted: %w", err)
	}
	if len(spans) == 0 || !spans[0].From.Before(spans[0].To) {
		return nil, nil
	}
	from, to := spans[0].From.UTC(), spans[0].To.UTC()
	stored := fmt.Sprintf("f.stored_at >= %s AND f.stored_at < %s", schemas.SecondsSQL(from.Unix()), schemas.SecondsSQL(to.Unix()))
	var models []struct {
		Model  string `ch:"model"`
		Known  bool   `ch:"known"`
		Labels uint64 `ch:"n"`
	}
	if err := s.conn.Select(ctx, &models, fmt.Sprintf(
		"SELECT f.model AS model, f.model IN (SELECT model FROM %[1]s.model_versions) AS known, count() AS n FROM %[1]s.feedback AS f WHERE %[2]s GROUP BY model ORDER BY model",
		s.database, stored)); err != nil {
		return nil, fmt.Errorf("read of which models labels came: %w", err)
	}
	var out []schemas.LabelCount
	for _, m := range models {
		count := schemas.LabelCount{Model: m.Model, Reason: string(schemas.LabelUnknownModel), StoredFrom: from, StoredTo: to, Labels: m.Labels}
		if !m.Known {
			out = append(out, count)
			continue
		}
		reasons, err := s.labelReasons(ctx, m.Model, stored, to)
		if err != nil {
			return nil, err
		}
		for _, r := range reasons {
			count.Reason, count.Labels = r.Reason, r.Labels
			out = append(out, count)
		}
	}
	if len(out) > 0 {
		if err := s.conn.InsertRows(ctx, "label_counts", out); err != nil {
			return nil, fmt.Errorf("write what became of labels: %w", err)
		}
	}
	return out, nil
}

type labelReason struct {
	Reason string `ch:"reason"`
	Labels uint64 `ch:"n"`
}

// labelReasons counts the labels of a model that were stored in a span, which ends at to, by
// what became of them. It looks for their requests among the rows that were scored in the
// day before, then four times as far back, and so on until it has found all of them.
func (s *Store) labelReasons(ctx context.Context, model, stored string, to time.Time) ([]labelReason, error) {
	feedback := fmt.Sprintf("%s.feedback AS f WHERE f.model = %s", s.database, quote(model))
	ids := fmt.Sprintf("SELECT f.request_id FROM %s AND %s", feedback, stored)
	for back := 24 * time.Hour; ; back *= 4 {
		all, scored := back > 366*24*time.Hour, ""
		if !all {
			scored = " AND scored_at >= " + instant(to.Add(-back))
		}
		var reasons []labelReason
		if err := s.conn.Select(ctx, &reasons, fmt.Sprintf(`SELECT multiIf(g.request_id NOT IN (SELECT request_id FROM %[1]s WHERE request_id IN (%[2]s)%[3]s), '%[4]s', g.place < l.last, '%[5]s', '%[6]s') AS reason, count() AS n
FROM (SELECT f.request_id AS request_id, %[7]s AS place FROM %[8]s AND %[9]s) AS g
INNER JOIN (SELECT f.request_id AS request_id, max(%[7]s) AS last FROM %[8]s AND f.request_id IN (%[2]s) GROUP BY f.request_id) AS l ON l.request_id = g.request_id
GROUP BY reason ORDER BY reason`,
			s.database+"."+schemas.ObservationsTable(model), ids, scored,
			schemas.LabelUnknownRequest, schemas.LabelSuperseded, schemas.LabelCounts, labelOrder, feedback, stored)); err != nil {
			return nil, fmt.Errorf("read what became of labels of %s: %w", model, err)
		}
		found := true
		for _, r := range reasons {
			found = found && r.Reason != string(schemas.LabelUnknownRequest)
		}
		if found || all {
			return reasons, nil
		}
	}
}
