package compare

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/millrace/millrace/drift/dataset"
	"github.com/millrace/millrace/drift/stattest"
)

const (
	fewIntegers  = 10 // distinct values up to which integers are categories, as with Evidently
	fewValues    = 20 // distinct values up to which binned tests take each value as a cell
	shownCells   = 30 // categories in Column.Bins, the last of them for the rest
	shownChanges = 20 // new and vanished categories
)

// pair is one column as it was collected, ready to be judged.
type pair struct {
	plan               *plan
	reference, current sideOf
}

// sideOf is one side of a pair: numbers or texts.
type sideOf struct {
	numbers    *numbers
	sample     stattest.Sample   // of numbers; infinite values are left out, as with Evidently
	chunks     []stattest.Sample // consecutive parts of the reference's values, where they are wanted
	texts      *texts
	typeErrors int64
	rounded    bool // numbers that are not exact any more
}

func (s sideOf) rows() (n, missing int64) {
	if s.numbers != nil {
		return s.numbers.n, s.numbers.missing
	}
	return s.texts.n, s.texts.missing
}

// contingency is a column as cells: one of each category, or of each distinct value.
type contingency struct {
	names  []string
	values []float64 // of names, where they are numbers
	r, c   []float64
}

// judged is a column before the correction over columns.
type judged struct {
	column Column
	test   *stattest.Test // nil where none was made
	result stattest.Result
	moved  []string  // what changed, for the explanation
	names  []string  // of a target or prediction, all categories in ascending order, where there are few values
	values []float64 // the numbers that names spell, where the column has numbers
	claim  claim
	trials map[string]claim // of --all-tests
	notes  []string
	held   int    // values of a sample, where it is one
	skip   bool   // it is not compared after all, which a note says
	left   string // why, in a word

	// rounded: few numbers are left of more that were read, each of which counts.
	rounded bool
}

