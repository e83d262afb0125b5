package multivariate

import (
	"cmp"
	"math"
	"slices"
)

// The classifier is gradient boosting of the logistic loss (Friedman 2001) with second
// derivatives (Chen and Guestrin 2016), on binned columns. Trees are of depth 3: stumps and
// linear models see one column at a time, and so never a change of correlation alone.
const (
	depth        = 3
	inner        = 1<<depth - 1
	leaves       = 1 << depth
	rounds       = 40
	learningRate = 0.2
	lambda       = 1.0  // of the second derivatives
	smoothing    = 10.0 // of the order of categories, as LightGBM's cat_smooth
	bins         = 64   // so that a set of bins is a word
)

// binned columns hold one byte a row: bin 0 is missing. Numeric bins are in the order of
// values, with about as many rows in each; categorical ones are the most frequent categories,
// and the last bin the others.
type binned struct {
	columns     [][]uint8
	categorical []bool
}

func bin(reference, current Matrix, rows [2][]int) binned {
	b := binned{columns: make([][]uint8, len(reference.Columns)), categorical: make([]bool, len(reference.Columns))}
	for j := range reference.Columns {
		values := make([]float64, 0, len(rows[0])+len(rows[1]))
		for _, i := range rows[0] {
			values = append(values, reference.Columns[j][i])
		}
		for _, i := range rows[1] {
			values = append(values, current.Columns[j][i])
		}
		b.categorical[j] = reference.categorical(j)
		if b.categorical[j] {
			b.columns[j] = binCategories(values)
		} else {
			b.columns[j] = binNumbers(values)
		}
	}
	return b
}

func binNumbers(values []float64) []uint8 {
	sorted := make([]float64, 0, len(values))
	for _, v := range values {
		if !math.IsNaN(v) {
			sorted = append(sorted, v)
		}
	}
	slices.Sort(sorted)
	edges := slices.Compact(slices.Clone(sorted)) // the least value of each bin
	if len(edges) > bins-1 {
		edges = edges[:0]
		for k := range bins - 1 {
			edges = append(edges, sorted[k*len(sorted)/(bins-1)])
		}
		edges = slices.Compact(edges)
	}
	out := make([]uint8, len(values))
	for i, v := range values {
		if !math.IsNaN(v) {
			k, found := slices.BinarySearch(edges, v)
			if found {
				k++
			}
			out[i] = uint8(k)
		}
	}
	return out
}

