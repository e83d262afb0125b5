package dataset

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// numberStyle is how the numbers of a CSV are written.
type numberStyle struct {
	decimal   byte // 0: a point
	thousands byte // 0: none; a space stands for all that printers set, an apostrophe for both of its forms
}

// separators are what a separator of thousands may look like.
var separators = map[byte][]string{' ': {" ", "\u00a0", "\u202f", "\u2009"}, '\'': {"'", "\u2019"}}

func (s numberStyle) plain() bool { return (s.decimal == 0 || s.decimal == '.') && s.thousands == 0 }

// check refuses separators that numbers cannot have.
func (s numberStyle) check() error {
	for _, of := range []struct {
		option string
		is     byte
	}{{"decimal point", s.decimal}, {"separator of thousands", s.thousands}} {
		if b := of.is; b != 0 && (b >= utf8.RuneSelf || b < ' ' || b-'0' <= 9 || b == '-' || b == '+' || b == 'e' || b == 'E' || b == '"') {
			return fmt.Errorf("the %s %q cannot be one within numbers", of.option, b)
		}
	}
	if s.thousands != 0 && (s.thousands == s.decimal || s.decimal == 0 && s.thousands == '.') {
		return fmt.Errorf("the decimal point and the separator of thousands are both %q", s.thousands)
	}
	return nil
}

// rewrite appends a number as computers write it; ok is false of what is none in this style.
func (s numberStyle) rewrite(dst, v []byte) (out []byte, ok bool) {
	v = trim(v)
	from := len(dst)
	i := 0
	switch {
	case len(v) > 0 && (v[0] == '-' || v[0] == '+'):
		dst, i = append(dst, v[0]), 1
	case bytes.HasPrefix(v, []byte("\u2212")): // the minus of typesetters
		dst, i = append(dst, '-'), len("\u2212")
	}
	group, groups := 0, 0
	for i < len(v) {
		if v[i]-'0' <= 9 {
			dst = append(dst, v[i])
			group++
			i++
			continue
		}
		n := s.separator(v[i:])
		if n == 0 {
			break
		}
		if group == 0 || group > 3 || groups > 0 && group < 2 { // of two digits in India
			return dst, false
		}
		groups, group, i = groups+1, 0, i+n
	}
	if groups > 0 && group != 3 {
		return dst, false
	}
	point := s.decimal
	if point == 0 {
		point = '.'
	}
	if i < len(v) && v[i] == point {
		dst = append(dst, '.')
		for i++; i < len(v) && v[i]-'0' <= 9; i++ {
			dst = append(dst, v[i])
		}
	}
	if i < len(v) && v[i] != 'e' && v[i] != 'E' {
		return dst, false
	}
	dst = append(dst, v[i:]...)
	_, ok = parseNumber(dst[from:])
	return dst, ok
}

func (s numberStyle) separator(v []byte) int {
	if s.thousands == 0 {
		return 0
	}
	if v[0] == s.thousands {
		return 1
	}
	for _, alike := range separators[s.thousands] {
		if bytes.HasPrefix(v, []byte(alike)) {
			return len(alike)
		}
	}
	return 0
}

// currencies are the words that stand beside amounts of money, without a sign of their own.
var currencies = []string{
	"EUR", "USD", "GBP", "CHF", "JPY", "CNY", "INR", "AUD", "CAD", "NZD", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "RON", "BRL", "MXN", "ZAR", "RUB",
	"TRY", "KRW", "SGD", "HKD", "kr.", "kr", "Kč", "zł", "Rs.", "Rs", "Ft", "lei", "R$", "A$", "C$", "US$",
}

// withoutUnit takes off what may stand before or behind a number: currencies, percent and per mille;
// brackets around it are a minus. found is false where there is nothing of the kind.
func withoutUnit(v []byte) (number []byte, found bool) {
	s, sign := strings.TrimSpace(string(v)), ""
	if len(s) > 2 && s[0] == '(' && s[len(s)-1] == ')' {
		s, sign, found = strings.TrimSpace(s[1:len(s)-1]), "-", true
	} else if len(s) > 1 && s[0] == '-' {
		s, sign = strings.TrimSpace(s[1:]), "-"
	}
	bare := s
	for _, c := range currencies {
		if rest, ok := strings.CutPrefix(bare, c); ok {
			bare = rest
			break
		}
		if rest, ok := strings.CutSuffix(bare, c); ok {
			bare = rest
			break
		}
	}
	bare = strings.TrimFunc(bare, func(r rune) bool {
		return unicode.Is(unicode.Sc, r) || unicode.IsSpace(r) || r == '%' || r == '‰'
	})
	if bare == "" || bare == s && !found {
		return nil, false
	}
	return []byte(sign + bare), true
}

