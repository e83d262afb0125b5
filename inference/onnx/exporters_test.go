//go:build cgo

package onnx_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/inference/onnx"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

// exported is a graph as its exporter made it, with requests and what ONNX Runtime in Python
// answers each of them alone: by output, the row's values one after another.
type exported struct {
	path     string
	requests [][]byte
	want     []map[string]json.RawMessage
}

func readExported(t *testing.T, path string) exported {
	t.Helper()
	base := strings.TrimSuffix(path, ".onnx")
	text, err := os.ReadFile(base + ".req.jsonl")
	require.NoError(t, err)
	e := exported{path: path, requests: bytes.Split(bytes.TrimSpace(text), []byte("\n"))}
	text, err = os.ReadFile(base + ".want.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &e.want))
	return e
}

// serve puts a graph into a repository as `millrace init` does, and answers the requests, each in
// a row of one batch.
func (e *exported) serve(t *testing.T, maxBatchSize int) (m *schemas.Manifest, manifest string, rows []map[string]any, failed []schemas.RowError, err error) {
	t.Helper()
	text, err := onnx.Init(e.path, "m", "1", maxBatchSize)
	if err != nil {
		return nil, "", nil, nil, err
	}
	if maxBatchSize == 0 {
		text = append(text, "\nbatch: {preferred_batch_size: 64}\n"...) // without which the fastest is measured
	}
	root := t.TempDir()
	ref, err := inference.InstallModel(root, e.path, text)
	require.NoError(t, err)
	repository, err := inference.OpenRepository(root)
	require.NoError(t, err)
	model, err := repository.Load(context.Background(), ref.Name, ref.Version)
	require.NoError(t, err)
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	inst, err := inference.NewInstance(context.Background(), onnx.Runtime{}, model, alloc)
	if err != nil {
		return model.Manifest, string(text), nil, nil, err
	}
	defer inst.Close()
	d, err := codec.NewDecoder(model.Manifest, alloc)
	require.NoError(t, err)
	defer d.Release()
	for _, request := range append(slices.Clone(e.requests), codec.ExampleRequest(model.Manifest)) {
		if fault := d.Append(&schemas.Record{Value: request}); fault != nil {
			return model.Manifest, string(text), nil, nil, fmt.Errorf("request %s: %w", request, fault)
		}
	}
	in := d.NewBatch()
	defer in.Release()
	out, failed, err := inst.Predict(context.Background(), in)
	require.NoError(t, err)
	defer out.Release()
	return model.Manifest, string(text), jsonRows(t, out)[:len(e.requests)], failed, nil
}

var printedMaps = regexp.MustCompile(`: ([-+.0-9e]+)`)

// same compares a prediction with what Python answered.
func (e *exported) same(t *testing.T, row int, o *schemas.Output, got any) error {
	t.Helper()
	var all []any
	raw := e.want[row][o.Tensor]
	if maps := printedMaps.FindAllSubmatch(raw, -1); bytes.HasPrefix(raw, []byte(`"[{`)) { // as Python prints them
		for _, value := range maps {
			x, err := strconv.ParseFloat(string(value[1]), 64)
			require.NoError(t, err)
			all = append(all, x)
		}
	} else if err := json.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("row %d of %s: %s", row, o.Tensor, raw)
	}
	if o.Index >= len(all) {
		return fmt.Errorf("row %d of %s has %d values, no %d", row, o.Tensor, len(all), o.Index)
	}
	switch want := all[o.Index].(type) {
	case float64:
		if x, ok := got.(float64); !ok || max(x-want, want-x) > 1e-5*(1+max(want, -want)) {
			return fmt.Errorf("output %s of row %d is %v, and was %v in Python", o.Name, row, got, want)
		}
	default:
		if got != want {
			return fmt.Errorf("output %s of row %d is %v, and was %v in Python", o.Name, row, got, want)
		}
	}
	return nil
}

