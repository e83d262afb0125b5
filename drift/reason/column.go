package reason

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/stattest"
	"github.com/millrace/millrace/schemas"
)

const (
	groups     = 10   // that bins are merged to, as psi does
	mostCells  = 20   // categories that are looked at one by one
	jump       = 0.05 // of missing or unlisted rows, from which on it is a cause
	whole      = 0.99 // of rows that are one value: a column that does not change
	fewRows    = 30   // of which nothing is said about values that never change
	textLength = 60   // of a category in a sentence, in characters
)

// Column is a feature or an output, with counts by the cells of the reference.
type Column struct {
	Name       string
	Output     bool
	Edges      []float64
	Categories []string
	Reference  profile.Counts
	Window     profile.Counts
	Buckets    []profile.Counts // by the buckets of History
}

// cells lays counts out for comparison: bins in groups of near-equal mass of the reference, the most
// frequent categories and the others together, then unlisted, then missing.
type cells struct {
	numeric bool
	group   []int // of each cell of the reference
	n       int   // groups
}

func cellsOf(c *Column) cells {
	out := cells{numeric: len(c.Edges) > 0}
	if out.numeric {
		out.group = profile.GroupBins(c.Reference.Cells, groups)
		if len(out.group) > 0 {
			out.n = out.group[len(out.group)-1] + 1
		}
		return out
	}
	order := make([]int, len(c.Reference.Cells))
	for i := range order {
		order[i] = i
	}
	weight := func(i int) float64 { // of both sides the same
		return share(c.Reference.Cells[i], c.Reference.Rows()) + share(at(c.Window.Cells, i), c.Window.Rows())
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(weight(b), weight(a)) })
	out.group = make([]int, len(order))
	for rank, i := range order {
		out.group[i] = min(rank, mostCells)
	}
	out.n = min(len(order), mostCells+1)
	return out
}

func at(counts []int64, i int) int64 {
	if i < len(counts) {
		return counts[i]
	}
	return 0
}

