package clickhouse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/flatbuffer"
)

// ErrMalformed is what every fault of an observation record's bytes wraps.
var ErrMalformed = errors.New("malformed observation record")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// maxUncompressed bounds what the buffers of one message may hold once decompressed. A
// record is 512 KiB, so more than this is no data of ours.
const maxUncompressed = 256 << 20

// Header types of an Arrow IPC message, and body compression codecs.
const (
	kindSchema          = 1
	kindDictionaryBatch = 2
	kindRecordBatch     = 3

	codecNone = -1
	codecLZ4  = 0
	codecZSTD = 1
)

// endOfStream ends an Arrow IPC stream.
var endOfStream = []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}

// message is one encapsulated Arrow IPC message. It and what it holds are slices of the
// record's value.
type message struct {
	kind   byte
	header flatbuffer.Table
	raw    []byte // all of it: prefix, metadata, body
	body   []byte
}

// nextMessage takes one message off data. At the end of the stream, marked or not, it
// returns a message of kind 0; rest is then what follows the mark.
func nextMessage(data []byte) (m message, rest []byte, err error) {
	if len(data) == 0 {
		return m, nil, nil
	}
	if len(data) < 8 {
		return m, nil, malformed("%d bytes where a message should start", len(data))
	}
	if binary.LittleEndian.Uint32(data) != 0xffffffff {
		return m, nil, malformed("no continuation mark where a message should start")
	}
	size := int64(binary.LittleEndian.Uint32(data[4:]))
	if size == 0 {
		return m, data[8:], nil
	}
	if size%8 != 0 || size > int64(len(data)-8) {
		return m, nil, malformed("message metadata of %d bytes in %d", size, len(data)-8)
	}
	meta := data[8 : 8+size]
	root, ok := flatbuffer.Root(meta)
	if !ok {
		return m, nil, malformed("message metadata is no flatbuffer")
	}
	version, ok1 := root.Uint(4, 2, 0)
	kind, ok2 := root.Uint(6, 1, 0)
	header, ok3 := root.Table(8)
	bodyLen, ok4 := root.Uint(10, 8, 0)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return m, nil, malformed("message metadata reaches outside of itself")
	}
	if version != 4 {
		return m, nil, malformed("Arrow metadata version V%d, want V5", version+1)
	}
	if kind < kindSchema || kind > kindRecordBatch {
		return m, nil, malformed("message of kind %d", kind)
	}
	after := data[8+size:]
	if bodyLen%8 != 0 || bodyLen > uint64(len(after)) {
		return m, nil, malformed("message body of %d bytes in %d", bodyLen, len(after))
	}
	end := 8 + int(size) + int(bodyLen)
	return message{
		kind: byte(kind), header: header,
		raw: data[:end:end], body: after[:bodyLen:bodyLen],
	}, data[end:], nil
}

// layout is what the schema message of an observation record says, once for all records
// that bear the same message.
type layout struct {
	schema  *arrow.Schema
	source  source
	message []byte // the schema message; owned by the layout
	model   string
	version string
	fields  []fieldLayout
	buffers int // of one record batch
	dictIDs []int64

	topicID, partition, offset, row, scoredAt int // indexes of the coordinate columns in fields

	ready bool // the table was seen to take the schema
}

// fieldLayout says where a column lies in a record batch.
type fieldLayout struct {
	name     string
	nullable bool
	bits     int64 // width of a value; 0 for strings
	buffer   int   // index of the validity buffer; values, or offsets and values, follow
	dict     int64 // dictionary id; -1 for none
}

func (f *fieldLayout) buffers() int {
	if f.bits == 0 {
		return 3
	}
	return 2
}

