package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/store"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

func TestReplayOfNone(t *testing.T) {
	c := clickhousetest.Client(t)
	stats, err := storetest.New(t, c).Store(t.Context(), storetest.ReplayRecords(t), true)
	require.NoError(t, err)
	require.Equal(t, storetest.ReplayRows, stats.Observations)
	require.Zero(t, stats.Present)
	storetest.RequireExact(t, c, storetest.ReplayRows)
}

func TestReplayOfAll(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	records := storetest.ReplayRecords(t)
	_, err := s.Store(t.Context(), records, false)
	require.NoError(t, err)
	for range 2 {
		stats, err := s.Store(t.Context(), records, true)
		require.NoError(t, err)
		require.Equal(t, store.Stats{Present: storetest.ReplayRows}, stats)
	}
	storetest.RequireExact(t, c, storetest.ReplayRows)
}

func TestReplayOfPart(t *testing.T) {
	for name, opts := range map[string][]ipc.Option{"uncompressed": nil, "zstd": {ipc.WithZstd()}} {
		t.Run(name, func(t *testing.T) {
			c := clickhousetest.Client(t)
			s := storetest.New(t, c)
			records := storetest.ReplayRecords(t, opts...)
			_, err := s.Store(t.Context(), records[:8], false)
			require.NoError(t, err)
			// Of some records some rows are there, as after an insert over two days of
			// which one was lost.
			err = c.Exec(t.Context(), "DELETE FROM "+c.Database()+".observations_flights WHERE request_offset % 7 = 0 AND request_offset < 1000 OR request_offset = 1999")
			require.NoError(t, err)
			stored := int(clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.observations_flights"))
			require.Less(t, stored, 8*500)
			stats, err := s.Store(t.Context(), records, true)
			require.NoError(t, err)
			require.Equal(t, storetest.ReplayRows-stored, stats.Observations, "%+v", stats)
			require.Equal(t, stored, stats.Present)
			require.Equal(t, 2, stats.Inserts, "whole records, and the rest of others")
			require.Equal(t, 1, stats.Repaired)
			storetest.RequireExact(t, c, storetest.ReplayRows)
			// What was copied is what was there.
			whole := clickhousetest.Client(t)
			_, err = storetest.New(t, whole).Store(t.Context(), records, false)
			require.NoError(t, err)
			require.Zero(t, clickhousetest.Count(t, c, "SELECT count() AS n FROM (SELECT * FROM {db}.observations_flights EXCEPT SELECT * FROM "+whole.Database()+".observations_flights)"))
		})
	}
}

// A shadow version scores the same requests: its rows are others.
func TestReplayTellsVersionsApart(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	_, err := s.Store(t.Context(), storetest.ReplayRecords(t), false)
	require.NoError(t, err)
	shadow := storetest.Observations(t, observetest.Manifest("flights", "v2"), 12, 500)
	stats, err := s.Store(t.Context(), shadow, true)
	require.NoError(t, err)
	require.Equal(t, storetest.ReplayRows, stats.Observations)
	storetest.RequireMinutes(t, c)
}

// The view failed, or the process ended, between the row and its minute.
func TestReconcileRepairsMinutes(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	m := observetest.Manifest("flights", "v1")
	start := time.Date(2026, 11, 22, 23, 59, 0, 0, time.UTC) // over a day's end
	records := make([]schemas.Record, 6)
	for i := range records {
		records[i] = observetest.Observations(t, int64(i), observetest.Batch{
			Manifest: m, Rows: 500, Offset: int64(500 * i), Failed: 50, ScoredAt: start.Add(time.Duration(i) * 20 * time.Second),
		})
	}
	view := c.Database() + "." + schemas.MinuteViewName("flights")
	_, err := s.Store(t.Context(), records[:2], false)
	require.NoError(t, err)
	require.NoError(t, c.Exec(t.Context(), "DETACH TABLE "+view))
	_, err = s.Store(t.Context(), records[2:4], false)
	require.NoError(t, err)
	require.NoError(t, c.Exec(t.Context(), "ATTACH TABLE "+view))
	_, err = s.Store(t.Context(), records[4:], false)
	require.NoError(t, err)

	repaired, err := c.Reconcile(t.Context(), "flights", start, start)
	require.NoError(t, err)
	require.Equal(t, 1, repaired, "only the minute that was asked for")
	stats, err := s.Store(t.Context(), records, true)
	require.NoError(t, err)
	require.Equal(t, store.Stats{Present: 3000, Repaired: 1}, stats)
	storetest.RequireExact(t, c, 3000)

	// States without rows, and states counted twice.
	insert := "INSERT INTO {db}.minute_states (" + schemas.MinuteStatesColumns + ") SELECT " + schemas.MinuteStatesColumns + " FROM {db}.minute_states WHERE request_partition = 0"
	require.NoError(t, c.Exec(t.Context(), strings.ReplaceAll(insert, "{db}", c.Database())))
	repaired, err = c.Reconcile(t.Context(), "flights", start, start.Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, 2, repaired)
	storetest.RequireExact(t, c, 3000)
	repaired, err = c.Reconcile(t.Context(), "flights", start, start.Add(time.Hour))
	require.NoError(t, err)
	require.Zero(t, repaired)
	repaired, err = c.Reconcile(t.Context(), "unheard_of", start, start)
	require.NoError(t, err)
	require.Zero(t, repaired)
}

// The insert fails as a whole, and the caller repeats it.
func TestReplayAfterAnError(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	records := storetest.ReplayRecords(t)
	_, err := s.Store(t.Context(), records[:4], false)
	require.NoError(t, err)
	// The view cannot write: rows may be stored, their minutes are not.
	require.NoError(t, c.Exec(t.Context(), strings.ReplaceAll("RENAME TABLE {db}.minute_states TO {db}.hidden", "{db}", c.Database())))
	_, err = s.Store(t.Context(), records, true)
	require.Error(t, err)
	require.NoError(t, c.Exec(t.Context(), strings.ReplaceAll("RENAME TABLE {db}.hidden TO {db}.minute_states", "{db}", c.Database())))
	_, err = s.Store(t.Context(), records, true)
	require.NoError(t, err)
	storetest.RequireExact(t, c, storetest.ReplayRows)
	// Someone dropped the table under a running recorder.
	require.NoError(t, c.Exec(t.Context(), "DROP TABLE "+c.Database()+".observations_flights"))
	_, err = s.Store(t.Context(), records, false)
	require.ErrorContains(t, err, "insert 6000 rows into observations_flights")
	_, err = s.Store(t.Context(), records, true)
	require.NoError(t, err)
	storetest.RequireExact(t, c, storetest.ReplayRows)
}

// The client of an insert gave up while the server went on with it.
func TestReplayWaitsForRunningInserts(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.NewHasty(t, c)
	label := observetest.Record(schemas.DefaultTopics().Feedback, 0, nil, []byte(`{"model":"flights","request_id":"a","label":1}`))
	records := append(storetest.ReplayRecords(t), label)
	_, err := s.Store(t.Context(), records, false)
	require.NoError(t, err)
	exec := func(statement string) error {
		return c.Exec(t.Context(), strings.ReplaceAll(statement, "{db}", c.Database()))
	}
	var g errgroup.Group
	for _, table := range []string{"observations_flights", "feedback"} {
		require.NoError(t, exec("CREATE TABLE {db}.copy_"+table+" ENGINE = Memory AS SELECT * FROM {db}."+table))
		require.NoError(t, exec("TRUNCATE TABLE {db}."+table))
	}
	require.NoError(t, exec("TRUNCATE TABLE {db}.minute_states"))
	g.Go(func() error {
		return exec("INSERT INTO {db}.observations_flights SELECT * FROM {db}.copy_observations_flights WHERE sleepEachRow(0.0002) = 0")
	})
	g.Go(func() error {
		return exec("INSERT INTO {db}.feedback SELECT * FROM {db}.copy_feedback WHERE sleepEachRow(1) = 0")
	})
	require.Eventually(t, func() bool {
		return clickhousetest.Count(t, c, "SELECT count() AS n FROM system.processes WHERE query_kind = 'Insert' AND position(query, '{db}.copy') > 0") == 2
	}, 10*time.Second, 5*time.Millisecond)

	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = s.Store(short, records, true)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Zero(t, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.observations_flights"), "the inserts are over too early for this test")
	stats, err := s.Store(t.Context(), records, true)
	require.NoError(t, err)
	require.Equal(t, store.Stats{Present: storetest.ReplayRows}, stats)
	require.NoError(t, g.Wait())
	storetest.RequireExact(t, c, storetest.ReplayRows)
	require.EqualValues(t, 1, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.feedback"))
}

func TestVerifyFindsMissingRows(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	records := storetest.ReplayRecords(t)
	_, err := s.Store(t.Context(), records, false)
	require.NoError(t, err)
	require.NoError(t, s.Verify(t, records))
	require.NoError(t, c.Exec(t.Context(), "DELETE FROM "+c.Database()+".observations_flights WHERE request_offset = 777"))
	require.ErrorIs(t, s.Verify(t, records), clickhouse.ErrIncomplete)
	require.ErrorContains(t, s.Verify(t, records), "1 of 500 rows are not in observations_flights")
}
