package stattest

import "math"

// A rank statistic W = Σ c·g² sums over the groups of equal values, where g = N·a - n·M, of the
// a rows of a side of n and the M rows of both up to the middle of the group. That is anderson's
// with c = t/(M·(N-M) - N·t/4), and with c = t the statistic of Cramér and von Mises where ties
// have midranks. Where the t rows of each group are dealt to the sides at random, the g have
// mean 0 and the covariance, for M <= M',
//
//	K·(M·(N-M') - [same group] N·t/4),  K = n·m/(N-1),
//
// of the multivariate hypergeometric distribution.
type tiedRanks struct {
	pooled
	middle, c []float64
}

func newTiedRanks(p pooled, weight func(t, middle, total float64) float64) tiedRanks {
	r := tiedRanks{pooled: p, middle: make([]float64, len(p.both)), c: make([]float64, len(p.both))}
	below, total := 0.0, p.n+p.m
	for k, t := range p.both {
		r.middle[k] = below + t/2
		r.c[k] = weight(t, r.middle[k], total)
		below += t
	}
	return r
}

// statistic is W of the rows that the smaller side has of each group.
func (r *tiedRanks) statistic(rows []float64) float64 {
	below, sum, total := 0.0, 0.0, r.n+r.m
	for k, w := range rows {
		g := total*(below+w/2) - r.n*r.middle[k]
		sum += r.c[k] * g * g
		below += w
	}
	return sum
}

// pValue is that of the rows seen: by permutation, or by the moments where there are rows
// enough for g to be normal.
func (r *tiedRanks) pValue(o Options, stream uint64, effective float64) (float64, string) {
	seen := r.statistic(r.smaller)
	if effective >= effectiveRows {
		return r.byMoments(seen), methodTies
	}
	d, rows := r.dealer(o, stream), make([]float64, len(r.both))
	take := func(group int, n float64) { rows[group] += n }
	return d.pValue(o, float64(len(rows)), least(seen), func() float64 {
		clear(rows)
		d.deal(take)
		return r.statistic(rows)
	})
}

// byMoments takes the g for normal. Then W is a weighted sum of squares of independent normal
// values, with the cumulants tr(CV), 2·tr((CV)²) and 8·tr((CV)³), which momentsUpper takes (Imhof,
// Computing the distribution of quadratic forms in normal variables, Biometrika 48, 1961).
//
// A covariance is a product of a factor of the lower group and one of the upper, so that the
// sums over pairs and triples of groups need one pass.
func (r *tiedRanks) byMoments(seen float64) float64 {
	total := r.n + r.m
	// In units of K·N², which W is divided by; shares keep the sums in range.
	unit := r.n * r.m / (total - 1) * total * total
	var one, two, three float64 // the traces
	var pairs, deep, triple float64
	for k, t := range r.both {
		low, high := r.middle[k]/total, (total-r.middle[k])/total
		c := r.c[k]
		v := low*high - t/total/4
		one += c * v
		// With the groups below: c·low², c²·v·low² of pairs, and of triples what has c·low·high of the middle one.
		two += c*c*v*v + 2*c*high*high*pairs
		three += c*c*c*v*v*v + 3*c*high*high*(deep+c*v*pairs) + 6*c*high*high*triple
		triple += c * low * high * pairs
		deep += c * c * v * low * low
		pairs += c * low * low
	}
	variance := 2 * two
	return momentsUpper((seen/unit-one)/math.Sqrt(variance), 8*three/(variance*math.Sqrt(variance)))
}
