package clickhouse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/schemas/link"
)

// How servers are reached. clickhouse-go knows one address, and each of its connections has a
// transport, which sends a request to the server that is in use: the first of the configuration
// until it fails, then the next one, and so on in a circle. What was certainly not sent goes to
// the next server at once. What may have been sent is an error: whoever asked asks again, and a
// recorder looks for its rows first.

const (
	// connectTimeout bounds a connection's beginning, TLS included.
	connectTimeout = 5 * time.Second
	// helloTimeout is how long the first request of a connection, which asks a server for its
	// version, waits for an answer where there are other servers.
	helloTimeout = 5 * time.Second
	// maxForeignBody is how much is read of an answer that is not ClickHouse's.
	maxForeignBody = 64 << 10
)

// fleet is the servers of a client, and which of them is in use.
type fleet struct {
	addresses []Address
	username  string
	password  func() (string, error) // nil: none
	// certified says that the certificate of the connection is what lets the user in.
	certified bool
	// replicas says that the servers are replicas by Keeper, which one of them can lose alone.
	replicas bool
	dialer   *link.Dialer
	hello    time.Duration // helloTimeout, but in tests
	log      zerolog.Logger

	used atomic.Int64 // index of the server in use
}

// failed has the next server used, unless that was done meanwhile.
func (f *fleet) failed(server int, err error) {
	next := (server + 1) % len(f.addresses)
	if next != server && f.used.CompareAndSwap(int64(server), int64(next)) {
		f.log.Warn().Err(err).Stringer("address", f.addresses[server]).Stringer("next", f.addresses[next]).Msg("a server of clickhouse fails: using the next one")
	}
}

// refused has the next server used where the answer of one is an exception that is about this
// server alone: it has lost Keeper, or does not let the user in, as while a password is changed on
// one server after the other. What was asked of it was not done, or is looked for.
func (f *fleet) refused(server int, resp *http.Response) {
	code, err := strconv.ParseInt(resp.Header.Get("X-ClickHouse-Exception-Code"), 10, 32)
	if err == nil && f.ofOneServer(int32(code)) {
		f.failed(server, fmt.Errorf("it answers with exception %d", code))
	}
}

// ofOneServer tells whether an exception is about the server that answers, and no other.
func (f *fleet) ofOneServer(code int32) bool {
	switch code {
	case codeNoKeeper, codeTableReadonly, codeKeeper:
		return f.replicas
	case codeUnknownUser, codeWrongPassword, codeRequiredPassword, codeAuthentication:
		return true
	}
	return false
}

// of returns a fleet of some of the servers.
func (f *fleet) of(addresses []Address) *fleet {
	return &fleet{addresses: addresses, username: f.username, password: f.password, certified: f.certified, replicas: f.replicas, dialer: f.dialer, hello: f.hello, log: f.log}
}

// transport is an http.RoundTripper of one connection of clickhouse-go, which uses it for one
// request at a time.
type transport struct {
	http    *http.Transport
	fleet   *fleet
	only    int // the one server that is asked; -1: the one in use
	greeted bool
}

// newTransport takes what clickhouse-go would use.
func newTransport(base *http.Transport, f *fleet, only int) (*transport, error) {
	base.WriteBufferSize = 256 << 10 // inserts are large
	base.DialContext = dialing((&net.Dialer{}).DialContext)
	base.DialTLSContext = dialing(f.dialer.DialContext)
	// For connections through a proxy of the environment, which the dialer does not make.
	var err error
	if base.TLSClientConfig, err = f.dialer.Config(""); err != nil {
		return nil, err
	}
	return &transport{http: base, fleet: f, only: only}, nil
}

// unreached is an error of a connection that was not made: nothing was sent.
type unreached struct{ error }

func (e unreached) Unwrap() error { return e.error }

func dialing(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("no connection within %s", connectTimeout))
		defer cancel()
		conn, err := dial(ctx, network, addr)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
				err = fmt.Errorf("%w: %w", cause, err)
			}
			return nil, unreached{err}
		}
		return conn, nil
	}
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	body := &sparedBody{body: r.Body}
	if err := t.prepare(r); err != nil {
		return nil, errors.Join(err, body.end())
	}
	server, tries := t.only, 1
	if server < 0 {
		server, tries = int(t.fleet.used.Load()), len(t.fleet.addresses)
	}
	for {
		tries--
		resp, err := t.ask(r, body, server, tries > 0)
		if err == nil {
			t.greeted = true
			if t.only < 0 {
				t.fleet.refused(server, resp)
			}
			_ = body.end() // what it has not read by now, the server does not want
			return resp, nil
		}
		if errors.Is(r.Context().Err(), context.Canceled) {
			return nil, errors.Join(err, body.end()) // by the caller: the server may be well
		}
		err = fmt.Errorf("reach clickhouse at %s: %w", t.fleet.addresses[server], withoutAddress(err))
		if t.only < 0 {
			t.fleet.failed(server, err)
		}
		// A question for the version can be asked again, whatever has become of it.
		again := errors.As(err, new(unreached)) && !body.begun() || !t.greeted && r.GetBody != nil
		if tries == 0 || !again || r.Context().Err() != nil {
			return nil, errors.Join(err, body.end())
		}
		if body.begun() {
			fresh, err := r.GetBody()
			if err != nil {
				return nil, errors.Join(err, body.end())
			}
			body = &sparedBody{body: fresh}
		}
		server = (server + 1) % len(t.fleet.addresses)
	}
}

