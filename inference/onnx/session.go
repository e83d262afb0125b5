//go:build cgo

package onnx

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
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
	r, err := rewrite(path, nil)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", path, err)
	}
	return &Graph{Inputs: tensorsOf(inputs, r.inputs, rewrittenInput), Outputs: tensorsOf(outputs, r.outputs, rewrittenOutput), path: path, text: r.text, known: r.known, half: r.half, divides: r.divides}, nil
}

func tensorsOf(infos []ort.InputOutputInfo, replaced map[string]replacement, prefix string) []Tensor {
	tensors := make([]Tensor, len(infos))
	for i := range infos {
		info := &infos[i]
		tensors[i] = Tensor{
			Name:  info.Name,
			Kind:  strings.ToLower(strings.TrimPrefix(info.OrtValueType.String(), "ONNX_TYPE_")),
			Type:  strings.ToLower(strings.TrimPrefix(info.DataType.String(), "ONNX_TENSOR_ELEMENT_DATA_TYPE_")),
			Shape: info.Dimensions,
		}
		if to, ok := replaced[info.Name]; ok {
			t := &tensors[i]
			t.session, t.classes = prefix+t.Name, to.classes
			if t.Kind != kindTensor {
				t.Kind, t.Type, t.Shape = kindTensor, to.element, nil
			}
		}
	}
	return tensors
}

// inspect describes a graph for one who has no manifest of it yet: its inputs, and those of its
// outputs that give a row for each row, with the shapes that they have when the graph is run
// where that is possible. unusable says why each other output is left out. batch is the number of
// rows that the graph insists on, 0 if any; alone makes it 1.
func inspect(path string, alone bool) (g *Graph, unusable []error, err error) {
	if _, err := externalFiles(path); err != nil { // before anything reads them
		return nil, nil, err
	}
	if g, err = Describe(path); err != nil {
		return nil, nil, err
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
			return g, nil, nil
		}
		inputs = append(inputs, newTensor(t, t.width()))
		batch = max(batch, t.batch())
	}
	if alone {
		batch = max(batch, 1)
	}
	var outputs []Tensor
	for _, t := range g.Outputs {
		if err := t.converts(); err != nil {
			unusable = append(unusable, err)
			continue
		}
		outputs = append(outputs, t)
	}
	if g.Outputs = nil; len(outputs) == 0 {
		return g, unusable, nil
	}
	for {
		found, scalar, err := inspectOutputs(g, inputs, batch, outputs)
		if err != nil {
			return nil, nil, fmt.Errorf("load %s: %w", path, err)
		}
		if scalar < 0 {
			batch = found
			break
		}
		unusable = append(unusable, outputs[scalar].scalar())
		if outputs = slices.Delete(outputs, scalar, scalar+1); len(outputs) == 0 {
			return g, unusable, nil
		}
	}
	for _, t := range outputs {
		if err := t.perRow(batch); err != nil {
			unusable = append(unusable, err)
		} else {
			g.Outputs = append(g.Outputs, t)
		}
	}
	return g, unusable, nil
}

// inspectOutputs puts the shapes that outputs have into them, and returns the number of rows that
// the graph insists on. One that is a scalar, which nothing can be done with, is returned by its
// index, which is -1 where there is none.
func inspectOutputs(g *Graph, inputs []*tensor, batch int, outputs []Tensor) (rows, scalar int, err error) {
	s, err := openSession(g, schemas.DeviceCPU, outputs)
	if err != nil {
		return 0, -1, err
	}
	defer destroy(s)
	p := prober{session: s, inputs: inputs, outputs: outputs, fill: func(_, rows int) { fillKnown(g, inputs, rows) }}
	rows, err = p.probe(batch)
	if e := (scalarError{}); errors.As(err, &e) {
		return 0, e.output, nil
	}
	return rows, -1, err
}

