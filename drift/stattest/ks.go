package stattest

import "math"

// ksExactRows is the number of rows on the larger side up to which SciPy's method "auto"
// finds the p-value of the exact distribution.
const ksExactRows = 10000

// KS is the two-sample Kolmogorov–Smirnov test, two-sided: the score is the largest distance
// D between the two empirical distribution functions. It is an effect size by itself.
//
// As in SciPy's ks_2samp, the p-value is that of the exact distribution of D for samples
// without ties (conservative with ties) where neither side has more than 10,000 rows, and
// else that of the one-sample statistic for n·m/(n+m) rows, rounded. Weights that are not whole
// numbers have the latter.
func KS(reference, current Sample) (Result, error) {
	if err := needValues("ks", reference, current); err != nil {
		return Result{}, err
	}
	n, m := reference.Rows(), current.Rows()
	var gap float64 // D·n·m, exact for whole weights: a product of counts is below 2^53
	if reference.Weights == nil && current.Weights == nil {
		gap = float64(ksGap(reference.Values, current.Values))
	} else {
		var a, b float64
		distinct(reference, current, func(_, wa, wb float64) {
			a, b = a+wa, b+wb
			gap = max(gap, math.Abs(float64(a*m)-float64(b*n)))
		})
	}
	d := min(gap/(n*m), 1)
	if max(n, m) <= ksExactRows && integral(reference) && integral(current) {
		p := smirnovExact(int(n), int(m), int(gap))
		return Result{Score: d, PValue: &p, Method: "exact"}, nil
	}
	p := kolmogorovSurvival(int(max(1, math.RoundToEven(n*m/(n+m)))), d)
	return Result{Score: d, PValue: &p, Method: "asymptotic"}, nil
}

// ksGap returns max |A·m - B·n| over the values, where A of the n values of a and B of the m
// values of b are not above it. It merges from both ends, as wassersteinRows does.
func ksGap(a, b []float64) int {
	n, m := len(a), len(b)
	// A difference counts between two values that differ: the one up to last is known to
	// once a larger value is seen, the one from next on once a smaller one is.
	i, j, up, last := 0, 0, 0, math.Inf(-1)
	k, l, down, next := n-1, m-1, 0, math.Inf(1)
	gap, gapDown := 0, 0
	for {
		steps := min(((k-i)+(l-j)+2)/2, n-i, m-j, k+1, l+1) // none can leave a or b
		if steps == 0 {
			break
		}
		for range steps {
			x, y := a[i], b[j]
			if z := min(x, y); z != last {
				gap = max(gap, up, -up)
				last = z
			}
			var one int
			if x <= y {
				one = 1
			}
			i += one
			j += 1 - one
			up += one*(n+m) - n

			x, y = a[k], b[l]
			if z := max(x, y); z != next {
				gapDown = max(gapDown, down, -down)
				next = z
			}
			one = 0
			if x > y { // of equals, the one of b comes last
				one = 1
			}
			k -= one
			l -= 1 - one
			down += one*(n+m) - n
		}
	}
	gap = max(gap, gapDown)
	for i <= k || j <= l {
		var z float64
		var change int
		if j > l || i <= k && a[i] <= b[j] {
			z, change = a[i], m
			i++
		} else {
			z, change = b[j], -n
			j++
		}
		if z != last {
			gap = max(gap, up, -up)
			last = z
		}
		up += change
	}
	if last != next {
		gap = max(gap, up, -up)
	}
	return gap
}

// smirnovExact returns P(D >= gap/(n·m)) for samples of n and m values without ties.
func smirnovExact(n, m, gap int) float64 {
	if gap == 0 {
		return 1
	}
	// P <= C·exp(-2·d²·nm/(n+m)) with a small C (Wei and Dudley, Two-sample
	// Dvoretzky–Kiefer–Wolfowitz inequalities, Stat. Probab. Lett. 82, 2012): no float64
	// is as small, by a factor of e^750.
	if fn, fm := float64(n), float64(m); 2*float64(gap)/fn*float64(gap)/fm/(fn+fm) > 1500 {
		return 0
	}
	g := gcd(n, m)
	h := gap / g // D = h/lcm(n, m)
	if n == m {
		return smirnovSquare(n, h)
	}
	n, m = min(n, m), max(n, m)
	ng, mg := n/g, m/g

	// A path of n+m steps from (0, 0) to (m, n) stands for each order of the values. out[y]
	// is the share of the paths to (x, y) that met |x·ng - y·mg| >= h; the last step came
	// from (x-1, y) with probability x/(x+y) and from (x, y-1) with y/(x+y). All terms are
	// positive, so small probabilities keep their digits. (The recursion of Hodges 1958 for
	// the complement of the paths inside, as SciPy has it.)
	out := make([]float64, n+1)
	for y := range out {
		if y*mg >= h {
			out[y] = 1
		}
	}
	inverse := make([]float64, n+m+1)
	for k := 1; k <= n+m; k++ {
		inverse[k] = 1 / float64(k)
	}
	for x := 1; x <= m; x++ {
		low, high := 0, min((x*ng+h+mg-1)/mg, n+1) // high: the first y outside
		below := 1.0                               // out of (x, low-1)
		if t := x*ng - h; t >= 0 {
			low = t/mg + 1
		}
		if low == 0 { // out[0] stays: only (x-1, 0) leads there
			below, low = out[0], 1
		}
		fx := float64(x)
		for y := low; y < high; y++ {
			f := inverse[x+y]
			below = out[y]*(fx*f) + below*(float64(y)*f)
			out[y] = below
		}
	}
	return min(out[n], 1)
}

// smirnovSquare is smirnovExact for n = m and D = h/n: by reflection (Gnedenko and Korolyuk
// 1951) 2·(C(2n, n-h) - C(2n, n-2h) + ...)/C(2n, n), as nested products of ratios below 1.
func smirnovSquare(n, h int) float64 {
	p := 0.0
	for k := n / h; k > 0; k-- {
		ratio := 1.0 // C(2n, n-kh)/C(2n, n-(k-1)h)
		for i := (k-1)*h + 1; i <= k*h; i++ {
			ratio *= float64(n-i+1) / float64(n+i)
		}
		p = ratio * (1 - p)
	}
	return min(2*p, 1)
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
