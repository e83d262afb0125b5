package consumers_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/consumers"
)

// The results topic is missing before the group has committed anything: nothing that was asked meanwhile
// is left out when there is one.
func TestADestinationThatIsMissingFromTheStart(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			w := foundTowns(t, sharedAddr, delivery, 2, "late", "sound")
			w.gone("late")
			w.fill(w.requests("late"), 2, 0, 40)
			w.fill(w.requests("sound"), 2, 0, 40)
			w.begin()
			w.answered("sound")
			w.says("late [0 1]: topic results.late does not exist; `millrace topics apply` makes it")
			w.fill(w.requests("late"), 2, 40, 40)
			w.topic("results.late", 2, nil)
			w.answered("late")
			w.end()
			if delivery == consumers.ExactlyOnce {
				require.Equal(t, upTo(80), w.values(w.results("late")))
				require.Equal(t, upTo(40), w.values(w.results("sound")))
			} else {
				require.Subset(t, w.values(w.results("late")), upTo(80))
			}
		})
	}
}
