package pipeline_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/schemas"
)

// fastRestart lets a group go on soon after a member was killed.
const fastRestart = "kafka.session_timeout=3s"

// traffic is hours of event time with requests to fares and their labels. The prices of
// odd hours are far from the reference.
type traffic struct {
	h       *harness
	rnd     *rand.Rand
	perHour int
	hours   int
	padding string             // of request ids, to make rows larger
	totals  map[string]float64 // by request id
}

func newTraffic(h *harness, rnd *rand.Rand, perHour int) *traffic {
	return &traffic{h: h, rnd: rnd, perHour: perHour, totals: map[string]float64{}}
}

// sendHour produces the requests of the next hour, spread over the partitions, and their
// labels.
func (tr *traffic) sendHour() {
	tr.h.Helper()
	records := make([]*kgo.Record, 0, 2*tr.perHour)
	for i := range tr.perHour {
		f := catalogtest.Fare{
			At:    catalogtest.Epoch.Add(time.Duration(tr.hours)*time.Hour + time.Duration(i)*time.Hour/time.Duration(tr.perHour)),
			Price: tr.rnd.Float64(), Count: 1, Carrier: "UA", Urgent: i%5 == 0,
		}
		if tr.hours%2 == 1 {
			f.Price += 10
		}
		id := fmt.Sprintf("%s%d-%d", tr.padding, tr.hours, i)
		tr.totals[id] = f.Total()
		records = append(records,
			&kgo.Record{
				Topic: tr.h.cfg.Topics.RequestsOf("fares"), Partition: int32(i % 3), Key: []byte(id), Value: f.JSON(),
				Headers: []kgo.RecordHeader{{Key: schemas.HeaderRequestID, Value: []byte(id)}},
			},
			&kgo.Record{
				Topic: tr.h.cfg.Topics.Feedback, Partition: int32(i % 3), Key: []byte(id),
				Value: feedbackOf("fares", id, f.Total() > 0.5),
			})
	}
	tr.hours++
	tr.h.produce(records...)
}

// stored returns how many rows a table has; while ClickHouse is down, -1.
func (tr *traffic) stored(table string) int {
	rows, err := tr.h.query("SELECT count() FROM millrace." + table)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(rows[0][0])
	require.NoError(tr.h, err)
	return n
}

// requireOnce waits until everything is answered and stored, and checks that nothing is
// lost and nothing doubled.
func (tr *traffic) requireOnce() {
	h := tr.h
	h.Helper()
	h.settled(h.cfg.Topics.RequestsOf("fares"))
	left := maps.Clone(tr.totals)
	h.each(h.cfg.Topics.ResultsOf("fares"), func(rec *schemas.Record) {
		var got result
		require.NoError(h, json.Unmarshal(rec.Value, &got))
		want, ok := left[got.RequestID]
		require.True(h, ok, "a second result, or of no request: %s", rec.Value)
		delete(left, got.RequestID)
		require.Equal(h, got.RequestID, string(rec.Key))
		var total float64
		require.NoError(h, json.Unmarshal(got.Predictions["total"], &total))
		require.InDelta(h, want, total, 1e-9)
	})
	require.Empty(h, left, "requests without a result")
	h.requireRows("observations_fares", "request", len(tr.totals))
	h.requireRows("feedback", "feedback", len(tr.totals))
	h.requireMinutes("fares")
	n := strconv.Itoa(len(tr.totals))
	require.Equal(h, []string{n, n}, h.sqlOne("SELECT uniqExact(request_id), uniqExact(f.request_id) FROM millrace.observations_fares AS o INNER JOIN millrace.feedback AS f USING (request_id)"))
	require.Equal(h, "0", h.sqlOne("SELECT count() FROM millrace.dead_letters")[0])
	require.Empty(h, h.read(h.cfg.Topics.DeadLetters))
}

