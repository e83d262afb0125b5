package printable_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas/printable"
)

func TestTextIsWhatATerminalShows(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		"plain: 'a' \"b\" \\x1b":        "plain: 'a' \"b\" \\x1b",
		"Größe 価格 👩\u200d🚀":             "Größe 価格 👩\u200d🚀",
		"\x1b[2J\x1b]0;title\a":         `\x1b[2J\x1b]0;title\a`,
		"a\nb\tc\rd\x00":                `a\nb\tc\rd\x00`,
		"c1: \u009b31m del: \u007f":     `c1: \u009b31m del: \x7f`,
		"bidi: \u202eabc\u2066\u200e":   `bidi: \u202eabc\u2066\u200e`,
		"lines: \u2028\u2029 bom\ufeff": `lines: \u2028\u2029 bom\ufeff`,
		"not UTF-8: \x9b\xff":           `not UTF-8: \x9b\xff`,
		"tag \U000e0041":                `tag \U000e0041`,
	} {
		require.Equal(t, want, printable.Text(in))
	}
	require.Equal(t, "a\n\tb\\r\\x1b", printable.Lines("a\n\tb\r\x1b"))
	require.Equal(t, "äb…", printable.Clip("äbc", 2))
	require.Equal(t, "äbc", printable.Clip("äbc", 3))
}

func TestJSONStaysTheSameValue(t *testing.T) {
	for in, want := range map[string]string{
		"{\n \"a\": [1, 2]\r\n}":           `{"a":[1,2]}`,
		"\"\u009b31m\u202e\u007f\"":        `"\u009b31m\u202e\u007f"`,
		"\"\U000e0041\"":                   `"\udb40\udc41"`,
		"no JSON \x1b[2J\n":                `"no JSON \u001b[2J\n"`,
		"{\"request_id\":\"é\\u001b[2J\"}": `{"request_id":"é\u001b[2J"}`,
	} {
		require.Equal(t, want, string(printable.JSON([]byte(in))))
	}
	require.Equal(t, "{\n  \"a\": \"\\u009b\"\n}\n", string(printable.Document([]byte("{\n  \"a\": \"\u009b\"\r\n}\n"))))
	require.Equal(t, "no JSON \\x1b\n", string(printable.Document([]byte("no JSON \x1b\n"))))
}

// FuzzPrintable: whatever comes in, nothing goes out that a terminal would obey.
func FuzzPrintable(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x1b[31m\n\t", "\u009b\u202e\u2066\u200f\u061c", "\xc2", `{"a":"\u0085"}`, "\"\U000e0041\"", "\r\n\x7f\x9b\ufeff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		harmless := func(out, layout string) {
			t.Helper()
			require.True(t, utf8.ValidString(out), "%q", out)
			for _, r := range out {
				require.False(t, (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029') && !strings.ContainsRune(layout, r),
					"%q in %q, from %q", r, out, in)
			}
		}
		harmless(printable.Text(in), "")
		harmless(printable.Clip(in, 5), "")
		harmless(printable.Lines(in), "\n\t")
		harmless(string(printable.Document([]byte(in))), "\n\t")
		line := printable.JSON([]byte(in))
		harmless(string(line), "")
		require.True(t, json.Valid(line), "%q", line)
		if utf8.ValidString(in) && json.Valid([]byte(in)) {
			var was, is any
			if json.Unmarshal([]byte(in), &was) == nil { // numbers can be too large
				require.NoError(t, json.Unmarshal(line, &is))
				require.Equal(t, was, is)
			}
		}
	})
}
