package arrowipc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/millrace/millrace/schemas/flatbuffer"
)

// Bounds of what a stream may hold. Rows of columns without buffers cost a stream nothing.
const (
	MaxRows       = 1 << 22 // of all record batches
	maxDictionary = 1 << 18 // entries of one dictionary
	maxSchemas    = 8       // that a reader remembers
	maxKnown      = 1 << 20 // bytes of their messages together, if it is more than one
	maxKept       = 8 << 20 // bytes of a buffer that is kept for the next stream, and of all dictionaries together
	keptIDs       = 1 << 10 // dictionaries that are kept for the next stream
)

// Codecs of compressed buffers.
const (
	codecNone = -1
	codecLZ4  = 0
	codecZSTD = 1
)

// Reader reads streams. What it returns is valid until the next call of Next or Reset. It
// is not safe for concurrent use.
type Reader struct {
	limit int // bytes that all buffers of a stream may take, decompressed

	known        []knownSchema // latest first
	schema       *Schema
	rest         []byte
	dictionaries map[int64]*Dictionary
	batch        batch
	rows         int // of all batches so far
	total        int // decompressed bytes of all buffers so far
	arena        []byte

	lz4   *lz4.Reader
	zstd  *zstd.Decoder
	spare [1]byte
}

type knownSchema struct {
	raw    []byte
	schema *Schema
}

// batch is a record batch, or the entries of a dictionary.
type batch struct {
	rows    int
	buf     []byte // metadata that holds nodes and buffers
	nodes   int
	buffers int
	codec   int
	body    []byte
}

// Dictionary is what a column's indices refer to: texts.
type Dictionary struct {
	Version int // another one whenever entries were replaced
	seen    bool
	offsets []uint32 // one more than entries, unless there are none
	data    []byte
}

// Len returns the number of entries.
func (d *Dictionary) Len() int { return max(0, len(d.offsets)-1) }

// Value returns an entry. Its bytes are any: they may not be UTF-8.
func (d *Dictionary) Value(i int) []byte { return d.data[d.offsets[i]:d.offsets[i+1]] }

// Column is a column of a record batch. Its buffers are long enough for its rows; what
// values there are under nulls is not known.
type Column struct {
	Rows       int
	Valid      []byte      // bitmap; nil where there are no nulls
	Values     []byte      // fixed width: values, or indices into Dictionary
	Offsets    []byte      // texts: Rows+1 of them, ascending and within Data
	Data       []byte      // texts
	Dictionary *Dictionary // may be empty
}

// IsNull tells whether a row is null.
func (c *Column) IsNull(row int) bool {
	return c.Valid != nil && c.Valid[row>>3]&(1<<(row&7)) == 0
}

// NewReader returns a reader of streams whose buffers take at most limit bytes when they
// are decompressed, fewer than 2^31.
func NewReader(limit int) *Reader {
	return &Reader{limit: limit, dictionaries: map[int64]*Dictionary{}}
}

// Reset starts a stream with its schema. The same schema message, byte by byte, gives the
// same *Schema for as long as the reader remembers it.
func (r *Reader) Reset(stream []byte) (*Schema, error) {
	r.rows, r.total, r.batch = 0, 0, batch{}
	kept := 0
	for _, d := range r.dictionaries {
		d.seen = false
		kept += cap(d.data) + 4*cap(d.offsets)
	}
	if kept > maxKept || len(r.dictionaries) > keptIDs {
		clear(r.dictionaries)
	}
	if cap(r.arena) > maxKept {
		r.arena = nil
	}
	m, rest, err := nextMessage(stream)
	if err != nil {
		return nil, err
	}
	if m.kind != kindSchema || len(m.body) != 0 {
		return nil, malformed("its first message is no schema")
	}
	r.rest = rest
	i := slices.IndexFunc(r.known, func(k knownSchema) bool { return bytes.Equal(k.raw, m.raw) })
	if i < 0 {
		s, err := readSchema(m)
		if err != nil {
			return nil, err
		}
		i = min(len(r.known), maxSchemas-1)
		r.known = append(r.known[:i], knownSchema{bytes.Clone(m.raw), s})
	}
	k := r.known[i]
	if i > 0 {
		copy(r.known[1:i+1], r.known[:i])
		r.known[0] = k
	}
	for total, i := len(k.raw), 1; i < len(r.known); i++ {
		if total += len(r.known[i].raw); total > maxKnown {
			clear(r.known[i:])
			r.known = r.known[:i]
		}
	}
	r.schema = k.schema
	return r.schema, nil
}

