package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

const maxNames = 64 << 20 // bytes of all column names

// jsonRows gives the objects of JSON lines, and of other forms of JSON, as rows.
type jsonRows struct {
	block
	form  jsonForm
	keyed bool // each object of the array has a name before it
	any   bool // an object of the array was read
	ended bool // its end was
	names []string
	index map[string]int
	grow  bool // unknown keys are new columns
	total int  // bytes of names
	cells []cell
	after []int // by column, which came behind it last: most often it does again
	arena []byte
}

// row returns the next row, nil at the end.
func (j *jsonRows) row() ([]cell, error) {
	if j.form != jsonLines {
		v, err := j.element()
		if v == nil || err != nil {
			return nil, err
		}
		clear(j.cells)
		j.arena = j.arena[:0]
		if err := j.object(v); err != nil {
			return nil, fmt.Errorf("line %d: %w", j.line, err)
		}
		j.line += int64(bytes.Count(v, []byte{'\n'}))
		return j.cells, nil
	}
	for searched := 0; ; {
		line := j.buf[j.start:j.end]
		n := bytes.IndexByte(line[searched:], '\n')
		if n < 0 {
			searched = len(line)
			more, err := j.fill()
			if err != nil {
				return nil, err
			}
			if more {
				continue
			}
			if line = j.buf[j.start:j.end]; len(line) == 0 {
				return nil, nil
			}
			n = len(line) - searched
		}
		n += searched
		searched = 0
		line = line[:n]
		j.start = min(j.start+n+1, j.end)
		if len(space(line)) > 0 {
			if j.check != nil {
				if err := j.check(j.line, line); err != nil {
					return nil, err
				}
			}
			clear(j.cells)
			j.arena = j.arena[:0]
			if err := j.object(line); err != nil {
				return nil, fmt.Errorf("line %d: %w", j.line, err)
			}
			j.line++
			return j.cells, nil
		}
		j.line++
	}
}

// space takes off what JSON allows before a token.
func space(v []byte) []byte {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t' || v[0] == '\r' || v[0] == '\n') {
		v = v[1:]
	}
	return v
}

var errObject = errors.New("it is not one JSON object")

// object reads a line into cells. Of a key that comes twice, the last value counts.
func (j *jsonRows) object(v []byte) error {
	v = space(v)
	if v[0] != '{' {
		return errObject
	}
	last := 0
	for v = space(v[1:]); ; v = space(v[1:]) {
		if len(v) > 0 && v[0] == '}' && last == 0 {
			break
		}
		if len(v) == 0 || v[0] != '"' {
			return errObject
		}
		key, rest, err := j.text(v)
		if err != nil {
			return err
		}
		if v = space(rest); len(v) == 0 || v[0] != ':' {
			return errObject
		}
		column, err := j.column(key, last)
		if err != nil {
			return err
		}
		c, rest, err := j.value(space(v[1:]))
		if err != nil {
			return err
		}
		if column >= 0 {
			j.cells[column] = c
			last = column + 1
		} else {
			last = len(j.after) - 1
		}
		if v = space(rest); len(v) == 0 || v[0] != ',' && v[0] != '}' {
			return errObject
		}
		if v[0] == '}' {
			break
		}
	}
	if len(space(v[1:])) > 0 {
		return errObject
	}
	return nil
}

// column returns the column of a key; last is one more than the column before it.
func (j *jsonRows) column(key []byte, last int) (int, error) {
	if next := j.after[last]; next < len(j.names) && j.names[next] == string(key) {
		return next, nil
	}
	i, known := j.index[string(key)]
	if !known {
		if !j.grow {
			return -1, nil
		}
		i = len(j.names)
		if j.total += len(key); i == maxColumns || j.total > maxNames {
			return 0, fmt.Errorf("more than %d different keys, or %d MiB of them", maxColumns, maxNames>>20)
		}
		j.names, j.cells, j.after = append(j.names, string(key)), append(j.cells, cell{}), append(j.after, 0)
		j.index[j.names[i]] = i
	}
	j.after[last] = i
	return i, nil
}

// value reads a value.
func (j *jsonRows) value(v []byte) (c cell, rest []byte, err error) {
	if len(v) == 0 {
		return c, nil, errObject
	}
	switch v[0] {
	case '"':
		c.form = cellText
		c.v, rest, err = j.text(v)
		return c, rest, err
	case '{', '[':
		c.form = cellNested
		c.v, rest, err = nested(v)
		return c, rest, err
	}
	n := 0
	for n < len(v) && v[n] != ',' && v[n] != '}' && v[n] != ']' && v[n] > ' ' {
		n++
	}
	c.v, rest = v[:n], v[n:]
	switch string(c.v) {
	case "null", "NaN": // Python writes the second one
		return cell{}, rest, nil
	case "true", "false":
		c.form = cellBool
		return c, rest, nil
	case "Infinity", "-Infinity":
		c.form = cellNumber
		return c, rest, nil
	}
	c.form = cellNumber
	if _, ok := parseNumber(c.v); !ok {
		return c, nil, errObject
	}
	return c, rest, nil
}

// nested passes over an object or array, whose text it returns.
func nested(v []byte) (text, rest []byte, err error) {
	depth := 0
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return v[:i+1], v[i+1:], nil
			}
		case '"':
			for i++; i < len(v) && v[i] != '"'; i++ {
				if v[i] == '\\' {
					i++
				}
			}
		}
	}
	return nil, nil, errObject
}

// text reads a string that starts v.
func (j *jsonRows) text(v []byte) (text, rest []byte, err error) {
	b := v[1:]
	plain, rest, closed := bytes.Cut(b, []byte{'"'})
	if !closed {
		return nil, nil, errObject
	}
	if bytes.IndexByte(plain, '\\') < 0 {
		return plain, rest, nil
	}
	from := len(j.arena)
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '"':
			return j.arena[from:], b[i+1:], nil
		case b[i] != '\\':
			j.arena = append(j.arena, b[i])
		case i+1 == len(b):
			return nil, nil, errObject
		default:
			n, err := j.escape(b[i:])
			if err != nil {
				return nil, nil, err
			}
			i += n - 1
		}
	}
	return nil, nil, errObject
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape appends what an escape that starts b means, and returns its bytes.
func (j *jsonRows) escape(b []byte) (int, error) {
	if b[1] != 'u' {
		x, ok := escapes[b[1]]
		if !ok {
			return 0, errObject
		}
		j.arena = append(j.arena, x)
		return 2, nil
	}
	r, ok := unit(b)
	if !ok {
		return 0, errObject
	}
	if utf16.IsSurrogate(r) {
		if low, ok := unit(b[6:]); ok {
			if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
				j.arena = utf8.AppendRune(j.arena, both)
				return 12, nil
			}
		}
	}
	j.arena = utf8.AppendRune(j.arena, r) // the replacement character for half a pair
	return 6, nil
}

func unit(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	x, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(x), err == nil
}
