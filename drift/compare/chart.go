package compare

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Charts are drawn in units of a plot 1000 wide and 100 high, stretched to the room there
// is; text stands beside them as HTML, so that it keeps its size on a phone and on paper.
const (
	plotWidth  = 1000
	plotHeight = 100
	maxBins    = 60 // more are merged
	maxBars    = 10 // categories; the rest are one bar
)

// cell is a bin or a category with its shares of the values of either side.
type cell struct {
	name               string
	reference, current float64
}

// shares turns weights into shares of their sum; what is not a weight counts nothing.
func shares(weights []float64, n int) []float64 {
	out := make([]float64, n)
	most, sum := 0.0, 0.0
	for i, w := range weights[:min(n, len(weights))] {
		if w > 0 && !math.IsInf(w, 0) {
			out[i] = w
			most = max(most, w)
		}
	}
	for i := range out {
		if most > 0 {
			out[i] /= most // or the sum of great weights overflows
		}
		sum += out[i]
	}
	for i := range out {
		if sum > 0 {
			out[i] /= sum
		}
	}
	return out
}

// distribution draws both sides of a column; empty without cells.
func distribution(b Bins) template.HTML {
	switch {
	case len(b.Categories) > 0:
		return bars(b)
	case len(b.Edges) > 1:
		return histogram(b)
	default:
		return ""
	}
}

// How the axis of a histogram is laid out.
type axis int

const (
	axisLinear axis = iota // equal bins: height is share
	axisArea               // unequal bins: area is share
	axisBroken             // the same, with outer bins narrowed
	axisEqual              // bins of any width drawn equally wide: height is share
)

// histogram draws the reference as a filled area and the current data as an outline over it.
func histogram(b Bins) template.HTML {
	edges, reference, current := mergeBins(b)
	n := len(reference)
	x, how, left, right := lay(edges, reference)
	var most float64
	height := func(share float64, i int) float64 { return share / (x[i+1] - x[i]) }
	for i := range n {
		most = max(most, height(reference[i], i), height(current[i], i))
	}
	cells := make([]cell, n)
	for i := range cells {
		cells[i] = cell{binName(edges, i), reference[i], current[i]}
	}
	outline := func(share []float64) string {
		var p strings.Builder
		p.WriteString("M0 100")
		for i, s := range share {
			y := float64(plotHeight)
			if most > 0 {
				y -= 96 * height(s, i) / most
			}
			p.WriteString("V" + unit(y) + "H" + unit(x[i+1]))
		}
		p.WriteString("V100")
		return p.String()
	}
	var s strings.Builder
	s.WriteString(`<div class="plot">`)
	if how == axisLinear || how == axisEqual {
		top := most * (x[1] - x[0])
		for _, v := range niceTicks(0, top, 2) {
			if v > 0 {
				fmt.Fprintf(&s, `<span class="y" style="top:%s%%">%s</span>`, unit(plotHeight-96*v/top), template.HTMLEscapeString(formatShare(v)))
			}
		}
	}
	fmt.Fprintf(&s, `<svg viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-label="%s">`, plotWidth, plotHeight, template.HTMLEscapeString(inWords(cells)))
	fmt.Fprintf(&s, `<path class="r" d="%sZ"/><path class="c" d="%s"/>`, outline(reference), outline(current))
	for _, i := range []int{left, n - right} {
		if i > 0 && i < n {
			fmt.Fprintf(&s, `<path class="k" d="M%s 0V100"/>`, unit(x[i]))
		}
	}
	for i, c := range cells {
		fmt.Fprintf(&s, `<rect class="h" x="%s" width="%s" height="100"><title>%s</title></rect>`, unit(x[i]), unit(x[i+1]-x[i]), template.HTMLEscapeString(c.words()))
	}
	s.WriteString(`</svg></div><div class="x" aria-hidden="true">`)
	for _, t := range axisTicks(edges, x, how, left, right) {
		at, class := t.x/plotWidth*100, ""
		switch {
		case at < 4:
			class = ` class="first"`
		case at > 96:
			class = ` class="last"`
		}
		fmt.Fprintf(&s, `<span%s style="left:%s%%">%s</span>`, class, unit(at), t.text)
	}
	s.WriteString("</div>")
	switch how {
	case axisLinear:
	case axisArea:
		s.WriteString(`<p class="how">Area is share of values.</p>`)
	case axisBroken:
		s.WriteString(`<p class="how">Area is share of values; beyond a dashed line the axis is compressed.</p>`)
	case axisEqual:
		if n == 1 {
			break
		}
		s.WriteString(`<p class="how">Bins are drawn equally wide; height is share of values.</p>`)
	}
	return template.HTML(s.String()) //nolint:gosec // numbers, and text that is escaped above
}

