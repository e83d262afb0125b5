package pipeline_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// fares returns so many requests to the model fares, dealt to three partitions.
func (h *harness) fares(n int) []*kgo.Record {
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{
			Topic: h.cfg.Topics.RequestsOf("fares"), Partition: int32(i % 3),
			Value: catalogtest.Fare{At: catalogtest.Epoch, Price: float64(i) / float64(n), Count: 1, Carrier: "AA"}.JSON(),
		}
	}
	return records
}

// artifactOf returns the path of the file that a version executes.
func (h *harness) artifactOf(model string) string {
	return filepath.Join(h.cfg.Models.Repository, model, "1", "model.onnx")
}

// draft returns the model with draft: true.
func draft(m catalogtest.Model) catalogtest.Model {
	m.Manifest = "draft: true\n" + m.Manifest
	return m
}

// Of three models on one worker one has a broken artifact and one is a draft: the third is answered,
// whole. The requests of the broken one wait, named, with nothing committed, and are answered once it
// is mended, without a restart; those of the draft are dead letters that say so. Neither keeps the
// monitor from the third.
func TestModelThatFailsLeavesTheOthersServing(t *testing.T) {
	parallel(t)
	addr := freeAddr(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares, catalogtest.Prices, draft(catalogtest.Ratios)},
		"http.addr="+addr, "models.retry_interval=200ms", "models.versions={ghosts: 7}")
	graph, err := os.ReadFile(h.artifactOf("prices"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(h.artifactOf("prices"), graph[:len(graph)/2], 0o600))
	version := filepath.Join(h.cfg.Models.Repository, "fares", "0")
	require.NoError(t, os.Mkdir(version, 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(version, schemas.ManifestFile), []byte("name: [\n"), 0o600))

	const n = 3000
	prices, ratios := h.cfg.Topics.RequestsOf("prices"), h.cfg.Topics.RequestsOf("ratios")
	h.produce(h.fares(n)...)
	h.produce(&kgo.Record{Topic: prices, Partition: 0, Value: []byte(`{"index":1}`)}, &kgo.Record{Topic: prices, Partition: 1, Value: []byte(`{"index":2}`)},
		&kgo.Record{Topic: ratios, Partition: 0, Value: []byte(`{"a":1,"b":2}`)})
	r := h.run(pipeline.New(h.config("roles=worker,recorder,monitor"), h.log))
	h.settled(h.cfg.Topics.RequestsOf("fares"), ratios)
	require.Len(t, h.read(h.cfg.Topics.ResultsOf("fares")), n)
	require.Equal(t, n, h.count("SELECT count() FROM millrace.observations_fares"))
	letters := h.read(h.cfg.Topics.DeadLetters)
	require.Len(t, letters, 1, "what waits is no dead letter")
	require.Equal(t, "no_version", headerOf(&letters[0], schemas.HeaderErrorClass))
	require.Equal(t, "every version of model ratios is a draft", headerOf(&letters[0], schemas.HeaderReason))
	require.EqualValues(t, 2, h.lag(h.cfg.Worker.Group, prices))
	var said string
	h.eventually("readiness names what is failed", func() (string, bool) {
		status, body := h.get("http://" + addr + "/readyz")
		said = body
		return body, status == 503 && strings.Contains(body, "wait: model prices is failed") && strings.Contains(body, "monitor of fares/0")
	})
	require.Regexp(t, `"model prices": ?"failed: load model prices/1: .* has sha256 .*its requests wait, and it is tried again"`, said)
	require.Regexp(t, `"model ghosts": ?"failed: route model ghosts: version 7, which models.versions names, is not in the repository`, said)
	require.Contains(t, said, "partitions [")
	require.NotContains(t, said, "model fares\"")
	_, metrics := h.get("http://" + addr + "/metrics")
	require.Contains(t, metrics, `millrace_model_failed{model="prices",version="1"} 1`)
	require.Contains(t, metrics, `millrace_model_failed{model="fares",version="1"} 0`)
	require.Contains(t, metrics, `millrace_role_up{role="worker"} 1`)
	require.Positive(t, r.app.Done.Ticks.Load(), "the monitor judges the others")
	lines, err := operate.CheckModels(t.Context(), h.cfg)
	require.ErrorContains(t, err, "load model prices/1")
	require.Contains(t, strings.Join(lines, "\n"), "model prices/1: failed")

	require.NoError(t, os.WriteFile(h.artifactOf("prices"), graph, 0o600))
	h.eventually("what waited is answered", func() (string, bool) {
		got := len(h.read(h.cfg.Topics.ResultsOf("prices")))
		return strconv.Itoa(got), got == 2
	})
	h.produce(h.fares(3)...)
	h.settled(h.cfg.Topics.RequestsOf("fares"), prices)
	require.Len(t, h.read(h.cfg.Topics.ResultsOf("fares")), n+3, "nothing is answered twice")
	h.eventually("the model is ready", func() (string, bool) {
		_, body := h.get("http://" + addr + "/readyz")
		return body, strings.Contains(body, `"model prices":"ready"`) || strings.Contains(body, `"model prices": "ready"`)
	})
	_, metrics = h.get("http://" + addr + "/metrics")
	require.Contains(t, metrics, `millrace_model_failed{model="prices",version="1"} 0`)
}

// Where the operator has chosen so, the requests of a failed model are dead letters that say why. A
// model without topics keeps nobody waiting, and serves once they are made.
func TestFailedModelsRequestsBecomeDeadLetters(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares, catalogtest.Prices}, "models.failed=dead_letter", "models.retry_interval=100ms", "worker.delivery=at_least_once")
	require.NoError(t, os.WriteFile(h.artifactOf("prices"), []byte("no graph"), 0o600))
	catalogtest.Install(t, h.cfg.Models.Repository, catalogtest.Ratios)
	h.models = append(h.models, catalogtest.Ratios)
	h.produce(h.fares(30)...)
	h.produce(&kgo.Record{Topic: h.cfg.Topics.RequestsOf("prices"), Partition: 2, Value: []byte(`{"index":1}`)})
	r := h.run(pipeline.New(h.config("roles=worker,recorder"), h.log))
	h.settled(h.cfg.Topics.RequestsOf("fares"), h.cfg.Topics.RequestsOf("prices"))
	require.Len(t, h.read(h.cfg.Topics.ResultsOf("fares")), 30)
	letters := h.read(h.cfg.Topics.DeadLetters)
	require.Len(t, letters, 1)
	require.Equal(t, "no_version", headerOf(&letters[0], schemas.HeaderErrorClass))
	require.Contains(t, headerOf(&letters[0], schemas.HeaderReason), "model prices is failed: load model prices/1")
	require.False(t, r.app.Ready())
	require.Contains(t, h.logs.all(), "topic "+h.cfg.Topics.RequestsOf("ratios")+": does not exist; `millrace topics apply` makes it")

	_, err := operate.ApplyTopics(t.Context(), h.cfg)
	require.NoError(t, err)
	h.eventually("the model is ready", func() (string, bool) { // a request that comes before is a dead letter
		return "", strings.Contains(h.logs.all(), `"model":"ratios","version":"1","lanes":`)
	})
	h.produce(&kgo.Record{Topic: h.cfg.Topics.RequestsOf("ratios"), Partition: 1, Value: []byte(`{"a":1,"b":2}`)})
	h.eventually("the model with its new topics answers", func() (string, bool) {
		got := h.read(h.cfg.Topics.ResultsOf("ratios"))
		return strconv.Itoa(len(got)), len(got) == 1
	})
}
