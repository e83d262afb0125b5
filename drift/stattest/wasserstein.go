package stattest

import "math"

// wassersteinMinimum is the smallest standard deviation that Evidently divides by.
const wassersteinMinimum = 0.001

// Wasserstein is the first Wasserstein distance (WassersteinRaw) divided by the population
// standard deviation of the reference, or by 0.001 where that is smaller, as Evidently has it.
func Wasserstein(reference, current Sample) (Result, error) {
	const name = "wasserstein"
	if err := needFinite(name, reference, current); err != nil {
		return Result{}, err
	}
	reference, current, exponent := scaled(reference, current)
	_, variance := meanVariance(reference, 0)
	score := wasserstein(reference, current) /
		max(math.Sqrt(variance), math.Ldexp(wassersteinMinimum, -exponent))
	return Result{Score: score}, finite(name, score)
}

// WassersteinRaw is the first Wasserstein distance, ∫|F-G| of the two empirical distribution
// functions, in the unit of the values (SciPy's wasserstein_distance). Weights need not be
// whole.
func WassersteinRaw(reference, current Sample) (Result, error) {
	const name = "wasserstein_raw"
	if err := needFinite(name, reference, current); err != nil {
		return Result{}, err
	}
	reference, current, exponent := scaled(reference, current)
	score := math.Ldexp(wasserstein(reference, current), exponent)
	return Result{Score: score}, finite(name, score)
}

// EffectUnit is what a test's distance of values is divided by to be an effect, so that the unit of
// the values does not matter: of wasserstein_raw the reference's population standard deviation, or
// 0.001 where that is smaller, as wasserstein is divided by; of ed, which is in the root of the
// values' unit, the root of it. For other tests it is 1, as it is where it would not be a number.
func EffectUnit(test string, reference Sample) float64 {
	if test != "wasserstein_raw" && test != "ed" || len(reference.Values) == 0 {
		return 1
	}
	scaledReference, _, exponent := scaled(reference, reference)
	_, variance := meanVariance(scaledReference, 0)
	unit := max(math.Ldexp(math.Sqrt(variance), exponent), wassersteinMinimum)
	if test == "ed" {
		unit = math.Sqrt(unit)
	}
	if unit-unit != 0 {
		return 1
	}
	return unit
}

func wasserstein(a, b Sample) float64 {
	if a.Weights == nil && b.Weights == nil {
		return wassersteinRows(a.Values, b.Values)
	}
	n, m := a.Rows(), b.Rows()
	var ca, cb, sum float64
	last := min(a.Values[0], b.Values[0])
	distinct(a, b, func(z, wa, wb float64) {
		sum += math.Abs(float64(ca*m)-float64(cb*n)) * (z - last)
		ca, cb, last = ca+wa, cb+wb, z
	})
	return sum / n / m
}

// wassersteinRows is wasserstein of rows, in one pass without a branch that depends on the
// values. It merges from both ends at once: a step of a merge waits for the one before, and
// two merges wait at the same time.
func wassersteinRows(a, b []float64) float64 {
	n, m := len(a), len(b)
	i, j, up, last := 0, 0, 0, min(a[0], b[0])           // up: i·m - j·n, from the lowest on
	k, l, down, next := n-1, m-1, 0, max(a[n-1], b[m-1]) // down: the same from the highest on
	var left, right float64
	for {
		steps := min(((k-i)+(l-j)+2)/2, n-i, m-j, k+1, l+1) // none can leave a or b
		if steps == 0 {
			break
		}
		for range steps {
			x, y := a[i], b[j]
			z := min(x, y)
			left += math.Abs(float64(up)) * (z - last)
			last = z
			var one int
			if x <= y {
				one = 1
			}
			i += one
			j += 1 - one
			up += one*(n+m) - n

			x, y = a[k], b[l]
			z = max(x, y)
			right += math.Abs(float64(down)) * (next - z)
			next = z
			one = 0
			if x > y { // of equals, the one of b comes last
				one = 1
			}
			k -= one
			l -= 1 - one
			down += one*(n+m) - n
		}
	}
	// What is left in the middle: nothing, or one value, or values of one side.
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
		left += math.Abs(float64(up)) * (z - last)
		last = z
		up += change
	}
	left += math.Abs(float64(up)) * (next - last)
	return (left + right) / float64(n) / float64(m)
}
