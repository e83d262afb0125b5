package inference

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/schemas"
)

// tolerance is how far an output may be from the sample's, absolutely and relatively:
// wider than what other processors and thread counts change in a float32.
const tolerance = 1e-4

// Example returns n rows to warm up or to measure with: those of the manifest's sample,
// repeated, or, without one, made-up rows within the bounds of the manifest, always the
// same. The columns are the features, as a request batch holds them. The caller releases
// the rows.
func (m *Model) Example(n int, alloc memory.Allocator) (arrow.Record, error) {
	sample, err := m.readSample(alloc)
	if err != nil {
		return nil, err
	}
	if sample != nil {
		defer sample.Release()
		return m.sampleRows(sample, n, alloc)
	}
	b := m.newFeatureBuilder(alloc)
	defer b.Release()
	// Varied rows: trees run faster on rows that are all alike.
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same rows every time
	for c := range m.Manifest.Features {
		for range n {
			appendValue(b.Field(c), madeUp(&m.Manifest.Features[c], rnd))
		}
	}
	return b.NewRecord(), nil
}

// madeUp returns a value that the manifest allows: numbers from min to max, and without
// them from 0 to 1.
func madeUp(f *schemas.Feature, rnd *rand.Rand) any {
	low, high := 0.0, 1.0
	switch {
	case f.Min != nil && f.Max != nil:
		low, high = *f.Min, *f.Max
	case f.Min != nil:
		low, high = *f.Min, *f.Min+1
	case f.Max != nil:
		low, high = *f.Max-1, *f.Max
	}
	x := low + rnd.Float64()*(high-low)
	switch f.Type {
	case schemas.TypeBool:
		return x < 0.5
	case schemas.TypeInt32:
		return int32(math.Round(x))
	case schemas.TypeInt64:
		return int64(math.Round(x))
	case schemas.TypeFloat32:
		return float32(x)
	case schemas.TypeCategory:
		return f.Categories[rnd.IntN(len(f.Categories))]
	case schemas.TypeString:
		text, _ := f.Default.(string)
		return text
	default:
		return x
	}
}

// readSample reads the manifest's sample into one batch of schemas.Manifest.SampleSchema
// with at least one row; nil if the manifest names none. Columns are matched by name, and
// cast; what the manifest does not name is left out.
func (m *Model) readSample(alloc memory.Allocator) (sample arrow.Record, err error) {
	if m.Manifest.Sample == nil {
		return nil, nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("model %s: read sample %s: %w", m.Ref(), m.Manifest.Sample.File, err)
		}
	}()
	f, err := schemas.OpenFile(filepath.Join(m.Dir, m.Manifest.Sample.File))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The reader never releases the dictionaries of a file, so that its memory is the collector's.
	r, err := ipc.NewFileReader(f, ipc.WithAllocator(memory.NewGoAllocator()))
	if err != nil {
		return nil, fmt.Errorf("not an Arrow IPC file: %w", err)
	}
	defer r.Close()
	want := m.Manifest.SampleSchema()
	from := make([]int, want.NumFields())
	for c, field := range want.Fields() {
		found := r.Schema().FieldIndices(field.Name)
		if len(found) != 1 {
			return nil, fmt.Errorf("it has %d columns %q: it needs one of each feature and output", len(found), field.Name)
		}
		from[c] = found[0]
	}
	parts := make([][]arrow.Array, want.NumFields())
	for i := range r.NumRecords() {
		batch, err := r.RecordAt(i)
		if err != nil {
			return nil, err
		}
		defer batch.Release()
		for c, field := range want.Fields() {
			part, err := Cast(context.Background(), batch.Column(from[c]), field.Type, alloc)
			if err != nil {
				return nil, fmt.Errorf("column %q: %w", field.Name, err)
			}
			defer part.Release()
			parts[c] = append(parts[c], part)
		}
	}
	if len(parts[0]) == 0 {
		return nil, errors.New("it has no rows")
	}
	columns := make([]arrow.Array, len(parts))
	for c := range columns {
		if columns[c], err = array.Concatenate(parts[c], alloc); err != nil {
			return nil, err
		}
		defer columns[c].Release()
	}
	if columns[0].Len() == 0 {
		return nil, errors.New("it has no rows")
	}
	return array.NewRecord(want, columns, -1), nil
}

// sampleRows returns n rows of the sample's features, from its start and again where it
// ends, with categories dictionary-encoded as in a request batch.
func (m *Model) sampleRows(sample arrow.Record, n int, alloc memory.Allocator) (arrow.Record, error) {
	b := m.newFeatureBuilder(alloc)
	defer b.Release()
	for c := range m.Manifest.Features {
		if err := appendFeature(b.Field(c), &m.Manifest.Features[c], sample.Column(c), n); err != nil {
			return nil, fmt.Errorf("model %s: sample %s: %w", m.Ref(), m.Manifest.Sample.File, err)
		}
	}
	return b.NewRecord(), nil
}

