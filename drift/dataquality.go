package drift

import (
	"context"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mathext"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Checks of the quality of data hold a share of a window's rows to a threshold, by the interval of Clopper and
// Pearson (1934): a share breaches where its lower bound is at or above the threshold, which
// is the exact binomial test of "the share is at most the threshold". row_count breaches where the upper bound of
// the rows, as a Poisson count, is at or below it. Their p-values are corrected together with those
// of the other checks of the window, so that monitoring.rate holds for all of them.

// dataQuality adds a row for each check of the quality of data to the rows of a window. faults
// may be nil: then what they tell is not judged.
func (v Version) dataQuality(base schemas.DriftResult, counts []profile.Counts, faults *profile.Faults) (rows []schemas.DriftResult, checks []weighed) {
	for i := range v.Manifest.Monitoring.Checks {
		check := &v.Manifest.Monitoring.Checks[i]
		if !check.Stattest.DataQuality() {
			continue
		}
		row := base
		row.Column, row.Stattest = check.Column, string(check.Stattest)
		w := weighed{check: check, row: len(rows)}
		found := v.faultsOf(check, &row, counts, faults)
		if !found.known {
			applyCheck(&row, check)
			row.Verdict, row.Reason = string(schemas.ScoreNotJudged), found.why
			rows = append(rows, row)
			continue
		}
		row.Rows, row.Score = uint64(found.rows), found.score()
		w.fault, w.p = &found, found.pValue(check.Threshold)
		row.PValue = &w.p
		rows, checks = append(rows, row), append(checks, w)
	}
	return rows, checks
}

// fault is a count that a check of the quality of data judges.
type fault struct {
	known    bool
	why      string // it is not
	count    int64  // rows with the fault; of row_count rows
	rows     int64  // of the window
	volume   bool   // too few are a fault
	expected *float64
}

func (v Version) faultsOf(check *schemas.Check, row *schemas.DriftResult, counts []profile.Counts, faults *profile.Faults) fault {
	switch check.Stattest {
	case schemas.StattestRowCount:
		return fault{known: true, count: int64(min(row.Rows, math.MaxInt64)), rows: int64(min(row.Rows, math.MaxInt64)), volume: true}
	case schemas.StattestDuplicates, schemas.StattestOutOfRange:
		if faults == nil || faults.Rows == 0 {
			return fault{why: "the rows were not counted for it"}
		}
		if check.Stattest == schemas.StattestDuplicates {
			return fault{known: true, count: faults.Duplicates, rows: faults.Rows}
		}
		n, ok := faults.OutOfRange[check.Column]
		return fault{known: ok, why: "the rows were not counted for it", count: n, rows: faults.Rows}
	default:
	}
	for i := range v.Reference.Columns {
		c := &v.Reference.Columns[i]
		if c.Name != check.Column || i >= len(counts) {
			continue
		}
		rows, now, was := counts[i].Rows(), counts[i].Missing, c.Missing
		if check.Stattest == schemas.StattestNewCategory {
			now, was = counts[i].Other, c.Other
		}
		row.Missing = uint64(counts[i].Missing)
		if rows <= 0 || now < 0 {
			return fault{why: "the window has no rows"}
		}
		out := fault{known: true, count: now, rows: rows}
		if all := profile.ReferenceCounts(c).Rows(); all > 0 {
			usual := float64(was) / float64(all)
			out.expected = &usual
		}
		return out
	}
	return fault{why: fmt.Sprintf("the reference has no column %q", check.Column)}
}

func (f *fault) score() float64 {
	if f.volume {
		return float64(f.count)
	}
	return float64(f.count) / float64(f.rows)
}

// pValue is the probability of as many faults, where the share is the threshold; of row_count of as
// few rows, where the threshold is what is expected.
func (f *fault) pValue(threshold float64) float64 {
	x, n := float64(f.count), float64(f.rows)
	switch {
	case f.volume && threshold <= 0:
		return 1
	case f.volume:
		return clamp(mathext.GammaIncRegComp(x+1, threshold))
	case x == 0 || threshold >= 1:
		return 1
	case threshold <= 0:
		return 0
	}
	return clamp(mathext.RegIncBeta(x, n-x+1, threshold))
}

// bound is the share, or number of rows, that is held to the threshold: the confidence bound on the
// side of the threshold.
func (f *fault) bound(rate float64) float64 {
	x, n := float64(f.count), float64(f.rows)
	switch {
	case f.volume:
		return mathext.GammaIncRegCompInv(x+1, rate)
	case x == 0:
		return 0
	}
	return mathext.InvRegIncBeta(x, n-x+1, rate)
}

func clamp(p float64) float64 {
	if math.IsNaN(p) {
		return 1
	}
	return max(0, min(1, p))
}

// smallest is the least share that is told from the threshold in 80 % of such windows: a share whose
// lower 20 % quantile, by the normal approximation with continuity, breaches. nil where none is.
func (f *fault) smallest(threshold, rate float64) *float64 {
	if f.volume {
		return nil
	}
	n := float64(f.rows)
	// The least count that breaches, by bisection: the p-value falls as the count grows.
	low, high := int64(0), f.rows+1
	for low < high {
		middle := low + (high-low)/2
		if at := (fault{count: middle, rows: f.rows}); at.pValue(threshold) <= rate && middle > 0 {
			high = middle
		} else {
			low = middle + 1
		}
	}
	if low > f.rows {
		return nil
	}
	// P(X >= low | share) = I_share(low, n-low+1) is 0.8.
	share := mathext.InvRegIncBeta(float64(low), n-float64(low)+1, 0.8)
	return &share
}

// judge fills in what a check of the quality of data found. corrected is its p-value over the
// checks of the window, of which rate is this one's part.
func (f *fault) judge(row *schemas.DriftResult, check *schemas.Check, corrected *float64, rate, part float64) {
	applyCheck(row, check)
	bound := f.bound(part)
	row.PCorrected, row.Effect, row.Expected, row.Smallest = corrected, &bound, f.expected, f.smallest(check.Threshold, part)
	beyond := row.Score > check.Threshold
	if f.volume {
		beyond = row.Score < check.Threshold
	}
	switch {
	case beyond && *corrected <= rate:
		row.Drifted, row.Verdict = true, string(schemas.ScoreDrifted)
	case beyond:
		row.Verdict = string(schemas.ScoreNotJudged)
		row.Reason = fmt.Sprintf("too few rows: of %d, at a rate of %s, %s of %s is not told from its threshold of %s",
			f.rows, short(part), check.Stattest, short(row.Score), short(check.Threshold))
	default:
		row.Verdict = string(schemas.ScoreOK)
	}
}

// faultRows bounds the rows of one query for faults: their request ids are held in memory. A single
// window may have more.
const faultRows = 20_000_000

// faults counts the faults of windows.
func (p *pass) faults(ctx context.Context, windows []window) ([]profile.Faults, error) {
	var out []profile.Faults
	for len(windows) > 0 {
		n, rows := 0, uint64(0)
		for ; n < len(windows); n++ {
			if rows += windows[n].Rows; n > 0 && rows > faultRows {
				break
			}
		}
		part, err := p.store.CountFaults(ctx, p.Manifest, startsOf(windows[:n]))
		if err != nil {
			return nil, err
		}
		out, windows = append(out, part...), windows[n:]
	}
	return out, nil
}

// tooFewRows judges a window with fewer rows than min_rows: only how many there are.
func (p *pass) tooFewRows(w window) ([]schemas.DriftResult, error) {
	check := checkOf(p.Manifest, schemas.StattestRowCount, "")
	if check == nil {
		return nil, nil
	}
	m, monitoring := *p.Manifest, *p.Manifest.Monitoring
	monitoring.Checks = []schemas.Check{*check}
	m.Monitoring = &monitoring
	return JudgeWindow(Version{Manifest: &m, Reference: &schemas.Reference{}}, p.base(w), nil, nil)
}

// mostEmpty bounds the windows without rows that are judged at once, the last ones.
const mostEmpty = 1000

// withEmpty adds the windows of a span that have no rows, where their number is checked. Before the
// version's first window there are none.
func (p *pass) withEmpty(windows []window, span profile.Span) []window {
	if checkOf(p.Manifest, schemas.StattestRowCount, "") == nil {
		return windows
	}
	if span.Start.IsZero() {
		if len(windows) == 0 {
			return windows
		}
		span.Start = windows[0].Start
	}
	if span.End.Sub(span.Start)/p.step() > mostEmpty {
		span.Start = span.End.Add(-mostEmpty * p.step())
	}
	var out []window
	i := 0
	for ; i < len(windows) && windows[i].Start.Before(span.Start); i++ {
		out = append(out, windows[i])
	}
	for start := span.Start; start.Before(span.End); start = start.Add(p.step()) {
		if i < len(windows) && windows[i].Start.Equal(start) {
			out = append(out, windows[i])
			i++
			continue
		}
		out = append(out, window{WindowRows: profile.WindowRows{Start: start}})
	}
	return out
}
