package history

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Aliases inside the queries start with a digit, so that no feature or output bears them:
// ClickHouse would take the alias for the column.

// versionRows is one version's part of an observations table.
type versionRows struct {
	database string
	model    string
	version  string
	window   time.Duration
}

func (s *Store) rowsOf(m *schemas.Manifest) versionRows {
	t := versionRows{database: s.database, model: m.Name, version: m.Version}
	if m.Monitoring != nil {
		t.window = m.Monitoring.Window.Std()
	}
	return t
}

func (t versionRows) observations() string {
	return t.database + "." + schemas.ObservationsTable(t.model)
}

// where selects the version's answered rows of a span; a zero Start has no lower bound.
func (t versionRows) where(s profile.Span) string {
	w := fmt.Sprintf("version = %s AND outcome = %s AND event_time < %s",
		quote(t.version), quote(schemas.OutcomeOK), instant(s.End))
	if !s.Start.IsZero() {
		w += " AND event_time >= " + instant(s.Start)
	}
	return w
}

// index is the expression of the window that a row lies in, counted from origin, which is
// a window's start and not after the row.
func (t versionRows) index(origin time.Time) string {
	return fmt.Sprintf("intDiv(toUnixTimestamp64Micro(event_time) - (%d), %d)", origin.UnixMicro(), t.window.Microseconds())
}

// eventTimeOrigin is before every DateTime64.
func eventTimeOrigin(window time.Duration) time.Time {
	return profile.WindowStart(time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), window)
}

type indexedCount struct {
	Window int64  `ch:"w"`
	Rows   uint64 `ch:"n"`
}

// CountRows counts the answered rows of a version per window of a span, oldest first;
// windows without rows are left out. A span without a start has no lower bound. Unless
// scoredSince is zero, rows that were scored before it are left out.
func (s *Store) CountRows(ctx context.Context, m *schemas.Manifest, span profile.Span, scoredSince time.Time) ([]profile.WindowRows, error) {
	if step := steps(m); step != nil {
		return s.slidingRows(ctx, m, step, span, scoredSince)
	}
	t, origin, fresh := s.rowsOf(m), span.Start, ""
	if origin.IsZero() {
		origin = eventTimeOrigin(t.window)
	}
	if !scoredSince.IsZero() {
		fresh = " AND scored_at >= " + instant(scoredSince)
	}
	query := fmt.Sprintf("SELECT toInt64(%s) AS w, count() AS n FROM %s WHERE %s%s GROUP BY w ORDER BY w",
		t.index(origin), t.observations(), t.where(span), fresh)
	var rows []indexedCount
	if err := s.conn.Select(ctx, &rows, query); err != nil {
		return nil, fmt.Errorf("count the windows of %s version %s: %w", t.observations(), t.version, err)
	}
	out := make([]profile.WindowRows, len(rows))
	for i, r := range rows {
		out[i] = profile.WindowRows{Start: time.UnixMicro(origin.UnixMicro() + r.Window*t.window.Microseconds()).UTC(), Rows: r.Rows}
	}
	return out, nil
}

// cellExpression renders the cell of a value as a UInt16, numbered by package profile.
// Bins are left-closed and compared as Float64.
func cellExpression(c *schemas.ReferenceColumn) string {
	name := column(c.Name)
	if len(c.Edges) > 0 {
		edges := make([]string, len(c.Edges)+1)
		edges[0] = "-inf"
		for i, e := range c.Edges {
			edges[i+1] = strconv.FormatFloat(e, 'e', -1, 64)
		}
		// roundDown finds the greatest edge not above the value, transform its index.
		return fmt.Sprintf("if(isNull(%[1]s) OR isNaN(%[1]s), %[2]d, transform(roundDown(assumeNotNull(toFloat64(%[1]s)), [%[3]s] AS %[4]s), %[4]s, range(0, %[5]d), %[6]d))",
			name, profile.CellMissing, strings.Join(edges, ","), "`0edges_"+c.Name+"`", len(edges), profile.CellUnknown)
	}
	if len(c.Categories) == 0 {
		return fmt.Sprintf("if(isNull(%s), %d, %d)", name, profile.CellMissing, profile.CellOther)
	}
	categories := make([]string, len(c.Categories))
	for i, v := range c.Categories {
		categories[i] = quote(v)
	}
	return fmt.Sprintf("if(isNull(%[1]s), %[2]d, transform(assumeNotNull(toString(%[1]s)), [%[3]s], range(1, %[4]d), %[5]d))",
		name, profile.CellMissing, strings.Join(categories, ","), len(categories)+1, profile.CellOther)
}

// cellQuery counts the rows of each (window, column, cell) in one pass. Of the forms that
// were measured on the embedded engine (3 million rows, 181 windows, 11 columns, CPU
// seconds): tuples of small integers unfolded by arrayJoin 1.0 to 1.8, GROUPING SETS 1.7,
// a UNION ALL of one query per column 2.6, sumMap 3.4, countIf per edge 4.0 and more.
// columns are numbered from first; window is an expression, where selects the rows.
func (t versionRows) cellQuery(columns []schemas.ReferenceColumn, first int, window, where string) string {
	tuples := make([]string, len(columns))
	for i := range columns {
		tuples[i] = fmt.Sprintf("(toUInt16(%d), toUInt16(%s))", first+i, cellExpression(&columns[i]))
	}
	return fmt.Sprintf("SELECT `0w` AS w, `0t`.1 AS c, `0t`.2 AS b, count() AS n FROM (SELECT toUInt32(%s) AS `0w`, arrayJoin([%s]) AS `0t` FROM %s WHERE %s) GROUP BY w, c, b",
		window, strings.Join(tuples, ","), t.observations(), where)
}

