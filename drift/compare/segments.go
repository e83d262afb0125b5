package compare

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
)

const (
	maxSegmentValues = 1000    // a column with more is refused
	maxSegments      = 50      // compared: those with the most rows of the reference
	maxSegmentCells  = 100_000 // segments times columns, each of which is some kilobytes of a report
)

// noSegment is the segment of rows where the column has no value.
const noSegment = "(missing)"

// readSegments reads the segment column of both tables and chooses the segments.
func (e *engine) readSegments(ctx context.Context) error {
	index := map[string]uint16{}
	var names []string
	var rows [2][]int64
	for k := range e.tables {
		t := &e.tables[k]
		at := t.source.Schema().FieldIndices(e.Segment)[0]
		err := t.source.Scan(ctx, []int{at}, func(batch arrow.Record) error {
			a := batch.Column(0)
			text, err := writer(a)
			if err != nil {
				return err
			}
			for i := range a.Len() {
				name := noSegment
				if !isMissing(a, i) {
					name = text(i)
				}
				id, ok := index[name]
				if !ok {
					if len(names) == maxSegmentValues {
						return fmt.Errorf("column %q has more than %d values, too many for --segment: choose a column with fewer", e.Segment, maxSegmentValues)
					}
					id = uint16(len(names))
					name = strings.Clone(name)
					index[name] = id
					names = append(names, name)
				}
				t.segment = append(t.segment, id)
				for int(id) >= len(rows[k]) {
					rows[k] = append(rows[k], 0)
				}
				rows[k][id]++
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", t.source.Name(), err)
		}
	}
	of := func(k int, id uint16) int64 {
		if int(id) < len(rows[k]) {
			return rows[k][id]
		}
		return 0
	}
	order := make([]uint16, len(names))
	for i := range order {
		order[i] = uint16(i)
	}
	slices.SortStableFunc(order, func(a, b uint16) int {
		return cmp.Or(cmp.Compare(of(0, b), of(0, a)), cmp.Compare(of(1, b), of(1, a)), cmp.Compare(names[a], names[b]))
	})
	if len(order) > maxSegments {
		e.note("segments: the %d values of %q with the most rows are compared, of %d", maxSegments, e.Segment, len(order))
		order = order[:maxSegments]
	}
	if n := len(order) * len(e.plans); n > maxSegmentCells {
		return fmt.Errorf("%s of %q times %s are more than the %d comparisons that --segment makes: choose fewer columns by --columns",
			count(int64(len(order)), "segment"), e.Segment, count(int64(len(e.plans)), "column"), maxSegmentCells)
	}
	to := make([]uint16, len(names))
	for i, id := range order {
		to[id] = uint16(i + 1)
		e.segments = append(e.segments, names[id])
	}
	for k := range e.tables {
		for i, id := range e.tables[k].segment {
			e.tables[k].segment[i] = to[id]
		}
	}
	return nil
}
