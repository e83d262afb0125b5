package estimate

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
)

// Feature is a column of a nanny's input.
type Feature struct {
	Name        string
	Values      []float64 // NaN is missing
	Categorical bool      // Values are codes: whole numbers, of which only equality counts
}

func cloneFeatures(features []Feature) []Feature {
	out := slices.Clone(features)
	for k := range out {
		out[k].Values = slices.Clone(out[k].Values)
	}
	return out
}

// TreeOptions are the parameters of boosted regression trees. A zero stands for its default,
// which is that of LightGBM.
type TreeOptions struct {
	Trees        int     // 100
	Leaves       int     // of a tree at most, 31
	LearningRate float64 // 0.1
	MinRows      int     // of a leaf, 20
}

func (o TreeOptions) withDefaults() TreeOptions {
	if o.Trees == 0 {
		o.Trees = 100
	}
	if o.Leaves == 0 {
		o.Leaves = 31
	}
	if o.LearningRate == 0 {
		o.LearningRate = 0.1
	}
	if o.MinRows == 0 {
		o.MinRows = 20
	}
	return o
}

func (o TreeOptions) validate() error {
	if o.Trees < 1 || o.Leaves < 2 || o.MinRows < 1 || !(o.LearningRate > 0 && o.LearningRate <= 1) {
		return fmt.Errorf("trees: %+v: want at least 1 tree, 2 leaves, 1 row and a learning rate in (0, 1]", o)
	}
	return nil
}

// Columns are binned to bytes: value bins first, then two of their own.
const (
	maxBins    = 254
	unseenBin  = 254 // a category that the training data has not, or too rarely to be kept
	missingBin = 255

	// Of splits by categories, as LightGBM's cat_smooth and cat_l2: added to the count
	// when categories are ordered by their mean, and to the counts in the gain.
	categorySmooth = 10
	categoryL2     = 10
)

// Trees are gradient-boosted regression trees for squared loss (Friedman 2001), grown leaf by
// leaf over histograms of at most 254 bins a column as in LightGBM (Ke et al. 2017). Training
// draws nothing at random: equal input gives equal trees.
//
// Missing numbers go to the side of a split that they fit better, or to the larger side where
// the training data had none. Categories are split in two sets by their mean (Fisher 1958); a
// missing one is a category, and one that the training data lacks goes to the larger side.
type Trees struct {
	columns []binning
	base    float64
	trees   [][]node
}

// binning maps the values of a column to bins.
type binning struct {
	name        string
	categorical bool
	upper       []float64 // numeric: the largest value of each bin but the last
	bins        int
	codes       map[float64]uint8 // categorical
}

// node is a split, or a leaf where left is 0.
type node struct {
	feature     int32
	left, right int32
	bin         uint8 // numeric: bins up to this go left
	missingLeft bool
	set         *[4]uint64 // categorical: bins that go left
	value       float64    // of a leaf
}

func (n *node) goesLeft(bin uint8) bool {
	switch {
	case n.set != nil:
		return n.set[bin/64]>>(bin%64)&1 != 0
	case bin == missingBin:
		return n.missingLeft
	default:
		return bin <= n.bin
	}
}

// FitTrees trains on the features and the target of each row, which must be finite.
func FitTrees(features []Feature, target []float64, o TreeOptions) (*Trees, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if len(target) == 0 {
		return nil, fmt.Errorf("trees: %w", ErrEmpty)
	}
	if len(features) == 0 {
		return nil, errors.New("trees: no features")
	}
	t := &Trees{}
	for _, f := range features {
		if len(f.Values) != len(target) {
			return nil, fmt.Errorf("trees: feature %q has %d rows, the target %d", f.Name, len(f.Values), len(target))
		}
		t.columns = append(t.columns, newBinning(f))
	}
	for i, y := range target {
		if !finite(y) {
			return nil, fmt.Errorf("trees: target of row %d is %v, must be finite", i, y)
		}
		t.base += y / float64(len(target)) // so that the sum cannot overflow
	}
	g := &grower{options: o, columns: t.columns, data: t.bin(features), residual: make([]float64, len(target)), rows: make([]int32, len(target)), spare: make([]int32, len(target))}
	for i, y := range target {
		if g.residual[i] = y - t.base; !finite(g.residual[i]) {
			return nil, fmt.Errorf("trees: target of row %d, %v, less the mean %v overflows: divide the target by a factor", i, y, t.base)
		}
	}
	scale := magnitude(g.residual)
	for i := range g.residual {
		g.residual[i] /= scale
	}
	for range o.Trees {
		tree := g.grow()
		if len(tree) == 1 {
			break // nothing to split: neither will the next find any
		}
		for i := range tree {
			tree[i].value *= scale
		}
		t.trees = append(t.trees, tree)
	}
	return t, nil
}

