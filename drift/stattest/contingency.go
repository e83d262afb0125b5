package stattest

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// homogeneity sums f over the cells that are not empty on both sides, times the rows of both
// sides, and makes it the statistic of a test with the chi-square distribution; f is given
// the cell's shares of both sides, their difference d = q-p, and w and u, the shares of the
// reference and the current data of all rows. The effect
// size is the association of the table of shares: sqrt(Σ (p-q)²/(p+q) / 2), from 0 for equal to
// 1 for disjoint. It is Cramér's V where both sides have as many rows, and not the V of
// textbooks, of the table of counts, elsewhere: that shrinks with the reference's multiple of
// the current rows, and this one does not, since both sides weigh the same.
func homogeneity(test string, reference, current []float64, f func(p, q, d, w, u float64) float64) (Result, error) {
	nr, nc, err := totals(test, reference, current)
	if err != nil {
		return Result{}, err
	}
	w, u := 1/(1+nc/nr), 1/(1+nr/nc) // u is not 1-w, which may have lost its digits
	df := -1
	sum, v := 0.0, 0.0
	for i := range reference {
		if reference[i]+current[i] == 0 {
			continue
		}
		df++
		p, q := reference[i]/nr, current[i]/nc
		if d := shareDifference(reference[i], nr, current[i], nc); d != 0 && p+q > 0 {
			sum += f(p, q, d, w, u)
			v += d / (p + q) * d
		}
	}
	statistic, effect := sum*nr+sum*nc, min(math.Sqrt(v/2), 1)
	if math.IsNaN(statistic) || math.IsInf(statistic, 0) {
		return Result{}, fmt.Errorf("%s: the statistic is %v: %v and %v rows are too many for float64", test, statistic, nr, nc)
	}
	p := chiSquareTail(df, statistic)
	return Result{Score: statistic, PValue: &p, EffectSize: &effect, Method: methodAsymptotic}, nil
}

// Methods of finding a p-value.
const (
	methodExact       = "exact"
	methodAsymptotic  = "asymptotic"
	methodPermutation = "permutation"
	methodTies        = "moments with ties"
)

// chiSquareTail is P(X >= x) for the chi-square distribution; 1 for a single cell, which
// leaves nothing to test.
func chiSquareTail(df int, x float64) float64 {
	if df <= 0 {
		return 1
	}
	return chiSquareUpper(float64(df), x)
}

func chiSquareUpper(freedom, x float64) float64 {
	if x <= 0 {
		return 1
	}
	return distuv.ChiSquared{K: freedom}.Survival(x)
}

// ChiSquare is Pearson's chi-square test of whether both sides share one distribution over
// the cells, without continuity correction (scipy.stats.chi2_contingency, correction=False).
// Cells empty on both sides are left out; a single cell gives statistic 0 and p-value 1.
//
// Evidently takes the reference's shares for the exact expectation of the current data
// (ChiSquareFit). That has no sound p-value: the reference is a sample itself, so with
// sides of the same size the statistic is twice what it should be when nothing has drifted,
// and a category that is new makes it infinite.
func ChiSquare(reference, current []float64) (Result, error) {
	return homogeneity("chisquare", reference, current, func(p, q, d, w, u float64) float64 {
		return w * u * d * (d / (w*p + u*q))
	})
}

// GTest is the likelihood-ratio test of whether both sides share one distribution over the
// cells (scipy.stats.chi2_contingency, correction=False, lambda_="log-likelihood").
// Evidently's g_test takes the reference's counts for exact expectations, as its chisquare
// does, and only sides of the same size can be compared so.
func GTest(reference, current []float64) (Result, error) {
	return homogeneity("g_test", reference, current, func(p, q, d, w, u float64) float64 {
		m := w*p + u*q
		return 2 * (w*relativeEntropy(p, m, u*d) + u*relativeEntropy(q, m, -w*d))
	})
}

// fit checks observed and expected counts, of which both must have the same total to 1e-8
// (as SciPy demands).
func fit(test string, observed, expected []float64) error {
	no, ne, err := totals(test, expected, observed)
	if err != nil {
		return err
	}
	if math.Abs(no-ne) > 1e-8*min(no, ne) {
		return fmt.Errorf("%s: %v rows expected and %v observed, must be as many", test, no, ne)
	}
	for i, e := range expected {
		if e == 0 {
			return fmt.Errorf("%s: cell %d is expected to be empty, which no statistic can judge (observed %v)", test, i, observed[i])
		}
	}
	return nil
}

