package compare

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/millrace/millrace/drift/dataset"
)

// class is what a table says that a column holds.
type class int

const (
	classInteger class = iota
	classFloat
	classBoolean
	classText
	classTime
)

func (c class) String() string {
	return [...]string{"integers", "numbers", "booleans", "text", "times"}[c]
}

func (c class) number() bool { return c == classInteger || c == classFloat }

func classOf(f arrow.Field) (class, bool) {
	switch dataset.ExactNumbers(f) {
	case dataset.NumbersWhole:
		return classInteger, true
	case dataset.NumbersDecimal:
		return classFloat, true
	case dataset.NumbersNone:
	}
	switch f.Type.ID() {
	case arrow.INT64, arrow.UINT64:
		return classInteger, true
	case arrow.FLOAT64, arrow.FLOAT32:
		return classFloat, true
	case arrow.BOOL:
		return classBoolean, true
	case arrow.STRING:
		return classText, true
	case arrow.DATE32, arrow.DATE64, arrow.TIMESTAMP:
		return classTime, true
	default:
		return 0, false
	}
}

// plan is what is done with one column.
type plan struct {
	name      string
	role      string
	declared  string // TypeNumeric or TypeCategorical where the caller says so, else empty
	reference field
	current   field

	numeric bool  // collected as numbers, else as texts
	as      class // of the column; values of the other side that are not of it are type errors
	skip    string

	// textual: one side is text by declaration, the other is not, and is written as such.
	textual bool

	// exactly: numbers that 64-bit floats round, and of which there are few, are read again, as texts.
	exactly bool

	// narrow is how many bits the floats of one side have, 16 or 32, where the other's numbers
	// have more: those are rounded to as many. 0: both have as many.
	narrow int

	// doubtful: the sides are of different types, of which one may only be what a reader
	// takes a column without a value for. That is known once they were read.
	doubtful bool
}

// field is a column of a table.
type field struct {
	index    int
	class    class
	declared bool    // it is text because the file, or the user, says so
	exact    bool    // numbers as text, which are not rounded
	bits     int     // of its numbers, in the file
	spelled  string  // what dataset.NumericText says of it
	unit     int64   // of times of day and durations, in nanoseconds
	scale    float64 // what its numbers are multiplied by, where the other side has a finer unit; 0: 1
	zone     dataset.ZoneForm
}

func fieldOf(index int, f arrow.Field) (field, bool) {
	c, ok := classOf(f)
	return field{
		index: index, class: c, declared: dataset.Declared(f), exact: dataset.ExactNumbers(f) != dataset.NumbersNone,
		bits: dataset.FloatBits(f), spelled: dataset.NumericText(f), zone: dataset.Zoned(f), unit: dataset.Unit(f),
	}, ok
}

// mayBeExact says that nothing was rounded where the column was written: its numbers can be told apart.
func (f field) mayBeExact() bool { return f.scale == 0 && (f.exact || f.class == classInteger) }

// floatBits is how many bits the numbers of both sides are compared with.
func (p *plan) floatBits() int { return min(p.reference.bits, p.current.bits) }

// spelled says how numbers are written that are text on a side.
func (p *plan) spelled() string { return cmp.Or(p.reference.spelled, p.current.spelled) }

// integers says that both sides hold nothing but whole numbers.
func (p *plan) integers() bool {
	return p.reference.class == classInteger && p.current.class == classInteger
}

// settle decides how the column is collected.
func (p *plan) settle() {
	r, c := p.reference.class, p.current.class
	switch {
	case p.declared == TypeNumeric:
		p.numeric, p.as = true, classFloat
	case p.declared == TypeCategorical:
		p.numeric, p.as = r.number() && c.number(), classText
	case r.number() && c.number():
		p.numeric, p.as = true, max(r, c)
	case r == c:
		p.as = r
	case (p.reference.declared || p.current.declared) && r != classTime && c != classTime:
		p.textual, p.as = true, classText
	default:
		p.doubtful = true
		// Of a text and a number it is the number, which texts may hold; else what has
		// nothing to do with numbers, as these may be of an empty column.
		if p.as = r; r == classText || r.number() && c != classText {
			p.as = c
		}
		p.numeric = p.as.number()
	}
	if r.number() && c.number() && p.floatBits() < max(p.reference.bits, p.current.bits) {
		p.narrow = p.floatBits()
	}
	if r, c := &p.reference, &p.current; r.unit > 0 && c.unit > 0 && r.unit != c.unit && p.numeric {
		finer := min(r.unit, c.unit)
		for _, f := range []*field{r, c} {
			if f.unit > finer {
				f.scale = float64(f.unit / finer)
			}
		}
	}
	if p.as == classTime && p.declared == "" {
		p.skip = "holds times, which every new period shifts; --numeric compares them as seconds since 1970"
	}
}

