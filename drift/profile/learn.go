package profile

import "math"

// MaxBins bounds the bins of a numeric column, MaxCategories the categories that are listed, in
// a reference that is made of rows.
const (
	MaxBins       = 40
	MaxCategories = 100
)

// EdgeRanks returns the ranks, from 0, of the values of n that edges are made of: the quantiles
// 1/MaxBins, 2/MaxBins, …, each the least value that so large a share of the values does not
// exceed (numpy's inverted_cdf). Ranks ascend; n is at least 1.
func EdgeRanks(n int64) []int64 {
	ranks := make([]int64, 0, MaxBins-1)
	for i := int64(1); i < MaxBins; i++ {
		ranks = append(ranks, (i*n+MaxBins-1)/MaxBins-1)
	}
	return ranks
}

// Edges returns the edges of bins of near-equal mass from the values at EdgeRanks, ascending,
// and the least value, all of them finite: no edge stands twice, and none at the least value,
// below which no row lies. Where all edges would be there, the column has hardly another value:
// it gets a bin of its own, and what lies below and above it has another each.
func Edges(values []float64, least float64) []float64 {
	var edges []float64
	for _, v := range values {
		if v += 0; v > least && (len(edges) == 0 || v > edges[len(edges)-1]) { // -0 becomes 0
			edges = append(edges, v)
		}
	}
	if len(edges) == 0 {
		edges = []float64{least + 0}
		if next := math.Nextafter(least, math.Inf(1)); !math.IsInf(next, 1) {
			edges = append(edges, next)
		}
	}
	return edges
}
