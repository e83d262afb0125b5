//go:build cgo

package onnx_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
			for _, line := range strings.Split(manifest, "\n") {
				if strings.Contains(line, "left out") {
					t.Log(strings.TrimSpace(line))
				}
			}
			require.NoError(t, err)
		})
	}
}
