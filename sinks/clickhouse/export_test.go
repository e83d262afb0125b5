package clickhouse

import (
	"net"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// Conn returns the client's connection.
func Conn(c *Client) driver.Conn { return c.conn }

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
