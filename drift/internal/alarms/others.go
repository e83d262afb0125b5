package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/millrace/millrace/drift/alarm"
)

// others judge windows by the distances of all checks from the whole reference.
type others struct {
	scorer      *alarm.Scorer
	sigma       []float64 // threshold of each check: NannyML's, of chunks of the reference
	mean, width []float64 // of each check, of rows drawn one by one
	threshold   float64   // of the greatest of all checks
	values      []float64
}

// others finds the thresholds of both.
func (c testCase) others(ref *alarm.Buckets, cal *alarm.Calibration, random *rand.Rand) (*others, error) {
	all := *cal
	all.Threshold, all.Season, all.Options.Effect = math.Inf(-1), alarm.SeasonNone, nil
	s, err := alarm.NewScorer(ref, &all)
	if err != nil {
		return nil, err
	}
	n := len(cal.Checks)
	o := &others{scorer: s, values: make([]float64, n)}
	rows := make([][]float64, 0, len(ref.Buckets))
	for _, b := range ref.Buckets {
		o.distances(ref.Start, b)
		rows = append(rows, slices.Clone(o.values))
	}
	mean, width := moments(rows)
	for i := range mean {
		o.sigma = append(o.sigma, mean[i]+3*width[i])
	}
	pooled := empty(len(ref.Columns))
	for _, b := range ref.Buckets {
		for i := range b.Columns {
			for k, x := range b.Columns[i].Cells {
				pooled.Columns[i].Cells[k] += x
			}
		}
	}
	rows = rows[:0]
	for range 4 * c.every {
		o.distances(ref.Start, drawn(pooled, ref.Buckets[0].Rows, random))
		rows = append(rows, slices.Clone(o.values))
	}
	o.mean, o.width = moments(rows)
	var most []float64
	for _, v := range rows {
		most = append(most, o.greatest(v))
	}
	slices.Sort(most)
	share := 1 / float64(c.every)
	if c.n == 3 && c.k == 2 {
		share = math.Sqrt(share / 3) // two of three windows that are independent
	}
	o.threshold = most[len(most)-1-int(share*float64(len(most)))]
	return o, nil
}

// drawn draws rows of all that was counted, each column by itself.
func drawn(pooled alarm.Bucket, rows int64, random *rand.Rand) alarm.Bucket {
	out := empty(len(pooled.Columns))
	out.Rows = rows
	for i := range pooled.Columns {
		all := pooled.Columns[i].Cells
		table := make([]uint16, 1<<12)
		total := float64(pooled.Columns[i].Rows())
		cell, below := 0, float64(all[0])
		for t := range table {
			for below/total < (float64(t)+0.5)/float64(len(table)) {
				cell++
				below += float64(all[cell])
			}
			table[t] = uint16(cell)
		}
		for range rows {
			out.Columns[i].Cells[table[random.Uint32()>>20]]++
		}
	}
	return out
}

func moments(rows [][]float64) (mean, width []float64) {
	n := float64(len(rows))
	mean, width = make([]float64, len(rows[0])), make([]float64, len(rows[0]))
	for _, r := range rows {
		for i, x := range r {
			mean[i] += x / n
		}
	}
	for _, r := range rows {
		for i, x := range r {
			width[i] += (x - mean[i]) * (x - mean[i]) / n
		}
	}
	for i := range width {
		width[i] = math.Sqrt(width[i])
	}
	return mean, width
}

// distances fills in values.
func (o *others) distances(start time.Time, b alarm.Bucket) {
	x, err := o.scorer.Score(start, b)
	if err != nil {
		panic(err) // buckets are made here
	}
	for _, breach := range x.Breaches {
		o.values[breach.Check] = breach.Value
	}
}

func (o *others) greatest(values []float64) float64 {
	most := math.Inf(-1)
	for i, x := range values {
		most = max(most, (x-o.mean[i])/max(o.width[i], 1e-9))
	}
	return most
}

func (o *others) above(start time.Time, b alarm.Bucket) (sigma, drawn bool) {
	o.distances(start, b)
	for i, x := range o.values {
		sigma = sigma || x > o.sigma[i]
	}
	return sigma, o.greatest(o.values) > o.threshold
}
