package consumers_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// Where a lane is told to start is committed before it reads the first record, and it is not
// asked about partitions that have a commit.
func TestLaneCommitsWhereItStarts(t *testing.T) {
	t.Parallel()
	for _, delivery := range []consumers.Delivery{consumers.ExactlyOnce, consumers.AtLeastOnce} {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			requests, results := f.topic("requests.a", 2, nil), f.topic("results.a", 2, nil)
			f.fill(requests, 2, 0, 20)
			topics, err := f.adm.ListTopics(t.Context(), requests)
			require.NoError(t, err)
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery = delivery
			var asked atomic.Int64
			cfg.Start = func(_ context.Context, partitions []consumers.Unstarted) ([]int64, error) {
				if asked.Add(1) == 1 {
					return nil, errors.New("not today") // so it is asked again
				}
				starts := make([]int64, len(partitions))
				for i, p := range partitions {
					if p.Topic != requests || p.TopicID != [16]byte(topics[requests].ID) || p.Start != 0 || p.End != 10 {
						return nil, &consumers.StartError{Reason: "it is told something else"}
					}
					starts[i] = 4 + int64(p.Partition)
				}
				return starts, nil
			}
			var committed atomic.Int64
			r, l := f.lane(cfg, handlerFunc(func(ctx context.Context, _ []schemas.Record, _ consumers.Publisher) error {
				offsets, err := f.adm.FetchOffsets(ctx, cfg.Name)
				if err != nil {
					return err
				}
				for p := range int32(2) {
					if o, ok := offsets.Lookup(requests, p); ok {
						committed.Add(o.At)
					}
				}
				return errors.New("it crashes before it has answered anything")
			}))
			await(t, "a batch", func() bool { return l.Stats.Aborted.Load() > 0 })
			require.NoError(t, r.stop())
			require.EqualValues(t, 4+5, committed.Load()/l.Stats.Aborted.Load())

			cfg.Start = func(context.Context, []consumers.Unstarted) ([]int64, error) {
				return nil, &consumers.StartError{Reason: "it is asked again"}
			}
			r, l = f.lane(cfg, echo(results))
			await(t, "the rest is answered", func() bool { return l.Stats.Records.Load() == 11 })
			require.NoError(t, r.stop())
			f.ended(results)
			require.Equal(t, []int{8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}, f.values(results))
		})
	}
}

// A lane that is not told where to start ends, and has read nothing.
func TestLaneThatMayNotStartEnds(t *testing.T) {
	t.Parallel()
	for _, delivery := range []consumers.Delivery{consumers.ExactlyOnce, consumers.AtLeastOnce} {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			requests := f.topic("requests.a", 1, nil)
			f.fill(requests, 1, 0, 10)
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery = delivery
			cfg.Start = func(context.Context, []consumers.Unstarted) ([]int64, error) {
				return nil, &consumers.StartError{Group: cfg.Name, Reason: "say where"}
			}
			l := consumers.NewLane(cfg, f.log)
			var start *consumers.StartError
			require.ErrorAs(t, l.Run(t.Context(), t.Context(), handlerFunc(func(context.Context, []schemas.Record, consumers.Publisher) error {
				return errors.New("it has read something")
			})), &start)
			require.Equal(t, "group "+cfg.Name+": say where", start.Error())
			require.Zero(t, l.Stats.Aborted.Load())
			offsets, err := f.adm.FetchOffsets(t.Context(), cfg.Name)
			require.NoError(t, err)
			require.Empty(t, offsets[requests])
		})
	}
}
