package history

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// LabelDelays says of windows, whose starts ascend, how long after the event time of a row its first
// usable label became known (observed_at), over the requests that LabelStates counts. There is an
// answer for each start; of a window without labels it is zero.
func (s *Store) LabelDelays(ctx context.Context, m *schemas.Manifest, starts []time.Time) ([]profile.LabelDelays, error) {
	if len(starts) == 0 {
		return nil, nil
	}
	if steps(m) != nil {
		return apart(m, starts, func(m *schemas.Manifest, starts []time.Time) ([]profile.LabelDelays, error) {
			return s.LabelDelays(ctx, m, starts)
		})
	}
	t := s.rowsOf(m)
	q := qualityCount{t: t, span: t.span(starts), starts: starts}
	where := t.where(q.span) + t.only(q.span, starts) + " AND " + predicted(m.Target)
	var rows []struct {
		Window uint32  `ch:"w"`
		Labels uint64  `ch:"n"`
		Delays []int64 `ch:"delays"`
	}
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf("SELECT o.`0w` AS w, count() AS n, quantilesExact(0.5, 0.9, 0.99, 1)(toUnixTimestamp64Micro(l.known) - o.`0e`) AS delays\n"+
		"FROM (\n"+
		"  SELECT request_id, toUInt32(%[1]s) AS `0w`, argMin(toUnixTimestamp64Micro(event_time), (request_topic_id, request_partition, request_offset, request_row)) AS `0e`\n"+
		"  FROM %[2]s WHERE %[3]s GROUP BY request_id, `0w`\n"+
		") AS o INNER JOIN (\n"+
		"  SELECT f.request_id AS request_id, min(f.observed_at) AS known FROM %[4]s.feedback AS f\n"+
		"  WHERE f.model = %[5]s AND %[6]s AND f.request_id IN (SELECT request_id FROM %[2]s WHERE %[3]s) GROUP BY f.request_id\n"+
		") AS l ON l.request_id = o.request_id GROUP BY w ORDER BY w",
		t.index(q.span.Start), t.observations(), where, t.database, quote(t.model), usable(m.Target))); err != nil {
		return nil, fmt.Errorf("read the delay of the labels of %s version %s: %w", t.observations(), t.version, err)
	}
	out := make([]profile.LabelDelays, len(starts))
	for _, r := range rows {
		at, err := q.index(r.Window)
		if err != nil {
			return nil, fmt.Errorf("delay of labels: %w", err)
		}
		of := func(k int) time.Duration { return time.Duration(r.Delays[k]) * time.Microsecond }
		out[at] = profile.LabelDelays{Labels: r.Labels, Median: of(0), P90: of(1), P99: of(2), Longest: of(3)}
	}
	return out, nil
}
