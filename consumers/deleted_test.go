package consumers_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// A requests topic that is deleted, and made again with other partitions, leaves the session to the
// others: they are answered meanwhile, and what comes to the new topic is answered.
func TestARequestsTopicThatIsMadeAgainLeavesTheOthers(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			w := newTowns(t, delivery, 2, "again", "sound")
			w.fill(w.requests("again"), 2, 0, 10)
			w.fill(w.requests("sound"), 2, 0, 10)
			w.answered("again", "sound")
			w.remove(w.requests("again"))
			w.fill(w.requests("sound"), 2, 10, 10)
			w.answered("sound")
			w.topic("requests.again", 1, nil)
			w.fresh()
			w.fill(w.requests("again"), 1, 10, 10)
			w.fill(w.requests("sound"), 2, 20, 10)
			w.answered("sound", "again")
			w.end()
			if delivery == consumers.ExactlyOnce {
				require.Equal(t, upTo(30), w.values(w.results("sound")))
			}
			require.Subset(t, w.values(w.results("again")), upTo(20))
		})
	}
}

// Destinations are deleted, made again and grown at random while requests flow to two lanes: whatever is
// hit in whichever moment, the others are answered, exactly once each where that is the delivery, and
// in the end everything is.
func TestDestinationsAtRandom(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 0))
			w := newTowns(t, delivery, 3, "first", "second", "sound")
			cfg := w.cfg
			cfg.Lane, cfg.Awaited = 1, nil
			run, lane := w.start(cfg)
			const rounds, each = 8, 30
			for round := range rounds {
				for _, name := range []string{"first", "second", "sound"} {
					w.fill(w.requests(name), 3, round*each, each)
				}
				name := []string{"first", "second"}[rnd.IntN(2)]
				_, err := w.adm.DeleteTopic(t.Context(), w.results(name))
				if err != nil {
					require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
				}
				time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond) // not a synchronisation: it moves the deletion against the lanes
				w.fill(w.requests("sound"), 3, rounds*each+round*each, each)
				if rnd.IntN(2) == 0 {
					_, err = w.admin.ApplyTopics(t.Context(), []schemas.TopicSpec{{Name: w.results(name), Partitions: 1 + rnd.Int32N(3), ReplicationFactor: -1}})
					require.NoError(t, err)
				}
			}
			w.answered("sound")
			for _, name := range []string{"first", "second"} {
				_, err := w.admin.ApplyTopics(t.Context(), []schemas.TopicSpec{{Name: w.results(name), Partitions: 3, ReplicationFactor: -1}})
				require.NoError(t, err)
			}
			w.answered("first", "second")
			w.end()
			require.NoError(t, run.stop())
			require.Zero(t, w.lane.Stats.Reopened.Load()+lane.Stats.Reopened.Load(), "nobody lost a session")
			if delivery == consumers.ExactlyOnce {
				require.Equal(t, upTo(2*rounds*each), w.values(w.results("sound")))
			} else {
				require.Subset(t, w.values(w.results("sound")), upTo(2*rounds*each))
			}
		})
	}
}
