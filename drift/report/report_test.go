package report_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/report"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

func TestMain(m *testing.M) { os.Exit(clickhousetest.Main(m)) }

var (
	start = time.Date(2001, 2, 1, 0, 0, 0, 0, time.UTC)
	now   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

const hostile = `</style><script>alert("x")</script>&amp;`

func manifest(numeric int) *schemas.Manifest {
	m := &schemas.Manifest{
		Name: "flights", Version: "1.0",
		Outputs: []schemas.Output{{Name: "late_probability", Type: schemas.TypeFloat32}},
		Target:  &schemas.Target{Kind: schemas.TargetBinary, Score: "late_probability", Threshold: 0.3, PositiveAbove: 15},
		Monitoring: &schemas.Monitoring{
			Window: schemas.Duration(24 * time.Hour), IdleTimeout: schemas.Duration(time.Minute), MinRows: 100, Rate: schemas.DefaultRate,
			Checks: []schemas.Check{
				{Stattest: schemas.StattestPSI, Column: "late_probability", Threshold: 0.1, Severity: schemas.SeverityCritical, Retrain: true},
				{Stattest: schemas.StattestChiSquare, Column: "origin", Threshold: 0.2, Severity: schemas.SeverityWarning},
				{Stattest: schemas.StattestKS, Column: "x0", Threshold: 0.1, Severity: schemas.SeverityWarning},
				{Stattest: schemas.StattestShare, Threshold: 0.5, Severity: schemas.SeverityWarning},
				{Stattest: schemas.StattestAUC, Threshold: 0.7, Severity: schemas.SeverityWarning},
			},
		},
	}
	m.Features = append(m.Features, schemas.Feature{Name: "origin", Type: schemas.TypeCategory, Categories: []string{hostile, "ATL", "BOS"}})
	for i := range numeric {
		m.Features = append(m.Features, schemas.Feature{Name: fmt.Sprintf("x%d", i), Type: schemas.TypeFloat32, Optional: true})
	}
	return m
}

// fill stores days of rows whose numbers drift slowly, with labels, and returns the
// version with a reference of the first day.
func fill(tb testing.TB, c *clickhouse.Client, days, rows, numeric int) drift.Version {
	tb.Helper()
	m := manifest(numeric)
	require.NoError(tb, c.EnsureTable(tb.Context(), m.ObservationSchema()))
	var columns, values strings.Builder
	for i := range numeric {
		fmt.Fprintf(&columns, ", x%d", i)
		fmt.Fprintf(&values, ", if(cityHash64(number, %d) %% 20 = 0, NULL, toFloat32((cityHash64(number, %d) %% 1000) / 1000 * (1 + day / 100 * %d)))", i, i+100, i%3)
	}
	require.NoError(tb, c.Exec(tb.Context(), fmt.Sprintf(`INSERT INTO %s.observations_flights
(request_id, event_time, request_topic_id, request_partition, request_offset, version, outcome, scored_at, origin, late_probability%s)
SELECT concat('r', toString(number)), toDateTime64('2001-02-01 00:00:00', 6, 'UTC') + toIntervalMicrosecond(toInt64(number * 86400000000 / %d)), 't', 0, number, '1.0', 'ok',
  toDateTime64('2026-11-22 11:59:59', 6, 'UTC'), ['%s', 'ATL', 'BOS', 'new'][1 + cityHash64(number) %% least(4, 3 + day)], toFloat32(pow((cityHash64(number, 9) %% 10000) / 10000, 1 + day / 50))%s
FROM (SELECT number, intDiv(number, %d) AS day FROM numbers(%d))`, c.Database(), &columns, rows, strings.ReplaceAll(hostile, `"`, `\"`), &values, rows, days*rows+1)))
	require.NoError(tb, c.Exec(tb.Context(), fmt.Sprintf(`INSERT INTO %[1]s.feedback (model, request_id, label, observed_at, received_at, feedback_offset)
SELECT 'flights', request_id, if(cityHash64(request_id) %% 1000 < late_probability * 1000, 40, 0), event_time, scored_at, request_offset FROM %[1]s.observations_flights`, c.Database())))

	v := drift.Version{Manifest: m, Reference: &schemas.Reference{
		Quality: map[schemas.Stattest]float64{schemas.StattestAUC: 0.83}, Made: "the first day",
	}}
	add := func(name string, edges []float64, categories []string) {
		n := len(categories)
		if edges != nil {
			n = len(edges) + 1
		}
		v.Reference.Columns = append(v.Reference.Columns, schemas.ReferenceColumn{Name: name, Edges: edges, Categories: categories, Counts: make([]int64, n)})
	}
	var edges []float64
	for i := 1; i < 40; i++ {
		edges = append(edges, float64(i)/40)
	}
	add("origin", nil, []string{hostile, "ATL", "BOS"})
	for i := range numeric {
		add(fmt.Sprintf("x%d", i), edges, nil)
	}
	add("late_probability", edges, nil)
	counts, err := history.New(c, c.Database()).CountCells(tb.Context(), m, v.Reference, []time.Time{start})
	require.NoError(tb, err)
	v.Reference.Rows = int64(counts[0].Rows)
	for i, n := range counts[0].Columns {
		v.Reference.Columns[i].Counts, v.Reference.Columns[i].Other, v.Reference.Columns[i].Missing = n.Cells, n.Other, n.Missing
	}
	return v
}

type discard struct{}

func (discard) Publish(context.Context, schemas.Event) error { return nil }

func newMonitor(c *clickhouse.Client) *drift.Monitor {
	return drift.NewMonitor(drift.DefaultConfig(), history.New(c, c.Database()), discard{}, zerolog.Nop())
}

func newReporter(tb testing.TB, c *clickhouse.Client) (*report.Reporter, report.Config) {
	tb.Helper()
	cfg := report.DefaultConfig()
	cfg.Dir, cfg.MaxReports = tb.TempDir(), 4
	if keep := os.Getenv("MILLRACE_TEST_REPORTS"); keep != "" { // to look at them
		cfg.Dir = keep
	}
	return report.NewReporter(cfg, history.New(c, c.Database()), zerolog.Nop()), cfg
}

func TestReporter(t *testing.T) {
	c := clickhousetest.Client(t)
	v := fill(t, c, 6, 1000, 3)
	versions := []drift.Version{v, {Manifest: &schemas.Manifest{Name: "unmonitored"}}}
	r, cfg := newReporter(t, c)

	paths, err := r.Tick(t.Context(), now, versions)
	require.NoError(t, err)
	require.Empty(t, paths)
	index, err := os.ReadFile(filepath.Join(cfg.Dir, "index.html"))
	require.NoError(t, err)
	require.Contains(t, string(index), `http-equiv="Content-Security-Policy"`)
	require.Contains(t, string(index), "No window has been judged yet")

	stats, err := newMonitor(c).Tick(t.Context(), now, versions[:1])
	require.NoError(t, err)
	require.Len(t, stats.Judged, 12)
	paths, err = r.Tick(t.Context(), now, versions)
	require.NoError(t, err)
	require.Len(t, paths, 4, "bounded, the newest first")
	require.Equal(t, filepath.Join(cfg.Dir, "flights", "1.0", "20010203T000000Z.html"), paths[0])
	paths, err = r.Tick(t.Context(), now, versions)
	require.NoError(t, err)
	require.Len(t, paths, 2)
	paths, err = r.Tick(t.Context(), now, versions)
	require.NoError(t, err)
	require.Empty(t, paths)

	page, err := os.ReadFile(filepath.Join(cfg.Dir, "flights", "1.0", "20010206T000000Z.html"))
	require.NoError(t, err)
	require.Less(t, len(page), 300_000)
	require.Equal(t, 12+5+5, strings.Count(string(page), "<svg"), "quality, distributions, histories")
	require.NotContains(t, string(page), "<script")
	require.NotContains(t, string(page), "http://127")
	require.NotContains(t, string(page), "ZgotmplZ")
	require.Contains(t, string(page), "&lt;/style&gt;&lt;")
	require.NotContains(t, string(page), "NaN")
	require.Contains(t, string(page), `counted from <b>rows</b> <small class="dim">nothing was counted yet by the cells of this reference</small>`)

	text, err := os.ReadFile(filepath.Join(cfg.Dir, "flights", "1.0", "20010206T000000Z.json"))
	require.NoError(t, err)
	var rep report.Report
	require.NoError(t, json.Unmarshal(text, &rep))
	require.Equal(t, uint64(1000), rep.Rows)
	require.Equal(t, "breached", rep.Drift.Verdict)
	require.Equal(t, "rows", rep.CountedFrom)
	require.Len(t, rep.Columns, 5)
	require.Equal(t, "origin", rep.Columns[0].Column, "the worst first")
	require.Equal(t, []int64{0}, []int64{rep.Columns[0].Bins.OtherReference})
	require.Greater(t, rep.Columns[0].Bins.OtherCurrent, int64(200))
	require.Equal(t, `Drifted: chisquare is `, rep.Columns[0].Explanation[:22])
	require.Contains(t, rep.Columns[0].Explanation, " beyond chance, at or above its threshold 0.2. ")
	require.Less(t, *rep.Columns[0].Scores[0].Effect, rep.Columns[0].Scores[0].Score)
	require.Equal(t, "drifted", rep.Columns[0].Scores[0].Verdict)
	require.LessOrEqual(t, *rep.Columns[0].Scores[0].PCorrected, 0.05)
	require.Contains(t, rep.Columns[0].Explanation, "The share of other categories rose from 0.0 % to 2")
	require.Len(t, rep.Columns[0].History.Scores, 6)
	require.Equal(t, rep.Columns[0].Scores[0].Score, rep.Columns[0].History.Scores[5])
	require.Equal(t, 0.83, *rep.Quality[7].Reference)
	require.Equal(t, rep.Rows, clickhousetest.Count(t, c, "SELECT count() AS n FROM ("+rep.SQL+")"))
	require.Empty(t, rep.NoReason)
	require.Equal(t, "origin", rep.Reason.Columns[0].Column)
	require.True(t, rep.Reason.Columns[0].Cause, "categories that the reference does not list")
	require.Equal(t, uint64(rep.Columns[0].Bins.OtherCurrent), clickhousetest.Count(t, c, "SELECT count() AS n FROM ("+rep.Reason.SQL+")"))
	require.Contains(t, string(page), "Why it breached")
	require.Contains(t, string(page), "has categories that the reference does not list")

	index, err = os.ReadFile(filepath.Join(cfg.Dir, "index.html"))
	require.NoError(t, err)
	require.Equal(t, 6, strings.Count(string(index), `<a href="flights/1.0/2001020`))
	require.Contains(t, string(index), "breached")

	// Late rows: the window is judged again, and so is reported again; nothing else is.
	require.NoError(t, c.Exec(t.Context(), fmt.Sprintf(
		`INSERT INTO %[1]s.observations_flights SELECT * REPLACE ('late' || request_id AS request_id, fromUnixTimestamp64Micro(%[2]d, 'UTC') AS scored_at)
FROM %[1]s.observations_flights WHERE event_time < '2001-02-03 00:00:00' AND event_time >= '2001-02-02 00:00:00'`, c.Database(), now.UnixMicro())))
	stats, err = newMonitor(c).Tick(t.Context(), now.Add(time.Second), versions[:1])
	require.NoError(t, err)
	require.Len(t, stats.Judged, 2)
	profiler := history.NewProfiler(c, c.Database())
	profiler.Settled(-time.Minute)
	_, err = profiler.Fill(t.Context(), v.Manifest, v.Reference, profile.Span{End: now}, 1<<40)
	require.NoError(t, err)
	paths, err = r.Tick(t.Context(), now, versions)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(cfg.Dir, "flights", "1.0", "20010202T000000Z.html")}, paths)
	page, err = os.ReadFile(paths[0])
	require.NoError(t, err)
	require.Contains(t, string(page), "(revision 1)")
	require.Contains(t, string(page), "counted from <b>profiles</b></span>")
}

