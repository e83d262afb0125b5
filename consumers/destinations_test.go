package consumers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
	w := &towns{fixture: newFixture(t, sharedAddr)}
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
	w.begin()
	return w
}

func (w *towns) begin() {
	w.Helper()
	w.run, w.lane = w.lane2()
}

func (w *towns) lane2() (*running, *consumers.Lane) {
	w.Helper()
	return w.fixture.lane(w.cfg, handlerFunc(func(_ context.Context, records []schemas.Record, out consumers.Publisher) error {
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

// gone deletes a results topic, and returns when every broker knows.
func (w *towns) gone(name string) {
	w.Helper()
	topic := w.results(name)
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

// committed returns how much of a town's requests is committed.
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
			require.Zero(t, w.lane.Stats.Reopened.Load())
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

var _ = time.Second

// noise returns bytes that do not compress.
func noise(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(rand.Uint32())
	}
	return out
}
