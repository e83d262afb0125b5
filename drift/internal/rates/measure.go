package main

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/drift/compare"
)

// method is a way to compare, and what it promises.
type method struct {
	name    string
	options compare.Options
	rate    float64 // of false alarms that it states
	beside  bool    // shown beside the others, and held to nothing
}

// share is how often something was seen in so many runs.
type share struct {
	seen float64
	of   int
}

func (s share) value() float64 { return s.seen / float64(max(s.of, 1)) }

// over says whether the share is more than deviations standard errors above a rate.
func (s share) over(rate, deviations float64) bool {
	return s.of > 0 && s.value() > rate+deviations*math.Sqrt(rate*(1-rate)/float64(s.of))
}

// outcome is what one method said of the runs of one cell.
type outcome struct {
	any     share // runs in which a column drifted
	dataset share // runs in which the data set drifted
	columns share // columns that drifted, of all columns of all runs
	judged  share // columns that had a verdict
}

// add counts one comparison of so many columns.
func (o *outcome) add(r *compare.Result, columns int) {
	drifted := 0.0
	for i := range r.Columns {
		switch r.Columns[i].Verdict {
		case compare.VerdictDrifted:
			drifted++
			o.judged.seen++
		case compare.VerdictOK:
			o.judged.seen++
		}
	}
	o.judged.of += columns
	o.columns.seen, o.columns.of = o.columns.seen+drifted, o.columns.of+columns
	o.any.of++
	o.dataset.of++
	if drifted > 0 {
		o.any.seen++
	}
	if r.Dataset.Drifted {
		o.dataset.seen++
	}
}

func (o *outcome) join(other outcome) {
	for _, p := range [][2]*share{{&o.any, &other.any}, {&o.dataset, &other.dataset}, {&o.columns, &other.columns}, {&o.judged, &other.judged}} {
		p[0].seen, p[0].of = p[0].seen+p[1].seen, p[0].of+p[1].of
	}
}

// alarm is the share that is held to the method's rate: of comparisons in which anything was
// called drifted, a column or the data set.
func (o outcome) alarm() share {
	if o.dataset.seen > o.any.seen {
		return o.dataset
	}
	return o.any
}

// measured is one cell, measured with one method.
type measured struct {
	cell    cell
	method  method
	outcome outcome
	again   bool // the first runs were over the bound, and these are others, more of them
}

// failed says that a method gives more false alarms than it states: more than three standard
// errors above its rate.
func (m measured) failed() bool {
	return m.cell.shift == (shift{}) && !m.method.beside && m.outcome.alarm().over(m.method.rate, 3)
}

// The bound of three standard errors is passed by chance in one of a few hundred cells. Hence
// one that is a little above it is measured again, by againRuns times as many other runs, and
// these alone stand; what is far above it, by clearly standard errors, needs no second look.
const (
	againRuns = 4
	clearly   = 8
)

// measure compares the runs of a cell by each of the methods.
func measure(ctx context.Context, seed uint64, c cell, methods []method, workers int) ([]measured, error) {
	out := make([]measured, len(methods))
	outcomes, err := compareRuns(ctx, seed, c, methods, 0, c.runs, workers)
	if err != nil {
		return nil, err
	}
	for i, m := range methods {
		out[i] = measured{cell: c, method: m, outcome: outcomes[i]}
		if !out[i].failed() || outcomes[i].alarm().over(m.rate, clearly) {
			continue
		}
		second, err := compareRuns(ctx, seed, c, methods[i:i+1], c.runs, againRuns*c.runs, workers)
		if err != nil {
			return nil, err
		}
		out[i].outcome, out[i].again = second[0], true
	}
	return out, nil
}

// compareRuns makes the data of runs first to first+runs and compares them by each method,
// so many at a time. The outcome does not depend on workers.
func compareRuns(ctx context.Context, seed uint64, c cell, methods []method, first, runs, workers int) ([]outcome, error) {
	var mu sync.Mutex
	var next atomic.Int64
	var errs []error
	total := make([]outcome, len(methods))
	var wait sync.WaitGroup
	for range min(workers, runs) {
		// Ends when all runs are taken; the function waits for it.
		wait.Go(func() {
			mine, err := compareSome(ctx, seed, c, methods, func() int {
				if i := int(next.Add(1)) - 1; i < runs {
					return first + i
				}
				return -1
			})
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			for i := range mine {
				total[i].join(mine[i])
			}
		})
	}
	wait.Wait()
	return total, errors.Join(errs...)
}

// compareSome compares the runs that take gives, until it gives a negative one.
func compareSome(ctx context.Context, seed uint64, c cell, methods []method, take func() int) ([]outcome, error) {
	out := make([]outcome, len(methods))
	for run := take(); run >= 0; run = take() {
		reference, current := c.tables(seed, run)
		for i, m := range methods {
			o := m.options
			o.Workers, o.Seed = 1, seed+uint64(run)
			if c.kind.cumulative != nil { // else many categories of few rows are taken for identifiers
				o.Categorical = reference.names()
			}
			r, err := compare.Compare(ctx, reference, current, o)
			if err != nil {
				return nil, err
			}
			out[i].add(r, c.columns)
		}
	}
	return out, nil
}
