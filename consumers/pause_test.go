package consumers_test

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// TestFetchingPausesWhileResultsAreNotTaken: where nothing can be produced, a lane takes as
// many batches as may be on their way, and then asks for no more. When it can, it goes on,
// and nothing is lost.
func TestFetchingPausesWhileResultsAreNotTaken(t *testing.T) {
	t.Parallel()
	for delivery, batches := range map[consumers.Delivery]int64{consumers.ExactlyOnce: 1, consumers.AtLeastOnce: 4} {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			b := newHangingBroker(t)
			f := newFixture(t, b.addr())
			requests, results := f.topic("requests.a", 1, nil), f.topic("results.a", 1, nil)
			const n = 1600
			noise := make([]byte, 32<<10) // 50 MiB of them do not come in one answer
			for i := range noise {
				noise[i] = byte(rand.Uint32())
			}
			for range n / 100 {
				records := make([]*kgo.Record, 100)
				for i := range records {
					records[i] = &kgo.Record{Topic: requests, Value: noise}
				}
				require.NoError(t, f.cl.ProduceSync(t.Context(), records...).FirstErr())
			}
			b.hang("slow", kmsg.Produce)
			cfg := f.laneConfig("requests.", 0)
			cfg.ClientID, cfg.Delivery = "slow", delivery
			var calls atomic.Int64
			r, l := f.lane(cfg, handlerFunc(func(_ context.Context, records []schemas.Record, out consumers.Publisher) error {
				calls.Add(1)
				for range records {
					out.Publish(schemas.Message{Topic: results, Partition: 0, Value: []byte("answer")})
				}
				return nil
			}))
			receive(t, b.hung, "a result that is not taken")
			fetches, since := 0, time.Now()
			await(t, "it asks for no more", func() bool {
				if n := b.questions(kmsg.Fetch); n != fetches {
					fetches, since = n, time.Now()
				}
				return time.Since(since) > time.Second // twice as long as the broker would wait
			})
			require.Equal(t, batches, calls.Load(), "batches on their way")
			require.LessOrEqual(t, fetches, 4, "answers, of at most 8 MiB, that are held")
			require.Zero(t, l.Stats.Records.Load())

			b.resume()
			await(t, "all answered", func() bool { return f.lag(f.group("workers").Name, requests) == 0 })
			require.NoError(t, r.stop())
			f.ended(results)
			require.Len(t, f.read(results), n)
			require.Greater(t, b.questions(kmsg.Fetch), fetches)
		})
	}
}
