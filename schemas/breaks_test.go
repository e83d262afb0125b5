package schemas_test

import (
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/schemas"
)

// withBreaks is a manifest with the detectors, of a binary target.
func withBreaks(list string) string {
	return full + "  breaks: [" + list + "]\n"
}

func TestBreakDefaults(t *testing.T) {
	m := parse(t, withBreaks(`{on: error}, {on: score}, {on: ok, detector: ddm, severity: critical}, {on: f64, detector: page_hinkley, mode: down, parameters: {threshold: 20, delta: 0.5}}`))
	got := m.Monitoring.Breaks
	require.Equal(t, []schemas.BreakDetector{
		{On: "error", Detector: "e_detector", RunLength: schemas.DefaultRunLength, Mode: "up", Severity: "warning"},
		{On: "score", Detector: "e_detector", RunLength: schemas.DefaultRunLength, Mode: "both", Severity: "warning"},
		{On: "ok", Detector: "ddm", Severity: "critical"},
		{On: "f64", Detector: "page_hinkley", Mode: "down", Severity: "warning", Parameters: map[string]float64{"threshold": 20, "delta": 0.5}},
	}, got)
	require.Equal(t, "score", m.BreakColumn(&got[1]))
	low, high, ok := m.BreakRange(&got[1])
	require.True(t, ok)
	require.Equal(t, []float64{0, 1}, []float64{low, high})

	out, err := yaml.Marshal(m)
	require.NoError(t, err)
	require.Equal(t, m, parse(t, string(out)), "%s", out)
}

func TestBreakRules(t *testing.T) {
	for entry, want := range map[string]string{
		"{on: errors}":                `monitoring.breaks[0].on: "errors" is neither error, score, a feature nor an output`,
		"{on: text}":                  `monitoring.breaks[0].on: "text" is string, neither a number nor a bool`,
		"{on: error, detector: hddm}": `monitoring.breaks[0].detector: "hddm" is not one of adwin, cusum, ddm, e_detector, eddm, kswin, page_hinkley`,
		"{on: f64}":                   `monitoring.breaks[0].parameters: e_detector needs low and high, between which the values of "f64" lie`,
		"{on: f64, parameters: {low: 2, high: 1}}":      "monitoring.breaks[0].parameters: low must be below high, got 2 and 1",
		"{on: error, parameters: {high: 2}}":            "monitoring.breaks[0].parameters: low and high of error are 0 and 1; leave them out",
		"{on: error, run_length: 9}":                    "monitoring.breaks[0].run_length: must be from 100 to 1e+12, got 9",
		"{on: error, detector: adwin, run_length: 900}": "monitoring.breaks[0].run_length: is a promise of e_detector; adwin makes none",
		"{on: error, mode: sideways}":                   `monitoring.breaks[0].mode: "sideways" is not one of up, down, both`,
		"{on: error, detector: ddm, mode: up}":          "monitoring.breaks[0].mode: is of e_detector and page_hinkley, and this is ddm",
		"{on: f64, detector: eddm}":                     "monitoring.breaks[0].detector: eddm takes right and wrong alone",
		"{on: error, scale: 2}":                         "monitoring.breaks[0].scale: is of the error of a regression target",
		"{on: error, severity: loud}":                   `monitoring.breaks[0].severity: "loud" is not one of info, warning, critical`,
		"{on: error}, {on: error, run_length: 500}":     "monitoring.breaks[1]: a second e_detector on error",
		"{on: error, parameters: {blocks: 2}}":          "monitoring.breaks[0].parameters.blocks: e_detector has no such parameter; it has block, high, low, mean, miss, slack, warm_start",
		"{on: error, parameters: {block: 1.5}}":         "monitoring.breaks[0].parameters.block: must be a whole number, got 1.5",
		"{on: error, parameters: {miss: .nan}}":         "monitoring.breaks[0].parameters.miss: must be from 1e-06 to 0.5, got NaN",
		strings.Repeat("{on: error},", 101):             "monitoring.breaks: at most 100, got 101",
	} {
		_, err := schemas.ParseManifest("m.yaml", []byte(withBreaks(entry)))
		require.ErrorContains(t, err, want, entry)
	}
	const target = "target: {kind: binary, score: score, threshold: 0.25, positive_above: 15}"
	for with, want := range map[string]string{
		"": "monitoring.breaks[0].on: error is of the target, and the manifest has none",
		"target: {kind: multiclass, score: said}": `monitoring.breaks[1].on: output "said" is a class, not a number`,
	} {
		require.Contains(t, full, target)
		_, err := schemas.ParseManifest("m.yaml", []byte(strings.Replace(withBreaks("{on: error}, {on: score}"), target, with, 1)))
		require.ErrorContains(t, err, want)
	}
}

// TestBreakEventID has each part of what makes a break the same break change its id, and nothing
// else.
func TestBreakEventID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z]{1,8}`)
		data := schemas.EventData{
			Kind: schemas.EventBreak, Model: name.Draw(t, "model"), Version: name.Draw(t, "version"), Severity: schemas.SeverityInfo,
			Break: &schemas.BreakFound{
				On: name.Draw(t, "on"), Detector: name.Draw(t, "detector"),
				Partition: rapid.Int32Range(0, 99).Draw(t, "partition"), Offset: rapid.Int64Range(0, 1e9).Draw(t, "offset"), Value: 3,
			},
		}
		id := schemas.EventID(data)
		same, found := data, *data.Break
		found.After, found.Index, same.Severity, same.WindowStart = 0.5, 7, schemas.SeverityCritical, time.Unix(5, 0)
		same.Break = &found
		require.Equal(t, id, schemas.EventID(same))
		for what, change := range map[string]func(*schemas.EventData, *schemas.BreakFound){
			"model":     func(d *schemas.EventData, _ *schemas.BreakFound) { d.Model += "x" },
			"version":   func(d *schemas.EventData, _ *schemas.BreakFound) { d.Version += "x" },
			"on":        func(_ *schemas.EventData, b *schemas.BreakFound) { b.On += "x" },
			"detector":  func(_ *schemas.EventData, b *schemas.BreakFound) { b.Detector += "x" },
			"topic":     func(_ *schemas.EventData, b *schemas.BreakFound) { b.TopicID = uuid.Max },
			"partition": func(_ *schemas.EventData, b *schemas.BreakFound) { b.Partition++ },
			"offset":    func(_ *schemas.EventData, b *schemas.BreakFound) { b.Offset++ },
			"row":       func(_ *schemas.EventData, b *schemas.BreakFound) { b.Row++ },
		} {
			other, found := data, *data.Break
			change(&other, &found)
			other.Break = &found
			require.NotEqual(t, id, schemas.EventID(other), what)
		}
	})
	// It is part of the format.
	require.Equal(t, "13e291810148db5bccfb655f42453868", schemas.NewEvent(schemas.EventData{
		Kind: schemas.EventBreak, Model: "m", Version: "1", Break: &schemas.BreakFound{On: "error", Detector: "e_detector", Offset: 5},
	}, time.Unix(0, 0)).ID)
}