func binCategories(values []float64) []uint8 {
	counts := map[float64]int{}
	for _, v := range values {
		if !math.IsNaN(v) {
			counts[v]++
		}
	}
	codes := make([]float64, 0, len(counts))
	for v := range counts {
		codes = append(codes, v)
	}
	slices.SortFunc(codes, func(a, b float64) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	binOf := make(map[float64]uint8, len(codes))
	for k, v := range codes {
		binOf[v] = uint8(min(k+1, bins-1))
	}
	out := make([]uint8, len(values))
	for i, v := range values {
		if !math.IsNaN(v) {
			out[i] = binOf[v]
		}
	}
	return out
}

// tree is complete: node i has the children 2i+1, for the bins in left, and 2i+2.
type tree struct {
	column [inner]int
	left   [inner]uint64
	leaf   [leaves]float64
}

// leafOf walks to the leaf of row i, which has the bins of row other in the column permuted.
func (t *tree) leafOf(b *binned, i, permuted, other int) int {
	node := 0
	for range depth {
		row := i
		if t.column[node] == permuted {
			row = other
		}
		if t.left[node]>>b.columns[t.column[node]][row]&1 != 0 {
			node = 2*node + 1
		} else {
			node = 2*node + 2
		}
	}
	return node - inner
}

// score of a row by all trees, in log odds.
func score(trees []tree, b *binned, i, permuted, other int) float64 {
	sum := 0.0
	for k := range trees {
		sum += trees[k].leaf[trees[k].leafOf(b, i, permuted, other)]
	}
	return sum
}

// cell holds the sums of the derivatives over rows.
type cell struct{ gradient, hessian float64 }

func (c cell) plus(o cell) cell  { return cell{c.gradient + o.gradient, c.hessian + o.hessian} }
func (c cell) minus(o cell) cell { return cell{c.gradient - o.gradient, c.hessian - o.hessian} }

// gain is what a leaf with these rows takes from the loss, twice.
func (c cell) gain() float64 { return c.gradient * c.gradient / (c.hessian + lambda) }

// booster keeps the buffers of training, by position in the rows that it is trained with.
type booster struct {
	data *binned

	bins        []uint8 // of one column after the other
	scores      []float64
	derivatives []cell
	node        []uint8
	cells       [leaves / 2][bins]cell
}

// train fits trees to the rows, labelled by current.
func (t *booster) train(rows []int, current []bool) []tree {
	n := len(rows)
	t.scores, t.derivatives, t.node = resize(t.scores, n), resize(t.derivatives, n), resize(t.node, n)
	t.bins = resize(t.bins, n*len(t.data.columns))
	for j, column := range t.data.columns {
		to := t.bins[j*n : (j+1)*n]
		for p, i := range rows {
			to[p] = column[i]
		}
	}
	positive := 0.0
	for _, i := range rows {
		if current[i] {
			positive++
		}
	}
	share := positive / float64(n)
	for p := range t.scores {
		t.scores[p] = math.Log(share / (1 - share))
	}
	// Leaves of little weight learn noise: 20 rows of even odds, or less where rows are few.
	least := math.Max(0.5, math.Min(float64(n)*share*(1-share)/20, 5))

	trees := make([]tree, rounds)
	for k := range trees {
		for p, i := range rows {
			e := 1 / (1 + math.Exp(-t.scores[p]))
			hessian := e * (1 - e)
			if current[i] {
				e--
			}
			t.derivatives[p] = cell{e, hessian}
		}
		t.grow(&trees[k], least)
		for p := range rows {
			t.scores[p] += trees[k].leaf[int(t.node[p])-inner]
		}
	}
	return trees
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// grow finds the best split of each node, level by level.
func (t *booster) grow(tr *tree, least float64) {
	n := len(t.node)
	clear(t.node)
	for first := 0; first < inner; first = 2*first + 1 {
		width := first + 1
		var best [leaves / 2]float64
		for k := range width {
			tr.left[first+k] = ^uint64(0) // all to the left, if nothing splits
		}
		for j := range t.data.columns {
			for k := range width {
				clear(t.cells[k][:])
			}
			for p, b := range t.bins[j*n : (j+1)*n] {
				c := &t.cells[int(t.node[p])-first][b%bins]
				c.gradient += t.derivatives[p].gradient
				c.hessian += t.derivatives[p].hessian
			}
			for k := range width {
				if gain, left := split(&t.cells[k], t.data.categorical[j], least); gain > best[k] {
					best[k], tr.column[first+k], tr.left[first+k] = gain, j, left
				}
			}
		}
		for p, node := range t.node {
			b := t.bins[tr.column[node]*n+p]
			side := 2 - tr.left[node]>>b&1
			t.node[p] = 2*node + uint8(side)
		}
	}
	var sums [leaves]cell
	for p, node := range t.node {
		sums[node-inner] = sums[node-inner].plus(t.derivatives[p])
	}
	for k, c := range sums {
		tr.leaf[k] = -learningRate * c.gradient / (c.hessian + lambda)
	}
}

// split returns the best set of bins for the left, and what it gains; 0 if there is none.
// Categories are taken in the order of their gradient, in which the best of all sets is a
// prefix (Fisher 1958). Of numbers, the left also has the bins below that no row was in: rows out of
// the fold are, and where rows are few, nearly all of them.
func split(cells *[bins]cell, categorical bool, least float64) (gain float64, left uint64) {
	var order [bins]uint8
	used := order[:0]
	var all cell
	for b := range cells {
		if cells[b].hessian > 0 {
			used = append(used, uint8(b))
			all = all.plus(cells[b])
		}
	}
	if categorical {
		rank := func(b uint8) float64 { return cells[b].gradient / (cells[b].hessian + smoothing) }
		slices.SortFunc(used, func(a, b uint8) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	}
	var low cell
	var set uint64
	for _, b := range used {
		low = low.plus(cells[b])
		set |= 1 << b
		high := all.minus(low)
		if low.hessian < least || high.hessian < least {
			continue
		}
		if g := low.gain() + high.gain() - all.gain(); g > gain {
			if gain, left = g, set; !categorical {
				left = 1<<(b+1) - 1
			}
		}
	}
	return gain, left
}
