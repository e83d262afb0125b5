//go:build linux && amd64

package embedded

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/ClickHouse/ch-go/compress"
	"golang.org/x/sys/unix"
)

const (
	// maxInsertBytes bounds the rows of one insert after decompression: they wait in memory.
	maxInsertBytes = 1 << 30
	// maxQueryBytes bounds the text of any other query. The engine has its own, lower limit,
	// max_query_size, which a request can raise.
	maxQueryBytes = 16 << 20
	// maxReadingBytes bounds the text of a query without a password.
	maxReadingBytes = 256 << 10
	// maxReadingResult bounds its result; the engine's own limit is for what is not formatted yet.
	maxReadingResult = 64 << 20
	// insertHeadBytes is how far into a body the rows of an INSERT must begin.
	insertHeadBytes = 64 << 10
)

// handle answers one request of ClickHouse's HTTP interface.
func (e *Engine) handle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := checkOrigin(r); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	// A bare semicolon is common in a query typed by hand, and url.ParseQuery refuses it.
	args, err := url.ParseQuery(strings.ReplaceAll(r.URL.RawQuery, ";", "%3B"))
	empty := r.URL.Path == "/" && r.Method != http.MethodPost && !args.Has("query")
	switch {
	case err != nil:
		http.Error(w, "malformed URL parameters: "+err.Error(), http.StatusBadRequest)
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", "GET, HEAD, POST, OPTIONS") // nothing about other origins, which are refused
		w.WriteHeader(http.StatusNoContent)
	case slices.Contains(pages, r.URL.Path), empty && strings.Contains(r.Header.Get("Accept"), "text/html"):
		e.hint(w, r)
	case r.URL.Path == "/ping", r.URL.Path == "/replicas_status", empty:
		fmt.Fprintln(w, "Ok.")
	case r.URL.Path != "/":
		http.Error(w, fmt.Sprintf("there is no handle %s: queries go to /, health checks to /ping", r.URL.Path), http.StatusNotFound)
	case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost:
		http.Error(w, "use GET to read and POST to write", http.StatusMethodNotAllowed)
	default:
		id := args.Get("query_id")
		if id == "" {
			id = rand.Text()
		}
		w.Header().Set("X-ClickHouse-Query-Id", printable(id))
		w.Header().Set("X-ClickHouse-Server-Display-Name", "millrace")
		w.Header().Set("X-ClickHouse-Timezone", printable(firstOf(args.Get("session_timezone"), e.zone)))
		if err := e.serveQuery(w, r, args); err != nil {
			var ex *exception
			if !errors.As(err, &ex) {
				ex = newException(codeUnknown, "%s", err)
			}
			w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(ex.code))
			http.Error(w, ex.text, ex.status())
		}
	}
}

// printable leaves control characters out: with them a header is none, to clients.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

// pages are those of a server for browsers, of which there are none here.
var pages = []string{"/play", "/dashboard", "/binary", "/merges", "/js"}

// hint says to a browser what it has come to.
func (e *Engine) hint(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	text := fmt.Sprintf(`This is the embedded ClickHouse %[2]s of millrace. It has no page: it answers queries, as ClickHouse's HTTP interface does.

  curl 'http://%[1]s' -d 'SHOW TABLES FROM millrace'
  curl 'http://%[1]s/?default_format=PrettyCompact' -d 'SELECT * FROM millrace.events ORDER BY 1 DESC LIMIT 10'
  http://%[1]s/?query=SHOW+DATABASES&default_format=JSONCompact

Who has no password reads, within limits. Everything else needs the user default and its password, from
clickhouse-<port>.password in the folder embedded.dir:

  curl 'http://%[1]s' -u default:$(cat data/clickhouse-8123.password) -d 'CREATE DATABASE mine'

clickhouse-connect, SQLAlchemy, JDBC, clickhouse-go and Grafana connect as they connect to a server.
`, r.Host, e.version)
	_, _ = io.WriteString(w, text) //nolint:gosec // no type that a browser renders, and nosniff; it fails when the client has gone
}

