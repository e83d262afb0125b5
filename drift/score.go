package drift

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/millrace/millrace/schemas"
)

// ErrNoRows is returned for a score of a side that has no rows: there is nothing to
// compare, which is neither "equal" nor "drifted".
var ErrNoRows = errors.New("no rows to compare")

// psiGroups is the number of groups that PSI merges numeric bins into.
const psiGroups = 10

// psiSmoothing is added to each cell on both sides, so that an empty cell does not make
// PSI infinite.
const psiSmoothing = 0.5

// Counts are the rows of one column by cell: the bins of a numeric column or the listed
// categories of another one, in the reference's order.
type Counts struct {
	Cells   []int64
	Other   int64 // categories that the reference does not list
	Missing int64 // NULL or NaN
}

// ReferenceCounts returns the counts of a reference's column.
func ReferenceCounts(c *schemas.ReferenceColumn) Counts {
	return Counts{Cells: c.Counts, Other: c.Other, Missing: c.Missing}
}

// Rows returns the number of rows counted.
func (c Counts) Rows() int64 {
	n := c.Other + c.Missing
	for _, k := range c.Cells {
		n += k
	}
	return n
}

// GroupBins merges neighbouring bins into at most groups groups of near-equal reference
// mass and returns the group of each bin: walking from the left, group g (from 0) is closed
// by the first bin with which the cumulative count reaches (g+1)/groups of the total; the
// last group takes what is left.
func GroupBins(reference []int64, groups int) []int {
	var total, cumulative int64
	for _, n := range reference {
		total += n
	}
	out := make([]int, len(reference))
	g := 0
	for i, n := range reference {
		out[i] = g
		cumulative += n
		if int64(groups)*cumulative >= int64(g+1)*total && g < groups-1 {
			g++
		}
	}
	return out
}

// cells lays the two sides out for a score over categories. Of numeric columns the bins
// are merged by GroupBins. Categories stand each for itself, followed by other. A last
// cell holds the missing when either side has any.
func cells(reference, current Counts, numeric bool) (r, c []int64) {
	if numeric {
		group := GroupBins(reference.Cells, psiGroups)
		for i, g := range group {
			if g == len(r) {
				r, c = append(r, 0), append(c, 0)
			}
			r[g] += reference.Cells[i]
			c[g] += current.Cells[i]
		}
	} else {
		r = append(slices.Clone(reference.Cells), reference.Other)
		c = append(slices.Clone(current.Cells), current.Other)
	}
	if reference.Missing+current.Missing > 0 {
		r, c = append(r, reference.Missing), append(c, current.Missing)
	}
	return r, c
}

// checkSides returns the totals of both sides, or why they cannot be compared.
func checkSides(reference, current []int64) (r, c float64, err error) {
	if len(reference) != len(current) {
		return 0, 0, fmt.Errorf("compare counts: the reference has %d cells, the window %d", len(reference), len(current))
	}
	for i := range reference {
		if reference[i] < 0 || current[i] < 0 {
			return 0, 0, fmt.Errorf("compare counts: cell %d is negative (reference %d, window %d)", i, reference[i], current[i])
		}
		r += float64(reference[i])
		c += float64(current[i])
	}
	if r == 0 || c == 0 {
		return 0, 0, ErrNoRows
	}
	return r, c, nil
}

// PSI is the population stability index over cells, Σ (q-p)·ln(q/p) with p and q the
// shares of reference and window after 0.5 was added to every cell on both sides. It is 0
// for equal shares and has no upper bound; 0.1 and 0.25 are the customary marks. It is the
// symmetrised Kullback–Leibler divergence (Jeffreys; Siddiqi, Credit Risk Scorecards, 2006).
// A side without rows is ErrNoRows.
func PSI(reference, current []int64) (float64, error) {
	nr, nc, err := checkSides(reference, current)
	if err != nil {
		return 0, err
	}
	nr += psiSmoothing * float64(len(reference))
	nc += psiSmoothing * float64(len(current))
	sum := 0.0
	for i := range reference {
		p := (float64(reference[i]) + psiSmoothing) / nr
		q := (float64(current[i]) + psiSmoothing) / nc
		sum += (q - p) * math.Log(q/p)
	}
	return sum, nil
}

// KS is the two-sample Kolmogorov–Smirnov statistic over ordered bins: the greatest
// distance of the two cumulative shares at the bins' edges, from 0 to 1. It is exact for
// the binned data and a lower bound for the values behind them.
//
// The p-value is that of Kolmogorov's limiting distribution at sqrt(n·m/(n+m))·D. It holds
// for many rows (either side from about 50), and errs on the large side for binned data.
// A side without rows is ErrNoRows.
func KS(reference, current []int64) (d, p float64, err error) {
	nr, nc, err := checkSides(reference, current)
	if err != nil {
		return 0, 0, err
	}
	positions := func(counts []int64) (x, weights []float64) {
		for i, n := range counts {
			if n > 0 {
				x, weights = append(x, float64(i)), append(weights, float64(n))
			}
		}
		return x, weights
	}
	x, wx := positions(reference)
	y, wy := positions(current)
	d = min(max(stat.KolmogorovSmirnov(x, wx, y, wy), 0), 1)
	return d, kolmogorovSurvival(math.Sqrt(nr*nc/(nr+nc)) * d), nil
}

