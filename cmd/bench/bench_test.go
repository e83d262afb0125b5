package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRun measures very little of everything that a default worker can do, beside a model that is
// failed and a draft. That every
// request has one result, one observation and one row is checked by Run itself.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	profiles := filepath.Join(t.TempDir(), "profiles")
	var stdout, stderr bytes.Buffer
	err := Run(t.Context(), Options{
		Kafka: KafkaEmbedded, JSON: true, Dir: dir, Profile: profiles, Beside: true,
		Only: []string{"json_mlp_exactly_once", "arrow_mlp_*", "latency_exactly_once", "recorder"},
		Sizes: &Sizes{
			Rounds: 1, JSONWarmUp: 800, JSONRecords: 4000, ArrowWarmUp: 8, ArrowRecords: 40, Maximum: 2000, Part: 10 * time.Millisecond,
			WarmUp: 50 * time.Millisecond, Latency: 300 * time.Millisecond,
		},
	}, &stdout, &stderr)
	require.NoError(t, err, stderr.String())

	var keys map[string]any
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &keys), "stdout is one line of JSON: %s", stdout.String())
	require.Equal(t, []string{
		"cpu_us_per_prediction", "efficiency", "kafka", "latency_ms", "pass_through_per_s",
		"predictions_per_s", "recorder", "worker_peak_rss_bytes",
	}, slices.Sorted(maps.Keys(keys)))
	var r Report
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &r))
	require.Equal(t, KafkaEmbedded, r.Kafka)
	require.Equal(t, []string{"arrow_mlp", "json_mlp"}, slices.Sorted(maps.Keys(r.Efficiency)))
	require.Equal(t, []string{"arrow_mlp_at_least_once", "arrow_mlp_exactly_once", "json_mlp_exactly_once"}, slices.Sorted(maps.Keys(r.PredictionsPerS)))
	require.Equal(t, []string{"exactly_once"}, slices.Sorted(maps.Keys(r.PassThroughPerS)))
	require.Equal(t, []string{"cpu_us_per_row", "infile_rows_per_s", "rows_per_s", "unprofiled_cpu_us_per_row", "unprofiled_rows_per_s", "unsynced_rows_per_s"}, slices.Sorted(maps.Keys(r.Recorder)))
	require.Equal(t, []string{
		"arrow_mlp_at_least_once", "arrow_mlp_exactly_once", "decode_arrow_mlp", "decode_json_mlp", "encode_arrow_mlp", "encode_json_mlp",
		"json_mlp_exactly_once", "observe_arrow_mlp", "observe_json_mlp",
		"pass_through_arrow_at_least_once", "pass_through_arrow_exactly_once", "pass_through_json_exactly_once", "score_arrow_mlp", "score_json_mlp",
	}, slices.Sorted(maps.Keys(r.CPUUSPerPrediction)))
	for _, figures := range []map[string]float64{r.PredictionsPerS, r.PassThroughPerS, r.Recorder} {
		for name, figure := range figures {
			require.Positive(t, figure, name)
		}
	}
	require.Greater(t, r.WorkerPeakRSSBytes, int64(10<<20))
	require.Equal(t, []string{"exactly_once", "pass_through_exactly_once"}, slices.Sorted(maps.Keys(r.LatencyMS)))
	for name, l := range r.LatencyMS {
		require.Equal(t, []string{"p50", "p99", "p999"}, slices.Sorted(maps.Keys(l)), name)
		for _, load := range []string{"10", "50", "80"} {
			require.Positive(t, l["p50"][load], name)
			require.LessOrEqual(t, l["p50"][load], l["p99"][load], name)
			require.LessOrEqual(t, l["p99"][load], l["p999"][load], name)
		}
	}
	for _, name := range []string{"worker-json_mlp_exactly_once", "pass-through-json_exactly_once", "parts-json_mlp", "recorder-json_mlp_exactly_once"} {
		require.FileExists(t, filepath.Join(profiles, name+".cpu.pprof"))
		require.FileExists(t, filepath.Join(profiles, name+".allocs.pprof"))
	}
	require.Contains(t, stderr.String(), "of INSERT … FROM INFILE")
	require.Regexp(t, `request +8\d\.\d +features 80\.0, frame `, stderr.String(), "20 features of 4 bytes")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "the data are deleted")
}

func TestRunRefusesWrongUsage(t *testing.T) {
	for name, o := range map[string]Options{
		"an unknown case": {Kafka: KafkaEmbedded, Only: []string{"json_forest_exactly_once"}},
		"a bad pattern":   {Kafka: KafkaEmbedded, Only: []string{"["}},
		"another Kafka":   {Kafka: "imaginary", Only: []string{"json_mlp_exactly_once"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.ErrorIs(t, Run(t.Context(), o, &out, &out), ErrUsage)
		})
	}
}

func TestSurveyFindsWhatIsMissingAndWhatIsTwice(t *testing.T) {
	good := produced{results: 10, observations: 20, distinct: true}
	require.NoError(t, good.check(10, 20))
	for name, change := range map[string]func(p *produced){
		"a result is missing":         func(p *produced) { p.results-- },
		"a result is twice":           func(p *produced) { p.distinct = false },
		"an observation is missing":   func(p *produced) { p.observations-- },
		"a request became a dead one": func(p *produced) { p.deadLetters++ },
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			change(&bad)
			require.Error(t, bad.check(10, 20))
		})
	}
}
