package kafka_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/kafka"
)

// apache is the Apache Kafka that the tests run against; nil when each has a broker of its
// own in memory.
var apache *kafkatest.Cluster

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	if apache, err = kafkatest.Selected(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	err = apache.Close()
	if code == 0 {
		err = errors.Join(err, goleak.Find())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// serve gives one test the topics, and nothing else, on a broker in memory or on Apache
// Kafka.
func serve(tb testing.TB) (brokers []string) {
	tb.Helper()
	if apache != nil {
		require.NoError(tb, apache.Reset(tb.Context()))
		cl, err := kgo.NewClient(kgo.SeedBrokers(apache.Brokers()...))
		require.NoError(tb, err)
		defer cl.Close()
		for partitions, topics := range map[int32][]string{1: {"millrace.events", "refused"}, 4: {"millrace.deadletters", "millrace.requests.m"}} {
			created, err := kadm.NewClient(cl).CreateTopics(tb.Context(), partitions, -1, nil, topics...)
			require.NoError(tb, errors.Join(err, created.Error()))
		}
		require.NoError(tb, apache.Ready(tb.Context()))
		return apache.Brokers()
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "millrace.events", "refused"),
		kfake.SeedTopics(4, "millrace.deadletters", "millrace.requests.m"))
	require.NoError(tb, err)
	tb.Cleanup(cluster.Close)
	return cluster.ListenAddrs()
}

func dial(brokers []string) kafka.Dial {
	return consumers.Connection{Brokers: brokers, ClientID: "test"}.Dial
}

func newProducer(tb testing.TB, brokers []string) *kafka.Producer {
	tb.Helper()
	p, err := kafka.NewProducer(dial(brokers), 10_000, schemas.DefaultTopics().MaxBytes)
	require.NoError(tb, err)
	tb.Cleanup(p.Close)
	return p
}

// read returns the next n records of a topic from its start.
func read(t *testing.T, brokers []string, topic string, n int) []schemas.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out []schemas.Record
	for len(out) < n {
		fetches := cl.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			rec := schemas.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value}
			for _, h := range r.Headers {
				rec.Headers = append(rec.Headers, schemas.Header{Key: h.Key, Value: h.Value})
			}
			out = append(out, rec)
		})
	}
	require.Len(t, out, n)
	return out
}

func header(key, value string) schemas.Header { return schemas.Header{Key: key, Value: []byte(value)} }

var failedAt = time.Date(2026, 3, 4, 5, 6, 7, 8_900, time.FixedZone("x", 3600))

