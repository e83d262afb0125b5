package clickhouse

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// Conn returns the client's connection.
func Conn(c *Client) driver.Conn { return c.conn }

// SetLogger replaces the client's logger.
func SetLogger(c *Client, log zerolog.Logger) { c.log = log }

// SetTimeouts sets how long answers to questions and inserts are waited for.
func SetTimeouts(c *Client, answer, insert time.Duration) {
	c.answerTimeout, c.insertTimeout = answer, insert
}

// Splice returns the stream that the records, all of one schema, are inserted as.
func Splice(tb testing.TB, records []schemas.Record) net.Buffers {
	tb.Helper()
	s := &Store{layouts: map[string]*layout{}, mem: memory.DefaultAllocator}
	var stream net.Buffers
	for i := range records {
		l, p, err := s.split(&records[i])
		require.NoError(tb, err)
		if i == 0 {
			stream = append(stream, l.message)
		}
		stream = append(stream, p.messages)
	}
	return append(stream, endOfStream)
}

// Verify looks for the rows of the records as after their insert.
func (s *Store) Verify(tb testing.TB, records []schemas.Record) error {
	tb.Helper()
	c := &call{Store: s}
	for i := range records {
		l, p, err := s.split(&records[i])
		require.NoError(tb, err)
		err = c.verify(tb.Context(), schemas.ObservationsTable(l.model), observationPlaces, l.version, &p.extent, func() ([]place, error) {
			var places []place
			_, err := l.places(p.messages, func(at place, _ int64) { places = append(places, at) })
			return places, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// SchemaBytes returns how many bytes of the record its schema message is.
func SchemaBytes(tb testing.TB, r *schemas.Record) int {
	tb.Helper()
	m, _, err := splitSchema(r.Value)
	require.NoError(tb, err)
	return len(m.raw)
}

// Damage calls fn with the stored bytes of a buffer of the record's first column of that
// name, on a copy.
func Damage(tb testing.TB, r *schemas.Record, column string, buffer int, fn func(stored []byte)) {
	tb.Helper()
	r.Value = slices.Clone(r.Value)
	m, rest, err := splitSchema(r.Value)
	require.NoError(tb, err)
	l, err := newLayout(m)
	require.NoError(tb, err)
	at := slices.IndexFunc(l.fields, func(f fieldLayout) bool { return f.name == column })
	_, err = l.walk(rest, nil, func(b *batch) error {
		fn(b.stored(l.fields[at].buffer + buffer))
		return nil
	})
	require.NoError(tb, err)
}

// What split_test.go needs.
var (
	EndOfStream  = endOfStream
	CheckContent = checkContent
)

// Split is what Store does to the bytes of an observation record.
func Split(value []byte) (message, messages []byte, rows []schemas.Coordinates, err error) {
	schema, rest, err := splitSchema(value)
	if err != nil {
		return nil, nil, nil, err
	}
	l, err := newLayout(schema)
	if err != nil {
		return nil, nil, nil, err
	}
	messages, err = l.places(rest, func(p place, _ int64) {
		rows = append(rows, schemas.Coordinates{TopicID: p.topic, Partition: p.partition, Offset: p.offset, Row: p.row})
	})
	return l.message, messages, rows, err
}

// SplitAllocs returns the allocations for a record of a schema that is known.
func SplitAllocs(tb testing.TB, value []byte) float64 {
	tb.Helper()
	s := &Store{layouts: map[string]*layout{}}
	r := schemas.Record{Value: value}
	return testing.AllocsPerRun(10, func() {
		_, _, err := s.split(&r)
		require.NoError(tb, err)
	})
}
