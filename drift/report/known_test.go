package report_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/estimator"
	"github.com/millrace/millrace/drift/report"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
)

// TestReportsOfWhatIsKnown: estimates beside what labels showed, requirements, segments and the delay
// of labels are in the page and in its JSON, hostile values as text.
func TestReportsOfWhatIsKnown(t *testing.T) {
	c := clickhousetest.Client(t)
	v := fill(t, c, 3, 2000, 1)
	const seed = 5
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, seed))
	var scores []float64
	var positive []bool
	for range 3000 {
		s := r.Float64()
		scores, positive = append(scores, s), append(positive, r.Float64() < s)
	}
	var err error
	v.Reference.Estimator, err = estimator.Fit(scores, positive, 0.3)
	require.NoError(t, err)
	v.Manifest.Monitoring.Segments = []string{"origin"}
	v.Manifest.Requires = schemas.Requirements{LatencyMS: 100, Accuracy: 0.99}
	v.Manifest.Monitoring.Checks = append(v.Manifest.Monitoring.Checks,
		schemas.Check{Stattest: schemas.StattestAUC.Estimated(), Threshold: 0.95, Severity: schemas.SeverityWarning})
	require.NoError(t, c.Exec(t.Context(), strings.ReplaceAll(`INSERT INTO {db}.feedback (model, request_id, label, observed_at, received_at, feedback_offset)
SELECT 'flights', request_id, if(late_probability < 0.3, 40, 0), event_time + INTERVAL 1 HOUR, scored_at, request_offset + 100000 FROM {db}.observations_flights WHERE origin LIKE '%script%'`, "{db}", c.Database())))
	_, err = newMonitor(c).Tick(t.Context(), now, []drift.Version{v})
	require.NoError(t, err)
	reporter, _ := newReporter(t, c)
	paths, err := reporter.Tick(t.Context(), now, []drift.Version{v})
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	page, err := os.ReadFile(paths[0])
	require.NoError(t, err)
	text, err := os.ReadFile(strings.TrimSuffix(paths[0], ".html") + ".json")
	require.NoError(t, err)
	var rep report.Report
	require.NoError(t, json.Unmarshal(text, &rep))

	require.Equal(t, "breached", rep.Estimate.Verdict)
	require.Equal(t, "ok", rep.Requirement.Verdict)
	require.Len(t, rep.Estimates, len(schemas.EstimatedFigures))
	require.Equal(t, "roc_auc", rep.Estimates[0].Metric)
	require.True(t, rep.Estimates[0].Breached)
	for _, e := range rep.Estimates {
		require.NotNil(t, e.Less, e.Metric)
		require.InDelta(t, *e.Less.Realized-*e.Less.Estimated, *e.Less.Value, 1e-12)
		require.Equal(t, []time.Time{rep.WindowStart}, e.History.Windows)
	}
	require.Equal(t, []string{"accuracy", "latency_ms"}, []string{rep.Requirements[0].Requirement, rep.Requirements[1].Requirement})
	require.Equal(t, []string{"breached", "met"}, []string{rep.Requirements[0].Verdict, rep.Requirements[1].Verdict})
	require.NotEmpty(t, rep.Segments)
	require.Equal(t, hostile, rep.Segments[0].Value, "the worst first")
	for i, s := range rep.Segments[1:] {
		require.LessOrEqual(t, *rep.Segments[i].Figure-*rep.Segments[i].Whole, *s.Figure-*s.Whole)
	}
	require.NotNil(t, rep.Delay)
	require.InDelta(t, 1, rep.Delay.Share, 1e-12)
	require.Equal(t, 0.0, rep.Delay.Longest, "of the first label of a row; corrections do not count")
	for _, f := range rep.Quality {
		require.False(t, schemas.Stattest(f.Metric).OfEstimate(), f.Metric)
		require.Equal(t, rep.Labels, f.Labels)
	}
	for _, want := range []string{"Estimated quality", "not met", "Segments that differ", "&lt;script&gt;", "the last after 0.0 s"} {
		require.Contains(t, string(page), want)
	}
	require.NotContains(t, string(page), "<script>")
}