func TestDeadLettersComeBackAsTheyWere(t *testing.T) {
	topicID := uuid.MustParse("6d2c3c2e-94a1-4ad6-8f2b-0f3e7a3c9b11")
	brokers := serve(t)
	p := newProducer(t, brokers)
	for i, rec := range []schemas.Record{
		{Key: []byte("k"), Value: []byte(`{"a":1}`), Headers: []schemas.Header{header("request-id", "r"), header("traceparent", "00-x"), header("traceparent", "twice")}},
		{Key: nil, Value: []byte("\x00\xff\xfe not UTF-8 \x80"), Headers: []schemas.Header{{Key: "odd\xff", Value: []byte{0, 255}}, {Key: "nil"}}},
		{Key: []byte{}, Value: nil},
		{Key: []byte("again"), Value: []byte(`{`), Headers: []schemas.Header{
			header(schemas.HeaderReplayOf, topicID.String()+"/0/7"), // it was a replay
			header(schemas.HeaderReason, "forged"), header(schemas.HeaderTopic, "forged"), header(schemas.HeaderOffset, "99"),
			header("mine", "kept"),
		}},
	} {
		rec.Topic, rec.TopicID, rec.Partition, rec.Offset = "millrace.requests.m", topicID, 3, int64(42+i)
		fault := schemas.Errorf(schemas.ErrorClassMalformed, "byte %d is \"x\"", i)
		letter := schemas.NewDeadLetter("millrace.deadletters", &rec, schemas.WholeRecord, fault, "m", "1", failedAt)
		require.Equal(t, "millrace.deadletters", letter.Topic)
		require.Equal(t, schemas.AnyPartition, letter.Partition)
		require.NoError(t, p.Send(t.Context(), letter))
	}
	letters := map[int64]schemas.Record{}
	for _, l := range read(t, brokers, "millrace.deadletters", 4) {
		c, ok := schemas.DeadLetterCoordinates(&l)
		require.True(t, ok)
		letters[c.Offset] = l
	}
	require.Len(t, letters, 4)

	first := letters[42]
	require.Equal(t, []schemas.Header{
		header("request-id", "r"), header("traceparent", "00-x"), header("traceparent", "twice"),
		header(schemas.HeaderErrorClass, "malformed"), header(schemas.HeaderReason, `byte 0 is "x"`),
		header(schemas.HeaderTopic, "millrace.requests.m"), header(schemas.HeaderTopicID, topicID.String()),
		header(schemas.HeaderPartition, "3"), header(schemas.HeaderOffset, "42"),
		header(schemas.HeaderModel, "m"), header(schemas.HeaderVersion, "1"),
		header(schemas.HeaderFailedAt, "2026-03-04T04:06:07.000008Z"),
	}, first.Headers)
	c, ok := schemas.DeadLetterCoordinates(&first)
	require.True(t, ok)
	require.Equal(t, schemas.Coordinates{TopicID: topicID, Partition: 3, Offset: 42}, c)

	replay := schemas.ReplayOf(&first)
	require.Equal(t, schemas.Message{
		Topic: "millrace.requests.m", Partition: 3, Key: []byte("k"), Value: []byte(`{"a":1}`),
		Headers: []schemas.Header{
			header("request-id", "r"), header("traceparent", "00-x"), header("traceparent", "twice"),
			header(schemas.HeaderReplayOf, topicID.String()+"/3/42"),
		},
	}, replay)

	odd := letters[43]
	require.Nil(t, odd.Key)
	require.Equal(t, []byte("\x00\xff\xfe not UTF-8 \x80"), odd.Value)
	require.Equal(t, []schemas.Header{{Key: "odd\xff", Value: []byte{0, 255}}, {Key: "nil"}}, odd.Headers[:2])

	tombstone := letters[44]
	require.Nil(t, tombstone.Value)
	require.NotNil(t, tombstone.Key)

	// A forged header does not get through; that it was a replay does.
	again := letters[45]
	require.Len(t, again.Headers, 2+9)
	require.Equal(t, []schemas.Header{header(schemas.HeaderReplayOf, topicID.String()+"/0/7"), header("mine", "kept")}, again.Headers[:2])
	class, _ := again.Header(schemas.HeaderReason)
	require.Equal(t, `byte 3 is "x"`, string(class))
	require.Equal(t, []schemas.Header{header("mine", "kept"), header(schemas.HeaderReplayOf, topicID.String()+"/3/45")},
		schemas.ReplayOf(&again).Headers, "it is the replay of this letter now")
}

func TestCoordinatesOfWhatIsNoLetter(t *testing.T) {
	for _, letter := range []schemas.Record{
		{Offset: 7},
		{Headers: []schemas.Header{header(schemas.HeaderTopicID, "x"), header(schemas.HeaderPartition, "99999999999"), header(schemas.HeaderOffset, "x")}},
		{Headers: []schemas.Header{header(schemas.HeaderTopicID, uuid.NewString()), header(schemas.HeaderPartition, "1")}},
		{Headers: []schemas.Header{header(schemas.HeaderTopicID, uuid.NewString()), header(schemas.HeaderPartition, "1"), header(schemas.HeaderOffset, "-1")}},
	} {
		c, ok := schemas.DeadLetterCoordinates(&letter)
		require.False(t, ok)
		require.Zero(t, c)
		require.Equal(t, schemas.AnyPartition, schemas.ReplayOf(&letter).Partition)
	}
	require.Empty(t, schemas.ReplayOf(&schemas.Record{}).Topic)
	require.ErrorContains(t, newProducer(t, serve(t)).Send(t.Context(), schemas.ReplayOf(&schemas.Record{})), "produce to topic")
}

func TestPartitionIsTheMessagesOrItsKeys(t *testing.T) {
	brokers := serve(t)
	p := newProducer(t, brokers)
	for i := range 4 {
		p.Enqueue(t.Context(), schemas.Message{Topic: "millrace.requests.m", Partition: int32(i), Key: []byte("same"), Value: []byte(strconv.Itoa(i))})
		p.Enqueue(t.Context(), schemas.Message{Topic: "millrace.requests.m", Partition: schemas.AnyPartition, Key: []byte("same"), Value: []byte("keyed")})
	}
	require.NoError(t, p.Flush(t.Context()))
	keyed := map[int32]int{}
	for _, r := range read(t, brokers, "millrace.requests.m", 8) {
		if string(r.Value) == "keyed" {
			keyed[r.Partition]++
		} else {
			require.Equal(t, strconv.Itoa(int(r.Partition)), string(r.Value))
		}
	}
	require.Equal(t, map[int32]int{1: 4}, keyed, "murmur2, as in Java")
}