// unit renders a coordinate.
func unit(x float64) string { return strconv.FormatFloat(math.Round(10*x)/10, 'f', -1, 64) }

// mergeBins returns edges and shares of at most maxBins bins, neighbours merged.
func mergeBins(b Bins) (edges, reference, current []float64) {
	n := len(b.Edges) - 1
	r, c := shares(b.Reference, n), shares(b.Current, n)
	group := (n + maxBins - 1) / maxBins
	for i := 0; i < n; i += group {
		end := min(i+group, n)
		edges = append(edges, b.Edges[i])
		sr, sc := 0.0, 0.0
		for k := i; k < end; k++ {
			sr, sc = sr+r[k], sc+c[k]
		}
		reference, current = append(reference, sr), append(current, sc)
	}
	return append(edges, b.Edges[n]), reference, current
}

// lay chooses where the edges stand, and says how, and how many bins at either end are
// narrowed. Bins of quantiles have outer ones that reach to the extremes: to scale, they
// would leave no room for the rest, so they get a fixed one. Where the inner bins are
// still too unequal to be read (most values in one narrow bin), all are equally wide. It is one
// long function, since each choice follows from those before.
func lay(edges, reference []float64) (x []float64, how axis, left, right int) {
	n := len(edges) - 1
	x = make([]float64, n+1)
	equal := func(how axis) ([]float64, axis, int, int) {
		for i := range x {
			x[i] = plotWidth * float64(i) / float64(n)
		}
		return x, how, 0, 0
	}
	most := 0.0
	for i, e := range edges {
		if math.IsNaN(e) || math.IsInf(e, 0) || i > 0 && e < edges[i-1] {
			return equal(axisEqual)
		}
		most = max(most, math.Abs(e))
	}
	if edges[n] == edges[0] {
		return equal(axisEqual)
	}
	wide := make([]float64, n)
	for i := range wide {
		wide[i] = edges[i+1]/most - edges[i]/most // of great edges the difference overflows
	}
	if slices.Max(wide) <= 1.02*slices.Min(wide) {
		return equal(axisLinear)
	}
	const part, narrow, wider, atLeast = 0.4, 90, 220, 4
	span := func() float64 {
		s := 0.0
		for _, w := range wide[left : n-right] {
			s += w
		}
		return s
	}
	for n-left-right > 2 {
		s := span()
		low, high := wide[left], wide[n-1-right]
		if right < 2 && high > part*s && high >= low {
			right++
			continue
		}
		if left == 2 || low <= part*s {
			break
		}
		left++
	}
	outer := func(i int) bool { return i < left || i >= n-right }
	drawn, inner := make([]float64, n), span()
	for i := range drawn {
		drawn[i] = narrow
	}
	for range 4 { // a narrowed bin is wide enough not to stand out above the others, within limits
		room, highest := float64(plotWidth), 0.0
		for i, d := range drawn {
			if outer(i) {
				room -= d
			}
		}
		for i := range drawn {
			if !outer(i) {
				drawn[i] = atLeast
				if inner > 0 {
					drawn[i] = max(atLeast, room*wide[i]/inner)
				}
				highest = max(highest, reference[i]/drawn[i])
			}
		}
		for i := range drawn {
			if outer(i) && highest > 0 {
				drawn[i] = min(max(narrow, reference[i]/highest), wider)
			}
		}
	}
	sum := 0.0
	for _, d := range drawn {
		sum += d
	}
	var heights []float64
	for i := range drawn {
		drawn[i] *= plotWidth / sum
		x[i+1] = x[i] + drawn[i]
		if reference[i] > 0 {
			heights = append(heights, reference[i]/drawn[i])
		}
	}
	x[n] = plotWidth
	if slices.Sort(heights); len(heights) > 0 && heights[len(heights)-1] > 12*heights[len(heights)/2] {
		return equal(axisEqual)
	}
	if left+right > 0 {
		return x, axisBroken, left, right
	}
	return x, axisArea, 0, 0
}

// tick is a label of the horizontal axis.
type tick struct {
	x    float64
	text string
}

