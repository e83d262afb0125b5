package reason

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

const (
	// level is the error rate of a change point, over all places where it could be: low, because
	// blocks that depend on each other vary by more than is estimated of them.
	level = 0.002
	// leastBlocks is how many blocks a range has at least by which its dispersion is known.
	leastBlocks = 12
	// mostChanges bounds the change points of a column.
	mostChanges = 8
)

// prefix sums up counts of buckets, so that the counts of a range are one subtraction.
type prefix [][]float64

func prefixOf(buckets [][]float64) prefix {
	cells := 0
	if len(buckets) > 0 {
		cells = len(buckets[0])
	}
	p := make(prefix, len(buckets)+1)
	p[0] = make([]float64, cells)
	for i, b := range buckets {
		p[i+1] = make([]float64, cells)
		for k, n := range b {
			p[i+1][k] = p[i][k] + n
		}
	}
	return p
}

// between returns the counts of buckets from i to j, and their rows.
func (p prefix) between(i, j int) ([]float64, float64) {
	out, rows := make([]float64, len(p[i])), 0.0
	for k := range out {
		out[k] = p[j][k] - p[i][k]
		rows += out[k]
	}
	return out, rows
}

// logLikelihood is that of counts under their own shares, without the term that no split changes.
func logLikelihood(counts []float64, rows float64) float64 {
	sum := 0.0
	for _, n := range counts {
		if n > 0 {
			sum += n * math.Log(n/rows)
		}
	}
	return sum
}

// changes returns where the shares of cells change, ascending: each is the index of the first
// bucket after a change. It is binary segmentation (Scott and Knott, 1974; as `Binseg` of ruptures)
// with the likelihood ratio of multinomial counts as gain. Each bucket has rows.
func changes(buckets [][]float64) []int {
	p := prefixOf(buckets)
	var found []int
	var split func(from, to, left int) int
	split = func(from, to, left int) int {
		if left == 0 {
			return 0
		}
		at, significant := p.split(from, to)
		if !significant {
			return left
		}
		left = split(from, at, left-1)
		found = append(found, at)
		return split(at, to, left)
	}
	split(0, len(buckets), mostChanges)
	return found
}

// split returns the likeliest change within a range of buckets, and whether it is more than chance.
//
// Shares of real streams vary between buckets by more than counting does: by the hour, by bursts.
// So the likelihood ratio is held not to its own distribution but to how much blocks of buckets
// vary on either side of the change (quasi-likelihood, McCullagh and Nelder 1989, ch. 4: an F test with
// the dispersion of blocks as denominator). Blocks are as long as the shorter side, so that what varies
// within so long a time is in the dispersion. The p-value is multiplied by the number of places where the
// change could have been (Bonferroni).
func (p prefix) split(from, to int) (at int, significant bool) {
	if to-from < 3 {
		return 0, false
	}
	whole, rows := p.between(from, to)
	base, best := logLikelihood(whole, rows), 0.0
	for t := from + 1; t < to; t++ {
		before, n := p.between(from, t)
		after, m := p.between(t, to)
		if gain := 2 * (logLikelihood(before, n) + logLikelihood(after, m) - base); gain > best {
			best, at = gain, t
		}
	}
	cells := 0
	for _, n := range whole {
		if n > 0 {
			cells++
		}
	}
	if at == 0 || cells < 2 {
		return 0, false
	}
	free := float64(cells - 1)
	block := max(1, min(at-from, to-at, (to-from)/leastBlocks))
	left, blocksLeft := p.dispersion(from, at, block)
	right, blocksRight := p.dispersion(at, to, block)
	within := free * float64(blocksLeft+blocksRight)
	if within == 0 {
		return 0, false // too few blocks to know how much they vary
	}
	phi := max(1, (left+right)/within)
	chance := distuv.F{D1: free, D2: within}.Survival(best / free / phi)
	return at, chance*float64(to-from-1) <= level
}

// dispersion is Pearson's statistic of the blocks of a range of buckets against the shares of the
// range, and by how many blocks there are more than one. A block that would be shorter joins the one
// before it.
func (p prefix) dispersion(from, to, block int) (statistic float64, more int) {
	blocks := (to - from) / block
	if blocks < 2 {
		return 0, 0
	}
	all, rows := p.between(from, to)
	for b := range blocks {
		start, end := from+b*block, from+(b+1)*block
		if b == blocks-1 {
			end = to
		}
		part, n := p.between(start, end)
		for k, total := range all {
			if total > 0 {
				expected := total / rows * n
				statistic += (part[k] - expected) * (part[k] - expected) / expected
			}
		}
	}
	return statistic, blocks - 1
}
