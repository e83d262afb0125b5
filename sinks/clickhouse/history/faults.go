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

// outside is the condition of a number that is below from or above to, both of which may be nil. A
// feature of type float32 is stored rounded: so are its bounds.
func outside(c string, typ schemas.FeatureType, from, to *float64) string {
	bound := func(x float64) string {
		if typ == schemas.TypeFloat32 {
			x = float64(float32(x))
		}
		return strconv.FormatFloat(x, 'e', -1, 64)
	}
	var parts []string
	if from != nil {
		parts = append(parts, fmt.Sprintf("toFloat64(%s) < %s", c, bound(*from)))
	}
	if to != nil {
		parts = append(parts, fmt.Sprintf("toFloat64(%s) > %s", c, bound(*to)))
	}
	if len(parts) == 0 {
		return "0"
	}
	return "ifNull(" + strings.Join(parts, " OR ") + ", 0)"
}

// faultsQuery counts the rows of windows with faults of their data. It takes a pass over request_id and over
// the features that are checked. Request ids are told apart by a hash of 64 bits, which takes about 20
// bytes of memory a row.
func (t versionRows) faultsQuery(features []*schemas.Feature, duplicates bool, s profile.Span, starts []time.Time) string {
	conditions := make([]string, len(features))
	for i, f := range features {
		conditions[i] = "countIf(" + outside(column(f.Name), f.Type, f.Min, f.Max) + ")"
	}
	repeated := "toUInt64(0)"
	if duplicates {
		repeated = "toUInt64(count() - uniqExact(sipHash64(request_id)))"
	}
	counted := "emptyArrayUInt64()"
	if len(conditions) > 0 {
		counted = "[" + strings.Join(conditions, ", ") + "]"
	}
	return fmt.Sprintf("SELECT toUInt32(%s) AS `0w`, count() AS `0n`, %s AS `0d`, %s AS `0r` FROM %s WHERE %s GROUP BY `0w`",
		t.index(s.Start), repeated, counted, t.observations(), t.where(s)+t.only(s, starts))
}

// CountFaults counts the answered rows of windows whose data is wrong, as far as the manifest checks
// it; where it does not, the store is not asked, and no rows are counted. starts are the starts of windows, ascending.
func (s *Store) CountFaults(ctx context.Context, m *schemas.Manifest, starts []time.Time) ([]profile.Faults, error) {
	out := make([]profile.Faults, len(starts))
	var features []*schemas.Feature
	duplicates := false
	if m.Monitoring != nil {
		for _, c := range m.Monitoring.Checks {
			duplicates = duplicates || c.Stattest == schemas.StattestDuplicates
			if f, ok := m.Feature(c.Column); ok && c.Stattest == schemas.StattestOutOfRange {
				features = append(features, f)
			}
		}
	}
	if len(starts) == 0 || len(features) == 0 && !duplicates {
		return out, nil
	}
	if steps(m) != nil {
		return apart(m, starts, func(m *schemas.Manifest, starts []time.Time) ([]profile.Faults, error) {
			return s.CountFaults(ctx, m, starts)
		})
	}
	t := s.rowsOf(m)
	span := t.span(starts)
	at := make(map[uint32]int, len(starts))
	for i, start := range starts {
		at[uint32(start.Sub(span.Start)/t.window)] = i
		out[i].OutOfRange = make(map[string]int64, len(features))
	}
	var rows []struct {
		Window     uint32   `ch:"0w"`
		Rows       uint64   `ch:"0n"`
		Duplicates uint64   `ch:"0d"`
		OutOfRange []uint64 `ch:"0r"`
	}
	if err := s.conn.Select(ctx, &rows, t.faultsQuery(features, duplicates, span, starts)); err != nil {
		return nil, fmt.Errorf("count the faults in %s version %s: %w", t.observations(), t.version, err)
	}
	for _, r := range rows {
		i, ok := at[r.Window]
		if !ok || len(r.OutOfRange) != len(features) {
			return nil, fmt.Errorf("count the faults in %s: answer names window %d with %d columns, which were not asked for", t.observations(), r.Window, len(r.OutOfRange))
		}
		out[i].Rows, out[i].Duplicates = int64(r.Rows), int64(r.Duplicates)
		for k, n := range r.OutOfRange {
			out[i].OutOfRange[features[k].Name] = int64(n)
		}
	}
	return out, nil
}
