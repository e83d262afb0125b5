package compare

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/drift/stattest"
)

// Options say how two tables are compared. The zero value of each means its default.
type Options struct {
	Columns     []string // that are compared; default: all that both sides have
	Ignore      []string // that are not
	Categorical []string // columns compared by category, whatever they hold
	Numeric     []string // columns compared by value: texts are read as numbers, times as seconds since 1970

	// Tests and Thresholds are for all columns ("ks"), for those of a type ("num=ks",
	// "cat=psi") or for one column ("age=ks"); the narrower stands.
	Tests      []string
	Thresholds []string
	AllTests   bool // besides, every test that can judge the column

	DriftShare *float64 // of the judged columns, from which the data set drifts; default 0.5
	Correction string   // of p-values over columns: bh or bonferroni; default none
	Bins       string   // of numeric columns: quantile, width or sturges, also as width:20; evidently; or edges 0,1,5
	MinRows    *int     // values that a column needs on each side to be judged; default 30

	// Calibrate makes thresholds of distances from the reference itself: it is cut into
	// chunks, and what their distances from it reach is no drift.
	Calibrate Calibration

	Segment    string // a column: each of its values is compared on its own, too
	Target     string // column of the true labels or values
	Prediction string // column of the model's answers: labels, a positive class's probability, or values

	Multivariate []string // of pca, domain, energy

	Seed    uint64
	Memory  int64 // bytes of values held at most; default 1 GiB
	Workers int   // columns at a time; default GOMAXPROCS
}

// Calibration is how thresholds are found from chunks of the reference.
type Calibration struct {
	Chunks   int     // consecutive parts of the reference; 0: no calibration
	Sigmas   float64 // mean + Sigmas standard deviations; default 3
	Quantile float64 // instead, where above 0
}

// Defaults.
const (
	DefaultMemory = 1 << 30
	defaultSigmas = 3 // NannyML's
)

// Values of Options.Correction.
const (
	correctBH         = "bh"
	correctBonferroni = "bonferroni"
)

var corrections = []string{correctBH, correctBonferroni}

// checked is Options with the defaults filled in and the lists parsed.
type checked struct {
	Options
	share      float64
	minRows    int
	tests      rules[*stattest.Test]
	thresholds rules[float64]
	binning    binning
}

// Validate reports all that is wrong with the options.
func (o Options) Validate() error {
	_, err := o.check()
	return err
}

// check is one long function: the list of what can be wrong, in the order of the options.
func (o Options) check() (*checked, error) {
	c := &checked{Options: o, share: stattest.DefaultDriftShare, minRows: stattest.DefaultMinRows}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.DriftShare != nil {
		if c.share = *o.DriftShare; !(c.share > 0 && c.share <= 1) {
			bad("drift share: must be above 0 and at most 1, got %v", c.share)
		}
	}
	if o.MinRows != nil {
		if c.minRows = *o.MinRows; c.minRows < 1 {
			bad("minimum of rows: must be at least 1, got %d", c.minRows)
		}
	}
	if o.Correction != "" && !slices.Contains(corrections, o.Correction) {
		bad("correction: %q is not one of %s", o.Correction, strings.Join(corrections, ", "))
	}
	for _, m := range o.Multivariate {
		if !slices.Contains(multivariateMethods, m) {
			bad("multivariate: %q is not one of %s", m, strings.Join(multivariateMethods, ", "))
		}
	}
	for _, name := range o.Numeric {
		if slices.Contains(o.Categorical, name) {
			bad("column %q cannot be numeric and categorical at once", name)
		}
	}
	for _, name := range o.Columns {
		if slices.Contains(o.Ignore, name) {
			bad("column %q is both to be compared and to be ignored", name)
		}
	}
	if (o.Target == "") != (o.Prediction == "") && o.Target == "" {
		// A prediction alone is compared like a feature, with its role named.
	} else if o.Target != "" && o.Target == o.Prediction {
		bad("target and prediction are both %q", o.Target)
	}
	for _, role := range []struct{ option, column string }{{"segment", o.Segment}, {"target", o.Target}, {"prediction", o.Prediction}} {
		if role.column != "" && slices.Contains(o.Ignore, role.column) {
			bad("%s: column %q is to be ignored, too", role.option, role.column)
		}
	}
	if o.Segment != "" && (o.Segment == o.Target || o.Segment == o.Prediction || slices.Contains(o.Columns, o.Segment)) {
		bad("segment: column %q is constant within each of its segments: name it as nothing else", o.Segment)
	}
	var err error
	if c.tests, err = parseRules("test", o.Tests, func(name string) (*stattest.Test, error) {
		if t := stattest.Lookup(name); t != nil {
			return t, nil
		}
		names := make([]string, 0, 32)
		for _, t := range stattest.Tests() {
			names = append(names, t.Name)
		}
		return nil, fmt.Errorf("%q is not one of %s", name, strings.Join(names, ", "))
	}); err != nil {
		errs = append(errs, err)
	}
	if c.thresholds, err = parseRules("threshold", o.Thresholds, func(text string) (float64, error) {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || v-v != 0 || v < 0 {
			return 0, fmt.Errorf("%q is no number from 0", text)
		}
		return v, nil
	}); err != nil {
		errs = append(errs, err)
	}
	if c.binning, err = parseBins(o.Bins); err != nil {
		errs = append(errs, err)
	}
	k := &c.Calibrate
	switch {
	case k.Chunks < 0 || k.Chunks == 1:
		bad("calibration: needs at least 2 chunks, got %d", k.Chunks)
	case !(k.Quantile >= 0 && k.Quantile <= 1):
		bad("calibration: quantile must be from 0 to 1, got %v", k.Quantile)
	case k.Chunks == 0 && k.Quantile > 0:
		bad("calibration: quantile %v needs chunks: say how many", k.Quantile)
	case !(k.Sigmas >= 0):
		bad("calibration: sigmas must be at least 0, got %v", k.Sigmas)
	case k.Sigmas == 0:
		k.Sigmas = defaultSigmas
	}
	if o.Memory < 0 {
		bad("memory: must be above 0, got %d", o.Memory)
	}
	if c.Memory == 0 {
		c.Memory = DefaultMemory
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	return c, errors.Join(errs...)
}

// rules are what holds for columns: the narrowest that there is.
type rules[T any] struct {
	all    *T
	types  map[string]T
	column map[string]T
}

func parseRules[T any](what string, given []string, parse func(string) (T, error)) (rules[T], error) {
	r := rules[T]{types: map[string]T{}, column: map[string]T{}}
	var errs []error
	for _, text := range given {
		of, value := "", text
		if i := strings.LastIndex(text, "="); i >= 0 { // names of columns may hold =
			of, value = text[:i], text[i+1:]
		}
		v, err := parse(value)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s %s: %w", what, text, err))
		case of == "":
			r.all = &v
		case of == TypeNumeric || of == TypeCategorical:
			r.types[of] = v
		default:
			r.column[of] = v
		}
	}
	return r, errors.Join(errs...)
}

func (r rules[T]) of(column, kind string) (v T, ok bool) {
	if v, ok = r.column[column]; ok {
		return v, true
	}
	if v, ok = r.types[kind]; ok {
		return v, true
	}
	if r.all != nil {
		return *r.all, true
	}
	return v, false
}