// newLayout reads a schema message. It accepts what schemas.ObservationSchema makes and
// nothing else. (The arrow module would allocate what a damaged length says.)
func newLayout(m message) (*layout, error) {
	l := &layout{message: bytes.Clone(m.raw)}
	if endianness, ok := m.header.Uint(4, 2, 0); !ok || endianness != 0 {
		return nil, malformed("schema is not little-endian")
	}
	at, n, ok := m.header.Vector(6, 4)
	if !ok {
		return nil, malformed("schema fields lie outside of the message")
	}
	var fields []arrow.Field
	seen := map[string]bool{}
	for i := range n {
		table, ok := flatbuffer.Element(m.header.Buf, at, i)
		if !ok {
			return nil, malformed("schema field %d lies outside of the message", i)
		}
		f, dict, err := readField(table)
		if err != nil {
			return nil, fmt.Errorf("%w, schema field %d", err, i)
		}
		if seen[f.Name] {
			return nil, malformed("column %q stands twice", f.Name)
		}
		seen[f.Name] = true
		fl := fieldLayout{name: f.Name, nullable: f.Nullable, buffer: l.buffers, dict: -1}
		switch t := f.Type.(type) {
		case *arrow.DictionaryType:
			if slices.Contains(l.dictIDs, dict) {
				return nil, malformed("column %q shares dictionary %d", f.Name, dict)
			}
			fl.bits, fl.dict = 32, dict
			l.dictIDs = append(l.dictIDs, dict)
		case *arrow.StringType:
		case arrow.FixedWidthDataType:
			fl.bits = int64(t.BitWidth())
		}
		l.buffers += fl.buffers()
		l.fields = append(l.fields, fl)
		fields = append(fields, f)
	}
	md, err := readMetadata(m.header, 8)
	if err != nil {
		return nil, err
	}
	l.schema = arrow.NewSchema(fields, &md)
	if l.model, l.version, err = schemas.SchemaModel(l.schema); err != nil {
		return nil, malformed("%v", err)
	}
	for _, c := range []struct {
		name string
		at   *int
		typ  arrow.DataType
	}{
		{schemas.ColumnTopicID, &l.topicID, schemas.DictionaryType},
		{schemas.ColumnPartition, &l.partition, arrow.PrimitiveTypes.Int32},
		{schemas.ColumnOffset, &l.offset, arrow.PrimitiveTypes.Int64},
		{schemas.ColumnRow, &l.row, arrow.PrimitiveTypes.Int32},
		{schemas.ColumnScoredAt, &l.scoredAt, schemas.TimestampType},
	} {
		*c.at = slices.IndexFunc(l.fields, func(f fieldLayout) bool { return f.name == c.name })
		if *c.at < 0 || l.fields[*c.at].nullable || !arrow.TypeEqual(l.schema.Field(*c.at).Type, c.typ) {
			return nil, malformed("the schema has no column %s of type %s, not nullable", c.name, c.typ)
		}
	}
	for _, name := range schemas.SystemColumns() {
		if !seen[name] {
			return nil, malformed("the schema has no column %s", name)
		}
	}
	if seen[schemas.ColumnStoredAt] {
		return nil, malformed("column %s is the server's", schemas.ColumnStoredAt)
	}
	if l.source, err = newSource(l.schema); err != nil {
		return nil, malformed("%v", err)
	}
	return l, nil
}

// readField reads one column of a schema, and the id of its dictionary if it has one.
func readField(table flatbuffer.Table) (f arrow.Field, dict int64, err error) {
	name, ok1 := table.Text(4)
	nullable, ok2 := table.Uint(6, 1, 0)
	kind, ok3 := table.Uint(8, 1, 0)
	typ, ok4 := table.Table(10)
	encoding, encoded, ok5 := table.Optional(12)
	_, children, ok6 := table.Vector(14, 4)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || children != 0 {
		return f, 0, malformed("field %.120q is damaged or has children", name)
	}
	if _, err := readMetadata(table, 16); err != nil {
		return f, 0, err
	}
	f = arrow.Field{Name: name, Nullable: nullable != 0}
	if f.Type, err = readType(kind, typ); err != nil {
		return f, 0, fmt.Errorf("%w, column %.120q", err, name)
	}
	if !encoded {
		return f, 0, nil
	}
	id, ok1 := encoding.Uint(4, 8, 0)
	index, present, ok2 := encoding.Optional(6)
	ordered, ok3 := encoding.Uint(8, 1, 0)
	indexType := arrow.PrimitiveTypes.Int32
	if present {
		if indexType, err = readType(2, index); err != nil {
			return f, 0, fmt.Errorf("%w, column %.120q", err, name)
		}
	}
	f.Type = &arrow.DictionaryType{IndexType: indexType, ValueType: f.Type, Ordered: ordered != 0}
	if !ok1 || !ok2 || !ok3 || !arrow.TypeEqual(f.Type, schemas.DictionaryType) {
		return f, 0, malformed("column %.120q is %s, want %s", name, f.Type, schemas.DictionaryType)
	}
	return f, int64(id), nil
}

