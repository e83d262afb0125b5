package history

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// The counts of a window are taken from the table profiles where they are all there, and the proof of
// that is a number: each row of observations is counted in profiles at most once, after it was stored,
// so that as many counted rows of a window as it has are the same rows. Counts are read first, rows
// are counted then: rows that come in between make the window one that is counted by its rows. The
// number of rows takes the primary key of observations and the column outcome, no feature.

// planOf is the plan by which the columns of a reference are counted.
func planOf(m *schemas.Manifest, ref *schemas.Reference) *profile.Plan {
	return profile.PlanOf(m, ref, m.Monitoring.Segments)
}

// profiled selects what was counted by a plan of the rows of a span.
func profiled(p *profile.Plan, id string, s profile.Span) string {
	return fmt.Sprintf("model = %s AND version = %s AND plan = %s AND segment = '' AND value = '' AND column != '' AND bucket >= %s AND bucket < %s",
		quote(p.Model), quote(p.Version), quote(id), instant(s.Start), instant(s.End))
}

// profileQuery sums counts of a span by window and column.
func (t versionRows) profileQuery(p *profile.Plan, span profile.Span, starts []time.Time) string {
	index := strings.ReplaceAll(t.index(span.Start), "event_time", "bucket")
	return fmt.Sprintf("SELECT toUInt32(%s) AS w, column AS c, sum(profiles.rows) AS n, sum(profiles.missing) + sum(profiles.nan) AS m, sum(profiles.other) AS o, sumForEachMerge(profiles.cells) AS b "+
		"FROM %s.profiles WHERE %s%s GROUP BY w, c",
		index, t.database, profiled(p, p.ID(), span), strings.ReplaceAll(t.only(span, starts), "event_time", "bucket"))
}

// profiledCounts fills in the windows whose counts are all there, and returns the starts of the others.
// p is the plan of ref.
func (s *Store) profiledCounts(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, p *profile.Plan, starts []time.Time, out []profile.WindowCounts) ([]time.Time, error) {
	t := s.rowsOf(m)
	if t.window%p.Bucket != 0 {
		return starts, nil
	}
	span := t.span(starts)
	var found []struct {
		Window  uint32   `ch:"w"`
		Column  string   `ch:"c"`
		Rows    uint64   `ch:"n"`
		Missing uint64   `ch:"m"`
		Other   uint64   `ch:"o"`
		Cells   []uint64 `ch:"b"`
	}
	if err := s.conn.Select(ctx, &found, t.profileQuery(p, span, starts)); err != nil {
		return nil, fmt.Errorf("sum the profiles of %s version %s: %w", t.model, t.version, err)
	}
	columns := make(map[string]int, len(ref.Columns))
	for i := range ref.Columns {
		columns[ref.Columns[i].Name] = i
	}
	at := make(map[uint32]int, len(starts))
	for i, start := range starts {
		at[uint32(start.Sub(span.Start)/t.window)] = i
	}
	summed := make([]int, len(starts)) // columns, of as many rows
	for _, f := range found {
		i, ok := at[f.Window]
		j, known := columns[f.Column]
		if !ok || !known || len(f.Cells) > len(ref.Columns[j].Counts) {
			continue
		}
		into := &out[i]
		if summed[i] == 0 {
			into.Rows = f.Rows
		}
		if f.Rows != into.Rows {
			continue
		}
		summed[i]++
		counts := &into.Columns[j]
		counts.Missing, counts.Other = int64(f.Missing), int64(f.Other)
		for k, n := range f.Cells {
			counts.Cells[k] = int64(n)
		}
	}
	rows, err := s.CountRows(ctx, m, span, time.Time{})
	if err != nil {
		return nil, err
	}
	stored := make(map[int64]uint64, len(rows))
	for _, r := range rows {
		stored[r.Start.UnixMicro()] = r.Rows
	}
	var rest []time.Time
	for i, start := range starts {
		n := stored[start.UnixMicro()]
		why := ""
		switch {
		case n == 0: // no rows, no profile
		case summed[i] == 0:
			why = "nothing was counted yet by the cells of this reference"
		case out[i].Rows != n:
			why = fmt.Sprintf("%d rows are in the profile, %d are stored", out[i].Rows, n)
		case summed[i] != len(ref.Columns) || !complete(&out[i]):
			why = fmt.Sprintf("not all of the %d columns are in the profile with all rows", len(ref.Columns))
		default:
			out[i].Profiled = true
			continue
		}
		out[i] = emptyCounts(start, ref)
		out[i].Unprofiled = why
		rest = append(rest, start)
	}
	return rest, nil
}

// complete tells whether each column has all rows in its cells.
func complete(w *profile.WindowCounts) bool {
	return !slices.ContainsFunc(w.Columns, func(c profile.Counts) bool { return c.Rows() != int64(w.Rows) })
}

// emptyCounts are the counts of a window without rows.
func emptyCounts(start time.Time, ref *schemas.Reference) profile.WindowCounts {
	w := profile.WindowCounts{Start: start, Columns: make([]profile.Counts, len(ref.Columns))}
	for j := range ref.Columns {
		w.Columns[j].Cells = make([]int64, len(ref.Columns[j].Counts))
	}
	return w
}
