package reason_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/reason"
	"github.com/millrace/millrace/schemas"
)

// stream makes counts of buckets of a model with numbers n0, n1, … and categories c0, c1, …
// Levels move with the hour and, autocorrelated, from bucket to bucket; rows are few at night.
type stream struct {
	*rand.Rand
	numbers, categories int
	noise               float64 // deviation of a bucket's mean, in standard deviations
	season              float64 // amplitude over a day
	level               []float64
}

const perDay = 24 // buckets

var (
	edges = func() (out []float64) {
		for i := -19; i <= 19; i++ {
			out = append(out, float64(i)/7)
		}
		return out
	}()
	names = []string{"a", "b", "c", "d", "e"}
	begin = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
)

func newStream(seed uint64, noise, season float64) *stream {
	s := &stream{Rand: rand.New(rand.NewPCG(seed, 14)), numbers: 6, categories: 3, noise: noise, season: season}
	s.level = make([]float64, s.numbers+s.categories)
	return s
}

func (s *stream) columns() int { return s.numbers + s.categories }

func (s *stream) empty() []profile.Counts {
	out := make([]profile.Counts, s.columns())
	for i := range out {
		out[i].Cells = make([]int64, len(edges)+1)
		if i >= s.numbers {
			out[i].Cells = make([]int64, len(names))
		}
	}
	return out
}

// change is what happens to column on.
type change struct {
	kind string // missing, some missing, shift, spread, category, unlisted, constant; "" nothing
	on   int
}

// bucket counts rows into into.
func (s *stream) bucket(b, rows int, c change, into []profile.Counts) {
	hour := math.Sin(2 * math.Pi * float64(b%perDay) / perDay)
	for i := range s.level {
		s.level[i] = 0.7*s.level[i] + s.noise*math.Sqrt(1-0.49)*s.NormFloat64()
	}
	for range rows {
		for i := range into {
			kind := ""
			if i == c.on {
				kind = c.kind
			}
			if kind == "missing" || kind == "some missing" && s.IntN(10) < 2 {
				into[i].Missing++
				continue
			}
			if kind == "unlisted" && s.IntN(10) < 2 {
				into[i].Other++
				continue
			}
			if i >= s.numbers {
				w := []float64{40, 30, 15, 10 * math.Exp(s.level[i]+s.season*hour), 5}
				if kind == "category" {
					w[3] *= 2.2
				}
				into[i].Cells[s.pick(w, kind == "constant")]++
				continue
			}
			x := s.NormFloat64() + s.level[i] + s.season*hour
			switch kind {
			case "shift":
				x += 0.8
			case "spread":
				x *= 1.7
			case "constant":
				x = 0.01
			}
			cell := 0
			for cell < len(edges) && x >= edges[cell] {
				cell++
			}
			into[i].Cells[cell]++
		}
	}
}

func (s *stream) pick(weights []float64, only bool) int {
	if only {
		return 1
	}
	total := 0.0
	for _, w := range weights {
		total += w
	}
	x := s.Float64() * total
	for i, w := range weights {
		if x -= w; x < 0 {
			return i
		}
	}
	return len(weights) - 1
}

func (s *stream) name(i int) string {
	if i < s.numbers {
		return fmt.Sprintf("n%d", i)
	}
	return fmt.Sprintf("c%d", i-s.numbers)
}

func add(to, from []profile.Counts) {
	for i := range from {
		to[i].Missing += from[i].Missing
		to[i].Other += from[i].Other
		for k, n := range from[i].Cells {
			to[i].Cells[k] += n
		}
	}
}

// input is a reference of 14 days and then 5 days of buckets, the last of which is the window, with a
// change from bucket from on.
func (s *stream) input(c change, from, rows int) reason.Input {
	reference, window := s.empty(), s.empty()
	for b := range 14 * perDay {
		s.bucket(b, rows, change{}, reference)
	}
	in := reason.Input{Rows: uint64(rows * perDay), History: reason.History{Length: time.Hour}}
	in.Columns = make([]reason.Column, s.columns())
	const days = 5
	in.Start, in.End = begin.AddDate(0, 0, days-1), begin.AddDate(0, 0, days)
	for b := range days * perDay {
		of := change{}
		if b >= from {
			of = c
		}
		counts := s.empty()
		s.bucket(b, rows, of, counts)
		in.History.Starts = append(in.History.Starts, begin.Add(time.Duration(b)*time.Hour))
		for i := range counts {
			in.Columns[i].Buckets = append(in.Columns[i].Buckets, counts[i])
		}
		if b >= (days-1)*perDay {
			add(window, counts)
		}
	}
	for i := range in.Columns {
		col := &in.Columns[i]
		col.Name, col.Reference, col.Window = s.name(i), reference[i], window[i]
		if i < s.numbers {
			col.Edges = edges
		} else {
			col.Categories = names
		}
	}
	return in
}