// readType reads a type that an observation may have. kind is a member of the union Type
// of Arrow's Schema.fbs.
func readType(kind uint64, t flatbuffer.Table) (arrow.DataType, error) {
	size := 2 // of precisions and units
	if kind == 2 {
		size = 4 // of bit widths
	}
	first, ok1 := t.Uint(4, size, 0)
	signed, ok2 := t.Uint(6, 1, 0)
	switch {
	case kind == 5:
		return arrow.BinaryTypes.String, nil
	case kind == 6:
		return arrow.FixedWidthTypes.Boolean, nil
	case !ok1:
	case kind == 2 && first == 32 && ok2 && signed != 0:
		return arrow.PrimitiveTypes.Int32, nil
	case kind == 2 && first == 64 && ok2 && signed != 0:
		return arrow.PrimitiveTypes.Int64, nil
	case kind == 3 && first == 1:
		return arrow.PrimitiveTypes.Float32, nil
	case kind == 3 && first == 2:
		return arrow.PrimitiveTypes.Float64, nil
	case kind == 10 && first == 2:
		if zone, ok := t.Text(6); ok && zone == schemas.TimestampType.TimeZone {
			return schemas.TimestampType, nil
		}
	}
	return nil, malformed("type %d is none that observations have", kind)
}

// readMetadata reads a vector of keys and values.
func readMetadata(t flatbuffer.Table, slot int) (arrow.Metadata, error) {
	at, n, ok := t.Vector(slot, 4)
	var keys, values []string
	for i := 0; ok && i < n; i++ {
		var pair flatbuffer.Table
		if pair, ok = flatbuffer.Element(t.Buf, at, i); ok {
			key, ok1 := pair.Text(4)
			value, ok2 := pair.Text(6)
			keys, values, ok = append(keys, key), append(values, value), ok1 && ok2
		}
	}
	if !ok {
		return arrow.Metadata{}, malformed("schema metadata lies outside of the message")
	}
	return arrow.NewMetadata(keys, values), nil
}

// batch is a record batch, or the values of a dictionary.
type batch struct {
	rows    int
	buf     []byte // metadata that holds the positions of the buffers
	at      int
	body    []byte
	codec   int
	isDelta bool
}

// extent returns where buffer i lies in the body. The batch has been checked.
func (b *batch) extent(i int) (offset, length int64) {
	at := b.at + 16*i
	return int64(binary.LittleEndian.Uint64(b.buf[at:])), int64(binary.LittleEndian.Uint64(b.buf[at+8:]))
}

// stored returns buffer i as it lies in the body, compressed or not.
func (b *batch) stored(i int) []byte {
	offset, length := b.extent(i)
	return b.body[offset : offset+length]
}

