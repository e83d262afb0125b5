package profile

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
	"github.com/millrace/millrace/schemas/observe"
)

// segment is a feature by whose values rows are counted too.
type segment struct {
	feature string
	names   []string         // of values: NULL, those that the plan lists, all others
	ids     map[string]int32 // of values: indexes of names

	at  int
	typ arrow.Type
}

// id returns the number of a value.
func (s *segment) id(value []byte) int32 {
	if id, ok := s.ids[string(value)]; ok {
		return id
	}
	return int32(len(s.names) - 1)
}

// Sizes of what the groups are made of, about.
const (
	blockBytes = 96
	stateBytes = 256
)

// scratch is what batches are counted with.
type scratch struct {
	batch    uint64          // its number
	parts    []part          // all rows, and by segment
	column   arrowipc.Column // that is counted
	values   []float64       // its numbers
	block    [blockValues]float64
	found    found
	outside  [blockValues]float64 // of the windows of bins
	ids      []int32              // of the segment's entries, plus one
	resolved []int32              // cells of a dictionary's entries
	hits     []uint32             // of a dictionary's entries; zero between columns
	touched  []uint32
	number   []byte
	sketcher sketcher
}

// part is the rows of a batch by block.
type part struct {
	blocks []*block
	of     []int32 // places of rows among blocks, -1 for rows that are not counted
	ends   []int32 // of the blocks' rows in order
	order  []int32 // rows; empty where there is one block of all rows
}

// begin empties the part, for so many rows.
func (p *part) begin(rows int) {
	clear(p.blocks)
	p.blocks, p.of = p.blocks[:0], p.of[:0]
	if cap(p.of) < rows {
		p.of = make([]int32, 0, rows)
	}
}

// place returns the place of a block.
func (p *part) place(b *block, batch uint64) int32 {
	if b.batch != batch {
		b.batch, b.place = batch, int32(len(p.blocks))
		p.blocks = append(p.blocks, b)
	}
	return b.place
}

// end orders the rows by block.
func (p *part) end() {
	p.ends = zeros(p.ends, len(p.blocks))
	counted := 0
	for _, at := range p.of {
		if at >= 0 {
			p.ends[at]++
			counted++
		}
	}
	start := int32(0)
	for i, n := range p.ends {
		p.blocks[i].rows += uint64(n)
		p.ends[i] = start
		start += n
	}
	p.order = p.order[:0]
	if len(p.blocks) == 1 && counted == len(p.of) {
		p.ends[0] = start
		return
	}
	if cap(p.order) < counted {
		p.order = make([]int32, 0, len(p.of))
	}
	p.order = p.order[:counted]
	for row, at := range p.of {
		if at >= 0 {
			p.order[p.ends[at]] = int32(row)
			p.ends[at]++
		}
	}
}

// eachBlock calls fn with each block of the batch and its rows: nil for all.
func (c *Counter) eachBlock(fn func(b *block, rows []int32)) {
	for i := range c.parts {
		p := &c.parts[i]
		start := int32(0)
		for j, b := range p.blocks {
			if len(p.order) == 0 {
				fn(b, nil)
				continue
			}
			fn(b, p.order[start:p.ends[j]])
			start = p.ends[j]
		}
	}
}

// split finds the blocks that the rows of a batch belong to. There may be none.
func (c *Counter) split(b *observe.Batch) (some bool, err error) {
	c.batch++
	all := &c.parts[0]
	all.begin(b.Rows)
	var columns [4]arrowipc.Column
	for i, at := range []int{c.eventTime, c.version, c.variant, c.outcome} {
		if columns[i], err = b.Column(at); err != nil {
			return false, err
		}
	}
	times, versions, variants, outcomes := &columns[0], &columns[1], &columns[2], &columns[3]
	version, outcome := entriesOf(versions.Dictionary, c.plan.Version), entriesOf(outcomes.Dictionary, schemas.OutcomeOK)
	var low, high int64 // of the last row's bucket
	last, place := uint32(math.MaxUint32), int32(-1)
	for row := range b.Rows {
		if !version.has(versions, row) || !outcome.has(outcomes, row) {
			all.of = append(all.of, -1)
			continue
		}
		at := int64(binary.LittleEndian.Uint64(times.Values[8*row:]))
		variant := binary.LittleEndian.Uint32(variants.Values[4*row:])
		if variant != last || at < low || at >= high {
			low = c.bucket(at)
			last, high = variant, low+c.plan.Bucket.Microseconds()
			place = all.place(&c.group(variants.Dictionary.Value(int(variant)), low).all, c.batch)
			if c.bytes > maxCounterBytes {
				return false, unprofiled("the counts take more than %d MiB", maxCounterBytes>>20)
			}
		}
		all.of = append(all.of, place)
	}
	all.end()
	for i := range c.segments {
		if err := c.splitSegment(b, i); err != nil {
			return false, err
		}
	}
	return len(all.blocks) > 0, nil
}

// bucket returns the start of the bucket of a time.
func (c *Counter) bucket(at int64) int64 {
	size := c.plan.Bucket.Microseconds()
	n := at / size
	if at%size < 0 {
		n--
	}
	return n * size
}

// splitSegment finds the blocks by the values of a segment.
func (c *Counter) splitSegment(b *observe.Batch, i int) error {
	all, p, s := &c.parts[0], &c.parts[i+1], &c.segments[i]
	p.begin(b.Rows)
	var err error
	if c.column, err = b.Column(s.at); err != nil {
		return err
	}
	t := c.texts(&c.column, s.typ)
	c.ids = zeros(c.ids, t.entries)
	for row, place := range all.of {
		if place < 0 {
			p.of = append(p.of, -1)
			continue
		}
		id := int32(0)
		switch {
		case t.col.IsNull(row):
		case t.entries == 0:
			text, _ := t.text(row)
			id = s.id(text)
		default:
			e := t.entry(row)
			if id = c.ids[e] - 1; id < 0 {
				id = s.id(t.value(e))
				c.ids[e] = id + 1
			}
		}
		p.of = append(p.of, p.place(c.valueBlock(all.blocks[place].group, i, id), c.batch))
		if c.bytes > maxCounterBytes {
			return unprofiled("the counts take more than %d MiB", maxCounterBytes>>20)
		}
	}
	p.end()
	return nil
}

// valueBlock returns the block of a value of segment i in a group.
func (c *Counter) valueBlock(g *group, i int, id int32) *block {
	values := g.segs[i]
	if len(values) <= int(id) {
		c.bytes += 8 * (int(id) + 1 - len(values))
		values = append(values, make([]*block, int(id)+1-len(values))...)
		g.segs[i] = values
	}
	if values[id] == nil {
		values[id] = &block{group: g}
		c.fill(values[id])
	}
	return values[id]
}

// matching are the entries of a dictionary that are one text.
type matching struct {
	first uint32 // math.MaxUint32: none
	more  []uint32
}

// entriesOf finds a text in a dictionary. Ours have it once.
func entriesOf(d *arrowipc.Dictionary, text string) (m matching) {
	m.first = math.MaxUint32
	for i := range d.Len() {
		if string(d.Value(i)) != text {
			continue
		}
		if m.first == math.MaxUint32 {
			m.first = uint32(i)
		} else {
			m.more = append(m.more, uint32(i))
		}
	}
	return m
}

// has tells whether a row has the text.
func (m *matching) has(c *arrowipc.Column, row int) bool {
	e := binary.LittleEndian.Uint32(c.Values[4*row:])
	return e == m.first || slices.Contains(m.more, e)
}
