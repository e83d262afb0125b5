package clickhouse

import (
	"math"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"github.com/millrace/millrace/schemas"
)

// Limits of a label. Names and classes are LowCardinality columns, which long or
// ever-changing strings would bloat.
const (
	maxRequestID  = 4096 // bytes
	maxLabelClass = 256  // bytes
	maxModelName  = 60   // bytes
	maxDepth      = 64   // of arrays and objects in members that are ignored
)

// Microseconds since 1970 that DateTime64 can hold: 1900-01-01 to 2299-12-31.
const (
	minMicros = -2208988800000000
	maxMicros = 10413791999999999
)

// label is one feedback record. Its slices belong to the record or to the scanner and are
// valid until the next scan.
type label struct {
	model      []byte
	requestID  []byte
	class      []byte  // of a label that is a string
	value      float64 // of any other
	isClass    bool
	observedAt int64 // microseconds since 1970
}

// scanner reads feedback: one JSON object, strictly. Its scratch is reused, so a scan of a
// good record allocates nothing. The zero value is ready.
type scanner struct {
	data    []byte
	pos     int
	scratch []byte // unescaped strings; grows, is never moved while a label is in use
}

// Members of a feedback object.
const (
	seenRequestID = 1 << iota
	seenModel
	seenLabel
	seenObservedAt
)

// scan reads a feedback record. The request id is the record's key where the object has
// none, and it was observed at the record's timestamp unless the object says otherwise.
// Members that it does not know are checked and ignored.
func (s *scanner) scan(r *schemas.Record, out *label) *schemas.RequestError {
	if len(r.Value) == 0 {
		return schemas.Errorf(schemas.ErrorClassMalformed, "the value is empty")
	}
	// No string is longer unescaped than escaped, so this never grows during the scan.
	if cap(s.scratch) < len(r.Value) {
		s.scratch = make([]byte, 0, max(len(r.Value), 1024))
	}
	s.data, s.pos, s.scratch = r.Value, 0, s.scratch[:0]
	*out = label{requestID: r.Key, observedAt: r.Timestamp.UnixMicro()}
	seen, err := s.object(out)
	if err != nil {
		return err
	}
	switch {
	case seen&seenModel == 0:
		return schemas.Errorf(schemas.ErrorClassMissingFeature, "model is missing")
	case seen&seenLabel == 0:
		return schemas.Errorf(schemas.ErrorClassMissingFeature, "label is missing or null")
	case len(out.requestID) == 0:
		return schemas.Errorf(schemas.ErrorClassMissingFeature, "request_id is missing, and the record has no key")
	case len(out.requestID) > maxRequestID:
		return schemas.Errorf(schemas.ErrorClassOutOfRange, "request_id has %d bytes, at most %d are taken", len(out.requestID), maxRequestID)
	case seen&seenRequestID == 0 && !utf8.Valid(out.requestID):
		return schemas.Errorf(schemas.ErrorClassMalformed, "request_id is missing, and the record's key is not UTF-8")
	}
	return nil
}

func (s *scanner) object(out *label) (seen int, err *schemas.RequestError) {
	s.space()
	if !s.take('{') {
		return 0, s.unexpected("an object")
	}
	s.space()
	given := 0
	for first := true; !s.take('}'); first = false {
		if !first {
			if !s.take(',') {
				return seen, s.unexpected("',' or '}'")
			}
			s.space()
		}
		key, err := s.str()
		if err != nil {
			return seen, err
		}
		s.space()
		if !s.take(':') {
			return seen, s.unexpected("':'")
		}
		s.space()
		member := 0
		switch string(key) {
		case "request_id":
			member = seenRequestID
		case "model":
			member = seenModel
		case "label":
			member = seenLabel
		case "observed_at":
			member = seenObservedAt
		}
		if given&member != 0 {
			return seen, schemas.Errorf(schemas.ErrorClassDuplicateKey, "%s stands twice", key)
		}
		given |= member
		if !s.literal("null") { // null is the same as absent
			if err := s.member(member, out); err != nil {
				return seen, err
			}
			seen |= member
		}
		s.space()
	}
	s.space()
	if s.pos < len(s.data) {
		return seen, s.unexpected("the end")
	}
	return seen, nil
}

