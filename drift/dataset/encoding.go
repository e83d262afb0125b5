package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// ParseEncoding checks the name of a text's encoding, of those that the WHATWG or IANA list.
func ParseEncoding(name string) error {
	_, err := encodingOf(name)
	return err
}

// encodingOf returns nil for UTF-8.
func encodingOf(name string) (encoding.Encoding, error) {
	e, err := htmlindex.Get(name)
	if err != nil {
		e, err = ianaindex.IANA.Encoding(name)
	}
	if err != nil || e == nil {
		return nil, fmt.Errorf("unknown encoding %q: want a name such as windows-1252, iso-8859-15, utf-16le, shift_jis or gb18030", name)
	}
	if e == unicode.UTF8 {
		return nil, nil //nolint:nilnil // nothing is to be decoded
	}
	if e == encoding.Replacement {
		return nil, fmt.Errorf("the encoding %q cannot be read", name)
	}
	return e, nil
}

// marks are what a text begins with that says its encoding itself; the longer ones first.
var marks = []struct {
	bytes string
	name  string
	of    encoding.Encoding
}{
	{"\xef\xbb\xbf", "", nil},
	{"\xff\xfe\x00\x00", "utf-32", utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM)},
	{"\x00\x00\xfe\xff", "utf-32", utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM)},
	{"\xff\xfe", "utf-16", unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)},
	{"\xfe\xff", "utf-16", unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)},
}

// decode returns a text in UTF-8, without a byte order mark, and the name of the encoding that it had, empty of UTF-8
// and of the one that is given. A mark stands above what is given.
func decode(r io.Reader, given encoding.Encoding) (text io.Reader, name string, err error) {
	var head [4]byte
	n, err := io.ReadFull(r, head[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, "", fmt.Errorf("line 1: %w", err)
	}
	first := head[:n] // what the end of the file was, the next read says again
	for _, m := range marks {
		if bytes.HasPrefix(first, []byte(m.bytes)) {
			rest := io.MultiReader(bytes.NewReader(first[len(m.bytes):]), r)
			if m.of == nil {
				return rest, "", nil
			}
			return m.of.NewDecoder().Reader(rest), m.name, nil
		}
	}
	whole := io.MultiReader(bytes.NewReader(first), r)
	if given != nil {
		return given.NewDecoder().Reader(whole), "", nil
	}
	return whole, "", nil
}

// checker returns what tells a text that is not what it is read as: bytes that are not UTF-8, or were
// none of the encoding that it was decoded from. name is that of its mark.
func (s *textSource) checker(name string) func(line int64, text []byte) error {
	if name == "" && s.encoding != nil {
		name = s.options.Encoding
	}
	return func(line int64, text []byte) error {
		at := bytes.IndexByte(text, 0)
		if at < 0 {
			if name != "" {
				if at = bytes.Index(text, []byte("\ufffd")); at >= 0 {
					return fmt.Errorf("line %d has bytes that are none of the encoding %s", lineAt(line, text, at), name)
				}
				return nil
			}
			if utf8.Valid(text) {
				return nil
			}
			at = firstInvalid(text)
			return fmt.Errorf("line %d is not UTF-8: the byte 0x%x is none of it; say what the file is by --encoding, such as windows-1252", lineAt(line, text, at), text[at])
		}
		return fmt.Errorf("line %d holds a byte of zero, which no text has: it is UTF-16 without a mark (--encoding utf-16le or utf-16be), or was cut or filled up when it was written", lineAt(line, text, at))
	}
}

// lineAt counts the lines of a text that begins on a line.
func lineAt(line int64, text []byte, at int) int64 {
	return line + int64(bytes.Count(text[:at], []byte{'\n'}))
}

func firstInvalid(text []byte) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return 0
}
