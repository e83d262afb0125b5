package stattest

import "math"

// extremeExponent is the power of two from which on the squares of values, or of their
// differences, could leave the range of float64.
const extremeExponent = 330 // 1e±99

// scaled returns both samples divided by 2^exponent, so that moments of their values neither
// overflow nor vanish. The exponent is 0, and the samples are not copied, unless the largest
// magnitude is extreme.
func scaled(a, b Sample) (sa, sb Sample, exponent int) {
	largest := max(math.Abs(a.Values[0]), math.Abs(a.Values[len(a.Values)-1]),
		math.Abs(b.Values[0]), math.Abs(b.Values[len(b.Values)-1]))
	if largest == 0 {
		return a, b, 0
	}
	_, exponent = math.Frexp(largest)
	if exponent > -extremeExponent && exponent < extremeExponent {
		return a, b, 0
	}
	exponent = min(max(exponent, -1000), 1000) // 2^±1000 are numbers of full precision
	factor := math.Ldexp(1, -exponent)
	by := func(s Sample) Sample {
		values := make([]float64, len(s.Values))
		for i, v := range s.Values {
			values[i] = v * factor
		}
		s.Values = values
		return s
	}
	return by(a), by(b), exponent
}

// meanVariance returns the mean, as its distance from origin, and the population variance of
// finite values.
func meanVariance(s Sample, origin float64) (mean, variance float64) {
	if first := s.Values[0]; first == s.Values[len(s.Values)-1] {
		return first - origin, 0
	}
	n := s.Rows()
	sum, _ := powerSums(s, origin)
	mean = sum / n
	// The second pass corrects the variance by what rounding left of the mean (Chan, Golub
	// and LeVeque 1983); a further one is for offsets so large that this is no small part.
	for range 4 {
		centre := origin + mean
		d, squares := powerSums(s, centre)
		rest := d / n
		variance = max(squares/n-rest*rest, 0)
		mean = (centre - origin) + rest
		if rest*rest <= 0.01*variance {
			break
		}
	}
	return mean, variance
}

// powerSums returns the weighted sums of x-mean and of its square, each in four partial sums:
// they do not wait for each other, and round less.
func powerSums(s Sample, mean float64) (sum, squares float64) {
	var p, q [4]float64
	if s.Weights != nil {
		for i, x := range s.Values {
			d := x - mean
			w := s.Weights[i] * d
			p[i&3] += w
			q[i&3] += w * d
		}
		return (p[0] + p[1]) + (p[2] + p[3]), (q[0] + q[1]) + (q[2] + q[3])
	}
	var p0, p1, p2, p3, q0, q1, q2, q3 float64
	v := s.Values
	for len(v) >= 4 {
		a, b, c, d := v[0]-mean, v[1]-mean, v[2]-mean, v[3]-mean
		p0, p1, p2, p3 = p0+a, p1+b, p2+c, p3+d
		q0, q1, q2, q3 = q0+a*a, q1+b*b, q2+c*c, q3+d*d
		v = v[4:]
	}
	for _, x := range v {
		p0 += x - mean
		q0 += (x - mean) * (x - mean)
	}
	return (p0 + p1) + (p2 + p3), (q0 + q1) + (q2 + q3)
}
