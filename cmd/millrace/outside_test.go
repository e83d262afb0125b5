package main

import (
	"encoding/csv"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// hostile is what a name from outside can hold: a terminal clears its screen at it, takes a new
// title, turns the direction of the text, or shows a line of its own.
const hostile = "\x1b[2J\x1b]0;title\a\u009b31m\u202e\u2066\r\nmillrace: ok\x7f"

// requireHarmless checks that a terminal shows the text and obeys nothing in it.
func requireHarmless(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		require.False(t, r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r), "%q in %q", r, text)
	}
}

func TestCommandsWriteNothingThatATerminalObeys(t *testing.T) {
	rows := func(name, category string) string {
		var b strings.Builder
		w := csv.NewWriter(&b)
		require.NoError(t, w.Write([]string{"x", name}))
		for i := range 100 {
			require.NoError(t, w.Write([]string{strconv.Itoa(i), category + strconv.Itoa(i%3)}))
		}
		w.Flush()
		require.NoError(t, w.Error())
		return file(t, "data.csv", b.String())
	}
	a, b := rows("n"+hostile, "a"+hostile), rows("n"+hostile, "b"+hostile)
	other := rows("other"+hostile, "a")
	for name, tc := range map[string]struct {
		args []string
		code int
	}{
		"table":           {[]string{"drift", "compare", "--reference", a, "--current", b}, 0},
		"JSON":            {[]string{"drift", "compare", "--reference", a, "--current", b, "--format", "json"}, 0},
		"other columns":   {[]string{"drift", "compare", "--reference", a, "--current", other}, 0},
		"a segment":       {[]string{"drift", "compare", "--reference", a, "--current", b, "--segment", "s" + hostile}, 1},
		"no such column":  {[]string{"drift", "compare", "--reference", a, "--current", b, "--columns", "c" + hostile}, 1},
		"no such file":    {[]string{"drift", "compare", "--reference", a + hostile, "--current", b}, 1},
		"no such config":  {[]string{"check", "--config", hostile}, 2},
		"no such key":     {[]string{"check", "--set", hostile + "=1"}, 2},
		"no such command": {[]string{hostile}, 2},
		"no such id":      {[]string{"deadletters", "show", hostile}, 2},
		"no such model":   {[]string{"predict", "m" + hostile, "{}", "--timeout", "1ms", "--set", nowhere}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := millrace(t, tc.args...)
			require.Equal(t, tc.code, code, stderr)
			require.NotEmpty(t, stdout+stderr)
			requireHarmless(t, stdout)
			requireHarmless(t, stderr)
		})
	}
}

// What is wrong with an address is said without its secrets, and so is everything else that
// check finds beside them.
func TestCheckShowsNoSecret(t *testing.T) {
	for name, tc := range map[string]struct{ text, says string }{
		"webhook without scheme": {"alerts: [{name: a, webhook: {url: hooks.example.org/canary}}]", `alerts[0].webhook.url: "…" is no http or https URL`},
		"webhook of odd scheme":  {"alerts: [{name: a, webhook: {url: 'ftp://canary:canary@host/canary?canary'}}]", `"ftp://…@host/…" is no http or https URL`},
		"webhook that is broken": {"alerts: [{name: a, webhook: {url: 'https://canary:canary@[::1/canary'}}]", "is no http or https URL"},
		"webhook that is a list": {"alerts: [{name: a, webhook: {url: [https://host/canary]}}]", "alerts"},
		"unknown key beside one": {"alerts: [{name: a, webhook: {url: 'https://host/canary', header: {a: canary}}}]", "alerts"},
		"registry with a user":   {"registry: {url: 'http://canary:canary@host'}", "registry.url: it holds a user"},
		"registry of odd scheme": {"registry: {url: 'ftp://host/canary', password: canary}", `"ftp://host/…" does not begin with http:// or https://`},
		"broken registry":        {"registry: {url: 'http://canary:canary@[::1'}", "registry.url: not a URL"},
		"ClickHouse as a URL":    {"clickhouse: {addr: ['http://canary:canary@host:8123/?canary']}", `clickhouse.addr: "http://…@host:8123/…" names a user`},
		"ClickHouse with a user": {"clickhouse: {addr: ['canary:canary@host:8123']}", `clickhouse.addr: "…@host:8123" is neither host:port nor a URL`},
		"brokers with a user":    {"kafka: {brokers: ['canary@host:9092']}", `kafka.brokers: "…@host:9092" is not host:port`},
		"password of a type":     {"clickhouse: {password: [canary]}", "clickhouse.password"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := millrace(t, "check", "--config", write(t, tc.text), "--set", "models.repository="+t.TempDir())
			require.Equal(t, 2, code)
			require.Contains(t, stderr, tc.says)
			require.NotContains(t, stdout+stderr, "canary")
		})
	}
	for _, set := range []string{"https://canary:canary@host/canary", `alerts=[{name: a, webhook: {url: [canary]}}]`, "clickhouse.addr=canary:canary@host:1"} {
		code, stdout, stderr := millrace(t, "check", "--set", set, "--set", "models.repository="+t.TempDir())
		require.Equal(t, 2, code)
		require.NotContains(t, stdout+stderr, "canary")
	}
}