// axisTicks labels as many places as have room: the ends and where the axis breaks, then
// round numbers, or edges where bins are drawn equally wide.
func axisTicks(edges, x []float64, how axis, left, right int) []tick {
	n := len(edges) - 1
	var out []tick
	add := func(at, value float64) {
		t := tick{at, formatNumber(value)}
		for _, o := range out {
			gap := 8.5 * float64(len(t.text)+len(o.text)+2) // half of a label each, at the size of a phone
			if at < 40 || at > plotWidth-40 || o.x < 40 || o.x > plotWidth-40 {
				gap *= 1.5 // labels at the ends stand inside
			}
			if math.Abs(o.x-at) < gap {
				return
			}
		}
		out = append(out, t)
	}
	if edges[0] == edges[n] { // one value
		return []tick{{plotWidth / 2, formatNumber(edges[0])}}
	}
	for _, i := range []int{0, n, left, n - right} {
		add(x[i], edges[i])
	}
	if how == axisEqual {
		for i := range edges {
			add(x[i], edges[i])
		}
	} else {
		for _, v := range niceTicks(edges[left], edges[n-right], 5) {
			i := left + 1
			for i < n-right && edges[i] < v {
				i++
			}
			if v < edges[i-1] || v > edges[i] || edges[i] == edges[i-1] {
				continue
			}
			add(x[i-1]+(x[i]-x[i-1])*((v-edges[i-1])/(edges[i]-edges[i-1])), v)
		}
	}
	slices.SortFunc(out, func(a, b tick) int { return cmp.Compare(a.x, b.x) })
	return out
}

// niceTicks returns about count multiples of 1, 2 or 5 times a power of ten within [low, high].
func niceTicks(low, high float64, count int) []float64 {
	span := high - low
	if !(span > 0) || math.IsInf(span, 0) {
		return nil
	}
	raw := span / float64(count)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * power
	for _, m := range []float64{1, 2, 5} {
		if m*power >= raw*0.99 {
			step = m * power
			break
		}
	}
	if step == 0 || math.IsInf(step, 0) {
		return nil
	}
	var out []float64
	for k := math.Ceil(low / step); k*step <= high && len(out) <= 4*count; k++ {
		out = append(out, k*step)
	}
	return out
}

// binName says which values a bin takes: the outer ones take what lies beyond, too.
func binName(edges []float64, i int) string {
	n := len(edges) - 1
	from, to := formatNumber(edges[i]), formatNumber(edges[i+1])
	switch {
	case n == 1:
		return "all values"
	case i == 0:
		return "below " + to
	case i == n-1:
		return "from " + from
	default:
		return from + " to " + to
	}
}

func (c cell) words() string {
	return c.name + ": " + formatShare(c.reference) + " → " + formatShare(c.current)
}

// inWords is a chart for those who do not see it.
func inWords(cells []cell) string {
	worst := cells[0]
	for _, c := range cells[1:] {
		if math.Abs(c.current-c.reference) > math.Abs(worst.current-worst.reference) {
			worst = c
		}
	}
	return fmt.Sprintf("Histogram of the reference and the current data in %d bins; the greatest change is %s", len(cells), worst.words())
}

