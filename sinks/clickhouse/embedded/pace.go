//go:build linux && amd64

package embedded

import (
	"context"
	"io"
	"net/http"
	"time"
)

// pace bounds how long a request may take to come and its answer to go: a client that stops holds
// a slot, and up to 64 MiB of memory.
type pace struct {
	grace time.Duration // that every body and answer has
	rate  int64         // bytes of them for which there is one second more
}

// defaultPace is many times slower than any client that gets on.
var defaultPace = pace{grace: 30 * time.Second, rate: 256 << 10}

func (p pace) after(n int64) time.Duration {
	return p.grace + time.Duration(float64(n)/float64(p.rate)*float64(time.Second))
}

// pacedBody is a request's body that fails when it comes too slowly.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	pace    pace
	began   time.Time
	set     time.Time // when the deadline was set last
	n       int64
	ended   error // of the last read: net/http says only once that a body ended early
}

// paced replaces the body of r. The first read starts the clock.
func (p pace) paced(w http.ResponseWriter, r *http.Request) {
	r.Body = &pacedBody{ReadCloser: r.Body, control: http.NewResponseController(w), pace: p}
}

func (b *pacedBody) Read(to []byte) (int, error) {
	if b.ended != nil {
		return 0, b.ended
	}
	now := time.Now()
	if b.began.IsZero() {
		b.began = now
	}
	if now.Sub(b.set) > b.pace.grace/16 {
		b.set = now
		if err := b.control.SetReadDeadline(b.began.Add(b.pace.after(b.n))); err != nil {
			return 0, err
		}
	}
	n, err := b.ReadCloser.Read(to)
	b.n += int64(n)
	b.ended = err
	if err == io.EOF {
		// From here on the server reads to notice that the client goes away, for which there is no limit.
		if err := b.control.SetReadDeadline(time.Time{}); err != nil {
			return n, err
		}
	}
	return n, err
}

// slots are the queries of a kind that run at a time; the others wait for their turn.
type slots struct {
	taken chan struct{}
	wait  time.Duration
}

func newSlots(n int, wait time.Duration) slots { return slots{make(chan struct{}, n), wait} }

// take waits for a slot, which the caller gives back.
func (s slots) take(ctx context.Context) error {
	select {
	case s.taken <- struct{}{}:
		return nil
	default:
	}
	late := time.NewTimer(s.wait)
	defer late.Stop()
	select {
	case s.taken <- struct{}{}:
		return nil
	case <-late.C:
		return newException(codeTooManyQueries, "Too many simultaneous queries: %d run already, and none ended within %s: try again later", cap(s.taken), s.wait)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slots) give() { <-s.taken }
