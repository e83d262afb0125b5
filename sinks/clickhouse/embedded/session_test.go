//go:build linux && amd64

package embedded

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
	"github.com/stretchr/testify/require"
)

// clickhouse-connect sends a session with each request, and mostly needs none.
func TestSessionsAreTaken(t *testing.T) {
	db := newDatabase(t)
	for sql, code := range map[string]string{
		"SELECT 1": "", "CREATE TABLE IF NOT EXISTS t (n UInt8) ENGINE = Memory": "", "CREATE OR REPLACE TABLE t (n UInt8) ENGINE = Memory": "",
		"SET max_threads = 3; SELECT getSetting('max_threads')":                        "",
		"CREATE TEMPORARY TABLE x (n UInt8); INSERT INTO x SELECT 1; SELECT * FROM x;": "",
		"SET max_threads = 3":                                                "48",
		"/* a */ set max_threads = 3;":                                       "48",
		"USE system":                                                         "48",
		"SET a = 1; USE system; -- done":                                     "48",
		"CREATE TEMPORARY TABLE x (n UInt8)":                                 "48",
		"CREATE OR REPLACE TEMPORARY TABLE x (n UInt8)":                      "48",
		"CREATE TEMPORARY TABLE IF NOT EXISTS x ENGINE = Memory AS SELECT 1": "48",
	} {
		status, text, header := post(t, strings.NewReader(sql), nil, "database", db, "session_id", "../../"+db, "session_timeout", "60", "session_check", "0")
		require.Equal(t, code, header.Get("X-ClickHouse-Exception-Code"), "%s: %s", sql, text)
		if code != "" {
			require.Equal(t, http.StatusNotImplemented, status)
			require.Contains(t, text, "keeps no sessions. Give settings and the database as parameters of each request")
		}
	}
	for args, code := range map[string]string{
		"session_id=a&session_check=1": "372", "session_id=a&session_timeout=x": "374", "session_timeout=-1": "374", "role=admin": "511", "role=": "",
		"session_id=": "", "session_id=a&session_timeout=99999999": "", "close_session=1&session_id=a": "", "quota_key=a&stacktrace=1&buffer_size=1": "",
	} {
		_, text, header := do(t, http.MethodPost, "http://"+addr+"/?"+args, strings.NewReader("SELECT 1"), nil)
		require.Equal(t, code, header.Get("X-ClickHouse-Exception-Code"), "%s: %s", args, text)
	}
}

// Who only reads may say what a result looks like, and set limits lower, not higher.
func TestSettingsWithoutPassword(t *testing.T) {
	f := newFront(t, defaultPace, readerWait)
	for _, tc := range []struct{ name, value, want string }{
		{"max_execution_time", "5", "5"},
		{"max_execution_time", "0", "30"},
		{"max_execution_time", "1e9", "30"},
		{"max_execution_time", "-1", "30"},
		{"max_execution_time", "nan", "30"},
		{"max_execution_time", "inf", "30"},
		{"max_execution_time", "1e-9", "30"},
		{"max_execution_time", "0x1p-60", "30"},
		{"max_result_rows", "7", "7"},
		{"max_memory_usage", "900000000000", "500000000"},
		{"max_threads", "1", "1"},
		{"max_threads", "64", "2"},
		{"readonly", "0", "1"},
		{"readonly", "1", "1"},
		{"readonly", "2", "1"},
		{"async_insert", "0", "false"},
		{"async_insert", "1", ""},
		{"output_format_json_quote_64bit_integers", "1", "true"},
		{"session_timezone", "Asia/Tokyo", "Asia/Tokyo"},
		{"extremes", "0", "false"},
		{"enable_http_compression", "1", "true"},
		{"log_comment", "a'; SET readonly = 0 --", "a\\'; SET readonly = 0 --"},
		{"result_overflow_mode", "break", "break"},
		{"max_block_size", "1", ""},
		{"output_format_schema", "/tmp/x", ""},
		{"format_schema", "x", ""},
		{"allow_ddl", "1", ""},
		{"max_query_size", "1", ""},
		{"implicit_select", "1", ""},
		{"log_queries'", "1", ""},
		{"output_format_json_nope", "1", ""},
		{"output_format_pretty_squash_consecutive_ms", "50", "50"},
		{"output_format_pretty_squash_consecutive_ms", "18446744073709551615", ""}, // it would not end
	} {
		values := url.Values{tc.name: {tc.value}, "query": {fmt.Sprintf("SELECT getSetting('%s')", strings.Trim(tc.name, "'"))}}
		status, text, _ := do(t, http.MethodPost, "http://"+f.addr+"/?"+values.Encode(), nil, nil)
		if tc.want == "" {
			require.NotEqual(t, http.StatusOK, status, "%s=%s: %s", tc.name, tc.value, text)
			continue
		}
		require.Equal(t, http.StatusOK, status, text)
		require.Equal(t, tc.want+"\n", text, "%s=%s", tc.name, tc.value)
	}
	_, text, header := do(t, http.MethodGet, "http://"+f.addr+"/?max_result_rows=many&query=SELECT+1", nil, nil)
	require.Equal(t, "72", header.Get("X-ClickHouse-Exception-Code"), text)
}

