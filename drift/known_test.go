package drift_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/estimate"
	"github.com/millrace/millrace/drift/estimator"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// knownWorld has a reference with an estimator, whose scores need calibration where power is not 1:
// the chance of a positive is the score to that power.
func knownWorld(t *testing.T, power float64) *world {
	t.Helper()
	w := newWorld(t)
	const seed = 20261201
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var scores []float64
	var positive []bool
	for range 4000 {
		s := float64(float32(r.Float64() * 0.8))
		scores, positive = append(scores, s), append(positive, r.Float64() < math.Pow(s, power))
	}
	var err error
	w.Reference.Estimator, err = estimator.Fit(scores, positive, 0.5)
	require.NoError(t, err)
	if power == 1 {
		w.Reference.Estimator.X, w.Reference.Estimator.Y = nil, nil // as they are, whatever chance said
	}
	w.Manifest.Monitoring.Segments = []string{"t", "n"}
	w.Manifest.Requires = schemas.Requirements{LatencyMS: 40, Accuracy: 0.55}
	w.Manifest.Monitoring.Checks = []schemas.Check{
		{Stattest: schemas.StattestAUC.Estimated(), Threshold: 0.55, Severity: schemas.SeverityWarning},
		{Stattest: schemas.StattestAccuracy.LessEstimated(), Threshold: 0.05, Severity: schemas.SeverityCritical, Retrain: true},
	}
	return w
}

// figures reads the last revisions of accuracy_results by hour and metric.
func (w *world) figures() map[int]map[string]schemas.AccuracyResult {
	w.t.Helper()
	var rows []schemas.AccuracyResult
	require.NoError(w.t, w.Select(w.t.Context(), &rows, "SELECT window_start, revision, metric, value, low, high, no_interval, sampling_error, realized, estimated, counted_within, threshold, breached, rows, labels FROM "+
		w.Database()+".accuracy_results FINAL ORDER BY window_start, metric, revision DESC LIMIT 1 BY window_start, metric"))
	out := map[int]map[string]schemas.AccuracyResult{}
	for _, r := range rows {
		hour := int(r.WindowStart.Sub(historytest.Start).Hours())
		if out[hour] == nil {
			out[hour] = map[string]schemas.AccuracyResult{}
		}
		out[hour][r.Metric] = r
	}
	return out
}

// rowwise estimates the answered rows of an hour one by one, or of those with a label.
func (w *world) rowwise(hour int, labelled bool) []estimate.Estimate {
	w.t.Helper()
	c, err := estimator.Of(w.Reference.Estimator)
	require.NoError(w.t, err)
	var b estimate.Binary
	for _, o := range w.Answered(hour) {
		label, ok := w.Labels[o.RequestID]
		if labelled && !ok {
			continue
		}
		score := float64(*o.Probability)
		b.Scores, b.Predicted, b.Targets = append(b.Scores, score), append(b.Predicted, one(score >= 0.5)), append(b.Targets, one(ok && label > 15))
	}
	found, err := c.Estimate(b, []estimate.Chunk{{End: len(b.Scores)}})
	require.NoError(w.t, err)
	return found[0].Estimates
}

