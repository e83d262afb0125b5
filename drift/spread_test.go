package drift_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// also has the version judged by other windows beside its hours.
func (w *world) also(windows ...schemas.Windows) {
	m, monitoring := *w.version.Manifest, *w.version.Manifest.Monitoring
	monitoring.Windows = windows
	m.Monitoring = &monitoring
	w.version.Manifest = &m
}

func hours(length, every int) schemas.Windows {
	return schemas.Windows{Length: schemas.Duration(time.Duration(length) * time.Hour), Every: schemas.Duration(time.Duration(every) * time.Hour)}
}

// within returns the rows of a window, counted without ClickHouse.
func (w *world) within(from, to time.Time) []historytest.Observation {
	return slices.DeleteFunc(slices.Clone(w.Rows), func(o historytest.Observation) bool {
		return o.Outcome != schemas.OutcomeOK || o.Version != "1.0" || o.EventTime.Before(from) || !o.EventTime.Before(to)
	})
}

// requireJudged compares what was last found in every window that has closed, of every kind, with
// a count of the rows and labels that lie in it.
func (w *world) requireJudged(t *testing.T, store *history.Store) {
	t.Helper()
	for _, v := range w.version.Spread() {
		length, step := v.Manifest.Monitoring.Window.Std(), v.Manifest.Monitoring.Step()
		found, err := store.Results(t.Context(), v.Manifest, historytest.Start.Add(-10*time.Hour), historytest.Start.Add(100*time.Hour))
		require.NoError(t, err)
		for job, delay := range map[schemas.Job]time.Duration{schemas.JobDrift: 0, schemas.JobAccuracy: v.Manifest.Monitoring.LabelDelay.Std()} {
			got := map[int64]schemas.FinishedWindow{}
			for _, f := range found.Windows {
				if f.Job == string(job) {
					require.Equal(t, v.Manifest.WindowKind(), f.WindowKind)
					require.Equal(t, f.WindowStart.Add(length), f.WindowEnd)
					got[f.WindowStart.UnixMicro()] = f
				}
			}
			for start := profile.WindowStart(historytest.Start, length).Add(step - length); !start.Add(length).After(w.watermark().Add(-delay)); start = start.Add(step) {
				rows := w.within(start, start.Add(length))
				f, ok := got[start.UnixMicro()]
				require.Equal(t, len(rows) > 0, ok, "%s %s %v", v.Name(), job, start)
				delete(got, start.UnixMicro())
				if !ok {
					continue
				}
				require.EqualValues(t, len(rows), f.Rows, "%s %s %v", v.Name(), job, start)
				if f.Verdict == string(schemas.VerdictTooFew) {
					continue
				}
				if job == schemas.JobDrift {
					w.requireScores(t, v, start, rows, found.Drift)
				} else {
					w.requireFigures(t, start, f, rows, found.Accuracy)
				}
			}
			require.Empty(t, got, "%s %s: windows that have not closed", v.Name(), job)
		}
	}
}

func (w *world) requireScores(t *testing.T, v drift.Version, start time.Time, rows []historytest.Observation, found []schemas.DriftResult) {
	t.Helper()
	var counts []profile.Counts
	for _, c := range v.Reference.Columns {
		counts = append(counts, w.Count(rows, c.Name))
	}
	want, err := drift.JudgeDrift(v, schemas.DriftResult{WindowStart: start}, counts)
	require.NoError(t, err)
	scores := map[string]float64{}
	for _, d := range found {
		if d.WindowStart.Equal(start) {
			scores[d.Column+" "+d.Stattest] = d.Score
		}
	}
	require.Len(t, scores, len(want))
	for _, d := range want {
		require.InDelta(t, d.Score, scores[d.Column+" "+d.Stattest], 1e-12, "%s %v %s %s", v.Name(), start, d.Column, d.Stattest)
	}
}

func (w *world) requireFigures(t *testing.T, start time.Time, f schemas.FinishedWindow, rows []historytest.Observation, found []schemas.AccuracyResult) {
	t.Helper()
	labels, right := 0, 0
	var positive, negative []float64
	for _, o := range rows {
		label, ok := w.Labels[o.RequestID]
		if !ok {
			continue
		}
		labels++
		score := float64(*o.Probability)
		if (score >= 0.5) == (label > 15) {
			right++
		}
		if label > 15 {
			positive = append(positive, score)
		} else {
			negative = append(negative, score)
		}
	}
	u := 0.0
	for _, p := range positive {
		for _, q := range negative {
			switch {
			case p > q:
				u++
			case p == q:
				u += 0.5
			}
		}
	}
	require.EqualValues(t, labels, f.Labels)
	seen := 0
	for _, a := range found {
		if !a.WindowStart.Equal(start) {
			continue
		}
		switch a.Metric {
		case "accuracy":
			require.InDelta(t, float64(right)/float64(labels), *a.Value, 1e-12)
			seen++
		case "roc_auc":
			require.InDelta(t, u/float64(len(positive)*len(negative)), *a.Value, 1e-12)
			seen++
		}
	}
	require.Equal(t, 2, seen)
}

