package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxDocument is the longest JSON document that is read as one: an object of columns, whose rows
// lie all over it.
const maxDocument = 256 << 20

// jsonForm is how a JSON text has its rows.
type jsonForm uint8

const (
	jsonLines  jsonForm = iota // an object a line
	jsonArray                  // an array of objects
	jsonStream                 // objects one after the other, of any number of lines
)

var errDocument = fmt.Errorf("it is one JSON document of more than %d MiB: write it as JSON lines, one object a line", maxDocument>>20)

// newJSONRows returns what reads the rows of JSON in whichever form they are: lines, an array, or an
// object of columns.
func newJSONRows(b block, names []string) (rows, error) {
	j := &jsonRows{block: b, names: names, index: make(map[string]int, len(names)), grow: names == nil}
	for i, name := range names {
		j.index[name] = i
	}
	j.cells, j.after = make([]cell, len(names)), make([]int, len(names)+1)
	first, err := j.peek()
	if err != nil {
		return nil, err
	}
	switch first {
	case '[':
		j.form = jsonArray
		j.start++
		if first, err = j.peek(); err != nil {
			return nil, err
		}
		if first != '{' && first != ']' && first != 0 {
			return nil, errors.New("it is a JSON array of other than objects: its values have no names (pandas: to_json(orient='records'))")
		}
		return j, nil
	case '{':
		return j.begin()
	default:
		return j, nil
	}
}

// peek moves to the next byte that is no space, and returns it, 0 at the end.
func (j *jsonRows) peek() (byte, error) {
	for {
		for ; j.start < j.end; j.start++ {
			switch j.buf[j.start] {
			case '\n':
				j.line++
			case ' ', '\t', '\r':
			default:
				return j.buf[j.start], nil
			}
		}
		if more, err := j.fill(); err != nil || !more {
			return 0, err
		}
	}
}

// begin looks at a text that begins with an object: lines, where the first one is an object and others
// follow; else a document.
func (j *jsonRows) begin() (rows, error) {
	for searched := 0; ; {
		text := j.buf[j.start:j.end]
		if n := bytes.IndexByte(text[searched:], '\n'); n >= 0 {
			line, behind := text[:searched+n], space(text[searched+n:])
			if _, rest, err := nested(line); err != nil || len(space(rest)) > 0 {
				break
			}
			if len(behind) > 0 {
				return j, nil
			}
			searched += n // whether others follow is still to be read
		} else if searched = len(text); len(text) >= maxRecord/2 { // a line as long as this is a document
			break
		}
		more, err := j.fill()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	return j.document()
}

// document reads the rest as one document: an object of columns, an object that has the rows in it, or
// objects one after the other.
func (j *jsonRows) document() (rows, error) {
	rest, err := io.ReadAll(io.LimitReader(j.r, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", j.line, err)
	}
	if len(rest) > maxDocument {
		return nil, errDocument
	}
	text := slices.Concat(j.buf[j.start:j.end], rest)
	if j.check != nil {
		if err := j.check(j.line, text); err != nil {
			return nil, err
		}
	}
	j.block = block{r: bytes.NewReader(nil), buf: text, end: len(text), eof: true, line: j.line}
	j.form = jsonStream
	_, after, err := nested(text)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", j.line, errObject)
	}
	if len(space(after)) > 0 {
		return j, nil
	}
	r, err := j.columns(text)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", j.line, err)
	}
	return r, nil
}

// columns reads an object whose values are columns, each an object of rows by their names, as pandas
// writes by default, or an array; whose values are rows by their names; or which has the rows as data.
func (j *jsonRows) columns(text []byte) (rows, error) {
	c := &jsonColumns{jsonRows: j, names: j.names}
	open, allSame := byte(0), true
	v := space(text[1:])
	for len(v) > 0 && v[0] != '}' {
		if v[0] == ',' {
			v = space(v[1:])
		}
		if len(v) == 0 || v[0] != '"' {
			return nil, errObject
		}
		key, rest, err := j.text(v)
		if err != nil {
			return nil, err
		}
		name := string(key)
		if rest = space(rest); len(rest) == 0 || rest[0] != ':' {
			return nil, errObject
		}
		v = space(rest[1:])
		value, rest, err := j.value(v)
		if err != nil {
			return nil, err
		}
		if value.form == cellNested {
			if open == 0 {
				open = v[0]
			}
			allSame = allSame && open == v[0]
			c.found = append(c.found, name)
			c.at = append(c.at, space(v[1:]))
			if name == "data" && isRows(v) { // of pandas' table, and of many services
				j.start, j.end = len(text)-len(v)+1, len(text)-len(rest)
				j.form, j.buf = jsonArray, text
				return j, nil
			}
		} else {
			allSame = false
		}
		v = space(rest)
	}
	switch {
	case slices.Equal(c.found, []string{"columns", "index", "data"}) || slices.Equal(c.found, []string{"columns", "data"}):
		return nil, errors.New("it has its rows as lists, apart from their names, as pandas writes by orient='split': write orient='records'")
	case !allSame || open == 0:
		return j, nil // one row
	case open == '{' && c.byRow():
		j.form, j.keyed = jsonArray, true
		j.start = len(text) - len(space(text[1:]))
		j.end = len(text)
		return j, nil
	}
	if c.names == nil {
		c.names = c.found
	}
	if len(c.names) != len(c.found) {
		return nil, errors.New("its columns changed between two reads")
	}
	if len(c.found) > maxColumns {
		return nil, fmt.Errorf("it has %d columns, at most %d are read", len(c.found), maxColumns)
	}
	c.object, c.cells = open == '{', make([]cell, len(c.names))
	return c, nil
}

