package pipeline_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
)

// TestCompareQueries compares what ClickHouse answers with a file of the same rows, and with
// another answer.
func TestCompareQueries(t *testing.T) {
	h := newHarness(t, nil)
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	load := func() (config.Config, error) { return h.cfg, nil }
	const rows = "SELECT toInt32(number % 40) AS i, number / 7 + %d AS x, toLowCardinality(if(number %% 3 = 0, 'a', 'b')) AS c, if(number %% 10 = 0, NULL, number %% 2 = 0) AS flag FROM numbers(2000)"
	query := strings.ReplaceAll(rows, "(number % 40)", "(number %% 40)")
	var csv strings.Builder
	csv.WriteString("i,x,c,flag\n")
	for n := range 2000 {
		flag := strconv.Itoa(1 - n%2)
		if n%10 == 0 {
			flag = ""
		}
		fmt.Fprintf(&csv, "%d,%g,%s,%s\n", n%40, float64(n)/7, []string{"a", "b", "b"}[n%3], flag)
	}
	path := filepath.Join(t.TempDir(), "rows.csv")
	require.NoError(t, os.WriteFile(path, []byte(csv.String()), 0o600))
	compare := func(c operate.CompareConfig) (report struct {
		Reference struct{ Name string }
		Dataset   struct{ Drifted bool }
		Columns   []struct {
			Column, Type, Stattest string
			Score                  float64
		}
	},
	) {
		c.Format = "json"
		require.NoError(t, c.Validate())
		var out bytes.Buffer
		require.NoError(t, operate.Compare(t.Context(), c, load, &out))
		require.NoError(t, json.Unmarshal(out.Bytes(), &report))
		return report
	}
	same := compare(operate.CompareConfig{Reference: operate.CompareSide{SQL: fmt.Sprintf(query, 0)}, Current: operate.CompareSide{Path: path}})
	require.Equal(t, "query of the reference", same.Reference.Name)
	require.Len(t, same.Columns, 4)
	for _, c := range same.Columns {
		require.InDelta(t, 0, c.Score, 1e-12, c.Column)
	}
	require.Equal(t, "cat", same.Columns[2].Type)

	moved := operate.CompareConfig{Reference: operate.CompareSide{SQL: fmt.Sprintf(query, 0)}, Current: operate.CompareSide{SQL: fmt.Sprintf(query, 100)}}
	moved.Options.DriftShare = new(0.2)
	report := compare(moved)
	require.True(t, report.Dataset.Drifted)
	require.InDelta(t, 100/(2000/7.0/3.4641016), report.Columns[1].Score, 0.01)
	moved.FailOnDrift = true
	require.ErrorIs(t, operate.Compare(t.Context(), moved, load, &bytes.Buffer{}), operate.ErrDrift)

	// A segment's rows are found again in another scan.
	segments := moved
	segments.FailOnDrift, segments.Options.Segment = false, "c"
	compare(segments)

	wrong := moved
	wrong.Current.SQL = "SELECT y FROM nothing"
	err := operate.Compare(t.Context(), wrong, load, &bytes.Buffer{})
	require.ErrorContains(t, err, "query of the current")
	require.ErrorContains(t, err, "nothing")
	left, err := os.ReadDir(temporary)
	require.NoError(t, err)
	require.Empty(t, left, "answers are kept no longer than they are read")
}
