package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Bounds of text formats.
const (
	maxRecord  = 64 << 20 // bytes of a line, or of a CSV record of several lines
	blockBytes = 1 << 16
)

// block is a window of a text that moves forward.
type block struct {
	r          io.Reader
	buf        []byte
	start, end int // of what was not consumed
	eof        bool
	line       int64 // of start, from 1
}

// fill reads more behind end; false means that there is none.
func (b *block) fill() (bool, error) {
	if b.eof {
		return false, nil
	}
	if b.start > 0 {
		copy(b.buf, b.buf[b.start:b.end])
		b.start, b.end = 0, b.end-b.start
	}
	if b.end == len(b.buf) {
		if len(b.buf) >= maxRecord {
			return false, fmt.Errorf("line %d is longer than %d MiB", b.line, maxRecord>>20)
		}
		size := 2 * len(b.buf)
		if size == 0 {
			size = blockBytes
		}
		buf := make([]byte, size)
		copy(buf, b.buf[:b.end])
		b.buf = buf
	}
	n, err := io.ReadFull(b.r, b.buf[b.end:]) // all of it: a long record is looked at again after each read
	b.end += n
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && b.atEnd():
		b.eof = true
	case err != nil:
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the file is cut short")
		}
		return false, fmt.Errorf("line %d: %w", b.line, err)
	}
	return n > 0, nil
}

// atEnd tells an end from a compressed file that is cut short: both are unexpected.
func (b *block) atEnd() bool {
	n, err := b.r.Read(make([]byte, 1))
	return n == 0 && errors.Is(err, io.EOF)
}

// csvReader splits CSV: several times as fast as encoding/csv (BenchmarkSplit), since it
// looks at each byte once, copies only what has doubled quotes, and counts no columns.
type csvReader struct {
	block
	delimiter byte
	stop      [256]bool // ends a field without quotes
	fields    []cell
	arena     []byte // of fields that had doubled quotes
	quoted    bool   // the first field was
	next      int64  // line behind the record
}

func newCSVReader(r io.Reader, delimiter byte) (*csvReader, error) {
	c := &csvReader{block: block{r: r, line: 1}, delimiter: delimiter, next: 1}
	c.stop[delimiter], c.stop['\n'], c.stop['\r'] = true, true, true
	for c.end < 3 {
		more, err := c.fill()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	switch head := c.buf[:c.end]; {
	case bytes.HasPrefix(head, bom):
		c.start = len(bom)
	case isUTF16(head):
		return nil, errors.New("it is UTF-16: convert it to UTF-8")
	}
	return c, nil
}

func isUTF16(head []byte) bool {
	return bytes.HasPrefix(head, []byte{0xff, 0xfe}) || bytes.HasPrefix(head, []byte{0xfe, 0xff})
}

// read reads the next record that is not an empty line into fields, which are valid until
// the next call. False is the end.
func (c *csvReader) read() (bool, error) {
	for {
		c.line = c.next
		used, err := c.split()
		for used < 0 && err == nil { // the record does not end in the window
			var more bool
			if more, err = c.fill(); err == nil && !more {
				if c.start == c.end {
					return false, nil
				}
				used, err = c.split()
			} else if err == nil {
				used, err = c.split()
			}
		}
		if err != nil {
			return false, err
		}
		c.start += used
		if len(c.fields) > 1 || len(c.fields[0].v) > 0 || c.quoted {
			return true, nil
		}
	}
}

// split splits the record at start and returns its bytes; -1 where more must be read.
func (c *csvReader) split() (int, error) {
	b := c.buf[c.start:c.end]
	c.arena, c.next, c.quoted = c.arena[:0], c.line, false
	if len(b) == 0 {
		return -1, nil
	}
	fields, stop := c.fields[:0], &c.stop
	defer func() { c.fields = fields }()
	for i := 0; ; {
		from := i
		if i < len(b) && b[i] == '"' {
			field, after, err := c.quotedField(b, i)
			if after < 0 || err != nil {
				return -1, err
			}
			c.quoted = c.quoted || len(fields) == 0
			fields, i = append(fields, cell{field, cellWord}), after
		} else {
			for i < len(b) && !stop[b[i]] {
				i++
			}
			fields = append(fields, cell{b[from:i], cellWord})
		}
		switch {
		case i == len(b):
			if !c.eof {
				return -1, nil
			}
			return i, nil
		case b[i] == c.delimiter:
			i++
			continue
		case b[i] == '\n':
			c.next++
			return i + 1, nil
		case i+1 == len(b) && !c.eof: // a carriage return: a line feed may follow
			return -1, nil
		case i+1 < len(b) && b[i+1] == '\n':
			i++
		}
		c.next++
		return i + 1, nil
	}
}

// quotedField reads a field from its quote on, and what follows until it ends. after is -1
// where more must be read.
func (c *csvReader) quotedField(b []byte, at int) (field []byte, after int, err error) {
	from, kept := at+1, len(c.arena)
	copied := false
	for i := from; ; {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 || i+n+1 == len(b) && !c.eof {
			if c.eof {
				return nil, -1, fmt.Errorf("line %d: a quote is not closed before the end of the file", c.next)
			}
			return nil, -1, nil
		}
		end := i + n
		if end+1 < len(b) && b[end+1] == '"' {
			c.arena, copied = append(c.arena, b[from:end+1]...), true
			from, i = end+2, end+2
			continue
		}
		after = end + 1
		for after < len(b) && !c.stop[b[after]] { // as pandas, what follows the quote belongs to the field
			after++
		}
		if copied || after > end+1 {
			c.arena = append(append(c.arena, b[from:end]...), b[end+1:after]...)
			field = c.arena[kept:]
		} else {
			field = b[from:end]
		}
		c.next += int64(bytes.Count(b[at:after], []byte{'\n'}))
		return field, after, nil
	}
}

// csvRows gives the records of CSV as rows.
type csvRows struct {
	*csvReader
	names []string
}

// row returns the next row, nil at the end.
func (c *csvRows) row() ([]cell, error) {
	more, err := c.read()
	if !more || err != nil {
		return nil, err
	}
	if len(c.fields) != len(c.names) {
		if err := otherDelimiter(c.names[0]); err != nil && len(c.names) == 1 {
			return nil, err
		}
		return nil, fmt.Errorf("line %d has %d fields, and the first has %d", c.line, len(c.fields), len(c.names))
	}
	return c.fields, nil
}

// csvHeader returns the names of the columns.
func csvHeader(c *csvReader, o *Options) ([]string, error) {
	more, err := c.read()
	if err != nil {
		return nil, err
	}
	if !more {
		return nil, errors.New("it has neither a header nor rows")
	}
	if len(c.fields) > maxColumns {
		return nil, fmt.Errorf("its first line has %d columns, at most %d are read", len(c.fields), maxColumns)
	}
	names := make([]string, len(c.fields))
	for i, f := range c.fields {
		switch {
		case o.NoHeader:
			names[i] = fmt.Sprintf("column_%d", i+1)
		case len(f.v) == 0:
			names[i] = fmt.Sprintf("Unnamed: %d", i) // as pandas calls it
		default:
			names[i] = string(f.v)
		}
	}
	return names, nil
}
