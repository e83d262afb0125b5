package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/internal/golden"
)

func TestReport(t *testing.T) {
	report := func(ks int) (string, error) {
		path := filepath.Join(t.TempDir(), "report.tsv")
		text := strings.Repeat("ks\t1e-15\n", ks-1) + "ks\t2e-13\n" + strings.Repeat(golden.Read+"\t0\n", 5000)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		var out strings.Builder
		err := run([]string{"report", path}, &out)
		return strings.Join(strings.Fields(out.String()), " "), err
	}
	out, err := report(least)
	require.NoError(t, err)
	require.Contains(t, out, "ks 2000 2e-13 all 2000 "+golden.Read+" 5000 0")

	// Numbers that were only read from files do not make up for comparisons of statistics.
	_, err = report(least - 1)
	require.ErrorContains(t, err, "1999 comparisons, at least 2000 are wanted")
}
