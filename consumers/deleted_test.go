package consumers_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/consumers"
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