// member reads the value of one member.
func (s *scanner) member(member int, out *label) (err *schemas.RequestError) {
	switch member {
	case seenRequestID:
		if !s.at('"') {
			return s.wrongType("request_id", "a string")
		}
		out.requestID, err = s.str()
		return err
	case seenModel:
		if !s.at('"') {
			return s.wrongType("model", "a string")
		}
		if out.model, err = s.str(); err == nil && !isModelName(out.model) {
			err = schemas.Errorf(schemas.ErrorClassWrongType, "model is %.80q, which is no model name", out.model)
		}
		return err
	case seenLabel:
		return s.label(out)
	case seenObservedAt:
		return s.observedAt(out)
	default:
		return s.skip(0)
	}
}

func (s *scanner) label(out *label) (err *schemas.RequestError) {
	switch {
	case s.at('"'):
		out.isClass = true
		if out.class, err = s.str(); err == nil && len(out.class) > maxLabelClass {
			err = schemas.Errorf(schemas.ErrorClassOutOfRange, "label has %d bytes, at most %d are taken", len(out.class), maxLabelClass)
		}
		return err
	case s.literal("true"):
		out.value = 1
		return nil
	case s.literal("false"):
		out.value = 0
		return nil
	case s.atNumber():
		text, err := s.number()
		if err != nil {
			return err
		}
		v, e := strconv.ParseFloat(text, 64)
		if e != nil || math.IsInf(v, 0) {
			return schemas.Errorf(schemas.ErrorClassOutOfRange, "label is %.80s, which float64 cannot hold", text)
		}
		out.value = v
		return nil
	default:
		return s.wrongType("label", "a number, a boolean or a string")
	}
}

func (s *scanner) observedAt(out *label) *schemas.RequestError {
	switch {
	case s.at('"'):
		text, err := s.str()
		if err != nil {
			return err
		}
		t, e := time.Parse(time.RFC3339, view(text))
		if e != nil {
			return schemas.Errorf(schemas.ErrorClassWrongType, "observed_at is %.80q, want RFC 3339 or milliseconds since 1970", text)
		}
		out.observedAt = t.UnixMicro()
	case s.atNumber():
		text, err := s.number()
		if err != nil {
			return err
		}
		if ms, e := strconv.ParseInt(text, 10, 64); e == nil && ms > minMicros/1000 && ms <= maxMicros/1000 {
			out.observedAt = ms * 1000
			return nil
		}
		v, e := strconv.ParseFloat(text, 64)
		if e != nil || v < minMicros/1000 || v > maxMicros/1000 {
			return schemas.Errorf(schemas.ErrorClassOutOfRange, "observed_at is %.80s, want milliseconds since 1970, of the years 1900 to 2299", text)
		}
		out.observedAt = int64(math.Round(v * 1000))
	default:
		return s.wrongType("observed_at", "a number of milliseconds or a string in RFC 3339")
	}
	if out.observedAt < minMicros || out.observedAt > maxMicros {
		return schemas.Errorf(schemas.ErrorClassOutOfRange, "observed_at is not in the years 1900 to 2299")
	}
	return nil
}

// skip checks a value of any type.
func (s *scanner) skip(depth int) *schemas.RequestError {
	if depth == maxDepth {
		return schemas.Errorf(schemas.ErrorClassMalformed, "more than %d arrays and objects in each other", maxDepth)
	}
	switch {
	case s.at('"'):
		_, err := s.str()
		return err
	case s.atNumber():
		_, err := s.number()
		return err
	case s.literal("true"), s.literal("false"), s.literal("null"):
		return nil
	case s.take('['):
		return s.skipMembers(']', depth)
	case s.take('{'):
		return s.skipMembers('}', depth)
	default:
		return s.unexpected("a value")
	}
}

func (s *scanner) skipMembers(end byte, depth int) *schemas.RequestError {
	s.space()
	for first := true; !s.take(end); first = false {
		if !first {
			if !s.take(',') {
				return s.unexpected("',' or '" + string(end) + "'")
			}
			s.space()
		}
		if end == '}' {
			if _, err := s.str(); err != nil {
				return err
			}
			s.space()
			if !s.take(':') {
				return s.unexpected("':'")
			}
			s.space()
		}
		if err := s.skip(depth + 1); err != nil {
			return err
		}
		s.space()
	}
	return nil
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.data) && s.data[s.pos] == c }

