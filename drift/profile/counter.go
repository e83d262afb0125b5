package profile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe"
)

// ErrUnprofiled is what wraps a reason not to count rows here: they take too much memory, or their
// columns do not fit the plan. They can be counted where they are stored.
var ErrUnprofiled = errors.New("not profiled")

func unprofiled(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnprofiled, fmt.Sprintf(format, args...))
}

const (
	// maxCounterBytes bounds what a Counter takes, its tables and one batch not counted.
	maxCounterBytes = 128 << 20
	// maxCounterRows is what slotCounts have room for.
	maxCounterRows = 1<<24 - 1
)

// Counter counts observations by a plan: rows of the plan's version that were answered.
//
// What it counts is a function of the rows. Counts, extremes and infinities are the same for any
// batches in any order. Sum and SumSquares differ by rounding: they lie within 4e-15 of what they
// would be without it, relative to the sum of magnitudes. Sketch depends on the order of the rows of a
// variant, bucket, segment and column, and not on batches; its quantiles are off by about a percent of
// rows at the median, by less towards the ends. Unseen is exact while there are at most 256 unlisted
// categories, else see there.
//
// It is not safe for concurrent use.
type Counter struct {
	plan     *Plan
	columns  []column
	cells    int // of all columns
	segments []segment

	bound                                *observe.Schema // that the indexes are of
	eventTime, version, variant, outcome int

	variants map[string]int32
	names    []string // of the variants
	groups   map[groupKey]*group
	rows     int
	bytes    int // that groups take
	err      error

	scratch
}

type groupKey struct {
	variant int32
	bucket  int64 // its start, in microseconds since 1970
}

// group is the rows of one variant and bucket.
type group struct {
	groupKey
	all  block
	segs [][]*block // by segment and value; nil where there is no row
}

// block is the rows of one group, or of one value of a segment in it.
type block struct {
	rows   uint64
	states []state // by column
	place  int32   // in the part of batch, which holds for it alone
	batch  uint64
	group  *group
}

// state is what is counted of one column in one block.
type state struct {
	missing, nan, other uint64
	positive, negative  uint64 // infinities
	cells               []uint32
	numbers             numbers
	sketch              digest
	unseen              unseen
}

// NewCounter returns a Counter, and makes the tables that it counts with: keep it for the plan, and
// Reset it. The plan must not change.
func NewCounter(plan *Plan) (*Counter, error) {
	if us := plan.Bucket.Microseconds(); us <= 0 || time.Duration(us)*time.Microsecond != plan.Bucket {
		return nil, fmt.Errorf("plan of %s version %s: buckets of %v", plan.Model, plan.Version, plan.Bucket)
	}
	c := &Counter{plan: plan, columns: make([]column, len(plan.Columns))}
	names := map[string]bool{}
	for i := range plan.Columns {
		p := &plan.Columns[i]
		if names[p.Name] {
			return nil, fmt.Errorf("plan of %s version %s: column %q stands twice", plan.Model, plan.Version, p.Name)
		}
		names[p.Name] = true
		if err := c.columns[i].init(p); err != nil {
			return nil, fmt.Errorf("plan of %s version %s: column %q: %w", plan.Model, plan.Version, p.Name, err)
		}
		c.cells += c.columns[i].cells
	}
	for _, name := range plan.Segments {
		if slices.ContainsFunc(c.segments, func(s segment) bool { return s.feature == name }) {
			return nil, fmt.Errorf("plan of %s version %s: segment %q stands twice", plan.Model, plan.Version, name)
		}
		c.segments = append(c.segments, segment{feature: name})
	}
	c.parts = make([]part, 1+len(c.segments))
	c.Reset()
	return c, nil
}

// Reset forgets all rows.
func (c *Counter) Reset() {
	c.variants, c.names, c.groups = map[string]int32{}, nil, map[groupKey]*group{}
	c.rows, c.bytes, c.err = 0, 0, nil
	for i := range c.segments {
		s := &c.segments[i]
		s.names, s.ids = []string{""}, map[string]int32{"": 0}
		for _, v := range c.plan.SegmentValues(s.feature) {
			s.ids[v] = int32(len(s.names))
			s.names = append(s.names, v)
		}
		s.names = append(s.names, OtherValues)
	}
}

// Add counts the rows of a batch. An error wraps observe.ErrMalformed, where the record cannot be
// used, or ErrUnprofiled; after either the counts are those of a part of the rows, and Add returns
// the error until Reset.
func (c *Counter) Add(b *observe.Batch) error {
	if c.err == nil {
		c.err = c.add(b)
	}
	return c.err
}

func (c *Counter) add(b *observe.Batch) error {
	if b.Schema != c.bound {
		c.bound = nil
		if err := c.bind(b.Schema); err != nil {
			return err
		}
		c.bound = b.Schema
	}
	if c.rows += b.Rows; c.rows > maxCounterRows {
		return unprofiled("more than %d rows", maxCounterRows)
	}
	any, err := c.split(b)
	if err != nil || !any {
		return err
	}
	for i := range c.columns {
		if err := c.count(b, i); err != nil {
			return err
		}
		if c.bytes > maxCounterBytes {
			return unprofiled("the counts take more than %d MiB", maxCounterBytes>>20)
		}
	}
	return nil
}