// lookedAt is how many values of a column of text are looked at for numbers.
const lookedAt = 1000

// styles are those that are looked for, the likelier ones first.
var styles = []numberStyle{{}, {thousands: ','}, {decimal: ','}, {decimal: ',', thousands: '.'}, {thousands: ' '}, {decimal: ',', thousands: ' '}, {thousands: '\''}, {decimal: ',', thousands: '\''}}

// look is what is known of a column of text that may hold numbers as people write them.
type look struct {
	seen     int
	fits     [8]int    // values that are numbers of each of the styles
	missing  int       // values that say that there is none
	examples [8]string // of each of the styles, but the plain one

	united, zeros, absent, other string // one each of what else is no plain number
}

func (l *look) full() bool { return l.seen >= lookedAt }

// add looks at a value.
func (l *look) add(v []byte) {
	l.seen++
	if l.number(v, false) {
		return
	}
	if bare, ok := withoutUnit(v); ok && l.number(bare, true) {
		keep(&l.united, v)
		return
	}
	if isAbsent(v) {
		l.missing++
		keep(&l.absent, v)
		return
	}
	keep(&l.other, v)
}

// number counts a value that is a number of any of the styles.
func (l *look) number(v []byte, bare bool) bool {
	var buf [64]byte
	is, isPlain := false, false
	for i, s := range styles {
		plain, ok := s.rewrite(buf[:0], v)
		if !ok {
			continue
		}
		l.fits[i]++
		is = true
		switch {
		case i > 0 && !isPlain:
			keep(&l.examples[i], v)
		case i == 0:
			isPlain = true
			if !bare && zeros(plain) && !bytes.ContainsAny(plain, ".eE") {
				keep(&l.zeros, v)
			}
		}
	}
	return is
}

func keep(to *string, v []byte) {
	if *to == "" {
		*to = string(v)
	}
}

// isAbsent tells what people write where there is no value.
func isAbsent(v []byte) bool {
	s := strings.TrimSpace(string(v))
	if !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
		return true
	}
	return slices.Contains(DefaultNA, s) || slices.Contains([]string{"missing", "unknown", "n.a.", "N.A.", "k.A.", "tbd", "TBD", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "NIL", "nil", "na", "none"}, s)
}

// best returns the style that most values are of.
func (l *look) best() int {
	best := 0
	for i := range styles {
		if l.fits[i] > l.fits[best] {
			best = i
		}
	}
	return best
}

// phrase says how numbers are written, and what reads them; empty where most values are none. plain
// values were numbers before the first text.
func (l *look) phrase(column string, plain int) string {
	best := l.best()
	numbers, of := l.fits[best]+plain, l.seen-l.missing+plain
	if numbers == 0 || 5*numbers < 4*of {
		return ""
	}
	var parts []string
	add := func(example, format string, args ...any) {
		if example != "" {
			parts = append(parts, fmt.Sprintf("%s (%s)", strconv.Quote(clip(example)), fmt.Sprintf(format, args...)))
		}
	}
	if s := styles[best]; best > 0 {
		var options []string
		if s.decimal != 0 {
			options = append(options, "--decimal "+shellWord(string(s.decimal)))
		}
		if s.thousands != 0 {
			options = append(options, "--thousands "+shellWord(string(s.thousands)))
		}
		add(l.examples[best], "%s reads it", strings.Join(options, " "))
	}
	add(l.united, "--type %s reads it without the unit", OptionWord(column+"=float"))
	add(l.zeros, "--type %s reads it as a number", OptionWord(column+"=int"))
	add(l.absent, "--na %s takes it for missing", shellWord("default,"+strings.TrimSpace(l.absent)))
	add(l.other, "--type %s takes it for missing, and counts it", OptionWord(column+"=float"))
	if len(parts) == 0 {
		return ""
	}
	return "numbers, which are text because of " + strings.Join(parts, ", ")
}

func clip(s string) string {
	if r := []rune(s); len(r) > 30 {
		return string(r[:30]) + "…"
	}
	return s
}

// OptionWord is the name of a column as a list of an option has it on a command line: quoted for the
// list where it has commas or quotes, and for the shell.
func OptionWord(name string) string { return shellWord(listWord(name)) }

func listWord(name string) string {
	if strings.ContainsAny(name, ",\"\r\n") {
		return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	return name
}

// shellWord is a word of a command line.
func shellWord(s string) string {
	safe := func(r rune) bool {
		return r >= utf8.RuneSelf || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("_-+=.,:/%@", r)
	}
	if s == "'" {
		return `"'"`
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
