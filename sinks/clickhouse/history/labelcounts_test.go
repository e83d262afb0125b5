package history_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
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

// counting counts questions.
type counting struct {
	history.Conn
	asked int
}

func (c *counting) Select(ctx context.Context, dest any, query string, args ...any) error {
	c.asked++
	return c.Conn.Select(ctx, dest, query, args...)
}

// TestLabelsOfAnotherVersionAreNotLookedForFurther: the requests of labels are a model's, whichever
// version answered them, and the windows are those of one.
func TestLabelsOfAnotherVersionAreNotLookedForFurther(t *testing.T) {
	w := historytest.NewWorld(t)
	label := 40.0
	var labels []historytest.Feedback
	for i := range 40 {
		o := w.Observe(historytest.Start.Add(time.Duration(200+i%2)*time.Hour), i, 0)
		if i%2 == 1 {
			o.Version = "2.0"
		} else {
			o.Outcome = schemas.OutcomeOK
		}
		w.Put([]historytest.Observation{o})
		labels = append(labels, historytest.Feedback{Model: "shop", RequestID: o.RequestID, Label: &label, ObservedAt: historytest.WallClock, Offset: int64(i)})
	}
	w.Tell(labels)
	conn := &counting{Conn: w}
	starts, err := history.New(conn, w.Database()).LabelledWindows(t.Context(), w.Manifest,
		profile.Span{Start: historytest.Start, End: historytest.Start.Add(203 * time.Hour)}, historytest.WallClock.AddDate(-50, 0, 0))
	require.NoError(t, err)
	require.Equal(t, []time.Time{historytest.Start.Add(200 * time.Hour)}, starts)
	require.Equal(t, 2, conn.asked, "how many are wanted, and where they are in the last four windows")
}
