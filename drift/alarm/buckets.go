package alarm

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// ErrShortReference is returned where a reference has too few windows to say anything of alarms.
var ErrShortReference = errors.New("the reference has too few windows")

// Column is a column of which rows are counted.
type Column struct {
	Name    string `json:"name"`
	Numeric bool   `json:"numeric"` // its cells are bins, in order
}

// Bucket is what is counted in one span of event time.
type Bucket struct {
	Rows    int64
	Columns []profile.Counts // in the order of Buckets.Columns, cells of the reference
}

// Buckets are consecutive buckets of event time, each of Length, the first from Start on. A
// bucket without rows stands in its place.
type Buckets struct {
	Start   time.Time
	Length  time.Duration
	Columns []Column
	Buckets []Bucket
}

// Validate returns all that is wrong with the buckets, for windows of that length.
func (b *Buckets) Validate(window time.Duration) error {
	switch {
	case b.Length <= 0:
		return fmt.Errorf("buckets must have a length, got %v", b.Length)
	case window <= 0 || window%b.Length != 0:
		return fmt.Errorf("a window must be a number of buckets of %v, got %v", b.Length, window)
	case len(b.Columns) == 0:
		return errors.New("buckets must have columns")
	}
	var errs []error
	for i := range b.Buckets {
		if err := b.check(&b.Buckets[i], b.Buckets[0].Columns); err != nil {
			errs = append(errs, fmt.Errorf("bucket %d: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// check compares a bucket with one that has the cells of each column.
func (b *Buckets) check(x *Bucket, like []profile.Counts) error {
	if len(x.Columns) != len(b.Columns) {
		return fmt.Errorf("%d columns are counted, %d named", len(x.Columns), len(b.Columns))
	}
	for c, counts := range x.Columns {
		if len(counts.Cells) != len(like[c].Cells) {
			return fmt.Errorf("column %q has %d cells, and %d in the first bucket", b.Columns[c].Name, len(counts.Cells), len(like[c].Cells))
		}
		least := min(counts.Other, counts.Missing)
		for _, n := range counts.Cells {
			least = min(least, n)
		}
		if least < 0 {
			return fmt.Errorf("column %q has a negative count, %d", b.Columns[c].Name, least)
		}
	}
	return nil
}

// windows says how buckets lie in windows that are aligned to 1970.
type windows struct {
	first int       // bucket with which the first whole window begins
	per   int       // buckets of a window
	count int       // whole windows
	start time.Time // of the first of them
}

func (b *Buckets) windows(window time.Duration) windows {
	w := windows{per: int(window / b.Length), start: profile.WindowStart(b.Start, window)}
	if w.start.Before(b.Start) {
		w.start = w.start.Add(window)
	}
	w.first = int(w.start.Sub(b.Start) / b.Length)
	w.count = max(len(b.Buckets)-w.first, 0) / w.per
	return w
}

// rows are those of each window.
func (b *Buckets) rows(w windows) []float64 {
	out := make([]float64, w.count)
	for i := range out {
		for j := range w.per {
			out[i] += float64(b.Buckets[w.first+i*w.per+j].Rows)
		}
	}
	return out
}

// column lays the counts of one column out by window: row i of the result has the cells of
// window i, then other, then missing.
func (b *Buckets) column(c int, w windows) (cells []float64, width int) {
	if w.count == 0 {
		return nil, 0
	}
	width = len(b.Buckets[0].Columns[c].Cells) + 2
	cells = make([]float64, w.count*width)
	for i := range w.count {
		row := cells[i*width : (i+1)*width]
		for j := range w.per {
			addCounts(row, &b.Buckets[w.first+i*w.per+j].Columns[c])
		}
	}
	return cells, width
}

func addCounts(to []float64, c *profile.Counts) {
	for k, n := range c.Cells {
		to[k] += float64(n)
	}
	to[len(c.Cells)] += float64(c.Other)
	to[len(c.Cells)+1] += float64(c.Missing)
}

// tests are the distances of a column: those that the monitor computes of each.
func (c Column) tests() []schemas.Stattest {
	if c.Numeric {
		return []schemas.Stattest{schemas.StattestPSI, schemas.StattestKS}
	}
	return []schemas.Stattest{schemas.StattestPSI, schemas.StattestChiSquare}
}
