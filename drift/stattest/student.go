package stattest

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// hillFreedom is the number of degrees of freedom from which on Hill's expansion has all digits
// of a float64. The incomplete beta function loses them with the degrees: at 1e12 four are left.
const hillFreedom = 10_000

// studentTwoSided returns P(|T| >= |t|) of Student's distribution.
func studentTwoSided(freedom, t float64) float64 {
	switch {
	case t == 0:
		return 1
	case freedom < hillFreedom:
		return min(1, mathext.RegIncBeta(freedom/2, 0.5, 1/(1+t/freedom*t)))
	}
	// Hill, Algorithm 395: Student's t-distribution, Comm. ACM 13, 1970.
	a := freedom - 0.5
	b := 48 * a * a
	y := a * math.Log1p(t/freedom*t)
	if y > 1600 {
		return 0 // below e^-800
	}
	z := math.Sqrt(y) * (1 + ((((-0.4*y-3.3)*y-24)*y-85.5)/(0.8*y*y+100+b)+y+3)/b)
	return math.Erfc(z / math.Sqrt2)
}
