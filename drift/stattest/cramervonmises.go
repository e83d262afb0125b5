package stattest

import "math"

// cramerExactRows is the number of rows on the larger side up to which SciPy's method "auto"
// finds the p-value of the exact distribution.
const cramerExactRows = 20

// CramerVonMises is the two-sample Cramér–von Mises test of Anderson (On the distribution of
// the two-sample Cramér–von Mises criterion, Ann. Math. Stat. 33, 1962), with midranks for
// ties: the score is his T, as that of SciPy's cramervonmises_2samp.
//
// As in SciPy, the p-value is exact for samples without ties where neither side has more than
// 20 rows, and else that of the limiting distribution at the standardised T. SciPy takes the
// limit's upper tail from 1 and so loses it from about 1e-7 on; here it keeps its digits. Neither
// holds with ties: T grows with them where the sides have different numbers of rows, whatever the
// distributions (p-values of 1e-83 with equal ones). Then the test cramer_von_mises of Lookup judges
// by the distribution of Σ t·(F-G)² given the ties, with t rows and the middle of the steps at each value. The
// effect size is T·N/(n·m): the mean of (F-G)² over all rows, between 0 and 1/3. Weights
// must be whole; each side needs at least two rows.
func CramerVonMises(reference, current Sample) (Result, error) {
	const name = "cramer_von_mises"
	if err := needCounts(name, reference, current, 2); err != nil {
		return Result{}, err
	}
	n, m := reference.Rows(), current.Rows()
	total := n + m

	// SciPy's T = U/(n·m·N) - (4·n·m-1)/(6·N), with U from the ranks, is a small difference of
	// large numbers. Summed by parts over the groups of t = wa+wb equal values it is
	//
	//	12·n·m·N²·T = Σ t·(3·(2·gap+step)² + (n-m)²·(t²-1) + 3·(n-m)·step·t + 3·step²)
	//
	// where gap = m·A - n·B of the A and B values below the group, and step = m·wa - n·wb.
	var gap, sum float64
	distinct(reference, current, func(_, wa, wb float64) {
		t, step := wa+wb, m*wa-n*wb
		middle := 2*gap + step
		sum += t * (3*middle*middle + (n-m)*(n-m)*(t*t-1) + 3*(n-m)*step*t + 3*step*step)
		gap += step
	})
	score := sum / (12 * n * m) / (total * total)
	effect := score / n / m * total
	result := Result{Score: score, EffectSize: &effect, Method: "asymptotic"}
	var p float64
	if max(n, m) <= cramerExactRows {
		g := gcd(int(n), int(m))
		p = cramerExact(int(n), int(m), int(sum)/(12*g*g)) // whole numbers, far below 2^53
		result.Method = "exact"
	} else {
		// Expectation and variance of T: Anderson's equations 11 and 14.
		product := n * m
		expected := (1 + 1/total) / 6
		variance := (total + 1) / (45 * total * total) * (4*product*total - 3*(n*n+m*m) - 2*product) / (4 * product)
		p = cramerSurvival(1.0/6 + (score-expected)/math.Sqrt(45*variance))
	}
	result.PValue = &p
	return result, finite(name, score)
}

func tiedCramer(reference, current Sample, o Options) (float64, string) {
	p := pool(reference, current)
	ties, effective := p.ties()
	if !ties {
		return 0, ""
	}
	r := newTiedRanks(p, cramerWeight)
	return r.pValue(o, seedCramer, effective)
}

func cramerWeight(t, _, _ float64) float64 { return t }

// pathSum is a number of paths that have a sum of squares.
type pathSum struct{ sum, paths int }

// cramerExact returns the share of the lattice paths from (0, 0) to (n, m) whose squares
// (a·v - b·u)² at all points (u, v), with a = lcm/m and b = lcm/n, add up to least or more
// (Xiao, Gordon and Yakovlev, J. Stat. Soft. 17(8), 2006). SciPy rounds least down, which ties
// can make a fraction.
//
// The squares are symmetric about the middle of the lattice. So the paths are counted to the
// diagonals in the middle only, and each half is paired with one from the other end.
func cramerExact(n, m, least int) float64 {
	g := gcd(n, m)
	a, b := n/g, m/g
	square := func(u, v int) int { return (a*v - b*u) * (a*v - b*u) }
	half := (n + m) / 2
	diagonal := map[int][]pathSum{0: {{0, 1}}} // by u, of the points (u, d-u)
	for d := 1; d <= half; d++ {
		diagonal = extend(diagonal, d, n, m, square)
	}
	to, from := diagonal, diagonal
	if (n+m)%2 != 0 {
		from = extend(diagonal, half+1, n, m, square)
	}

	reach, total := 0.0, 0.0
	for u, left := range to {
		v := half - u
		right := from[n-u]
		all, beyond, j := 0, 0, len(right)
		for _, r := range right {
			all += r.paths
		}
		for _, l := range left { // ascending: more and more of the right reach least
			for j > 0 && l.sum+right[j-1].sum-square(u, v) >= least {
				j--
				beyond += right[j].paths
			}
			reach += float64(l.paths) * float64(beyond)
			total += float64(l.paths) * float64(all)
		}
	}
	return reach / total
}

// extend returns the sums on the way to the points of diagonal d, in ascending order, from
// those of the diagonal before.
func extend(to map[int][]pathSum, d, n, m int, square func(u, v int) int) map[int][]pathSum {
	out := map[int][]pathSum{}
	for u := max(0, d-m); u <= min(d, n); u++ {
		x, y, s := to[u-1], to[u], square(u, d-u)
		merged := make([]pathSum, 0, len(x)+len(y))
		for len(x) > 0 || len(y) > 0 {
			var p pathSum
			if len(y) == 0 || len(x) > 0 && x[0].sum <= y[0].sum {
				p, x = x[0], x[1:]
			} else {
				p, y = y[0], y[1:]
			}
			p.sum += s
			if k := len(merged); k > 0 && merged[k-1].sum == p.sum {
				merged[k-1].paths += p.paths
			} else {
				merged = append(merged, p)
			}
		}
		out[u] = merged
	}
	return out
}

// cramerSurvival returns P(W >= x) of the limiting distribution by Smirnov's formula (see
// Durbin, Distribution theory for tests based on the sample distribution function, 1973):
//
//	2/π · Σ (-1)^(j+1) ∫ exp(-x·u²/2)/√(-u·sin u) du,  u = (2j-1)π ... 2jπ,
//
// whose first term is the upper tail. With u = (2j-1)π + π/2·(1-cos θ) the integrand has no
// singularity, and is periodic in θ: the midpoint rule converges exponentially.
func cramerSurvival(x float64) float64 {
	if x < 0.003 {
		return 1 // to 18 digits; as SciPy
	}
	const nodes = 256
	sum := 0.0
	for j := 1; ; j++ {
		low := float64(2*j-1) * math.Pi
		term := 0.0
		for i := range nodes {
			sin, cos := math.Sincos((float64(i) + 0.5) * math.Pi / nodes)
			phi := math.Pi / 2 * (1 - cos)
			if phi > math.Pi/2 {
				phi = math.Pi / 2 * (1 + cos) // sin(π-φ) = sin φ, without a difference
			}
			u := low + math.Pi/2*(1-cos)
			term += sin / math.Sqrt(u*math.Sin(phi)) * math.Exp(-x*u*u/2)
		}
		term *= 2 / math.Pi * math.Pi / 2 * math.Pi / nodes
		if j%2 == 0 {
			term = -term
		}
		if sum += term; math.Abs(term) <= 1e-17*sum {
			return min(max(sum, 0), 1)
		}
	}
}