// judge compares one column. kind is its type where that is known, as of a segment. It is one long
// function: the list of what can be the matter with a column, in the order in which it is decided.
func (o *checked) judge(p pair, kind string) judged {
	v := judged{}
	c := &v.column
	c.Column, c.Role = p.plan.name, p.plan.role
	c.NReference, c.MissingReference = p.reference.rows()
	c.NCurrent, c.MissingCurrent = p.current.rows()
	note := func(format string, args ...any) { v.notes = append(v.notes, fmt.Sprintf(format, args...)) }

	var t contingency
	var distinct [3]int // of the reference, of the current side, of both
	if p.plan.numeric {
		r, k := p.reference.sample, p.current.sample
		distinct = distincts(r, k)
		c.Type = TypeNumeric
		few := distinct[0] <= fewIntegers && distinct[1] <= fewIntegers
		if kind == "" && (p.reference.rounded || p.current.rounded) { // segments are read as the whole is
			exact := p.plan.reference.mayBeExact() && p.plan.current.mayBeExact()
			if v.rounded = exact && p.plan.declared != TypeNumeric && (few || p.plan.declared == TypeCategorical); v.rounded {
				return v
			}
			if exact {
				note("column %q has numbers of more digits than a 64-bit float holds (integers beyond 2^53), of which neighbours are compared as one number; --categorical %s tells them apart", c.Column, dataset.OptionWord(c.Column))
			} else {
				note("column %q has numbers of more digits than a 64-bit float holds (integers beyond 2^53) on one side, and 64-bit floats on the other: neighbours are compared as one number", c.Column)
			}
		}
		switch {
		case kind != "":
			c.Type = kind
		case p.plan.declared == TypeCategorical, p.plan.declared == "" && p.plan.integers() && few:
			c.Type = TypeCategorical
		}
		if c.Type == TypeCategorical || distinct[0] <= fewValues && o.binning.rule != binsGiven {
			t = valueTable(r, k, p.plan.floatBits())
		}
		if c.Sampled = p.reference.numbers.sampled || p.current.numbers.sampled; c.Sampled {
			v.held = max(len(r.Values), len(k.Values))
		}
	} else {
		c.Type = TypeCategorical
		t.names, t.r, t.c = cells(p.reference.texts, p.current.texts)
		distinct = [3]int{len(p.reference.texts.names), len(p.current.texts.names), len(t.names)}
		beyond := p.reference.texts.beyond+p.current.texts.beyond > 0
		if kind == "" && p.plan.declared == "" && p.plan.role == "" && (p.reference.texts.cramped() || p.current.texts.cramped()) {
			v.skip, v.left = true, LeftMemory
			note("column %q is left out: its categories are more than fit the memory allowed; raise --memory, or leave out other columns", c.Column)
			return v
		}
		if kind == "" && p.plan.declared == "" && p.plan.role == "" && (p.reference.texts.beyond > 0 || unique(p.reference.texts)) {
			v.skip, v.left = true, LeftIdentifier
			what, spelled := "texts", p.plan.spelled()
			if p.plan.exactly {
				what = "numbers"
			}
			if spelled != "" {
				if !p.plan.reference.declared && !p.plan.current.declared { // codes that begin with zeros may be identifiers
					v.left = LeftNumbers
				}
				note("column %q is left out: it holds %s; --categorical %s compares the texts", c.Column, spelled, dataset.OptionWord(c.Column))
			} else {
				note("column %q is left out: more than half of the reference's %s are different (an identifier or free text); --categorical %s compares it nevertheless", c.Column, what, dataset.OptionWord(c.Column))
			}
			return v
		}
		if spelled := p.plan.spelled(); spelled != "" && kind == "" && p.plan.declared == "" && !p.plan.textual {
			note("column %q is compared by category: it holds %s", c.Column, spelled)
		}
		if kind == "" {
			if bad := p.reference.texts.notUTF8() + p.current.texts.notUTF8(); bad > 0 {
				note("column %q has texts that are not UTF-8 (%d different ones): they may differ by their encoding alone", c.Column, bad)
			}
		}
		if beyond {
			note("column %q has more than %d categories on a side: those that came later are compared as one, %s", c.Column, max(len(p.reference.texts.names), len(p.current.texts.names)), other)
		}
	}

	if c.Role != "" {
		v.names, v.values = t.names, t.values
	}

	s := sides{plan: p.plan, kind: c.Type, r: p.reference.sample, c: p.current.sample, table: t}
	if c.Type == TypeNumeric && t.names == nil {
		if c.NReference > 0 {
			bins, err := o.binning.of(p.reference.sample, p.current.sample, p.plan.integers())
			if err != nil {
				note("column %q: %v", c.Column, err)
			}
			c.Bins.Edges, c.Bins.Reference, c.Bins.Current = bins.Edges, bins.Count(p.reference.sample), bins.Count(p.current.sample)
		}
	} else {
		c.Bins = t.shown()
	}
	c.DataQuality = dataQuality(p, t, c.Type, distinct)

	chosen, own := o.tests.of(c.Column, c.Type)
	if !own {
		chosen = stattest.Lookup(stattest.DefaultTest(c.Type == TypeNumeric, distinct[2], float64(c.NReference)))
	}
	c.Stattest = chosen.Name
	c.Threshold = o.threshold(c, chosen)
	if own, set := o.thresholds.of(c.Column, c.Type); set && own != c.Threshold {
		note("column %q: the threshold %v is no level of significance, which %s is judged by: the default %v stands", c.Column, own, chosen.Name, c.Threshold)
	}
	if stattest.TooFew(float64(c.NReference), float64(c.NCurrent), float64(o.minRows)) {
		c.Verdict = VerdictTooFew
		c.Explanation = tooFew(c, o.minRows)
		return v
	}
	if o.AllTests {
		o.tryAll(&v, s)
	}
	result, err := o.measure(s, chosen)
	if err != nil {
		c.Verdict = VerdictNotJudged
		c.Explanation = fmt.Sprintf("Not judged: %v.", err)
		if kind != "" { // of a segment, whose columns are not listed one by one
			note("column %q is not judged: %v", c.Column, err)
		}
		return v
	}
	v.test, v.result = chosen, result
	c.Score, c.PValue, c.EffectSize, c.Method = finite(result.Score), result.PValue, result.EffectSize, result.Method
	c.SciPyPValue = result.SciPyPValue
	v.moved = moved(c, t)
	if o.Calibrate.Chunks > 0 && !o.set(c) {
		err := o.calibrate(&v, p.reference, s)
		if err == nil {
			return v
		}
		note("column %q: judged as if its rows had no order: %v", c.Column, err)
	}
	v.claim = o.claim(c, s, chosen, result)
	return v
}

