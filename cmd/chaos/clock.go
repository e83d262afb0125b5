package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// skew is a way to ClickHouse on which the server's clock seems to be ahead: queries come to
// it with their reading of the clock moved, be it asked for or checked by an insert. It can
// also keep inserts back that their clients have sent, and let them through when these are
// long gone. It is safe for concurrent use. Close it.
type skew struct {
	srv   *http.Server
	to    *httputil.ReverseProxy
	ln    net.Listener
	ahead atomic.Int64 // nanoseconds
	done  chan struct{}

	mu   sync.Mutex
	free chan struct{} // inserts that are kept back wait until it is closed
	hold bool          // inserts that come are kept back
	held chan struct{} // gets one for each insert that waits
}

func newSkew(target string) (*skew, error) {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a clock: %w", err)
	}
	s := &skew{ln: ln, done: make(chan struct{}), free: make(chan struct{}), held: make(chan struct{}, 1024)}
	s.to = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: target}) },
		Transport: &http.Transport{DisableCompression: true},
		// A client or a server that was killed is no news here.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	s.srv = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { // ends with Close
		defer close(s.done)
		_ = s.srv.Serve(ln) // it is closed
	}()
	return s, nil
}

// Addr returns the address that clients use.
func (s *skew) Addr() string { return s.ln.Addr().String() }

// Set moves the clock.
func (s *skew) Set(ahead time.Duration) { s.ahead.Store(int64(ahead)) }

// Hold keeps inserts back from now on. The channel gets a value for each that has come whole.
func (s *skew) Hold() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = true
	return s.held
}

// Pass lets the inserts through that are still to come.
func (s *skew) Pass() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = false
}

// Release lets the inserts through that were kept back, and those to come.
func (s *skew) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = false
	close(s.free)
	s.free = make(chan struct{})
}

// Close waits for the end of what was let through.
func (s *skew) Close() error {
	s.Release()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := s.srv.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("end what clients still ask: %w", err), s.srv.Close())
	}
	<-s.done
	s.to.Transport.(*http.Transport).CloseIdleConnections()
	return err
}

// reading is how millrace's queries read the server's clock.
var reading = regexp.MustCompile(`\bnow(64)?\([^()]*\)`)

// moved returns the query with the clock moved.
func moved(query string, ahead time.Duration) string {
	if ahead == 0 {
		return query
	}
	return reading.ReplaceAllString(query, fmt.Sprintf("(${0} + INTERVAL %d SECOND)", int64(ahead.Seconds())))
}

// mostQuery bounds a query that comes as a body.
const mostQuery = 4 << 20

// ServeHTTP implements http.Handler.
func (s *skew) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ahead := time.Duration(s.ahead.Load())
	values := r.URL.Query()
	query := values.Get("query")
	if query == "" { // then it is the body
		body, err := io.ReadAll(io.LimitReader(r.Body, mostQuery))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		setBody(r, []byte(moved(string(body), ahead)))
		s.to.ServeHTTP(w, r)
		return
	}
	values.Set("query", moved(query, ahead))
	r.URL.RawQuery = values.Encode()
	s.mu.Lock()
	hold, free := s.hold, s.free
	s.mu.Unlock()
	if hold && strings.HasPrefix(query, "INSERT") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		setBody(r, body)
		s.held <- struct{}{}
		<-free // closed by Release, which Close calls too
		// Its client may be gone by now. Of a context without end the proxy would watch the client.
		ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
		defer cancel()
		r = r.WithContext(ctx)
	}
	s.to.ServeHTTP(w, r)
}

func setBody(r *http.Request, body []byte) {
	r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
}
