package stattest

import (
	"math"
)

const (
	// permutedRows is the number of rows on the smaller side from which on the central limit
	// theorem may be relied on for values of any distribution. Below it, t_test permutes.
	permutedRows = 10_000

	// permutedCharacteristicRows is the same for es, whose cosines and sines have no tails.
	permutedCharacteristicRows = 3_000

	// effectiveRows is the number of rows on the smaller side, those of the most frequent value
	// not counted, from which on the distribution of a rank statistic with ties is taken from
	// its moments. Below it, mannw, anderson and cramer_von_mises permute.
	effectiveRows = 50

	// permutationHits is the number of deals as extreme as what was seen at which a permutation
	// test ends: the p-value then has a standard error of a seventh of itself.
	permutationHits = 50

	leastPermuted = 199
	mostPermuted  = 9_999
	dealBudget    = 5_000_000 // of all deals of a test, in rows: a twentieth of a second
	groupCost     = 12        // of drawing a group's share, in rows
)

// Streams of the random numbers of a seed, by test.
const (
	seedTTest uint64 = 0x747400 + iota
	seedEppsSingleton
	seedMannWhitney
	seedAnderson
	seedCramer
	seedChiSquare
	seedGTest

	seedNull uint64 = 0x6e756c6c
)

// checkedSamples is a test of values as it judges: that of scipy, SciPy's function, of which
// better replaces the p-value where the approximation behind it does not hold. better returns
// an empty method where it does.
func checkedSamples(
	scipy func(reference, current Sample) (Result, error),
	better func(reference, current Sample, o Options) (p float64, method string),
) func(Sample, Sample, Options) (Result, error) {
	return func(reference, current Sample, o Options) (Result, error) {
		r, err := scipy(reference, current)
		if err == nil && !o.SciPy {
			r.replace(better(reference, current, o))
		}
		return r, err
	}
}

// checkedCells is checkedSamples for tests of cells. Cells that are not whole numbers of rows
// cannot be dealt: they keep SciPy's p-value.
func checkedCells(
	scipy func(reference, current []float64) (Result, error),
	better func(reference, current []float64, o Options) (p float64, method string),
) func([]float64, []float64, Options) (Result, error) {
	return func(reference, current []float64, o Options) (Result, error) {
		r, err := scipy(reference, current)
		if err == nil && !o.SciPy && countable(reference, current) {
			r.replace(better(reference, current, o))
		}
		return r, err
	}
}

func (r *Result) replace(p float64, method string) {
	if method != "" {
		r.SciPyPValue, r.PValue, r.Method = r.PValue, &p, method
	}
}

// newDealer takes the rows of each group, of both sides; they are whole, and few enough to be
// counted. dealt of total are those of the smaller side. Counts are drawn exactly.
func newDealer(groups []float64, dealt, total float64, o Options, stream uint64) *dealer {
	d := &dealer{cells: groups, rows: [2]float64{dealt, total - dealt}, normal: math.Inf(1)}
	d.prepare(o.Seed, stream, groupCost)
	return d
}

// pValue returns the p-value of a permutation test, and how it was found: statistic makes a deal and
// returns its statistic, which is as extreme as what was seen from limit on. each is what it costs
// beside the deal, in rows.
//
// The test ends when permutationHits deals were as extreme: of l deals then, the p-value is
// permutationHits/l, else (1+extreme deals)/(1+deals). Either is no more often below α than α
// says (Besag and Clifford, Sequential Monte Carlo p-values, Biometrika 78, 1991). Where none was as
// extreme, the p-value is the geometric mean of that one and of what the moments of the deals' statistics
// say of so large a one, if that is less: corrections over many columns need p-values that no number of
// deals could give.
func (d *dealer) pValue(o Options, each, limit float64, statistic func() float64) (p float64, method string) {
	deals := o.Permutations
	if deals <= 0 {
		cost := min(d.rows[d.smaller], groupCost*float64(len(d.cells))) + each
		deals = int(min(max(dealBudget/cost, leastPermuted), mostPermuted))
	}
	hits := 0
	var origin, sum, squares, cubes float64 // of statistics less the first
	for k := 1; k <= deals; k++ {
		x := statistic()
		if x >= limit {
			if hits++; hits == permutationHits {
				return float64(hits) / float64(k), methodPermutation
			}
		}
		if k == 1 {
			origin = x
		}
		off := x - origin
		sum += off
		squares += off * off
		cubes += off * off * off
	}
	p = float64(1+hits) / float64(1+deals)
	if hits > 0 || deals < leastPermuted {
		return p, methodPermutation
	}
	n := float64(deals)
	mean := sum / n
	variance := squares/n - mean*mean
	skewness := (cubes/n - 3*mean*squares/n + 2*mean*mean*mean) / (variance * math.Sqrt(variance))
	tail := momentsUpper((limit-origin-mean)/math.Sqrt(variance), skewness)
	if tail < p { // false for NaN
		// Half way in powers of ten: three moments say little of a tail that is longer than theirs.
		return max(math.Sqrt(p)*math.Sqrt(tail), oneDeal(d.rows[0], d.rows[1])), methodPermutation + ", tail by moments"
	}
	return p, methodPermutation
}

// oneDeal is the part of all deals of n and m rows that one deal is: no p-value is less.
func oneDeal(n, m float64) float64 {
	log := func(x float64) float64 { l, _ := math.Lgamma(x + 1); return l }
	return math.Exp(log(n) + log(m) - log(n+m))
}

// momentsUpper is P(X >= z) of a value of mean 0, variance 1 and the given skewness, taken for that of
// the chi-square distribution, moved and stretched, which has these (Pearson, Note on an approximation
// to the distribution of non-central χ², Biometrika 46, 1959); for the normal one where it is not skewed
// to the right.
func momentsUpper(z, skewness float64) float64 {
	if skewness < 0.01 {
		return math.Erfc(z/math.Sqrt2) / 2
	}
	freedom := 8 / (skewness * skewness)
	return chiSquareUpper(freedom, freedom+z*math.Sqrt(2*freedom))
}

// pooled are the distinct values of both sides and their rows: of the smaller side, which is
// the reference where both are as large, and of both.
type pooled struct {
	values, smaller, both []float64
	n, m                  float64 // rows of the smaller and of the larger side
}

func pool(reference, current Sample) pooled {
	p := pooled{n: reference.Rows(), m: current.Rows()}
	if p.n > p.m {
		p.n, p.m, reference, current = p.m, p.n, current, reference
	}
	distinct(reference, current, func(z, wa, wb float64) {
		p.values, p.smaller, p.both = append(p.values, z), append(p.smaller, wa), append(p.both, wa+wb)
	})
	return p
}

// ties says whether any value has more than one row, and returns the rows of the smaller side
// that can be expected not to have the most frequent value.
func (p *pooled) ties() (any bool, effective float64) {
	most := 0.0
	for _, t := range p.both {
		most = max(most, t)
	}
	return most > 1, p.n * (1 - most/(p.n+p.m))
}

func (p *pooled) dealer(o Options, stream uint64) *dealer {
	return newDealer(p.both, p.n, p.n+p.m, o, stream)
}

// seen calls take with the groups of the smaller side's rows, as dealer.deal does.
func (p *pooled) seen(take func(group int, rows float64)) {
	for g, n := range p.smaller {
		if n > 0 {
			take(g, n)
		}
	}
}

// least is what a statistic must reach to be as extreme as the one seen, which is at least 0:
// rounding does not part what is equal.
func least(seen float64) float64 { return seen * (1 - 1e-9) }
