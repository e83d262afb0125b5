package codec

import (
	"unicode/utf16"
	"unicode/utf8"

	"github.com/millrace/millrace/schemas"
)

// kind is the JSON type of a value.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
)

func (k kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string"}[k]
}

// value is one scanned JSON value. text is the literal of a number, or the content of a
// string; it points into the request, or into the scanner's scratch where the string has
// escapes. A short number is digits, less so many decimal places; see number.go.
type value struct {
	kind     kind
	bool     bool
	negative bool
	short    bool
	digits   uint64
	places   int
	text     []byte
}

// scanner reads one JSON object, flat but for values that nobody asks for (RFC 8259), strictly: valid UTF-8, no trailing bytes,
// no control characters in strings, no lone surrogates, numbers by the grammar.
type scanner struct {
	in      []byte
	at      int
	scratch []byte // unescaped strings of this object; never shrinks while they are in use
	missing bool   // NaN, Infinity and -Infinity, which JSON does not have, are null

	ignored [][]byte            // keys of this object that nobody asked for
	many    map[string]struct{} // the same, once there are too many to compare one by one
}

func (s *scanner) reset(in []byte) {
	s.in, s.at, s.scratch, s.ignored = in, 0, s.scratch[:0], s.ignored[:0]
}

func malformed(format string, args ...any) *schemas.RequestError {
	return schemas.Errorf(schemas.ErrorClassMalformed, format, args...)
}