func (s *scanner) take(c byte) bool {
	if !s.at(c) {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) literal(text string) bool {
	if len(s.data)-s.pos < len(text) || string(s.data[s.pos:s.pos+len(text)]) != text {
		return false
	}
	s.pos += len(text)
	return true
}

func (s *scanner) atNumber() bool {
	return s.pos < len(s.data) && (s.data[s.pos] == '-' || isDigit(s.data[s.pos]))
}

// number reads a number by JSON's grammar. The string is a view of the record.
func (s *scanner) number() (string, *schemas.RequestError) {
	start := s.pos
	s.take('-')
	if !s.take('0') && !s.digits() {
		return "", s.unexpected("a digit")
	}
	if s.take('.') && !s.digits() {
		return "", s.unexpected("a digit")
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		if !s.digits() {
			return "", s.unexpected("a digit")
		}
	}
	return view(s.data[start:s.pos]), nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && isDigit(s.data[s.pos]) {
		s.pos++
	}
	return s.pos > start
}

// str reads a string: a slice of the record if nothing is escaped, else of the scratch.
func (s *scanner) str() ([]byte, *schemas.RequestError) {
	if !s.take('"') {
		return nil, s.unexpected("a string")
	}
	start, ascii := s.pos, true
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			text := s.data[start:s.pos]
			if !ascii && !utf8.Valid(text) {
				return nil, schemas.Errorf(schemas.ErrorClassMalformed, "invalid UTF-8 in the string at byte %d", start)
			}
			s.pos++
			return text, nil
		case c == '\\':
			return s.escaped(start)
		case c < 0x20:
			return nil, s.unexpected("no control character in a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
		s.pos++
	}
	return nil, s.unexpected("the end of a string")
}

// escaped reads on in a string that began at start and in which an escape is next.
func (s *scanner) escaped(start int) ([]byte, *schemas.RequestError) {
	from := len(s.scratch)
	s.scratch = append(s.scratch, s.data[start:s.pos]...)
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		s.pos++
		switch {
		case c == '"':
			text := s.scratch[from:]
			if !utf8.Valid(text) {
				return nil, schemas.Errorf(schemas.ErrorClassMalformed, "invalid UTF-8 in the string at byte %d", start)
			}
			return text, nil
		case c < 0x20:
			s.pos--
			return nil, s.unexpected("no control character in a string")
		case c != '\\':
			s.scratch = append(s.scratch, c)
		default:
			if err := s.escape(); err != nil {
				return nil, err
			}
		}
	}
	return nil, s.unexpected("the end of a string")
}

func (s *scanner) escape() *schemas.RequestError {
	if s.pos == len(s.data) {
		return s.unexpected("an escape")
	}
	c := s.data[s.pos]
	s.pos++
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r, ok := s.hex4()
		if ok && utf16.IsSurrogate(r) {
			low := rune(0)
			if ok = s.literal(`\u`); ok {
				low, ok = s.hex4()
			}
			r = utf16.DecodeRune(r, low)
			ok = ok && r != utf8.RuneError
		}
		if !ok {
			return s.unexpected(`\u and four hexadecimal digits, surrogates in pairs`)
		}
		s.scratch = utf8.AppendRune(s.scratch, r)
		return nil
	default:
		s.pos--
		return s.unexpected("an escape")
	}
	s.scratch = append(s.scratch, c)
	return nil
}

func (s *scanner) hex4() (rune, bool) {
	if len(s.data)-s.pos < 4 {
		return 0, false
	}
	r := rune(0)
	for _, c := range s.data[s.pos : s.pos+4] {
		switch {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	s.pos += 4
	return r, true
}

func (s *scanner) unexpected(want string) *schemas.RequestError {
	if s.pos >= len(s.data) {
		return schemas.Errorf(schemas.ErrorClassMalformed, "the value ends at byte %d, want %s", s.pos, want)
	}
	return schemas.Errorf(schemas.ErrorClassMalformed, "%q at byte %d, want %s", s.data[s.pos:s.pos+1], s.pos, want)
}

// wrongType tells a value of another type from bytes that are no value.
func (s *scanner) wrongType(member, want string) *schemas.RequestError {
	if err := s.skip(0); err != nil {
		return err
	}
	return schemas.Errorf(schemas.ErrorClassWrongType, "%s is not %s", member, want)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isModelName tells whether a manifest could bear the name: [a-z][a-z0-9_]*.
func isModelName(name []byte) bool {
	if len(name) == 0 || len(name) > maxModelName || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && !isDigit(c) && c != '_' {
			return false
		}
	}
	return true
}

// view is the bytes as a string, without a copy: for as long as they do not change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // see above
