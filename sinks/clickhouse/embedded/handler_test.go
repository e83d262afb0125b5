//go:build linux && amd64

package embedded

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// post sends a request to the shared engine; args are URL parameters as name, value, ….
func post(tb testing.TB, body io.Reader, header http.Header, args ...string) (status int, text string, answered http.Header) {
	tb.Helper()
	values := url.Values{}
	for i := 0; i < len(args); i += 2 {
		values.Set(args[i], args[i+1])
	}
	return do(tb, http.MethodPost, "http://"+addr+"/?"+values.Encode(), body, header)
}

func do(tb testing.TB, method, url string, body io.Reader, header http.Header) (status int, text string, answered http.Header) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, body)
	require.NoError(tb, err)
	for name := range header {
		if name == "Host" {
			req.Host = header.Get(name)
		}
		req.Header.Set(name, header.Get(name))
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(tb, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	require.NoError(tb, err)
	return res.StatusCode, string(answer), res.Header
}

// query runs a query that must succeed and returns its result in TabSeparated.
func query(tb testing.TB, database, sql string) string {
	tb.Helper()
	status, text, _ := post(tb, strings.NewReader(sql), nil, "database", database)
	require.Equal(tb, http.StatusOK, status, text)
	return text
}

func TestQueries(t *testing.T) {
	db := newDatabase(t)
	query(t, db, "CREATE TABLE t (x UInt8) ENGINE = Memory")
	for name, tc := range map[string]struct {
		method, url, body string
		header            http.Header
		status            int
		want, wantFormat  string
		code              string // of the exception
	}{
		"root":              {url: "/", status: 200, want: "Ok.\n"},
		"ping":              {url: "/ping", status: 200, want: "Ok.\n"},
		"replicas":          {url: "/replicas_status", status: 200, want: "Ok.\n"},
		"unknown path":      {url: "/nope", status: 404, want: "there is no handle /nope: queries go to /, health checks to /ping\n"},
		"method":            {method: "DELETE", url: "/?query=SELECT+1", status: 405, want: "use GET to read and POST to write\n"},
		"query in the URL":  {url: "/?query=SELECT%201,'a'", status: 200, want: "1\ta\n", wantFormat: "TabSeparated"},
		"bare semicolon":    {url: "/?query=SELECT%201;", status: 200, want: "1\n"},
		"query in the body": {method: "POST", url: "/", body: "SELECT 2", status: 200, want: "2\n"},
		"in both":           {method: "POST", url: "/?query=SELECT", body: "3", status: 200, want: "3\n"},
		"default_format":    {url: "/?default_format=CSV&query=SELECT%201,'a'", status: 200, want: "1,\"a\"\n", wantFormat: "CSV"},
		"format header":     {url: "/?query=SELECT%201,'a'", header: http.Header{"X-Clickhouse-Format": {"CSV"}}, status: 200, want: "1,\"a\"\n", wantFormat: "CSV"},
		"FORMAT wins":       {url: "/?default_format=CSV&query=SELECT%20'FORMAT+x'+AS+a+FORMAT+JSONEachRow", status: 200, want: "{\"a\":\"FORMAT x\"}\n", wantFormat: "JSONEachRow"},
		"database":          {url: "/?database=" + db + "&query=SELECT%20currentDatabase()", status: 200, want: db + "\n"},
		"setting":           {url: "/?max_threads=3&wait_end_of_query=1&query=SELECT+getSetting('max_threads')", status: 200, want: "3\n"},
		"odd setting value": {url: "/?log_comment=a'b%5C%60&query=SELECT+getSetting('log_comment')+FORMAT+TSVRaw", status: 200, want: "a'b\\`\n"},
		"async_insert is 0": {url: "/?query=SELECT+getSetting('async_insert')", status: 200, want: "false\n"},
		"parameters":        {url: "/?param_n=7&param_s=it's%5Ct&param_e=&query=SELECT+{n:UInt8},{s:String},{e:String}", status: 200, want: "7\tit\\'s\\t\t\n"},
		"GET may not write": {url: "/?query=CREATE+TABLE+" + db + ".no+(x+Int8)+ENGINE=Memory", status: 500, code: "164"},
		"GET stays so":      {url: "/?readonly=0&query=CREATE+TABLE+" + db + ".no+(x+Int8)+ENGINE=Memory", status: 500, code: "164"},
		"GET may not add":   {url: "/?query=INSERT+INTO+" + db + ".t+VALUES+(1)", status: 500, code: "164"},
		"syntax":            {url: "/?query=SELEC", status: 400, code: "62"},
		"no query":          {method: "POST", url: "/", body: " \n", status: 400, code: "62"},
		"unknown table":     {url: "/?query=SELECT+*+FROM+nope", status: 404, code: "60"},
		"unknown database":  {url: "/?database=nope&query=SELECT+1", status: 404, code: "81"},
		"unknown setting":   {url: "/?nope=1&query=SELECT+1", status: 404, code: "115"},
		"hostile setting":   {url: "/?max_threads%3D1,x=1&query=SELECT+1", status: 404, code: "115"},
		"hostile database":  {url: "/?database=" + url.QueryEscape("a` ; DROP DATABASE `"+db) + "&query=SELECT+1", status: 404, code: "81"},
		"while running":     {url: "/?query=SELECT+throwIf(number=3)+FROM+numbers(9)", status: 500, code: "395"},
	} {
		t.Run(name, func(t *testing.T) {
			method := tc.method
			if method == "" {
				method = http.MethodGet
			}
			status, text, header := do(t, method, "http://"+addr+tc.url, strings.NewReader(tc.body), tc.header)
			require.Equal(t, tc.status, status, text)
			require.Equal(t, tc.code, header.Get("X-ClickHouse-Exception-Code"), text)
			if tc.code != "" {
				require.Contains(t, text, "Code: "+tc.code+". DB::Exception: ")
				return
			}
			require.Equal(t, tc.want, text)
			if tc.wantFormat != "" {
				require.Equal(t, tc.wantFormat, header.Get("X-ClickHouse-Format"))
			}
		})
	}
}

func TestInserts(t *testing.T) {
	for name, tc := range map[string]struct{ url, body, want string }{
		"format in the URL":   {"INSERT INTO t FORMAT CSV", "1,a\n2,b\n", "1a,2b"},
		"columns":             {"INSERT INTO t (s, n) FORMAT CSV", "a,1\n", "1a"},
		"all in the body":     {"", "INSERT INTO t FORMAT JSONEachRow {\"n\":1,\"s\":\"a;b\"}\n\n{\"n\":2}", "1a;b,2"},
		"line break":          {"", "INSERT INTO t FORMAT TSV\r\n1\ta\n", "1a"},
		"values in the body":  {"", "INSERT INTO t VALUES (1, 'a'), (1+1, concat('b', ')'));", "1a,2b)"},
		"values in the URL":   {"INSERT INTO t VALUES (1, 'a')", "", "1a"},
		"values in both":      {"INSERT INTO t VALUES (1, 'a'),", "(2, 'b')", "1a,2b"},
		"settings":            {"INSERT INTO t SETTINGS format_csv_delimiter = '|', max_threads = 1 FORMAT CSV", "1|a\n", "1a"},
		"select":              {"INSERT INTO t SELECT number, 'FORMAT' FROM numbers(2)", "", "0FORMAT,1FORMAT"},
		"select in brackets":  {"", "INSERT INTO t (n) (SELECT 5)", "5"},
		"with":                {"", "INSERT INTO t WITH 6 AS x SELECT x, ''", "6"},
		"comment and case":    {"", "-- rows follow\n/* all /* of */ them */ insert into table t (n, s) -- here\nvalues (1, 'a')", "1a"},
		"quoted names":        {"", "INSERT INTO `t` (`n`, \"s\") FORMAT Values (1,'a')", "1a"},
		"table named values":  {"", "INSERT INTO values FORMAT CSV 1\n", "values"},
		"no rows":             {"INSERT INTO t FORMAT CSV", "", ""},
		"query parameters":    {"", "INSERT INTO t VALUES ({p:UInt32}, {q:String})", "77it's"},
		"table as parameter":  {"INSERT INTO {db:Identifier}.{t:Identifier} FORMAT CSV", "1,a\n", "1a"},
		"longer than a head":  {"", "INSERT INTO t (n) VALUES " + strings.Repeat("(1),", 100_000) + "(2)", "100001"},
		"input in the URL":    {"INSERT INTO t (s, n) SELECT s, n + 1 FROM input('n UInt32, s String') WHERE throwIf(now64(6) > toDateTime64('2100-01-01 00:00:00', 6)) = 0 FORMAT CSV", "1,a\n2,b\n", "2a,3b"},
		"input in the body":   {"", "INSERT INTO t SELECT * FROM input('n UInt32, s String') SETTINGS max_threads = 1 FORMAT JSONEachRow {\"n\":1}", "1"},
		"long list of values": {"INSERT INTO t (n) SELECT 1 WHERE 9 IN (" + strings.Repeat("1,", 40_000) + "9)", "", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			db := newDatabase(t)
			query(t, db, "CREATE TABLE t (n UInt32, s String) ENGINE = MergeTree ORDER BY n")
			query(t, db, "CREATE TABLE values (n UInt32) ENGINE = MergeTree ORDER BY n")
			status, text, header := post(t, strings.NewReader(tc.body), nil,
				"query", tc.url, "database", db, "param_p", "77", "param_q", "it's", "param_db", db, "param_t", "t")
			require.Equal(t, http.StatusOK, status, text)
			require.Empty(t, text)
			sql := "SELECT arrayStringConcat(groupArray(concat(toString(n), s)), ',') FROM (SELECT * FROM t ORDER BY n)"
			rows := len(strings.FieldsFunc(tc.want, func(r rune) bool { return r == ',' }))
			switch name {
			case "table named values":
				sql = "SELECT if(count() = 1, 'values', 'nothing') FROM values"
			case "longer than a head":
				sql = "SELECT count() FROM t"
				rows = 100_001
			}
			require.Equal(t, tc.want, strings.TrimSpace(strings.ReplaceAll(query(t, db, sql+" FORMAT TSVRaw"), `\'`, `'`)))
			require.Contains(t, header.Get("X-ClickHouse-Summary"), fmt.Sprintf(`"written_rows":"%d"`, rows))
		})
	}
}

