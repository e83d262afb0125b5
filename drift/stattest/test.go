package stattest

import "slices"

// Options are what a test may need beside its two sides. The zero value is the default of
// every test.
type Options struct {
	Seed         uint64 // of permutations and subsamples
	Permutations int    // 0: the test's own default

	// SciPy asks for the p-value as SciPy finds it also where the approximation behind it does
	// not hold, and false alarms are more frequent than the p-value says.
	SciPy bool
}

// Test is a drift test by name. Exactly one of Numeric and Cells, or both, are set: a test
// that has both takes Numeric for numeric columns.
type Test struct {
	Name string // Evidently's

	// Numeric compares values. Binned tests have none: numeric columns come to them as
	// cells of reference bins.
	Numeric func(reference, current Sample, o Options) (Result, error)

	// Cells compares the weights of cells: categories, or the bins of a numeric column.
	// Both slices have one entry a cell, in the same order.
	Cells func(reference, current []float64, o Options) (Result, error)

	// Binned says that Cells judges numeric columns, too, by their bins.
	Binned bool

	// PValue says that the verdict comes from the p-value: below Threshold drifts. Else
	// a score of at least Threshold does.
	PValue    bool
	Threshold float64 // Evidently's default
}

// Drifted returns the verdict of a result at a threshold.
func (t *Test) Drifted(r Result, threshold float64) bool {
	if t.PValue {
		return r.PValue != nil && *r.PValue < threshold
	}
	return r.Score >= threshold
}

// Tests returns all tests: those of values first, each list in the documented order.
func Tests() []*Test { return slices.Concat(numericTests, cellTests) }

// Lookup returns the test of a name, or nil.
func Lookup(name string) *Test {
	for _, t := range Tests() {
		if t.Name == name {
			return t
		}
	}
	return nil
}
