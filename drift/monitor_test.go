package drift_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// world is a version's rows, and what judges them.
type world struct {
	*historytest.World
	t       testing.TB
	version drift.Version
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := historytest.NewWorld(tb)
	return &world{World: w, t: tb, version: drift.Version{Manifest: w.Manifest, Reference: w.Reference}}
}

// watermark is the least partition's greatest event time, less the lateness.
func (w *world) watermark() time.Time {
	greatest := map[int32]time.Time{}
	for _, o := range w.Rows {
		if o.EventTime.After(greatest[o.Partition]) {
			greatest[o.Partition] = o.EventTime
		}
	}
	var least time.Time
	for _, at := range greatest {
		if least.IsZero() || at.Before(least) {
			least = at
		}
	}
	return least.Truncate(time.Microsecond).Add(-10 * time.Minute)
}

// topic takes events as Kafka would.
type topic struct{ events []schemas.Event }

func (p *topic) Publish(_ context.Context, e schemas.Event) error {
	p.events = append(p.events, e)
	return nil
}

func (p *topic) kinds() []string {
	var out []string
	for _, e := range p.events {
		out = append(out, fmt.Sprintf("%s %s r%d", e.Data.WindowStart.Format("15:04"), e.Data.Kind, e.Data.Revision))
	}
	return out
}

// breached lists the checks of an event, the worst first.
func breached(e schemas.Event) []string {
	var out []string
	for _, b := range e.Data.Breaches {
		out = append(out, string(b.Stattest)+" "+b.Column)
	}
	return out
}

func (w *world) config() drift.Config {
	c := drift.DefaultConfig()
	c.MaxWindows, c.MaxRows = 3, 1500
	return c
}

func (w *world) monitor(conn history.Conn, pub drift.Publisher) *drift.Monitor {
	return drift.NewMonitor(w.config(), history.New(conn, w.Database()), pub, zerolog.New(zerolog.NewTestWriter(w.t)).Level(zerolog.WarnLevel))
}

func (w *world) tick(m *drift.Monitor, now time.Time) drift.TickStats {
	w.t.Helper()
	stats, err := m.Tick(w.t.Context(), now, []drift.Version{w.version})
	require.NoError(w.t, err)
	return stats
}