// TestReasonIsRight simulates how often the changed column is named first and dated within a
// bucket, and how often a column that did not change is dated. The long form, by MILLRACE_TEST_LONG=1, has 200
// runs of each kind.
func TestReasonIsRight(t *testing.T) {
	const seed = 1
	runs := 12
	if os.Getenv("MILLRACE_TEST_LONG") != "" {
		runs = 200
	}
	t.Logf("seed %d, %d runs of each kind", seed, runs)
	kinds := []change{{"missing", 2}, {"some missing", 2}, {"shift", 1}, {"spread", 3}, {"constant", 4}, {"category", 7}, {"unlisted", 8}, {"constant", 6}}
	for _, world := range []struct {
		name          string
		noise, season float64
	}{{"calm", 0, 0}, {"bursts", 0.1, 0}, {"bursts and season", 0.1, 0.3}} {
		var first, dated, total, falsely, others int
		for k, c := range kinds {
			var firstK, datedK int
			for run := range runs {
				s := newStream(uint64(seed+1000*k+run), world.noise, world.season)
				from := 4*perDay + s.IntN(perDay-4) // within the window, with four buckets or more
				if run%3 == 0 {
					from -= perDay // or the day before
				}
				r, _ := reason.Of(s.input(c, from, 60))
				total++
				if len(r.Columns) > 0 && r.Columns[0].Column == s.name(c.on) {
					firstK++
					if at := r.Columns[0].Since; at != nil && math.Abs(at.Sub(begin).Hours()-float64(from)) <= 1 {
						datedK++
					}
				}
				for _, col := range r.Columns {
					if col.Column != s.name(c.on) {
						others++
						if col.Since != nil {
							falsely++
						}
					}
				}
			}
			t.Logf("%-18s %-13s named first %3d, dated within a bucket %3d, of %d", world.name, c.kind, firstK, datedK, runs)
			first, dated = first+firstK, dated+datedK
		}
		t.Logf("%-18s in all: named first %.3f, dated %.3f; other columns listed %d, of which dated %d, of %d columns", world.name,
			float64(first)/float64(total), float64(dated)/float64(total), others, falsely, total*8)
		require.GreaterOrEqual(t, float64(first)/float64(total), 0.95, world.name)
		require.GreaterOrEqual(t, float64(dated)/float64(total), 0.8, world.name)
		require.LessOrEqual(t, float64(falsely)/float64(total*8), 0.02, world.name)
	}
}

// TestNothingIsDated: on streams that do not change no since is claimed, or in few columns where levels
// wander from hour to hour by 0.3 standard deviations.
func TestNothingIsDated(t *testing.T) {
	const seed = 5
	runs := 40
	if os.Getenv("MILLRACE_TEST_LONG") != "" {
		runs = 500
	}
	t.Logf("seed %d, %d runs", seed, runs)
	for _, world := range []struct{ noise, season, most float64 }{{0, 0, 0.01}, {0.1, 0, 0.01}, {0.1, 0.3, 0.02}, {0.3, 0, 0.12}} {
		since, causes, yes, columns := 0, 0, 0, 0
		for run := range runs {
			s := newStream(uint64(seed+run), world.noise, world.season)
			in := s.input(change{}, 0, 60)
			for i := range in.Columns { // as if each had breached
				in.Checks = append(in.Checks, schemas.DriftResult{Column: in.Columns[i].Name, Stattest: "psi", Drifted: true})
			}
			r, _ := reason.Of(in)
			for _, c := range r.Columns {
				columns++
				if c.Since != nil {
					since++
				}
				if c.Cause {
					causes++
				}
			}
			if r.Matters != schemas.MattersUnknown {
				yes++
			}
		}
		t.Logf("noise %.1f, season %.1f: since claimed of %d of %d columns, causes %d, matters %d", world.noise, world.season, since, columns, causes, yes)
		require.LessOrEqual(t, float64(since)/float64(columns), world.most)
		require.Zero(t, causes)
		require.Zero(t, yes)
	}
}

// TestMattersAsOftenAsStated: where quality does not change it is called worse in at most 1 of 20
// windows, and a column that has nothing to do with it is not said to go with it in more than that.
func TestMattersAsOftenAsStated(t *testing.T) {
	const seed = 9
	runs := 2000
	t.Logf("seed %d, %d runs", seed, runs)
	random := rand.New(rand.NewPCG(seed, seed))
	for _, keep := range []float64{0, 0.8} { // the autocorrelation of windows
		var worse, goes, found int
		for range runs {
			in := reason.Input{Quality: reason.Quality{Metric: schemas.StattestAUC}}
			for i := range 4 {
				in.Columns = append(in.Columns, reason.Column{
					Name: fmt.Sprint("x", i), Categories: names[:2], Reference: profile.Counts{Cells: []int64{500, 500}}, Window: profile.Counts{Cells: []int64{400, 600}},
				})
			}
			level := make([]float64, 5)
			next := func(i int) float64 {
				level[i] = keep*level[i] + math.Sqrt(1-keep*keep)*random.NormFloat64()
				return level[i]
			}
			for range 30 {
				auc := 0.8 + 0.01*next(4)
				p := reason.Past{Realised: &auc, Scores: map[string]float64{}}
				for i := range 4 {
					p.Scores[fmt.Sprint("x", i)] = next(i)
				}
				in.Past = append(in.Past, p)
			}
			now := 0.8 + 0.01*next(4)
			in.Quality.Realised = &now
			r, _ := reason.Of(in)
			if r.Matters == schemas.MattersYes {
				worse++
			}
			for _, c := range r.Columns {
				require.NotNil(t, c.Correlation)
				if c.Goes {
					goes++
					break
				}
			}
			// The first column decides quality.
			for i := range in.Past {
				v := *in.Past[i].Realised*0.3 - 0.01*in.Past[i].Scores["x0"]
				in.Past[i].Realised = &v
			}
			in.Quality.Realised = nil
			if r, _ = reason.Of(in); r.Matters == schemas.MattersLikely && strings.Contains(r.Why, "`x0`") {
				found++
			}
		}
		t.Logf("autocorrelation %.1f: called worse %.3f, goes with quality %.3f, where it does %.3f", keep,
			float64(worse)/float64(runs), float64(goes)/float64(runs), float64(found)/float64(runs))
		require.LessOrEqual(t, float64(worse)/float64(runs), 0.065)
		require.LessOrEqual(t, float64(goes)/float64(runs), 0.09)
		require.GreaterOrEqual(t, float64(found)/float64(runs), 0.8)
	}
}
