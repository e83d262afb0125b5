package pipeline_test

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stage is how far the insert that a gate holds has come.
type stage int

const (
	unforwarded stage = iota // the server has nothing of it, and the client keeps its body
	delayed                  // the gate has all of it, the server nothing
	halfSent                 // the server has half of its body
	unreported               // the server has answered, and the client does not know
)

// gate is a way to ClickHouse that holds the first insert into a table.
type gate struct {
	testing.TB
	to      string // address of ClickHouse
	table   string
	stage   stage
	armed   atomic.Bool
	reached chan struct{} // closed when the insert is held
	open    chan struct{} // closed to let it go
	status  chan int      // what the server said to it in the end; 0: it did not come
}

// newGate starts a gate; the test's end stops it. It returns its address too.
func newGate(tb testing.TB, to, table string, at stage) (*gate, string) {
	tb.Helper()
	g := &gate{TB: tb, to: to, table: table, stage: at, reached: make(chan struct{}), open: make(chan struct{}), status: make(chan int, 1)}
	g.armed.Store(true)
	server := httptest.NewServer(g)
	tb.Cleanup(func() { // of a test that has failed, too, while the insert is held
		select {
		case <-g.open:
		default:
			close(g.open)
		}
		server.Close()
	})
	return g, strings.TrimPrefix(server.URL, "http://")
}

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	held := strings.HasPrefix(r.URL.Query().Get("query"), "INSERT INTO millrace."+g.table+" ") && g.armed.CompareAndSwap(true, false)
	body := io.Reader(r.Body)
	if held {
		switch g.stage {
		case unforwarded:
			close(g.reached)
			<-g.open
		case delayed:
			all, err := io.ReadAll(r.Body)
			body = bytes.NewReader(all)
			if err == nil {
				close(g.reached)
			}
			<-g.open
		case halfSent:
			all, err := io.ReadAll(io.LimitReader(r.Body, 4<<10))
			if err == nil {
				body = io.MultiReader(bytes.NewReader(all), &gatedReader{g, r.Body})
			}
		case unreported:
		}
	}
	// It goes on when its client has died.
	out, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, "http://"+g.to+r.URL.RequestURI(), body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	out.Header = r.Header.Clone()
	resp, err := http.DefaultClient.Do(out)
	if err != nil {
		if held {
			g.status <- 0
		}
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	if held {
		if g.stage == unreported {
			close(g.reached)
			<-g.open
		}
		g.status <- resp.StatusCode
	}
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // fails when the client has gone
}

// gatedReader is the rest of a body.
type gatedReader struct {
	gate *gate
	rest io.Reader
}

func (r *gatedReader) Read(p []byte) (int, error) {
	select {
	case <-r.gate.open:
	default:
		close(r.gate.reached)
		<-r.gate.open
	}
	return r.rest.Read(p)
}

// hold waits until the insert is held.
func (g *gate) hold() {
	g.Helper()
	select {
	case <-g.reached:
	case <-time.After(patience):
		require.Fail(g, "no insert into "+g.table)
	}
}

// pass lets the insert go and returns what the server says to it.
func (g *gate) pass() int {
	g.Helper()
	close(g.open)
	return g.answer()
}

// answer returns what the server says to the insert that was let go.
func (g *gate) answer() int {
	g.Helper()
	select {
	case status := <-g.status:
		return status
	case <-time.After(patience):
		require.Fail(g, "no answer to the insert into "+g.table)
	}
	return 0
}
