package profile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/schemas/arrowipc"
	"github.com/millrace/millrace/schemas/observe"
)

// column is a column of a plan, and where it is in the schema that the Counter is bound to.
type column struct {
	plan       *Column
	cells      int
	bins       *bins // nil: categories
	origin     float64
	categories map[string]int32 // their cells

	at  int
	typ arrow.Type
}

func (p *column) init(c *Column) error {
	p.plan, p.cells = c, len(c.Categories)
	if len(c.Edges) > 0 {
		p.cells = len(c.Edges) + 1
	}
	switch {
	case len(c.Edges) > 0 && len(c.Categories) > 0:
		return errors.New("both edges and categories")
	case p.cells > MaxCells:
		return fmt.Errorf("%d cells, at most %d can be counted", p.cells, MaxCells)
	case len(c.Edges) > 0:
		for i, e := range c.Edges {
			if math.IsNaN(e) || math.IsInf(e, 0) || i > 0 && e <= c.Edges[i-1] {
				return fmt.Errorf("edges must be finite and ascend, edge %d is %v", i, e)
			}
		}
		p.bins, p.origin = newBins(c.Edges), c.Origin()
	}
	p.categories = make(map[string]int32, len(c.Categories))
	for i, v := range c.Categories {
		if _, twice := p.categories[v]; twice {
			return fmt.Errorf("category %q stands twice", v)
		}
		p.categories[v] = int32(i)
	}
	return nil
}

// fits tells why a column of its type is not counted as ClickHouse counts it.
func (p *column) fits() error {
	switch p.typ {
	case arrow.BOOL, arrow.INT32, arrow.INT64:
		return nil
	case arrow.FLOAT32, arrow.FLOAT64:
		if p.bins == nil && p.cells > 0 {
			return unprofiled("column %q: categories of floats", p.plan.Name)
		}
		return nil
	case arrow.STRING, arrow.DICTIONARY:
		if p.bins != nil {
			return unprofiled("column %q: bins of texts", p.plan.Name)
		}
		return nil
	default:
		return unprofiled("column %q is of type %s", p.plan.Name, p.typ)
	}
}

// count counts column i of a batch that was split.
func (c *Counter) count(b *observe.Batch, i int) error {
	p := &c.columns[i]
	col, err := b.Column(p.at)
	if err != nil {
		return err
	}
	if p.bins != nil {
		c.values = appendNumbers(c.values[:0], &col, p.typ)
		c.eachBlock(func(b *block, rows []int32) { c.addNumbers(p, &b.states[i], c.values, rows) })
		return nil
	}
	texts := c.texts(&col, p.typ)
	c.resolved = zeros(c.resolved, texts.entries)
	c.eachBlock(func(b *block, rows []int32) { c.addTexts(p, &b.states[i], &texts, rows) })
	return nil
}

// zeros returns a slice of n zeros, that is s where it has room.
func zeros(s []int32, n int) []int32 {
	if cap(s) < n {
		return make([]int32, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// appendNumbers appends the values of a column as 64-bit floats, nullBits where NULL.
func appendNumbers(dst []float64, col *arrowipc.Column, typ arrow.Type) []float64 {
	raw, n := col.Values, col.Rows
	if cap(dst) < n {
		dst = make([]float64, n)
	}
	dst = dst[:n]
	switch typ { //nolint:exhaustive // those that fits lets pass
	case arrow.FLOAT64:
		raw = raw[:8*n]
		for i := range dst {
			dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:]))
			if math.Float64bits(dst[i]) == nullBits {
				dst[i] = math.NaN()
			}
		}
	case arrow.FLOAT32:
		for i := range dst {
			dst[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])))
			if math.Float64bits(dst[i]) == nullBits {
				dst[i] = math.NaN()
			}
		}
	case arrow.INT32:
		for i := range dst {
			dst[i] = float64(int32(binary.LittleEndian.Uint32(raw[4*i:])))
		}
	case arrow.INT64:
		for i := range dst {
			dst[i] = float64(int64(binary.LittleEndian.Uint64(raw[8*i:])))
		}
	case arrow.BOOL:
		for i := range dst {
			dst[i] = float64(raw[i>>3] >> (i & 7) & 1)
		}
	}
	if col.Valid != nil {
		for i := range dst {
			if col.IsNull(i) {
				dst[i] = math.Float64frombits(nullBits)
			}
		}
	}
	return dst
}

