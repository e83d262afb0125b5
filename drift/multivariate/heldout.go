package multivariate

import (
	"errors"
	"fmt"
)

// ErrBlind is returned where a comparison cannot see a drift, whatever the data are.
var ErrBlind = errors.New("no drift could be seen")

// pcaFolds are the parts of the reference, of which each is left out of one fit.
const pcaFolds = 5

// HeldOutErrors returns the reconstruction error of each row of both sides, in no order, by
// components that the row has no part in: those of a row of the reference are of the four
// fifths of it that do not have the row, and those of a row of the current data are of some
// four fifths, too. So where nothing drifted, both are of one distribution, and a test of two
// samples holds at any numbers of rows. The limits of a PCA, from chunks that it was fitted
// to, are of one number of rows, and call 22 to 35 % of unchanged data of another drifted.
//
// It needs 10 rows of the reference, and is ErrBlind where the components hold every row whole.
func HeldOutErrors(reference, current Matrix, o PCAOptions) (ofReference, ofCurrent []float64, err error) {
	errs, err := heldOutErrors(reference, current, o)
	if err != nil {
		return nil, nil, fmt.Errorf("pca reconstruction: %w", err)
	}
	return errs[0], errs[1], nil
}

func heldOutErrors(reference, current Matrix, o PCAOptions) (errs [2][]float64, _ error) {
	if err := reference.check("reference", 2*pcaFolds); err != nil {
		return errs, err
	}
	if err := current.check("current", 1); err != nil {
		return errs, err
	}
	if err := current.checkFinite("current"); err != nil {
		return errs, err
	}
	if err := sameColumns(reference, current); err != nil {
		return errs, err
	}
	for fold := range pcaFolds {
		p, err := fitPCA(everyRow(reference, func(i int) bool { return i%pcaFolds != fold }), o)
		if err != nil {
			return errs, err
		}
		if p.Components() == len(reference.Columns) {
			return errs, fmt.Errorf("%w: all %d components are kept, which hold every row whole", ErrBlind, p.Components())
		}
		for k, m := range []Matrix{reference, current} {
			p.reconstruct(everyRow(m, func(i int) bool { return i%pcaFolds == fold }), func(e float64) { errs[k] = append(errs[k], e) })
		}
	}
	return errs, nil
}

// everyRow returns the rows of a matrix that are wanted.
func everyRow(m Matrix, wanted func(i int) bool) Matrix {
	columns := make([][]float64, len(m.Columns))
	for j, values := range m.Columns {
		for i, v := range values {
			if wanted(i) {
				columns[j] = append(columns[j], v)
			}
		}
	}
	m.Columns = columns
	return m
}
