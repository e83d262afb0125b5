package catalogtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// Model is one that tests put into a repository: a graph of inference/onnx/testdata and
// the manifest without name, version and artifact.
type Model struct {
	Name      string
	Graph     string // file, without .onnx
	Manifest  string
	Reference *schemas.Reference
}

// Install writes a version's folder.
func Install(tb testing.TB, repository string, m Model) {
	tb.Helper()
	_, source, _, _ := runtime.Caller(0)
	graph, err := os.ReadFile(filepath.Join(filepath.Dir(source), "..", "..", "..", "inference", "onnx", "testdata", m.Graph+".onnx"))
	require.NoError(tb, err)
	dir := filepath.Join(repository, m.Name, "1")
	require.NoError(tb, os.MkdirAll(dir, 0o750))
	write := func(name string, body []byte) string {
		require.NoError(tb, os.WriteFile(filepath.Join(dir, name), body, 0o600)) //nolint:gosec // a temporary folder of the test
		return fmt.Sprintf("{file: %s, sha256: %x}", name, sha256.Sum256(body))
	}
	text := fmt.Sprintf("name: %s\nversion: \"1\"\nruntime: onnx\nartifact: %s\n%s", m.Name, write("model.onnx", graph), m.Manifest)
	if m.Reference != nil {
		body, err := json.Marshal(m.Reference)
		require.NoError(tb, err)
		text += "\nreference: " + write("reference.json", body)
	}
	write(schemas.ManifestFile, []byte(text))
}

// Epoch is the first event time of the tests.
var Epoch = time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)

// Fares is the model that most tests use: total = price * count, and the carrier's bonus
// where urgent. See inference/onnx/testdata/make_models.py.
var Fares = Model{Name: "fares", Graph: "multi_input", Manifest: `
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
`, Reference: &schemas.Reference{
	Rows: 1000, Made: "by a test: prices spread evenly over 0 to 1",
	Columns: []schemas.ReferenceColumn{{Name: "price", Edges: []float64{0.25, 0.5, 0.75}, Counts: []int64{250, 250, 250, 250}}},
}}

// Fare is a request to fares.
type Fare struct {
	At      time.Time `json:"at"`
	Price   float64   `json:"price"`
	Count   int64     `json:"count"`
	Carrier string    `json:"carrier"`
	Urgent  bool      `json:"urgent"`
}

// JSON returns the request as it is sent.
func (f Fare) JSON() []byte {
	text, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return text
}

// Total is what the model answers.
func (f Fare) Total() float64 {
	total := f.Price * float64(f.Count)
	if f.Urgent {
		total += map[string]float64{"AA": 1, "UA": 2, "WN": 3}[f.Carrier]
	}
	return total
}

// Prices answers an index with a price, and fails where the index is not from -3 to 2.
var Prices = Model{Name: "prices", Graph: "gather", Manifest: `
features:
  - {name: index, type: int64}
outputs:
  - {name: price, type: float64}
`}

// Ratios divides a by b.
var Ratios = Model{Name: "ratios", Graph: "ratio", Manifest: `
features:
  - {name: a, type: float32}
  - {name: b, type: float32}
outputs:
  - {name: ratio, type: float32}
`}

// Echo answers with a text of the request.
var Echo = Model{Name: "echo", Graph: "multi_input", Manifest: `
features:
  - {name: price, type: float64, default: 1}
  - {name: count, type: int64, default: 1}
  - {name: carrier, type: string}
  - {name: urgent, type: bool, default: false}
outputs:
  - {name: total, type: float64}
  - {name: carrier_out, type: string}
`}

// Indices is an Arrow request of some rows to prices: -100 stands for NULL.
func Indices(t *testing.T, of ...int64) []byte {
	t.Helper()
	b := array.NewInt64Builder(memory.DefaultAllocator)
	for _, v := range of {
		if v == -100 {
			b.AppendNull()
		} else {
			b.Append(v)
		}
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "index", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	rec := array.NewRecord(schema, []arrow.Array{b.NewArray()}, int64(len(of)))
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	require.NoError(t, w.Write(rec))
	require.NoError(t, w.Close())
	return out.Bytes()
}

// Table reads an Arrow stream, every value as text.
func Table(t *testing.T, value []byte) map[string][]string {
	t.Helper()
	r, err := ipc.NewReader(bytes.NewReader(value))
	require.NoError(t, err)
	defer r.Release()
	columns := map[string][]string{}
	for r.Next() {
		for i, c := range r.Record().Columns() {
			name := r.Schema().Field(i).Name
			for row := range c.Len() {
				columns[name] = append(columns[name], c.ValueStr(row))
			}
		}
	}
	require.NoError(t, r.Err())
	return columns
}
