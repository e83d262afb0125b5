package pipeline_test

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
)

// fares is the model that most tests use: total = price * count, and the carrier's bonus
// where urgent. See inference/onnx/testdata/make_models.py.
var fares = model{name: "fares", graph: "multi_input", manifest: `
features:
  - {name: price, type: float64, min: -1000, max: 1000, out_of_range: reject}
  - {name: count, type: int64}
  - {name: carrier, type: category, categories: [AA, UA, WN], unknown: reject}
  - {name: urgent, type: bool, default: false}
event_time: {field: at, format: rfc3339}
outputs:
  - {name: total, type: float64}
  - {name: relaxed, type: bool}
target: {kind: binary, score: total, threshold: 0.5}
monitoring:
  window: 1h
  idle_timeout: 1h
  min_rows: 50
  checks:
    - {stattest: psi, column: price, threshold: 0.5, retrain: true, severity: critical}
    - {stattest: accuracy, threshold: 0.5}
`, reference: &schemas.Reference{
	Rows: 1000, Made: "by a test: prices spread evenly over 0 to 1",
	Columns: []schemas.ReferenceColumn{{Name: "price", Edges: []float64{0.25, 0.5, 0.75}, Counts: []int64{250, 250, 250, 250}}},
}}

// fare is a request to fares.
type fare struct {
	At      time.Time `json:"at"`
	Price   float64   `json:"price"`
	Count   int64     `json:"count"`
	Carrier string    `json:"carrier"`
	Urgent  bool      `json:"urgent"`
}

func (f fare) json() []byte {
	text, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return text
}

// total is what the model answers.
func (f fare) total() float64 {
	total := f.Price * float64(f.Count)
	if f.Urgent {
		total += map[string]float64{"AA": 1, "UA": 2, "WN": 3}[f.Carrier]
	}
	return total
}

// prices answers an index with a price, and fails where the index is not from -3 to 2.
var prices = model{name: "prices", graph: "gather", manifest: `
features:
  - {name: index, type: int64}
outputs:
  - {name: price, type: float64}
`}

// ratios divides a by b.
var ratios = model{name: "ratios", graph: "ratio", manifest: `
features:
  - {name: a, type: float32}
  - {name: b, type: float32}
outputs:
  - {name: ratio, type: float32}
`}

// echo answers with a text of the request.
var echo = model{name: "echo", graph: "multi_input", manifest: `
features:
  - {name: price, type: float64, default: 1}
  - {name: count, type: int64, default: 1}
  - {name: carrier, type: string}
  - {name: urgent, type: bool, default: false}
outputs:
  - {name: total, type: float64}
  - {name: carrier_out, type: string}
`}

// result is an answer on Kafka.
type result struct {
	RequestID   string                     `json:"request_id"`
	Model       string                     `json:"model"`
	Version     string                     `json:"version"`
	Predictions map[string]json.RawMessage `json:"predictions"`
	LatencyUS   *int64                     `json:"latency_us"`
	QueueUS     *int64                     `json:"queue_us"`
}

func feedbackOf(model, requestID string, label any) []byte {
	text, err := json.Marshal(map[string]any{"model": model, "request_id": requestID, "label": label})
	if err != nil {
		panic(fmt.Sprint(err))
	}
	return text
}

func TestCodecsOfUnknownModelsAreRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "models")
	installModel(t, dir, prices)
	cfg, err := config.Load("", nil, []string{"models.repository=" + dir, "worker.codecs={prizes: arrow}"})
	require.NoError(t, err)
	lines, err := pipeline.CheckModels(t.Context(), cfg)
	require.EqualError(t, err, "worker.codecs.prizes: there is no such model in "+dir+"; its models are prices")
	require.Len(t, lines, 1, "the others are checked all the same")
	require.ErrorContains(t, pipeline.Predict(t.Context(), cfg, "prizes", nil, time.Second, io.Discard), "predict sends JSON")
}
