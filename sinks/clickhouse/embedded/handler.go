//go:build linux && amd64

package embedded

import (
	"bufio"
	"compress/gzip"
	"compress/zlib"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
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
	switch {
	case err != nil:
		http.Error(w, "malformed URL parameters: "+err.Error(), http.StatusBadRequest)
	case r.URL.Path == "/ping", r.URL.Path == "/replicas_status",
		r.URL.Path == "/" && r.Method != http.MethodPost && !args.Has("query"):
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
		w.Header().Set("X-ClickHouse-Query-Id", id)
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
// *exception, it has written nothing. It is one long function, since what has been begun is ended
// in reverse whichever step fails.
func (e *Engine) serveQuery(w http.ResponseWriter, r *http.Request, args url.Values) error {
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

	check := func(string) error { return nil }
	if !e.allow {
		var values []string
		for name := range args {
			if externalSettings[name] {
				return refused("setting %s", name)
			}
			if strings.HasPrefix(name, "param_") {
				values = append(values, args.Get(name))
			}
		}
		check = func(text string) error { return checkExternal(text, values) }
	}
	prologue, params, err := session(r, args, reader)
	if err != nil {
		return err
	}
	var sql string
	if reader {
		sql, err = readReading(r, args, check)
	} else {
		var rows *spool
		if sql, rows, err = e.readQuery(r, args, check); rows != nil {
			defer rows.Close() // and with it its memory, after the engine has read it
		}
	}
	if err != nil {
		return err
	}
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
	format := firstOf(outputFormat(sql), args.Get("default_format"), r.Header.Get("X-ClickHouse-Format"), "TabSeparated")
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
		if body, err = nativeAt(revision, body); err != nil {
			return newException(codeNotImplemented, "%s: ask for another FORMAT", err)
		}
	}
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
	h.Set("X-ClickHouse-Summary", res.summary())
	h.Set("X-ClickHouse-Format", format)
	h.Set("Content-Type", contentType(format))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(e.pace.after(int64(len(body))))); err != nil {
		return err
	}
	_, _ = w.Write(body) //nolint:gosec // no type that a browser renders, and nosniff; it fails when the client has gone
	return nil
}

func contentType(format string) string {
	switch {
	case format == "JSON" || format == "JSONCompact":
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(format, "JSON"):
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(format, "TabSeparated"), strings.HasPrefix(format, "TSV"):
		return "text/tab-separated-values; charset=UTF-8"
	case strings.HasPrefix(format, "CSV"):
		return "text/csv; charset=UTF-8"
	case strings.HasPrefix(format, "Pretty"):
		return "text/plain; charset=UTF-8"
	}
	return "application/octet-stream"
}

// reserved are the URL parameters that are no settings, as in ClickHouse; param_… are more.
var reserved = []string{
	"query", "database", "default_format", "query_id", "user", "password", "quota_key", "role", "stacktrace",
	"compress", "decompress", "client_protocol_version", "buffer_size", "wait_end_of_query",
	"session_timeout", "session_check", "close_session",
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// session returns the statements that give a fresh session the request's database and settings,
// and the query parameters. Who only reads gets limits and sets nothing.
func session(r *http.Request, args url.Values, reader bool) (prologue []string, params map[string]string, err error) {
	if database := firstOf(args.Get("database"), r.Header.Get("X-ClickHouse-Database")); database != "" {
		prologue = append(prologue, "USE "+quote(database, '`'))
	}
	settings := map[string]string{
		"async_insert":    "0", // so that an insert is stored, and counted, when it is answered
		"implicit_select": "0", // a server's default, unlike libchdb's
	}
	params = map[string]string{}
	for name := range args {
		switch param, isParam := strings.CutPrefix(name, "param_"); {
		case isParam:
			params[param] = args.Get(name)
		case name == "session_id":
			return nil, nil, newException(codeNotImplemented, "session_id is refused: the embedded ClickHouse keeps no HTTP sessions. Turn them off in the client; in clickhouse-connect by autogenerate_session_id=False")
		case slices.Contains(reserved, name):
		case !settingName.MatchString(name):
			return nil, nil, newException(codeUnknownSetting, "URL parameter %q is no name of a setting", name)
		case reader:
			return nil, nil, needsPassword("settings such as %s", name)
		default:
			settings[name] = args.Get(name)
		}
	}
	if reader {
		maps.Copy(settings, readerLimits)
	}
	assignments := make([]string, 0, len(settings))
	for name, value := range settings {
		assignments = append(assignments, name+" = "+quote(value, '\''))
	}
	prologue = append(prologue, "SET "+strings.Join(assignments, ", "))
	if reader || r.Method != http.MethodPost {
		// After all others, since it lets no more be set: not by the query either. A GET changes no data.
		prologue = append(prologue, "SET readonly = 1")
	}
	return prologue, params, nil
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

// readQuery reads the query, which is the URL's query parameter, then the body. The rows of an
// INSERT end up in a file in memory, which the returned query reads; the caller closes it.
// Nothing may be run when the body ended early, which is an error here, nor when check returns an
// error for what the engine will read as SQL.
func (e *Engine) readQuery(r *http.Request, args url.Values, check func(text string) error) (sql string, rows *spool, err error) {
	decoded, err := decodeBody(r, args.Get("decompress") == "1")
	if err != nil {
		return "", nil, err
	}
	defer decoded.Close()
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
func readReading(r *http.Request, args url.Values, check func(text string) error) (string, error) {
	if r.Header.Get("Content-Encoding") != "" || args.Get("decompress") == "1" {
		return "", needsPassword("compressed queries")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxReadingBytes+1))
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

func bodyCut(err error) *exception {
	return newException(codeCannotReadAllData, "Cannot read all of the request's body, nothing was run: %s", err)
}

// decodeBody undoes the body's Content-Encoding and, for decompress=1, ClickHouse's own frames.
func decodeBody(r *http.Request, framed bool) (io.ReadCloser, error) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		return nil, newException(codeNotImplemented, "multipart bodies are refused: the embedded ClickHouse has no external tables")
	}
	var body io.ReadCloser
	var err error
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		body = io.NopCloser(r.Body)
	case "gzip", "x-gzip":
		body, err = gzip.NewReader(r.Body)
	case "deflate":
		body, err = zlib.NewReader(r.Body)
	case "br":
		body = io.NopCloser(brotli.NewReader(r.Body))
	case "zstd":
		var decoder *zstd.Decoder
		if decoder, err = zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20)); err == nil {
			body = decoder.IOReadCloser()
		}
	default:
		return nil, newException(codeNotImplemented, "Content-Encoding %q is not supported: send gzip, deflate, br, zstd or none", encoding)
	}
	if err != nil {
		return nil, bodyCut(err)
	}
	if framed {
		return struct {
			io.Reader
			io.Closer
		}{frameReader{compress.NewReader(body)}, body}, nil
	}
	return body, nil
}
