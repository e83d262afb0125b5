package compare

import (
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/dataset"
)

// doubts tells whether a column of which the sides are of different types is to be read again, as what
// it turned out to be, or why it cannot be compared.
func (e *engine) doubts(p *plan, sides [2]*side) (again bool, conflict string) {
	for k, s := range sides {
		beside := sides[1-k]
		switch {
		case p.textual && s.class == classText && s.nulls == s.rows && beside.class.number():
			// A text without any value is of any type.
			p.textual, p.numeric, p.as = false, true, beside.class
			return true, ""
		case !p.doubtful || s.class == p.as || s.nulls == s.rows:
		case s.typeErrors == 0 && p.skip == "":
		case beside.nulls == beside.rows && s.class == classText && p.numeric:
			p.numeric, p.as = false, classText
			return true, ""
		default:
			return false, e.differ(p, sides, s.bad)
		}
	}
	return false, ""
}

// mixed says how sides of different types were made comparable.
func (e *engine) mixed(p *plan, sides [2]*side) (notes []string) {
	holds := func(of func(k int) string) string {
		return of(0) + " in " + e.tables[0].source.Name() + " and " + of(1) + " in " + e.tables[1].source.Name()
	}
	classes := func(k int) string { return sides[k].class.String() }
	r, c := p.reference.class, p.current.class
	filled := sides[0].nulls < sides[0].rows && sides[1].nulls < sides[1].rows
	switch {
	case r == c || !filled:
	case p.textual && (r.number() || c.number()):
		notes = append(notes, fmt.Sprintf("column %q holds %s: compared as text, in which 0870 is not 870; --numeric %s compares numbers", p.name, holds(classes), dataset.OptionWord(p.name)))
	case p.textual:
		notes = append(notes, fmt.Sprintf("column %q holds %s: compared as text", p.name, holds(classes)))
	case p.doubtful && p.as == classBoolean && (r.number() || c.number()):
		notes = append(notes, fmt.Sprintf("column %q holds %s: 1 is taken for true, and 0 for false", p.name, holds(classes)))
	case p.doubtful, p.declared == TypeCategorical && (!r.number() || !c.number()):
		notes = append(notes, fmt.Sprintf("column %q holds %s: compared as %v", p.name, holds(classes), p.as))
	}
	if p.reference.scale > 0 || p.current.scale > 0 {
		unit := func(k int) string { return "times in " + time.Duration(sides[k].of.unit).String()[1:] }
		notes = append(notes, fmt.Sprintf("column %q holds %s: compared in the finer unit", p.name, holds(unit)))
	}
	if sides[0].narrowed || sides[1].narrowed {
		bits := func(k int) string {
			s := sides[k]
			switch {
			case s.class == classInteger:
				return "integers"
			case s.of.exact:
				return "decimals"
			}
			return fmt.Sprintf("floats of %d bits", s.of.bits)
		}
		notes = append(notes, fmt.Sprintf("column %q holds %s: compared as floats of %d bits, which is all that one side has", p.name, holds(bits), p.narrow))
	}
	return notes
}

// differ says that the sides hold different things.
func (e *engine) differ(p *plan, sides [2]*side, example string) string {
	var holds []string
	for k, s := range sides {
		text := fmt.Sprintf("%v in %s", s.class, e.tables[k].source.Name())
		if s.bad != "" && s.class == classText {
			text = fmt.Sprintf("%v such as %q in %s", s.class, cut(example, 40), e.tables[k].source.Name())
		}
		if s.of.spelled != "" {
			text += " (" + s.of.spelled + ")"
		}
		holds = append(holds, text)
	}
	option := dataset.OptionWord(p.name)
	return fmt.Sprintf("column %q holds %s: compare it as text with --categorical %s, as numbers with --numeric %s, where what is no number is counted as a type error, or leave it out with --ignore %s",
		p.name, strings.Join(holds, " and "), option, option, option)
}
