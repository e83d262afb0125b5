//go:build linux && amd64

package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// front is the shared engine behind a password, with slots and a pace of its own.
type front struct {
	*Engine
	addr string
}

func newFront(t *testing.T, pace pace, wait time.Duration) *front {
	t.Helper()
	digest := PasswordDigest("right")
	f := &front{Engine: &Engine{
		lib: engine.lib, args: engine.args, version: engine.version, zone: engine.zone, dir: t.TempDir(), password: &digest, pace: pace,
		slots: newSlots(maxQueries, wait), readers: newSlots(maxReaders, wait),
		overdue: time.Hour, end: func(why string) { t.Error(why) },
	}}
	server := httptest.NewServer(http.HandlerFunc(f.handle))
	t.Cleanup(server.Close)
	f.addr = strings.TrimPrefix(server.URL, "http://")
	return f
}

// The engine does not look at its limits while it plans, and no KILL QUERY reaches it there.
func TestQueriesThatNothingEndsEndTheEngine(t *testing.T) {
	f := newFront(t, defaultPace, readerWait)
	ended := make(chan string, 1)
	f.overdue, f.end = time.Millisecond, func(why string) { ended <- why }
	status, answer, _ := f.post(t, "SELECT sleep(0.2)", nil)
	require.Equal(t, http.StatusOK, status, answer)
	require.Contains(t, <-ended, "SELECT sleep(0.2)")
	status, answer, _ = f.post(t, "SELECT sleep(0.2)", withPassword) // the pipeline's own may take their time
	require.Equal(t, http.StatusOK, status, answer)
	require.Empty(t, ended)
}

func (f *front) get(t *testing.T, query string, header http.Header) (status int, answer, code string) {
	t.Helper()
	status, answer, answered := do(t, http.MethodGet, "http://"+f.addr+"/?query="+url.QueryEscape(query), nil, header)
	return status, answer, answered.Get("X-ClickHouse-Exception-Code")
}

func (f *front) post(t *testing.T, query string, header http.Header) (status int, answer, code string) {
	t.Helper()
	status, answer, answered := do(t, http.MethodPost, "http://"+f.addr+"/", strings.NewReader(query), header)
	return status, answer, answered.Get("X-ClickHouse-Exception-Code")
}

var (
	withPassword  = http.Header{"X-Clickhouse-User": {"default"}, "X-Clickhouse-Key": {"right"}}
	wrongPassword = http.Header{"X-Clickhouse-User": {"default"}, "X-Clickhouse-Key": {"wrong"}}
)

