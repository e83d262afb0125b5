package stattest

import (
	"fmt"
	"math"
)

// cellTests are the tests of cells. The thresholds are Evidently's; that of l_infinity is the
// mark that NannyML's documentation names.
var cellTests = []*Test{
	{Name: "chisquare", Cells: checkedCells(ChiSquare, dealtChiSquare), PValue: true, Threshold: 0.05},
	{Name: "g_test", Cells: checkedCells(GTest, dealtGTest), PValue: true, Threshold: 0.1},
	{Name: "z", Cells: checkedCells(Z, exactZ), PValue: true, Threshold: 0.05},
	{Name: "fisher_exact", Cells: withoutOptions(FisherExact), PValue: true, Threshold: 0.1},
	{Name: "TVD", Cells: TVD, PValue: true, Threshold: 0.1},
	{Name: "l_infinity", Cells: withoutOptions(LInfinity), Threshold: 0.1},
	{Name: "jensenshannon", Cells: withoutOptions(JensenShannon), Binned: true, Threshold: 0.1},
	{Name: "psi", Cells: withoutOptions(PSI), Binned: true, Threshold: 0.1},
	{Name: "kl_div", Cells: withoutOptions(KLDivergence), Binned: true, Threshold: 0.1},
	{Name: "hellinger", Cells: withoutOptions(Hellinger), Binned: true, Threshold: 0.1},
}

func withoutOptions(f func(reference, current []float64) (Result, error)) func(reference, current []float64, o Options) (Result, error) {
	return func(reference, current []float64, _ Options) (Result, error) { return f(reference, current) }
}

// totals returns the rows of both sides, or why their cells cannot be compared.
func totals(test string, reference, current []float64) (r, c float64, err error) {
	if len(reference) != len(current) {
		return 0, 0, fmt.Errorf("%s: the reference has %d cells, the current data %d", test, len(reference), len(current))
	}
	for i := range reference {
		if !(reference[i] >= 0) || !(current[i] >= 0) {
			return 0, 0, fmt.Errorf("%s: cell %d is negative or not a number (reference %v, current %v)", test, i, reference[i], current[i])
		}
		r += reference[i]
		c += current[i]
	}
	switch {
	case math.IsInf(r, 0) || math.IsInf(c, 0):
		return 0, 0, fmt.Errorf("%s: the cells add up to %v and %v rows, which must be finite", test, r, c)
	case r == 0 && c == 0:
		return 0, 0, fmt.Errorf("%s: both sides: %w", test, ErrNoValues)
	case r == 0:
		return 0, 0, fmt.Errorf("%s: reference: %w", test, ErrNoValues)
	case c == 0:
		return 0, 0, fmt.Errorf("%s: current: %w", test, ErrNoValues)
	}
	return r, c, nil
}

// shareDifference is c/nc - r/nr with all its digits: with the shares rounded first, nearly
// equal ones would leave few. By Kahan's difference of products, c·nr - r·nc, which is
// exactly 0 for sides that are multiples of each other.
func shareDifference(r, nr, c, nc float64) float64 {
	product := nr * nc
	if math.IsInf(product, 0) || product < 1e-290 {
		return c/nc - r/nr
	}
	w := r * nc
	return (math.FMA(c, nr, -w) - math.FMA(r, nc, -w)) / product
}

// divergence sums f over the shares p of the reference and q of the current data, and their
// difference d = q-p, of the cells where they differ.
func divergence(test string, reference, current []float64, f func(p, q, d float64) float64) (float64, error) {
	nr, nc, err := totals(test, reference, current)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for i := range reference {
		if d := shareDifference(reference[i], nr, current[i], nc); d != 0 {
			sum += f(reference[i]/nr, current[i]/nc, d)
		}
	}
	return sum, nil
}

