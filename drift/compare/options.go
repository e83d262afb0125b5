package compare

import (
	"errors"
	"fmt"
	"math"
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

	// Rule is how a column is judged. By rate, the default, it drifted where its p-value,
	// corrected over the columns, is at most Rate, and its effect is at least Effect; and it
	// did not where an effect of Detectable would have been found. By evidently, its p-value
	// is below the threshold, or its score reaches it, whatever the number of rows.
	Rule       string
	Rate       float64  // of data sets in which a column is called drifted though none is; default 0.05
	Effect     *float64 // that matters: a distance without what chance adds, or an effect size; default 0.1
	Detectable float64  // a column in which even such an effect may be missed is not judged; default 0.5

	DriftShare *float64 // of the judged columns, from which the data set drifts; default 0.5
	Correction string   // of p-values over columns: holm, bh, bonferroni or none; default holm, by evidently none
	Bins       string   // of numeric columns: quantile, width or sturges, also as width:20; evidently; or edges 0,1,5
	MinRows    *int     // values that a column needs on each side to be judged; default 30

	// Calibrate says that the reference's rows are in the order of time, and judges distances
	// by how far chunks of it are from the rest of it.
	Calibrate Calibration

	Segment    string // a column: each of its values is compared on its own, too
	Target     string // column of the true labels or values
	Prediction string // column of the model's answers: labels, a positive class's probability, or values

	Multivariate []string // of pca, domain, energy

	Seed    uint64
	Memory  int64 // bytes of values held at most; default 1 GiB
	Workers int   // columns at a time; default GOMAXPROCS
}

// Calibration is how distances are judged where rows are like those before them. Sigmas or
// Quantile give the threshold by the rate at which chunks of unchanged data pass it: as a
// normal number passes so many standard deviations, or as values pass their quantile. Without
// either, Rate is that of the data set, and corrected, as elsewhere; by the rule evidently,
// Sigmas is 3.
type Calibration struct {
	Chunks   int // consecutive parts of the reference, at least 8; 0: no calibration
	Sigmas   float64
	Quantile float64
}

// Defaults.
const (
	DefaultMemory     = 1 << 30
	defaultSigmas     = 3 // NannyML's
	defaultRate       = 0.05
	defaultEffect     = 0.1 // Evidently's threshold of distances
	defaultDetectable = 0.5
)

// Values of Options.Rule.
const (
	RuleRate      = "rate"
	RuleEvidently = "evidently"
)

// Values of Options.Correction.
const (
	correctHolm       = "holm"
	correctBH         = "bh"
	correctBonferroni = "bonferroni"
	correctNone       = "none"
)

var corrections = []string{correctHolm, correctBH, correctBonferroni, correctNone}

// checked is Options with the defaults filled in and the lists parsed.
type checked struct {
	Options
	share      float64
	minRows    int
	effect     float64
	corrects   bool // the correction was asked for
	columns    int  // that are compared at most
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
	errs = append(errs, c.checkRule())
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
	errs = append(errs, c.Calibrate.check())
	if k := &c.Calibrate; c.Rule == RuleEvidently && k.Sigmas == 0 && k.Quantile == 0 {
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

// checkRule checks how columns are judged, and fills in the defaults.
func (c *checked) checkRule() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Rule == "" {
		c.Rule = RuleRate
	}
	if c.Rule != RuleRate && c.Rule != RuleEvidently {
		bad("rule: %q is not one of %s, %s", c.Rule, RuleRate, RuleEvidently)
	}
	if c.Rule == RuleEvidently && (c.Rate != 0 || c.Effect != nil || c.Detectable != 0) {
		bad("rule evidently: it knows no rate, effect or detectable effect")
	}
	if c.Rate == 0 {
		c.Rate = defaultRate
	}
	if !(c.Rate > 0 && c.Rate <= 0.5) {
		bad("rate: must be above 0 and at most 0.5, got %v", c.Rate)
	}
	c.effect = defaultEffect
	if c.Effect != nil {
		if c.effect = *c.Effect; !(c.effect >= 0) || math.IsInf(c.effect, 0) {
			bad("effect: must be at least 0, got %v", c.effect)
		}
	}
	if c.Detectable == 0 {
		c.Detectable = max(defaultDetectable, 5*c.effect)
	}
	if !(c.Detectable > c.effect) || math.IsInf(c.Detectable, 0) {
		bad("detectable effect: must be a number above the effect that matters, %v, got %v", c.effect, c.Detectable)
	}
	c.corrects = c.Correction != ""
	switch {
	case c.corrects && !slices.Contains(corrections, c.Correction):
		bad("correction: %q is not one of %s", c.Correction, strings.Join(corrections, ", "))
	case !c.corrects && c.Rule == RuleRate:
		c.Correction = correctHolm
	case c.Correction == correctNone:
		c.Correction = ""
	}
	return errors.Join(errs...)
}

func (c Calibration) check() error {
	switch {
	case c.Chunks < 0 || c.Chunks > 0 && c.Chunks < stattest.LeastChunks:
		return fmt.Errorf("calibration: needs at least %d chunks, got %d", stattest.LeastChunks, c.Chunks)
	case !(c.Quantile >= 0 && c.Quantile < 1):
		return fmt.Errorf("calibration: quantile must be from 0 to below 1, got %v", c.Quantile)
	case c.Chunks == 0 && c.Quantile > 0:
		return fmt.Errorf("calibration: quantile %v needs chunks: say how many", c.Quantile)
	case c.Chunks == 0 && c.Sigmas > 0:
		return fmt.Errorf("calibration: %v sigmas need chunks: say how many", c.Sigmas)
	case c.Quantile > 0 && c.Sigmas > 0:
		return fmt.Errorf("calibration: quantile %v and %v sigmas are two limits: give one", c.Quantile, c.Sigmas)
	case !(c.Sigmas >= 0) || c.Sigmas > 37:
		return fmt.Errorf("calibration: sigmas must be from 0 to 37, got %v", c.Sigmas)
	default:
		return nil
	}
}

// rate returns that of chunks which pass the threshold, or 0 where none is given.
func (c Calibration) rate() float64 {
	switch {
	case c.Quantile > 0:
		return 1 - c.Quantile
	case c.Sigmas > 0:
		return math.Erfc(c.Sigmas/math.Sqrt2) / 2
	default:
		return 0
	}
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
