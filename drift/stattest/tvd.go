package stattest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// defaultPermutations is Evidently's number for TVD.
const defaultPermutations = 1000

// TVD is the total variation distance Σ |p-q| / 2, from 0 to 1, with the p-value of a
// permutation test: how often rows dealt out to the two sides at random lie as far apart as
// those seen, or farther.
//
// Evidently permutes rows. Here the cells of a random deal are drawn from their distribution,
// the multivariate hypergeometric, so that the cost grows with the cells and not with the
// rows. The table seen is counted as one of the deals (Phipson and Smyth 2010;
// scipy.stats.permutation_test), so that the p-value is never 0, which a share of drawn
// deals, Evidently's figure, can be. Counts must be whole numbers.
func TVD(reference, current []float64, o Options) (Result, error) {
	sum, err := divergence("TVD", reference, current, func(_, _, d float64) float64 { return math.Abs(d) })
	if err != nil {
		return Result{}, err
	}
	deals := o.Permutations
	switch {
	case deals == 0:
		deals = defaultPermutations
	case deals < 0:
		return Result{}, fmt.Errorf("TVD: %d permutations, at least 1 is needed", deals)
	}
	var cells []float64 // rows of both sides
	var nr, nc float64
	for i := range reference {
		for _, v := range []float64{reference[i], current[i]} {
			if v != math.Trunc(v) {
				return Result{}, fmt.Errorf("TVD: cell %d has %v rows, must be a whole number", i, v)
			}
		}
		nr, nc = nr+reference[i], nc+current[i]
		if n := reference[i] + current[i]; n > 0 {
			cells = append(cells, n)
		}
	}
	if nr+nc > 1<<53 {
		return Result{}, fmt.Errorf("TVD: %v rows, at most 2^53 can be counted", nr+nc)
	}
	// The largest first, for most rows are dealt out soon; and the order of the categories
	// does not matter to the result.
	slices.Sort(cells)
	slices.Reverse(cells)
	rng := rand.New(rand.NewPCG(o.Seed, 0x545644)) //nolint:gosec // a seeded simulation
	least := sum * (1 - 1e-12)                     // rounding does not make equal distances unequal
	as := 1
	for range deals {
		left, all, d := nr, nr+nc, 0.0 // rows to deal to the reference, of all that are left
		for _, n := range cells {
			k := drawHypergeometric(rng, n, all-n, left)
			d += math.Abs(k/nr - (n-k)/nc)
			left, all = left-k, all-n
		}
		if d >= least {
			as++
		}
	}
	p := float64(as) / float64(deals+1)
	return Result{Score: min(sum/2, 1), PValue: &p, Method: methodPermutation}, nil
}

// drawHypergeometric draws the number of good ones among n taken from good and bad ones.
func drawHypergeometric(rng *rand.Rand, good, bad, n float64) float64 {
	// By symmetry, the smaller kind and the smaller share are drawn.
	if good > bad {
		return n - drawHypergeometric(rng, bad, good, n)
	}
	all := good + bad
	if n > all-n {
		return good - drawHypergeometric(rng, good, bad, all-n)
	}
	if n == 0 || good == 0 {
		return 0
	}
	mean := n * (good / all)
	if mean < 10 {
		return invertHypergeometric(rng, good, bad, n)
	}
	return ratioOfUniforms(rng, good, bad, n, mean)
}

// invertHypergeometric walks up the distribution function from 0, about mean steps.
func invertHypergeometric(rng *rand.Rand, good, bad, n float64) float64 {
	h := newHypergeometric(good, bad, n)
	p := math.Exp(h.logPMF(0)) // n is not above bad: 0 is in the support
	u := rng.Float64()
	k := 0.0
	for u >= p && k < h.high {
		u -= p
		p *= (good - k) / (k + 1) * ((n - k) / (bad - n + k + 1))
		k++
	}
	return k
}

// ratioOfUniforms draws by rejection from the table mountain hat that Stadlober gives for
// the hypergeometric distribution (The ratio of uniforms approach for generating discrete
// random variates, 1990, algorithm HRUA), at a cost that does not depend on the counts.
func ratioOfUniforms(rng *rand.Rand, good, bad, n, mean float64) float64 {
	all := good + bad
	variance := (all - n) / (all - 1) * mean * (bad / all)
	width := 2*math.Sqrt(2/math.E)*math.Sqrt(variance+0.5) + 3 - 2*math.Sqrt(3/math.E)
	h := newHypergeometric(good, bad, n)
	peak := h.logPMF(h.mode())
	for {
		u, v := 1-rng.Float64(), rng.Float64()
		k := math.Floor(mean + 0.5 + width*(v-0.5)/u)
		if k < 0 || k > h.high {
			continue
		}
		// Accepted where u² is at most the probability in units of the mode's.
		if 2*math.Log(u) <= h.logPMF(k)-peak {
			return k
		}
	}
}
