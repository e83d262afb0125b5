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

// CountSegments counts the answered rows of a version in a span by the values of a feature of type
// string, category or bool, and by cell of each column of its reference: a value without rows is left
// out, Start is the span's. The values are the first that the reference lists of the feature, and the
// most frequent of the span where it lists none, in that order, at most profile.MaxSegmentValues, after
// them those of profile.OtherValues. Where the plan has the segment and as many rows of it were
// profiled as there are, counts are sums of profiles, and say so; else they are of rows.
func (s *Store) CountSegments(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, segment string, span profile.Span) ([]profile.SegmentCounts, error) {
	return s.countSegments(ctx, m, ref, segment, span, true)
}

// CountSegmentsOfRows is CountSegments of rows alone.
func (s *Store) CountSegmentsOfRows(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, segment string, span profile.Span) ([]profile.SegmentCounts, error) {
	return s.countSegments(ctx, m, ref, segment, span, false)
}

func (s *Store) countSegments(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, segment string, span profile.Span, profiles bool) ([]profile.SegmentCounts, error) {
	t := s.rowsOf(m)
	fail := func(err error) ([]profile.SegmentCounts, error) {
		return nil, fmt.Errorf("count %s version %s by the values of %s: %w", t.model, t.version, segment, err)
	}
	if f, ok := m.Feature(segment); !ok || f.Type.Numeric() {
		return fail(fmt.Errorf("%q is no feature of type string, category or bool", segment))
	}
	if span.Start.IsZero() || !span.Start.Before(span.End) {
		return fail(fmt.Errorf("the span from %s to %s has no rows", span.Start, span.End))
	}
	plan := planOf(m, ref)
	values, err := s.segmentValues(ctx, t, plan, segment, span)
	if err != nil {
		return fail(err)
	}
	counts := make([]profile.SegmentCounts, len(values)+2) // NULL, values, others
	empty := func() {
		for i := range counts {
			counts[i] = profile.SegmentCounts{WindowCounts: emptyCounts(span.Start, ref)}
			if i > 0 && i <= len(values) {
				counts[i].Value = values[i-1]
			}
		}
		counts[len(values)+1].Value = profile.OtherValues
	}
	empty()
	profiled := false
	if profiles && slices.Contains(plan.Segments, segment) && len(ref.Columns) > 0 && aligned(span, plan.Bucket) {
		if profiled, err = s.profiledSegment(ctx, t, plan, segment, span, counts); err != nil {
			return fail(err)
		}
	}
	if !profiled {
		empty()
		if err := s.countCells(ctx, t, ref, segmentIndex(segment, values), t.where(span), func(r cellRow) (*profile.WindowCounts, bool) {
			if int(r.Window) >= len(counts) {
				return nil, false
			}
			return &counts[r.Window].WindowCounts, true
		}); err != nil {
			return fail(err)
		}
	}
	return slices.DeleteFunc(counts, func(c profile.SegmentCounts) bool { return c.Rows == 0 }), nil
}

// aligned tells whether a span is a number of whole buckets.
func aligned(span profile.Span, bucket time.Duration) bool {
	return profile.WindowStart(span.Start, bucket).Equal(span.Start) && profile.WindowStart(span.End, bucket).Equal(span.End)
}

// segmentIndex is the expression of the index of a row's value among "" and the values; others come last.
func segmentIndex(segment string, values []string) string {
	quoted, places := []string{"''"}, []string{"0"}
	for i, v := range values {
		quoted, places = append(quoted, quote(v)), append(places, strconv.Itoa(i+1))
	}
	return fmt.Sprintf("transform(ifNull(toString(%s), ''), [%s], [%s], %d)", column(segment), strings.Join(quoted, ", "), strings.Join(places, ", "), len(values)+1)
}

// segmentValues returns the values that are counted by themselves.
func (s *Store) segmentValues(ctx context.Context, t versionRows, plan *profile.Plan, segment string, span profile.Span) ([]string, error) {
	if values := plan.SegmentValues(segment); len(values) > 0 {
		return values, nil
	}
	var rows []struct {
		Value string `ch:"v"`
	}
	query := fmt.Sprintf("SELECT ifNull(toString(%s), '') AS v FROM %s WHERE %s AND v NOT IN ('', %s) GROUP BY v ORDER BY count() DESC, v LIMIT %d",
		column(segment), t.observations(), t.where(span), quote(profile.OtherValues), profile.MaxSegmentValues)
	if err := s.conn.Select(ctx, &rows, query); err != nil {
		return nil, err
	}
	values := make([]string, len(rows))
	for i, r := range rows {
		values[i] = r.Value
	}
	return values, nil
}

// profiledSegment sums profiles into counts, and tells whether all rows of the span are in them.
func (s *Store) profiledSegment(ctx context.Context, t versionRows, plan *profile.Plan, segment string, span profile.Span, counts []profile.SegmentCounts) (bool, error) {
	var found []struct {
		Value   string   `ch:"v"`
		Column  string   `ch:"c"`
		Rows    uint64   `ch:"n"`
		Missing uint64   `ch:"m"`
		Other   uint64   `ch:"o"`
		Cells   []uint64 `ch:"b"`
	}
	query := fmt.Sprintf("SELECT value AS v, column AS c, sum(profiles.rows) AS n, sum(profiles.missing) + sum(profiles.nan) AS m, sum(profiles.other) AS o, sumForEachMerge(profiles.cells) AS b "+
		"FROM %s.profiles WHERE model = %s AND version = %s AND plan = %s AND segment = %s AND column != '' AND bucket >= %s AND bucket < %s GROUP BY v, c",
		t.database, quote(plan.Model), quote(plan.Version), quote(plan.ID()), quote(segment), instant(span.Start), instant(span.End))
	if err := s.conn.Select(ctx, &found, query); err != nil {
		return false, err
	}
	columns := make(map[string]int, len(plan.Columns))
	for i := range plan.Columns {
		columns[plan.Columns[i].Name] = i
	}
	at := make(map[string]int, len(counts))
	for i := range counts {
		at[counts[i].Value] = i
	}
	for _, f := range found {
		i, ok := at[f.Value]
		j, known := columns[f.Column]
		if !ok || !known || len(f.Cells) > len(counts[i].Columns[j].Cells) {
			return false, nil
		}
		into := &counts[i]
		into.Rows = f.Rows
		into.Columns[j].Missing, into.Columns[j].Other = int64(f.Missing), int64(f.Other)
		for k, n := range f.Cells {
			into.Columns[j].Cells[k] = int64(n)
		}
	}
	sum := uint64(0)
	for i := range counts {
		if !complete(&counts[i].WindowCounts) {
			return false, nil
		}
		sum += counts[i].Rows
	}
	var stored []struct {
		Rows uint64 `ch:"n"`
	}
	if err := s.conn.Select(ctx, &stored, fmt.Sprintf("SELECT count() AS n FROM %s WHERE %s", t.observations(), t.where(span))); err != nil {
		return false, err
	}
	if len(stored) != 1 || stored[0].Rows != sum {
		return false, nil
	}
	for i := range counts {
		counts[i].Profiled = true
	}
	return true, nil
}
