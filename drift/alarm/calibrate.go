package alarm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Calibration is a threshold for a model's alarms, and what it rests on. JSON keeps all of it.
type Calibration struct {
	Options Options `json:"options"` // with defaults
	Season  Season  `json:"season"`  // with which rows of the reference windows are compared
	Checks  []Check `json:"checks"`  // by column, then by distance
	Usual   float64 `json:"usual"`   // rows of the median window of the reference

	Threshold float64 `json:"threshold"` // of a window's score
	// Promised is the time between false alarms that holds with the stated confidence: what was
	// asked for, or less where the reference is too short to tell.
	Promised time.Duration `json:"promised"`
	// Expected is the best estimate of it, in windows: more, by what the threshold is higher for
	// confidence.
	Expected float64  `json:"expected_windows"`
	Warnings []string `json:"warnings,omitempty"`

	Windows   int     `json:"windows"`   // of the reference that were judged
	Effective float64 `json:"effective"` // windows that are like no other and would tell as much
	Gap       int     `json:"gap"`       // windows on either side that are alike
	Block     int     `json:"block"`     // windows of a block of the bootstrap
	Period    int     `json:"period"`    // windows of the season that blocks keep
	Tail      Tail    `json:"tail"`
}

// Tail is the generalised Pareto distribution of scores above a level.
type Tail struct {
	Level float64 `json:"level"`
	Scale float64 `json:"scale"`
	Shape float64 `json:"shape"`
	Peaks int     `json:"peaks"` // scores that it is fitted to
	Fit   float64 `json:"fit"`   // p-value: below 0.05 the peaks do not come of it
}

// LeastWindows is the number of judged windows that a reference must have.
const LeastWindows = 12

// Reach is how far beyond its windows a reference is trusted: no promise rests on a score that fewer
// than one in Reach times as many independent windows exceed, and none of k of n windows is longer
// than as many.
const Reach = 3

// alarmsPerStream is how many alarms a simulated stream has at the threshold.
const alarmsPerStream = 100

// Lengths of simulated streams, in windows.
const (
	leastStream = 10_000
	mostStream  = 300_000
)

// Calibrate finds the threshold by which a model's alarms, with all of its checks, k of n windows
// and until they close, open no more than once in opts.Every where nothing drifts. It is
// found from the windows of the reference, each scored by the reference without it (see scores),
// drawn in blocks, with a fitted tail beyond them, and is raised until it holds with
// opts.Confidence over bootstrap replicates of the reference.
//
// A reference that is too short for that gets a threshold for a shorter time, Promised, and a
// warning. Fewer than LeastWindows judged windows are ErrShortReference. ref is read only.
func Calibrate(ref Buckets, opts Options) (*Calibration, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := ref.Validate(o.Window); err != nil {
		return nil, err
	}
	s, c, err := score(&ref, o)
	if err != nil {
		return nil, err
	}
	f := fit{c: c, blocks: blocks{s.w.count, c.Period, c.Block}, scores: s.most}
	f.threshold()
	return c, nil
}

// score compares the windows of the reference with it, and says how they depend on each other.
func score(ref *Buckets, o Options) (*scores, *Calibration, error) {
	w := ref.windows(o.Window)
	judged := make([]bool, w.count)
	n := 0
	for i, rows := range ref.rows(w) {
		if judged[i] = rows >= float64(o.MinRows); judged[i] {
			n++
		}
	}
	if n < LeastWindows {
		return nil, nil, fmt.Errorf("%w: %d with at least %d rows, of at least %d", ErrShortReference, n, o.MinRows, LeastWindows)
	}
	c := &Calibration{Options: o, Windows: n, Period: blockPeriod(o.Window, w.count)}
	gap, per := memory(dependence(ref, w, judged, c.Period, w.count/8))
	c.Gap, c.Effective = gap, float64(n)/per
	c.Block = min(max(2*gap+1, o.N, c.Period), max(w.count/4, 1))
	s, err := bestSeason(ref, w, c)
	if err != nil {
		return nil, nil, err
	}
	c.Checks, c.Usual = s.checks, s.usual
	return s, c, nil
}

// blockPeriod is the longest season that the reference has often enough to draw from: 4 weeks, or
// 2 days; 1 where it has none.
func blockPeriod(window time.Duration, count int) int {
	if week%window == 0 && week > window && count >= 4*int(week/window) {
		return int(week / window)
	}
	if day%window == 0 && day > window && count >= 2*int(day/window) {
		return int(day / window)
	}
	return 1
}

// bestSeason scores the reference by the season that is asked for, or by the one to which its
// windows are nearest.
func bestSeason(ref *Buckets, w windows, c *Calibration) (*scores, error) {
	o := c.Options
	var best *scores
	for _, season := range []struct {
		name   Season
		length time.Duration
		auto   int // seasons that the reference must have where none is asked for
	}{{SeasonNone, o.Window, 0}, {SeasonDay, day, 7}, {SeasonWeek, week, 4}} {
		period := int(season.length / o.Window)
		fits := season.length%o.Window == 0 && (period > 1 || season.name == SeasonNone)
		switch {
		case o.Season == season.name && (!fits || w.count < 2*period):
			return nil, fmt.Errorf("%w: a season of a %s needs two of them, and windows that divide it", ErrShortReference, season.name)
		case o.Season != season.name && (o.Season != SeasonAuto || !fits || w.count < season.auto*period):
			continue
		}
		s := scoreReference(ref, w, o.MinRows, min(c.Gap, period*(w.count/period-1)/2), period, o.Workers)
		if best == nil || s.nearby < best.nearby {
			best, c.Season = s, season.name
		}
	}
	return best, nil
}

