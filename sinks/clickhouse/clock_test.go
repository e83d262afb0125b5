package clickhouse_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

// wrongClock is a proxy to a server whose clock is ahead.
type wrongClock struct {
	delaying
	ahead atomic.Int64 // seconds
}

// ServeHTTP implements http.Handler.
func (p *wrongClock) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const clock = "now64(6"
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	move := func(statement string) string {
		by := "toIntervalSecond(" + strconv.FormatInt(p.ahead.Load(), 10) + ")"
		statement = strings.ReplaceAll(statement, clock+", 'UTC')", "("+clock+", 'UTC') + "+by+")")
		return strings.ReplaceAll(statement, clock+")", "("+clock+") + "+by+")")
	}
	query := r.URL.Query()
	if query.Has("query") {
		query.Set("query", move(query.Get("query")))
		r.URL.RawQuery = query.Encode()
	} else {
		body = []byte(move(string(body)))
		r.ContentLength = int64(len(body))
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	p.delaying.ServeHTTP(w, r)
}

// behindClock returns a store at a server whose clock can be moved, and why it waits.
func behindClock(t *testing.T, c *clickhouse.Client) (storetest.Recorder, *wrongClock, *atomic.Value) {
	t.Helper()
	p := &wrongClock{delaying: delaying{TB: t}}
	s := storetest.NewHasty(t, openThrough(t, c, p))
	reason := &atomic.Value{}
	reason.Store("")
	s.OnWait(func(err error) {
		if err != nil {
			reason.Store(err.Error())
		} else {
			reason.Store("")
		}
	})
	return s, p, reason
}

// An insert that was announced while the clock was ahead, and comes when it is right, is
// refused: nobody needs to wait until the time that its deadline names.
func TestInsertFromAWrongClockIsRefused(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	s, p, _ := behindClock(t, c)
	records := oneOfEach(t)
	p.ahead.Store(3600)
	at, err := s.Now(t.Context())
	require.NoError(t, err)
	lease := schemas.Lease{Announced: at, Deadline: at.Add(storetest.HastyLease)}
	p.ahead.Store(0)
	_, err = s.Bare.Store(t.Context(), records, false, lease)
	require.ErrorContains(t, err, "the clock of this server is behind the announcement of this insert")
	p.ahead.Store(3600)
	_, err = s.Store(t.Context(), records, true)
	require.NoError(t, err, "under the clock of its announcement it is taken")
	p.ahead.Store(0)
	_, err = s.Store(t.Context(), records, true) // at once
	require.NoError(t, err)
	requireEach(t, c)
}

// A lease of a clock that was ahead is waited for as long as it was to last, and that is said.
func TestLeaseOfAWrongClockIsWaitedForBriefly(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	s, p, reason := behindClock(t, c)
	at, err := s.Now(t.Context())
	require.NoError(t, err)
	wrong := schemas.Lease{Announced: at.Add(time.Hour), Deadline: at.Add(time.Hour + storetest.HastyLease)}
	settled := make(chan error, 1)
	began := time.Now()
	go func() { settled <- s.Settle(t.Context(), wrong) }() // ends with the lease
	require.Eventually(t, func() bool {
		text := reason.Load().(string)
		return strings.Contains(text, "the clock of clickhouse at") && strings.Contains(text, "nothing is stored for 3s")
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, <-settled)
	require.GreaterOrEqual(t, time.Since(began), storetest.HastyLease)
	require.Empty(t, reason.Load())

	// It is waited for to its end where the clock is set forward again meanwhile.
	go func() { settled <- s.Settle(t.Context(), wrong) }() // ends with the lease
	require.Eventually(t, func() bool { return reason.Load() != "" }, 10*time.Second, time.Millisecond)
	p.ahead.Store(3600)
	require.NoError(t, <-settled)
	after, err := s.Now(t.Context())
	require.NoError(t, err)
	require.True(t, after.After(wrong.Deadline))
}

// A wait for others that takes its time is logged, with its end.
func TestLongWaitIsSaid(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said := zerolog.HookFunc(func(_ *zerolog.Event, _ zerolog.Level, message string) {
		if message == "waiting until inserts that were announced are refused" {
			cancel() // what else ends the wait takes a minute
		}
	})
	clickhouse.SetLogger(c, zerolog.New(io.Discard).Hook(said))
	s := storetest.NewHasty(t, c)
	at, err := s.Now(t.Context())
	require.NoError(t, err)
	require.ErrorIs(t, s.Settle(ctx, schemas.Lease{Announced: at, Deadline: at.Add(time.Minute)}), context.Canceled)
}