// newBatch checks a RecordBatch table against the columns that it should have: that every
// count is plausible and every buffer lies in the body and is long enough for the rows.
// What is in the buffers is not looked at: checkValues does.
func newBatch(header flatbuffer.Table, body []byte, fields []fieldLayout, buffers int) (batch, error) {
	b := batch{buf: header.Buf, body: body, codec: codecNone}
	rows, ok := header.Uint(4, 8, 0)
	if !ok || rows > 1<<30 {
		return b, malformed("batch of %d rows", rows)
	}
	b.rows = int(rows)
	if table, present, ok := header.Optional(10); !ok {
		return b, malformed("batch compression lies outside of the message")
	} else if present {
		codec, ok1 := table.Uint(4, 1, 0)
		method, ok2 := table.Uint(6, 1, 0)
		if !ok1 || !ok2 || codec > codecZSTD || method != 0 {
			return b, malformed("batch compression %d by method %d", codec, method)
		}
		b.codec = int(codec)
	}
	nodes, n, ok := header.Vector(6, 16)
	if !ok || n != len(fields) {
		return b, malformed("batch of %d columns, want %d", n, len(fields))
	}
	if b.at, n, ok = header.Vector(8, 16); !ok || n != buffers {
		return b, malformed("batch of %d buffers, want %d", n, buffers)
	}
	if _, n, ok = header.Vector(12, 8); !ok || n != 0 {
		return b, malformed("batch with variadic buffers")
	}
	total := int64(0)
	for i := range fields {
		f := &fields[i]
		length := binary.LittleEndian.Uint64(b.buf[nodes+16*i:])
		nulls := binary.LittleEndian.Uint64(b.buf[nodes+16*i+8:])
		if length != rows || nulls > rows {
			return b, malformed("column %q has %d rows and %d nulls in a batch of %d", f.name, length, nulls, rows)
		}
		if nulls > 0 && !f.nullable {
			return b, malformed("column %q has %d nulls and is not nullable", f.name, nulls)
		}
		for j := range f.buffers() {
			want := int64(0)
			switch {
			case rows == 0:
			case j == 0 && nulls > 0:
				want = int64(rows+7) / 8
			case j == 1 && f.bits > 0:
				want = (int64(rows)*f.bits + 7) / 8
			case j == 1:
				want = (int64(rows) + 1) * 4
			}
			size, err := b.checkBuffer(f.buffer+j, want)
			if err != nil {
				return b, fmt.Errorf("%w, column %q", err, f.name)
			}
			if total += size; total > maxUncompressed {
				return b, malformed("batch of more than %d bytes uncompressed", maxUncompressed)
			}
		}
	}
	return b, nil
}

// checkBuffer checks that buffer i lies in the body and holds want bytes or more. It
// returns the bytes that it holds once decompressed.
func (b *batch) checkBuffer(i int, want int64) (int64, error) {
	offset, length := b.extent(i)
	if offset < 0 || length < 0 || offset%8 != 0 || offset > int64(len(b.body)) || length > int64(len(b.body))-offset {
		return 0, malformed("buffer %d is [%d, +%d) of a body of %d bytes", i, offset, length, len(b.body))
	}
	size := length
	if b.codec != codecNone && length > 0 {
		if length < 8 {
			return 0, malformed("compressed buffer %d of %d bytes", i, length)
		}
		size = int64(binary.LittleEndian.Uint64(b.body[offset:]))
		switch {
		case size == -1: // stored uncompressed
			size = length - 8
		case size < 0 || size > maxUncompressed:
			return 0, malformed("compressed buffer %d of %d bytes uncompressed", i, size)
		}
	}
	if size < want {
		return 0, malformed("buffer %d has %d bytes, want %d", i, size, want)
	}
	return size, nil
}

