//go:build linux && amd64

package embedded

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"strings"
)

// user is the only one that there is. It may do everything with the tables; without its password
// it may read, within limits.
const user = "default"

// PasswordDigest is what the engine knows of its password. The password itself is long and random,
// so that nobody finds it from this.
func PasswordDigest(password string) [sha256.Size]byte { return sha256.Sum256([]byte(password)) }

// authenticate tells whether the request comes from somebody who may only read. A wrong password
// is an error: who has an old one is to notice.
func (e *Engine) authenticate(r *http.Request, args url.Values) (reader bool, err error) {
	if e.password == nil {
		return false, nil
	}
	name, password, _ := r.BasicAuth()
	name = firstOf(name, r.Header.Get("X-ClickHouse-User"), args.Get("user"))
	password = firstOf(password, r.Header.Get("X-ClickHouse-Key"), args.Get("password"))
	if password == "" && (name == "" || name == user) {
		return true, nil
	}
	digest := PasswordDigest(password)
	if subtle.ConstantTimeCompare(digest[:], e.password[:]) != 1 || name != "" && name != user {
		return false, newException(codeAuthenticationFailed, "%s: Authentication failed: the password is wrong, or the user is not %s; it is made anew at each start", name, user)
	}
	return false, nil
}

// readerLimits are settings of queries without the password: they share the machine with the
// pipeline, whose own queries have none of these limits.
var readerLimits = map[string]string{
	"max_execution_time":                        "30",
	"timeout_before_checking_execution_speed":   "0", // else a query whose end is foretold late enough is given up early
	"max_memory_usage":                          "500000000",
	"max_rows_to_read":                          "1000000000",
	"max_bytes_to_read":                         "20000000000",
	"max_result_rows":                           "10000000",
	"max_result_bytes":                          "67108864",
	"max_threads":                               "2",
	"function_sleep_max_microseconds_per_block": "1000000",
	"http_max_tries":                            "1",
}

// readingStatements are the words that statements begin with which only read.
var readingStatements = words("select with from show describe desc exists explain")

// crashing are functions that go as deep as their arguments are nested, until the stack of the
// process ends, and with it the process: no setting bounds them.
var crashing = words("jsonmergepatch")

// checkReading refuses what somebody who may only read must not send. That no table changes is the
// engine's own promise, by its setting readonly, which lets some statements through; and it
// holds a subquery's settings to no limit.
func checkReading(text string) error {
	l := lexer{text: text}
	t := l.next()
	for t.text == "(" {
		t = l.next()
	}
	if !readingStatements[strings.ToLower(t.text)] {
		return needsPassword("statements that begin with %.40q", t.text)
	}
	for last := t; t.text != ""; last, t = t, l.next() {
		ahead := l
		switch {
		case t.text == ";":
			if ahead.next().text != "" {
				return needsPassword("several statements")
			}
		case t.is("SETTINGS"):
			if name := ahead.next(); name.name() != "" && ahead.next().text == "=" {
				return needsPassword("SETTINGS")
			}
		case last.is("INTO") && t.is("OUTFILE"):
			return needsPassword("INTO OUTFILE")
		case crashing[t.name()], t.quoted() && t.text[0] != '\'' && strings.Contains(t.text, `\`):
			return needsPassword("the name %.40s", t.text) // wherever it stands: a lambda or APPLY takes it too
		}
	}
	return nil
}

func needsPassword(format string, args ...any) error {
	return newException(codeReadonly, "without a password queries here only read, with the settings that there are (it stands in clickhouse-<port>.password below embedded.dir, and the user is default): refused are "+format, args...)
}
