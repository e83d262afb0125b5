package drift_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/quality"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// labels are those that a test has sent, in the order of sending.
type labels struct {
	*world
	sent []historytest.Feedback
}

// tell sends labels of rows, through a partition of the topic, as observed some time after
// WallClock. Offsets rise within a partition, from where the test says.
func (l *labels) tell(rows []historytest.Observation, partition int32, offset int64, observed time.Duration, label func(i int) float64) {
	l.t.Helper()
	var out []historytest.Feedback
	for i, o := range rows {
		value := label(i)
		out = append(out, historytest.Feedback{
			Model: "shop", RequestID: o.RequestID, Label: &value, ObservedAt: historytest.WallClock.Add(observed), ReceivedAt: historytest.WallClock,
			TopicID: "6ba7b810-9dad-11d1-80b4-00c04fd430c9", Partition: partition, Offset: offset + int64(i),
		})
	}
	l.Tell(out)
	l.sent = append(l.sent, out...)
}

// last returns the labels as they finally are, by request: the last observed, and of those the
// last received, and of those the last by coordinates.
func (l *labels) last() map[string]float64 {
	out := map[string]float64{}
	sorted := slices.Clone(l.sent)
	slices.SortFunc(sorted, func(a, b historytest.Feedback) int {
		return cmp.Or(a.ObservedAt.Compare(b.ObservedAt), a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	for _, f := range sorted {
		out[f.RequestID] = *f.Label
	}
	return out
}

// requireFinal holds the last revisions of accuracy_results to the figures of package quality,
// which its golden values hold to scikit-learn's, on the labels as they finally are. It returns
// the revision of each window, by its hour.
func (l *labels) requireFinal() map[int]uint32 {
	l.t.Helper()
	var windows []schemas.FinishedWindow
	db := l.Database()
	require.NoError(l.t, l.Select(l.t.Context(), &windows, "SELECT window_start, revision, rows, labels, verdict FROM "+db+".windows FINAL WHERE job = 'accuracy' ORDER BY window_start, revision DESC LIMIT 1 BY window_start"))
	final, revisions := l.last(), map[int]uint32{}
	for _, w := range windows {
		hour := int(w.WindowStart.Sub(historytest.Start).Hours())
		revisions[hour] = w.Revision
		var truth, predicted []int
		var positive []bool
		var scores []float64
		for _, o := range l.Answered(hour) {
			if label, ok := final[o.RequestID]; ok {
				score := float64(*o.Probability)
				positive, scores = append(positive, label > 15), append(scores, score)
				truth, predicted = append(truth, one(label > 15)), append(predicted, one(score >= 0.5))
			}
		}
		require.EqualValues(l.t, len(truth), w.Labels, "hour %d", hour)
		if len(truth) < 100 {
			require.Equal(l.t, "too_few", w.Verdict, "hour %d", hour)
			continue
		}
		confusion, err := quality.NewConfusion(2)
		require.NoError(l.t, err)
		require.NoError(l.t, confusion.Add(truth, predicted, nil))
		ranking := quality.NewRanking()
		require.NoError(l.t, ranking.Add(positive, scores, nil))
		binary := quality.Options{Average: quality.AverageBinary}
		var figures []schemas.AccuracyResult
		require.NoError(l.t, l.Select(l.t.Context(), &figures, fmt.Sprintf(
			"SELECT metric, value, low, high, no_interval, labels FROM %s.accuracy_results FINAL WHERE toUnixTimestamp64Micro(window_start) = %d AND revision = %d", db, w.WindowStart.UnixMicro(), w.Revision)))
		require.Len(l.t, figures, 12)
		for _, f := range figures {
			var want float64
			require.Equal(l.t, f.Low == nil, f.NoInterval != "" || f.Value == nil, f.Metric)
			switch f.Metric {
			case "accuracy":
				want, err = confusion.Accuracy()
				i, none := confusion.AccuracyInterval(0.95)
				require.NoError(l.t, none)
				require.Equal(l.t, []float64{i.Low, i.High}, []float64{*f.Low, *f.High})
			case "precision":
				want, err = confusion.Precision(binary)
			case "recall":
				want, err = confusion.Recall(binary)
			case "roc_auc":
				want, err = ranking.ROCAUC()
			default: // TestBinaryFiguresOfStoredRows compares the others
				continue
			}
			require.NoError(l.t, err)
			require.InDelta(l.t, want, *f.Value, 1e-12, "hour %d, %s", hour, f.Metric)
		}
	}
	return revisions
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// follow is a label that the score predicts, with some that it does not; turn flips every n-th.
func follow(rows []historytest.Observation, turn int) func(int) float64 {
	return func(i int) float64 {
		late := rows[i].Probability != nil && *rows[i].Probability > 0.4
		if turn > 0 && i%turn == 0 {
			late = !late
		}
		return map[bool]float64{false: 10, true: 40}[late]
	}
}

// TestLabelsThatComeLate judges windows before they have labels, and then again as labels,
// corrections, and corrections through another partition come, of all windows and of one long
// ago. Each time the figures are those of the labels as they then are.
func TestLabelsThatComeLate(t *testing.T) {
	w := newWorld(t)
	l := &labels{world: w}
	var hours [][]historytest.Observation
	for h := range 6 {
		hours = append(hours, w.Hour(h, 200, 0))
	}
	pub := &topic{}
	m := w.monitor(w, pub)
	now := historytest.WallClock
	next := func() drift.TickStats {
		now = now.Add(4 * time.Minute)
		return w.tick(m, now)
	}
	next()
	require.Equal(t, map[int]uint32{0: 0, 1: 0, 2: 0}, l.requireFinal(), "closed, without labels")

	l.tell(hours[0], 3, 1000, time.Hour, follow(hours[0], 7))
	l.tell(hours[1], 3, 2000, time.Hour, follow(hours[1], 5))
	l.tell(hours[5], 3, 3000, time.Hour, follow(hours[5], 5)) // not closed yet
	l.Tell([]historytest.Feedback{{Model: "shop", RequestID: "nobody's", Label: new(float64), Offset: 1}, {Model: "other", RequestID: hours[2][0].RequestID, Label: new(float64), Offset: 2}})
	require.Len(t, next().Judged, 2)
	require.Equal(t, map[int]uint32{0: 1, 1: 1, 2: 0}, l.requireFinal())

	// A correction in another partition has a lower offset than what it corrects; one that was
	// observed earlier than the label has a greater one, and corrects nothing.
	l.tell(hours[0][:50], 0, 1, 2*time.Hour, follow(hours[0], 2))
	l.tell(hours[1][:50], 5, 90000, 0, follow(hours[1], 2))
	judged := next().Judged
	require.Len(t, judged, 1, "hour 01 has the labels that it had")
	require.Equal(t, map[int]uint32{0: 2, 1: 1, 2: 0}, l.requireFinal())

	l.tell(hours[0], 1, 500, 3*time.Hour, func(i int) float64 { return l.last()[hours[0][i].RequestID] })
	require.Empty(t, next().Judged, "labels that are sent again make no revision")

	// What was looked at is not looked at again, by a monitor that starts anew either.
	counting := &flaky{Conn: w, Publisher: pub, failAt: -1}
	m = w.monitor(counting, counting)
	require.Empty(t, next().Judged)
	calls := counting.calls
	require.Empty(t, next().Judged)
	require.Equal(t, calls+2, counting.calls, "the progress of requests, and whether labels came")

	// Labels come while no monitor runs, of hour 02 and corrections of hour 01.
	l.tell(hours[2], 2, 1000, time.Hour, follow(hours[2], 3))
	l.tell(hours[1][100:], 0, 700, time.Hour, follow(hours[1], 1))
	m = w.monitor(w, pub)
	require.Len(t, next().Judged, 1, "observed with the labels, received with them, and in a partition before theirs: no correction")
	require.Equal(t, map[int]uint32{0: 2, 1: 1, 2: 1}, l.requireFinal())

	// Time goes on, far beyond the windows that late rows are looked for in.
	w.Hour(300, 200, 0)
	now = now.Add(290 * time.Hour)
	next()
	l.tell(hours[0][:100], 4, 1, 4*time.Hour, follow(hours[0], 1))
	l.tell(hours[4], 4, 1000, 4*time.Hour, follow(hours[4], 4))
	next()
	require.Equal(t, map[int]uint32{0: 3, 1: 1, 2: 1, 3: 0, 4: 1, 5: 0}, l.requireFinal())

	// A span is judged again by hand beside the monitor, which goes on from that revision.
	again, err := drift.NewMonitor(w.config(), history.New(w, w.Database()), pub, zerolog.Nop()).
		Again(t.Context(), now, w.version, profile.Span{Start: historytest.Start.Add(90 * time.Minute), End: historytest.Start.Add(2*time.Hour + time.Second)})
	require.NoError(t, err)
	require.Len(t, again, 4, "hours 01 and 02, of both jobs")
	require.Equal(t, map[int]uint32{0: 3, 1: 2, 2: 2, 3: 0, 4: 1, 5: 0}, l.requireFinal())
	l.tell(hours[1][:60], 4, 5000, 5*time.Hour, follow(hours[1], 2))
	require.Empty(t, next().Judged, "so far back it was looked a moment ago")
	now = now.Add(12 * time.Hour)
	require.Len(t, next().Judged, 1)
	require.Equal(t, map[int]uint32{0: 3, 1: 3, 2: 2, 3: 0, 4: 1, 5: 0}, l.requireFinal())

	ids := map[string]bool{}
	for _, e := range pub.events {
		require.False(t, ids[e.ID], "each revision has an id of its own")
		ids[e.ID] = true
	}
}

// writing is a flaky ClickHouse and publisher whose reads do not fail: a monitor that is killed
// at a read has changed what it had changed at the write before.
type writing struct{ *flaky }

func (f writing) Select(ctx context.Context, dest any, query string, args ...any) error {
	return f.Conn.Select(ctx, dest, query, args...)
}

// TestLabelsKilledAnywhere stops the monitor at each write of the pass that judges late labels,
// before and after it was done, starts another one, and has the figures, revisions and events of
// an undisturbed run.
func TestLabelsKilledAnywhere(t *testing.T) {
	w := newWorld(t)
	l := &labels{world: w}
	a, b := w.Hour(0, 150, 0), w.Hour(1, 150, 0)
	w.Hour(4, 150, 0)
	first := w.monitor(w, &topic{})
	w.tick(first, historytest.WallClock)
	w.tick(first, historytest.WallClock.Add(3*time.Minute)) // nothing to look at
	db := w.Database()
	for _, table := range []string{"windows", "accuracy_results"} {
		require.NoError(t, w.Exec(t.Context(), fmt.Sprintf("CREATE TABLE %[1]s.kept_%[2]s AS %[1]s.%[2]s", db, table)))
		require.NoError(t, w.Exec(t.Context(), fmt.Sprintf("INSERT INTO %[1]s.kept_%[2]s SELECT * FROM %[1]s.%[2]s", db, table)))
	}
	reset := func() {
		for _, table := range []string{"windows", "accuracy_results"} {
			require.NoError(t, w.Exec(t.Context(), fmt.Sprintf("TRUNCATE TABLE %[1]s.%[2]s", db, table)))
			require.NoError(t, w.Exec(t.Context(), fmt.Sprintf("INSERT INTO %[1]s.%[2]s SELECT * FROM %[1]s.kept_%[2]s", db, table)))
		}
		require.NoError(t, w.Exec(t.Context(), "TRUNCATE TABLE "+db+".label_looks"))
	}
	l.tell(a, 3, 1000, time.Hour, follow(a, 2))
	l.tell(b, 3, 2000, time.Hour, follow(b, 2))
	l.tell(a[:50], 0, 1, 2*time.Hour, follow(a, 0))
	events := func(p *topic) []string {
		var out []string
		for _, e := range p.events {
			out = append(out, fmt.Sprint(e.ID, e.Data.Kind, e.Data.Revision, e.Data.Breaches))
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	later := historytest.WallClock.Add(6 * time.Minute)
	undisturbed := writing{&flaky{Conn: w, Publisher: &topic{}, failAt: -1}}
	w.tick(w.monitor(undisturbed, undisturbed), later)
	want, published := l.requireFinal(), events(undisturbed.Publisher.(*topic))
	require.Equal(t, map[int]uint32{0: 1, 1: 1}, want)
	require.NotEmpty(t, published)

	for failAt := 0; failAt < undisturbed.calls; failAt += stride(2) {
		for _, after := range []bool{false, true} {
			reset()
			p := &topic{}
			f := writing{&flaky{Conn: w, Publisher: p, failAt: failAt, after: after}}
			_, err := w.monitor(f, f).Tick(t.Context(), later, []drift.Version{w.version})
			require.ErrorIs(t, err, errKilled)
			w.tick(w.monitor(w, p), later.Add(time.Second))
			require.Equal(t, want, l.requireFinal(), "killed at call %d, after %v", failAt, after)
			require.Equal(t, published, events(p), "killed at call %d, after %v", failAt, after)
		}
	}
}

// TestLabelsCostWhatArrived counts what is asked: without new labels one question, and where
// an insert becomes visible late, a second look at that second alone.
func TestLabelsCostWhatArrived(t *testing.T) {
	store, version, begin := oneWindow()
	now := begin.Add(26 * time.Hour)
	m := drift.NewMonitor(drift.DefaultConfig(), store, &topic{}, zerolog.Nop())
	tick := func() int {
		stats, err := m.Tick(t.Context(), now, []drift.Version{version})
		require.NoError(t, err)
		now = now.Add(time.Hour)
		return len(stats.Judged)
	}
	tick()
	second := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	store.arrivals = []profile.LabelArrival{{StoredAt: second, State: 1}}
	store.labels = profile.LabelState{Labels: 90, State: 7}
	require.Equal(t, 1, tick(), "the first look is at all windows")
	require.Empty(t, store.searched)
	require.Equal(t, second, store.noted)
	for range 3 {
		require.Zero(t, tick())
	}
	require.Empty(t, store.searched, "nothing arrived")
	store.arrivals = append(store.arrivals, profile.LabelArrival{StoredAt: second.Add(time.Second), State: 1})
	require.Zero(t, tick(), "the labels that count are the same")
	require.Len(t, store.searched, 1)
	store.arrivals[1].State, store.labels.State = 2, 8
	require.Equal(t, 1, tick())
	require.Len(t, store.searched, 2)
	require.Equal(t, []uint32{0, 0, 1, 2}, revisions(store.finished))
}

func revisions(windows []schemas.FinishedWindow) []uint32 {
	var out []uint32
	for _, w := range windows {
		out = append(out, w.Revision)
	}
	return out
}

// TestCooldown keeps a model that has drifted from asking for retraining in every window: what
// breaches is an alert, which says when it was last asked for.
func TestCooldown(t *testing.T) {
	w := newWorld(t)
	w.Manifest.Monitoring.Retraining.Cooldown = schemas.Duration(3 * time.Hour)
	for h := range 7 {
		w.Hour(h, 200, 9)
	}
	pub := &topic{}
	config := w.config()
	config.ReportLink = func(model, version, kind string, start time.Time) string {
		require.Empty(t, kind)
		return strings.Join([]string{"https://reports", model, version, start.Format("15")}, "/")
	}
	tick := func(pub drift.Publisher, now time.Time) {
		m := drift.NewMonitor(config, history.New(w, w.Database()), pub, zerolog.Nop())
		w.tick(m, now)
	}
	tick(pub, historytest.WallClock)
	require.Equal(t, []string{"00:00 retraining r0", "01:00 drift r0", "02:00 drift r0", "03:00 retraining r0", "04:00 drift r0", "05:00 drift r0"}, pub.kinds())
	require.Nil(t, pub.events[0].Data.LastRetraining)
	for i, last := range []int{1: 0, 2: 0, 3: 0, 4: 3, 5: 3} {
		if i > 0 {
			require.Equal(t, pub.events[last].ID, pub.events[i].Data.LastRetraining.EventID, "hour %d", i)
		}
		require.Equal(t, fmt.Sprintf("https://reports/shop/1.0/%02d", i), pub.events[i].Data.Report)
	}
	// Late rows revise a window that another has asked after, and a monitor that starts anew
	// remembers which did.
	w.Hour(1, 50, 9)
	w.Hour(7, 200, 9)
	pub.events = nil
	tick(pub, historytest.WallClock.Add(time.Hour))
	require.Equal(t, []string{"01:00 drift r1", "06:00 retraining r0"}, pub.kinds())
}

// interrupted ends a publisher's context; it stands for a Kafka that is away.
type interrupted struct{}

func (interrupted) Publish(context.Context, schemas.Event) error { return errKilled }

// TestCooldownBeginsWhenTheWindowIsWritten: a retraining event that could not be published has
// not asked.
func TestCooldownBeginsWhenTheWindowIsWritten(t *testing.T) {
	store, version, begin := oneWindow()
	version.Manifest.Monitoring.Retraining.Cooldown = schemas.Duration(240 * time.Hour)
	now := begin.Add(26 * time.Hour)
	var pub switched
	pub.to = interrupted{}
	m := drift.NewMonitor(drift.DefaultConfig(), store, &pub, zerolog.Nop())
	_, err := m.Tick(t.Context(), now, []drift.Version{version})
	require.ErrorIs(t, err, errKilled)
	published := &topic{}
	pub.to = published
	_, err = m.Tick(t.Context(), now, []drift.Version{version})
	require.NoError(t, err)
	require.Equal(t, []string{"00:00 retraining r0"}, published.kinds())
}

type switched struct{ to drift.Publisher }

func (s *switched) Publish(ctx context.Context, e schemas.Event) error { return s.to.Publish(ctx, e) }

// TestWindowAsksForRetrainingOnceBesideDriftRun: a window that asked for retraining when it was
// judged again by hand does not ask once more when the running monitor judges its labels, cool-down
// or none.
func TestWindowAsksForRetrainingOnceBesideDriftRun(t *testing.T) {
	store, version, begin := oneWindow()
	monitoring := version.Manifest.Monitoring
	monitoring.LabelDelay = schemas.Duration(24 * time.Hour)
	monitoring.Checks[0].Retrain, monitoring.Checks[1].Retrain = false, true
	store.quality[0].TwiceU = 2 * 40 * 60 / 2 // a ROC AUC of a half
	published := &topic{}
	m := drift.NewMonitor(drift.DefaultConfig(), store, published, zerolog.Nop())
	_, err := m.Tick(t.Context(), begin.Add(26*time.Hour), []drift.Version{version})
	require.NoError(t, err)

	// The manifest is changed, and drift run asks what it makes of the window.
	changed := *version.Manifest
	again := *monitoring
	again.Checks = slices.Clone(again.Checks)
	again.Checks[0].Retrain = true
	changed.Monitoring = &again
	byHand := drift.NewMonitor(drift.DefaultConfig(), recovered{store}, published, zerolog.Nop())
	_, err = byHand.Again(t.Context(), begin.Add(27*time.Hour), drift.Version{Manifest: &changed, Reference: version.Reference}, profile.Span{})
	require.NoError(t, err)

	store.partitions[0].EventTime = begin.Add(49 * time.Hour)
	_, err = m.Tick(t.Context(), begin.Add(50*time.Hour), []drift.Version{version})
	require.NoError(t, err)
	require.Equal(t, []string{"00:00 drift r0", "00:00 retraining r1", "00:00 accuracy r0"}, published.kinds())
}

// unheard is a store that keeps the windows that it is given, once, and says that it did not.
type unheard struct {
	*memory
	said bool
}

func (u *unheard) WriteWindows(ctx context.Context, windows []schemas.FinishedWindow) error {
	if err := u.memory.WriteWindows(ctx, windows); err != nil || u.said {
		return err
	}
	u.said = true
	return errKilled
}

func (u *unheard) LastRetraining(context.Context, *schemas.Manifest) (*schemas.FinishedWindow, error) {
	for i, w := range u.finished {
		if w.Retraining {
			return &u.finished[i], nil
		}
	}
	return nil, nil //nolint:nilnil // nobody has asked
}

// TestWindowsWrittenUnheardAskAgainWithTheSameEvent: a window whose row was stored, which the monitor
// did not hear, is judged again with the event that it had, with and without a cool-down.
func TestWindowsWrittenUnheardAskAgainWithTheSameEvent(t *testing.T) {
	for _, cooldown := range []time.Duration{0, 240 * time.Hour} {
		store, version, begin := oneWindow()
		version.Manifest.Monitoring.Retraining.Cooldown = schemas.Duration(cooldown)
		published := &topic{}
		m := drift.NewMonitor(drift.DefaultConfig(), &unheard{memory: store}, published, zerolog.Nop())
		_, err := m.Tick(t.Context(), begin.Add(26*time.Hour), []drift.Version{version})
		require.ErrorIs(t, err, errKilled)
		_, err = m.Tick(t.Context(), begin.Add(27*time.Hour), []drift.Version{version})
		require.NoError(t, err)
		require.Equal(t, []string{"00:00 retraining r0", "00:00 retraining r0"}, published.kinds())
		require.Equal(t, published.events[0].ID, published.events[1].ID)
	}
}

// overtaken is a store in which, while the first window is written, the monitor judges the second.
type overtaken struct {
	recovered
	second schemas.FinishedWindow
}

func (o *overtaken) WriteWindows(ctx context.Context, windows []schemas.FinishedWindow) error {
	if o.second.Model != "" {
		windows = append(slices.Clone(windows), o.second)
		o.second = schemas.FinishedWindow{}
	}
	return o.recovered.WriteWindows(ctx, windows)
}

// TestDriftRunTakesNoRevisionOfTheMonitors: of two windows the second is judged again by the monitor
// while drift run is at the first. Each judgement has a revision of its own.
func TestDriftRunTakesNoRevisionOfTheMonitors(t *testing.T) {
	store, version, begin := oneWindow()
	version.Reference = nil
	store.repeat = true
	store.rows = append(store.rows, profile.WindowRows{Start: begin.Add(24 * time.Hour), Rows: 100})
	for _, r := range store.rows {
		store.finished = append(store.finished, schemas.FinishedWindow{
			Model: "shop", Version: "1", Job: string(schemas.JobAccuracy), WindowStart: r.Start, WindowEnd: r.Start.Add(24 * time.Hour), Rows: r.Rows,
		})
	}
	second := store.finished[1]
	second.Revision = 1
	config := drift.DefaultConfig()
	config.MaxWindows = 1
	m := drift.NewMonitor(config, &overtaken{recovered{store}, second}, &topic{}, zerolog.Nop())
	_, err := m.Again(t.Context(), begin.Add(99*time.Hour), version, profile.Span{})
	require.NoError(t, err)
	require.Equal(t, []uint32{0, 0, 1, 1, 2}, revisions(store.finished))
}

// recovered is a store whose last finished windows are known.
type recovered struct{ *memory }

func (r recovered) LastFinished(context.Context, *schemas.Manifest) (map[schemas.Job]time.Time, error) {
	last := map[schemas.Job]time.Time{}
	for _, w := range r.finished {
		last[schemas.Job(w.Job)] = w.WindowStart
	}
	return last, nil
}
