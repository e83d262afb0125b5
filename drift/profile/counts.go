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

// GroupBins merges neighbouring bins into at most groups groups of near-equal reference
// mass and returns the group of each bin: walking from the left, group g (from 0) is closed
// by the first bin with which the cumulative count reaches (g+1)/groups of the total; the
// last group takes what is left.
func GroupBins(reference []int64, groups int) []int {
	var total, cumulative int64
	for _, n := range reference {
		total += n
	}
	out := make([]int, len(reference))
	g := 0
	for i, n := range reference {
		out[i] = g
		cumulative += n
		if int64(groups)*cumulative >= int64(g+1)*total && g < groups-1 {
			g++
		}
	}
	return out
}