// Forget forgets the schema of the stream, of which no record can be used. The stream
// cannot be read further.
func (r *Reader) Forget() {
	r.known = slices.Delete(r.known, 0, 1)
	r.schema, r.rest = nil, nil
}

// Knows tells whether the reader remembers a schema.
func (r *Reader) Knows(s *Schema) bool {
	return slices.ContainsFunc(r.known, func(k knownSchema) bool { return k.schema == s })
}

// Next goes to the next record batch that has rows. ok is false at the end of the stream.
func (r *Reader) Next() (rows int, ok bool, err error) {
	r.arena = r.arena[:0]
	for {
		m, rest, err := nextMessage(r.rest)
		if err != nil {
			return 0, false, err
		}
		r.rest = rest
		switch m.kind {
		case kindDictionaryBatch:
			if err := r.readDictionary(m); err != nil {
				return 0, false, err
			}
		case kindRecordBatch:
			if r.batch, err = r.readBatch(m.header, m.body, r.schema.nodes, r.schema.buffers); err != nil {
				return 0, false, err
			}
			if r.rows += r.batch.rows; r.rows > MaxRows {
				return 0, false, tooLarge("it has more than %d rows", MaxRows)
			}
			if r.batch.rows > 0 {
				return r.batch.rows, true, nil
			}
		case kindSchema:
			return 0, false, malformed("it has a second schema")
		default:
			if len(rest) > 0 {
				return 0, false, malformed("%d bytes follow its end", len(rest))
			}
			return 0, false, nil
		}
	}
}

// readBatch checks where nodes and buffers lie, and what they take decompressed.
func (r *Reader) readBatch(header flatbuffer.Table, body []byte, nodes, buffers int) (batch, error) {
	b := batch{buf: header.Buf, body: body, codec: codecNone}
	rows, ok := header.Uint(4, 8, 0)
	if !ok || rows > MaxRows {
		return b, tooLarge("it has a batch of %d rows", rows)
	}
	b.rows = int(rows)
	if table, present, ok := header.Optional(10); !ok {
		return b, malformed("a batch's compression lies outside of its message")
	} else if present {
		codec, ok1 := table.Uint(4, 1, 0)
		method, ok2 := table.Uint(6, 1, 0)
		if !ok1 || !ok2 || codec > codecZSTD || method != 0 {
			return b, malformed("a batch is compressed with codec %d, method %d", codec, method)
		}
		b.codec = int(codec)
	}
	var n int
	if b.nodes, n, ok = header.Vector(6, 16); !ok || n != nodes {
		return b, malformed("a batch has %d nodes, want %d", n, nodes)
	}
	if b.buffers, n, ok = header.Vector(8, 16); !ok || n != buffers {
		return b, malformed("a batch has %d buffers, want %d", n, buffers)
	}
	for i := range buffers {
		at := b.buffers + 16*i
		offset, length := binary.LittleEndian.Uint64(b.buf[at:]), binary.LittleEndian.Uint64(b.buf[at+8:])
		if offset > uint64(len(body)) || length > uint64(len(body))-offset {
			return b, malformed("buffer %d is [%d, +%d) of a body of %d bytes", i, offset, length, len(body))
		}
		size := int64(length)
		if b.codec != codecNone && length > 0 {
			if length < 8 {
				return b, malformed("compressed buffer %d has %d bytes", i, length)
			}
			if size = int64(binary.LittleEndian.Uint64(body[offset:])); size == -1 { // stored as it is
				size = int64(length) - 8
			}
		}
		if size < 0 || size > int64(r.limit) {
			return b, tooLarge("buffer %d takes %d bytes", i, size)
		}
		if r.total += int(size); r.total > r.limit {
			return b, tooLarge("its buffers take more than %d bytes", r.limit)
		}
	}
	return b, nil
}

