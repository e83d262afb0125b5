package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if isChild, code := RunChild(os.Args[1:], os.Stderr); isChild {
		os.Exit(code)
	}
	// Children that are built with the race detector would wait a second at their end.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(code)
	}))
}

func TestRunUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"help":             {[]string{"--help"}, 0, "-seed"},
		"no such flag":     {[]string{"--fault", "1"}, 2, "-fault"},
		"no such Kafka":    {[]string{"--kafka", "redpanda"}, 2, `--kafka must be embedded or real, got "redpanda"`},
		"two brokers":      {[]string{"--brokers", "2"}, 2, "--brokers must be 1, or 3 with --kafka real, got 2"},
		"no such kind":     {[]string{"--only", "flood"}, 2, `--only "flood": it is not one of ["kill" "freeze"`},
		"no requests":      {[]string{"--requests", "0"}, 2, "--requests must be at least 1, got 0"},
		"a role, wrongly":  {[]string{"chaos-role", "roles=driver"}, 1, "driver"},
		"one embedded one": {[]string{"--kafka", "embedded", "--brokers", "3"}, 2, "--brokers must be 1"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			require.Equal(t, tc.code, execute(t.Context(), tc.args, &stdout, &stderr))
			require.Contains(t, stderr.String(), tc.says)
			require.Empty(t, stdout.String())
		})
	}
}

// TestRunFails: a run that cannot be finished ends with a summary that says so.
func TestRunFails(t *testing.T) {
	dir := t.TempDir()
	// Where Kafka's data would go is a file.
	require.NoError(t, os.WriteFile(dir+"/kafka", nil, 0o600))
	var stdout, stderr bytes.Buffer
	require.Equal(t, 1, execute(t.Context(), []string{"--seed", "5", "--faults", "9", "--dir", dir}, &stdout, &stderr))
	require.Contains(t, stderr.String(), `again: make chaos ARGS="--seed 5 --faults 9 `)
	require.Contains(t, stderr.String(), dir)
	var summary Summary
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &summary))
	require.False(t, summary.OK)
	require.EqualValues(t, 5, summary.Seed)
	require.Equal(t, 9, summary.Faults)
	require.Equal(t, dir, summary.Dir)
}
