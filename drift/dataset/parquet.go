package dataset

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// parquetSource reads Parquet by github.com/parquet-go/parquet-go, one page of each column
// at a time, so that a row group of a whole file costs no more than a small one.
//
// The library has the schema, the levels and the encodings. Pages are found and decompressed
// here, because it believes what a file says: it allocates what counts and texts claim, loops
// for broken LZ4, and loses pages of LZ4 that is less than three times compressed. Its panics
// are errors. What a hostile file can still cost is the metadata, which takes many times the
// bytes of a footer of at most maxFooter; a page and a dictionary of at most maxBuffer for each
// column of a scan, read into maxScanMemory in all and copied by the library; and what the
// library takes for the lengths that runs and differences within a page claim.
type parquetSource struct {
	base
	file   *os.File
	size   int64
	groups []format.RowGroup
	leaves []*pqLeaf // of the schema's fields; nil for nested ones
}

const maxFooter = 64 << 20

func openParquet(t base, file *os.File, size int64) (Source, error) {
	meta, err := readFooter(file, size)
	if err != nil {
		return nil, err
	}
	schema, err := openSchema(meta)
	if err != nil {
		return nil, err
	}
	fields, leaves, count, err := pqFields(schema, meta.Schema, t.note)
	if err != nil {
		return nil, err
	}
	durations(meta, fields, leaves)
	rows := int64(0)
	for i, g := range meta.RowGroups {
		if g.NumRows < 0 || len(g.Columns) != count {
			return nil, fmt.Errorf("its footer is broken: row group %d has %d columns of %d and %d rows", i, len(g.Columns), count, g.NumRows)
		}
		rows |= g.NumRows
	}
	if rows == 0 {
		return nil, errNoRows
	}
	t.options.Types = nil // withTypes applies them
	s := &parquetSource{base: t, file: file, size: size, groups: meta.RowGroups, leaves: leaves}
	return s, s.setSchema(fields)
}

// readFooter reads the metadata of a Parquet file of size bytes.
func readFooter(r io.ReaderAt, size int64) (*format.FileMetaData, error) {
	var tail [8]byte
	if size < 12 {
		return nil, fmt.Errorf("it has %d bytes, too few for a Parquet file", size)
	}
	if _, err := r.ReadAt(tail[:4], 0); err != nil {
		return nil, err
	}
	head := string(tail[:4])
	if _, err := r.ReadAt(tail[:], size-8); err != nil {
		return nil, err
	}
	switch end := string(tail[4:]); {
	case head == "PARE" || end == "PARE":
		return nil, errors.New("it is encrypted, which is not supported")
	case head != "PAR1":
		return nil, errors.New("it is no Parquet file: it does not start with PAR1")
	case end != "PAR1":
		return nil, errors.New("it is cut short: a Parquet file ends with PAR1, and this one does not")
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	if n > size-12 || n > maxFooter {
		return nil, fmt.Errorf("its footer says that it has %d bytes, of a file of %d", n, size)
	}
	footer := make([]byte, n)
	if _, err := r.ReadAt(footer, size-8-n); err != nil {
		return nil, err
	}
	if _, ok := checkThrift(footer); !ok {
		return nil, errors.New("its footer is broken")
	}
	meta := new(format.FileMetaData)
	if err := thrift.NewDecoder(new(thrift.CompactProtocol).NewReaderFromBytes(footer)).Decode(meta); err != nil {
		return nil, fmt.Errorf("its footer is broken: %w", err)
	}
	if meta.EncryptionAlgorithm.Value != nil {
		return nil, errors.New("it is encrypted, which is not supported")
	}
	return meta, nil
}

// exact is Exact.
func (s *parquetSource) exact() Source {
	e := *s
	var columns []bool
	e.base, columns = s.exactBase()
	e.leaves = slices.Clone(s.leaves)
	for i, is := range columns {
		if is {
			leaf := *s.leaves[i]
			leaf.kind = kindText
			e.leaves[i] = &leaf
		}
	}
	return &e
}

func (s *parquetSource) Columnar() bool { return true }

func (s *parquetSource) Close() error { return s.file.Close() }

func (s *parquetSource) Scan(ctx context.Context, columns []int, f func(arrow.Record) error) error {
	if err := s.check(columns); err != nil {
		return err
	}
	scan := &pqScan{source: s, builders: newBuilders(s.schema, columns, s.options.BatchRows), group: -1}
	for _, i := range columns {
		scan.columns = append(scan.columns, &pqColumn{pqLeaf: s.leaves[i], file: s.file, memory: &scan.memory})
	}
	defer scan.close()
	if err := s.scan(ctx, scan.next, f); err != nil {
		return err
	}
	for i, c := range scan.columns {
		s.setTypeErrors(columns[i], c.errors)
	}
	return nil
}

// pqScan is one scan.
type pqScan struct {
	source   *parquetSource
	builders *builders
	columns  []*pqColumn
	memory   budget
	group    int
	left     int64 // rows of the row group
}

// next returns the next batch, nil at the end. A batch has rows of one row group.
func (s *pqScan) next() (arrow.Record, error) {
	groups := s.source.groups
	for s.left == 0 {
		if s.group++; s.group == len(groups) {
			return nil, nil
		}
		if s.left = groups[s.group].NumRows; s.left == 0 { // nothing of it needs to be there
			continue
		}
		for i := range s.columns {
			if err := s.do(i, func(c *pqColumn) error { return c.start(&groups[s.group], s.source.size) }); err != nil {
				return nil, err
			}
		}
	}
	return s.builders.fill(&s.left, func(i, n int) error {
		return s.do(i, func(c *pqColumn) error { return c.append(&s.builders.columns[i], n) })
	})
}

// do calls f for a column, whose name is in errors; a panic of the library is one.
func (s *pqScan) do(column int, f func(c *pqColumn) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errPanic(p)
		}
		if err != nil {
			err = fmt.Errorf("column %q, row group %d: %w", s.builders.schema.Field(column).Name, s.group, err)
		}
	}()
	return f(s.columns[column])
}

// errPanic returns the error of a panic of the library; what Go says of an index or a slice
// tells nobody anything.
func errPanic(p any) error {
	if _, ok := p.(runtime.Error); ok {
		return errors.New("it is broken: there is less in it than it says")
	}
	return fmt.Errorf("it is broken: %v", p)
}

func (s *pqScan) close() {
	for i := range s.columns {
		_ = s.do(i, func(c *pqColumn) error { c.close(); return nil }) // after a panic, buffers are left to the collector
	}
}
