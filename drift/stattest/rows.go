package stattest

import (
	"errors"
	"fmt"
)

// ErrFractional is returned by tests that count rows (of ties, of permutations) for weights
// that are not whole numbers.
var ErrFractional = errors.New("weights that are not whole numbers, which a test that counts rows cannot use")

// ErrConstant is returned by tests whose statistic is not defined where the values hardly or
// do not differ.
var ErrConstant = errors.New("the values do not differ enough for this test")

// needCounts returns the error of an empty side, of fractional weights, or of too few rows.
func needCounts(test string, reference, current Sample, least float64) error {
	if err := needValues(test, reference, current); err != nil {
		return err
	}
	if !integral(reference) || !integral(current) {
		return fmt.Errorf("%s: %w", test, ErrFractional)
	}
	return needRows(test, reference.Rows(), current.Rows(), least)
}
