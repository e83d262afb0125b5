package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "coverage.tsv")
	write := func(text string) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	write("mae\tnormal\t1\t0.95\t0.94\t0\t\n" +
		"mae\tskewed\t0.6\t0.98\t0.88\t0\t\n" +
		"mae\tfew\t0.1\t0.5\t0.7\t0\t\n" +
		"mae\tvery skewed\t1\t0.9\t0.8\t0\tno sample shows it\n" +
		"auc\tfew\t0\tNaN\t0.6\t0\t\n")
	var out bytes.Buffer
	require.NoError(t, run([]string{"report", file}, &out))
	require.Contains(t, out.String(), "| mae | 3, 2 | 95.0 % | 96.5 % | 98.0 % | 1 of 2 | 5.0 % | 70.0 % |\n")
	require.Contains(t, out.String(), "| auc | 1, 0 | – | – | – | 0 of 0 | 0.0 % | 60.0 % |\n")
	require.Contains(t, out.String(), "| mae of very skewed | 100.0 % | 90.0 % | 80.0 % | no sample shows it |\n")
	require.Contains(t, out.String(), "\n{\"cells\":4,\"shown\":2,\"within\":1,\"least\":0.95,\"most\":0.98,\"wrong\":0.05,\"reference_least\":0.6,\"worst_below\":\"mae of normal\",\"worst_above\":\"mae of skewed\"}\n")

	require.ErrorContains(t, run([]string{"report"}, &out), "usage")
	require.ErrorIs(t, run([]string{"report", file + "x"}, &out), os.ErrNotExist)
	for text, want := range map[string]string{
		"": "has no simulations", "a\tb\n": "line 1 of " + file + " has 2 fields", "a\tb\tx\t1\t1\t0\t\n": "line 1 of ",
	} {
		write(text)
		require.ErrorContains(t, run([]string{"report", file}, &out), want)
	}
}
