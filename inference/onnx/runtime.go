//go:build cgo

package onnx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/rs/zerolog"
	ort "github.com/yalue/onnxruntime_go"

	"github.com/millrace/millrace/deploy/native"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/schemas"
)

// Runtime executes ONNX models. The zero value logs nothing.
type Runtime struct {
	Log zerolog.Logger
}

// NewInstance loads the model's graph into a session of its own. It fails when the graph
// does not fit the manifest, naming everything that does not, when ONNX Runtime is
// missing, and when the manifest asks for CUDA, none is available and it allows no
// fallback.
func (r Runtime) NewInstance(ctx context.Context, m *inference.Model, alloc memory.Allocator) (inference.Instance, error) {
	inst, err := r.newInstance(ctx, m, alloc)
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", m.Ref(), err)
	}
	return inst, nil
}

func (r Runtime) newInstance(ctx context.Context, m *inference.Model, alloc memory.Allocator) (_ *instance, err error) {
	if err := checkExternal(m); err != nil {
		return nil, err
	}
	g, err := Describe(m.ArtifactPath())
	if err != nil {
		return nil, err
	}
	inputs, batch, errIn := planInputs(m.Manifest, g)
	outputs, errOut := neededOutputs(m.Manifest, g)
	if err := errors.Join(errIn, errOut); err != nil {
		return nil, err
	}
	if most := m.Manifest.Batch.MaxBatchSize; most > 0 && batch > most {
		return nil, fmt.Errorf("the graph takes exactly %d rows in a run, and batch.max_batch_size is %d: export it with rows left open", batch, most)
	}
	if batch == 0 && m.Manifest.Batch.MaxBatchSize == 1 {
		batch = 1
	}
	i := &instance{model: m, batch: batch, categories: categoriesOf(m.Manifest), half: g.half}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.Close())
		}
	}()
	declared := slices.Clone(outputs)
	if i.session, i.cuda, err = r.open(m, g, outputs); err != nil {
		return nil, err
	}
	i.execute = func(b *ort.IoBinding) error { return i.session.RunWithBinding(b) }
	for _, p := range inputs {
		t := newTensor(p.tensor, len(p.features))
		t.divided = g.divides
		i.inputs = append(i.inputs, t)
		i.features = append(i.features, p.features)
	}
	uneven := false
	if i.batch, uneven, err = i.probe(alloc, outputs); err != nil {
		if e := (scalarError{}); errors.As(err, &e) {
			err = fmt.Errorf("graph output %w: %s", outputs[e.output].scalar(), adviceOnRows)
		}
		return nil, err
	}
	if err := checkOutputs(m.Manifest, outputs, i.batch); err != nil {
		return nil, err
	}
	if uneven || !slices.EqualFunc(declared, outputs, func(d, o Tensor) bool { return d.agrees(o.Shape) }) {
		if err := i.reopen(r, g, outputs); err != nil {
			return nil, err
		}
	}
	for _, t := range outputs {
		i.outputs = append(i.outputs, newTensor(t, t.width()))
	}
	for c := range m.Manifest.Outputs {
		o := &m.Manifest.Outputs[c]
		for _, t := range i.outputs {
			if t.Name == o.Tensor {
				i.columns = append(i.columns, newColumn(o, t, alloc, func(row int, value float64) {
					i.fail(row, schemas.ErrorClassInvalidPrediction, "output %q is %v", o.Name, value)
				}))
			}
		}
	}
	i.schema = outputSchema(m.Manifest)
	rows := i.batch
	if rows == 0 {
		rows, err = m.RunRows(func() (int, error) { return i.fastestRows(ctx, alloc) })
		if err != nil {
			return nil, err
		}
		if most := m.Manifest.Batch.MaxBatchSize; most > 0 {
			rows = min(rows, most)
		}
	}
	return i, i.resize(rows)
}

