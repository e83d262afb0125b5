package schemas_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

func TestFalseAlarmsOfAManifest(t *testing.T) {
	parse := func(monitoring string) (*schemas.Manifest, error) {
		return schemas.ParseManifest("m.yaml", []byte(`name: m
version: "1"
runtime: onnx
artifact: {file: a.onnx, sha256: `+strings.Repeat("0", 64)+`}
features: [{name: x, type: float64}]
outputs: [{name: y, type: float64}]
monitoring:
  window: 24h
  reference: {windows: 7}
  checks: []
  false_alarms: `+monitoring+"\n"))
	}
	m, err := parse(`{every: 90d, windows: 2 of 3}`)
	require.NoError(t, err)
	require.Equal(t, &schemas.FalseAlarms{
		Every: schemas.Duration(90 * 24 * time.Hour), Windows: schemas.KOfN{K: 2, N: 3}, Close: 3, Season: "auto", Calibration: 28, Severity: schemas.SeverityWarning,
	}, m.Monitoring.FalseAlarms)
	for text, want := range map[string]string{
		`{every: 90d, windows: 3 of 2}`:               "write 2 of 3",
		`{every: 90d, windows: 2 of 65}`:              "of at most 64",
		`{every: 90d, windows: 2 of 3 of 4}`:          "write 2 of 3",
		`{every: 1h}`:                                 "monitoring.false_alarms.every",
		`{windows: 2 of 3}`:                           "monitoring.false_alarms.every",
		`{every: 90d, season: year}`:                  "monitoring.false_alarms.season",
		`{every: 90d, season: day}`:                   "do not divide a day",
		`{every: 90d, season: week, calibration: 13}`: "must be at least 14 windows, got 13",
		`{every: 90d, calibration: 11}`:               "monitoring.false_alarms.calibration",
		`{every: 90d, close: 65}`:                     "monitoring.false_alarms.close",
		`{every: 90d, severity: loud}`:                "monitoring.false_alarms.severity",
	} {
		_, err := parse(text)
		require.ErrorContains(t, err, want, text)
	}
}
