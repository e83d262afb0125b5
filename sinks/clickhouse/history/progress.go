package history

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
)

// Progress reads from minute_states how far the request partitions of models have come, by
// version, in the minutes from since on; the zero time is the beginning.
func (s *Store) Progress(ctx context.Context, models []string, since time.Time) ([]schemas.PartitionProgress, error) {
	var list []string
	for _, m := range models {
		list = append(list, quote(m))
	}
	from := ""
	if !since.IsZero() {
		from = fmt.Sprintf(" AND minute >= toDateTime(%d, 'UTC')", since.Unix())
	}
	// States that were written before these left out event times in the future may hold one.
	var rows []schemas.PartitionProgress
	err := s.conn.Select(ctx, &rows, fmt.Sprintf(`SELECT model, version, request_topic_id, request_partition,
  maxIf(event_time_max, event_time_max != toDateTime64(0, 6, 'UTC') AND event_time_max <= scored_at_max + INTERVAL 1 HOUR) AS event_time,
  max(scored_at_max) AS scored_at, max(minute) AS newest, sum(minute_states.requests) AS requests
FROM %s.minute_states WHERE model IN (%s)%s
GROUP BY model, version, request_topic_id, request_partition`, s.database, strings.Join(list, ", "), from))
	if err != nil {
		return nil, fmt.Errorf("read the progress of request partitions: %w", err)
	}
	for i := range rows { // 1970 is the answer of maxIf where no state has a usable event time
		if rows[i].EventTime.UnixMicro() == 0 {
			rows[i].EventTime = time.Time{}
		}
	}
	return rows, nil
}
