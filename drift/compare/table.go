package compare

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode"
)

// Colours of a terminal, by their standard numbers, so that they follow its theme.
const (
	ansiBold  = "\x1b[1m"
	ansiDim   = "\x1b[2m"
	ansiRed   = "\x1b[31m"
	ansiGreen = "\x1b[32m"
	ansiReset = "\x1b[0m"
)

// WriteTable writes a comparison for a terminal: the verdict of the data set, one line a
// column with the worst first, what is wrong with the values, and the notes. Lines are at
// most width characters, where width is known (above 0) and at least 40; names are cut
// first, then the least important columns are left out. Colour only repeats what the
// words say.
func WriteTable(w io.Writer, r *Result, colour bool, width int) error {
	if width > 0 {
		width = max(width, 40)
	}
	t := &terminal{colour: colour, width: width}
	t.summary(r)
	columns := worstFirst(r.Columns)
	t.columns(columns)
	t.list("Not judged", unjudged(columns))
	t.multivariate(r.Multivariate)
	t.quality(r.Quality)
	t.segments(r.Segments)
	var lines []string
	for _, c := range columns {
		if remarks := c.remarks(); len(remarks) > 0 {
			lines = append(lines, shownName(c.Column, 40)+": "+strings.Join(remarks, "; "))
		}
	}
	t.list("Data quality", lines)
	lines = nil
	for _, n := range r.Notes {
		lines = append(lines, shownText(n, 1000))
	}
	t.list("Notes", lines)
	if _, err := w.Write(t.out.Bytes()); err != nil {
		return fmt.Errorf("write the table of %s and %s: %w", r.Reference.Name, r.Current.Name, err)
	}
	return nil
}

// terminal collects lines.
type terminal struct {
	out    bytes.Buffer
	colour bool
	width  int // 0: unknown
}

func (t *terminal) style(code, s string) string {
	if !t.colour || code == "" || s == "" {
		return s
	}
	return code + s + ansiReset
}

func (t *terminal) line(s string) { t.out.WriteString(s + "\n") }

func (t *terminal) summary(r *Result) {
	word, code := "NOT DRIFTED", ansiGreen
	switch {
	case r.Dataset.Drifted:
		word, code = "DRIFTED", ansiRed
	case r.Dataset.Verdict == VerdictNotJudged || r.Dataset.Columns == 0:
		word, code = "NOT JUDGED", ""
	}
	for i, l := range wrap(word+": "+r.headline(), t.width, 2) {
		if i == 0 {
			l = t.style(ansiBold+code, word) + strings.TrimPrefix(l, word)
		}
		t.line(l)
	}
	const indent = 11
	for _, side := range []struct {
		name string
		in   Input
	}{{"reference", r.Reference}, {"current", r.Current}} {
		label, rows, more := t.style(ansiDim, fmt.Sprintf("%-9s", side.name))+"  ", ", "+count(side.in.Rows, "row"), ""
		if d := side.in.DuplicatedRows; d != nil && *d > 0 {
			more = formatCount(*d) + " of them duplicated"
		}
		name := shownName(side.in.Name, 200)
		switch {
		case more == "":
		case t.width > 0 && indent+min(textWidth(name), 24)+len(rows)+len(more)+2 > t.width:
			more = "\n" + strings.Repeat(" ", indent) + more
		default:
			rows, more = rows+", "+more, ""
		}
		room := 80
		if t.width > 0 {
			room = max(t.width-indent-len(rows), 12)
		}
		t.line(label + cutWide(name, room) + rows + more)
	}
}

// column of a grid.
type gridColumn struct {
	head  string
	right bool
	name  bool // may be cut
	drop  int  // the order in which columns are left out where there is no room; 0: never
}

// grid is an aligned table.
type grid struct {
	columns []gridColumn
	rows    [][]string
	codes   []string // colour of each row's column of verdicts
	verdict int      // that column
}

func (t *terminal) grid(g grid) {
	const gap, least = 2, 12
	wide := make([]int, len(g.columns))
	for i, c := range g.columns {
		wide[i] = len(c.head)
		for _, row := range g.rows {
			wide[i] = max(wide[i], textWidth(row[i]))
		}
		if empty := wide[i] == len(c.head) && c.drop > 0 && !filled(g.rows, i); empty {
			wide[i] = 0 // nothing to say in any row
		}
	}
	total := func() int {
		n := -gap
		for _, w := range wide {
			if w > 0 {
				n += w + gap
			}
		}
		return n
	}
	for i, c := range g.columns {
		if !c.name {
			continue
		}
		wide[i] = min(wide[i], 60)
		if t.width == 0 {
			continue
		}
		if over := total() - t.width; over > 0 {
			wide[i] = max(wide[i]-over, min(wide[i], 24))
		}
		for k := 1; k < 10 && total() > t.width; k++ {
			for j, d := range g.columns {
				if d.drop == k {
					wide[j] = 0
				}
			}
		}
		if over := total() - t.width; over > 0 {
			wide[i] = max(wide[i]-over, min(wide[i], least))
		}
	}
	write := func(row []string, code string, head bool) {
		var b strings.Builder
		for i, s := range row {
			if wide[i] == 0 {
				continue
			}
			if b.Len() > 0 {
				b.WriteString(strings.Repeat(" ", gap))
			}
			s = cutWide(s, wide[i])
			pad := strings.Repeat(" ", wide[i]-textWidth(s))
			if !head && i == g.verdict {
				s = t.style(code, s)
			}
			if g.columns[i].right {
				b.WriteString(pad + s)
			} else {
				b.WriteString(s + pad)
			}
		}
		l := strings.TrimRight(b.String(), " ")
		if head {
			l = t.style(ansiDim, l)
		}
		t.line(l)
	}
	heads := make([]string, len(g.columns))
	for i, c := range g.columns {
		heads[i] = c.head
	}
	write(heads, "", true)
	for i, row := range g.rows {
		write(row, g.codes[i], false)
	}
}

