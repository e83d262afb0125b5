package drift_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// kind is a model of a kind of target, and labels that it can use and cannot.
type kind struct {
	target  schemas.Target
	classes []string
	label   func(r *rand.Rand, x *scored) classLabel
	useless classLabel
}

func kinds() map[string]kind {
	flip := func(r *rand.Rand, x *scored) bool {
		return x.Chance != nil && (r.Float32() < *x.Chance) == (r.IntN(9) > 0)
	}
	return map[string]kind{
		"numbers": {
			schemas.Target{Kind: schemas.TargetBinary, Score: "chance", Threshold: 0.5, PositiveAbove: 15},
			nil,
			func(r *rand.Rand, x *scored) classLabel {
				return number(map[bool]float64{false: 10, true: 20}[flip(r, x)])
			}, class("yes"),
		},
		"classes": {
			schemas.Target{Kind: schemas.TargetMulticlass, Score: "class", Probabilities: map[string]string{"it's": "pa", "b": "pb", "ç": "pc"}},
			[]string{"b", "it's", "ç"},
			func(r *rand.Rand, _ *scored) classLabel { return class(pickOf(r, "it's", "b", "ç")) }, number(math.NaN()),
		},
		"prices": {
			schemas.Target{Kind: schemas.TargetRegression, Score: "price"},
			nil,
			func(r *rand.Rand, _ *scored) classLabel { return number(1e6 + 10*r.NormFloat64()) }, class("dear"),
		},
	}
}

// late is a model whose labels come late.
type late struct {
	*targeted
	kind
	t    *testing.T
	sent []classLabel // those that the target can use
}

// hour stores rows of an hour, some of which have no prediction.
func (l *late) hour(r *rand.Rand, hour, n int) []scored {
	l.t.Helper()
	rows := make([]scored, n)
	for i := range rows {
		a, b, c := r.Float64(), r.Float64(), r.Float64()
		x := scored{
			Chance: new(r.Float32()), Class: new(pickOf(r, "it's", "b", "ç")), Code: new(int64(r.IntN(3)) - 1), Price: new(1e6 + 10*r.NormFloat64()),
			A: new(a / (a + b + c)), B: new(b / (a + b + c)), C: new(c / (a + b + c)), TopicID: "t", Version: "1", Outcome: schemas.OutcomeOK, ScoredAt: historytest.WallClock,
			RequestID: fmt.Sprintf("%d-%d", hour, i), EventTime: historytest.Start.Add(time.Duration(hour)*time.Hour + time.Duration(i)*time.Second), Offset: int64(1000*hour + i),
		}
		switch i % 12 {
		case 1:
			x.Chance, x.Class, x.Code, x.Price = nil, nil, nil, nil
		case 2:
			x.Chance, x.Price = new(float32(math.NaN())), new(math.NaN())
		}
		rows[i] = x
	}
	require.NoError(l.t, l.InsertRows(l.t.Context(), schemas.ObservationsTable(l.manifest.Name), rows))
	l.rows = append(l.rows, rows...)
	return rows
}

// tell sends a label of each row through a partition, with rising offsets, and another that the
// target cannot use and that was observed later.
func (l *late) tell(r *rand.Rand, rows []scored, partition int32, offset int64, observed time.Duration) {
	l.t.Helper()
	var out []classLabel
	for i := range rows {
		for j, label := range []classLabel{l.label(r, &rows[i]), l.useless} {
			label.Model, label.RequestID, label.Partition, label.Offset = l.manifest.Name, rows[i].RequestID, partition, offset+int64(2*i+j)
			label.ObservedAt = historytest.WallClock.Add(observed + time.Duration(j)*time.Hour)
			out = append(out, label)
			if j == 0 {
				l.sent = append(l.sent, label)
			}
		}
	}
	require.NoError(l.t, l.InsertRows(l.t.Context(), "feedback", out))
}

// predicted tells whether a row has what its label is compared with.
func (l *late) predicted(x *scored) bool {
	switch l.target.Score {
	case "chance":
		return x.Chance != nil && *x.Chance == *x.Chance
	case "class":
		return x.Class != nil
	default:
		return x.Price != nil && *x.Price == *x.Price
	}
}

