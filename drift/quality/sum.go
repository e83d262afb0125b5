package quality

import "math"

// sum is a sum in double-double arithmetic (Dekker 1971; about 106 bits): so a sum of
// squares may lose the square of the mean without losing the variance, and neither the
// order of rows nor the merging of parts moves the last digit of a figure.
// A sum that leaves the range of float64 is NaN.
type sum struct{ hi, lo float64 }

func (s *sum) add(x float64) {
	t, e := twoSum(s.hi, x)
	s.hi, s.lo = fastTwoSum(t, s.lo+e)
}

// addProduct adds x·y, exact to the last bit of the product.
func (s *sum) addProduct(x, y float64) {
	p := x * y
	s.merge(sum{p, math.FMA(x, y, -p)})
}

// addSquare adds w·x².
func (s *sum) addSquare(w, x float64) {
	p := x * x
	e := math.FMA(x, x, -p)
	q := w * p
	s.merge(sum{q, math.FMA(w, p, -q) + w*e})
}

func (s *sum) merge(o sum) {
	t, e := twoSum(s.hi, o.hi)
	l, f := twoSum(s.lo, o.lo)
	t, e = fastTwoSum(t, e+l)
	s.hi, s.lo = fastTwoSum(t, e+f)
}

func (s *sum) subtract(o sum) { s.merge(sum{-o.hi, -o.lo}) }

func (s *sum) value() float64 { return s.hi + s.lo }

// minus returns s - o, both in full precision.
func (s *sum) minus(o sum) float64 {
	d := *s
	d.merge(sum{-o.hi, -o.lo})
	return d.value()
}

// square returns s².
func (s *sum) square() sum {
	p := s.hi * s.hi
	e := math.FMA(s.hi, s.hi, -p) + 2*s.hi*s.lo
	var q sum
	q.hi, q.lo = fastTwoSum(p, e)
	return q
}

// times returns s·o.
func (s *sum) times(o sum) sum {
	p := s.hi * o.hi
	e := math.FMA(s.hi, o.hi, -p) + (s.hi*o.lo + s.lo*o.hi)
	var q sum
	q.hi, q.lo = fastTwoSum(p, e)
	return q
}

// twoSum returns a+b and its rounding error (Knuth).
func twoSum(a, b float64) (s, e float64) {
	s = a + b
	z := s - a
	return s, (a - (s - z)) + (b - z)
}

// fastTwoSum is twoSum for |a| ≥ |b|.
func fastTwoSum(a, b float64) (s, e float64) {
	s = a + b
	return s, b - (s - a)
}