// TestReportsOfALearnedReference has two windows that the reference is made of, and four that
// are compared with it.
func TestReportsOfALearnedReference(t *testing.T) {
	c := clickhousetest.Client(t)
	v := fill(t, c, 6, 200, 1)
	v.Reference, v.Manifest.Monitoring.Reference = nil, &schemas.Learned{Windows: 2}
	r, cfg := newReporter(t, c)
	_, err := newMonitor(c).Tick(t.Context(), now, []drift.Version{v})
	require.NoError(t, err)
	for range 2 {
		_, err = r.Tick(t.Context(), now, []drift.Version{v})
		require.NoError(t, err)
	}
	for day, verdict := range map[int]string{1: "learning", 2: "learning", 6: "ok"} {
		base := filepath.Join(cfg.Dir, "flights", "1.0", fmt.Sprintf("200102%02dT000000Z", day))
		text, err := os.ReadFile(base + ".json")
		require.NoError(t, err)
		var rep report.Report
		require.NoError(t, json.Unmarshal(text, &rep))
		require.Equal(t, verdict, rep.Drift.Verdict, "day %d", day)
		require.Equal(t, int64(400), rep.ReferenceRows)
		require.Len(t, rep.Columns, map[string]int{"learning": 0, "ok": 3}[verdict], "day %d", day)
		page, err := os.ReadFile(base + ".html")
		require.NoError(t, err)
		require.Equal(t, verdict == "learning", strings.Contains(string(page), "not judged: the reference is learned up to here"), "day %d", day)
	}
	index, err := os.ReadFile(filepath.Join(cfg.Dir, "index.html"))
	require.NoError(t, err)
	require.Contains(t, string(index), ">learning</td>")
}

func TestWriteReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	value, p := 0.5, 1e-300
	quality := []report.Figure{{Metric: "rmse", Value: &value, Threshold: &p, Breached: true, Breaches: schemas.BreachesAbove}}
	r := report.Report{Model: "m", Version: "1", WindowStart: start, WindowEnd: start.Add(time.Hour), MadeAt: now, Quality: quality, Columns: []report.Column{
		{Column: "empty", Type: "numeric"},
		{Column: "one", Type: "numeric", Bins: report.Bins{Edges: []float64{3}, Reference: []int64{0, 0}, Current: []int64{0, 0}}},
		{
			Column: "c", Type: "categorical", Explanation: hostile,
			Scores: []report.Score{
				{Stattest: "psi", Score: 0.7, Threshold: &value, Drifted: true, PValue: &p},
				{Stattest: "ks", Score: 0.2, Threshold: &value, Verdict: "not_judged", Reason: "too few rows: of 4"},
			},
			Bins: report.Bins{Categories: []string{hostile, "naïve 日本"}, Reference: []int64{1, 2}, Current: []int64{0, 0}, MissingCurrent: 4},
		},
	}}
	for range 2 {
		paths, err := report.Write(dir, r)
		require.NoError(t, err)
		require.Len(t, paths, 2)
		page, err := os.ReadFile(paths[0])
		require.NoError(t, err)
		require.NotContains(t, string(page), "<script")
		require.Contains(t, string(page), "not judged yet")
		require.Contains(t, string(page), "1e-300")
		require.Contains(t, string(page), "above threshold")
		require.Contains(t, string(page), `not judged <small class="dim">too few rows: of 4</small>`)
		left, err := filepath.Glob(filepath.Join(filepath.Dir(paths[0]), ".report-*"))
		require.NoError(t, err)
		require.Empty(t, left)
	}
	blocked := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	_, err := report.Write(blocked, r)
	require.ErrorContains(t, err, "write report")
}