func TestMonitor(t *testing.T) {
	w := newWorld(t)
	pub := &topic{}
	m := w.monitor(w, pub)
	require.Empty(t, w.tick(m, historytest.WallClock).Judged, "no rows yet")

	// 00 calm; 01 the score shifts, and its labels are noise; 02 nothing at all; 03 items
	// shift; 04 too few rows; 05 labels are noise; 06 has few labels; 07 is open.
	bad := w.Hour(1, 900, 9)
	w.Label(bad, 5, false)
	w.Label(w.Hour(0, 800, 0), 10, true)
	w.Label(w.Hour(3, 700, 2), 10, true)
	w.Label(w.Hour(4, 50, 0), 10, true)
	noise := w.Hour(5, 600, 0)
	w.Label(noise, 2, false)
	w.Label(w.Hour(6, 400, 0)[:90], 2, true)
	w.Hour(7, 300, 0)

	stats := w.tick(m, historytest.WallClock)
	require.Equal(t, w.watermark(), stats.Watermarks["shop/1.0"])
	type row struct{ at, job, verdict string }
	var judged []row
	for _, j := range stats.Judged {
		judged = append(judged, row{j.WindowStart.Format("15"), j.Job, j.Verdict})
		h := int(j.WindowStart.Sub(historytest.Start).Hours())
		require.Equal(t, uint64(len(w.Answered(h))), j.Rows)
	}
	require.Equal(t, []row{
		{"00", "drift", "ok"},
		{"01", "drift", "breached"},
		{"03", "drift", "breached"},
		{"04", "drift", "too_few"},
		{"05", "drift", "ok"},
		{"06", "drift", "ok"},
		{"00", "accuracy", "ok"},
		{"01", "accuracy", "breached"},
		{"03", "accuracy", "ok"},
		{"04", "accuracy", "too_few"},
	}, judged)
	// Hour 01: ks of the score asks for retraining, beside psi of items, which does not. So
	// roc_auc, which asks for it too, is an alert.
	require.Equal(t, []string{"01:00 retraining r0", "03:00 drift r0", "01:00 accuracy r0"}, pub.kinds())
	retraining, accuracy := pub.events[0], pub.events[2]
	require.Equal(t, schemas.SeverityCritical, retraining.Data.Severity)
	require.Equal(t, []string{"psi items", "ks score", "drift_share "}, breached(retraining))
	require.Nil(t, retraining.Data.LastRetraining)
	require.Equal(t, []string{"roc_auc ", "accuracy "}, breached(accuracy))
	require.Empty(t, accuracy.Data.TrainingSQL)
	require.Equal(t, &schemas.RetrainingRequest{
		EventID: retraining.ID, WindowStart: retraining.Data.WindowStart, WindowEnd: retraining.Data.WindowEnd, AskedAt: historytest.WallClock,
	}, accuracy.Data.LastRetraining)

	t.Run("training SQL runs as it is", func(t *testing.T) {
		sql := retraining.Data.TrainingSQL
		require.NotContains(t, sql, "\n")
		labelled := 0
		for _, h := range []int{0, 1} {
			for _, o := range w.Answered(h) {
				if _, ok := w.Labels[o.RequestID]; ok {
					labelled++
				}
			}
		}
		require.Equal(t, uint64(labelled), clickhousetest.Count(t, w.Client, "SELECT count() AS n FROM ("+sql+")"))
		var right []struct {
			ID    string  `ch:"request_id"`
			Label float64 `ch:"l"`
			Items int32   `ch:"items"`
		}
		require.NoError(t, w.Select(t.Context(), &right, "SELECT request_id, assumeNotNull(feedback_label) AS l, items FROM ("+sql+")"))
		for _, r := range right {
			require.Equal(t, w.Labels[r.ID], r.Label)
		}
	})
	t.Run("quality equals a count of the rows", func(t *testing.T) {
		for _, j := range stats.Judged {
			if j.Job != "accuracy" || j.Verdict == "too_few" {
				continue
			}
			w.requireQuality(t, j)
		}
	})
	t.Run("result tables", func(t *testing.T) {
		require.Equal(t, uint64(6+4), clickhousetest.Count(t, w.Client, "SELECT count() AS n FROM {db}.windows"))
		// 5 judged windows, 7 columns with psi, 4 with ks, 3 with chisquare, and drift_share.
		require.Equal(t, uint64(5*15), clickhousetest.Count(t, w.Client, "SELECT count() AS n FROM {db}.drift_results FINAL"))
		require.Equal(t, uint64(5*4), clickhousetest.Count(t, w.Client, "SELECT countIf(threshold IS NOT NULL) AS n FROM {db}.drift_results FINAL"))
		require.Equal(t, uint64(3*12), clickhousetest.Count(t, w.Client, "SELECT count() AS n FROM {db}.accuracy_results FINAL"))
	})

	// Nothing new: one small query, and nothing is judged, also after a restart.
	counting := &flaky{Conn: w, Publisher: pub, failAt: -1}
	again := w.monitor(counting, counting)
	for i := range 4 { // the labels of some windows a pass, which were looked at for the first time
		require.Empty(t, w.tick(again, historytest.WallClock.Add(time.Duration(1+i)*time.Second)).Judged)
	}
	before := counting.calls
	require.Empty(t, w.tick(again, historytest.WallClock.Add(2*time.Minute)).Judged)
	require.Equal(t, before+1, counting.calls, "an idle tick")

	// Late rows in hours 00 and 01: revisions of both jobs, no second retraining event.
	m, pub.events = again, nil
	w.Hour(1, 60, 9)
	late := w.Hour(0, 70, 0)
	stats = w.tick(m, historytest.WallClock.Add(4*time.Minute))
	judged = nil
	for _, j := range stats.Judged {
		if j.Revision == 1 {
			judged = append(judged, row{j.WindowStart.Format("15"), j.Job, j.Verdict})
			require.Equal(t, uint64(len(w.Answered(int(j.WindowStart.Sub(historytest.Start).Hours())))), j.Rows)
		}
	}
	require.Equal(t, []row{
		{"00", "drift", "ok"}, {"01", "drift", "breached"}, {"00", "accuracy", "ok"}, {"01", "accuracy", "breached"},
	}, judged, "%d late rows", len(late))
	require.Equal(t, []string{"01:00 drift r1", "01:00 accuracy r1"}, pub.kinds())
	require.Equal(t, []string{"psi items", "ks score", "drift_share "}, breached(pub.events[0]))
	require.NotEqual(t, accuracy.ID, pub.events[1].ID, "a revision is an event of its own")
	// By now every partition is idle; the greatest event time has not changed.
	require.Len(t, stats.Judged, 4)

	// A window that had no rows when it closed.
	pub.events = nil
	w.Hour(2, 150, 0)
	stats = w.tick(m, historytest.WallClock.Add(8*time.Minute))
	require.Equal(t, "2001-02-01T02:00:00Z drift r0", fmt.Sprintf("%s %s r%d", stats.Judged[0].WindowStart.Format(time.RFC3339), stats.Judged[0].Job, stats.Judged[0].Revision))

	// Time goes on: 05 has noise for labels and raises retraining by accuracy alone.
	pub.events = nil
	w.Hour(9, 400, 0)
	stats = w.tick(m, historytest.WallClock.Add(12*time.Minute))
	require.Equal(t, []string{"05:00 retraining r0"}, pub.kinds())
	require.ElementsMatch(t, []string{"accuracy ", "roc_auc "}, breached(pub.events[0]))
	for _, j := range stats.Judged {
		if j.Job == "accuracy" && j.WindowStart.Hour() == 6 {
			require.Equal(t, string(schemas.VerdictTooFew), j.Verdict)
			require.Less(t, j.Labels, uint64(100))
		}
	}
}

