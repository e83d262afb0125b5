package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// ErrNoRows is returned where a reference would be made of no rows.
var ErrNoRows = errors.New("no answered rows")

// ErrNoColumns is returned where a reference would have no column: identifiers alone are none.
var ErrNoColumns = fmt.Errorf("no column is left to compare windows by: in each, more than half of the rows have a value beyond the %d most frequent; name one in a check (monitoring.checks), and it is kept", profile.MaxCategories)

// maxCategoryBytes bounds a category of a reference that is made of rows; longer values are
// counted as other.
const maxCategoryBytes = 256

// referenceTries bounds how often a reference is counted while rows arrive in between.
const referenceTries = 5

// MakeReference reduces the answered rows of a version in spans of event time, which ascend and
// do not overlap, to a reference, as it lies in reference.json: every feature and output of the
// manifest, in its order. Numeric columns have the edges of profile.Edges, others the most
// frequent of their values as categories. A column of type string is left out where
// profile.MaxCategories values do not cover half of its rows, as in identifiers, unless a check
// names it. Figures of quality are left out. The same rows make the same reference. No rows are
// ErrNoRows, and rows of which no column is kept ErrNoColumns.
//
// ClickHouse sorts one column at a time, of all rows of the spans, in memory: 8 bytes a row.
func (s *Store) MakeReference(ctx context.Context, m *schemas.Manifest, spans []profile.Span) (*schemas.Reference, error) {
	t := s.rowsOf(m)
	fail := func(err error) (*schemas.Reference, error) {
		return nil, fmt.Errorf("make a reference of %s version %s: %w", t.observations(), t.version, err)
	}
	if len(spans) == 0 {
		return fail(ErrNoRows)
	}
	where := t.whereAny(spans)
	for range referenceTries {
		ref := &schemas.Reference{Made: fmt.Sprintf("of the rows that version %s answered, event times from %s to before %s, in %d spans",
			m.Version, spans[0].Start.UTC().Format(time.RFC3339), spans[len(spans)-1].End.UTC().Format(time.RFC3339), len(spans))}
		for _, f := range m.Features {
			if err := s.addColumn(ctx, t, m, ref, f.Name, f.Type, where); err != nil {
				return fail(err)
			}
		}
		for _, o := range m.Outputs {
			if err := s.addColumn(ctx, t, m, ref, o.Name, o.Type, where); err != nil {
				return fail(err)
			}
		}
		if len(ref.Columns) == 0 {
			return fail(ErrNoColumns)
		}
		var counts profile.WindowCounts
		for _, c := range ref.Columns {
			counts.Columns = append(counts.Columns, profile.Counts{Cells: make([]int64, len(c.Counts))})
		}
		if err := s.countCells(ctx, t, ref, "0", where, func(cellRow) (*profile.WindowCounts, bool) { return &counts, true }); err != nil {
			return fail(err)
		}
		ref.Rows = int64(counts.Rows)
		if ref.Rows == 0 {
			return fail(ErrNoRows)
		}
		if fill(ref, counts.Columns) {
			return ref, nil
		}
	}
	return fail(fmt.Errorf("rows arrived during each of %d counts; choose event times that have ended", referenceTries))
}

// fill puts counts into a reference; false where the columns do not have the same rows.
func fill(ref *schemas.Reference, counts []profile.Counts) bool {
	for i := range ref.Columns {
		if counts[i].Rows() != ref.Rows {
			return false
		}
		c := &ref.Columns[i]
		c.Counts, c.Other, c.Missing = counts[i].Cells, counts[i].Other, counts[i].Missing
	}
	return true
}

// whereAny selects the version's answered rows of spans, of which neighbours become one.
func (t versionRows) whereAny(spans []profile.Span) string {
	var merged []profile.Span
	for _, s := range spans {
		if n := len(merged); n > 0 && merged[n-1].End.Equal(s.Start) {
			merged[n-1].End = s.End
			continue
		}
		merged = append(merged, s)
	}
	whole := profile.Span{Start: merged[0].Start, End: merged[len(merged)-1].End}
	if len(merged) == 1 {
		return t.where(whole)
	}
	parts := make([]string, len(merged))
	for i, s := range merged {
		parts[i] = fmt.Sprintf("event_time >= %s AND event_time < %s", instant(s.Start), instant(s.End))
	}
	return t.where(whole) + " AND (" + strings.Join(parts, " OR ") + ")"
}