// only restricts rows to windows, by their starts, where these do not fill the span.
func (t versionRows) only(s profile.Span, starts []time.Time) string {
	if int64(len(starts)) == int64(s.End.Sub(s.Start)/t.window) {
		return ""
	}
	list := make([]string, len(starts))
	for i, start := range starts {
		list[i] = strconv.FormatInt(int64(start.Sub(s.Start)/t.window), 10)
	}
	return fmt.Sprintf(" AND %s IN (%s)", t.index(s.Start), strings.Join(list, ","))
}

type cellRow struct {
	Window uint32 `ch:"w"`
	Column uint16 `ch:"c"`
	Cell   uint16 `ch:"b"`
	Rows   uint64 `ch:"n"`
}

// maxQueryText bounds a query's text, since ClickHouse refuses more than 256 KiB by default.
const maxQueryText = 128 << 10

// span returns the range of windows, of which starts are the starts, ascending.
func (t versionRows) span(starts []time.Time) profile.Span {
	return profile.Span{Start: starts[0], End: starts[len(starts)-1].Add(t.window)}
}

// CountCells counts the answered rows of a version by window and by cell of each column of
// its reference. starts are the starts of windows, ascending; a window without rows has
// zero counts. Windows that are wholly profiled by the same cells are sums of their profile,
// and say so; the others take one query over their rows, and many hundreds of columns several.
func (s *Store) CountCells(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, starts []time.Time) ([]profile.WindowCounts, error) {
	return s.countWindows(ctx, m, ref, starts, true)
}

// CountCellsOfRows is CountCells of rows alone.
func (s *Store) CountCellsOfRows(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, starts []time.Time) ([]profile.WindowCounts, error) {
	return s.countWindows(ctx, m, ref, starts, false)
}

func (s *Store) countWindows(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, starts []time.Time, profiles bool) ([]profile.WindowCounts, error) {
	if len(starts) == 0 {
		return nil, nil
	}
	if step := steps(m); step != nil {
		return s.slidingCounts(ctx, m, step, ref, starts, profiles)
	}
	t := s.rowsOf(m)
	for _, c := range ref.Columns {
		if len(c.Counts) > profile.MaxCells {
			return nil, fmt.Errorf("reference of %s version %s: column %q has %d bins, at most %d can be counted", t.model, t.version, c.Name, len(c.Counts), profile.MaxCells)
		}
	}
	out := make([]profile.WindowCounts, len(starts))
	for i, start := range starts {
		out[i] = emptyCounts(start, ref)
	}
	rest := starts
	if profiles {
		var err error
		if rest, err = s.profiledCounts(ctx, m, ref, planOf(m, ref), starts, out); err != nil || len(rest) == 0 {
			return out, err
		}
	}
	span := t.span(rest)
	at := make(map[uint32]int, len(rest))
	for i, start := range starts {
		if !out[i].Profiled {
			at[uint32(start.Sub(span.Start)/t.window)] = i
		}
	}
	if err := s.countCells(ctx, t, ref, t.index(span.Start), t.where(span)+t.only(span, rest), func(r cellRow) (*profile.WindowCounts, bool) {
		i, ok := at[r.Window]
		return &out[i], ok
	}); err != nil {
		return nil, err
	}
	return out, nil
}

// countCells counts rows into what counts returns for a row of the answer.
func (s *Store) countCells(ctx context.Context, t versionRows, ref *schemas.Reference, window, where string, counts func(cellRow) (*profile.WindowCounts, bool)) error {
	for first := 0; first < len(ref.Columns); {
		last, text := first, 0
		for last < len(ref.Columns) && (last == first || text < maxQueryText) {
			text += len(cellExpression(&ref.Columns[last]))
			last++
		}
		var rows []cellRow
		if err := s.conn.Select(ctx, &rows, t.cellQuery(ref.Columns[first:last], first, window, where)); err != nil {
			return fmt.Errorf("count %d columns of %s version %s by bins: %w", last-first, t.observations(), t.version, err)
		}
		first = last
		for _, r := range rows {
			into, ok := counts(r)
			if !ok || int(r.Column) >= len(ref.Columns) {
				return fmt.Errorf("count %s by bins: answer names window %d and column %d, which were not asked for", t.observations(), r.Window, r.Column)
			}
			if r.Column == 0 {
				into.Rows += r.Rows
			}
			if !into.Columns[r.Column].Add(r.Cell, int64(r.Rows), len(ref.Columns[r.Column].Edges) > 0) {
				return fmt.Errorf("count %s by bins: column %q has no cell %d", t.observations(), ref.Columns[r.Column].Name, r.Cell)
			}
		}
	}
	return nil
}
