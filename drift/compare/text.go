package compare

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas/printable"
)

// What the table and the HTML report say in the same words.

// severity is how far a column is beyond its threshold: 1 is at the threshold, more is
// drifted. A distance counts in units of the threshold, a p-value in powers of ten below it
// (a p-value of 0 as the smallest number there is). NaN where the column was not judged.
func severity(score, pValue *float64, threshold float64) float64 {
	switch {
	case pValue != nil && *pValue < threshold:
		return 1 + math.Log10(threshold) - math.Log10(max(*pValue, math.SmallestNonzeroFloat64))
	case pValue != nil && *pValue > 0:
		return threshold / *pValue
	case pValue != nil:
		return 0
	case score == nil:
		return math.NaN()
	case threshold > 0:
		return *score / threshold
	case *score >= threshold: // a threshold of 0 or less is passed, how far has no unit
		return 1 + *score - threshold
	default:
		return 0
	}
}

// judged tells whether a column has a verdict.
func (c *Column) judged() bool { return c.Verdict == VerdictOK || c.Drifted }

func (c *Column) severity() float64 {
	if !c.judged() {
		return math.NaN()
	}
	return byMarks(severity(c.Score, c.ofThreshold(), c.Threshold), c.SmallestEffect != nil, c.Drifted)
}

// ofThreshold is the p-value where that is what the threshold is of: of a distance, it is the
// score also where there is a p-value beside it.
func (c *Column) ofThreshold() *float64 {
	if c.Expected != nil {
		return nil
	}
	return c.PValue
}

func (t Trial) severity() float64 {
	p := t.PValue
	if t.Expected != nil {
		p = nil
	}
	return byMarks(severity(t.Score, p, t.Threshold), t.EffectSize != nil, t.Drifted)
}

// byMarks is a severity where drift is what passes two marks, of which the threshold is one.
func byMarks(severity float64, two, drifted bool) float64 {
	switch {
	case !two || math.IsNaN(severity):
		return severity
	case drifted:
		return max(severity, 1)
	default:
		return min(severity, 0.99)
	}
}

// worstFirst returns the columns that drifted, then the others, then those not judged, each
// the most severe first; of equals the greater effect, then the reference's order.
func worstFirst(columns []Column) []*Column {
	out := make([]*Column, len(columns))
	for i := range columns {
		out[i] = &columns[i]
	}
	rank := func(c *Column) int {
		switch {
		case c.Drifted:
			return 0
		case c.judged():
			return 1
		default:
			return 2
		}
	}
	value := func(x *float64) float64 {
		if x == nil {
			return math.Inf(-1)
		}
		return math.Abs(*x)
	}
	slices.SortStableFunc(out, func(a, b *Column) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(b.severity(), a.severity()), // NaN, the least, comes last
			cmp.Compare(value(b.EffectSize), value(a.EffectSize)),
			cmp.Compare(value(b.Score), value(a.Score)))
	})
	return out
}

// headline is the data set's verdict and how it came about, in a few sentences.
func (r *Result) headline() string {
	d := r.Dataset
	if d.Columns == 0 {
		return "No column was judged." + r.leftOut()
	}
	drifted := int(math.Round(d.Share * float64(d.Columns)))
	text := fmt.Sprintf("%d of %d judged columns drifted (%s); ", drifted, d.Columns, formatShare(d.Share))
	if d.Columns == 1 {
		text = fmt.Sprintf("%d of 1 judged column drifted; ", drifted)
	}
	text += "the data set drifts from a share of " + formatShare(d.Threshold) + "."
	if d.NotJudged > 0 {
		text += fmt.Sprintf(" %s not judged", count(int64(d.NotJudged), "column"))
		if d.Verdict == VerdictNotJudged {
			text += ", which might decide"
		}
		text += "."
	}
	text += r.leftOut() + r.howJudged()
	if beside := r.beside(); len(beside) > 0 {
		text += " Not part of this verdict: " + strings.Join(beside, "; ") + "."
	}
	return text
}

