package clickhouse_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
)

// Rows of a lease are the rows that were given, and none are stored outside of it.
func TestRowsWithinALease(t *testing.T) {
	c := clickhousetest.Client(t)
	now, err := c.Now(t.Context())
	require.NoError(t, err)
	at := time.Date(2001, 2, 3, 4, 5, 6, 789000, time.UTC)
	p, text := 0.25, `it's \ "quoted"`
	window := schemas.FinishedWindow{
		Model: "m", Version: text, Job: "drift", WindowStart: at, WindowEnd: at.Add(time.Hour), Revision: 3, Rows: 4, Labels: 5,
		Verdict: "ok", DoneAt: at, LabelState: 1 << 63, Retraining: true,
	}
	score := schemas.DriftResult{
		Model: "m", Version: text, WindowStart: at, WindowEnd: at.Add(time.Hour), Column: "c", Stattest: "psi", Score: 0.5, PValue: &p,
		Drifted: true, Verdict: "drifted", Reason: text, Rows: 9, Missing: 1, ComputedAt: at,
	}
	figure := schemas.AccuracyResult{Model: "m", Version: text, WindowStart: at, WindowEnd: at.Add(time.Hour), Metric: "accuracy", Value: &p, Rows: 7, Labels: 6, ComputedAt: at}
	learned := schemas.LearnedReference{Model: "m", Version: text, Windows: []time.Time{at, at.Add(time.Hour)}, LearnedTo: at, Rows: 8, Reference: "{}"}

	insert := func(lease schemas.Lease) error {
		for table, rows := range map[string]any{
			"windows": []schemas.FinishedWindow{window}, "drift_results": []schemas.DriftResult{score},
			"accuracy_results": []schemas.AccuracyResult{figure}, "learned_references": []schemas.LearnedReference{learned},
		} {
			if err := c.InsertRowsWithin(t.Context(), table, rows, lease); err != nil {
				return err
			}
		}
		return nil
	}
	require.ErrorContains(t, insert(schemas.Lease{Announced: now.Add(-time.Minute), Deadline: now.Add(-time.Millisecond)}), "the deadline of this insert has passed")
	require.ErrorContains(t, insert(schemas.Lease{Announced: now.Add(time.Hour), Deadline: now.Add(2 * time.Hour)}), "behind the announcement")
	for _, table := range []string{"windows", "drift_results", "accuracy_results", "learned_references"} {
		require.Zero(t, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}."+table))
	}

	require.NoError(t, insert(schemas.Lease{Announced: now, Deadline: now.Add(time.Minute)}))
	read := func(dest any, table string) {
		t.Helper()
		require.NoError(t, c.Select(t.Context(), dest, "SELECT * FROM "+c.Database()+"."+table))
	}
	var windows []schemas.FinishedWindow
	read(&windows, "windows")
	require.Equal(t, []schemas.FinishedWindow{window}, windows)
	var scores []schemas.DriftResult
	read(&scores, "drift_results")
	require.Equal(t, []schemas.DriftResult{score}, scores)
	var figures []schemas.AccuracyResult
	read(&figures, "accuracy_results")
	require.Equal(t, []schemas.AccuracyResult{figure}, figures)
	var references []schemas.LearnedReference
	require.NoError(t, c.Select(t.Context(), &references, "SELECT model, version, windows, learned_to, rows, reference FROM "+c.Database()+".learned_references"))
	require.Equal(t, []schemas.LearnedReference{learned}, references)
	require.ErrorContains(t, c.InsertRowsWithin(t.Context(), "windows", []struct {
		X int32 `ch:"x"`
	}{{1}}, schemas.Lease{Announced: now, Deadline: now.Add(time.Minute)}), "the table has no column `x`")
}
