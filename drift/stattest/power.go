package stattest

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Power says how small an effect a test still finds at the sizes that were compared.
type Power struct {
	mean   float64 // square of the norm where nothing drifted
	bias   float64 // of it that is taken off the effect
	one    float64 // standard deviation of the norm in one direction
	unit   float64 // of the norm
	square bool    // the effect is the square of the norm
	order  *order
	rare   *rare
	limit  func(rate float64) float64 // of the norm; nil: that of a chi-square
	least  float64                    // p-value that the test can give
}

// normalPower is how many standard deviations a figure must lie beyond its limit to pass it
// in 80 % of cases.
const normalPower = 0.8416212335729143

// SmallestEffect returns the smallest effect that is found in 80 % of cases by the rule that
// drift is what has a p-value of at most rate and an effect of at least mark. It takes the
// square of the norm for a non-central chi-square. It is infinite where the test gives no
// p-value of at most rate.
func (p Power) SmallestEffect(rate, mark float64) float64 {
	if rate < p.least {
		return math.Inf(1)
	}
	limit := 0.0
	switch {
	case p.limit != nil:
		limit = p.limit(rate)
	case p.order != nil:
		limit = p.order.limit(p.mean, rate)
	case p.one > 0:
		limit = p.one * math.Sqrt(2*gammaQuantile(p.mean/(p.one*p.one)/2, rate))
	}
	m := mark / p.unit
	if p.square {
		m = math.Sqrt(mark)
	}
	limit = max(limit, math.Hypot(m, math.Sqrt(p.bias))) + normalPower*p.one
	smallest := max(without(limit, math.Sqrt(max(p.mean-p.one*p.one, 0))), m)
	if p.rare != nil {
		rare := p.rare.smallest(rate, m, p)
		if smallest = max(smallest, rare); p.order == nil {
			smallest = rare
		}
	}
	if p.square {
		return smallest * smallest
	}
	return smallest * p.unit
}

// Over returns the power of an effect whose square is that of the norm over so many rows, and
// of which nothing is taken off: Cramér's V of chisquare, over EvenRows.
func (p Power) Over(rows float64) Power {
	p.mean, p.one, p.bias, p.square = p.mean/rows, p.one/math.Sqrt(rows), 0, false
	return p
}

// EvenRows are the rows of two even sides that would show as small a difference of shares as n and
// m rows do. An effect of shares, which does not know how many rows a side has, is chisquare over
// these rows.
func EvenRows(n, m float64) float64 { return 4 / (1/n + 1/m) }

// In returns the power of an effect in another unit, such as the deviation of values.
func (p Power) In(unit float64) Power {
	p.unit /= unit
	return p
}

// PowerOf returns the power of a test with a p-value of its own, for its Effect, by the
// distribution that its statistic has for many rows. cells are those of a test of cells.
// permutations are those that were made, of a test by permutations.
func PowerOf(test *Test, n, m float64, cells, permutations int) Power {
	variance := 1/n + 1/m
	linear := func(variance float64) Power { return Power{mean: variance, one: math.Sqrt(variance), unit: 1} }
	quadratic := func(mean, directions float64) Power {
		return Power{mean: mean, one: math.Sqrt(mean / directions), unit: 1}
	}
	switch test.Name {
	case "ks":
		return Power{
			one: math.Sqrt(variance) / 2, unit: 1,
			limit: func(rate float64) float64 { return math.Sqrt(-math.Log(rate/2) / 2 * variance) },
		}
	case "mannw":
		return linear((n + m + 1) / (3 * n * m))
	case "chisquare", "g_test":
		k := float64(max(cells-1, 1))
		return quadratic(k/EvenRows(n, m), k)
	case "es":
		return quadratic(4/(n+m), 4)
	case "cramer_von_mises": // mean 1/6 and variance 1/45 of the limit (Anderson and Darling 1952)
		return quadratic(variance/6, 2.5)
	case "anderson": // mean 1 and variance 2π²/3 - 6
		p := quadratic(variance, 2/(2*math.Pi*math.Pi/3-6))
		p.least = 0.001
		return p
	case "empirical_mmd": // about, for a kernel as wide as the values are apart
		variance = 1/min(n, mmdRows) + 1/min(m, mmdRows)
		p := quadratic(variance/2, 2.5)
		p.least = 1 / float64(1+permutations)
		return p
	default: // t_test, z and fisher_exact: standardised differences
		return linear(variance)
	}
}

// Effect returns the size of an effect by which a test's result is judged beside its p-value,
// in the unit of a norm: twice the shift is about twice the effect. It is EffectSize, or its
// root where that is a square (anderson, cramer_von_mises), and where there is none the score,
// or its root (empirical_mmd).
func (t *Test) Effect(r Result) float64 {
	switch {
	case t.Name == "anderson" || t.Name == "cramer_von_mises":
		if r.EffectSize != nil {
			return math.Sqrt(max(*r.EffectSize, 0))
		}
	case t.Name == "empirical_mmd":
		return math.Sqrt(max(r.Score, 0))
	case r.EffectSize != nil:
		return *r.EffectSize
	}
	return r.Score
}

// MostEffect is the greatest effect that a test can find: of shares and distribution functions, 1.
func (t *Test) MostEffect() float64 {
	switch t.Name {
	case "ks", "mannw", "chisquare", "g_test", "TVD", "l_infinity", "hellinger":
		return 1
	case "jensenshannon":
		return math.Sqrt(math.Ln2)
	}
	return math.Inf(1)
}

// gammaQuantile returns where the upper tail of Gamma(shape, 1) is p.
func gammaQuantile(shape, p float64) float64 {
	g := distuv.Gamma{Alpha: shape, Beta: 1}
	low, high := 0.0, shape+1
	for g.Survival(high) > p {
		low, high = high, 2*high
	}
	for range 60 {
		if mid := (low + high) / 2; g.Survival(mid) > p {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}