// settle lets monitors pass until nothing is judged any more, each pass by another one.
func (w *world) settle(t *testing.T, pub drift.Publisher, now *time.Time) []drift.Judged {
	t.Helper()
	var all []drift.Judged
	m := w.monitor(w, pub)
	for idle := 0; idle < 3; {
		*now = now.Add(20 * time.Minute)
		judged := w.tick(m, *now).Judged
		all = append(all, judged...)
		if idle++; len(judged) > 0 {
			idle = 0
		}
	}
	return all
}

// Windows of three kinds, some of which start together, have the rows and labels that lie in them,
// however late these come, also after a restart.
func TestWindowsOfSeveralKinds(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	w.also(hours(2, 0), hours(3, 1))
	pub, store, now := &topic{}, history.New(w, w.Database()), historytest.WallClock
	var unlabelled []historytest.Observation
	for _, h := range []int{0, 1, 2, 6, 7, 8, 9} {
		rows := w.Hour(h, 120+r.IntN(100), 2*r.IntN(3))
		if h == 7 {
			unlabelled = rows
			continue
		}
		w.Label(rows, 4+r.IntN(5), r.IntN(2) == 0)
	}
	w.settle(t, pub, &now)
	w.requireJudged(t, store)
	require.Empty(t, w.settle(t, pub, &now), "another monitor finds nothing to do")

	late := w.Hour(1, 30, 0)
	w.Label(late, 3, true)
	revised := map[string][]string{}
	for _, j := range w.settle(t, pub, &now) {
		if j.Job == "drift" {
			require.EqualValues(t, 1, j.Revision)
			revised[j.WindowKind] = append(revised[j.WindowKind], j.WindowStart.Format("15"))
		}
	}
	require.Equal(t, map[string][]string{"": {"01"}, "2h": {"00"}, "3h-every-1h": {"23", "00", "01"}}, revised, "the windows that the rows lie in")
	w.requireJudged(t, store)

	w.Label(unlabelled, 3, false)
	w.settle(t, pub, &now)
	w.requireJudged(t, store) // 06 of those that slide by an hour has closed, and has the labels of 07
	w.Hour(14, 150, 0)        // the others close
	w.settle(t, pub, &now)
	w.requireJudged(t, store)
	var corrections []historytest.Feedback // of windows that are finished
	for _, o := range late {
		label := 55 - w.Labels[o.RequestID]
		corrections = append(corrections, historytest.Feedback{Model: "shop", RequestID: o.RequestID, Label: &label, ObservedAt: o.EventTime.Add(time.Hour), ReceivedAt: historytest.WallClock, Offset: 1_000_000 + o.Offset})
		w.Labels[o.RequestID] = label
	}
	w.Tell(corrections)
	corrected := map[string][]string{}
	for _, j := range w.settle(t, pub, &now) {
		require.Equal(t, "accuracy", j.Job)
		corrected[j.WindowKind] = append(corrected[j.WindowKind], j.WindowStart.Format("15"))
	}
	require.Equal(t, revised, corrected)
	w.requireJudged(t, store)
	require.Equal(t, uint64(3), clickhousetest.Count(t, w.Client, "SELECT uniqExact(window_kind) AS n FROM {db}.label_looks"))

	ids := map[string]string{}
	for _, e := range pub.events {
		text := strings.Join([]string{e.Data.WindowKind, e.Data.WindowStart.String(), string(e.Data.Job)}, " ")
		require.Empty(t, ids[e.ID], "the event of %s has the id of another", text)
		ids[e.ID] = text
	}
}

// The cool-down and the budget hold for a version, by whichever windows it is judged.
func TestRetrainingIsAskedForByAVersion(t *testing.T) {
	w := newWorld(t)
	for h := range 9 {
		w.Hour(h, 200, 9)
	}
	w.also(hours(2, 0), hours(4, 2))
	ends := func() (out []string) {
		_, events := w.asked()
		for _, e := range events {
			out = append(out, e.Data.WindowEnd.Format("15")+e.Data.WindowKind)
		}
		return out
	}
	require.Equal(t, []string{"01", "02", "03", "04", "05", "06", "07", "08", "022h", "042h", "062h", "082h"}, ends()[:12], "without any")
	w.policy(schemas.RetrainingPolicy{Cooldown: schemas.Duration(5 * time.Hour)})
	require.Equal(t, []string{"01", "06"}, ends(), "two hours that end at 08 do so within it")
	w.policy(schemas.RetrainingPolicy{When: "breached_ks_score", Budget: 3})
	require.Equal(t, []string{"01", "02", "03"}, ends())
	w.policy(schemas.RetrainingPolicy{When: "breached_ks_score and rows > 500", Budget: 3})
	require.Equal(t, []string{"044h-every-2h", "064h-every-2h", "084h-every-2h"}, ends())
}