func filled(rows [][]string, i int) bool {
	for _, row := range rows {
		if row[i] != "" && row[i] != "–" {
			return true
		}
	}
	return false
}

func verdictCode(drifted bool, verdict string) string {
	switch {
	case drifted:
		return ansiRed
	case verdict == VerdictOK:
		return ansiGreen
	default:
		return ansiDim
	}
}

func (t *terminal) columns(columns []*Column) {
	t.line("")
	if len(columns) == 0 {
		t.line("There are no columns to compare.")
		return
	}
	g := grid{columns: []gridColumn{
		{head: "VERDICT"},
		{head: "COLUMN", name: true},
		{head: "TYPE", drop: 3},
		{head: "TEST", drop: 7},
		{head: "SCORE", right: true},
		{head: "P-VALUE", right: true, drop: 6},
		{head: "EFFECT", right: true, drop: 2},
		{head: "SMALLEST", right: true, drop: 2},
		{head: "THRESHOLD", right: true, drop: 5},
		{head: "MISSING", right: true, drop: 4},
		{head: "TESTS DRIFTED", right: true, drop: 1},
	}}
	for _, c := range columns {
		kind, tests := c.Type, ""
		if c.Role != "" {
			kind += " " + c.Role
		}
		if len(c.Tests) > 0 {
			drifted := 0
			for _, trial := range c.Tests {
				if trial.Drifted {
					drifted++
				}
			}
			tests = fmt.Sprintf("%d of %d", drifted, len(c.Tests))
		}
		g.rows = append(g.rows, []string{
			verdictWord(c.Verdict), shownName(c.Column, 200), kind, shownName(c.Stattest, 40), formatOptional(c.Score), formatP(c.PValue),
			formatOptional(c.EffectSize), formatOptional(c.SmallestEffect), formatNumber(c.Threshold), missingShares(c), tests,
		})
		g.codes = append(g.codes, verdictCode(c.Drifted, c.Verdict))
	}
	t.grid(g)
}

// missingShares is nothing where no value is missing.
func missingShares(c *Column) string {
	if c.MissingReference+c.MissingCurrent == 0 {
		return ""
	}
	return formatShare(share(c.MissingReference, c.NReference)) + " → " + formatShare(share(c.MissingCurrent, c.NCurrent))
}

func (t *terminal) head(title string) {
	t.line("")
	t.line(t.style(ansiBold, title))
}

func (t *terminal) multivariate(all []Multivariate) {
	if len(all) == 0 {
		return
	}
	t.head("Several columns together")
	g := grid{columns: []gridColumn{
		{head: "VERDICT"},
		{head: "METHOD"},
		{head: "SCORE", right: true},
		{head: "REFERENCE", right: true, drop: 1},
		{head: "LIMITS", right: true, drop: 2},
		{head: "P-VALUE", right: true, drop: 3},
		{head: "MOSTLY", name: true, drop: 4},
	}}
	for _, m := range all {
		verdict := VerdictOK
		if m.Drifted {
			verdict = VerdictDrifted
		}
		var most []string
		for _, c := range m.Contributions[:min(3, len(m.Contributions))] {
			most = append(most, shownName(c.Column, 24)+" "+formatShare(c.Share))
		}
		g.rows = append(g.rows, []string{
			verdict, shownName(m.Method, 24), formatNumber(m.Score), formatOptional(m.Reference), m.limits(), formatP(m.PValue),
			strings.Join(most, ", "),
		})
		g.codes = append(g.codes, verdictCode(m.Drifted, verdict))
	}
	t.grid(g)
}

// limits are the bounds of a score.
func (m *Multivariate) limits() string {
	switch {
	case m.Threshold != nil && m.UpperLimit != nil && *m.Threshold != *m.UpperLimit:
		return formatNumber(*m.Threshold) + " to " + formatNumber(*m.UpperLimit)
	case m.UpperLimit != nil:
		return formatNumber(*m.UpperLimit)
	default:
		return formatOptional(m.Threshold)
	}
}

