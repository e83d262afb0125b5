package schemas_test

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file, which only -update creates.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "go test -update makes it")
	require.Equal(t, string(want), got)
}

const sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

const minimal = `name: m
version: "1"
runtime: onnx
artifact: {file: model.onnx, sha256: ` + sum + `}
features:
  - {name: x, type: float32}
outputs:
  - {name: y, type: float32}
`

const full = `name: flights_delay
version: 2026.1-rc_2
description: Everything that a manifest can say
runtime: onnx
device: cuda
cpu_fallback: true
artifact: {file: model.onnx, sha256: ` + sum + `}
features:
  - {name: ok, type: bool, default: false}
  - {name: i32, type: int32, default: -7, min: -10, max: 10}
  - {name: i64, type: int64, min: 0, out_of_range: reject, sensitive: true, source: "number (64 bit), 年"}
  - {name: f32, type: float32, optional: true}
  - {name: f64, type: float64, default: 1.5, max: 2}
  - {name: text, type: string, default: ""}
  - {name: origin, type: category, categories: [ATL, "", "é,\"'"], unknown: reject, default: ATL, description: where from}
event_time: {field: at, format: unix_ms}
inputs:
  - {name: numbers, features: [ok, i32, i64, f32, f64]}
  - {name: names, features: [text, origin]}
outputs:
  - {name: score, tensor: probabilities, index: 1, type: float32}
  - {name: label, type: int64}
  - {name: said, type: string}
batch: {max_rows: 100, max_bytes: 2048, preferred_batch_size: 32}
target: {kind: binary, score: score, threshold: 0.25, positive_above: 15}
requirements: {latency_ms: 20.5, throughput_per_s: 1000, accuracy: 0.75, memory_mb: 512}
reference: {file: reference.json, sha256: ` + sum + `}
sample: {file: sample.arrow, sha256: ` + sum + `}
monitoring:
  window: 1d
  lateness: 90m
  idle_timeout: 30s
  label_delay: 7d
  min_rows: 500
  checks:
    - {stattest: psi, column: origin, threshold: 0.2, retrain: true}
    - {stattest: ks, column: score, threshold: 0.1, severity: info}
    - {stattest: chisquare, column: ok, threshold: 0.1}
    - {stattest: drift_share, threshold: 0.5, severity: critical}
    - {stattest: roc_auc, threshold: 0.7, retrain: true}
`

func parse(t *testing.T, text string) *schemas.Manifest {
	t.Helper()
	m, err := schemas.ParseManifest("m.yaml", []byte(text))
	require.NoError(t, err)
	return m
}

func TestManifestDefaults(t *testing.T) {
	m := parse(t, minimal+`event_time: {field: at}
target: {kind: binary, score: y}
monitoring: {window: 1h, checks: [{stattest: accuracy, threshold: 0.5}]}
`)
	require.Equal(t, schemas.DeviceCPU, m.Device)
	require.Equal(t, 0.05, m.Monitoring.Rate)
	require.Equal(t, schemas.TimeRFC3339, m.EventTime.Format)
	require.Equal(t, schemas.PolicyKeep, m.Features[0].OutOfRange)
	require.Equal(t, schemas.PolicyKeep, m.Features[0].Unknown)
	require.Equal(t, "y", m.Outputs[0].Tensor)
	require.Equal(t, schemas.Batch{MaxRows: 8192, MaxBytes: 8 << 20}, m.Batch)
	require.InDelta(t, 0.5, m.Target.Threshold, 0)
	require.Equal(t, time.Minute, m.Monitoring.IdleTimeout.Std())
	require.EqualValues(t, 100, m.Monitoring.MinRows)
	require.Equal(t, schemas.SeverityWarning, m.Monitoring.Checks[0].Severity)
	require.Equal(t, schemas.DefaultBatch(), parse(t, minimal+"batch: {max_rows: 0}\n").Batch)
	require.Empty(t, parse(t, minimal).EventTime)
}

func TestManifestRoundTrip(t *testing.T) {
	for name, text := range map[string]string{"minimal": minimal, "full": full} {
		m := parse(t, text)
		out, err := yaml.Marshal(m)
		require.NoError(t, err)
		require.Equal(t, m, parse(t, string(out)), "%s:\n%s", name, out)
	}
}

