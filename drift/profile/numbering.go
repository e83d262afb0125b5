package profile

import (
	"math"
	"slices"
	"sort"

	"github.com/millrace/millrace/schemas"
)

// Numbering numbers the values of one column by the cells of its reference, as the SQL of
// the monitor does.
type Numbering struct {
	numeric    bool
	edges      []float64
	categories map[string]uint16
}

// NumberingOf returns the numbering of a reference's column.
func NumberingOf(c *schemas.ReferenceColumn) Numbering {
	n := Numbering{numeric: len(c.Edges) > 0, edges: c.Edges, categories: make(map[string]uint16, len(c.Categories))}
	for i, v := range c.Categories {
		n.categories[v] = uint16(i + 1)
	}
	return n
}

// Numeric says that the cells are bins.
func (n Numbering) Numeric() bool { return n.numeric }

// Number returns the cell of a number: how many edges are not above it; of NaN, CellMissing.
func (n Numbering) Number(x float64) uint16 {
	if math.IsNaN(x) {
		return CellMissing
	}
	return uint16(sort.Search(len(n.edges), func(i int) bool { return n.edges[i] > x }))
}

// Text returns the cell of a text: its category, or CellOther.
func (n Numbering) Text(s string) uint16 { return n.categories[s] }

// Minus returns the counts without those of some of the rows.
func (c Counts) Minus(part Counts) Counts {
	out := Counts{Cells: slices.Clone(c.Cells), Other: c.Other - part.Other, Missing: c.Missing - part.Missing}
	for i, n := range part.Cells {
		out.Cells[i] -= n
	}
	return out
}
