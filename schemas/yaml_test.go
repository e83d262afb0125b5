package schemas_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// bomb is an alias that stands for ten of the one before it, and so on.
func bomb(levels int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < levels; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String()
}

func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	return b.String()
}

func flowKeys(n int) string {
	return "m: {" + strings.ReplaceAll(strings.TrimSuffix(keys(n), "\n"), "\n", ", ") + "}"
}

func steps(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// hostileYAML are texts that take a parser gigabytes, or minutes, by what each does.
func hostileYAML() map[string]struct{ text, says string } {
	const n = 100_000
	return map[string]struct{ text, says string }{
		"brackets":             {strings.Repeat("[", n), "line 1, column 101: more than 100 collections within each other"},
		"braces":               {strings.Repeat("{", n), "within each other"},
		"braces with keys":     {strings.Repeat("{a: ", n), "within each other"},
		"brackets over lines":  {strings.Repeat("[\n", n), "line 101, column 1: more than 100 collections"},
		"brackets, closed":     {strings.Repeat("[", n) + strings.Repeat("]", n), "within each other"},
		"hidden closings":      {strings.Repeat("[ # ]]]\n", n), "within each other"},
		"quoted closings":      {strings.Repeat(`["]]", `, n), "within each other"},
		"entries on one line":  {strings.Repeat("- ", n), "within each other"},
		"keys on one line":     {strings.Repeat("? ", n), "within each other"},
		"values on one line":   {strings.Repeat("a: ", n), "within each other"},
		"entries within flow":  {"[" + strings.Repeat("- ", n), "within each other"},
		"stairs":               {steps(1000), "line 101, column 102: more than 100 collections"},
		"stairs of entries":    {strings.ReplaceAll(steps(1000), "a:", "-"), "within each other"},
		"keys of one mapping":  {keys(60_000), "a mapping of more than 1000 keys"},
		"keys within braces":   {flowKeys(60_000), "a mapping of more than 1000 keys"},
		"aliases of aliases":   {bomb(9), "more than 200000 values, each alias counted"},
		"many of a large one":  {"a: &a [" + strings.Repeat("1, ", 1000) + "1]\nb: [" + strings.Repeat("*a, ", 1000) + "*a]\n", "each alias counted as what it stands for"},
		"an alias of itself":   {"a: &a [1, *a]\n", "line 1, column 11: alias *a stands within what it stands for"},
		"merged aliases":       {"a: &a {x: 1}\n" + bomb(9) + "b: {<<: *a}\n", "each alias counted as what it stands for"},
		"more than a megabyte": {strings.Repeat("# text\n", 200_000), "at most 1048576 are taken"},
	}
}

func TestHostileYAMLIsRefusedBeforeItIsParsed(t *testing.T) {
	for name, tc := range hostileYAML() {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, schemas.CheckYAML([]byte(tc.text)), tc.says)
			_, err := schemas.ParseManifest("m.yaml", []byte(tc.text))
			require.ErrorContains(t, err, "manifest m.yaml: ")
			require.ErrorContains(t, err, tc.says)
		})
	}
}

func TestYAMLThatPeopleWriteIsTaken(t *testing.T) {
	for name, text := range map[string]string{
		"empty":        "",
		"comments":     "# [[[[\n# {{{{\n",
		"half-open":    strings.Repeat("- text [0, 1) and {\n", 500),
		"block text":   "a: |\n" + strings.Repeat("  [ { - ? key: value\n", 5000),
		"list of maps": "features:\n" + strings.Repeat("  - name: x\n    type: float32\n    min: 0\n", 10_000),
		"flow maps":    "features:\n" + strings.Repeat("  - {name: x, type: float32, categories: [a, b, c]}\n", 10_000),
		"one map":      keys(1000),
		"depth":        strings.Repeat("[", 100) + strings.Repeat("]", 100),
		"documents":    strings.Repeat("a: 1\n---\n", 2000),
		"aliases":      "a: &a {x: 1, y: [1, 2]}\nb: *a\nc: {<<: *a, z: 2}\nd: [*a, *a]\n",
	} {
		t.Run(name, func(t *testing.T) { require.NoError(t, schemas.CheckYAML([]byte(text))) })
	}
}

func TestReadYAMLReadsNoMoreThanItTakes(t *testing.T) {
	_, err := schemas.ReadYAML("/dev/zero") // has no end
	require.ErrorContains(t, err, "/dev/zero has more than 1024 KiB")
	path := filepath.Join(t.TempDir(), "m.yaml")
	require.NoError(t, os.WriteFile(path, []byte("a: 1"), 0o600))
	text, err := schemas.ReadYAML(path)
	require.NoError(t, err)
	require.Equal(t, "a: 1", string(text))
}

// FuzzCheckYAML: no panic, and what passes is parsed or refused by the decoder.
func FuzzCheckYAML(f *testing.F) {
	for _, tc := range hostileYAML() {
		f.Add([]byte(tc.text[:min(len(tc.text), 400)]))
	}
	f.Add([]byte("a: &a {x: 1}\nb: {<<: *a}\n? c\n: - d\n  - !!str e\n--- |\n  text\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		if schemas.CheckYAML(text) != nil {
			return
		}
		defer func() { _ = recover() }() // the decoder's own panics are its callers' to catch
		var v any
		_ = yaml.Unmarshal(text, &v)
	})
}

// The decoder takes a number in place of a string by its value: zip codes lost their zeros,
// so that every request with one was of an unknown category.
func TestStringsAreAsWritten(t *testing.T) {
	var got struct {
		Plain, Float, Octal, Quoted, Escaped, Named string
		List                                        []string
		Map                                         map[string]string
		Pointer                                     *string
		Number                                      int
		Nested                                      []struct {
			S string
			F float64
		}
	}
	require.NoError(t, schemas.DecodeYAML([]byte(`plain: 0123
float: 1.10
octal: 0o17
quoted: "007"
escaped: "a\u001b\\"
named: &n 1_000
list: [01, a, 1.0, *n]
map: {m: 1.10}
pointer: 08
number: 12
nested: [{s: 1e3, f: 1e3}]
`), &got))
	require.Equal(t, []string{"0123", "1.10", "0o17", "007", "a\x1b\\", "1_000"}, []string{got.Plain, got.Float, got.Octal, got.Quoted, got.Escaped, got.Named})
	require.Equal(t, []string{"01", "a", "1.0", "1_000"}, got.List)
	require.Equal(t, map[string]string{"m": "1.10"}, got.Map)
	require.Equal(t, "08", *got.Pointer)
	require.Equal(t, 12, got.Number)
	require.Equal(t, "1e3", got.Nested[0].S)
	require.InDelta(t, 1000, got.Nested[0].F, 0)
}