const (
	blockRows   = 4096 // rows that are worked on at a time: they stay in the cache
	segmentRows = 256  // of one segment, which wait to be added
)

// scratch is what rows are worked on in, one column after the other.
type scratch struct {
	values []float64
	bits   []uint64
}

func newScratch() scratch { return scratch{make([]float64, blockRows), make([]uint64, blockRows)} }

// side is one side of one column while it is read.
type side struct {
	plan    *plan
	of      field
	class   class
	numbers []*numbers // of all rows, then of each segment; nil where the column is no numeric one
	texts   []*texts
	pending [][]float64 // by segment
	segment []uint16    // of each row; nil without segments

	rows       int64
	nulls      int64
	content    uint64
	typeErrors int64
	bad        string // the first of them
	rounded    bool   // a number that is not exact any more
	narrowed   bool   // a number that has fewer bits than in the file

	scratch // set while rows are added
}

// add takes the next rows of the column.
func (s *side) add(a arrow.Array, rows *rowHashes, salt uint64) error {
	s.nulls += int64(a.NullN())
	for from := 0; from < a.Len(); from += blockRows {
		to := min(from+blockRows, a.Len())
		s.bits = s.bits[:to-from]
		switch {
		case s.plan.skip != "":
			if err := s.hashOnly(a, from, to); err != nil {
				return err
			}
		case s.plan.numeric:
			values, err := s.decode(a, from, to)
			if err != nil {
				return err
			}
			s.numbers[0].add(values)
			if s.segment != nil {
				s.addSegments(values)
			}
		default:
			if err := s.addTexts(a, from, to); err != nil {
				return err
			}
		}
		content := s.content
		for i, x := range s.bits {
			content += mix(x + golden*uint64(s.rows+int64(i)+1))
		}
		s.content = content
		rows.add(s.rows, s.bits, salt)
		s.rows += int64(to - from)
	}
	return nil
}

func (s *side) addSegments(values []float64) {
	for i, v := range values {
		k := s.segment[s.rows+int64(i)]
		if k == 0 {
			continue
		}
		s.pending[k] = append(s.pending[k], v)
		if len(s.pending[k]) == segmentRows {
			s.numbers[k].add(s.pending[k])
			s.pending[k] = s.pending[k][:0]
		}
	}
}

// end follows the last add.
func (s *side) end() {
	for k, values := range s.pending {
		if len(values) > 0 {
			s.numbers[k].add(values)
			s.pending[k] = nil
		}
	}
}

// decode returns numbers, NaN where there is none, and fills s.bits.
func (s *side) decode(a arrow.Array, from, to int) ([]float64, error) {
	values := s.values[:to-from]
	nulls := a.NullN() > 0
	narrow := s.plan.narrow > 0 && s.of.bits > s.plan.narrow
	switch a := a.(type) {
	case *array.Float64:
		given := a.Float64Values()[from:to]
		if !nulls && !narrow {
			for i, v := range given {
				s.bits[i] = floatBits(v)
			}
			return given, nil
		}
		copy(values, given)
	case *array.Float32:
		for i, v := range a.Float32Values()[from:to] {
			values[i] = float64(v)
		}
	case *array.Int64:
		for i, v := range a.Int64Values()[from:to] {
			values[i], s.bits[i] = float64(v), uint64(v)
		}
	case *array.Uint64:
		for i, v := range a.Uint64Values()[from:to] {
			values[i], s.bits[i] = float64(v), v
		}
	default:
		text, err := writer(a)
		if err != nil {
			return nil, err
		}
		for i := range values {
			if values[i] = math.NaN(); a.IsValid(from + i) {
				values[i] = s.number(a, from+i, text)
				if s.of.exact {
					s.bits[i] = textBits(text(from + i))
				}
			}
		}
	}
	_, whole := a.(*array.Int64)
	_, natural := a.(*array.Uint64)
	for i := range values {
		if missing := nulls && a.IsNull(from+i); missing {
			values[i] = math.NaN()
			if s.bits[i] = missingHash; !whole && !natural && !s.of.exact {
				s.bits[i] = floatBits(values[i])
			}
		} else if !whole && !natural && !s.of.exact {
			s.bits[i] = floatBits(values[i])
		}
	}
	if narrow {
		s.narrow(values)
	}
	if s.of.scale > 0 {
		for i := range values {
			values[i] *= s.of.scale
		}
	}
	return values, nil
}