// checkOrigin keeps out pages of other sites that a browser on this machine shows: by the Host
// header when a foreign name was made to resolve to the loopback address, else by what browsers
// say about the page that sends the request.
func checkOrigin(r *http.Request) error {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = strings.Trim(r.Host, "[]")
	}
	if host != "localhost" && host != "127.0.0.1" && host != "::1" {
		return fmt.Errorf("host %q is refused: the embedded ClickHouse answers to localhost, 127.0.0.1 and [::1] only", r.Host)
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return fmt.Errorf("origin %q is refused: the embedded ClickHouse answers to no pages of other origins", origin)
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" && site != "same-origin" {
		return fmt.Errorf("a %s request is refused: the embedded ClickHouse answers to no pages of other origins", site)
	}
	return nil
}

// serveQuery runs the request's query and writes its result. On an error, which is mostly an
// *exception, it has written nothing.
func (e *Engine) serveQuery(w http.ResponseWriter, r *http.Request, args url.Values) error {
	began := time.Now()
	reader, err := e.authenticate(r, args)
	if err != nil {
		return err
	}
	// A slot comes before the body: what waits for one takes no memory. Who only reads has slots
	// of its own, so that it never keeps the pipeline waiting.
	slots := e.slots
	if reader {
		slots = e.readers
		w.Header().Set("Connection", "close") // nor by connections that it leaves open
	}
	if err := slots.take(r.Context()); err != nil {
		return err
	}
	defer slots.give()
	e.pace.paced(w, r)

	q, err := e.readRequest(r, args, reader)
	defer q.close()
	if err != nil {
		return err
	}
	sql, prologue, params := q.sql, q.prologue, q.params
	conn, err := e.lib.open(e.args)
	if err != nil {
		return err
	}
	defer e.lib.closeConn(conn)
	for _, statement := range prologue {
		set, err := e.lib.run(conn, statement, "Null", nil)
		if err != nil {
			return err
		}
		set.free()
	}
	named, end := outputFormat(sql)
	format := firstOf(named, args.Get("default_format"), r.Header.Get("X-ClickHouse-Format"), "TabSeparated")
	if reader {
		late := time.AfterFunc(e.overdue, func() {
			e.end(fmt.Sprintf("a query without the password has run for %s, which no limit of the engine ends: ending it, with the engine: %.200q", e.overdue, sql))
		})
		defer late.Stop()
	}
	res, err := e.lib.run(conn, sql, format, params)
	if err != nil {
		return err
	}
	defer res.free()

	body := res.data()
	if reader && len(body) > maxReadingResult {
		return newException(codeResultTooLarge, "Limit for result exceeded: it has %d bytes, and %d are the most without a password: use LIMIT", len(body), maxReadingResult)
	}
	if revision, _ := strconv.ParseUint(args.Get("client_protocol_version"), 10, 64); revision > 0 && format == "Native" {
		types := func() []string { return e.typesOf(conn, sql[:end], params) }
		if body, err = nativeAt(revision, body, types); err != nil {
			return newException(codeNotImplemented, "%s: ask for another FORMAT", err)
		}
	}
	return e.answer(w, r, args, format, body, res.summary(time.Since(began)))
}

// typesOf returns the types of the columns of a query without a FORMAT clause, which has just been
// run on conn; nil where it is no SELECT.
func (e *Engine) typesOf(conn *connection, query string, params map[string]string) (types []string) {
	res, err := e.lib.run(conn, "DESCRIBE ("+strings.TrimRight(query, "; \r\n\t")+"\n)", "JSONCompactEachRow", params)
	if err != nil {
		return nil
	}
	defer res.free()
	for line := range bytes.Lines(res.data()) {
		var column []string // its name, its type, and more
		if json.Unmarshal(line, &column) != nil || len(column) < 2 {
			return nil
		}
		types = append(types, column[1])
	}
	return types
}

