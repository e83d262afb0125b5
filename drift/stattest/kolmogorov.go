package stattest

import "math"

// kolmogorovSurvival returns P(D >= d) for the two-sided one-sample Kolmogorov statistic of
// n values: by the choice of methods of Simard and L'Ecuyer (Computing the two-sided
// Kolmogorov–Smirnov distribution, J. Stat. Soft. 39(11), 2011), as SciPy's kstwo.sf.
func kolmogorovSurvival(n int, d float64) float64 {
	f := float64(n)
	t := f * d
	z2 := t * d
	switch {
	case t <= 0.5:
		return 1
	case d >= 1:
		return 0
	case t <= 1: // Ruben and Gambino
		log, _ := math.Lgamma(f + 1)
		return 1 - math.Exp(log+f*math.Log((2*t-1)/f))
	case t >= f-1:
		return 2 * math.Exp(f*math.Log1p(-d))
	case d >= 0.5 || z2 >= 4 || n > 140 && z2 >= 2.2:
		// The paths that leave on both sides have no weight left; exact for d >= 1/2.
		return min(2*smirnovOneSided(n, d), 1)
	case n <= 140 || n <= 100_000 && f*math.Pow(d, 1.5) <= 1.4 && t <= 12:
		return max(1-durbin(n, d), 0)
	default:
		return min(max(1-pelzGood(f, d), 0), 1)
	}
}

// smirnovOneSided returns P(D+ >= d) for n values.
func smirnovOneSided(n int, d float64) float64 {
	if n <= 40000 {
		return birnbaumTingey(n, d, 1)
	}
	// In a large sample the terms are a smooth function of j that vanishes, with all its
	// derivatives, towards both ends: for such a function the trapezoidal rule with thousands
	// of points is exact to rounding.
	return birnbaumTingey(n, d, n/8192)
}

// birnbaumTingey is the sum of Birnbaum and Tingey (One-sided confidence contours for
// probability distribution functions, Ann. Math. Stat. 22, 1951),
//
//	d · Σ C(n,j) (d+j/n)^(j-1) (1-d-j/n)^(n-j),  j = 0 ... n(1-d),
//
// or stride times that of every stride-th term. The terms are binomial probabilities
// b(j; n, d+j/n)·d/(d+j/n), each taken by Loader's saddle-point expansion, so that no digits
// are lost to large logarithms.
func birnbaumTingey(n int, d float64, stride int) float64 {
	f := float64(n)
	first := math.Exp(f * math.Log1p(-d)) // j = 0
	last := min(int(math.Floor(f*(1-d))), n-1)
	sum := 0.0
	for j := stride; j <= last; j += stride {
		k := float64(j)
		e := stirlingError(f) - stirlingError(k) - stirlingError(f-k) -
			deviance(k, k+f*d) - deviance(f-k, max(f*(1-d)-k, 0))
		sum += math.Exp(e) / math.Sqrt(2*math.Pi*k*((f-k)/f)) * (d / (d + k/f))
	}
	return first + sum*float64(stride)
}

// deviance is Loader's bd0, x·log(x/m) + m - x, precise where x is near m.
func deviance(x, m float64) float64 {
	if m == 0 {
		return math.Inf(1)
	}
	v := (x - m) / (x + m)
	if math.Abs(v) < 0.1 {
		// x·log(x/m) = 2x(v + v³/3 + v⁵/5 + ...), and m - x + 2xv = v(x-m)
		s := (x - m) * v
		power := 2 * x * v
		for i := 3.0; ; i += 2 {
			power *= v * v
			next := s + power/i
			if next == s {
				return s
			}
			s = next
		}
	}
	return x*math.Log(x/m) + m - x
}

