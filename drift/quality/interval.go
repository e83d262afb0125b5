package quality

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/integrate/quad"
	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// Interval is a two-sided confidence interval.
type Interval struct{ Low, High float64 }

func checkConfidence(confidence float64) error {
	if !(confidence > 0 && confidence < 1) {
		return fmt.Errorf("confidence %v, must be between 0 and 1, such as 0.95", confidence)
	}
	return nil
}

// normal returns the two-sided quantile of the standard normal distribution.
func normal(confidence float64) float64 { return -mathext.NormalQuantile((1 - confidence) / 2) }

// Wilson is the score interval of a share (Wilson 1927): of successes among rows.
func Wilson(successes, rows, confidence float64) (Interval, error) {
	if err := checkConfidence(confidence); err != nil {
		return Interval{}, err
	}
	if !(successes >= 0 && successes <= rows) || math.IsInf(rows, 1) {
		return Interval{}, fmt.Errorf("wilson: %v successes of %v rows", successes, rows)
	}
	if rows == 0 {
		return Interval{}, fmt.Errorf("wilson: %w", ErrNoRows)
	}
	z := normal(confidence)
	high := func(p float64) float64 {
		zz := z * z / rows
		return min((p+zz/2+z*math.Sqrt(p*(1-p)/rows+zz/rows/4))/(1+zz), 1)
	}
	// The other end of the complement: a difference would lose digits near 0.
	p := successes / rows
	top := high(p)
	if p == 0 {
		return Interval{High: top}, nil
	}
	return Interval{Low: p / top * p / (1 + z*z/rows), High: top}, nil
}

// Student is the interval of the mean of rows of the given mean and sample standard
// deviation (Student 1908). It needs at least two rows.
func Student(mean, deviation, rows, confidence float64) (Interval, error) {
	if err := checkConfidence(confidence); err != nil {
		return Interval{}, err
	}
	if math.IsNaN(mean) || math.IsInf(mean, 0) || !(deviation >= 0) || math.IsInf(deviation, 1) || math.IsNaN(rows) || math.IsInf(rows, 0) {
		return Interval{}, fmt.Errorf("student: mean %v, deviation %v of %v rows, must be finite", mean, deviation, rows)
	}
	if rows < 2 {
		return Interval{}, fmt.Errorf("student: %w: %v rows, needs at least 2", ErrUndefined, rows)
	}
	half := student(confidence, rows-1) * deviation / math.Sqrt(rows)
	if math.IsInf(half, 0) || math.IsNaN(half) {
		return Interval{}, fmt.Errorf("student: %w", ErrOverflow)
	}
	return Interval{mean - half, mean + half}, nil
}

// student returns the two-sided quantile of Student's distribution of nu degrees of freedom.
func student(confidence, nu float64) float64 {
	// gonum's quantile loses digits with nu, all of them from 100,000, and near 0.
	if nu <= 32 && confidence >= 0.5 {
		return -distuv.StudentsT{Sigma: 1, Nu: nu}.Quantile((1 - confidence) / 2)
	}
	x := nu / 2
	scale := math.Exp(x*math.Log1p(0.5/x)-0.5+stirling(x+0.5)-stirling(x)) / math.Sqrt(2*math.Pi)
	density := func(t float64) float64 { return scale * math.Exp(-(nu+1)/2*math.Log1p(t*t/nu)) }
	// By Newton's method, which does not overshoot from below: the density falls. Above the
	// median, from the Cornish–Fisher expansion (Abramowitz and Stegun 26.7.5).
	t := confidence / 2 / scale
	if confidence >= 0.5 {
		z := normal(confidence)
		t = z + z*(z*z+1)/4/nu
	}
	for range 8 {
		step := (quad.Fixed(density, 0, t, 64, quad.Legendre{}, 0) - confidence/2) / density(t)
		if !(math.Abs(step) < t/2) {
			break // a confidence so near 1 that the area knows no more digits: the expansion does
		}
		t -= step
	}
	return t
}

// ErrTooFew is returned where the rows are too few for an interval that holds what it says.
// Its message says how many there are and how many it takes.
var ErrTooFew = errors.New("too few for an interval")

// Where intervals are given: below, simulated coverage at 95 % leaves 93 to 97 %
// (make bench-coverage; the tables are in drift/README.md). The limits are numbers of rows
// and outcomes, since limits on the spread or the skewness of a sample would pick the samples
// that lack their rare large values, and an interval misses just in those.
const (
	minRows     = 30  // of a share
	minOutcomes = 5   // rows that count towards a share, and rows that do not
	minSkewed   = 200 // of a figure whose rows may be left out, which may be skewed
)

// MidP is the interval of a share by exact binomial tails, the outcome itself counted half
// (mid-p; Lancaster 1961, Berry and Armitage 1995). Its ends are the shares at which the
// tail beyond the successes has half of what the confidence leaves. Fractional rows, of
// weights, are interpolated by the beta function. Beyond 10,000 successes and failures it is
// Wilson's, from which it then differs by less than a row.
func MidP(successes, rows, confidence float64) (Interval, error) {
	wilson, err := Wilson(successes, rows, confidence)
	if err != nil || min(successes, rows-successes) > 1e4 {
		return wilson, err
	}
	// upper is the probability of more than the successes, and half that of as many.
	upper := func(p float64) float64 {
		above, from := 0.0, 1.0
		if successes < rows {
			above = mathext.RegIncBeta(successes+1, rows-successes, p)
		}
		if successes > 0 {
			from = mathext.RegIncBeta(successes, rows-successes+1, p)
		}
		return (above + from) / 2
	}
	where := func(tail float64) float64 { // upper grows from at most a half to at least a half
		low, high := 0.0, 1.0
		for low < high {
			p := low + (high-low)/2
			if p == low || p == high {
				break
			}
			if upper(p) < tail {
				low = p
			} else {
				high = p
			}
		}
		return high
	}
	out := Interval{Low: 0, High: 1}
	if successes > 0 {
		out.Low = where((1 - confidence) / 2)
	}
	if successes < rows {
		out.High = where(1 - (1-confidence)/2)
	}
	return out, nil
}

