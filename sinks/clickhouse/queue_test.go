package clickhouse_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

// The view of the minutes of an earlier release fails on a column that can be NULL, and with it every
// insert. So it is changed before the column is.
func TestViewsTakeNullBeforeColumnsDo(t *testing.T) {
	storage := schemas.Storage{Database: clickhousetest.NewDatabase(t), TTLDays: 30}
	require.NoError(t, datedTables(t, storage).Migrate(t.Context()))
	seen := &statements{}
	m := observetest.Manifest("flights", "v1")
	require.NoError(t, through(t, storage, seen).EnsureTable(t.Context(), m.ObservationSchema()))
	at := func(words string) int {
		return slices.IndexFunc(seen.changes(), func(statement string) bool { return strings.Contains(statement, words) })
	}
	require.Positive(t, at("MODIFY COLUMN `queue_us`"))
	require.True(t, at("MODIFY QUERY") >= 0 && at("MODIFY QUERY") < at("MODIFY COLUMN `queue_us`"))
}

// Tables of an earlier release take NULL for a queue_us that nobody knows: column, view of the minutes and
// predictions follow when the first such rows come, and rows of an earlier worker go on to be stored.
func TestQueueTimesThatAreNotKnownAreNull(t *testing.T) {
	storage := schemas.Storage{Database: clickhousetest.NewDatabase(t), TTLDays: 30}
	c := datedTables(t, storage)
	require.NoError(t, c.Migrate(t.Context()))
	m, s := observetest.Manifest("flights", "v1"), storetest.New(t, c)
	offset, rows := int64(0), int64(0)
	minute := time.Now().UTC().Truncate(time.Minute).Add(-time.Hour)
	put := func(b observetest.Batch) {
		t.Helper()
		b.Manifest, b.Offset, b.ScoredAt, b.Rows = m, rows, minute.Add(time.Duration(offset)*time.Minute), 100
		_, err := s.Store(t.Context(), []schemas.Record{observetest.Observations(t, offset, b)}, false)
		require.NoError(t, err)
		offset, rows = offset+1, rows+int64(b.Rows)
	}
	count := func(query string) uint64 { t.Helper(); return clickhousetest.Count(t, c, "SELECT "+query) }
	put(observetest.Batch{Earlier: true})
	require.Equal(t, "Int64", columnType(t, c, "queue_us"))
	const stored = "sum(cityHash64(request_offset, queue_us, stored_at)) AS n FROM {db}.observations_flights WHERE request_offset < 100"
	before := count(stored)
	put(observetest.Batch{Timed: 3})
	require.Equal(t, "Nullable(Int64)", columnType(t, c, "queue_us"))
	put(observetest.Batch{Timed: 1000})
	put(observetest.Batch{Earlier: true})
	put(observetest.Batch{})
	// The engine takes rows of the first part for NULL until they are written anew, which is done beside.
	for count("count() AS n FROM system.mutations WHERE database = '{db}' AND NOT is_done") > 0 {
		time.Sleep(5 * time.Millisecond)
	}
	for _, table := range []string{"observations_flights", "predictions"} {
		require.EqualValues(t, 66+99, count("countIf(queue_us IS NULL) AS n FROM {db}."+table), table)
	}
	require.Equal(t, before, count(stored))
	require.EqualValues(t, 500, count("sum(requests) AS n FROM {db}.minute_statistics"))
	// Of most rows of the second minute it is not known, and of all but one of the third.
	require.EqualValues(t, 5, count("countIf(queue_quantiles_us[1] >= 1000) AS n FROM {db}.minute_statistics"))
	repaired, err := c.Reconcile(t.Context(), "flights", minute.Add(-time.Minute), time.Now())
	require.NoError(t, err)
	require.Zero(t, repaired)
	storetest.RequireExact(t, c, int(rows))
}