// check serves a graph and compares every answer.
func (e *exported) check(t *testing.T, maxBatchSize int) (manifest string, err error) {
	t.Helper()
	m, manifest, rows, failed, err := e.serve(t, maxBatchSize)
	if err != nil {
		return manifest, err
	}
	for _, f := range failed {
		if f.Row < len(rows) {
			err = errors.Join(err, fmt.Errorf("row %d: %w", f.Row, f.RequestError))
		} else {
			err = errors.Join(err, fmt.Errorf("the example of init: %w", f.RequestError))
		}
	}
	for i := range m.Outputs {
		for row := range rows {
			err = errors.Join(err, e.same(t, row, &m.Outputs[i], rows[row][m.Outputs[i].Name]))
		}
	}
	return manifest, err
}

// TestFolderOfExportedModels tries every graph of a folder that MILLRACE_TEST_MODELS names; see
// testdata/exporters/make_exporters.py, which makes one.
func TestFolderOfExportedModels(t *testing.T) {
	folder := os.Getenv("MILLRACE_TEST_MODELS")
	if folder == "" {
		t.Skip("MILLRACE_TEST_MODELS is not set")
	}
	paths, err := filepath.Glob(filepath.Join(folder, "*.onnx"))
	require.NoError(t, err)
	for _, path := range paths {
		if _, err := os.Stat(strings.TrimSuffix(path, ".onnx") + ".want.json"); err != nil {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".onnx"), func(t *testing.T) {
			e := readExported(t, path)
			manifest, err := e.check(t, 0)
			for line := range strings.SplitSeq(manifest, "\n") {
				if strings.Contains(line, "left out") {
					t.Log(strings.TrimSpace(line))
				}
			}
			require.NoError(t, err)
		})
	}
}

// TestExportedModels serves graphs as their exporters made them, and compares each answer with
// ONNX Runtime's in Python. A graph whose answers depend on the batch is refused, and served where
// each row may be scored alone.
func TestExportedModels(t *testing.T) {
	const depends = "its answers depend on the other rows of the batch"
	refused := map[string]struct{ inBatches, alone string }{ // "" where every answer is right
		"softmax0":          {depends, ""},
		"h_submean":         {depends, ""},
		"h_cumsum":          {depends, ""},
		"h_cumsum_beside":   {depends, ""},
		"h_sign_of_sum":     {depends, ""},
		"h_hidden_sum":      {`"y" is float [1, 1], which is not one row for each row of the inputs`, ""},
		"h_fixed4_softmax0": {depends, "the graph takes exactly 4 rows in a run, and batch.max_batch_size is 1"},
		"h_random":          {"the graph answers by chance", "the graph answers by chance"},
		"h_only_scalar":     {`"y" is one float for all rows of a run`, `"y" is one float for all rows of a run`},
		"h_noshape_in":      {"the number of features is not in the graph; export it with", "the number of features is not in the graph; export it with"},
	}
	leftOut := map[string]string{
		"beside_scalar": `"z" is one float for all rows of a run, not one for each`,
		"h_beside_f8":   `"z" is float8e4m3fn [?, 1]; millrace converts`,
		"h_beside_u4":   `"z" is uint4 [?, 1]; millrace converts`,
		"h_beside_opt":  `"z" is a optional, not a tensor`,
		"h_beside_seq":  `"z" is a sequence, not a tensor`,
		"h_sim":         `"z" is float [?, ?]: its number of columns is not fixed`,
	}
	paths, err := filepath.Glob(filepath.Join("testdata", "exporters", "*.onnx"))
	require.NoError(t, err)
	require.Greater(t, len(paths), 50)
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".onnx")
		t.Run(name, func(t *testing.T) {
			e := readExported(t, path)
			manifest, err := e.check(t, 0)
			if _, ok := refused[name]; !ok {
				require.NoError(t, err)
				if why := leftOut[name]; why != "" {
					require.Contains(t, manifest, "# CHECK: an output is left out: "+why)
				} else {
					require.NotContains(t, manifest, "left out")
				}
				return
			}
			require.ErrorContains(t, err, refused[name].inBatches)
			if _, err = e.check(t, 1); refused[name].alone == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, refused[name].alone)
			}
		})
	}
}

