package detect

import (
	"fmt"
	"math"
)

// ADWINConfig are the parameters of ADWIN.
type ADWINConfig struct {
	Delta           float64 `json:"delta"`             // confidence: about the rate of false alarms
	Clock           int     `json:"clock"`             // values between two searches for a cut
	MaxBuckets      int     `json:"max_buckets"`       // of a size, before two are merged
	MinWindowLength int     `json:"min_window_length"` // of both sides of a cut
	GracePeriod     int     `json:"grace_period"`      // no search while the window is not longer
}

// DefaultADWINConfig returns River's defaults.
func DefaultADWINConfig() ADWINConfig {
	return ADWINConfig{Delta: 0.002, Clock: 32, MaxBuckets: 5, MinWindowLength: 5, GracePeriod: 10}
}

// Validate returns everything that is wrong.
func (c ADWINConfig) Validate() error {
	var p parameters
	p.require(c.Delta > 0 && c.Delta < 1, "delta", "between 0 and 1", c.Delta)
	p.require(c.Clock >= 1, "clock", "at least 1", c.Clock)
	// With one bucket of a size a row can be empty below a full one, where River's window
	// loses count.
	p.require(c.MaxBuckets >= 2 && c.MaxBuckets <= 4096, "max_buckets", "2 to 4096", c.MaxBuckets)
	p.require(c.MinWindowLength >= 1, "min_window_length", "at least 1", c.MinWindowLength)
	p.require(c.GracePeriod >= 0, "grace_period", "at least 0", c.GracePeriod)
	return p.err()
}

// ADWIN keeps a window of variable length, and drops its older part when that has another
// mean than the rest (Bifet and Gavaldà 2007, "Learning from time-changing data with adaptive
// windowing"). The window is an exponential histogram with variances (Babcock, Datar, Motwani
// and O'Callaghan 2003), of O(max_buckets · log width) numbers.
type ADWIN struct {
	base
	config ADWINConfig

	rows     []buckets // buckets in row i stand for 2^i values; the oldest are in the last row
	width    float64
	total    float64
	variance float64 // sum of squared deviations
	ticks    int64   // since the start or the last drift
}

// buckets holds the buckets of one size, oldest first.
type buckets struct {
	n               int
	total, variance []float64 // max_buckets + 1 each
}

// NewADWIN returns a detector with an empty window.
func NewADWIN(c ADWINConfig) (*ADWIN, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("adwin: %w", err)
	}
	d := &ADWIN{config: c}
	d.grow()
	return d, nil
}

// Kind implements Detector.
func (d *ADWIN) Kind() string { return KindADWIN }

// Config returns the parameters.
func (d *ADWIN) Config() ADWINConfig { return d.config }

// Width is the length of the window.
func (d *ADWIN) Width() int64 { return int64(d.width) }

// Total is the sum of the window.
func (d *ADWIN) Total() float64 { return d.total }

// Variance is the sum of squared deviations in the window, which River calls so.
func (d *ADWIN) Variance() float64 { return d.variance }

// Mean is the mean of the window (River's estimation), 0 when it is empty.
func (d *ADWIN) Mean() float64 {
	if d.width == 0 {
		return 0
	}
	return d.total / d.width
}

// grow adds an empty row, of the buffers of an earlier one where there was one.
func (d *ADWIN) grow() *buckets {
	i := len(d.rows)
	if i < cap(d.rows) {
		d.rows = d.rows[:i+1]
	} else {
		d.rows = append(d.rows, buckets{})
	}
	r := &d.rows[i]
	r.n = 0
	if r.total == nil {
		buffer := make([]float64, 2*(d.config.MaxBuckets+1))
		r.total, r.variance = buffer[:d.config.MaxBuckets+1], buffer[d.config.MaxBuckets+1:]
	}
	return r
}

func (r *buckets) push(total, variance float64) {
	r.total[r.n], r.variance[r.n] = total, variance
	r.n++
}

// drop removes the n oldest buckets.
func (r *buckets) drop(n int) {
	copy(r.total, r.total[n:r.n])
	copy(r.variance, r.variance[n:r.n])
	r.n -= n
}

// Update implements Detector: value is any number up to 1e140.
func (d *ADWIN) Update(value float64) error {
	if err := checkMagnitude(value); err != nil {
		return fmt.Errorf("adwin: %w", err)
	}
	if d.drift {
		d.rows = d.rows[:0]
		d.grow()
		d.width, d.total, d.variance, d.ticks = 0, 0, 0, 0
	}
	d.insert(value)
	d.ticks++
	d.drift = d.ticks%int64(d.config.Clock) == 0 && d.width > float64(d.config.GracePeriod) && d.shrink()
	d.count()
	return nil
}

