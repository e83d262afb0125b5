package pipeline_test

import (
	"encoding/json"
	"fmt"
	"os"
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

// breaking is fares with detectors that learn in few values.
func breaking() catalogtest.Model {
	m := catalogtest.Fares
	m.Manifest += `
  breaks:
    - {on: error, run_length: 300, parameters: {warm_start: 60, block: 3, miss: 0.3}}
    - {on: score, detector: page_hinkley, parameters: {threshold: 15, min_instances: 60, delta: 0.05}}
`
	return m
}

// breakEvents are the events of breaks by id, of which each was published only with the same data, and how
// many of them are on something.
func (h *harness) breakEvents() (by map[string]schemas.EventData, on map[string]int) {
	h.Helper()
	by, on = map[string]schemas.EventData{}, map[string]int{}
	h.each(h.cfg.Topics.Events, func(rec *schemas.Record) {
		var e schemas.Event
		require.NoError(h, json.Unmarshal(rec.Value, &e))
		if e.Data.Kind != schemas.EventBreak {
			return
		}
		if was, ok := by[e.ID]; ok {
			require.Equal(h, was, e.Data)
			return
		}
		by[e.ID] = e.Data
		on[e.Data.Break.On]++
	})
	return by, on
}

// labelledFares sends requests from the number from to before to, with labels at once; of the wrong ones the
// label is not what is predicted, and the dear ones cost more.
func (h *harness) labelledFares(from, to int, wrong, dear func(i int) bool) {
	h.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		f := catalogtest.Fare{At: catalogtest.Epoch.Add(time.Duration(i) * time.Second), Price: 0.2 + float64(i%10)/40, Count: 1, Carrier: "UA"}
		if dear(i) {
			f.Price += 0.5
		}
		id := strconv.Itoa(i)
		records = append(records, &kgo.Record{
			Topic: h.cfg.Topics.RequestsOf("fares"), Partition: int32(i % 3), Key: []byte(id), Value: f.JSON(),
			Headers: []kgo.RecordHeader{{Key: schemas.HeaderRequestID, Value: []byte(id)}},
		}, &kgo.Record{Topic: h.cfg.Topics.Feedback, Partition: int32(i % 2), Key: []byte(id), Value: fmt.Appendf(nil,
			`{"model":"fares","label":%v,"observed_at":%d}`, (f.Total() >= 0.5) != wrong(i), f.At.UnixMilli())})
	}
	h.produce(records...)
}

// breakCounts are how many values the detectors have taken, and how many breaks they have found, as it is kept.
func (h *harness) breakCounts() string {
	h.Helper()
	rows, err := h.query("SELECT arraySort(arrayMap(x -> (JSONExtractInt(x.2, 'taken'), JSONExtractInt(x.2, 'breaks')), JSONExtractKeysAndValuesRaw(substring(state, position(state, '\\n') + 1), 'streams'))), length(events) FROM millrace.break_states FINAL")
	if err != nil || len(rows) == 0 {
		return ""
	}
	return strings.Join(rows[0], " ")
}

// TestBreaksKilled kills and freezes monitors while errors and scores change and change back. In the end every
// label and row was taken once, and every break that the detectors have found was told, once but for
// repeats of the same event.
func TestBreaksKilled(t *testing.T) {
	parallel(t)
	rnd := seeded(t)
	h := newHarness(t, []catalogtest.Model{breaking()}, fastRestart, "recorder.flush_interval=20ms")
	h.start("worker,recorder")
	one, two := h.spawn("monitor"), h.spawn("monitor")
	const round, rounds = 400, 4
	for n := range rounds {
		bad := n%2 == 1
		h.labelledFares(n*round, (n+1)*round, func(int) bool { return rnd.IntN(10) == 0 || bad && rnd.IntN(2) == 0 }, func(int) bool { return bad })
		if n == 0 {
			continue
		}
		if n == 2 {
			h.freeze(one.cmd.Process.Pid)
		}
		h.await(2*time.Millisecond, "some of them are taken", func() (string, bool) {
			text := h.breakCounts()
			return text, text != ""
		})
		two.killAndRestart()
		if n == 2 {
			require.NoError(t, syscall.Kill(one.cmd.Process.Pid, syscall.SIGCONT))
		}
		_, on := h.breakEvents()
		t.Logf("after %d: %v, %s", (n+1)*round, on, h.breakCounts())
	}
	h.eventually("all values are taken, and all breaks told", func() (string, bool) {
		_, on := h.breakEvents()
		text := h.breakCounts()
		want := fmt.Sprintf("[(%d,%d),(%d,%d)] 0", round*rounds, min(on["error"], on["score"]), round*rounds, max(on["error"], on["score"]))
		return text + " " + fmt.Sprint(on), text == want
	})
	by, on := h.breakEvents()
	require.Positive(t, on["error"])
	require.Positive(t, on["score"])
	for _, e := range by {
		require.Equal(t, "fares", e.Model)
		require.Equal(t, schemas.SeverityWarning, e.Severity)
		require.False(t, e.WindowStart.IsZero())
	}
}

// TestBreakDelay prints how long it takes from a break in the stream to its event on Kafka. With
// MILLRACE_BREAK_DELAY, as make bench-breaks runs it, it must be less than five seconds.
func TestBreakDelay(t *testing.T) {
	h := newHarness(t, []catalogtest.Model{breaking()}) // as it is configured by default
	h.start("worker,recorder,monitor")
	never := func(int) bool { return false }
	h.labelledFares(0, 600, never, never)
	h.eventually("what came before is taken", func() (string, bool) {
		text := h.breakCounts()
		return text, strings.HasPrefix(text, "[(600,0),(600,0)]")
	})
	began := time.Now()
	h.labelledFares(600, 800, func(int) bool { return true }, never)
	h.await(5*time.Millisecond, "the break is told", func() (string, bool) {
		_, on := h.breakEvents()
		return fmt.Sprint(on), on["error"] > 0
	})
	took := time.Since(began)
	t.Logf("from the break to its event: %s", took.Round(time.Millisecond))
	if os.Getenv("MILLRACE_BREAK_DELAY") != "" {
		require.Less(t, took, 5*time.Second)
	}
}
