package reason

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/stattest"
	"github.com/millrace/millrace/schemas"
)

const (
	mostColumns  = 10 // in a reason
	mostSegments = 5
	namedColumns = 3    // in the sentence
	namedShare   = 0.1  // of the drift, below which a column is not in the sentence
	leastShare   = 0.02 // below which a column without a breach is left out
	// movedPrediction is the psi from which on an output without a breach is said to have moved: the usual
	// convention calls less insignificant (Siddiqi, Credit Risk Scorecards, 2006).
	movedPrediction = 0.1
	concentrated    = 0.8 // of the drift in one value of a segment that has at most half of the rows
)

// Input is what a reason is made of. It is not changed.
type Input struct {
	Start, End time.Time // of the window
	Rows       uint64
	Columns    []Column
	History    History
	Checks     []schemas.DriftResult // the window's results
	Quality    Quality
	Past       []Past // windows before this one, oldest first
	Segments   []Segment
}

// Quality is the figure of the window by which quality is followed; each value is nil where it is not known.
type Quality struct {
	Metric              schemas.Stattest
	Realised, Estimated *float64
}

// Past is what was found in a window before. Scores are psi by column, Realised and Estimated the
// figure of Input.Quality.
type Past struct {
	Start               time.Time
	Scores              map[string]float64
	Realised, Estimated *float64
}

// Segment is the rows of one value of a segment, before the window and in it, by Input.Columns.
type Segment struct {
	Segment, Value string
	Before, Window []profile.Counts
	Rows           uint64 // in the window
}

// Of returns the reason, without SQL, and which rows show the change.
func Of(in Input) (schemas.Reason, schemas.RowSelection) {
	out := schemas.Reason{}
	if len(in.History.Starts) > 0 {
		from := in.History.Starts[0].UTC()
		out.Looked, out.Bucket = &from, in.History.Length.Seconds()
	}
	changed := in.columns()
	var selected schemas.RowSelection
	var shown *Column // whose rows are selected
	for _, c := range changed {
		if c.column.Output {
			c.Share = 0
			if len(out.Moved.Predictions) < mostColumns {
				out.Moved.Predictions = append(out.Moved.Predictions, c.ColumnReason)
			}
		} else if len(out.Columns) < mostColumns {
			out.Columns = append(out.Columns, c.ColumnReason)
		}
		if shown == nil || shown.Output && !c.column.Output {
			shown, selected = c.column, c.selected
		}
	}
	for _, r := range in.Checks {
		if reason, ok := rowsReason(&r); ok {
			out.Rows = append(out.Rows, reason)
			if reason.Stattest == schemas.StattestDuplicates && shown == nil {
				selected = schemas.RowSelection{Repeated: true}
			}
		}
	}
	if shown != nil {
		out.Segments = in.segments(shown)
	}
	realised, estimated := make([]*float64, len(in.Past)), make([]*float64, len(in.Past))
	for i := range in.Past {
		realised[i], estimated[i] = in.Past[i].Realised, in.Past[i].Estimated
	}
	out.Moved.Realised = moved(in.Quality.Metric, in.Quality.Realised, realised)
	out.Moved.Estimated = moved(in.Quality.Metric, in.Quality.Estimated, estimated)
	in.correlate(out.Columns)
	out.Matters, out.Why = matters(&out)
	out.Sentence = sentence(&out, in.where(out.Segments))
	return out, selected
}

// changedColumn is a column before outputs are told from features.
type changedColumn struct {
	schemas.ColumnReason
	column   *Column
	selected schemas.RowSelection
}

// columns returns what changed: causes first, then by contribution.
func (in *Input) columns() []changedColumn {
	scores := make([]float64, len(in.Columns))
	total := 0.0
	for i := range in.Columns {
		c := &in.Columns[i]
		l := cellsOf(c)
		scores[i] = effect(l.of(c.Reference), l.of(c.Window))
		if !c.Output {
			total += scores[i]
		}
	}
	var out []changedColumn
	for i := range in.Columns {
		c := &in.Columns[i]
		r := changedColumn{ColumnReason: schemas.ColumnReason{Column: c.Name, Score: scores[i]}, column: c}
		if c.Output {
			r.Share = 1 // of itself, until it is told from features
		} else if total > 0 {
			r.Share = scores[i] / total
		}
		var fault *schemas.DriftResult
		for k := range in.Checks {
			if d := &in.Checks[k]; d.Column == c.Name && d.Drifted {
				r.Drift = true
				if schemas.Stattest(d.Stattest) == schemas.StattestOutOfRange {
					fault = d
				}
			}
		}
		minor := r.Share < leastShare || c.Output && scores[i] < movedPrediction
		if !r.Drift && minor && (scores[i] == 0 || describeQuietly(c)) {
			continue
		}
		found := date(c, in.History, in.Start, in.End)
		what := describe(c, found.counts)
		r.What, r.Cause, r.selected = what.what, what.cause && !c.Output, what.rows
		r.Since, r.Until, r.Undated = found.since, found.until, found.undated
		if fault != nil && !what.cause {
			r.What, r.Cause = fmt.Sprintf("is out of the manifest's range in %s of the rows", percent(fault.Score)), true
			r.selected = schemas.RowSelection{Column: c.Name, Outside: true}
		}
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b changedColumn) int {
		if a.Cause != b.Cause {
			if a.Cause {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(b.Score, a.Score))
	})
	return out
}

// describeQuietly tells that a column has no fault of the data.
func describeQuietly(c *Column) bool { return !describe(c, c.Window).cause }