// A wrong event time in every partition, and a partition and a version with no others.
func TestEventTimesInTheFuture(t *testing.T) {
	w := newWorld(t)
	pub := &topic{}
	m := w.monitor(w, pub)
	far := time.Date(2250, 1, 1, 0, 0, 0, 0, time.UTC)
	var wrong []historytest.Observation
	for i := range 5 {
		o := w.Observe(far, i, 0)
		o.Partition = int32(i)
		wrong = append(wrong, o)
	}
	insert := func(rows []historytest.Observation) {
		t.Helper()
		require.NoError(t, w.InsertRows(t.Context(), schemas.ObservationsTable("shop"), rows))
	}
	insert(wrong)
	stats := w.tick(m, historytest.WallClock)
	require.Empty(t, stats.Watermarks, "nothing usable was seen")
	require.Empty(t, stats.Judged)

	for h := range 3 {
		w.Hour(h, 400, 0)
		insert(wrong) // beside normal rows of the same minute
	}
	stats = w.tick(m, historytest.WallClock)
	require.Equal(t, w.watermark(), stats.Watermarks["shop/1.0"])
	require.Len(t, stats.Judged, 2, "00 and 01, of drift: labels are awaited longer")

	w.Hour(3, 400, 0)
	for _, mon := range []*drift.Monitor{m, w.monitor(w, pub)} { // the second has read it all anew
		stats = w.tick(mon, historytest.WallClock.Add(time.Second))
		require.Equal(t, w.watermark(), stats.Watermarks["shop/1.0"])
	}

	// States as they were before they left such rows out, then derived anew.
	require.NoError(t, w.Exec(t.Context(), "INSERT INTO "+w.Database()+".minute_states (model, version, minute, request_topic_id, request_partition, requests, event_time_max, scored_at_max) "+
		"SELECT 'shop', '1.0', minute, request_topic_id, 0, 1, toDateTime64('2250-01-01 00:00:00', 6, 'UTC'), scored_at_max FROM "+w.Database()+".minute_states LIMIT 1"))
	require.Equal(t, w.watermark(), w.tick(w.monitor(w, pub), historytest.WallClock).Watermarks["shop/1.0"])
	for _, want := range []int{1, 0} {
		repaired, err := w.Reconcile(t.Context(), "shop", historytest.WallClock, historytest.WallClock)
		require.NoError(t, err)
		require.Equal(t, want, repaired)
		require.Equal(t, w.watermark(), w.tick(w.monitor(w, pub), historytest.WallClock).Watermarks["shop/1.0"])
	}
	require.Zero(t, clickhousetest.Count(t, w.Client, "SELECT countIf(event_time_max > scored_at_max) AS n FROM {db}.minute_states"))
}