func TestFlushReturnsTheFirstFailureOnce(t *testing.T) {
	brokers := serve(t)
	p := newProducer(t, brokers)
	p.Enqueue(t.Context(), schemas.Message{Topic: "refused", Partition: 9, Value: []byte("x")})
	p.Enqueue(t.Context(), schemas.Message{Topic: "refused", Partition: schemas.AnyPartition, Value: []byte("fine")})
	p.Enqueue(t.Context(), schemas.Message{Topic: "refused", Partition: schemas.AnyPartition, Value: make([]byte, schemas.MaxDeadLetterBytes+1)})
	require.ErrorContains(t, p.Flush(t.Context()), "produce to topic refused")
	require.NoError(t, p.Flush(t.Context()))
	require.Equal(t, "fine", string(read(t, brokers, "refused", 1)[0].Value))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.Send(ended, schemas.Message{Topic: "refused", Partition: schemas.AnyPartition}), context.Canceled)
	p.Enqueue(ended, schemas.Message{Topic: "refused", Partition: schemas.AnyPartition})
	require.ErrorIs(t, p.Flush(t.Context()), context.Canceled)
}

// mortal is a listener whose next connections end as soon as they are used, as those of a
// broker do that is killed.
type mortal struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	die   int
}

func (l *mortal) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
	if l.die > 0 {
		l.die--
		_, err = c.Read(make([]byte, 1<<10))
		err = errors.Join(err, c.Close())
	}
	return c, err
}

// restart ends all connections, and the next ones.
func (l *mortal) restart(next int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close() // it may have ended
	}
	l.conns, l.die = nil, next
}

// A broker that ends when it has just accepted a connection is away, and messages wait.
func TestBrokerEndsAtTheFirstRequest(t *testing.T) {
	l := &mortal{}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "millrace.events"), kfake.ListenFn(func(network, address string) (_ net.Listener, err error) {
		l.Listener, err = (&net.ListenConfig{}).Listen(t.Context(), network, address)
		return l, err
	}))
	require.NoError(t, err)
	defer cluster.Close()
	p := newProducer(t, cluster.ListenAddrs())
	const partitions = 4
	send := func(ctx context.Context) error {
		for partition := range int32(partitions) {
			p.Enqueue(ctx, schemas.Message{Topic: "millrace.events", Partition: partition, Value: []byte("v")})
		}
		return p.Flush(ctx)
	}
	require.NoError(t, send(t.Context()))
	l.restart(4)
	// kgo would give up each of them for 5 s, and in the end the messages.
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	require.NoError(t, send(ctx))
	read(t, cluster.ListenAddrs(), "millrace.events", 2*partitions)
}

func TestUnusableSettings(t *testing.T) {
	_, err := kafka.NewProducer(dial(nil), 1, schemas.DefaultTopics().MaxBytes)
	require.ErrorContains(t, err, "open a Kafka producer")
}

func TestEventsAreCloudEvents(t *testing.T) {
	brokers := serve(t)
	event := schemas.NewEvent(schemas.EventData{
		Kind: schemas.EventDrift, Severity: schemas.SeverityCritical, Model: "m", Version: "1",
		WindowStart: failedAt, WindowEnd: failedAt.Add(time.Hour), Rows: 5,
		Breaches: []schemas.Breach{{Stattest: schemas.StattestPSI, Column: "x", Value: 0.5, Threshold: 0.25, Severity: schemas.SeverityCritical, Retrain: true}},
	}, failedAt)
	m, err := kafka.EventMessage("millrace.events", event)
	require.NoError(t, err)
	require.NoError(t, newProducer(t, brokers).Send(t.Context(), m))
	rec := read(t, brokers, "millrace.events", 1)[0]
	require.Equal(t, "m", string(rec.Key))
	require.Equal(t, []schemas.Header{header("content-type", "application/cloudevents+json; charset=UTF-8")}, rec.Headers)
	var got schemas.Event
	require.NoError(t, json.Unmarshal(rec.Value, &got))
	require.True(t, event.Time.Equal(got.Time))
	require.Equal(t, event.ID, got.ID)
	require.Equal(t, event.Data.Breaches, got.Data.Breaches)
	var raw map[string]any
	require.NoError(t, json.Unmarshal(rec.Value, &raw))
	for _, key := range []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"} {
		require.Contains(t, raw, key)
	}
}

func BenchmarkEnqueue(b *testing.B) {
	p, err := kafka.NewProducer(dial(serve(b)), 100_000, schemas.DefaultTopics().MaxBytes)
	require.NoError(b, err)
	defer p.Close()
	m := schemas.Message{Topic: "millrace.requests.m", Partition: schemas.AnyPartition, Key: []byte("AA1234"), Value: make([]byte, 160)}
	b.SetBytes(int64(len(m.Value)))
	b.ReportAllocs()
	for b.Loop() {
		p.Enqueue(context.Background(), m)
	}
	require.NoError(b, p.Flush(context.Background()))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
