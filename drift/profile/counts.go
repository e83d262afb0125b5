package profile

import "github.com/millrace/millrace/schemas"

// The numbers of cells: a numeric column's bin has its index, a listed category its index
// plus one.
const (
	CellOther   = 0
	CellMissing = 65535
	CellUnknown = 65534 // a bin that is not in the list: cannot happen, and is reported
	MaxCells    = 65_000
)

// Counts are the rows of one column by cell: the bins of a numeric column or the listed
// categories of another one, in the reference's order.
type Counts struct {
	Cells   []int64
	Other   int64 // categories that the reference does not list
	Missing int64 // NULL or NaN
}

// ReferenceCounts returns the counts of a reference's column.
func ReferenceCounts(c *schemas.ReferenceColumn) Counts {
	return Counts{Cells: c.Counts, Other: c.Other, Missing: c.Missing}
}

// Rows returns the number of rows counted.
func (c Counts) Rows() int64 {
	n := c.Other + c.Missing
	for _, k := range c.Cells {
		n += k
	}
	return n
}

// Add counts rows of the cell with that number; false when there is no such cell.
func (c *Counts) Add(cell uint16, rows int64, numeric bool) bool {
	i := int(cell)
	if !numeric {
		i-- // 0 is CellOther
	}
	switch {
	case cell == CellMissing:
		c.Missing += rows
	case i < 0:
		c.Other += rows
	case i < len(c.Cells):
		c.Cells[i] += rows
	default:
		return false
	}
	return true
}

// GroupBins merges neighbouring bins into at most groups groups of near-equal reference mass and
// returns the group of each bin. Bins that are no more than groups stay as they are.
//
// A column and its mirror image are grouped alike. From either end, a group is closed by the
// first bin with which the count from that end reaches 1, 2, 3, ... of groups parts of the total,
// up to the middle; of an even number, the two in the middle part at the edge that is nearest to
// half of the total. Where two edges are as near, or empty bins lie between, what lies between
// is a group of its own if there is a group to spare, and else joins both.
func GroupBins(reference []int64, groups int) []int {
	n := len(reference)
	cumulative := make([]int64, n+1) // below each edge
	for i, rows := range reference {
		cumulative[i+1] = cumulative[i] + rows
	}
	total := cumulative[n]
	edges := make([]bool, n+1) // of groups, those at both ends not counted
	count := 0
	set := func(e int) {
		if e > 0 && e < n && !edges[e] {
			edges[e] = true
			count++
		}
	}
	switch {
	case n <= groups:
		for e := range edges {
			set(e)
		}
	case total > 0:
		for k, e := int64(1), 0; 2*k < int64(groups); k++ {
			for int64(groups)*cumulative[e] < k*total {
				e++
			}
			set(e)
		}
		for k, e := int64(1), n; 2*k < int64(groups); k++ {
			for int64(groups)*(total-cumulative[e]) < k*total {
				e--
			}
			set(e)
		}
		if groups%2 == 0 {
			low, high := nearestHalf(cumulative)
			need := 0
			for _, e := range []int{low, high} {
				if !edges[e] {
					need++
				}
			}
			if low == high || count+need < groups {
				set(low)
				set(high)
			}
		}
	}
	out := make([]int, n)
	g := 0
	for i := range out {
		if i > 0 && edges[i] {
			g++
		}
		out[i] = g
	}
	return out
}

// nearestHalf returns the first and the last of the inner edges below which is as near as can be
// to half of all.
func nearestHalf(cumulative []int64) (first, last int) {
	total, least := cumulative[len(cumulative)-1], int64(-1)
	for e := 1; e < len(cumulative)-1; e++ {
		off := 2*cumulative[e] - total
		if off = max(off, -off); least < 0 || off < least {
			first, least = e, off
		}
		if off == least {
			last = e
		}
	}
	return first, last
}
