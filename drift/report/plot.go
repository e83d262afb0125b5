package report

import (
	"bytes"
	"cmp"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"slices"
	"strconv"
	"sync"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Colours that stand out from a white page and from a dark one. Text takes the page's own
// colour by style.css.
var (
	grey      = color.NRGBA{R: 0x86, G: 0x8e, B: 0x96, A: 0xff}
	reference = color.NRGBA{R: 0x86, G: 0x8e, B: 0x96, A: 0xa0}
	current   = color.NRGBA{R: 0xe8, G: 0x59, B: 0x0c, A: 0xff}
	limit     = color.NRGBA{R: 0xe0, G: 0x31, B: 0x31, A: 0xff}
)

const (
	maxBars       = 20 // bars of a numeric column
	maxCategories = 15 // bars of a categorical column
)

// cell is one bar: a range of values or a category.
type cell struct {
	short, long        string
	reference, current float64 // shares of all rows
}

// shares lays a column out as at most groups ranges, or at most categories categories
// (those with the greatest share on either side) and the rest, then missing if there is any.
func (b Bins) shares(groups, categories int) []cell {
	var nr, nc int64
	for i := range b.Reference {
		nr, nc = nr+b.Reference[i], nc+b.Current[i]
	}
	nr, nc = nr+b.OtherReference+b.MissingReference, nc+b.OtherCurrent+b.MissingCurrent
	share := func(n, of int64) float64 {
		if of == 0 {
			return 0
		}
		return float64(n) / float64(of)
	}
	var cells []cell
	if len(b.Edges) > 0 {
		cells = b.ranges(groups)
		for i := range cells {
			cells[i].reference, cells[i].current = share(int64(cells[i].reference), nr), share(int64(cells[i].current), nc)
		}
	} else {
		for i, name := range b.Categories {
			cells = append(cells, cell{shorten(name, 12), strconv.Quote(shorten(name, 60)), share(b.Reference[i], nr), share(b.Current[i], nc)})
		}
		slices.SortStableFunc(cells, func(x, y cell) int {
			return cmp.Compare(max(y.reference, y.current), max(x.reference, x.current))
		})
		rest := cell{short: "other", long: "other categories", reference: share(b.OtherReference, nr), current: share(b.OtherCurrent, nc)}
		for _, c := range cells[min(categories, len(cells)):] {
			rest.reference, rest.current = rest.reference+c.reference, rest.current+c.current
		}
		cells = cells[:min(categories, len(cells))]
		if rest.reference+rest.current > 0 {
			cells = append(cells, rest)
		}
	}
	if b.MissingReference+b.MissingCurrent > 0 {
		cells = append(cells, cell{"missing", "missing values", share(b.MissingReference, nr), share(b.MissingCurrent, nc)})
	}
	return cells
}

// ranges merges numeric bins into groups of near-equal reference mass; reference and
// current are counts.
func (b Bins) ranges(groups int) []cell {
	var cells []cell
	group := profile.GroupBins(b.Reference, groups)
	for i, g := range group {
		if g == len(cells) {
			c := cell{short: "<" + num(b.Edges[0]), long: "values below "}
			if i > 0 {
				c.short = num(b.Edges[i-1])
				c.long = "values from " + c.short
			}
			cells = append(cells, c)
		}
		c := &cells[g]
		c.reference, c.current = c.reference+float64(b.Reference[i]), c.current+float64(b.Current[i])
		last := i+1 == len(group) || group[i+1] > g
		switch {
		case !last:
		case i+1 == len(group):
			c.long += " up"
		case c.long == "values below ":
			c.long += num(b.Edges[i])
		default:
			c.long += " to below " + num(b.Edges[i])
		}
	}
	return cells
}

func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}

// setFont chooses the sans-serif font once: it is a default of gonum/plot.
var setFont = sync.OnceFunc(func() {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
})

func newPlot() *plot.Plot {
	setFont()
	p := plot.New()
	p.BackgroundColor = color.Transparent
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Color, axis.Tick.Color = grey, grey
		axis.Tick.Label.Color = grey
		axis.Tick.Label.Font.Size = 8
		axis.Width, axis.Tick.Width = 0.5, 0.5
		axis.Tick.Length = 3
	}
	return p
}

