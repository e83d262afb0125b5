//go:build cgo

package onnx

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	ort "github.com/yalue/onnxruntime_go"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/schemas"
)

// instance is one session with the tensors that it reads and writes.
type instance struct {
	model      *inference.Model
	schema     *arrow.Schema // of results
	session    *ort.DynamicAdvancedSession
	execute    func(*ort.IoBinding) error // the session's; tests make it fail
	cuda       bool
	inputs     []*tensor
	features   [][]int // of each input, the feature of each tensor column
	outputs    []*tensor
	columns    []column // of results
	categories []categories
	batch      int  // rows that the graph insists on, 0 if any
	half       bool // the graph computes with floats of 16 bits

	runRows int      // rows of a run
	full    *binding // of runRows rows
	short   *binding // of the last shorter run, nil at first
	good    []any    // of each input, the first row of the first run that succeeded; nil until then

	checked *arrow.Schema // of the batch before
	rows    int           // of the batch that is being scored
	valid   []bool        // its rows that have not failed; empty where none has
	failed  []schemas.RowError
}

// binding ties the tensors to the session for runs of one size.
type binding struct {
	rows   int
	io     *ort.IoBinding
	values []ort.Value // of inputs, then outputs
}

// categories are a feature's categories as an Arrow string array lays them out.
type categories struct {
	n       int // at least 1, for features of type category
	offsets []int32
	text    []byte
}

func categoriesOf(m *schemas.Manifest) []categories {
	all := make([]categories, len(m.Features))
	for i, f := range m.Features {
		c := categories{n: len(f.Categories), offsets: []int32{0}}
		for _, s := range f.Categories {
			c.text = append(c.text, s...)
			c.offsets = append(c.offsets, int32(len(c.text)))
		}
		all[i] = c
	}
	return all
}

func outputSchema(m *schemas.Manifest) *arrow.Schema { return arrow.NewSchema(m.OutputFields(), nil) }

// resize sets the rows of a run.
func (i *instance) resize(rows int) error {
	i.unbind()
	for _, t := range slices.Concat(i.inputs, i.outputs) {
		t.resize(rows)
	}
	i.runRows = rows
	var err error
	i.full, err = i.bind(rows)
	return err
}

func (i *instance) bind(rows int) (_ *binding, err error) {
	b := &binding{rows: rows}
	defer func() {
		if err != nil {
			b.destroy()
			err = fmt.Errorf("bind %d rows: %w", rows, oneLine(err))
		}
	}()
	if b.io, err = i.session.CreateIoBinding(); err != nil {
		return nil, err
	}
	bindAll := func(tensors []*tensor, to func(name string, v ort.Value) error) error {
		for _, t := range tensors {
			v, err := t.value(rows)
			if err != nil {
				return err
			}
			b.values = append(b.values, v)
			if err := to(t.inSession(), v); err != nil {
				return err
			}
		}
		return nil
	}
	if err := bindAll(i.inputs, b.io.BindInput); err != nil {
		return nil, err
	}
	if err := bindAll(i.outputs, b.io.BindOutput); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *binding) destroy() {
	if b == nil {
		return
	}
	if b.io != nil {
		destroy(b.io)
	}
	destroyAll(b.values)
}

func (i *instance) unbind() {
	i.full.destroy()
	i.short.destroy()
	i.full, i.short = nil, nil
}

// bound returns the binding for a run of n rows.
func (i *instance) bound(n int) (*binding, error) {
	if n == i.runRows || i.batch > 0 {
		return i.full, nil
	}
	if i.short == nil || i.short.rows != n {
		i.short.destroy()
		var err error
		if i.short, err = i.bind(n); err != nil {
			return nil, err
		}
	}
	return i.short, nil
}

// Rounding implements inference.Rounded.
func (i *instance) Rounding() float64 {
	if i.half {
		return 0.02
	}
	return 0
}

// Predict scores in, as inference.Instance says.
func (i *instance) Predict(ctx context.Context, in arrow.Record) (arrow.Record, []schemas.RowError, error) {
	if i.session == nil {
		return nil, nil, fmt.Errorf("score with model %s: the instance is closed", i.model.Ref())
	}
	if err := i.check(in); err != nil {
		return nil, nil, fmt.Errorf("score with model %s: %w", i.model.Ref(), err)
	}
	i.rows, i.valid, i.failed = int(in.NumRows()), i.valid[:0], nil
	for _, c := range i.columns {
		c.resize(i.rows)
	}
	for from := 0; from < i.rows; from += i.runRows {
		if err := i.score(ctx, in, from, min(i.runRows, i.rows-from)); err != nil {
			return nil, nil, fmt.Errorf("score with model %s: %w", i.model.Ref(), err)
		}
	}
	arrays := make([]arrow.Array, len(i.columns))
	for c, column := range i.columns {
		arrays[c] = column.array(i.valid)
		defer arrays[c].Release()
	}
	slices.SortFunc(i.failed, func(a, b schemas.RowError) int { return cmp.Compare(a.Row, b.Row) })
	return array.NewRecord(i.schema, arrays, int64(i.rows)), i.failed, nil
}

