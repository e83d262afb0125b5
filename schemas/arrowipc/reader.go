package arrowipc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Bounds of what a stream may hold. Rows of columns without buffers cost a stream nothing.
const (
	MaxRows       = 1 << 22 // of all record batches
	maxDictionary = 1 << 18 // entries of one dictionary
	maxSchemas    = 8       // that a reader remembers
	maxKnown      = 1 << 20 // bytes of their messages together
	maxKept       = 8 << 20 // bytes of a buffer that is kept for the next stream, and of all dictionaries together
	keptIDs       = 1 << 10 // dictionaries that are kept for the next stream
)

// Reader reads streams. What it returns is valid until the next call of Next or Reset. It
// is not safe for concurrent use.
type Reader struct {
	limit     int // bytes that all buffers of a stream may take, decompressed
	strict    bool
	most      int // schemas that it remembers
	mostBytes int // of their messages together, if it is more than one

	known        []*Schema // latest first
	schema       *Schema
	messages     []byte // behind the schema's
	rest         []byte // of them
	dictionaries map[int64]*Dictionary
	batch        batch
	rows         int // of all batches so far
	total        int // decompressed bytes of all buffers so far
	arena        []byte

	lz4   *lz4.Reader
	zstd  *zstd.Decoder
	spare [1]byte
}

// batch is a record batch, or the entries of a dictionary.
type batch struct {
	RecordBatch
	rows int
	body []byte
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
	return &Reader{limit: limit, most: maxSchemas, mostBytes: maxKnown, dictionaries: map[int64]*Dictionary{}}
}

// NewStrictReader returns a reader of streams that others will read who look less closely: it
// refuses what the format forbids or leaves open, and NewReader lets pass. Those are metadata of
// version 4, messages and buffers at other places than multiples of eight bytes, nulls that are
// not counted, and such in columns that have none by the schema or among the entries of a
// dictionary, dictionaries that no column has or two columns share, and what begins one without
// being all of it. It remembers so many schemas, of messages of so many bytes together.
func NewStrictReader(limit, schemas, bytes int) *Reader {
	r := NewReader(limit)
	r.strict, r.most, r.mostBytes = true, schemas, bytes
	return r
}

// Reset starts a stream with its schema. The same schema message, byte by byte, gives the
// same *Schema for as long as the reader remembers it.
func (r *Reader) Reset(stream []byte) (*Schema, error) {
	m, rest, err := nextMessage(stream)
	if err != nil {
		return nil, err
	}
	if m.Kind != KindSchema || len(m.body) != 0 {
		return nil, malformed("its first message is no schema")
	}
	s, err := r.schemaOf(m)
	if err != nil {
		return nil, err
	}
	r.Resume(s, rest)
	return s, nil
}

// Messages returns what follows the schema in the stream, without the mark of its end. It is
// known when Next has found the end.
func (r *Reader) Messages() []byte { return r.messages }

// Resume starts a stream behind its schema, with one that Reset has returned. It is as if the
// stream began with that schema.
func (r *Reader) Resume(s *Schema, messages []byte) {
	r.rows, r.total, r.batch = 0, 0, batch{}
	r.schema, r.messages, r.rest = s, messages, messages
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
}

// schemaOf returns the schema of a message, and remembers it.
func (r *Reader) schemaOf(m Message) (*Schema, error) {
	i := slices.IndexFunc(r.known, func(s *Schema) bool { return bytes.Equal(s.message, m.raw) })
	if i < 0 {
		if r.strict {
			if err := m.aligned(); err != nil {
				return nil, err
			}
		}
		s, err := m.Schema(readerFields, r.strict)
		if err != nil {
			return nil, err
		}
		if s.Views > 0 {
			return nil, malformed("it has columns of views, which are not read")
		}
		s.message = bytes.Clone(m.raw)
		i = min(len(r.known), r.most-1)
		r.known = append(r.known[:i], s)
	}
	s := r.known[i]
	if i > 0 {
		copy(r.known[1:i+1], r.known[:i])
		r.known[0] = s
	}
	for total, i := len(s.message), 1; i < len(r.known); i++ {
		if total += len(r.known[i].message); total > r.mostBytes {
			clear(r.known[i:])
			r.known = r.known[:i]
		}
	}
	return s, nil
}

