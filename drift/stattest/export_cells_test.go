package stattest

import "math"

// For tests in package stattest_test.
var (
	ChiSquareTail      = chiSquareTail
	DrawHypergeometric = drawHypergeometric
)

// HypergeometricPMF is the probability of k good ones among n of good and bad ones, as a logarithm.
func HypergeometricPMF(good, bad, n, k float64) float64 {
	return newHypergeometric(good, bad, n).logPMF(k)
}

// RarePValue is the p-value of so many others in the current data, and the same by a sum over
// all that can be dealt.
func (p Power) RarePValue(current float64) (byParts, whole float64) {
	r := p.rare
	all := r.others + current
	h := newHypergeometric(all, r.n+r.m-all, r.m)
	seen := least(r.norm(r.sides(r.others, current)))
	for k := h.low; k <= h.high; k++ {
		if r.norm(r.sides(all-k, k)) >= seen {
			whole += math.Exp(h.logPMF(k))
		}
	}
	return r.pValue(current), whole
}