// relativeEntropy is p·ln(p/q) - p + q, the term of one cell (scipy.special.kl_div), given d =
// q-p. It is never negative, so that sums of it lose no digits where p is near q: there, with
// x = d/p, it is p·(x - ln(1+x)), and the difference comes from the series of atanh,
// ln(1+x) = 2·atanh(s) with s = x/(2+x).
func relativeEntropy(p, q, d float64) float64 {
	switch {
	case p == 0:
		return q
	case q == 0:
		return math.Inf(1)
	}
	if math.Abs(d) > p/2 {
		return p*logRatio(p, q) + d
	}
	s := d / (p + q)
	sum, power := 0.0, s*s
	for k := 3.0; ; k += 2 {
		next := sum + power/k
		if next == sum {
			break
		}
		sum, power = next, power*s*s
	}
	return s*d - 2*p*s*sum
}

// logRatio is ln(p/q), also where the quotient overflows.
func logRatio(p, q float64) float64 {
	if r := p / q; r > 0 && !math.IsInf(r, 1) {
		return math.Log(r)
	}
	return math.Log(p) - math.Log(q)
}

// JensenShannon is the Jensen–Shannon distance: the square root of the divergence, with
// natural logarithms (scipy.spatial.distance.jensenshannon, base None), from 0 to sqrt(ln 2).
// SciPy's sum cancels where the sides are nearly equal, which leaves it about 1e-8 of noise;
// here it does not.
func JensenShannon(reference, current []float64) (Result, error) {
	sum, err := divergence("jensenshannon", reference, current, func(p, q, d float64) float64 {
		m := p/2 + q/2
		if m == 0 { // both denormal
			return 0
		}
		return relativeEntropy(p, m, d/2) + relativeEntropy(q, m, -d/2)
	})
	return Result{Score: math.Sqrt(min(sum/2, math.Ln2))}, err
}

// Hellinger is the Hellinger distance sqrt(1 - Σ sqrt(p·q)), from 0 to 1, by the form
// sqrt(Σ (sqrt(p)-sqrt(q))²/2) that does not cancel where the sides are nearly equal.
func Hellinger(reference, current []float64) (Result, error) {
	sum, err := divergence("hellinger", reference, current, func(p, q, d float64) float64 {
		roots := math.Sqrt(p) + math.Sqrt(q)
		if roots == 0 { // both denormal
			return 0
		}
		return (d / roots) * (d / roots)
	})
	return Result{Score: min(math.Sqrt(sum/2), 1)}, err
}

// LInfinity is the largest difference of two shares, from 0 to 1 (NannyML's l_infinity).
func LInfinity(reference, current []float64) (Result, error) {
	most := 0.0
	_, err := divergence("l_infinity", reference, current, func(_, _, d float64) float64 {
		most = max(most, math.Abs(d))
		return 0
	})
	return Result{Score: min(most, 1)}, err
}

// Smoothing is added to each cell on both sides by psi and kl_div, so that an empty cell
// does not make them infinite: half a row, the prior of Jeffreys. A cell that is empty on
// both sides is smoothed, too, so leave cells out that cannot have rows.
const Smoothing = 0.5

func smoothed(cells []float64) []float64 {
	out := make([]float64, len(cells))
	for i, n := range cells {
		out[i] = n + Smoothing
	}
	return out
}

// PSI is the population stability index Σ (q-p)·ln(q/p) over cells, with p and q the shares
// of reference and current data after Smoothing. It is 0 for equal shares and has no upper
// bound; 0.1 and 0.25 are the customary marks. It is the symmetrised Kullback–Leibler
// divergence (Jeffreys; Siddiqi, Credit Risk Scorecards, 2006).
func PSI(reference, current []float64) (Result, error) {
	if _, _, err := totals("psi", reference, current); err != nil {
		return Result{}, err
	}
	return PSIOfShares(smoothed(reference), smoothed(current))
}

