package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"

	"github.com/andybalholm/brotli"
	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/float16"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Bounds of what pages may take: one buffer, and all buffers of a scan.
const (
	maxBuffer     = 512 << 20
	maxScanMemory = 1 << 30
	maxPageHeader = 4 << 20
	maxDecimal    = 64 // bytes
)

// budget counts the bytes of a scan's buffers.
type budget struct{ used int }

// grow returns a buffer of n bytes whose content is any.
func (m *budget) grow(buf []byte, n int) ([]byte, error) {
	if n <= cap(buf) {
		return buf[:n], nil
	}
	size := max(n, min(2*cap(buf), n+n/4))
	if n > maxBuffer || m.used-cap(buf)+size > maxScanMemory {
		return buf, fmt.Errorf("it needs a buffer of %d bytes, which is too much beside the %d that are taken", n, m.used)
	}
	m.used += size - cap(buf)
	return make([]byte, n, size), nil
}

// Codecs and encodings of parquet.thrift.
const (
	codecNone = iota
	codecSnappy
	codecGzip
	codecLZO
	codecBrotli
	codecLZ4
	codecZstd
	codecLZ4Raw
)

const (
	encPlain             = 0
	encPlainDictionary   = 2
	encRLE               = 3
	encDelta             = 5
	encDeltaLength       = 6
	encDeltaBytes        = 7
	encDictionary        = 8
	encByteStreamSplit   = 9
	pageData             = 0
	pageDictionary       = 2
	pageDataV2           = 3
	headerView           = 4 << 10
	dictionaryPrefixSize = 4
)

// pageHeader is PageHeader of parquet.thrift with the one header in it.
type pageHeader struct {
	typ          int
	uncompressed int
	compressed   int
	values       int
	encoding     int
	levels       int // encoding of definition levels
	defLen       int
	repLen       int
	stored       bool // a page of version 2 whose values are not compressed
}

func readPageHeader(t *thrift) pageHeader {
	h := pageHeader{typ: -1, levels: encRLE}
	inner := func(version2 bool) func(id int, typ byte) bool {
		return func(id int, typ byte) bool {
			if version2 && id == 7 {
				h.stored = typ == thriftFalse
				return false
			}
			if typ != thriftI32 {
				return false
			}
			switch {
			case id == 1:
				h.values = int(t.int())
			case id == 2 && !version2 || id == 4 && version2:
				h.encoding = int(t.int())
			case id == 3 && !version2:
				h.levels = int(t.int())
			case id == 5 && version2:
				h.defLen = int(t.int())
			case id == 6 && version2:
				h.repLen = int(t.int())
			default:
				return false
			}
			return true
		}
	}
	t.structure(func(id int, typ byte) bool {
		switch {
		case typ == thriftI32 && id == 1:
			h.typ = int(t.int())
		case typ == thriftI32 && id == 2:
			h.uncompressed = int(t.int())
		case typ == thriftI32 && id == 3:
			h.compressed = int(t.int())
		case typ == thriftStruct && (id == 5 || id == 7 || id == 8):
			t.structure(inner(id == 8))
		default:
			return false
		}
		return true
	})
	return h
}

// pqColumn reads a column, row group after row group, page after page.
type pqColumn struct {
	*pqLeaf
	file   io.ReaderAt
	memory *budget
	errors int64 // values that the column's type cannot hold

	at, end int64 // of the chunk, in the file
	codec   int
	left    int64 // rows of the row group not yet read

	header   []byte // what was read ahead
	headerAt int64
	raw      []byte
	page     []byte

	rows     int // of the page, not yet read
	levels   hybrid
	encoding int
	values   []byte
	bit      int // of values, of the next boolean
	split    int // values of a page that is split by bytes, and those read
	splitAt  int
	indices  hybrid
	ints     delta
	prefixes delta
	last     []byte // text, for prefixes

	dictionary []byte
	entries    int
	starts     []byte // of texts in dictionary, four bytes each

	present []uint32
	index   []uint32
	fixed   []byte

	zstd *zstd.Decoder
	gzip *gzip.Reader
}