// bind finds the columns in a schema.
func (c *Counter) bind(s *observe.Schema) error {
	if s.Model != c.plan.Model {
		return unprofiled("observations of %s by a plan of %s", s.Model, c.plan.Model)
	}
	for _, f := range []struct {
		name string
		at   *int
		typ  arrow.DataType
	}{
		{schemas.ColumnEventTime, &c.eventTime, schemas.TimestampType},
		{schemas.ColumnVersion, &c.version, schemas.DictionaryType},
		{schemas.ColumnVariant, &c.variant, schemas.DictionaryType},
		{schemas.ColumnOutcome, &c.outcome, schemas.DictionaryType},
	} {
		if *f.at = s.Index(f.name); *f.at < 0 || !arrow.TypeEqual(s.Field(*f.at).Type, f.typ) || s.Field(*f.at).Nullable {
			return unprofiled("no column %s of type %s, not nullable", f.name, f.typ)
		}
	}
	for i := range c.columns {
		p := &c.columns[i]
		if p.at = s.Index(p.plan.Name); p.at < 0 {
			return unprofiled("no column %q", p.plan.Name)
		}
		p.typ = s.Field(p.at).Type.ID()
		if err := p.fits(); err != nil {
			return err
		}
	}
	for i := range c.segments {
		g := &c.segments[i]
		if g.at = s.Index(g.feature); g.at < 0 {
			return unprofiled("no column %q", g.feature)
		}
		switch g.typ = s.Field(g.at).Type.ID(); g.typ {
		case arrow.DICTIONARY, arrow.STRING, arrow.BOOL:
		default:
			return unprofiled("segment %q is of type %s", g.feature, s.Field(g.at).Type)
		}
	}
	return nil
}

// group returns the rows of a variant and bucket.
func (c *Counter) group(variant []byte, bucket int64) *group {
	id, ok := c.variants[string(variant)]
	if !ok {
		id = int32(len(c.names))
		c.names = append(c.names, string(variant))
		c.variants[string(variant)] = id
		c.bytes += len(variant) + 64
	}
	key := groupKey{id, bucket}
	g := c.groups[key]
	if g == nil {
		g = &group{groupKey: key, segs: make([][]*block, len(c.segments))}
		g.all.group = g
		c.fill(&g.all)
		c.groups[key] = g
		c.bytes += 256
	}
	return g
}

// fill makes the states of a block.
func (c *Counter) fill(b *block) {
	b.states = make([]state, len(c.columns))
	cells := make([]uint32, c.cells)
	for i := range b.states {
		n := c.columns[i].cells
		b.states[i].cells, cells = cells[:n:n], cells[n:]
		b.states[i].numbers = noNumbers
	}
	c.bytes += blockBytes + 4*c.cells + stateBytes*len(c.columns)
}

// Rows returns what was counted since Reset, by variant, bucket, segment, value and column of the
// plan. It belongs to the caller, and the Counter goes on counting. It is nil after an error.
func (c *Counter) Rows() []Row {
	if c.err != nil {
		return nil
	}
	groups := make([]*group, 0, len(c.groups))
	for _, g := range c.groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(c.names[a.variant], c.names[b.variant]), cmp.Compare(a.bucket, b.bucket))
	})
	var out []Row
	for _, g := range groups {
		row := Row{Variant: c.names[g.variant], Bucket: time.UnixMicro(g.bucket).UTC()}
		out = c.appendRows(out, row, &g.all)
		order := make([]int, len(c.segments))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(c.segments[a].feature, c.segments[b].feature) })
		for _, i := range order {
			s := &c.segments[i]
			row.Segment = s.feature
			values := make([]int, len(g.segs[i]))
			for v := range values {
				values[v] = v
			}
			slices.SortFunc(values, func(a, b int) int { return cmp.Compare(s.names[a], s.names[b]) })
			for _, v := range values {
				if b := g.segs[i][v]; b != nil {
					row.Value = s.names[v]
					out = c.appendRows(out, row, b)
				}
			}
		}
	}
	return out
}

// appendRows appends the rows of a block, which are otherwise as row.
func (c *Counter) appendRows(out []Row, row Row, b *block) []Row {
	row.Rows = b.rows
	for i := range b.states {
		s, p := &b.states[i], &c.columns[i]
		r := row
		r.Column = p.plan.Name
		r.Missing, r.NaN, r.Other = s.missing, s.nan, s.other
		r.PositiveInf, r.NegativeInf = s.positive, s.negative
		r.Cells = make([]uint64, len(s.cells))
		for j, n := range s.cells {
			r.Cells[j] = uint64(n)
		}
		if s.sketch.slots != nil {
			p.bins.addSlots(r.Cells, s.sketch.slots)
		}
		for len(r.Cells) > 0 && r.Cells[len(r.Cells)-1] == 0 {
			r.Cells = r.Cells[:len(r.Cells)-1]
		}
		r.Sum, r.SumSquares = s.numbers.sum.value(), s.numbers.squares.value()
		r.Min, r.Max = ofKey(s.numbers.min), ofKey(s.numbers.max)
		r.Unseen = s.unseen.top()
		if p.bins != nil {
			r.Sketch = c.sketcher.encode(&s.sketch, p.bins)
		}
		out = append(out, r)
	}
	return out
}