func share(n, of int64) float64 {
	if of <= 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// of returns counts by cell.
func (l cells) of(c profile.Counts) []float64 {
	out := make([]float64, l.n+2)
	for i, n := range c.Cells {
		if i < len(l.group) {
			out[l.group[i]] += float64(n)
		}
	}
	out[l.n], out[l.n+1] = float64(c.Other), float64(c.Missing)
	return out
}

// effect is psi, which is Jeffreys' divergence J = Σ (q-p) ln(q/p) of smoothed shares and so adds up
// over cells and, of independent columns, over columns (Kullback and Leibler, 1951), less what chance makes of it: about (cells-1)(1/n+1/m)
// (Yurdakul, Statistical Properties of Population Stability Index, 2018). 0 where a side has no rows.
func effect(r, c []float64) float64 {
	var used [2][]float64
	var rows [2]float64
	for i := range r {
		if r[i]+c[i] > 0 {
			used[0], used[1] = append(used[0], r[i]), append(used[1], c[i])
			rows[0], rows[1] = rows[0]+r[i], rows[1]+c[i]
		}
	}
	if min(rows[0], rows[1]) <= 0 || len(used[0]) < 2 {
		return 0
	}
	psi, err := stattest.PSI(used[0], used[1])
	if err != nil || math.IsNaN(psi.Score) || math.IsInf(psi.Score, 0) {
		return 0
	}
	return max(0, psi.Score-float64(len(used[0])-1)*(1/rows[0]+1/rows[1]))
}

// History are the buckets of event time of the last windows and of this one, ascending.
type History struct {
	Starts []time.Time
	Length time.Duration
}

// dated is since when a column is changed.
type dated struct {
	since, until *time.Time
	undated      string
	counts       profile.Counts // of the changed buckets; those of the window where they are not known
}

// date finds since when a column differs from the reference: from the change point on after which
// it stays at least half as far from it as in the window. The window is [start, end).
func date(c *Column, h History, start, end time.Time) dated {
	out := dated{counts: c.Window}
	l := cellsOf(c)
	var buckets [][]float64
	var starts []time.Time
	var of []int
	for i, counts := range c.Buckets {
		if i < len(h.Starts) && counts.Rows() > 0 {
			buckets, starts, of = append(buckets, l.of(counts)), append(starts, h.Starts[i]), append(of, i)
		}
	}
	if len(buckets) < 3 {
		out.undated = "there are too few buckets to tell"
		return out
	}
	bounds := append([]int{0}, append(changes(buckets), len(buckets))...)
	p, reference := prefixOf(buckets), l.of(c.Reference)
	far := make([]float64, len(bounds)-1)
	main := -1
	for s := range far {
		counts, _ := p.between(bounds[s], bounds[s+1])
		far[s] = effect(reference, counts)
		within := starts[bounds[s+1]-1].Add(h.Length).After(start) && starts[bounds[s]].Before(end)
		if within && (main < 0 || far[s] >= far[main]) {
			main = s
		}
	}
	if main < 0 || far[main] == 0 {
		out.undated = "no part of the window differs from the reference for itself"
		return out
	}
	first, last := main, main
	for first > 0 && far[first-1] >= far[main]/2 {
		first--
	}
	for last < len(far)-1 && far[last+1] >= far[main]/2 {
		last++
	}
	if first == 0 {
		out.undated = "it was so already at " + clock(starts[0]) + ", from when on was looked"
	} else {
		since := starts[bounds[first]].UTC()
		out.since = &since
	}
	if last < len(far)-1 {
		until := starts[bounds[last+1]].UTC()
		out.until = &until
	}
	changed := profile.Counts{Cells: make([]int64, len(c.Reference.Cells))}
	for _, i := range of[bounds[main]:bounds[main+1]] {
		b := c.Buckets[i]
		changed.Missing, changed.Other = changed.Missing+b.Missing, changed.Other+b.Other
		for k, n := range b.Cells {
			if k < len(changed.Cells) {
				changed.Cells[k] += n
			}
		}
	}
	out.counts = changed
	return out
}

// change is what became of a column.
type change struct {
	what  string
	cause bool
	rows  schemas.RowSelection // that show it
}

// describe says how counts differ from the reference: a fault of the data if there is one, else the
// shift of numbers in standard deviations, else the category or range whose share moved most.
func describe(c *Column, now profile.Counts) change {
	rows, reference := now.Rows(), c.Reference.Rows()
	missing, wasMissing := share(now.Missing, rows), share(c.Reference.Missing, reference)
	other, wasOther := share(now.Other, rows), share(c.Reference.Other, reference)
	selected := schemas.RowSelection{Column: c.Name}
	switch {
	case missing >= whole && missing-wasMissing >= jump:
		selected.Missing = true
		return change{"is missing", true, selected}
	case missing-wasMissing >= jump:
		selected.Missing = true
		return change{fmt.Sprintf("is missing in %s of the rows (reference %s)", percent(missing), percent(wasMissing)), true, selected}
	case other-wasOther >= jump && len(c.Edges) == 0 && len(c.Categories) > 0:
		selected.Unlisted = c.Categories
		return change{fmt.Sprintf("has categories that the reference does not list in %s of the rows (reference %s)", percent(other), percent(wasOther)), true, selected}
	}
	values, were := rows-now.Missing, reference-c.Reference.Missing
	if i := largest(now.Cells); i >= 0 && values >= fewRows && share(now.Cells[i], values) >= whole && share(at(c.Reference.Cells, i), were) <= 0.5 {
		return change{"has only " + c.cell(i, &selected) + " (reference " + percent(share(at(c.Reference.Cells, i), were)) + ")", true, selected}
	}
	if wasMissing-missing >= jump {
		text := fmt.Sprintf("is missing in %s of the rows (reference %s)", percent(missing), percent(wasMissing))
		return change{text, false, selected}
	}
	if shift, spread, ok := c.shift(now); ok {
		switch {
		case math.Abs(shift) >= 0.1:
			return change{fmt.Sprintf("mean about %+.1f standard deviations", shift), false, selected}
		case spread >= 1.1 || spread <= 1/1.1:
			return change{fmt.Sprintf("spread about %.1f times as wide, with the same mean", spread), false, selected}
		}
	}
	return c.mostMoved(now, selected)
}

// mostMoved names the category, or the range of near-equal mass, whose share moved most.
func (c *Column) mostMoved(now profile.Counts, selected schemas.RowSelection) change {
	l := cellsOf(c)
	r, n := l.of(c.Reference), l.of(now)
	rows := [2]float64{float64(max(1, c.Reference.Rows())), float64(max(1, now.Rows()))}
	best, most := -1, 0.0
	for k := range l.n {
		if d := math.Abs(n[k]/rows[1] - r[k]/rows[0]); d > most && (l.numeric || k < mostCells) {
			best, most = k, d
		}
	}
	if best < 0 {
		return change{"changed", false, selected}
	}
	before, after := r[best]/rows[0], n[best]/rows[1]
	verb := "rose"
	if after < before {
		verb = "fell"
	}
	text := fmt.Sprintf("%s %s from %s to %s", c.members(l, best, &selected), verb, percent(before), percent(after))
	if before > 0 && after >= 1.8*before {
		text += fmt.Sprintf(" (%.1f times)", after/before)
	}
	return change{text, false, selected}
}

// members names the cells of a group, and selects their rows.
func (c *Column) members(l cells, group int, selected *schemas.RowSelection) string {
	first, last := -1, -1
	for i, g := range l.group {
		if g == group {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if !l.numeric {
		return c.cell(first, selected)
	}
	return c.bins(first, last, selected)
}

// cell names a cell of the reference, and selects its rows.
func (c *Column) cell(i int, selected *schemas.RowSelection) string {
	if len(c.Edges) > 0 {
		return c.bins(i, i, selected)
	}
	if i >= len(c.Categories) {
		return "one category"
	}
	category := c.Categories[i]
	selected.Category = &category
	return "category " + strconv.Quote(cut(category))
}

// bins names the values of bins from first to last, and selects them.
func (c *Column) bins(first, last int, selected *schemas.RowSelection) string {
	if first > 0 {
		selected.From = &c.Edges[first-1]
	}
	if last < len(c.Edges) {
		selected.Below = &c.Edges[last]
	}
	switch {
	case selected.From == nil && selected.Below == nil:
		return "all values"
	case selected.From == nil:
		return "values below " + number(*selected.Below)
	case selected.Below == nil:
		return "values from " + number(*selected.From)
	default:
		return "values from " + number(*selected.From) + " to below " + number(*selected.Below)
	}
}

// shift compares mean and deviation by the middles of bins, the outer ones as wide as their
// neighbours: (mean - reference's) / reference's deviation, and the ratio of deviations. Both sides are
// taken so, and what lies far outside moves them by less than it should: it is about.
func (c *Column) shift(now profile.Counts) (shift, spread float64, ok bool) {
	k := len(c.Edges)
	if k < 2 {
		return 0, 0, false
	}
	unit := c.Edges[k-1]/2 - c.Edges[0]/2 // halves, so that it stays finite
	if !(unit > 0) || math.IsInf(unit, 0) {
		return 0, 0, false
	}
	middles := make([]float64, k+1)
	scaled := func(i int) float64 { return (c.Edges[i]/2 - c.Edges[0]/2) / unit }
	for i := 1; i < k; i++ {
		middles[i] = (scaled(i-1) + scaled(i)) / 2
	}
	middles[0] = scaled(0) - (scaled(1)-scaled(0))/2
	middles[k] = scaled(k-1) + (scaled(k-1)-scaled(k-2))/2
	moments := func(counts []int64) (mean, deviation, n float64) {
		for i, m := range counts {
			if i <= k {
				n += float64(m)
				mean += float64(m) * middles[i]
			}
		}
		if n == 0 {
			return 0, 0, 0
		}
		mean /= n
		for i, m := range counts {
			if i <= k {
				deviation += float64(m) * (middles[i] - mean) * (middles[i] - mean)
			}
		}
		return mean, math.Sqrt(deviation / n), n
	}
	m0, d0, n0 := moments(c.Reference.Cells)
	m1, d1, n1 := moments(now.Cells)
	if n0 == 0 || n1 == 0 || !(d0 > 0) {
		return 0, 0, false
	}
	return (m1 - m0) / d0, d1 / d0, true
}

func largest(counts []int64) int {
	best := -1
	for i, n := range counts {
		if best < 0 || n > counts[best] {
			best = i
		}
	}
	return best
}

func percent(x float64) string {
	switch {
	case x > 0 && x < 0.001:
		return "under 0.1 %"
	case x < 1 && x > 0.999:
		return "over 99.9 %"
	}
	return strconv.FormatFloat(math.Round(1000*x)/10, 'f', -1, 64) + " %"
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }

// cut shortens a text, and makes valid what is not UTF-8.
func cut(text string) string {
	if utf8.RuneCountInString(text) <= textLength {
		return text
	}
	return string([]rune(text)[:textLength]) + "…"
}

// clock writes a time, with its day.
func clock(t time.Time) string {
	layout := "2006-01-02 15:04"
	if t.UTC().Second() != 0 {
		layout += ":05"
	}
	return t.UTC().Format(layout)
}
