package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
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
	text                                  []byte // of a decimal
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
