//go:build cgo

package onnx_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/inference/onnx"
	"github.com/millrace/millrace/schemas"
)

func TestDescribe(t *testing.T) {
	g, err := onnx.Describe(filepath.Join("testdata", "multi_input.onnx"))
	require.NoError(t, err)
	require.Equal(t, []onnx.Tensor{
		{Name: "price", Kind: "tensor", Type: "double", Shape: []int64{-1, 1}},
		{Name: "count", Kind: "tensor", Type: "int64", Shape: []int64{-1, 1}},
		{Name: "carrier", Kind: "tensor", Type: "string", Shape: []int64{-1, 1}},
		{Name: "urgent", Kind: "tensor", Type: "bool", Shape: []int64{-1}},
	}, plainShapes(g.Inputs))
	require.Equal(t, "double [?, 1]", g.Outputs[0].String())

	g, err = onnx.Describe(filepath.Join("testdata", "zipmap.onnx"))
	require.NoError(t, err)
	require.Equal(t, "float []", g.Outputs[1].String(), "the tensor that the maps are made of")

	_, err = onnx.Describe(filepath.Join("testdata", "golden.json"))
	require.ErrorContains(t, err, "describe ")
	require.NotContains(t, err.Error(), "\n")
	_, err = onnx.Describe("missing.onnx")
	require.ErrorContains(t, err, "missing.onnx")
}

func plainShapes(tensors []onnx.Tensor) []onnx.Tensor {
	for i := range tensors {
		tensors[i].Shape = append([]int64{}, tensors[i].Shape...)
	}
	return tensors
}

// A model that millrace has never seen is initialised, installed, loaded and asked.
func TestInitToPrediction(t *testing.T) {
	for graph, tc := range map[string]struct {
		features, outputs []string
		row               row
		output            string
		want              any
	}{
		"linear": {[]string{"f0 float32", "f1 float32", "f2 float32"}, []string{"y float32 y 0"}, row{"f0": 2, "f1": 0, "f2": 0}, "y", 1.75},
		"multi_input": {
			[]string{"price float64", "count int64", "carrier category", "urgent bool"},
			[]string{"total float64 total 0", "carrier_out string carrier_out 0", "relaxed bool relaxed 0", "count_out int32 count_out 0"},
			row{"price": 2.5, "count": 2, "carrier": "WN", "urgent": true},
			"total", 8.0,
		},
		"codes": {
			[]string{"f0 int64", "f1 int64", "f2 int64"},
			[]string{"y_0 int64 y 0", "y_1 int64 y 1", "y_2 int64 y 2", "y_3 int64 y 3"},
			row{"f0": 1, "f1": 2, "f2": 3},
			"y_3", 6.0,
		},
		"gather":      {[]string{"index int64"}, []string{"price float32 price 0"}, row{"index": 1}, "price", 20.0},
		"fixed_batch": {[]string{"f0 float32", "f1 float32", "f2 float32"}, []string{"y float32 y 0"}, row{"f0": 2, "f1": 0, "f2": 0}, "y", 1.75},
		"gbdt":        {nil, []string{"label int64 label 0", "probability float32 probabilities 1"}, nil, "label", nil},
		"mlp":         {nil, []string{"variable float32 variable 0"}, nil, "variable", nil},
		// Names that ClickHouse, YAML and the system columns leave no room for.
		"names": {
			[]string{"version_2 float32", "float_1 string", "true int64", "wide_0 float32", "wide_1 float32"},
			[]string{"True_2 int64 True 0", "outcome_2 float32 outcome 0", "wide_out_0 float32 wide_out 0", "wide_out_1 float32 wide_out 1", "f1_label string 1 label! 0"},
			row{"version_2": 3, "float_1": "x", "true": 5, "wide_0": 7, "wide_1": 8}, // by column
			"wide_out_1", 8.0,
		},
	} {
		t.Run(graph, func(t *testing.T) {
			path := filepath.Join("testdata", graph+".onnx")
			text, err := onnx.Init(path, "", "", 0)
			require.NoError(t, err)
			m, err := schemas.ParseManifest(graph, text)
			require.NoError(t, err)
			require.Equal(t, graph, m.Name)
			require.Equal(t, "1", m.Version)
			require.Contains(t, string(text), "# CHECK: ")
			var features, outputs []string
			for _, f := range m.Features {
				features = append(features, f.Name+" "+string(f.Type))
			}
			for _, o := range m.Outputs {
				outputs = append(outputs, fmt.Sprintf("%s %s %s %d", o.Name, o.Type, o.Tensor, o.Index))
			}
			if tc.features == nil {
				require.Len(t, features, 20)
			} else {
				require.Equal(t, tc.features, features)
			}
			require.Equal(t, tc.outputs, outputs)

			root := t.TempDir()
			ref, err := inference.InstallModel(root, path, text)
			require.NoError(t, err)
			repository, err := inference.OpenRepository(root)
			require.NoError(t, err)
			model, err := repository.Load(context.Background(), ref.Name, ref.Version)
			require.NoError(t, err)
			inst, alloc := newInstance(t, model)
			asked := tc.row
			if asked == nil {
				asked = row{}
				for _, f := range m.Features {
					asked[f.Name] = 0.5
				}
			}
			got, failed := predict(t, model, inst, alloc, []row{asked})
			require.Empty(t, failed)
			if tc.want != nil {
				require.Equal(t, tc.want, got[0][tc.output])
			}
			require.NotNil(t, got[0][tc.output])
		})
	}
}

