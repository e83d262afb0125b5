package history_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

func TestCountCellsEqualsRows(t *testing.T) {
	w := historytest.NewWorld(t)
	for h := range 4 {
		w.Hour(h, 700, h%2)
	}
	start := historytest.Start
	other := w.Observe(start, 0, 0)
	other.Version = "2"
	w.Put([]historytest.Observation{other})
	starts := []time.Time{start, start.Add(time.Hour), start.Add(3 * time.Hour), start.Add(9 * time.Hour)}
	got, err := history.New(w, w.Database()).CountCells(t.Context(), w.Manifest, w.Reference, starts)
	require.NoError(t, err)
	require.Len(t, got, 4)
	for i, h := range []int{0, 1, 3, 9} {
		rows := w.Answered(h)
		require.Equal(t, uint64(len(rows)), got[i].Rows)
		for j, c := range w.Reference.Columns {
			require.Equal(t, w.Count(rows, c.Name), got[i].Columns[j], "hour %d, column %q", h, c.Name)
		}
	}
}

func TestCountsOfNoWindows(t *testing.T) {
	store := history.New(&recording{}, "millrace")
	counts, err := store.CountCells(t.Context(), historytest.Manifest(), nil, nil)
	require.NoError(t, err)
	require.Empty(t, counts)
	quality, err := store.CountQuality(t.Context(), historytest.Manifest(), nil)
	require.NoError(t, err)
	require.Empty(t, quality)
}
