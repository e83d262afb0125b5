package consumers_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/consumers"
)

// What waits is read by nobody, named by health, and nothing of it is committed; other topics are
// answered meanwhile. When it goes on, also in another session, each of its records is answered once.
func TestTopicThatWaits(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			waits, goes := f.topic("requests.waits", 2, nil), f.topic("requests.goes", 1, nil)
			results := f.topic("results.a", 2, nil)
			f.fill(waits, 2, 0, 20)
			f.fill(goes, 1, 20, 20)
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery = delivery
			var mu sync.Mutex
			var said error
			cfg.Health = func(err error) {
				mu.Lock()
				defer mu.Unlock()
				said = err
			}
			says := func() string {
				mu.Lock()
				defer mu.Unlock()
				if said == nil {
					return ""
				}
				return said.Error()
			}
			text := "partitions [0 1] of topic " + waits + " wait: no model"
			for _, resume := range []bool{false, true} {
				l := consumers.NewLane(cfg, f.log)
				l.Wait(waits, errors.New("no model"))
				r := start(f, func(soft, hard context.Context) error { return l.Run(soft, hard, echo(results)) })
				f.awaitLag(0, goes)
				await(t, "health names what waits", func() bool { return says() == text })
				require.EqualValues(t, 20, f.lag(f.group("workers").Name, waits))
				if resume {
					l.Resume(waits)
					require.Empty(t, says())
					f.awaitLag(0, waits)
				}
				require.NoError(t, r.stop(), "to wait is no failure")
				require.Zero(t, l.Stats.Reopened.Load()+l.Stats.Aborted.Load())
			}
			require.Equal(t, upTo(40), f.values(results))
		})
	}
}