func TestAnswersHaveClickHousesHeaders(t *testing.T) {
	_, _, header := post(t, nil, nil, "query", "SELECT 1", "query_id", "mine")
	require.Equal(t, "mine", header.Get("X-ClickHouse-Query-Id"))
	require.Equal(t, "millrace", header.Get("X-ClickHouse-Server-Display-Name"))
	require.Equal(t, engine.zone, header.Get("X-ClickHouse-Timezone"))
	require.Equal(t, engine.zone+"\t"+engine.version+"\n", query(t, "", "SELECT timezone(), version()"))
	require.Empty(t, header.Get("X-ClickHouse-Progress"))
	var summary map[string]string
	require.NoError(t, json.Unmarshal([]byte(header.Get("X-ClickHouse-Summary")), &summary))
	require.Equal(t, "1", summary["result_rows"])
	require.Equal(t, "2", summary["result_bytes"])

	_, _, header = post(t, nil, nil, "query", "SELECT 1", "send_progress_in_http_headers", "1", "wait_end_of_query", "1", "session_timezone", "Asia/Tokyo")
	require.NotEmpty(t, header.Get("X-ClickHouse-Query-Id"))
	require.Equal(t, header.Get("X-ClickHouse-Summary"), header.Get("X-ClickHouse-Progress"))
	require.Equal(t, "Asia/Tokyo", header.Get("X-ClickHouse-Timezone"))

	// A name in the request makes no header of its own, nor a second answer.
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /?query=SELECT+1&query_id=%%00a%%0d%%0aX-Evil:+1%%0d%%0a%%0d%%0ab&session_timezone=UTC HTTP/1.1\r\nHost: %s\r\n\r\n", addr)
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Empty(t, answer.Header.Get("X-Evil"))
	require.Contains(t, answer.Header.Get("X-ClickHouse-Query-Id"), "X-Evil")

	// Errors end with the name of their code, by which clients know them.
	_, text, _ := post(t, strings.NewReader("SELECT 1"), http.Header{"Content-Encoding": {"compress"}})
	require.True(t, strings.HasSuffix(text, ". (NOT_IMPLEMENTED)\n"), text)
	for code, name := range exceptionNames {
		require.Equal(t, name+"\n", query(t, "", fmt.Sprintf("SELECT errorCodeToName(%d)", code)))
	}
}

