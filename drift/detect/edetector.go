package detect

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// Forms of EDetector: how its increments are gathered.
const (
	FormSR    = "sr"    // Shiryaev-Roberts: the sum over all times of a change
	FormCUSUM = "cusum" // the greatest of these
)

var forms = []string{FormSR, FormCUSUM} // the order is part of the saved state

// EDetectorConfig are the parameters of EDetector.
type EDetectorConfig struct {
	// RunLength is the mean number of values between false alarms, at least.
	RunLength float64 `json:"run_length"`
	// Mode says which changes of the mean count.
	Mode string `json:"mode"`
	Form string `json:"form"`
	// Low and High bound the values. One outside is refused.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Block is the number of values whose mean is one increment. See EDetector on dependence.
	Block int `json:"block"`
	// WarmStart is the number of values that the mean before the change is learned from, in whole
	// blocks; 0: Mean is given.
	WarmStart int     `json:"warm_start"`
	Mean      float64 `json:"mean"`
	// Miss is the probability that a learned bound of the mean is wrong. The threshold makes up
	// for it.
	Miss float64 `json:"miss"`
	// Slack is the change of the mean that is allowed, in the unit of the values.
	Slack float64 `json:"slack"`
}

// DefaultEDetectorConfig returns the parameters for a loss between 0 and 1 whose mean is learned.
// The source of the detector has no defaults; TestRunLength holds these.
func DefaultEDetectorConfig() EDetectorConfig {
	return EDetectorConfig{
		RunLength: 10_000, Mode: ModeUp, Form: FormSR, High: 1, Block: 20, WarmStart: 1000, Miss: 0.05,
	}
}

// Validate returns everything that is wrong.
func (c EDetectorConfig) Validate() error {
	var p parameters
	p.require(c.Block >= 1 && c.Block <= 1e6, "block", "1 to 1000000", c.Block)
	p.require(c.RunLength >= float64(max(c.Block, 1))*2 && c.RunLength <= 1e15, "run_length", "at least twice block, at most 1e15", c.RunLength)
	p.require(slices.Contains(modes, c.Mode), "mode", "up, down or both", c.Mode)
	p.require(slices.Contains(forms, c.Form), "form", "sr or cusum", c.Form)
	p.require(math.Abs(c.Low) <= maxMagnitude, "low", "between -1e140 and 1e140", c.Low)
	bounds := math.Abs(c.High) <= maxMagnitude && c.High-c.Low >= minSigma
	p.require(bounds, "high", "above low, at most 1e140", c.High)
	p.require(c.Slack >= 0 && (!bounds || c.Slack <= c.High-c.Low), "slack", "from 0 to high - low", c.Slack)
	if c.WarmStart == 0 {
		p.require(c.Mean >= c.Low && c.Mean <= c.High, "mean", "from low to high, where warm_start is 0", c.Mean)
	} else {
		p.require(c.WarmStart/10 >= c.Block && c.WarmStart <= 1e9, "warm_start", "0 (mean is given), or 10 blocks to 1e9", c.WarmStart)
		p.require(c.Mean == 0, "mean", "0 where warm_start learns it", c.Mean)
		p.require(c.Miss > 1e-9 && c.Miss <= 0.5, "miss", "above 1e-9, at most 0.5", c.Miss)
	}
	return p.err()
}

// bets are the shares of the capital that the increments of an EDetector put on a change: a
// change from the mean m0 to m1 grows fastest by (m1-m0)/(1-m0) of a 0/1 loss, and by more of a
// loss that varies less. All have the same weight.
var bets = [...]float64{1. / 256, 1. / 128, 1. / 64, 1. / 32, 1. / 16, 1. / 8, 1. / 4, 1. / 2, 3. / 4, 15. / 16}

const (
	// minMean bounds the mean before a change from below, so that an increment is finite.
	minMean = 1e-9
	// maxLearningBet is the truncation c of the predictable plug-in (Waudby-Smith and Ramdas).
	maxLearningBet = 0.5
)