// check holds a batch to the manifest: what follows relies on its types.
func (i *instance) check(in arrow.Record) error {
	features := i.model.Manifest.Features
	if schema := in.Schema(); schema != i.checked {
		if schema.NumFields() < len(features) {
			return fmt.Errorf("the batch has %d columns for %d features", schema.NumFields(), len(features))
		}
		for c, want := range i.model.Manifest.FeatureFields() {
			if got := schema.Field(c); got.Name != want.Name || !arrow.TypeEqual(got.Type, want.Type) {
				return fmt.Errorf("column %d of the batch is %q of type %s, want %q of type %s", c, got.Name, got.Type, want.Name, want.Type)
			}
		}
		i.checked = schema
	}
	for c := range features {
		f, col := &features[c], in.Column(c)
		if col.NullN() > 0 && !f.Optional {
			return fmt.Errorf("feature %q is null in %d rows, and it is not optional", f.Name, col.NullN())
		}
		if dict, ok := col.(*array.Dictionary); ok && !i.categories[c].lead(dict.Dictionary().(*array.String)) {
			return fmt.Errorf("the dictionary of feature %q does not start with its categories", f.Name)
		}
	}
	return nil
}

// lead tells whether the dictionary starts with the categories.
func (c *categories) lead(dictionary *array.String) bool {
	if dictionary.Len() < c.n {
		return false
	}
	offsets := dictionary.ValueOffsets()
	for k, end := range c.offsets {
		if offsets[k]-offsets[0] != end {
			return false
		}
	}
	return bytes.HasPrefix(dictionary.ValueBytes(), c.text)
}

// score runs rows [from, from+n) of the batch. Where the runtime fails, it tries the
// halves, down to the single rows that cannot be scored. A row is to blame only if a row
// that was scored before still is: the runtime fails on all rows when the device is lost or
// memory is short, and that is an error of the instance.
func (i *instance) score(ctx context.Context, in arrow.Record, from, n int) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	err := i.run(in, from, n)
	if err == nil {
		i.keepGood()
		for _, c := range i.columns {
			c.take(from, n)
		}
		return nil
	}
	if n == 1 {
		if err := i.runGood(); err != nil {
			return fmt.Errorf("the instance is unusable: a row that it scored before fails now: %w", oneLine(err))
		}
		i.fail(from, schemas.ErrorClassInferenceFailed, "model %s failed on this row: %v", i.model.Ref(), oneLine(err))
		return nil
	}
	if err := i.score(ctx, in, from, n/2); err != nil {
		return err
	}
	return i.score(ctx, in, from+n/2, n-n/2)
}

// run gathers rows [from, from+n) into the input tensors and runs the graph.
func (i *instance) run(in arrow.Record, from, n int) error {
	b, err := i.bound(n)
	if err != nil {
		return err
	}
	i.gather(in, from, n)
	for k, t := range i.inputs {
		t.outside(n, func(row, column int, value any) {
			f := &i.model.Manifest.Features[i.features[k][column]]
			i.fail(from+row, schemas.ErrorClassOutOfRange, "%q is %v to the graph, which does not fit its input %q, %s", f.Key(), value, t.Name, t)
		})
	}
	return i.runBound(b, n)
}

// gather fills the input tensors with rows [from, from+n).
func (i *instance) gather(in arrow.Record, from, n int) {
	for k, t := range i.inputs {
		for c, f := range i.features[k] {
			t.gather(c, in.Column(f), from, n, i.categories[f].n)
		}
	}
}

// keepGood keeps a row of the run that just succeeded, once: of the warm-up, in which some
// rows succeed.
func (i *instance) keepGood() {
	if i.good != nil {
		return
	}
	for _, t := range i.inputs {
		i.good = append(i.good, t.firstRow())
	}
}

// runGood runs the row that keepGood kept, if there is one.
func (i *instance) runGood() error {
	if i.good == nil {
		return nil
	}
	b, err := i.bound(1)
	if err != nil {
		return err
	}
	for k, t := range i.inputs {
		t.setFirstRow(i.good[k])
	}
	return i.runBound(b, 1)
}

// runBound runs the graph on the first n rows of the input tensors.
func (i *instance) runBound(b *binding, n int) error {
	for k, t := range i.inputs {
		t.pad(n, b.rows)
		if err := t.send(b.values[k], b.rows); err != nil {
			return err
		}
		// CUDA takes its copy of an input when it is bound.
		if i.cuda {
			if err := b.io.BindInput(t.inSession(), b.values[k]); err != nil {
				return err
			}
		}
	}
	if err := i.execute(b.io); err != nil {
		return err
	}
	for k, t := range i.outputs {
		if err := t.receive(b.values[len(i.inputs)+k]); err != nil {
			return err
		}
	}
	return nil
}

// fail notes that a row of the batch has no prediction, once.
func (i *instance) fail(row int, class schemas.ErrorClass, format string, args ...any) {
	if len(i.valid) == 0 {
		i.valid = slices.Grow(i.valid, i.rows)[:i.rows]
		for k := range i.valid {
			i.valid[k] = true
		}
	}
	if i.valid[row] {
		i.valid[row] = false
		i.failed = append(i.failed, schemas.RowError{Row: row, RequestError: schemas.Errorf(class, format, args...)})
	}
}

// Close frees the session and its tensors.
func (i *instance) Close() error {
	i.unbind()
	for _, t := range slices.Concat(i.inputs, i.outputs) {
		t.release()
	}
	for _, c := range i.columns {
		c.release()
	}
	i.columns = nil
	if i.session == nil {
		return nil
	}
	err := i.session.Destroy()
	i.session = nil
	if err != nil {
		return errors.Join(errors.New("close ONNX session"), err)
	}
	return nil
}