// checkValues checks what ClickHouse follows without looking: the offsets of strings, and
// indexes into dictionaries. sizes are the dictionaries' lengths, by id. A value out of
// place would end the server with a segmentation fault.
func (b *batch) checkValues(fields []fieldLayout, sizes map[int64]int) error {
	if b.rows == 0 {
		return nil
	}
	for i := range fields {
		f := &fields[i]
		if f.bits != 0 && f.dict < 0 {
			continue
		}
		values, err := b.buffer(f.buffer + 1)
		if err != nil {
			return fmt.Errorf("%w, column %q", err, f.name)
		}
		if f.dict < 0 {
			last := binary.LittleEndian.Uint32(values)
			for row := range b.rows {
				next := binary.LittleEndian.Uint32(values[4*row+4:])
				if next < last {
					return malformed("row %d of column %q is [%d, %d)", row, f.name, last, next)
				}
				last = next
			}
			if int64(last) > b.size(f.buffer+2) {
				return malformed("column %q has %d bytes of values, and rows up to %d", f.name, b.size(f.buffer+2), last)
			}
			continue
		}
		valid, err := b.buffer(f.buffer)
		if err != nil {
			return fmt.Errorf("%w, column %q", err, f.name)
		}
		size := uint32(sizes[f.dict])
		for row := range b.rows {
			if binary.LittleEndian.Uint32(values[4*row:]) >= size && (len(valid) == 0 || valid[row/8]&(1<<(row%8)) != 0) {
				return malformed("row %d of column %q is not in its dictionary of %d", row, f.name, size)
			}
		}
	}
	return nil
}

// dictionaryValues is the layout of a dictionary's one column.
var dictionaryValues = []fieldLayout{{name: "dictionary", dict: -1}}

// splitSchema takes the schema message off an observation record.
func splitSchema(value []byte) (m message, rest []byte, err error) {
	if m, rest, err = nextMessage(value); err != nil {
		return m, nil, err
	}
	if m.kind != kindSchema || len(m.body) != 0 {
		return m, nil, malformed("the first message is no schema")
	}
	return m, rest, nil
}

// walk calls onDictionary and onBatch for the messages of an observation record after its
// schema, in order, each checked. It returns the messages without the end-of-stream: a
// slice of data.
func (l *layout) walk(data []byte, onDictionary func(id int64, b *batch) error, onBatch func(b *batch) error) ([]byte, error) {
	sizes := make(map[int64]int, len(l.dictIDs)) // of the dictionaries so far
	rest := data
	for {
		before := rest
		m, after, err := nextMessage(rest)
		if err != nil {
			return nil, err
		}
		switch m.kind {
		case 0:
			if len(after) > 0 {
				return nil, malformed("%d bytes after the end of the stream", len(after))
			}
			return data[:len(data)-len(before)], nil
		case kindDictionaryBatch:
			number, ok1 := m.header.Uint(4, 8, 0)
			values, ok2 := m.header.Table(6)
			delta, ok3 := m.header.Uint(8, 1, 0)
			if !ok1 || !ok2 || !ok3 {
				return nil, malformed("dictionary reaches outside of its message")
			}
			id := int64(number)
			if !slices.Contains(l.dictIDs, id) {
				return nil, malformed("dictionary %d belongs to no column", id)
			}
			b, err := newBatch(values, m.body, dictionaryValues, 3)
			if err == nil {
				err = b.checkValues(dictionaryValues, nil)
			}
			if err != nil {
				return nil, fmt.Errorf("%w, dictionary %d", err, id)
			}
			b.isDelta = delta != 0
			size, known := sizes[id]
			switch {
			case !b.isDelta:
				sizes[id] = b.rows
			case !known:
				return nil, malformed("dictionary %d starts with a delta", id)
			default:
				sizes[id] = size + b.rows
			}
			if onDictionary != nil {
				if err := onDictionary(id, &b); err != nil {
					return nil, err
				}
			}
		case kindRecordBatch:
			// In a splice, a dictionary that is missing here would silently be that of
			// the record before.
			if len(sizes) != len(l.dictIDs) {
				return nil, malformed("%d of %d dictionaries before a batch", len(sizes), len(l.dictIDs))
			}
			b, err := newBatch(m.header, m.body, l.fields, l.buffers)
			if err == nil {
				err = b.checkValues(l.fields, sizes)
			}
			if err != nil {
				return nil, err
			}
			if err := onBatch(&b); err != nil {
				return nil, err
			}
		default:
			return nil, malformed("a second schema")
		}
		rest = after
	}
}