func (t *terminal) quality(q *Quality) {
	if q == nil {
		return
	}
	t.head("Model quality: " + shownName(q.Task, 24) + ", target " + shownName(q.Target, 40))
	g := grid{verdict: -1, columns: []gridColumn{
		{head: "METRIC", name: true},
		{head: "REFERENCE", right: true},
		{head: "95 % INTERVAL", drop: 1},
		{head: "CURRENT", right: true},
		{head: "95 % INTERVAL", drop: 1},
		{head: "CHANGE", right: true},
	}}
	for _, m := range q.Metrics {
		g.rows = append(g.rows, []string{
			shownName(m.Metric, 40), formatOptional(m.Reference), formatInterval(m.ReferenceInterval),
			formatOptional(m.Current), formatInterval(m.CurrentInterval), m.change(),
		})
		g.codes = append(g.codes, "")
	}
	t.grid(g)
	t.list("Without an interval", q.noIntervals())
}

// noIntervals says which figures have no interval, and why.
func (q *Quality) noIntervals() []string {
	var out []string
	for _, m := range q.Metrics {
		sides := [][2]string{{"reference", m.ReferenceNoInterval}, {"current", m.CurrentNoInterval}}
		if m.ReferenceNoInterval == m.CurrentNoInterval {
			sides = [][2]string{{"both sides", m.CurrentNoInterval}}
		}
		for _, side := range sides {
			if side[1] != "" {
				out = append(out, shownName(m.Metric, 40)+", "+side[0]+": "+shownText(side[1], 1000))
			}
		}
	}
	return out
}

func formatInterval(i *[2]float64) string {
	if i == nil {
		return ""
	}
	return formatNumber(i[0]) + " to " + formatNumber(i[1])
}

func (m *Metric) change() string {
	if m.Reference == nil || m.Current == nil {
		return "–"
	}
	d := *m.Current - *m.Reference
	if rounding := 1e-14 * math.Max(math.Abs(*m.Current), math.Abs(*m.Reference)); math.Abs(d) <= rounding {
		d = 0
	}
	if d > 0 {
		return "+" + formatNumber(d)
	}
	return formatNumber(d)
}

func (t *terminal) segments(all []Segment) {
	if len(all) == 0 {
		return
	}
	t.head("Segments")
	g := grid{columns: []gridColumn{
		{head: "VERDICT"},
		{head: "SEGMENT", name: true},
		{head: "DRIFTED", right: true},
		{head: "SHARE", right: true},
		{head: "WORST", drop: 1},
	}}
	for i := range all {
		s := &all[i]
		verdict := s.verdict()
		drifted := 0
		var worst []string
		for _, c := range worstFirst(s.Columns) {
			if c.Drifted {
				if drifted++; drifted <= 3 {
					worst = append(worst, shownName(c.Column, 20))
				}
			}
		}
		row := []string{verdictWord(verdict), shownName(s.Segment, 60), fmt.Sprintf("%d of %d", drifted, s.Dataset.Columns), formatShare(s.Dataset.Share), strings.Join(worst, ", ")}
		if s.Dataset.Columns == 0 {
			row[2], row[3] = "–", "–"
		}
		g.rows, g.codes = append(g.rows, row), append(g.codes, verdictCode(s.Dataset.Drifted, verdict))
	}
	t.grid(g)
}

func (t *terminal) list(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	t.head(title)
	for _, l := range lines {
		for i, part := range wrap(l, max(0, t.width-2), 2) {
			if i == 0 {
				part = "- " + part
			} else {
				part = "  " + strings.TrimPrefix(part, "  ")
			}
			t.line(part)
		}
	}
}

// wrap breaks text at spaces into lines of at most width (0: one line), all but the first
// indented. A word that is longer is cut.
func wrap(text string, width, indent int) []string {
	if width <= 0 {
		return []string{text}
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		word = cutWide(word, width-indent)
		switch {
		case line == "":
			line = word
		case textWidth(line)+1+textWidth(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = strings.Repeat(" ", indent) + word
		}
	}
	return append(lines, line)
}

// textWidth is how many cells of a terminal text takes.
func textWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// wideRunes take two cells: the ranges of East Asian Width W and F (Unicode Annex 11) that
// are in use, and emoji.
var wideRunes = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x2e80, Hi: 0xa4cf, Stride: 1}, {Lo: 0xac00, Hi: 0xd7a3, Stride: 1}, {Lo: 0xf900, Hi: 0xfaff, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1}, {Lo: 0xff00, Hi: 0xff60, Stride: 1}, {Lo: 0xffe0, Hi: 0xffe6, Stride: 1}},
	R32: []unicode.Range32{{Lo: 0x1f300, Hi: 0x1f64f, Stride: 1}, {Lo: 0x1f680, Hi: 0x1f6ff, Stride: 1}, {Lo: 0x1f900, Hi: 0x1f9ff, Stride: 1}, {Lo: 0x20000, Hi: 0x3fffd, Stride: 1}},
}

func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.Is(wideRunes, r):
		return 2
	default:
		return 1
	}
}

// cutWide cuts text to so many cells, an ellipsis included.
func cutWide(s string, cells int) string {
	if textWidth(s) <= cells {
		return s
	}
	n := 0
	for i, r := range s {
		if n += runeWidth(r); n > cells-1 {
			return s[:i] + "…"
		}
	}
	return s
}