// A recorder under another name finds everything stored that its topics hold, and no offset
// that says so.
func TestRecorderGroupIsRenamed(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares})
	tr := newTraffic(h, seeded(t), 1000)
	r := h.start("worker,recorder")
	tr.sendHour()
	tr.requireOnce()
	r.drain()
	tr.h = h.with(t)
	tr.h.cfg.Recorder.Group = "renamed"
	r = tr.h.start("worker,recorder", "recorder.group=renamed")
	tr.sendHour()
	tr.requireOnce()
	r.drain()
}

// TestRestarts kills each role with SIGKILL, again and again at random points of its work,
// while requests and labels flow.
func TestRestarts(t *testing.T) {
	parallel(t)
	rnd := seeded(t)
	hook := newWebhook(t)
	// What a killed worker leaves open must not have to time out.
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, fastRestart, "worker.transaction_timeout=10m", "worker.max_batch_rows=64", "recorder.flush_rows=200", "recorder.flush_interval=20ms",
		`alerts=[{name: hook, webhook: {url: "`+hook.URL+`"}, kinds: [retraining]}]`)
	tr := newTraffic(h, rnd, 600)
	processes := map[string]*process{}
	for _, role := range []string{"worker", "recorder", "monitor"} {
		processes[role] = h.spawn(role)
	}
	// Every request partition has been seen before the first window can close.
	tr.sendHour()
	h.settled(h.cfg.Topics.RequestsOf("fares"))

	// What each role makes first of what its next work leaves behind.
	progress := map[string]func() int{
		"worker":   func() int { return int(h.end(h.cfg.Topics.ResultsOf("fares"))) },
		"recorder": func() int { return tr.stored("observations_fares") + tr.stored("feedback") },
		"monitor":  func() int { return tr.stored("drift_results") },
	}
	span := map[string]int{"worker": tr.perHour, "recorder": 2 * tr.perHour, "monitor": 1}
	victims := []string{"worker", "recorder", "monitor", "worker", "recorder", "monitor", "worker", "recorder", "monitor"}
	rnd.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	subscriber := ""
	for _, role := range victims {
		from := progress[role]()
		until := from + 1 + rnd.IntN(span[role])
		tr.sendHour()
		h.await(2*time.Millisecond, role+" is in the middle of its work", func() (string, bool) {
			n := progress[role]()
			return strconv.Itoa(n), n >= until
		})
		if role == "monitor" {
			// A member that dies while it joins its group would be waited for by the next one.
			subscriber = h.joined("millrace-alerts-hook", subscriber)
		}
		t.Logf("killing the %s at %d of %d", role, progress[role]()-from, span[role])
		processes[role].killAndRestart()
	}
	tr.requireOnce()

	// The last hour is still open.
	closed := tr.hours - 1
	h.eventually("every closed window is judged", func() (string, bool) {
		n := h.count("SELECT uniqExact(window_start) FROM millrace.windows WHERE job = 'drift'")
		return strconv.Itoa(n), n >= closed
	})
	h.settled(h.cfg.Topics.RequestsOf("fares"))
	require.Equal(t, [][]string{{strconv.Itoa(closed), strconv.Itoa(closed * tr.perHour), strconv.Itoa(closed / 2)}},
		h.sql("SELECT count(), sum(rows), countIf(verdict = 'breached') FROM millrace.windows FINAL WHERE job = 'drift'"))
	ids := map[string]bool{}
	for _, rec := range h.read(h.cfg.Topics.Events) {
		var event schemas.Event
		require.NoError(t, json.Unmarshal(rec.Value, &event))
		require.Equal(t, schemas.EventRetraining, event.Data.Kind)
		ids[event.ID] = true // a repeat has the same id
	}
	require.Len(t, ids, closed/2, "one retraining event for each window that drifted")
	require.Equal(t, closed/2, h.count("SELECT uniqExact(id) FROM millrace.events"))
	h.eventually("every event is delivered", func() (string, bool) {
		delivered := map[string]bool{}
		for _, body := range hook.bodies() {
			var event schemas.Event
			require.NoError(t, json.Unmarshal([]byte(body), &event))
			delivered[event.ID] = true
		}
		return strconv.Itoa(len(delivered)), len(delivered) == len(ids)
	})
	for role, p := range processes {
		require.Equal(t, 0, p.terminate(), "%s drains and ends", role)
	}
	tr.requireOnce()
}

