package quality

import (
	"fmt"
	"math"
	"slices"
)

const (
	minLosses   = 500 // rows of a mean of losses, most of which a few rows may make up
	minMistaken = 30  // rows whose label has less than half of the probability, and rows that have more

	// Errors are heavy by the mean excess of the logarithms of their greatest tenth over its
	// least, 1/α of a Pareto tail (Hill 1975). It bounds what intervals of means are given
	// for: a lognormal with σ = 1.5 has 0.7, with σ = 2, of which few hold, 0.95; squares of
	// exponential errors have 0.65, those of a Pareto tail with α = 2.5 0.8 and those of
	// Student's t with 3 degrees 0.82, none of which have a variance. Unlike the skewness, it
	// does not say where rare great errors are lacking.
	maxTail        = 0.8
	maxSquaredTail = 0.7
	tailPart       = 0.1

	minErrors   = 1000 // rows of a mean of errors, some of which may be rare and great
	minSquared  = 2000 // rows of a mean of squared errors, most of which a few rows may make up
	maxKurtosis = 10   // of targets, whose spread R² is measured by
)

// moments are the sums that the interval of a mean takes.
type moments struct{ sum, squares, cubes sum }

// add counts w rows of x.
func (m *moments) add(w, x float64) {
	m.sum.addProduct(w, x)
	m.squares.addSquare(w, x)
	m.cubes.addSquare(w*x, x)
}

func (m *moments) merge(o moments) {
	m.sum.merge(o.sum)
	m.squares.merge(o.squares)
	m.cubes.merge(o.cubes)
}

// estimate is the mean over rows. It is undefined below two rows.
func (m *moments) estimate(of Metric, rows sum) (estimate, error) {
	n := rows.value()
	if n == 0 {
		return estimate{}, fmt.Errorf("%s: %w", of, ErrNoRows)
	}
	mean, err := finite(of, m.sum.value()/n)
	if err != nil {
		return estimate{}, err
	}
	if n < 2 {
		return estimate{}, undefined(of, "the interval needs at least two rows")
	}
	spread, err := finite(of, max(deviations(m.sum, m.squares, rows), 0))
	if err != nil {
		return estimate{}, err
	}
	e := estimate{value: mean, standardError: math.Sqrt(spread / (n - 1) / n), freedom: n - 1}
	if spread > 0 {
		// Cubes that overflow leave the skewness out.
		if k := cubed(m.sum, m.squares, m.cubes, rows) / spread / math.Sqrt(spread); !math.IsNaN(k) {
			e.skewness = k // of the mean: that of the rows over √n
		}
	}
	return e, nil
}

// tail counts sizes by quarters of an octave, so that the greatest of them can be weighed
// without keeping them.
type tail struct {
	rows, lowest float64 // all, and those of the sizes below counts
	first        int     // the quarter of counts[0]
	counts       []float64
}

func (t *tail) add(w, size float64) {
	t.rows += w
	switch {
	case size == 0:
		t.lowest += w
		return
	case math.IsInf(size, 1): // the figure overflows, and says so
		return
	}
	f, octave := math.Frexp(size)
	t.count(4*octave+int((f-0.5)*8), w)
}

func (t *tail) count(quarter int, w float64) {
	switch {
	case t.counts == nil:
		t.first, t.counts = quarter, make([]float64, 1, 64)
	case quarter < t.first:
		t.counts = append(make([]float64, t.first-quarter, t.first-quarter+len(t.counts)), t.counts...)
		t.first = quarter
	}
	for quarter-t.first >= len(t.counts) {
		t.counts = append(t.counts, 0)
	}
	t.counts[quarter-t.first] += w
}

func (t *tail) merge(o *tail) {
	t.rows += o.rows
	t.lowest += o.lowest
	for i, w := range o.counts {
		if w > 0 {
			t.count(o.first+i, w)
		}
	}
}

// weight is the mean excess of the logarithms of the greatest tenth of the sizes over the least of
// them; infinite where some of that tenth are 0. The logarithms of a quarter are taken to be spread
// evenly over it, so that sizes in other units weigh the same.
func (t *tail) weight() float64 {
	part := tailPart * t.rows
	left, logs := part, 0.0
	for at, w := range slices.Backward(t.counts) {
		from, to := logOf(t.first+at), logOf(t.first+at+1)
		if w < left {
			left -= w
			logs += w * (from + to) / 2
			continue
		}
		least := to - left/w*(to-from)
		return (logs+left*(least+to)/2)/part - least
	}
	return math.Inf(1)
}

// logOf is the logarithm of the least size of a quarter.
func logOf(quarter int) float64 {
	return float64(quarter>>2)*math.Ln2 + math.Log(0.5+float64(quarter&3)/8)
}

// enough returns why the interval of m, a mean of errors or of their squares, does not hold.
func (t *tail) enough(m Metric, rows float64) error {
	least, weight, most := minErrors, t.weight(), maxTail
	if m == MetricMSE || m == MetricRMSE || m == MetricR2 {
		least, weight, most = minSquared, 2*weight, maxSquaredTail
	}
	if rows < float64(least) {
		return fmt.Errorf("%s: %w: %v rows, at least %d are needed", m, ErrTooFew, rows, least)
	}
	if math.IsInf(weight, 1) {
		return fmt.Errorf("%s: %w: more than nine tenths of the predictions are exact", m, ErrTooFew)
	}
	if weight > most {
		return fmt.Errorf("%s: %w: the greatest errors make up the figure, their tail is %.2g, at most %v", m, ErrTooFew, weight, most)
	}
	return nil
}

// meanOf returns x / rows to double-double precision.
func meanOf(x, rows sum) sum {
	mean := sum{hi: x.value() / rows.value()}
	rest := x
	mean.add(rest.minus(mean.times(rows)) / rows.value())
	return mean
}

// deviations is Σw·(x-mean)² = Σw·x² - mean·Σw·x, which double-double sums can subtract.
func deviations(x, squares, rows sum) float64 {
	mean := meanOf(x, rows)
	return squares.minus(mean.times(x))
}

// cubed is Σw·(x-mean)³ = Σw·x³ - 3·mean·Σw·x² + 2·mean²·Σw·x.
func cubed(x, squares, cubes, rows sum) float64 {
	mean := meanOf(x, rows)
	square := mean.square()
	left, right := mean.times(squares), square.times(x)
	out := cubes
	out.merge(sum{2 * right.hi, 2 * right.lo})
	return out.minus(sum{3 * left.hi, 3 * left.lo})
}