// EDetector finds a change of the mean of bounded values, and promises how rarely it is wrong: a
// stream whose mean stays where it was has a false alarm every RunLength values on average, or
// more rarely, whatever its distribution. It is the e-detector for bounded values of Shin, Ramdas
// and Rinaldo ("E-detectors: a nonparametric framework for sequential change detection", New
// England Journal of Statistics in Data Science 2, 2024): with values x scaled to [0, 1], whose
// mean before the change is at most m0, the baseline increments of the bets b are
//
//	L = 1 + b (x/m0 - 1), E[L | past] <= 1
//
// which are gathered into M = L (M + 1), or in the form of CUSUM L max(M, 1). The mean E of M
// over the bets has E[E at t] <= E[t] for each stopping time t, so that E >= c first happens
// after c increments on average, at least. For a mean that falls the increments are those of 1-x;
// with both, E is the mean of the two.
//
// A learned m0 is the upper confidence bound of the values of the warm start, by predictable
// plug-in of the empirical Bernstein inequality (Waudby-Smith and Ramdas, "Estimating means of
// bounded random variables by betting", theorem 2). It is wrong with probability Miss; c is larger
// by 1/(1-Miss), which keeps the promise. After an alarm all is learned anew.
//
// Dependence: the promise holds where no past makes the mean of the next block greater than m0.
// For independent values a block of 1 does. Where errors come in runs, blocks much longer than a
// run have means that the past says little of, and m0 is no less than Student's bound of the means
// of the warm start's blocks, which holds for many blocks. Seasons longer than the warm start are
// changes; Slack allows for them.
type EDetector struct {
	base
	config EDetectorConfig

	inBlock int     // values of the block that is not full
	sum     float64 // of them, scaled
	learned learnedMean
	ready   bool    // low and high are there
	low     float64 // bounds of the mean before the change, scaled
	high    float64
	up      [len(bets)]float64 // M of each bet on a mean that grows
	down    [len(bets)]float64
}

// learnedMean is what the values of a warm start say.
type learnedMean struct {
	blocks      moments // of the means of the blocks
	n           int64
	sum         float64 // of the values
	deviations  float64 // squares, each from the mean of those before
	weights     float64 // sum of the bets
	weighted    float64 // sum of bet times value
	uncertainty float64 // sum of squared deviation times psi of the bet
}

// update takes the next of n values; miss is the probability that a bound is wrong.
func (l *learnedMean) update(x float64, n int64, miss float64) {
	mean := (0.5 + l.sum) / float64(l.n+1)
	variance := (0.25 + l.deviations) / float64(l.n+1)
	bet := math.Min(math.Sqrt(2*math.Log(1/miss)/(variance*float64(n))), maxLearningBet)
	l.n++
	l.sum += x
	l.weights += bet
	l.weighted += float64(bet * x)
	l.uncertainty += float64((x - mean) * (x - mean) * (-math.Log1p(-bet) - bet))
	after := (0.5 + l.sum) / float64(l.n+1)
	l.deviations += float64((x - after) * (x - after))
}

// bounds are those of the mean, each wrong with probability miss: the wider of those of the
// values and those of the blocks' means.
func (l *learnedMean) bounds(miss float64) (low, high float64) {
	center, width := l.weighted/l.weights, (math.Log(1/miss)+l.uncertainty)/l.weights
	n := float64(l.blocks.n)
	ofBlocks := distuv.StudentsT{Sigma: 1, Nu: n - 1}.Quantile(1-miss) * math.Sqrt(l.blocks.variance()/n)
	return math.Min(center-width, l.blocks.mean-ofBlocks), math.Max(center+width, l.blocks.mean+ofBlocks)
}

// NewEDetector returns a detector that has seen nothing.
func NewEDetector(c EDetectorConfig) (*EDetector, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("e_detector: %w", err)
	}
	d := &EDetector{config: c}
	d.restart()
	return d, nil
}

