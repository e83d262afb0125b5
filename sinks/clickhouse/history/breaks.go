package history

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Now reads the server's clock, by which stored_at is.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	var rows []struct {
		At time.Time `ch:"at"`
	}
	if err := s.conn.Select(ctx, &rows, "SELECT now64(6, 'UTC') AS at"); err != nil {
		return time.Time{}, fmt.Errorf("read the clock of clickhouse: %w", err)
	}
	if len(rows) == 0 {
		return time.Time{}, nil
	}
	return rows[0].At.UTC(), nil
}

// Started reads from minute_states in which minute the oldest row of a version was scored that is
// kept; the zero time: there is none.
func (s *Store) Started(ctx context.Context, m *schemas.Manifest) (time.Time, error) {
	var rows []struct {
		At time.Time `ch:"at"`
		N  uint64    `ch:"n"`
	}
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf("SELECT min(minute) AS at, count() AS n FROM %s.minute_states WHERE %s", s.database, of(m))); err != nil {
		return time.Time{}, fmt.Errorf("read when version %s of %s began: %w", m.Version, m.Name, err)
	}
	if len(rows) == 0 || rows[0].N == 0 {
		return time.Time{}, nil
	}
	return rows[0].At.UTC(), nil
}

// RowsSince reads the answered rows of a version beyond a position, in the order of topic id,
// partition, offset and row, with the values of columns, which are numbers and bools.
//
// A recorder stores the rows of a partition in the order of their offsets where they came through
// one partition of the observations topic. Rows of several may become visible in any order: what
// is below the position by then is not returned.
func (s *Store) RowsSince(ctx context.Context, m *schemas.Manifest, columns []string, want profile.RowsAfter) ([]profile.Item, error) {
	t := s.rowsOf(m)
	values := make([]string, len(columns))
	for i, c := range columns {
		values[i] = "ifNull(toFloat64(" + column(c) + "), nan)"
	}
	var beyond strings.Builder
	for _, c := range want.Position {
		fmt.Fprintf(&beyond, " AND NOT (request_topic_id = %s AND request_partition = %d AND (request_offset, request_row) <= (%d, %d))", quote(topicText(c.TopicID)), c.Partition, c.Offset, c.Row)
	}
	var rows []struct {
		TopicID   string    `ch:"topic"`
		Partition int32     `ch:"part"`
		Offset    int64     `ch:"place"`
		Row       int32     `ch:"at_row"`
		EventTime time.Time `ch:"at"`
		Values    []float64 `ch:"xs"`
	}
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf(
		"SELECT request_topic_id AS topic, request_partition AS part, request_offset AS place, request_row AS at_row, event_time AS at, [%s] AS xs FROM %s"+
			" WHERE version = %s AND outcome = %s AND stored_at BETWEEN %s AND %s%s ORDER BY topic, part, place, at_row LIMIT %d BY topic, part",
		strings.Join(values, ", "), t.observations(), quote(t.version), quote(schemas.OutcomeOK),
		schemas.SecondsSQL(want.StoredFrom.Unix()), schemas.SecondsSQL(want.StoredTo.Unix()), beyond.String(), max(want.Limit, 1))); err != nil {
		return nil, fmt.Errorf("read values of %s: %w", t.observations(), err)
	}
	out := make([]profile.Item, len(rows))
	for i, r := range rows {
		topic, err := parseTopic(r.TopicID)
		if err != nil {
			return nil, fmt.Errorf("topic id of a row of %s: %w", t.observations(), err)
		}
		out[i] = profile.Item{
			At:        schemas.Coordinates{TopicID: topic, Partition: r.Partition, Offset: r.Offset, Row: r.Row},
			EventTime: r.EventTime.UTC(), Values: r.Values,
		}
	}
	return out, nil
}

// topicText is the id of a topic as it is stored: empty where the broker knew none.
func topicText(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}

func parseTopic(text string) (uuid.UUID, error) {
	if text == "" {
		return uuid.Nil, nil
	}
	return uuid.Parse(text) //nolint:wrapcheck // the caller says whose it is
}

// BreakState reads how far the detectors of a version's breaks are; false where nothing is kept.
func (s *Store) BreakState(ctx context.Context, m *schemas.Manifest) (schemas.BreakState, bool, error) {
	var rows []schemas.BreakState
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf("SELECT %s FROM %s.break_states WHERE %s ORDER BY number DESC LIMIT 1",
		columns[schemas.BreakState](), s.database, of(m))); err != nil {
		return schemas.BreakState{}, false, fmt.Errorf("read the state of breaks: %w", err)
	}
	if len(rows) == 0 {
		return schemas.BreakState{}, false, nil
	}
	return rows[0], true, nil
}

// WriteBreakState keeps how far the detectors of a version are, as one insert.
func (s *Store) WriteBreakState(ctx context.Context, b schemas.BreakState) error {
	if err := s.conn.InsertRows(ctx, "break_states", []schemas.BreakState{b}); err != nil {
		return fmt.Errorf("write the state of breaks of %s version %s: %w", b.Model, b.Version, err)
	}
	return nil
}
