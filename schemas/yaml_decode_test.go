package schemas_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

type yamlInner struct {
	List  []string          `yaml:"list"`
	Map   map[string]string `yaml:"map"`
	Text  string            `yaml:"text"`
	Int   int               `yaml:"int"`
	Small int32             `yaml:"small"`
	Float *float64          `yaml:"float"`
	Bool  bool              `yaml:"bool"`
	Wait  schemas.Duration  `yaml:"wait"`
	Pause time.Duration     `yaml:"pause"`
	Any   any               `yaml:"any"`
}

type yamlOuter struct {
	At   yamlInner   `yaml:"at"`
	Many []yamlInner `yaml:"many"`
}

// The library splits plain texts at colons in sequences within flow mappings, takes no key of its
// own beside a merged one, and cuts 1.5 to the whole number 1.
func TestYAMLIsReadAsYAML(t *testing.T) {
	half := 0.5
	for text, want := range map[string]yamlInner{
		"at: {list: [127.0.0.1:19392]}":                                  {List: []string{"127.0.0.1:19392"}},
		"at: {list: [a,b:1,c ]}":                                         {List: []string{"a", "b:1", "c"}},
		"at: {list: [a:1:2 # [x:1, ]\n , 'b:1', \"c:2\", http://x:1/y]}": {List: []string{"a:1:2", "b:1", "c:2", "http://x:1/y"}},
		"at: {\n  list: [\n    é:1,\n    b:2\n  ]}\n":                    {List: []string{"é:1", "b:2"}},
		"at: {list: [true, no, 1, 1.10, 12:30:45, 2001-01-01T00:00:00Z, '{a: b}', .inf, 0x1F]}": {
			List: []string{"true", "no", "1", "1.10", "12:30:45", "2001-01-01T00:00:00Z", "{a: b}", ".inf", "0x1F"},
		},
		"at:\n  list: [a:1]\n  map: {a: 1:2, b: x:y}":                                       {List: []string{"a:1"}, Map: map[string]string{"a": "1:2", "b": "x:y"}},
		`at: {"map":{"a":"1:2","b":"3"}}`:                                                   {Map: map[string]string{"a": "1:2", "b": "3"}},
		"many: [{wait: 90m}]\nat: {pause: 7d}":                                              {Pause: 7 * 24 * time.Hour},
		"at: {pause: 90m, wait: !!str 0}":                                                   {Pause: 90 * time.Minute},
		"at: {text: 2001-02-03, wait: 7d}":                                                  {Text: "2001-02-03", Wait: schemas.Duration(7 * 24 * time.Hour)},
		"at: {text: '[1]', int: \"5\", float: .5, bool: True}":                              {Text: "[1]", Int: 5, Float: &half, Bool: true},
		"at: {any: [1, x:2, {b: c}]}":                                                       {Any: []any{uint64(1), "x:2", map[string]any{"b": "c"}}},
		"%YAML 1.2\n---\nat: {text: a}\n":                                                   {Text: "a"},
		"\ufeffat: {text: a}\r\nmany: []\r\n":                                               {Text: "a"},
		"many:\n- &x {text: a, int: 1}\nat: {<<: *x, int: 2}":                               {Text: "a", Int: 2},
		"many:\n- &x {text: a, int: 1}\nat:\n  int: 2\n  <<: [*x, {text: b, bool: true}]\n": {Text: "a", Int: 2, Bool: true},
		"at: {text: !!str 1.10, int: !!int 5, list: !!seq [!!str 010, !!str null], any: !!str 1e3, map: {~: a, 1: b, no: c}}": {
			Text: "1.10", Int: 5, List: []string{"010", "null"}, Any: "1e3", Map: map[string]string{"~": "a", "1": "b", "no": "c"},
		},
		"at: !!map {int: 1e3, float: 5e-1, any: 1E3, text: 1e3}":        {Int: 1000, Float: &half, Any: 1000.0, Text: "1e3"},
		"at: {any: '1e3', int: 0o17, small: 07, text: 010, wait: 010d}": {Any: "1e3", Int: 15, Small: 7, Text: "010", Wait: schemas.Duration(240 * time.Hour)},
		"many: [{list: &l [a:1]}]\nat: {list: *l}":                      {List: []string{"a:1"}},
	} {
		var got yamlOuter
		require.NoError(t, schemas.DecodeYAML([]byte(text), &got), text)
		require.Equal(t, want, got.At, text)
	}
}

// A list may have more entries with colons than a mapping may have keys.
func TestYAMLListOfManyTextsWithColons(t *testing.T) {
	var got yamlOuter
	require.NoError(t, schemas.DecodeYAML([]byte("at: {list: ["+strings.Repeat("a:1,", 5000)+"a:1]}"), &got))
	require.Len(t, got.At.List, 5001)
}

