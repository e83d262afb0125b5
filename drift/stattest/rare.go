package stattest

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// rare says how many rows of others must come for a distance to find them, where nearly all rows
// are in one cell. Deals of the few others, or of none, are all alike, and do not show how far
// those that a drift would bring vary. All others are taken for one cell.
type rare struct {
	n, m   float64 // rows of the reference and of the current data
	others float64 // rows of the reference
	norm   func(r, c []float64) float64
	effect func(r, c []float64) float64 // that a test has beside its score; nil: the norm without its bias
}

// newRare returns nil where a side is expected to have as many others as the chi-square
// distribution needs.
func newRare(n *Null, distance Distance, reference, current []float64) *rare {
	most := 0
	for i := range reference {
		if reference[i]+current[i] > reference[most]+current[most] {
			most = i
		}
	}
	all := n.rows[0] + n.rows[1]
	if (all-reference[most]-current[most])*(min(n.rows[0], n.rows[1])/all) >= chiSquareExpected {
		return nil
	}
	out := &rare{
		n: n.rows[0], m: n.rows[1], others: n.rows[0] - reference[most],
		norm: func(r, c []float64) float64 {
			x, err := distance.Of(r, c)
			if err != nil || x-x != 0 {
				return 0 // what has no distance is not found
			}
			return n.norm(x)
		},
	}
	if distance.Name == "chisquare" || distance.Name == "g_test" {
		out.effect = func(r, c []float64) float64 {
			result, err := ChiSquare(r, c)
			if err != nil {
				return 0
			}
			return *result.EffectSize
		}
	}
	return out
}

// sides are the cells of both sides where their others are so many.
func (r *rare) sides(reference, current float64) (of, with []float64) {
	return []float64{r.n - reference, reference}, []float64{r.m - current, current}
}

// pValue is the chance of a norm as great as that of so many others in the current data, among
// all deals of these and the reference's. A norm falls until the shares of both sides are as
// equal as they can be, and rises from there; so the deals that reach it are found by bisection,
// and their chances summed from the likeliest until they add nothing. At the ends of what can be
// dealt a cell is empty, of which a distance may make anything: they are looked at one by one.
func (r *rare) pValue(current float64) float64 {
	all := r.others + current
	h := newHypergeometric(all, r.n+r.m-all, r.m)
	norm := func(k float64) float64 { return r.norm(r.sides(all-k, k)) }
	seen, p := least(norm(current)), 0.0
	reached := func(k float64) bool { return norm(k) >= seen }
	if reached(h.low) {
		p += math.Exp(h.logPMF(h.low))
	}
	if h.high > h.low && reached(h.high) {
		p += math.Exp(h.logPMF(h.high))
	}
	low, high := h.low+1, h.high-1
	if low > high {
		return p
	}
	bottom := firstWhere(low-1, high, func(k float64) bool { return k == high || norm(k+1) >= norm(k) })
	if reached(bottom) {
		return p + h.between(low, high)
	}
	if reached(low) {
		p += h.between(low, -firstWhere(-bottom, -low, func(k float64) bool { return reached(-k) }))
	}
	if reached(high) {
		p += h.between(firstWhere(bottom, high, reached), high)
	}
	return p
}

// smallest returns the effect, as a norm, of the least share of others that is found in 80 % of
// cases by a p-value of at most rate and an effect of at least mark; infinite where not even a
// current side of nothing else is.
func (r *rare) smallest(rate, mark float64, p Power) float64 {
	effect := func(current float64) float64 {
		if r.effect != nil {
			return r.effect(r.sides(r.others, current))
		}
		return without(r.norm(r.sides(r.others, current)), math.Sqrt(p.bias))
	}
	found := func(current float64) bool { return effect(current) >= mark && r.pValue(current) <= rate }
	low, high := math.Ceil(r.others/r.n*r.m), r.m
	if low >= high || !found(high) {
		return math.Inf(1)
	}
	for step := 1.0; low+step < high; step *= 2 { // the least is most often near
		if found(low + step) {
			high = low + step
			break
		}
		low += step
	}
	for high-low > 1 {
		if middle := math.Floor((low + high) / 2); found(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return effect(r.m * mathext.InvRegIncBeta(high, r.m-high+1, 0.8))
}