// bars draws the greatest categories as pairs of bars, the reference above the current data.
func bars(b Bins) template.HTML {
	const otherName = "(other)" // of Bins
	n := len(b.Categories)
	r, c := shares(b.Reference, n), shares(b.Current, n)
	var cells []cell
	rest := cell{}
	hasRest := false
	for i, name := range b.Categories {
		if i == n-1 && name == otherName {
			rest, hasRest = cell{"", r[i], c[i]}, true
			continue
		}
		cells = append(cells, cell{name, r[i], c[i]})
	}
	slices.SortStableFunc(cells, func(x, y cell) int {
		return cmp.Compare(max(y.reference, y.current), max(x.reference, x.current))
	})
	if len(cells) > maxBars+1 {
		rest.name = formatCount(int64(len(cells)-maxBars)) + " others"
		if hasRest {
			rest.name = "all others"
		}
		for _, x := range cells[maxBars:] {
			rest.reference, rest.current = rest.reference+x.reference, rest.current+x.current
		}
		cells, hasRest = cells[:maxBars], true
	} else if hasRest {
		rest.name = "all others"
	}
	named := len(cells)
	if hasRest {
		cells = append(cells, rest)
	}
	most := 0.0
	for _, x := range cells[:named] {
		most = max(most, x.reference, x.current)
	}
	var s strings.Builder
	s.WriteString(`<table class="bars"><thead class="sr"><tr><th>category</th><th>bars</th><th>reference</th><th>current</th></tr></thead><tbody>`)
	for i, x := range cells {
		name, tag := x.name, ""
		if i < named {
			name = shownName(name, 22)
		}
		switch {
		case i >= named:
			tag = ` class="dim"`
		case x.reference == 0 && x.current > 0:
			name += " (new)"
		case x.current == 0 && x.reference > 0:
			name += " (gone)"
		}
		fmt.Fprintf(&s, `<tr><th%s><bdi>%s</bdi></th><td><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">`, tag, template.HTMLEscapeString(name))
		for _, bar := range []struct {
			class string
			share float64
			y     string
		}{{"r", x.reference, "0"}, {"c", x.current, "5.2"}} {
			if bar.share > 0 && max(x.reference, x.current) <= most { // many others may be more than any category
				fmt.Fprintf(&s, `<rect class="%s" y="%s" width="%s" height="4.4"/>`, bar.class, bar.y, unit(max(0.4, 100*bar.share/most)))
			}
		}
		fmt.Fprintf(&s, `</svg></td><td>%s</td><td>%s</td></tr>`, template.HTMLEscapeString(formatShare(x.reference)), template.HTMLEscapeString(formatShare(x.current)))
	}
	s.WriteString("</tbody></table>")
	return template.HTML(s.String()) //nolint:gosec // numbers, and text that is escaped above
}

// meter draws a severity against the threshold, which is the mark at a quarter.
func meter(severity float64) template.HTML {
	if math.IsNaN(severity) {
		return ""
	}
	const most = 4
	class, more := "m0", ""
	if severity >= 1 {
		class = "m1"
	}
	if severity > most {
		more = `<path class="more" d="M92 1L98 5L92 9Z"/>`
	}
	return template.HTML(fmt.Sprintf(`<svg class="meter" viewBox="0 0 100 10" aria-hidden="true"><rect class="bg" width="100" height="10"/><rect class="%s" y="2" width="%s" height="6"/><path class="t" d="M25 0V10"/>%s</svg>`, //nolint:gosec // numbers
		class, unit(100*min(max(severity, 0), most)/most), more))
}

// share100 draws a share as a bar.
func share100(x float64) template.HTML {
	if !(x > 0) {
		x = 0
	}
	return template.HTML(`<svg class="part" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="r" width="` + unit(100*min(x, 1)) + `" height="10"/></svg>`) //nolint:gosec // a number
}

// intervals draws the reference's figure above the current one, with their intervals, on
// one scale.
func intervals(m Metric) template.HTML {
	low, high := math.Inf(1), math.Inf(-1)
	finite := true
	see := func(x float64) {
		low, high = min(low, x), max(high, x)
		finite = finite && !math.IsNaN(x) && !math.IsInf(x, 0)
	}
	for _, side := range []struct {
		value    *float64
		interval *[2]float64
	}{{m.Reference, m.ReferenceInterval}, {m.Current, m.CurrentInterval}} {
		if side.value != nil {
			see(*side.value)
		}
		if side.interval != nil {
			see(side.interval[0])
			see(side.interval[1])
		}
	}
	if !finite || !(high/2 > low/2) || m.ReferenceInterval == nil && m.CurrentInterval == nil {
		return ""
	}
	at := func(v float64) float64 { return 4 + 92*((v/2-low/2)/(high/2-low/2)) }
	var s strings.Builder
	s.WriteString(`<svg class="iv" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">`)
	draw := func(class string, y float64, value *float64, interval *[2]float64) {
		if interval != nil {
			fmt.Fprintf(&s, `<path class="%s" d="M%s %sH%s"/>`, class, unit(at(interval[0])), unit(y), unit(at(interval[1])))
		}
		if value != nil {
			fmt.Fprintf(&s, `<path class="%s" d="M%s %sV%s"/>`, class, unit(at(*value)), unit(y-4), unit(y+4))
		}
	}
	draw("ir", 5.5, m.Reference, m.ReferenceInterval)
	draw("ic", 14.5, m.Current, m.CurrentInterval)
	s.WriteString("</svg>")
	return template.HTML(s.String()) //nolint:gosec // numbers
}
