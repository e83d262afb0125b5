package main

import (
	"fmt"
	"math"
	"testing"
	"time"
	"os"
	"strconv"

	"github.com/millrace/millrace/drift/alarm"
)

func TestTune(t *testing.T) {
	refs, _ := strconv.Atoi(os.Getenv("REFS"))
	if refs == 0 { t.Skip() }
	day := 24*time.Hour
	for _, c := range []struct{ name string; p process; per, n, measure int; every time.Duration; k, nn int }{
		{"day28", process{columns: 5, rows: 20, bucket: time.Hour, daily: .3, weekly: .3, wander: .15, memory: 12*time.Hour, common: .3}, 24, 28, 500, 90*day, 1, 1},
		{"day28 2/3", process{columns: 5, rows: 20, bucket: time.Hour, daily: .3, weekly: .3, wander: .15, memory: 12*time.Hour, common: .3}, 24, 28, 500, 90*day, 2, 3},
		{"day91", process{columns: 5, rows: 20, bucket: time.Hour, daily: .3, weekly: .3, wander: .15, memory: 12*time.Hour, common: .3}, 24, 91, 500, 90*day, 1, 1},
		{"day91 2/3", process{columns: 5, rows: 20, bucket: time.Hour, daily: .3, weekly: .3, wander: .15, memory: 12*time.Hour, common: .3}, 24, 91, 500, 90*day, 2, 3},
		{"hour672", process{columns: 5, rows: 200, bucket: time.Hour, daily: .3, weekly: .3, wander: .15, memory: 6*time.Hour, common: .3}, 1, 672, 4000, 14*day, 1, 1},
		{"hour672 2/3", process{columns: 5, rows: 200, bucket: time.Hour, daily: .3, weekly: .3, wander: .15, memory: 6*time.Hour, common: .3}, 1, 672, 4000, 14*day, 2, 3},
		{"day91 slow", process{columns: 5, rows: 20, bucket: time.Hour, daily: .3, weekly: .3, wander: .15, memory: 72*time.Hour, common: .3}, 24, 91, 500, 90*day, 1, 1},
	} {
		if f := os.Getenv("ONLY"); f != "" && f != c.name { continue }
		start := time.Now()
		var total, alarms, promised, expected float64
		var per []float64
		var tc time.Duration
		win := time.Duration(c.per)*c.p.bucket
		season := map[alarm.Season]int{}
		var last *alarm.Calibration
		for r := range refs {
			g := newGenerator(c.p, 7, uint64(r))
			ref := g.take(c.n, c.per)
			t0 := time.Now()
			cal, err := alarm.Calibrate(ref, alarm.Options{Window: win, Every: c.every, Rule: alarm.Rule{K: c.k, N: c.nn}, Seed: 1, Replicates: 100, MinRows: 50})
			if err != nil { t.Fatal(err) }
			tc += time.Since(t0)
			last = cal
			season[cal.Season]++
			s, err := alarm.NewScorer(&ref, cal)
			if err != nil { t.Fatal(err) }
			var st alarm.State
			opened := 0.0
			for range 10 { b := empty(c.p.columns); for range c.per { g.add(&b) } }
			for i := range c.measure {
				b := empty(c.p.columns)
				at := g.at
				for range c.per { g.add(&b) }
				x, err := s.Score(time.Unix(0,0).Add(time.Duration(at)*c.p.bucket), b)
				if err != nil { t.Fatal(err) }
				var tr alarm.Transition
				st, tr = cal.Options.Decide(st, x.Window())
				if tr.Opened { opened++ }
				_ = i
			}
			total += float64(c.measure); alarms += opened
			promised += float64(win)/float64(cal.Promised)
			expected += 1/cal.Expected
			per = append(per, opened*float64(cal.Promised/win)/float64(c.measure))
		}
		var m, v float64
		for _, x := range per { m += x/float64(len(per)) }
		for _, x := range per { v += (x-m)*(x-m) }
		fmt.Printf("%-12s stated %v promised(h) %.0f expected %.0f measured %.1f  ratio rate/promised %.2f ± %.2f seasons %v gap %d block %d eff %.0f tail %+v cal %v all %v\n", c.name, c.every/win, float64(refs)/promised, float64(refs)/expected, total/alarms, m, math.Sqrt(v)/float64(len(per)), season, last.Gap, last.Block, last.Effective, last.Tail, tc/time.Duration(refs), time.Since(start))
	}
}