// ChiSquareFit is Pearson's chi-square test of counts against exact expectations
// (scipy.stats.chisquare). See ChiSquare for why a reference sample is none.
func ChiSquareFit(observed, expected []float64) (Result, error) {
	if err := fit("chisquare fit", observed, expected); err != nil {
		return Result{}, err
	}
	sum := 0.0
	for i, e := range expected {
		d := observed[i] - e
		sum += d * (d / e)
	}
	return fitted("chisquare fit", sum, len(expected)-1)
}

// GTestFit is the likelihood-ratio test of counts against exact expectations
// (scipy.stats.power_divergence, lambda_="log-likelihood").
func GTestFit(observed, expected []float64) (Result, error) {
	if err := fit("g_test fit", observed, expected); err != nil {
		return Result{}, err
	}
	sum := 0.0
	for i, e := range expected {
		d := e - observed[i]
		sum += relativeEntropy(observed[i], e, d) - d // Σ d is nearly 0
	}
	return fitted("g_test fit", 2*sum, len(expected)-1)
}

func fitted(test string, statistic float64, df int) (Result, error) {
	if math.IsInf(statistic, 0) || math.IsNaN(statistic) {
		return Result{}, fmt.Errorf("%s: the statistic is %v: the counts are too large for float64", test, statistic)
	}
	p := chiSquareTail(df, statistic)
	return Result{Score: statistic, PValue: &p, Method: methodAsymptotic}, nil
}

// binary returns the two cells that have rows. Where only one has, or none of two cells
// given, the other is the empty neighbour.
func binary(test string, reference, current []float64) (r, c [2]float64, err error) {
	if _, _, err = totals(test, reference, current); err != nil {
		return r, c, err
	}
	if len(reference) == 2 {
		return [2]float64(reference), [2]float64(current), nil
	}
	n := 0
	for i := range reference {
		if reference[i] == 0 && current[i] == 0 {
			continue
		}
		if n < 2 {
			r[n], c[n] = reference[i], current[i]
		}
		n++
	}
	if n > 2 {
		return r, c, fmt.Errorf("%s compares two categories, and %d have rows", test, n)
	}
	return r, c, nil
}

// Z is the two-sided z-test of two proportions with a pooled variance (statsmodels'
// proportions_ztest). The proportion is that of the second of two cells, the reference's
// less the current one's, as in Evidently; the sign of the score says which is greater. The
// effect size is Cohen's h, with the same sign (Statistical Power Analysis, 1988, 6.2). With a
// single category there is no difference: score 0, p-value 1. More than two are an error,
// where Evidently merges all but the first.
func Z(reference, current []float64) (Result, error) {
	r, c, err := binary("z", reference, current)
	if err != nil {
		return Result{}, err
	}
	nr, nc := r[0]+r[1], c[0]+c[1]
	z, h, p := 0.0, cohenH(r, c), 1.0
	if d := shareDifference(c[1], nc, r[1], nr); d != 0 {
		n := nr + nc
		z = d / math.Sqrt((r[0]+c[0])/n*((r[1]+c[1])/n)*(1/nr+1/nc))
		p = math.Erfc(math.Abs(z) / math.Sqrt2)
	}
	if math.IsNaN(z) || math.IsInf(z, 0) {
		return Result{}, fmt.Errorf("z: the statistic is %v: %v and %v rows are too many for float64", z, nr, nc)
	}
	return Result{Score: z, PValue: &p, EffectSize: &h, Method: methodAsymptotic}, nil
}

// cohenH is 2·asin(sqrt(p)) - 2·asin(sqrt(q)) of the second cell's shares, from -π to π, as the
// arc tangent of the difference, so that no digits are lost where p is near q.
func cohenH(r, c [2]float64) float64 {
	nr, nc := r[0]+r[1], c[0]+c[1]
	d := shareDifference(c[1], nc, r[1], nr)
	if d == 0 {
		return 0
	}
	root := func(a, na, b, nb float64) float64 { return math.Sqrt(a/na) * math.Sqrt(b/nb) }
	return 2 * math.Atan2(
		d/(root(r[1], nr, c[0], nc)+root(r[0], nr, c[1], nc)),
		root(r[0], nr, c[0], nc)+root(r[1], nr, c[1], nc),
	)
}
