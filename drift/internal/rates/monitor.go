package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// watched is a version whose columns are all of a kind, each with one check of psi at the
// customary threshold 0.2.
type watched struct {
	drift.Version
	cell   cell
	shares []float64 // of rows, by cell of a column
}

const (
	customary   = 0.2 // of psi: above it, a significant shift by the usual rule of thumb
	watchedBins = 20  // of a numeric column
)

// watch makes a version. Its reference is a sample of the cell's reference rows, with bins of
// equal shares.
func watch(c cell, rng *rand.Rand) *watched {
	w := &watched{cell: c}
	if c.kind.cumulative == nil {
		for range watchedBins {
			w.shares = append(w.shares, 1.0/watchedBins)
		}
	} else {
		before := 0.0
		for _, x := range c.kind.cumulative {
			w.shares, before = append(w.shares, x-before), x
		}
	}
	w.Manifest = &schemas.Manifest{Name: "m", Version: "1", Monitoring: &schemas.Monitoring{MinRows: 100, Rate: stated}}
	w.Reference = &schemas.Reference{Rows: int64(c.reference)}
	for i := range c.columns {
		r := schemas.ReferenceColumn{Name: "f" + strconv.Itoa(i), Counts: draw(rng, w.shares, c.reference)}
		for k := range w.shares {
			if c.kind.cumulative != nil {
				r.Categories = append(r.Categories, "c"+strconv.Itoa(k))
			} else if k > 0 {
				r.Edges = append(r.Edges, float64(k))
			}
		}
		w.Reference.Columns = append(w.Reference.Columns, r)
		w.Manifest.Monitoring.Checks = append(w.Manifest.Monitoring.Checks,
			schemas.Check{Stattest: schemas.StattestPSI, Column: r.Name, Threshold: customary, Severity: schemas.SeverityWarning})
	}
	return w
}

// draw returns how many of the rows fall into each cell: a multinomial draw.
func draw(rng *rand.Rand, shares []float64, rows int) []int64 {
	out := make([]int64, len(shares))
	left, rest := rows, 1.0
	for i, s := range shares {
		if left == 0 {
			break
		}
		n := left
		if i < len(shares)-1 {
			n = int(distuv.Binomial{N: float64(left), P: min(s/rest, 1), Src: rng}.Rand())
		}
		out[i] = int64(n)
		left, rest = left-n, rest-s
	}
	return out
}

// judge judges one window of unchanged data, by the monitor's rule and by the score alone.
func (w *watched) judge(rng *rand.Rand) (byRule, byScore outcome, err error) {
	counts := make([]profile.Counts, w.cell.columns)
	for i := range counts {
		counts[i] = profile.Counts{Cells: draw(rng, w.shares, w.cell.current)}
	}
	rows, err := drift.JudgeDrift(w.Version, schemas.DriftResult{Rows: uint64(w.cell.current)}, counts)
	if err != nil {
		return byRule, byScore, err
	}
	for i := range rows {
		r := &rows[i]
		if r.Threshold == nil {
			continue
		}
		byScore.count(r.Score >= *r.Threshold, true)
		byRule.count(r.Drifted, r.Verdict != string(schemas.ScoreNotJudged))
	}
	for _, o := range []*outcome{&byRule, &byScore} {
		o.any = share{min(o.columns.seen, 1), 1}
	}
	return byRule, byScore, nil
}

// count counts one column.
func (o *outcome) count(drifted, judged bool) {
	o.columns.of++
	o.judged.of++
	if drifted {
		o.columns.seen++
	}
	if judged {
		o.judged.seen++
	}
}

// monitorCells are the windows that the monitor is measured with.
func monitorCells(e extent) []cell {
	rows, columns, names := []int{100, 1000, 16_000}, []int{1, 20, 200}, []string{"normal", "10 categories", "200 categories"}
	switch e {
	case tiny:
		columns, names = columns[:1], names[:1] // the monitor's own tests have more
	case quick:
		names = names[:2]
	case full:
	}
	var out []cell
	for _, k := range some(names...) {
		for _, n := range rows {
			for _, m := range columns {
				out = append(out, cell{kind: k, reference: 20_000, current: n, columns: m, runs: max(10, runsOf(e, 50*m))})
			}
		}
	}
	return out
}

// Names of the monitor's methods.
const (
	byMonitor = "monitor"
	byScore   = "monitor, by the score alone"
)

// measureMonitor judges windows of a cell: each run has a reference and a window of its own.
func measureMonitor(ctx context.Context, seed uint64, c cell, workers int) ([]measured, error) {
	var next atomic.Int64
	var mu sync.Mutex
	var failed error
	var rule, alone outcome
	var wait sync.WaitGroup
	for range min(workers, c.runs) {
		// Ends when all runs are taken; the function waits for it.
		wait.Go(func() {
			for run := int(next.Add(1)) - 1; run < c.runs && ctx.Err() == nil; run = int(next.Add(1)) - 1 {
				rng := c.random(seed, run)
				r, a, err := watch(c, rng).judge(rng)
				mu.Lock()
				rule.join(r)
				alone.join(a)
				if err != nil {
					failed = fmt.Errorf("%s: %w", c, err)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return []measured{
		{cell: c, method: method{name: byMonitor, rate: stated}, outcome: rule},
		{cell: c, method: method{name: byScore, beside: true}, outcome: alone},
	}, errors.Join(failed, ctx.Err())
}