// addColumn appends a column with its cells, which are not yet counted.
func (s *Store) addColumn(ctx context.Context, t versionRows, m *schemas.Manifest, ref *schemas.Reference, name string, typ schemas.FeatureType, where string) error {
	c := schemas.ReferenceColumn{Name: name}
	if typ.Numeric() {
		edges, err := s.edges(ctx, t, name, where)
		if err != nil {
			return err
		}
		c.Edges, c.Counts = edges, make([]int64, len(edges)+1)
		ref.Columns = append(ref.Columns, c)
		return nil
	}
	categories, covered, err := s.categories(ctx, t, name, where)
	if err != nil {
		return err
	}
	if typ == schemas.TypeString && !covered && !checked(m, name) {
		return nil
	}
	c.Categories, c.Counts = categories, make([]int64, len(categories))
	ref.Columns = append(ref.Columns, c)
	return nil
}

// checked tells whether a check of the manifest names a column.
func checked(m *schemas.Manifest, name string) bool {
	return m.Monitoring != nil && slices.ContainsFunc(m.Monitoring.Checks, func(c schemas.Check) bool { return c.Column == name })
}

// edgesQuery selects the finite values of a column at profile.EdgeRanks, and the least one.
func (t versionRows) edgesQuery(name, where string) string {
	return fmt.Sprintf("SELECT if(empty(`0s`), [], arrayMap(i -> `0s`[intDiv(i * length(`0s`) + %[1]d, %[2]d)], range(1, %[2]d))) AS edges, `0s`[1] AS least, length(`0s`) AS n\n"+
		"FROM (SELECT arraySort(groupArray(`0v`)) AS `0s` FROM (SELECT assumeNotNull(toFloat64(%[3]s)) AS `0v` FROM %[4]s WHERE %[5]s AND isNotNull(%[3]s)) WHERE isFinite(`0v`))",
		profile.MaxBins-1, profile.MaxBins, column(name), t.observations(), where)
}

func (s *Store) edges(ctx context.Context, t versionRows, name, where string) ([]float64, error) {
	var rows []struct {
		Edges []float64 `ch:"edges"`
		Least float64   `ch:"least"`
		Rows  uint64    `ch:"n"`
	}
	if err := s.conn.Select(ctx, &rows, t.edgesQuery(name, where)); err != nil {
		return nil, fmt.Errorf("sort column %q: %w", name, err)
	}
	if len(rows) == 0 || rows[0].Rows == 0 {
		return []float64{0}, nil // all values are missing: the first that comes has a bin to fall into
	}
	return profile.Edges(rows[0].Edges, rows[0].Least), nil
}

// categoriesQuery selects the most frequent values of a column with their rows, and the rows of
// all values that are there.
func (t versionRows) categoriesQuery(name, where string) string {
	return fmt.Sprintf("SELECT `0v` AS category, count() AS n, sum(n) OVER () AS total FROM (SELECT assumeNotNull(toString(%[1]s)) AS `0v` FROM %[2]s WHERE %[3]s AND isNotNull(%[1]s)) GROUP BY `0v`\n"+
		"ORDER BY length(category) > %[4]d, n DESC, category LIMIT %[5]d",
		column(name), t.observations(), where, maxCategoryBytes, profile.MaxCategories)
}

// categories returns the most frequent values of a column, and whether they cover half of its
// rows that have a value.
func (s *Store) categories(ctx context.Context, t versionRows, name, where string) (list []string, covered bool, err error) {
	var rows []struct {
		Category string `ch:"category"`
		Rows     uint64 `ch:"n"`
		Total    uint64 `ch:"total"`
	}
	if err := s.conn.Select(ctx, &rows, t.categoriesQuery(name, where)); err != nil {
		return nil, false, fmt.Errorf("count the values of column %q: %w", name, err)
	}
	var listed, total uint64
	for _, r := range rows {
		total = r.Total
		if len(r.Category) <= maxCategoryBytes {
			list, listed = append(list, r.Category), listed+r.Rows
		}
	}
	return list, 2*listed >= total, nil
}