// kolmogorovSurvival is P(K > x) of Kolmogorov's distribution. Both of its series converge
// in a few terms on their side of 1 (Feller 1948, equations 1.4 and 1.5; scipy.special.kolmogorov).
func kolmogorovSurvival(x float64) float64 {
	if x < 0.04 {
		return 1 // 1 - P is below 1e-300
	}
	if x < 1 {
		sum := 0.0
		for k := 1.0; k < 40; k += 2 {
			sum += math.Exp(-k * k * math.Pi * math.Pi / (8 * x * x))
		}
		return min(max(1-math.Sqrt(2*math.Pi)/x*sum, 0), 1)
	}
	sum, sign := 0.0, 1.0
	for k := 1.0; k < 20; k++ {
		sum += sign * math.Exp(-2*k*k*x*x)
		sign = -sign
	}
	return min(max(2*sum, 0), 1)
}

// ChiSquareResult is Pearson's chi-square test of homogeneity and its effect size.
type ChiSquareResult struct {
	Statistic float64
	PValue    float64
	DF        int // cells with rows on either side, less one

	// CramersV is Cramér's V of the table of shares: sqrt(Σ (p-q)²/(p+q) / 2), from 0 for
	// equal to 1 for disjoint. Shares, so that both sides weigh the same: V of the table
	// of counts shrinks with the reference's multiple of the window's rows.
	CramersV float64
}

// ChiSquare tests whether reference and window share one distribution over cells, without
// continuity correction (scipy.stats.chi2_contingency, correction=False). Cells empty on
// both sides are left out. A side without rows is ErrNoRows; a single cell gives statistic
// 0 and p-value 1.
func ChiSquare(reference, current []int64) (ChiSquareResult, error) {
	nr, nc, err := checkSides(reference, current)
	if err != nil {
		return ChiSquareResult{}, err
	}
	out := ChiSquareResult{DF: -1}
	var observed, expected []float64
	v := 0.0
	for i := range reference {
		r, c := float64(reference[i]), float64(current[i])
		if r+c == 0 {
			continue
		}
		out.DF++
		observed = append(observed, r, c)
		expected = append(expected, (r+c)*nr/(nr+nc), (r+c)*nc/(nr+nc))
		p, q := r/nr, c/nc
		v += (p - q) * (p - q) / (p + q)
	}
	out.CramersV = min(math.Sqrt(v/2), 1)
	if out.DF == 0 {
		out.PValue = 1
		return out, nil
	}
	out.Statistic = stat.ChiSquare(observed, expected)
	out.PValue = distuv.ChiSquared{K: float64(out.DF)}.Survival(out.Statistic)
	return out, nil
}

// Score is one drift score of a column.
type Score struct {
	Stattest schemas.Stattest
	Value    float64
	PValue   *float64 // nil for a distance
}

// ColumnScore computes one drift score of a column. Missing values are a cell of their own
// for psi and chisquare when either side has any; ks compares the values that are there,
// and a column of which one side has values and the other none has D = 1.
// Counts that do not match the reference's cells, and no rows at all, are errors.
func ColumnScore(test schemas.Stattest, reference, current Counts, numeric bool) (Score, error) {
	s := Score{Stattest: test}
	if len(reference.Cells) != len(current.Cells) {
		return s, fmt.Errorf("%s: the reference has %d cells, the window %d", test, len(reference.Cells), len(current.Cells))
	}
	var err error
	switch test {
	case schemas.StattestPSI:
		r, c := cells(reference, current, numeric)
		s.Value, err = PSI(r, c)
	case schemas.StattestKS:
		if !numeric {
			return s, fmt.Errorf("%s needs ordered bins, and the reference lists categories", test)
		}
		var p float64
		s.Value, p, err = KS(reference.Cells, current.Cells)
		if errors.Is(err, ErrNoRows) && reference.Rows() > 0 && current.Rows() > 0 {
			err = nil
			if (reference.Rows() == reference.Missing) != (current.Rows() == current.Missing) {
				s.Value = 1
			}
			break // no p-value: there is nothing to test
		}
		s.PValue = &p
	case schemas.StattestChiSquare:
		var x ChiSquareResult
		r, c := cells(reference, current, numeric)
		x, err = ChiSquare(r, c)
		s.Value, s.PValue = x.CramersV, &x.PValue
	default:
		return s, fmt.Errorf("%q is no drift score of a column", test)
	}
	if err == nil && (math.IsNaN(s.Value) || math.IsInf(s.Value, 0)) {
		err = fmt.Errorf("%s is %v", test, s.Value)
	}
	return s, err
}
