package breaks_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/breaks"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// TestLabelsWaitForTheirRequests has labels whose requests are stored some seconds later, or
// never: each one whose request comes within the wait is taken once, in the order of its partition.
func TestLabelsWaitForTheirRequests(t *testing.T) {
	m := manifest(t, binary, "{on: error, "+quick+"}, {on: error, detector: ddm}")
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		const n, wait = 300, 3
		start := time.Unix(1_700_000_000, 0)
		type label struct {
			at       schemas.Coordinates
			stored   int // seconds after the start
			answered int // when its request is stored; 1000: never
			fate     profile.LabelFate
			error    float64
		}
		labels, want, doubtful := []label{}, 0, 0
		for p := range int32(2) {
			for i := range n / 2 {
				l := label{at: schemas.Coordinates{Partition: p, Offset: int64(i)}, stored: i / 10, fate: profile.LabelTaken, error: float64(random.IntN(2))}
				l.answered = l.stored - 1
				switch random.IntN(10) {
				case 0:
					l.answered = l.stored + random.IntN(wait)
				case 1:
					l.answered = 1000
				case 2:
					l.fate = []profile.LabelFate{profile.LabelLater, profile.LabelForeign}[random.IntN(2)]
				}
				if l.fate == profile.LabelTaken && l.answered < 1000 {
					want++
				}
				labels = append(labels, l)
			}
		}
		r, err := breaks.New(m)
		require.NoError(t, err)
		for now := range n/20 + 2*wait {
			position := map[int32]int64{0: -1, 1: -1}
			for _, c := range r.Position(breaks.FeedLabels) {
				position[c.Partition] = c.Offset
			}
			var page []profile.Labelled
			for _, l := range labels {
				if l.stored > now || l.at.Offset <= position[l.at.Partition] {
					continue
				}
				fate := l.fate
				if fate == profile.LabelTaken && l.answered > now {
					fate = profile.LabelUnknown
				}
				page = append(page, profile.Labelled{At: l.at, StoredAt: start.Add(time.Duration(l.stored) * time.Second), Fate: fate, Error: l.error})
			}
			_, waiting, err := r.TakeLabels(page, start.Add(time.Duration(now-wait)*time.Second))
			require.NoError(t, err)
			doubtful += waiting
			if rapid.Bool().Draw(t, "restart") {
				r, err = breaks.Restore(m, save(t, r))
				require.NoError(t, err)
			}
		}
		for _, c := range r.Counts() {
			require.EqualValues(t, want, c.Taken, c.Detector)
			require.Zero(t, c.Missing+c.Refused)
		}
		require.Zero(t, r.Repeated())
		require.Len(t, r.Position(breaks.FeedLabels), 2)
		for _, c := range r.Position(breaks.FeedLabels) {
			require.EqualValues(t, n/2-1, c.Offset)
		}
		require.Positive(t, doubtful)
	})
}
