package stattest

import "math"

const (
	mannWhitneyExactRows = 8   // of the smaller side, as SciPy's method "auto" has it
	mannWhitneyExactU    = 1e7 // the largest U whose frequencies are counted
	sqrt2                = math.Sqrt2
)

// MannWhitney is the Mann–Whitney U test, two-sided: the score is U of the reference, the
// number of pairs in which its value is the larger one, an equal pair being half of one.
//
// As in SciPy's mannwhitneyu, the p-value is exact where a side has at most 8 rows and no
// values are equal, and else that of the normal approximation, corrected for ties and for
// continuity; so it is, too, for a U above 10,000,000, which SciPy cannot finish. (Evidently
// asks one-sidedly whether the reference is the smaller.) The effect size is the rank-biserial
// correlation 2U/(n·m) - 1: 1 where every value of the reference is above every current one.
//
// Of ties among few rows the normal approximation is rough. The test mannw of Lookup therefore
// permutes rows where fewer than 50 of a side can be expected not to have the most frequent
// value, with the same score.
func MannWhitney(reference, current Sample) (Result, error) {
	if err := needCounts("mannw", reference, current, 1); err != nil {
		return Result{}, err
	}
	n, m := reference.Rows(), current.Rows()
	var u, below, ca, cubes float64
	ties := false
	distinct(reference, current, func(_, wa, wb float64) {
		u += wa * (below - ca + wb/2)
		// Over all, N³ - Σt³ is the sum of what each group of t equals adds, 3·below·t·(below+t):
		// no difference of large numbers where most values are equal.
		t := wa + wb
		cubes += below * t * (below + t)
		ties = ties || t > 1
		below += t
		ca += wa
	})
	least := min(u, n*m-u)
	effect := (2*u - n*m) / (n * m)
	result := Result{Score: u, EffectSize: &effect, Method: "asymptotic"}
	var p float64
	if min(n, m) <= mannWhitneyExactRows && !ties && least <= mannWhitneyExactU {
		p = min(1, 2*mannWhitneyExact(int(min(n, m)), int(max(n, m)), int(least)))
		result.Method = "exact"
	} else {
		// Mann and Whitney 1947; the variance with ties is n·m·(N³-Σt³)/(12·N·(N-1)).
		total := n + m
		deviation := math.Sqrt(n * m / total / (total - 1) * (cubes / 4))
		p = 1 // all values are equal
		if deviation > 0 {
			p = min(1, math.Erfc((n*m/2-least-0.5)/deviation/sqrt2))
		}
	}
	result.PValue = &p
	return result, nil
}

// mannWhitneyExact returns P(U <= u) for n <= m values without ties: the number of partitions
// of 0 ... u into at most n parts of at most m, which are the coefficients of the Gaussian
// binomial Π (1-q^(m+i))/(1-q^i), i = 1 ... n, over C(n+m, n).
func mannWhitneyExact(n, m, u int) float64 {
	ways := make([]float64, u+1)
	ways[0] = 1
	total := 1.0
	for i := 1; i <= n; i++ {
		for k := i; k <= u; k++ {
			ways[k] += ways[k-i]
		}
		for k := u; k >= m+i; k-- {
			ways[k] -= ways[k-m-i]
		}
		total *= float64(m+i) / float64(i)
	}
	sum := 0.0
	for _, w := range ways {
		sum += w
	}
	return sum / total
}

// permutedRanks is the p-value of U by permutation: of the squared distance of the smaller side's sum
// of midranks from its mean.
func permutedRanks(reference, current Sample, o Options) (float64, string) {
	p := pool(reference, current)
	if ties, effective := p.ties(); !ties || effective >= effectiveRows {
		return 0, ""
	}
	below, total := 0.0, p.n+p.m
	ranks := p.values // less the mean; twice
	for g, t := range p.both {
		ranks[g] = 2*below + t - total
		below += t
	}
	var sum float64
	take := func(group int, n float64) { sum += n * ranks[group] }
	p.seen(take)
	limit := least(sum * sum)
	d := p.dealer(o, seedMannWhitney)
	return d.pValue(o, 0, limit, func() float64 {
		sum = 0
		d.deal(take)
		return sum * sum
	})
}
