package codec

import (
	"fmt"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/bitutil"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
)

// ArrowResults writes the results of a Kafka record as an Arrow IPC stream: a row for each
// row of the record, in its order. It implements Results.
//
// Columns are request_id, the outputs, error_class, latency_us and queue_us. Outputs are
// null in rows that failed or were refused, and error_class says why; it is null in others.
// A refused row's request_id is that of the record's header and the row, or made of its
// coordinates. The schema's metadata has the model and version.
type ArrowResults struct {
	resultColumns
	schema *arrowipc.Schema
	types  []arrow.DataType

	batch   arrowipc.Batch
	runs    []run
	bits    []byte
	offsets []int32
	data    []byte
}

// run is either some rows of the batch that answer rows of the record which follow one
// another, or one row that was refused.
type run struct {
	from, to int
	refused  *schemas.RowError
}

// NewArrowResults plans an encoder.
func NewArrowResults(m *schemas.Manifest) (*ArrowResults, error) {
	fields := []arrow.Field{{Name: schemas.ColumnRequestID, Type: arrow.BinaryTypes.String}}
	fields = append(fields, m.OutputFields()...)
	fields = append(fields,
		arrow.Field{Name: schemas.ColumnErrorClass, Type: arrow.BinaryTypes.String, Nullable: true},
		arrow.Field{Name: schemas.ColumnLatency, Type: arrow.PrimitiveTypes.Int64},
		arrow.Field{Name: schemas.ColumnQueue, Type: arrow.PrimitiveTypes.Int64, Nullable: true})
	md := arrow.NewMetadata([]string{schemas.MetadataModel, schemas.MetadataVersion}, []string{m.Name, m.Version})
	e := &ArrowResults{resultColumns: newResultColumns(m)}
	var err error
	if e.schema, err = arrowipc.NewSchema(arrow.NewSchema(fields, &md)); err != nil {
		return nil, fmt.Errorf("model %s version %s: %w", m.Name, m.Version, err)
	}
	for _, o := range m.Outputs {
		e.types = append(e.types, o.Type.ArrowType())
	}
	return e, nil
}

// Append implements Results.
func (e *ArrowResults) Append(dst []byte, a *Answer) ([]byte, error) {
	rows := a.Rows + len(a.Refused)
	e.plan(a)
	b := &e.batch
	b.Begin(append(dst, e.schema.Message()...), rows, e.schema.Nodes, e.schema.Buffers)
	b.Node(0)
	b.Buffer(nil)
	e.putIDs(a)
	for i := range e.types {
		e.put(i, rows)
	}
	e.putClasses(a, rows)
	b.Node(0)
	b.Buffer(nil)
	b.Repeat(a.LatencyUS, rows)
	if a.QueueUS == schemas.UnknownQueue {
		b.Node(rows)
		b.Zeros((rows + 7) / 8)
		b.Zeros(8 * rows)
	} else {
		b.Node(0)
		b.Buffer(nil)
		b.Repeat(a.QueueUS, rows)
	}
	return arrowipc.AppendEnd(b.End()), nil
}

// plan finds which rows of the batch and which refused ones make up the record.
func (e *ArrowResults) plan(a *Answer) {
	e.runs = e.runs[:0]
	from, row := a.From, 0
	for i := range a.Refused {
		r := &a.Refused[i]
		if n := r.Row - row; n > 0 {
			e.runs = append(e.runs, run{from: from, to: from + n})
			from += n
		}
		e.runs = append(e.runs, run{refused: r})
		row = r.Row + 1
	}
	if end := a.From + a.Rows; from < end {
		e.runs = append(e.runs, run{from: from, to: end})
	}
}

func (e *ArrowResults) putIDs(a *Answer) {
	e.offsets, e.data = append(e.offsets[:0], 0), e.data[:0]
	for _, r := range e.runs {
		if r.refused == nil {
			e.texts(e.ids, r.from, r.to)
			continue
		}
		e.data = appendRefusedID(e.data, a.Record, r.refused.Row)
		e.offsets = append(e.offsets, int32(len(e.data)))
	}
	e.batch.Offsets(e.offsets)
	e.batch.Buffer(e.data)
}

// appendRefusedID appends the id that the dead letter of a row has as well: the record's
// header and the row, or the coordinates.
func appendRefusedID(dst []byte, rec *schemas.Record, row int) []byte {
	if h, ok := rec.Header(schemas.HeaderRequestID); ok && len(h) > 0 {
		if dst = append(dst, h...); row > 0 {
			dst = strconv.AppendInt(append(dst, '/'), int64(row), 10)
		}
		return dst
	}
	c := rec.Coordinates()
	c.Row = int32(row)
	return c.AppendID(dst)
}

