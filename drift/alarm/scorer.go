package alarm

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/schemas"
)

// Scorer scores the windows of a model that serves. It is not safe for concurrent use.
type Scorer struct {
	c       *Calibration
	like    *Bucket // has the cells of each column
	of      *Buckets
	period  int
	columns []scorerColumn
	cells   []float64
}

// scorerColumn has the reference of a column, by phase of the season.
type scorerColumn struct {
	measure measure
	tests   []schemas.Stattest
	sums    []float64
	width   int
}

// NewScorer returns a scorer by a calibration of that reference. Both are kept, and must not
// change.
func NewScorer(ref *Buckets, c *Calibration) (*Scorer, error) {
	if err := ref.Validate(c.Options.Window); err != nil {
		return nil, err
	}
	w := ref.windows(c.Options.Window)
	s := &Scorer{c: c, of: ref, period: 1}
	switch c.Season {
	case SeasonDay:
		s.period = int(day / c.Options.Window)
	case SeasonWeek:
		s.period = int(week / c.Options.Window)
	case SeasonAuto, SeasonNone:
	}
	if w.count < s.period || w.count == 0 {
		return nil, fmt.Errorf("%w: %d, of a season of %d", ErrShortReference, w.count, s.period)
	}
	s.like = &ref.Buckets[0]
	checks := 0
	for i, column := range ref.Columns {
		cells, width := ref.column(i, w)
		x := scorerColumn{tests: column.tests(), sums: make([]float64, s.period*width), width: width}
		whole := make([]float64, width)
		for k, n := range cells {
			x.sums[s.phase(w.start.Add(time.Duration(k/width)*c.Options.Window))*width+k%width] += n
			whole[k%width] += n
		}
		x.measure = measureOf(column.Numeric, whole)
		s.columns = append(s.columns, x)
		for _, test := range x.tests {
			if checks >= len(c.Checks) || c.Checks[checks].Column != column.Name || c.Checks[checks].Stattest != test {
				return nil, fmt.Errorf("the calibration is of another reference: it has no %s of column %q", test, column.Name)
			}
			checks++
		}
		s.cells = slices.Grow(s.cells[:0], width)[:width]
	}
	if checks != len(c.Checks) {
		return nil, fmt.Errorf("the calibration is of another reference: %d checks, of %d", len(c.Checks), checks)
	}
	return s, nil
}

func (s *Scorer) phase(start time.Time) int {
	window := s.c.Options.Window.Microseconds()
	n := int64(s.period)
	return int((start.UnixMicro()/window%n + n) % n)
}

// CheckScore is one check of a window.
type CheckScore struct {
	Check  int     `json:"check"`  // index in Calibration.Checks
	Score  float64 `json:"score"`  // standard deviations from what it is where nothing drifts
	Value  float64 `json:"value"`  // the distance, as drift.ColumnScore has it
	Effect float64 `json:"effect"` // the distance without what it is where nothing drifts
}

// Scored is a window with its scores.
type Scored struct {
	Start    time.Time    `json:"start"`
	Rows     int64        `json:"rows"`
	NoData   bool         `json:"no_data,omitempty"`  // fewer than min_rows: not scored
	Score    float64      `json:"score"`              // the greatest of all checks
	Worst    int          `json:"worst"`              // the check that has it
	Breaches []CheckScore `json:"breaches,omitempty"` // above the threshold and with the effect that is asked for, the greatest first
}

// Window is what decides alarms.
func (x *Scored) Window() Window {
	return Window{Start: x.Start, NoData: x.NoData, Above: len(x.Breaches) > 0}
}

// Score scores one window, of the calibration's length, whose counts are those of the reference's
// columns and cells. Others are an error.
func (s *Scorer) Score(start time.Time, b Bucket) (Scored, error) {
	if err := s.of.check(&b, s.like.Columns); err != nil {
		return Scored{}, fmt.Errorf("window %s: %w", start.UTC().Format(time.RFC3339), err)
	}
	out := Scored{Start: start.UTC(), Rows: b.Rows, NoData: b.Rows < s.c.Options.MinRows}
	if out.NoData {
		return out, nil
	}
	out.Score = math.Inf(-1)
	phase, n := s.phase(start), 0
	for i := range s.columns {
		x := &s.columns[i]
		cells := slices.Grow(s.cells[:0], x.width)[:x.width]
		clear(cells)
		addCounts(cells, &b.Columns[i])
		s.cells = cells
		reference := x.sums[phase*x.width : (phase+1)*x.width]
		for _, test := range x.tests {
			check := &s.c.Checks[n]
			value := x.measure.of(test, reference, cells)
			z := (level(test, value, float64(b.Rows), s.c.Usual) - check.Mean) / check.Spread
			if z > out.Score {
				out.Score, out.Worst = z, n
			}
			if effect := value - check.Expected; z > s.c.Threshold && effect >= s.c.Options.Effect[test] {
				out.Breaches = append(out.Breaches, CheckScore{Check: n, Score: z, Value: value, Effect: effect})
			}
			n++
		}
	}
	slices.SortStableFunc(out.Breaches, func(a, b CheckScore) int { return cmp.Compare(b.Score, a.Score) })
	return out, nil
}