func TestWithoutPasswordQueriesRead(t *testing.T) {
	db := newDatabase(t)
	query(t, db, "CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
	query(t, db, "INSERT INTO t VALUES (1), (2)")
	f := newFront(t, defaultPace, readerWait)
	for sql, want := range map[string]string{
		"SELECT sum(n) FROM " + db + ".t":                               "3\n",
		"SELECT * FROM " + db + ".t ORDER BY n LIMIT 1 FORMAT Vertical": "Row 1:\n──────\nn: 1\n",
		"WITH 2 AS x SELECT count() FROM " + db + ".t WHERE n = x;":     "1\n",
		"(SELECT 1)": "1\n",
		"SELECT settings FROM (SELECT 7 AS settings)": "7\n",
		"SELECT 'SETTINGS a = 1; INTO OUTFILE'":       "SETTINGS a = 1; INTO OUTFILE\n",
		"SHOW TABLES FROM " + db:                      "t\n",
		"EXISTS TABLE " + db + ".t":                   "1\n",
	} {
		status, answer, _ := f.get(t, sql, nil)
		require.Equal(t, http.StatusOK, status, answer)
		require.Equal(t, want, answer)
		status, answer, _ = f.post(t, sql, http.Header{"X-Clickhouse-User": {"default"}})
		require.Equal(t, http.StatusOK, status, answer)
		require.Equal(t, want, answer)
	}
	for _, sql := range []string{
		"INSERT INTO " + db + ".t VALUES (3)", "DROP TABLE " + db + ".t", "KILL QUERY WHERE 1", "SET readonly = 0", "SELECT 1; SELECT 2",
		"SELECT * FROM (SELECT 1 SETTINGS max_execution_time = 0)", "SELECT 1 INTO OUTFILE 'x'", "BACKUP TABLE " + db + ".t TO File('x')",
		"SELECT jsonMergePatch(repeat('{\"a\":', 300000), '{}')", "SELECT `JSONMergePatch`('{}', '{}')", `SELECT "\x6asonMergePatch"('{}')`,
		"SELECT * APPLY(jsonMergePatch) FROM (SELECT '{}')",
		"/* SELECT */ TRUNCATE TABLE " + db + ".t", "WITH 1 AS x INSERT INTO " + db + ".t SELECT x", "CREATE TEMPORARY TABLE x (a Int8)",
	} {
		status, answer, code := f.post(t, sql, nil)
		require.Equal(t, http.StatusInternalServerError, status, sql)
		require.Contains(t, []string{"164"}, code, "%s: %s", sql, answer)
	}
	status, answer, _ := do(t, http.MethodPost, "http://"+f.addr+"/?max_block_size=1", strings.NewReader("SELECT 1"), nil)
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, answer, "without a password queries here only read")
	require.Contains(t, answer, "refused are settings such as max_block_size")

	for name, header := range map[string]http.Header{
		"headers": withPassword,
		"basic":   {"Authorization": {"Basic ZGVmYXVsdDpyaWdodA=="}},
	} {
		status, answer, _ = f.post(t, "INSERT INTO "+db+".t VALUES (3)", header)
		require.Equal(t, http.StatusOK, status, "%s: %s", name, answer)
	}
	status, answer, _ = do(t, http.MethodPost, "http://"+f.addr+"/?user=default&password=right", strings.NewReader("INSERT INTO "+db+".t VALUES (4)"), nil)
	require.Equal(t, http.StatusOK, status, answer)
	require.Equal(t, "13\n", query(t, db, "SELECT sum(n) FROM t"))
}

func TestWrongPasswordIsRefused(t *testing.T) {
	f := newFront(t, defaultPace, readerWait)
	for _, header := range []http.Header{
		wrongPassword,
		{"X-Clickhouse-User": {"admin"}, "X-Clickhouse-Key": {"right"}},
		{"X-Clickhouse-User": {"admin"}},
		{"Authorization": {"Basic ZGVmYXVsdDp3cm9uZw=="}},
	} {
		status, answer, code := f.get(t, "SELECT 1", header)
		require.Equal(t, http.StatusForbidden, status)
		require.Equal(t, "516", code)
		require.Contains(t, answer, "Authentication failed")
	}
}

// A page that a browser shows can send a GET, and knows no password; but nor does a GET that has
// one write, whatever settings it brings.
func TestGetWritesNothing(t *testing.T) {
	f := newFront(t, defaultPace, queryWait)
	db := newDatabase(t)
	query(t, db, "CREATE TABLE t (n UInt32) ENGINE = Memory")
	schema := t.TempDir() + "/schema.proto"
	for _, header := range []http.Header{nil, withPassword} {
		for _, sql := range []string{
			"INSERT INTO " + db + ".t VALUES (1)", "CREATE DATABASE written", "SYSTEM FLUSH LOGS", "SET readonly = 0; DROP TABLE " + db + ".t",
			"SELECT 1 AS a FORMAT Protobuf SETTINGS output_format_schema = '" + schema + "'",
		} {
			status, answer, code := f.get(t, sql, header)
			require.NotEqual(t, http.StatusOK, status, answer)
			require.Equal(t, "164", code, "%s: %s", sql, answer)
		}
	}
	require.NoFileExists(t, schema)
	require.Equal(t, "0\n", query(t, db, "SELECT count() FROM t"))
	header := withPassword.Clone()
	header.Set("Origin", "http://evil.example")
	status, _, _ := f.post(t, "SELECT 1", header)
	require.Equal(t, http.StatusForbidden, status)
}

