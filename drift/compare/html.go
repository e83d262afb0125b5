package compare

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/millrace/millrace/drift/internal/page"
)

// What the HTML report holds at most, so that any comparison stays a file that a browser
// opens at once. The report says what was left out.
const (
	maxCards    = 60   // columns with a chart, the worst
	maxListed   = 2000 // columns in the table
	maxHeatRows = 30   // columns of the segments' table
	maxHeatCols = 20   // segments
	maxNotes    = 100
)

// WriteHTML writes a comparison as one HTML file that needs nothing else, made at a time
// (zero: it does not say when).
func WriteHTML(w io.Writer, r *Result, made time.Time) error {
	columns := worstFirst(r.Columns)
	v := view{Result: r, Made: made, Listed: columns[:min(len(columns), maxListed)], Cards: columns[:min(len(columns), maxCards)]}
	for _, c := range v.Listed {
		v.HasP = v.HasP || c.PValue != nil
		v.HasSmallest = v.HasSmallest || c.SmallestEffect != nil
		v.HasEffect = v.HasEffect || c.EffectSize != nil
	}
	v.Heat = heatOf(r.Segments)
	var out bytes.Buffer
	err := reportTemplate.Execute(&out, v)
	if err == nil {
		_, err = w.Write(out.Bytes())
	}
	if err != nil {
		return fmt.Errorf("write the comparison of %s and %s as HTML: %w", shownName(r.Reference.Name, 80), shownName(r.Current.Name, 80), err)
	}
	return nil
}

// view is what the template reads.
type view struct {
	*Result
	Made                         time.Time
	Listed, Cards                []*Column
	HasP, HasEffect, HasSmallest bool
	Heat                         *heat
}

// Headline is the verdict in a few sentences.
func (v view) Headline() string { return v.headline() }

// ShownNotes are the notes that are shown.
func (v view) ShownNotes() []string { return v.Notes[:min(len(v.Notes), maxNotes)] }

// MoreNotes is how many are not.
func (v view) MoreNotes() int { return len(v.Notes) - len(v.ShownNotes()) }

// heat is the table of columns by segments.
type heat struct {
	Segments    []*Segment
	Rows        []heatRow
	Columns, Of int // shown of all
	SegmentsOf  int
	Upright     bool // few enough segments to write their names across
}

type heatRow struct {
	Name  string
	Cells []*Column // nil: the segment has no such column
	worst float64
}

func heatOf(segments []Segment) *heat {
	if len(segments) == 0 {
		return nil
	}
	h := &heat{SegmentsOf: len(segments)}
	for i := range segments[:min(len(segments), maxHeatCols)] {
		h.Segments = append(h.Segments, &segments[i])
	}
	h.Upright = len(h.Segments) <= 8
	rows := map[string]*heatRow{}
	var order []*heatRow
	for i, s := range h.Segments {
		for k := range s.Columns {
			c := &s.Columns[k]
			row := rows[c.Column]
			if row == nil {
				row = &heatRow{Name: c.Column, Cells: make([]*Column, len(h.Segments)), worst: -1}
				rows[c.Column] = row
				order = append(order, row)
			}
			row.Cells[i] = c
			if sev := c.severity(); sev > row.worst { // false for NaN
				row.worst = sev
			}
		}
	}
	slices.SortStableFunc(order, func(a, b *heatRow) int { return cmp.Compare(b.worst, a.worst) })
	h.Of = len(order)
	for _, row := range order[:min(len(order), maxHeatRows)] {
		h.Rows = append(h.Rows, *row)
	}
	h.Columns = len(h.Rows)
	return h
}

// namedTrial is a test of --all-tests.
type namedTrial struct {
	Name string
	Trial
}