// TestNarrowTypesAreChecked: what the graph's own type cannot hold fails its row alone, and is
// never cut to what it can.
func TestNarrowTypesAreChecked(t *testing.T) {
	for graph, tc := range map[string]struct {
		feature   string
		good, bad []any
	}{
		"io_u8":  {"int32", []any{0, 255}, []any{-1, 256}},
		"io_i8":  {"int32", []any{-128, 127}, []any{-129, 128}},
		"io_u16": {"int32", []any{0, 65535}, []any{-1, 65536}},
		"io_i16": {"int32", []any{-32768, 32767}, []any{-32769, 32768}},
		"io_u32": {"int64", []any{0, 4294967295}, []any{-1, 4294967296}},
		"io_u64": {"int64", []any{0, 4503599627370497}, []any{-1, math.MinInt64}},
		"io_f16": {"float32", []any{65504, -65504}, []any{65520, 1e30}},
	} {
		t.Run(graph, func(t *testing.T) {
			m := loadModel(t, "exporters/"+graph, strings.ReplaceAll(floats(3), "float32", tc.feature)+"\noutputs:\n  - {name: y, index: 1, type: "+tc.feature+"}")
			inst, alloc := newInstance(t, m)
			var rows []row
			for k := range tc.good {
				rows = append(rows, row{"f0": 0, "f1": tc.good[k], "f2": 0}, row{"f0": 0, "f1": tc.bad[k], "f2": 1})
			}
			got, failed := predict(t, m, inst, alloc, rows)
			require.Len(t, failed, len(tc.bad))
			for k, f := range failed {
				require.Equal(t, 2*k+1, f.Row)
				require.Equal(t, schemas.ErrorClassOutOfRange, f.Class)
				require.Contains(t, f.Reason, `"f1" is `)
				require.Contains(t, f.Reason, `to the graph, which does not fit its input "x", `)
				require.EqualValues(t, tc.good[k], got[2*k]["y"])
				require.Nil(t, got[2*k+1]["y"])
			}
		})
	}
}

// TestInitGivesTheNamesOfTheGraphAsSources: names that are no identifiers stay the keys of requests.
func TestInitGivesTheNamesOfTheGraphAsSources(t *testing.T) {
	text, err := onnx.Init(filepath.Join("testdata", "exporters", "h_names.onnx"), "m", "1", 0)
	require.NoError(t, err)
	m, err := schemas.ParseManifest("m", text)
	require.NoError(t, err)
	var features []string
	for _, f := range m.Features {
		features = append(features, f.Name+"="+f.Source)
	}
	require.Equal(t, []string{"sepal_length_cm=sepal length (cm)", "f=年齢", "row="}, features)
	require.JSONEq(t, `{"request_id":"example-1","sepal length (cm)":1,"年齢":1,"row":1}`, string(codec.ExampleRequest(m)))
}

// TestUnsignedAnswersBeyondInt64: a column has no room for them, and does not wrap them.
func TestUnsignedAnswersBeyondInt64(t *testing.T) {
	for typ, want := range map[string]any{"int64": 7.0, "float64": 7.0} {
		m := loadModel(t, "exporters/h_to_u64", strings.ReplaceAll(floats(3), "float32", "int64")+"\noutputs:\n  - {name: y, type: "+typ+"}")
		inst, alloc := newInstance(t, m)
		got, failed := predict(t, m, inst, alloc, []row{{"f0": 7, "f1": 0, "f2": 0}, {"f0": -1, "f1": 0, "f2": 0}})
		require.Equal(t, []row{{"y": want}, {"y": nil}}, got)
		require.Equal(t, []schemas.RowError{
			{Row: 1, RequestError: schemas.Errorf(schemas.ErrorClassInvalidPrediction, `output "y" is 1.8446744073709552e+19`)},
		}, failed)
	}
}
