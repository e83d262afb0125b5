package history_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// TestCountBuckets: buckets are the rows of their time, the last ones where there are more rows than may
// be counted, and those of the profile where it has them.
func TestCountBuckets(t *testing.T) {
	w := historytest.NewWorld(t)
	for h := range 2 {
		w.Hour(h, 600, h)
	}
	store := history.New(w, w.Database())
	span := profile.Span{Start: historytest.Start, End: historytest.Start.Add(3 * time.Hour)}
	got, err := store.CountBuckets(t.Context(), w.Manifest, w.Reference, span, math.MaxUint64)
	require.NoError(t, err)
	require.Len(t, got, 24, "of five minutes; the third hour has no rows")
	for i, b := range got {
		require.Equal(t, span.Start.Add(time.Duration(i)*5*time.Minute), b.Start)
		var rows []historytest.Observation
		for _, o := range w.Answered(i / 12) {
			if !o.EventTime.Before(b.Start) && o.EventTime.Before(b.Start.Add(5*time.Minute)) {
				rows = append(rows, o)
			}
		}
		require.Equal(t, uint64(len(rows)), b.Rows)
		for j, c := range w.Reference.Columns {
			require.Equal(t, w.Count(rows, c.Name), b.Columns[j], "bucket %d, column %q", i, c.Name)
		}
	}
	few, err := store.CountBuckets(t.Context(), w.Manifest, w.Reference, span, got[23].Rows+got[22].Rows)
	require.NoError(t, err)
	require.Equal(t, got[22:], few)
	none, err := store.CountBuckets(t.Context(), w.Manifest, w.Reference, profile.Span{Start: span.End, End: span.End.Add(time.Hour)}, 1)
	require.NoError(t, err)
	require.Empty(t, none)
}

// TestCountFaults compares the counts of SQL with those of the rows.
func TestCountFaults(t *testing.T) {
	w := historytest.NewWorld(t)
	tenth, five, zero := 0.1, 5.0, 0.0
	w.Manifest.Features[0].Max = &tenth // a float32, whose 0.1 is not that of a float64
	w.Manifest.Features[1].Min, w.Manifest.Features[1].Max = &zero, &five
	w.Manifest.Monitoring.Checks = append(w.Manifest.Monitoring.Checks,
		schemas.Check{Stattest: schemas.StattestOutOfRange, Column: "amount"}, schemas.Check{Stattest: schemas.StattestOutOfRange, Column: "items"},
		schemas.Check{Stattest: schemas.StattestDuplicates})
	w.Hour(0, 700, 0)
	again := w.Hour(2, 500, 0)[:40]
	for i := range again {
		again[i].RequestID = again[i%7].RequestID
		again[i].Outcome = schemas.OutcomeOK
		again[i].Offset += 100000
	}
	w.Put(again)
	starts := []time.Time{historytest.Start, historytest.Start.Add(time.Hour), historytest.Start.Add(2 * time.Hour)}
	got, err := history.New(w, w.Database()).CountFaults(t.Context(), w.Manifest, starts)
	require.NoError(t, err)
	for i, f := range got {
		rows := w.Answered(i)
		amounts, items := int64(0), int64(0)
		ids := map[string]bool{}
		for _, o := range rows {
			if o.Amount != nil && *o.Amount > float32(0.1) {
				amounts++
			}
			if o.Items > 5 {
				items++
			}
			ids[o.RequestID] = true
		}
		require.Equal(t, int64(len(rows)), f.Rows)
		require.Equal(t, int64(len(rows)-len(ids)), f.Duplicates)
		require.Equal(t, amounts, f.OutOfRange["amount"])
		require.Equal(t, items, f.OutOfRange["items"])
	}
	require.Positive(t, got[2].Duplicates)
	require.Positive(t, got[0].OutOfRange["amount"])

	conn := &recording{}
	plain := historytest.Manifest()
	faults, err := history.New(conn, "millrace").CountFaults(t.Context(), plain, starts)
	require.NoError(t, err)
	require.Len(t, faults, 3)
	require.Empty(t, conn.queries, "nothing is asked where nothing checks it")
}

