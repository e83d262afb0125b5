package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// TestProducerGoesOnWhenATopicIsMadeAgain: a client knows a topic by its id, which a topic
// that is deleted and made again does not keep.
func TestProducerGoesOnWhenATopicIsMadeAgain(t *testing.T) {
	brokers := serve(t)
	p := newProducer(t, brokers)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	event := func(text string) schemas.Message {
		return schemas.Message{Topic: "millrace.events", Partition: 0, Value: []byte(text)}
	}
	require.NoError(t, p.Send(ctx, event("old")))
	makeAgain(t, brokers, "millrace.events")
	require.NoError(t, p.Send(ctx, event("new")))
	require.Equal(t, "new", string(read(t, brokers, "millrace.events", 1)[0].Value))

	makeAgain(t, brokers, "millrace.events")
	p.Enqueue(ctx, event("lost with the topic"))
	require.ErrorContains(t, p.Flush(ctx), "produce to topic millrace.events: UNKNOWN_TOPIC_ID")
	p.Enqueue(ctx, event("newest"))
	require.NoError(t, p.Flush(ctx))
	require.Equal(t, "newest", string(read(t, brokers, "millrace.events", 1)[0].Value))
}

// makeAgain deletes a topic of one partition and makes it again.
func makeAgain(t *testing.T, brokers []string, topic string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	require.NoError(t, err)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	_, err = adm.DeleteTopic(t.Context(), topic)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // a controller tells brokers later that it has deleted it
		_, err := adm.CreateTopic(t.Context(), 1, -1, nil, topic)
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	if apache != nil {
		require.NoError(t, apache.Ready(t.Context()))
	}
}