// leftOut says which columns are not compared: those that could not be read, which might decide where
// the verdict says that it is open, and the others.
func (r *Result) leftOut() string {
	const named = 3
	list := func(names []string) string {
		if more := len(names) - named; more > 0 {
			names = append(names[:named:named], fmt.Sprintf("%d more", more))
		}
		return strings.Join(names, ", ")
	}
	var unread []string
	reasons := []struct{ reason, what string }{
		{LeftTimes, "times"}, {LeftIdentifier, "identifiers"}, {LeftOnlyReference, "only in the reference"}, {LeftOnlyCurrent, "only in the current data"},
	}
	of := map[string][]string{}
	for _, l := range r.LeftOut {
		name := shownName(l.Column, 24)
		if l.unread() {
			unread = append(unread, name)
		} else {
			of[l.Reason] = append(of[l.Reason], name)
		}
	}
	text := ""
	if len(unread) > 0 {
		text = fmt.Sprintf(" %s not be compared as they are (%s)", count(int64(len(unread)), "column")+" could", list(unread))
		if len(unread) == 1 {
			text = fmt.Sprintf(" 1 column could not be compared as it is (%s)", list(unread))
		}
		if r.Dataset.Verdict == VerdictNotJudged {
			text += ", which might decide"
		}
		text += ": see the notes."
	}
	var others []string
	for _, o := range reasons {
		if names := of[o.reason]; len(names) > 0 {
			others = append(others, list(names)+" ("+o.what+")")
		}
	}
	if len(others) > 0 {
		text += " Left out: " + strings.Join(others, "; ") + "."
	}
	return text
}

// howJudged says what drift is, for columns that are judged by a rate, and which are not.
func (r *Result) howJudged() string {
	var byRate, corrected, given bool
	for i := range r.Columns {
		c := &r.Columns[i]
		corrected = corrected || c.RawPValue != nil
		if c.SmallestEffect != nil || c.RawPValue != nil {
			byRate = true
		} else if c.judged() {
			given = true
		}
	}
	text, d := "", r.Dataset
	if d.Rate != nil && d.Effect != nil {
		if byRate {
			text += " Drift is an effect from " + formatNumber(*d.Effect) + " that is more than chance"
			switch {
			case corrected:
				text += ", at a rate of " + formatShare(*d.Rate)
			case d.Correction == "":
				text += ", at a rate of " + formatShare(*d.Rate) + " for each column"
			}
			text += "."
		}
		if given {
			text += " A threshold that was given stands for itself."
		}
	}
	if corrected && d.Correction != "" {
		text += " P-values are corrected: " + shownName(d.Correction, 40) + "."
	}
	return text
}

// beside says what may be wrong though it is no part of the data set's verdict.
func (r *Result) beside() []string {
	const named = 3
	list := func(what string, names []string) string {
		if len(names) > named {
			names = append(names[:named:named], fmt.Sprintf("%d more", len(names)-named))
		}
		return what + strings.Join(names, ", ")
	}
	var together, apart, missing, infinite, out []string
	for i := range r.Multivariate {
		if m := &r.Multivariate[i]; m.Drifted {
			together = append(together, shownName(m.Method, 24))
		}
	}
	if r.Quality != nil {
		for _, m := range r.Quality.Metrics {
			if m.apart() {
				apart = append(apart, shownName(m.Metric, 40))
			}
		}
	}
	for i := range r.Columns {
		c := &r.Columns[i]
		if c.missingMoved() {
			missing = append(missing, shownName(c.Column, 24)+" "+missingShares(c))
		}
		if before, after := c.infiniteShares(); math.Abs(after-before) >= leastMoved {
			infinite = append(infinite, fmt.Sprintf("%s %s → %s", shownName(c.Column, 24), formatShare(before), formatShare(after)))
		}
	}
	if len(together) > 0 {
		out = append(out, list("columns together drifted by ", together))
	}
	if len(apart) > 0 {
		out = append(out, list("the model's quality changed in ", apart))
	}
	if len(missing) > 0 {
		out = append(out, list("missing values of ", missing))
	}
	if len(infinite) > 0 {
		out = append(out, list("infinite values of ", infinite))
	}
	return out
}

// apart says that the intervals of both sides have nothing in common.
func (m Metric) apart() bool {
	a, b := m.ReferenceInterval, m.CurrentInterval
	return a != nil && b != nil && (a[1] < b[0] || b[1] < a[0])
}