func (s *scanner) space() {
	for s.at < len(s.in) {
		switch s.in[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// expected describes what stands at the scanner's position instead of what was expected.
func (s *scanner) expected(what string) *schemas.RequestError {
	if s.at >= len(s.in) {
		return malformed("the JSON ends after %d bytes where %s is expected", len(s.in), what)
	}
	return malformed("byte %d is %q where %s is expected", s.at, s.in[s.at], what)
}

// open reads the opening brace. empty tells that the object has no members.
func (s *scanner) open() (empty bool, err *schemas.RequestError) {
	if len(s.in) == 0 {
		return false, malformed("the value is empty; a JSON object is expected")
	}
	if !utf8.Valid(s.in) {
		return false, malformed("the value is not valid UTF-8 (first invalid byte at %d)", firstInvalid(s.in))
	}
	s.space()
	if s.at >= len(s.in) || s.in[s.at] != '{' {
		return false, s.expected("a JSON object")
	}
	s.at++
	s.space()
	if s.at < len(s.in) && s.in[s.at] == '}' {
		s.at++
		return true, s.end()
	}
	return false, nil
}

func firstInvalid(in []byte) int {
	for i := 0; i < len(in); {
		r, n := utf8.DecodeRune(in[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return len(in)
}

// keyIs passes over a member's name and the colon after it if they are exactly that.
func (s *scanner) keyIs(literal string) bool {
	s.space()
	n := len(literal)
	if n == 0 || len(s.in)-s.at < n || string(s.in[s.at:s.at+n]) != literal {
		return false
	}
	s.at += n
	s.space()
	return true
}

// key reads a member's name and the colon after it.
func (s *scanner) key() ([]byte, *schemas.RequestError) {
	s.space()
	if s.at >= len(s.in) || s.in[s.at] != '"' {
		return nil, s.expected(`a key in double quotes`)
	}
	k, err := s.str()
	if err != nil {
		return nil, err
	}
	s.space()
	if s.at >= len(s.in) || s.in[s.at] != ':' {
		return nil, s.expected("':'")
	}
	s.at++
	s.space()
	return k, nil
}

// next reads what follows a member. more tells that another one comes.
func (s *scanner) next() (more bool, err *schemas.RequestError) {
	s.space()
	if s.at < len(s.in) {
		switch s.in[s.at] {
		case ',':
			s.at++
			return true, nil
		case '}':
			s.at++
			return false, s.end()
		}
	}
	return false, s.expected("',' or '}'")
}

func (s *scanner) end() *schemas.RequestError {
	s.space()
	if s.at < len(s.in) {
		return s.expected("the end of the value")
	}
	return nil
}

// value reads one value into v. key is named in errors.
func (s *scanner) value(key string, v *value) (err *schemas.RequestError) {
	if s.at >= len(s.in) {
		return s.expected("a value")
	}
	switch c := s.in[s.at]; c {
	case '"':
		v.kind = kindString
		v.text, err = s.str()
		return err
	case 't':
		v.kind, v.bool = kindBool, true
		return s.literal("true")
	case 'f':
		v.kind, v.bool = kindBool, false
		return s.literal("false")
	case 'n':
		v.kind = kindNull
		return s.literal("null")
	case '{', '[':
		return malformed("%q holds an object or an array; one flat object is expected", clip([]byte(key)))
	case 'N', 'I':
		return s.nonFinite(key, v)
	default:
		if c == '-' && s.at+1 < len(s.in) && s.in[s.at+1] == 'I' {
			return s.nonFinite(key, v)
		}
		if c == '-' || (c >= '0' && c <= '9') {
			return s.number(v)
		}
		return s.expected("a value")
	}
}

// nonFinite reads what Python and others write for numbers that JSON does not have.
func (s *scanner) nonFinite(key string, v *value) *schemas.RequestError {
	rest := s.in[s.at:]
	for _, word := range [...]string{"NaN", "Infinity", "-Infinity"} {
		if len(rest) < len(word) || string(rest[:len(word)]) != word {
			continue
		}
		if !s.missing {
			return malformed("%q is %s, which JSON does not have: send null (or set non_finite: missing in the manifest)", clip([]byte(key)), word)
		}
		v.kind = kindNull
		s.at += len(word)
		return nil
	}
	return s.expected("a value")
}

// unknown reads the value of a key that is ignored but must not stand twice.
func (s *scanner) unknown(key []byte) *schemas.RequestError {
	if s.repeated(key) {
		return schemas.Errorf(schemas.ErrorClassDuplicateKey, "key %q stands twice", clip(key))
	}
	if s.at < len(s.in) && (s.in[s.at] == '{' || s.in[s.at] == '[') {
		return s.skip(str(key))
	}
	var v value
	return s.value(str(key), &v)
}

// maxDepth bounds how deep objects and arrays may stand within each other where nobody asks for them.
const maxDepth = 64

// skip passes over an object or an array, which must be JSON. Keys within it may stand twice.
func (s *scanner) skip(key string) *schemas.RequestError {
	var objects uint64 // of what is open: whether it is an object, the innermost in the lowest bit
	for depth := 0; ; {
		if s.at < len(s.in) && (s.in[s.at] == '{' || s.in[s.at] == '[') {
			if depth == maxDepth {
				return malformed("%q holds objects and arrays more than %d deep", clip([]byte(key)), maxDepth)
			}
			depth++
			objects <<= 1
			if s.in[s.at] == '{' {
				objects |= 1
			}
			s.at++
			s.space()
			if s.at >= len(s.in) || s.in[s.at] != closing(objects) {
				if err := s.element(objects); err != nil {
					return err
				}
				continue
			}
		} else {
			var v value
			if err := s.value(key, &v); err != nil {
				return err
			}
			s.space()
		}
		for s.at < len(s.in) && s.in[s.at] == closing(objects) {
			s.at++
			objects >>= 1
			if depth--; depth == 0 {
				return nil
			}
			s.space()
		}
		if s.at >= len(s.in) || s.in[s.at] != ',' {
			return s.expected("',' or '" + string(closing(objects)) + "'")
		}
		s.at++
		if err := s.element(objects); err != nil {
			return err
		}
	}
}

// closing returns what closes the innermost of what is open.
func closing(objects uint64) byte {
	if objects&1 != 0 {
		return '}'
	}
	return ']'
}

// element reads up to the next value of what is open: in an object, its key.
func (s *scanner) element(objects uint64) *schemas.RequestError {
	if objects&1 == 0 {
		s.space()
		return nil
	}
	_, err := s.key()
	return err
}

// repeated notes an unknown key and tells whether this object had it before.
func (s *scanner) repeated(key []byte) bool {
	const few = 16
	if len(s.ignored) < few {
		for _, k := range s.ignored {
			if string(k) == string(key) {
				return true
			}
		}
		s.ignored = append(s.ignored, key)
		return false
	}
	if len(s.ignored) == few {
		s.many = make(map[string]struct{})
		for _, k := range s.ignored {
			s.many[string(k)] = struct{}{}
		}
	}
	if _, ok := s.many[string(key)]; ok {
		return true
	}
	s.many[string(key)] = struct{}{}
	s.ignored = append(s.ignored, key)
	return false
}

func (s *scanner) literal(word string) *schemas.RequestError {
	if len(s.in)-s.at < len(word) || string(s.in[s.at:s.at+len(word)]) != word {
		return s.expected(word)
	}
	s.at += len(word)
	return nil
}

// number reads a number. Its digits are gathered on the way: most numbers are short, and
// then their value is known without looking at them again.
func (s *scanner) number(v *value) *schemas.RequestError {
	in, at := s.in, s.at
	v.kind, v.negative = kindNumber, in[at] == '-'
	if v.negative {
		at++
	}
	digits, places := uint64(0), 0
	first := at
	if at < len(in) && in[at] == '0' {
		at++
	} else {
		for at < len(in) && in[at]-'0' <= 9 {
			digits = 10*digits + uint64(in[at]-'0')
			at++
		}
	}
	n := at - first
	if n == 0 {
		s.at = at
		return s.expected("a digit")
	}
	if at < len(in) && in[at] == '.' {
		at++
		point := at
		for at < len(in) && in[at]-'0' <= 9 {
			digits = 10*digits + uint64(in[at]-'0')
			at++
		}
		if places = at - point; places == 0 {
			s.at = at
			return s.expected("a digit")
		}
		n += places
	}
	v.short = n <= maxShortDigits
	if at < len(in) && in[at]|0x20 == 'e' {
		v.short = false
		at++
		if at < len(in) && (in[at] == '+' || in[at] == '-') {
			at++
		}
		power := at
		for at < len(in) && in[at]-'0' <= 9 {
			at++
		}
		if at == power {
			s.at = at
			return s.expected("a digit")
		}
	}
	v.digits, v.places, v.text = digits, places, in[s.at:at]
	s.at = at
	return nil
}

// plain tells of each byte whether it stands for itself inside a string.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return t
}()

// str reads a string; the opening quote is at the scanner's position.
func (s *scanner) str() ([]byte, *schemas.RequestError) {
	start := s.at + 1
	in, at := s.in, start
	for at < len(in) && plain[in[at]] {
		at++
	}
	s.at = at
	switch {
	case at == len(in):
		return nil, s.expected("the end of a string")
	case in[at] == '"':
		s.at++
		return in[start:at], nil
	case in[at] == '\\':
		return s.escaped(start)
	default:
		return nil, malformed("byte %d is a control character inside a string; escape it", at)
	}
}

// escaped reads the rest of a string that began at start and has escapes, into scratch.
func (s *scanner) escaped(start int) ([]byte, *schemas.RequestError) {
	from := len(s.scratch)
	s.scratch = append(s.scratch, s.in[start:s.at]...)
	for s.at < len(s.in) {
		c := s.in[s.at]
		switch {
		case c == '"':
			s.at++
			return s.scratch[from:len(s.scratch):len(s.scratch)], nil
		case c < ' ':
			return nil, malformed("byte %d is a control character inside a string; escape it", s.at)
		case c != '\\':
			s.scratch = append(s.scratch, c)
			s.at++
		default:
			if err := s.escape(); err != nil {
				return nil, err
			}
		}
	}
	return nil, s.expected("the end of a string")
}

func (s *scanner) escape() *schemas.RequestError {
	s.at++
	if s.at >= len(s.in) {
		return s.expected("an escape")
	}
	c := s.in[s.at]
	s.at++
	switch c {
	case '"', '\\', '/':
		s.scratch = append(s.scratch, c)
	case 'b':
		s.scratch = append(s.scratch, '\b')
	case 'f':
		s.scratch = append(s.scratch, '\f')
	case 'n':
		s.scratch = append(s.scratch, '\n')
	case 'r':
		s.scratch = append(s.scratch, '\r')
	case 't':
		s.scratch = append(s.scratch, '\t')
	case 'u':
		r, ok := s.hex4()
		if !ok {
			return s.expected("four hexadecimal digits")
		}
		if utf16.IsSurrogate(r) {
			var low rune
			if ok = s.at+1 < len(s.in) && s.in[s.at] == '\\' && s.in[s.at+1] == 'u'; ok {
				s.at += 2
				low, ok = s.hex4()
			}
			if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
				return malformed("a lone surrogate before byte %d", s.at)
			}
		}
		s.scratch = utf8.AppendRune(s.scratch, r)
	default:
		s.at--
		return s.expected("an escape")
	}
	return nil
}

func (s *scanner) hex4() (rune, bool) {
	if len(s.in)-s.at < 4 {
		return 0, false
	}
	var r rune
	for _, c := range s.in[s.at : s.at+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	s.at += 4
	return r, true
}
