package stattest

import (
	"fmt"
	"math"
)

// FisherExact is Fisher's exact test of a table of two sides and two categories, two-sided:
// the p-value adds up all tables with the same margins that are as likely as the one seen or
// less (scipy.stats.fisher_exact).
//
// The score is the sample's odds ratio, (r0·c1)/(r1·c0) for cells r of the reference and c of
// the current data. Where a cell is empty it would be 0, infinite or undefined; then a half is
// added to all four (Haldane 1955, Anscombe 1956), so that it is always finite. The effect size is
// Cohen's h, as of Z. Counts must be whole numbers. Evidently compares only sides of the
// same size, which the test does not need.
func FisherExact(reference, current []float64) (Result, error) {
	r, c, err := binary("fisher_exact", reference, current)
	if err != nil {
		return Result{}, err
	}
	n := 0.0
	for _, v := range []float64{r[0], r[1], c[0], c[1]} {
		if v != math.Trunc(v) {
			return Result{}, fmt.Errorf("fisher_exact needs whole counts, got %v", v)
		}
		n += v
	}
	if n > 1<<53 {
		return Result{}, fmt.Errorf("fisher_exact: %v rows, at most 2^53 can be counted", n)
	}
	h, p := cohenH(r, c), fisherTwoSided(r, c)
	a, b := r, c
	if min(r[0], r[1], c[0], c[1]) == 0 {
		a, b = [2]float64{r[0] + 0.5, r[1] + 0.5}, [2]float64{c[0] + 0.5, c[1] + 0.5}
	}
	return Result{Score: a[0] / a[1] * (b[1] / b[0]), PValue: &p, EffectSize: &h, Method: methodExact}, nil
}

// fisherTie is how much likelier than the table seen another may be and still count as
// equally likely: in units of the logarithm of its probability (or 10), to which its rounding
// errors are proportional. SciPy's is 1e-14 of the probability, for the same reason.
const fisherTie = 4e-14

func fisherTwoSided(r, c [2]float64) float64 {
	h := newHypergeometric(r[0]+c[0], r[1]+c[1], r[0]+r[1])
	seen := h.logPMF(r[0])
	mode := h.mode()
	limit := seen + fisherTie*max(-seen, 10)
	if h.logPMF(mode) <= limit {
		return 1
	}
	// The tail in which the table lies, and the other one from where it is as unlikely.
	if r[0] < mode {
		p := h.tail(r[0], -1)
		if h.logPMF(h.high) <= limit {
			p += h.tail(firstWhere(mode, h.high, func(k float64) bool { return h.logPMF(k) <= limit }), +1)
		}
		return min(p, 1)
	}
	p := h.tail(r[0], +1)
	if h.logPMF(h.low) <= limit {
		p += h.tail(-firstWhere(-mode, -h.low, func(k float64) bool { return h.logPMF(-k) <= limit }), -1)
	}
	return min(p, 1)
}

// firstWhere returns the least whole number above low, up to high, for which f holds; it
// holds for high, and from there on down to the first.
func firstWhere(low, high float64, f func(float64) bool) float64 {
	for high-low > 1 {
		middle := math.Floor(low + (high-low)/2)
		if f(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// hypergeometric is the distribution of the good ones among n drawn from good and bad
// ones. Numbers are whole, up to 2^53.
type hypergeometric struct {
	good, bad, n float64
	low, high    float64 // of the support
	p, q         float64 // n of all, and the rest
	constant     float64 // of the logarithm
}

func newHypergeometric(good, bad, n float64) hypergeometric {
	h := hypergeometric{
		good: good, bad: bad, n: n,
		low: max(0, n-bad), high: min(n, good),
		p: n / (good + bad), q: (good + bad - n) / (good + bad),
	}
	h.constant = -h.logBinomial(n, good+bad)
	return h
}

// mode returns the likeliest number.
func (h hypergeometric) mode() float64 {
	k := math.Floor((h.n + 1) / (h.good + h.bad + 2) * (h.good + 1))
	return min(max(k, h.low), h.high)
}

// logBinomial is ln(C(n, k)·p^k·q^(n-k)) by Loader's saddle-point expansion (Fast and
// accurate computation of binomial probabilities, 2000), whose parts are of the size of the
// result, so that large counts cost no digits.
func (h hypergeometric) logBinomial(k, n float64) float64 {
	switch {
	case n == 0:
		return 0
	case k == 0:
		return n * logOf(h.q, h.p)
	case k == n:
		return n * logOf(h.p, h.q)
	}
	np, nq := n*h.p, n*h.q
	return stirlingError(n) - stirlingError(k) - stirlingError(n-k) -
		relativeEntropy(k, np, np-k) - relativeEntropy(n-k, nq, nq-(n-k)) -
		0.5*math.Log(2*math.Pi*k*((n-k)/n))
}

// logOf is ln(p) with q = 1-p.
func logOf(p, q float64) float64 {
	if p > 0.5 {
		return math.Log1p(-q)
	}
	return math.Log(p)
}

// logPMF is the logarithm of the probability of k, which is in the support: that of k of the
// good and n-k of the bad ones being drawn independently, given that they are n.
func (h hypergeometric) logPMF(k float64) float64 {
	return h.logBinomial(k, h.good) + h.logBinomial(h.n-k, h.bad) + h.constant
}

// tail sums the probabilities from k on in the direction step (1 or -1), away from the
// mode, where each is less than the one before, until they add nothing.
func (h hypergeometric) tail(k, step float64) float64 {
	first := h.logPMF(k)
	sum, term := 1.0, 1.0
	for k != h.low && step < 0 || k != h.high && step > 0 {
		if step > 0 {
			term *= (h.good - k) / (k + 1) * ((h.n - k) / (h.bad - h.n + k + 1))
		} else {
			term *= k / (h.good - k + 1) * ((h.bad - h.n + k) / (h.n - k + 1))
		}
		k += step
		if sum+term == sum {
			break
		}
		sum += term
	}
	return math.Exp(first + math.Log(sum))
}

// between sums the probabilities from low to high, which are in the support, from the likeliest
// of them on.
func (h hypergeometric) between(low, high float64) float64 {
	h.low, h.high = low, high
	mode := h.mode()
	p := h.tail(mode, -1)
	if mode < high {
		p += h.tail(mode+1, +1)
	}
	return p
}
