//go:build cgo

package onnx_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/inference/onnx"
	"github.com/millrace/millrace/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Manifests of the models in testdata, without name, version and artifact.
const (
	linearManifest = `
features:
  - {name: a, type: float32}
  - {name: b, type: float64, optional: true}
  - {name: c, type: int32}
outputs:
  - {name: y, type: float32}`
	multiInputManifest = `
features:
  - {name: price, type: float64}
  - {name: count, type: int64}
  - {name: carrier, type: string, optional: true}
  - {name: urgent, type: bool}
outputs:
  - {name: total, type: float64}
  - {name: carrier_out, type: string}
  - {name: relaxed, type: bool}
  - {name: count_out, type: int64}`
	gatherManifest = `
features:
  - {name: index, type: int64, min: 0, max: 2}
outputs:
  - {name: price, type: float64}`
	ratioManifest = `
features:
  - {name: a, type: float32}
  - {name: b, type: float32}
outputs:
  - {name: ratio, type: float32}
  - {name: ln, tensor: log, type: float64}`
	codesManifest = `
features:
  - {name: carrier, type: category, categories: [AA, UA, WN], optional: true}
  - {name: urgent, type: bool}
  - {name: weight, type: int32}
outputs:
  - {name: carrier_code, tensor: y, index: 0, type: int64}
  - {name: urgent_code, tensor: y, index: 1, type: int64}
  - {name: weight_code, tensor: y, index: 2, type: float32}
  - {name: total, tensor: y, index: 3, type: float64}`
	gbdtOutputs = `
outputs:
  - {name: late, tensor: probabilities, index: 1, type: float32}
  - {name: label, type: int64}`
	mlpOutputs = `
outputs:
  - {name: y, tensor: variable, type: float32}`
)

// floats lists the features f0, f1, … of a manifest.
func floats(n int) string {
	var b strings.Builder
	b.WriteString("\nfeatures:")
	for i := range n {
		fmt.Fprintf(&b, "\n  - {name: f%d, type: float32}", i)
	}
	return b.String()
}

// loadModel puts a model of testdata and a manifest in a repository and loads it.
func loadModel(tb testing.TB, graph, manifest string) *inference.Model {
	tb.Helper()
	path := filepath.Join("testdata", graph+".onnx")
	digest, err := inference.Digest(path)
	require.NoError(tb, err)
	text := fmt.Sprintf("name: %s\nversion: \"1\"\nruntime: onnx\nartifact: {file: model.onnx, sha256: %s}%s\n", filepath.Base(graph), digest, manifest)
	root := tb.TempDir()
	ref, err := inference.InstallModel(root, path, []byte(text))
	require.NoError(tb, err)
	repository, err := inference.OpenRepository(root)
	require.NoError(tb, err)
	m, err := repository.Load(context.Background(), ref.Name, ref.Version)
	require.NoError(tb, err)
	return m
}

// newInstance makes an instance that is closed at the end of the test, when nothing may
// be left of what it allocated.
func newInstance(tb testing.TB, m *inference.Model) (inference.Instance, memory.Allocator) {
	tb.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	inst, err := inference.NewInstance(context.Background(), onnx.Runtime{}, m, alloc)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		require.NoError(tb, inst.Close())
		require.NoError(tb, inst.Close(), "a second time")
		alloc.AssertSize(tb, 0)
	})
	return inst, alloc
}

// batch builds a request batch from JSON rows, with dictionaries that start with the
// manifest's categories, and two columns that are no features.
func batch(tb testing.TB, m *inference.Model, alloc memory.Allocator, rows []map[string]any) arrow.Record {
	tb.Helper()
	b := array.NewRecordBuilder(alloc, arrow.NewSchema(m.Manifest.RequestSchema().Fields()[:len(m.Manifest.Features)+2], nil))
	defer b.Release()
	for c, f := range m.Manifest.Features {
		if dict, ok := b.Field(c).(*array.BinaryDictionaryBuilder); ok {
			values := array.NewStringBuilder(alloc)
			values.AppendValues(f.Categories, nil)
			categories := values.NewStringArray()
			require.NoError(tb, dict.InsertStringDictValues(categories))
			categories.Release()
			values.Release()
		}
		for _, row := range rows {
			if v := row[f.Name]; v != nil {
				require.NoError(tb, b.Field(c).AppendValueFromString(fmt.Sprint(v)))
			} else {
				b.Field(c).AppendNull()
			}
		}
	}
	for c := range 2 {
		b.Field(len(m.Manifest.Features) + c).AppendNulls(len(rows))
	}
	return b.NewRecord()
}

