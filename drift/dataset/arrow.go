package dataset

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/klauspost/compress/zstd"

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

var errFeather = errors.New("it is Feather of version 1: write it again, with version 2")

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
		if err := in.readFooter(footer); err != nil {
			return nil, err
		}
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
		if isPandasIndex(f.Name) {
			s.note(noteIndex, f.Name)
			continue
		}
		kept, fields = append(kept, f), append(fields, f.arrowField())
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

// exact is Exact.
func (s *arrowSource) exact() Source {
	e := *s
	var columns []bool
	e.base, columns = s.exactBase()
	ipc := *s.ipc
	e.ipc, ipc.fields = &ipc, slices.Clone(s.ipc.fields)
	for i, is := range columns {
		if is {
			f := *ipc.fields[i]
			f.kind, f.put = kindText, putDecimal(f.Stored.Scale, true)
			ipc.fields[i] = &f
		}
	}
	return &e
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
	return s.builders.fill(&s.left, func(i, n int) error {
		if err := s.columns[i].append(&s.builders.columns[i], n); err != nil {
			return fmt.Errorf("column %q: %w", s.columns[i].Name, err)
		}
		return nil
	})
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