// trials returns the tests of a column, the worst first, those without a score last.
func trials(c *Column) []namedTrial {
	var out []namedTrial
	for _, name := range slices.Sorted(maps.Keys(c.Tests)) {
		out = append(out, namedTrial{name, c.Tests[name]})
	}
	slices.SortStableFunc(out, func(a, b namedTrial) int {
		return cmp.Compare(b.severity(), a.severity())
	})
	return out
}

// methodNames are the multivariate methods in words.
var methodNames = map[string]string{
	"pca_reconstruction": "PCA reconstruction error",
	"domain_classifier":  "domain classifier (ROC AUC)",
	"energy":             "energy distance",
}

//go:embed report.html.tmpl
var reportText string

//go:embed report.css
var reportStyle string

var reportTemplate = template.Must(template.New("compare").Funcs(template.FuncMap{
	"policy":       func() template.HTML { return page.Policy },
	"style":        func() template.CSS { return template.CSS(page.Style + reportStyle) }, //nolint:gosec // our own files
	"time":         func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	"num":          formatNumber,
	"opt":          formatOptional,
	"p":            formatP,
	"count":        formatCount,
	"share":        formatShare,
	"name":         func(s string) string { return shownName(s, 100) },
	"label":        func(s string) string { return shownName(s, 40) },
	"short":        func(s string) string { return shownName(s, 22) },
	"prose":        func(s string) string { return shownText(s, 1000) },
	"distribution": distribution,
	"meter":        func(c *Column) template.HTML { return meter(c.severity()) },
	"bar":          share100,
	"intervals":    intervals,
	"noIntervals":  (*Quality).noIntervals,
	"interval":     formatInterval,
	"change":       func(m Metric) string { return m.change() },
	"apart":        Metric.apart,
	"word":         verdictWord,
	"segment":      (*Segment).verdict,
	"missing":      missingShares,
	"remarks":      (*Column).remarks,
	"trials":       trials,
	"missingR":     func(c *Column) string { return formatShare(share(c.MissingReference, c.NReference)) },
	"missingC":     func(c *Column) string { return formatShare(share(c.MissingCurrent, c.NCurrent)) },
	"drifted": func(t []namedTrial) int {
		n := 0
		for _, x := range t {
			if x.Drifted {
				n++
			}
		}
		return n
	},
	"times": func(c *Column) string {
		if s := c.severity(); (c.PValue == nil || c.Expected != nil) && !math.IsNaN(s) && c.Threshold > 0 {
			return formatTimes(s)
		}
		return ""
	},
	"limits": func(m Multivariate) string { return m.limits() },
	"method": func(s string) string {
		if name, ok := methodNames[s]; ok {
			return name
		}
		return shownName(s, 60)
	},
	"quantile": func(q SideQuality, i int) string {
		if len(q.Quantiles) != 7 {
			return "–"
		}
		return q.format(q.Quantiles[i])
	},
	"first": func(c []Contribution) []Contribution { return c[:min(len(c), 12)] },
	"minus": func(a, b int) int { return a - b },
	// How strong a cell of the segments' table is: nothing, below the threshold, and three steps above.
	"step": func(c *Column) string {
		switch s := c.severity(); {
		case math.IsNaN(s) || s < 0.5:
			return "s0"
		case s < 1:
			return "s1"
		case s < 2:
			return "s2"
		case s < 4:
			return "s3"
		default:
			return "s4"
		}
	},
	"figure": func(c *Column) string {
		if c.Score == nil {
			return "–"
		}
		return formatNumber(roundTo(*c.Score, 2))
	},
}).Parse(reportText))

// roundTo keeps some digits.
func roundTo(x float64, digits int) float64 {
	y, err := strconv.ParseFloat(strconv.FormatFloat(x, 'e', digits-1, 64), 64)
	if err != nil {
		return x
	}
	return y
}

// formatTimes says how many thresholds a distance is.
func formatTimes(x float64) string {
	switch {
	case x >= 1000:
		return ">1,000×"
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 0, 64) + "×"
	default:
		return strconv.FormatFloat(x, 'f', 1, 64) + "×"
	}
}
