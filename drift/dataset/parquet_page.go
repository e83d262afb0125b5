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
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// Bounds of what pages may take: one buffer, and all buffers of a scan.
const (
	maxBuffer     = 512 << 20
	maxScanMemory = 1 << 30
	maxPageHeader = 4 << 20
	maxPageRows   = 1 << 26
	maxDecimal    = 64 // bytes
	headerView    = 1 << 10
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

var (
	errValues = errors.New("a page has fewer values than it says, or broken ones")
	errIndex  = errors.New("a page refers to more than the dictionary has")
	errHeader = errors.New("the header of a page is broken")
	errLength = errors.New("its length is not what its header says")
)

// pqColumn reads a column, row group after row group, page after page.
type pqColumn struct {
	*pqLeaf
	errors int64 // values that the column's type cannot hold

	file    io.ReaderAt
	memory  *budget
	codec   format.CompressionCodec
	at, end int64 // of the chunk, in the file: the next page
	left    int64 // rows of the row group not yet read

	stream pqStream
	pages  *parquet.FilePages
	page   parquet.Page
	words  bool // the row group has a dictionary
	pqPage

	header, raw, plain, dictionary, fixed []byte // buffers
	zstd                                  *zstd.Decoder
	gzip                                  *gzip.Reader
}

// pqPage is what is left of a page.
type pqPage struct {
	rows    int
	levels  []byte // 0 for a null, of each row; empty where there are no nulls
	value   int    // the next
	values  int
	index   []int32 // of values in the dictionary; nil where there is none
	data    []byte  // of the page or the dictionary
	offsets []uint32
	entries int // values of data
}

// start goes to a row group.
func (c *pqColumn) start(group *format.RowGroup, size int64) error {
	c.closePages()
	chunk := &group.Columns[c.leaf]
	meta := &chunk.MetaData
	start := meta.DataPageOffset
	if d := meta.DictionaryPageOffset; d > 0 && d < start { // some writers set 0 where there is none
		start = d
	}
	switch {
	case chunk.CryptoMetadata.Value != nil || len(chunk.EncryptedColumnMetadata) > 0:
		return errors.New("it is encrypted, which is not supported")
	case chunk.FilePath != "":
		return errors.New("its values are in another file, which is not supported")
	case meta.NumValues != group.NumRows:
		return fmt.Errorf("it has %d values in a row group of %d rows", meta.NumValues, group.NumRows)
	case start < 4 || meta.TotalCompressedSize < 0 || meta.TotalCompressedSize > size || start > size-meta.TotalCompressedSize:
		return fmt.Errorf("its values lie outside of the file: %d bytes from byte %d", meta.TotalCompressedSize, start)
	}
	c.at, c.end, c.codec, c.left = start, start+meta.TotalCompressedSize, meta.Codec, group.NumRows
	c.stream, c.words, c.pages = nil, false, c.chunk.PagesFrom(&c.stream)
	return nil
}

// release lets go of the page.
func (c *pqColumn) release() {
	page := c.page
	c.page, c.pqPage = nil, pqPage{}
	if page != nil {
		parquet.Release(page)
	}
}

func (c *pqColumn) close() {
	if c.zstd != nil {
		c.zstd.Close()
	}
	c.closePages()
}

func (c *pqColumn) closePages() {
	c.release()
	if pages := c.pages; pages != nil {
		c.pages = nil
		_ = pages.Close() // there is nothing that could fail
	}
}

// pqStream is what the library reads of a chunk, from its start to its end: pages that were
// found and decompressed.
type pqStream [][]byte

func (s *pqStream) ReadAt(p []byte, _ int64) (n int, err error) {
	for len(*s) > 0 && n < len(p) {
		k := copy(p[n:], (*s)[0])
		if (*s)[0] = (*s)[0][k:]; len((*s)[0]) == 0 {
			*s = (*s)[1:]
		}
		n += k
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// nextPage goes to the next page that has rows.
func (c *pqColumn) nextPage() error {
	for c.rows == 0 {
		c.release()
		if c.at >= c.end {
			return fmt.Errorf("it ends %d rows early", c.left)
		}
		h, err := c.readHeader()
		if err != nil {
			return err
		}
		if h.CompressedPageSize < 0 || h.UncompressedPageSize < 0 || int64(h.CompressedPageSize) > c.end-c.at {
			return errHeader
		}
		from := c.at
		c.at += int64(h.CompressedPageSize)
		switch {
		case h.Type == format.DataPage && h.DataPageHeader.Valid:
			v := &h.DataPageHeader.V
			if err := c.checkPage(v.NumValues, v.Encoding); err != nil {
				return err
			}
			if v.NumValues == 0 {
				continue
			}
			c.plain, err = c.read(c.plain, h, from, 0, true)
			c.push(h, c.plain)
		case h.Type == format.DataPageV2 && h.DataPageHeaderV2.Valid:
			v := &h.DataPageHeaderV2.V
			if err := c.checkPage(v.NumValues, v.Encoding); err != nil {
				return err
			}
			if v.NumValues == 0 {
				continue
			}
			levels := int64(v.DefinitionLevelsByteLength) + int64(v.RepetitionLevelsByteLength)
			if v.NumNulls < 0 || v.NumNulls > v.NumValues || min(v.DefinitionLevelsByteLength, v.RepetitionLevelsByteLength) < 0 || levels > int64(h.CompressedPageSize) {
				return errHeader
			}
			c.plain, err = c.read(c.plain, h, from, int(levels), !v.IsCompressed.Valid || v.IsCompressed.V)
			c.push(h, c.plain)
		case h.Type == format.DictionaryPage && h.DictionaryPageHeader.Valid:
			v := &h.DictionaryPageHeader.V
			if c.words || v.NumValues < 0 || v.NumValues > h.UncompressedPageSize {
				return errHeader
			}
			c.words = true
			c.dictionary, err = c.read(c.dictionary, h, from, 0, true)
			c.push(h, c.dictionary)
			if err != nil {
				return err
			}
			continue // the library reads it with the next page
		default:
			continue
		}
		if err != nil {
			return err
		}
		if c.page, err = c.pages.ReadPage(); err != nil {
			return fmt.Errorf("a page cannot be decoded: %w", err)
		}
		if len(c.stream) > 0 {
			return errHeader
		}
		if err := c.openPage(c.page); err != nil {
			return err
		}
	}
	return nil
}

// push gives a page to the library.
func (c *pqColumn) push(h *format.PageHeader, plain []byte) {
	h.CompressedPageSize, h.UncompressedPageSize, h.CRC = int32(len(plain)), int32(len(plain)), 0
	header, err := thrift.Marshal(new(thrift.CompactProtocol), h)
	if err != nil { // it was read by the same library
		panic(err)
	}
	c.stream = append(c.stream, header, plain)
}

func (c *pqColumn) checkPage(n int32, encoding format.Encoding) error {
	const old = 2 // PLAIN_DICTIONARY
	if !c.words && (encoding == old || encoding == format.RLEDictionary) {
		return errors.New("a page refers to a dictionary, and there is none")
	}
	return c.checkRows(n)
}

func (c *pqColumn) checkRows(n int32) error {
	if n < 0 || int64(n) > c.left {
		return fmt.Errorf("a page has %d rows where %d are left", n, c.left)
	}
	if n > maxPageRows {
		return fmt.Errorf("a page has %d rows, at most %d are read", n, maxPageRows)
	}
	return nil
}

// openPage takes the values of a page apart.
func (c *pqColumn) openPage(page parquet.Page) error {
	c.pqPage = pqPage{rows: int(page.NumRows())}
	c.values = c.rows
	if c.optional {
		if c.levels = page.DefinitionLevels(); len(c.levels) != c.rows {
			return errValues
		}
		if c.values = bytes.Count(c.levels, []byte{1}); c.values == c.rows {
			c.levels = nil
		}
	}
	if int64(c.rows) > c.left {
		return fmt.Errorf("a page has %d rows where %d are left", c.rows, c.left)
	}
	if c.values == 0 {
		return nil
	}
	values := page.Data()
	if dictionary := page.Dictionary(); dictionary != nil {
		if c.index = values.Int32(); len(c.index) < c.values {
			return errValues
		}
		values = dictionary.Page().Data()
	}
	c.data, c.offsets = values.Data()
	switch c.physical {
	case parquet.ByteArray:
		c.entries = max(0, len(c.offsets)-1)
	case parquet.Boolean:
		c.entries = len(c.data) * 8
	default:
		c.entries = len(c.data) / c.width
	}
	if c.index == nil {
		if c.entries < c.values {
			return errValues
		}
		return nil
	}
	for _, k := range c.index[:c.values] {
		if uint(k) >= uint(c.entries) {
			return errIndex
		}
	}
	return nil
}

// read returns the bytes of a page, decompressed but for the first plain ones.
func (c *pqColumn) read(buf []byte, h *format.PageHeader, from int64, plain int, compressed bool) ([]byte, error) {
	if plain > int(h.UncompressedPageSize) {
		return nil, errHeader
	}
	buf, err := c.memory.grow(buf, int(h.UncompressedPageSize))
	if err != nil {
		return nil, err
	}
	if c.codec == format.Uncompressed || !compressed {
		if h.CompressedPageSize != h.UncompressedPageSize {
			return nil, errHeader
		}
		_, err = c.file.ReadAt(buf, from)
		return buf, err
	}
	if c.raw, err = c.memory.grow(c.raw, int(h.CompressedPageSize)); err != nil {
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

// decompress fills dst, never writing behind it.
func (c *pqColumn) decompress(dst, src []byte) error {
	if len(dst) == 0 {
		return nil
	}
	switch c.codec {
	case format.Snappy:
		if n, err := snappy.DecodedLen(src); err != nil {
			return err
		} else if n != len(dst) {
			return errLength
		}
		_, err := snappy.Decode(dst, src)
		return err
	case format.Zstd:
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
	case format.Gzip:
		if c.gzip == nil {
			c.gzip = new(gzip.Reader)
		}
		if err := c.gzip.Reset(bytes.NewReader(src)); err != nil {
			return err
		}
		return readExactly(c.gzip, dst)
	case format.Brotli:
		return readExactly(brotli.NewReader(bytes.NewReader(src)), dst)
	case format.Lz4Raw:
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

// readHeader reads a page header and moves behind it. Statistics may make it long.
func (c *pqColumn) readHeader() (*format.PageHeader, error) {
	for size := int64(headerView); ; size *= 4 {
		var err error
		if c.header, err = c.memory.grow(c.header, int(min(size, c.end-c.at))); err != nil {
			return nil, err
		}
		if _, err := c.file.ReadAt(c.header, c.at); err != nil {
			return nil, err
		}
		if n, ok := checkThrift(c.header); ok {
			c.at += int64(n)
			h := new(format.PageHeader)
			if err := thrift.Unmarshal(new(thrift.CompactProtocol), c.header[:n], h); err != nil {
				return nil, fmt.Errorf("%w: %w", errHeader, err)
			}
			return h, nil
		}
		if size >= maxPageHeader || int64(len(c.header)) >= c.end-c.at {
			return nil, errHeader
		}
	}
}

// append reads n rows of the row group into b.
func (c *pqColumn) append(b *builder, n int) error {
	if c.logical == pqUnknown {
		for range n {
			b.appendNull()
		}
		return nil
	}
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
	var levels []byte
	values := k
	if c.levels != nil {
		levels, c.levels = c.levels[:k], c.levels[k:]
		values = bytes.Count(levels, []byte{1})
	}
	first := c.value
	c.value += values
	switch {
	case c.kind == kindFloat64 && c.physical == parquet.Double, c.physical == parquet.Int64 && c.logical != pqDecimal && c.logical != pqMillis && c.logical != pqNanos:
		b.b64 = c.spread(b, b.b64, c.gather(first, values), levels, k)
		return nil
	case c.physical == parquet.Float, c.kind == kindDate:
		b.b32 = c.spread(b, b.b32, c.gather(first, values), levels, k)
		return nil
	}
	for i := range k {
		if levels != nil && levels[i] == 0 {
			b.appendNull()
			continue
		}
		at := first
		if c.index != nil {
			at = int(c.index[first])
		}
		first++
		if err := c.convert(b, at); err != nil {
			return err
		}
	}
	return nil
}

// gather returns n values of fixed width.
func (c *pqColumn) gather(first, n int) []byte {
	if n == 0 {
		return nil // nothing but nulls: data may be a dictionary, shorter than the page
	}
	if c.index == nil {
		return c.data[first*c.width : (first+n)*c.width]
	}
	if cap(c.fixed) < n*c.width {
		c.fixed = make([]byte, n*c.width)
	}
	out := c.fixed[:n*c.width]
	if c.width == 8 {
		dictionary, dst := arrow.Uint64Traits.CastFromBytes(c.data), arrow.Uint64Traits.CastFromBytes(out)
		for i, k := range c.index[first : first+n] {
			dst[i] = dictionary[k]
		}
		return out
	}
	for i, k := range c.index[first : first+n] {
		copy(out[i*c.width:][:c.width], c.data[int(k)*c.width:])
	}
	return out
}

// spread appends values to dst as they are, and nulls between them.
func (c *pqColumn) spread(b *builder, dst, raw, levels []byte, k int) []byte {
	if levels == nil {
		b.n += k
		return append(dst, raw...)
	}
	from := len(dst)
	dst = append(dst, make([]byte, k*c.width)...)
	for i, p := range levels {
		if p == 0 {
			b.setNull(b.n + i)
			continue
		}
		copy(dst[from+i*c.width:][:c.width], raw)
		raw = raw[c.width:]
	}
	b.n += k
	return dst
}

// convert appends value i of data in the column's type.
func (c *pqColumn) convert(b *builder, i int) error {
	if c.physical == parquet.Boolean {
		b.appendBool(c.data[i>>3]>>(i&7)&1 != 0)
		return nil
	}
	var v []byte
	if c.physical == parquet.ByteArray {
		from, to := c.offsets[i], c.offsets[i+1]
		if from > to || uint64(to) > uint64(len(c.data)) {
			return errValues
		}
		v = c.data[from:to]
	} else {
		v = c.data[i*c.width:][:c.width]
	}
	switch {
	case c.logical == pqDecimal && len(v) > maxDecimal:
		return errValues
	case c.logical == pqDecimal:
		b.append64(math.Float64bits(c.decimal(v)))
	case c.kind == kindText:
		return c.convertText(b, v)
	case c.kind == kindFloat32:
		b.append32(math.Float32bits(float16.FromBits(binary.LittleEndian.Uint16(v)).Float32()))
	case c.kind == kindTimestamp:
		c.appendTime(b, v)
	case c.logical == pqUnsigned:
		b.append64(uint64(binary.LittleEndian.Uint32(v)))
	default:
		b.append64(uint64(int64(int32(binary.LittleEndian.Uint32(v)))))
	}
	return nil
}

func (c *pqColumn) appendTime(b *builder, v []byte) {
	if c.physical == parquet.Int96 { // nanoseconds of the day, and the Julian day
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
	case c.physical == parquet.Int32:
		x = int64(int32(binary.LittleEndian.Uint32(v)))
	case c.physical == parquet.Int64:
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
	case c.physical == parquet.ByteArray:
		return b.appendText(v)
	case c.logical == pqUUID && len(v) == 16:
		return b.appendText(fmt.Appendf(nil, "%x-%x-%x-%x-%x", v[:4], v[4:6], v[6:8], v[8:10], v[10:]))
	default:
		return b.appendText(fmt.Appendf(nil, "%x", v))
	}
}