func TestExternalIsRefused(t *testing.T) {
	db := newDatabase(t)
	query(t, db, "CREATE TABLE t (file String, n UInt8) ENGINE = Memory")
	file := t.TempDir() + "/secret.csv"
	require.NoError(t, os.WriteFile(file, []byte("secret\n"), 0o600))
	for _, sql := range []string{
		"SELECT * FROM file('" + file + "')",
		"SELECT * FROM default.`" + file + "`",
		"SELECT * FROM url('http://" + addr + "/?query=SELECT+1', TSV, 'x Int8')",
		"SELECT 1 INTO OUTFILE '" + file + "2'",
		"INSERT INTO t SELECT *, 1 FROM file('" + file + "', 'LineAsString')",
		"INSERT INTO t FROM INFILE '" + file + "' FORMAT CSV",
		"INSERT INTO FUNCTION file('" + file + "3') VALUES (1)",
		"INSERT INTO t VALUES ('a', 1), (file('" + file + "'), 2)",
		"CREATE TABLE u (x String) ENGINE = File(CSV, '" + file + "')",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			args, body := url.Values{"database": {db}, "query": {sql}}, ""
			if method == http.MethodPost {
				args.Del("query")
				body = sql
			}
			status, text, header := do(t, method, "http://"+addr+"/?"+args.Encode(), strings.NewReader(body), nil)
			require.Equal(t, http.StatusForbidden, status, "%s: %s", sql, text)
			require.Equal(t, "497", header.Get("X-ClickHouse-Exception-Code"))
			require.NotContains(t, text, "secret\n")
		}
	}
	status, _, _ := post(t, strings.NewReader("SELECT 1 FORMAT Template"), nil, "format_template_row", file)
	require.Equal(t, http.StatusForbidden, status)

	// Rows may say what they like, and so may names.
	query(t, db, "INSERT INTO t (file, n) FORMAT CSV\nINTO OUTFILE file('x'),1\n")
	query(t, db, "INSERT INTO t VALUES ('file(''x'')', 1 + 1)")
	require.Equal(t, "INTO OUTFILE file(\\'x\\')\nfile(\\'x\\')\n", query(t, db, "SELECT file FROM t WHERE file IN ('file(''x'')') OR n = 1 ORDER BY n"))
}