// Forget forgets the schema of the stream, of which no record can be used. The stream
// cannot be read further.
func (r *Reader) Forget() {
	r.known = slices.Delete(r.known, 0, 1)
	r.schema, r.messages, r.rest = nil, nil, nil
}

// Knows tells whether the reader remembers a schema.
func (r *Reader) Knows(s *Schema) bool {
	return slices.Contains(r.known, s)
}

// Next goes to the next record batch that has rows; a strict reader's to one that has none as
// well. ok is false at the end of the stream.
func (r *Reader) Next() (rows int, ok bool, err error) {
	r.arena = r.arena[:0]
	for {
		m, rest, err := nextMessage(r.rest)
		if err != nil {
			return 0, false, err
		}
		if m.Kind == KindEnd {
			if len(rest) > 0 {
				return 0, false, malformed("%d bytes follow its end", len(rest))
			}
			r.messages = r.messages[:len(r.messages)-len(r.rest)]
			r.rest = nil
			return 0, false, nil
		}
		r.rest = rest
		if r.strict {
			if err := m.aligned(); err != nil {
				return 0, false, err
			}
		}
		switch m.Kind {
		case KindDictionary:
			if err := r.readDictionary(m); err != nil {
				return 0, false, err
			}
		case KindRecordBatch:
			header, err := m.RecordBatch(r.schema)
			if err != nil {
				return 0, false, err
			}
			if r.batch, err = r.readBatch(header, m.body, r.schema.Buffers); err != nil {
				return 0, false, err
			}
			if r.rows += r.batch.rows; r.rows > MaxRows {
				return 0, false, tooLarge("it has more than %d rows", MaxRows)
			}
			if r.batch.rows > 0 || r.strict {
				return r.batch.rows, true, nil
			}
		default:
			return 0, false, malformed("it has a second schema")
		}
	}
}

// readBatch checks where buffers lie, and what they take decompressed.
func (r *Reader) readBatch(header RecordBatch, body []byte, buffers int) (b batch, err error) {
	if header.Rows > MaxRows {
		return b, tooLarge("it has a batch of %d rows", header.Rows)
	}
	b = batch{header, int(header.Rows), body}
	for i := range buffers {
		from, size, err := b.Extent(i, int64(len(body)))
		if err != nil {
			return b, err
		}
		if r.strict && from%8 != 0 {
			return b, malformed("buffer %d starts at byte %d of its body, which is not aligned", i, from)
		}
		if b.Codec != CodecNone && size > 0 && size < 8 {
			return b, malformed("compressed buffer %d has %d bytes", i, size)
		}
		size = b.said(from, size)
		if size < 0 || size > int64(r.limit) {
			return b, tooLarge("buffer %d takes %d bytes", i, size)
		}
		if r.total += int(size); r.total > r.limit {
			return b, tooLarge("its buffers take more than %d bytes", r.limit)
		}
	}
	return b, nil
}

// said returns what a buffer says that it has decompressed.
func (b *batch) said(from, size int64) int64 {
	if b.Codec == CodecNone || size == 0 {
		return size
	}
	if said := int64(binary.LittleEndian.Uint64(b.body[from:])); said != -1 {
		return said
	}
	return size - 8 // stored as it is
}

// stored returns a buffer as it is stored, of one that says that it has at least want bytes.
func (b *batch) stored(i int, want int64) ([]byte, error) {
	from, size, err := b.Extent(i, int64(len(b.body)))
	if err != nil {
		return nil, err
	}
	if said := b.said(from, size); said < want {
		return nil, malformed("buffer %d has %d bytes, want %d", i, said, want)
	}
	return b.body[from : from+size : from+size], nil
}

// buffer returns a buffer of at least want bytes: a slice of the stream or of the arena.
func (r *Reader) buffer(b *batch, i int, want int64) ([]byte, error) {
	out, err := b.stored(i, want)
	if err == nil && b.Codec != CodecNone && len(out) > 0 {
		out, err = r.decompress(b.Codec, out)
	}
	return out, err
}

