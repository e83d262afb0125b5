package consumers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// towns are requests topics with results topics of their own, answered by one lane.
type towns struct {
	*fixture
	cfg  consumers.LaneConfig
	run  *running
	lane *consumers.Lane

	mu      sync.Mutex
	awaited []consumers.Awaited
	all     []string // every reason that was told
}

// newTowns makes topics of some partitions each, and starts a lane that answers them.
func newTowns(t *testing.T, delivery consumers.Delivery, partitions int32, names ...string) *towns {
	t.Helper()
	w := foundTowns(t, sharedAddr, delivery, partitions, names...)
	w.begin()
	return w
}

// foundTowns is newTowns without the lane.
func foundTowns(t *testing.T, addr string, delivery consumers.Delivery, partitions int32, names ...string) *towns {
	t.Helper()
	w := &towns{fixture: newFixture(t, addr)}
	for _, name := range names {
		w.topic("requests."+name, partitions, nil)
		w.topic("results."+name, partitions, nil)
	}
	w.cfg = w.laneConfig("requests.", 0)
	w.cfg.Delivery = delivery
	w.cfg.Origin = func(m schemas.Message) (consumers.Source, bool) {
		name, ok := strings.CutPrefix(m.Topic, w.id+".results.")
		return consumers.Source{Topic: w.id + ".requests." + name, Partition: m.Partition, SamePartition: true}, ok
	}
	w.cfg.Awaited = func(awaited []consumers.Awaited) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.awaited = awaited
		for _, a := range awaited {
			if text := a.Reason; !slices.Contains(w.all, text) {
				w.all = append(w.all, text)
			}
		}
	}
	return w
}

// begin starts the lane.
func (w *towns) begin() {
	w.Helper()
	w.run, w.lane = w.start(w.cfg)
}

// start starts a lane that answers each request where its town's results are.
func (w *towns) start(cfg consumers.LaneConfig) (*running, *consumers.Lane) {
	w.Helper()
	return w.fixture.lane(cfg, handlerFunc(func(_ context.Context, records []schemas.Record, out consumers.Publisher) error {
		for i := range records {
			rec := &records[i]
			out.Publish(schemas.Message{
				Topic: strings.Replace(rec.Topic, ".requests.", ".results.", 1), Partition: rec.Partition, Key: rec.Key, Value: rec.Value,
			})
		}
		return nil
	}))
}

func (w *towns) requests(name string) string { return w.id + ".requests." + name }
func (w *towns) results(name string) string  { return w.id + ".results." + name }

// waits returns what waits, as one line each.
func (w *towns) waits() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, a := range w.awaited {
		out = append(out, fmt.Sprintf("%s %v: %s", strings.TrimPrefix(a.Requests, w.id+".requests."), a.Partitions, strings.ReplaceAll(a.Reason, w.id+".", "")))
	}
	return out
}

// says waits until so much waits.
func (w *towns) says(want ...string) {
	w.Helper()
	await(w, fmt.Sprintf("%q waits", want), func() bool { return slices.Equal(want, w.waits()) })
}

// answered waits until everything that a town was asked is answered.
func (w *towns) answered(names ...string) {
	w.Helper()
	for _, name := range names {
		w.awaitLag(0, w.requests(name))
	}
}