// beyond53 says whether numbers reach past what a float64 tells apart.
func beyond53(n *numbers) bool {
	const limit = 1 << 53
	return n.n > 0 && (n.min <= -limit || n.max >= limit)
}

// applies says whether a test is of a column's type, and of as many cells as it has.
func applies(test *stattest.Test, kind string, t contingency) bool {
	if kind == TypeNumeric {
		return test.Numeric != nil || test.Binned || t.names != nil
	}
	return test.Cells != nil
}

func (o *checked) threshold(c *Column, test *stattest.Test) float64 {
	if own, ok := o.thresholds.of(c.Column, c.Type); ok && (own <= 1 || !test.PValue) {
		return own
	}
	return test.Threshold
}

// unique says that more than half of the values are distinct: Evidently's rule for text,
// which it asks of the current side. A small one has few values twice.
func unique(t *texts) bool { return len(t.names) > 10 && float64(len(t.names)) > 0.5*float64(t.n) }

// distincts counts the distinct values of the reference, of the current side and of both;
// of both no further than it matters.
func distincts(r, c stattest.Sample) (n [3]int) {
	n[0], n[1] = distinct(r), distinct(c)
	if n[2] = max(n[0], n[1]); n[2] <= fewValues {
		n[2] = stattest.Distinct(fewValues+1, r, c)
	}
	return n
}

func distinct(s stattest.Sample) int {
	if s.Weights != nil {
		return len(s.Values)
	}
	n := 0
	last := math.NaN()
	for _, v := range s.Values {
		if v != last {
			n++
		}
		last = v
	}
	return n
}

// walk calls f with each value of either side, ascending, and its rows on both.
func walk(r, c stattest.Sample, f func(v, r, c float64)) {
	i, j := 0, 0
	take := func(s stattest.Sample, i *int, v float64) (rows float64) {
		for ; *i < len(s.Values) && s.Values[*i] == v; *i++ {
			if s.Weights == nil {
				rows++
			} else {
				rows += s.Weights[*i]
			}
		}
		return rows
	}
	for i < len(r.Values) || j < len(c.Values) {
		v := math.Inf(1)
		if i < len(r.Values) {
			v = r.Values[i]
		}
		if j < len(c.Values) {
			v = min(v, c.Values[j])
		}
		f(v, take(r, &i, v), take(c, &j, v))
	}
}

// valueTable counts the distinct values of both sides. Their names are as short as numbers of so many
// bits may be.
func valueTable(r, c stattest.Sample, bits int) (t contingency) {
	name := writeNumber
	if bits == 32 || bits == 16 {
		name = func(v float64) string { return strconv.FormatFloat(v+0, 'g', -1, 32) }
	}
	walk(r, c, func(v, a, b float64) {
		t.names, t.values = append(t.names, name(v)), append(t.values, v)
		t.r, t.c = append(t.r, a), append(t.c, b)
	})
	return t
}

// shown returns the cells for people: texts by how many reference rows they have, numbers
// ascending, and what is beyond shownCells as one.
func (t contingency) shown() Bins {
	order := make([]int, len(t.names))
	for i := range order {
		order[i] = i
	}
	byRows := func(a, b int) bool {
		if t.r[a] != t.r[b] {
			return t.r[a] > t.r[b]
		}
		return t.c[a] > t.c[b]
	}
	if t.values == nil || len(order) > shownCells {
		sort.SliceStable(order, func(i, j int) bool { return byRows(order[i], order[j]) })
	}
	rest := []int(nil)
	if len(order) > shownCells {
		order, rest = order[:shownCells-1], order[shownCells-1:]
		if t.values != nil {
			slices.Sort(order)
		}
	}
	b := Bins{}
	for _, i := range order {
		b.Categories = append(b.Categories, t.names[i])
		b.Reference, b.Current = append(b.Reference, t.r[i]), append(b.Current, t.c[i])
	}
	if rest != nil {
		b.Total = len(t.names)
		r, c := 0.0, 0.0
		for _, i := range rest {
			r, c = r+t.r[i], c+t.c[i]
		}
		b.Categories = append(b.Categories, other)
		b.Reference, b.Current = append(b.Reference, r), append(b.Current, c)
	}
	return b
}

// finite returns a pointer to a figure, nil for what is none.
func finite(x float64) *float64 {
	if x-x != 0 {
		return nil
	}
	return &x
}

