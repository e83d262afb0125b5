package dataset

import (
	"bytes"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// trim takes off spaces and tabs, which numbers may have around them.
func trim(v []byte) []byte {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}

// number is what a number's text says: digits·10^exponent, where both fit.
type number struct {
	digits   uint64
	exponent int
	negative bool
	integer  bool // no point and no exponent
	exact    bool // digits and exponent are all of it
}

// parseNumber reads a decimal number; ok is false of anything else.
func parseNumber(v []byte) (n number, ok bool) {
	i := 0
	if len(v) > 0 && (v[0] == '-' || v[0] == '+') {
		n.negative, i = v[0] == '-', 1
	}
	n.integer = true
	from, x := i, uint64(0)
	for ; i < len(v) && v[i]-'0' <= 9; i++ {
		x = 10*x + uint64(v[i]-'0')
	}
	digits := i - from
	if i < len(v) && v[i] == '.' {
		n.integer = false
		point := i + 1
		for i++; i < len(v) && v[i]-'0' <= 9; i++ {
			x = 10*x + uint64(v[i]-'0')
		}
		n.exponent = point - i
		digits += i - point
	}
	if digits == 0 {
		return n, false
	}
	if n.digits, n.exact = x, digits <= 19; !n.exact { // zeros in front are none of them, and 20 digits may fit
		n.digits, n.exact = slowDigits(v[from:i])
	}
	if i < len(v) && (v[i] == 'e' || v[i] == 'E') {
		n.integer = false
		i++
		minus := false
		if i < len(v) && (v[i] == '-' || v[i] == '+') {
			minus = v[i] == '-'
			i++
		}
		first, e := i, 0
		for ; i < len(v) && v[i]-'0' <= 9; i++ {
			if e < 1<<20 {
				e = 10*e + int(v[i]-'0')
			}
		}
		if i == first {
			return n, false
		}
		if minus {
			e = -e
		}
		n.exponent += e
	}
	return n, i == len(v)
}

// slowDigits returns the digits of a number without its point; exact is false where they
// do not fit.
func slowDigits(v []byte) (x uint64, exact bool) {
	for _, d := range v {
		if d == '.' {
			continue
		}
		hi, lo := bits.Mul64(x, 10)
		sum, carry := bits.Add64(lo, uint64(d-'0'), 0)
		if hi != 0 || carry != 0 {
			return x, false
		}
		x = sum
	}
	return x, true
}

// float returns the closest float64; v is the number's text.
func (n *number) float(v []byte) float64 {
	if n.exact && n.exponent >= -19 && n.exponent <= 0 {
		x := quotient(n.digits, uint64Pow10[-n.exponent])
		if n.negative {
			return -x
		}
		return x
	}
	x, _ := strconv.ParseFloat(string(v), 64) // an infinity where it is too large
	return x
}

// quotient returns a/b, rounded once: the quotient has 62 bits at least, and whether
// there is a remainder is in the last one, so that the conversion rounds for all of it.
func quotient(a, b uint64) float64 {
	if a < 1<<53 && b < 1<<53 {
		return float64(a) / float64(b)
	}
	up, down := bits.LeadingZeros64(a), bits.LeadingZeros64(b)
	a <<= up
	q, r := bits.Div64(a>>1, a<<63, b<<down)
	if r != 0 {
		q |= 1
	}
	return float64(q) * math.Float64frombits(uint64(1023+down-up-63)<<52)
}

var uint64Pow10 = [20]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}

// parseFloat reads a number, an infinity or NaN.
func parseFloat(v []byte) (float64, bool) {
	if n, ok := parseNumber(v); ok {
		return n.float(v), true
	}
	return parseFloatWord(v)
}

func parseFloatWord(v []byte) (float64, bool) {
	if len(v) < 3 || len(v) > 9 {
		return 0, false
	}
	switch strings.ToLower(string(v)) {
	case "inf", "+inf", "infinity", "+infinity":
		return math.Inf(1), true
	case "-inf", "-infinity":
		return math.Inf(-1), true
	case "nan", "+nan", "-nan":
		return math.NaN(), true
	default:
		return 0, false
	}
}

// parseInt reads an integer, also one with a fraction of zeros.
func parseInt(v []byte) (int64, bool) {
	n, ok := parseNumber(v)
	if !ok {
		return 0, false
	}
	if !n.integer || !n.exact {
		x := n.float(v)
		return int64(x), x == math.Trunc(x) && x >= -1<<63 && x < 1<<63
	}
	if n.negative {
		return -int64(n.digits), n.digits <= 1<<63
	}
	return int64(n.digits), n.digits < 1<<63
}

func parseUint(v []byte) (uint64, bool) {
	n, ok := parseNumber(v)
	if !ok || n.negative && n.digits > 0 {
		return 0, false
	}
	if !n.integer || !n.exact {
		x := n.float(v)
		return uint64(x), x == math.Trunc(x) && x < 1<<64
	}
	return n.digits, true
}

// parseBool reads true and false as Python, JSON and SQL write them.
func parseBool(v []byte) (value, ok bool) {
	switch string(v) {
	case "true", "True", "TRUE":
		return true, true
	case "false", "False", "FALSE":
		return false, true
	default:
		return false, false
	}
}

