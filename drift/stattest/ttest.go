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
