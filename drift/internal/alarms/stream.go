package main

import (
	"math"
	"math/rand/v2"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/millrace/millrace/drift/alarm"
	"github.com/millrace/millrace/drift/profile"
)

// process is what rows are drawn of. A value is a season, a level that wanders, and noise of its
// own with variance 1; nothing drifts.
type process struct {
	columns int
	rows    int           // of a bucket
	bucket  time.Duration // of an hour or more
	daily   float64       // amplitude of the season of the day
	weekly  float64       // how much higher weekends are
	wander  float64       // standard deviation of the level
	memory  time.Duration // after which the level's autocorrelation is 1/e
	common  float64       // share of the level's variance, and of the noise's, that columns have in common
}

// generator draws the buckets of one stream.
type generator struct {
	process
	random  *rand.Rand
	at      int // bucket
	shared  float64
	levels  []float64
	season  []float64   // phase of the day, by column
	scaling []float64   // of the seasons, by column
	cells   [2][]uint16 // cell of a value by its place on the grid: of numeric columns, and of categories
	shift   float64     // added to the first column
}

const (
	gridFrom, gridSteps = -8.0, 64
	bins, categories    = 40, 10
)

func newGenerator(p process, seed, stream uint64) *generator {
	g := &generator{process: p, random: rand.New(rand.NewPCG(seed, stream))} //nolint:gosec // not for secrets
	g.levels = make([]float64, p.columns)
	for range p.columns {
		g.season = append(g.season, 2*math.Pi*g.random.Float64())
		g.scaling = append(g.scaling, 0.5+0.5*g.random.Float64())
	}
	d := distuv.Normal{Sigma: math.Sqrt(1 + p.wander*p.wander + p.daily*p.daily/4)}
	for i := range int(-2 * gridFrom * gridSteps) {
		share := d.CDF(gridFrom + (float64(i)+0.5)/gridSteps)
		g.cells[0] = append(g.cells[0], uint16(share*bins))
		g.cells[1] = append(g.cells[1], uint16(share*share*categories))
	}
	g.shared = g.random.NormFloat64()
	for i := range g.levels {
		g.levels[i] = g.random.NormFloat64()
	}
	return g
}

// numeric tells which columns are; each fifth has categories.
func numeric(column int) bool { return column%5 != 4 }

func (g *generator) names() []alarm.Column {
	out := make([]alarm.Column, g.columns)
	for i := range out {
		out[i] = alarm.Column{Name: "c" + string(rune('0'+i/100%10)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10)), Numeric: numeric(i)}
	}
	return out
}

func empty(columns int) alarm.Bucket {
	b := alarm.Bucket{Columns: make([]profile.Counts, columns)}
	for i := range b.Columns {
		n := categories
		if numeric(i) {
			n = bins
		}
		b.Columns[i].Cells = make([]int64, n)
	}
	return b
}

// add draws the rows of the next bucket and adds them to b.
func (g *generator) add(b *alarm.Bucket) {
	keep := math.Exp(-float64(g.bucket) / float64(g.memory))
	fresh := math.Sqrt(1 - keep*keep)
	g.shared = keep*g.shared + fresh*g.random.NormFloat64()
	hours := float64(g.at) * g.bucket.Hours()
	weekend := 0.0
	if math.Mod(hours/24, 7) >= 5 {
		weekend = g.weekly
	}
	own, common := math.Sqrt(1-g.common), math.Sqrt(g.common)
	mean := make([]float64, g.columns)
	for i := range mean {
		g.levels[i] = keep*g.levels[i] + fresh*g.random.NormFloat64()
		mean[i] = g.wander*(own*g.levels[i]+common*g.shared) + g.scaling[i]*(g.daily*math.Sin(2*math.Pi*hours/24+g.season[i])+weekend)
	}
	mean[0] += g.shift
	for range g.rows {
		all := common * g.random.NormFloat64()
		for i := range mean {
			x := mean[i] + all + own*g.random.NormFloat64()
			kind := 1
			if numeric(i) {
				kind = 0
			}
			k := min(max(int((x-gridFrom)*gridSteps), 0), len(g.cells[0])-1)
			b.Columns[i].Cells[g.cells[kind][k]]++
		}
	}
	b.Rows += int64(g.rows)
	g.at++
}

// take draws n windows of some buckets each, as buckets of their length.
func (g *generator) take(n, per int) alarm.Buckets {
	out := alarm.Buckets{Start: time.Unix(0, 0).UTC().Add(time.Duration(g.at) * g.bucket), Length: g.bucket * time.Duration(per), Columns: g.names()}
	for range n {
		b := empty(g.columns)
		for range per {
			g.add(&b)
		}
		out.Buckets = append(out.Buckets, b)
	}
	return out
}
