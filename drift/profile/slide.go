package profile

import "time"

// Slide adds up the rows of steps, which ascend, to those of windows that are longer than a step and
// begin with each of them: every is the length of a step, and divides length. It returns the windows
// with rows that start in span, of which a zero Start is no bound.
func Slide(steps []WindowRows, length, every time.Duration, span Span) []WindowRows {
	if len(steps) == 0 {
		return nil
	}
	var out []WindowRows
	var rows uint64
	start := span.Start
	if start.IsZero() {
		start = steps[0].Start.Add(every - length)
	}
	for first, last := 0, 0; start.Before(span.End); { // steps[first:last] are those of the window
		for ; first < len(steps) && steps[first].Start.Before(start); first++ {
			if first < last {
				rows -= steps[first].Rows
			}
		}
		last = max(first, last)
		for ; last < len(steps) && steps[last].Start.Before(start.Add(length)); last++ {
			rows += steps[last].Rows
		}
		switch {
		case first < last:
			out = append(out, WindowRows{Start: start, Rows: rows})
			start = start.Add(every)
		case first == len(steps):
			return out
		default: // on to the first window of the next step
			start = steps[first].Start.Add(every - length)
		}
	}
	return out
}
