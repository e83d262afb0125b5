package multivariate

import (
	"errors"
	"fmt"
	"math"

	"github.com/millrace/millrace/drift/stattest"
)

// ErrBlind is returned where a comparison cannot see a drift, whatever the data are.
var ErrBlind = errors.New("no drift could be seen")

// pcaFolds are the parts of the reference, of which each is left out of one fit.
const pcaFolds = 5

// PCATest says whether the reconstruction errors of both sides differ by more than chance.
type PCATest struct {
	// Reference and Current are the mean errors of rows that the components were not fitted
	// to: those of the reference are the greater for it than in a PCA of all its rows.
	Reference, Current float64
	// Effect is the difference of the means in standard deviations of the errors; below 0
	// where the columns move together more than they did.
	Effect float64
	// PValue is the chance of a difference at least as great, up or down, by deals of the
	// rows' errors to both sides.
	PValue float64
	// SmallestEffect would have been found at the rate of 0.05 in 80 % of cases.
	SmallestEffect float64
}

// TestPCA compares the reconstruction errors of both sides, each of at least 2 rows, with
// components that neither has a part in: those of a row of the reference are of the four fifths
// of it that do not have the row, and those of a row of the current data are of some four
// fifths, too. So the sides differ by nothing but their rows, at any number of them. The limits
// of a PCA, from chunks that it was fitted to, call 22 to 35 % of unchanged data drifted.
//
// It is ErrBlind where the components hold every row whole.
func TestPCA(reference, current Matrix, o PCAOptions, seed uint64) (PCATest, error) {
	t, err := testPCA(reference, current, o, seed)
	if err != nil {
		return PCATest{}, fmt.Errorf("pca reconstruction: %w", err)
	}
	return t, nil
}

func testPCA(reference, current Matrix, o PCAOptions, seed uint64) (PCATest, error) {
	if reference.Rows() < 2*pcaFolds || current.Rows() < 2 {
		return PCATest{}, fmt.Errorf("%w: %d and %d rows, at least %d and 2 are needed", ErrNoData, reference.Rows(), current.Rows(), 2*pcaFolds)
	}
	if err := current.checkFinite("current"); err != nil {
		return PCATest{}, err
	}
	if err := sameColumns(reference, current); err != nil {
		return PCATest{}, err
	}
	var errs [2][]float64
	for fold := range pcaFolds {
		p, err := fitPCA(everyRow(reference, func(i int) bool { return i%pcaFolds != fold }), o)
		if err != nil {
			return PCATest{}, err
		}
		if p.Components() == len(reference.Columns) {
			return PCATest{}, fmt.Errorf("%w: all %d components are kept, which hold every row whole", ErrBlind, p.Components())
		}
		for k, m := range []Matrix{reference, current} {
			p.reconstruct(everyRow(m, func(i int) bool { return i%pcaFolds == fold }), func(e float64) { errs[k] = append(errs[k], e) })
		}
	}
	a, b := stattest.NewSample(errs[0]), stattest.NewSample(errs[1])
	var all, sides [2]running
	for k := range errs {
		for _, e := range errs[k] {
			sides[k].add(e)
			all[0].add(e)
		}
	}
	deviation := math.Sqrt(all[0].s / float64(all[0].n-1))
	if deviation == 0 {
		return PCATest{}, fmt.Errorf("%w: the errors of all rows are the same", ErrBlind)
	}
	n, err := stattest.NullOfMeans(a, b, stattest.NullOptions{Seed: seed})
	if err != nil {
		return PCATest{}, err
	}
	difference := sides[1].mean - sides[0].mean
	return PCATest{
		Reference: sides[0].mean, Current: sides[1].mean,
		Effect: difference / deviation, PValue: n.PValue(math.Abs(difference)),
		SmallestEffect: n.Power().Over(deviation*deviation).SmallestEffect(0.05, 0),
	}, nil
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
