package clickhouse_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log" //nolint:depguard // what net/http takes
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/link"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
)

func TestAddresses(t *testing.T) {
	on := link.TLS{Enabled: true}
	for text, want := range map[string]string{
		"ch:8123":                         "",
		"[::1]:8123":                      "",
		"http://ch:8123":                  "",
		"https://ch.example:8443":         "",
		"https://proxy.example:443/a/b/":  "",
		"ch":                              `"ch" is neither host:port nor a URL as https://host:8443`,
		":8123":                           `":8123" is neither host:port nor a URL as https://host:8443`,
		"ch:http":                         `"ch:http" is neither host:port nor a URL as https://host:8443`,
		"ch:70000":                        `"ch:70000" is neither host:port nor a URL as https://host:8443`,
		"ch:8123/x":                       `"…" is neither host:port nor a URL as https://host:8443`,
		"u:canary@ch:8123":                `"…@ch:8123" is neither host:port nor a URL as https://host:8443`,
		"https://u:canary@ch:8443":        `"https://…@ch:8443" names a user: write it as clickhouse.username, and the password as clickhouse.password_file or clickhouse.password`,
		"https://ch:8443/?password=canar": `"https://ch:8443/…": nothing stands behind the path: settings belong to the user's profile on the server`,
		"tcp://ch:9000":                   `"tcp://ch:9000": the HTTP interface is needed: host:port, http:// or https://, and its port, which is 8123 or 8443 unless the server says otherwise`,
		"clickhouse://u:canary@ch:9000":   `"clickhouse://…@ch:9000": the HTTP interface is needed: host:port, http:// or https://, and its port, which is 8123 or 8443 unless the server says otherwise`,
		"https://ch":                      `"https://ch": write the port: ClickHouse's own is 8443 for https and 8123 for http, that of a proxy often 443`,
		"http://%zz:1":                    `"…" is no URL`,
	} {
		_, err := clickhouse.ParseAddresses([]string{text}, link.TLS{})
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.EqualError(t, err, "clickhouse.addr: "+want)
	}
	_, err := clickhouse.ParseAddresses([]string{"http://ch:8123"}, on)
	require.EqualError(t, err, `clickhouse.addr: "http://ch:8123": clickhouse.tls is set, and http:// is plain text: write https:// or host:port`)
	_, err = clickhouse.ParseAddresses([]string{"ch:8123", "http://ch:8123"}, link.TLS{})
	require.EqualError(t, err, "clickhouse.addr: ch:8123 stands twice")
	a, err := clickhouse.ParseAddress("ch:8443", on)
	require.NoError(t, err)
	require.True(t, a.Secure)
	require.False(t, a.Loopback())
}

// proxy is a way to the engine of the tests.
func proxy(t *testing.T, prefix string) http.Handler {
	t.Helper()
	forward := &httputil.ReverseProxy{ErrorLog: discardLog(), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: clickhousetest.Addr()})
		r.Out.URL.Path = "/"
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != prefix+"/" {
			http.Error(w, "no such path: "+r.URL.Path, http.StatusTeapot)
			return
		}
		forward.ServeHTTP(w, r)
	})
}

// open returns a client of servers, and what it logs.
func open(t *testing.T, change func(*clickhouse.Options), addr ...string) (*clickhouse.Client, *logged) {
	t.Helper()
	told := &logged{}
	o := clickhouse.Options{Addr: addr, Storage: schemas.Storage{Database: "millrace", TTLDays: 1}, Logger: zerolog.New(told)}
	if change != nil {
		change(&o)
	}
	c, err := clickhouse.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c, told
}

type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// discardLog is for servers whose clients refuse them.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// serve returns the address of a server that the test's end stops.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// closedPort returns an address that nobody listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// Whatever is wrong with the first server, the first statement is answered by the second one.
func TestFirstServerFails(t *testing.T) {
	good := serve(t, proxy(t, "").ServeHTTP)
	secure := httptest.NewTLSServer(proxy(t, ""))
	secure.Config.ErrorLog = discardLog()
	t.Cleanup(secure.Close)
	for name, first := range map[string]string{
		"refused": closedPort(t),
		"bad gateway": serve(t, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>Bad Gateway</html>", http.StatusBadGateway)
		}),
		"unavailable": serve(t, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>no server</html>", http.StatusServiceUnavailable)
		}),
		"web page": serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, "<html>sign in</html>")
		}),
		"ends":          serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"wrong trust":   secure.URL,
		"no such host":  "clickhouse.invalid:8123",
		"wrong handler": serve(t, proxy(t, "/elsewhere").ServeHTTP),
	} {
		t.Run(name, func(t *testing.T) {
			c, told := open(t, nil, first, good)
			require.NoError(t, c.Ping(t.Context()))
			require.Contains(t, told.String(), "a server of clickhouse fails: using the next one")
			require.NoError(t, c.Exec(t.Context(), "SELECT 1"))
			_, err := c.Servers(t.Context())
			require.Error(t, err, "each server is asked")
		})
	}
}