// requireQuality recomputes accuracy and ROC AUC from the rows.
func (w *world) requireQuality(t *testing.T, j drift.Judged) {
	t.Helper()
	var positive, negative []float64
	right := 0
	for _, o := range w.Answered(int(j.WindowStart.Sub(historytest.Start).Hours())) {
		label, ok := w.Labels[o.RequestID]
		if !ok {
			continue
		}
		score := float64(*o.Probability)
		if label > 15 {
			positive = append(positive, score)
		} else {
			negative = append(negative, score)
		}
		if (score >= 0.5) == (label > 15) {
			right++
		}
	}
	n := len(positive) + len(negative)
	require.Equal(t, uint64(n), j.Labels)
	u := 0.0
	for _, p := range positive {
		for _, q := range negative {
			if p > q {
				u++
			} else if p == q {
				u += 0.5
			}
		}
	}
	for _, r := range j.Accuracy {
		switch r.Metric {
		case "accuracy":
			require.InDelta(t, float64(right)/float64(n), *r.Value, 1e-12)
		case "roc_auc":
			require.InDelta(t, u/float64(len(positive)*len(negative)), *r.Value, 1e-12)
		}
	}
}

// flaky is a ClickHouse and a publisher that fail at one call, before or after doing it.
type flaky struct {
	history.Conn
	drift.Publisher
	calls, failAt int
	after         bool
}

var errKilled = errors.New("killed")

func (f *flaky) do(call func() error) error {
	f.calls++
	if f.calls-1 != f.failAt {
		return call()
	}
	if f.after {
		if err := call(); err != nil {
			return err
		}
	}
	return errKilled
}

func (f *flaky) Select(ctx context.Context, dest any, query string, args ...any) error {
	return f.do(func() error { return f.Conn.Select(ctx, dest, query, args...) })
}

func (f *flaky) InsertRows(ctx context.Context, table string, rows any) error {
	return f.do(func() error { return f.Conn.InsertRows(ctx, table, rows) })
}

func (f *flaky) Publish(ctx context.Context, e schemas.Event) error {
	return f.do(func() error { return f.Publisher.Publish(ctx, e) })
}

// stride is the distance between the calls that are killed: all are with MILLRACE_TEST_LONG.
func stride(short int) int {
	if os.Getenv("MILLRACE_TEST_LONG") != "" {
		return 1
	}
	return short
}

// TestMonitorKilledAnywhere stops the monitor at some of its calls (make test-killed: at each) in turn, before and after
// the call was done, and starts another one. Results and the set of events are those of
// an undisturbed run.
func TestMonitorKilledAnywhere(t *testing.T) {
	t.Run("hours", func(t *testing.T) { killedAnywhere(t, 1, 4) })
	t.Run("hours, and two hours that slide", func(t *testing.T) { killedAnywhere(t, 4, 9, hours(2, 1)) })
}

