package profile

import "time"

// Span is a range of event time, [Start, End).
type Span struct{ Start, End time.Time }

// WindowStart returns the start of the window that at lies in; windows are aligned to 1970.
func WindowStart(at time.Time, window time.Duration) time.Time {
	us, w := at.UnixMicro(), window.Microseconds()
	n := us / w
	if us%w < 0 {
		n--
	}
	return time.UnixMicro(n * w).UTC()
}

// WindowRows is the number of rows of one window.
type WindowRows struct {
	Start time.Time
	Rows  uint64
}

// WindowCounts are one window's counts, by column of the reference.
type WindowCounts struct {
	Start    time.Time
	Rows     uint64
	Columns  []Counts
	Profiled bool // they are sums of what was counted as rows were stored, and were not counted of rows
	// Unprofiled is why they were counted of rows where profiles were looked for.
	Unprofiled string
}

// SegmentCounts are the counts of the rows of a span that have one value of a segment. OtherValues is
// all values that are not counted by themselves, "" is NULL and the empty text.
type SegmentCounts struct {
	Value string
	WindowCounts
}