func TestBodyThatEndsEarlyInsertsNothing(t *testing.T) {
	db := newDatabase(t)
	query(t, db, "CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
	rows := strings.Repeat("1\n", 50_000)
	target := "POST /?" + url.Values{"query": {"INSERT INTO t FORMAT CSV"}, "database": {db}}.Encode() + " HTTP/1.1\r\nHost: " + addr + "\r\n"
	for name, request := range map[string]string{
		"length not reached":  target + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(rows)+2, rows),
		"no last chunk":       target + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(rows), rows),
		"within a chunk":      target + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(rows)+2, rows),
		"no rows, length":     target + "Content-Length: 2\r\n\r\n",
		"query cut, in body":  "POST /?database=" + db + " HTTP/1.1\r\nHost: " + addr + "\r\nContent-Length: 99\r\n\r\nINSERT INTO t SELECT 1",
		"rows cut, in body":   "POST /?database=" + db + " HTTP/1.1\r\nHost: " + addr + "\r\nContent-Length: 99\r\n\r\nINSERT INTO t VALUES (1)",
		"nothing of the body": target + "Transfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, request)
			require.NoError(t, err)
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			answer, err := io.ReadAll(conn)
			require.NoError(t, err)
			require.Contains(t, string(answer), "400 Bad Request")
			require.Contains(t, string(answer), "X-Clickhouse-Exception-Code: 33")
			require.Equal(t, "0\n", query(t, db, "SELECT count() FROM t"))
		})
	}
}