// killedAnywhere tries every so many-th call, and wants so many events.
func killedAnywhere(t *testing.T, every, wanted int, windows ...schemas.Windows) {
	t.Helper()
	w := newWorld(t)
	w.also(windows...)
	w.Label(w.Hour(0, 300, 9), 5, false)
	w.Label(w.Hour(1, 300, 2), 5, false)
	w.Label(w.Hour(2, 300, 0), 5, true)
	w.Hour(3, 300, 0)
	w.Hour(5, 300, 0)

	results := func() string {
		var out []struct {
			Text string `ch:"text"`
		}
		var all strings.Builder
		for _, q := range []string{
			"SELECT toString(tuple(window_kind, window_start, revision, column, stattest, score, drifted, retrain, rows, missing)) AS text FROM {db}.drift_results FINAL ORDER BY text",
			"SELECT toString(tuple(window_kind, window_start, revision, metric, value, breached, retrain, rows, labels)) AS text FROM {db}.accuracy_results FINAL ORDER BY text",
			"SELECT toString(tuple(window_kind, job, window_start, window_end, revision, rows, labels, verdict)) AS text FROM {db}.windows FINAL ORDER BY text",
		} {
			require.NoError(t, w.Select(t.Context(), &out, strings.ReplaceAll(q, "{db}", w.Database())))
			for _, r := range out {
				all.WriteString(r.Text + "\n")
			}
		}
		return all.String()
	}
	reset := func() {
		for _, table := range []string{"drift_results", "accuracy_results", "windows", "label_looks"} {
			require.NoError(t, w.Exec(t.Context(), "TRUNCATE TABLE "+w.Database()+"."+table))
		}
	}
	ids := func(p *topic) map[string]string {
		out := map[string]string{}
		for _, e := range p.events {
			breaches, err := json.Marshal(e.Data.Breaches)
			require.NoError(t, err)
			text := fmt.Sprintf("%s %s %s", e.Data.WindowStart, e.Data.Kind, breaches)
			if was, ok := out[e.ID]; ok {
				require.Equal(t, was, text, "a repeated event says the same")
			}
			out[e.ID] = text
		}
		return out
	}
	undisturbed := &flaky{Conn: w, Publisher: &topic{}, failAt: -1}
	w.tick(w.monitor(undisturbed, undisturbed), historytest.WallClock)
	want, events := results(), ids(undisturbed.Publisher.(*topic))
	require.Len(t, events, wanted, "%v", events)
	require.Greater(t, undisturbed.calls, 15)

	// What is read outlives no monitor: killed at a reading is killed after the writing before it.
	reset()
	writes := writing{&flaky{Conn: w, Publisher: &topic{}, failAt: -1}}
	w.tick(w.monitor(writes, writes), historytest.WallClock)
	require.Greater(t, writes.calls, 8)
	for failAt := 0; failAt < writes.calls; failAt += stride(6 * every) {
		for _, after := range []bool{false, true} {
			reset()
			p := &topic{}
			f := writing{&flaky{Conn: w, Publisher: p, failAt: failAt, after: after}}
			_, err := w.monitor(f, f).Tick(t.Context(), historytest.WallClock, []drift.Version{w.version})
			require.ErrorIs(t, err, errKilled)
			w.tick(w.monitor(w, p), historytest.WallClock)
			require.Equal(t, want, results(), "killed at call %d, after %v", failAt, after)
			require.Equal(t, events, ids(p), "killed at call %d, after %v", failAt, after)
		}
	}
	for failAt := 0; failAt < undisturbed.calls; failAt += stride(31 * every) {
		// The same monitor, its ClickHouse back, goes on by itself.
		reset()
		p := &topic{}
		f := &flaky{Conn: w, Publisher: p, failAt: failAt}
		m := w.monitor(f, f)
		_, err := m.Tick(t.Context(), historytest.WallClock, []drift.Version{w.version})
		if err == nil { // what is asked for a reason alone holds nothing up
			require.True(t, slices.ContainsFunc(p.events, func(e schemas.Event) bool { return strings.Contains(e.Data.NoReason, "killed") }), "failed at call %d", failAt)
		} else {
			require.ErrorIs(t, err, errKilled)
		}
		w.tick(m, historytest.WallClock)
		require.Equal(t, want, results(), "failed at call %d", failAt)
		require.Equal(t, events, ids(p), "failed at call %d", failAt)
	}
}
