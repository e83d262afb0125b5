package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
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

	check func(line int64, text []byte) error // of what is read; nil: it was checked before
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
	said      bool   // the file says the delimiter itself
	blank     int    // lines since the last record
	blanks    int    // lines between records
	behind    int    // fields with text behind the closing quote
	behindAt  int64  // line of the first of them
}

// newCSVReader returns a reader of b, whose first line may say the delimiter, as Excel reads and some
// programs write it: sep=; counts where none is given.
func newCSVReader(b block, delimiter byte, guessed bool) (*csvReader, error) {
	c := &csvReader{block: b, delimiter: delimiter, next: 1}
	for c.end < 16 {
		more, err := c.fill()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	if head := c.buf[:c.end]; len(head) > 5 && bytes.EqualFold(head[:4], []byte("sep=")) && (head[5] == '\n' || head[5] == '\r') {
		if guessed {
			c.delimiter, c.said = head[4], true
		}
		c.start, c.next = 6, 2
		if head[5] == '\r' && len(head) > 6 && head[6] == '\n' {
			c.start = 7
		}
	}
	c.stop[c.delimiter], c.stop['\n'], c.stop['\r'] = true, true, true
	return c, nil
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
		if c.check != nil {
			if err := c.check(c.line, c.buf[c.start:c.start+used]); err != nil {
				return false, err
			}
		}
		c.start += used
		if len(c.fields) > 1 || len(c.fields[0].v) > 0 || c.quoted {
			c.blanks += c.blank
			c.blank = 0
			return true, nil
		}
		c.blank++
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
			fields, i = append(fields, cell{field, cellQuoted}), after
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
		if after > end+1 {
			if bytes.ContainsAny(b[at:end], "\r\n") { // else all lines to the next quote vanish into one value
				return nil, -1, fmt.Errorf("line %d: a quote opens a value that goes on over lines, and behind the quote that closes it more text stands: one quote is too many, or missing (quotes within a value are doubled)", c.next)
			}
			if c.behind++; c.behind == 1 {
				c.behindAt = c.next
			}
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
	if n := len(c.fields); n != len(c.names) {
		more := ""
		switch {
		case n == len(c.names)+1 && len(c.fields[n-1].v) == 0:
			more = ": it ends with a delimiter, and the first line does not"
		case n == 1 && string(c.fields[0].v) == "\x1a":
			more = ": it is the mark by which DOS ends files (Ctrl-Z): take it off"
		case n > len(c.names) && c.begins(" \""):
			more = ": a space stands before a quote, which then is none: take the spaces behind delimiters off"
		case n > len(c.names) && c.begins("'"):
			more = ": single quotes are no quotes: write double ones"
		}
		return nil, &raggedError{fmt.Sprintf("line %d has %s, and the first has %d%s", c.line, fieldCount(n), len(c.names), more), c.names[0]}
	}
	return c.fields, nil
}

// begins tells whether any field without quotes begins so.
func (c *csvReader) begins(with string) bool {
	return slices.ContainsFunc(c.fields, func(f cell) bool { return f.form == cellWord && bytes.HasPrefix(f.v, []byte(with)) })
}

func fieldCount(n int) string {
	if n == 1 {
		return "1 field"
	}
	return fmt.Sprintf("%d fields", n)
}

// raggedError is of a line that has not as many fields as the first one.
type raggedError struct {
	text  string
	first string // name of the first column
}

// Error implements error.
func (e *raggedError) Error() string { return e.text }

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
	c.blanks = 0
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
