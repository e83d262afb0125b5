package arrowipc

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/bitutil"
	"github.com/apache/arrow/go/v15/arrow/ipc"
)

// AppendEnd ends a stream.
func AppendEnd(dst []byte) []byte { return append(dst, endOfStream...) }

// EndBytes is how many bytes AppendEnd appends.
const EndBytes = 8

// NewSchema returns the schema of streams that are to be written. Each dictionary is one column's.
func NewSchema(schema *arrow.Schema) (*Schema, error) {
	var stream bytes.Buffer
	if err := ipc.NewWriter(&stream, ipc.WithSchema(schema)).Close(); err != nil {
		return nil, fmt.Errorf("write an Arrow schema: %w", err)
	}
	m, _, err := nextMessage(stream.Bytes())
	if err != nil {
		return nil, err
	}
	s, err := m.Schema(readerFields, true)
	if err != nil {
		return nil, err
	}
	s.message = m.raw
	return s, nil
}

// Batch appends one record batch, or the entries of a dictionary, to a slice: first Begin or
// BeginDictionary, then for each column Node and its buffers in order, then End. Buffers are
// not compressed. The zero value is ready.
type Batch struct {
	dst     []byte
	rows    int
	start   int // of the metadata
	node    int // position of the next one
	buffer  int
	body    int // position of the body
	header  int // position of the RecordBatch table
	pending int // start of the buffer that is being appended
}

// Positions in the metadata of a message, as this writer lays it out.
const (
	messageTable    = 16
	messageHeader   = 20
	messageBodyLen  = 24
	messageVersion  = 32
	messageKind     = 34
	dictionaryBytes = 32 // by which a dictionary's RecordBatch lies further behind
)

// MetadataBytes is what a batch of so many nodes and buffers takes before its body.
func MetadataBytes(nodes, buffers int) int { return 8 + 88 + 16*nodes + 16*buffers }

// DictionaryBytes is what a message of so many entries takes, of so many bytes together.
func DictionaryBytes(entries, data int) int {
	return MetadataBytes(1, 3) + dictionaryBytes + PaddedBytes(4*(entries+1)) + PaddedBytes(data)
}

// Begin starts a record batch behind dst.
func (b *Batch) Begin(dst []byte, rows, nodes, buffers int) {
	b.begin(dst, KindRecordBatch, 0, rows, nodes, buffers)
}

// BeginDictionary starts the entries of a dictionary behind dst: one column.
func (b *Batch) BeginDictionary(dst []byte, id int64, entries int) {
	b.begin(dst, KindDictionary, dictionaryBytes, entries, 1, 3)
	at := b.dst[b.start:]
	putTable(at, 40, 52, 8, 16, 4, 12)
	binary.LittleEndian.PutUint64(at[56:], uint64(id))
	binary.LittleEndian.PutUint32(at[64:], uint32(b.header-b.start-64))
}

func (b *Batch) begin(dst []byte, kind byte, shift, rows, nodes, buffers int) {
	size := MetadataBytes(nodes, buffers) + shift
	b.start = len(dst) + 8
	dst = AppendZeros(dst, size)
	b.dst, b.rows, b.body = dst, rows, b.start+size-8
	binary.LittleEndian.PutUint32(dst[b.start-8:], 0xffffffff)
	binary.LittleEndian.PutUint32(dst[b.start-4:], uint32(size-8))

	at := dst[b.start:]
	binary.LittleEndian.PutUint32(at, messageTable)
	putTable(at, 4, messageTable, 12, 20, messageVersion-messageTable, messageKind-messageTable, messageHeader-messageTable, messageBodyLen-messageTable)
	binary.LittleEndian.PutUint32(at[messageHeader:], 52-messageHeader)
	at[messageVersion], at[messageKind] = metadataV5, kind

	table := 52 + shift // its length of 8 bytes must lie at a multiple of 8
	b.header = b.start + table
	putTable(at, table-12, table, 10, 20, 4, 12, 16)
	binary.LittleEndian.PutUint64(at[table+4:], uint64(rows))
	binary.LittleEndian.PutUint32(at[table+12:], 12)
	binary.LittleEndian.PutUint32(at[table+24:], uint32(nodes))
	b.node = b.start + table + 28
	b.buffer = b.node + 16*nodes + 8
	binary.LittleEndian.PutUint32(dst[b.buffer-4:], uint32(buffers))
	binary.LittleEndian.PutUint32(at[table+16:], uint32(b.buffer-4-(b.start+table+16)))
}

