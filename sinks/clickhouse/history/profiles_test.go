package history_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// filler returns a profiler that counts rows as soon as they are stored.
func filler(w *historytest.World) *history.Profiler {
	p := history.NewProfiler(w, w.Database())
	p.Settled(-time.Minute)
	return p
}

// allTime is the span of all rows.
var allTime = profile.Span{End: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}

// requireEqualToRows compares windows that are taken from profiles with their rows, and says which were.
func requireEqualToRows(t *testing.T, w *historytest.World, starts []time.Time) (profiled []bool) {
	t.Helper()
	store := history.New(w, w.Database())
	got, err := store.CountCells(t.Context(), w.Manifest, w.Reference, starts)
	require.NoError(t, err)
	want, err := store.CountCellsOfRows(t.Context(), w.Manifest, w.Reference, starts)
	require.NoError(t, err)
	require.Len(t, got, len(starts))
	for i := range got {
		profiled = append(profiled, got[i].Profiled)
		require.Equal(t, !profiled[i] && want[i].Rows > 0, got[i].Unprofiled != "", got[i].Unprofiled)
		got[i].Profiled, got[i].Unprofiled = false, ""
		require.Equal(t, want[i], got[i], "window %s, profiled %v", starts[i], profiled[i])
	}
	return profiled
}

func TestCellsOfProfilesEqualThoseOfRows(t *testing.T) {
	w := historytest.NewWorld(t)
	for h := range 4 {
		w.Hour(h, 700, h%2)
	}
	before1970 := w.Observe(time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC), 1, 0)
	other := w.Observe(historytest.Start, 0, 0)
	other.Version = "2"
	w.Put([]historytest.Observation{other, before1970})
	hour := func(h int) time.Time { return historytest.Start.Add(time.Duration(h) * time.Hour) }
	starts := []time.Time{time.Date(1969, 12, 31, 23, 0, 0, 0, time.UTC), hour(0), hour(1), hour(3), hour(9)}
	require.Equal(t, []bool{false, false, false, false, false}, requireEqualToRows(t, w, starts))

	p := filler(w)
	done, err := p.Fill(t.Context(), w.Manifest, w.Reference, allTime, 1_000_000)
	require.NoError(t, err)
	require.Equal(t, 49, done.Buckets, "of five minutes each")
	require.Zero(t, done.Left)
	require.Equal(t, []bool{true, true, true, true, false}, requireEqualToRows(t, w, starts), "no rows, no profile")

	// Late rows: the window is counted by its rows until they are in the profile too.
	w.Put([]historytest.Observation{w.Observe(hour(1).Add(7*time.Minute), 0, 3), w.Observe(hour(1).Add(55*time.Minute), 0, 3)})
	require.Equal(t, []bool{true, true, false, true, false}, requireEqualToRows(t, w, starts))
	done, err = p.Fill(t.Context(), w.Manifest, w.Reference, profile.Span{Start: hour(0), End: hour(9)}, 1)
	require.NoError(t, err)
	require.Equal(t, 1, done.Buckets)
	require.Equal(t, 1, done.Left)
	done, err = p.Fill(t.Context(), w.Manifest, w.Reference, allTime, 1)
	require.NoError(t, err)
	require.Equal(t, history.Filled{Buckets: 1, Rows: done.Rows}, done)
	require.Equal(t, []bool{true, true, true, true, false}, requireEqualToRows(t, w, starts))
	done, err = p.Fill(t.Context(), w.Manifest, w.Reference, allTime, 1)
	require.NoError(t, err)
	require.Zero(t, done, "nothing differs")

	// A reference with other cells has no profile yet.
	w.Reference.Columns[1].Edges = append([]float64{-7}, w.Reference.Columns[1].Edges...)
	w.Reference.Columns[1].Counts = append([]int64{0}, w.Reference.Columns[1].Counts...)
	require.Equal(t, []bool{false, false, false, false, false}, requireEqualToRows(t, w, starts))
}