// ask sends the request to a server. bounded says that there is another one to go to.
func (t *transport) ask(r *http.Request, body *sparedBody, server int, bounded bool) (*http.Response, error) {
	a := t.fleet.addresses[server]
	ctx := r.Context()
	asked := r
	stop := func() bool { return true }
	if bounded && !t.greeted {
		bound, cancel := context.WithCancelCause(ctx)
		timer := time.AfterFunc(t.fleet.hello, func() { cancel(fmt.Errorf("no answer within %s", t.fleet.hello)) })
		stop = timer.Stop // the body of the answer is read without a bound
		ctx = bound
	}
	asked = asked.Clone(ctx)
	if r.Body != nil {
		asked.Body = body
	}
	asked.URL.Scheme, asked.URL.Host, asked.Host = "http", a.Host, ""
	if a.Secure {
		asked.URL.Scheme = "https"
	}
	asked.URL.Path = a.path + "/"
	asked.URL.RawPath = ""
	resp, err := t.http.RoundTrip(asked)
	stop()
	if err != nil {
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, ch.ErrAcquireConnTimeout): // its words are for programmers
			err = errors.New("no answer in time")
		case cause != nil && r.Context().Err() == nil:
			err = cause
		}
		return nil, explainHTTP(err)
	}
	if err := foreign(resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// prepare puts in what clickhouse-go does not: the statement of the request's context in the
// place of the plain INSERT that it makes of each, since it knows no INSERT … SELECT with rows
// behind it; and who asks.
func (t *transport) prepare(r *http.Request) error {
	if statement, ok := r.Context().Value(statementKey{}).(string); ok && r.URL.Query().Has("query") { // the first request of a connection has it in its body
		query := r.URL.Query()
		query.Set("query", statement)
		r.URL.RawQuery = query.Encode()
	}
	password := ""
	if t.fleet.password != nil {
		var err error
		if password, err = t.fleet.password(); err != nil {
			return err
		}
	}
	r.URL.User = nil
	if t.fleet.certified && password == "" {
		r.Header.Del("Authorization") // servers refuse a request that says both
		r.Header.Set("X-ClickHouse-User", t.fleet.username)
		r.Header.Set("X-ClickHouse-SSL-Certificate-Auth", "on")
		return nil
	}
	r.SetBasicAuth(t.fleet.username, password)
	return nil
}

// CloseIdleConnections is called when clickhouse-go closes the connection.
func (t *transport) CloseIdleConnections() { t.http.CloseIdleConnections() }

// sparedBody is a request's body that outlives a try in which nothing of it was read. The
// transport reads and closes it on a goroutine of its own, which may go on after RoundTrip.
type sparedBody struct {
	body io.ReadCloser // nil: none

	mu     sync.Mutex
	read   bool // has been begun
	ended  bool // will not be read again
	closed bool
}

// Read implements io.Reader.
func (b *sparedBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	b.read = true
	b.mu.Unlock()
	return b.body.Read(p)
}

// Close implements io.Closer. Before the first Read it does nothing: the body may go to another
// server.
func (b *sparedBody) Close() error {
	b.mu.Lock()
	passed := b.read || b.ended
	b.mu.Unlock()
	if !passed {
		return nil
	}
	return b.close()
}

// begun tells whether something of it has been read.
func (b *sparedBody) begun() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

// end says that no other server will get it. What nobody reads is closed.
func (b *sparedBody) end() error {
	b.mu.Lock()
	b.ended = true
	reading := b.read // whoever reads it closes it
	b.mu.Unlock()
	if reading {
		return nil
	}
	return b.close()
}

func (b *sparedBody) close() error {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	b.mu.Unlock()
	if closed || b.body == nil {
		return nil
	}
	return b.body.Close()
}

// foreign tells by an error that an answer is not ClickHouse's, as where a proxy has no server
// behind it. Else the body is as it was.
func foreign(resp *http.Response) error {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode == http.StatusOK {
		if media == "text/html" {
			return errors.New("it answers with a web page: clickhouse.addr must name the HTTP interface of ClickHouse, with the path that a proxy has for it")
		}
		return nil
	}
	if resp.Header.Get("X-ClickHouse-Exception-Code") != "" {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxForeignBody))
	if err != nil {
		return fmt.Errorf("it answers %s, and its text ends early: %w", resp.Status, err)
	}
	if bytes.HasPrefix(text, []byte("Code: ")) {
		_ = resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(text))
		return nil
	}
	switch {
	case bytes.Contains(text, []byte("HTTP request to an HTTPS server")), bytes.Contains(text, []byte("plain HTTP request was sent to HTTPS port")):
		return errors.New("it speaks TLS: write https:// in clickhouse.addr, or set clickhouse.tls.enabled")
	case bytes.Contains(text, []byte("clickhouse-client program")):
		return errors.New("this is the port of ClickHouse's native protocol: clickhouse.addr must name its HTTP interface, 8123 or 8443 unless the server says otherwise")
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Errorf("it answers %s and leads elsewhere: write in clickhouse.addr where it leads to, such as https:// instead of http://", resp.Status)
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("it answers %s: clickhouse.addr must name the HTTP interface of ClickHouse, with the path that a proxy has for it", resp.Status)
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusProxyAuthRequired:
		return fmt.Errorf("it answers %s, not as ClickHouse does: a proxy in front of it lets this request not pass", resp.Status)
	}
	return fmt.Errorf("it answers %s, not as ClickHouse does: a proxy there, whose server is away, or another program", resp.Status)
}