// digits returns the number that v[from:from+n] is, -1 if it is none.
func digits(v []byte, from, n int) int {
	x := 0
	for _, d := range v[from : from+n] {
		if d-'0' > 9 {
			return -1
		}
		x = 10*x + int(d-'0')
	}
	return x
}

var monthDays = [13]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// parseDate reads 2006-01-02 as days since 1970.
func parseDate(v []byte) (days int64, ok bool) {
	if len(v) != 10 || v[4] != '-' || v[7] != '-' {
		return 0, false
	}
	y, m, d := digits(v, 0, 4), digits(v, 5, 2), digits(v, 8, 2)
	if y < 0 || m < 1 || m > 12 || d < 1 || d > monthDays[m] || m == 2 && d == 29 && (y%4 != 0 || y%100 == 0 && y%400 != 0) {
		return 0, false
	}
	// Days of the civil calendar, years from March on (Hinnant, chrono-compatible low-level date algorithms).
	if m <= 2 {
		y--
		m += 12
	}
	era := (y + 400) / 400
	yoe := y + 400 - 400*era
	doe := 365*yoe + yoe/4 - yoe/100 + (153*(m-3)+2)/5 + d - 1
	return int64(era-1)*146097 + int64(doe) - 719468, true
}

// parseTimestamp reads 2006-01-02 15:04[:05[.999999999]] with T or a space between, and Z
// or an offset behind; without one it is UTC. 24:00 is the end of a day, and :60 a leap second. The result is microseconds since 1970.
func parseTimestamp(v []byte) (us int64, ok bool) {
	if len(v) < 16 || len(v) > 40 || v[10] != ' ' && v[10] != 'T' || v[13] != ':' {
		return 0, false
	}
	days, ok := parseDate(v[:10])
	hour, minute := digits(v, 11, 2), digits(v, 14, 2)
	if !ok || hour < 0 || hour > 24 || minute < 0 || minute > 59 {
		return 0, false
	}
	seconds := days*86400 + int64(hour*3600+minute*60)
	micros, rest := int64(0), v[16:]
	if len(rest) >= 3 && rest[0] == ':' {
		s := digits(rest, 1, 2)
		if s < 0 || s > 60 || s == 60 && minute != 59 { // a leap second is the next one, as in POSIX
			return 0, false
		}
		seconds += int64(s)
		rest = rest[3:]
		if len(rest) >= 2 && (rest[0] == '.' || rest[0] == ',') {
			i, unit := 1, int64(100_000)
			for ; i < len(rest) && rest[i]-'0' <= 9; i++ {
				micros += unit * int64(rest[i]-'0')
				unit /= 10
			}
			if i == 1 || i > 10 {
				return 0, false
			}
			rest = rest[i:]
		}
	}
	if hour == 24 && (seconds != (days+1)*86400 || micros > 0) { // only the end of a day
		return 0, false
	}
	offset, ok := parseZone(rest)
	return (seconds-offset)*1_000_000 + micros, ok
}

// parseZone reads an offset as seconds: nothing, Z, +01, +0100 or +01:00.
func parseZone(v []byte) (offset int64, ok bool) {
	if len(v) == 0 || len(v) == 1 && (v[0] == 'Z' || v[0] == 'z') {
		return 0, true
	}
	sign := int64(1)
	switch v[0] {
	case '-':
		sign = -1
	case '+':
	default:
		return 0, false
	}
	hour, minute := -1, 0
	switch {
	case len(v) == 3:
		hour = digits(v, 1, 2)
	case len(v) == 5:
		hour, minute = digits(v, 1, 2), digits(v, 3, 2)
	case len(v) == 6 && v[3] == ':':
		hour, minute = digits(v, 1, 2), digits(v, 4, 2)
	}
	return sign * int64(hour*3600+minute*60), hour >= 0 && hour < 24 && minute >= 0 && minute < 60
}

// words are those that mean a missing value, by their first byte.
type words [256][][]byte

func newWords(list []string) *words {
	var w words
	for _, s := range list {
		if s != "" {
			w[s[0]] = append(w[s[0]], []byte(s))
		}
	}
	return &w
}

func (w *words) has(v []byte) bool {
	if len(v) == 0 {
		return true
	}
	for _, s := range w[v[0]] {
		if len(s) == len(v) && s[len(s)-1] == v[len(v)-1] && bytes.Equal(s, v) {
			return true
		}
	}
	return false
}

// zeros tells whether a number begins with zeros that say nothing, as ids and postcodes may.
func zeros(v []byte) bool {
	if len(v) > 0 && (v[0] == '-' || v[0] == '+') {
		v = v[1:]
	}
	return len(v) > 1 && v[0] == '0' && v[1]-'0' <= 9
}

// forms are what the values of a column look like, a bit each.
type forms uint16

