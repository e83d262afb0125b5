package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/millrace/millrace/schemas/arrowipc"
)

// ipcBuffer reads a buffer from its start to its end.
type ipcBuffer struct {
	r     io.Reader
	size  int64 // as it lies in the file
	left  int64 // bytes, decompressed; what it says
	chunk []byte

	lz4  *lz4.Reader
	zstd *zstd.Decoder
}

// open goes to a buffer of the batch.
func (f *ipcBuffer) open(s *ipcScan, b *ipcBatch, i int) error {
	from, size, err := b.Extent(i, b.message.BodyBytes)
	if err != nil {
		return err
	}
	section := io.NewSectionReader(b.message.body, b.message.from+from, size)
	f.size, f.left, f.r = size, size, section
	if b.Codec == arrowipc.CodecNone || size == 0 {
		return nil
	}
	var prefix [8]byte
	if _, err := io.ReadFull(section, prefix[:]); err != nil {
		return errBuffer
	}
	said := int64(binary.LittleEndian.Uint64(prefix[:]))
	if said < 0 { // stored
		f.left -= 8
		return nil
	}
	f.left = said
	if b.Codec == arrowipc.CodecLZ4 {
		if f.lz4 == nil {
			f.lz4 = lz4.NewReader(nil)
		}
		f.lz4.Reset(section)
		f.r = f.lz4
		return nil
	}
	if f.zstd == nil {
		var err error
		if f.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow)); err != nil {
			return err
		}
		s.decoders = append(s.decoders, f.zstd)
	}
	f.r = f.zstd
	return f.zstd.Reset(section)
}

const maxWindow = 128 << 20

var errBuffer = errors.New("a buffer is shorter than its rows need, or cannot be decompressed")

// next returns the next n bytes, valid until the next call.
func (f *ipcBuffer) next(m *budget, n int) ([]byte, error) {
	if int64(n) > f.left {
		return nil, errBuffer
	}
	f.left -= int64(n)
	var err error
	if f.chunk, err = m.grow(f.chunk, n); err != nil {
		return nil, err
	}
	if n > 0 {
		if _, err := io.ReadFull(f.r, f.chunk); err != nil {
			return nil, fmt.Errorf("%w: %w", errBuffer, err)
		}
	}
	return f.chunk, nil
}

// skip passes over n bytes.
func (f *ipcBuffer) skip(n int64) error {
	if n > f.left {
		return errBuffer
	}
	f.left -= n
	if section, ok := f.r.(*io.SectionReader); ok {
		_, err := section.Seek(n, io.SeekCurrent)
		return err
	}
	if _, err := io.CopyN(io.Discard, f.r, n); err != nil {
		return errBuffer
	}
	return nil
}

// ipcBits reads a bitmap as one byte a bit.
type ipcBits struct {
	ipcBuffer
	last byte
	have int // bits of last that were not read
	out  []byte
}

func (f *ipcBits) bits(m *budget, n int) ([]byte, error) {
	var err error
	if f.out, err = m.grow(f.out, n); err != nil {
		return nil, err
	}
	raw, err := f.next(m, (max(0, n-f.have)+7)/8)
	if err != nil {
		return nil, err
	}
	for i := range f.out {
		if f.have == 0 {
			f.last, raw, f.have = raw[0], raw[1:], 8
		}
		f.out[i] = f.last & 1
		f.last >>= 1
		f.have--
	}
	return f.out, nil
}

// ipcColumn reads a column, record batch after record batch.
type ipcColumn struct {
	*ipcField
	scan   *ipcScan
	errors int64 // values that the column's type cannot hold

	nulls   bool
	valid   ipcBits
	values  ipcBits // values, indices, offsets or views
	data    ipcBuffer
	at      int64 // the offset that was read last
	started bool
	viewed  [][]byte // data buffers of views
}

func (c *ipcColumn) open(b *ipcBatch) error {
	rows, nulls := b.Node(c.Node)
	if rows != b.Rows {
		return fmt.Errorf("it has %d rows in a batch of %d", rows, b.Rows)
	}
	if c.Stored.ID == arrowipc.Null && c.Dictionary < 0 {
		return nil
	}
	at := c.Buffer
	for _, n := range b.Views[:c.View] {
		at += n
	}
	if err := c.valid.open(c.scan, b, at); err != nil {
		return err
	}
	if err := c.values.open(c.scan, b, at+1); err != nil {
		return err
	}
	c.nulls, c.started, c.valid.have, c.values.have = nulls != 0 && c.valid.size > 0, false, 0, 0
	if nulls > 0 && !c.nulls && rows > 0 {
		return errors.New("it has nulls, and does not say which")
	}
	if c.Dictionary >= 0 {
		return nil
	}
	if c.offset > 0 {
		return c.data.open(c.scan, b, at+2)
	}
	if c.Stored.IsView() {
		return c.openViews(b, at+2, b.Views[c.View])
	}
	return nil
}

// openViews reads the data buffers of views, to which these refer in any order.
func (c *ipcColumn) openViews(b *ipcBatch, at, n int) error {
	for len(c.viewed) < n {
		c.viewed = append(c.viewed, nil)
	}
	for i := range n {
		if err := c.data.open(c.scan, b, at+i); err != nil {
			return err
		}
		c.data.chunk = c.viewed[i]
		whole, err := c.data.next(&c.scan.memory, int(min(c.data.left, maxBuffer+1)))
		if err != nil {
			return err
		}
		c.viewed[i], c.data.chunk = whole, nil
	}
	for i := n; i < len(c.viewed); i++ {
		c.viewed[i] = c.viewed[i][:0]
	}
	return nil
}

