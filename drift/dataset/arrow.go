package dataset

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/millrace/millrace/schemas/arrowipc"
)

// arrowSource reads Arrow IPC. The buffers of a record batch are read in step, a window of
// rows at a time, so that a file of one batch costs no more than one of many; the arrow
// module takes the memory that a message claims, and panics.
type arrowSource struct {
	base
	input    func(ctx context.Context) (ipcInput, error)
	ipc      *ipcTable
	file     *os.File // nil for a stream
	columnar bool
}

var ipcMagic = []byte("ARROW1")

func openArrow(t base, file *os.File, size int64) (Source, error) {
	var head [8]byte
	if n, err := file.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else if n < len(head) {
		return nil, fmt.Errorf("it has %d bytes, too few for Arrow IPC", size)
	}
	in := ipcFile{r: file, end: size}
	switch {
	case bytes.HasPrefix(head[:], []byte("FEA1")):
		return nil, errors.New("it is Feather of version 1: write it again, with version 2")
	case bytes.HasPrefix(head[:], ipcMagic):
		var tail [10]byte
		if _, err := file.ReadAt(tail[:], size-10); err != nil || !bytes.Equal(tail[4:], ipcMagic) {
			return nil, errors.New("it is cut short: an Arrow file ends with ARROW1, and this one does not")
		}
		footer := int64(binary.LittleEndian.Uint32(tail[:]))
		if footer > size-18 {
			return nil, fmt.Errorf("its footer says that it has %d bytes, of a file of %d", footer, size)
		}
		in.at, in.end = 8, size-10-footer
	case binary.LittleEndian.Uint32(head[:]) != 0xffffffff:
		return nil, errors.New("it is no Arrow IPC: it starts neither with ARROW1 nor with a message")
	}
	t.options.Types = nil // withTypes applies them
	s := &arrowSource{base: t, file: file, columnar: true}
	s.input = func(context.Context) (ipcInput, error) {
		fresh := in
		return &fresh, nil
	}
	return s, s.readSchema(context.Background())
}

// FromArrowStream returns the table that open answers as an Arrow IPC stream, such as a
// query of ClickHouse with FORMAT ArrowStream. It is asked once for the schema, and again
// for each scan. Only Types and BatchRows of the options are looked at.
func FromArrowStream(ctx context.Context, name string, open func(context.Context) (io.ReadCloser, error), o Options) (Source, error) {
	s := &arrowSource{base: newBase(name, o)}
	s.options.Types = nil // withTypes applies them
	s.input = func(ctx context.Context) (ipcInput, error) {
		r, err := open(ctx)
		if err != nil {
			return nil, err
		}
		return &ipcStream{ReadCloser: r}, nil
	}
	if err := s.readSchemaSafely(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	typed, err := withTypes(s, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return typed, nil
}

func (s *arrowSource) readSchemaSafely(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it is broken: %v", p)
		}
	}()
	return s.readSchema(ctx)
}