// requireEstimates compares what is stored of an hour with estimates of single rows.
func (w *world) requireEstimates(hour int, known bool) {
	w.t.Helper()
	stored := w.figures()[hour]
	all, labelled := w.rowwise(hour, false), []estimate.Estimate(nil)
	if known {
		labelled = w.rowwise(hour, true)
	}
	for k, figure := range schemas.EstimatedFigures {
		got, ok := stored[string(figure.Estimated())]
		require.True(w.t, ok, "hour %d: %s", hour, figure)
		within := 1e-9
		if figure == schemas.StattestAUC {
			require.NotNil(w.t, got.Within)
			require.Less(w.t, *got.Within, 0.01)
			within = *got.Within + 1e-4 // NannyML's is rounded
		}
		require.InDelta(w.t, *all[k].Value, *got.Value, within, "hour %d: %s", hour, figure)
		require.InDelta(w.t, *all[k].SamplingError, *got.SamplingError, 1e-12)
		require.Equal(w.t, got.Low == nil, got.NoInterval != "")
		if got.Low != nil {
			require.LessOrEqual(w.t, *got.Low, *got.Value+0.01)
			require.GreaterOrEqual(w.t, *got.High, *got.Value-0.01)
		}
		require.Zero(w.t, got.Labels)
		less, ok := stored[string(figure.LessEstimated())]
		require.Equal(w.t, known, ok, "hour %d: %s", hour, figure)
		if !known {
			continue
		}
		require.InDelta(w.t, *labelled[k].Realized, *less.Realized, 1e-9, figure)
		require.InDelta(w.t, *labelled[k].Value, *less.Estimated, 2*within, figure)
		require.InDelta(w.t, *less.Realized-*less.Estimated, *less.Value, 1e-12)
		require.Equal(w.t, less.Low == nil, less.NoInterval != "")
	}
}