// missingMoved says that the share of missing values changed by so much that it is told beside
// a verdict, which is of the values that are there.
func (c *Column) missingMoved() bool {
	return math.Abs(share(c.MissingCurrent, c.NCurrent)-share(c.MissingReference, c.NReference)) >= leastMoved
}

// leastMoved is a change of the share of rows without a finite value that is told beside a verdict.
const leastMoved = 0.05

// infiniteShares are the shares of the rows of each side whose value is infinite, which no verdict looks at.
func (c *Column) infiniteShares() (before, after float64) {
	q := c.DataQuality
	of := func(infinite, n, missing int64) float64 { return part(infinite, infinite+n+missing) }
	return of(q.Reference.Infinite, c.NReference, c.MissingReference), of(q.Current.Infinite, c.NCurrent, c.MissingCurrent)
}

// verdictWord is a verdict as people read it.
func verdictWord(verdict string) string {
	return shownName(strings.ReplaceAll(verdict, "_", " "), 20)
}

// verdict is that of a segment; too few where that is all that its columns lack.
func (s *Segment) verdict() string {
	more := func(c Column) bool { return c.Verdict != VerdictTooFew }
	switch {
	case s.Dataset.Drifted:
		return VerdictDrifted
	case s.Dataset.Columns == 0 && !slices.ContainsFunc(s.Columns, more):
		return VerdictTooFew
	case s.Dataset.Columns == 0:
		return VerdictNotJudged
	default:
		return s.Dataset.Verdict
	}
}

// unjudged says of which columns there is no verdict, and why: a line for each reason.
func unjudged(columns []*Column) []string {
	const named, most = 5, 20
	of := map[string][]string{}
	var reasons []string
	for _, c := range columns {
		if c.judged() {
			continue
		}
		why := strings.TrimPrefix(c.Explanation, "Not judged: ")
		if of[why] == nil {
			reasons = append(reasons, why)
		}
		of[why] = append(of[why], shownName(c.Column, 40))
	}
	var out []string
	for i, why := range reasons {
		if i == most {
			return append(out, fmt.Sprintf("%d more reasons are in the JSON form.", len(reasons)-most))
		}
		names := of[why]
		text := strings.Join(names[:min(len(names), named)], ", ")
		if n := len(names) - named; n > 0 {
			text += fmt.Sprintf(" and %d more", n)
		}
		out = append(out, text+": "+shownText(why, 1000))
	}
	return out
}

// remarks says what is wrong with a column's values, the gravest first.
func (c *Column) remarks() []string {
	q, out := c.DataQuality, []string(nil)
	sides := func(reference, current bool) string {
		switch {
		case reference && current:
			return "both sides"
		case reference:
			return "the reference"
		default:
			return "the current data"
		}
	}
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	before, after := share(c.MissingReference, c.NReference), share(c.MissingCurrent, c.NCurrent)
	if math.Abs(after-before) >= 0.01 {
		add("missing values %s from %s to %s", riseOrFall(before, after), formatShare(before), formatShare(after))
	}
	if r, n := q.Reference.TypeErrors, q.Current.TypeErrors; r+n > 0 {
		add("values not of the column's type, counted as missing: %s", bySide(r, n))
	}
	if r, n := q.Reference.Infinite, q.Current.Infinite; r+n > 0 {
		add("infinite values: %s", bySide(r, n))
	}
	if n := len(q.NewCategories); n > 0 {
		text := "new categories " + categories(q.NewCategories, q.NewCategoriesTotal)
		if q.NewRows > 0 {
			text += fmt.Sprintf(", %s of the current rows", formatShare(part(q.NewRows, c.NCurrent)))
		}
		out = append(out, text)
	} else if q.NewRows > 0 {
		add("%s of the current rows have new categories", formatShare(part(q.NewRows, c.NCurrent)))
	}
	if len(q.VanishedCategories) > 0 {
		out = append(out, "vanished categories "+categories(q.VanishedCategories, q.VanishedCategoriesTotal))
		if same := lookAlike(q.VanishedCategories, q.NewCategories); same != "" {
			out = append(out, same)
		}
	}
	if q.OutOfRange > 0 {
		add("%s (%s) outside the reference's range", count(q.OutOfRange, "current value"), formatShare(part(q.OutOfRange, c.NCurrent)))
	}
	if r, n := q.Reference.Constant, q.Current.Constant; r || n {
		add("constant in %s", sides(r, n))
	}
	if q.DuplicateOf != "" {
		add("same values as %s", shownName(q.DuplicateOf, 60))
	}
	if c.Sampled {
		out = append(out, "compared by a sample")
	}
	return out
}

