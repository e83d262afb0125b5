package clickhouse

import (
	"net"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
	"github.com/millrace/millrace/schemas/observe"
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
	r := observe.NewReader()
	var stream net.Buffers
	for i := range records {
		s, messages, err := r.Read(&records[i], func(schemas.Coordinates, int64) {})
		require.NoError(tb, err)
		if i == 0 {
			stream = append(stream, s.Message())
		}
		stream = append(stream, messages)
	}
	return append(stream, arrowipc.AppendEnd(nil))
}

// Verify looks for the rows of the records as after their insert.
func (s *Store) Verify(tb testing.TB, records []schemas.Record) error {
	tb.Helper()
	c := &call{Store: s}
	for i := range records {
		o, p, err := s.split(&records[i])
		require.NoError(tb, err)
		err = c.verify(tb.Context(), schemas.ObservationsTable(o.Model), observationPlaces, o.Version, &p.extent, func() ([]schemas.Coordinates, error) {
			var places []schemas.Coordinates
			err := o.Rows(p.messages, func(at schemas.Coordinates, _ int64) { places = append(places, at) })
			return places, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
