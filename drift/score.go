package drift

import (
	"errors"
	"fmt"
	"math"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/stattest"
	"github.com/millrace/millrace/schemas"
)

// ErrNoRows is returned for a score of a side that has no rows: there is nothing to
// compare, which is neither "equal" nor "drifted".
var ErrNoRows = errors.New("no rows to compare")

// psiGroups is the number of groups that PSI merges numeric bins into.
const psiGroups = 10

// cells lays the two sides out for a score over categories. Of numeric columns the bins
// are merged by profile.GroupBins. Categories stand each for itself, followed by other. A last
// cell holds the missing when either side has any.
func cells(reference, current profile.Counts, numeric bool) (r, c []float64) {
	add := func(inReference, inCurrent int64) {
		r, c = append(r, float64(inReference)), append(c, float64(inCurrent))
	}
	if numeric {
		for i, g := range profile.GroupBins(reference.Cells, psiGroups) {
			if g == len(r) {
				add(0, 0)
			}
			r[g] += float64(reference.Cells[i])
			c[g] += float64(current.Cells[i])
		}
	} else {
		for i := range reference.Cells {
			add(reference.Cells[i], current.Cells[i])
		}
		add(reference.Other, current.Other)
	}
	if reference.Missing+current.Missing > 0 {
		add(reference.Missing, current.Missing)
	}
	return r, c
}

// ks is stattest.KS over ordered bins, each a value of its own: the statistic is exact for
// the binned data and a lower bound for the values behind them, and the p-value errs on the
// large side. A side without rows is ErrNoRows.
func ks(reference, current []int64) (stattest.Result, error) {
	positions := func(counts []int64) stattest.Sample {
		var s stattest.Sample
		for i, n := range counts {
			if n > 0 {
				s.Values, s.Weights = append(s.Values, float64(i)), append(s.Weights, float64(n))
			}
		}
		return s
	}
	r, c := positions(reference), positions(current)
	if len(r.Values) == 0 || len(c.Values) == 0 {
		return stattest.Result{}, ErrNoRows
	}
	return stattest.KS(r, c)
}

// Score is one drift score of a column.
type Score struct {
	Stattest schemas.Stattest
	Value    float64
	PValue   *float64 // nil for a distance
}

// ColumnScore computes one drift score of a column: psi, the statistic of ks, or for chisquare
// the association of the table of shares (see stattest.ChiSquare), which unlike its statistic
// does not grow with the rows. Missing values are a cell of their own
// for psi and chisquare when either side has any; ks compares the values that are there,
// and a column of which one side has values and the other none has D = 1.
// Counts that do not match the reference's cells, and no rows at all, are errors.
func ColumnScore(test schemas.Stattest, reference, current profile.Counts, numeric bool) (Score, error) {
	s := Score{Stattest: test}
	if len(reference.Cells) != len(current.Cells) {
		return s, fmt.Errorf("%s: the reference has %d cells, the window %d", test, len(reference.Cells), len(current.Cells))
	}
	for i := range reference.Cells {
		if reference.Cells[i] < 0 || current.Cells[i] < 0 {
			return s, fmt.Errorf("%s: cell %d is negative (reference %d, window %d)", test, i, reference.Cells[i], current.Cells[i])
		}
	}
	var err error
	switch test {
	case schemas.StattestPSI:
		var x stattest.Result
		x, err = stattest.PSI(cells(reference, current, numeric))
		s.Value = x.Score
	case schemas.StattestKS:
		if !numeric {
			return s, fmt.Errorf("%s needs ordered bins, and the reference lists categories", test)
		}
		var r stattest.Result
		r, err = ks(reference.Cells, current.Cells)
		if errors.Is(err, ErrNoRows) && reference.Rows() > 0 && current.Rows() > 0 {
			err = nil
			if (reference.Rows() == reference.Missing) != (current.Rows() == current.Missing) {
				s.Value = 1
			}
			break // no p-value: there is nothing to test
		}
		s.Value, s.PValue = r.Score, r.PValue
	case schemas.StattestChiSquare:
		var x stattest.Result
		x, err = stattest.ChiSquare(cells(reference, current, numeric))
		if err == nil {
			s.Value, s.PValue = *x.EffectSize, x.PValue
		}
	default:
		return s, fmt.Errorf("%q is no drift score of a column", test)
	}
	switch {
	case errors.Is(err, stattest.ErrNoValues):
		err = ErrNoRows
	case err == nil && (math.IsNaN(s.Value) || math.IsInf(s.Value, 0)):
		err = fmt.Errorf("%s is %v", test, s.Value)
	}
	return s, err
}
