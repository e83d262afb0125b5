package drift_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// TestReasonInEvents: a feature that goes missing within an hour is named first, with the time from
// which on, and the SQL of the event selects its rows.
func TestReasonInEvents(t *testing.T) {
	w := newWorld(t)
	w.Manifest.Monitoring.Checks = []schemas.Check{
		{Stattest: schemas.StattestMissing, Column: "label", Threshold: 0.6, Severity: schemas.SeverityWarning},
		{Stattest: schemas.StattestPSI, Column: "label", Threshold: 0.2, Severity: schemas.SeverityWarning},
		{Stattest: schemas.StattestPSI, Column: "items", Threshold: 0.2, Severity: schemas.SeverityWarning, Retrain: true},
	}
	for h := range 5 {
		w.Hour(h, 600, 0)
	}
	gone := historytest.Start.Add(5*time.Hour + 20*time.Minute)
	rows := make([]historytest.Observation, 600)
	for i := range rows {
		rows[i] = w.Observe(historytest.Start.Add(5*time.Hour+time.Duration(i)*6*time.Second), i, 0)
		if !rows[i].EventTime.Before(gone) {
			rows[i].Note = nil
		}
	}
	w.Put(rows)
	w.Hour(6, 600, 2) // and then items shift, of which the event asks for retraining
	w.Hour(7, 100, 0)
	pub := &topic{}
	store := &explained{Store: history.New(w, w.Database())}
	m := drift.NewMonitor(w.config(), store, pub, zerolog.Nop())
	w.tick(m, historytest.WallClock)
	require.Equal(t, []string{"05:00 drift r0", "06:00 retraining r0"}, pub.kinds())
	require.Equal(t, 2, store.asked, "nothing is asked of windows that breach nothing")

	e := pub.events[0].Data
	require.Empty(t, e.NoReason)
	require.Equal(t, []string{"missing_share label", "psi label"}, breachedSorted(pub.events[0]))
	first := e.Reason.Columns[0]
	require.Equal(t, "label", first.Column)
	require.True(t, first.Cause)
	require.True(t, first.Drift)
	require.Equal(t, "is missing", first.What)
	require.NotNil(t, first.Since)
	require.True(t, first.Since.Equal(gone), "%s", first.Since)
	require.Nil(t, first.Until)
	require.Contains(t, e.Reason.Sentence, "`label` has been missing since 2001-02-01 05:20 UTC")
	require.Equal(t, schemas.MattersUnknown, e.Reason.Matters)
	require.InDelta(t, 300, e.Reason.Bucket, 0)
	var counted []struct {
		Rows uint64 `ch:"n"`
	}
	require.NoError(t, w.Select(t.Context(), &counted, "SELECT count() AS n FROM ("+e.Reason.SQL+")"), e.Reason.SQL)
	missing := 0
	for _, o := range w.Answered(5) {
		if o.Note == nil {
			missing++
		}
	}
	require.Equal(t, uint64(missing), counted[0].Rows)

	items := pub.events[1].Data.Reason
	require.Equal(t, "items", items.Columns[0].Column)
	require.Contains(t, items.Columns[0].What, "standard deviations")
	require.True(t, items.Columns[0].Since.Equal(historytest.Start.Add(6*time.Hour)), items.Sentence)
	require.Equal(t, "score", items.Moved.Predictions[0].Column, "%s", items.Sentence)

	_, err := json.Marshal(pub.events)
	require.NoError(t, err)
	ids := []string{pub.events[0].ID, schemas.EventID(withoutReason(e))}
	require.Equal(t, ids[0], ids[1], "the id is not of the reason")
}

// explained counts how often a reason is looked for.
type explained struct {
	*history.Store
	asked int
}

func (s *explained) CountBuckets(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, span profile.Span, most uint64) ([]profile.WindowCounts, error) {
	s.asked++
	return s.Store.CountBuckets(ctx, m, ref, span, most)
}

func withoutReason(e schemas.EventData) schemas.EventData {
	e.Reason = nil
	return e
}

func breachedSorted(e schemas.Event) []string {
	out := breached(e)
	slices.Sort(out)
	return out
}