// events are those of a topic, each once.
func (p *topic) distinct() []string {
	seen := map[string]string{}
	for _, e := range p.events {
		var what []string
		for _, b := range e.Data.Breaches {
			what = append(what, string(b.Stattest))
		}
		seen[e.ID] = fmt.Sprintf("%s %s by %s r%d: %s", e.Data.WindowStart.Format("15"), e.Data.Kind, e.Data.Job, e.Data.Revision, strings.Join(what, ", "))
	}
	out := make([]string, 0, len(seen))
	for _, text := range seen {
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

// slow makes the rows of an hour take long.
func slow(rows []historytest.Observation, us int64) []historytest.Observation {
	for i := range rows {
		rows[i].LatencyUS = us
	}
	return rows
}

// hourOf stores rows with a latency.
func (w *world) hourOf(h, n int, us int64) []historytest.Observation {
	rows := make([]historytest.Observation, n)
	for i := range rows {
		rows[i] = w.Observe(historytest.Start.Add(time.Duration(h)*time.Hour+time.Duration(i)*time.Hour/time.Duration(n)), i, 0)
	}
	w.Put(slow(rows, us))
	return rows
}

// TestQualityIsEstimatedAndThenKnown: windows are estimated when they close, and compared with what
// labels show when these come, late ones included; a change of concept is told from labels as
// they should be; requirements are held to rows and labels.
func TestQualityIsEstimatedAndThenKnown(t *testing.T) {
	for name, power := range map[string]float64{"as they are": 1, "calibrated": 3} {
		t.Run(name, func(t *testing.T) {
			w := knownWorld(t, power)
			w.Manifest.Monitoring.LabelDelay = schemas.Duration(0)
			calm, turned := w.hourOf(0, 900, 1000), w.hourOf(1, 900, 90_000)
			w.hourOf(2, 50, 1000) // too few
			w.hourOf(3, 300, 1000)
			pub := &topic{}
			m := w.monitor(w, pub)
			w.tick(m, historytest.WallClock)
			w.requireEstimates(0, false)
			w.requireEstimates(1, false)
			require.NotContains(t, w.figures(), 2)
			require.Equal(t, []string{"01 requirement by requirement r0: latency_ms"}, pub.distinct())

			// Labels of the calm hour follow the scores, those of the other one are turned.
			truth := func(turn bool) func(i int) float64 {
				r := rand.New(rand.NewPCG(7, 7))
				rows := calm
				if turn {
					rows = turned
				}
				return func(i int) float64 {
					p := 0.0
					if rows[i].Probability != nil {
						p = math.Pow(float64(*rows[i].Probability), power)
					}
					if (r.Float64() < p) != turn {
						return 40
					}
					return 10
				}
			}
			l := &labels{world: w}
			l.tell(calm[:600], 0, 1, time.Hour, truth(false))
			l.tell(turned, 1, 1, time.Hour, truth(true))
			w.Labels = l.last()
			w.tick(m, historytest.WallClock.Add(5*time.Minute))
			w.tick(m, historytest.WallClock.Add(5*time.Minute+time.Second)) // a query takes one of the windows
			w.requireEstimates(0, true)
			w.requireEstimates(1, true)
			found := w.figures()
			d := found[0]["realized_less_estimated_accuracy"]
			require.True(t, *d.Low <= 0 && 0 <= *d.High, "%v to %v", *d.Low, *d.High)
			require.False(t, d.Breached)
			d = found[1]["realized_less_estimated_accuracy"]
			require.Less(t, *d.High, 0.0)
			require.True(t, d.Breached)
			require.Equal(t, []string{
				"01 requirement by accuracy r1: accuracy", "01 requirement by requirement r0: latency_ms", "01 retraining by accuracy r1: realized_less_estimated_accuracy",
			}, pub.distinct())

			// The rest of the labels: a revision, also of the difference.
			l.tell(calm[600:], 2, 1, 2*time.Hour, truth(false))
			w.Labels = l.last()
			w.tick(m, historytest.WallClock.Add(10*time.Minute))
			w.requireEstimates(0, true)
			require.Greater(t, w.figures()[0]["realized_less_estimated_accuracy"].Labels, d.Labels/2)
			require.EqualValues(t, 2, w.figures()[0]["realized_less_estimated_accuracy"].Revision)
			require.EqualValues(t, 0, w.figures()[0]["estimated_accuracy"].Revision)

			// Late rows: the estimate is revised, and the difference, of which these have no labels, stays.
			less := w.figures()[0]["realized_less_estimated_recall"]
			w.hourOf(0, 300, 1000)
			w.tick(m, historytest.WallClock.Add(20*time.Minute))
			w.requireEstimates(0, true)
			require.EqualValues(t, 1, w.figures()[0]["estimated_recall"].Revision)
			again := w.figures()[0]["realized_less_estimated_recall"]
			require.EqualValues(t, 3, again.Revision)
			require.Equal(t, []float64{*less.Value, *less.Estimated}, []float64{*again.Value, *again.Estimated})

			w.requireREADME(again.Rows, again.Labels)
			store := history.New(w, w.Database())
			all, err := store.Found(t.Context(), w.Manifest, historytest.Start, historytest.Start.Add(3*time.Hour))
			require.NoError(t, err)
			verdicts := map[string]string{}
			for _, r := range all.Requirements {
				verdicts[r.WindowStart.Format("15 ")+r.Requirement] = r.Verdict
			}
			require.Equal(t, map[string]string{
				"00 latency_ms": "met", "01 latency_ms": "breached",
				"00 accuracy": verdicts["00 accuracy"], "01 accuracy": "breached",
			}, verdicts)
			require.Len(t, all.Delays, 2)
			require.Less(t, all.Delays[0].Labels, all.Delays[0].Rows, "late rows have none")
			require.InDelta(t, historytest.WallClock.Add(time.Hour).Sub(historytest.Start).Seconds(), all.Delays[0].Median, 2*3600)
		})
	}
}

// TestSegmentsThatDiffer: of the values of a feature one is wrong more often; it is told apart, and
// the others of many are not.
func TestSegmentsThatDiffer(t *testing.T) {
	w := knownWorld(t, 1)
	w.Manifest.Monitoring.LabelDelay = 0
	w.Manifest.Monitoring.Segments = []string{"t", "label"}
	rows := w.hourOf(0, 3000, 1000)
	w.hourOf(2, 200, 1000)
	l := &labels{world: w}
	l.tell(rows, 0, 1, time.Hour, func(i int) float64 {
		right := rows[i].Probability != nil && *rows[i].Probability >= 0.5
		if i%5 == 0 || rows[i].Country == "größe" && i%2 == 0 {
			right = !right
		}
		return map[bool]float64{false: 10, true: 40}[right]
	})
	w.tick(w.monitor(w, &topic{}), historytest.WallClock)
	found, err := history.New(w, w.Database()).Found(t.Context(), w.Manifest, historytest.Start, historytest.Start)
	require.NoError(t, err)
	var apart []string
	for _, s := range found.Segments {
		require.True(t, *s.High < *s.Whole || *s.Low > *s.Whole)
		if s.Metric == "accuracy" && *s.Value < *s.Whole {
			apart = append(apart, s.Segment+" "+s.Of)
		}
	}
	require.Equal(t, []string{"t größe"}, apart)
	var stored []schemas.SegmentResult
	require.NoError(t, w.Select(t.Context(), &stored, "SELECT segment, segment_value, labels, value FROM "+w.Database()+".accuracy_segments FINAL WHERE metric = 'accuracy' AND segment = 't'"))
	require.Len(t, stored, 7, "six countries and an unknown one")
	total := uint64(0)
	for _, s := range stored {
		total += s.Labels
	}
	require.EqualValues(t, len(w.Answered(0)), total)
}

// TestKnownKilledAnywhere kills the monitor at each write of a pass that estimates, judges
// requirements and compares with labels, before and after it was done. What is stored and the
// set of events are those of an undisturbed run.
func TestKnownKilledAnywhere(t *testing.T) {
	w := knownWorld(t, 1)
	w.Manifest.Monitoring.LabelDelay = 0
	w.Label(w.hourOf(0, 200, 90_000), 3, false)
	w.Label(w.hourOf(1, 600, 90_000), 3, false)
	w.hourOf(3, 150, 1000)
	tables := map[string]string{
		"accuracy_results":    "window_start, revision, metric, value, low, high, sampling_error, realized, estimated, breached, rows, labels",
		"accuracy_segments":   "window_start, revision, segment, segment_value, other, metric, value, low, high, whole, differs, labels",
		"requirement_results": "window_start, revision, requirement, value, low, high, verdict, rows",
		"label_delays":        "window_start, revision, rows, labels, median_s, p90_s, p99_s, longest_s",
		"windows":             "job, window_start, revision, rows, labels, verdict",
	}
	results := func() string {
		var all strings.Builder
		for _, table := range slices.Sorted(func(yield func(string) bool) {
			for name := range tables {
				if !yield(name) {
					return
				}
			}
		}) {
			var rows []struct {
				Text string `ch:"text"`
			}
			require.NoError(t, w.Select(t.Context(), &rows, fmt.Sprintf("SELECT toString(tuple(%s)) AS text FROM %s.%s FINAL ORDER BY text", tables[table], w.Database(), table)))
			require.NotEmpty(t, rows, table)
			for _, r := range rows {
				all.WriteString(table + r.Text + "\n")
			}
		}
		return all.String()
	}
	reset := func() {
		for table := range tables {
			require.NoError(t, w.Exec(t.Context(), "TRUNCATE TABLE "+w.Database()+"."+table))
		}
		for _, table := range []string{"drift_results", "label_looks"} {
			require.NoError(t, w.Exec(t.Context(), "TRUNCATE TABLE "+w.Database()+"."+table))
		}
	}
	p := &topic{}
	undisturbed := writing{&flaky{Conn: w, Publisher: p, failAt: -1}}
	w.tick(w.monitor(undisturbed, undisturbed), historytest.WallClock)
	want, events := results(), p.distinct()
	require.Contains(t, events, "01 requirement by accuracy r0: accuracy")
	require.Contains(t, events, "01 requirement by requirement r0: latency_ms")
	require.Equal(t, len(events), len(p.events), "each once")
	for failAt := 0; failAt < undisturbed.calls; failAt += stride(9) {
		for _, after := range []bool{false, true} {
			reset()
			p := &topic{}
			f := writing{&flaky{Conn: w, Publisher: p, failAt: failAt, after: after}}
			_, err := w.monitor(f, f).Tick(t.Context(), historytest.WallClock, []drift.Version{w.version})
			require.ErrorIs(t, err, errKilled)
			w.tick(w.monitor(w, p), historytest.WallClock)
			require.Equal(t, want, results(), "killed at call %d, after %v", failAt, after)
			require.Equal(t, events, p.distinct(), "killed at call %d, after %v", failAt, after)
		}
	}
}

// TestEstimatorIsLearned: a version that learns its reference estimates once the labels of what it
// was learned from have come, and catches up.
func TestEstimatorIsLearned(t *testing.T) {
	w := learningWorld(t)
	w.Manifest.Monitoring.Checks = []schemas.Check{{Stattest: schemas.StattestAccuracy.Estimated(), Threshold: 0.99, Severity: schemas.SeverityWarning}}
	w.Hour(2, 400, 0)
	w.Hour(3, 500, 0)
	pub := &topic{}
	m := w.monitor(w, pub)
	w.Hour(6, 200, 0)
	w.tick(m, historytest.WallClock)
	require.Empty(t, pub.events)
	require.NotContains(t, w.figures(), 3, "no labels, no estimates")
	w.Label(slices.Clone(w.Rows), 7, true)
	w.Hour(7, 200, 0)
	stats := w.tick(m, historytest.WallClock.Add(time.Second))
	var estimated []string
	for _, j := range stats.Judged {
		if j.Job == string(schemas.JobEstimate) {
			estimated = append(estimated, j.WindowStart.Format("15 ")+j.Verdict)
		}
	}
	require.Equal(t, []string{"00 learning", "01 too_few", "02 learning", "03 breached", "06 breached"}, estimated)
	require.Equal(t, []string{"03 accuracy by estimate r0: estimated_accuracy", "06 accuracy by estimate r0: estimated_accuracy"}, pub.distinct())
	row, ok, err := history.New(w, w.Database()).LearnedEstimator(t.Context(), w.Manifest, hourSpan(2).End)
	require.NoError(t, err)
	require.True(t, ok)
	w.Reference.Estimator = &schemas.Estimator{}
	require.NoError(t, json.Unmarshal([]byte(row.Estimator), w.Reference.Estimator))
	w.requireEstimates(3, w.figures()[3]["realized_less_estimated_accuracy"].Rows > 0)

	// Another monitor, and a command, take the estimator that was kept.
	w.Hour(8, 200, 0)
	stats = w.tick(w.monitor(w, pub), historytest.WallClock.Add(2*time.Second))
	require.True(t, slices.ContainsFunc(stats.Judged, func(j drift.Judged) bool { return j.Job == string(schemas.JobEstimate) }))
	again, err := w.monitor(w, pub).Again(t.Context(), historytest.WallClock.Add(3*time.Second), w.version, hourSpan(3))
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(again, func(j drift.Judged) bool {
		return j.Job == string(schemas.JobEstimate) && j.Revision == 1 && len(j.Accuracy) == len(schemas.EstimatedFigures)
	}))
	require.EqualValues(t, 1, countRows(t, w, "learned_estimators"))
}

func hourSpan(h int) profile.Span {
	start := historytest.Start.Add(time.Duration(h) * time.Hour)
	return profile.Span{Start: start, End: start.Add(time.Hour)}
}

func countRows(t *testing.T, w *world, table string) uint64 {
	t.Helper()
	return clickhousetest.Count(t, w.Client, "SELECT count() AS n FROM {db}."+table)
}

// TestScoresThatAreNoProbabilities: estimates say why there are none, and accuracy is judged all the same.
func TestScoresThatAreNoProbabilities(t *testing.T) {
	w := knownWorld(t, 1)
	w.Manifest.Monitoring.LabelDelay = 0
	w.Manifest.Requires = schemas.Requirements{}
	rows := make([]historytest.Observation, 400)
	for i := range rows {
		rows[i] = w.Observe(historytest.Start.Add(time.Duration(i)*time.Second), i, 0)
		rows[i].Probability = new(float32(i) / 100) // up to 4
	}
	w.Put(rows)
	w.Label(rows, 9, true)
	blank := make([]historytest.Observation, 200)
	for i := range blank {
		blank[i] = w.Observe(historytest.Start.Add(time.Hour+time.Duration(i)*time.Second), i, 0)
		blank[i].Probability = nil
	}
	w.Put(blank)
	w.hourOf(3, 150, 1000)
	pub := &topic{}
	stats := w.tick(w.monitor(w, pub), historytest.WallClock)
	verdicts := map[string]string{}
	for _, j := range stats.Judged {
		verdicts[j.WindowStart.Format("15 ")+j.Job] = j.Verdict
	}
	require.Equal(t, "not_judged", verdicts["00 estimate"])
	require.Equal(t, "too_few", verdicts["01 estimate"])
	require.Equal(t, "ok", verdicts["00 accuracy"])
	require.NotContains(t, verdicts, "00 requirement")
	found := w.figures()
	require.Nil(t, found[0]["estimated_roc_auc"].Value)
	require.Contains(t, found[0]["estimated_roc_auc"].NoInterval, "rows are no probabilities")
	require.NotNil(t, found[0]["accuracy"].Value)
	require.Nil(t, found[0]["realized_less_estimated_accuracy"].Value)
	require.NotNil(t, found[0]["realized_less_estimated_accuracy"].Realized)
	require.NotContains(t, found, 1)
}

// TestChecksOfEstimatesNeedAnEstimator: a manifest that checks what cannot be known is refused, where it
// is read or where its reference is.
func TestChecksOfEstimatesNeedAnEstimator(t *testing.T) {
	w := knownWorld(t, 1)
	text := func(ref *schemas.Reference) []byte {
		out, err := json.Marshal(ref)
		require.NoError(t, err)
		return out
	}
	parsed, err := schemas.ParseReference("reference.json", text(w.Reference), w.Manifest)
	require.NoError(t, err)
	require.Equal(t, w.Reference, parsed)
	without := *w.Reference
	without.Estimator = nil
	_, err = schemas.ParseReference("reference.json", text(&without), w.Manifest)
	require.ErrorContains(t, err, "monitoring.checks[0] needs estimates, and the reference has no estimator")
	broken, e := *w.Reference, *w.Reference.Estimator
	e.Scores = append([]float64{-1}, e.Scores[1:]...)
	broken.Estimator = &e
	_, err = schemas.ParseReference("reference.json", text(&broken), w.Manifest)
	require.ErrorContains(t, err, "estimator: score 0 is -1, must be from 0 to 1")
	price := *w.Manifest
	price.Target = &schemas.Target{Kind: schemas.TargetRegression, Score: "score"}
	price.Monitoring = nil
	_, err = schemas.ParseReference("reference.json", text(w.Reference), &price)
	require.ErrorContains(t, err, "estimator: the manifest has no binary target")
}

// requireREADME asks the query of README.md that shows estimated beside realized figures.
func (w *world) requireREADME(rows, labels uint64) {
	w.t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(w.t, err)
	_, query, found := strings.Cut(string(text), "```sql\nSELECT window_start, e.value AS estimated")
	require.True(w.t, found)
	query, _, _ = strings.Cut("SELECT window_start, e.value AS estimated"+query, "```")
	var answer []struct {
		Start     time.Time `ch:"window_start"`
		Estimated *float64  `ch:"estimated"`
		Realized  *float64  `ch:"realized"`
		Arrived   float64   `ch:"arrived"`
	}
	require.NoError(w.t, w.Select(w.t.Context(), &answer, strings.ReplaceAll(query, "millrace.", w.Database()+".")))
	require.Len(w.t, answer, 2)
	figures := w.figures()[0]
	require.Equal(w.t, *figures["estimated_roc_auc"].Value, *answer[0].Estimated)
	require.Equal(w.t, *figures["roc_auc"].Value, *answer[0].Realized)
	require.InDelta(w.t, float64(labels)/float64(rows), answer[0].Arrived, 1e-12)
}