// putTable writes a vtable, and where its table has it.
func putTable(buf []byte, vtable, table, vtableBytes, tableBytes int, fields ...int) {
	binary.LittleEndian.PutUint16(buf[vtable:], uint16(vtableBytes))
	binary.LittleEndian.PutUint16(buf[vtable+2:], uint16(tableBytes))
	for i, f := range fields {
		binary.LittleEndian.PutUint16(buf[vtable+4+2*i:], uint16(f))
	}
	binary.LittleEndian.PutUint32(buf[table:], uint32(table-vtable))
}

// Node starts a column.
func (b *Batch) Node(nulls int) {
	binary.LittleEndian.PutUint64(b.dst[b.node:], uint64(b.rows))
	binary.LittleEndian.PutUint64(b.dst[b.node+8:], uint64(nulls))
	b.node += 16
}

// Open starts a buffer whose bytes the caller appends to the slice that it gets, which
// Close takes back.
func (b *Batch) Open() []byte {
	b.pending = len(b.dst)
	return b.dst
}

// Close ends the buffer that Open started.
func (b *Batch) Close(dst []byte) {
	n := len(dst) - b.pending
	binary.LittleEndian.PutUint64(dst[b.buffer:], uint64(b.pending-b.body))
	binary.LittleEndian.PutUint64(dst[b.buffer+8:], uint64(n))
	b.buffer += 16
	b.dst = AppendZeros(dst, -n&7)
}

// Buffer appends a buffer.
func (b *Batch) Buffer(values []byte) { b.Close(append(b.Open(), values...)) }

// Zeros appends a buffer of zero bytes.
func (b *Batch) Zeros(n int) { b.Close(AppendZeros(b.Open(), n)) }

// Repeat appends a buffer of n times the same number.
func (b *Batch) Repeat(v int64, n int) {
	dst := b.Open()
	at := len(dst)
	dst = AppendZeros(dst, 8*n)
	for out := dst[at:]; len(out) >= 8; out = out[8:] {
		binary.LittleEndian.PutUint64(out, uint64(v))
	}
	b.Close(dst)
}

// Bitmap appends a buffer of bits, of which the first is bit from of the bitmap.
func (b *Batch) Bitmap(bitmap []byte, from, n int) {
	if from&7 == 0 {
		b.Buffer(bitmap[from>>3 : (from+n+7)>>3])
		return
	}
	dst := b.Open()
	at := len(dst)
	dst = AppendZeros(dst, (n+7)>>3)
	bitutil.CopyBitmap(bitmap, from, n, dst[at:], 0)
	b.Close(dst)
}

// Offsets appends the offsets of texts, n+1 of them, as counted from the first.
func (b *Batch) Offsets(offsets []int32) {
	dst := b.Open()
	at := len(dst)
	dst = AppendZeros(dst, 4*len(offsets))
	out, first := dst[at:], offsets[0]
	for i, o := range offsets {
		binary.LittleEndian.PutUint32(out[4*i:4*i+4], uint32(o-first))
	}
	b.Close(dst)
}

// End ends the batch and returns the slice.
func (b *Batch) End() []byte {
	binary.LittleEndian.PutUint64(b.dst[b.start+messageBodyLen:], uint64(len(b.dst)-b.body))
	return b.dst
}

// PaddedBytes is what a buffer takes in a body.
func PaddedBytes(n int) int { return (n + 7) &^ 7 }

var zeros [4096]byte

// AppendZeros appends n zero bytes.
func AppendZeros(dst []byte, n int) []byte {
	for n > len(zeros) {
		dst = append(dst, zeros[:]...)
		n -= len(zeros)
	}
	return append(dst, zeros[:n]...)
}