// fresh has requests come from a client that knows no topic of before.
func (w *towns) fresh() {
	w.Helper()
	again, err := kgo.NewClient(kgo.SeedBrokers(w.conn.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(w, err)
	w.Cleanup(again.Close)
	w.cl = again
}

// gone deletes a results topic, and returns when every broker knows.
func (w *towns) gone(name string) {
	w.Helper()
	w.remove(w.results(name))
}

// remove deletes a topic, and returns when every broker knows.
func (w *towns) remove(topic string) {
	w.Helper()
	_, err := w.adm.DeleteTopic(w.Context(), topic)
	require.NoError(w, err)
	for _, b := range w.cl.SeedBrokers() {
		await(w, "the topic is gone", func() bool {
			resp, err := kmsg.NewPtrMetadataRequest().RequestWith(w.Context(), b)
			return err == nil && !slices.ContainsFunc(resp.Topics, func(t kmsg.MetadataResponseTopic) bool { return *t.Topic == topic })
		})
	}
}

// put produces n records from first on to a town's partitions, which may be new.
func (w *towns) put(name string, partitions, first, n int) {
	w.Helper()
	for v := first; v < first+n; v++ {
		await(w, "the partition takes a record", func() bool {
			err := w.cl.ProduceSync(w.Context(), &kgo.Record{Topic: w.requests(name), Partition: int32(v % partitions), Value: fmt.Append(nil, v)}).FirstErr()
			if err != nil {
				w.cl.ForceMetadataRefresh()
			}
			return err == nil
		})
	}
}

// grow gives a topic more partitions.
func (w *towns) grow(topic string, partitions int) {
	w.Helper()
	resp, err := w.adm.UpdatePartitions(w.Context(), partitions, topic)
	require.NoError(w, err)
	require.NoError(w, resp.Error())
}

func (w *towns) end() {
	w.Helper()
	require.NoError(w, w.run.stop())
	require.Empty(w, w.waits())
}

// A results topic is deleted, made again with fewer partitions, and mended, while requests to it and
// to another topic come. The others are answered at each step; those whose partition is there again
// are answered too, and in the end each request is, once.
func TestADestinationThatIsGoneStopsItsRequestsAlone(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			w := newTowns(t, delivery, 4, "broken", "sound")
			w.fill(w.requests("broken"), 4, 0, 40)
			w.fill(w.requests("sound"), 4, 0, 40)
			w.answered("broken", "sound")
			w.gone("broken")
			w.fill(w.requests("broken"), 4, 40, 40)
			w.fill(w.requests("sound"), 4, 40, 40)
			w.answered("sound")
			w.says("broken [0 1 2 3]: topic results.broken does not exist; `millrace topics apply` makes it")
			require.EqualValues(t, 40, w.lag(w.group("workers").Name, w.requests("broken")))

			w.topic("results.broken", 2, nil)
			w.says("broken [2 3]: topic results.broken has 2 partitions, fewer than its requests; `millrace topics apply` adds them")
			w.fill(w.requests("sound"), 4, 80, 40)
			w.fill(w.requests("broken"), 4, 80, 40)
			w.answered("sound")
			w.awaitLag(40, w.requests("broken")) // two of four partitions

			w.grow(w.results("broken"), 4)
			w.answered("broken")
			w.says()
			w.end()
			require.Zero(t, w.lane.Stats.Reopened.Load(), "nobody lost a session")
			if delivery == consumers.ExactlyOnce {
				require.Equal(t, upTo(120), w.values(w.results("sound")))
				require.Equal(t, upTo(120)[40:], w.values(w.results("broken")), "none is lost, none is there twice")
			} else {
				require.Subset(t, w.values(w.results("sound")), upTo(120))
				require.Subset(t, w.values(w.results("broken")), upTo(120)[40:])
			}
		})
	}
}

// Requests grow to more partitions than results have: the new ones wait, alone.
func TestRequestsThatOutgrowTheirResultsWaitAlone(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			w := newTowns(t, delivery, 2, "broken", "sound")
			w.fill(w.requests("broken"), 2, 0, 10)
			w.answered("broken")
			w.grow(w.requests("broken"), 3)
			w.put("broken", 3, 10, 20)
			w.fill(w.requests("sound"), 2, 0, 10)
			w.answered("sound")
			w.says("broken [2]: topic results.broken has 2 partitions, fewer than its requests; `millrace topics apply` adds them")
			w.awaitLag(7, w.requests("broken"))
			w.grow(w.results("broken"), 3)
			w.answered("broken")
			w.says()
			w.end()
			require.Zero(t, w.lane.Stats.Reopened.Load())
			require.Equal(t, upTo(30), w.values(w.results("broken")))
			require.Equal(t, upTo(10), w.values(w.results("sound")))
		})
	}
}

