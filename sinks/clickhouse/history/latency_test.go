package history_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// TestLatency: the percentile and its interval are those of the rows, within the ranks that a
// t-digest may err by.
func TestLatency(t *testing.T) {
	w := historytest.NewWorld(t)
	rows := make([]historytest.Observation, 3000)
	for i := range rows {
		rows[i] = w.Observe(historytest.Start, i, 0)
		rows[i].LatencyUS = 1000 + int64(i*i%997)*int64(i%31)
	}
	w.Put(rows)
	var latencies []int64
	first, last := rows[0].ScoredAt, rows[0].ScoredAt
	for _, o := range w.Rows {
		if o.Version == "1.0" {
			latencies = append(latencies, o.LatencyUS)
		}
		if o.ScoredAt.Before(first) {
			first = o.ScoredAt
		}
		if o.ScoredAt.After(last) {
			last = o.ScoredAt
		}
	}
	slices.Sort(latencies)
	span := profile.Span{Start: first.Truncate(time.Minute), End: last.Truncate(time.Minute).Add(time.Minute)}
	store := history.New(w, w.Database())
	got, err := store.Latency(t.Context(), w.Manifest, span)
	require.NoError(t, err)
	n := float64(len(latencies))
	require.EqualValues(t, len(latencies), got.Requests)
	require.True(t, got.Known)
	at := func(p float64) float64 { return float64(latencies[min(max(int(p*n), 0), len(latencies)-1)]) }
	require.GreaterOrEqual(t, got.P99, at(0.985))
	require.LessOrEqual(t, got.P99, at(0.994))
	require.Less(t, got.Low, got.P99)
	require.Greater(t, got.High, got.P99)
	require.LessOrEqual(t, got.High, at(1))
	require.GreaterOrEqual(t, got.Low, at(0.98))

	none, err := store.Latency(t.Context(), w.Manifest, profile.Span{Start: span.End, End: span.End.Add(time.Hour)})
	require.NoError(t, err)
	require.Zero(t, none)
}
