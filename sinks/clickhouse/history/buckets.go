package history

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// CountBuckets counts the answered rows of a span by bucket of the version's windows and by cell of
// each column of a reference, ascending; buckets without rows are left out. Buckets that are wholly
// profiled are taken from there. Of the others the last ones are counted that have at most so many rows
// together, and the rest is left out. The span begins and ends at a bucket.
func (s *Store) CountBuckets(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, span profile.Span, most uint64) ([]profile.WindowCounts, error) {
	plan := planOf(m, ref)
	short := tumbling(m, plan.Bucket) // as if the windows were as long as the buckets
	stored, err := s.CountRows(ctx, short, span, time.Time{})
	if err != nil || len(stored) == 0 {
		return nil, err
	}
	starts := make([]time.Time, len(stored))
	out := make([]profile.WindowCounts, len(stored))
	for i, b := range stored {
		starts[i], out[i] = b.Start, emptyCounts(b.Start, ref)
	}
	rest, err := s.profiledCounts(ctx, short, ref, plan, starts, out)
	if err != nil {
		return nil, err
	}
	left := make(map[int64]bool, len(rest))
	for _, start := range rest {
		left[start.UnixMicro()] = true
	}
	var counted []time.Time
	rows := uint64(0)
	for _, b := range slices.Backward(stored) {
		if !left[b.Start.UnixMicro()] {
			continue
		}
		if rows += b.Rows; rows > most {
			break
		}
		counted = append(counted, b.Start)
	}
	slices.Reverse(counted)
	byRows, err := s.CountCellsOfRows(ctx, short, ref, counted)
	if err != nil {
		return nil, err
	}
	known := make(map[int64]profile.WindowCounts, len(byRows))
	for _, b := range byRows {
		known[b.Start.UnixMicro()] = b
	}
	for i := range out {
		if b, ok := known[out[i].Start.UnixMicro()]; ok {
			out[i] = b
		}
	}
	return slices.DeleteFunc(out, func(b profile.WindowCounts) bool { return b.Rows == 0 }), nil
}

// unlistedText bounds the list of categories in the SQL of a reason, in bytes.
const unlistedText = 8 << 10

// SelectedSQL returns plain SQL for the answered rows of a version in a span that a selection is of,
// by event time. Where it would be longer than an event should carry, it selects all rows.
func (s *Store) SelectedSQL(m *schemas.Manifest, span profile.Span, rows schemas.RowSelection) string {
	t := s.rowsOf(m)
	where := t.where(span)
	if condition := t.selected(m, span, rows); condition != "" {
		where += " AND " + condition
	}
	return fmt.Sprintf("SELECT * FROM %s WHERE %s ORDER BY event_time", t.observations(), where)
}

// selected is the condition of a selection; "" of all rows.
func (t versionRows) selected(m *schemas.Manifest, span profile.Span, rows schemas.RowSelection) string {
	if rows.Repeated {
		return fmt.Sprintf("request_id IN (SELECT request_id FROM %s WHERE %s GROUP BY request_id HAVING count() > 1)", t.observations(), t.where(span))
	}
	typ, known := columnType(m, rows.Column)
	if !known {
		return ""
	}
	c := column(rows.Column)
	number := func(x float64) string { return strconv.FormatFloat(x, 'e', -1, 64) }
	switch {
	case rows.Missing && typ.Numeric():
		return fmt.Sprintf("(isNull(%[1]s) OR isNaN(%[1]s))", c)
	case rows.Missing:
		return fmt.Sprintf("isNull(%s)", c)
	case rows.Category != nil && len(*rows.Category) <= unlistedText:
		return fmt.Sprintf("toString(%s) = %s", c, quote(*rows.Category))
	case len(rows.Unlisted) > 0:
		list := quoted(rows.Unlisted)
		if len(list) > unlistedText {
			return ""
		}
		return fmt.Sprintf("toString(%s) NOT IN (%s)", c, list)
	case rows.Outside:
		f, _ := m.Feature(rows.Column)
		if f == nil {
			return ""
		}
		return outside(c, f.Type, f.Min, f.Max)
	}
	var parts []string
	if rows.From != nil {
		parts = append(parts, fmt.Sprintf("toFloat64(%s) >= %s", c, number(*rows.From)))
	}
	if rows.Below != nil {
		parts = append(parts, fmt.Sprintf("toFloat64(%s) < %s", c, number(*rows.Below)))
	}
	return strings.Join(parts, " AND ")
}

// columnType is the type of a feature or an output.
func columnType(m *schemas.Manifest, name string) (schemas.FeatureType, bool) {
	if f, ok := m.Feature(name); ok {
		return f.Type, true
	}
	if o, ok := m.Output(name); ok {
		return o.Type, true
	}
	return "", false
}
