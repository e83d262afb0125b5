package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

// monitored is the manifest of version v1 of flights with windows of an hour, and its reference.
func monitored() (*schemas.Manifest, *schemas.Reference) {
	m := observetest.Manifest("flights", "v1")
	m.Monitoring = &schemas.Monitoring{Window: schemas.Duration(time.Hour), Segments: []string{"origin"}}
	ref := &schemas.Reference{Columns: []schemas.ReferenceColumn{
		{Name: "f0", Edges: []float64{-1, 0, 250, 499.5, 750, 1e9}, Counts: make([]int64, 7)},
		{Name: "f3", Edges: []float64{500}, Counts: make([]int64, 2)},
		{Name: "origin", Categories: []string{"ATL", "LAX", "nowhere"}, Counts: make([]int64, 3)},
		{Name: "minute", Counts: []int64{}},
		{Name: "probability", Edges: []float64{0.1, 0.2, 0.3, 0.5, 0.9}, Counts: make([]int64, 6)},
	}}
	return m, ref
}

// plan keeps the plan of monitored.
func plan(t *testing.T, c *clickhouse.Client) {
	t.Helper()
	m, ref := monitored()
	changed, err := history.NewProfiler(c, c.Database()).Plan(t.Context(), m, ref)
	require.NoError(t, err)
	require.True(t, changed)
	changed, err = history.NewProfiler(c, c.Database()).Plan(t.Context(), m, ref)
	require.NoError(t, err)
	require.False(t, changed)
}

// requireProfiled compares the profiles of the hours from 2001 on with the rows, and says of which
// the rows were taken from the profile.
func requireProfiled(t *testing.T, c *clickhouse.Client, want ...bool) {
	t.Helper()
	m, ref := monitored()
	s := history.New(c, c.Database())
	var starts []time.Time
	for i := range want {
		starts = append(starts, time.Date(2001, 1, 1, i, 0, 0, 0, time.UTC))
	}
	got, err := s.CountCells(t.Context(), m, ref, starts)
	require.NoError(t, err)
	rows, err := s.CountCellsOfRows(t.Context(), m, ref, starts)
	require.NoError(t, err)
	for i := range got {
		require.NotZero(t, rows[i].Rows, "hour %d", i)
		require.Equal(t, want[i], got[i].Profiled, "hour %d", i)
		got[i].Profiled, got[i].Unprofiled = false, ""
		require.Equal(t, rows[i], got[i], "hour %d", i)
		requireSegments(t, s, m, ref, got[i], want[i])
	}
}

// requireSegments compares the sums over the values of a segment with an hour, and says whether they
// were taken from the profile.
func requireSegments(t *testing.T, s *history.Store, m *schemas.Manifest, ref *schemas.Reference, hour profile.WindowCounts, profiled bool) {
	t.Helper()
	segments, err := s.CountSegments(t.Context(), m, ref, "origin", profile.Span{Start: hour.Start, End: hour.Start.Add(time.Hour)})
	require.NoError(t, err)
	require.Greater(t, len(segments), 2)
	rows := uint64(0)
	for _, v := range segments {
		require.Equal(t, profiled, v.Profiled, v.Value)
		rows += v.Rows
		for j := range hour.Columns {
			hour.Columns[j] = hour.Columns[j].Minus(v.Columns[j])
		}
	}
	require.Equal(t, hour.Rows, rows)
	for _, c := range hour.Columns {
		require.Zero(t, c.Rows())
		for _, n := range c.Cells {
			require.Zero(t, n)
		}
	}
}

// batches returns records of two variants, some of them of other versions and some late, over two hours.
func batches(t *testing.T, from, n int) []schemas.Record {
	t.Helper()
	records := make([]schemas.Record, 0, n)
	for i := from; i < from+n; i++ {
		b := observetest.Batch{Manifest: observetest.Manifest("flights", "v1"), Rows: 700, Partition: int32(i % 3), Offset: int64(i*61%144) * 1000, Failed: 50, Variant: "live"}
		if i%4 == 0 {
			b.Variant = "shadow"
		}
		if i%5 == 0 {
			b.Manifest = observetest.Manifest("flights", "v2")
		}
		r := observetest.Observations(t, int64(i/2), b)
		r.Partition = int32(i % 2)
		records = append(records, r)
	}
	return records
}