const (
	formBool    forms = 1 << iota
	formInt           // fits int64
	formBig           // fits uint64 only
	formMinus         // a negative integer
	formFloat         // any other number
	formHuge          // a whole number that 64 bits do not hold
	formLarge         // a whole number that a 64-bit float rounds
	formDate          // without a time
	formTime          // with one, and without a zone
	formZoned         // with both
	formOther         // any other text
	formNumbers = formInt | formBig | formMinus | formFloat | formHuge | formLarge
	formTimes   = formDate | formTime | formZoned
)

// wordForm returns the form of a value of CSV. A number that begins with zeros is text: 0870 is none of
// the numbers that people count with.
func wordForm(v []byte) forms {
	t := trim(v)
	if n, ok := parseNumber(t); ok {
		if n.integer && zeros(t) {
			return formOther
		}
		return n.form(t)
	}
	return otherForm(v)
}

// otherForm returns the form of what is no number in digits.
func otherForm(v []byte) forms {
	if f := timeForm(v); f != formOther {
		return f
	}
	if _, ok := parseFloatWord(trim(v)); ok {
		return formFloat
	}
	if _, ok := parseBool(v); ok {
		return formBool
	}
	return formOther
}

// form returns the form of a number, of which v is the text.
func (n *number) form(v []byte) forms {
	const limit = 1 << 53
	switch {
	case !n.integer && len(v) > 16 && bytes.IndexByte(v, '.') > 15 && !bytes.ContainsAny(v, "eE"):
		return formFloat | formLarge // a fraction, if only .0, behind what may be beyond 2^53
	case !n.integer:
		return formFloat
	case !n.exact:
		return formHuge | formLarge
	case n.digits < limit && !n.negative:
		return formInt
	case n.negative && n.digits > 0:
		f := formInt | formMinus
		if n.digits > 1<<63 {
			return formHuge | formMinus | formLarge
		}
		if n.digits > limit && uint64(float64(n.digits)) != n.digits {
			f |= formLarge
		}
		return f
	case n.digits >= 1<<63:
		return formBig | formLarge
	case n.digits > limit && uint64(float64(n.digits)) != n.digits:
		return formInt | formLarge
	default:
		return formInt
	}
}

// timeForm returns the form of a text, which is not looked into for numbers.
func timeForm(v []byte) forms {
	if _, ok := parseDate(v); ok {
		return formDate
	}
	if _, ok := parseTimestamp(v); !ok {
		return formOther
	}
	if bytes.ContainsAny(v[len("2006-01-02 15:04"):], "Zz+-") {
		return formZoned
	}
	return formTime
}

// kind returns the narrowest type that holds all of the forms.
func (f forms) kind() kind {
	switch {
	case f == 0:
		return kindFloat64 // of nothing but missing values, as in pandas
	case f == formBool:
		return kindBool
	case f == formDate:
		return kindDate
	case f&^formTimes == 0:
		return kindTimestamp
	case f&^formNumbers != 0:
		return kindText
	case f.rounds():
		return kindFloat64
	case f&formBig != 0:
		return kindUint64
	default:
		return kindInt64
	}
}

// rounds tells whether numbers of such forms fit no integer of 64 bits.
func (f forms) rounds() bool {
	return f&(formFloat|formHuge) != 0 || f&formBig != 0 && f&formMinus != 0
}

// exact is the value of roundedKey of a column of such forms: of whole numbers that 64-bit floats, as
// which it is read, round; empty where they round none.
func (f forms) exact() string {
	switch {
	case f == 0 || f&^formNumbers != 0 || f&formLarge == 0 || !f.rounds():
		return ""
	case f&formFloat != 0:
		return "decimal"
	default:
		return "whole"
	}
}

// parse appends a value in the builder's type. ok is false, and nothing appended, where it
// does not fit.
func (b *builder) parse(v []byte) (ok bool, err error) {
	switch b.kind {
	case kindText:
		return true, b.appendText(v)
	case kindBool:
		x, ok := parseBool(trim(v))
		if !ok {
			n, number := parseNumber(trim(v)) // as databases write them
			x, ok = n.digits == 1, number && n.digits <= 1 && n.integer && n.exact && !n.negative
		}
		if ok {
			b.appendBool(x)
		}
		return ok, nil
	case kindInt64:
		x, ok := parseInt(trim(v))
		if ok {
			b.append64(uint64(x))
		}
		return ok, nil
	case kindUint64:
		x, ok := parseUint(trim(v))
		if ok {
			b.append64(x)
		}
		return ok, nil
	case kindFloat64, kindFloat32:
		x, ok := parseFloat(trim(v))
		switch {
		case !ok:
		case b.kind == kindFloat32:
			b.append32(math.Float32bits(float32(x)))
		default:
			b.append64(math.Float64bits(x))
		}
		return ok, nil
	case kindDate:
		x, ok := parseDate(trim(v))
		if !ok {
			var us int64
			if us, ok = parseTimestamp(trim(v)); ok {
				x = floorDiv(us, 86_400_000_000)
			}
		}
		if ok {
			b.append32(uint32(x))
		}
		return ok, nil
	default:
		x, ok := parseTimestamp(trim(v))
		if !ok {
			if x, ok = parseDate(trim(v)); ok {
				x *= 86_400_000_000
			}
		}
		if ok {
			b.append64(uint64(x))
		}
		return ok, nil
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