// answer writes a result, compressed as the client asked for. On an error it has written nothing.
func (e *Engine) answer(w http.ResponseWriter, r *http.Request, args url.Values, format string, body []byte, summary string) (err error) {
	if args.Get("compress") == "1" {
		method := compress.LZ4
		if strings.EqualFold(args.Get("network_compression_method"), "ZSTD") {
			method = compress.ZSTD
		}
		if body, err = frames(body, method); err != nil {
			return err
		}
	}
	h := w.Header()
	h.Set("X-ClickHouse-Summary", summary)
	if isOn(args.Get("send_progress_in_http_headers")) {
		h.Set("X-ClickHouse-Progress", summary) // the last one: a result is complete before its headers are sent
	}
	h.Set("X-ClickHouse-Format", format)
	h.Set("Content-Type", contentType(format))
	if origin := r.Header.Get("Origin"); origin != "" && isOn(args.Get("add_http_cors_header")) {
		h.Set("Access-Control-Allow-Origin", origin) // its own, see checkOrigin
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(e.pace.after(int64(len(body))))); err != nil {
		return err
	}
	encoding := ""
	if isOn(args.Get("enable_http_compression")) && len(body) > 0 && r.Method != http.MethodHead {
		encoding = answerEncoding(r.Header.Get("Accept-Encoding"))
	}
	if encoding == "" {
		h.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) //nolint:gosec // no type that a browser renders, and nosniff; it fails when the client has gone
		return nil
	}
	to, err := encoder(encoding, w)
	if err != nil {
		return err
	}
	h.Set("Content-Encoding", encoding)
	if _, err := to.Write(body); err == nil {
		_ = to.Close() // this and the above fail when the client has gone
	}
	return nil
}

// isOn tells whether a setting's value is true.
func isOn(value string) bool { return value == "1" || strings.EqualFold(value, "true") }