func TestQueriesWithoutPasswordAreBounded(t *testing.T) {
	f := newFront(t, defaultPace, readerWait)
	for sql, want := range map[string]string{
		"SELECT count() FROM numbers_mt(1000000000000) WHERE sipHash64(number) = 1": "158", // rows
		"SELECT groupArray(number) FROM numbers(100000000)":                         "241", // memory
		"SELECT number FROM numbers(10100000) FORMAT RowBinary":                     "396", // rows of the result
		"SELECT repeat('x', 1000) FROM numbers(70000)":                              "396", // bytes of the result
		"SELECT sleep(3)": "160",
		"SELECT sum(sleepEachRow(1)) FROM numbers(100)": "160",
	} {
		status, answer, code := f.get(t, sql, nil)
		require.Equal(t, http.StatusInternalServerError, status, sql)
		require.Equal(t, want, code, "%s: %s", sql, answer)
	}
	status, _, code := f.post(t, "SELECT '"+strings.Repeat("x", maxReadingBytes)+"'", nil)
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
	require.Equal(t, "307", code)
	status, _, code = f.post(t, "SELECT 1", http.Header{"Content-Encoding": {"gzip"}})
	require.Equal(t, http.StatusInternalServerError, status)
	require.Equal(t, "164", code)
}

// stall opens n connections whose requests announce a body that does not come.
func stall(t *testing.T, addr, headers string, n int) []net.Conn {
	t.Helper()
	var conns []net.Conn
	for range n {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\n%s\r\nSELECT", addr, headers)
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	return conns
}

func TestWhoHasNoPasswordKeepsNobodyWaiting(t *testing.T) {
	// Nothing here ends by itself while the test runs.
	f := newFront(t, pace{grace: time.Hour, rate: 1}, time.Hour)
	conns := stall(t, f.addr, "", 4*maxReaders)
	require.Eventually(t, func() bool { return len(f.readers.taken) == maxReaders }, 10*time.Second, time.Millisecond)
	for range 2 * maxQueries {
		status, answer, _ := f.post(t, "SELECT 1", withPassword)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "1\n", answer)
	}
	require.Len(t, f.readers.taken, maxReaders)
	for _, conn := range conns {
		require.NoError(t, conn.Close())
	}
}

func TestSlowClientsLoseTheirSlots(t *testing.T) {
	f := newFront(t, pace{grace: 50 * time.Millisecond, rate: 1 << 30}, time.Hour)
	for name, headers := range map[string]string{"without": "", "with": "X-ClickHouse-Key: right\r\n"} {
		for _, conn := range stall(t, f.addr, headers, 2*maxQueries) {
			answer, err := io.ReadAll(conn)
			if err == nil { // else the server had closed it before it had read all
				require.Contains(t, string(answer), "400 Bad Request", name)
				require.Contains(t, string(answer), "Cannot read all of the request's body", name)
			}
		}
	}
	require.Eventually(t, func() bool { return len(f.slots.taken)+len(f.readers.taken) == 0 }, 10*time.Second, time.Millisecond)
	status, _, _ := f.post(t, "SELECT 1", withPassword)
	require.Equal(t, http.StatusOK, status)
}

func TestRequestsBeyondTheSlotsAreRefusedAfterAWhile(t *testing.T) {
	f := newFront(t, pace{grace: time.Hour, rate: 1}, 10*time.Millisecond)
	stall(t, f.addr, "", maxReaders)
	require.Eventually(t, func() bool { return len(f.readers.taken) == maxReaders }, 10*time.Second, time.Millisecond)
	_, answer, code := f.get(t, "SELECT 1", nil)
	require.Equal(t, "202", code)
	require.Contains(t, answer, "Too many simultaneous queries: 4 run already")
}

