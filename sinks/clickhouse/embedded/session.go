//go:build linux && amd64

package embedded

import (
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// reserved are the URL parameters that are no settings, as in ClickHouse; param_… are more.
var reserved = []string{
	"query", "database", "default_format", "query_id", "user", "password", "quota_key", "role", "stacktrace",
	"compress", "decompress", "client_protocol_version", "buffer_size", "wait_end_of_query",
	"session_id", "session_timeout", "session_check", "close_session",
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// session returns the statements that give a fresh session the request's database, its settings and
// the tables that made makes, and the query parameters. Who only reads gets limits and sets little.
// form is nil where there is none.
func session(r *http.Request, args url.Values, form *form, reader bool, made []string) (prologue []string, params map[string]string, err error) {
	if err := checkSession(args); err != nil {
		return nil, nil, err
	}
	readonly := args.Get("readonly")
	if reader || r.Method != http.MethodPost {
		readonly = "1" // a GET changes no data
	}
	if database := firstOf(args.Get("database"), r.Header.Get("X-ClickHouse-Database")); database != "" {
		prologue = append(prologue, "USE "+quote(database, '`'))
	}
	settings := map[string]string{
		"async_insert":    "0", // so that an insert is stored, and counted, when it is answered
		"implicit_select": "0", // a server's default, unlike libchdb's
	}
	if reader {
		maps.Copy(settings, readerLimits)
	}
	params = map[string]string{}
	for name := range args {
		switch param, isParam := strings.CutPrefix(name, "param_"); {
		case isParam:
			params[param] = args.Get(name)
		case slices.Contains(reserved, name), name == "readonly", form != nil && form.isOwn(name):
		case !settingName.MatchString(name):
			return nil, nil, newException(codeUnknownSetting, "URL parameter %q is no name of a setting", name)
		case reader:
			if err := readerSetting(settings, name, args.Get(name)); err != nil {
				return nil, nil, err
			}
		default:
			settings[name] = args.Get(name)
		}
	}
	assignments := make([]string, 0, len(settings))
	for name, value := range settings {
		assignments = append(assignments, name+" = "+quote(value, '\''))
	}
	prologue = append(prologue, "SET "+strings.Join(assignments, ", "))
	prologue = append(prologue, made...)
	if readonly != "" {
		// After all others, since it lets no more be set: not by the query either.
		prologue = append(prologue, "SET readonly = "+quote(readonly, '\''))
	}
	return prologue, params, nil
}

// checkSession refuses what the parameters about users and sessions ask for and nobody could give.
func checkSession(args url.Values) error {
	if role := args.Get("role"); role != "" {
		return newException(codeUnknownRole, "There is no role `%.40s`: the embedded ClickHouse has no roles", role)
	}
	if seconds := args.Get("session_timeout"); seconds != "" {
		if _, err := strconv.ParseUint(seconds, 10, 32); err != nil {
			return newException(codeInvalidSessionTimeout, "Invalid session timeout: '%.40s'", seconds)
		}
	}
	if args.Get("session_check") == "1" && args.Get("session_id") != "" {
		return newException(codeSessionNotFound, "Session %.40q not found: the embedded ClickHouse keeps no sessions", args.Get("session_id"))
	}
	return nil
}

// checkStateless refuses a query in a session that does nothing but change the session, since the
// next request would find nothing of it. Clients that give each request a session need none mostly.
func checkStateless(text string) error {
	l := lexer{text: text}
	what := ""
	for first := l.next(); first.text != ""; first = l.next() {
		if first.text == ";" {
			continue
		}
		second := l.next()
		if first.is("CREATE") && second.is("OR") {
			l.next() // REPLACE
			second = l.next()
		}
		switch {
		case first.is("SET"), first.is("USE"):
			what = strings.ToUpper(first.text)
		case first.is("CREATE") && second.is("TEMPORARY"):
			what = "CREATE TEMPORARY"
		default:
			return nil
		}
		for t := second; t.text != "" && t.text != ";"; {
			t = l.next()
		}
	}
	if what == "" {
		return nil
	}
	return newException(codeNotImplemented, "%s alone has no effect: the embedded ClickHouse takes a session_id and keeps no sessions. "+
		"Give settings and the database as parameters of each request, or send all statements in one request, with semicolons between", what)
}

// readerForms are settings, and beginnings of settings, that only say what a result looks like or
// how it travels. Who only reads may use them. Some others that begin so name files.
var (
	readerForms = words(`extremes date_time_output_format session_timezone use_client_time_zone
		output_format_decimal_trailing_zeros output_format_write_statistics output_format_enable_streaming output_format_binary_write_json_as_string
		enable_http_compression http_zlib_compression_level add_http_cors_header send_progress_in_http_headers http_headers_progress_interval_ms
		http_write_exception_in_output_format network_compression_method network_zstd_compression_level cancel_http_readonly_queries_on_client_close http_receive_timeout http_send_timeout
		log_comment log_queries result_overflow_mode timeout_overflow_mode read_overflow_mode`)
	readerFamilies = []string{
		"output_format_json_", "output_format_csv_", "output_format_tsv_", "output_format_arrow_", "output_format_parquet_", "output_format_pretty_",
	}
)

// maxReadingNumber bounds what those settings are set to. The engine adds to some, such as
// output_format_pretty_squash_consecutive_ms, and waits for ever where that wraps around.
const maxReadingNumber = 1_000_000_000

// readerSetting takes a setting of somebody who only reads: of a limit, the lower one holds. Drivers
// send some that have the value already.
func readerSetting(settings map[string]string, name, value string) error {
	if settings[name] == value && value != "" {
		return nil
	}
	if limit, ok := readerLimits[name]; ok {
		asked, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return newException(codeCannotParseNumber, "setting %s is no number: '%.40s'", name, value)
		}
		// The engine takes less than its unit, which is a microsecond at the least, for no limit.
		if most, _ := strconv.ParseFloat(limit, 64); asked >= 0.001 && asked < most {
			settings[name] = value
		}
		return nil
	}
	switch {
	case readerForms[name]:
	case slices.ContainsFunc(readerFamilies, func(f string) bool { return strings.HasPrefix(name, f) }):
		if n, err := strconv.ParseFloat(value, 64); err == nil && math.Abs(n) > maxReadingNumber {
			return needsPassword("the value %.40s of %s, above %d", value, name, maxReadingNumber)
		}
	default:
		return needsPassword("settings such as %s", name)
	}
	settings[name] = value
	return nil
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

// quote returns s as a string ('), or as a name (`), of ClickHouse SQL.
func quote(s string, mark rune) string {
	m := string(mark)
	return m + strings.NewReplacer(`\`, `\\`, m, `\`+m, "\x00", `\0`).Replace(s) + m
}
