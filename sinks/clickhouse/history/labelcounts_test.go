package history_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// TestLabelsAreCountedByReason has labels that count, that were corrected through another
// partition or sent twice, and of requests and models that nobody knows.
func TestLabelsAreCountedByReason(t *testing.T) {
	w := historytest.NewWorld(t)
	rows := w.Hour(0, 20, 0)
	label := func(model, id string, partition int32, offset int64, observed time.Duration) historytest.Feedback {
		value := 40.0
		return historytest.Feedback{Model: model, RequestID: id, Label: &value, ObservedAt: historytest.WallClock.Add(observed), Partition: partition, Offset: offset}
	}
	var labels []historytest.Feedback
	for i, o := range rows {
		labels = append(labels, label("shop", o.RequestID, 3, int64(i), 0))
	}
	labels = append(labels,
		label("shop", rows[0].RequestID, 0, 1, time.Hour), label("shop", rows[1].RequestID, 3, 100, 0),
		label("shop", "nobody's", 0, 2, 0), label("shop", "nobody's", 0, 3, time.Hour), label("shops", rows[0].RequestID, 0, 4, 0))
	w.Tell(labels)
	store := history.New(w, w.Database())
	counted, err := store.CountLabels(t.Context())
	require.NoError(t, err)
	require.Empty(t, counted, "their requests may still be on their way")

	// They were stored eleven minutes ago.
	require.NoError(t, w.Exec(t.Context(), "CREATE TABLE "+w.Database()+".late AS "+w.Database()+".feedback"))
	require.NoError(t, w.Exec(t.Context(), "ALTER TABLE "+w.Database()+".late MODIFY COLUMN stored_at DateTime('UTC') MATERIALIZED now() - INTERVAL 11 MINUTE"))
	require.NoError(t, w.Exec(t.Context(), "INSERT INTO "+w.Database()+".late SELECT * FROM "+w.Database()+".feedback"))
	require.NoError(t, w.Exec(t.Context(), "EXCHANGE TABLES "+w.Database()+".late AND "+w.Database()+".feedback"))
	counted, err = store.CountLabels(t.Context())
	require.NoError(t, err)
	got := map[string]uint64{}
	for _, c := range counted {
		got[c.Model+" "+c.Reason] = c.Labels
	}
	require.Equal(t, map[string]uint64{"shop counts": 20, "shop superseded": 2, "shop unknown_request": 2, "shops unknown_model": 1}, got)
	counted, err = store.CountLabels(t.Context())
	require.NoError(t, err)
	require.Empty(t, counted, "each is counted once")
}
