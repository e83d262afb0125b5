package clickhouse_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

// The tables as the release before had them, with rows: they are found afterwards, as those of
// monitoring.window, and rows of other windows that start at the same time stand beside them.
func TestWindowsOfAnEarlierReleaseAreThoseOfMonitoringWindow(t *testing.T) {
	storage := schemas.Storage{Database: clickhousetest.NewDatabase(t), TTLDays: 90}
	c := clickhousetest.Open(t, storage)
	require.NoError(t, c.Migrate(t.Context()))
	db := c.Database()
	migrations, err := schemas.Migrations(storage)
	require.NoError(t, err)
	for _, table := range []string{"windows", "drift_results", "accuracy_results", "label_looks"} {
		require.NoError(t, c.Exec(t.Context(), "DROP TABLE "+db+"."+table+""))
	}
	number := 0
	for _, m := range migrations { // in order
		if m.Name == "window_kinds" {
			number = m.Number
			break
		}
		for _, s := range m.Statements {
			require.NoError(t, c.Exec(t.Context(), s))
		}
	}
	require.Positive(t, number)
	forget := fmt.Sprintf("ALTER TABLE %s.migrations DELETE WHERE number >= %d SETTINGS mutations_sync = 1", db, number)
	require.NoError(t, c.Exec(t.Context(), forget))
	for _, insert := range []string{
		"windows (model, version, job, window_start, window_end, rows, verdict, done_at, label_state, retraining) VALUES ('flights', '1', 'drift', '2001-01-01 00:00:00', '2001-01-02 00:00:00', 100, 'ok', '2001-01-03 00:00:00', 7, true)",
		"drift_results (model, version, window_start, window_end, column, stattest, score, rows) VALUES ('flights', '1', '2001-01-01 00:00:00', '2001-01-02 00:00:00', 'origin', 'psi', 0.3, 100)",
		"accuracy_results (model, version, window_start, window_end, metric, value, rows) VALUES ('flights', '1', '2001-01-01 00:00:00', '2001-01-02 00:00:00', 'accuracy', 0.8, 100)",
		"label_looks (model, version, looked_at) VALUES ('flights', '1', '2001-01-03 00:00:00')",
	} {
		require.NoError(t, c.Exec(t.Context(), "INSERT INTO "+db+"."+insert))
	}
	require.NoError(t, c.Migrate(t.Context()))
	require.NoError(t, c.Exec(t.Context(), forget))
	require.NoError(t, c.Migrate(t.Context()), "as if it had not been recorded")

	m := &schemas.Manifest{Name: "flights", Version: "1", Monitoring: &schemas.Monitoring{
		Window: schemas.Duration(24 * time.Hour), Windows: []schemas.Windows{{Length: schemas.Duration(time.Hour)}},
	}}
	spread := m.Spread()
	require.Len(t, spread, 2)
	hourly := spread[1]
	store, ctx := history.New(c, db), t.Context()
	start := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	value := 0.5
	write := func(m *schemas.Manifest, noted time.Time) {
		end := start.Add(m.Monitoring.Window.Std())
		require.NoError(t, store.WriteResults(ctx,
			[]schemas.DriftResult{{Model: "flights", Version: "1", WindowStart: start, WindowEnd: end, Column: "origin", Stattest: "psi", Score: value, Rows: 9, ComputedAt: start, WindowKind: m.WindowKind()}},
			[]schemas.AccuracyResult{{Model: "flights", Version: "1", WindowStart: start, WindowEnd: end, Metric: "accuracy", Value: &value, Rows: 9, ComputedAt: start, WindowKind: m.WindowKind()}}))
		require.NoError(t, store.WriteWindows(ctx, []schemas.FinishedWindow{{
			Model: "flights", Version: "1", Job: "drift", WindowStart: start, WindowEnd: end, Rows: 9, Verdict: "breached", DoneAt: start.Add(72 * time.Hour), WindowKind: m.WindowKind(),
		}}))
		require.NoError(t, store.NoteLabels(ctx, m, noted))
	}
	write(hourly, start)
	require.NoError(t, c.Exec(ctx, "OPTIMIZE TABLE "+db+".windows FINAL"))
	require.NoError(t, c.Exec(ctx, "OPTIMIZE TABLE "+db+".label_looks FINAL"))
	for _, of := range []struct {
		manifest *schemas.Manifest
		rows     uint64
		score    float64
		noted    time.Time
	}{{m, 100, 0.3, start.Add(48 * time.Hour)}, {hourly, 9, 0.5, start}} {
		finished, err := store.FinishedWindows(ctx, of.manifest, time.Time{})
		require.NoError(t, err)
		finished = slices.DeleteFunc(finished, func(w schemas.FinishedWindow) bool { return w.Job == string(schemas.JobRequirement) }) // of which a later migration says that they are not judged
		require.Len(t, finished, 1)
		require.Equal(t, of.rows, finished[0].Rows)
		require.Equal(t, of.manifest.WindowKind(), finished[0].WindowKind)
		last, err := store.LastFinished(ctx, of.manifest)
		require.NoError(t, err)
		delete(last, schemas.JobRequirement)
		require.Equal(t, map[schemas.Job]time.Time{schemas.JobDrift: start}, last)
		found, err := store.Results(ctx, of.manifest, start, start)
		require.NoError(t, err)
		found.Windows = slices.DeleteFunc(found.Windows, func(w schemas.FinishedWindow) bool { return w.Job == string(schemas.JobRequirement) })
		require.Len(t, found.Windows, 1)
		require.Len(t, found.Drift, 1)
		require.Equal(t, of.score, found.Drift[0].Score)
		require.Len(t, found.Accuracy, 1)
		due, err := store.DueReports(ctx, of.manifest, time.Time{}, 10)
		require.NoError(t, err)
		require.Len(t, due, 1)
		noted, err := store.LabelsNoted(ctx, of.manifest)
		require.NoError(t, err)
		require.Equal(t, of.noted, noted)
		asked, err := store.LastRetraining(ctx, of.manifest)
		require.NoError(t, err)
		require.EqualValues(t, 100, asked.Rows, "whichever windows asked")
	}
	_, err = store.CountRows(ctx, hourly, profile.Span{End: start}, time.Time{})
	require.Error(t, err, "no table of rows")
	due, err := store.DueReports(ctx, m, start.Add(48*time.Hour), 10)
	require.NoError(t, err)
	require.Empty(t, due, "it was finished then, and not before")
	// A process of the release before writes on.
	require.NoError(t, c.Exec(ctx, "INSERT INTO "+db+".windows (model, version, job, window_start, window_end, revision, rows, verdict, done_at) VALUES ('flights', '1', 'drift', '2001-01-01 00:00:00', '2001-01-02 00:00:00', 1, 101, 'ok', '2001-01-04 00:00:00')"))
	finished, err := store.FinishedWindows(ctx, m, time.Time{})
	require.NoError(t, err)
	require.Len(t, finished, 3)
	finished, err = store.FinishedWindows(ctx, hourly, time.Time{})
	require.NoError(t, err)
	require.Len(t, finished, 1)
}