// fillKnown puts values into string inputs that the graph knows; everything else stays zero.
func fillKnown(g *Graph, inputs []*tensor, rows int) {
	for _, t := range inputs {
		texts, ok := t.data.([]string)
		for c := 0; ok && c < t.columns; c++ {
			values := g.known[graphColumn{t.Name, c}]
			for row := 0; row < rows && len(values) > 0; row++ {
				texts[row*t.columns+c] = values[row%len(values)]
			}
		}
	}
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

// openSession loads a graph on a device, to give those outputs. The caller destroys the session.
func openSession(g *Graph, device schemas.Device, outputs []Tensor) (*ort.DynamicAdvancedSession, error) {
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
	for _, t := range g.Inputs {
		in = append(in, t.inSession())
	}
	for _, t := range outputs {
		out = append(out, t.inSession())
	}
	var s *ort.DynamicAdvancedSession
	if g.text == nil {
		s, err = ort.NewDynamicAdvancedSession(g.path, in, out, options)
	} else if err = options.AddSessionConfigEntry("session.model_external_initializers_file_folder_path", filepath.Dir(g.path)); err == nil {
		s, err = ort.NewDynamicAdvancedSessionWithONNXData(g.text, in, out, options)
	}
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

// probeSizes are the rows of the runs by which a prober tells a dimension that follows the rows
// from one that does not.
var probeSizes = []int{2, largestProbe}

const largestProbe = 3

// prober runs a graph on a few rows.
type prober struct {
	session *ort.DynamicAdvancedSession
	inputs  []*tensor
	outputs []Tensor
	fill    func(from, rows int) // puts so many of largestProbe rows into the inputs
	uneven  bool                 // set by probe: outputs of a single row have another shape than those of several
}

// probe puts the shapes that the outputs really have into outputs: -1 for a dimension that
// follows the rows, or is not always the same. It returns the number of rows that the graph
// insists on: batch, where the graph says so, 1 where it runs on single rows only, 0 where it
// takes any. Where the graph fails on all rows, the declared shapes stay.
func (p *prober) probe(batch int) (int, error) {
	if batch > 0 {
		found, err := p.shapes(0, min(batch, largestProbe), batch)
		p.keep(found)
		return batch, err
	}
	done, err := p.several(func(rows int) (int, int) { return 0, rows })
	for row := 0; row < largestProbe && !done && err == nil; row++ { // those rows failed, or any two would
		var single [][]int64
		if single, err = p.shapes(row, 1, 1); err != nil || single == nil {
			continue
		}
		if done, err = p.several(func(int) (int, int) { return row, 1 }); !done {
			p.keep(single)
			return 1, err
		}
	}
	return 0, err
}

// several finds out shapes by runs of probeSizes rows; distinct says which of them come from
// fill, the last of which is repeated. It tells whether the graph ran.
func (p *prober) several(distinct func(rows int) (from, n int)) (bool, error) {
	var all [][][]int64
	for _, rows := range probeSizes {
		from, n := distinct(rows)
		found, err := p.shapes(from, n, rows)
		if err != nil || found == nil {
			return false, err
		}
		all = append(all, found)
	}
	for i := range p.outputs {
		p.outputs[i].Shape = merge(all[0][i], all[1][i])
	}
	from, _ := distinct(1)
	single, err := p.shapes(from, 1, 1)
	if e := (scalarError{}); errors.As(err, &e) && len(p.outputs[e.output].Shape) > 0 {
		p.uneven = true
		return true, nil
	}
	for i, shape := range single {
		p.uneven = p.uneven || !p.outputs[i].agrees(shape)
	}
	return true, err
}

func (p *prober) keep(found [][]int64) {
	for i, shape := range found {
		p.outputs[i].Shape = shape
	}
}

// shapes runs the graph on n rows, repeated up to rows, and returns the shapes of its outputs;
// nil where it fails.
func (p *prober) shapes(from, n, rows int) ([][]int64, error) {
	var values []ort.Value
	defer func() { destroyAll(values) }()
	for _, t := range p.inputs {
		t.resize(rows)
	}
	p.fill(from, n)
	for _, t := range p.inputs {
		t.outside(n, func(int, int, any) {})
		t.pad(n, rows)
		v, err := t.value(rows)
		if err == nil {
			values = append(values, v)
			err = t.send(v, rows)
		}
		if err != nil {
			return nil, fmt.Errorf("make input %q: %w", t.Name, oneLine(err))
		}
	}
	results := make([]ort.Value, len(p.outputs))
	defer func() { destroyAll(results) }()
	if p.session.Run(values, results) != nil {
		for i, v := range results {
			if isNil(v) && v != nil { // the run succeeded, and the library has no value for a scalar
				return nil, scalarError{i}
			}
		}
		return nil, nil
	}
	var found [][]int64
	for _, v := range results {
		found = append(found, slices.Clone(v.GetShape()))
	}
	return found, nil
}

// scalarError says which output of a run is a scalar.
type scalarError struct{ output int }

// Error implements error.
func (e scalarError) Error() string { return fmt.Sprintf("output %d is a scalar", e.output) }

// isNil tells whether there is no value, or one of a type that is a nil pointer.
func isNil(v ort.Value) bool {
	return v == nil || reflect.ValueOf(v).IsNil()
}

// merge returns what two shapes of an output, of runs of probeSizes rows, have in common. A first
// dimension that does not follow the rows is -2.
func merge(a, b []int64) []int64 {
	if len(a) != len(b) {
		return nil
	}
	shape := slices.Clone(b)
	for d := range shape {
		if a[d] != b[d] {
			shape[d] = -1
		}
	}
	if len(shape) > 0 && shape[0] == -1 && (a[0] != int64(probeSizes[0]) || b[0] != int64(probeSizes[1])) {
		shape[0] = -2
	}
	return shape
}

// destroy frees a handle of the runtime, which never fails.
func destroy(d interface{ Destroy() error }) { _ = d.Destroy() }

func destroyAll(values []ort.Value) {
	for _, v := range values {
		if !isNil(v) {
			destroy(v)
		}
	}
}

// oneLine puts a message of the runtime on one line.
func oneLine(err error) error { return errors.New(strings.Join(strings.Fields(err.Error()), " ")) }
