package profile

// Faults are the rows of a window whose data is wrong, as far as the checks of the manifest ask.
type Faults struct {
	Rows       int64
	Duplicates int64            // whose request id another of them has, less one of each
	OutOfRange map[string]int64 // by feature: outside the manifest's min and max
}

// Plus adds counts by the same cells.
func (c *Counts) Plus(part Counts) {
	c.Other, c.Missing = c.Other+part.Other, c.Missing+part.Missing
	for i, n := range part.Cells {
		c.Cells[i] += n
	}
}
