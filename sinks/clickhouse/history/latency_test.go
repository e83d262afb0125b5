package history_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// TestLatencies: the percentile and its interval are those of the sorted rows, by window of event time.
func TestLatencies(t *testing.T) {
	w := historytest.NewWorld(t)
	var rows []historytest.Observation
	for i := range 4100 {
		hour := 0
		if i >= 3600 {
			hour = 5 // with fewer than 500 answered rows, as some have failed
		}
		o := w.Observe(historytest.Start.Add(time.Duration(hour)*time.Hour+time.Duration(i%3600)*time.Second), i, 0)
		o.LatencyUS = 1000 + int64(i*i%997)*int64(i%31)
		rows = append(rows, o)
	}
	w.Put(rows)
	starts := []time.Time{historytest.Start, historytest.Start.Add(2 * time.Hour), historytest.Start.Add(5 * time.Hour)}
	got, err := history.New(w, w.Database()).Latencies(t.Context(), w.Manifest, starts)
	require.NoError(t, err)
	require.Zero(t, got[1])
	for i, hour := range []int{0, 2, 5} {
		var latencies []int64
		for _, o := range w.Answered(hour) {
			require.Equal(t, schemas.OutcomeOK, o.Outcome)
			latencies = append(latencies, o.LatencyUS)
		}
		n := float64(len(latencies))
		require.EqualValues(t, n, got[i].Requests)
		require.Equal(t, n >= 500, got[i].Known)
		if n == 0 {
			continue
		}
		slices.Sort(latencies)
		at := func(rank float64) float64 { return float64(latencies[int(min(max(rank, 1), n))-1]) }
		require.Equal(t, at(math.Ceil(0.99*n)), got[i].P99)
		wide := 1.959963984540054 * math.Sqrt(n*0.99*0.01)
		if got[i].Known {
			require.Equal(t, at(math.Floor(0.99*n-wide)), got[i].Low)
			require.Equal(t, at(math.Ceil(0.99*n+wide)), got[i].High)
		}
	}
}
