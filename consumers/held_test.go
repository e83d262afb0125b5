package consumers_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/consumers"
)

// openOffsets begins a transaction that holds the offset of partition 0 of a topic, and returns
// what ends it.
func (f *fixture) openOffsets(group, topic string) (end func()) {
	f.Helper()
	ctx := context.Background()
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.conn.Brokers...), kgo.TransactionalID(f.id+"-lost"), kgo.TransactionTimeout(10*time.Minute))
	require.NoError(f, err)
	f.Cleanup(cl.Close)
	id, epoch, err := cl.ProducerID(ctx)
	require.NoError(f, err)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = f.id+"-lost", id, epoch, group
	added, err := add.RequestWith(ctx, cl)
	require.NoError(f, err)
	require.NoError(f, kerr.ErrorForCode(added.ErrorCode))
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.ProducerID, commit.ProducerEpoch, commit.Group = f.id+"-lost", id, epoch, group
	commit.Generation = -1
	partition := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	partition.Offset = 1
	of := kmsg.NewTxnOffsetCommitRequestTopic()
	topics, err := f.adm.ListTopics(ctx, topic)
	require.NoError(f, err)
	of.Topic, of.TopicID, of.Partitions = topic, topics[topic].ID, append(of.Partitions, partition)
	commit.Topics = append(commit.Topics, of)
	committed, err := commit.RequestWith(ctx, cl)
	require.NoError(f, err)
	require.NoError(f, kerr.ErrorForCode(committed.Topics[0].Partitions[0].ErrorCode))
	return func() {
		abort := kmsg.NewPtrEndTxnRequest()
		abort.TransactionalID, abort.ProducerID, abort.ProducerEpoch = f.id+"-lost", id, epoch
		aborted, err := abort.RequestWith(ctx, cl)
		require.NoError(f, err)
		require.NoError(f, kerr.ErrorForCode(aborted.ErrorCode))
	}
}

// A transaction that holds offsets for longer than one may be open is told of, and not its wait
// before; when it has ended the lane goes on.
func TestHeldOffsetsAreTold(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			requests, results := f.topic("requests.held", 1, nil), f.topic("results.held", 1, nil)
			f.fill(requests, 1, 0, 10)
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery, cfg.TransactionTimeout = delivery, 4*time.Second
			var told health
			cfg.Health = told.set
			end := f.openOffsets(cfg.Name, requests)
			began := time.Now()
			run, _ := f.lane(cfg, echo(results))
			await(t, "the held offset is told", told.failing)
			require.GreaterOrEqual(t, time.Since(began), cfg.TransactionTimeout)
			held := new(consumers.HeldError)
			require.ErrorAs(t, told.err(), &held)
			require.Equal(t, requests, held.Topic)
			require.Zero(t, held.Partition)
			require.ErrorContains(t, held, "kafka-transactions.sh find-hanging")
			require.Empty(t, f.values(results))
			end()
			await(t, "the lane goes on", func() bool { return len(f.values(results)) == 10 })
			await(t, "the lane is well", told.recovered)
			require.NoError(t, run.stop())
		})
	}
}
