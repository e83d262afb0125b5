package pipeline_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
)

// resident returns the memory of a process in bytes.
func (p *process) resident() int64 {
	p.h.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(p.h, err)
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			require.NoError(p.h, err)
			return kib << 10
		}
	}
	require.Fail(p.h, "no VmRSS in the status of the process")
	return 0
}

// outage is a way to ClickHouse that can be blocked.
type outage struct {
	*httputil.ReverseProxy
	state atomic.Int32  // one of the following
	died  chan struct{} // closed when what hangs is reset
}

const (
	open    int32 = iota
	hanging       // nothing is answered
	closed        // connections are reset
)

// ServeHTTP implements http.Handler.
func (o *outage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch o.state.Load() {
	case open:
		o.ReverseProxy.ServeHTTP(w, r)
		return
	case hanging:
		_, _ = io.Copy(io.Discard, r.Body) // else it is not seen that the client gives up
		select {
		case <-r.Context().Done():
		case <-o.died:
		}
	}
	panic(http.ErrAbortHandler)
}

// TestClickHouseAwayUnderLoad has ClickHouse away for a minute, while requests come at a
// steady rate: it hangs, and then cannot be reached. The worker goes on as if nothing were,
// no process takes more memory, though more comes than that would be, and then the recorder
// catches up.
func TestClickHouseAwayUnderLoad(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own; make test-memory runs this without it")
	}
	const (
		third = 20 * time.Second // of the outage
		tick  = 100 * time.Millisecond
		rate  = 200 // requests of a tick
		slack = 32 << 20
		most  = 400 << 20 // of the recorder, when it catches up
	)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, "recorder.flush_rows=10000", "recorder.flush_bytes=4194304")
	tr := newTraffic(h, seeded(t), rate)
	tr.padding = strings.Repeat("x", 480)
	way := &outage{died: make(chan struct{}), ReverseProxy: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: h.services.ClickHouse.Addr()})}
	front := httptest.NewServer(way)
	t.Cleanup(front.Close)
	worker, recorder := h.spawn("worker"), h.spawn("recorder", "clickhouse.addr="+strings.TrimPrefix(front.URL, "http://"))
	requests, observations := h.cfg.Topics.RequestsOf("fares"), h.cfg.Topics.Observations
	load := func(during time.Duration, each func()) {
		next := time.Now()
		for until := next.Add(during); next.Before(until); next = next.Add(tick) {
			time.Sleep(time.Until(next)) // the rate; nothing is waited for
			tr.sendHour()
			each()
		}
	}
	load(10*time.Second, func() {})
	h.eventually("rows are stored", func() (string, bool) { return "", tr.stored("observations_fares") > 0 })

	way.state.Store(hanging)
	behind := h.lag(h.cfg.Recorder.Group, observations)
	load(third, func() {}) // what is on its way fills what bounds it
	stored := tr.stored("observations_fares")
	before := map[*process]int64{worker: worker.resident(), recorder: recorder.resident()}
	peak := map[*process]int64{}
	answered := map[int]int64{} // by second, the requests that have been sent
	began, late := time.Now(), int64(0)
	load(2*third, func() {
		if time.Since(began) > third && way.state.CompareAndSwap(hanging, closed) {
			close(way.died)
		}
		for p := range before {
			peak[p] = max(peak[p], p.resident())
		}
		second := int(time.Since(began).Seconds())
		if _, seen := answered[second]; !seen {
			answered[second] = int64(len(tr.totals))
			if old, ok := answered[second-10]; ok {
				late = max(late, old-(int64(len(tr.totals))-h.lag(h.cfg.Worker.Group, requests)))
			}
		}
	})
	require.Zero(t, late, "requests that were not answered 10 s after they came")
	for p, name := range map[*process]string{worker: "worker", recorder: "recorder"} {
		t.Logf("%s: %d MiB, then at most %d MiB", name, before[p]>>20, peak[p]>>20)
		require.Less(t, peak[p], before[p]+slack, "memory of the %s", name)
	}
	require.Equal(t, stored, tr.stored("observations_fares"), "nothing was stored meanwhile")
	require.Greater(t, h.lag(h.cfg.Recorder.Group, observations), behind)
	require.Greater(t, int64(2*third/tick)*rate*int64(len(tr.padding)), int64(slack), "what came would have been seen")

	way.state.Store(open)
	load(5*time.Second, func() { peak[recorder] = max(peak[recorder], recorder.resident()) })
	tr.requireOnce()
	require.Less(t, peak[recorder], int64(most), "memory of the recorder")
	require.Equal(t, 0, worker.terminate())
	require.Equal(t, 0, recorder.terminate())
}
