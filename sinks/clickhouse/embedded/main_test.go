//go:build linux && amd64

package embedded

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/deploy/native"
)

// childDir names the data directory when the test binary is to be a server instead of a test, and
// childSettings is how it is confined, as JSON of settings; childLibrary is the library, which
// need not be checked again.
const (
	childDir      = "MILLRACE_TEST_EMBEDDED_DIR"
	childSettings = "MILLRACE_TEST_EMBEDDED_SETTINGS"
	childLibrary  = "MILLRACE_TEST_EMBEDDED_LIBRARY"
)

// The engine that the tests share, and its address; each uses a database of its own.
var (
	engine *Engine
	addr   string
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(serveChild(dir))
	}
	os.Exit(serveAndRun(m))
}

func serveAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "embedded")
	if err != nil {
		return failed(err)
	}
	defer os.RemoveAll(dir)
	library, err := native.ClickHouse.Find()
	if err != nil {
		return failed(err)
	}
	if err := os.Setenv(childLibrary, library); err != nil {
		return failed(err)
	}
	if engine, err = Open(Config{Dir: dir, Library: library}); err != nil {
		return failed(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return failed(err)
	}
	addr = ln.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- engine.Serve(ctx, ln) }() // ended by stop
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-served; err != nil {
		return failed(err)
	}
	if err := goleak.Find(); err != nil {
		return failed(err)
	}
	return code
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// serveChild serves dir until SIGTERM; it writes its address to stdout once it is open.
func serveChild(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return failed(err)
	}
	cfg, err := childConfig(dir)
	if err != nil {
		return failed(err)
	}
	engine, err := Open(cfg)
	if err != nil {
		return failed(err)
	}
	if engine.Lacking() != "" {
		fmt.Fprintln(os.Stderr, "this kernel cannot keep queries from", engine.Lacking())
	}
	fmt.Println(ln.Addr())
	if err := engine.Serve(ctx, ln); err != nil {
		return failed(err)
	}
	return 0
}

// startChild starts a server process on dir and returns its address. The test's end kills it.
func startChild(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return cmd, strings.TrimSpace(line)
}

var databases atomic.Int32

// newDatabase makes a database for the test and returns its name.
func newDatabase(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("db%d", databases.Add(1))
	require.Equal(tb, "", query(tb, "", "CREATE DATABASE "+name))
	return name
}

// connect returns a client of the shared engine.
func connect(tb testing.TB, database string, compression *clickhouse.Compression) clickhouse.Conn {
	tb.Helper()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Protocol:    clickhouse.HTTP,
		Addr:        []string{addr},
		Auth:        clickhouse.Auth{Database: database},
		Compression: compression,
		DialTimeout: 10 * time.Second,
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, conn.Close()) })
	return conn
}