func (d *ADWIN) insert(value float64) {
	d.rows[0].push(value, 0)
	d.width++
	if d.width > 1 {
		deviation := value - d.total/(d.width-1)
		d.variance += (d.width - 1) * deviation * deviation / d.width
	}
	d.total += value

	for i := 0; d.rows[i].n > d.config.MaxBuckets; i++ {
		if i+1 == len(d.rows) {
			d.grow()
		}
		r := &d.rows[i]
		size := math.Ldexp(1, i)
		difference := r.total[0]/size - r.total[1]/size
		between := float64(size * 0.5 * difference * difference)
		d.rows[i+1].push(r.total[0]+r.total[1], r.variance[0]+r.variance[1]+between)
		r.drop(2)
	}
}

// shrink drops the oldest bucket as long as some cut of the window parts two means.
func (d *ADWIN) shrink() bool {
	shrunk := false
	for d.cut() {
		d.forget()
		shrunk = true
	}
	return shrunk
}

// cut looks for a cut, from the oldest bucket on, whose sides differ.
func (d *ADWIN) cut() bool {
	least := float64(d.config.MinWindowLength)
	n0, n1, u0, u1 := 0.0, d.width, 0.0, d.total
	for i := len(d.rows) - 1; i >= 0; i-- {
		size := math.Ldexp(1, i)
		r := &d.rows[i]
		for k := range r.n {
			n0 += size
			n1 -= size
			u0 += r.total[k]
			u1 -= r.total[k]
			if n0 >= least && n1 >= least && math.Abs(u0/n0-u1/n1) > d.epsilon(n0, n1) {
				return true
			}
		}
	}
	return false
}

// epsilon is the bound of the difference between the means of two sides (Bifet and Gavaldà,
// section 3.1), with River's lengths less the least one.
func (d *ADWIN) epsilon(n0, n1 float64) float64 {
	least := float64(d.config.MinWindowLength)
	delta := math.Log(2 * math.Log(d.width) / d.config.Delta)
	m := 1/(n0-least+1) + 1/(n1-least+1)
	return math.Sqrt(2*m*(d.variance/d.width)*delta) + float64(2.0/3*delta*m)
}

// forget drops the oldest bucket.
func (d *ADWIN) forget() {
	last := len(d.rows) - 1
	r := &d.rows[last]
	n, u, v := math.Ldexp(1, last), r.total[0], r.variance[0]
	d.width -= n
	d.total -= u
	difference := u/n - d.total/d.width
	d.variance -= v + float64(n*d.width*difference*difference/(n+d.width))
	r.drop(1)
	if r.n == 0 {
		d.rows = d.rows[:last]
	}
}

// AppendBinary implements encoding.BinaryAppender.
func (d *ADWIN) AppendBinary(b []byte) ([]byte, error) {
	w := newWriter(b, KindADWIN)
	w.f64(d.config.Delta)
	w.int(d.config.Clock)
	w.int(d.config.MaxBuckets)
	w.int(d.config.MinWindowLength)
	w.int(d.config.GracePeriod)
	w.base(&d.base)
	w.f64(d.total)
	w.f64(d.variance)
	w.i64(d.ticks)
	w.int(len(d.rows))
	for i := range d.rows {
		r := &d.rows[i]
		w.int(r.n)
		for k := range r.n {
			w.f64(r.total[k])
			w.f64(r.variance[k])
		}
	}
	return w.close(), nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (d *ADWIN) MarshalBinary() ([]byte, error) { return d.AppendBinary(nil) }

// UnmarshalBinary implements encoding.BinaryUnmarshaler; it changes nothing on an error.
func (d *ADWIN) UnmarshalBinary(b []byte) error {
	r := newReader(b, KindADWIN)
	a := ADWIN{config: ADWINConfig{
		Delta: r.f64(), Clock: r.int(), MaxBuckets: r.int(), MinWindowLength: r.int(), GracePeriod: r.int(),
	}}
	r.parameters(a.config.Validate())
	a.base = r.base()
	r.require(!a.warning, "warning")
	a.total, a.variance = r.f64(), r.f64()
	a.ticks = r.count()
	rows := r.int()
	r.require(rows >= 1 && rows <= 54, "number of rows")
	for i := 0; i < rows && r.err == nil; i++ {
		size := math.Ldexp(1, i)
		n := r.int()
		// Rows hold a bucket at least, but the first and only one of an empty window.
		r.require(n <= a.config.MaxBuckets && (n >= 1 || n == 0 && rows == 1), "number of buckets")
		row := a.grow()
		for k := 0; k < n && r.err == nil; k++ {
			total := r.magnitude(maxMagnitude*size, "total of a bucket")
			variance := r.magnitude(4*maxMagnitude*maxMagnitude*size, "variance of a bucket")
			r.require(variance >= 0, "variance of a bucket")
			row.push(total, variance)
		}
		a.width += float64(n) * size
	}
	r.require(a.width <= float64(a.ticks) && a.ticks <= a.seen, "width")
	r.require(math.Abs(a.total) <= maxMagnitude*math.Max(a.width, 1), "total")
	r.require(math.Abs(a.variance) <= 4*maxMagnitude*maxMagnitude*math.Max(a.width, 1), "variance")
	if err := r.close(); err != nil {
		return fmt.Errorf("adwin: %w", err)
	}
	*d = a
	return nil
}