func TestConfigValidate(t *testing.T) {
	require.NoError(t, report.DefaultConfig().Validate())
	err := report.Config{}.Validate()
	for _, key := range []string{"reports.dir", "reports.max_reports", "reports.history_windows"} {
		require.ErrorContains(t, err, key)
	}
}

// broken is a store that refuses everything that it is asked.
type broken struct {
	report.Store
	calls int
}

var errRefused = errors.New("refused")

func (b *broken) DueReports(context.Context, *schemas.Manifest, time.Time, int) ([]schemas.DueReport, error) {
	b.calls++
	return nil, errRefused
}

func (b *broken) WindowSummaries(context.Context, *schemas.Manifest, int) ([]schemas.WindowSummary, error) {
	b.calls++
	return nil, errRefused
}

func TestTickGoesOnAfterAFailure(t *testing.T) {
	cfg := report.DefaultConfig()
	cfg.Dir = t.TempDir()
	b := &broken{}
	r := report.NewReporter(cfg, b, zerolog.Nop())
	for range 6 {
		paths, err := r.Tick(t.Context(), now, []drift.Version{{Manifest: manifest(1)}})
		require.ErrorIs(t, err, errRefused)
		require.ErrorContains(t, err, "report flights/1.0")
		require.Empty(t, paths)
	}
	require.Equal(t, 12, b.calls, "the due windows and the index, six times")
}

// BenchmarkReports writes the reports of 181 daily windows of 10 columns.
func BenchmarkReports(b *testing.B) {
	c := clickhousetest.Client(b)
	v := fill(b, c, 181, 2000, 8)
	_, err := newMonitor(c).Tick(b.Context(), now, []drift.Version{v})
	require.NoError(b, err)
	for b.Loop() {
		require.NoError(b, c.Exec(b.Context(), "ALTER TABLE "+c.Database()+".windows DELETE WHERE job = 'report' SETTINGS mutations_sync = 1"))
		r, _ := newReporter(b, c)
		written := 0
		for {
			paths, err := r.Tick(b.Context(), now, []drift.Version{v})
			require.NoError(b, err)
			if written += len(paths); len(paths) == 0 {
				break
			}
		}
		require.Equal(b, 181, written)
	}
}

// Reports quote what people have sent: nobody else reads them, and what a page shows can
// neither run nor load anything.
func TestReportsAreForTheirOwnerAndRunNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "reports")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "flights"), 0o755)) // as an earlier release made it
	paths, err := report.Write(dir, report.Report{Model: "flights", Version: "1", WindowStart: time.Unix(0, 0), WindowEnd: time.Unix(3600, 0)})
	require.NoError(t, err)
	for _, path := range paths {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
	}
	for _, folder := range []string{"flights", "flights/1"} {
		info, err := os.Stat(filepath.Join(dir, folder))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), folder)
	}
	text, err := os.ReadFile(paths[0])
	require.NoError(t, err)
	require.Contains(t, string(text), `http-equiv="Content-Security-Policy" content="default-src 'none';`)
}
