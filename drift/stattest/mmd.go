package stattest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

const (
	mmdRows         = 1000 // of a side that are compared, at most
	mmdPermutations = 100  // by default, as Evidently
)

// EmpiricalMMD is the permutation test of the maximum mean discrepancy of Gretton et al. (A
// kernel two-sample test, J. Mach. Learn. Res. 13, 2012): the score is the unbiased estimate
// of MMD², which can be below 0, with the kernel exp(-d²/median), where median is that of the
// squared distances of the reference's rows to each other and to themselves (1 where it is
// 0), as Evidently has it. So it is not symmetric.
//
// The p-value is (1+c)/(1+permutations), where c permutations of the rows reached the sides' own
// estimate: it is never 0 (SciPy's permutation_test; Evidently's is c/permutations). Its kernel has the
// median of both sides' rows, which a permutation leaves as it is. With the reference's, as Evidently
// has it, the sides are not a permutation like others: of 3 rows of a lognormal distribution against 30,
// 13 % of p-values are below 0.1. A side of more than 1,000 rows is represented by 1,000 of them,
// drawn by the seed; Method says so. Weights must be whole; each side needs at least two rows.
func EmpiricalMMD(reference, current Sample, o Options) (Result, error) {
	const name = "empirical_mmd"
	if err := needFinite(name, reference, current); err != nil {
		return Result{}, err
	}
	if err := needCounts(name, reference, current, 2); err != nil {
		return Result{}, err
	}
	permutations := o.Permutations
	if permutations <= 0 {
		permutations = mmdPermutations
	}
	method := "permutation"
	reference, current, exponent := scaled(reference, current)
	random := rand.New(rand.NewPCG(o.Seed, 0x6d6d64)) //nolint:gosec // repeatable by its seed
	x, y := draw(reference, random), draw(current, random)
	if len(x) < int(reference.Rows()) || len(y) < int(current.Rows()) {
		method = fmt.Sprintf("permutation, of %d and %d rows drawn", len(x), len(y))
	}

	rate := func(rows []float64) float64 {
		r := 1 / mmdMedian(rows)
		if math.IsInf(r, 0) {
			r = math.Ldexp(1, min(2*exponent, 1023)) // a kernel of width 1 before scaling; finite, for 0·∞ is NaN
		}
		return r
	}
	score, _ := mmdPermute(x, y, rate(x), 0, random)
	_, reached := mmdPermute(x, y, rate(slices.Concat(x, y)), permutations, random)
	p := float64(1+reached) / float64(1+permutations)
	return Result{Score: score, PValue: &p, Method: method}, finite(name, score)
}

// draw returns the rows of a sample in ascending order, or mmdRows of them without
// replacement.
func draw(s Sample, random *rand.Rand) []float64 {
	n := int(s.Rows())
	chosen := make([]int, 0, mmdRows)
	if n <= mmdRows {
		for i := range n {
			chosen = append(chosen, i)
		}
	} else { // Floyd's sampling
		taken := make(map[int]bool, mmdRows)
		for i := n - mmdRows; i < n; i++ {
			k := random.IntN(i + 1)
			if taken[k] {
				k = i
			}
			taken[k] = true
			chosen = append(chosen, k)
		}
		slices.Sort(chosen)
	}
	out := make([]float64, len(chosen))
	at, end := -1, 0.0 // the rows before end have values up to the one at
	for i, k := range chosen {
		for float64(k) >= end {
			at++
			if s.Weights == nil {
				end++
			} else {
				end += s.Weights[at]
			}
		}
		out[i] = s.Values[at]
	}
	return out
}

// mmdMedian returns the median of the squared distances of all n² pairs of x: of the two in
// the middle of an even number the one at the even position (NumPy's percentile "nearest").
func mmdMedian(x []float64) float64 {
	n := len(x)
	position := int(math.RoundToEven(float64(n*n-1) / 2))
	// n pairs are of a row with itself, and any other distance is there twice.
	if position < n {
		return 0
	}
	distances := make([]float64, 0, n*(n-1)/2)
	for i, a := range x {
		for _, b := range x[i+1:] {
			distances = append(distances, (b-a)*(b-a))
		}
	}
	SortFloats(distances, nil)
	return distances[(position-n)/2]
}

// mmdPermute returns the estimate of MMD² and how many permutations reach it.
func mmdPermute(x, y []float64, rate float64, permutations int, random *rand.Rand) (score float64, reached int) {
	z := slices.Concat(x, y)
	n, m := len(x), len(y)
	total := n + m
	// kernel[i][j-i-1] is that of the rows i < j; sums are the rows' sums over all others.
	kernel, sums := make([][]float64, total), make([]float64, total)
	all := make([]float64, total*(total-1)/2)
	whole := 0.0
	for i := range z {
		kernel[i], all = all[:total-i-1], all[total-i-1:]
		for k, b := range z[i+1:] {
			d := b - z[i]
			v := math.Exp(-d * d * rate)
			kernel[i][k] = v
			sums[i] += v
			sums[i+1+k] += v
		}
	}
	for _, s := range sums {
		whole += s
	}
	// estimate is MMD² of the rows in side (ascending) against all others.
	estimate := func(side []int32) float64 {
		within, rows := 0.0, 0.0
		for k, i := range side {
			row, sum := kernel[i], 0.0
			for _, j := range side[k+1:] {
				sum += row[j-i-1]
			}
			within += 2 * sum
			rows += sums[i]
		}
		between := rows - within
		others := whole - within - 2*between
		fn, fm := float64(n), float64(m)
		return within/(fn*(fn-1)) + others/(fm*(fm-1)) - 2*between/(fn*fm)
	}
	order, side := make([]int32, total), make([]int32, n)
	for i := range order {
		order[i] = int32(i)
	}
	copy(side, order)
	score = estimate(side)
	for range permutations {
		random.Shuffle(total, func(i, j int) { order[i], order[j] = order[j], order[i] })
		copy(side, order)
		slices.Sort(side)
		// Rounding must not part a permutation that swaps equals from the score itself.
		if estimate(side) >= score-1e-12 {
			reached++
		}
	}
	return score, reached
}
