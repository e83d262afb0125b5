package stattest

import (
	"math"
	"slices"
)

const (
	// chiSquareExpected is the least number of rows that each cell of a side must be expected to
	// have for the chi-square distribution to hold (Cochran, Some methods for strengthening the
	// common χ² tests, Biometrics 10, 1954).
	chiSquareExpected = 5

	// gTestBias is the part of its standard deviation that the mean of G may be off the degrees
	// of freedom, which is about a sixth of the sum of the reciprocals of what cells are expected
	// to have (Williams, Improved likelihood ratio tests, Biometrika 63, 1976).
	gTestBias = 0.05
)

// countable says whether all cells are whole numbers of rows that can be counted.
func countable(reference, current []float64) bool {
	rows := 0.0
	for i := range reference {
		if reference[i] != math.Trunc(reference[i]) || current[i] != math.Trunc(current[i]) {
			return false
		}
		rows += reference[i] + current[i]
	}
	return rows <= 1<<53
}

// table is two sides' cells: the rows of both in descending order, so that the order of the cells
// does not matter and that most rows are dealt soon, and those of the smaller side.
type table struct {
	both, smaller []float64
	n, m          float64 // rows of the smaller and of the larger side
}

func newTable(reference, current []float64) (t table) {
	for i := range reference {
		t.n += reference[i]
		t.m += current[i]
	}
	if t.n > t.m {
		t.n, t.m, reference, current = t.m, t.n, current, reference
	}
	order := make([]int, 0, len(reference))
	for i := range reference {
		if reference[i]+current[i] > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := reference[a]+current[a], reference[b]+current[b]
		switch {
		case x > y:
			return -1
		case x < y:
			return 1
		default:
			return 0
		}
	})
	for _, i := range order {
		t.both, t.smaller = append(t.both, reference[i]+current[i]), append(t.smaller, reference[i])
	}
	return t
}

// expected returns the rows of the smaller side that each cell is expected to have.
func (t *table) expected(cell int) float64 { return t.n / (t.n + t.m) * t.both[cell] }

// permuted is the p-value of a statistic that grows with the sum of term over the cells, of the
// smaller side's rows and those of both.
func (t *table) permuted(o Options, stream uint64, term func(k, both float64) float64) (float64, string) {
	statistic := func(rows []float64) float64 {
		sum := 0.0
		for i, k := range rows {
			sum += term(k, t.both[i])
		}
		return sum
	}
	d, rows := newDealer(t.both, t.n, t.n+t.m, o, stream), make([]float64, len(t.both))
	seen := statistic(t.smaller)
	limit := seen - 1e-12*max(math.Abs(seen), t.n+t.m)
	take := func(group int, n float64) { rows[group] += n }
	return d.pValue(o, float64(len(rows)), limit, func() float64 {
		clear(rows)
		d.deal(take)
		return statistic(rows)
	})
}

// dealtChiSquare permutes where a cell is expected to have fewer than five rows on a side.
// χ² is N²/(n·m)·Σ (k-e)²/t for the k and e rows seen and expected of t.
func dealtChiSquare(reference, current []float64, o Options) (float64, string) {
	t := newTable(reference, current)
	if len(t.both) < 2 || t.expected(len(t.both)-1) >= chiSquareExpected {
		return 0, ""
	}
	share := t.n / (t.n + t.m)
	return t.permuted(o, seedChiSquare, func(k, both float64) float64 {
		d := k - share*both
		return d / both * d
	})
}

// dealtGTest permutes where a cell is expected to have fewer than five rows on a side, or many
// cells have so few that the mean of G is not what the chi-square distribution says. G is
// 2·Σ k·ln(k/e) over the cells of both sides, of which only Σ k·ln(k) changes.
func dealtGTest(reference, current []float64, o Options) (float64, string) {
	t := newTable(reference, current)
	cells := len(t.both)
	if cells < 2 {
		return 0, ""
	}
	bias := 0.0
	for i, both := range t.both {
		e := t.expected(i)
		bias += (1/e + 1/(both-e)) / 6
	}
	if t.expected(cells-1) >= chiSquareExpected && bias <= gTestBias*math.Sqrt(2*float64(cells-1)) {
		return 0, ""
	}
	// Logarithms of the numbers that are met most: they cost more than all else.
	logs := make([]float64, 1<<12)
	for k := range logs {
		logs[k] = xlogx(float64(k))
	}
	of := func(k float64) float64 {
		if k < float64(len(logs)) {
			return logs[int(k)]
		}
		return xlogx(k)
	}
	return t.permuted(o, seedGTest, func(k, both float64) float64 { return of(k) + of(both-k) })
}

func xlogx(x float64) float64 {
	if x == 0 {
		return 0
	}
	return x * math.Log(x)
}

// exactZ sums the probabilities of all tables with the same margins whose shares differ as much
// as those seen, or more, where a cell is expected to have fewer than five rows on a side.
func exactZ(reference, current []float64, _ Options) (float64, string) {
	t := newTable(reference, current)
	if len(t.both) < 2 || t.expected(1) >= chiSquareExpected {
		return 0, ""
	}
	h := newHypergeometric(t.both[0], t.both[1], t.n)
	mean, seen := t.expected(0), t.smaller[0]
	off := math.Abs(seen-mean) * (1 - 1e-9)
	low, high := math.Floor(mean-off), math.Ceil(mean+off)
	if low >= high {
		return 1, methodExact
	}
	p := 0.0
	if low >= h.low {
		p += h.tail(low, -1)
	}
	if high <= h.high {
		p += h.tail(high, +1)
	}
	return min(p, 1), methodExact
}