// rowsReason puts a breached check of the rows as a whole into words.
func rowsReason(r *schemas.DriftResult) (schemas.RowsReason, bool) {
	if !r.Drifted || r.Threshold == nil {
		return schemas.RowsReason{}, false
	}
	test := schemas.Stattest(r.Stattest)
	switch test {
	case schemas.StattestRowCount:
		return schemas.RowsReason{Stattest: test, What: fmt.Sprintf("the window has %.0f rows, where at least %s are expected", r.Score, number(*r.Threshold))}, true
	case schemas.StattestDuplicates:
		return schemas.RowsReason{Stattest: test, What: percent(r.Score) + " of the rows repeat a request id"}, true
	default:
		return schemas.RowsReason{}, false
	}
}

// segments compares a column within each value of a segment before the window and in it, and says
// how much of what changed is there: its psi by its rows.
func (in *Input) segments(c *Column) []schemas.SegmentReason {
	at := slices.IndexFunc(in.Columns, func(o Column) bool { return o.Name == c.Name })
	l := cellsOf(c)
	var out []schemas.SegmentReason
	total := map[string]float64{}
	for _, s := range in.Segments {
		if at >= len(s.Before) || at >= len(s.Window) || s.Segment == c.Name {
			continue
		}
		score := effect(l.of(s.Before[at]), l.of(s.Window[at]))
		total[s.Segment] += score * float64(s.Rows)
		if score > 0 && s.Rows > 0 {
			out = append(out, schemas.SegmentReason{Segment: s.Segment, Value: cut(s.Value), Rows: s.Rows, Score: score, Share: score * float64(s.Rows)})
		}
	}
	for i := range out {
		out[i].Share /= total[out[i].Segment]
	}
	slices.SortStableFunc(out, func(a, b schemas.SegmentReason) int { return cmp.Compare(b.Share, a.Share) })
	return out[:min(len(out), mostSegments)]
}

// correlate fills in how the drift of columns went with quality, and corrects over the columns (Holm).
func (in *Input) correlate(columns []schemas.ColumnReason) {
	var p []float64
	var of []int
	for i := range columns {
		var x, y []float64
		for _, w := range in.Past {
			score, known := w.Scores[columns[i].Column]
			figure := w.Realised
			if figure == nil {
				figure = w.Estimated
			}
			if !known || figure == nil || math.IsNaN(score) || math.IsNaN(*figure) {
				continue
			}
			x, y = append(x, score), append(y, badness(in.Quality.Metric, *figure))
		}
		if rho, chance, ok := spearman(x, y); ok {
			columns[i].Correlation, columns[i].Windows = &rho, len(x)
			p, of = append(p, chance), append(of, i)
		}
	}
	corrected, err := stattest.Holm(p)
	if err != nil {
		return // they are from 0 to 1
	}
	for k, i := range of {
		columns[i].Goes = corrected[k] <= rate
	}
}

func quoted(name string) string { return "`" + name + "`" }

// sentence says it in one sentence, and whether it matters in another.
func sentence(r *schemas.Reason, where string) string {
	var parts []string
	for _, rows := range r.Rows {
		parts = append(parts, rows.What)
	}
	named, left := 0, 0
	for _, c := range r.Columns {
		if named < namedColumns && (c.Cause || c.Share >= namedShare || named == 0) {
			parts = append(parts, phrase(&c, true))
			named++
		} else {
			left++
		}
	}
	if left > 0 {
		parts = append(parts, fmt.Sprintf("%d more changed less", left))
	}
	if named == 0 {
		for _, c := range r.Moved.Predictions[:min(1, len(r.Moved.Predictions))] {
			parts = append(parts, "no feature changed by more than chance, and the prediction did: "+phrase(&c, false))
		}
	}
	if len(parts) == 0 {
		parts = []string{"no column differs from the reference by more than chance"}
	}
	text := strings.Join(parts, "; ") + where
	if text[0] != '`' {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	switch r.Matters {
	case schemas.MattersYes:
		text += ". It matters: " + r.Why
	case schemas.MattersNo:
		text += ". It does not show in quality: " + r.Why
	case schemas.MattersLikely:
		text += ". It is likely to matter: " + r.Why
	case schemas.MattersUnknown:
		text += ". Whether it matters is unknown"
	}
	return text + "."
}

// where names the value of a segment that has nearly all of the change, and not most of the rows.
func (in *Input) where(s []schemas.SegmentReason) string {
	if len(s) == 0 || s[0].Share < concentrated {
		return ""
	}
	rows := uint64(0)
	for _, v := range in.Segments {
		if v.Segment == s[0].Segment {
			rows += v.Rows
		}
	}
	if float64(s[0].Rows) > 0.5*float64(rows) {
		return ""
	}
	return fmt.Sprintf(", nearly all of it where %s is %q", quoted(s[0].Segment), s[0].Value)
}

// phrase says what became of a column, and since when.
func phrase(c *schemas.ColumnReason, contribution bool) string {
	what := c.What
	when := ""
	if c.Since != nil {
		when = " since " + clock(*c.Since)
		if c.Until != nil {
			when = " from " + clock(*c.Since) + " to " + clock(*c.Until)
		}
		when += " UTC"
	}
	if c.Cause {
		rest, is := strings.CutPrefix(what, "is ")
		switch {
		case is && c.Since != nil && c.Until != nil:
			what = "was " + rest
		case is && c.Since != nil:
			what = "has been " + rest
		}
		return quoted(c.Column) + " " + what + when
	}
	of := ""
	if contribution && c.Share > 0 {
		of = " (" + percent(c.Share) + " of the drift)"
	}
	return quoted(c.Column) + of + ": " + what + when
}