// appendFeature appends n rows of a feature's column, from its start and again where it ends.
func appendFeature(b array.Builder, f *schemas.Feature, col arrow.Array, n int) error {
	for i := range n {
		i %= col.Len()
		v := valueAt(col, i)
		if (f.Optional || f.Default != nil) && isNaN(v) { // absent, as in requests
			v = nil
		}
		switch {
		case v != nil:
			appendValue(b, v)
		case f.Optional:
			b.AppendNull()
		case f.Default != nil:
			appendValue(b, defaultOf(f))
		default:
			return fmt.Errorf("feature %q is null in row %d, and it is not optional", f.Name, i)
		}
	}
	return nil
}

func isNaN(v any) bool {
	switch x := v.(type) {
	case float32:
		return x != x
	case float64:
		return x != x
	}
	return false
}

// Filled returns a column of a feature as the rows of requests have it: with the default where it
// has no value. The caller releases it.
func Filled(f *schemas.Feature, col arrow.Array) (arrow.Array, error) {
	b := array.NewBuilder(memory.DefaultAllocator, col.DataType())
	defer b.Release()
	if err := appendFeature(b, f, col, col.Len()); err != nil {
		return nil, err
	}
	return b.NewArray(), nil
}

// defaultOf returns a feature's default in the type of its column.
func defaultOf(f *schemas.Feature) any {
	x, _ := schemas.Number(f.Default)
	switch f.Type {
	case schemas.TypeInt32:
		return int32(x)
	case schemas.TypeInt64:
		return int64(x)
	case schemas.TypeFloat32:
		return float32(x)
	case schemas.TypeFloat64:
		return x
	default:
		return f.Default
	}
}

// checkSample scores the sample and compares the answers with those stored in it.
func (m *Model) checkSample(ctx context.Context, inst Instance, alloc memory.Allocator) error {
	sample, err := m.readSample(alloc)
	if err != nil || sample == nil {
		return err
	}
	defer sample.Release()
	in, err := m.sampleRows(sample, int(sample.NumRows()), alloc)
	if err != nil {
		return err
	}
	defer in.Release()
	out, failed, err := inst.Predict(ctx, in)
	if err != nil {
		return fmt.Errorf("model %s: self-check: %w", m.Ref(), err)
	}
	defer out.Release()
	reasons := make(map[int]error, len(failed))
	for _, f := range failed {
		reasons[f.Row] = f.RequestError
	}
	features := len(m.Manifest.Features)
	for c, o := range m.Manifest.Outputs {
		for row := range int(sample.NumRows()) {
			want := valueAt(sample.Column(features+c), row)
			if want == nil {
				continue
			}
			got := valueAt(out.Column(c), row)
			if reason := reasons[row]; reason != nil {
				got = reason
			} else if sameValue(got, want) {
				continue
			}
			return fmt.Errorf("model %s: self-check: output %q of row %d of %s is %v, and was %v where the model was made: "+
				"the artifact, the order of features or an encoding differs", m.Ref(), o.Name, row, m.Manifest.Sample.File, got, want)
		}
	}
	return nil
}

func sameValue(got, want any) bool {
	var x, y float64
	switch w := want.(type) {
	case float32:
		g, ok := got.(float32)
		if !ok {
			return false
		}
		x, y = float64(g), float64(w)
	case float64:
		g, ok := got.(float64)
		if !ok {
			return false
		}
		x, y = g, w
	default:
		return got == want
	}
	return math.Abs(x-y) <= tolerance*(1+math.Abs(y))
}

// newFeatureBuilder builds batches of the features, with the manifest's categories at the
// front of the dictionaries. The caller releases it.
func (m *Model) newFeatureBuilder(alloc memory.Allocator) *array.RecordBuilder {
	b := array.NewRecordBuilder(alloc, arrow.NewSchema(m.Manifest.FeatureFields(), nil))
	for c, f := range m.Manifest.Features {
		if dict, ok := b.Field(c).(*array.BinaryDictionaryBuilder); ok {
			values := array.NewStringBuilder(alloc)
			values.AppendValues(f.Categories, nil)
			categories := values.NewStringArray()
			_ = dict.InsertStringDictValues(categories) // fails on another value type only
			categories.Release()
			values.Release()
		}
	}
	return b
}

// appendValue appends what valueAt or madeUp gave for the builder's type.
func appendValue(b array.Builder, v any) {
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(v.(bool))
	case *array.Int32Builder:
		b.Append(v.(int32))
	case *array.Int64Builder:
		b.Append(v.(int64))
	case *array.Float32Builder:
		b.Append(v.(float32))
	case *array.Float64Builder:
		b.Append(v.(float64))
	case *array.StringBuilder:
		b.Append(v.(string))
	case *array.BinaryDictionaryBuilder:
		_ = b.AppendString(v.(string)) // fails on another value type only
	}
}

// valueAt returns the value in a row of a feature or an output, nil for NULL.
func valueAt(col arrow.Array, row int) any {
	if col.IsNull(row) {
		return nil
	}
	switch col := col.(type) {
	case *array.Boolean:
		return col.Value(row)
	case *array.Int32:
		return col.Value(row)
	case *array.Int64:
		return col.Value(row)
	case *array.Float32:
		return col.Value(row)
	case *array.Float64:
		return col.Value(row)
	case *array.String:
		return col.Value(row)
	default:
		return nil
	}
}
