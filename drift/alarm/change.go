package alarm

import "gonum.org/v1/gonum/stat/distuv"

// changeOf returns to which cells the rows of each cell go: by cell, shares that sum to 1. nil
// where the column has no cells that can change so.
func changeOf(kind DelayKind, size float64, reference []float64) [][]float64 {
	width := len(reference)
	missing := width - 1
	out := make([][]float64, width)
	for i := range out {
		out[i] = make([]float64, width)
		out[i][i] = 1
	}
	switch kind {
	case DelayMissing:
		for i := range missing {
			out[i][i], out[i][missing] = 1-size, size
		}
		return out
	case DelayCategory:
		return moreOf(out, size, reference)
	case DelayShift:
		return shifted(out, size, reference)
	}
	return nil
}

// moreOf lets the other categories give the rows by which the most frequent one grows, of those
// with at most 1/size of the rows.
func moreOf(out [][]float64, size float64, reference []float64) [][]float64 {
	var rows float64
	for _, n := range reference {
		rows += n
	}
	top := -1
	for i, n := range reference[:len(reference)-2] {
		if n > 0 && n*size <= rows && (top < 0 || n > reference[top]) {
			top = i
		}
	}
	if top < 0 {
		return nil
	}
	share := reference[top] / rows
	given := share * (size - 1) / (1 - share)
	for i := range out {
		if i != top {
			out[i][i], out[i][top] = 1-given, given
		}
	}
	return out
}

// shifted takes the bins for the quantiles of a normal distribution and adds size to its values.
func shifted(out [][]float64, size float64, reference []float64) [][]float64 {
	bins := len(reference) - 2
	var values, below float64
	for _, n := range reference[:bins] {
		values += n
	}
	if values == 0 || bins < 2 {
		return nil
	}
	edges := make([]float64, bins+1) // shares below each bin
	for i, n := range reference[:bins] {
		below += n
		edges[i+1] = min(below/values, 1)
	}
	edges[bins] = 1
	normal := distuv.UnitNormal
	moved := make([]float64, bins+1) // the share of values that are below each edge once they have grown
	for i, share := range edges {
		switch {
		case share <= 0:
		case share >= 1:
			moved[i] = 1
		default:
			moved[i] = normal.CDF(normal.Quantile(share) - size)
		}
	}
	for i := range bins {
		mass := edges[i+1] - edges[i]
		if mass <= 0 {
			continue
		}
		out[i][i] = 0
		for j := range bins {
			low, high := max(edges[i], moved[j]), min(edges[i+1], moved[j+1])
			if high > low {
				out[i][j] = (high - low) / mass
			}
		}
	}
	return out
}