func TestForeignPagesAreRefused(t *testing.T) {
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		host, origin, site string
		status             int
	}{
		"address":              {host: addr, status: 200},
		"localhost":            {host: "localhost:" + port, status: 200},
		"IPv6":                 {host: "[::1]:" + port, status: 200},
		"IPv6 without port":    {host: "[::1]", status: 200},
		"other port":           {host: "127.0.0.1:1", status: 200},
		"rebound name":         {host: "evil.example:" + port, status: 403},
		"name with prefix":     {host: "localhost.evil.example", status: 403},
		"same origin":          {host: addr, origin: "http://" + addr, site: "same-origin", status: 200},
		"typed by the user":    {host: addr, site: "none", status: 200},
		"other origin":         {host: addr, origin: "http://evil.example", status: 403},
		"other local port":     {host: addr, origin: "http://127.0.0.1:1", status: 403},
		"sandboxed page":       {host: addr, origin: "null", status: 403},
		"picture on a page":    {host: addr, site: "cross-site", status: 403},
		"other local web page": {host: addr, site: "same-site", status: 403},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{"Host": {tc.host}}
			if tc.origin != "" {
				header.Set("Origin", tc.origin)
			}
			if tc.site != "" {
				header.Set("Sec-Fetch-Site", tc.site)
			}
			for _, target := range []string{"/?query=SELECT+1", "/ping"} {
				status, text, _ := do(t, http.MethodGet, "http://"+addr+target, nil, header)
				require.Equal(t, tc.status, status, text)
				if status == http.StatusForbidden {
					require.Contains(t, text, "is refused: the embedded ClickHouse answers to")
				}
			}
		})
	}
}

func TestRequestsShareNoState(t *testing.T) {
	db := newDatabase(t)
	query(t, "", "USE "+db)
	query(t, "", "SET max_threads = 3")
	query(t, "", "CREATE TEMPORARY TABLE gone (x UInt8)")
	require.Equal(t, "default\t0\n", query(t, "", "SELECT currentDatabase(), getSetting('max_threads') = 3"))
	status, _, _ := post(t, strings.NewReader("SELECT * FROM gone"), nil)
	require.Equal(t, http.StatusNotFound, status)

	// Settings, databases and parameters of requests that run at once stay apart.
	var wg sync.WaitGroup
	for n := range 2 * maxQueries {
		wg.Go(func() {
			database := []string{"default", "system"}[n%2]
			_, text, _ := post(t, nil, nil, "query", "SELECT currentDatabase(), getSetting('max_block_size'), {n:UInt32}, sleep(0.01)",
				"database", database, "max_block_size", strconv.Itoa(1000+n), "param_n", strconv.Itoa(n))
			if want := fmt.Sprintf("%s\t%d\t%d\t0\n", database, 1000+n, n); text != want {
				t.Errorf("got %q, want %q", text, want)
			}
		})
	}
	wg.Wait()
}

func TestQueriesRunAtOnce(t *testing.T) {
	start := time.Now()
	var wg sync.WaitGroup
	for range maxQueries {
		wg.Go(func() { _, _, _ = post(t, nil, nil, "query", "SELECT sleep(0.5)") })
	}
	wg.Wait()
	require.Less(t, time.Since(start), 4*time.Second, "16 sleeps of 0.5 s")
}

func TestHeadersAreBounded(t *testing.T) {
	status, _, _ := do(t, http.MethodGet, "http://"+addr+"/ping", nil, http.Header{"X-Long": {strings.Repeat("x", 2*maxHeaderBytes)}})
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, status)
}
