package history_test

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// TestRowsSince reads rows page by page: every answered row of the version comes once, in the order of coordinates,
// with its values.
func TestRowsSince(t *testing.T) {
	w := historytest.NewWorld(t)
	store, ctx := history.New(w, w.Database()), t.Context()
	began, err := store.Now(ctx)
	require.NoError(t, err)
	rows := slices.Concat(w.Hour(0, 300, 0), w.Hour(1, 100, 1))
	rows = slices.DeleteFunc(rows, func(o historytest.Observation) bool { return o.Version != "1.0" || o.Outcome != schemas.OutcomeOK })
	require.Greater(t, len(rows), 100)
	slices.SortFunc(rows, func(a, b historytest.Observation) int {
		return cmp.Or(cmp.Compare(a.TopicID, b.TopicID), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	want := profile.RowsAfter{StoredFrom: began.Add(-time.Minute), StoredTo: began.Add(time.Hour), Limit: 17}
	var got []profile.Item
	position := map[[2]any]schemas.Coordinates{}
	for range len(rows) {
		page, err := store.RowsSince(ctx, w.Manifest, []string{"amount", "items", "n", "score"}, want)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
		for _, r := range page {
			position[[2]any{r.At.TopicID, r.At.Partition}] = r.At
		}
		want.Position = want.Position[:0]
		for _, at := range position {
			want.Position = append(want.Position, at)
		}
	}
	slices.SortStableFunc(got, func(a, b profile.Item) int {
		return cmp.Or(slices.Compare(a.At.TopicID[:], b.At.TopicID[:]), cmp.Compare(a.At.Partition, b.At.Partition))
	})
	require.Len(t, got, len(rows))
	number := func(x *float32) float64 {
		if x == nil {
			return math.NaN()
		}
		return float64(*x)
	}
	for i, o := range rows {
		require.Equal(t, []any{o.Partition, o.Offset, o.EventTime.UTC()}, []any{got[i].At.Partition, got[i].At.Offset, got[i].EventTime})
		member := 0.0
		if o.Member {
			member = 1
		}
		for k, x := range []float64{number(o.Amount), float64(o.Items), member, number(o.Probability)} {
			if math.IsNaN(x) {
				require.True(t, math.IsNaN(got[i].Values[k]))
			} else {
				require.Equal(t, x, got[i].Values[k])
			}
		}
	}
	none, err := store.RowsSince(ctx, w.Manifest, []string{"items"}, profile.RowsAfter{StoredFrom: began.Add(-time.Hour), StoredTo: began.Add(-time.Minute), Limit: 10})
	require.NoError(t, err)
	require.Empty(t, none)
}

// TestBreakStates: the last state counts, and holds what it was given.
func TestBreakStates(t *testing.T) {
	w := historytest.NewWorld(t)
	store, ctx := history.New(w, w.Database()), t.Context()
	_, ok, err := store.BreakState(ctx, w.Manifest)
	require.NoError(t, err)
	require.False(t, ok)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for n := range uint64(3) {
		b := schemas.BreakState{
			Model: w.Manifest.Name, Version: w.Manifest.Version, Number: 7 - n, State: "it's \\ \x00\xff\n", Events: []string{`{"a":"\n'"}`, ""}, LabelsFrom: at, RowsFrom: at.Add(time.Hour),
		}
		require.NoError(t, store.WriteBreakState(ctx, b))
		got, ok, err := store.BreakState(ctx, w.Manifest)
		require.NoError(t, err)
		require.True(t, ok)
		b.Number = 7
		got.LabelsFrom, got.RowsFrom = got.LabelsFrom.UTC(), got.RowsFrom.UTC()
		require.Equal(t, b, got)
	}
}
