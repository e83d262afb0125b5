package kafkatest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/consumers/embedded"
	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/schemas"
)

// addresses returns those of Apache Kafka where that is asked for, else of the embedded one.
func addresses(t *testing.T) []string {
	t.Helper()
	if nodes > 0 {
		return start(t).Brokers()
	}
	cfg := embedded.DefaultConfig()
	cfg.Dir, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- embedded.Serve(ctx, cfg, func(addr string) { ready <- addr }) }() // ends with ctx
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	select {
	case addr := <-ready:
		return []string{addr}
	case err := <-done:
		done <- nil
		require.NoError(t, err)
		return nil
	}
}

// TestOperator: what an operator may do to a Kafka is done by the time that it returns.
func TestOperator(t *testing.T) {
	brokers := addresses(t)
	op, err := kafkatest.NewOperator(brokers)
	require.NoError(t, err)
	defer op.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	make2 := func() {
		_, err := adm.CreateTopic(ctx, 2, -1, map[string]*string{"max.message.bytes": new("4194304")}, "t")
		require.NoError(t, err)
	}
	produce := func(partition int32, values ...string) {
		for _, v := range values {
			require.NoError(t, cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Partition: partition, Value: []byte(v)}).FirstErr())
		}
	}
	read := func(but ...kafkatest.Batch) (values []string, id string) {
		require.NoError(t, op.Read(ctx, "t", but, func(rec *schemas.Record) error {
			values, id = append(values, string(rec.Value)), rec.TopicID.String()
			return nil
		}))
		return values, id
	}
	make2()
	values, _ := read()
	require.Empty(t, values)
	produce(0, "a", "b")
	bomb, err := op.Bomb(ctx, "t", 0)
	require.NoError(t, err)
	require.Equal(t, kafkatest.Batch{Topic: "t", First: 2, Last: 18}, bomb)
	produce(0, "c")
	values, id := read(bomb)
	require.Equal(t, []string{"a", "b", "c"}, values)
	failure := errors.New("enough")
	require.ErrorIs(t, op.Read(ctx, "t", []kafkatest.Batch{bomb}, func(*schemas.Record) error { return failure }), failure)

	extents, err := op.Extents(ctx, "g", "t")
	require.NoError(t, err)
	require.Equal(t, map[int32]kafkatest.Extent{0: {Committed: -1, End: 20}, 1: {Committed: -1}}, extents)
	require.NoError(t, op.Commit(ctx, "g", "t", map[int32]int64{0: 19}))
	extents, err = op.Extents(ctx, "g", "t")
	require.NoError(t, err)
	require.Equal(t, map[int32]kafkatest.Extent{0: {Committed: 19, End: 20}, 1: {Committed: -1}}, extents)

	member, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"))
	require.NoError(t, err)
	defer member.Close()
	require.Equal(t, 1, member.PollFetches(ctx).NumRecords(), "from where the operator has put it")
	short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stop()
	require.ErrorIs(t, op.AwaitEmpty(short, "g"), context.DeadlineExceeded)
	member.Close()
	require.NoError(t, op.AwaitEmpty(ctx, "g"))
	require.NoError(t, op.DeleteGroup(ctx, "g"))
	require.NoError(t, op.AwaitEmpty(ctx, "g"), "it is gone")
	extents, err = op.Extents(ctx, "g", "t")
	require.NoError(t, err)
	require.EqualValues(t, -1, extents[0].Committed)

	require.NoError(t, op.DeleteTopic(ctx, "t"))
	make2()
	cl.PurgeTopicsFromClient("t")
	produce(1, "d")
	values, again := read()
	require.Equal(t, []string{"d"}, values)
	require.NotEqual(t, id, again)
}
