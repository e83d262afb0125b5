package history_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// Windows that slide over rows at random times, with gaps, have what a count of each by itself
// finds, from rows and from profiles, and whichever of them are asked for.
func TestSlidingCellsEqualThoseOfEachWindow(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w := historytest.NewWorld(t)
	w.Manifest.Monitoring.Windows = []schemas.Windows{{Length: schemas.Duration(6 * time.Hour), Every: schemas.Duration(2 * time.Hour)}, {Length: schemas.Duration(10 * time.Minute)}}
	manifests := w.Manifest.Spread()
	sliding := manifests[1]
	for _, m := range manifests {
		require.Equal(t, profile.PlanOf(w.Manifest, w.Reference, nil).ID(), profile.PlanOf(m, w.Reference, nil).ID(), "all are counted by one plan")
	}
	from, until := historytest.Start.Add(-3*time.Hour), historytest.Start.Add(60*time.Hour)
	var rows []historytest.Observation
	for i := range 2500 {
		at := from.Add(time.Duration(r.Int64N(int64(until.Sub(from)))))
		if h := at.Sub(from) / time.Hour; h > 20 && h < 33 {
			at = from.Add(33 * time.Hour) // on a boundary, after a gap
		}
		rows = append(rows, w.Observe(at.Truncate(time.Microsecond), i, 0))
	}
	w.Put(rows)
	within := func(start time.Time) []historytest.Observation {
		return slices.DeleteFunc(slices.Clone(w.Rows), func(o historytest.Observation) bool {
			return o.Outcome != schemas.OutcomeOK || o.EventTime.Before(start) || !o.EventTime.Before(start.Add(6*time.Hour))
		})
	}
	store := history.New(w, w.Database())
	var want []profile.WindowRows
	end := profile.WindowStart(until, 2*time.Hour)
	for start := profile.WindowStart(from, 2*time.Hour).Add(-20 * time.Hour); start.Before(end); start = start.Add(2 * time.Hour) {
		if n := len(within(start)); n > 0 {
			want = append(want, profile.WindowRows{Start: start, Rows: uint64(n)})
		}
	}
	got, err := store.CountRows(t.Context(), sliding, profile.Span{End: end}, time.Time{})
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = store.CountRows(t.Context(), sliding, profile.Span{Start: want[3].Start, End: want[9].Start}, time.Time{})
	require.NoError(t, err)
	require.Equal(t, want[3:9], got)

	compare := func(profiled bool) {
		t.Helper()
		for range 4 {
			var starts []time.Time
			for _, x := range want {
				if r.IntN(3) > 0 {
					starts = append(starts, x.Start)
				}
			}
			starts = append(starts, until.Add(500*time.Hour).Truncate(2*time.Hour)) // no rows, and far away
			counts, err := store.CountCells(t.Context(), sliding, w.Reference, starts)
			require.NoError(t, err)
			require.Len(t, counts, len(starts))
			for i, start := range starts {
				rows := within(start)
				require.Equal(t, start, counts[i].Start)
				require.EqualValues(t, len(rows), counts[i].Rows)
				require.Equal(t, profiled && len(rows) > 0, counts[i].Profiled, start)
				for j, c := range w.Reference.Columns {
					require.Equal(t, w.Count(rows, c.Name), counts[i].Columns[j], "%v %s", start, c.Name)
				}
			}
		}
	}
	compare(false)
	for left := 1; left > 0; {
		done, err := filler(w).Fill(t.Context(), w.Manifest, w.Reference, allTime, 1<<40)
		require.NoError(t, err)
		left = done.Left
	}
	compare(true)
	none, err := store.CountCells(t.Context(), sliding, w.Reference, nil)
	require.NoError(t, err)
	require.Empty(t, none)
}
