package history_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// storedLabel is a label that was stored when it says.
type storedLabel struct {
	Model      string    `ch:"model"`
	RequestID  string    `ch:"request_id"`
	Label      *float64  `ch:"label"`
	Class      string    `ch:"label_class"`
	ObservedAt time.Time `ch:"observed_at"`
	Partition  int32     `ch:"feedback_partition"`
	Offset     int64     `ch:"feedback_offset"`
	StoredAt   time.Time `ch:"stored_at"`
}

// clocked is a ClickHouse with another clock, and a table of labels whose stored_at can be told.
type clocked struct {
	*historytest.World
	now   time.Time
	asked []string // of observations
}

func newClocked(t *testing.T) *clocked {
	t.Helper()
	w := historytest.NewWorld(t)
	require.NoError(t, w.Exec(t.Context(), "ALTER TABLE "+w.Database()+".feedback MODIFY COLUMN stored_at DateTime('UTC') DEFAULT now()"))
	return &clocked{World: w, now: historytest.WallClock}
}

func (c *clocked) Select(ctx context.Context, dest any, query string, args ...any) error {
	if strings.Contains(query, ".observations_") {
		c.asked = append(c.asked, query)
	}
	return c.World.Select(ctx, dest, strings.ReplaceAll(query, "now('UTC')", schemas.SecondsSQL(c.now.Unix())), args...)
}

func (c *clocked) tell(t *testing.T, labels ...storedLabel) {
	t.Helper()
	for i := range labels {
		labels[i].StoredAt = c.now
	}
	require.NoError(t, c.InsertRows(t.Context(), "feedback", labels))
}

// counted is what a counter finds, by model and reason.
func (c *clocked) counted(t *testing.T, counter *history.LabelCounter) map[string]uint64 {
	t.Helper()
	counts, err := counter.Count(t.Context(), []*schemas.Manifest{c.Manifest})
	require.NoError(t, err)
	got := map[string]uint64{}
	for _, count := range counts {
		got[count.Model+" "+count.Reason] += count.Labels
	}
	return got
}

func numbered(id string, partition int32, offset int64, observed time.Duration) storedLabel {
	value := 40.0
	return storedLabel{Model: "shop", RequestID: id, Label: &value, ObservedAt: historytest.WallClock.Add(observed), Partition: partition, Offset: offset}
}

// TestLabelsAreCountedByReason has labels that count, that were corrected through another
// partition or sent twice, that the target cannot use, and of requests and models that nobody knows.
func TestLabelsAreCountedByReason(t *testing.T) {
	c := newClocked(t)
	rows := c.Hour(0, 20, 0)
	var labels []storedLabel
	for i, o := range rows {
		labels = append(labels, numbered(o.RequestID, 3, int64(i), 0))
	}
	foreign := numbered(rows[0].RequestID, 0, 4, 0)
	foreign.Model = "shops"
	text := numbered(rows[2].RequestID, 0, 5, 9*time.Hour)
	text.Label, text.Class = nil, "bought"
	labels = append(labels,
		numbered(rows[0].RequestID, 0, 1, time.Hour), numbered(rows[1].RequestID, 3, 100, 0),
		numbered("nobody's", 0, 2, 0), numbered("nobody's", 0, 3, time.Hour), foreign, text)
	c.tell(t, labels...)
	counter := history.NewLabelCounter(history.New(c, c.Database()))
	c.now = c.now.Add(time.Minute)
	require.Empty(t, c.counted(t, counter), "their requests may still be on their way")

	c.now = c.now.Add(10 * time.Minute)
	require.Equal(t, map[string]uint64{
		"shop counts": 20, "shop superseded": 2, "shop unusable": 1, "shop unknown_request": 2, "shops unknown_model": 1,
	}, c.counted(t, counter), "text is later than a number, and corrects nothing")
	require.Empty(t, c.counted(t, counter), "each is counted once")
	require.Empty(t, c.counted(t, history.NewLabelCounter(history.New(c, c.Database()))), "also by the next counter")
}

// TestLabelsOfNobodyCostWhatArrives sends, every four hours of three days, a label that counts and one of
// a request that never comes. Observations are searched as far back as ever at most once a day, and
// every label is counted once, though the counter is replaced now and then.
func TestLabelsOfNobodyCostWhatArrives(t *testing.T) {
	c := newClocked(t)
	rows := c.Hour(0, 40, 0)
	counter := history.NewLabelCounter(history.New(c, c.Database()))
	total, sent, far := map[string]uint64{}, uint64(0), 0
	pass := func() {
		for reason, n := range c.counted(t, counter) {
			total[reason] += n
		}
		for _, query := range c.asked {
			if !strings.Contains(query, "scored_at") {
				far++
			}
		}
		c.asked = nil
	}
	for i := range 3 * 6 {
		c.tell(t, numbered(rows[i].RequestID, 0, int64(i), 0), numbered(fmt.Sprint("nobody's ", i), 0, int64(1000+i), 0))
		sent++
		c.now = c.now.Add(4 * time.Hour)
		pass()
		if i == 7 {
			counter = history.NewLabelCounter(history.New(c, c.Database()))
		}
	}
	require.Equal(t, 3+1, far, "one for each day, and one for the counter that knows of none")
	c.now = c.now.Add(25 * time.Hour)
	pass()
	require.Equal(t, map[string]uint64{"shop counts": sent, "shop unknown_request": sent}, total)
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
	look := func(from, since time.Time) ([]time.Time, bool) {
		starts, all, err := history.New(w, w.Database()).LabelledWindows(t.Context(), w.Manifest, from, since)
		require.NoError(t, err)
		return starts, all
	}
	hour := func(h int) time.Time { return historytest.Start.Add(time.Duration(h) * time.Hour) }
	ever := historytest.WallClock.AddDate(-50, 0, 0)
	starts, all := look(hour(199), ever)
	require.Equal(t, []time.Time{hour(200)}, starts)
	require.True(t, all)
	starts, all = look(hour(201), ever)
	require.Empty(t, starts)
	require.False(t, all)
	starts, all = look(hour(0), historytest.WallClock.AddDate(50, 0, 0))
	require.Empty(t, starts)
	require.True(t, all, "no label came since")
}