// figures are those of package quality on the labels of an hour as they finally are.
func (l *late) figures(hour int) (labels int, figures map[schemas.Stattest]float64) {
	l.t.Helper()
	last := map[string]classLabel{}
	for _, s := range l.sent {
		if was, ok := last[s.RequestID]; !ok || was.ObservedAt.Before(s.ObservedAt) {
			last[s.RequestID] = s
		}
	}
	var truth []bool
	var scores, numbers, prices []float64
	var classes, predictions []int
	columns := make([][]float64, len(l.target.Probabilities))
	for _, x := range l.rows {
		label, ok := last[x.RequestID]
		if !ok || !l.predicted(&x) || x.EventTime.Sub(historytest.Start).Truncate(time.Hour) != time.Duration(hour)*time.Hour {
			continue
		}
		labels++
		switch l.target.Kind {
		case schemas.TargetBinary:
			truth, scores = append(truth, label.Class == "it's" || (label.Label != nil && *label.Label > 15)), append(scores, float64(*x.Chance))
		case schemas.TargetMulticlass:
			classes, predictions = append(classes, slices.Index(l.classes, label.text())), append(predictions, slices.Index(l.classes, x.text(l.target.Score)))
			for i, class := range l.target.Classes() {
				columns[i] = append(columns[i], *map[string]*float64{"pa": x.A, "pb": x.B, "pc": x.C}[l.target.Probabilities[class]])
			}
		case schemas.TargetRegression:
			numbers, prices = append(numbers, *label.Label), append(prices, *x.Price)
		}
	}
	switch {
	case labels == 0:
		return 0, nil
	case l.target.Kind == schemas.TargetBinary:
		return labels, binaryFigures(l.t, truth, scores, l.target.Threshold)
	case l.target.Kind == schemas.TargetMulticlass:
		return labels, classFigures(l.t, classes, predictions, len(l.classes), columns)
	default:
		return labels, numberFigures(l.t, numbers, prices)
	}
}

// requireFinal holds the last revision of each window to the labels as they finally are, and
// returns its number.
func (l *late) requireFinal(hours int) []uint32 {
	l.t.Helper()
	var windows []schemas.FinishedWindow
	db, of := l.Database(), fmt.Sprintf("model = '%s' ", l.manifest.Name)
	require.NoError(l.t, l.Select(l.t.Context(), &windows, "SELECT window_start, revision, rows, labels, verdict FROM "+db+".windows FINAL WHERE "+of+"AND job = 'accuracy' ORDER BY window_start, revision DESC LIMIT 1 BY window_start"))
	require.Len(l.t, windows, hours)
	revisions := make([]uint32, hours)
	for hour, w := range windows {
		revisions[hour] = w.Revision
		labels, want := l.figures(hour)
		require.EqualValues(l.t, labels, w.Labels, "hour %d", hour)
		var got []schemas.AccuracyResult
		require.NoError(l.t, l.Select(l.t.Context(), &got, fmt.Sprintf(
			"SELECT metric, value FROM %s.accuracy_results FINAL WHERE %sAND toUnixTimestamp64Micro(window_start) = %d AND revision = %d", db, of, w.WindowStart.UnixMicro(), w.Revision)))
		found := map[schemas.Stattest]float64{}
		for _, f := range got {
			if f.Value != nil {
				found[schemas.Stattest(f.Metric)] = *f.Value
			}
		}
		require.Len(l.t, found, len(want), "hour %d", hour)
		for name, x := range want {
			require.InDelta(l.t, x, found[name], 1e-12*math.Max(1, math.Abs(x)), "hour %d, %s", hour, name)
		}
	}
	return revisions
}

// TestLateLabelsOfEveryKind judges windows of every kind of target before they have labels, and
// again as labels, corrections, and corrections through another partition come. Some rows have no
// prediction, and some labels the target cannot use. Then the rows of windows are as a release has
// left them that kept no state of labels: its windows are not judged again.
func TestLateLabelsOfEveryKind(t *testing.T) {
	client := clickhousetest.Client(t)
	for name, k := range kinds() {
		t.Run(name, func(t *testing.T) {
			r := seeded(t)
			l := &late{targeted: newTargeted(t, client, "late_"+name, k.target), kind: k, t: t}
			*l.manifest.Monitoring = schemas.Monitoring{Window: schemas.Duration(time.Hour), IdleTimeout: schemas.Duration(time.Minute), MinRows: 30, Rate: schemas.DefaultRate}
			const hours = 3
			var rows [hours + 1][]scored
			for hour := range rows {
				rows[hour] = l.hour(r, hour, 60)
			}
			store := history.New(l, l.Database())
			begin := func() *drift.Monitor {
				return drift.NewMonitor(drift.DefaultConfig(), store, &topic{}, zerolog.Nop())
			}
			m, now := begin(), historytest.WallClock
			next := func() int {
				now = now.Add(4 * time.Minute)
				stats, err := m.Tick(t.Context(), now, []drift.Version{{Manifest: l.manifest}})
				require.NoError(t, err)
				return len(stats.Judged)
			}
			require.Equal(t, hours, next())
			require.Equal(t, []uint32{0, 0, 0}, l.requireFinal(hours), "without labels")
			l.tell(r, rows[0], 3, 1000, 24*time.Hour)
			l.tell(r, rows[1], 3, 2000, 24*time.Hour)
			require.Equal(t, 2, next())
			require.Equal(t, []uint32{1, 1, 0}, l.requireFinal(hours))

			m = begin()                                 // none was running when these came
			l.tell(r, rows[0][:50], 0, 1, 48*time.Hour) // a correction with lower offsets
			l.tell(r, rows[1][:50], 5, 9000, time.Hour) // observed before the label: corrects nothing
			l.tell(r, rows[2], 1, 10, 24*time.Hour)
			require.Equal(t, 2, next())
			require.Equal(t, []uint32{2, 1, 1}, l.requireFinal(hours))

			starts := []time.Time{historytest.Start, historytest.Start.Add(time.Hour), historytest.Start.Add(2 * time.Hour)}
			states, err := store.LabelStates(t.Context(), l.manifest, starts)
			require.NoError(t, err)
			counts, err := store.CountQuality(t.Context(), l.manifest, starts)
			require.NoError(t, err)
			for i := range starts {
				require.EqualValues(t, counts[i].Labels(), states[i].Labels, "what is counted is what is compared")
			}
			for _, statement := range []string{"ALTER TABLE %s.windows UPDATE label_state = 0 WHERE model = '%s' SETTINGS mutations_sync = 1", "DELETE FROM %s.label_looks WHERE model = '%s'"} {
				require.NoError(t, l.Exec(t.Context(), fmt.Sprintf(statement, l.Database(), l.manifest.Name)))
			}
			m = begin()
			require.Zero(t, next(), "after an upgrade")
			require.Zero(t, next(), "labels of the last minutes before are not new")
		})
	}
}