// Predict returns the value of each row. The features must be those of the training, by
// number and kind.
func (t *Trees) Predict(features []Feature) ([]float64, error) {
	if len(features) != len(t.columns) {
		return nil, fmt.Errorf("trees: %d features, trained on %d", len(features), len(t.columns))
	}
	for k, f := range features {
		if f.Categorical != t.columns[k].categorical || f.Name != t.columns[k].name {
			return nil, fmt.Errorf("trees: feature %d is %q (categorical: %t), trained on %q (categorical: %t)",
				k, f.Name, f.Categorical, t.columns[k].name, t.columns[k].categorical)
		}
		if len(f.Values) != len(features[0].Values) {
			return nil, fmt.Errorf("trees: feature %q has %d rows, feature %q %d", f.Name, len(f.Values), features[0].Name, len(features[0].Values))
		}
	}
	data := t.bin(features)
	out := make([]float64, len(features[0].Values))
	for i := range out {
		out[i] = t.base
		for _, tree := range t.trees {
			n := &tree[0]
			for n.left != 0 {
				if n.goesLeft(data[n.feature][i]) {
					n = &tree[n.left]
				} else {
					n = &tree[n.right]
				}
			}
			out[i] += n.value
		}
	}
	return out, nil
}

func (t *Trees) bin(features []Feature) [][]uint8 {
	out := make([][]uint8, len(features))
	for k, f := range features {
		out[k] = make([]uint8, len(f.Values))
		for i, v := range f.Values {
			out[k][i] = t.columns[k].of(v)
		}
	}
	return out
}

func newBinning(f Feature) binning {
	b := binning{name: f.Name, categorical: f.Categorical}
	sorted := make([]float64, 0, len(f.Values))
	for _, v := range f.Values {
		if !math.IsNaN(v) {
			sorted = append(sorted, v)
		}
	}
	slices.Sort(sorted)
	distinct := sorted[:0:0]
	var count []int
	for i, v := range sorted {
		if i == 0 || v != sorted[i-1] {
			distinct, count = append(distinct, v), append(count, 0)
		}
		count[len(count)-1]++
	}
	if f.Categorical {
		order := make([]int, len(distinct))
		for i := range order {
			order[i] = i
		}
		sort.SliceStable(order, func(a, c int) bool { return count[order[a]] > count[order[c]] })
		b.codes = map[float64]uint8{}
		for _, i := range order[:min(len(order), maxBins)] {
			b.codes[distinct[i]] = uint8(len(b.codes))
		}
		b.bins = len(b.codes)
		return b
	}
	// Each bin takes distinct values until it has its share of the rows that are left.
	left, in := len(sorted), 0
	for i := range distinct {
		in += count[i]
		if i == len(distinct)-1 || len(b.upper) == maxBins-1 {
			break
		}
		free := maxBins - len(b.upper)
		if len(distinct)-i <= free || in*free >= left {
			// Between the values, so that new ones fall to the nearer bin.
			cut := distinct[i]/2 + distinct[i+1]/2
			if !(cut >= distinct[i] && cut < distinct[i+1]) {
				cut = distinct[i]
			}
			b.upper = append(b.upper, cut)
			left, in = left-in, 0
		}
	}
	b.bins = len(b.upper) + 1
	return b
}

func (b *binning) of(v float64) uint8 {
	if math.IsNaN(v) {
		return missingBin
	}
	if b.categorical {
		if bin, ok := b.codes[v]; ok {
			return bin
		}
		return unseenBin
	}
	return uint8(sort.SearchFloat64s(b.upper, v))
}

// cell is a bin of a histogram over the rows of a leaf.
type cell struct {
	sum float64 // of residuals
	n   int
}

// leaf is a node that may still be split.
type leaf struct {
	node       int32
	start, end int // of grower.rows
	total      cell
	histogram  [][256]cell // by column
	best       split
}

// split is the best that was found for a leaf; of no use where gain is 0.
type split struct {
	gain float64
	node node
}

type grower struct {
	options  TreeOptions
	columns  []binning
	data     [][]uint8 // by column
	residual []float64
	rows     []int32 // in the order of the leaves
	spare    []int32
	free     [][][256]cell // histograms to use again
}

// grow adds a tree: it splits the leaf of the greatest gain until there are enough, sets the
// leaves to their mean residual times the learning rate, and takes these off the residuals.
func (g *grower) grow() []node {
	for i := range g.rows {
		g.rows[i] = int32(i)
	}
	root := &leaf{end: len(g.rows)}
	root.histogram = g.count(root.start, root.end)
	for i := range g.residual {
		root.total.sum += g.residual[i]
	}
	root.total.n = len(g.rows)
	g.find(root)
	nodes, leaves := make([]node, 1, 2*g.options.Leaves), []*leaf{root}
	for len(leaves) < g.options.Leaves {
		at := 0
		for i, l := range leaves {
			if l.best.gain > leaves[at].best.gain {
				at = i
			}
		}
		l := leaves[at]
		if !(l.best.gain > 0) {
			break
		}
		n := l.best.node
		n.left, n.right = int32(len(nodes)), int32(len(nodes)+1)
		nodes[l.node] = n
		nodes = append(nodes, node{}, node{})
		a, b := g.divide(l, &n)
		a.node, b.node = n.left, n.right
		g.find(a)
		g.find(b)
		leaves[at] = a
		leaves = append(leaves, b)
	}
	for _, l := range leaves {
		v := g.options.LearningRate * l.total.sum / float64(l.total.n)
		nodes[l.node].value = v
		for _, i := range g.rows[l.start:l.end] {
			g.residual[i] -= v
		}
		g.free = append(g.free, l.histogram)
	}
	return nodes
}