// narrow rounds numbers to as many bits as the other side has. What is too large for them stays.
func (s *side) narrow(values []float64) {
	for i, v := range values {
		x := float64(float32(v))
		if s.plan.narrow == 16 {
			x = half(v)
		}
		if x != v && v-v == 0 && x-x == 0 {
			values[i], s.narrowed = x, true
		}
	}
}

// half rounds to the closest of the floats of 16 bits (IEEE 754 binary16), of which 65504 is the greatest.
func half(v float64) float64 {
	_, exponent := math.Frexp(v)
	unit := math.Ldexp(1, max(exponent-11, -24))
	if x := math.RoundToEven(v/unit) * unit; math.Abs(x) <= 65504 {
		return x
	}
	return v
}

// number makes a number of what is none: of a time the seconds since 1970, of a boolean 0
// or 1, of a text what it says.
func (s *side) number(a arrow.Array, i int, text func(int) string) float64 {
	switch a := a.(type) {
	case *array.Boolean:
		if a.Value(i) {
			return 1
		}
		return 0
	case *array.Date32, *array.Date64, *array.Timestamp:
		t := timeOf(a, i)
		return float64(t.Unix()) + float64(t.Nanosecond())/1e9
	}
	given := strings.TrimSpace(text(i))
	if given == "" {
		return math.NaN()
	}
	v, err := strconv.ParseFloat(given, 64)
	if err != nil && !math.IsInf(v, 0) || strings.ContainsAny(given, "_xX") { // which Go's literals may have: 1_2 is not 12
		s.typeError(given)
		return math.NaN()
	}
	if s.of.exact && !s.rounded && len(given) > 15 {
		var exact [128]byte
		back, _ := dataset.AppendNumber(exact[:0], strconv.AppendFloat(nil, v, 'g', -1, 64))
		s.rounded = string(back) != given
	}
	return v
}

func (s *side) typeError(text string) {
	if s.typeErrors == 0 {
		s.bad = strings.Clone(text)
	}
	s.typeErrors++
}

func timeOf(a arrow.Array, i int) time.Time {
	switch a := a.(type) {
	case *array.Date32:
		return a.Value(i).ToTime()
	case *array.Date64:
		return a.Value(i).ToTime()
	case *array.Timestamp:
		return a.Value(i).ToTime(a.DataType().(*arrow.TimestampType).Unit)
	}
	return time.Time{}
}

// writer returns what writes the values of an array as text.
func writer(a arrow.Array) (func(i int) string, error) {
	switch a := a.(type) {
	case *array.String:
		return a.Value, nil
	case *array.Boolean:
		return func(i int) string { return strconv.FormatBool(a.Value(i)) }, nil
	case *array.Int64:
		return func(i int) string { return strconv.FormatInt(a.Value(i), 10) }, nil
	case *array.Uint64:
		return func(i int) string { return strconv.FormatUint(a.Value(i), 10) }, nil
	case *array.Float64:
		return func(i int) string { return writeNumber(a.Value(i)) }, nil
	case *array.Float32:
		return func(i int) string { return strconv.FormatFloat(float64(a.Value(i)), 'g', -1, 32) }, nil
	case *array.Date32, *array.Date64:
		return func(i int) string { return timeOf(a, i).Format(time.DateOnly) }, nil
	case *array.Timestamp:
		return func(i int) string { return timeOf(a, i).Format(time.RFC3339Nano) }, nil
	default:
		return nil, fmt.Errorf("values of type %s have no text", a.DataType())
	}
}