// node returns the rows and nulls of a column.
func (b *batch) node(i int) (rows, nulls int64) {
	at := b.nodes + 16*i
	return int64(binary.LittleEndian.Uint64(b.buf[at:])), int64(binary.LittleEndian.Uint64(b.buf[at+8:]))
}

// buffer returns a buffer of at least want bytes: a slice of the stream or of the arena.
func (r *Reader) buffer(b *batch, i int, want int64) ([]byte, error) {
	at := b.buffers + 16*i
	offset, length := binary.LittleEndian.Uint64(b.buf[at:]), binary.LittleEndian.Uint64(b.buf[at+8:])
	out := b.body[offset : offset+length : offset+length]
	if b.codec != codecNone && length > 0 {
		var err error
		if out, err = r.decompress(b.codec, out); err != nil {
			return nil, err
		}
	}
	if int64(len(out)) < want {
		return nil, malformed("buffer %d has %d bytes, want %d", i, len(out), want)
	}
	return out, nil
}

// decompress returns the content of a compressed buffer, of which readBatch has checked
// the size that it says.
func (r *Reader) decompress(codec int, raw []byte) ([]byte, error) {
	said := int64(binary.LittleEndian.Uint64(raw))
	raw = raw[8:]
	if said < 0 {
		return raw, nil
	}
	size := int(said)
	if cap(r.arena)-len(r.arena) < size { // what was returned before stays where it is
		r.arena = make([]byte, 0, max(size, 2*cap(r.arena)))
	}
	from := len(r.arena)
	out := r.arena[from : from+size : from+size]
	r.arena = r.arena[:from+size]
	var err error
	switch codec {
	case codecLZ4:
		if r.lz4 == nil {
			r.lz4 = lz4.NewReader(nil)
		}
		r.lz4.Reset(bytes.NewReader(raw))
		if _, err = io.ReadFull(r.lz4, out); err != nil {
			break
		}
		if _, err = io.ReadFull(r.lz4, r.spare[:]); err == nil {
			err = malformed("it has more than %d bytes", size)
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	default:
		if r.zstd == nil {
			if r.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(r.limit))); err != nil {
				return nil, err
			}
		}
		if out, err = r.zstd.DecodeAll(raw, out[:0]); err == nil && len(out) != size {
			err = malformed("it has %d bytes and not %d", len(out), size)
		}
	}
	if err != nil {
		return nil, malformed("a buffer cannot be decompressed: %v", err)
	}
	return out, nil
}

// readDictionary keeps the entries of a dictionary that some column of texts refers to.
func (r *Reader) readDictionary(m message) error {
	number, ok1 := m.header.Uint(4, 8, 0)
	values, ok2 := m.header.Table(6)
	delta, ok3 := m.header.Uint(8, 1, 0)
	if !ok1 || !ok2 || !ok3 {
		return malformed("a dictionary reaches outside of its message")
	}
	id := int64(number)
	typ := r.schema.dictionaries[id]
	if typ == nil {
		return nil
	}
	width := textWidth(typ)
	b, err := r.readBatch(values, m.body, 1, 3)
	if err != nil {
		return err
	}
	if b.rows > maxDictionary {
		return tooLarge("dictionary %d has %d entries, at most %d are allowed", id, b.rows, maxDictionary)
	}
	c, err := r.texts(&b, 0, 0, width)
	if err != nil {
		return err
	}
	d := r.dictionary(id)
	if delta == 0 || !d.seen {
		d.offsets, d.data = d.offsets[:0], d.data[:0]
		d.Version++
	}
	d.seen = true
	if c.Rows == 0 {
		return nil
	}
	if d.Len()+c.Rows > maxDictionary || len(d.data)+len(c.Data) > r.limit {
		return tooLarge("dictionary %d has more than %d entries or %d bytes", id, maxDictionary, r.limit)
	}
	if len(d.offsets) == 0 {
		d.offsets = append(d.offsets, 0)
	}
	from, to := offsetAt(c.Offsets, 0, width), offsetAt(c.Offsets, c.Rows, width)
	shift := uint32(len(d.data)) - uint32(from)
	d.data = append(d.data, c.Data[from:to]...)
	for row := 1; row <= c.Rows; row++ {
		d.offsets = append(d.offsets, uint32(offsetAt(c.Offsets, row, width))+shift)
	}
	return nil
}