// decompress returns the content of a compressed buffer, of which readBatch has checked
// the size that it says.
func (r *Reader) decompress(codec Codec, raw []byte) ([]byte, error) {
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
	case CodecLZ4:
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
func (r *Reader) readDictionary(m Message) error {
	header, err := m.Dictionary()
	if err != nil {
		return err
	}
	id := header.ID
	typ := r.schema.dictionaries[id]
	width := typ.OffsetBytes()
	if width == 0 {
		if r.strict {
			return malformed("dictionary %d belongs to no column of texts", id)
		}
		return nil
	}
	entries, err := header.Entries(typ)
	if err != nil {
		return err
	}
	b, err := r.readBatch(entries, m.body, 3)
	if err != nil {
		return err
	}
	if b.rows > maxDictionary {
		return tooLarge("dictionary %d has %d entries, at most %d are allowed", id, b.rows, maxDictionary)
	}
	c, err := r.texts(&b, 0, 0, width, false)
	if err != nil {
		return fmt.Errorf("%w, of dictionary %d", err, id)
	}
	d := r.dictionary(id)
	if r.strict && header.Delta && !d.seen {
		return malformed("dictionary %d starts with a delta", id)
	}
	if !header.Delta || !d.seen {
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
	} else if typ.ID() == arrow.NULL {
		return Column{Rows: b.rows, Valid: r.nulls(b.rows)}, nil
	} else if width := f.Stored.OffsetBytes(); width > 0 {
		return r.texts(b, f.Node, f.Buffer, width, f.Nullable)
	}
	if c, err = r.validity(b, f.Node, f.Buffer, f.Nullable); err != nil {
		return c, err
	}
	bits := typ.(arrow.FixedWidthDataType).BitWidth()
	if c.Values, err = r.buffer(b, f.Buffer+1, (int64(b.rows)*int64(bits)+7)/8); err != nil {
		return c, err
	}
	if f.Index != nil {
		c.Dictionary = r.dictionary(f.Dictionary)
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

// Check checks a column of the batch that Next went to as Column does, but that what is compressed
// can be decompressed.
func (r *Reader) Check(i int) error {
	f, b := &r.schema.Fields[i], &r.batch
	bits, ok := f.Type.(arrow.FixedWidthDataType)
	if !ok || f.Index != nil {
		_, err := r.Column(i)
		return err
	}
	nulls, err := r.nullsOf(b, f.Node, f.Nullable)
	if err == nil && nulls != 0 {
		_, err = b.stored(f.Buffer, int64(b.rows+7)/8)
	}
	if err == nil {
		_, err = b.stored(f.Buffer+1, (int64(b.rows)*int64(bits.BitWidth())+7)/8)
	}
	return err
}

// nullsOf returns how many nulls a column has, -1 where they were not counted.
func (r *Reader) nullsOf(b *batch, node int, nullable bool) (int64, error) {
	rows, nulls := b.Node(node)
	if r.strict && (nulls < 0 || nulls > 0 && !nullable) {
		return 0, malformed("a column has %d nulls, and is not nullable or has not counted them", nulls)
	}
	if rows != int64(b.rows) || nulls > rows {
		return 0, malformed("a column has %d rows and %d nulls in a batch of %d", rows, nulls, b.rows)
	}
	return nulls, nil
}

// validity returns a column of which only that is set.
func (r *Reader) validity(b *batch, node, buffer int, nullable bool) (c Column, err error) {
	nulls, err := r.nullsOf(b, node, nullable)
	if err != nil {
		return c, err
	}
	c.Rows = b.rows
	if nulls != 0 {
		if c.Valid, err = r.buffer(b, buffer, int64(b.rows+7)/8); err != nil {
			return c, err
		}
	}
	return c, nil
}

// texts returns a column of variable length, its offsets checked.
func (r *Reader) texts(b *batch, node, buffer, width int, nullable bool) (c Column, err error) {
	if c, err = r.validity(b, node, buffer, nullable); err != nil || c.Rows == 0 {
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
