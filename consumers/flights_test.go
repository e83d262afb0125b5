package consumers

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/schemas"
)

// Whatever order messages are acknowledged in, offsets are marked batch by batch in the
// order of polls, and never behind a batch that failed.
func TestFlightsMarkContiguously(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var marked []int64
		var failure error
		f := &flights{
			mark: func(ends map[string]map[int32]kgo.EpochOffset) { marked = append(marked, ends["t"][0].Offset) },
			fail: func(err error) { failure = err },
		}
		f.committed = func(b *flight, _ bool) { require.Len(t, marked, b.records, "marked before it is told") }
		f.moved.L = &f.mu
		n := rapid.IntRange(1, maxFlights).Draw(t, "batches")
		failing := rapid.IntRange(0, 2*maxFlights).Draw(t, "failing")
		type sent struct {
			batch   int
			record  *kgo.Record
			promise func(*kgo.Record, error)
		}
		var open []sent
		left := make([]int, n)
		for i := range n {
			b, err := f.next()
			require.NoError(t, err)
			b.records = i + 1
			b.ends = map[string]map[int32]kgo.EpochOffset{"t": {0: {Offset: int64(i + 1)}}}
			left[i] = rapid.IntRange(1, 3).Draw(t, "messages")
			for range left[i] {
				b.Publish(schemas.Message{Topic: "results"})
			}
			f.start(context.Background(), b, func(_ context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
				open = append(open, sent{i, r, promise})
			})
		}
		for _, s := range rapid.Permutation(open).Draw(t, "order") {
			var err error
			if s.batch == failing {
				err = errors.New("refused")
			}
			s.promise(s.record, err)
			left[s.batch]--
			acknowledged := 0
			for acknowledged < n && left[acknowledged] == 0 && acknowledged != failing {
				acknowledged++
			}
			require.LessOrEqual(t, len(marked), acknowledged)
			for i, at := range marked {
				require.EqualValues(t, i+1, at)
			}
		}
		if failing < n {
			require.Error(t, failure)
			require.ErrorIs(t, f.settle(), failure)
			_, err := f.next()
			require.Error(t, err)
		} else {
			require.NoError(t, f.settle())
			require.Len(t, marked, n)
		}
	})
}