// dataQuality tells what is wrong with a column's values.
func dataQuality(p pair, t contingency, kind string, distinct [3]int) DataQuality {
	q := DataQuality{Reference: p.reference.quality(distinct[0]), Current: p.current.quality(distinct[1])}
	q.Reference.times = kind == TypeNumeric && p.plan.reference.class == classTime && p.plan.current.class == classTime
	q.Current.times = q.Reference.times
	if kind == TypeNumeric {
		if s := p.current.sample; len(p.reference.sample.Values) > 0 && len(s.Values) > 0 {
			low, high := p.reference.numbers.min, p.reference.numbers.max
			inner := stattest.Sample{}
			from, to := sort.SearchFloat64s(s.Values, low), sort.Search(len(s.Values), func(i int) bool { return s.Values[i] > high })
			if inner.Values = s.Values[from:to]; s.Weights != nil {
				inner.Weights = s.Weights[from:to]
			}
			outside := s.Rows() - inner.Rows()
			if p.current.numbers.sampled {
				outside *= float64(p.current.numbers.n) / s.Rows()
			}
			q.OutOfRange = int64(math.Round(outside))
		}
		return q
	}
	var fresh, gone []int
	for i := range t.names {
		if n, _ := p.reference.rows(); n > 0 && t.r[i] == 0 {
			fresh = append(fresh, i)
			q.NewRows += int64(t.c[i])
		}
		if n, _ := p.current.rows(); n > 0 && t.c[i] == 0 {
			gone = append(gone, i)
		}
	}
	top := func(at []int, rows []float64) (names []string) {
		sort.SliceStable(at, func(i, j int) bool { return rows[at[i]] > rows[at[j]] })
		for _, i := range at[:min(len(at), shownChanges)] {
			names = append(names, t.names[i])
		}
		return names
	}
	q.NewCategories, q.VanishedCategories = top(fresh, t.c), top(gone, t.r)
	q.NewCategoriesTotal, q.VanishedCategoriesTotal = int64(len(fresh)), int64(len(gone))
	return q
}

var quantiles = []float64{0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99}

func (s sideOf) quality(distinct int) SideQuality {
	q := SideQuality{TypeErrors: s.typeErrors, Distinct: int64(distinct), Constant: distinct == 1}
	if s.numbers == nil {
		return q
	}
	n := s.numbers
	q.Infinite, q.Constant = n.infinite, n.n > 0 && n.min == n.max
	if n.n == 0 {
		return q
	}
	q.Min, q.Max, q.Mean = finite(n.min), finite(n.max), finite(n.mean)
	if n.n > 1 {
		q.Std = finite(math.Sqrt(n.m2 / float64(n.n-1)))
	}
	for _, p := range quantiles {
		q.Quantiles = append(q.Quantiles, quantile(s.sample, p))
	}
	return q
}

// quantile interpolates between the two rows next to p of the way from the first to the
// last, as numpy does by default (Hyndman and Fan's type 7).
func quantile(s stattest.Sample, p float64) float64 {
	rows := s.Rows()
	h := p * (rows - 1)
	low, high := math.Floor(h), math.Ceil(h)
	a, b := row(s, low), row(s, high)
	if a == b { // also where b-a would overflow
		return a
	}
	return a*(1-(h-low)) + b*(h-low)
}

// row returns the value of the i-th row in ascending order.
func row(s stattest.Sample, i float64) float64 {
	if s.Weights == nil {
		return s.Values[int(i)]
	}
	for k, w := range s.Weights {
		if i -= w; i < 0 {
			return s.Values[k]
		}
	}
	return s.Values[len(s.Values)-1]
}

func tooFew(c *Column, least int) string {
	var sides []string
	for _, side := range []struct {
		name       string
		n, missing int64
	}{{"the reference", c.NReference, c.MissingReference}, {"the current data", c.NCurrent, c.MissingCurrent}} {
		if side.n >= int64(least) {
			continue
		}
		text := fmt.Sprintf("%s of %s", count(side.n, "value"), side.name)
		if side.n == 0 && side.missing > 0 {
			text = fmt.Sprintf("no value in %s, where all %s are missing", side.name, count(side.missing, "row"))
		}
		sides = append(sides, text)
	}
	return fmt.Sprintf("Not judged: %s; at least %d are needed on each side.", strings.Join(sides, " and "), least)
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return formatCount(n) + " " + what + "s"
}
