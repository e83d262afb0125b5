package pipeline_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/schemas"
)

// A request whose timestamp lies in the future makes no other request's id be forgotten, and is
// itself no way around deduplication.
func TestFutureTimestampForgetsNoIds(t *testing.T) {
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, "worker.deduplicate.window=10m")
	now := time.Now()
	send := func(id string, at time.Time) {
		h.produce(&kgo.Record{
			Topic: h.cfg.Topics.RequestsOf("fares"), Timestamp: at, Value: catalogtest.Fare{At: catalogtest.Epoch, Price: 1, Count: 1, Carrier: "AA"}.JSON(),
			Headers: []kgo.RecordHeader{{Key: schemas.HeaderRequestID, Value: []byte(id)}},
		})
	}
	answered := func(r *running, requests int) {
		h.eventually("the requests are answered", func() (string, bool) {
			a, n := r.app.Done.Answered.Load(), repeatedTotal(t, r)
			return fmt.Sprint(a, n), int(a)+int(n) == requests && h.lag(h.cfg.Worker.Group, h.cfg.Topics.RequestsOf("fares")) == 0
		})
	}
	r := h.start("worker")
	send("a", now)
	send("skewed", now.Add(55*time.Minute))
	send("a", now.Add(time.Second))
	send("a", now.Add(55*time.Minute))
	answered(r, 4)
	r.drain()
	r = h.start("worker") // and what has been seen is read back
	send("skewed", now.Add(55*time.Minute))
	send("a", now.Add(2*time.Second))
	answered(r, 2)
	ids := map[string]int{}
	h.each(h.cfg.Topics.ResultsOf("fares"), func(rec *schemas.Record) {
		var got result
		require.NoError(t, json.Unmarshal(rec.Value, &got))
		ids[got.RequestID]++
	})
	require.Equal(t, map[string]int{"a": 1, "skewed": 1}, ids)
}