// TestLabelsOfNobodyAreLookedForWithPauses has a label come each hour whose request does not, for ten
// days. Each is looked for in all windows, and the windows are searched no more often than rows
// come; a monitor that is started anew looks as far back as it has not.
func TestLabelsOfNobodyAreLookedForWithPauses(t *testing.T) {
	store, version, begin := oneWindow()
	store.strangers = true
	config := drift.DefaultConfig()
	m, now, second := drift.NewMonitor(config, store, &topic{}, zerolog.Nop()), begin.Add(26*time.Hour), begin.AddDate(20, 0, 0)
	tick := func() {
		second = second.Add(time.Hour)
		store.arrivals = append(store.arrivals, profile.LabelArrival{StoredAt: second, State: 1})
		_, err := m.Tick(t.Context(), now, []drift.Version{version})
		require.NoError(t, err)
		now = now.Add(time.Hour)
	}
	tick() // which sees labels for the first time, and looks at every window
	require.Empty(t, store.searched)
	const hours = 240
	for range hours {
		tick()
	}
	looks := map[time.Duration]int{}
	for _, s := range store.searched {
		looks[begin.Add(24*time.Hour).Sub(s.from)]++
	}
	day := 24 * time.Hour
	require.Equal(t, map[time.Duration]int{4 * day: hours, 16 * day: hours / 4, 64 * day: hours / 16, 92 * day: hours/23 + 1}, looks)
	require.WithinDuration(t, second, store.noted, 2*day, "labels before were looked for in all windows")

	store.searched, m = nil, drift.NewMonitor(config, store, &topic{}, zerolog.Nop())
	noted := store.noted
	tick()
	require.Len(t, store.searched, 4)
	for _, s := range store.searched {
		require.False(t, s.since.After(noted), "from what was noted on")
	}
}

// TestLabelsAreComparedBitByBit has many windows that were finished before labels were looked at. A
// pass compares as many as one query takes, after it has judged the windows that have closed.
func TestLabelsAreComparedBitByBit(t *testing.T) {
	store, version, begin := oneWindow()
	version.Reference = nil
	const windows = 10
	for i := 1; i < windows; i++ {
		store.rows = append(store.rows, profile.WindowRows{Start: begin.Add(time.Duration(i) * 24 * time.Hour), Rows: 100})
	}
	store.partitions[0].EventTime = begin.Add((windows*24 + 1) * time.Hour)
	store.repeat = true
	config := drift.DefaultConfig()
	config.MaxWindows = 4
	m, now := drift.NewMonitor(config, store, &topic{}, zerolog.Nop()), begin.Add(400*24*time.Hour)
	tick := func() []string {
		stats, err := m.Tick(t.Context(), now, []drift.Version{version})
		require.NoError(t, err)
		now = now.Add(time.Second)
		var judged []string
		for _, j := range stats.Judged {
			judged = append(judged, fmt.Sprintf("%02d r%d", int(j.WindowStart.Sub(begin).Hours())/24, j.Revision))
		}
		return judged
	}
	require.Len(t, tick(), windows)
	store.arrivals, store.labels = []profile.LabelArrival{{StoredAt: begin.AddDate(1, 0, 0), State: 1}}, profile.LabelState{Labels: 90, State: 7}
	now = now.Add(time.Hour)
	require.Equal(t, []string{"00 r1", "01 r1", "02 r1", "03 r1"}, tick())
	require.True(t, store.noted.IsZero())
	store.rows = append(store.rows, profile.WindowRows{Start: begin.Add(windows * 24 * time.Hour), Rows: 100})
	store.partitions[0].EventTime = store.partitions[0].EventTime.Add(24 * time.Hour)
	require.Equal(t, []string{"10 r0", "04 r1", "05 r1", "06 r1", "07 r1"}, tick())
	require.Equal(t, []string{"08 r1", "09 r1"}, tick())
	require.Equal(t, store.arrivals[0].StoredAt, store.noted)
	require.Empty(t, tick())
}