// append reads n rows into b.
func (c *ipcColumn) append(b *builder, n int) error {
	m := &c.scan.memory
	if c.Stored.ID == arrowipc.Null && c.Dictionary < 0 {
		for range n {
			b.appendNull()
		}
		return nil
	}
	var present []byte
	if c.nulls {
		var err error
		if present, err = c.valid.bits(m, n); err != nil {
			return err
		}
	}
	switch {
	case c.Dictionary >= 0:
		return c.appendIndexed(b, present, n)
	case c.offset > 0:
		return c.appendTexts(b, present, n)
	case c.kind == kindBool:
		bits, err := c.values.bits(m, n)
		if err != nil {
			return err
		}
		mark(b, present)
		b.b8 = append(b.b8, bits...)
		b.n += n
		return nil
	}
	raw, err := c.values.next(m, n*c.width)
	if err != nil {
		return err
	}
	if c.put == nil && c.kind != kindText {
		mark(b, present)
		if c.width == 4 {
			b.b32 = append(b.b32, raw...)
		} else {
			b.b64 = append(b.b64, raw...)
		}
		b.n += n
		return nil
	}
	for i := range n {
		v := raw[i*c.width:][:c.width]
		if present != nil && present[i] == 0 {
			b.appendNull()
			continue
		}
		if c.put == nil {
			if err := c.appendView(b, v); err != nil {
				return err
			}
			continue
		}
		row := b.n
		if !c.put(b, v) {
			if b.n == row {
				return fmt.Errorf("a batch holds more than %d MiB of text", maxText>>20)
			}
			c.errors++
			b.setNull(row)
		}
	}
	return nil
}

// mark sets the nulls among the rows that are appended next.
func mark(b *builder, present []byte) {
	for i, p := range present {
		if p == 0 {
			b.setNull(b.n + i)
		}
	}
}

func (c *ipcColumn) appendIndexed(b *builder, present []byte, n int) error {
	d := c.scan.dictionaries[c.Dictionary]
	if !d.seen {
		return errors.New("its dictionary is missing")
	}
	raw, err := c.values.next(&c.scan.memory, n*c.index.width)
	if err != nil {
		return err
	}
	v := &d.values
	for row := range n {
		if present != nil && present[row] == 0 {
			b.appendNull()
			continue
		}
		i := littleEndian(raw[row*c.index.width:][:c.index.width], c.index.signed)
		if i < 0 || i >= int64(v.n) {
			return fmt.Errorf("a row refers to entry %d of a dictionary of %d", i, v.n)
		}
		if v.nulls > 0 && int(i>>3) < len(v.valid) && v.valid[i>>3]&(1<<(i&7)) == 0 {
			b.appendNull()
			continue
		}
		switch c.kind {
		case kindText:
			if err := b.appendText(v.text[v.offsets[i]:v.offsets[i+1]]); err != nil {
				return err
			}
		case kindBool:
			b.b8 = append(b.b8, v.b8[i])
			b.n++
		case kindDate, kindFloat32:
			b.b32 = append(b.b32, v.b32[4*i:4*i+4]...)
			b.n++
		default:
			b.b64 = append(b.b64, v.b64[8*i:8*i+8]...)
			b.n++
		}
	}
	return nil
}

func (c *ipcColumn) appendTexts(b *builder, present []byte, n int) error {
	m := &c.scan.memory
	if !c.started {
		first, err := c.values.next(m, c.offset)
		if err != nil {
			return err
		}
		c.at, c.started = littleEndian(first, true), true
		if c.at < 0 {
			return errOffsets
		}
		if err := c.data.skip(c.at); err != nil {
			return err
		}
	}
	raw, err := c.values.next(m, n*c.offset)
	if err != nil {
		return err
	}
	from, shift := c.at, int64(len(b.text))-c.at
	for i := range n {
		next := littleEndian(raw[i*c.offset:][:c.offset], true)
		if next < c.at {
			return errOffsets
		}
		if next+shift > maxText {
			return b.take(maxText + 1)
		}
		c.at = next
		b.offsets = append(b.offsets, int32(next+shift))
	}
	if err := b.take(int(c.at - from)); err != nil {
		return err
	}
	data, err := c.data.next(m, int(c.at-from))
	if err != nil {
		return err
	}
	mark(b, present)
	b.text = append(b.text, data...)
	b.n += n
	return nil
}

var errOffsets = errors.New("the offsets of its texts are out of order")

// appendView appends a text of a view: up to twelve bytes lie in the view itself.
func (c *ipcColumn) appendView(b *builder, v []byte) error {
	n := int(int32(binary.LittleEndian.Uint32(v)))
	if n >= 0 && n <= 12 {
		return b.appendText(v[4 : 4+n])
	}
	i, from := int(int32(binary.LittleEndian.Uint32(v[8:]))), int(int32(binary.LittleEndian.Uint32(v[12:])))
	if n < 0 || i < 0 || i >= len(c.viewed) || from < 0 || from > len(c.viewed[i]) || n > len(c.viewed[i])-from {
		return errOffsets
	}
	return b.appendText(c.viewed[i][from : from+n])
}