// TestSelectedSQLRuns: the SQL of a reason selects the rows that it says, whatever columns and categories are called.
func TestSelectedSQLRuns(t *testing.T) {
	w := historytest.NewWorld(t)
	w.Hour(0, 600, 0)
	w.Hour(1, 600, 3)
	store := history.New(w, w.Database())
	span := profile.Span{Start: historytest.Start, End: historytest.Start.Add(time.Hour)}
	zero, five := 0.0, 5.0
	w.Manifest.Features[1].Min, w.Manifest.Features[1].Max = &zero, &five
	rows := w.Answered(0)
	count := func(keep func(o historytest.Observation) bool) int {
		n := 0
		for _, o := range rows {
			if keep(o) {
				n++
			}
		}
		return n
	}
	all := count(func(historytest.Observation) bool { return true })
	text := func(s string) *string { return &s }
	listed := []string{"it's", `back\slash`, "? {x:String}", "größe", "new\nline"}
	for name, tc := range map[string]struct {
		selection schemas.RowSelection
		want      int
	}{
		"all":      {schemas.RowSelection{}, all},
		"stranger": {schemas.RowSelection{Column: "no` = 1; DROP TABLE x; --", Missing: true}, all},
		"missing": {schemas.RowSelection{Column: "amount", Missing: true}, count(func(o historytest.Observation) bool {
			return o.Amount == nil || math.IsNaN(float64(*o.Amount))
		})},
		"missing text": {schemas.RowSelection{Column: "label", Missing: true}, count(func(o historytest.Observation) bool { return o.Note == nil })},
		"quote":        {schemas.RowSelection{Column: "t", Category: text("it's")}, count(func(o historytest.Observation) bool { return o.Country == "it's" })},
		"backslash":    {schemas.RowSelection{Column: "t", Category: text(`back\slash`)}, count(func(o historytest.Observation) bool { return o.Country == `back\slash` })},
		"line":         {schemas.RowSelection{Column: "t", Category: text("new\nline")}, count(func(o historytest.Observation) bool { return o.Country == "new\nline" })},
		"placeholder":  {schemas.RowSelection{Column: "t", Category: text("? {x:String}")}, count(func(o historytest.Observation) bool { return o.Country == "? {x:String}" })},
		"injected":     {schemas.RowSelection{Column: "t", Category: text(`\' OR 1 = 1 --`)}, 0},
		"bool":         {schemas.RowSelection{Column: "n", Category: text("true")}, count(func(o historytest.Observation) bool { return o.Member })},
		"unlisted":     {schemas.RowSelection{Column: "t", Unlisted: listed}, count(func(o historytest.Observation) bool { return o.Country == "unknown" || o.Country == "" })},
		"range": {schemas.RowSelection{Column: "w", From: &zero, Below: &five}, count(func(o historytest.Observation) bool {
			return o.W >= 0 && o.W < 5
		})},
		"outside":  {schemas.RowSelection{Column: "items", Outside: true}, count(func(o historytest.Observation) bool { return o.Items < 0 || o.Items > 5 })},
		"repeated": {schemas.RowSelection{Repeated: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var got []struct {
				Rows uint64 `ch:"n"`
			}
			sql := store.SelectedSQL(w.Manifest, span, tc.selection)
			require.NoError(t, w.Select(t.Context(), &got, "SELECT count() AS n FROM ("+sql+")"), sql)
			require.Equal(t, uint64(tc.want), got[0].Rows, sql)
		})
	}
	long := make([]string, 1000)
	for i := range long {
		long[i] = "a category with a long name that stands in a list"
	}
	require.Equal(t, store.SelectedSQL(w.Manifest, span, schemas.RowSelection{}), store.SelectedSQL(w.Manifest, span, schemas.RowSelection{Column: "t", Unlisted: long}))
}
