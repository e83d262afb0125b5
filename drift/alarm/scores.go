package alarm

import (
	"math"
	"slices"
	"sync"

	"github.com/millrace/millrace/schemas"
)

// Check is one distance of a column, and what it is where nothing drifts.
type Check struct {
	Column   string           `json:"column"`
	Stattest schemas.Stattest `json:"stattest"`
	Expected float64          `json:"expected"` // mean distance of windows of the reference
	Mean     float64          `json:"mean"`     // of the level, which is the root of psi, and the distance else
	Spread   float64          `json:"spread"`   // standard deviation of the level
}

// scores are those of the windows of a reference, each compared with the reference without the
// windows near it, and standardised by windows that are not near it: what a score of a later window
// is, since that has no part in the reference.
type scores struct {
	w      windows
	rows   []float64
	judged []bool // windows with rows enough
	usual  float64
	gap    int // a window is compared without as many windows on either side of it
	period int // windows with which the reference's season comes again; 1: compared with all
	checks []Check
	z      [][]float64 // by check and window; NaN where a window is not judged
	most   []float64   // by window: the greatest of all checks
	nearby float64     // mean level: how near windows are to the reference
}

// columnScores are the part of one column.
type columnScores struct {
	checks []Check
	z      [][]float64
	mean   float64
}

// scoreReference compares all windows of the reference with it. Windows may have any number of
// rows; those with fewer than least are part of the reference and are not judged.
func scoreReference(b *Buckets, w windows, least int64, gap, period, workers int) *scores {
	s := &scores{w: w, rows: b.rows(w), gap: gap, period: period}
	var some []float64
	for _, n := range s.rows {
		s.judged = append(s.judged, n >= float64(least))
		if n >= float64(least) {
			some = append(some, n)
		}
	}
	slices.Sort(some)
	if len(some) > 0 {
		s.usual = some[len(some)/2]
	}
	parts := make([]columnScores, len(b.Columns))
	each(len(parts), workers, func(c int) { parts[c] = s.column(b, c) })
	s.most = slices.Repeat([]float64{math.NaN()}, w.count)
	for c := range parts {
		s.checks = append(s.checks, parts[c].checks...)
		s.z = append(s.z, parts[c].z...)
		s.nearby += parts[c].mean
	}
	for _, z := range s.z {
		for i, x := range z {
			if s.judged[i] && !(s.most[i] >= x) {
				s.most[i] = x
			}
		}
	}
	return s
}

// each calls f with 0 to n-1, in as many goroutines; it returns when all have ended.
func each(n, workers int, f func(int)) {
	var group sync.WaitGroup
	for g := range min(workers, n) {
		group.Go(func() {
			for i := g; i < n; i += workers {
				f(i)
			}
		})
	}
	group.Wait()
}

func (s *scores) column(b *Buckets, c int) columnScores {
	cells, width := b.column(c, s.w)
	sums, whole := s.sums(cells, width)
	m := measureOf(b.Columns[c].Numeric, whole)
	tests := b.Columns[c].tests()
	out := columnScores{}
	raw := make([][]float64, len(tests))
	for t := range tests {
		raw[t] = make([]float64, s.w.count)
	}
	rest := make([]float64, width)
	for i := range s.w.count {
		s.reference(rest, sums, cells, i)
		for t, test := range tests {
			raw[t][i] = m.of(test, rest, cells[i*width:(i+1)*width])
		}
	}
	for t, test := range tests {
		check := Check{Column: b.Columns[c].Name, Stattest: test}
		out.z = append(out.z, s.standardise(&check, raw[t]))
		out.checks = append(out.checks, check)
		out.mean += check.Mean
	}
	return out
}

// sums adds the windows of a column up, by phase of the season and in all.
func (s *scores) sums(cells []float64, width int) (phases, whole []float64) {
	phases, whole = make([]float64, s.period*width), make([]float64, width)
	for i, x := range cells {
		phases[(i/width%s.period)*width+i%width] += x
		whole[i%width] += x
	}
	return phases, whole
}

// reference fills in rest with what a window of a column is compared: the sums of its phase
// without the windows near it.
func (s *scores) reference(rest, sums, cells []float64, i int) {
	width, phase := len(rest), i%s.period
	copy(rest, sums[phase*width:(phase+1)*width])
	for j := max(0, i-s.gap); j <= min(s.w.count-1, i+s.gap); j++ {
		if j%s.period == phase {
			for k, x := range cells[j*width : (j+1)*width] {
				rest[k] -= x
			}
		}
	}
}

// standardise fills in what a check is where nothing drifts, and returns its scores.
func (s *scores) standardise(check *Check, raw []float64) []float64 {
	levels := make([]float64, len(raw))
	var n, sum, squares, distances float64
	origin := 0.0
	for i := range raw {
		levels[i] = level(check.Stattest, raw[i], s.rows[i], s.usual)
		if s.judged[i] {
			n++
			origin += levels[i]
			distances += raw[i]
		}
	}
	origin /= max(n, 1)
	for i, x := range levels {
		if s.judged[i] {
			sum += x - origin
			squares += (x - origin) * (x - origin)
		}
	}
	floor := spreadFloor(s.usual)
	check.Expected, check.Mean = distances/max(n, 1), origin
	check.Spread = max(math.Sqrt(squares/max(n-1, 1)), floor)
	z := make([]float64, len(levels))
	for i, x := range levels {
		if !s.judged[i] {
			z[i] = math.NaN()
			continue
		}
		k, without, squaresWithout := n, sum, squares
		for j := max(0, i-s.gap); j <= min(len(levels)-1, i+s.gap); j++ {
			if s.judged[j] {
				d := levels[j] - origin
				k, without, squaresWithout = k-1, without-d, squaresWithout-d*d
			}
		}
		mean := without / max(k, 1)
		spread := math.Sqrt(max(squaresWithout-k*mean*mean, 0) / max(k-1, 1))
		z[i] = (x - origin - mean) / max(spread, floor)
	}
	return z
}

// spreadFloor is the least spread of a level: a part of that which rows drawn one by one have, so
// that a single row in a column that never changes is no great score.
func spreadFloor(usual float64) float64 { return 0.25 / math.Sqrt(max(usual, 1)) }
