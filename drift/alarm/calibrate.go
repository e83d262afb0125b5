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
// than one in Reach times as many windows exceed.
const Reach = 4

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

// fit finds the threshold of a calibration.
type fit struct {
	c      *Calibration
	blocks blocks
	scores []float64
}

func (f *fit) random(stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(f.c.Options.Seed, stream)) //nolint:gosec // not for secrets
}

func (f *fit) threshold() {
	c, o := f.c, f.c.Options
	random := f.random(0)
	t := newTail(without(f.scores), 199, random)
	c.Tail = Tail{Level: t.level, Scale: t.scale, Shape: t.shape, Peaks: t.peaks, Fit: t.fit}
	if t.fit < 0.05 {
		f.warn("the greatest scores of the reference do not follow a generalised Pareto distribution (p = %.3f): more false alarms are possible", t.fit)
	}
	every := float64(o.Every / o.Window)
	length := int(min(max(alarmsPerStream*every, leastStream), mostStream))
	null := stream(f.blocks, f.scores, t, length, random)
	allowed := int(float64(length) / every)
	most := t.quantile(1 / (Reach * c.Effective))
	if u := thresholdOf(null, o.Rule, allowed); u > most {
		every = float64(length) / float64(max(openings(null, o.Rule, most), 1))
	}
	thresholds := f.replicates(every)
	slices.Sort(thresholds)
	at := min(int(math.Ceil(o.Confidence*float64(len(thresholds)))), len(thresholds)) - 1
	c.Threshold = max(thresholds[at], thresholdOf(null, o.Rule, int(float64(length)/every)))
	c.Expected = float64(length) / float64(max(openings(null, o.Rule, c.Threshold), 1))
	c.Promised = o.Every
	if promised := time.Duration(math.Floor(every)) * o.Window; promised < o.Every {
		c.Promised = promised
		f.warn("a false alarm every %v was asked for; a reference of %d windows, which tell as much as %.0f that are independent, can promise one every %v",
			o.Every, c.Windows, c.Effective, promised)
	}
}

func (f *fit) warn(format string, args ...any) {
	f.c.Warnings = append(f.c.Warnings, fmt.Sprintf(format, args...))
}

// replicates returns the thresholds that references like this one would have had.
func (f *fit) replicates(every float64) []float64 {
	o := f.c.Options
	out := make([]float64, o.Replicates)
	length := int(min(max(alarmsPerStream/4*every, leastStream/4), mostStream/4))
	each(len(out), o.Workers, func(i int) {
		random := f.random(uint64(i) + 1)
		window, jitter := make([]int32, f.blocks.windows), make([]float64, f.blocks.windows)
		f.blocks.draw(random, window, jitter)
		scores := jitter
		for j, w := range window {
			scores[j] = f.scores[w]
		}
		some := without(scores)
		if len(some) < LeastWindows {
			out[i] = math.Inf(-1)
			return
		}
		null := stream(f.blocks, scores, newTail(some, 0, nil), length, random)
		out[i] = thresholdOf(null, o.Rule, int(float64(length)/every))
	})
	return out
}