// bySide says how many each side has, of which at least one has some.
func bySide(reference, current int64) string {
	switch {
	case current == 0:
		return formatCount(reference) + " in the reference"
	case reference == 0:
		return formatCount(current) + " in the current data"
	default:
		return formatCount(reference) + " in the reference, " + formatCount(current) + " in the current data"
	}
}

func riseOrFall(before, after float64) string {
	if after < before {
		return "fell"
	}
	return "rose"
}

// categories lists a few names of total.
func categories(names []string, total int64) string {
	const most = 5
	var out []string
	for _, n := range names[:min(most, len(names))] {
		out = append(out, shownName(n, 30))
	}
	text := strings.Join(out, ", ")
	if more := max(total, int64(len(names))) - int64(min(most, len(names))); more > 0 {
		text += " and " + formatCount(more) + " more"
	}
	return text
}

// share is missing among all rows; part is some of n.
func share(missing, present int64) float64 { return part(missing, missing+present) }

func part(some, of int64) float64 {
	if of <= 0 {
		return 0
	}
	return float64(some) / float64(of)
}

// formatNumber renders a number with four digits, or a whole one below a million in full.
func formatNumber(x float64) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x):
		return "–"
	case x >= math.MaxFloat64: // which stands for what is beyond it, such as t of two constants
		return "∞"
	case x <= -math.MaxFloat64:
		return "−∞"
	case x == 0:
		return "0" // and never -0
	case a < 1e6 && x == math.Trunc(x):
		return strconv.FormatFloat(x, 'f', 0, 64)
	case a >= 1e4 && a < 1e6:
		return strconv.FormatFloat(x, 'f', 0, 64)
	default:
		return strconv.FormatFloat(x, 'g', 4, 64)
	}
}

// format renders a value of the column: a number, or the time that it stands for.
func (q *SideQuality) format(x float64) string {
	if !q.times || math.Abs(x) > 1e11 { // within 5,000 years or so
		return formatNumber(x)
	}
	t := time.UnixMilli(int64(math.Round(1000 * x))).UTC()
	if t.Equal(t.Truncate(24 * time.Hour)) {
		return t.Format(time.DateOnly)
	}
	return t.Format(time.DateTime)
}

func formatOptional(x *float64) string {
	if x == nil {
		return "–"
	}
	return formatNumber(*x)
}

// formatP renders a p-value. Below 1e-300 its digits are not to be trusted.
func formatP(p *float64) string {
	switch {
	case p == nil:
		return "–"
	case *p < 1e-300:
		return "<1e-300"
	default:
		return strconv.FormatFloat(*p, 'g', 3, 64)
	}
}

// formatCount renders a number of rows with separators of thousands.
func formatCount(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// formatShare renders a share of 0 to 1 in percent. Little is not rounded to nothing.
func formatShare(x float64) string {
	switch p := 100 * x; {
	case math.IsNaN(p) || math.IsInf(p, 0):
		return "–"
	case p > 0 && p < 0.1:
		return "<0.1 %"
	case p < 100 && p > 99.9:
		return ">99.9 %"
	case math.Abs(p-math.Round(p)) < 1e-9:
		return strconv.FormatFloat(p, 'f', 0, 64) + " %"
	default:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
}

// shownName makes a name from data fit to be shown, cut to at most so many characters:
// what does not print (line breaks, escape sequences, marks that turn the direction of
// the text around it) is written as an escape, and an empty name as "".
func shownName(s string, most int) string {
	if strings.TrimSpace(s) == "" {
		return strconv.Quote(cut(s, most))
	}
	return cut(shownText(s, 4*most), most)
}

// shownText is shownName for prose; it reads no more of s than it shows.
func shownText(s string, most int) string { return printable.Clip(s, most) }

// cut shortens text to at most so many characters, an ellipsis included.
func cut(s string, most int) string {
	n := 0
	end := 0
	for i := range s {
		if n == most-1 {
			end = i
		}
		if n++; n > most {
			return s[:end] + "…"
		}
	}
	return s
}