func TestInitRefuses(t *testing.T) {
	_, err := onnx.Init(filepath.Join("testdata", "any_width.onnx"), "m", "1", 0)
	require.ErrorContains(t, err, `graph input "x" is float [?, ?]: the number of features is not in the graph`)
	_, err = onnx.Init(filepath.Join("testdata", "linear.onnx"), "Not A Name", "1", 0)
	require.ErrorContains(t, err, `name: "Not A Name" is not a model name`)
	_, err = onnx.Init("missing.onnx", "m", "1", 0)
	require.ErrorContains(t, err, "missing.onnx")
}

// With a manifest that says how many features there are, the same graph serves.
func TestWidthFromTheManifest(t *testing.T) {
	m := loadModel(t, "any_width", floats(2)+"\noutputs:\n  - {name: sum, type: float32}")
	inst, alloc := newInstance(t, m)
	got, failed := predict(t, m, inst, alloc, []row{{"f0": 1, "f1": 2}})
	require.Empty(t, failed)
	require.Equal(t, []row{{"sum": 3.0}}, got)
}

func TestInitNamesAModelAfterItsFile(t *testing.T) {
	graph, err := os.ReadFile(filepath.Join("testdata", "linear.onnx"))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "My Model-2.final.onnx")
	require.NoError(t, os.WriteFile(path, graph, 0o600))
	text, err := onnx.Init(path, "", "", 0)
	require.NoError(t, err)
	m, err := schemas.ParseManifest(path, text)
	require.NoError(t, err)
	require.Equal(t, "my_model_2_final", m.Name)
	require.Equal(t, "My Model-2.final.onnx", m.Artifact.File)
}

func TestFlightsModel(t *testing.T) {
	repository, err := inference.OpenRepository(filepath.Join("..", "..", "deploy", "examples", "flights", "models"))
	require.NoError(t, err)
	m, err := repository.Load(context.Background(), "flights_delay", "1")
	require.NoError(t, err)
	inst, alloc := newInstance(t, m) // scores its sample
	in, err := m.Example(5000, alloc)
	require.NoError(t, err)
	defer in.Release()
	out, failed, err := inst.Predict(context.Background(), in)
	require.NoError(t, err)
	defer out.Release()
	require.Empty(t, failed)
	require.EqualValues(t, 5000, out.NumRows())
}