// reopen opens the session again with outputs reshaped to what they were found to be: they are not
// what the graph declares, to which the runtime holds the memory that they are written to.
func (i *instance) reopen(r Runtime, g *Graph, outputs []Tensor) error {
	shapes := map[string][]int64{}
	for k := range outputs {
		shapes[outputs[k].Name] = outputs[k].Shape
		outputs[k].session = rewrittenOutput + outputs[k].Name
	}
	again, err := rewrite(g.path, shapes)
	if err != nil {
		return err
	}
	if again.text == nil {
		return errors.New("the graph gives outputs of other shapes than it declares, and cannot be corrected: export it again")
	}
	g.text = again.text
	destroy(i.session)
	i.session = nil
	i.session, i.cuda, err = r.open(i.model, g, outputs)
	return err
}

// probe finds out by rows of the example how many of them a run takes, the shapes that the outputs
// really have, and whether those of a single row have others.
func (i *instance) probe(alloc memory.Allocator, outputs []Tensor) (batch int, uneven bool, err error) {
	example, err := i.model.Example(largestProbe, alloc)
	if err != nil {
		return 0, false, err
	}
	defer example.Release()
	p := prober{session: i.session, inputs: i.inputs, outputs: outputs, fill: func(from, rows int) { i.gather(example, from, rows) }}
	batch, err = p.probe(i.batch)
	return batch, p.uneven, err
}

// open opens a session on the manifest's device, or on the CPU where there is no CUDA and
// the manifest allows that.
func (r Runtime) open(m *inference.Model, g *Graph, outputs []Tensor) (s *ort.DynamicAdvancedSession, cuda bool, err error) {
	device := m.Manifest.Device
	s, err = openSession(g, device, outputs)
	if err == nil || device != schemas.DeviceCUDA {
		return s, device == schemas.DeviceCUDA, err
	}
	if !m.Manifest.CPUFallback {
		return nil, false, fmt.Errorf("device cuda is not available (%w): set device: cpu or cpu_fallback: true in the manifest, "+
			"or let %s name an ONNX Runtime that is built with CUDA", err, native.ONNXRuntime.Variable)
	}
	r.Log.Warn().Err(err).Stringer("model", m.Ref()).Msg("device cuda is not available, falling back to the CPU")
	s, err = openSession(g, schemas.DeviceCPU, outputs)
	return s, false, err
}

const (
	measureFor   = 5 * time.Millisecond   // each size
	measureUntil = 100 * time.Millisecond // sizes above one whose run takes this long are not tried
	worthwhile   = 0.95                   // of the time per row, for a larger size to be preferred
)

// fastestRows times runs of several sizes and returns the one with the least time per row.
func (i *instance) fastestRows(ctx context.Context, alloc memory.Allocator) (int, error) {
	sizes := []int{32, 128, 256, 512, 1024, 4096}
	example, err := i.model.Example(sizes[len(sizes)-1], alloc)
	if err != nil {
		return 0, err
	}
	defer example.Release()
	best, bestPerRow := sizes[0], 0.0
	for _, rows := range sizes {
		if rows > i.model.Manifest.Batch.MaxRows && rows > sizes[0] {
			break
		}
		if most := i.model.Manifest.Batch.MaxBatchSize; most > 0 && rows > most && rows > sizes[0] {
			break
		}
		if err := i.resize(rows); err != nil {
			return 0, err
		}
		in := example.NewSlice(0, int64(rows))
		least := time.Duration(0)
		for began := time.Now(); least == 0 || time.Since(began) < measureFor; {
			start := time.Now()
			out, failed, err := i.Predict(ctx, in)
			if err == nil {
				out.Release()
			}
			if err != nil || slices.ContainsFunc(failed, runFailed) {
				in.Release()
				return best, err // runs that fail on the example cannot be timed
			}
			if took := time.Since(start); least == 0 || took < least {
				least = max(took, 1)
			}
		}
		in.Release()
		if perRow := float64(least) / float64(rows); bestPerRow == 0 || perRow < worthwhile*bestPerRow {
			best, bestPerRow = rows, perRow
		}
		if least > measureUntil {
			break
		}
	}
	return best, nil
}

func runFailed(e schemas.RowError) bool { return e.Class == schemas.ErrorClassInferenceFailed }
