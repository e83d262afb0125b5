package clickhouse_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
)

// Drift results of a release whose rows said nothing of chance stay, are read as they were
// judged, and a window that is judged again replaces them.
func TestDriftResultsOfAnEarlierReleaseAreKept(t *testing.T) {
	c := clickhousetest.Client(t)
	db := c.Database()
	for _, column := range []string{"expected", "effect", "p_corrected", "smallest_effect", "verdict", "reason"} {
		require.NoError(t, c.Exec(t.Context(), "ALTER TABLE "+db+".drift_results DROP COLUMN "+column))
	}
	require.NoError(t, c.Exec(t.Context(), "ALTER TABLE "+db+".migrations DELETE WHERE number = 3 SETTINGS mutations_sync = 1"))
	require.NoError(t, c.Exec(t.Context(), "INSERT INTO "+db+".drift_results (model, version, window_start, column, stattest, score, threshold, drifted, rows) "+
		"VALUES ('flights', '1', '2001-01-01 00:00:00', 'origin', 'psi', 0.3, 0.2, true, 100)"))
	require.NoError(t, c.Migrate(t.Context()))
	require.NoError(t, c.Migrate(t.Context()), "again")

	read := func() []schemas.DriftResult {
		var rows []schemas.DriftResult
		require.NoError(t, c.Select(t.Context(), &rows, "SELECT * FROM "+db+".drift_results FINAL"))
		return rows
	}
	rows := read()
	require.Len(t, rows, 1)
	require.True(t, rows[0].Drifted)
	require.Nil(t, rows[0].Expected)
	require.Nil(t, rows[0].PCorrected)
	require.Empty(t, rows[0].Verdict)
	require.Empty(t, rows[0].Reason)

	p, expected, effect, threshold := 0.01, 0.19, 0.11, 0.2
	now := rows[0]
	now.PValue, now.PCorrected, now.Expected, now.Effect, now.Threshold = &p, &p, &expected, &effect, &threshold
	now.Drifted, now.Verdict, now.Reason, now.ComputedAt = false, string(schemas.ScoreNotJudged), "too few rows", time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	require.NoError(t, c.InsertRows(t.Context(), "drift_results", []schemas.DriftResult{now}))
	require.Equal(t, []schemas.DriftResult{now}, read())
}