// TestDataQualityChecks holds verdicts to the exact tests: scipy.stats.binomtest(k, n, p, "greater"), its
// proportion_ci(0.95, "exact") and scipy.stats.poisson.cdf.
func TestDataQualityChecks(t *testing.T) {
	check := func(test schemas.Stattest, column string, threshold float64) schemas.Check {
		return schemas.Check{Stattest: test, Column: column, Threshold: threshold, Severity: schemas.SeverityWarning}
	}
	ref := &schemas.Reference{Rows: 100, Columns: []schemas.ReferenceColumn{{Name: "c", Categories: []string{"a"}, Counts: []int64{96}, Other: 1, Missing: 3}}}
	judge := func(rate float64, c schemas.Check, counts profile.Counts, faults *profile.Faults) schemas.DriftResult {
		v := drift.Version{Reference: ref, Manifest: &schemas.Manifest{Monitoring: &schemas.Monitoring{Rate: rate, Checks: []schemas.Check{c}}}}
		rows, err := drift.JudgeWindow(v, schemas.DriftResult{Rows: uint64(counts.Rows())}, []profile.Counts{counts}, faults)
		require.NoError(t, err)
		i := slices.IndexFunc(rows, func(r schemas.DriftResult) bool { return r.Stattest == string(c.Stattest) })
		require.GreaterOrEqual(t, i, 0)
		require.NotNil(t, rows[i].Threshold)
		return rows[i]
	}
	counts := func(listed, other, missing int64) profile.Counts {
		return profile.Counts{Cells: []int64{listed}, Other: other, Missing: missing}
	}
	r := judge(0.05, check(schemas.StattestMissing, "c", 0.1), counts(80, 0, 20), nil)
	require.InDelta(t, 0.0019785, *r.PValue, 1e-6) // binomtest(20, 100, 0.1, "greater")
	require.InDelta(t, 0.1366613, *r.Effect, 1e-6) // beta.ppf(0.05, 20, 81)
	require.True(t, r.Drifted)
	require.InDelta(t, 0.03, *r.Expected, 1e-12)
	r = judge(0.05, check(schemas.StattestMissing, "c", 0.1), counts(86, 0, 14), nil)
	require.InDelta(t, 0.1238768, *r.PValue, 1e-6) // binomtest(14, 100, 0.1, "greater")
	require.Equal(t, "not_judged", r.Verdict)
	require.Contains(t, r.Reason, "is not told from its threshold of 0.1")
	require.Equal(t, "ok", judge(0.05, check(schemas.StattestMissing, "c", 0.1), counts(95, 0, 5), nil).Verdict)
	require.True(t, judge(0.05, check(schemas.StattestMissing, "c", 0), counts(95, 0, 1), nil).Drifted, "any is too much")
	require.Equal(t, "ok", judge(0.05, check(schemas.StattestMissing, "c", 0), counts(95, 0, 0), nil).Verdict)
	r = judge(0.05, check(schemas.StattestNewCategory, "c", 0.1), counts(0, 1000, 0), nil)
	require.True(t, r.Drifted)
	require.InDelta(t, 1, r.Score, 0)

	require.Equal(t, "not_judged", judge(0.05, check(schemas.StattestDuplicates, "", 0.1), counts(10, 0, 0), nil).Verdict)
	require.True(t, judge(0.05, check(schemas.StattestDuplicates, "", 0.1), counts(10, 0, 0), &profile.Faults{Rows: 100, Duplicates: 40}).Drifted)
	faults := &profile.Faults{Rows: 1 << 40, OutOfRange: map[string]int64{"c": 1 << 39}}
	require.True(t, judge(0.05, check(schemas.StattestOutOfRange, "c", 0.4999), counts(10, 0, 0), faults).Drifted, "of very many rows")
	require.False(t, judge(0.05, check(schemas.StattestOutOfRange, "c", 0.5), counts(10, 0, 0), faults).Drifted)

	r = judge(0.05, check(schemas.StattestRowCount, "", 100), counts(80, 0, 0), nil)
	require.InDelta(t, 0.0226492, *r.PValue, 1e-6) // poisson.cdf(80, 100)
	require.True(t, r.Drifted)
	require.Equal(t, "not_judged", judge(0.05, check(schemas.StattestRowCount, "", 100), counts(90, 0, 0), nil).Verdict)
	require.Equal(t, "ok", judge(0.05, check(schemas.StattestRowCount, "", 100), counts(100, 0, 0), nil).Verdict)
	for _, n := range []int64{1, 3, 1000, 1 << 50} { // nothing that cannot be written as JSON
		for _, k := range []int64{0, 1, n / 2, n} {
			for _, threshold := range []float64{0, 1e-12, 0.5, 0.999999} {
				r := judge(1e-6, check(schemas.StattestMissing, "c", threshold), counts(n-k, 0, k), nil)
				for _, x := range []*float64{r.PValue, r.Effect, r.PCorrected, r.Smallest} {
					if x != nil {
						require.False(t, math.IsNaN(*x) || *x < 0 || *x > 1, "%d of %d at %v: %v", k, n, threshold, *x)
					}
				}
				require.Equal(t, *r.PCorrected <= 1e-6 && r.Score > threshold, *r.Effect >= threshold && r.Score > threshold && r.Drifted, "%d of %d at %v: bound %v", k, n, threshold, *r.Effect)
			}
		}
	}
}

