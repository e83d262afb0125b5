package main

import (
	"fmt"
	"os"
	"sort"
	"testing"
	"time"

	"github.com/millrace/millrace/drift/alarm"
)

func TestDiag(t *testing.T) {
	if os.Getenv("DIAG") == "" { t.Skip() }
	p := process{columns: 5, rows: 20, bucket: time.Hour, daily: .3, weekly: .3, wander: .15, memory: 12*time.Hour, common: .3}
	n := 28
	for _, season := range []alarm.Season{alarm.SeasonAuto, alarm.SeasonNone, alarm.SeasonWeek} {
	var rates, opens []float64
	pairs, singles := 0.0, 0.0
	for r := range 60 {
		g := newGenerator(p, 7, uint64(r))
		ref := g.take(n, 24)
		cal, err := alarm.Calibrate(ref, alarm.Options{Window: 24*time.Hour, Every: 90*24*time.Hour, Rule: alarm.Rule{K: 2, N: 3}, Season: season, Replicates: 100, MinRows: 50})
		if err != nil { t.Fatal(err) }
		s, _ := alarm.NewScorer(&ref, cal)
		var st alarm.State
		o, a := 0.0, 0.0
		prev := false
		for range 500 {
			b := empty(p.columns)
			at := g.at
			for range 24 { g.add(&b) }
			x, _ := s.Score(time.Unix(0,0).Add(time.Duration(at)*time.Hour), b)
			w := x.Window()
			var tr alarm.Transition
			st, tr = cal.Options.Decide(st, w)
			if tr.Opened { o++ }
			if w.Above { a++; singles++; if prev { pairs++ } }
			prev = w.Above
		}
		rates = append(rates, a/500); opens = append(opens, o/500*90)
	}
	sort.Float64s(rates); sort.Float64s(opens)
	sum, so := 0.0, 0.0
	for i := range rates { sum += rates[i]/60; so += opens[i]/60 }
	fmt.Printf("%s marginal mean %.3f quantiles %.3f %.3f %.3f %.3f; openings×90 mean %.2f q %.2f %.2f %.2f %.2f; P(above|above before) %.2f\n", season, sum, rates[6], rates[30], rates[48], rates[56], so, opens[6], opens[30], opens[48], opens[56], pairs/singles)
	}
}