func TestBrowsersSeeAHint(t *testing.T) {
	browser := http.Header{"Accept": {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, "Sec-Fetch-Site": {"none"}}
	for path, header := range map[string]http.Header{"/": browser, "/play": nil, "/dashboard": browser} {
		status, text, answered := do(t, http.MethodGet, "http://"+addr+path, nil, header)
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, text, "This is the embedded ClickHouse "+engine.version+" of millrace")
		require.Contains(t, text, "curl 'http://"+addr+"'")
		require.Equal(t, "text/plain; charset=UTF-8", answered.Get("Content-Type"))
		require.Equal(t, "nosniff", answered.Get("X-Content-Type-Options"))
	}
	status, text, _ := do(t, http.MethodGet, "http://"+addr+"/?query=SELECT+1", nil, browser)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "1\n", text)

	status, text, answered := do(t, http.MethodHead, "http://"+addr+"/?query=SELECT+1", nil, nil)
	require.Equal(t, http.StatusOK, status)
	require.Empty(t, text)
	require.Equal(t, "2", answered.Get("Content-Length"))
	status, _, answered = do(t, http.MethodOptions, "http://"+addr+"/", nil, nil)
	require.Equal(t, http.StatusNoContent, status)
	require.Equal(t, "GET, HEAD, POST, OPTIONS", answered.Get("Allow"))

	// Pages of its own origin alone get answers, whatever a request asks for.
	cors := "http://" + addr + "/?add_http_cors_header=1&query=SELECT+1"
	_, _, answered = do(t, http.MethodGet, cors, nil, http.Header{"Origin": {"http://" + addr}})
	require.Equal(t, "http://"+addr, answered.Get("Access-Control-Allow-Origin"))
	for _, method := range []string{http.MethodGet, http.MethodOptions, http.MethodPost} {
		status, _, answered = do(t, method, cors, nil, http.Header{"Origin": {"http://evil.example"}, "Access-Control-Request-Method": {"POST"}})
		require.Equal(t, http.StatusForbidden, status)
		require.Empty(t, answered.Get("Access-Control-Allow-Origin"))
	}
	status, _, _ = do(t, http.MethodGet, "http://"+addr+"/play", nil, http.Header{"Host": {"evil.example"}})
	require.Equal(t, http.StatusForbidden, status)
}

// The forms of requests that Grafana's data sources and ClickHouse's drivers send, as they were
// seen on the wire, from who has the password and from who has none.
func TestRequestsOfClients(t *testing.T) {
	f := newFront(t, defaultPace, readerWait)
	db := newDatabase(t)
	query(t, db, "CREATE TABLE t (at DateTime('UTC'), n UInt64) ENGINE = MergeTree ORDER BY at")
	query(t, db, "INSERT INTO t VALUES ('2001-02-03 04:05:06', 7)")
	series := "SELECT (intDiv(toUInt32(at), 60) * 60) * 1000 AS t, count() FROM " + db + ".t WHERE at >= toDateTime(981173000) AND at <= toDateTime(981174000) GROUP BY t ORDER BY t FORMAT JSON"
	for name, tc := range map[string]struct {
		method, params, body string
		header               http.Header
		want                 string
	}{
		"Altinity's plugin, GET":  {http.MethodGet, url.Values{"query": {series}, "add_http_cors_header": {"1"}, "default_format": {"JSON"}}.Encode(), "", http.Header{"X-Clickhouse-Format": {"JSON"}}, `981173100000`},
		"Altinity's plugin, POST": {http.MethodPost, "add_http_cors_header=1&database=" + db, series, http.Header{"Content-Type": {"text/plain"}, "Accept-Encoding": {"gzip"}}, `981173100000`},
		"JDBC 0.9": {
			http.MethodPost, "query_id=8a6a6cbb&compress=0&async_insert=0&wait_end_of_query=0&extremes=0", "SELECT timezone()",
			http.Header{"X-Clickhouse-Format": {"TabSeparated"}, "X-Clickhouse-Query-Id": {"8a6a6cbb"}, "X-Clickhouse-Database": {db}, "Content-Type": {"text/plain; charset=UTF-8"}},
			engine.zone,
		},
		"clickhouse-connect": {
			http.MethodPost, "session_id=5a1bc4a0&client_protocol_version=54405&query_id=a&cancel_http_readonly_queries_on_client_close=1&http_headers_progress_interval_ms=120000&send_progress_in_http_headers=1&wait_end_of_query=1&database=" + db,
			"SELECT n FROM t\n FORMAT Native",
			http.Header{"User-Agent": {"clickhouse-connect/1.12.0"}},
			"UInt64\x07",
		},
		"Node.js":           {http.MethodPost, "query_id=a&database=" + db + "&output_format_json_quote_64bit_integers=0&enable_http_compression=1", "SELECT n FROM t \nFORMAT JSONEachRow", http.Header{"Accept-Encoding": {"identity"}}, `{"n":7}`},
		"max rows of tools": {http.MethodPost, "max_result_rows=100&result_overflow_mode=break&database=" + db, "SELECT n FROM t", nil, "7\n"},
	} {
		for _, who := range []http.Header{withPassword, {}, {"Authorization": {"Basic ZGVmYXVsdDo="}}} {
			header := tc.header.Clone()
			if header == nil {
				header = http.Header{}
			}
			for key := range who {
				header.Set(key, who.Get(key))
			}
			status, text, _ := do(t, tc.method, "http://"+f.addr+"/?"+tc.params, strings.NewReader(tc.body), header)
			require.Equal(t, http.StatusOK, status, "%s: %s", name, text)
			require.Contains(t, text, tc.want, name)
		}
	}

	// Grafana's own plugin, and whoever uses database/sql: clickhouse-go over HTTP.
	for _, password := range []string{"right", ""} {
		for _, method := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionGZIP} {
			pool := clickhouse.OpenDB(&clickhouse.Options{
				Protocol: clickhouse.HTTP, Addr: []string{f.addr}, Auth: clickhouse.Auth{Database: db, Username: "default", Password: password},
				Compression: &clickhouse.Compression{Method: method}, DialTimeout: 10 * time.Second,
				ClientInfo: clickhouse.ClientInfo{Products: []struct{ Name, Version string }{{"grafana", "12"}}},
			})
			requireRows(t, pool)
		}
		pool, err := sql.Open("clickhouse", fmt.Sprintf("http://default:%s@%s/%s?dial_timeout=10s&max_execution_time=20", password, f.addr, db))
		require.NoError(t, err)
		requireRows(t, pool)
	}
}

