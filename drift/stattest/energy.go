package stattest

import "math"

// Energy is the energy distance √(2·∫(F-G)²) of the two empirical distribution functions
// (SciPy's energy_distance, Székely and Rizzo). Its unit is the square root of that of the
// values. Weights need not be whole.
func Energy(reference, current Sample) (Result, error) {
	const name = "ed"
	if err := needFinite(name, reference, current); err != nil {
		return Result{}, err
	}
	a, b, exponent := scaled(reference, current)
	n, m := a.Rows(), b.Rows()
	var ca, cb, sum float64
	last := min(a.Values[0], b.Values[0])
	distinct(a, b, func(z, wa, wb float64) {
		gap := (float64(ca*m) - float64(cb*n)) / (n * m)
		sum += gap * gap * (z - last)
		ca, cb, last = ca+wa, cb+wb, z
	})
	if exponent%2 != 0 {
		sum *= 2
		exponent--
	}
	score := math.Ldexp(math.Sqrt(2*sum), exponent/2)
	return Result{Score: score}, finite(name, score)
}