// isRows tells an array of objects.
func isRows(v []byte) bool {
	if v[0] != '[' {
		return false
	}
	v = space(v[1:])
	return len(v) > 0 && v[0] == '{'
}

// jsonColumns gives the rows of an object of columns, all of which are read in step.
type jsonColumns struct {
	*jsonRows
	names  []string
	found  []string // the columns' names
	at     [][]byte // what is left of each
	object bool     // rows have names
	read   int
	cells  []cell
}

// byRow tells rows by their names from columns: the names of the outer are numbers, those of the inner are none.
func (c *jsonColumns) byRow() bool {
	number := func(s []byte) bool {
		_, ok := parseNumber(s)
		return ok
	}
	for i, name := range c.found {
		if !number([]byte(name)) {
			return false
		}
		if len(c.at[i]) > 0 && c.at[i][0] == '"' {
			key, _, err := c.text(c.at[i])
			if err != nil || number(key) {
				return false
			}
		}
	}
	return true
}

// row returns the next row, nil at the end.
func (c *jsonColumns) row() ([]cell, error) {
	c.arena = c.arena[:0]
	var first string
	ended := 0
	for i, v := range c.at {
		if len(v) > 0 && (v[0] == '}' || v[0] == ']') {
			ended++
			continue
		}
		if c.read > 0 {
			if len(v) == 0 || v[0] != ',' {
				return nil, errObject
			}
			v = space(v[1:])
		}
		if c.object {
			if len(v) == 0 || v[0] != '"' {
				return nil, errObject
			}
			key, rest, err := c.text(v)
			if err != nil {
				return nil, err
			}
			if rest = space(rest); len(rest) == 0 || rest[0] != ':' {
				return nil, errObject
			}
			v = space(rest[1:])
			switch {
			case i == 0:
				first = string(key)
			case first != string(key):
				return nil, fmt.Errorf("column %q has the row %q where %q has %q: columns of one table have the same rows in one order", c.found[i], key, c.found[0], first)
			}
		}
		value, rest, err := c.value(v)
		if err != nil {
			return nil, err
		}
		c.cells[i], c.at[i] = value, space(rest)
	}
	if ended == len(c.at) {
		return nil, nil
	}
	if ended > 0 {
		return nil, fmt.Errorf("its columns are not of one length: some end after row %d, others do not", c.read)
	}
	c.read++
	return c.cells, nil
}

// element returns the next object of an array, or of a stream of objects; nil at the end. It is valid
// until the next call.
func (j *jsonRows) element() ([]byte, error) {
	if j.ended {
		return nil, nil
	}
	first, err := j.peek()
	if err != nil {
		return nil, err
	}
	if j.form == jsonArray {
		if first == ',' && j.any {
			j.start++
			if first, err = j.peek(); err != nil {
				return nil, err
			}
		} else if first != ']' && first != '}' && j.any {
			return nil, fmt.Errorf("line %d: %w", j.line, errElement)
		}
		if first == ']' && !j.keyed || first == '}' && j.keyed {
			j.start++
			if behind, err := j.peek(); err != nil || behind == 0 {
				j.ended = true
				return nil, err
			}
			return nil, fmt.Errorf("line %d: something follows the end of the array", j.line)
		}
		if j.keyed { // a name before each
			if first != '"' {
				return nil, errObject
			}
			_, rest, err := j.text(j.buf[j.start:j.end])
			if err != nil {
				return nil, err
			}
			if rest = space(rest); len(rest) == 0 || rest[0] != ':' {
				return nil, errObject
			}
			j.start = j.end - len(space(rest[1:]))
			if j.start < j.end {
				first = j.buf[j.start]
			}
		}
	}
	if first == 0 && j.form == jsonStream {
		return nil, nil
	}
	if first != '{' {
		return nil, fmt.Errorf("line %d: %w", j.line, errElement)
	}
	var depth scanDepth
	for searched := 0; ; {
		v := j.buf[j.start:j.end]
		if n := depth.scan(v[searched:]); n >= 0 {
			text := v[:searched+n]
			if j.check != nil {
				if err := j.check(j.line, text); err != nil {
					return nil, err
				}
			}
			j.start += len(text)
			j.any = true
			return text, nil
		}
		searched = len(v)
		more, err := j.fill()
		if err != nil {
			return nil, err
		}
		if !more {
			return nil, fmt.Errorf("line %d: %w", j.line, errElement)
		}
	}
}

var errElement = errors.New("it is not one JSON object after the other")

// scanDepth finds the end of an object whose bytes come in parts.
type scanDepth struct {
	depth           int
	quoted, escaped bool
}

// scan returns how many bytes of v belong to the object, -1 where it does not end in them.
func (d *scanDepth) scan(v []byte) int {
	for i, b := range v {
		switch {
		case d.escaped:
			d.escaped = false
		case d.quoted:
			d.escaped, d.quoted = b == '\\', b != '"'
		case b == '"':
			d.quoted = true
		case b == '{' || b == '[':
			d.depth++
		case b == '}' || b == ']':
			if d.depth--; d.depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
