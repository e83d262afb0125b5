package detect

import (
	"fmt"
	"slices"
)

// KSWINConfig are the parameters of KSWIN.
type KSWINConfig struct {
	Alpha      float64 `json:"alpha"`       // of the Kolmogorov-Smirnov test; one is made for every value
	WindowSize int     `json:"window_size"` // values kept
	StatSize   int     `json:"stat_size"`   // newest values, compared with as many older ones
	Seed       uint64  `json:"seed"`        // of the choice of the older ones; River's is random by default
}

// DefaultKSWINConfig returns River's defaults, and the seed 0.
func DefaultKSWINConfig() KSWINConfig {
	return KSWINConfig{Alpha: 0.005, WindowSize: 100, StatSize: 30}
}

// Validate returns everything that is wrong.
func (c KSWINConfig) Validate() error {
	var p parameters
	p.require(c.Alpha >= 0 && c.Alpha <= 1, "alpha", "between 0 and 1", c.Alpha)
	// SciPy's p-value, and so River's, is exact up to 10,000 values.
	p.require(c.StatSize >= 1 && c.StatSize <= 10_000, "stat_size", "1 to 10000", c.StatSize)
	// River takes smaller windows, and fails on the first test.
	p.require(c.WindowSize >= 2*c.StatSize, "window_size", "at least twice stat_size, to draw as many older values", c.WindowSize)
	p.require(c.WindowSize <= 1_000_000, "window_size", "at most 1000000", c.WindowSize)
	return p.err()
}

// KSWIN keeps a sliding window, and finds a drift where its newest values and a random choice
// of the older ones differ by a Kolmogorov-Smirnov test (Raab, Heusinger and Schleif 2020,
// "Reactive soft prototype computing for concept drift streams").
type KSWIN struct {
	base
	config KSWINConfig

	window    []float64 // ring of up to WindowSize values
	oldest    int
	random    twister
	statistic float64
	pValue    float64

	drawn, scratch  []int
	newer, selected []float64
}

// NewKSWIN returns a detector whose window begins with the newest of the given values, if any. Nothing
// is tested before the first Update.
func NewKSWIN(c KSWINConfig, window ...float64) (*KSWIN, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("kswin: %w", err)
	}
	d := &KSWIN{config: c}
	d.allocate()
	d.restart()
	for i, v := range window {
		if !finite(v) {
			return nil, fmt.Errorf("kswin: window: value %d: %w: %v is not finite", i, ErrValue, v)
		}
		d.push(v)
	}
	return d, nil
}

func (d *KSWIN) allocate() {
	d.window = make([]float64, 0, d.config.WindowSize)
	d.scratch = make([]int, d.config.WindowSize-d.config.StatSize)
	d.drawn = make([]int, d.config.StatSize)
	buffer := make([]float64, 2*d.config.StatSize)
	d.newer, d.selected = buffer[:d.config.StatSize], buffer[d.config.StatSize:]
}

// restart begins the random choice, too, from its seed again, as River does.
func (d *KSWIN) restart() {
	d.window, d.oldest = d.window[:0], 0
	d.statistic, d.pValue = 0, 1
	d.random.seed(d.config.Seed)
}

func (d *KSWIN) push(v float64) {
	if len(d.window) < d.config.WindowSize {
		d.window = append(d.window, v)
		return
	}
	d.window[d.oldest] = v
	d.oldest = (d.oldest + 1) % d.config.WindowSize
}

// at is the value at index i from the oldest.
func (d *KSWIN) at(i int) float64 { return d.window[(d.oldest+i)%len(d.window)] }

// Kind implements Detector.
func (d *KSWIN) Kind() string { return KindKSWIN }

// Config returns the parameters.
func (d *KSWIN) Config() KSWINConfig { return d.config }

// Width is the number of values in the window: StatSize after a drift, of which the next
// value leaves none, as in River.
func (d *KSWIN) Width() int { return len(d.window) }

// Test returns the statistic and p-value of the last test, 0 and 1 where there was none since
// the start or the last drift.
func (d *KSWIN) Test() (statistic, pValue float64) { return d.statistic, d.pValue }