// stirlingError is log n! less Stirling's formula for it, for n from 1.
func stirlingError(n float64) float64 {
	if n < 16 {
		log, _ := math.Lgamma(n + 1)
		return log - (n+0.5)*math.Log(n) + n - 0.5*math.Log(2*math.Pi)
	}
	r := 1 / (n * n)
	return (1.0/12 - (1.0/360-(1.0/1260-(1.0/1680-1.0/1188*r)*r)*r)*r) / n
}

// durbin returns P(D < d) by Durbin's matrix (Marsaglia, Tsang and Wang, Evaluating
// Kolmogorov's distribution, J. Stat. Soft. 8(18), 2003).
func durbin(n int, d float64) float64 {
	t := float64(n) * d
	k := int(math.Ceil(t))
	h := float64(k) - t
	m := 2*k - 1
	factorial := make([]float64, m+1) // reciprocal
	factorial[0] = 1
	for i := 1; i <= m; i++ {
		factorial[i] = factorial[i-1] / float64(i)
	}
	matrix := make([]float64, m*m)
	for i := range m {
		for j := range min(i+2, m) {
			matrix[i*m+j] = factorial[i-j+1]
		}
	}
	for i := range m {
		matrix[i*m] = (1 - math.Pow(h, float64(i+1))) * factorial[i+1]
		matrix[(m-1)*m+i] = (1 - math.Pow(h, float64(m-i))) * factorial[m-i]
	}
	corner := 1 - 2*math.Pow(h, float64(m))
	if h > 0.5 {
		corner += math.Pow(2*h-1, float64(m))
	}
	matrix[(m-1)*m] = corner * factorial[m]

	// The k-th row of the n-th power, and n!/n^n, taken step by step: each step multiplies by
	// the matrix and by i/n, and the logarithm of what was divided out is kept.
	row, next := make([]float64, m), make([]float64, m)
	row[k-1] = 1
	log := 0.0
	for i := 1; i <= n; i++ {
		top := 0.0
		for j := range m {
			s := 0.0
			for l := max(j-1, 0); l < m; l++ {
				s += row[l] * matrix[l*m+j]
			}
			next[j] = s * (float64(i) / float64(n))
			top = max(top, next[j])
		}
		row, next = next, row
		if top < 1e-100 || top > 1e100 {
			for j := range row {
				row[j] /= top
			}
			log += math.Log(top)
		}
	}
	return math.Exp(math.Log(row[k-1]) + log)
}

// pelzGood returns P(D < d) by the expansion of Pelz and Good (Approximating the lower
// tail-areas of the Kolmogorov–Smirnov one-sample statistic, J. R. Stat. Soc. B 38, 1976).
func pelzGood(n, d float64) float64 {
	z2 := n * d * d
	z := math.Sqrt(z2)
	z4, z6 := z2*z2, z2*z2*z2
	z8 := z4 * z4
	const pi2 = math.Pi * math.Pi
	var k0, k1, k2, k3 float64
	for k := range 20 { // k and -k-1 give the same terms
		a := pi2 * (float64(k) + 0.5) * (float64(k) + 0.5)
		e := 2 * math.Exp(-a/(2*z2))
		k0 += e
		k1 += e * (a - z2)
		k2 += e * (6*z6 + 2*z4 + (2*z4-5*z2)*a + (1-2*z2)*a*a)
		k3 += e * (-30*z6 - 90*z8 + (135*z4-96*z6)*a + (-60*z2+212*z4)*a*a + (5-30*z2)*a*a*a)
	}
	root := math.Sqrt(math.Pi / 2)
	k0 *= root / z
	k1 *= root / (6 * z4)
	k2 *= root / (72 * z6 * z)
	k3 *= root / (6480 * z8 * z2)
	for k := 1; k < 20; k++ {
		a := pi2 * float64(k*k)
		e := 2 * math.Exp(-a/(2*z2))
		k2 -= e * a * root / (36 * z2 * z)
		k3 += e * (3*z2*a - a*a) * root / (216 * z6)
	}
	r := 1 / math.Sqrt(n)
	return k0 + r*(k1+r*(k2+r*k3))
}