func (s *arrowSource) readSchema(ctx context.Context) error {
	in, err := s.input(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	if s.ipc, err = schemaOf(in); err != nil {
		return err
	}
	fields := make([]arrow.Field, 0, len(s.ipc.fields))
	kept := s.ipc.fields[:0]
	for _, f := range s.ipc.fields {
		if !isPandasIndex(f.Name) {
			kept, fields = append(kept, f), append(fields, f.arrowField())
		}
	}
	s.ipc.fields = kept
	if err := s.setSchema(fields); err != nil {
		return err
	}
	return s.findRows(in)
}

// findRows refuses a table that has none.
func (s *arrowSource) findRows(in ipcInput) error {
	for {
		m, err := in.next()
		if err != nil {
			return err
		}
		if m == nil {
			return errNoRows
		}
		if m.Kind == arrowipc.KindRecordBatch {
			if b, err := m.RecordBatch(s.ipc.Schema); err != nil || b.Rows > 0 {
				return err
			}
		}
	}
}

func schemaOf(in ipcInput) (*ipcTable, error) {
	m, err := in.next()
	if err != nil {
		return nil, err
	}
	if m == nil || m.Kind != arrowipc.KindSchema {
		return nil, errors.New("its first message is no schema")
	}
	return readIPCSchema(m)
}

func (s *arrowSource) Columnar() bool { return s.columnar }

func (s *arrowSource) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

func (s *arrowSource) Scan(ctx context.Context, columns []int, f func(arrow.Record) error) (err error) {
	if err := s.check(columns); err != nil {
		return err
	}
	in, err := s.input(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	defer func() {
		if closing := in.Close(); err == nil && closing != nil {
			err = fmt.Errorf("%s: %w", s.name, closing)
		}
	}()
	scan := &ipcScan{source: s, in: in, builders: newBuilders(s.schema, columns, s.options.BatchRows), dictionaries: map[int64]*ipcDictionaryValues{}}
	defer scan.close()
	for _, i := range columns {
		field := s.ipc.fields[i]
		scan.columns = append(scan.columns, &ipcColumn{ipcField: field, scan: scan})
		if field.Dictionary >= 0 && scan.dictionaries[field.Dictionary] == nil {
			entries := *field
			entries.Dictionary, entries.Node, entries.Buffer, entries.View = -1, 0, 0, 0
			scan.dictionaries[field.Dictionary] = &ipcDictionaryValues{column: &ipcColumn{ipcField: &entries, scan: scan}}
		}
	}
	if err := s.scan(ctx, scan.next, f); err != nil {
		return err
	}
	for i, c := range scan.columns {
		s.setTypeErrors(columns[i], c.errors)
	}
	return nil
}

// ipcScan is one scan.
type ipcScan struct {
	source       *arrowSource
	in           ipcInput
	started      bool
	builders     *builders
	columns      []*ipcColumn
	dictionaries map[int64]*ipcDictionaryValues
	memory       budget
	left         int64 // rows of the record batch
	decoders     []*zstd.Decoder
}

// ipcDictionaryValues are what indices refer to.
type ipcDictionaryValues struct {
	column *ipcColumn
	values builder
	seen   bool
	bytes  int
}

func (s *ipcScan) next() (arrow.Record, error) {
	if !s.started {
		s.started = true
		now, err := schemaOf(s.in)
		if err != nil {
			return nil, err
		}
		if now.Nodes != s.source.ipc.Nodes || now.Buffers != s.source.ipc.Buffers || now.Views != s.source.ipc.Views {
			return nil, errors.New("its schema changed between two reads")
		}
	}
	for s.left == 0 {
		m, err := s.in.next()
		if m == nil || err != nil {
			return nil, err
		}
		switch m.Kind {
		case arrowipc.KindDictionary:
			err = s.readDictionary(m)
		case arrowipc.KindRecordBatch:
			err = s.openBatch(m)
		default:
			err = errors.New("it has a second schema")
		}
		if err != nil {
			return nil, err
		}
	}
	most := int(min(s.left, int64(s.builders.rows)))
	s.builders.reset(most)
	rows := 0
	for rows < most && !s.builders.full() {
		n := most - rows
		if s.builders.texts {
			n = min(n, stepRows)
		}
		for i, c := range s.columns {
			if err := c.append(&s.builders.columns[i], n); err != nil {
				return nil, fmt.Errorf("column %q: %w", c.Name, err)
			}
		}
		rows += n
	}
	s.left -= int64(rows)
	return s.builders.record(rows), nil
}

func (s *ipcScan) close() {
	for _, d := range s.decoders {
		d.Close()
	}
}

func (s *ipcScan) openBatch(m *ipcMessage) error {
	header, err := m.RecordBatch(s.source.ipc.Schema)
	if err != nil {
		return err
	}
	b := &ipcBatch{header, m}
	for _, c := range s.columns {
		if err := c.open(b); err != nil {
			return fmt.Errorf("column %q: %w", c.Name, err)
		}
	}
	s.left = b.Rows
	return nil
}

func (s *ipcScan) readDictionary(m *ipcMessage) error {
	header, err := m.Dictionary()
	if err != nil {
		return err
	}
	d := s.dictionaries[header.ID]
	if d == nil {
		return nil
	}
	c := d.column
	entries, err := header.Entries(c.Stored)
	if err != nil {
		return err
	}
	b := &ipcBatch{entries, m}
	if !d.seen || !header.Delta {
		d.values.kind = c.kind
		d.values.reset(0)
		s.memory.used -= d.bytes
		d.seen, d.bytes = true, 0
	}
	if err := c.open(b); err != nil {
		return fmt.Errorf("a dictionary: %w", err)
	}
	for left := b.Rows; left > 0; {
		n := int(min(left, stepRows))
		before := len(d.values.b8) + len(d.values.b32) + len(d.values.b64) + len(d.values.text) + 4*len(d.values.offsets)
		if err := c.append(&d.values, n); err != nil {
			return fmt.Errorf("a dictionary: %w", err)
		}
		more := len(d.values.b8) + len(d.values.b32) + len(d.values.b64) + len(d.values.text) + 4*len(d.values.offsets) - before
		d.bytes += more
		if s.memory.used += more; s.memory.used > maxScanMemory {
			return fmt.Errorf("its dictionaries take more than %d MiB", maxScanMemory>>20)
		}
		left -= int64(n)
	}
	return nil
}

// ipcBatch is a record batch, or the entries of a dictionary.
type ipcBatch struct {
	arrowipc.RecordBatch
	message *ipcMessage
}

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