// A topic whose largest batch was lowered takes smaller batches, and the partition of a single record
// that is larger waits.
func TestADestinationThatRefusesTheSize(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			w := newTowns(t, delivery, 1, "broken", "sound")
			w.fill(w.requests("broken"), 1, 0, 10)
			w.answered("broken")
			_, err := w.admin.ApplyTopics(t.Context(), []schemas.TopicSpec{{Name: w.results("broken"), Partitions: 1, ReplicationFactor: -1, Config: map[string]string{"max.message.bytes": "20000"}}})
			require.NoError(t, err)
			values := make([]*kgo.Record, 40)
			for i := range values {
				values[i] = &kgo.Record{Topic: w.requests("broken"), Value: noise(4000)}
			}
			values = append(values, &kgo.Record{Topic: w.requests("broken"), Value: noise(30_000)}, &kgo.Record{Topic: w.requests("broken"), Value: noise(100)})
			require.NoError(t, w.cl.ProduceSync(t.Context(), values...).FirstErr())
			w.fill(w.requests("sound"), 1, 0, 10)
			w.answered("sound")
			w.says("broken [0]: topic results.broken takes no message of that size: its max.message.bytes is 20000; `millrace topics apply` sets what is needed")
			w.fill(w.requests("sound"), 1, 10, 10)
			w.answered("sound")
			_, err = w.admin.ApplyTopics(t.Context(), []schemas.TopicSpec{{Name: w.results("broken"), Partitions: 1, ReplicationFactor: -1, Config: map[string]string{"max.message.bytes": "1000000"}}})
			require.NoError(t, err)
			w.answered("broken")
			w.says()
			w.end()
			require.EqualValues(t, 2, w.lane.Stats.Reopened.Load(), "once for each limit that was learned")
			w.ended(w.results("broken"))
			if got := len(w.read(w.results("broken"))); delivery == consumers.ExactlyOnce {
				require.Equal(t, 52, got)
			} else {
				require.GreaterOrEqual(t, got, 52)
			}
			require.Equal(t, upTo(20), w.values(w.results("sound")))
		})
	}
}

// Whatever a topic, or one of its partitions, answers that is no answer of the session: only what goes
// there waits, others are answered meanwhile, and all is answered once it takes records again.
func TestWhateverADestinationAnswers(t *testing.T) {
	t.Parallel()
	if cluster != nil {
		t.Skip("Apache Kafka has no faults to order")
	}
	for name, tc := range map[string]struct {
		err  *kerr.Error
		all  bool // partitions of the topic wait
		says string
	}{
		"forbidden":          {kerr.TopicAuthorizationFailed, true, "this user lacks the ACL Write on topic results.broken: "},
		"replicas away":      {kerr.NotEnoughReplicas, false, ""},
		"replicas fell away": {kerr.NotEnoughReplicasAfterAppend, false, ""},
		"no leader":          {kerr.LeaderNotAvailable, false, ""},
		"invalid":            {kerr.InvalidRecord, false, "topic results.broken partition 1 does not take it: "},
		"against the policy": {kerr.PolicyViolation, false, "topic results.broken partition 1 does not take it: "},
		"too large":          {kerr.MessageTooLarge, false, "topic results.broken takes no message of that size: "},
		"not known":          {kerr.UnknownTopicOrPartition, true, ""},
		"failed":             {kerr.UnknownServerError, false, ""},
		"stored, or not":     {kerr.RequestTimedOut, false, ""},
	} {
		for _, delivery := range deliveries {
			t.Run(name+"/"+string(delivery), func(t *testing.T) {
				t.Parallel()
				broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "1000"}))
				require.NoError(t, err)
				t.Cleanup(broker.Close)
				w := foundTowns(t, strings.Join(broker.ListenAddrs(), ","), delivery, 2, "broken", "sound")
				w.fill(w.requests("broken"), 2, 0, 20)
				w.fill(w.requests("sound"), 2, 0, 20)
				w.begin()
				w.answered("broken", "sound")
				began := w.lane.Stats.Reopened.Load()
				faulty := broker.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: w.results("broken"), Partitions: []int32{1}, Err: tc.err, Count: -1})
				topicWide := broker.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, TopicID: w.topicID(w.results("broken")), Partitions: []int32{1}, Err: tc.err, Count: -1})
				w.fill(w.requests("broken"), 2, 20, 20)
				w.fill(w.requests("sound"), 2, 20, 20)
				w.answered("sound")
				await(t, "it waits", func() bool {
					waits := w.waits()
					return len(waits) == 1 && strings.HasPrefix(waits[0], "broken ") && strings.Contains(waits[0], tc.says)
				})
				if !tc.all {
					require.Contains(t, w.waits()[0], "broken [1]:")
					w.awaitLag(10, w.requests("broken"))
				}
				w.fill(w.requests("sound"), 2, 40, 20)
				w.answered("sound")
				faulty.Remove()
				topicWide.Remove()
				w.answered("broken")
				w.end()
				if name != "too large" { // then a client that knows the topic's limit takes over, once
					require.Equal(t, began, w.lane.Stats.Reopened.Load(), "nobody lost a session")
				}
				if delivery == consumers.ExactlyOnce {
					require.Equal(t, upTo(60), w.values(w.results("sound")))
					require.Equal(t, upTo(40), w.values(w.results("broken")))
				} else {
					require.Subset(t, w.values(w.results("sound")), upTo(60))
					require.Subset(t, w.values(w.results("broken")), upTo(40))
				}
			})
		}
	}
}

