package kafka_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/kafka"
)

// Of a transaction all messages can be read, or none: whether it fails, another producer takes
// over its id, or its producer is killed in it.
func TestTransactorProducesAllOrNothing(t *testing.T) {
	brokers := serve(t)
	open := func() *kafka.Transactor {
		t.Helper()
		tr, err := kafka.NewTransactor(t.Context(), dial(brokers), "replay")
		require.NoError(t, err)
		t.Cleanup(tr.Close)
		return tr
	}
	n := 0
	pair := func() []schemas.Message {
		n++
		text := []byte(strconv.Itoa(n))
		return []schemas.Message{
			{Topic: "millrace.requests.m", Partition: 2, Value: text, Headers: []schemas.Header{header("a", "b")}},
			{Topic: "millrace.events", Partition: schemas.AnyPartition, Key: []byte("k"), Value: text},
		}
	}
	first := open()
	require.NoError(t, first.Commit(t.Context(), pair())) // 1

	tooLarge := pair() // 2
	tooLarge[0].Value = make([]byte, 32<<20)
	_, _ = rand.Read(tooLarge[0].Value)
	err := first.Commit(t.Context(), tooLarge)
	require.ErrorIs(t, err, kafka.ErrTooLarge)
	compressible := pair() // 3
	compressible[0].Headers[0].Value = make([]byte, 16<<20)
	require.NoError(t, first.Commit(t.Context(), compressible), "what passed compressed passes again, whatever is configured")

	killed, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID("replay"), kgo.DefaultProduceTopic("millrace.events"))
	require.NoError(t, err)
	require.NoError(t, killed.BeginTransaction())
	require.NoError(t, killed.ProduceSync(t.Context(), kgo.StringRecord("left open")).FirstErr())
	killed.Close()
	second := open()
	require.ErrorIs(t, first.Commit(t.Context(), pair()), kafka.ErrFenced)                          // 4
	require.Error(t, first.Commit(t.Context(), pair()))                                             // 5
	require.NoError(t, second.Commit(t.Context(), pair()), "the one that was fenced fences nobody") // 6

	ended := errors.New("ended")
	require.ErrorIs(t, second.Commit(canceled(t, ended), pair()), ended) // 7

	require.NoError(t, newProducer(t, brokers).Send(t.Context(), schemas.Message{Topic: "millrace.events", Value: []byte("last")}))
	var events, requests []string
	for _, r := range committed(t, brokers, "millrace.events", "last") {
		events = append(events, string(r.Value))
	}
	require.NoError(t, newProducer(t, brokers).Send(t.Context(), schemas.Message{Topic: "millrace.requests.m", Partition: 2, Value: []byte("last")}))
	for _, r := range committed(t, brokers, "millrace.requests.m", "last") {
		requests = append(requests, string(r.Value))
		require.EqualValues(t, 2, r.Partition)
	}
	require.Equal(t, []string{"1", "3", "6"}, events)
	require.Equal(t, events, requests)
}

func canceled(t *testing.T, cause error) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	return ctx
}

// committed returns the committed records of a topic up to, without, the one of that value.
func committed(t *testing.T, brokers []string, topic, last string) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	require.NoError(t, err)
	defer cl.Close()
	var out []*kgo.Record
	for {
		fetches := cl.PollFetches(t.Context())
		require.NoError(t, fetches.Err())
		for _, r := range fetches.Records() {
			if string(r.Value) == last {
				return out
			}
			out = append(out, r)
		}
	}
}