// isMissing tells a null or NaN.
func isMissing(a arrow.Array, i int) bool {
	switch f := a.(type) {
	case *array.Float64:
		return f.IsNull(i) || math.IsNaN(f.Value(i))
	case *array.Float32:
		return f.IsNull(i) || math.IsNaN(float64(f.Value(i)))
	default:
		return a.IsNull(i)
	}
}

// writer is that of an array of a column which both sides name the same value alike in: a
// text that one side's reader has as true or as 1.50 is so of the other side, too. A boolean is 0 or 1
// beside numbers that are compared by category, and these are booleans otherwise.
func (s *side) writer(a arrow.Array) (func(i int) string, error) {
	text, err := writer(a)
	r, c := s.plan.reference.class, s.plan.current.class
	if err != nil || r == c || s.plan.exactly {
		return text, err
	}
	beside := r
	if s.class == r {
		beside = c
	}
	switch {
	case s.class == classText && beside == classBoolean:
		return func(i int) string {
			given := text(i)
			switch given {
			case "True", "TRUE":
				return "true"
			case "False", "FALSE":
				return "false"
			}
			return given
		}, nil
	case s.class == classText && beside.number():
		var buf []byte
		return func(i int) string {
			given := text(i)
			if superfluousZeros(given) {
				return given
			}
			var ok bool
			if buf, ok = dataset.AppendNumber(buf[:0], []byte(given)); ok {
				return string(buf)
			}
			return given
		}, nil
	case s.class.number() && beside == classText:
		var buf []byte
		return func(i int) string {
			given := text(i)
			var ok bool
			if buf, ok = dataset.AppendNumber(buf[:0], []byte(given)); ok {
				return string(buf)
			}
			return given // an infinity
		}, nil
	case s.class == classBoolean && beside.number() && s.plan.declared == TypeCategorical:
		return func(i int) string {
			if text(i) == "true" {
				return "1"
			}
			return "0"
		}, nil
	case s.class.number() && beside == classBoolean && s.plan.declared == "":
		return func(i int) string {
			switch given := text(i); given {
			case "1":
				return "true"
			case "0":
				return "false"
			default:
				return given
			}
		}, nil
	default:
		return text, nil
	}
}

// superfluousZeros tells a text that begins with zeros which a number would not have, as 0870.
func superfluousZeros(s string) bool {
	s = strings.TrimPrefix(strings.TrimSpace(s), "-")
	return len(s) > 1 && s[0] == '0' && s[1] >= '0' && s[1] <= '9'
}

// writeNumber writes a number so that it can be read back.
func writeNumber(v float64) string {
	if a := math.Abs(v); v == 0 || a >= 1e-5 && a < 1e15 {
		return strconv.FormatFloat(v+0, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// addTexts takes rows of a column that is collected as texts.
func (s *side) addTexts(a arrow.Array, from, to int) error {
	text, err := s.writer(a)
	if err != nil {
		return err
	}
	for i := from; i < to; i++ {
		k := uint16(0)
		if s.segment != nil {
			k = s.segment[s.rows+int64(i-from)]
		}
		missing := isMissing(a, i)
		var t string
		if !missing {
			t = text(i)
			if s.plan.doubtful && s.class != s.plan.as && (s.plan.as != classBoolean || t != "true" && t != "false") {
				s.typeError(t)
				missing = true
			}
		}
		if missing {
			s.bits[i-from] = missingHash
			s.texts[0].missing++
			if k > 0 {
				s.texts[k].missing++
			}
			continue
		}
		s.bits[i-from] = textBits(t)
		s.texts[0].add(t)
		if k > 0 {
			s.texts[k].add(t)
		}
	}
	return nil
}

// hashOnly takes rows of a column that is not compared.
func (s *side) hashOnly(a arrow.Array, from, to int) error {
	text, err := writer(a)
	if err != nil {
		return err
	}
	for i := from; i < to; i++ {
		s.bits[i-from] = missingHash
		if a.IsValid(i) {
			s.bits[i-from] = textBits(text(i))
		}
	}
	return nil
}