// Update implements Detector: value is any finite number.
func (d *KSWIN) Update(value float64) error {
	if !finite(value) {
		return fmt.Errorf("kswin: %w: %v, must be finite", ErrValue, value)
	}
	if d.drift {
		d.restart()
		d.drift = false
	}
	d.push(value)
	if len(d.window) == d.config.WindowSize {
		d.test()
		// The least distance is River's, not in the paper.
		if d.drift = d.pValue <= d.config.Alpha && d.statistic > 0.1; d.drift {
			d.keepNewest()
		}
	}
	d.count()
	return nil
}

func (d *KSWIN) keepNewest() {
	older := d.config.WindowSize - d.config.StatSize
	for i := range d.newer {
		d.newer[i] = d.at(older + i) // was sorted by the test
	}
	d.window, d.oldest = append(d.window[:0], d.newer...), 0
}

func (d *KSWIN) test() {
	older := d.config.WindowSize - d.config.StatSize
	d.random.sample(d.drawn, older, d.scratch)
	for i, k := range d.drawn {
		d.selected[i] = d.at(k)
		d.newer[i] = d.at(older + i)
	}
	slices.Sort(d.selected)
	slices.Sort(d.newer)
	h := ksSteps(d.selected, d.newer)
	d.statistic = float64(h) / float64(len(d.newer))
	d.pValue = ksExact(len(d.newer), h)
}

// ksSteps is the Kolmogorov-Smirnov statistic of two sorted samples of one size, times that.
func ksSteps(a, b []float64) int {
	most, i, j := 0, 0, 0
	for i < len(a) && j < len(b) {
		v := min(a[i], b[j])
		for i < len(a) && a[i] == v {
			i++
		}
		for j < len(b) && b[j] == v {
			j++
		}
		most = max(most, i-j, j-i)
	}
	return most
}

// ksExact is the probability that two samples of n values each from one distribution have a
// statistic of at least h/n (Hodges 1958, equation 2.3: the paths from one corner of a square
// to the other that leave a strip around the diagonal, by reflection). The alternating series
// of binomials is summed from its last term, each as a factor of the one before.
func ksExact(n, h int) float64 {
	if h == 0 {
		return 1
	}
	p := 0.0
	for k := n / h; k >= 0; k-- {
		factor := 1.0
		for j := range h {
			factor = float64(n-k*h-j) * factor / float64(n+k*h+j+1)
		}
		p = factor * (1 - p)
	}
	return min(2*p, 1)
}

// AppendBinary implements encoding.BinaryAppender.
func (d *KSWIN) AppendBinary(b []byte) ([]byte, error) {
	w := newWriter(b, KindKSWIN)
	w.f64(d.config.Alpha)
	w.int(d.config.WindowSize)
	w.int(d.config.StatSize)
	w.u64(d.config.Seed)
	w.base(&d.base)
	w.f64(d.statistic)
	w.f64(d.pValue)
	words, next := d.random.state()
	w.int(next)
	for _, v := range words {
		w.u32(v)
	}
	w.int(len(d.window))
	for i := range d.window {
		w.f64(d.at(i))
	}
	return w.close(), nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (d *KSWIN) MarshalBinary() ([]byte, error) { return d.AppendBinary(nil) }

// UnmarshalBinary implements encoding.BinaryUnmarshaler; it changes nothing on an error.
func (d *KSWIN) UnmarshalBinary(b []byte) error {
	r := newReader(b, KindKSWIN)
	k := KSWIN{config: KSWINConfig{Alpha: r.f64(), WindowSize: r.int(), StatSize: r.int(), Seed: r.u64()}}
	r.parameters(k.config.Validate())
	k.base = r.base()
	r.require(!k.warning, "warning")
	k.statistic, k.pValue = r.f64(), r.f64()
	r.require(k.statistic >= 0 && k.statistic <= 1 && k.pValue >= 0 && k.pValue <= 1, "test")
	next := r.int()
	var words [twisterWords]uint32
	for i := range words {
		words[i] = r.u32()
	}
	r.require(k.random.setState(words, next), "random state")
	n := r.int()
	r.require(n >= 0 && n <= k.config.WindowSize, "length of the window")
	if r.err == nil && 8*n != len(r.b) {
		r.fail("a window of %d values in %d bytes", n, len(r.b))
	}
	if r.err == nil {
		k.allocate()
		for range n {
			v := r.f64()
			r.require(finite(v), "value in the window")
			k.window = append(k.window, v)
		}
	}
	if err := r.close(); err != nil {
		return fmt.Errorf("kswin: %w", err)
	}
	*d = k
	return nil
}