// shareInterval is MidP's of rows that are right, where there are enough of them. what names
// the others, such as "wrong".
func shareInterval(m Metric, right, rows, confidence float64, counted, others string) (Interval, error) {
	i, err := MidP(right, rows, confidence)
	switch few := math.Min(right, rows-right); {
	case err != nil:
		return Interval{}, fmt.Errorf("%s: %w", m, err)
	case rows < minRows:
		return Interval{}, fmt.Errorf("%s: %w: %v rows, at least %d are needed", m, ErrTooFew, rows, minRows)
	case right == rows:
		return Interval{}, fmt.Errorf("%s: %w: all of %v rows are %s; %s",
			m, ErrTooFew, rows, counted, atLeast(allRight(rows, confidence), confidence))
	case few < minOutcomes && few == right:
		return Interval{}, fmt.Errorf("%s: %w: %v of %v rows are %s, at least %d are needed", m, ErrTooFew, right, rows, counted, minOutcomes)
	case few < minOutcomes:
		return Interval{}, fmt.Errorf("%s: %w: %v of %v rows are %s, at least %d are needed", m, ErrTooFew, rows-right, rows, others, minOutcomes)
	}
	return i, nil
}

// allRight is the least share of which all rows come out right with a probability of at
// least 1 - confidence: Clopper and Pearson's one-sided bound (1934), by which up to 3/rows
// may be wrong at 95 % (rule of three).
func allRight(rows, confidence float64) float64 { return math.Pow(1-confidence, 1/rows) }

func atLeast(bound, confidence float64) string {
	return fmt.Sprintf("at least %.4g at %.4g %% confidence", bound, 100*confidence)
}

func atMost(bound, confidence float64) string {
	return fmt.Sprintf("at most %.4g at %.4g %% confidence", bound, 100*confidence)
}

// AccuracyInterval is MidP's of the accuracy. Weights count as rows. It is ErrTooFew below 30
// rows, or 5 right or wrong ones.
func (c *Confusion) AccuracyInterval(confidence float64) (Interval, error) {
	var right sum
	for i := range c.classes {
		right.merge(c.cells[i*c.classes+i])
	}
	n := c.Rows()
	return shareInterval(MetricAccuracy, min(right.value(), n), n, confidence, "right", "wrong")
}

// PrecisionInterval is MidP's of the precision of a class. It is undefined when the class was
// never predicted, and ErrTooFew below 30 such rows, or 5 right or wrong ones.
func (c *Confusion) PrecisionInterval(class int, confidence float64) (Interval, error) {
	_, predicted := c.margins()
	return c.classInterval(MetricPrecision, class, predicted, confidence)
}

// RecallInterval is MidP's of the recall of a class. It is undefined when no row is labelled
// so, and ErrTooFew below 30 such rows, or 5 found or missed ones.
func (c *Confusion) RecallInterval(class int, confidence float64) (Interval, error) {
	labelled, _ := c.margins()
	return c.classInterval(MetricRecall, class, labelled, confidence)
}

func (c *Confusion) classInterval(m Metric, class int, of []sum, confidence float64) (Interval, error) {
	if err := checkLabels([]int{class}, c.classes); err != nil {
		return Interval{}, fmt.Errorf("%s: %w", m, err)
	}
	n := of[class].value()
	if n == 0 {
		return Interval{}, undefined(m, fmt.Sprintf("class %d has no rows", class))
	}
	counted, others := "right", "wrong"
	if m == MetricRecall {
		counted, others = "found", "missed"
	}
	return shareInterval(m, min(c.Count(class, class), n), n, confidence, counted, others)
}

// estimate is a figure with its standard error, the skewness of its sampling distribution
// and the degrees of freedom of the error.
type estimate struct{ value, standardError, skewness, freedom float64 }

// student is Student's interval.
func (e estimate) student(confidence float64) Interval {
	half := student(confidence, e.freedom) * e.standardError
	return Interval{e.value - half, e.value + half}
}

// hall is Hall's interval, which takes the skewness off the t statistic by a cubic (Hall, On the
// removal of skewness by transformation, 1992; here with Student's quantiles).
func (e estimate) hall(confidence float64) Interval {
	k := e.skewness
	if !(math.Abs(k) > 1e-6) {
		return e.student(confidence)
	}
	t := student(confidence, e.freedom)
	inverse := func(y float64) float64 { return 3 / k * (math.Cbrt(1+k*(y-k/6)) - 1) }
	return Interval{e.value - e.standardError*inverse(t), e.value - e.standardError*inverse(-t)}
}

// interval holds both Student's interval and Hall's. Hall's alone is too short where the
// skewness of a symmetric sample is chance, Student's alone is too short above where it is not.
func (e estimate) interval(confidence float64) Interval {
	return e.student(confidence).hull(e.hall(confidence))
}

// hull is from the lower of both low ends to the higher of both high ones.
func (i Interval) hull(o Interval) Interval { return Interval{min(i.Low, o.Low), max(i.High, o.High)} }
