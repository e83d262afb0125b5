package codec

import (
	"bytes"
	"fmt"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/schemas"
)

// Scored is a request batch with what became of it. All slices have one entry a row.
type Scored struct {
	Batch       arrow.Record // Manifest.RequestSchema
	Predictions arrow.Record // Manifest.OutputFields; NULL in failed rows
	Failed      []schemas.RowError
	Variant     string
	LatencyUS   []int64
	QueueUS     []int64
}

// ObservationEncoder writes scored batches as observation records: Arrow IPC streams of
// at most schemas.MaxObservationBytes, each complete in itself.
type ObservationEncoder struct {
	schema    *arrow.Schema
	alloc     memory.Allocator
	version   arrow.Array // dictionaries of one value or few
	outcomes  arrow.Array
	classes   arrow.Array
	classIdx  map[schemas.ErrorClass]int32
	step      int64 // rows that the next stream may take, by the size of the last one
	buf       bytes.Buffer
	maxStream int
}

// NewObservationEncoder plans an encoder. Release it when done.
func NewObservationEncoder(m *schemas.Manifest, alloc memory.Allocator) *ObservationEncoder {
	e := &ObservationEncoder{
		schema: m.ObservationSchema(), alloc: alloc, maxStream: schemas.MaxObservationBytes,
		version:  stringArray(alloc, m.Version),
		outcomes: stringArray(alloc, schemas.OutcomeOK, schemas.OutcomeFailed),
		classIdx: map[schemas.ErrorClass]int32{},
	}
	names := []string{""}
	for i, c := range schemas.ErrorClasses() {
		names = append(names, string(c))
		e.classIdx[c] = int32(i + 1)
	}
	e.classes = stringArray(alloc, names...)
	return e
}

// Release frees the dictionaries. The encoder cannot be used afterwards.
func (e *ObservationEncoder) Release() {
	e.version.Release()
	e.outcomes.Release()
	e.classes.Release()
}

func stringArray(alloc memory.Allocator, values ...string) arrow.Array {
	b := array.NewStringBuilder(alloc)
	defer b.Release()
	b.AppendValues(values, nil)
	return b.NewArray()
}

// Encode writes the scored batch and hands each stream to emit, which must not retain it.
// A row of its own that takes more than a stream may is written all the same.
func (e *ObservationEncoder) Encode(s *Scored, scoredAt time.Time, emit func(stream []byte, rows int) error) error {
	rec := e.extend(s, scoredAt)
	defer rec.Release()
	rows := rec.NumRows()
	step := rows
	if e.step > 0 {
		step = e.step
	}
	own := dictionaryBytes(rec) > e.maxStream/4
	for from := int64(0); from < rows; {
		to := min(from+step, rows)
		if err := e.write(rec, from, to, own); err != nil {
			return err
		}
		size := e.buf.Len()
		step = max(1, (to-from)*int64(e.maxStream)/int64(size)*9/10)
		if size > e.maxStream && to-from > 1 {
			continue
		}
		if from == 0 || to < rows { // the rest of a batch says little about the next
			e.step = step
		}
		if err := emit(e.buf.Bytes(), int(to-from)); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// write writes some rows as a stream. own gives it dictionaries of its own, with what these
// rows use and no more.
func (e *ObservationEncoder) write(rec arrow.Record, from, to int64, own bool) error {
	part := rec.NewSlice(from, to)
	if own {
		whole := part
		part = e.ownDictionaries(whole)
		whole.Release()
	}
	defer part.Release()
	e.buf.Reset()
	w := ipc.NewWriter(&e.buf, ipc.WithSchema(e.schema), ipc.WithAllocator(e.alloc))
	if err := w.Write(part); err != nil {
		return fmt.Errorf("write %d observations as Arrow IPC: %w", to-from, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("end an Arrow IPC stream of %d observations: %w", to-from, err)
	}
	return nil
}

// dictionaryBytes returns the size of the record's dictionaries, which every stream
// repeats: unknown categories of all rows are in them.
func dictionaryBytes(rec arrow.Record) int {
	n := 0
	for _, c := range rec.Columns() {
		if d, ok := c.(*array.Dictionary); ok {
			n += len(d.Dictionary().(*array.String).ValueBytes())
		}
	}
	return n
}

// ownDictionaries returns the rows with dictionaries of what they use.
func (e *ObservationEncoder) ownDictionaries(rec arrow.Record) arrow.Record {
	columns := make([]arrow.Array, rec.NumCols())
	for i, c := range rec.Columns() {
		d, ok := c.(*array.Dictionary)
		if !ok {
			c.Retain()
			columns[i] = c
			continue
		}
		b := array.NewDictionaryBuilder(e.alloc, schemas.DictionaryType).(*array.BinaryDictionaryBuilder)
		values := d.Dictionary().(*array.String)
		for row := range d.Len() {
			if d.IsNull(row) {
				b.AppendNull()
				continue
			}
			if err := b.AppendString(values.Value(d.GetValueIndex(row))); err != nil {
				b.AppendNull() // it fails on a closed memo table only
			}
		}
		columns[i] = b.NewArray()
		b.Release()
	}
	out := array.NewRecord(e.schema, columns, rec.NumRows())
	for _, c := range columns {
		c.Release()
	}
	return out
}

// extend adds outputs and circumstances to the request batch, whose columns are shared,
// not copied.
func (e *ObservationEncoder) extend(s *Scored, scoredAt time.Time) arrow.Record {
	rows := int(s.Batch.NumRows())
	columns := make([]arrow.Array, 0, len(e.schema.Fields()))
	columns = append(columns, s.Batch.Columns()...)
	columns = append(columns, s.Predictions.Columns()...)
	shared := len(columns)

	outcome, class := make([]int32, rows), make([]int32, rows)
	for _, f := range s.Failed {
		outcome[f.Row], class[f.Row] = 1, e.classIdx[f.Class]
	}
	scored := make([]arrow.Timestamp, rows)
	for i := range scored {
		scored[i] = arrow.Timestamp(scoredAt.UnixMicro())
	}
	variant := stringArray(e.alloc, s.Variant)
	defer variant.Release()
	zeros := make([]int32, rows)
	columns = append(columns,
		e.dictionary(zeros, e.version), e.dictionary(zeros, variant),
		e.dictionary(outcome, e.outcomes), e.dictionary(class, e.classes),
		wrap(arrow.PrimitiveTypes.Int64, rows, arrow.Int64Traits.CastToBytes(s.LatencyUS)),
		wrap(arrow.PrimitiveTypes.Int64, rows, arrow.Int64Traits.CastToBytes(s.QueueUS)),
		wrap(schemas.TimestampType, rows, arrow.TimestampTraits.CastToBytes(scored)))
	rec := array.NewRecord(e.schema, columns, int64(rows))
	for _, c := range columns[shared:] {
		c.Release()
	}
	return rec
}

func (e *ObservationEncoder) dictionary(indices []int32, values arrow.Array) arrow.Array {
	idx := wrap(arrow.PrimitiveTypes.Int32, len(indices), arrow.Int32Traits.CastToBytes(indices))
	defer idx.Release()
	return array.NewDictionaryArray(schemas.DictionaryType, idx, values)
}

// wrap makes an array without nulls over values, which it borrows.
func wrap(t arrow.DataType, rows int, values []byte) arrow.Array {
	data := array.NewData(t, rows, []*memory.Buffer{nil, memory.NewBufferBytes(values)}, nil, 0, 0)
	defer data.Release()
	return array.MakeFromData(data)
}
