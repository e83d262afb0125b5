package dataset

import (
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// The types that a Source has.
var (
	Int64     arrow.DataType = arrow.PrimitiveTypes.Int64
	Uint64    arrow.DataType = arrow.PrimitiveTypes.Uint64
	Float64   arrow.DataType = arrow.PrimitiveTypes.Float64
	Float32   arrow.DataType = arrow.PrimitiveTypes.Float32
	Boolean   arrow.DataType = arrow.FixedWidthTypes.Boolean
	Text      arrow.DataType = arrow.BinaryTypes.String
	Date      arrow.DataType = arrow.FixedWidthTypes.Date32
	Timestamp arrow.DataType = arrow.FixedWidthTypes.Timestamp_us // of UTC, or of no zone
)

// kind is one of the types above.
type kind uint8

const (
	kindNone kind = iota // no value was seen, or a nested type
	kindBool
	kindInt64
	kindUint64
	kindFloat64
	kindFloat32
	kindDate
	kindTimestamp
	kindText
)

var kindTypes = [...]arrow.DataType{
	kindBool: Boolean, kindInt64: Int64, kindUint64: Uint64, kindFloat64: Float64, kindFloat32: Float32,
	kindDate: Date, kindTimestamp: Timestamp, kindText: Text,
}

func (k kind) numeric() bool {
	return k == kindInt64 || k == kindUint64 || k == kindFloat64 || k == kindFloat32
}

// kindOf returns kindNone for a type that no Source has.
func kindOf(t arrow.DataType) kind {
	for k, typ := range kindTypes {
		if typ != nil && arrow.TypeEqual(typ, t) {
			return kind(k)
		}
	}
	return kindNone
}

// Bounds of a batch, whatever a file says.
const (
	defaultBatchRows = 1 << 16
	maxCells         = 1 << 23   // rows times columns of one batch
	flushText        = 32 << 20  // bytes of text after which a batch ends early
	maxText          = 512 << 20 // bytes of text of one batch
	stepRows         = 1 << 12   // rows between two looks at flushText
	maxColumns       = 1 << 16
)

// builder collects the values of one column of a batch. Its memory is the collector's:
// batches may be kept without a copy, and need no allocator.
type builder struct {
	kind  kind
	room  *int // bytes of text that all columns of the batch may still take; nil: maxText for this one
	n     int  // rows
	nulls int
	valid []byte // bitmap, from the first null on

	b8      []byte // booleans, one a byte
	b32     []byte // date, float32
	b64     []byte // the other numbers
	offsets []int32
	text    []byte
}

// reset makes the builder ready for at most rows rows.
func (b *builder) reset(rows int) {
	*b = builder{kind: b.kind, room: b.room}
	switch b.kind {
	case kindBool:
		b.b8 = make([]byte, 0, rows)
	case kindDate, kindFloat32:
		b.b32 = make([]byte, 0, 4*rows)
	case kindText:
		b.offsets = append(make([]int32, 0, rows+1), 0)
	default:
		b.b64 = make([]byte, 0, 8*rows)
	}
}

// appendNull appends a row without a value.
func (b *builder) appendNull() {
	b.setNull(b.n)
	b.n++
	switch b.kind {
	case kindBool:
		b.b8 = append(b.b8, 0)
	case kindDate, kindFloat32:
		b.b32 = append(b.b32, 0, 0, 0, 0)
	case kindText:
		b.offsets = append(b.offsets, int32(len(b.text)))
	default:
		b.b64 = append(b.b64, 0, 0, 0, 0, 0, 0, 0, 0)
	}
}

// setNull marks a row as null. Rows are marked in ascending order.
func (b *builder) setNull(row int) {
	b.nulls++
	for len(b.valid) <= row>>3 {
		b.valid = append(b.valid, 0xff)
	}
	b.valid[row>>3] &^= 1 << (row & 7)
}

func (b *builder) append64(v uint64) {
	b.b64 = append(b.b64, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
	b.n++
}

func (b *builder) append32(v uint32) {
	b.b32 = append(b.b32, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	b.n++
}

func (b *builder) appendBool(v bool) {
	x := byte(0)
	if v {
		x = 1
	}
	b.b8 = append(b.b8, x)
	b.n++
}

// appendText fails where a batch would hold too much.
func (b *builder) appendText(v []byte) error {
	if err := b.take(len(v)); err != nil {
		return err
	}
	b.text = append(b.text, v...)
	b.offsets = append(b.offsets, int32(len(b.text)))
	b.n++
	return nil
}

// take counts n bytes of text.
func (b *builder) take(n int) error {
	if b.room != nil {
		*b.room -= n
	}
	if len(b.text)+n > maxText || b.room != nil && *b.room < 0 {
		return fmt.Errorf("%d rows hold more than %d MiB of text", b.n+1, maxText>>20)
	}
	return nil
}

// array returns the rows so far; the builder must be reset before it is used again.
func (b *builder) array() arrow.Array {
	var valid *memory.Buffer
	if b.nulls > 0 {
		for len(b.valid) < (b.n+7)/8 {
			b.valid = append(b.valid, 0xff)
		}
		valid = memory.NewBufferBytes(b.valid)
	}
	buffers := []*memory.Buffer{valid, nil}
	switch b.kind {
	case kindBool:
		bits := make([]byte, (b.n+7)/8)
		for i, v := range b.b8 {
			bits[i>>3] |= v << (i & 7)
		}
		buffers[1] = memory.NewBufferBytes(bits)
	case kindDate, kindFloat32:
		buffers[1] = memory.NewBufferBytes(b.b32)
	case kindText:
		buffers[1] = memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(b.offsets))
		buffers = append(buffers, memory.NewBufferBytes(b.text))
	default:
		buffers[1] = memory.NewBufferBytes(b.b64)
	}
	data := array.NewData(kindTypes[b.kind], b.n, buffers, nil, b.nulls, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

// builders are the columns of a batch.
type builders struct {
	columns []builder
	schema  *arrow.Schema
	rows    int // at most, in a batch
	texts   bool
	room    int // bytes of text that are left of maxText
}

func newBuilders(schema *arrow.Schema, columns []int, rows int) *builders {
	fields := make([]arrow.Field, len(columns))
	b := &builders{columns: make([]builder, len(columns)), rows: max(1, min(rows, maxCells/max(1, len(columns))))}
	for i, c := range columns {
		fields[i] = schema.Field(c)
		b.columns[i].kind = kindOf(fields[i].Type)
		b.columns[i].room = &b.room
		b.texts = b.texts || b.columns[i].kind == kindText
	}
	b.schema = arrow.NewSchema(fields, nil)
	return b
}

func (b *builders) reset(rows int) {
	b.room = maxText
	for i := range b.columns {
		b.columns[i].reset(min(rows, b.rows))
	}
}

// full tells whether the batch holds so much text that it should end.
func (b *builders) full() bool {
	return maxText-b.room >= flushText
}

// fill returns a batch of rows of which the source has left, and takes them off it. column appends
// n rows to column i.
func (b *builders) fill(left *int64, column func(i, n int) error) (arrow.Record, error) {
	most := int(min(*left, int64(b.rows)))
	b.reset(most)
	rows := 0
	for rows < most && !b.full() {
		n := most - rows
		if b.texts {
			n = min(n, stepRows)
		}
		for i := range b.columns {
			if err := column(i, n); err != nil {
				return nil, err
			}
		}
		rows += n
	}
	*left -= int64(rows)
	return b.record(rows), nil
}

func (b *builders) record(rows int) arrow.Record {
	arrays := make([]arrow.Array, len(b.columns))
	for i := range b.columns {
		arrays[i] = b.columns[i].array()
		defer arrays[i].Release()
	}
	return array.NewRecord(b.schema, arrays, int64(rows))
}
