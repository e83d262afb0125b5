package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestVerifyRefusesWrongTimes(t *testing.T) {
	for given, want := range map[string]string{
		"--from yesterday":    `--from: "yesterday" is neither a time, as 2026-11-29T12:00:00Z, nor a duration, as 2h`,
		"--to -1h":            `--to: "-1h" is neither a time`,
		"--from=1h --to=2h":   "--from 1h is not before --to 2h",
		"--from=1h surprises": "unknown command",
	} {
		code, _, stderr := millrace(t, append([]string{"verify"}, strings.Fields(given)...)...)
		require.Equal(t, 2, code, stderr)
		require.Contains(t, stderr, want)
	}
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	at, err := timeFlag("--from", "2h", now)
	require.NoError(t, err)
	require.Equal(t, now.Add(-2*time.Hour), at)
}
