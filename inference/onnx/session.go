//go:build cgo

package onnx

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/millrace/millrace/deploy/native"
	"github.com/millrace/millrace/schemas"
)

// environment loads the library and makes the one environment of the process. It lives
// until the process ends. What the runtime would log on stderr comes back as an error anyway.
var environment = sync.OnceValue(func() error {
	path, err := native.ONNXRuntime.Find()
	if err != nil {
		return err
	}
	ort.SetSharedLibraryPath(path)
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return fmt.Errorf("start ONNX Runtime from %s: %w", path, err)
	}
	return nil
})

// Describe returns the inputs and outputs that a graph declares.
func Describe(path string) (*Graph, error) {
	if err := environment(); err != nil {
		return nil, err
	}
	options, err := newOptions()
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", path, err)
	}
	defer destroy(options)
	// The graph is read, not run.
	if err := options.SetGraphOptimizationLevel(ort.GraphOptimizationLevelDisableAll); err != nil {
		return nil, fmt.Errorf("describe %s: %w", path, err)
	}
	inputs, outputs, err := ort.GetInputOutputInfoWithOptions(path, options)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", path, oneLine(err))
	}
	if len(inputs) == 0 || len(outputs) == 0 {
		return nil, fmt.Errorf("describe %s: the graph has %d inputs and %d outputs; it needs one of each", path, len(inputs), len(outputs))
	}
	return &Graph{Inputs: tensorsOf(inputs), Outputs: tensorsOf(outputs)}, nil
}

func tensorsOf(infos []ort.InputOutputInfo) []Tensor {
	tensors := make([]Tensor, len(infos))
	for i := range infos {
		info := &infos[i]
		tensors[i] = Tensor{
			Name:  info.Name,
			Kind:  strings.ToLower(strings.TrimPrefix(info.OrtValueType.String(), "ONNX_TYPE_")),
			Type:  strings.ToLower(strings.TrimPrefix(info.DataType.String(), "ONNX_TENSOR_ELEMENT_DATA_TYPE_")),
			Shape: info.Dimensions,
		}
	}
	return tensors
}

// inspect describes a graph, with the output shapes that it has when it is run where that
// is possible.
func inspect(path string) (*Graph, error) {
	if _, err := externalFiles(path); err != nil { // before anything reads them
		return nil, err
	}
	g, err := Describe(path)
	if err != nil {
		return nil, err
	}
	var inputs []*tensor
	defer func() {
		for _, t := range inputs {
			t.release()
		}
	}()
	batch := 0
	for _, t := range g.Inputs {
		if t.readable() != nil || t.width() == 0 {
			return g, nil
		}
		inputs = append(inputs, newTensor(t, t.width()))
		batch = max(batch, t.batch())
	}
	for _, t := range g.Outputs {
		if t.Kind != kindTensor {
			return g, nil
		}
	}
	s, err := openSession(path, schemas.DeviceCPU, g.Inputs, g.Outputs)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	defer destroy(s)
	return g, probe(s, inputs, batch, g.Outputs)
}

func newOptions() (*ort.SessionOptions, error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	// Parallelism is lanes: a session computes on the thread that calls it.
	err = errors.Join(
		o.SetIntraOpNumThreads(1),
		o.SetInterOpNumThreads(1),
		o.SetExecutionMode(ort.ExecutionModeSequential),
		o.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll),
		o.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"),
		o.AddSessionConfigEntry("session.inter_op.allow_spinning", "0"))
	if err != nil {
		return nil, errors.Join(err, o.Destroy())
	}
	return o, nil
}

// openSession loads the graph on a device. The caller destroys the session.
func openSession(path string, device schemas.Device, inputs, outputs []Tensor) (*ort.DynamicAdvancedSession, error) {
	options, err := newOptions()
	if err != nil {
		return nil, err
	}
	defer destroy(options)
	if device == schemas.DeviceCUDA {
		if err := appendCUDA(options); err != nil {
			return nil, err
		}
	}
	var in, out []string
	for _, t := range inputs {
		in = append(in, t.Name)
	}
	for _, t := range outputs {
		out = append(out, t.Name)
	}
	s, err := ort.NewDynamicAdvancedSession(path, in, out, options)
	if err != nil {
		return nil, oneLine(err)
	}
	return s, nil
}

func appendCUDA(options *ort.SessionOptions) error {
	cuda, err := ort.NewCUDAProviderOptions()
	if err != nil {
		return oneLine(err)
	}
	defer destroy(cuda)
	if err := options.AppendExecutionProviderCUDA(cuda); err != nil {
		return oneLine(err)
	}
	return nil
}

// probeRows is 2 so that a dimension that follows the rows is not taken for one of size 1.
const probeRows = 2

// probe runs the graph once on zeros and empty strings, and puts the shapes that the
// outputs really have into outputs, with the rows left open where the graph takes any.
// Where the graph fails on such rows, the declared shapes stay.
func probe(s *ort.DynamicAdvancedSession, inputs []*tensor, batch int, outputs []Tensor) error {
	rows := batch
	if rows == 0 {
		rows = probeRows
	}
	var values []ort.Value
	defer func() { destroyAll(values) }()
	for _, t := range inputs {
		t.resize(rows)
		v, err := t.value(rows)
		if err != nil {
			return fmt.Errorf("make input %q: %w", t.Name, oneLine(err))
		}
		values = append(values, v)
	}
	results := make([]ort.Value, len(outputs))
	if err := s.Run(values, results); err != nil {
		destroyAll(results)
		return nil // the declared shapes stay
	}
	defer destroyAll(results)
	for i, v := range results {
		shape := v.GetShape()
		if len(shape) > 0 && batch == 0 && shape[0] == probeRows {
			shape[0] = -1
		}
		outputs[i].Shape = shape
	}
	return nil
}

// destroy frees a handle of the runtime, which never fails.
func destroy(d interface{ Destroy() error }) { _ = d.Destroy() }

func destroyAll(values []ort.Value) {
	for _, v := range values {
		if v != nil {
			destroy(v)
		}
	}
}

// oneLine puts a message of the runtime on one line.
func oneLine(err error) error { return errors.New(strings.Join(strings.Fields(err.Error()), " ")) }
