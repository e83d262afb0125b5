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

// TestLabelDelays: quantiles of what was told, by the first usable label of each request.
func TestLabelDelays(t *testing.T) {
	w := historytest.NewWorld(t)
	rows := w.Hour(0, 500, 0)
	w.Hour(1, 50, 0) // without labels
	label := 40.0
	var told []historytest.Feedback
	for i, o := range rows {
		if i%3 == 0 {
			continue
		}
		first := o.EventTime.Add(time.Duration(i*i) * time.Second)
		offset := 4 * o.Offset
		told = append(told,
			historytest.Feedback{Model: "shop", RequestID: o.RequestID, Label: &label, ObservedAt: first.Add(time.Hour), ReceivedAt: first, Partition: 0, Offset: offset},
			historytest.Feedback{Model: "shop", RequestID: o.RequestID, Label: &label, ObservedAt: first, ReceivedAt: first, Partition: 0, Offset: offset + 1},
			historytest.Feedback{Model: "shop", RequestID: o.RequestID, ObservedAt: o.EventTime, ReceivedAt: first, Partition: 0, Offset: offset + 2}, // unusable
		)
	}
	w.Tell(told)
	first := map[string]time.Time{}
	for _, f := range told {
		if at, ok := first[f.RequestID]; f.Label != nil && (!ok || f.ObservedAt.Before(at)) {
			first[f.RequestID] = f.ObservedAt
		}
	}
	var want []time.Duration
	for _, o := range w.Answered(0) {
		if at, ok := first[o.RequestID]; ok && o.Probability != nil {
			want = append(want, at.Sub(o.EventTime))
		}
	}
	slices.Sort(want)
	at := func(level float64) time.Duration { return want[int(level*float64(len(want)))] }
	got, err := history.New(w, w.Database()).LabelDelays(t.Context(), w.Manifest, []time.Time{historytest.Start, historytest.Start.Add(time.Hour)})
	require.NoError(t, err)
	require.Equal(t, []profile.LabelDelays{
		{Labels: uint64(len(want)), Median: at(0.5), P90: at(0.9), P99: at(0.99), Longest: want[len(want)-1]}, {},
	}, got)
	none, err := history.New(w, w.Database()).LabelDelays(t.Context(), w.Manifest, nil)
	require.NoError(t, err)
	require.Empty(t, none)
}