// A body waits outside of the process until its request has a slot.
func TestBodiesAreReadWhenThereIsASlot(t *testing.T) {
	f := newFront(t, pace{grace: time.Hour, rate: 1}, time.Hour)
	for range maxQueries {
		require.NoError(t, f.slots.take(t.Context()))
	}
	read := make(chan struct{})
	body := &notifying{Reader: strings.NewReader("SELECT 1"), read: read}
	request := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", body)
	request.Header = withPassword.Clone()
	var wg sync.WaitGroup
	answer := httptest.NewRecorder()
	began := make(chan struct{})
	wg.Go(func() {
		close(began)
		f.handle(deadlines{answer}, request)
	})
	<-began
	select {
	case <-read:
		t.Error("the body was read before the request had a slot")
	default:
	}
	f.slots.give()
	wg.Wait()
	<-read
	require.Equal(t, "1\n", answer.Body.String())
}

// deadlines is a ResponseWriter that takes deadlines and does nothing with them.
type deadlines struct{ http.ResponseWriter }

func (deadlines) SetReadDeadline(time.Time) error  { return nil }
func (deadlines) SetWriteDeadline(time.Time) error { return nil }

type notifying struct {
	io.Reader
	once sync.Once
	read chan struct{}
}

func (n *notifying) Read(to []byte) (int, error) {
	n.once.Do(func() { close(n.read) })
	return n.Reader.Read(to)
}

func TestLargeInsertsWaitOnDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := newSpool(dir)
	require.NoError(t, err)
	defer s.Close()
	path := s.path()
	chunk := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	where := func() string {
		target, err := os.Readlink(path)
		require.NoError(t, err)
		return target
	}
	for range maxSpooledMemory / len(chunk) {
		_, err := s.Write(chunk)
		require.NoError(t, err)
	}
	require.Contains(t, where(), "memfd:insert")
	_, err = s.Write(chunk)
	require.NoError(t, err)
	require.Equal(t, path, s.path())
	require.True(t, strings.HasPrefix(where(), dir), where())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "it has no name")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, maxSpooledMemory+len(chunk), info.Size())
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	got := make([]byte, len(chunk))
	for {
		if _, err := io.ReadFull(file, got); errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.True(t, bytes.Equal(chunk, got))
	}
}

// The engine reads rows that wait on disk, in the sandbox too.
func TestLargeInsertIsStored(t *testing.T) {
	server := startConfined(t, t.TempDir()+"/data", settings{Sandbox: SandboxRequired, Password: "right"})
	status, answer := server.send(t, "right", "", "CREATE TABLE default.t (s String) ENGINE = Null")
	require.Equal(t, http.StatusOK, status, answer)
	row := strings.Repeat("x", 1<<20-1) + "\n"
	const rows = maxSpooledMemory>>20 + 4
	body := make([]io.Reader, 0, rows)
	for range rows {
		body = append(body, strings.NewReader(row))
	}
	status, answer, header := do(t, http.MethodPost, "http://"+server.addr+"/?query="+url.QueryEscape("INSERT INTO default.t FORMAT TSV"), io.MultiReader(body...), withPassword)
	require.Equal(t, http.StatusOK, status, answer)
	require.Contains(t, header.Get("X-ClickHouse-Summary"), fmt.Sprintf(`"written_rows":"%d"`, rows))
}

func TestConnectionsAreBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	limited := limitListener(ln, 2).(*limitedListener)
	accepted := make(chan net.Conn)
	go func() { // ends with the listener
		defer close(accepted)
		for {
			conn, err := limited.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	for range 3 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
	}
	first, second := <-accepted, <-accepted
	require.Len(t, limited.slots, 2)
	select {
	case <-accepted:
		t.Error("a third connection was accepted")
	default:
	}
	require.NoError(t, first.Close())
	require.Error(t, first.Close())
	third := <-accepted
	require.Len(t, limited.slots, 2)
	require.NoError(t, second.Close())
	require.NoError(t, third.Close())
	require.NoError(t, limited.Close())
	<-accepted
}
