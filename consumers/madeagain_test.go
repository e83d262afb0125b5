package consumers_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// TestLaneGoesOnWhenATopicThatItProducesToIsMadeAgain: a producer knows a topic by its id. What
// a lane could not produce comes again in a new session, which learns the new topic's.
func TestLaneGoesOnWhenATopicThatItProducesToIsMadeAgain(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			requests, results, others := f.topic("requests.a", 1, nil), f.topic("results.a", 1, nil), f.topic("others", 1, nil)
			f.fill(requests, 1, 0, 5)
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery = delivery
			var health health
			cfg.Health = health.set
			run, lane := f.lane(cfg, handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
				for i := range records {
					out.Publish(schemas.Message{Topic: others, Partition: 0, Value: records[i].Value})
				}
				return echo(results)(ctx, records, out)
			}))
			await(t, "the first results", func() bool { return lane.Stats.Records.Load() == 5 })
			f.makeAgain("results.a")
			f.fill(requests, 1, 5, 20)
			await(t, "the results in the new topic", func() bool { return lane.Stats.Records.Load() >= 25 })
			require.False(t, health.failing())
			require.NoError(t, run.stop())
			require.Positive(t, lane.Stats.Reopened.Load())
			require.Subset(t, f.values(results), upTo(25)[5:])
			if delivery == consumers.ExactlyOnce {
				require.Equal(t, upTo(25)[5:], f.values(results), "none is lost, none is there twice")
				require.Equal(t, upTo(25), f.values(others), "what went to another topic was aborted with them")
			}
		})
	}
}

// TestLaneGoesOnWhenPartitionsGrow: neither requests nor results that get more partitions cost
// a session.
func TestLaneGoesOnWhenPartitionsGrow(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			requests, results := f.topic("requests.a", 1, nil), f.topic("results.a", 1, nil)
			f.fill(requests, 1, 0, 5)
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery = delivery
			run, lane := f.lane(cfg, echo(results))
			await(t, "the first results", func() bool { return lane.Stats.Records.Load() == 5 })
			for _, topic := range []string{results, requests} {
				resp, err := f.adm.UpdatePartitions(t.Context(), 3, topic)
				require.NoError(t, err)
				require.NoError(t, resp.Error())
			}
			for v, partition := range []int32{0, 1, 2, 2, 1} {
				await(t, "the partition takes a record", func() bool {
					f.cl.ForceMetadataRefresh()
					return f.cl.ProduceSync(t.Context(), &kgo.Record{Topic: requests, Partition: partition, Value: []byte{'0' + byte(5+v)}}).FirstErr() == nil
				})
			}
			await(t, "the results of all partitions", func() bool { return lane.Stats.Records.Load() == 10 })
			require.NoError(t, run.stop())
			require.Equal(t, upTo(10), f.values(results))
			require.Zero(t, lane.Stats.Reopened.Load())
		})
	}
}

// TestLaneTakesUpATopicMadeAgainWithMorePartitions: the offsets that the group had committed
// belong to the old topic.
func TestLaneTakesUpATopicMadeAgainWithMorePartitions(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	requests, results := f.topic("requests.a", 1, nil), f.topic("results.a", 3, nil)
	f.fill(requests, 1, 0, 50)
	var answered atomic.Int64
	run, _ := f.lane(f.laneConfig("requests.", 0), handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
		out.OnCommit(func() { answered.Add(int64(len(records))) })
		return echo(results)(ctx, records, out)
	}))
	await(t, "the first results", func() bool { return answered.Load() == 50 })
	f.makeAgain("requests.a")
	resp, err := f.adm.UpdatePartitions(t.Context(), 3, requests)
	require.NoError(t, err)
	require.NoError(t, resp.Error())
	for v := 50; v < 60; v++ {
		await(t, "the partition takes a record", func() bool {
			f.cl.ForceMetadataRefresh()
			return f.cl.ProduceSync(t.Context(), &kgo.Record{Topic: requests, Partition: int32(v % 3), Value: []byte{'0' + byte(v/10), '0' + byte(v%10)}}).FirstErr() == nil
		})
	}
	await(t, "the results of the new topic", func() bool { return answered.Load() >= 60 })
	require.NoError(t, run.stop())
	require.Equal(t, upTo(60), f.values(results))
}
