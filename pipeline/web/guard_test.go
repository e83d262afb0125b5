package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/role"
)

// adminAt serves the port on a free port of loopback until the test ends.
func adminAt(t *testing.T, cfg config.HTTP) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr = ln.Addr().String()
	require.NoError(t, ln.Close())
	cfg.Addr = addr
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, cfg, prometheus.NewRegistry(), role.NewReadiness().Snapshot) }() // ends with the test
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, time.Minute, time.Millisecond)
	return addr
}

// ask sends one request with a Host header, and returns what came back.
func ask(t *testing.T, addr, host, path string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// A page of the web that has its name stand for loopback does not reach the port by the
// browser of someone on this machine.
func TestAdminRefusesForeignHosts(t *testing.T) {
	addr := adminAt(t, config.HTTP{})
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	for host, want := range map[string]int{
		addr: 200, "127.0.0.1": 200, "localhost:" + port: 200, "LOCALHOST": 200, "a.localhost": 200, "[::1]:" + port: 200, "[::1]": 200, "127.9.9.9": 200,
		"evil.example:" + port: 421, "127.0.0.1.evil.example": 421, "localhost.evil.example": 421, "notlocalhost": 421, "10.0.0.1": 421, "0.0.0.0": 421, "": 421,
	} {
		for _, path := range []string{"/healthz", "/metrics"} {
			status, _ := ask(t, addr, host, path)
			require.Equal(t, want, status, "%q %s", host, path)
		}
	}
	require.True(t, localHost("worker-1:8080", "worker-1:8080"), "the configured host is accepted")
	require.False(t, localHost("worker-2:8080", "worker-1:8080"))
}

func TestProfilesAreOffByDefaultAndBounded(t *testing.T) {
	require.False(t, config.Default().HTTP.Pprof)
	status, _ := ask(t, adminAt(t, config.HTTP{}), "localhost", "/debug/pprof/")
	require.Equal(t, http.StatusNotFound, status)

	addr := adminAt(t, config.HTTP{Pprof: true})
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200,
		"/debug/pprof/profile?seconds=61": 400, "/debug/pprof/profile?seconds=600": 400, "/debug/pprof/heap?seconds=9999999": 400,
	} {
		status, body := ask(t, addr, "localhost", path)
		require.Equal(t, want, status, "%s: %s", path, body)
	}
	status, _ = ask(t, addr, "evil.example", "/debug/pprof/goroutine?debug=1")
	require.Equal(t, http.StatusMisdirectedRequest, status)
	require.ErrorContains(t, Serve(t.Context(), config.HTTP{Addr: "0.0.0.0:0", Pprof: true}, prometheus.NewRegistry(), role.NewReadiness().Snapshot), "http.pprof")
}

// Clients that send nothing, or without end, take neither memory nor the port from others.
func TestAdminBoundsItsClients(t *testing.T) {
	srv := adminServer(http.NotFoundHandler())
	for _, limit := range []time.Duration{srv.ReadHeaderTimeout, srv.ReadTimeout, srv.WriteTimeout, srv.IdleTimeout} {
		require.Positive(t, limit)
		require.LessOrEqual(t, limit, time.Minute)
	}
	require.Equal(t, adminHeader, srv.MaxHeaderBytes)
	addr := adminAt(t, config.HTTP{})

	// A body is cut: what comes after it is not read.
	var read int64
	body := guarded(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { read, _ = io.Copy(io.Discard, r.Body) }), addr, true)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/", strings.NewReader(strings.Repeat("x", 2*adminBody)))
	require.NoError(t, err)
	body.ServeHTTP(nil, req)
	require.EqualValues(t, adminBody, read)

	// Of more connections than there may be, the last is served once another has ended.
	connect := func() net.Conn {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
		return conn
	}
	served := func(conn net.Conn) {
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
	}
	var open []net.Conn
	for range adminConnections {
		conn := connect()
		served(conn) // and kept open
		open = append(open, conn)
	}
	last := connect()
	for _, conn := range open {
		require.NoError(t, conn.Close())
	}
	served(last)
	require.NoError(t, last.Close())
}