// texts are the values of a column as ClickHouse's toString prints them. Those with entries have
// the index of one at each row; others are read row by row.
type texts struct {
	col     *arrowipc.Column
	typ     arrow.Type
	entries int // 0: none
	number  []byte
}

func (c *Counter) texts(col *arrowipc.Column, typ arrow.Type) texts {
	t := texts{col: col, typ: typ, number: c.number[:0]}
	switch typ { //nolint:exhaustive // others have no entries
	case arrow.DICTIONARY:
		t.entries = col.Dictionary.Len()
	case arrow.BOOL:
		t.entries = 2
	}
	return t
}

// entry returns the index of a row's entry.
func (t *texts) entry(row int) uint32 {
	if t.typ == arrow.BOOL {
		return uint32(t.col.Values[row>>3] >> (row & 7) & 1)
	}
	return binary.LittleEndian.Uint32(t.col.Values[4*row:])
}

var boolTexts = [2][]byte{[]byte("false"), []byte("true")}

// value returns the text of an entry.
func (t *texts) value(entry uint32) []byte {
	if t.typ == arrow.BOOL {
		return boolTexts[entry]
	}
	return t.col.Dictionary.Value(int(entry))
}

// text returns the text of a row, valid until the next call; named is false where it is not told.
func (t *texts) text(row int) (text []byte, named bool) {
	col := t.col
	switch t.typ { //nolint:exhaustive // those that fits lets pass
	case arrow.STRING:
		return col.Data[binary.LittleEndian.Uint32(col.Offsets[4*row:]):binary.LittleEndian.Uint32(col.Offsets[4*row+4:])], true
	case arrow.INT32:
		t.number = strconv.AppendInt(t.number[:0], int64(int32(binary.LittleEndian.Uint32(col.Values[4*row:]))), 10)
		return t.number, true
	case arrow.INT64:
		t.number = strconv.AppendInt(t.number[:0], int64(binary.LittleEndian.Uint64(col.Values[8*row:])), 10)
		return t.number, true
	}
	return nil, false
}

// Cells of entries as they are remembered.
const (
	unresolved = 0
	unlisted   = 1
	listed     = 2 // and the cell
)

// addTexts counts rows of a column of categories.
func (c *Counter) addTexts(p *column, s *state, t *texts, rows []int32) {
	n := t.col.Rows
	if rows != nil {
		n = len(rows)
	}
	if t.entries == 0 {
		c.addEachText(p, s, t, rows, n)
		return
	}
	if len(c.hits) < t.entries {
		c.hits = make([]uint32, t.entries)
	}
	hits, touched := c.hits, c.touched[:0]
	for i := range n {
		row := i
		if rows != nil {
			row = int(rows[i])
		}
		if t.col.IsNull(row) {
			s.missing++
			continue
		}
		e := t.entry(row)
		if hits[e] == 0 {
			touched = append(touched, e)
		}
		hits[e]++
	}
	for _, e := range touched {
		cell := c.resolved[e]
		if cell == unresolved {
			cell = unlisted
			if at, ok := p.categories[string(t.value(e))]; ok {
				cell = listed + at
			}
			c.resolved[e] = cell
		}
		if cell >= listed {
			s.cells[cell-listed] += hits[e]
		} else {
			c.addOther(s, t.value(e), uint64(hits[e]))
		}
		hits[e] = 0
	}
	c.touched = touched
}

// addEachText is addTexts of values that are no entries.
func (c *Counter) addEachText(p *column, s *state, t *texts, rows []int32, n int) {
	for i := range n {
		row := i
		if rows != nil {
			row = int(rows[i])
		}
		if t.col.IsNull(row) {
			s.missing++
			continue
		}
		text, named := t.text(row)
		if !named {
			s.other++
		} else if cell, ok := p.categories[string(text)]; ok {
			s.cells[cell]++
		} else {
			c.addOther(s, text, 1)
		}
	}
	c.number = t.number
}

// addOther counts rows of an unlisted category.
func (c *Counter) addOther(s *state, text []byte, rows uint64) {
	s.other += rows
	if s.unseen == nil {
		s.unseen = unseen{}
		c.bytes += unseenBytes
	}
	c.bytes += s.unseen.add(text, rows)
}