// svg renders a plot, width and height in points, as an element to stand in HTML.
func svg(p *plot.Plot, width, height vg.Length, label string) (template.HTML, error) {
	c := vgsvg.New(width, height)
	p.Draw(draw.New(c))
	var out bytes.Buffer
	if _, err := c.WriteTo(&out); err != nil {
		return "", fmt.Errorf("draw %s: %w", label, err)
	}
	_, text, found := bytes.Cut(out.Bytes(), []byte("<svg")) // before it stands an XML declaration, which HTML does not want
	if !found {
		return "", fmt.Errorf("draw %s: no svg element", label)
	}
	return template.HTML(fmt.Sprintf(`<svg role="img" aria-label="%s"`, template.HTMLEscapeString(label))) + //nolint:gosec // gonum/plot escapes its text
		template.HTML(text), nil //nolint:gosec // see above
}

// distribution draws the shares of a column's cells, the window over the reference.
func distribution(b Bins) (template.HTML, error) {
	cells := b.shares(maxBars, maxCategories)
	if len(cells) == 0 {
		return "", nil
	}
	const width, height = 420, 130
	r, c := make(plotter.Values, len(cells)), make(plotter.Values, len(cells))
	for i, x := range cells {
		r[i], c[i] = 100*x.reference, 100*x.current
	}
	room := vg.Length(width-40) / vg.Length(len(cells))
	wide, err := plotter.NewBarChart(r, room*0.86)
	if err != nil {
		return "", fmt.Errorf("draw a distribution: %w", err)
	}
	narrow, err := plotter.NewBarChart(c, room*0.4)
	if err != nil {
		return "", fmt.Errorf("draw a distribution: %w", err)
	}
	wide.Color, narrow.Color = reference, current
	wide.LineStyle.Width, narrow.LineStyle.Width = 0, 0
	p := newPlot()
	p.Y.Min, p.X.Tick.Length = 0, 0
	p.Y.Tick.Marker = percentTicks{}
	p.Add(wide, narrow)
	// As many names as fit without touching.
	var ticks plot.ConstantTicks
	every := max(1, int(math.Ceil(float64(longest(cells))*4.6/float64(room))))
	for i, x := range cells {
		label := ""
		if i%every == 0 || x.short == "missing" {
			label = x.short
		}
		ticks = append(ticks, plot.Tick{Value: float64(i), Label: label})
	}
	p.X.Tick.Marker = ticks
	return svg(p, width, height, "distribution in reference and window")
}

func longest(cells []cell) int {
	n := 0
	for _, c := range cells {
		n = max(n, len([]rune(c.short)))
	}
	return n
}

// percentTicks marks a few round shares.
type percentTicks struct{}

func (percentTicks) Ticks(low, high float64) []plot.Tick {
	var out []plot.Tick
	for _, t := range (plot.DefaultTicks{}).Ticks(low, high) {
		if t.Label != "" {
			out = append(out, plot.Tick{Value: t.Value, Label: strconv.FormatFloat(t.Value, 'g', 3, 64) + " %"})
		}
	}
	return out
}

// historyPlot draws a score over recent windows, this one as a dot, and its threshold.
func historyPlot(h History) (template.HTML, error) {
	if len(h.Scores) == 0 {
		return "", nil
	}
	points := make(plotter.XYs, len(h.Scores))
	for i, s := range h.Scores {
		points[i] = plotter.XY{X: float64(h.Windows[i].Unix()), Y: s}
	}
	line, err := plotter.NewLine(points)
	if err != nil {
		return "", fmt.Errorf("draw the history of %s: %w", h.Stattest, err)
	}
	line.Color, line.Width = grey, 1
	dot, err := plotter.NewScatter(points[len(points)-1:])
	if err != nil {
		return "", fmt.Errorf("draw the history of %s: %w", h.Stattest, err)
	}
	dot.Color, dot.Radius, dot.Shape = current, 2.5, draw.CircleGlyph{}
	p := newPlot()
	p.HideAxes()
	p.Add(line, dot)
	if !schemas.Stattest(h.Stattest).Quality() {
		p.Y.Min = min(p.Y.Min, 0) // a drift score of 0 is no drift
	}
	if h.Threshold != nil {
		t := *h.Threshold
		p.Y.Min, p.Y.Max = min(p.Y.Min, t), max(p.Y.Max, t)
		mark, err := plotter.NewLine(plotter.XYs{{X: p.X.Min, Y: t}, {X: p.X.Max, Y: t}})
		if err != nil {
			return "", fmt.Errorf("draw the history of %s: %w", h.Stattest, err)
		}
		mark.Color, mark.Width, mark.Dashes = limit, 0.7, []vg.Length{3, 2}
		p.Add(mark)
	}
	return svg(p, 180, 34, h.Stattest+" over recent windows")
}
