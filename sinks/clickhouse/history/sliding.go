package history

import (
	"context"
	"slices"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// A row lies in many windows that slide. What adds up is counted once by the steps between their
// starts, and summed. What is ranked, such as a ROC curve, does not add up: windows are counted as
// those that lie one after the other, in one query for each distance from a multiple of their length.

// steps returns m as if its windows were the steps by which they slide; nil where they do not.
func steps(m *schemas.Manifest) *schemas.Manifest {
	if m.Monitoring == nil || m.Monitoring.Step() == m.Monitoring.Window.Std() {
		return nil
	}
	return tumbling(m, m.Monitoring.Step())
}

// tumbling returns m with windows of a length that lie one after the other.
func tumbling(m *schemas.Manifest, length time.Duration) *schemas.Manifest {
	c, mon := *m, *m.Monitoring
	mon.Window, mon.Spread.Every = schemas.Duration(length), 0
	c.Monitoring = &mon
	return &c
}

// slidingRows is CountRows of windows that slide.
func (s *Store) slidingRows(ctx context.Context, m, step *schemas.Manifest, span profile.Span, scoredSince time.Time) ([]profile.WindowRows, error) {
	length, every := m.Monitoring.Window.Std(), m.Monitoring.Step()
	counts, err := s.CountRows(ctx, step, profile.Span{Start: span.Start, End: span.End.Add(length - every)}, scoredSince)
	if err != nil {
		return nil, err
	}
	return profile.Slide(counts, length, every, span), nil
}

// maxSteps bounds the steps of one count, and with them the text of a query that names each.
const maxSteps = 5000

// slidingCounts is countWindows of windows that slide.
func (s *Store) slidingCounts(ctx context.Context, m, step *schemas.Manifest, ref *schemas.Reference, starts []time.Time, profiles bool) ([]profile.WindowCounts, error) {
	length, every := m.Monitoring.Window.Std(), m.Monitoring.Step()
	out := make([]profile.WindowCounts, 0, len(starts))
	for len(starts) > 0 {
		var of []time.Time
		n := 0
		for ; n < len(starts) && (n == 0 || len(of) < maxSteps); n++ {
			at := starts[n]
			if len(of) > 0 && at.Before(of[len(of)-1].Add(every)) {
				at = of[len(of)-1].Add(every)
			}
			for ; at.Before(starts[n].Add(length)); at = at.Add(every) {
				of = append(of, at)
			}
		}
		counts, err := s.countWindows(ctx, step, ref, of, profiles)
		if err != nil {
			return nil, err
		}
		out = append(out, slide(counts, ref, starts[:n], length)...)
		starts = starts[n:]
	}
	return out, nil
}

// slide adds up the counts of steps to those of windows.
func slide(counts []profile.WindowCounts, ref *schemas.Reference, starts []time.Time, length time.Duration) []profile.WindowCounts {
	sum, byRows := emptyCounts(time.Time{}, ref), 0 // byRows is how many of the steps with rows were counted by these
	add := func(c *profile.WindowCounts, times int64) {
		sum.Rows += c.Rows * uint64(times)
		if !c.Profiled && c.Rows > 0 {
			byRows += int(times)
		}
		for j := range c.Columns {
			into, of := &sum.Columns[j], &c.Columns[j]
			into.Missing, into.Other = into.Missing+times*of.Missing, into.Other+times*of.Other
			for k, n := range of.Cells {
				into.Cells[k] += times * n
			}
		}
	}
	out := make([]profile.WindowCounts, len(starts))
	first, last := 0, 0 // counts[first:last] are in sum
	for i, start := range starts {
		for ; last < len(counts) && counts[last].Start.Before(start.Add(length)); last++ {
			add(&counts[last], 1)
		}
		for ; first < last && counts[first].Start.Before(start); first++ {
			add(&counts[first], -1)
		}
		out[i] = profile.WindowCounts{Start: start, Rows: sum.Rows, Columns: make([]profile.Counts, len(sum.Columns)), Profiled: byRows == 0 && sum.Rows > 0}
		for j, c := range sum.Columns {
			out[i].Columns[j] = profile.Counts{Cells: slices.Clone(c.Cells), Other: c.Other, Missing: c.Missing}
		}
	}
	return out
}

// apart calls count for windows that slide, whose starts ascend, in groups that do not overlap, and
// returns what it answers in the order of starts.
func apart[T any](m *schemas.Manifest, starts []time.Time, count func(m *schemas.Manifest, starts []time.Time) ([]T, error)) ([]T, error) {
	length := m.Monitoring.Window.Std()
	plain, out := tumbling(m, length), make([]T, len(starts))
	groups := map[time.Duration][]int{}
	var order []time.Duration
	for i, start := range starts {
		phase := start.Sub(profile.WindowStart(start, length))
		if groups[phase] == nil {
			order = append(order, phase)
		}
		groups[phase] = append(groups[phase], i)
	}
	for _, phase := range order {
		of := make([]time.Time, len(groups[phase]))
		for j, i := range groups[phase] {
			of[j] = starts[i]
		}
		counts, err := count(plain, of)
		if err != nil {
			return nil, err
		}
		for j, i := range groups[phase] {
			out[i] = counts[j]
		}
	}
	return out, nil
}

// windowsOfSteps returns the starts of the windows that slide in which steps lie, ascending.
func windowsOfSteps(found []time.Time, length, every time.Duration) []time.Time {
	var out []time.Time
	for _, step := range found {
		at := step.Add(every - length)
		if len(out) > 0 && !out[len(out)-1].Before(at) {
			at = out[len(out)-1].Add(every)
		}
		for ; !at.After(step); at = at.Add(every) {
			out = append(out, at)
		}
	}
	return out
}