// restart forgets all values; a mean that is given stays.
func (d *EDetector) restart() {
	d.inBlock, d.sum, d.learned, d.drift = 0, 0, learnedMean{}, false
	d.up, d.down = [len(bets)]float64{}, [len(bets)]float64{}
	d.low, d.high, d.ready = 0, 0, false
	if d.config.WarmStart == 0 {
		mean := d.scale(d.config.Mean)
		d.bound(mean, mean)
	}
}

// bound ends the warm start.
func (d *EDetector) bound(low, high float64) {
	slack := d.config.Slack / (d.config.High - d.config.Low)
	d.low, d.high, d.ready = math.Min(math.Max(low-slack, 0), 1-minMean), math.Max(math.Min(high+slack, 1), minMean), true
}

func (d *EDetector) scale(value float64) float64 {
	return math.Min(math.Max((value-d.config.Low)/(d.config.High-d.config.Low), 0), 1)
}

// blocks is the number of those that a mean is learned from.
func (d *EDetector) blocks() int64 { return int64(d.config.WarmStart / d.config.Block) }

// miss is the probability that one bound is wrong.
func (d *EDetector) miss() float64 {
	if d.config.Mode == ModeBoth {
		return d.config.Miss / 2
	}
	return d.config.Miss
}

// Kind implements Detector.
func (d *EDetector) Kind() string { return KindEDetector }

// Config returns the parameters.
func (d *EDetector) Config() EDetectorConfig { return d.config }

// Bounds are those of the mean before a change, slack included, in the unit of the values; ok
// says whether they are there: the warm start is over.
func (d *EDetector) Bounds() (low, high float64, ok bool) {
	width := d.config.High - d.config.Low
	return d.config.Low + float64(d.low*width), d.config.Low + float64(d.high*width), d.ready
}

// EValue is what the threshold is for: the e-detector's value.
func (d *EDetector) EValue() float64 {
	var up, down float64
	for i := range bets {
		up += d.up[i]
		down += d.down[i]
	}
	if d.config.Mode == ModeBoth {
		return (up + down) / (2 * float64(len(bets)))
	}
	return (up + down) / float64(len(bets)) // one of them is 0
}

// Threshold is the e-value of an alarm: the run length in blocks, and more where the mean is
// learned.
func (d *EDetector) Threshold() float64 {
	c := d.config.RunLength / float64(d.config.Block)
	if d.config.WarmStart > 0 {
		c /= 1 - d.config.Miss
	}
	return c
}

// Update implements Detector: value is a number from low to high.
func (d *EDetector) Update(value float64) error {
	if !(value >= d.config.Low && value <= d.config.High) { // NaN, too
		return fmt.Errorf("e_detector: %w: %v, must be a number from %v to %v", ErrValue, value, d.config.Low, d.config.High)
	}
	if d.drift {
		d.restart()
	}
	x := d.scale(value)
	if !d.ready {
		d.learned.update(x, d.blocks()*int64(d.config.Block), d.miss())
	}
	d.sum += x
	d.inBlock++
	if d.inBlock == d.config.Block {
		mean := math.Min(d.sum/float64(d.inBlock), 1)
		d.inBlock, d.sum = 0, 0
		d.take(mean)
	}
	d.count()
	return nil
}

// take takes the mean of a block.
func (d *EDetector) take(x float64) {
	if !d.ready {
		d.learned.blocks.update(x)
		if d.learned.blocks.n == d.blocks() {
			d.bound(d.learned.bounds(d.miss()))
		}
		return
	}
	if d.config.Mode != ModeDown {
		d.gather(&d.up, x/d.high-1)
	}
	if d.config.Mode != ModeUp {
		d.gather(&d.down, (1-x)/(1-d.low)-1)
	}
	d.drift = d.EValue() >= d.Threshold()
}

// gather multiplies by the increments of an excess over the mean before the change.
func (d *EDetector) gather(m *[len(bets)]float64, excess float64) {
	for i, bet := range bets {
		increment := 1 + float64(bet*excess)
		if d.config.Form == FormCUSUM {
			m[i] = increment * math.Max(m[i], 1)
		} else {
			m[i] = increment * (m[i] + 1)
		}
	}
}