// TestClickHouseKilled kills the embedded ClickHouse while rows are inserted.
func TestClickHouseKilled(t *testing.T) {
	parallel(t)
	rnd := seeded(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, "recorder.flush_rows=200", "recorder.flush_interval=20ms", "worker.max_batch_rows=64")
	tr := newTraffic(h, rnd, 1000)
	h.start("worker,recorder")
	tr.sendHour()
	for kill := range 3 {
		pid := h.services.ClickHouse.Pid()
		until := tr.stored("observations_fares") + rnd.IntN(tr.perHour)
		tr.sendHour()
		h.await(2*time.Millisecond, "rows are being inserted", func() (string, bool) {
			n := tr.stored("observations_fares")
			return strconv.Itoa(n), n >= until
		})
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		tr.sendHour() // the worker goes on
		h.eventually("ClickHouse is back", func() (string, bool) {
			n := tr.stored("observations_fares")
			return strconv.Itoa(n), n >= 0 && h.services.ClickHouse.Restarts() > uint64(kill)
		})
	}
	tr.requireOnce()
	require.EqualValues(t, 3, h.services.ClickHouse.Restarts())
	require.Zero(t, h.services.Kafka.Restarts())
}

// TestSignals: the first SIGTERM drains, within drain_timeout; a second one ends at once.
func TestSignals(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, fastRestart, "recorder.flush_rows=100", "worker.max_batch_rows=64")
	tr := newTraffic(h, seeded(t), 1000)

	// In the middle of the work.
	p := h.spawn("worker,recorder")
	tr.sendHour()
	h.await(2*time.Millisecond, "results come", func() (string, bool) { return "", h.end(h.cfg.Topics.ResultsOf("fares")) > 0 })
	require.Equal(t, 0, p.terminate())
	h.ended(h.cfg.Topics.RequestsOf("fares"))
	results := 0
	h.each(h.cfg.Topics.ResultsOf("fares"), func(*schemas.Record) { results++ })
	h.eventually("what was answered is committed", func() (string, bool) {
		lag := h.lag(h.cfg.Worker.Group, h.cfg.Topics.RequestsOf("fares"))
		return strconv.FormatInt(lag, 10), lag == int64(tr.perHour-results)
	})

	// The recorder cannot finish while ClickHouse stands still.
	freeze := func(signal syscall.Signal) {
		require.NoError(t, syscall.Kill(h.services.ClickHouse.Pid(), signal))
	}
	hang := func(set ...string) *process {
		g, addr := newGate(t, h.services.ClickHouse.Addr(), "observations_fares", unforwarded)
		t.Cleanup(func() { close(g.open) })
		p := h.spawn("worker,recorder", append(set, "clickhouse.addr="+addr)...)
		tr.sendHour()
		g.hold()
		freeze(syscall.SIGSTOP)
		tr.sendHour()
		h.eventually("everything is answered", func() (string, bool) {
			lag := h.lag(h.cfg.Worker.Group, h.cfg.Topics.RequestsOf("fares"))
			return strconv.FormatInt(lag, 10), lag == 0
		})
		before := strings.Count(h.logs.all(), "stopping: finishing what is in hand")
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		h.eventually("it drains", func() (string, bool) {
			return "", strings.Count(h.logs.all(), "stopping: finishing what is in hand") > before
		})
		return p
	}
	p = hang("drain_timeout=1h")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 128+int(syscall.SIGTERM), p.wait())
	freeze(syscall.SIGCONT)

	p = hang("drain_timeout=1s")
	require.Equal(t, 1, p.wait())
	require.Contains(t, h.logs.all(), "drain_timeout passed")
	freeze(syscall.SIGCONT)

	p = h.spawn("worker,recorder")
	tr.requireOnce()
	require.Equal(t, 0, p.terminate())
}
