package history_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// What the monitor asks is answered the same where observations and minutes are read through the
// Distributed tables of a cluster with shards. By default ClickHouse refuses queries that would
// join two of them.
func TestDistributedTablesAnswerTheSame(t *testing.T) {
	c := newClocked(t)
	for h := range 3 {
		c.Label(c.Hour(h, 300, h%2), 5, h != 1)
	}
	start := historytest.Start
	span := profile.Span{Start: start, End: start.Add(3 * time.Hour)}
	starts := []time.Time{start, start.Add(time.Hour), start.Add(2 * time.Hour)}
	store := history.New(c, c.Database())
	answers := func() (all []any) {
		keep := func(v any, err error) {
			t.Helper()
			require.NoError(t, err)
			all = append(all, v)
		}
		rows, err := store.CountRows(t.Context(), c.Manifest, span, historytest.WallClock.Add(-time.Hour))
		keep(rows, err)
		cells, err := store.CountCells(t.Context(), c.Manifest, c.Reference, starts)
		keep(cells, err)
		quality, err := store.CountQuality(t.Context(), c.Manifest, starts)
		keep(quality, err)
		states, err := store.LabelStates(t.Context(), c.Manifest, starts)
		keep(states, err)
		windows, found, err := store.LabelledWindows(t.Context(), c.Manifest, start, time.Unix(0, 0))
		keep(windows, err)
		keep(found, nil)
		since, err := store.LabelledSince(t.Context(), c.Manifest, profile.LabelsAfter{StoredFrom: time.Unix(0, 0), ScoredFrom: time.Unix(0, 0), Limit: 1000})
		for i := range since {
			if math.IsNaN(since[i].Error) {
				since[i].Error = -1 // equal to itself
			}
		}
		require.NotEmpty(t, since)
		keep(since, err)
		ref, err := store.MakeReference(t.Context(), c.Manifest, []profile.Span{span})
		keep(ref, err)
		progress, err := store.Progress(t.Context(), []string{"shop"}, time.Time{})
		keep(len(progress), err)
		for _, sql := range []string{store.RowsSQL(c.Manifest, span), store.TrainingSQL(c.Manifest, span), store.LabelledSQL(c.Manifest, span)} {
			var n []struct {
				Rows uint64 `ch:"n"`
			}
			keep(n, c.Select(t.Context(), &n, "SELECT count() AS n FROM ("+sql+")"))
			all[len(all)-1] = n
		}
		return all
	}
	want := answers()
	l := schemas.Layout{Cluster: clickhousetest.OneShard, Sharded: true, Shared: true} // Shared: no ON CLUSTER, which the engine lacks
	for _, table := range []string{schemas.ObservationsTable("shop"), "minute_states"} {
		require.NoError(t, c.Exec(t.Context(), "RENAME TABLE "+c.Database()+"."+table+" TO "+c.Database()+"."+l.LocalTable(table)))
		require.NoError(t, c.Exec(t.Context(), l.DistributedDDL(c.Database(), table)))
	}
	require.Equal(t, want, answers())
	require.EqualValues(t, 900, clickhousetest.Count(t, c.Client, "SELECT sum(requests) AS n FROM {db}.minute_statistics"))
	require.EqualValues(t, 900, clickhousetest.Count(t, c.Client, "SELECT count() AS n FROM {db}.predictions"))
	require.EqualValues(t, 900, clickhousetest.Count(t, c.Client, "SELECT countIf(stored_at > toDateTime(0, 'UTC')) AS n FROM {db}.observations_shop"))
	c.now = time.Now().Add(11 * time.Minute) // the server's clock stamped the labels
	require.EqualValues(t, len(c.Labels), c.counted(t, history.NewLabelCounter(store))["shop counts"])
}