// start goes to a row group.
func (c *pqColumn) start(chunk *pqChunk, rows, size int64) error {
	switch {
	case chunk.encrypted:
		return errors.New("it is encrypted, which is not supported")
	case chunk.external:
		return errors.New("its values are in another file, which is not supported")
	case chunk.values != rows:
		return fmt.Errorf("it has %d values in a row group of %d rows", chunk.values, rows)
	case chunk.start < 4 || chunk.size < 0 || chunk.size > size || chunk.start > size-chunk.size:
		return fmt.Errorf("its values lie outside of the file: %d bytes from byte %d", chunk.size, chunk.start)
	}
	c.at, c.end, c.codec, c.left = chunk.start, chunk.start+chunk.size, chunk.codec, rows
	c.rows, c.entries, c.header = 0, -1, c.header[:0]
	return nil
}

// nextPage goes to the next page that has rows.
func (c *pqColumn) nextPage() error {
	for c.rows == 0 {
		if c.at >= c.end {
			return fmt.Errorf("it ends %d rows early", c.left)
		}
		h, err := c.readHeader()
		if err != nil {
			return err
		}
		if h.compressed < 0 || h.uncompressed < 0 || h.values < 0 || h.defLen < 0 || h.repLen < 0 || int64(h.compressed) > c.end-c.at {
			return errors.New("the header of a page is broken")
		}
		from := c.at
		c.at += int64(h.compressed)
		switch h.typ {
		case pageData, pageDataV2:
			if int64(h.values) > c.left {
				return fmt.Errorf("a page has %d rows where %d are left", h.values, c.left)
			}
			if h.values == 0 {
				continue
			}
			err = c.openPage(&h, from)
		case pageDictionary:
			err = c.openDictionary(&h, from)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readHeader reads a page header and moves behind it. Statistics may make it long.
func (c *pqColumn) readHeader() (h pageHeader, err error) {
	for size := int64(headerView); ; size *= 4 {
		view := c.header
		if used := c.at - c.headerAt; len(view) > 0 && used >= 0 && used < int64(len(view)) {
			view = view[used:]
		} else {
			view = nil
		}
		want := min(size, c.end-c.at)
		if size > headerView || len(view) == 0 {
			if c.header, err = c.memory.grow(c.header, int(want)); err != nil {
				return h, err
			}
			if _, err := c.file.ReadAt(c.header, c.at); err != nil {
				return h, err
			}
			c.headerAt, view = c.at, c.header
		}
		t := &thrift{b: view}
		if h = readPageHeader(t); !t.bad {
			c.at += int64(t.pos)
			return h, nil
		}
		if size >= maxPageHeader || int64(len(view)) >= c.end-c.at {
			return h, errors.New("the header of a page is broken")
		}
	}
}

// read returns the bytes of a page, decompressed but for the first plain ones.
func (c *pqColumn) read(buf []byte, h *pageHeader, from int64, plain int) ([]byte, error) {
	if plain > h.compressed || plain > h.uncompressed {
		return nil, errors.New("the header of a page is broken")
	}
	buf, err := c.memory.grow(buf, h.uncompressed)
	if err != nil {
		return nil, err
	}
	if c.codec == codecNone || h.stored {
		if h.compressed != h.uncompressed {
			return nil, errors.New("the header of a page is broken")
		}
		_, err = c.file.ReadAt(buf, from)
		return buf, err
	}
	if c.raw, err = c.memory.grow(c.raw, h.compressed); err != nil {
		return nil, err
	}
	if _, err := c.file.ReadAt(c.raw, from); err != nil {
		return nil, err
	}
	copy(buf, c.raw[:plain])
	if err := c.decompress(buf[plain:], c.raw[plain:]); err != nil {
		return nil, fmt.Errorf("a page cannot be decompressed: %w", err)
	}
	return buf, nil
}

var errLength = errors.New("its length is not what its header says")

// decompress fills dst, never writing behind it.
func (c *pqColumn) decompress(dst, src []byte) error {
	if len(dst) == 0 {
		return nil
	}
	switch c.codec {
	case codecSnappy:
		if n, err := snappy.DecodedLen(src); err != nil {
			return err
		} else if n != len(dst) {
			return errLength
		}
		_, err := snappy.Decode(dst, src)
		return err
	case codecZstd:
		if c.zstd == nil {
			var err error
			if c.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBuffer)); err != nil {
				return err
			}
		}
		if err := c.zstd.Reset(bytes.NewReader(src)); err != nil {
			return err
		}
		return readExactly(c.zstd, dst)
	case codecGzip:
		if c.gzip == nil {
			c.gzip = new(gzip.Reader)
		}
		if err := c.gzip.Reset(bytes.NewReader(src)); err != nil {
			return err
		}
		return readExactly(c.gzip, dst)
	case codecBrotli:
		return readExactly(brotli.NewReader(bytes.NewReader(src)), dst)
	case codecLZ4Raw:
		n, err := lz4.UncompressBlock(src, dst)
		if err == nil && n != len(dst) {
			err = errLength
		}
		return err
	default:
		return fmt.Errorf("its compression, number %d in parquet.thrift, is not supported: write the file with snappy or zstd", c.codec)
	}
}

// readExactly fills dst from r, which must end there.
func readExactly(r io.Reader, dst []byte) error {
	if _, err := io.ReadFull(r, dst); err != nil {
		return err
	}
	var one [1]byte
	if _, err := io.ReadFull(r, one[:]); err == nil {
		return errLength
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// openPage decodes the start of a page of values.
func (c *pqColumn) openPage(h *pageHeader, from int64) (err error) {
	c.page, err = c.read(c.page, h, from, h.defLen+h.repLen)
	if err != nil {
		return err
	}
	b := c.page
	switch {
	case h.typ == pageDataV2:
		c.levels = newHybrid(b[h.repLen:h.repLen+h.defLen], 1)
		b = b[h.repLen+h.defLen:]
	case c.optional:
		if h.levels != encRLE {
			return errors.New("its levels are bit-packed, which is not supported")
		}
		var levels []byte
		if levels, b, err = prefixed(b); err != nil {
			return err
		}
		c.levels = newHybrid(levels, 1)
	}
	c.rows, c.encoding, c.values = h.values, h.encoding, b
	return c.openValues(b, h.values)
}

// prefixed splits off a part that its length precedes.
func prefixed(b []byte) (part, rest []byte, err error) {
	if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
		return nil, nil, errValues
	}
	n := int(binary.LittleEndian.Uint32(b)) + 4
	return b[4:n], b[n:], nil
}

// openValues starts the decoder of the page's encoding.
func (c *pqColumn) openValues(b []byte, rows int) (err error) {
	text := c.physical == pqByteArray
	fits := false
	switch c.encoding {
	case encPlain:
		c.bit, fits = 0, true
	case encPlainDictionary, encDictionary:
		if c.entries < 0 {
			return errors.New("a page refers to a dictionary, and there is none")
		}
		width := 0
		if len(b) > 0 { // empty where all rows are null
			width, b = int(b[0]), b[1:]
		}
		if width > 32 {
			return errValues
		}
		c.encoding, c.indices, fits = encDictionary, newHybrid(b, width), c.physical != pqBoolean
	case encRLE:
		if len(b) == 0 {
			return nil
		}
		if b, _, err = prefixed(b); err != nil {
			return err
		}
		c.indices, fits = newHybrid(b, 1), c.physical == pqBoolean
	case encDelta:
		if c.ints, err = newDelta(b, rows); err != nil {
			return err
		}
		fits = c.physical == pqInt32 || c.physical == pqInt64
	case encDeltaLength:
		if c.ints, err = newDelta(b, rows); err != nil {
			return err
		}
		c.values, err = c.ints.rest()
		fits = text
	case encDeltaBytes:
		if c.prefixes, err = newDelta(b, rows); err != nil {
			return err
		}
		if b, err = c.prefixes.rest(); err != nil {
			return err
		}
		if c.ints, err = newDelta(b, rows); err != nil {
			return err
		}
		c.values, err = c.ints.rest()
		c.last, fits = c.last[:0], text || c.physical == pqFixed
	case encByteStreamSplit:
		fits = c.width > 0
		if fits {
			c.split, c.splitAt = len(b)/c.width, 0
		}
	}
	if err == nil && !fits {
		err = fmt.Errorf("a page's encoding, number %d in parquet.thrift, is not supported for its type", c.encoding)
	}
	return err
}

// openDictionary keeps the dictionary of the row group.
func (c *pqColumn) openDictionary(h *pageHeader, from int64) (err error) {
	if c.entries >= 0 || h.encoding != encPlain && h.encoding != encPlainDictionary {
		return errors.New("it has a second dictionary, or one that is not plain")
	}
	h.stored = false
	if c.dictionary, err = c.read(c.dictionary, h, from, 0); err != nil {
		return err
	}
	switch {
	case c.physical == pqBoolean:
		return errors.New("it has a dictionary of booleans")
	case c.width > 0:
		if h.values > len(c.dictionary)/c.width {
			return errValues
		}
	default:
		if h.values > len(c.dictionary)/dictionaryPrefixSize {
			return errValues
		}
		if c.starts, err = c.memory.grow(c.starts, 4*h.values); err != nil {
			return err
		}
		at := 0
		for i := range h.values {
			text, _, err := prefixed(c.dictionary[at:])
			if err != nil {
				return err
			}
			binary.LittleEndian.PutUint32(c.starts[4*i:], uint32(at))
			at += len(text) + dictionaryPrefixSize
		}
	}
	c.entries = h.values
	return nil
}

// append reads n rows of the row group into b.
func (c *pqColumn) append(b *builder, n int) error {
	for n > 0 {
		if err := c.nextPage(); err != nil {
			return err
		}
		k := min(n, c.rows)
		if err := c.appendPage(b, k); err != nil {
			return err
		}
		c.rows, c.left, n = c.rows-k, c.left-int64(k), n-k
	}
	return nil
}

// appendPage reads k rows of the page.
func (c *pqColumn) appendPage(b *builder, k int) error {
	c.present = c.present[:0]
	values := k
	if c.optional && !c.levels.ones(k) {
		c.present = resize(c.present, k)
		if err := c.levels.read(c.present); err != nil {
			return err
		}
		values = 0
		for _, v := range c.present {
			values += int(v)
		}
	}
	if c.physical == pqByteArray || c.physical == pqFixed && c.encoding == encDeltaBytes {
		return c.appendTexts(b, k)
	}
	raw, err := c.readFixed(values)
	if err != nil {
		return err
	}
	if c.kind == kindFloat64 && c.physical == pqDouble || c.physical == pqInt64 && (c.kind == kindInt64 || c.kind == kindUint64 || c.logical == pqMicros && c.kind == kindTimestamp) {
		b.b64 = c.spread(b, b.b64, raw, 8, k)
		return nil
	}
	if c.kind == kindFloat32 && c.physical == pqFloat || c.kind == kindDate {
		b.b32 = c.spread(b, b.b32, raw, 4, k)
		return nil
	}
	width := max(1, c.width)
	for i := range k {
		if len(c.present) > 0 && c.present[i] == 0 {
			b.appendNull()
			continue
		}
		if err := c.convert(b, raw[:width]); err != nil {
			return err
		}
		raw = raw[width:]
	}
	return nil
}

// spread appends values of width bytes to dst as they are, and nulls between them.
func (c *pqColumn) spread(b *builder, dst, raw []byte, width, k int) []byte {
	if len(c.present) == 0 {
		b.n += k
		return append(dst, raw...)
	}
	from := len(dst)
	dst = append(dst, make([]byte, k*width)...)
	for i, p := range c.present {
		if p == 0 {
			b.setNull(b.n + i)
			continue
		}
		copy(dst[from+i*width:][:width], raw)
		raw = raw[width:]
	}
	b.n += k
	return dst
}

func resize(v []uint32, n int) []uint32 {
	if cap(v) < n {
		return make([]uint32, n)
	}
	return v[:n]
}

// readFixed returns n values of fixed width, booleans one a byte.
func (c *pqColumn) readFixed(n int) ([]byte, error) {
	width := max(1, c.width)
	if c.encoding == encPlain && c.physical != pqBoolean {
		if len(c.values) < n*width {
			return nil, errValues
		}
		raw := c.values[:n*width]
		c.values = c.values[n*width:]
		return raw, nil
	}
	var err error
	if c.fixed, err = c.memory.grow(c.fixed, n*width); err != nil {
		return nil, err
	}
	out := c.fixed
	switch c.encoding {
	case encPlain:
		if len(c.values)*8-c.bit < n {
			return nil, errValues
		}
		for i := range out {
			out[i] = c.values[c.bit>>3] >> (c.bit & 7) & 1
			c.bit++
		}
	case encRLE:
		c.index = resize(c.index, n)
		if err := c.indices.read(c.index); err != nil {
			return nil, err
		}
		for i, v := range c.index {
			out[i] = byte(v & 1)
		}
	case encDictionary:
		return out, c.lookUp(out, n, width)
	case encDelta:
		for i := range n {
			v, ok := c.ints.next()
			switch {
			case !ok:
				return nil, errValues
			case width == 4:
				binary.LittleEndian.PutUint32(out[4*i:], uint32(v))
			default:
				binary.LittleEndian.PutUint64(out[8*i:], uint64(v))
			}
		}
	default: // split by bytes
		if c.split-c.splitAt < n {
			return nil, errValues
		}
		for i := range n {
			for k := range width {
				out[i*width+k] = c.values[k*c.split+c.splitAt]
			}
			c.splitAt++
		}
	}
	return out, nil
}

// lookUp reads n indices and copies what they refer to.
func (c *pqColumn) lookUp(out []byte, n, width int) error {
	c.index = resize(c.index, n)
	if err := c.indices.read(c.index); err != nil {
		return err
	}
	if width == 8 {
		dict, dst := arrow.Uint64Traits.CastFromBytes(c.dictionary[:8*c.entries]), arrow.Uint64Traits.CastFromBytes(out)
		for i, k := range c.index {
			if uint64(k) >= uint64(len(dict)) {
				return errIndex
			}
			dst[i] = dict[k]
		}
		return nil
	}
	for i, k := range c.index {
		if uint64(k) >= uint64(c.entries) {
			return errIndex
		}
		copy(out[i*width:][:width], c.dictionary[int(k)*width:])
	}
	return nil
}

var errIndex = errors.New("a page refers to more than the dictionary has")

// appendTexts reads k rows of variable length.
func (c *pqColumn) appendTexts(b *builder, k int) error {
	if c.encoding == encDictionary {
		values := k
		if len(c.present) > 0 {
			values = 0
			for _, v := range c.present {
				values += int(v)
			}
		}
		c.index = resize(c.index, values)
		if err := c.indices.read(c.index); err != nil {
			return err
		}
	}
	at := 0
	for i := range k {
		if len(c.present) > 0 && c.present[i] == 0 {
			b.appendNull()
			continue
		}
		text, err := c.nextText(at)
		if err != nil {
			return err
		}
		at++
		if c.physical == pqFixed && len(text) != c.width {
			return errValues
		}
		if err := c.convert(b, text); err != nil {
			return err
		}
	}
	return nil
}

// nextText returns the next text; at counts those of this call.
func (c *pqColumn) nextText(at int) (text []byte, err error) {
	switch c.encoding {
	case encDictionary:
		i := c.index[at]
		if uint64(i) >= uint64(c.entries) {
			return nil, errIndex
		}
		text, _, err = prefixed(c.dictionary[binary.LittleEndian.Uint32(c.starts[4*i:]):])
		return text, err
	case encPlain:
		text, c.values, err = prefixed(c.values)
		return text, err
	case encDeltaLength, encDeltaBytes:
		n, ok := c.ints.next()
		if !ok || n < 0 || n > int64(len(c.values)) {
			return nil, errValues
		}
		text, c.values = c.values[:n], c.values[n:]
		if c.encoding == encDeltaLength {
			return text, nil
		}
		prefix, ok := c.prefixes.next()
		if !ok || prefix < 0 || prefix > int64(len(c.last)) {
			return nil, errValues
		}
		c.last = append(c.last[:prefix], text...)
		return c.last, nil
	default:
		return nil, errValues
	}
}

// convert appends a value in the column's type.
func (c *pqColumn) convert(b *builder, v []byte) error {
	switch {
	case c.logical == pqDecimal && len(v) > maxDecimal:
		return errValues
	case c.logical == pqDecimal:
		b.append64(math.Float64bits(c.decimal(v)))
	case c.kind == kindText:
		return c.convertText(b, v)
	case c.kind == kindBool:
		b.appendBool(v[0] != 0)
	case c.logical == pqFloat16 && len(v) == 2:
		b.append32(math.Float32bits(float16.FromBits(binary.LittleEndian.Uint16(v)).Float32()))
	case c.kind == kindTimestamp:
		c.appendTime(b, v)
	case c.physical == pqInt32 && c.kind == kindInt64:
		x := binary.LittleEndian.Uint32(v)
		if c.logical == pqUnsigned {
			b.append64(uint64(x))
		} else {
			b.append64(uint64(int64(int32(x))))
		}
	default: // a column of nothing but nulls has a value
		return errValues
	}
	return nil
}

func (c *pqColumn) appendTime(b *builder, v []byte) {
	if c.physical == pqInt96 { // nanoseconds of the day, and the Julian day
		day := int64(binary.LittleEndian.Uint32(v[8:])) - 2440588
		b.append64(uint64(day*86_400_000_000 + int64(binary.LittleEndian.Uint64(v))/1000))
		return
	}
	x := int64(binary.LittleEndian.Uint64(v))
	unit := arrow.Millisecond
	if c.logical == pqNanos {
		unit = arrow.Nanosecond
	}
	us, ok := microseconds(x, unit)
	if !ok {
		c.errors++
		b.appendNull()
		return
	}
	b.append64(uint64(us))
}

// microseconds converts a time; ok is false where they are more than 64 bits hold.
func microseconds(v int64, unit arrow.TimeUnit) (us int64, ok bool) {
	factor := int64(1)
	switch unit {
	case arrow.Second:
		factor = 1_000_000
	case arrow.Millisecond:
		factor = 1000
	case arrow.Microsecond:
	case arrow.Nanosecond:
		us = v / 1000
		if v%1000 < 0 {
			us--
		}
		return us, true
	}
	us = v * factor
	return us, us/factor == v
}

// decimal returns the closest float64.
func (c *pqColumn) decimal(v []byte) float64 {
	var x int64
	switch {
	case c.physical == pqInt32:
		x = int64(int32(binary.LittleEndian.Uint32(v)))
	case c.physical == pqInt64:
		x = int64(binary.LittleEndian.Uint64(v))
	case len(v) == 0:
	case len(v) <= 8: // big-endian
		x = int64(int8(v[0]))
		for _, d := range v[1:] {
			x = x<<8 | int64(d)
		}
	default:
		n := new(big.Int).SetBytes(v)
		if v[0]&0x80 != 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v))))
		}
		return scaled(n, c.scale)
	}
	return scaledInt(x, c.scale)
}

// scaledInt returns x/10^scale, rounded once.
func scaledInt(x int64, scale int) float64 {
	if x > -1<<53 && x < 1<<53 && scale >= 0 && scale <= 22 { // both are exact
		return float64(x) / pow10[scale]
	}
	return scaled(big.NewInt(x), scale)
}

func scaled(n *big.Int, scale int) float64 {
	f, _ := strconv.ParseFloat(n.String()+"e"+strconv.Itoa(-scale), 64) // an infinity where it is too large
	return f
}

var pow10 = [23]float64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// convertText appends a text, and bytes of fixed width in hexadecimal.
func (c *pqColumn) convertText(b *builder, v []byte) error {
	switch {
	case c.physical == pqByteArray:
		return b.appendText(v)
	case c.logical == pqUUID && len(v) == 16:
		return b.appendText(fmt.Appendf(nil, "%x-%x-%x-%x-%x", v[:4], v[4:6], v[6:8], v[8:10], v[10:]))
	default:
		return b.appendText(fmt.Appendf(nil, "%x", v))
	}
}