func TestStoreCountsWhatItStores(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	plan(t, c)
	s := storetest.New(t, c)
	for i := range 5 {
		stats, err := s.Store(t.Context(), batches(t, 12*i, 12), false)
		require.NoError(t, err)
		require.Positive(t, stats.Profiles)
	}
	requireProfiled(t, c, true, true)
	require.EqualValues(t, 2, clickhousetest.Count(t, c, "SELECT uniqExact(variant) AS n FROM {db}.profiles WHERE column = 'f0'"))

	// Replays, of the same and of other ranges, count nothing twice.
	for _, r := range [][2]int{{12, 12}, {0, 60}, {7, 9}} {
		stats, err := s.Store(t.Context(), batches(t, r[0], r[1]), true)
		require.NoError(t, err)
		require.Zero(t, stats.Observations)
		require.Zero(t, stats.Profiles)
		requireProfiled(t, c, true, true)
	}

	// What is counted here is what is counted of the rows in ClickHouse.
	sums := func() []string {
		var rows []struct {
			Row string `ch:"r"`
		}
		require.NoError(t, c.Select(t.Context(), &rows, strings.ReplaceAll(`SELECT toString((p.bucket, p.variant, p.segment, p.value, p.column, sum(p.rows), sum(p.missing), sum(p.nan), sum(p.positive_inf), sum(p.negative_inf),
			sum(p.other), sumForEachMerge(p.cells), round(sum(p.total), 4), round(sum(p.squares), 2), min(p.least), max(p.greatest),
			arraySort(topKWeightedMerge(10, 3, 'counts')(p.unseen)), round(quantilesTDigestMerge(0.5)(p.quantiles)[1] / 40))) AS r
			FROM {db}.profiles AS p WHERE p.column != '' GROUP BY p.bucket, p.variant, p.segment, p.value, p.column ORDER BY p.bucket, p.variant, p.segment, p.value, p.column`, "{db}", c.Database())))
		out := make([]string, len(rows))
		for i, r := range rows {
			out[i] = r.Row
		}
		return out
	}
	counted := sums()
	require.NoError(t, c.Exec(t.Context(), "TRUNCATE TABLE "+c.Database()+".profiles"))
	m, ref := monitored()
	p := history.NewProfiler(c, c.Database())
	p.Settled(-time.Minute)
	_, err := p.Fill(t.Context(), m, ref, profile.Span{End: time.Now()}, 1<<40)
	require.NoError(t, err)
	require.Equal(t, sums(), counted)
}

// A recorder that ends between its rows and their profile, or after both.
func TestProfileAfterAKill(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	plan(t, c)
	first, then := batches(t, 0, 20), batches(t, 20, 20)
	_, err := storetest.New(t, c).Store(t.Context(), first, false)
	require.NoError(t, err)
	rename := func(from, to string) {
		require.NoError(t, c.Exec(t.Context(), "RENAME TABLE "+c.Database()+"."+from+" TO "+c.Database()+"."+to))
	}
	rename("profiles", "away")
	s := storetest.New(t, c)
	_, err = s.Store(t.Context(), then, false)
	require.ErrorContains(t, err, "into profiles")
	rename("away", "profiles")
	requireProfiled(t, c, false, false)
	stats, err := storetest.New(t, c).Store(t.Context(), then, true)
	require.NoError(t, err)
	require.Positive(t, stats.Profiles)
	require.Zero(t, stats.Observations)
	requireProfiled(t, c, true, true)
	stats, err = storetest.New(t, c).Store(t.Context(), then, true)
	require.NoError(t, err)
	require.Zero(t, stats.Profiles)
	requireProfiled(t, c, true, true)
}

// Rows that were lost and are stored again are counted once: their profile was not lost.
func TestProfileOfRowsThatWereLost(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	plan(t, c)
	records := batches(t, 0, 40)
	_, err := storetest.New(t, c).Store(t.Context(), records, false)
	require.NoError(t, err)
	require.NoError(t, c.Exec(t.Context(), "DELETE FROM "+c.Database()+".observations_flights WHERE request_offset % 7 = 0 SETTINGS lightweight_deletes_sync = 2"))
	requireProfiled(t, c, false, false)
	stats, err := storetest.New(t, c).Store(t.Context(), records[3:], true)
	require.NoError(t, err)
	require.Positive(t, stats.Observations)
	_, err = storetest.New(t, c).Store(t.Context(), records[:3], true)
	require.NoError(t, err)
	requireProfiled(t, c, true, true)
}

// Rows of before there was a plan are counted later, and what recorders count meanwhile is left to them.
func TestProfileOfEarlierRows(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	stats, err := s.Store(t.Context(), batches(t, 0, 20), false)
	require.NoError(t, err)
	require.Zero(t, stats.Profiles)
	plan(t, c)
	s = storetest.New(t, c) // an earlier one asks again within a minute
	_, err = s.Store(t.Context(), batches(t, 20, 20), false)
	require.NoError(t, err)
	requireProfiled(t, c, false, false)
	m, ref := monitored()
	p := history.NewProfiler(c, c.Database())
	done, err := p.Fill(t.Context(), m, ref, profile.Span{End: time.Now()}, 1<<40)
	require.NoError(t, err)
	require.Positive(t, done.Waiting)
	require.Equal(t, history.Filled{Waiting: done.Waiting, Left: done.Waiting}, done, "rows that were stored just now")
	requireProfiled(t, c, false, false)
	p.Settled(-time.Minute)
	done, err = p.Fill(t.Context(), m, ref, profile.Span{End: time.Now()}, 1<<40)
	require.NoError(t, err)
	require.Positive(t, done.Buckets)
	requireProfiled(t, c, true, true)
	_, err = storetest.New(t, c).Store(t.Context(), batches(t, 40, 20), false)
	require.NoError(t, err)
	requireProfiled(t, c, true, true)
}
