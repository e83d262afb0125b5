package reference

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// maxWordBytes bounds a word that is listed; rows of longer ones are counted as other.
const maxWordBytes = 256

// Column is one column of the rows, a feature or an output. Exactly one of Numbers and Codes is set.
type Column struct {
	Name    string
	Numbers []float64 // NaN: missing
	Codes   []int32   // of Words; -1: missing
	Words   []string  // each once
	Listed  int       // the first of Words, which are the column's categories; 0: the most frequent are listed
}

// Rows returns the number of rows.
func (c *Column) Rows() int { return max(len(c.Numbers), len(c.Codes)) }

// Make counts all rows of the columns, which have as many rows each, at least one. Columns of
// numbers have the edges of profile.Edges; others their own categories, or the most frequent
// words. A column of words is left out where profile.MaxCategories of them do not cover half
// of its rows, as in identifiers.
func Make(columns []Column) (*schemas.Reference, error) {
	if len(columns) == 0 || columns[0].Rows() == 0 {
		return nil, errors.New("make a reference: no rows")
	}
	ref := &schemas.Reference{Rows: int64(columns[0].Rows())}
	all := make([]int32, ref.Rows) // one block
	for i := range columns {
		c := &columns[i]
		if int64(c.Rows()) != ref.Rows {
			return nil, fmt.Errorf("make a reference: column %q has %d rows, and %q has %d", c.Name, c.Rows(), columns[0].Name, ref.Rows)
		}
		counted := schemas.ReferenceColumn{Name: c.Name}
		if c.Numbers != nil {
			describe(&counted, c.Numbers)
		} else {
			categories, covered := c.categories()
			if !covered {
				continue
			}
			counted.Categories = categories
		}
		counts := Count(&counted, c, all, 1)[0]
		counted.Counts, counted.Other, counted.Missing = counts.Cells, counts.Other, counts.Missing
		ref.Columns = append(ref.Columns, counted)
	}
	return ref, nil
}

// describe sets the edges and the moments of a column of numbers.
func describe(c *schemas.ReferenceColumn, numbers []float64) {
	values := slices.DeleteFunc(slices.Clone(numbers), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	if len(values) == 0 {
		c.Edges = []float64{0} // the first value that comes has a bin to fall into
		return
	}
	slices.Sort(values)
	var at []float64
	for _, rank := range profile.EdgeRanks(int64(len(values))) {
		at = append(at, values[rank])
	}
	c.Edges = profile.Edges(at, values[0])
	mean, n := 0.0, float64(len(values))
	for _, v := range values {
		mean += v / n
	}
	square := 0.0
	for _, v := range values {
		square += (v - mean) * (v - mean) / n
	}
	if deviation := math.Sqrt(square); !math.IsInf(mean, 0) && !math.IsNaN(deviation) && !math.IsInf(deviation, 0) {
		c.Mean, c.StdDev = &mean, &deviation
	}
}

// categories are the column's own, or the most frequent words; covered says that these are half
// of the rows that have a value.
func (c *Column) categories() (list []string, covered bool) {
	if c.Listed > 0 {
		return slices.Clone(c.Words[:c.Listed]), true
	}
	rows := make([]int, len(c.Words))
	for _, code := range c.Codes {
		if code >= 0 {
			rows[code]++
		}
	}
	var byRows []int
	listed, total := 0, 0
	for i, n := range rows {
		total += n
		if n > 0 && len(c.Words[i]) <= maxWordBytes {
			byRows = append(byRows, i)
		}
	}
	slices.SortFunc(byRows, func(a, b int) int {
		return cmp.Or(rows[b]-rows[a], cmp.Compare(c.Words[a], c.Words[b]))
	})
	for _, i := range byRows[:min(len(byRows), profile.MaxCategories)] {
		list, listed = append(list, c.Words[i]), listed+rows[i]
	}
	return list, 2*listed >= total
}

// Count counts the rows of a column by block and by cell of its reference. block says which
// block a row belongs to, of 0 to blocks-1, or -1 for none.
func Count(of *schemas.ReferenceColumn, c *Column, block []int32, blocks int) []profile.Counts {
	out := make([]profile.Counts, blocks)
	for i := range out {
		out[i].Cells = make([]int64, cells(of))
	}
	numbering := profile.NumberingOf(of)
	byCode := make([]uint16, len(c.Words))
	for i, w := range c.Words {
		byCode[i] = numbering.Text(w)
	}
	for row, b := range block {
		if b < 0 {
			continue
		}
		cell := uint16(profile.CellMissing)
		switch {
		case c.Numbers != nil:
			cell = numbering.Number(c.Numbers[row])
		case c.Codes[row] >= 0:
			cell = byCode[c.Codes[row]]
		}
		out[b].Add(cell, 1, numbering.Numeric())
	}
	return out
}

func cells(c *schemas.ReferenceColumn) int {
	if len(c.Edges) > 0 {
		return len(c.Edges) + 1
	}
	return len(c.Categories)
}