// texts gathers the texts of some rows.
func (e *ArrowResults) texts(c *array.String, from, to int) {
	offsets := c.ValueOffsets()[from : to+1]
	shift := int32(len(e.data)) - offsets[0]
	values := c.ValueBytes() // from the array's first row on
	first := c.ValueOffset(0)
	e.data = append(e.data, values[int(offsets[0])-first:int(offsets[to-from])-first]...)
	for _, o := range offsets[1:] {
		e.offsets = append(e.offsets, o+shift)
	}
}

// put writes an output column.
func (e *ArrowResults) put(i, rows int) {
	c, b := e.columns[i], &e.batch
	nulls := e.validity(c, rows)
	b.Node(nulls)
	if nulls > 0 {
		b.Buffer(e.bits)
	} else {
		b.Buffer(nil)
	}
	switch t := e.types[i].(type) {
	case *arrow.StringType:
		e.offsets, e.data = append(e.offsets[:0], 0), e.data[:0]
		for _, r := range e.runs {
			if r.refused == nil {
				e.texts(c.(*array.String), r.from, r.to)
			} else {
				e.offsets = append(e.offsets, int32(len(e.data)))
			}
		}
		b.Offsets(e.offsets)
		b.Buffer(e.data)
	case *arrow.BooleanType:
		e.bits = zeroed(e.bits, (rows+7)/8)
		at := 0
		for _, r := range e.runs {
			if r.refused == nil {
				bitutil.CopyBitmap(c.Data().Buffers()[1].Bytes(), c.Data().Offset()+r.from, r.to-r.from, e.bits, at)
			}
			at += r.rows()
		}
		b.Buffer(e.bits)
	case arrow.FixedWidthDataType:
		size := t.Bytes()
		dst := b.Open()
		for _, r := range e.runs {
			if r.refused != nil {
				dst = append(dst, make([]byte, size)...)
				continue
			}
			at := c.Data().Offset()
			dst = append(dst, c.Data().Buffers()[1].Bytes()[size*(at+r.from):size*(at+r.to)]...)
		}
		b.Close(dst)
	}
}

func (r *run) rows() int {
	if r.refused != nil {
		return 1
	}
	return r.to - r.from
}

// validity sets e.bits to those of the record's rows and returns how many are null.
func (e *ArrowResults) validity(c arrow.Array, rows int) (nulls int) {
	if rows == 0 || (len(e.runs) == 1 && e.runs[0].refused == nil && c.NullN() == 0) {
		return 0
	}
	e.bits = zeroed(e.bits, (rows+7)/8)
	at := 0
	for _, r := range e.runs {
		n := r.rows()
		switch {
		case r.refused != nil:
		case c.NullN() == 0:
			bitutil.SetBitsTo(e.bits, int64(at), int64(n), true)
		default:
			bitutil.CopyBitmap(c.NullBitmapBytes(), c.Data().Offset()+r.from, n, e.bits, at)
		}
		at += n
	}
	return rows - bitutil.CountSetBits(e.bits, 0, rows)
}

// zeroed returns n zero bytes in b's array, or a new one.
func zeroed(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	clear(b[:n])
	return b[:n]
}

// putClasses writes the error classes.
func (e *ArrowResults) putClasses(a *Answer, rows int) {
	b := &e.batch
	errors := len(a.Failed) + len(a.Refused)
	b.Node(rows - errors)
	if errors == 0 {
		b.Zeros((rows + 7) / 8)
		b.Zeros(4 * (rows + 1))
		b.Buffer(nil)
		return
	}
	e.bits = zeroed(e.bits, (rows+7)/8)
	e.offsets, e.data = append(e.offsets[:0], 0), e.data[:0]
	failed := a.Failed
	add := func(class schemas.ErrorClass) {
		bitutil.SetBit(e.bits, len(e.offsets)-1)
		e.data = append(e.data, class...)
		e.offsets = append(e.offsets, int32(len(e.data)))
	}
	for _, r := range e.runs {
		if r.refused != nil {
			add(r.refused.Class)
			continue
		}
		for row := r.from; row < r.to; row++ {
			if len(failed) > 0 && failed[0].Row == row {
				add(failed[0].Class)
				failed = failed[1:]
			} else {
				e.offsets = append(e.offsets, int32(len(e.data)))
			}
		}
	}
	b.Buffer(e.bits)
	b.Offsets(e.offsets)
	b.Buffer(e.data)
}