// A server that does not let the user in, as while its password is another one than that of the others,
// costs one statement.
func TestServerDoesNotLetTheUserIn(t *testing.T) {
	first := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-ClickHouse-Exception-Code", "516")
		http.Error(w, "Code: 516. DB::Exception: default: Authentication failed. (AUTHENTICATION_FAILED)", http.StatusUnauthorized)
	})
	c, told := open(t, nil, first, serve(t, proxy(t, "").ServeHTTP))
	require.ErrorContains(t, c.Ping(t.Context()), "user default is not let in")
	require.Contains(t, told.String(), "a server of clickhouse fails: using the next one")
	for range 3 {
		require.NoError(t, c.Ping(t.Context()))
	}
}

// A server that takes connections and answers nothing costs the others no statement.
func TestFirstServerHangs(t *testing.T) {
	hang := make(chan struct{})
	var asked atomic.Int32
	first := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the server sees the client go
		asked.Add(1)
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(hang) })
	c, _ := open(t, nil, first, serve(t, proxy(t, "").ServeHTTP))
	clickhouse.AwaitHello(c, 200*time.Millisecond)
	require.NoError(t, c.Ping(t.Context()))
	require.NoError(t, c.Ping(t.Context()))
	require.EqualValues(t, 1, asked.Load(), "the server that answers is used on")
}

// What may have been sent is not sent again: an INSERT whose server ends the connection is an error.
func TestInsertIsSentOnce(t *testing.T) {
	var inserts atomic.Int32
	through := proxy(t, "")
	handler := func(w http.ResponseWriter, r *http.Request) {
		text := r.URL.Query().Get("query")
		if strings.HasPrefix(text, "INSERT") {
			_, _ = io.Copy(io.Discard, r.Body)
			inserts.Add(1)
			panic(http.ErrAbortHandler)
		}
		through.ServeHTTP(w, r)
	}
	c, _ := open(t, nil, serve(t, handler), serve(t, handler))
	require.NoError(t, c.Exec(t.Context(), "SELECT 1"))
	err := c.InsertRows(t.Context(), "windows", []struct {
		Model string `ch:"model"`
	}{{"m"}})
	require.Error(t, err)
	require.LessOrEqual(t, inserts.Load(), int32(1))
}

