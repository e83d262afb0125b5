package main

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// TestReplaySendsMoreThanListShows: what deadletters list shows at most is no bound of what
// deadletters replay sends.
func TestReplaySendsMoreThanListShows(t *testing.T) {
	const letters, shown = 1010, 1000
	const dead, requests = "millrace.deadletters", "millrace.requests.mine"
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, dead, requests, "millrace.results.mine"))
	require.NoError(t, err)
	defer cluster.Close()
	addr := cluster.ListenAddrs()[0]
	t.Setenv("MILLRACE_CONFIG", write(t, "models: {repository: "+t.TempDir()+"}\ntopics: {partitions: 1}\nkafka: {brokers: ['"+addr+"']}\n"))
	code, _, stderr := millrace(t, "topics", "apply")
	require.Zero(t, code, stderr)

	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	require.NoError(t, err)
	defer cl.Close()
	topic := uuid.UUID(cluster.TopicInfo(requests).TopicID)
	for i := range letters {
		cl.Produce(t.Context(), &kgo.Record{Topic: dead, Value: []byte("{}"), Headers: []kgo.RecordHeader{
			{Key: schemas.HeaderErrorClass, Value: []byte(schemas.ErrorClassNoVersion)},
			{Key: schemas.HeaderTopic, Value: []byte(requests)},
			{Key: schemas.HeaderTopicID, Value: []byte(topic.String())},
			{Key: schemas.HeaderPartition, Value: []byte("0")},
			{Key: schemas.HeaderOffset, Value: []byte(strconv.Itoa(i))},
			{Key: schemas.HeaderModel, Value: []byte("mine")},
		}}, func(_ *kgo.Record, err error) { require.NoError(t, err) })
	}
	require.NoError(t, cl.Flush(t.Context()))

	_, listed, _ := millrace(t, "deadletters", "list")
	require.Equal(t, shown, strings.Count(listed, "\n"))
	_, listed, _ = millrace(t, "deadletters", "list", "--limit", "0")
	require.Equal(t, letters, strings.Count(listed, "\n"))
	code, out, stderr := millrace(t, "deadletters", "replay", "--all")
	require.Zero(t, code, stderr)
	require.Equal(t, strconv.Itoa(letters)+" replayed, 0 skipped\n", out)
}
