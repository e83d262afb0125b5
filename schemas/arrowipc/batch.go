package arrowipc

import (
	"encoding/binary"
	"math"

	"github.com/millrace/millrace/schemas/arrowipc/flatbuffer"
)

// Codec is how the buffers of a record batch are compressed. Each that is not empty begins with
// eight bytes: how long it is decompressed, or -1 where it is stored as it is.
type Codec int

// Codecs: members of the enum CompressionType of Arrow's Message.fbs, and none.
const (
	CodecNone Codec = -1
	CodecLZ4  Codec = 0 // of frames
	CodecZSTD Codec = 1
)

// RecordBatch is where a record batch, or the entries of a dictionary, has its columns. Nothing
// in its body was looked at.
type RecordBatch struct {
	Rows  int64
	Codec Codec
	Views []int // how many data buffers each column of views has; of all levels

	buf     []byte // metadata that holds the positions of nodes and buffers
	nodes   int
	buffers int
}

// RecordBatch reads a message of KindRecordBatch of a stream of that schema.
func (m *Message) RecordBatch(s *Schema) (RecordBatch, error) {
	return readRecordBatch(m.header, s.Nodes, s.Buffers, s.Views)
}

// DictionaryHeader is what a message of KindDictionary says.
type DictionaryHeader struct {
	ID     int64
	Delta  bool // the entries follow those that are there
	values flatbuffer.Table
}

// Dictionary reads a message of KindDictionary.
func (m *Message) Dictionary() (d DictionaryHeader, err error) {
	id, ok1 := m.header.Uint(4, 8, 0)
	values, ok2 := m.header.Table(6)
	delta, ok3 := m.header.Uint(8, 1, 0)
	if !ok1 || !ok2 || !ok3 {
		return d, malformed("a dictionary reaches outside of its message")
	}
	return DictionaryHeader{ID: int64(id), Delta: delta != 0, values: values}, nil
}

// Entries returns the entries, a column of that type.
func (d DictionaryHeader) Entries(t Type) (RecordBatch, error) {
	buffers, views := t.Buffers()
	return readRecordBatch(d.values, 1, buffers, views)
}

// readRecordBatch reads the header of a record batch with so many nodes, buffers and columns of
// views.
func readRecordBatch(header flatbuffer.Table, nodes, buffers, views int) (b RecordBatch, err error) {
	b = RecordBatch{buf: header.Buf, Codec: CodecNone}
	rows, ok := header.Uint(4, 8, 0)
	if !ok || rows > math.MaxInt64 {
		return b, malformed("a batch of %d rows", rows)
	}
	b.Rows = int64(rows)
	table, compressed, ok := header.Optional(10)
	if !ok {
		return b, malformed("a batch's compression lies outside of its message")
	}
	if compressed {
		codec, ok1 := table.Uint(4, 1, 0)
		method, ok2 := table.Uint(6, 1, 0)
		if b.Codec = Codec(codec); !ok1 || !ok2 || b.Codec > CodecZSTD || method != 0 {
			return b, malformed("a batch is compressed with codec %d, method %d", codec, method)
		}
	}
	at, n, ok := header.Vector(12, 8)
	if !ok || n != views {
		return b, malformed("a batch has %d columns of views, where the schema has %d", n, views)
	}
	for i := range n {
		count := binary.LittleEndian.Uint64(b.buf[at+8*i:])
		if count > uint64(len(b.buf)) || buffers+int(count) > len(b.buf) {
			return b, malformed("a batch has a column of views with %d buffers", count)
		}
		b.Views = append(b.Views, int(count))
		buffers += int(count)
	}
	if b.nodes, n, ok = header.Vector(6, 16); !ok || n != nodes {
		return b, malformed("a batch has %d nodes, where the schema has %d", n, nodes)
	}
	if b.buffers, n, ok = header.Vector(8, 16); !ok || n != buffers {
		return b, malformed("a batch has %d buffers, where the schema has %d", n, buffers)
	}
	return b, nil
}

// Node returns the rows of a column, and its nulls: -1 where they were not counted.
func (b *RecordBatch) Node(i int) (rows, nulls int64) {
	at := b.nodes + 16*i
	return int64(binary.LittleEndian.Uint64(b.buf[at:])), int64(binary.LittleEndian.Uint64(b.buf[at+8:]))
}

// Extent returns where buffer i lies in a body of so many bytes.
func (b *RecordBatch) Extent(i int, body int64) (from, size int64, err error) {
	at := b.buffers + 16*i
	from, size = int64(binary.LittleEndian.Uint64(b.buf[at:])), int64(binary.LittleEndian.Uint64(b.buf[at+8:]))
	if from < 0 || size < 0 || from > body || size > body-from {
		return 0, 0, malformed("buffer %d is [%d, +%d) of a body of %d bytes", i, uint64(from), uint64(size), body)
	}
	return from, size, nil
}
