package compare

import (
	"fmt"

	"github.com/millrace/millrace/drift/stattest"
)

// sides are what is compared of a column: its values, or its cells, which do not depend on
// the test.
type sides struct {
	plan  *plan
	kind  string
	r, c  stattest.Sample // of numbers
	table contingency     // of categories, or of few distinct values
}

// measure compares by one test.
func (o *checked) measure(s sides, test *stattest.Test) (stattest.Result, error) {
	if s.kind == TypeNumeric && test.Numeric != nil {
		return test.Numeric(s.r, s.c, o.testOptions())
	}
	test, r, c, err := o.cells(s, test)
	if err != nil {
		return stattest.Result{}, err
	}
	return test.Cells(r, c, o.testOptions())
}

// null returns the distribution of what measure returns, where nothing drifted.
func (o *checked) null(s sides, test *stattest.Test) (*stattest.Null, error) {
	options := stattest.NullOptions{
		Seed:   seedOf(s.plan.name, 0, 0) ^ o.Seed, // other deals in each column
		Enough: o.Rate / float64(10*max(o.columns, 1)),
	}
	if s.kind == TypeNumeric && test.Numeric != nil {
		return stattest.NullOfValues(test, s.r, s.c, options)
	}
	if s.table.names == nil && o.binning.rule == binsQuantile {
		options.Quantiles = o.binning.n
		return stattest.NullOfValues(test, s.r, s.c, options)
	}
	if s.table.names == nil && o.binning.moving() {
		options.Bins = func(reference stattest.Sample) (stattest.Bins, error) {
			return o.binning.of(reference, reference, s.plan.integers())
		}
		return stattest.NullOfValues(test, s.r, s.c, options)
	}
	test, r, c, err := o.cells(s, test)
	if err != nil {
		return nil, err
	}
	return stattest.NullOfCells(test, r, c, options)
}

// cells returns the cells that a test of cells takes, and the test, which may be Evidently's.
func (o *checked) cells(s sides, test *stattest.Test) (_ *stattest.Test, r, c []float64, _ error) {
	switch {
	case !applies(test, s.kind, s.table) && s.kind == TypeCategorical:
		return nil, nil, nil, fmt.Errorf("%s compares values, not categories", test.Name)
	case !applies(test, s.kind, s.table):
		return nil, nil, nil, fmt.Errorf("%s compares categories, and the column has many values", test.Name)
	}
	cut := o.binning.of
	if o.binning.rule == binsEvidently {
		if own, bins := evidentlys(test.Name); own != nil {
			test, cut = own, bins
			if s.kind == TypeNumeric {
				s.table = contingency{}
			}
		}
	}
	if s.table.names != nil {
		return test, s.table.r, s.table.c, nil
	}
	bins, err := cut(s.r, s.c, s.plan.integers())
	if err != nil {
		return nil, nil, nil, err
	}
	return test, bins.Count(s.r), bins.Count(s.c), nil
}

// testOptions are those of all tests. Permutations are so many that their p-value can be
// below the rate when it is corrected over all columns, as far as that is affordable.
func (o *checked) testOptions() stattest.Options {
	options := stattest.Options{Seed: o.Seed, SciPy: o.Rule == RuleEvidently} // which judges by SciPy's p-values
	if o.Rule == RuleRate {
		options.Permutations = o.permutations()
	}
	return options
}

const (
	leastPermutations = 200
	mostPermutations  = 4000
)

func (o *checked) permutations() int {
	return min(max(int(2*float64(o.columns)/o.Rate), leastPermutations), mostPermutations)
}
