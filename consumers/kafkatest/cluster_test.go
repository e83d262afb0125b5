package kafkatest_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/consumers/kafkatest"
)

// nodes is how many the tests start; 0 skips those that need any.
var nodes int

func TestMain(m *testing.M) {
	var err error
	if nodes, err = kafkatest.Asked(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T) *kafkatest.Cluster {
	t.Helper()
	if nodes == 0 {
		t.Skip(kafkatest.Variable + " asks for no Apache Kafka")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	began := time.Now()
	c, err := kafkatest.Start(ctx, kafkatest.Config{Nodes: nodes, Logs: t.TempDir(), Front: func(_ int, addr string) (string, error) {
		return strings.Replace(addr, "127.0.0.1", "localhost", 1), nil
	}})
	require.NoError(t, err)
	t.Logf("%d nodes started in %s", nodes, time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// What was acknowledged is there after nodes were killed and frozen.
func TestNodesAreKilledAndFrozen(t *testing.T) {
	c := start(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.DefaultProduceTopic("t"))
	require.NoError(t, err)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	_, err = adm.CreateTopic(t.Context(), 3, -1, nil, "t")
	require.NoError(t, err)
	brokers, err := adm.ListBrokers(t.Context())
	require.NoError(t, err)
	require.Len(t, brokers, nodes)
	for _, b := range brokers {
		require.Equal(t, "localhost", b.Host, "it is known by its front")
	}
	sent := 0
	produce := func() {
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Value: []byte(strconv.Itoa(sent))}).FirstErr())
		sent++
	}
	produce()
	require.NoError(t, c.Kill(0))
	require.Error(t, c.Kill(0), "it does not run")
	if nodes > 2 {
		produce() // the others go on
	}
	began := time.Now()
	require.NoError(t, c.Restart(t.Context(), 0))
	t.Logf("a node that was killed is back and in sync after %s", time.Since(began).Round(time.Millisecond))
	require.Error(t, c.Restart(t.Context(), 0), "it runs already")
	produce()
	last := nodes - 1
	require.NoError(t, c.Stop(last))
	if nodes > 2 {
		produce()
	}
	require.NoError(t, c.Cont(last))
	require.NoError(t, c.Ready(t.Context()))
	produce()
	require.NoError(t, c.Terminate(t.Context(), last))
	if nodes > 2 {
		produce()
	}
	require.NoError(t, c.Restart(t.Context(), last))
	produce()
	require.NoError(t, c.Failure())
	ends, err := adm.ListEndOffsets(t.Context(), "t")
	require.NoError(t, err)
	require.NoError(t, ends.Error())
	n := int64(0)
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	require.EqualValues(t, sent, n)
}

// Reset leaves neither topics nor groups behind, whoever is in them.
func TestReset(t *testing.T) {
	c := start(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DefaultProduceTopic("t"))
	require.NoError(t, err)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for range 3 {
		_, err = adm.CreateTopic(t.Context(), 3, -1, nil, "t")
		require.NoError(t, err)
		for _, b := range cl.SeedBrokers() { // the controller has made it, and brokers hear of that
			require.Eventually(t, func() bool {
				resp, err := kmsg.NewPtrMetadataRequest().RequestWith(t.Context(), b)
				return err == nil && slices.ContainsFunc(resp.Topics, func(topic kmsg.MetadataResponseTopic) bool { return *topic.Topic == "t" })
			}, 30*time.Second, 10*time.Millisecond)
		}
		require.NoError(t, c.Reset(t.Context()))
		topics, err := adm.ListTopics(kadm.WithAuthorizedOps(t.Context())) // asks a broker, and not kadm's cache
		require.NoError(t, err)
		require.Empty(t, topics.Names())
	}
}

func TestUnusableSettings(t *testing.T) {
	_, err := kafkatest.Start(t.Context(), kafkatest.Config{})
	require.ErrorContains(t, err, "at least 1 node")
	if nodes > 0 {
		_, err = kafkatest.Start(t.Context(), kafkatest.Config{Nodes: 1, Java: []string{"-XX:NoSuchOption"}})
		require.ErrorContains(t, err, "NoSuchOption", "what the JVM said is in the error")
	}
	t.Setenv(kafkatest.Variable, "many")
	_, err = kafkatest.Selected(t.Context())
	require.ErrorContains(t, err, `got "many"`)
	t.Setenv(kafkatest.Variable, "embedded")
	c, err := kafkatest.Selected(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Close())
}
