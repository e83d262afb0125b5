package clickhouse_test

import (
	"testing"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
)

// newStore returns a store whose memory the test's end checks.
func newStore(tb testing.TB, c *clickhouse.Client) *clickhouse.Store {
	tb.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	tb.Cleanup(func() { mem.AssertSize(tb, 0) })
	return clickhouse.NewStore(c, schemas.DefaultTopics(), mem)
}

// observations returns n records of rows rows each, of one partition, one after another.
func observations(tb testing.TB, m *schemas.Manifest, n, rows int, opts ...ipc.Option) []schemas.Record {
	tb.Helper()
	records := make([]schemas.Record, n)
	for i := range records {
		records[i] = clickhousetest.Observations(tb, int64(i), clickhousetest.Batch{
			Manifest: m, Rows: rows, Partition: int32(i % 3), Offset: int64(i * rows), Failed: 100,
		}, opts...)
	}
	return records
}

func TestStoreSplices(t *testing.T) {
	for name, opts := range map[string][]ipc.Option{
		"uncompressed": nil, "lz4": {ipc.WithLZ4()}, "zstd": {ipc.WithZstd()},
	} {
		t.Run(name, func(t *testing.T) {
			c := clickhousetest.Client(t)
			s := newStore(t, c)
			records := observations(t, clickhousetest.Manifest("flights", "v1"), 25, 4000, opts...)
			stats, err := s.Store(t.Context(), records, false)
			require.NoError(t, err)
			require.Equal(t, 100_000, stats.Observations)
			require.Equal(t, 1, stats.Inserts)
			require.EqualValues(t, 100_000, clickhousetest.Count(t, c, "SELECT uniqExact(request_partition, request_offset) AS n FROM {db}.observations_flights"))
			require.EqualValues(t, 100_000, clickhousetest.Count(t, c, "SELECT sum(requests) AS n FROM {db}.minute_statistics"))
		})
	}
}
