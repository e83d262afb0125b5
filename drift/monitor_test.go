package drift_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
)

// Features and outputs bear names that queries and tables use themselves, and categories
// hold what SQL escapes.
type observation struct {
	Amount      *float32  `ch:"amount"`
	Items       int32     `ch:"items"`
	W           float64   `ch:"w"`
	Country     string    `ch:"t"`
	Member      bool      `ch:"n"`
	Note        *string   `ch:"label"`
	RequestID   string    `ch:"request_id"`
	EventTime   time.Time `ch:"event_time"`
	TopicID     string    `ch:"request_topic_id"`
	Partition   int32     `ch:"request_partition"`
	Offset      int64     `ch:"request_offset"`
	Probability *float32  `ch:"score"`
	Version     string    `ch:"version"`
	Outcome     string    `ch:"outcome"`
	LatencyUS   int64     `ch:"latency_us"`
	ScoredAt    time.Time `ch:"scored_at"`
}

type feedback struct {
	Model      string    `ch:"model"`
	RequestID  string    `ch:"request_id"`
	Label      *float64  `ch:"label"`
	ObservedAt time.Time `ch:"observed_at"`
	ReceivedAt time.Time `ch:"received_at"`
	Offset     int64     `ch:"feedback_offset"`
}

var (
	countries = []string{"it's", `back\slash`, "? {x:String}", "größe", "new\nline", ""}
	edges     = map[string][]float64{
		"amount": {-1e30, -1, 0, 0.1, float64(float32(0.1)), 1.0 / 3, 2, 1e30}, "items": {0, 1, 2, 3, 5, 8},
		"w": {-1e-300, 0, 1e-300, 0.1, 0.7, 1e6, 1e300}, "score": {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9},
	}
	categories = map[string][]string{"t": countries[:5], "n": {"false", "true"}, "label": {"a", "b"}}
	start      = time.Date(2001, 2, 1, 0, 0, 0, 0, time.UTC)
	wallClock  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

func manifest() *schemas.Manifest {
	return &schemas.Manifest{
		Name: "shop", Version: "1.0",
		Features: []schemas.Feature{
			{Name: "amount", Type: schemas.TypeFloat32, Optional: true},
			{Name: "items", Type: schemas.TypeInt32},
			{Name: "w", Type: schemas.TypeFloat64},
			{Name: "t", Type: schemas.TypeCategory, Categories: countries},
			{Name: "n", Type: schemas.TypeBool},
			{Name: "label", Type: schemas.TypeString, Optional: true},
		},
		Outputs: []schemas.Output{{Name: "score", Type: schemas.TypeFloat32}},
		Target:  &schemas.Target{Kind: schemas.TargetBinary, Score: "score", Threshold: 0.5, PositiveAbove: 15},
		Monitoring: &schemas.Monitoring{
			Window: schemas.Duration(time.Hour), Lateness: schemas.Duration(10 * time.Minute),
			IdleTimeout: schemas.Duration(time.Minute), LabelDelay: schemas.Duration(2 * time.Hour), MinRows: 100,
			Checks: []schemas.Check{
				{Stattest: schemas.StattestPSI, Column: "items", Threshold: 0.25, Severity: schemas.SeverityWarning},
				{Stattest: schemas.StattestKS, Column: "score", Threshold: 0.3, Severity: schemas.SeverityCritical, Retrain: true},
				{Stattest: schemas.StattestChiSquare, Column: "t", Threshold: 0.9, Severity: schemas.SeverityWarning},
				{Stattest: schemas.StattestShare, Threshold: 0.6, Severity: schemas.SeverityInfo},
				{Stattest: schemas.StattestAccuracy, Threshold: 0.6, Severity: schemas.SeverityWarning},
				{Stattest: schemas.StattestAUC, Threshold: 0.6, Severity: schemas.SeverityCritical, Retrain: true},
			},
		},
	}
}

// world is a database with rows of a version, and the same rows here.
type world struct {
	*clickhouse.Client
	t       testing.TB
	random  *rand.Rand
	version drift.Version
	rows    []observation
	labels  map[string]float64
	offset  int64
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	const seed = 7
	tb.Logf("seed %d", seed)
	m := manifest()
	w := &world{
		Client: clickhousetest.Client(tb), t: tb, random: rand.New(rand.NewPCG(seed, seed)),
		labels: map[string]float64{},
	}
	require.NoError(tb, w.EnsureTable(tb.Context(), m.ObservationSchema()))
	var reference []observation
	for i := range 5000 {
		reference = append(reference, w.observe(start.Add(-time.Hour), i, 0))
	}
	w.version = drift.Version{Manifest: m, Reference: w.reference(reference)}
	w.offset = 0
	return w
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// observe makes a row; shift moves its numbers up.
func (w *world) observe(at time.Time, i, shift int) observation {
	r := w.random
	amount := float32(r.NormFloat64())
	score := float32(math.Min(0.999, math.Max(0, r.Float64()*0.8+0.05*float64(shift))))
	w.offset++
	o := observation{
		Amount: &amount, Items: int32(r.IntN(8) + shift), W: r.NormFloat64(), Country: pick(r, countries...), Member: r.IntN(3) == 0,
		RequestID: fmt.Sprintf("6ba7b810-9dad-11d1-80b4-00c04fd430c8/%d/%d", i%4, w.offset), EventTime: at, TopicID: "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
		Partition: int32(i % 4), Offset: w.offset, Probability: &score, Version: "1.0", Outcome: schemas.OutcomeOK, ScoredAt: wallClock,
	}
	nan := float32(math.NaN())
	inf := float32(math.Inf(1 - 2*r.IntN(2)))
	tenth := float32(0.1)
	switch r.IntN(12) { // values that binning gets wrong first
	case 0:
		o.Amount = nil
	case 1:
		o.Amount = &nan
	case 2:
		o.Amount = &inf
	case 3:
		o.Amount = &tenth
	case 4:
		o.W = math.NaN()
	case 5:
		o.W = pick(r, append([]float64{0.1 - 1e-17, math.Nextafter(0.1, 0), math.Nextafter(0.7, 1), math.Copysign(0, -1)}, edges["w"]...)...)
	case 6:
		o.Country = "unknown"
	}
	if r.IntN(2) == 0 {
		note := pick(r, "a", "b", "c")
		o.Note = &note
	}
	if r.IntN(50) == 0 {
		o.Outcome, o.Probability = schemas.OutcomeFailed, nil
	}
	return o
}

// count counts as CountCells should.
func (w *world) count(rows []observation, c string) profile.Counts {
	var out profile.Counts
	if e, ok := edges[c]; ok {
		out.Cells = make([]int64, len(e)+1)
		for _, o := range rows {
			value := math.NaN()
			switch {
			case c == "amount" && o.Amount != nil:
				value = float64(*o.Amount)
			case c == "items":
				value = float64(o.Items)
			case c == "w":
				value = o.W
			case c == "score" && o.Probability != nil:
				value = float64(*o.Probability)
			}
			if math.IsNaN(value) {
				out.Missing++
				continue
			}
			out.Cells[sort.Search(len(e), func(i int) bool { return e[i] > value })]++
		}
		return out
	}
	out.Cells = make([]int64, len(categories[c]))
	for _, o := range rows {
		value := map[string]string{"t": o.Country, "n": strconv.FormatBool(o.Member)}[c]
		if c == "label" {
			if o.Note == nil {
				out.Missing++
				continue
			}
			value = *o.Note
		}
		if i := slices.Index(categories[c], value); i >= 0 {
			out.Cells[i]++
		} else {
			out.Other++
		}
	}
	return out
}

func (w *world) reference(rows []observation) *schemas.Reference {
	ref := &schemas.Reference{Rows: int64(len(rows)), Quality: map[schemas.Stattest]float64{schemas.StattestAUC: 0.8}}
	for _, c := range []string{"amount", "items", "w", "t", "n", "label", "score"} {
		n := w.count(rows, c)
		ref.Columns = append(ref.Columns, schemas.ReferenceColumn{
			Name: c, Edges: edges[c], Categories: categories[c], Counts: n.Cells, Other: n.Other, Missing: n.Missing,
		})
	}
	return ref
}

// hour stores n rows, spread over hour h of the four partitions.
func (w *world) hour(h, n, shift int) []observation {
	w.t.Helper()
	rows := make([]observation, n)
	for i := range rows {
		at := start.Add(time.Duration(h)*time.Hour + time.Duration(i)*time.Hour/time.Duration(n))
		rows[i] = w.observe(at, i, shift)
	}
	w.store(rows)
	return rows
}

func (w *world) store(rows []observation) {
	w.t.Helper()
	require.NoError(w.t, w.InsertRows(w.t.Context(), schemas.ObservationsTable("shop"), rows))
	w.rows = append(w.rows, rows...)
}

// label stores a label for each row but every skip-th; good ones follow the score.
func (w *world) label(rows []observation, skip int, good bool) {
	w.t.Helper()
	var out []feedback
	for i, o := range rows {
		if i%skip == 0 {
			continue
		}
		p := 0.5
		if good && o.Probability != nil {
			p = float64(*o.Probability)
		}
		label := 15.0 // not above
		if w.random.Float64() < p {
			label = 40
		}
		wrong := 55 - label
		// A correction follows; what counts is the greater offset, not the order of storing.
		out = append(out, feedback{"shop", o.RequestID, &label, o.EventTime, wallClock, 2*o.Offset + 1},
			feedback{"shop", o.RequestID, &wrong, o.EventTime, wallClock, 2 * o.Offset},
			feedback{"another", o.RequestID, &wrong, o.EventTime, wallClock, 2*o.Offset + 9},
			feedback{"shop", o.RequestID, nil, o.EventTime, wallClock, 2*o.Offset + 5})
		w.labels[o.RequestID] = label
	}
	require.NoError(w.t, w.InsertRows(w.t.Context(), "feedback", out))
}

func (w *world) answered(h int) []observation {
	from, to := start.Add(time.Duration(h)*time.Hour), start.Add(time.Duration(h+1)*time.Hour)
	return slices.DeleteFunc(slices.Clone(w.rows), func(o observation) bool {
		return o.Outcome != schemas.OutcomeOK || o.Version != "1.0" || o.EventTime.Before(from) || !o.EventTime.Before(to)
	})
}

// watermark is the least partition's greatest event time, less the lateness.
func (w *world) watermark() time.Time {
	greatest := map[int32]time.Time{}
	for _, o := range w.rows {
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

func (w *world) config() drift.Config {
	c := drift.DefaultConfig()
	c.Database, c.MaxWindows, c.MaxRows = w.Database(), 3, 1500
	return c
}

func (w *world) monitor(store drift.Store, pub drift.Publisher) *drift.Monitor {
	return drift.NewMonitor(w.config(), store, pub, zerolog.New(zerolog.NewTestWriter(w.t)).Level(zerolog.WarnLevel))
}

func (w *world) tick(m *drift.Monitor, now time.Time) drift.TickStats {
	w.t.Helper()
	stats, err := m.Tick(w.t.Context(), now, []drift.Version{w.version})
	require.NoError(w.t, err)
	return stats
}

func TestCountCellsEqualsRows(t *testing.T) {
	w := newWorld(t)
	for h := range 4 {
		w.hour(h, 700, h%2)
	}
	other := w.observe(start, 0, 0)
	other.Version = "2"
	w.store([]observation{other})
	starts := []time.Time{start, start.Add(time.Hour), start.Add(3 * time.Hour), start.Add(9 * time.Hour)}
	got, err := drift.CountCells(t.Context(), w, w.Database(), w.version, starts)
	require.NoError(t, err)
	require.Len(t, got, 4)
	for i, h := range []int{0, 1, 3, 9} {
		rows := w.answered(h)
		require.Equal(t, uint64(len(rows)), got[i].Rows)
		for j, c := range w.version.Reference.Columns {
			require.Equal(t, w.count(rows, c.Name), got[i].Columns[j], "hour %d, column %q", h, c.Name)
		}
	}
}

func TestMonitor(t *testing.T) {
	w := newWorld(t)
	pub := &topic{}
	m := w.monitor(w, pub)
	require.Empty(t, w.tick(m, wallClock).Judged, "no rows yet")

	// 00 calm; 01 the score shifts, and its labels are noise; 02 nothing at all; 03 items
	// shift; 04 too few rows; 05 labels are noise; 06 has few labels; 07 is open.
	bad := w.hour(1, 900, 9)
	w.label(bad, 5, false)
	w.label(w.hour(0, 800, 0), 10, true)
	w.label(w.hour(3, 700, 2), 10, true)
	w.label(w.hour(4, 50, 0), 10, true)
	noise := w.hour(5, 600, 0)
	w.label(noise, 2, false)
	w.label(w.hour(6, 400, 0)[:90], 2, true)
	w.hour(7, 300, 0)

	stats := w.tick(m, wallClock)
	require.Equal(t, w.watermark(), stats.Watermarks["shop/1.0"])
	type row struct{ at, job, verdict string }
	var judged []row
	for _, j := range stats.Judged {
		judged = append(judged, row{j.WindowStart.Format("15"), j.Job, j.Verdict})
		h := int(j.WindowStart.Sub(start).Hours())
		require.Equal(t, uint64(len(w.answered(h))), j.Rows)
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
	// Hour 01: its psi of items goes to a drift alert, ks of the score raises retraining, and
	// so roc_auc, which asks for it too, joins the accuracy alert.
	require.Equal(t, []string{"01:00 drift r0", "01:00 retraining r0", "03:00 drift r0", "01:00 accuracy r0"}, pub.kinds())
	retraining := pub.events[1]
	require.Equal(t, schemas.SeverityCritical, retraining.Data.Severity)
	require.Equal(t, []schemas.Stattest{schemas.StattestKS}, []schemas.Stattest{retraining.Data.Breaches[0].Stattest})
	require.Len(t, pub.events[3].Data.Breaches, 2)

	t.Run("training SQL runs as it is", func(t *testing.T) {
		sql := retraining.Data.TrainingSQL
		require.NotContains(t, sql, "\n")
		labelled := 0
		for _, h := range []int{0, 1} {
			for _, o := range w.answered(h) {
				if _, ok := w.labels[o.RequestID]; ok {
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
			require.Equal(t, w.labels[r.ID], r.Label)
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
		require.Equal(t, uint64(3*4), clickhousetest.Count(t, w.Client, "SELECT count() AS n FROM {db}.accuracy_results FINAL"))
	})

	// Nothing new: one small query, and nothing is judged, also after a restart.
	counting := &flaky{Store: w, Publisher: pub, failAt: -1}
	again := w.monitor(counting, counting)
	require.Empty(t, w.tick(again, wallClock.Add(time.Second)).Judged)
	before := counting.calls
	require.Empty(t, w.tick(again, wallClock.Add(2*time.Minute)).Judged)
	require.Equal(t, before+1, counting.calls, "an idle tick")

	// Late rows in hours 00 and 01: revisions of both jobs, no second retraining event.
	m, pub.events = again, nil
	w.hour(1, 60, 9)
	late := w.hour(0, 70, 0)
	stats = w.tick(m, wallClock.Add(4*time.Minute))
	judged = nil
	for _, j := range stats.Judged {
		if j.Revision == 1 {
			judged = append(judged, row{j.WindowStart.Format("15"), j.Job, j.Verdict})
			require.Equal(t, uint64(len(w.answered(int(j.WindowStart.Sub(start).Hours())))), j.Rows)
		}
	}
	require.Equal(t, []row{
		{"00", "drift", "ok"}, {"01", "drift", "breached"}, {"00", "accuracy", "ok"}, {"01", "accuracy", "breached"},
	}, judged, "%d late rows", len(late))
	require.Equal(t, []string{"01:00 drift r1", "01:00 accuracy r1"}, pub.kinds())
	// By now every partition is idle; the greatest event time has not changed.
	require.Len(t, stats.Judged, 4)

	// A window that had no rows when it closed.
	pub.events = nil
	w.hour(2, 150, 0)
	stats = w.tick(m, wallClock.Add(8*time.Minute))
	require.Equal(t, "2001-02-01T02:00:00Z drift r0", fmt.Sprintf("%s %s r%d", stats.Judged[0].WindowStart.Format(time.RFC3339), stats.Judged[0].Job, stats.Judged[0].Revision))

	// Time goes on: 05 has noise for labels and raises retraining by accuracy alone.
	pub.events = nil
	w.hour(9, 400, 0)
	stats = w.tick(m, wallClock.Add(12*time.Minute))
	require.Equal(t, []string{"05:00 accuracy r0", "05:00 retraining r0"}, pub.kinds())
	require.Equal(t, schemas.StattestAUC, pub.events[1].Data.Breaches[0].Stattest)
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
	var wrong []observation
	for i := range 5 {
		o := w.observe(far, i, 0)
		o.Partition = int32(i)
		wrong = append(wrong, o)
	}
	insert := func(rows []observation) {
		t.Helper()
		require.NoError(t, w.InsertRows(t.Context(), schemas.ObservationsTable("shop"), rows))
	}
	insert(wrong)
	stats := w.tick(m, wallClock)
	require.Empty(t, stats.Watermarks, "nothing usable was seen")
	require.Empty(t, stats.Judged)

	for h := range 3 {
		w.hour(h, 400, 0)
		insert(wrong) // beside normal rows of the same minute
	}
	stats = w.tick(m, wallClock)
	require.Equal(t, w.watermark(), stats.Watermarks["shop/1.0"])
	require.Len(t, stats.Judged, 2, "00 and 01, of drift: labels are awaited longer")

	w.hour(3, 400, 0)
	for _, mon := range []*drift.Monitor{m, w.monitor(w, pub)} { // the second has read it all anew
		stats = w.tick(mon, wallClock.Add(time.Second))
		require.Equal(t, w.watermark(), stats.Watermarks["shop/1.0"])
	}

	// States as they were before they left such rows out, then derived anew.
	require.NoError(t, w.Exec(t.Context(), "INSERT INTO "+w.Database()+".minute_states (model, version, minute, request_topic_id, request_partition, requests, event_time_max, scored_at_max) "+
		"SELECT 'shop', '1.0', minute, request_topic_id, 0, 1, toDateTime64('2250-01-01 00:00:00', 6, 'UTC'), scored_at_max FROM "+w.Database()+".minute_states LIMIT 1"))
	require.Equal(t, w.watermark(), w.tick(w.monitor(w, pub), wallClock).Watermarks["shop/1.0"])
	for _, want := range []int{1, 0} {
		repaired, err := w.Reconcile(t.Context(), "shop", wallClock, wallClock)
		require.NoError(t, err)
		require.Equal(t, want, repaired)
		require.Equal(t, w.watermark(), w.tick(w.monitor(w, pub), wallClock).Watermarks["shop/1.0"])
	}
	require.Zero(t, clickhousetest.Count(t, w.Client, "SELECT countIf(event_time_max > scored_at_max) AS n FROM {db}.minute_states"))
}

// requireQuality recomputes accuracy and ROC AUC from the rows.
func (w *world) requireQuality(t *testing.T, j drift.Judged) {
	t.Helper()
	var positive, negative []float64
	right := 0
	for _, o := range w.answered(int(j.WindowStart.Sub(start).Hours())) {
		label, ok := w.labels[o.RequestID]
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

// flaky is a store and a publisher that fail at one call, before or after doing it.
type flaky struct {
	drift.Store
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
	return f.do(func() error { return f.Store.Select(ctx, dest, query, args...) })
}

func (f *flaky) InsertRows(ctx context.Context, table string, rows any) error {
	return f.do(func() error { return f.Store.InsertRows(ctx, table, rows) })
}

func (f *flaky) Publish(ctx context.Context, e schemas.Event) error {
	return f.do(func() error { return f.Publisher.Publish(ctx, e) })
}

// TestMonitorKilledAnywhere stops the monitor at each of its calls in turn, before and after
// the call was done, and starts another one. Results and the set of events are those of
// an undisturbed run.
func TestMonitorKilledAnywhere(t *testing.T) {
	w := newWorld(t)
	w.label(w.hour(0, 300, 9), 5, false)
	w.label(w.hour(1, 300, 2), 5, false)
	w.label(w.hour(2, 300, 0), 5, true)
	w.hour(3, 300, 0)
	w.hour(5, 300, 0)

	results := func() string {
		var out []struct {
			Text string `ch:"text"`
		}
		var all strings.Builder
		for _, q := range []string{
			"SELECT toString(tuple(window_start, revision, column, stattest, score, drifted, retrain, rows, missing)) AS text FROM {db}.drift_results FINAL ORDER BY text",
			"SELECT toString(tuple(window_start, revision, metric, value, breached, retrain, rows, labels)) AS text FROM {db}.accuracy_results FINAL ORDER BY text",
			"SELECT toString(tuple(job, window_start, window_end, revision, rows, labels, verdict)) AS text FROM {db}.windows FINAL ORDER BY text",
		} {
			require.NoError(t, w.Select(t.Context(), &out, strings.ReplaceAll(q, "{db}", w.Database())))
			for _, r := range out {
				all.WriteString(r.Text + "\n")
			}
		}
		return all.String()
	}
	reset := func() {
		for _, table := range []string{"drift_results", "accuracy_results", "windows"} {
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
	undisturbed := &flaky{Store: w, Publisher: &topic{}, failAt: -1}
	w.tick(w.monitor(undisturbed, undisturbed), wallClock)
	want, events := results(), ids(undisturbed.Publisher.(*topic))
	require.Len(t, events, 6, "%v", events)
	require.Greater(t, undisturbed.calls, 15)

	for failAt := range undisturbed.calls {
		for _, after := range []bool{false, true} {
			reset()
			p := &topic{}
			f := &flaky{Store: w, Publisher: p, failAt: failAt, after: after}
			_, err := w.monitor(f, f).Tick(t.Context(), wallClock, []drift.Version{w.version})
			require.ErrorIs(t, err, errKilled)
			w.tick(w.monitor(w, p), wallClock)
			require.Equal(t, want, results(), "killed at call %d, after %v", failAt, after)
			require.Equal(t, events, ids(p), "killed at call %d, after %v", failAt, after)

			if after || failAt%3 != 0 {
				continue
			}
			// The same monitor, its ClickHouse back, goes on by itself.
			reset()
			p = &topic{}
			f = &flaky{Store: w, Publisher: p, failAt: failAt, after: after}
			m := w.monitor(f, f)
			_, err = m.Tick(t.Context(), wallClock, []drift.Version{w.version})
			require.ErrorIs(t, err, errKilled)
			w.tick(m, wallClock)
			require.Equal(t, want, results(), "failed at call %d, after %v", failAt, after)
			require.Equal(t, events, ids(p), "failed at call %d, after %v", failAt, after)
		}
	}
}

// nothing is a store without rows.
type nothing struct{ selects int }

func (n *nothing) Select(context.Context, any, string, ...any) error { n.selects++; return nil }
func (n *nothing) InsertRows(context.Context, string, any) error {
	return errors.New("nothing to insert")
}

func (n *nothing) Publish(context.Context, schemas.Event) error {
	return errors.New("nothing to publish")
}

func TestRunTicksUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &nothing{}
		m := drift.NewMonitor(drift.DefaultConfig(), n, n, zerolog.Nop())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		require.NoError(t, m.Run(ctx, time.Second, func() []drift.Version { return []drift.Version{{Manifest: manifest()}} }))
		require.Equal(t, 11, n.selects)
		require.ErrorContains(t, m.Run(ctx, 0, nil), "above 0")
	})
}

func TestConfigValidate(t *testing.T) {
	require.NoError(t, drift.DefaultConfig().Validate())
	err := drift.Config{LateWindows: -1, LateInterval: -1}.Validate()
	for _, key := range []string{"max_windows", "max_rows", "late_windows", "late_interval", "training_span"} {
		require.ErrorContains(t, err, "monitor."+key)
	}
}