func TestReadManifest(t *testing.T) {
	dir := t.TempDir()
	_, err := schemas.ReadManifest(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(filepath.Join(dir, schemas.ManifestFile), []byte(full), 0o600))
	m, err := schemas.ReadManifest(dir)
	require.NoError(t, err)
	require.Equal(t, "flights_delay", m.Name)
	f, ok := m.Feature("f64")
	require.True(t, ok)
	require.InDelta(t, 1.5, f.Default, 0)
	_, ok = m.Feature("score")
	require.False(t, ok)
	o, ok := m.Output("label")
	require.True(t, ok)
	require.Equal(t, schemas.TypeInt64, o.Type)
	_, ok = m.Output("ok")
	require.False(t, ok)
}

func TestManifestSyntaxShowsWhere(t *testing.T) {
	for name, tc := range map[string]struct{ from, to, want string }{
		"unknown key":       {"runtime: onnx", "runtim: onnx", `line 3, column 1: unknown field "runtim"`},
		"unknown inner key": {"type: float32}", "type: float32, fallback: 1}", `line 6, column 30: unknown field "fallback"`},
		"duplicate key":     {"runtime: onnx", "runtime: onnx\nname: n", `line 4, column 1: mapping key "name" already defined`},
		"wrong type":        {"features:\n  - {name: x, type: float32}", "features: 7", "line 5, column 11: "},
		"wrong inner type":  {"type: float32}\noutputs", "type: float32, optional: maybe}\noutputs", "line 6, column 40: "},
		"not YAML":          {"runtime: onnx", "runtime: [onnx", "line "},
		"bad duration":      {"runtime: onnx", "runtime: onnx\nmonitoring: {window: tomorrow, checks: []}", `"tomorrow" is no duration`},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(minimal, tc.from, tc.to, 1)
			require.NotEqual(t, minimal, text)
			_, err := schemas.ParseManifest("m.yaml", []byte(text))
			require.ErrorContains(t, err, "manifest m.yaml: ")
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
	for _, text := range []string{"", "~", "[]", "7", "a: b: c", "\x00", "&a [*a]", "name: &x m\nversion: *y"} {
		_, err := schemas.ParseManifest("m.yaml", []byte(text))
		require.Error(t, err, "%q", text)
	}
}

func TestManifestRules(t *testing.T) {
	long := strings.Repeat("x", 61)
	feature := func(f string) string {
		return strings.Replace(full, "- {name: ok, type: bool, default: false}", "- "+f, 1)
	}
	replace := func(from, to string) string {
		require.Contains(t, full, from)
		return strings.Replace(full, from, to, 1)
	}
	for name, tc := range map[string]struct{ text, want string }{
		"name":                {replace("name: flights_delay", "name: Flights"), `name: "Flights" is not a model name`},
		"long name":           {replace("name: flights_delay", "name: "+long), "name: "},
		"version":             {replace("2026.1-rc_2", "../1"), `version: "../1" is not a version`},
		"runtime":             {replace("runtime: onnx", "runtime: torch"), `runtime: "torch" is not one of onnx`},
		"device":              {replace("device: cuda", "device: tpu"), `device: "tpu" is not one of cpu, cuda`},
		"artifact path":       {replace("file: model.onnx", "file: ../model.onnx"), "artifact.file: "},
		"artifact digest":     {replace("model.onnx, sha256: 0", "model.onnx, sha256: g"), "artifact.sha256: "},
		"reference":           {replace("file: reference.json", `file: ".."`), "reference.file: "},
		"sample":              {replace("file: sample.arrow", `file: ""`), "sample.file: "},
		"no features":         {strings.Replace(minimal, "  - {name: x, type: float32}", "  []", 1), "features: at least one is needed"},
		"feature name":        {feature(`{name: "1x", type: bool}`), `features[0].name: "1x" is not a column name`},
		"system column":       {feature(`{name: Version, type: bool}`), `features[0].name: "Version" is already a system column`},
		"feature twice":       {feature(`{name: I32, type: bool}`), `features[1].name: "i32" is already features[0].name`},
		"feature type":        {feature(`{name: ok, type: float16}`), `features[0].type: "float16" is not one of bool, int32`},
		"policy":              {feature(`{name: ok, type: int32, out_of_range: drop}`), `features[0].out_of_range: "drop" is not one of keep, reject`},
		"unknown policy":      {feature(`{name: ok, type: category, categories: [a], unknown: drop}`), `features[0].unknown: "drop"`},
		"optional default":    {feature(`{name: ok, type: float32, optional: true, default: 1}`), "features[0].default: a feature with a default is never absent"},
		"optional bool":       {feature(`{name: ok, type: bool, optional: true}`), "features[0].optional: a bool has no value for absent"},
		"optional int":        {feature(`{name: ok, type: int64, optional: true}`), "features[0].optional: a int64 has"},
		"range of text":       {feature(`{name: ok, type: string, min: 1}`), "features[0]: min, max and out_of_range are for numbers"},
		"reject of text":      {feature(`{name: ok, type: string, out_of_range: reject}`), "features[0]: min, max and out_of_range are for numbers"},
		"min above max":       {feature(`{name: ok, type: int32, min: 2, max: 1}`), "features[0].min: 2 is above max 1"},
		"infinite bound":      {feature(`{name: ok, type: float64, min: -.inf}`), "features[0]: min and max must be finite"},
		"bound not a number":  {feature(`{name: ok, type: float64, max: .nan}`), "features[0]: min and max must be finite"},
		"categories":          {feature(`{name: ok, type: int32, categories: [a]}`), "features[0]: categories and unknown are for type category"},
		"no categories":       {feature(`{name: ok, type: category}`), "features[0].categories: at least one is needed"},
		"category twice":      {feature(`{name: ok, type: category, categories: [a, b, a]}`), `features[0].categories: "a" stands twice`},
		"too many categories": {feature(`{name: ok, type: category, categories: [` + strings.Repeat("x", schemas.MaxCategoryBytes) + `]}`), "features: their categories have"},
		"default bool":        {feature(`{name: ok, type: bool, default: 1}`), "features[0].default: 1 is no bool"},
		"default text":        {feature(`{name: ok, type: string, default: 1}`), "features[0].default: 1 is no string; put it in quotes"},
		"default category":    {feature(`{name: ok, type: category, categories: [a], default: b}`), `features[0].default: "b" is not in categories`},
		"default number":      {feature(`{name: ok, type: float32, default: "1"}`), "features[0].default: 1 is no number"},
		"default exponent":    {feature(`{name: ok, type: int32, default: 1e10}`), "features[0].default: 1e+10 does not fit int32"},
		"default octal":       {feature(`{name: ok, type: category, categories: [010], default: 010}`), "features[0].default: 010 is octal to some readers"},
		"default NaN":         {feature(`{name: ok, type: float64, default: .nan}`), "features[0].default: NaN is no number"},
		"default fraction":    {feature(`{name: ok, type: int64, default: 1.5}`), "features[0].default: 1.5 is no whole number"},
		"default int32":       {feature(`{name: ok, type: int32, default: 2147483648}`), "features[0].default: 2147483648 does not fit int32"},
		"default int64":       {feature(`{name: ok, type: int64, default: 1.0e+30}`), "features[0].default: 1e+30 is beyond"},
		"default float32":     {feature(`{name: ok, type: float32, default: 1.0e+39}`), "features[0].default: 1e+39 does not fit float32"},
		"default range":       {feature(`{name: ok, type: int32, min: 5, default: 4}`), "features[0].default: 4 is outside min and max"},
		"source twice":        {feature(`{name: ok, type: bool, default: false, source: f64}`), `features[4].source: "f64" is the key of feature "ok" already: give feature "f64" another`},
		"source of an id":     {feature(`{name: ok, type: bool, default: false, source: request_id}`), `features[0].source: "request_id" is the key of the request id already: give feature "ok" another`},
		"source of a time":    {feature(`{name: ok, type: bool, default: false, source: at}`), `event_time.field: "at" is the key of feature "ok" already: give the event time another`},
		"source":              {feature(`{name: ok, type: bool, default: false, source: "a\tb"}`), `features[0].source: "a\tb" is no key of a request`},
		"long source":         {feature(`{name: ok, type: bool, default: false, source: ` + strings.Repeat("年", 81) + `}`), "at most 240 bytes of UTF-8"},
		"batch size":          {replace("batch_size: 32", "batch_size: 32, max_batch_size: 31"), "batch.preferred_batch_size: 32 is above batch.max_batch_size, 31"},
		"negative batch size": {replace("batch_size: 32", "batch_size: 32, max_batch_size: -1"), "batch.max_batch_size: must be from 0 to"},
		"event time format":   {replace("format: unix_ms", "format: iso"), `event_time.format: "iso" is not one of rfc3339`},
		"event time feature":  {replace("field: at", "field: f64"), `event_time.field: "f64" is the key of feature "f64" already: give the event time another`},
		"event time id":       {replace("field: at", "field: request_id"), `event_time.field: "request_id" is the key of the request id already`},
		"long event time":     {replace("field: at", "field: "+strings.Repeat("x", 121)), "event_time.field: it has 121 bytes; at most 120 are allowed"},
		"field name twice":    {feature(`{name: ok, type: bool, default: false, source: i64}`), `features[2].source: "i64" is feature "ok" in Avro and Protobuf, whose names are identifiers, and would be feature "i64" too: rename one of the two`},
		"field name of time":  {replace("field: at", "field: i64"), `event_time.field: "i64" is feature "i64" in Avro and Protobuf, whose names are identifiers, and would be the event time too: rename one of the two`},
		"event time field":    {replace("field: at, ", ""), "event_time.field: missing, but event_time.format is set"},
		"input name":          {replace("{name: names,", `{name: "",`), "inputs[1].name: missing"},
		"input features":      {replace("features: [text, origin]", "features: []"), "inputs[1].features: at least one is needed"},
		"input feature":       {replace("features: [text, origin]", "features: [texts]"), `inputs[1].features: "texts" is no feature`},
		"no outputs":          {strings.Replace(minimal, "  - {name: y, type: float32}", "  []", 1), "outputs: at least one is needed"},
		"output type":         {replace("{name: label, type: int64}", "{name: label, type: category}"), `outputs[1].type: "category" is not one of`},
		"output of a feature": {replace("{name: label,", "{name: F32,"), `outputs[1].name: "F32" is already features[3].name`},
		"output index":        {replace("index: 1", "index: -1"), "outputs[0].index: must be at least 0, got -1"},
		"batch rows":          {replace("max_rows: 100", "max_rows: -1"), "batch.max_rows: must be from 1 to"},
		"batch bytes":         {replace("max_bytes: 2048", "max_bytes: 1"), "batch.max_bytes: must be from 1024 to"},
		"batch preferred":     {replace("batch_size: 32", "batch_size: -1"), "batch.preferred_batch_size: must be from 0 to"},
		"target kind":         {replace("kind: binary", "kind: ordinal"), `target.kind: "ordinal" is not one of binary, multiclass, regression`},
		"target score":        {replace("score: score", "score: scores"), `target.score: "scores" is no output`},
		"target text":         {replace("score: score", "score: said"), `target.score: output "said" is string, not a number`},
		"target threshold":    {replace("threshold: 0.25", "threshold: 1.5"), "target.threshold: must be from"},
		"target NaN":          {replace("positive_above: 15", "positive_above: .nan"), "target.positive_above: must be from"},
		"latency":             {replace("latency_ms: 20.5", "latency_ms: -1"), "requirements.latency_ms: must be from 0"},
		"throughput":          {replace("throughput_per_s: 1000", "throughput_per_s: -1"), "requirements.throughput_per_s: must be from 0"},
		"accuracy":            {replace("accuracy: 0.75", "accuracy: 75"), "requirements.accuracy: must be from 0 to 1, got 75"},
		"memory":              {replace("memory_mb: 512", "memory_mb: .nan"), "requirements.memory_mb: must be from 0"},
		"window":              {replace("window: 1d", "window: 0s"), "monitoring.window (seconds): must be from 1"},
		"split second":        {replace("window: 1d", "window: 1500ms"), "monitoring.window: must be whole seconds, got 1.5s"},
		"windows too short":   {replace("window: 1d", "window: 1d\n  windows: [{length: 500ms}]"), "monitoring.windows[0].length: must be whole seconds, 1s to 366d, got 500ms"},
		"windows twice":       {replace("window: 1d", "window: 1d\n  windows: [{length: 1h}, {length: 24h, every: 24h}]"), "monitoring.windows[1]: is a second time what monitoring.window is (1d)"},
		"windows apart":       {replace("window: 1d", "window: 1d\n  windows: [{length: 1d, every: 7h}]"), "monitoring.windows[0].every: must divide the length, 1d, got 7h"},
		"windows backwards":   {replace("window: 1d", "window: 1d\n  windows: [{length: 1d, every: -1h}]"), "monitoring.windows[0].every: must be whole seconds, at least 1s, got -1h0m0s"},
		"windows with gaps":   {replace("window: 1d", "window: 1d\n  windows: [{length: 1h, every: 2h}]"), "monitoring.windows[0].every: must divide the length, 1h, got 2h"},
		"windows of a second": {replace("window: 1d", "window: 1d\n  windows: [{length: 1d, every: 1s}]"), "a row would lie in 86400 windows; at most 744 are allowed"},
		"too many windows":    {replace("window: 1d", "window: 1d\n  windows: ["+strings.Repeat("{length: 1h}, ", 9)+"]"), "monitoring.windows: there are 9 beside monitoring.window; at most 8"},
		"windows that grow":   {replace("window: 1d", "window: 1d\n  windows: [{length: 1d, growing: true}]"), "growing"},
		"spread":              {replace("window: 1d", "window: 1d\n  spread: {kind: x}"), "spread"},
		"lateness":            {replace("lateness: 90m", "lateness: -1m"), "monitoring.lateness (seconds): must be from 0"},
		"idle timeout":        {replace("idle_timeout: 30s", "idle_timeout: -30s"), "monitoring.idle_timeout (seconds): must be from 0.001"},
		"label delay":         {replace("label_delay: 7d", "label_delay: 9000h"), "monitoring.label_delay (seconds): must be from 0"},
		"min rows":            {replace("min_rows: 500", "min_rows: -1"), "monitoring.min_rows: must be from 1"},
		"rate":                {replace("min_rows: 500", "rate: 0.6"), "monitoring.rate: must be from 1e-06 to 0.5, got 0.6"},
		"check twice":         {replace("{stattest: drift_share,", "{stattest: psi, column: origin,"), "monitoring.checks[3]: a second check of psi origin"},
		"check severity":      {replace("severity: info", "severity: loud"), `monitoring.checks[1].severity: "loud" is not one of info`},
		"check threshold":     {replace("threshold: 0.5,", "threshold: -1,"), "monitoring.checks[3].threshold: must be at least 0, got -1"},
		"infinite threshold":  {replace("threshold: 0.5,", "threshold: .inf,"), "monitoring.checks[3].threshold: must be at least 0"},
		"check stattest":      {replace("stattest: drift_share", "stattest: wasserstein"), `monitoring.checks[3].stattest: "wasserstein" is not one of psi`},
		"check column":        {replace("psi, column: origin", "psi, column: origins"), `monitoring.checks[0].column: "origins" is neither a feature nor an output`},
		"check of text":       {replace("ks, column: score", "ks, column: said"), `monitoring.checks[1].stattest: ks needs a numeric column, and "said" is string`},
		"check of data":       {replace("drift_share, threshold: 0.5", "missing_share, column: gone, threshold: 0.5"), `monitoring.checks[3].column: "gone" is neither a feature nor an output`},
		"check of a share":    {replace("drift_share, threshold: 0.5", "missing_share, column: ok, threshold: 1"), "monitoring.checks[3].threshold: missing_share is a share of rows and breaches above it: must be below 1, got 1"},
		"check of categories": {replace("drift_share, threshold: 0.5", "new_category_share, column: i32, threshold: 0.5"), `monitoring.checks[3].stattest: new_category_share needs a column of categories, and "i32" is int32`},
		"check of no range":   {replace("drift_share, threshold: 0.5", "out_of_range_share, column: ok, threshold: 0.5"), `monitoring.checks[3].column: out_of_range_share needs min or max, and feature "ok" has neither`},
		"check of an output":  {replace("drift_share, threshold: 0.5", "out_of_range_share, column: score, threshold: 0.5"), `monitoring.checks[3].column: "score" is no feature`},
		"check of the window": {replace("drift_share, threshold: 0.5", "duplicate_share, column: ok, threshold: 0.5"), "monitoring.checks[3].column: duplicate_share is of the window; leave the column out"},
		"check of no rows":    {replace("drift_share, threshold: 0.5", "row_count, threshold: 0"), "monitoring.checks[3].threshold: no window has fewer rows than 0"},
		"check share":         {replace("drift_share, ", "drift_share, column: ok, "), "monitoring.checks[3].column: drift_share is of the whole data set"},
		"check quality":       {replace("roc_auc, ", "roc_auc, column: score, "), "monitoring.checks[4].column: roc_auc is of the target"},
		"check no reference":  {replace("reference: {file: reference.json, sha256: "+sum+"}", ""), "monitoring.checks[0]: psi compares with the reference, and the manifest has none"},
		"check no target":     {replace("target: {kind: binary, score: score, threshold: 0.25, positive_above: 15}", ""), "monitoring.checks[4]: roc_auc needs labels, and the manifest has no target"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schemas.ParseManifest("m.yaml", []byte(tc.text))
			require.ErrorContains(t, err, "m.yaml: ")
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestManifestReportsEverythingAtOnce(t *testing.T) {
	text := strings.NewReplacer("name: flights_delay", "name: F", "device: cuda", "device: x", "index: 1", "index: -1", "window: 1d", "window: 0s").Replace(full)
	_, err := schemas.ParseManifest("m.yaml", []byte(text))
	for _, want := range []string{"name: ", "device: ", "outputs[0].index: ", "monitoring.window (seconds): "} {
		require.ErrorContains(t, err, want)
	}
	require.Len(t, strings.Split(err.Error(), "\n"), 4)
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, `"1d"`: 24 * time.Hour, "1h30m": 90 * time.Minute, "0d": 0, "'2m'": 2 * time.Minute,
	} {
		var d schemas.Duration
		require.NoError(t, d.UnmarshalYAML([]byte(text)), text)
		require.Equal(t, want, d.Std(), text)
		out, err := d.MarshalYAML()
		require.NoError(t, err)
		var again schemas.Duration
		require.NoError(t, again.UnmarshalYAML(out))
		require.Equal(t, d, again)
	}
	for _, text := range []string{"", "7", "d", "-1d", "1.5d", "1 d", "99999d", "7dd", "1w", "7d;", "1d2h"} {
		var d schemas.Duration
		require.Error(t, d.UnmarshalYAML([]byte(text)), "%q gives %s", text, d.Std())
	}
}

func TestSeverityAndStattest(t *testing.T) {
	require.True(t, schemas.SeverityCritical.AtLeast(schemas.SeverityWarning))
	require.True(t, schemas.SeverityInfo.AtLeast(schemas.SeverityInfo))
	require.False(t, schemas.SeverityInfo.AtLeast(schemas.SeverityWarning))
	require.True(t, schemas.StattestAUC.Quality())
	require.False(t, schemas.StattestShare.Quality())
}

func TestNumber(t *testing.T) {
	for _, v := range []any{1.0, 1, int64(1), uint64(1)} {
		x, ok := schemas.Number(v)
		require.True(t, ok)
		require.InDelta(t, 1, x, 0)
	}
	for _, v := range []any{nil, "1", true, []int{1}} {
		_, ok := schemas.Number(v)
		require.False(t, ok)
	}
}

// FuzzParseManifest: no panic, only errors, and what is accepted is the same when it is
// written and read again.
func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(full))
	f.Add([]byte(strings.Replace(minimal, "name: m", "name: &a m\n<<: *a", 1)))
	f.Add([]byte("a: &a [*a, *a]"))
	f.Add([]byte("name: m\nfeatures:\n !0 #\n0\n  #")) // the YAML decoder panics
	f.Add([]byte(strings.Replace(minimal, "type: float32}\noutputs", "type: float32, default: 0x1p-2}\noutputs", 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := schemas.ParseManifest("m.yaml", text)
		if err != nil {
			return
		}
		out, err := yaml.Marshal(m)
		require.NoError(t, err)
		again, err := schemas.ParseManifest("m.yaml", out)
		require.NoError(t, err, "%s", out)
		require.Equal(t, describe(m), describe(again), "%s", out)
		m.ObservationSchema()
	})
}

// describe renders a manifest; numbers of defaults are compared as numbers.
func describe(m *schemas.Manifest) string {
	c := *m
	c.Features = append([]schemas.Feature(nil), m.Features...)
	for i := range c.Features {
		if x, ok := schemas.Number(c.Features[i].Default); ok {
			c.Features[i].Default = math.Float64bits(x + 0) // -0 is 0
		}
	}
	out, err := yaml.Marshal(&c)
	return fmt.Sprint(string(out), err)
}

func TestValidModelName(t *testing.T) {
	for name, want := range map[string]bool{
		"m": true, "flights_delay": true, "a0_": true, strings.Repeat("x", 60): true,
		"": false, "0a": false, "_a": false, "A": false, "aB": false, "a-b": false, "a b": false, "é": false, "aé": false, "a\n": false,
		"a/": false, "a:": false, "a`": false, "a{": false, strings.Repeat("x", 61): false,
	} {
		require.Equal(t, want, schemas.ValidModelName(name), "%q", name)
	}
}
