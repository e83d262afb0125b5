package multivariate

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// ErrNoData is returned where a side has too few rows, or no column, to say anything.
var ErrNoData = errors.New("not enough data")

// Matrix is one side: columns of one length. NaN is missing. Matrices are only read.
type Matrix struct {
	Columns     [][]float64
	Categorical []bool   // columns whose values are codes of categories, the same on both sides; nil: none
	Names       []string // for errors; nil: "column 3", from 0
}

// Rows is the number of rows.
func (m Matrix) Rows() int {
	if len(m.Columns) == 0 {
		return 0
	}
	return len(m.Columns[0])
}

func (m Matrix) categorical(j int) bool { return m.Categorical != nil && m.Categorical[j] }

func (m Matrix) name(j int) string {
	if m.Names == nil {
		return fmt.Sprintf("column %d", j)
	}
	return fmt.Sprintf("column %q", m.Names[j])
}

// check returns what is wrong with a side's shape.
func (m Matrix) check(side string, rows int) error {
	n := len(m.Columns)
	if n == 0 {
		return fmt.Errorf("%s: %w: no columns", side, ErrNoData)
	}
	if m.Categorical != nil && len(m.Categorical) != n || m.Names != nil && len(m.Names) != n {
		return fmt.Errorf("%s: %d columns, but %d marks of categorical ones and %d names", side, n, len(m.Categorical), len(m.Names))
	}
	for j, c := range m.Columns {
		if len(c) != len(m.Columns[0]) {
			return fmt.Errorf("%s: %s has %d rows, %s has %d", side, m.name(j), len(c), m.name(0), len(m.Columns[0]))
		}
	}
	if m.Rows() < rows {
		return fmt.Errorf("%s: %w: %d rows, must be at least %d", side, ErrNoData, m.Rows(), rows)
	}
	return nil
}

func (m Matrix) checkFinite(side string) error {
	for j, c := range m.Columns {
		for i, v := range c {
			if math.IsInf(v, 0) {
				return fmt.Errorf("%s: %s is %v in row %d, must be finite", side, m.name(j), v, i)
			}
		}
	}
	return nil
}

func checkPair(reference, current Matrix, rows int) error {
	if err := reference.check("reference", rows); err != nil {
		return err
	}
	if err := current.check("current", rows); err != nil {
		return err
	}
	return sameColumns(reference, current)
}

func sameColumns(reference, current Matrix) error {
	if len(reference.Columns) != len(current.Columns) {
		return fmt.Errorf("%d columns of reference and %d of current", len(reference.Columns), len(current.Columns))
	}
	for j := range reference.Columns {
		if reference.categorical(j) != current.categorical(j) {
			return fmt.Errorf("%s is categorical on one side only", reference.name(j))
		}
	}
	return nil
}

// Contribution is a column's part in a result.
type Contribution struct {
	Column int
	Share  float64 // of the whole, 0 to 1
}

// shares makes contributions of amounts, those below 0 none, greatest first. Where there is
// no amount, all shares are 0.
func shares(amounts []float64) []Contribution {
	most := 0.0
	for _, a := range amounts {
		most = math.Max(most, a)
	}
	sum := 0.0 // of amounts by their largest: no overflow
	for _, a := range amounts {
		if a > 0 {
			sum += a / most
		}
	}
	out := make([]Contribution, len(amounts))
	for j, a := range amounts {
		out[j].Column = j
		if a > 0 {
			out[j].Share = a / most / sum
		}
	}
	slices.SortStableFunc(out, func(a, b Contribution) int { return cmp.Compare(b.Share, a.Share) })
	return out
}

// column standardises a numeric column by the reference's mean and standard deviation.
// Figures are of values times factor, a power of two that brings the largest near 1, so that
// squares neither overflow nor vanish.
type column struct {
	factor, mean, scale float64
}

// maxDeviation keeps squares of distances finite: further away is no further.
const maxDeviation = 1e100

// at is the standardised value; a missing one is the mean.
func (c column) at(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return math.Max(-maxDeviation, math.Min((x*c.factor-c.mean)/c.scale, maxDeviation))
}

// fit has the rules of scikit-learn's StandardScaler after its SimpleImputer, which puts the
// mean for a missing value: the deviation is of all rows, with n; a deviation that rounding
// alone explains (Chan, Golub and LeVeque 1983) is a constant column's, of scale 1.
func fit(values []float64) (column, bool) {
	most, present := 0.0, 0
	for _, v := range values {
		if !math.IsNaN(v) {
			most = math.Max(most, math.Abs(v))
			present++
		}
	}
	if present == 0 {
		return column{}, false
	}
	exponent := 0
	if most > 0 {
		_, exponent = math.Frexp(most)
		exponent = max(exponent, -1000) // its factor is a number, and so is its inverse
	}
	c := column{factor: math.Ldexp(1, -exponent)}

	first, sum := math.NaN(), 0.0
	for _, v := range values {
		if math.IsNaN(v) {
			continue
		}
		v *= c.factor
		if math.IsNaN(first) {
			first = v
		}
		sum += v - first
	}
	c.mean = first + sum/float64(present)
	rest, squares := 0.0, 0.0
	for _, v := range values {
		if !math.IsNaN(v) {
			d := v*c.factor - c.mean
			rest += d
			squares += d * d
		}
	}
	n := float64(len(values))
	variance := (squares - rest*rest/float64(present)) / n // rest is what rounding left of the mean
	const epsilon = 0x1p-52
	rounding := n * c.mean * epsilon
	if variance <= n*epsilon*variance+rounding*rounding {
		c.scale = c.factor // of the values as they are
	} else {
		c.scale = math.Sqrt(variance)
	}
	return c, true
}

// sampleRows are the indices of at most most rows of n, ascending (Knuth, algorithm 3.4.2 S).
func sampleRows(n, most int, r *rand.Rand) []int {
	if n <= most {
		out := make([]int, n)
		for i := range out {
			out[i] = i
		}
		return out
	}
	out := make([]int, 0, most)
	for i := 0; len(out) < most; i++ {
		if r.IntN(n-i) < most-len(out) {
			out = append(out, i)
		}
	}
	return out
}
