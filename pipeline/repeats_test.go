package pipeline_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// A request that its producer sends again is answered once, also by a worker that has been
// restarted in between.
func TestRepeatedRequestsAreAnsweredOnce(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, "worker.deduplicate.window=1h")
	requests, results := h.cfg.Topics.RequestsOf("fares"), h.cfg.Topics.ResultsOf("fares")
	for _, delivery := range []string{"exactly_once", "at_least_once"} {
		h := h.with(t)
		send := func(from, n int) {
			records := make([]*kgo.Record, n)
			for i := range records {
				id := from + i
				records[i] = &kgo.Record{
					Topic: requests, Partition: int32(id % 3), Value: catalogtest.Fare{At: catalogtest.Epoch, Price: float64(id % 1000), Count: 1, Carrier: "AA"}.JSON(),
					Headers: []kgo.RecordHeader{{Key: schemas.HeaderRequestID, Value: []byte(delivery + strconv.Itoa(id))}},
				}
			}
			h.produce(records...)
		}
		answered := func() map[string]int {
			ids := map[string]int{}
			h.each(results, func(rec *schemas.Record) {
				var r struct {
					ID string `json:"request_id"`
				}
				require.NoError(h, json.Unmarshal(rec.Value, &r))
				ids[r.ID]++
			})
			return ids
		}
		group := h.cfg.Worker.Group
		settled := func(what string, r *running, answered int64, repeated float64) {
			h.eventually(what, func() (string, bool) {
				a, n := r.app.Done.Answered.Load(), repeatedTotal(t, r)
				return fmt.Sprint(a, n), a == answered && n == repeated && h.lag(group, requests) == 0
			})
		}
		first := h.start("worker", "worker.delivery="+delivery)
		send(0, 3000)
		send(1500, 1500) // again
		settled("the first are answered", first, 3000, 1500)
		send(0, 10) // again, in another batch
		settled("the second are answered", first, 3000, 1510)
		first.drain()

		second := h.start("worker", "worker.delivery="+delivery)
		send(2000, 2000) // half of them again
		settled("the third are answered", second, 1000, 1000)
		second.drain()
		ids := answered()
		for id := range 4000 {
			require.Equal(t, 1, ids[delivery+strconv.Itoa(id)], "request %d", id)
		}
	}
}

// A dead letter that is replayed within the window is answered, though its request has been
// seen, also by a worker that has been restarted in between.
func TestReplayIsNoRepetition(t *testing.T) {
	h := newHarness(t, []catalogtest.Model{catalogtest.Prices}, "worker.deduplicate.window=1h")
	requests := h.cfg.Topics.RequestsOf("prices")
	letters := func(r *running, want int) {
		t.Helper()
		h.eventually("dead letters", func() (string, bool) {
			n, again := 0, repeatedTotal(t, r)
			h.each(h.cfg.Topics.DeadLetters, func(*schemas.Record) { n++ })
			return fmt.Sprint(n, again), n == want && again == 0 && h.unread(h.cfg.Worker.Group, requests) == 0
		})
	}
	replay := func() {
		t.Helper()
		done, err := operate.ReplayDeadLetters(t.Context(), h.cfg, operate.LetterFilter{Model: "prices"})
		require.NoError(t, err)
		require.Equal(t, 1, done.Sent, "the newest letter stands for the others")
	}
	r := h.start("worker")
	h.produce(&kgo.Record{
		Topic: requests, Key: []byte("k"), Value: []byte(`{"index":99}`), // the model fails on it
		Headers: []kgo.RecordHeader{{Key: schemas.HeaderRequestID, Value: []byte("a")}},
	})
	letters(r, 1)
	replay()
	letters(r, 2)
	replay()
	letters(r, 3)
	r.drain()
	r = h.start("worker")
	replay()
	letters(r, 4)
	r.drain()
}

func repeatedTotal(t *testing.T, r *running) float64 {
	t.Helper()
	families, err := r.app.Metrics.Registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "millrace_requests_repeated_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return 0 // none yet
}