// requireRows reads the table t as Grafana does. The test closes the pool.
func requireRows(t *testing.T, pool *sql.DB) {
	t.Helper()
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	require.NoError(t, pool.PingContext(t.Context()))
	rows, err := pool.QueryContext(t.Context(), "SELECT at, n FROM t WHERE n = ?", 7)
	require.NoError(t, err)
	types, err := rows.ColumnTypes()
	require.NoError(t, err)
	require.Equal(t, "UInt64", types[1].DatabaseTypeName())
	require.True(t, rows.Next())
	var at time.Time
	var n uint64
	require.NoError(t, rows.Scan(&at, &n))
	require.EqualValues(t, 981173106, at.Unix())
	require.EqualValues(t, 7, n)
	require.NoError(t, rows.Close())
	require.NoError(t, rows.Err())
}

// Revision 0 of Native, which is all that the engine writes, says nothing of a DateTime's time zone.
func TestNativeHasTimeZones(t *testing.T) {
	f := newFront(t, defaultPace, readerWait)
	for sql, want := range map[string]string{
		"SELECT toDateTime(1, 'Asia/Tokyo') AS a, 1 AS b, now() AS c FORMAT Native":                           "DateTime('Asia/Tokyo') UInt8 DateTime",
		"SELECT toDateTime({p:UInt32}, 'Asia/Tokyo') AS a;":                                                   "DateTime('Asia/Tokyo')",
		"SELECT * FROM (SELECT toDateTime(number, 'Asia/Tokyo') AS a FROM numbers(200000)) -- 'FORMAT Native": "DateTime('Asia/Tokyo')",
		"SELECT toDateTime64(1, 3, 'Asia/Tokyo') AS a, [toDateTime(1, 'UTC')] AS b":                           "DateTime64(3, 'Asia/Tokyo') Array(DateTime('UTC'))",
	} {
		_, text, _ := do(t, http.MethodPost, "http://"+f.addr+"/?client_protocol_version=54405&default_format=Native&param_p=1", strings.NewReader(sql), nil)
		r := chproto.NewReader(strings.NewReader(text))
		var got []string
		block := proto.NewBlock()
		require.NoError(t, block.Decode(r, 54_405), sql)
		for _, c := range block.Columns {
			got = append(got, string(c.Type()))
		}
		require.Equal(t, want, strings.Join(got, " "), sql)
	}
}