// Errors name keys and kinds as they are written, and no types of Go.
func TestYAMLErrorsSpeakYAML(t *testing.T) {
	for text, says := range map[string]string{
		"at: {int: x}":                   `line 1, column 11: at.int: a whole number is expected, got "x"`,
		"at: {int: 1.5}":                 `at.int: a whole number is expected, got "1.5"`,
		"at: {int: 9223372036854775808}": `at.int: a whole number of 64 bits is expected`,
		"at: {small: -2147483649}":       `at.small: a whole number of 32 bits is expected`,
		"at: {int: {a: 1}}":              "at.int: a whole number is expected, got a mapping",
		"at: {text: [a]}":                "at.text: a text is expected, got a list",
		"at: {list: a}":                  `at.list: a list is expected, got "a"`,
		"many:\n- list: [[a]]":           "line 2, column 10: many[0].list[0]: a text is expected, got a list",
		"at: {list: [~]}":                "at.list[0]: a text (null and ~ in quotes) is expected, got nothing",
		"at: {map: [a]}":                 "at.map: a mapping is expected, got a list",
		"at: {float: 1e400}":             `at.float: a number is expected, got "1e400"`,
		"at: {bool: yes}":                `at.bool: true or false is expected, got "yes"`,
		"at: {wait: [1]}":                "at.wait: a duration is expected, got a list",
		"many: !!str 3":                  `many: a list is expected, got "3"`,
		"at: {int: !!int x}":             `at.int: a whole number is expected, got "x"`,
		"at: {text: !vault x}":           "line 1, column 12: at.text: the tag !vault is not known here; write the value itself",
		"at: {text: !!binary eA==}":      "the tag !!binary is not known here",
		"at: {int: 010}":                 "line 1, column 11: at.int: 010 is octal to some readers of YAML and decimal to others",
		"at: {float: -0_10}":             "at.float: -0_10 is octal to some readers",
		"at: {any: 010}":                 "at.any: 010 is octal to some readers",
		"at: {int: 1e30}":                `at.int: a whole number is expected, got "1e30"`,
		"at: {int: 15e-1}":               `at.int: a whole number is expected, got "15e-1"`,
		"at: {float: 1,5}":               `line 1, column 15: unknown field "5"`,
		"at: {int: 7, 5: 3}":             `unknown field "5"`,
		"at:\n  int: 7\n  true: 3\n":     `line 3, column 3: unknown field "true"`,
		"at: {text: a, ~: b}":            `unknown field "~"`,
		"at:\n  text: K\xf6ln\n":         "line 2, column 1: not UTF-8",
		"\xff\xfea\x00t\x00":             "line 1, column 1: not UTF-8",
		"at: {pause: 90}":                `at.pause: a duration, as 30s, 15m, 24h or 7d, is expected, got "90"`,
		"at: {pause: 7 days}":            `at.pause: a duration, as 30s, 15m, 24h or 7d, is expected, got "7 days"`,
		"at: {pause: [1h]}":              "at.pause: a duration, as 30s, 15m, 24h or 7d, is expected, got a list",
		"at: {what: 1}":                  `unknown field "what"`,
		"at: {int: 1, int: 2}":           "already defined",
		"at: *x":                         "line 1, column 5: alias *x names no anchor that stands before it",
		"at: {<<: [1]}":                  `<< merges mappings, and this is "1"`,
		"at: {text: a}\n---\nat: {}":     "a second document; write one",
		"at: {list: [a:1]":               "could not find",
		"":                               "it is empty",
		"[]":                             "a mapping is expected, got a list",
	} {
		err := schemas.DecodeYAML([]byte(text), new(yamlOuter))
		require.ErrorContains(t, err, says, text)
		require.NotRegexp(t, `Go |interface|struct|\[\]string|int64|unmarshal`, err.Error(), text)
	}
}

// FuzzDecodeYAML: no panic, and errors without types of Go.
func FuzzDecodeYAML(f *testing.F) {
	for _, text := range []string{"at: {list: [a:1, b]}", "many: [&x {int: 1}, {<<: *x}]\n", "at: {list: [a:[1], {b:c}: d]}", "? {a: b}\n: c\n", "at: {map: {<<: {a: b}}}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := schemas.DecodeYAML([]byte(text), new(yamlOuter))
		if err != nil && !strings.Contains(text, "Go") && strings.Contains(err.Error(), "Go ") {
			t.Fatalf("DecodeYAML(%q) = %v", text, err)
		}
	})
}
