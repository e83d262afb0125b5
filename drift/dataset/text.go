package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// cellForm is what a format says of a value.
type cellForm uint8

const (
	cellMissing cellForm = iota
	cellWord             // CSV: anything
	cellNumber           // the others are JSON's
	cellBool
	cellText
	cellNested
)

// cell is a value as its text; it is valid until the next row.
type cell struct {
	v    []byte
	form cellForm
}

// rows gives the rows of a text format, nil at the end.
type rows interface {
	row() ([]cell, error)
}

// textSource reads CSV and JSON lines.
type textSource struct {
	base
	file       *os.File
	size       int64
	compressed compressionKind
	names      []string
	na         *words // nil: none
}

func openText(ctx context.Context, t base, file *os.File, size int64, compressed compressionKind) (Source, error) {
	s := &textSource{base: t, file: file, size: size, compressed: compressed}
	if t.options.Format == FormatCSV {
		if s.options.NA == nil {
			s.options.NA = DefaultNA
		}
		s.na = newWords(s.options.NA)
		if d := s.options.Delimiter; d == '"' || d == '\n' || d == '\r' || d == 0 {
			return nil, fmt.Errorf("the delimiter %q cannot separate values", d)
		}
	}
	return s, s.infer(ctx)
}

// untilDone reads until ctx ends.
type untilDone struct {
	ctx context.Context //nolint:containedctx // io.Reader has none
	io.ReadCloser
}

// Read implements io.Reader.
func (r untilDone) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.ReadCloser.Read(p)
}

// open returns the rows from the first one on.
func (s *textSource) open(ctx context.Context) (rows, io.Closer, error) {
	r, err := decompressed(io.NewSectionReader(s.file, 0, s.size), s.compressed)
	if err != nil {
		return nil, nil, err
	}
	rows, err := s.rows(untilDone{ctx, r})
	if err != nil {
		_ = r.Close() // the other error is the cause
	}
	return rows, r, err
}

func (s *textSource) rows(r io.Reader) (rows, error) {
	if s.options.Format == FormatJSONLines {
		return newJSONRows(r, s.names)
	}
	c, err := newCSVReader(r, s.options.Delimiter)
	if err != nil {
		return nil, err
	}
	if s.names == nil || !s.options.NoHeader {
		names, err := csvHeader(c, &s.options)
		if err != nil {
			return nil, err
		}
		if s.names == nil {
			s.names = names
		}
	}
	return &csvRows{csvReader: c, names: s.names}, nil
}

func decompressed(r io.Reader, c compressionKind) (io.ReadCloser, error) {
	switch c {
	case compressionGzip:
		return gzip.NewReader(r)
	case compressionZstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	default:
		return io.NopCloser(r), nil
	}
}

// column is what was seen of a column.
type inference struct {
	forms  forms
	nested bool
}

// add looks at a value; of texts nothing more can be learnt.
func (i *inference) add(c cell, na *words) {
	if i.forms&formOther != 0 && c.form != cellNested {
		return
	}
	switch c.form {
	case cellMissing:
	case cellWord:
		if !na.has(c.v) {
			i.forms |= wordForm(c.v)
		}
	case cellNumber:
		if n, ok := parseNumber(c.v); ok {
			i.forms |= n.form()
		} else {
			i.forms |= formFloat
		}
	case cellBool:
		i.forms |= formBool
	case cellText:
		i.forms |= timeForm(c.v)
	case cellNested:
		i.nested = true
	}
}

// infer reads all of the file for the names and types of its columns.
func (s *textSource) infer(ctx context.Context) error {
	if s.options.Format == FormatCSV && s.options.NoHeader { // the names come from the first row
		_, closer, err := s.open(ctx)
		if err != nil {
			return err
		}
		if err := closer.Close(); err != nil {
			return err
		}
	}
	rows, closer, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer closer.Close()
	columns := make([]inference, len(s.names))
	any := false
	for {
		cells, err := rows.row()
		if err != nil {
			return err
		}
		if cells == nil {
			break
		}
		any = true
		for len(columns) < len(cells) {
			columns = append(columns, inference{})
		}
		for i, c := range cells {
			columns[i].add(c, s.na)
		}
	}
	if j, ok := rows.(*jsonRows); ok {
		s.names = j.names
	}
	if !any {
		return errNoRows
	}
	fields := make([]arrow.Field, len(s.names))
	for i, name := range s.names {
		f := arrow.Field{Name: name, Type: kindTypes[columns[i].forms.kind()], Nullable: true}
		if times := columns[i].forms & formTimes; times == formZoned || times != 0 && times&formZoned == 0 {
			f.Metadata = zonedMetadata(times == formZoned)
		}
		if columns[i].nested {
			f.Type, f.Metadata = arrow.StructOf(), arrow.NewMetadata([]string{typeKey}, []string{"object or array"})
		}
		fields[i] = f
	}
	return s.setSchema(fields)
}

var errNoRows = errors.New("it has no rows")

func (s *textSource) Columnar() bool { return false }

func (s *textSource) Close() error { return s.file.Close() }

func (s *textSource) Scan(ctx context.Context, columns []int, f func(arrow.Record) error) error {
	if err := s.check(columns); err != nil {
		return err
	}
	rows, closer, err := s.open(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	defer closer.Close()
	scan := &textScan{source: s, rows: rows, columns: columns, builders: newBuilders(s.schema, columns, s.options.BatchRows), errors: make([]int64, len(columns))}
	if err := s.scan(ctx, scan.next, f); err != nil {
		return err
	}
	for i, c := range columns {
		s.setTypeErrors(c, scan.errors[i])
	}
	return nil
}

type textScan struct {
	source   *textSource
	rows     rows
	columns  []int
	builders *builders
	errors   []int64
	size     int // rows of the last batch, as a guess of the next
}

func (s *textScan) next() (arrow.Record, error) {
	s.builders.reset(max(s.size, stepRows/4))
	n := 0
	for n < s.builders.rows && !s.builders.full() {
		cells, err := s.rows.row()
		if err != nil {
			return nil, err
		}
		if cells == nil {
			break
		}
		for i, c := range s.columns {
			b := &s.builders.columns[i]
			ok, err := s.put(b, cells[c])
			if err != nil {
				return nil, fmt.Errorf("column %q: %w", s.source.names[c], err)
			}
			if !ok {
				b.appendNull()
				s.errors[i]++
			}
		}
		n++
	}
	if s.size = n; n == 0 {
		return nil, nil
	}
	return s.builders.record(n), nil
}

// put appends a value; false is a type error, at which nothing was appended.
func (s *textScan) put(b *builder, c cell) (bool, error) {
	switch c.form {
	case cellMissing:
		b.appendNull()
		return true, nil
	case cellWord:
		if s.source.na.has(c.v) {
			b.appendNull()
			return true, nil
		}
	case cellNested:
		if b.kind != kindText {
			return false, nil
		}
	default:
	}
	return b.parse(c.v)
}
