package alarm

import (
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/schemas"
)

// Card says how often the alarms of a calibration are wrong and how late they are, as simulated
// on its reference. All times are in windows.
type Card struct {
	Window    time.Duration `json:"window"`
	Promised  time.Duration `json:"promised"`
	Threshold float64       `json:"threshold"`
	Whole     FalseAlarms   `json:"whole"`  // of the model
	Checks    []CheckAlarms `json:"checks"` // of each check by itself, with the model's threshold
	Delays    []Delay       `json:"delays"`
	Warnings  []string      `json:"warnings,omitempty"`
}

// FalseAlarms is how often alarms open where nothing drifts.
type FalseAlarms struct {
	Windows       int     `json:"windows"` // simulated
	Alarms        int     `json:"alarms"`
	Between       float64 `json:"between"` // windows between alarms; with none, as many as were simulated, and there are more
	StandardError float64 `json:"standard_error"`
}

// CheckAlarms are those that one check would raise alone.
type CheckAlarms struct {
	Column   string           `json:"column"`
	Stattest schemas.Stattest `json:"stattest"`
	FalseAlarms
}

// DelayKind is what happens to a column.
type DelayKind string

// What happens to a column.
const (
	DelayShift    DelayKind = "shift"    // its values grow by Size standard deviations: of a normal distribution that has the reference's bins
	DelayMissing  DelayKind = "missing"  // a share Size of its values is missing
	DelayCategory DelayKind = "category" // its most frequent category with at most half of the rows has Size times as many, the others make room
)

// Delay is how many windows pass from a change until the alarm is open, the window with which it
// opens included: 1 is the earliest. The change is of one column, each in turn.
type Delay struct {
	Kind     DelayKind `json:"kind"`
	Size     float64   `json:"size"`
	Columns  int       `json:"columns"` // that were changed, each for itself
	Runs     int       `json:"runs"`
	Detected float64   `json:"detected"` // share of runs with an alarm in MostDelay windows
	Median   *float64  `json:"median"`   // nil where fewer runs have one
	P90      *float64  `json:"p90"`      // of nine in ten; nil where fewer have one
	// Always and Never are dummies: one whose every window is above the threshold, which has
	// an alarm after k windows and false ones whenever the last one closed, and one that has none.
	Always float64  `json:"always"`
	Never  *float64 `json:"never"` // nil: never
}

// Bounds of a card's simulation.
const (
	MostDelay   = 200 // windows that a change is waited for
	cardColumns = 20  // changed, evenly spaced
	cardRuns    = 40  // by column
	cardWindows = 20_000
)

// NewCard simulates the alarms of a calibration on its reference. The same arguments give the same
// card; it draws by the calibration's seed.
func NewCard(ref Buckets, c *Calibration) (*Card, error) {
	if err := ref.Validate(c.Options.Window); err != nil {
		return nil, err
	}
	o, err := c.Options.withDefaults()
	if err != nil {
		return nil, err
	}
	o.Season = c.Season
	s, _, err := score(&ref, o)
	if err != nil {
		return nil, err
	}
	f := fit{c: c, blocks: blocks{s.w.count, c.Period, c.Block}, scores: s.most}
	card := &Card{Window: o.Window, Promised: c.Promised, Threshold: c.Threshold, Warnings: c.Warnings}
	every := c.Expected
	card.Whole = f.falseAlarms(s.most, int(min(max(alarmsPerStream*every, leastStream), mostStream)), 1<<32)
	card.Checks = make([]CheckAlarms, len(s.checks))
	each(len(s.checks), o.Workers, func(i int) {
		card.Checks[i] = CheckAlarms{s.checks[i].Column, s.checks[i].Stattest, f.falseAlarms(s.z[i], cardWindows, 1<<33+uint64(i))}
	})
	d := delays{fit: f, s: s, ref: &ref}
	for _, x := range []struct {
		kind  DelayKind
		sizes []float64
	}{{DelayShift, []float64{0.1, 0.25, 0.5, 1}}, {DelayMissing, []float64{0.05, 0.1, 0.25, 0.5}}, {DelayCategory, []float64{2}}} {
		for _, size := range x.sizes {
			if delay, ok := d.of(x.kind, size); ok {
				card.Delays = append(card.Delays, delay)
			}
		}
	}
	return card, nil
}

