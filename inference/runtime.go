package inference

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/schemas"
)

// Runtime executes models of one kind. It is safe for concurrent use.
type Runtime interface {
	// NewInstance loads the model for one lane. It fails when the artifact does not fit
	// the manifest. It may keep m and alloc for as long as the instance lives.
	NewInstance(ctx context.Context, m *Model, alloc memory.Allocator) (Instance, error)
}

// Runtimes are the runtimes of a program, by the names that manifests give them. They are one
// Runtime, which hands a model to its own.
type Runtimes map[schemas.Runtime]Runtime

// NewInstance implements Runtime.
func (r Runtimes) NewInstance(ctx context.Context, m *Model, alloc memory.Allocator) (Instance, error) {
	of := r[m.Manifest.Runtime]
	if of == nil {
		return nil, fmt.Errorf("model %s: this program has no runtime %q", m.Ref(), m.Manifest.Runtime)
	}
	return of.NewInstance(ctx, m, alloc)
}

// Instance scores record batches for one lane; it is not safe for concurrent use.
type Instance interface {
	// Predict scores the rows of in, whose first columns are the manifest's features
	// (schemas.Manifest.RequestSchema), and does not retain in. The result has a row for
	// each row of in and the columns of schemas.Manifest.OutputFields; a row that failed
	// has NULL in all of them and an entry in failed, which ascends by row. The caller
	// releases the result. An error means that nothing was scored: the instance is
	// unusable, in is not a batch of this model, or ctx ended.
	Predict(ctx context.Context, in arrow.Record) (out arrow.Record, failed []schemas.RowError, err error)
	// Close frees what the instance holds. It may be called twice.
	Close() error
}

// warmUpRows bounds the larger warm-up of an instance whose manifest prefers no size.
const warmUpRows = 256

// NewInstance makes an instance that is ready to serve: the first instance of a Model
// scores the manifest's sample, if there is one, and must answer as the sample does; its answers
// must not depend on the batch that a row is in, unless the manifest has each row scored alone;
// and every instance is warmed up with a batch of the preferred size and one of a single row.
// What warm-up rows are answered does not matter, since they may be made up, but one of them
// must be answered.
func NewInstance(ctx context.Context, rt Runtime, m *Model, alloc memory.Allocator) (Instance, error) {
	inst, err := rt.NewInstance(ctx, m, alloc)
	if err != nil {
		return nil, err
	}
	if err := m.makeReady(ctx, inst, alloc); err != nil {
		return nil, errors.Join(err, inst.Close())
	}
	return inst, nil
}

func (m *Model) makeReady(ctx context.Context, inst Instance, alloc memory.Allocator) error {
	rows := m.Manifest.Batch.PreferredRows
	switch {
	case m.Manifest.Batch.MaxBatchSize == 1:
		rows = apartRows // each in a run of its own
	case rows == 0:
		rows = min(warmUpRows, m.Manifest.Batch.MaxRows)
	}
	in, err := m.Example(max(rows, apartRows), alloc)
	if err != nil {
		return fmt.Errorf("model %s: warm up: %w", m.Ref(), err)
	}
	defer in.Release()
	if err := m.checkOnce(ctx, inst, in, alloc); err != nil {
		return err
	}
	for _, n := range []int{rows, 1} {
		if err := m.warmUp(ctx, inst, in, n); err != nil {
			return fmt.Errorf("model %s: warm up with %d rows: %w", m.Ref(), n, err)
		}
	}
	return nil
}

// checkOnce makes the checks that one instance of a Model makes for all.
func (m *Model) checkOnce(ctx context.Context, inst Instance, example arrow.Record, alloc memory.Allocator) error {
	m.selfCheck.Lock()
	defer m.selfCheck.Unlock()
	if m.selfCheck.done {
		return nil
	}
	if err := m.checkSample(ctx, inst, alloc); err != nil {
		return err
	}
	if err := m.checkRows(ctx, inst, example, alloc); err != nil {
		return err
	}
	m.selfCheck.done = true
	return nil
}

// warmUp scores the first rows of the example.
func (m *Model) warmUp(ctx context.Context, inst Instance, example arrow.Record, rows int) error {
	in := example.NewSlice(0, int64(rows))
	defer in.Release()
	out, _, err := inst.Predict(ctx, in)
	if err != nil {
		return err
	}
	out.Release()
	return nil
}