// dictionary returns the dictionary of an id, most often the same one in each stream. A
// stream has no more of them than its schema has fields.
func (r *Reader) dictionary(id int64) *Dictionary {
	d := r.dictionaries[id]
	if d == nil {
		d = &Dictionary{}
		r.dictionaries[id] = d
	}
	return d
}

func offsetAt(offsets []byte, i, width int) uint64 {
	if width == 4 {
		return uint64(binary.LittleEndian.Uint32(offsets[4*i:]))
	}
	return binary.LittleEndian.Uint64(offsets[8*i:])
}

// Column returns a column of the batch that Next went to. Its type must be one that the
// reader does not pass over.
func (r *Reader) Column(i int) (c Column, err error) {
	f, b := &r.schema.Fields[i], &r.batch
	typ := f.Type
	if f.Index != nil {
		typ = f.Index
	}
	if typ.ID() == arrow.NULL {
		return Column{Rows: b.rows, Valid: r.nulls(b.rows)}, nil
	}
	if width := textWidth(typ); width > 0 {
		return r.texts(b, f.node, f.buffer, width)
	}
	if c, err = r.validity(b, f.node, f.buffer); err != nil {
		return c, err
	}
	bits := typ.(arrow.FixedWidthDataType).BitWidth()
	if c.Values, err = r.buffer(b, f.buffer+1, (int64(b.rows)*int64(bits)+7)/8); err != nil {
		return c, err
	}
	if f.Index != nil {
		c.Dictionary = r.dictionary(f.dictionary)
		if !c.Dictionary.seen {
			return c, malformed("column %.120q has no dictionary", f.Name)
		}
	}
	return c, nil
}

// nulls returns a bitmap of nothing but nulls.
func (r *Reader) nulls(rows int) []byte {
	n := (rows + 7) / 8
	if cap(r.arena)-len(r.arena) < n {
		r.arena = make([]byte, 0, max(n, 2*cap(r.arena)))
	}
	from := len(r.arena)
	r.arena = r.arena[:from+n]
	out := r.arena[from : from+n : from+n]
	clear(out)
	return out
}

// validity returns a column of which only that is set.
func (r *Reader) validity(b *batch, node, buffer int) (c Column, err error) {
	rows, nulls := b.node(node)
	if rows != int64(b.rows) || nulls > rows {
		return c, malformed("a column has %d rows and %d nulls in a batch of %d", rows, nulls, b.rows)
	}
	c.Rows = b.rows
	if nulls != 0 { // -1 where they were not counted
		if c.Valid, err = r.buffer(b, buffer, int64(b.rows+7)/8); err != nil {
			return c, err
		}
	}
	return c, nil
}

// texts returns a column of variable length, its offsets checked.
func (r *Reader) texts(b *batch, node, buffer, width int) (c Column, err error) {
	if c, err = r.validity(b, node, buffer); err != nil || c.Rows == 0 {
		return c, err
	}
	if c.Offsets, err = r.buffer(b, buffer+1, int64(c.Rows+1)*int64(width)); err != nil {
		return c, err
	}
	if c.Data, err = r.buffer(b, buffer+2, 0); err != nil {
		return c, err
	}
	last := offsetAt(c.Offsets, 0, width)
	for row := 1; row <= c.Rows; row++ {
		next := offsetAt(c.Offsets, row, width)
		if next < last {
			return c, malformed("text %d is [%d, %d)", row-1, last, next)
		}
		last = next
	}
	if last > uint64(len(c.Data)) {
		return c, malformed("texts reach to byte %d of %d", last, len(c.Data))
	}
	return c, nil
}
