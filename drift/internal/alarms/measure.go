package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/drift/alarm"
)

// testCase is a kind of stream, with what is asked of its alarms.
type testCase struct {
	Name string
	process
	per       int // buckets of a window
	reference int // windows
	every     int // windows
	k, n      int
	streams   int
	windows   int // judged, of a stream
}

const mostDelay = 60 // windows that a shift is waited for

// cases are those of the table.
func cases(quick bool) []testCase {
	daily := process{rows: 20, bucket: time.Hour, daily: 0.3, weekly: 0.3, wander: 0.15, memory: 12 * time.Hour, common: 0.3}
	hourly := daily
	hourly.rows, hourly.memory = 200, 6*time.Hour
	slow := daily
	slow.memory = 72 * time.Hour
	var out []testCase
	for _, columns := range []int{5, 50, 500} {
		streams := map[int]int{5: 60, 50: 30, 500: 12}[columns]
		if quick {
			if columns == 500 {
				break
			}
			streams = 12
		}
		for _, c := range []testCase{
			{Name: "days", process: daily, per: 24, reference: 28, every: 90, windows: 400},
			{Name: "days", process: daily, per: 24, reference: 91, every: 90, windows: 400},
			{Name: "days, slow", process: slow, per: 24, reference: 91, every: 90, windows: 400},
			{Name: "hours", process: hourly, per: 1, reference: 672, every: 336, windows: 2500},
		} {
			c.columns, c.streams = columns, streams
			c.k, c.n = 1, 1
			out = append(out, c)
			c.k, c.n = 2, 3
			out = append(out, c)
		}
	}
	return out
}

// figures are those of one way to alarm.
type figures struct {
	Windows       int       `json:"windows"`
	Alarms        int       `json:"alarms"`
	Open          float64   `json:"open"` // share of windows in which an alarm is open: alarms that do not close are few
	Rate          float64   `json:"rate"` // alarms, as a multiple of those that are promised; the mean over streams
	StandardError float64   `json:"standard_error"`
	Delays        []float64 `json:"delays"` // median, in windows, of shifts
	rates         []float64
	delays        [][]float64
}

func (f *figures) between() string {
	if f.Alarms == 0 {
		return fmt.Sprintf("> %d", f.Windows)
	}
	x := float64(f.Windows) / float64(f.Alarms)
	return fmt.Sprintf("%.1f ± %.1f", x, x*f.StandardError/max(f.Rate, 1e-9))
}

// shifts of the first column that are waited for.
var shifts = []float64{0.5, 1}

type result struct {
	Name      string  `json:"streams"`
	Columns   int     `json:"columns"`
	Reference int     `json:"reference"`
	K         int     `json:"k"`
	N         int     `json:"n"`
	Stated    float64 `json:"stated_windows"`
	Promised  float64 `json:"promised_windows"` // harmonic mean: of the rates
	Ours      figures `json:"alarm"`
	Sigma     figures `json:"three_sigma"`
	Drawn     figures `json:"expected_run_time"`
}

// one is what was measured of a stream, by way.
type one struct {
	promised float64
	alarms   [3]int
	open     [3]int // windows
	delays   [3][]float64
	err      error
}

func (c testCase) measure(seed uint64, workers int) (result, error) {
	found := make([]one, c.streams)
	var group sync.WaitGroup
	for g := range workers {
		group.Go(func() {
			for i := g; i < len(found); i += workers {
				found[i] = c.stream(seed, uint64(i))
			}
		})
	}
	group.Wait()
	r := result{Name: c.Name, Columns: c.columns, Reference: c.reference, K: c.k, N: c.n, Stated: float64(c.every)}
	ways := []*figures{&r.Ours, &r.Sigma, &r.Drawn}
	promised := 0.0
	for _, x := range found {
		if x.err != nil {
			return r, x.err
		}
		promised += 1 / x.promised
		for w, f := range ways {
			f.Windows += c.windows
			f.Alarms += x.alarms[w]
			f.Open += float64(x.open[w]) / float64(c.windows*len(found))
			f.rates = append(f.rates, float64(x.alarms[w])*x.promised/float64(c.windows))
			f.delays = append(f.delays, x.delays[w])
		}
	}
	r.Promised = float64(len(found)) / promised
	for _, f := range ways {
		f.summarise()
	}
	return r, nil
}

func (f *figures) summarise() {
	n := float64(len(f.rates))
	squares := 0.0
	for _, x := range f.rates {
		f.Rate += x / n
	}
	for _, x := range f.rates {
		squares += (x - f.Rate) * (x - f.Rate)
	}
	f.StandardError = math.Sqrt(squares / (n - 1) / n)
	for s := range shifts {
		var all []float64
		for _, d := range f.delays {
			all = append(all, d[s])
		}
		slices.Sort(all)
		f.Delays = append(f.Delays, all[(len(all)-1)/2])
	}
}

// stream calibrates on the first windows of a stream and judges later ones by the three ways.
func (c testCase) stream(seed, number uint64) (out one) {
	g := newGenerator(c.process, seed, number)
	ref := g.take(c.reference, c.per)
	window := c.bucket * time.Duration(c.per)
	cal, err := alarm.Calibrate(ref, alarm.Options{
		Window: window, Every: time.Duration(c.every) * window, Rule: alarm.Rule{K: c.k, N: c.n}, MinRows: 50, Replicates: 100, Seed: seed,
	})
	if err != nil {
		return one{err: err}
	}
	out.promised = float64(cal.Promised / window)
	ours, err := alarm.NewScorer(&ref, cal)
	if err != nil {
		return one{err: err}
	}
	others, err := c.others(&ref, cal, rand.New(rand.NewPCG(seed, 1<<32+number))) //nolint:gosec // not for secrets
	if err != nil {
		return one{err: err}
	}
	rule := cal.Options.Rule
	judge := func(b alarm.Bucket, start time.Time, states *[3]alarm.State) (opened [3]bool) {
		windows := [3]alarm.Window{{Start: start}, {Start: start}, {Start: start}}
		if x, e := ours.Score(start, b); e != nil {
			err = e
		} else {
			windows[0] = x.Window()
		}
		windows[1].Above, windows[2].Above = others.above(start, b)
		for w := range states {
			var t alarm.Transition
			states[w], t = rule.Decide(states[w], windows[w])
			opened[w] = t.Opened
		}
		return opened
	}
	next := func() (alarm.Bucket, time.Time) {
		x := g.take(1, c.per)
		return x.Buckets[0], x.Start
	}
	for range 10 { // what is alike in the reference and after it
		next()
	}
	var states [3]alarm.State
	for range c.windows {
		b, start := next()
		for w, opened := range judge(b, start, &states) {
			if opened {
				out.alarms[w]++
			}
			if states[w].Open {
				out.open[w]++
			}
		}
	}
	for _, size := range shifts {
		g.shift = size
		delay := [3]float64{mostDelay + 1, mostDelay + 1, mostDelay + 1}
		var states [3]alarm.State
		for i := range mostDelay {
			b, start := next()
			for w, opened := range judge(b, start, &states) {
				if opened {
					delay[w] = min(delay[w], float64(i+1))
				}
			}
		}
		for w := range delay {
			out.delays[w] = append(out.delays[w], delay[w])
		}
	}
	out.err = err
	return out
}
