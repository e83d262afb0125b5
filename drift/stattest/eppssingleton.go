package stattest

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

const (
	eppsSingletonRows = 5  // at least, on each side
	eppsSingletonLow  = 25 // rows on both sides below it: the small-sample correction
	// eppsSingletonRank is the part of the largest eigenvalue below which one counts as 0:
	// the precision of a 4×4 matrix, as in SciPy.
	eppsSingletonRank = 4 * 0x1p-52
)

// EppsSingleton is the test of Epps and Singleton (An omnibus test for the two-sample problem
// using the empirical characteristic function, J. Stat. Comput. Simul. 26, 1986): the
// characteristic functions at 0.4 and 0.8 over the semi-interquartile range of all values, the
// score being W, with their correction where both sides have fewer than 25 rows (SciPy's
// epps_singleton_2samp). The p-value is that of chi-square with the rank of the covariance
// matrix as degrees of freedom. The effect size is √(W/N), Cohen's w of a chi-square statistic.
//
// The covariance of few rows is rough, and W with it: 30 rows against 3,000 of one normal distribution
// have a p-value below 0.05 in 44 % of cases. The test es of Lookup permutes rows where a side has
// fewer than 3,000, with the same score.
//
// Weights need not be whole; each side needs five rows. Where the interquartile range is 0, as
// where both sides are constant, the error is ErrConstant: SciPy answers NaN or noise, and
// Evidently raises.
func EppsSingleton(reference, current Sample) (Result, error) {
	const name = "es"
	if err := needFinite(name, reference, current); err != nil {
		return Result{}, err
	}
	n, m := reference.Rows(), current.Rows()
	if err := needRows(name, n, m, eppsSingletonRows); err != nil {
		return Result{}, err
	}
	reference, current, _ = scaled(reference, current) // W has no unit
	total := n + m
	sigma := interquartileRange(reference, current, total) / 2
	rank := eppsSingletonFreedom(reference, current)
	switch {
	case sigma == 0:
		return Result{}, fmt.Errorf("%s: the interquartile range is 0: %w", name, ErrConstant)
	case rank == 0:
		return Result{}, fmt.Errorf("%s: both sides are constant: %w", name, ErrConstant)
	}

	// Each side's moments are found about its own middle, where their digits are, and those
	// of current are then turned to the origin of reference: W does not depend on an origin.
	a, originA := characteristic(reference, n, sigma)
	b, originB := characteristic(current, m, sigma)
	b = b.turned(0.4 / sigma * (originB - originA))
	covariance := mat.NewSymDense(4, nil)
	for i := range 4 {
		for j := i; j < 4; j++ {
			covariance.SetSym(i, j, total/n*a.covariance[i][j]+total/m*b.covariance[i][j])
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(covariance, true) {
		return Result{}, fmt.Errorf("%s: the covariance matrix has no eigenvalues", name)
	}
	values := eigen.Values(nil) // ascending
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	w, freedom := 0.0, 0
	for k := 4 - rank; k < 4; k++ {
		if values[k] <= eppsSingletonRank*values[3] {
			continue
		}
		freedom++
		projection := 0.0
		for i := range 4 {
			projection += vectors.At(i, k) * (a.mean[i] - b.mean[i])
		}
		w += projection * projection / values[k]
	}
	w *= total
	if max(n, m) < eppsSingletonLow {
		w /= 1 + math.Pow(total, -0.45) + 10.1*(math.Pow(n, -1.7)+math.Pow(m, -1.7))
	}
	p, effect := chiSquareSurvival(freedom, w), math.Sqrt(w/total)
	return Result{Score: w, PValue: &p, EffectSize: &effect, Method: "asymptotic"}, finite(name, w)
}

// permutedCharacteristic is the p-value of W by permutation.
func permutedCharacteristic(reference, current Sample, o Options) (float64, string) {
	if min(reference.Rows(), current.Rows()) >= permutedCharacteristicRows || !integral(reference) || !integral(current) {
		return 0, ""
	}
	reference, current, _ = scaled(reference, current)
	p := pool(reference, current)
	total := p.n + p.m
	sigma := interquartileRange(reference, current, total) / 2

	// The cosines and sines of each group, less their means over both sides: sums of them and of
	// their products over the smaller side say all, for those over both do not change.
	origin := p.values[len(p.values)/2]
	points := make([][4]float64, len(p.values))
	var mean [4]float64
	for g, z := range p.values {
		sinHalf, cosHalf := math.Sincos(0.2 / sigma * (z - origin))
		less, sin := -2*sinHalf*sinHalf, 2*sinHalf*cosHalf
		points[g] = [4]float64{less, sin, -2 * sin * sin, 2 * sin * (1 + less)}
		for k, x := range points[g] {
			mean[k] += p.both[g] / total * x
		}
	}
	var all, side sums
	for g := range points {
		for k := range mean {
			points[g][k] -= mean[k]
		}
		all.add(&points[g], p.both[g])
	}
	take := func(group int, n float64) { side.add(&points[group], n) }
	p.seen(take)
	limit := least(side.statistic(&all, p.n, p.m))
	d := p.dealer(o, seedEppsSingleton)
	return d.pValue(o, 3*p.n, limit, func() float64 {
		side = sums{}
		d.deal(take)
		return side.statistic(&all, p.n, p.m)
	})
}

// sums are those of points, and of their products, the lower triangle.
type sums struct {
	first  [4]float64
	second [4][4]float64
}

func (s *sums) add(x *[4]float64, n float64) {
	for i, v := range x {
		nv := n * v
		s.first[i] += nv
		for k := range i + 1 {
			s.second[i][k] += nv * x[k]
		}
	}
}

// statistic is W over the rows of both sides: the difference d of the means in d'·C⁻¹·d, with the
// sum C of the covariances over the rows of their sides. Of the equations with C on the left and d on
// the right it eliminates the largest variance first, and leaves out what others determine but for
// rounding.
func (s *sums) statistic(all *sums, n, m float64) float64 {
	type equation struct {
		left  [4]float64
		right float64
		done  bool
	}
	var system [4]equation
	largest := 0.0
	for i := range system {
		e := &system[i]
		a, b := s.first[i]/n, (all.first[i]-s.first[i])/m
		e.right = a - b
		for k := range system {
			low, high := max(i, k), min(i, k)
			ak, bk := s.first[k]/n, (all.first[k]-s.first[k])/m
			own := s.second[low][high]
			e.left[k] = (own/n-a*ak)/n + ((all.second[low][high]-own)/m-b*bk)/m
		}
		largest = max(largest, all.second[i][i]/(n+m)*(1/n+1/m))
	}
	w := 0.0
	for range system {
		var found *equation
		pivot, variance := 0, 1e-10*largest
		for i := range system {
			if e := &system[i]; !e.done && e.left[i] > variance {
				found, pivot, variance = e, i, e.left[i]
			}
		}
		if found == nil {
			break
		}
		found.done = true
		p := *found
		w += p.right * p.right / variance
		for i := range system {
			e := &system[i]
			f := e.left[pivot] / variance
			for k := range e.left {
				e.left[k] -= f * p.left[k]
			}
			e.right -= f * p.right
		}
	}
	return w
}

// chiSquareSurvival returns the upper tail for 1 to 4 degrees of freedom, in closed form.
func chiSquareSurvival(freedom int, x float64) float64 {
	half := x / 2
	switch freedom {
	case 1:
		return math.Erfc(math.Sqrt(half))
	case 2:
		return math.Exp(-half)
	case 3:
		return math.Erfc(math.Sqrt(half)) + 2*math.Sqrt(half/math.Pi)*math.Exp(-half)
	default:
		return math.Exp(-half) * (1 + half)
	}
}

// interquartileRange returns that of all rows, with linear interpolation between rows. A
// quartile is kept as a row's value and the part of the way to the next, so that a large
// offset does not round it.
func interquartileRange(a, b Sample, total float64) float64 {
	positions := [2]float64{0.25 * (total - 1), 0.75 * (total - 1)}
	var value, part [2]float64
	var seen [2]int
	rows := 0.0
	distinct(a, b, func(z, wa, wb float64) {
		rows += wa + wb // z has the positions below rows
		for i, p := range positions {
			low := math.Floor(p)
			if seen[i] == 0 && rows > low {
				value[i], seen[i] = z, 1
			}
			if seen[i] == 1 && (p == low || rows > low+1) {
				part[i], seen[i] = (p-low)*(z-value[i]), 2
			}
		}
	})
	return (value[1] - value[0]) + (part[1] - part[0])
}

// eppsSingletonFreedom returns the largest rank that the covariance can have, at most 4: d
// distinct values of a side differ in d-1 directions, and so do those of both sides if they
// have one in common. Eigenvalues beyond it are what rounding left.
func eppsSingletonFreedom(a, b Sample) int {
	values, common := 0, 0
	distinct(a, b, func(_, wa, wb float64) {
		values++
		if wa > 0 && wb > 0 {
			common = 1
		}
	})
	return min(4, values-2+common)
}

// characteristicMoments are the mean and the population covariance of the cosines and sines
// of a side's values: cos and sin at 0.4, then at 0.8.
type characteristicMoments struct {
	mean       [4]float64
	covariance [4][4]float64
}

// characteristic returns the moments of the values less an origin, their middle one.
func characteristic(s Sample, rows, sigma float64) (out characteristicMoments, origin float64) {
	origin = s.Values[len(s.Values)/2]
	var products [4][4]float64
	const block = 512 // partial sums: a million terms one by one would round away three digits
	for from := 0; from < len(s.Values); from += block {
		var sum [4]float64
		var product [4][4]float64
		for i := from; i < min(from+block, len(s.Values)); i++ {
			// Cosines less 1, from half the angle: near 1 they would have few digits.
			sinHalf, cosHalf := math.Sincos(0.2 / sigma * (s.Values[i] - origin))
			less, sin := -2*sinHalf*sinHalf, 2*sinHalf*cosHalf
			g := [4]float64{less, sin, -2 * sin * sin, 2 * sin * (1 + less)}
			w := 1.0
			if s.Weights != nil {
				w = s.Weights[i]
			}
			for k := range 4 {
				wg := w * g[k]
				sum[k] += wg
				for l := k; l < 4; l++ {
					product[k][l] += wg * g[l]
				}
			}
		}
		for k := range 4 {
			out.mean[k] += sum[k]
			for l := k; l < 4; l++ {
				products[k][l] += product[k][l]
			}
		}
	}
	for k := range 4 {
		out.mean[k] /= rows
	}
	for k := range 4 {
		for l := k; l < 4; l++ {
			out.covariance[k][l] = products[k][l]/rows - out.mean[k]*out.mean[l]
			out.covariance[l][k] = out.covariance[k][l]
		}
	}
	out.mean[0]++
	out.mean[2]++
	return out, origin
}

// turned returns the moments of the cosines and sines of the angles plus angle, and of their
// doubles plus 2·angle.
func (c characteristicMoments) turned(angle float64) characteristicMoments {
	sin, cos := math.Sincos(angle)
	sinTwo, cosTwo := math.Sincos(2 * angle)
	turn := [4][4]float64{{cos, -sin}, {sin, cos}, {2: cosTwo, 3: -sinTwo}, {2: sinTwo, 3: cosTwo}}
	var out characteristicMoments
	for i := range 4 {
		for j := range 4 {
			out.mean[i] += turn[i][j] * c.mean[j]
			for k := range 4 {
				for l := range 4 {
					out.covariance[i][j] += turn[i][k] * c.covariance[k][l] * turn[j][l]
				}
			}
		}
	}
	return out
}