// PSIOfShares is PSI without smoothing: an error where a cell is empty on one side only.
func PSIOfShares(reference, current []float64) (Result, error) {
	sum, err := divergence("psi", reference, current, psiTerm)
	if err == nil && math.IsInf(sum, 1) {
		return Result{}, emptyCell("psi", reference, current, func(r, c float64) bool { return (r == 0) != (c == 0) })
	}
	return Result{Score: sum}, err
}

func psiTerm(p, q, d float64) float64 {
	switch {
	case p == 0 || q == 0:
		return math.Inf(1)
	case math.Abs(d) < p/2:
		return d * math.Log1p(d/p)
	default:
		return d * logRatio(q, p)
	}
}

// KLDivergence is the Kullback–Leibler divergence Σ p·ln(p/q) of the reference's shares p
// from those of the current data, q, after Smoothing (scipy.stats.entropy of the smoothed
// cells). It is 0 for equal shares, and not symmetric.
func KLDivergence(reference, current []float64) (Result, error) {
	if _, _, err := totals("kl_div", reference, current); err != nil {
		return Result{}, err
	}
	return KLDivergenceOfShares(smoothed(reference), smoothed(current))
}

// KLDivergenceOfShares is KLDivergence without smoothing: an error where the current data
// have no row in a cell of the reference.
func KLDivergenceOfShares(reference, current []float64) (Result, error) {
	sum, err := divergence("kl_div", reference, current, relativeEntropy)
	if err == nil && math.IsInf(sum, 1) {
		return Result{}, emptyCell("kl_div", reference, current, func(r, c float64) bool { return r > 0 && c == 0 })
	}
	return Result{Score: sum}, err
}

// emptyCell returns why a divergence is infinite.
func emptyCell(test string, reference, current []float64, infinite func(r, c float64) bool) error {
	for i := range reference {
		if infinite(reference[i], current[i]) {
			return fmt.Errorf("%s is infinite: cell %d is empty on one side (reference %v, current %v)", test, i, reference[i], current[i])
		}
	}
	return fmt.Errorf("%s: the shares of a cell differ by more than a float64 holds", test)
}

// EvidentlyShares returns the shares of cells as Evidently's get_binned_data prepares them
// for psi and kl_div: on each side, a share of 0 becomes 0.0001, or a millionth of the
// smallest other share where that is 0.0001 at most. They add up to a little more than 1.
func EvidentlyShares(reference, current []float64) (p, q []float64, err error) {
	nr, nc, err := totals("evidently's shares", reference, current)
	if err != nil {
		return nil, nil, err
	}
	fill := func(cells []float64, total float64) []float64 {
		out, least := make([]float64, len(cells)), math.Inf(1)
		for i, n := range cells {
			out[i] = n / total
			if out[i] != 0 {
				least = min(least, out[i])
			}
		}
		value := 0.0001
		if least <= value {
			value = least / 1e6
		}
		for i := range out {
			if out[i] == 0 {
				out[i] = value
			}
		}
		return out
	}
	return fill(reference, nr), fill(current, nc), nil
}

// EvidentlyPSI is psi over EvidentlyShares, which Evidently does not norm again. PSI is
// steadier: here an empty cell costs what the fill says, and that falls a million times as
// soon as another share is small.
func EvidentlyPSI(reference, current []float64) (Result, error) {
	p, q, err := EvidentlyShares(reference, current)
	if err != nil {
		return Result{}, err
	}
	sum := 0.0
	for i := range p {
		sum += psiTerm(p[i], q[i], q[i]-p[i])
	}
	if math.IsInf(sum, 1) { // a millionth of the smallest share is 0
		return Result{}, emptyCell("psi", p, q, func(r, c float64) bool { return (r == 0) != (c == 0) })
	}
	return Result{Score: sum}, nil
}

// EvidentlyKLDivergence is kl_div over EvidentlyShares, normed again as
// scipy.stats.entropy does.
func EvidentlyKLDivergence(reference, current []float64) (Result, error) {
	p, q, err := EvidentlyShares(reference, current)
	if err != nil {
		return Result{}, err
	}
	return KLDivergenceOfShares(p, q)
}