// Each of the ways to reach what is not ClickHouse, or not by this link, is one sentence that names
// the key to mend, and none holds the password.
func TestLinkSentences(t *testing.T) {
	secure := httptest.NewUnstartedServer(proxy(t, ""))
	secure.Config.ErrorLog = discardLog()
	secure.StartTLS()
	t.Cleanup(secure.Close)
	host := strings.TrimPrefix(secure.URL, "https://")
	plain := serve(t, proxy(t, "").ServeHTTP)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))
	status := func(code int, text string) string {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://elsewhere/canary-path")
			w.WriteHeader(code)
			fmt.Fprint(w, text)
		})
	}
	exception := func(code int, text string) string {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(code))
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprintf(w, "Code: %d. DB::Exception: %s", code, text)
		})
	}
	for name, tc := range map[string]struct {
		addr string
		tls  link.TLS
		want string
		bare bool // what was to be asked has nothing to do with it, and is not named
	}{
		"trusted":          {addr: "https://" + host, tls: link.TLS{CAFile: ca}},
		"host:port by TLS": {addr: host, tls: link.TLS{CAFile: ca}},
		"no authority":     {addr: "https://" + host, want: "set clickhouse.tls.ca_file", bare: true},
		"wrong name":       {addr: "https://" + host, tls: link.TLS{CAFile: ca, ServerName: "other.test"}, want: "or set clickhouse.tls.server_name"},
		"plain to TLS":     {addr: host, want: "it speaks TLS: write https:// in clickhouse.addr, or set clickhouse.tls.enabled"},
		"TLS to plain":     {addr: "https://" + plain, want: "it does not speak TLS"},
		"moved":            {addr: status(http.StatusMovedPermanently, ""), want: "it answers 301 Moved Permanently and leads elsewhere"},
		"gateway":          {addr: status(http.StatusBadGateway, "<html>canary-page</html>"), want: "it answers 502 Bad Gateway, not as ClickHouse does: a proxy there, whose server is away, or another program"},
		"forbidden":        {addr: status(http.StatusForbidden, "no"), want: "a proxy in front of it lets this request not pass"},
		"not found":        {addr: status(http.StatusNotFound, "There is no handle /x"), want: "clickhouse.addr must name the HTTP interface of ClickHouse, with the path that a proxy has for it"},
		"native port":      {addr: status(http.StatusBadRequest, "Port 9000 is for clickhouse-client program\r\n"), want: "this is the port of ClickHouse's native protocol"},
		"closed":           {addr: closedPort(t), want: "connection refused", bare: true},
		"wrong password":   {addr: exception(516, "u: Authentication failed: password is incorrect"), want: "user u is not let in: check clickhouse.username, and clickhouse.password_file or clickhouse.password", bare: true},
		"no grant":         {addr: exception(497, "u: Not enough privileges. To execute this query, it's necessary to have the grant CREATE DATABASE"), want: "user u (clickhouse.username) lacks this grant"},
		"readonly":         {addr: exception(164, "Cannot modify 'x' setting in readonly mode"), want: "readonly must be 2 for a user that only reads"},
		"constraint":       {addr: exception(452, "Setting max_execution_time shouldn't be greater than 10"), want: "constrains a setting that is sent with each query"},
	} {
		t.Run(name, func(t *testing.T) {
			c, told := open(t, func(o *clickhouse.Options) {
				o.Username, o.TLS = "u", tc.tls
				o.PasswordFrom = func() (string, error) { return "canary p@ss", nil }
				if tc.want == "" {
					o.Username, o.PasswordFrom = "", nil
				}
			}, tc.addr)
			var rows []struct{}
			_, errQuery := c.QueryArrow(t.Context(), "SELECT 1")
			for _, err := range []error{c.Ping(t.Context()), c.Exec(t.Context(), "SELECT 1"), c.Ask(t.Context(), &rows, "SELECT 1 WHERE 0"), errQuery} {
				if tc.want == "" {
					require.NoError(t, err)
					continue
				}
				require.ErrorContains(t, err, tc.want)
				require.NotContains(t, err.Error(), "canary")
				require.NotContains(t, err.Error(), "compile_expressions", "no settings of a URL")
				require.NotContains(t, err.Error(), "server hello", "no words of the driver")
				if tc.bare {
					require.NotContains(t, err.Error(), "SELECT")
				}
				require.NotContains(t, err.Error(), "\n")
			}
			require.NotContains(t, told.String(), "canary")
		})
	}
}

// The path of a proxy stands in front of every request, and is not shown.
func TestPathOfAProxy(t *testing.T) {
	addr := serve(t, proxy(t, "/canary/ch").ServeHTTP)
	c, _ := open(t, nil, "http://"+addr+"/canary/ch/")
	require.NoError(t, c.Ping(t.Context()))
	c, _ = open(t, nil, "http://"+addr+"/canary/else")
	err := c.Ping(t.Context())
	require.ErrorContains(t, err, "it answers 418")
	require.NotContains(t, err.Error(), "canary")
}

// A user can be let in by the certificate of the connection; with a password, by that.
func TestCertificateLetsTheUserIn(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf("%d %s %s %s", len(r.TLS.PeerCertificates), r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-SSL-Certificate-Auth"), r.Header.Get("Authorization")))
		http.Error(w, "Code: 202. DB::Exception: not now", http.StatusInternalServerError)
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = discardLog()
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	raw, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	for _, password := range []link.Source{nil, func() (string, error) { return "p", nil }} {
		c, _ := open(t, func(o *clickhouse.Options) {
			o.Username, o.PasswordFrom = "recorder", password
			o.TLS = link.TLS{CAFile: cert, CertFile: cert, KeyFile: key}
		}, s.URL)
		require.Error(t, c.Ping(t.Context()))
	}
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"1 recorder on ", "1   Basic cmVjb3JkZXI6cA=="}, seen)
}

// A caller that gives up says nothing about the server.
func TestGivingUpKeepsTheServer(t *testing.T) {
	arrived := make(chan struct{}, 1)
	through := proxy(t, "")
	first := serve(t, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		if bytes.Contains(text, []byte("SELECT 2")) {
			arrived <- struct{}{}
			<-r.Context().Done()
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(text))
		through.ServeHTTP(w, r)
	})
	c, told := open(t, nil, first, closedPort(t))
	require.NoError(t, c.Ping(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }() // ends when the question has arrived
	require.Error(t, c.Exec(ctx, "SELECT 2"))
	require.NoError(t, c.Ping(t.Context()))
	require.NotContains(t, told.String(), "using the next one")
}