// TestRowCountOfEmptyWindows: windows that have no rows, or fewer than min_rows, breach where rows are checked,
// and no other check is judged on them.
func TestRowCountOfEmptyWindows(t *testing.T) {
	w := newWorld(t)
	w.Manifest.Monitoring.Checks = append(w.Manifest.Monitoring.Checks, schemas.Check{Stattest: schemas.StattestRowCount, Threshold: 200, Severity: schemas.SeverityCritical})
	w.Hour(0, 500, 0)
	w.Hour(2, 40, 0)
	w.Hour(3, 500, 0)
	w.Hour(4, 500, 0)
	pub := &topic{}
	m := w.monitor(w, pub)
	w.tick(m, historytest.WallClock)
	require.Equal(t, []string{"01:00 drift r0", "02:00 drift r0"}, pub.kinds())
	for _, e := range pub.events {
		require.Equal(t, []string{"row_count "}, breached(e))
		require.Len(t, e.Data.Reason.Rows, 1, e.Data.NoReason)
	}
	require.Contains(t, pub.events[0].Data.Reason.Sentence, "The window has 0 rows, where at least 200 are expected")
	require.Empty(t, w.tick(m, historytest.WallClock.Add(2*time.Hour)).Judged, "each once")
}

// TestNoReason: what a reason needs fails, and the event goes without it.
func TestNoReason(t *testing.T) {
	_, err := drift.Explain(t.Context(), &memory{noBuckets: errors.New("out of memory")}, drift.Version{
		Reference: &schemas.Reference{Columns: make([]schemas.ReferenceColumn, 1)}, Manifest: historytest.Manifest(),
	}, historytest.Start, nil, nil)
	require.ErrorContains(t, err, "count the buckets before the breach: out of memory")
	_, err = drift.Explain(t.Context(), &memory{}, drift.Version{Manifest: historytest.Manifest()}, historytest.Start, nil, nil)
	require.ErrorContains(t, err, "no reason without a reference")
}

// TestReasonNamesSegments: where a feature goes missing for one value of another, that value is named.
func TestReasonNamesSegments(t *testing.T) {
	w := newWorld(t)
	w.Manifest.Monitoring.Segments = []string{"n"}
	w.Manifest.Monitoring.Checks = []schemas.Check{{Stattest: schemas.StattestPSI, Column: "label", Threshold: 0.05, Severity: schemas.SeverityWarning}}
	for h := range 3 {
		w.Hour(h, 900, 0)
	}
	rows := make([]historytest.Observation, 900)
	for i := range rows {
		rows[i] = w.Observe(historytest.Start.Add(3*time.Hour+time.Duration(i)*4*time.Second), i, 0)
		if rows[i].Member {
			rows[i].Note = nil
		}
	}
	w.Put(rows)
	w.Hour(4, 100, 0)
	pub := &topic{}
	w.tick(w.monitor(w, pub), historytest.WallClock)
	require.Equal(t, []string{"03:00 drift r0"}, pub.kinds())
	r := pub.events[0].Data.Reason
	require.NotNil(t, r, pub.events[0].Data.NoReason)
	require.NotEmpty(t, r.Segments, r.Sentence)
	require.Equal(t, []string{"n", "true"}, []string{r.Segments[0].Segment, r.Segments[0].Value})
	members := uint64(0)
	for _, o := range w.Answered(3) {
		if o.Member {
			members++
		}
	}
	require.Equal(t, members, r.Segments[0].Rows)
}
