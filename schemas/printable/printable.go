package printable

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text returns text as a part of one line: what does not print is written as an escape, such
// as \x1b, \n or \u202e.
func Text(s string) string { return Clip(s, len(s)) }

// Lines is Text for what has lines of its own: line breaks and tabs stay.
func Lines(s string) string { return escape(s, len(s), true) }

// Clip is Text of the first most characters, with an ellipsis where there are more. It reads no
// more of the text than it shows.
func Clip(s string, most int) string { return escape(s, most, false) }

func escape(s string, most int, layout bool) string {
	if len(s) <= most && plain(s, layout) {
		return s
	}
	var b strings.Builder
	for n := 0; s != ""; n++ {
		if n == most {
			b.WriteString("…")
			break
		}
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case prints(r) || layout && (r == '\n' || r == '\t'):
			b.WriteString(s[:size])
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[size:]
	}
	return b.String()
}

// plain tells that a text needs no escape, of the texts that are likely.
func plain(s string, layout bool) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' || c > '~') && (!layout || c != '\n' && c != '\t') {
			return false
		}
	}
	return true
}

// prints tells whether a character is shown as itself: joiners belong to words and emoji.
func prints(r rune) bool {
	return unicode.IsPrint(r) || r == '\u200c' || r == '\u200d' || r == '\u00a0'
}

// JSON returns the same JSON value on one line, in which what does not print is escaped as JSON
// escapes it, so that a program reads what it would have read. What is no JSON becomes a JSON
// text.
func JSON(value []byte) []byte {
	var line bytes.Buffer
	if utf8.Valid(value) && json.Compact(&line, value) == nil {
		return escapeJSON(line.Bytes())
	}
	text, err := json.Marshal(string(value))
	if err != nil {
		return []byte(`""`) // of a text, it cannot fail
	}
	return escapeJSON(text)
}

// Document is JSON for a document that keeps its line breaks.
func Document(document []byte) []byte {
	if !utf8.Valid(document) || !json.Valid(document) {
		return []byte(Lines(string(document)))
	}
	return escapeJSON(document)
}

// escapeJSON escapes what does not print of valid JSON. Outside of its texts that can only be
// line breaks and tabs, which stay, and carriage returns, which are left out.
func escapeJSON(document []byte) []byte {
	out := make([]byte, 0, len(document))
	for len(document) > 0 {
		r, size := utf8.DecodeRune(document)
		switch {
		case r == '\r':
		case r == '\n' || r == '\t' || prints(r):
			out = append(out, document[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		document = document[size:]
	}
	return out
}
