package stattest

import "math"

// TTest is Welch's t test, which does not take the variances for equal (SciPy's ttest_ind with
// equal_var=False; Evidently pools them). The score is positive where the mean of the reference
// is the larger one. The effect size is Cohen's d, the difference of the means over the pooled
// standard deviation, with the sign of the score. Weights need not be whole; each side needs at
// least two rows.
//
// SciPy answers NaN or an infinity where both sides are constant. Here the score is then 0,
// with a p-value of 1, for equal constants, and the largest float64 with the sign of the
// difference, with a p-value of 0 and no effect size, for different ones.
//
// Student's distribution is that of means that are nearly normal: with few rows on a side, of
// values that are not, equal distributions look different (30 rows of a lognormal distribution
// against 3,000: in 12 % of cases at 0.05). The test t_test of Lookup therefore permutes rows
// where a side has fewer than 10,000, with the same score: with equal distributions that
// p-value is exact, and with equal means nearly so (Janssen, Studentized permutation tests for
// non-i.i.d. hypotheses, Stat. Probab. Lett. 36, 1997).
func TTest(reference, current Sample) (Result, error) {
	const name = "t_test"
	if err := needFinite(name, reference, current); err != nil {
		return Result{}, err
	}
	n, m := reference.Rows(), current.Rows()
	if err := needRows(name, n, m, 2); err != nil {
		return Result{}, err
	}
	reference, current, _ = scaled(reference, current) // t has no unit
	// Of both sides' values less a common one, so that the means of values with a large
	// offset keep their digits.
	origin := reference.Values[len(reference.Values)/2]
	meanA, varianceA := meanVariance(reference, origin)
	meanB, varianceB := meanVariance(current, origin)
	difference := meanA - meanB
	if varianceA == 0 && varianceB == 0 {
		t, p := 0.0, 1.0
		if difference != 0 {
			t, p = math.Copysign(math.MaxFloat64, difference), 0
			return Result{Score: t, PValue: &p, Method: "asymptotic"}, nil
		}
		zero := 0.0
		return Result{Score: t, PValue: &p, EffectSize: &zero, Method: "asymptotic"}, nil
	}
	a, b := varianceA/(n-1), varianceB/(m-1) // squared standard errors
	t := difference / math.Sqrt(a+b)
	share := a / (a + b)
	freedom := 1 / (share*share/(n-1) + (1-share)*(1-share)/(m-1)) // Welch and Satterthwaite
	p := studentTwoSided(freedom, t)
	d := difference / math.Sqrt((varianceA*n+varianceB*m)/(n+m-2))
	return Result{Score: t, PValue: &p, EffectSize: &d, Method: "asymptotic"}, finite(name, t)
}

// permutedT is the p-value of t² by permutation. Of a deal, sum and squares of the smaller side
// say all: those of both sides together do not change.
func permutedT(reference, current Sample, o Options) (float64, string) {
	if min(reference.Rows(), current.Rows()) >= permutedRows || !integral(reference) || !integral(current) {
		return 0, ""
	}
	reference, current, _ = scaled(reference, current)
	p := pool(reference, current)
	mean, _ := meanVariance(Sample{Values: p.values, Weights: p.both}, 0)
	var all, allSquares float64
	for g, n := range p.both {
		d := p.values[g] - mean
		p.values[g] = d
		all += n * d
		allSquares += n * d * d
	}
	var sum, squares float64
	take := func(group int, n float64) {
		d := p.values[group]
		sum += n * d
		squares += n * d * d
	}
	rounding := 1e-12 * allSquares / (p.n + p.m) // of a row's square
	statistic := func() float64 {
		a, b := sum/p.n, (all-sum)/p.m
		variance := func(squares, mean, n float64) float64 {
			v := squares - n*mean*mean
			if v < n*rounding { // what is left of a constant side
				return 0
			}
			return v / (n - 1) / n
		}
		d := (a - b) * (a - b)
		if d <= 1e-12*rounding {
			return 0
		}
		return d / (variance(squares, a, p.n) + variance(allSquares-squares, b, p.m))
	}
	p.seen(take)
	limit := least(statistic())
	d := p.dealer(o, seedTTest)
	return d.pValue(o, 0, limit, func() float64 {
		sum, squares = 0, 0
		d.deal(take)
		return statistic()
	})
}