// falseAlarms simulates a stream of scores of the reference. The standard error is that of a
// number of alarms that come independently, as a share of it.
func (f *fit) falseAlarms(z []float64, length int, seed uint64) FalseAlarms {
	random := f.random(seed)
	t := newTail(without(z), 0, nil)
	n, closed := openings(stream(f.blocks, z, t, length, random), f.c.Options.Rule, f.c.Threshold)
	between := float64(closed) / float64(max(n, 1))
	return FalseAlarms{Windows: length, Alarms: n, Between: between, StandardError: between / math.Sqrt(float64(max(n, 1)))}
}

// delays simulates changes of one column.
type delays struct {
	fit
	s   *scores
	ref *Buckets
}

func (d *delays) of(kind DelayKind, size float64) (Delay, bool) {
	var able []int
	for i, column := range d.ref.Columns {
		if column.Numeric && kind != DelayCategory || !column.Numeric && kind != DelayShift {
			able = append(able, i)
		}
	}
	picked := able
	if len(able) > cardColumns {
		picked = nil
		for i := range cardColumns {
			picked = append(picked, able[i*len(able)/cardColumns])
		}
	}
	out := Delay{Kind: kind, Size: size, Always: float64(d.c.Options.K)}
	var found []float64
	for _, c := range picked {
		changed := d.changed(c, kind, size)
		if changed == nil {
			continue
		}
		out.Columns++
		found = append(found, d.runs(changed, uint64(c))...)
	}
	if out.Columns == 0 {
		return out, false
	}
	out.Runs = len(found)
	slices.Sort(found)
	at := func(share float64) *float64 {
		x := found[max(int(math.Ceil(share*float64(len(found)))), 1)-1]
		if math.IsInf(x, 1) {
			return nil
		}
		return &x
	}
	for _, x := range found {
		if !math.IsInf(x, 1) {
			out.Detected += 1 / float64(out.Runs)
		}
	}
	out.Median, out.P90 = at(0.5), at(0.9)
	return out, true
}

// changed returns the score of each window of the reference with a column that has changed in
// it; nil where the column cannot change so.
func (d *delays) changed(c int, kind DelayKind, size float64) []float64 {
	cells, width := d.ref.column(c, d.s.w)
	sums, whole := d.s.sums(cells, width)
	change := changeOf(kind, size, whole)
	if change == nil {
		return nil
	}
	out := slices.Clone(d.s.most)
	m := measureOf(d.ref.Columns[c].Numeric, whole)
	tests := d.ref.Columns[c].tests()
	first := slices.IndexFunc(d.s.checks, func(x Check) bool { return x.Column == d.ref.Columns[c].Name })
	rest, now := make([]float64, width), make([]float64, width)
	for i := range out {
		if !d.s.judged[i] {
			continue
		}
		d.s.reference(rest, sums, cells, i)
		clear(now)
		for from, n := range cells[i*width : (i+1)*width] {
			for to, share := range change[from] {
				now[to] += n * share
			}
		}
		for t, test := range tests {
			check := &d.s.checks[first+t]
			z := (level(test, m.of(test, rest, now), d.s.rows[i], d.s.usual) - check.Mean) / check.Spread
			out[i] = max(out[i], z)
		}
	}
	return out
}

// runs returns the delay of each run, +Inf without an alarm. A run begins with windows as they
// were, as many as a rule remembers, until no alarm is open.
func (d *delays) runs(changed []float64, seed uint64) []float64 {
	random := d.random(1<<34 + seed)
	before := 4 * d.c.Options.N
	window, jitter := make([]int32, before+MostDelay), make([]float64, before+MostDelay)
	out := make([]float64, cardRuns)
	for run := range out {
		d.blocks.draw(random, window, jitter)
		var m machine
		out[run] = math.Inf(1)
		for i, w := range window {
			if !d.s.judged[w] {
				continue
			}
			if i < before {
				if opened, _ := m.next(d.c.Options.Rule, d.scores[w] > d.c.Threshold); opened {
					m = machine{}
				}
				continue
			}
			if opened, _ := m.next(d.c.Options.Rule, changed[w] > d.c.Threshold); opened {
				out[run] = float64(i - before + 1)
				break
			}
		}
	}
	return out
}