// fit finds the threshold of a calibration. world is a stream as long as many times between
// alarms; what is estimated from a reference is tried on it.
type fit struct {
	c      *Calibration
	blocks blocks
	scores []float64
	tail   *tail
	world  []float64
}

func (f *fit) random(stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(f.c.Options.Seed, stream)) //nolint:gosec // not for secrets
}

func (f *fit) threshold() {
	c, o := f.c, f.c.Options
	random := f.random(0)
	t := newTail(without(f.scores), 199, random)
	f.tail, c.Tail = t, Tail{Level: t.level, Scale: t.scale, Shape: t.shape, Peaks: t.peaks, Fit: t.fit}
	if t.fit < 0.05 {
		f.warn("the greatest scores of the reference do not follow a generalised Pareto distribution (p = %.3f): more false alarms are possible", t.fit)
	}
	every := float64(o.Every / o.Window)
	f.world = stream(f.blocks, f.scores, t, int(min(max(alarmsPerStream*every, leastStream), mostStream)), random)
	if every > Reach*c.Effective && o.K > 1 {
		every = Reach * c.Effective
	}
	least := 1 / (Reach * c.Effective)
	p := t.beyond(thresholdOf(f.world, o.Rule, every))
	if p < least {
		p = least
		every = f.between(t.quantile(p))
	}
	c.Threshold = t.quantile(p * f.caution(every))
	c.Expected = f.between(c.Threshold)
	c.Promised = o.Every
	if promised := time.Duration(math.Floor(every)) * o.Window; promised < o.Every {
		c.Promised = promised
		f.warn("a false alarm every %v was asked for; a reference of %d windows, which tell as much as %.0f that are independent, can promise one every %v",
			o.Every, c.Windows, c.Effective, promised)
	}
}

// between is the number of windows without an alarm until one opens, by that threshold.
func (f *fit) between(threshold float64) float64 {
	opened, closed := openings(f.world, f.c.Options.Rule, threshold)
	return float64(closed) / max(float64(opened), 0.5)
}

func (f *fit) warn(format string, args ...any) {
	f.c.Warnings = append(f.c.Warnings, fmt.Sprintf(format, args...))
}

// replicate is what would have been found by another reference.
type replicate struct {
	tail *tail
	p    float64 // share of windows above the threshold
}

// caution returns by what share fewer windows than a reference says must be above the threshold,
// since a reference is a sample: references of as many windows are drawn of the world, the
// threshold of each is tried on the world, and with it there must be no more alarms than stated in
// the mean, and for the stated share of the references (Beran 1987 calibrates intervals so).
func (f *fit) caution(every float64) float64 {
	o := f.c.Options
	found := f.replicates(every)
	rates := f.rates()
	holds := func(share float64) bool {
		mean, kept := 0.0, 0.0
		for _, r := range found {
			rate := rates.at(r.tail.quantile(r.p * share))
			mean += rate / float64(len(found))
			if rate*every <= 1 {
				kept++
			}
		}
		return mean*every <= 1 && kept >= o.Confidence*float64(len(found))
	}
	low, high := math.Log(1e-6), 0.0 // of the share; of low it is taken to hold
	if holds(1) {
		return 1
	}
	for range 20 {
		if middle := (low + high) / 2; holds(math.Exp(middle)) {
			low = middle
		} else {
			high = middle
		}
	}
	return math.Exp(low)
}

// replicates returns what references like this one would have found.
func (f *fit) replicates(every float64) []replicate {
	o := f.c.Options
	out := make([]replicate, o.Replicates)
	length := int(min(max(alarmsPerStream/4*every, leastStream/4), mostStream/4))
	each(len(out), o.Workers, func(i int) {
		random := f.random(uint64(i) + 1)
		scores := stream(f.blocks, f.scores, f.tail, f.blocks.windows, random)
		for j, x := range scores {
			if math.IsInf(x, -1) {
				scores[j] = math.NaN()
			}
		}
		some := without(scores)
		if len(some) < LeastWindows {
			out[i] = replicate{f.tail, 1}
			return
		}
		t := newTail(some, 0, nil)
		out[i].tail = t
		out[i].p = t.beyond(thresholdOf(stream(f.blocks, scores, t, length, random), o.Rule, every))
	})
	return out
}

// rateCurve is how often alarms open in the world where none is open, by threshold.
type rateCurve struct{ thresholds, rates []float64 }

// rates counts by thresholds that ever fewer windows are above.
func (f *fit) rates() rateCurve {
	var c rateCurve
	for p := 0.5; p*float64(len(f.world)) > 1; p /= 1.1 {
		u := f.tail.quantile(p)
		c.thresholds = append(c.thresholds, u)
		opened, closed := openings(f.world, f.c.Options.Rule, u)
		c.rates = append(c.rates, float64(opened)/float64(max(closed, 1)))
	}
	for i := len(c.rates) - 2; i >= 0; i-- { // the counts are of a sample: a lower threshold does not raise fewer alarms
		c.rates[i] = max(c.rates[i], c.rates[i+1])
	}
	return c
}

// at interpolates.
func (c rateCurve) at(threshold float64) float64 {
	i, _ := slices.BinarySearch(c.thresholds, threshold)
	switch {
	case i == 0:
		return c.rates[0]
	case i == len(c.rates):
		return 0
	}
	low, high := c.thresholds[i-1], c.thresholds[i]
	return c.rates[i-1] + (c.rates[i]-c.rates[i-1])*(threshold-low)/(high-low)
}