// AppendBinary implements encoding.BinaryAppender.
func (d *EDetector) AppendBinary(b []byte) ([]byte, error) {
	w := newWriter(b, KindEDetector)
	w.f64(d.config.RunLength)
	w.int(slices.Index(modes, d.config.Mode))
	w.int(slices.Index(forms, d.config.Form))
	w.f64(d.config.Low)
	w.f64(d.config.High)
	w.int(d.config.Block)
	w.int(d.config.WarmStart)
	w.f64(d.config.Mean)
	w.f64(d.config.Miss)
	w.f64(d.config.Slack)
	w.base(&d.base)
	w.int(d.inBlock)
	w.f64(d.sum)
	w.moments(&d.learned.blocks)
	w.i64(d.learned.n)
	for _, v := range []float64{d.learned.sum, d.learned.deviations, d.learned.weights, d.learned.weighted, d.learned.uncertainty} {
		w.f64(v)
	}
	for _, m := range [][len(bets)]float64{d.up, d.down} {
		for _, v := range m {
			w.f64(v)
		}
	}
	return w.close(), nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (d *EDetector) MarshalBinary() ([]byte, error) { return d.AppendBinary(nil) }

// UnmarshalBinary implements encoding.BinaryUnmarshaler; it changes nothing on an error.
func (d *EDetector) UnmarshalBinary(b []byte) error {
	r := newReader(b, KindEDetector)
	e := EDetector{config: EDetectorConfig{RunLength: r.f64()}}
	mode, form := r.int(), r.int()
	r.require(mode >= 0 && mode < len(modes), "mode")
	r.require(form >= 0 && form < len(forms), "form")
	c := &e.config
	c.Low, c.High, c.Block, c.WarmStart = r.f64(), r.f64(), r.int(), r.int()
	c.Mean, c.Miss, c.Slack = r.f64(), r.f64(), r.f64()
	if r.err == nil {
		c.Mode, c.Form = modes[mode], forms[form]
		r.parameters(c.Validate())
	}
	if r.err != nil {
		return fmt.Errorf("e_detector: %w", r.err)
	}
	e.restart()
	e.base = r.base()
	r.require(!e.warning, "warning")
	e.restore(r)
	if err := r.close(); err != nil {
		return fmt.Errorf("e_detector: %w", err)
	}
	*d = e
	return nil
}

// restore reads what follows the parameters and the base.
func (d *EDetector) restore(r *reader) {
	c, l := &d.config, &d.learned
	d.inBlock, d.sum = r.int(), r.f64()
	r.require(d.inBlock >= 0 && d.inBlock < c.Block && d.sum >= 0 && d.sum <= float64(d.inBlock), "block")
	l.blocks, l.n = r.moments(1), r.count()
	learning := l.blocks.n < d.blocks()
	full := l.blocks.n * int64(max(c.Block, 1))
	r.require(l.blocks.n <= d.blocks() && l.blocks.mean >= 0 && full+int64(d.inBlock) <= d.seen, "warm start")
	r.require(learning && l.n == full+int64(d.inBlock) || !learning && l.n == full, "warm start")
	for _, f := range []*float64{&l.sum, &l.deviations, &l.weights, &l.weighted, &l.uncertainty} {
		*f = r.f64()
		r.require(*f >= 0 && *f <= float64(l.n), "warm start")
	}
	r.require((l.n == 0 || l.weights > 0) && l.weighted <= l.weights, "warm start")
	if r.err == nil && l.n > 0 && !learning {
		d.bound(l.bounds(d.miss()))
	}
	for _, m := range []*[len(bets)]float64{&d.up, &d.down} {
		used := d.ready && c.Mode != ModeDown
		if m == &d.down {
			used = d.ready && c.Mode != ModeUp
		}
		for i := range m {
			m[i] = r.f64()
			r.require(m[i] >= 0 && (used || m[i] == 0), "e-value")
		}
	}
	e := d.EValue()
	r.require(finite(e) && d.drift == (e >= d.Threshold()), "e-value")
}