// predict scores rows, checks the shape of the answer and returns it as JSON rows.
func predict(tb testing.TB, m *inference.Model, inst inference.Instance, alloc memory.Allocator, rows []map[string]any) ([]map[string]any, []schemas.RowError) {
	tb.Helper()
	in := batch(tb, m, alloc, rows)
	defer in.Release()
	out, failed, err := inst.Predict(context.Background(), in)
	require.NoError(tb, err)
	defer out.Release()
	require.True(tb, out.Schema().Equal(arrow.NewSchema(m.Manifest.OutputFields(), nil)), out.Schema())
	require.Equal(tb, in.NumRows(), out.NumRows())
	return jsonRows(tb, out), failed
}

func jsonRows(tb testing.TB, out arrow.Record) []map[string]any {
	tb.Helper()
	text, err := out.MarshalJSON()
	require.NoError(tb, err)
	var rows []map[string]any
	require.NoError(tb, json.Unmarshal(text, &rows))
	return rows
}

// answer is what a model of testdata answered in Python: rows by tensor.
type answer struct {
	Inputs, Outputs map[string][]any
}

func golden(tb testing.TB, graph string) answer {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden.json"))
	require.NoError(tb, err)
	var all map[string]answer
	require.NoError(tb, json.Unmarshal(text, &all))
	require.Contains(tb, all, graph)
	return all[graph]
}

// cell returns an element of a golden tensor of shape [rows] or [rows, columns].
func cell(tensor []any, row, column int) any {
	if columns, ok := tensor[row].([]any); ok {
		return columns[column]
	}
	return tensor[row]
}

func TestPredictEqualsGolden(t *testing.T) {
	for graph, manifest := range map[string]string{
		"linear":      floats(3) + "\noutputs:\n  - {name: y, type: float32}",
		"fixed_batch": floats(3) + "\noutputs:\n  - {name: y, type: float64}",
		"multi_input": multiInputManifest,
		"gather":      gatherManifest,
		"ratio":       ratioManifest,
		"codes": `
features:
  - {name: f0, type: int32}
  - {name: f1, type: int64}
  - {name: f2, type: int64}
outputs:
  - {name: y, index: 3, type: int64}`,
		"gbdt": floats(20) + gbdtOutputs,
		"mlp":  floats(20) + mlpOutputs,
	} {
		for _, preferred := range []int{0, 1, 3, 1024} {
			t.Run(fmt.Sprintf("%s/preferred %d", graph, preferred), func(t *testing.T) {
				m := loadModel(t, graph, fmt.Sprintf("%s\nbatch: {preferred_batch_size: %d}", manifest, preferred))
				inst, alloc := newInstance(t, m)
				want := golden(t, graph)
				var rows []map[string]any
				for name, tensor := range want.Inputs {
					for row := range tensor {
						for len(rows) < len(tensor) {
							rows = append(rows, map[string]any{})
						}
						for c, f := range m.Manifest.Features {
							if len(want.Inputs) == 1 {
								rows[row][f.Name] = cell(tensor, row, c)
							} else if f.Name == name {
								rows[row][f.Name] = cell(tensor, row, 0)
							}
						}
					}
				}
				got, failed := predict(t, m, inst, alloc, rows)
				require.Empty(t, failed)
				for _, o := range m.Manifest.Outputs {
					for row := range rows {
						w := cell(want.Outputs[o.Tensor], row, o.Index)
						if x, ok := w.(float64); ok {
							require.InDelta(t, x, got[row][o.Name], 1e-5*(1+max(x, -x)), "%s of row %d", o.Name, row)
						} else {
							require.Equal(t, w, got[row][o.Name], "%s of row %d", o.Name, row)
						}
					}
				}
			})
		}
	}
}