// topicID returns the id of a topic.
func (w *towns) topicID(topic string) [16]byte {
	w.Helper()
	topics, err := w.adm.ListTopics(w.Context(), topic)
	require.NoError(w, err)
	return topics[topic].ID
}

// A lane that starts while two of three destinations are gone answers the third. What waits goes over
// to another lane when the first is stopped, and is answered there once it can be.
func TestWaitingPartitionsMove(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			w := foundTowns(t, sharedAddr, delivery, 2, "first", "second", "sound")
			w.gone("first")
			w.gone("second")
			for _, name := range []string{"first", "second", "sound"} {
				w.fill(w.requests(name), 2, 0, 20)
			}
			w.begin()
			w.answered("sound")
			w.says("first [0 1]: topic results.first does not exist; `millrace topics apply` makes it",
				"second [0 1]: topic results.second does not exist; `millrace topics apply` makes it")
			cfg := w.cfg
			cfg.Lane = 1
			var other atomic.Int64
			cfg.Awaited = func(awaited []consumers.Awaited) {
				n := 0
				for _, a := range awaited {
					n += len(a.Partitions)
				}
				other.Store(int64(n))
			}
			run, lane := w.start(cfg)
			await(t, "the other lane has some of them, and has them wait", func() bool { return other.Load() > 0 })
			w.end()
			await(t, "the other lane has all of them wait", func() bool { return other.Load() == 4 })
			w.fill(w.requests("sound"), 2, 20, 20)
			w.answered("sound")
			w.topic("results.first", 2, nil)
			w.answered("first")
			w.topic("results.second", 2, nil)
			w.answered("second")
			require.NoError(t, run.stop())
			require.Zero(t, lane.Stats.Reopened.Load())
			require.Equal(t, upTo(20), w.values(w.results("first")))
			require.Equal(t, upTo(20), w.values(w.results("second")))
			require.Subset(t, w.values(w.results("sound")), upTo(40))
		})
	}
}

// noise returns bytes that do not compress.
func noise(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(rand.Uint32())
	}
	return out
}

// What is mended in two steps, while a partition that already goes on is asked as little as between two
// requests: each of them has an answer. A producer that began to count anew in a partition that has its
// last batches would have the next one taken for one of these.
func TestADestinationThatIsMendedInSteps(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			w := newTowns(t, delivery, 2, "broken")
			w.gone("broken")
			w.put("broken", 2, 0, 2)
			w.says("broken [0 1]: topic results.broken does not exist; `millrace topics apply` makes it")
			await(t, "it is seen that the topic is gone", func() bool { return w.lane.Missed(w.results("broken")) })
			w.topic("results.broken", 1, nil)
			w.says("broken [1]: topic results.broken has 1 partitions, fewer than its requests; `millrace topics apply` adds them")
			w.awaitLag(1, w.requests("broken"))
			w.put("broken", 2, 2, 1)
			w.awaitLag(1, w.requests("broken"))
			w.grow(w.results("broken"), 2)
			w.answered("broken")
			w.put("broken", 2, 4, 1)
			w.put("broken", 2, 6, 1)
			w.put("broken", 2, 8, 1)
			w.answered("broken")
			w.says()
			w.end()
			require.Zero(t, w.lane.Stats.Reopened.Load())
			require.Equal(t, []int{0, 1, 2, 4, 6, 8}, w.values(w.results("broken")))
		})
	}
}
