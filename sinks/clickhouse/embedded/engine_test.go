//go:build linux && amd64

package embedded

import (
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDataSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	child, at := startChild(t, dir)
	send := func(sql string) string {
		status, text, _ := do(t, http.MethodPost, "http://"+at+"/", strings.NewReader(sql), nil)
		require.Equal(t, http.StatusOK, status, text)
		return text
	}
	send("CREATE DATABASE d")
	send("CREATE TABLE d.t (n UInt32) ENGINE = MergeTree ORDER BY n")
	send("CREATE TABLE default.t (n UInt32) ENGINE = MergeTree ORDER BY n")
	send("INSERT INTO d.t VALUES (1), (2)")
	send("INSERT INTO default.t VALUES (3)")
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())

	child, at = startChild(t, dir)
	require.Equal(t, "3\n", send("SELECT sum(n) FROM d.t"))
	send("INSERT INTO d.t VALUES (4)")
	require.Equal(t, "10\n", send("SELECT sum(n) FROM (SELECT n FROM d.t UNION ALL SELECT n FROM default.t)"))
	require.NoError(t, child.Process.Signal(syscall.SIGTERM))
	require.NoError(t, child.Wait())

	_, at = startChild(t, dir)
	require.Equal(t, "7\n", send("SELECT sum(n) FROM d.t"))
}

func TestShutdownFinishesQueries(t *testing.T) {
	child, at := startChild(t, t.TempDir())
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // ends with the request
		res, err := http.Get("http://" + at + "/?query=" + url.QueryEscape("SELECT sleep(1), 'done' FORMAT TSV"))
		if err != nil {
			answers <- answer{err: err}
			return
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		answers <- answer{string(text), err}
	}()
	require.Eventually(t, func() bool {
		_, text, _ := do(t, http.MethodGet, "http://"+at+"/?query="+url.QueryEscape("SELECT count() FROM system.processes WHERE query LIKE '%sleep(1)%' AND query NOT LIKE '%processes%'"), nil, nil)
		return text == "1\n"
	}, 5*time.Second, 10*time.Millisecond)
	require.NoError(t, child.Process.Signal(syscall.SIGTERM))
	require.NoError(t, child.Wait())
	got := <-answers
	require.NoError(t, got.err)
	require.Equal(t, "0\tdone\n", got.text)
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	child, _ := startChild(t, dir)
	_, err := lockDir(dir)
	require.ErrorContains(t, err, "data directory "+dir+" is in use by process ")
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	lock, err := lockDir(dir)
	require.NoError(t, err)
	require.NoError(t, lock.Close())
}

func TestOpenRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Config
		want string
	}{
		"second engine":   {Config{Dir: t.TempDir()}, "this process has an embedded ClickHouse already"},
		"no directory":    {Config{}, "needs a data directory"},
		"all interfaces":  {Config{Dir: t.TempDir(), Listen: ":8123"}, "is not a loopback address"},
		"public address":  {Config{Dir: t.TempDir(), Listen: "192.0.2.1:8123"}, "is not a loopback address"},
		"name":            {Config{Dir: t.TempDir(), Listen: "example.com:8123"}, "is not a loopback address"},
		"address no port": {Config{Dir: t.TempDir(), Listen: "127.0.0.1"}, "missing port"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(tc.cfg)
			require.ErrorContains(t, err, tc.want)
		})
	}
	for _, listen := range []string{"127.0.0.1:8123", "localhost:0", "[::1]:8123"} {
		require.NoError(t, checkLoopback(listen))
	}
}

func TestLibraryOfAnotherVersion(t *testing.T) {
	_, err := loadLibrary("libc.so.6")
	require.ErrorContains(t, err, "is not the pinned version, run `make native`")
	_, err = loadLibrary(filepath.Join(t.TempDir(), "missing.so"))
	require.ErrorContains(t, err, "load the ClickHouse engine")
}

// The engine takes over SIGSEGV when it starts; unless Go gets it back, this ends the process.
func TestNilDereferenceIsStillAPanic(t *testing.T) {
	query(t, "", "SELECT 1")
	var nothing *struct{ n int }
	require.Panics(t, func() { nothing.n++ })
}

func TestKillQueries(t *testing.T) {
	codes := make(chan string, 1)
	go func() { // ends with the query
		defer close(codes)
		_, _, header := post(t, nil, nil, "query", "SELECT count() FROM numbers_mt(1000000000000) WHERE sipHash64(number) = 1")
		codes <- header.Get("X-ClickHouse-Exception-Code")
	}()
	require.Eventually(t, func() bool {
		return query(t, "", "SELECT count() FROM system.processes WHERE query LIKE '%sipHash64(number)%'") == "2\n" // and this one
	}, 5*time.Second, 10*time.Millisecond)
	require.NoError(t, engine.killQueries())
	require.Equal(t, "394", <-codes)
}
