package reference

import (
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/drift/profile"
)

// Windows says how rows are cut into blocks of the size of a window.
type Windows struct {
	Window   time.Duration
	Lateness time.Duration
	Blocks   int     // whole windows with rows, or parts of the rows in their order
	Rows     int64   // of a block, the median
	MinRows  int64   // half the rows of the smallest block that is not far below the others
	Timed    bool    // blocks are windows of event time; else parts of the rows in their order
	Ordered  bool    // the rows lie in the order of time, but for Lateness
	block    []int32 // of each row; -1: in no whole window
}

// The lengths of windows that are proposed.
var lengths = []time.Duration{
	time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
}

const (
	fewBlocks = 10      // from which on the spread of blocks says something
	someRows  = 200     // of a window by which columns are judged
	untimed   = 20      // blocks of rows without times
	leastRows = 50      // of a block of rows without times
	mostBlock = 100_000 // windows that rows span: one of seconds in rows of years is none

	longest = 366 * 24 * time.Hour // window that a manifest can have
)

// CutByTime cuts rows by their event times, in microseconds since 1970. window is the length of
// a window, or 0 to propose one: a day where ten days of some 200 rows each are there; longer
// where a day has fewer rows; shorter where fewer days are there. A window of which the rows span
// more than 100,000 is an error.
func CutByTime(times []int64, window time.Duration) (Windows, error) {
	w := Windows{Window: window, Timed: true}
	first, last, newest, lag := times[0], times[0], times[0], int64(0)
	for _, t := range times {
		first, last = min(first, t), max(last, t)
		newest = max(newest, t)
		lag = max(lag, newest-t)
	}
	switch n := (last-first)/max(1, window.Microseconds()) + 1; {
	case window == 0:
		w.Window = propose(times, first, last)
	case n > mostBlock:
		return w, fmt.Errorf("windows of %s: the rows span %d of them, from %s to %s, and at most %d are told apart: take longer windows, or rows of a shorter time",
			window, n, time.UnixMicro(first).UTC().Format(time.RFC3339), time.UnixMicro(last).UTC().Format(time.RFC3339), mostBlock)
	}
	w.cut(times, first, last)
	if lag <= w.Window.Microseconds()/2 {
		w.Ordered, w.Lateness = true, (time.Duration(lag)*time.Microsecond).Truncate(time.Minute)+time.Minute
	} else {
		w.Lateness = 10 * time.Minute
	}
	w.Lateness = min(w.Lateness, w.Window)
	return w, nil
}

func propose(times []int64, first, last int64) time.Duration {
	const day = 24 * time.Hour
	var longer, chosen time.Duration
	for _, length := range lengths {
		if (last-first)/length.Microseconds() >= mostBlock {
			continue
		}
		w := Windows{Window: length}
		w.cut(times, first, last)
		if w.Blocks < fewBlocks {
			continue
		}
		longer = length
		if length >= day && w.Rows >= someRows && chosen == 0 {
			chosen = length
		}
	}
	switch {
	case chosen > 0:
		return chosen
	case longer > 0:
		return longer
	}
	// Fewer than ten minutes of rows, or with great gaps.
	return min(longest, max(time.Minute, (time.Duration((last-first)/fewBlocks)*time.Microsecond).Truncate(time.Minute)))
}

// cut numbers the whole windows that have rows.
func (w *Windows) cut(times []int64, first, last int64) {
	length := w.Window.Microseconds()
	origin := profile.WindowStart(time.UnixMicro(first), w.Window).UnixMicro()
	count := make([]int64, (last-origin)/length+1)
	for _, t := range times {
		count[(t-origin)/length]++
	}
	numbers := make([]int32, len(count))
	var rows []int64
	for i, n := range count {
		// The first and the last window are parts of one, unless they are all there is.
		whole := len(count) < 3 || (i > 0 || first == origin) && i < len(count)-1
		numbers[i] = -1
		if n > 0 && whole {
			numbers[i] = int32(len(rows))
			rows = append(rows, n)
		}
	}
	w.block = make([]int32, len(times))
	for i, t := range times {
		w.block[i] = numbers[(t-origin)/length]
	}
	w.sizes(rows)
}

// CutByRows cuts rows without times in their order.
func CutByRows(rows int) Windows {
	size := max(rows/untimed, min(leastRows, rows))
	w := Windows{Window: 24 * time.Hour, Lateness: 10 * time.Minute, block: make([]int32, rows)}
	blocks := rows / size
	counts := make([]int64, blocks)
	for i := range w.block {
		b := min(i*blocks/rows, blocks-1)
		w.block[i] = int32(b)
		counts[b]++
	}
	w.sizes(counts)
	return w
}

// every returns the blocks of which each step-th is one, numbered anew; the rows of the others are in
// none.
func (w *Windows) every(step int) []int32 {
	block := make([]int32, len(w.block))
	for i, b := range w.block {
		block[i] = -1
		if b >= 0 && int(b)%step == 0 {
			block[i] = b / int32(step)
		}
	}
	return block
}

func (w *Windows) sizes(rows []int64) {
	w.Blocks = len(rows)
	if len(rows) == 0 {
		return
	}
	slices.Sort(rows)
	w.Rows = rows[len(rows)/2]
	smallest := rows[0]
	for _, n := range rows {
		if smallest = n; n >= w.Rows/5 {
			break
		}
	}
	w.MinRows = max(1, down(smallest/2))
}

// down rounds down to two digits.
func down(n int64) int64 {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return n / unit * unit
}