func contentType(format string) string {
	switch {
	case strings.HasPrefix(format, "JSON") && (strings.Contains(format, "EachRow") || strings.HasPrefix(format, "JSONLines")):
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(format, "JSON"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(format, "TabSeparated"), strings.HasPrefix(format, "TSV"):
		return "text/tab-separated-values; charset=UTF-8"
	case strings.HasPrefix(format, "CSV"):
		return "text/csv; charset=UTF-8"
	case strings.HasPrefix(format, "Pretty"):
		return "text/plain; charset=UTF-8"
	}
	return "application/octet-stream"
}

// incoming is a request that has arrived as a whole: what is to be run, and what it reads.
type incoming struct {
	sql      string
	prologue []string // statements before it
	params   map[string]string
	rows     *spool // of an INSERT
	form     *form
}

// close frees what the query reads. The engine must have read it.
func (q *incoming) close() {
	if q.rows != nil {
		_ = q.rows.Close()
	}
	if q.form != nil {
		q.form.close()
	}
}

// readRequest reads the request. What it returns is to be closed, with an error too.
func (e *Engine) readRequest(r *http.Request, args url.Values, reader bool) (*incoming, error) {
	q := &incoming{}
	if reader && (r.Header.Get("Content-Encoding") != "" || args.Get("decompress") == "1") {
		return q, needsPassword("compressed queries")
	}
	body, err := decodeBody(r, args.Get("decompress") == "1")
	if err != nil {
		return q, err
	}
	defer body.Close()
	rest := io.Reader(body)
	if isForm(r) {
		q.form = &form{dir: e.dir, args: args, reader: reader}
		if err := q.form.read(r, body); err != nil {
			return q, err
		}
		if err := drain(r.Body, maxReadingBytes); err != nil { // what follows the last field is nothing
			return q, bodyCut(err)
		}
		rest = strings.NewReader("") // the query is a field
	}
	check := func(string) error { return nil }
	if !e.allow {
		var values []string
		for name := range args {
			if externalSettings[name] {
				return q, refused("setting %s", name)
			}
			if strings.HasPrefix(name, "param_") {
				values = append(values, args.Get(name))
			}
		}
		check = func(text string) error { return checkExternal(text, values) }
	}
	var tables []string
	if q.form != nil {
		if tables, err = q.form.statements(check); err != nil {
			return q, err
		}
	}
	if q.prologue, q.params, err = session(r, args, q.form, reader, tables); err != nil {
		return q, err
	}
	if reader {
		q.sql, err = readReading(rest, args, check)
	} else {
		q.sql, q.rows, err = e.readQuery(r, rest, args, check)
	}
	if err == nil && args.Get("session_id") != "" {
		err = checkStateless(q.sql)
	}
	return q, err
}

// readQuery reads the query, which is the URL's query parameter, then the body. The rows of an
// INSERT end up in a file in memory, which the returned query reads; the caller closes it.
// Nothing may be run when the body ended early, which is an error here, nor when check returns an
// error for what the engine will read as SQL.
func (e *Engine) readQuery(r *http.Request, decoded io.Reader, args url.Values, check func(text string) error) (sql string, rows *spool, err error) {
	text := args.Get("query")
	if text != "" {
		text += "\n"
	}
	body := bufio.NewReaderSize(io.MultiReader(strings.NewReader(text), decoded), len(text)+insertHeadBytes)
	head, err := body.Peek(body.Size())
	if err != nil && !errors.Is(err, io.EOF) {
		return "", nil, bodyCut(err)
	}
	var query strings.Builder
	var inserted *spool
	into, limit := io.Writer(&query), int64(maxQueryBytes)
	ins, ok := parseInsert(string(head))
	if ok {
		if err := check(string(head[:ins.data])); err != nil {
			return "", nil, err
		}
		if inserted, err = newSpool(e.dir); err != nil {
			return "", nil, err
		}
		defer func() {
			if rows == nil { // an error is returned
				_ = inserted.Close()
			}
		}()
		query.WriteString(ins.statement(string(head), inserted.path()))
		if _, err := body.Discard(ins.data); err != nil {
			return "", nil, bodyCut(err)
		}
		into, limit = inserted, maxInsertBytes
	}
	n, err := io.Copy(into, io.LimitReader(body, limit+1))
	if n > limit {
		return "", nil, tooLarge(limit)
	}
	if err == nil {
		err = drain(r.Body, limit) // a decoder may stop before the end
	}
	if err != nil {
		if ex, ok := errors.AsType[*exception](err); ok {
			return "", nil, ex
		}
		return "", nil, bodyCut(err)
	}
	if strings.TrimSpace(query.String()) == "" {
		return "", nil, newException(codeSyntaxError, "Empty query: send it in the body or as the URL parameter query")
	}
	if !ok {
		err = check(query.String())
	} else if strings.EqualFold(ins.format, "Values") { // rows of expressions
		err = checkRows(inserted.file, n, check)
	}
	if err != nil {
		return "", nil, err
	}
	return query.String(), inserted, nil
}

// readReading reads the query of somebody who may only read: a text, without rows and encodings.
func readReading(rest io.Reader, args url.Values, check func(text string) error) (string, error) {
	body, err := io.ReadAll(io.LimitReader(rest, maxReadingBytes+1))
	if err != nil {
		return "", bodyCut(err)
	}
	text := strings.TrimSpace(args.Get("query") + "\n" + string(body))
	switch {
	case len(text) > maxReadingBytes:
		return "", tooLarge(maxReadingBytes)
	case text == "":
		return "", newException(codeSyntaxError, "Empty query: send it in the body or as the URL parameter query")
	}
	if err := checkReading(text); err != nil {
		return "", err
	}
	return text, check(text)
}

func tooLarge(limit int64) error {
	return newException(codeTooManyBytes, "the request is larger than %d bytes: split it", limit)
}

// drain reads the rest of a body, of at most limit bytes.
func drain(body io.Reader, limit int64) error {
	n, err := io.Copy(io.Discard, io.LimitReader(body, limit+1))
	if n > limit {
		return tooLarge(limit)
	}
	return err
}

func checkRows(rows *os.File, size int64, check func(text string) error) error {
	if size == 0 {
		return nil
	}
	data, err := unix.Mmap(int(rows.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("read the rows: %w", err)
	}
	err = check(unsafe.String(&data[0], len(data))) //nolint:gosec // read only, and until it is unmapped
	return errors.Join(err, unix.Munmap(data))
}