// TestFilledFigures compares what else is counted with the rows themselves.
func TestFilledFigures(t *testing.T) {
	w := historytest.NewWorld(t)
	for h := range 2 {
		w.Hour(h, 900, h)
	}
	_, err := filler(w).Fill(t.Context(), w.Manifest, w.Reference, allTime, 1_000_000)
	require.NoError(t, err)
	type figures struct {
		Rows     uint64  `ch:"n"`
		Missing  uint64  `ch:"m"`
		NaN      uint64  `ch:"a"`
		Plus     uint64  `ch:"p"`
		Minus    uint64  `ch:"q"`
		Total    float64 `ch:"s"`
		Squares  float64 `ch:"r"`
		Least    float64 `ch:"l"`
		Greatest float64 `ch:"h"`
		Median   float64 `ch:"d"`
	}
	ask := func(query string) figures {
		var rows []figures
		require.NoError(t, w.Select(t.Context(), &rows, query))
		require.Len(t, rows, 1)
		return rows[0]
	}
	origins := map[string]string{"amount": "toFloat64(toFloat32(0.1))", "items": "3", "w": "0.1", "score": "0.5"}
	for column, origin := range origins {
		x := "toFloat64(assumeNotNull(" + column + "))"
		finite := "isNotNull(" + column + ") AND isFinite(" + x + ")"
		want := ask("SELECT count() AS n, countIf(isNull(" + column + ")) AS m, countIf(isNotNull(" + column + ") AND isNaN(" + x + ")) AS a, " +
			"countIf(isNotNull(" + column + ") AND " + x + " = inf) AS p, countIf(isNotNull(" + column + ") AND " + x + " = -inf) AS q, " +
			"sumIf(" + x + " - " + origin + ", " + finite + ") AS s, sumIf(pow(" + x + " - " + origin + ", 2), " + finite + ") AS r, " +
			"minIf(" + x + ", " + finite + ") AS l, maxIf(" + x + ", " + finite + ") AS h, quantileExactIf(" + x + ", " + finite + ") AS d " +
			"FROM " + w.Database() + ".observations_shop WHERE version = '1.0' AND outcome = 'ok'")
		got := ask("SELECT sum(p.rows) AS n, sum(p.missing) AS m, sum(p.nan) AS a, sum(p.positive_inf) AS p, sum(p.negative_inf) AS q, sum(p.total) AS s, " +
			"sum(p.squares) AS r, min(p.least) AS l, max(p.greatest) AS h, toFloat64(quantilesTDigestMerge(0.5)(p.quantiles)[1]) AS d FROM " + w.Database() + ".profiles AS p WHERE p.column = '" + column + "'")
		if column != "w" { // whose values have 600 orders of magnitude
			require.InEpsilon(t, want.Total, got.Total, 1e-9, column)
			require.InEpsilon(t, want.Squares, got.Squares, 1e-9, column)
			require.InDelta(t, want.Median, got.Median, 0.1, column)
		}
		got.Total, got.Squares, got.Median = want.Total, want.Squares, want.Median
		require.Equal(t, want, got, column)
	}
	var unseen []struct {
		Category string `ch:"c"`
		Rows     uint64 `ch:"n"`
	}
	require.NoError(t, w.Select(t.Context(), &unseen, "SELECT u.1 AS c, u.2 AS n FROM (SELECT arrayJoin(topKWeightedMerge(10, 3, 'counts')(p.unseen)) AS u FROM "+w.Database()+".profiles AS p WHERE p.column = 't') ORDER BY c"))
	var wantUnseen []struct {
		Category string `ch:"c"`
		Rows     uint64 `ch:"n"`
	}
	require.NoError(t, w.Select(t.Context(), &wantUnseen, "SELECT t AS c, count() AS n FROM "+w.Database()+".observations_shop WHERE version = '1.0' AND outcome = 'ok' AND t IN ('', 'unknown') GROUP BY c ORDER BY c"))
	require.NotEmpty(t, wantUnseen)
	require.Equal(t, wantUnseen, unseen)
}