// count returns the histograms of rows start to end.
func (g *grower) count(start, end int) [][256]cell {
	var h [][256]cell
	if n := len(g.free); n > 0 {
		h, g.free = g.free[n-1], g.free[:n-1]
		clear(h)
	} else {
		h = make([][256]cell, len(g.data))
	}
	for k, column := range g.data {
		cells := &h[k]
		for _, i := range g.rows[start:end] {
			c := &cells[column[i]]
			c.sum += g.residual[i]
			c.n++
		}
	}
	return h
}

// divide parts the rows of a leaf by a split. The smaller side is counted, the larger is what
// remains.
func (g *grower) divide(l *leaf, n *node) (a, b *leaf) {
	left, right := l.start, 0
	column := g.data[n.feature]
	for _, i := range g.rows[l.start:l.end] {
		if n.goesLeft(column[i]) {
			g.rows[left] = i
			left++
		} else {
			g.spare[right] = i
			right++
		}
	}
	copy(g.rows[left:l.end], g.spare[:right])
	a, b = &leaf{start: l.start, end: left}, &leaf{start: left, end: l.end}
	small, large := a, b
	if a.end-a.start > b.end-b.start {
		small, large = b, a
	}
	small.histogram, large.histogram = g.count(small.start, small.end), l.histogram
	for k := range large.histogram {
		for j := range large.histogram[k] {
			large.histogram[k][j].sum -= small.histogram[k][j].sum
			large.histogram[k][j].n -= small.histogram[k][j].n
		}
	}
	for _, x := range []*leaf{a, b} {
		x.total.n = x.end - x.start
		for _, i := range g.rows[x.start:x.end] {
			x.total.sum += g.residual[i]
		}
	}
	return a, b
}

// find sets the best split of a leaf: that which lowers the squared residuals most.
func (g *grower) find(l *leaf) {
	l.best = split{}
	if l.total.n < 2*g.options.MinRows {
		return
	}
	for k := range g.columns {
		if g.columns[k].categorical {
			g.findCategories(l, int32(k))
		} else {
			g.findCut(l, int32(k))
		}
	}
}

// offer keeps a split of a leaf into left and the rest if it is the best yet, and tells.
func (g *grower) offer(l *leaf, left cell, l2 float64) bool {
	right := cell{l.total.sum - left.sum, l.total.n - left.n}
	if left.n < g.options.MinRows || right.n < g.options.MinRows {
		return false
	}
	score := func(c cell, l2 float64) float64 { return c.sum * (c.sum / (float64(c.n) + l2)) }
	gain := score(left, l2) + score(right, l2) - score(l.total, 0)
	if !(gain > l.best.gain) {
		return false
	}
	l.best.gain = gain
	return true
}

func (g *grower) findCut(l *leaf, k int32) {
	h := &l.histogram[k]
	missing := h[missingBin]
	var below cell
	for bin := range g.columns[k].bins {
		below.sum += h[bin].sum
		below.n += h[bin].n
		if h[bin].n == 0 || below.n == l.total.n {
			continue
		}
		if g.offer(l, below, 0) {
			l.best.node = node{feature: k, bin: uint8(bin), missingLeft: missing.n == 0 && 2*below.n >= l.total.n}
		}
		if missing.n > 0 && g.offer(l, cell{below.sum + missing.sum, below.n + missing.n}, 0) {
			l.best.node = node{feature: k, bin: uint8(bin), missingLeft: true}
		}
	}
}

func (g *grower) findCategories(l *leaf, k int32) {
	h := &l.histogram[k]
	var bins []int
	for bin := range h {
		if h[bin].n > 0 && bin != unseenBin {
			bins = append(bins, bin)
		}
	}
	mean := func(bin int) float64 { return h[bin].sum / (float64(h[bin].n) + categorySmooth) }
	sort.SliceStable(bins, func(a, b int) bool { return mean(bins[a]) < mean(bins[b]) })
	var below cell
	for at, bin := range bins {
		below.sum += h[bin].sum
		below.n += h[bin].n
		if !g.offer(l, below, categoryL2) {
			continue
		}
		side := bins[:at+1]
		if 2*below.n > l.total.n {
			side = bins[at+1:] // so that categories not seen here go with the more rows
		}
		set := new([4]uint64)
		for _, bin := range side {
			set[bin/64] |= 1 << (bin % 64)
		}
		l.best.node = node{feature: k, set: set}
	}
}
