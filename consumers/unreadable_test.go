package consumers_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/schemas"
)

// bomb produces 17 records as one batch of 136 MiB, which is some kilobytes as sent.
func (f *fixture) bomb(topic string) {
	f.Helper()
	operator, err := kafkatest.NewOperator(f.conn.Brokers)
	require.NoError(f, err)
	defer operator.Close()
	_, err = operator.Bomb(context.Background(), topic, 0)
	require.NoError(f, err)
}

// garbage produces a batch of 17 records that says it is compressed, and is not.
func (f *fixture) garbage(topic string) {
	f.Helper()
	const crcAt, attributes, lastDelta, maxTime, firstTime, producer, count, header = 17, 21, 23, 35, 27, 43, 57, 61
	b := append(make([]byte, header), "no compressed data"...)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2           // magic
	b[attributes+1] = 4 // zstd
	binary.BigEndian.PutUint32(b[lastDelta:], 16)
	binary.BigEndian.PutUint64(b[firstTime:], uint64(time.Now().UnixMilli()))
	copy(b[maxTime:], b[firstTime:firstTime+8])
	copy(b[producer:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") // none
	binary.BigEndian.PutUint32(b[count:], 17)
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[attributes:], crc32.MakeTable(crc32.Castagnoli)))

	topics, err := f.adm.ListTopics(context.Background(), topic)
	require.NoError(f, err)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	in := kmsg.NewProduceRequestTopic()
	in.Topic, in.TopicID = topic, topics[topic].ID
	of := kmsg.NewProduceRequestTopicPartition()
	of.Records = b
	in.Partitions = append(in.Partitions, of)
	req.Topics = append(req.Topics, in)
	resp, err := req.RequestWith(context.Background(), f.cl)
	require.NoError(f, err)
	require.Zero(f, resp.Topics[0].Partitions[0].ErrorCode)
}

// unreadable produces a batch of 17 records that cannot be read, in the cheaper way where the
// broker takes it.
func (f *fixture) unreadable(topic string) {
	f.Helper()
	if cluster != nil {
		f.bomb(topic)
	} else {
		f.garbage(topic)
	}
}

// faultStore keeps the classes of the records that stand for what could not be read.
type faultStore struct {
	*memory
	classes []schemas.ErrorClass
}

func (s *faultStore) Store(ctx context.Context, records []schemas.Record, replay bool, lease schemas.Lease) (int, error) {
	for i := range records {
		if fault := records[i].Fault; fault != nil {
			s.mu.Lock()
			s.classes = append(s.classes, fault.Class)
			s.mu.Unlock()
		}
	}
	return s.memory.Store(ctx, records, replay, lease)
}

// reader is a role that reads a topic.
type reader struct {
	name    string
	results string      // of a lane
	store   *faultStore // of a recorder
	run     func(g consumers.Group, told func(error)) *running
}

// readers returns every role that reads a topic, each with results of its own.
func (f *fixture) readers(topic string) []reader {
	f.Helper()
	var all []reader
	for _, delivery := range deliveries {
		results := f.topic("results."+string(delivery), 2, nil)
		all = append(all, reader{name: string(delivery), results: results, run: func(g consumers.Group, told func(error)) *running {
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery, cfg.Group, cfg.Health = delivery, g, told
			calls := 0
			cfg.SetAside = func(e *consumers.UnreadableBatchError, out consumers.Publisher) {
				if calls++; calls == 1 && delivery == consumers.ExactlyOnce {
					out.Publish(schemas.Message{Value: []byte("lost")}) // has no topic, and aborts the transaction
				}
				text := fmt.Sprintf("aside %d to %d", e.Offset, e.Next)
				out.Publish(schemas.Message{Topic: results, Partition: e.Partition, Value: []byte(text)})
			}
			r, _ := f.lane(cfg, echo(results))
			return r
		}})
	}
	store := &faultStore{memory: newMemory()}
	return append(all, reader{name: "recorder", store: store, run: func(g consumers.Group, told func(error)) *running {
		cfg := f.recorderConfig(topic)
		cfg.Group, cfg.Health = g, told
		return start(f, func(soft, hard context.Context) error {
			return consumers.NewRecorder(cfg, f.log).Run(soft, hard, store)
		})
	}}, reader{name: "subscriber", run: func(g consumers.Group, _ func(error)) *running {
		return start(f, func(soft, hard context.Context) error {
			return consumers.Subscribe(soft, hard, f.conn, g, topic, time.Second, f.log, func(context.Context, *schemas.Record) error { return nil })
		})
	}})
}

// unreadable are the batches that cannot be read. Each is of 17 records.
var unreadable = map[string]struct {
	produce func(f *fixture, topic string)
	message string
}{
	"inflates too far": {(*fixture).bomb, "at offset 3 cannot be read: it inflates to more than 128 MiB"},
	"does not inflate": {(*fixture).garbage, "at offset 3 cannot be read: unable to decompress batch"},
}

// eachUnreadable makes a topic of two partitions, of which the first has a batch that cannot be
// read, as offsets 3 to 19.
func eachUnreadable(t *testing.T, test func(t *testing.T, f *fixture, topic, message string, again func())) {
	t.Helper()
	for name, batch := range unreadable {
		t.Run(name, func(t *testing.T) {
			if cluster != nil && name != "inflates too far" {
				t.Skip("Apache Kafka refuses it")
			}
			f := newFixture(t, sharedAddr)
			topic := f.topic("requests.a", 2, nil)
			send := func(partition int32, values ...string) {
				for _, v := range values {
					require.NoError(t, f.cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)}).FirstErr())
				}
			}
			send(0, "0", "1", "2")
			batch.produce(f, topic)
			send(0, "20", "21")
			send(1, "3", "4")
			test(t, f, topic, batch.message, func() { f.unreadable(topic) })
		})
	}
}

// TestUnreadableBatchStopsItsPartitionAlone: what lies before it is handled and committed. Then
// the partition stands still, it is said where, why and how to go on, each time that the role
// is started, and the other partition goes on. Set behind the batch, the partition goes on.
func TestUnreadableBatchStopsItsPartitionAlone(t *testing.T) {
	t.Parallel()
	eachUnreadable(t, func(t *testing.T, f *fixture, topic, message string, _ func()) {
		t.Helper()
		g := f.group("workers")
		g.SessionTimeout = 10 * time.Second // for the last one to inflate the batch: who loses the partition has nothing to say
		set := func(t *testing.T, first, second int64) {
			t.Helper()
			offsets := kadm.Offsets{}
			offsets.AddOffset(topic, 0, first, -1)
			offsets.AddOffset(topic, 1, second, -1)
			require.NoError(t, f.adm.CommitAllOffsets(t.Context(), g.Name, offsets))
		}
		for _, reader := range f.readers(topic) {
			t.Run(reader.name, func(t *testing.T) {
				set(t, 0, 0)
				for range 2 {
					var health health
					r := reader.run(g, health.set)
					if reader.name != "subscriber" { // which is one of many, and ends
						await(t, "it is said", health.failing)
						f.awaitCommit(topic, 1, 2)
						r.soft()
					}
					err := r.wait()
					var stopped *consumers.UnreadableBatchError
					require.ErrorAs(t, err, &stopped)
					require.Equal(t, []any{g.Name, topic, int32(0), int64(3), int64(20)},
						[]any{stopped.Group, stopped.Topic, stopped.Partition, stopped.Offset, stopped.Next})
					require.ErrorContains(t, err, message)
					f.awaitCommit(topic, 0, 3)
				}
				set(t, 20, 2)
				var health health
				r := reader.run(g, health.set)
				f.awaitCommit(topic, 0, 22)
				require.NoError(t, r.stop())
				require.False(t, health.failing())
			})
		}
	})
}

// TestStoppedPartitionIsStoppedWhereverItGoes: a member that leaves hands a partition that is
// stopped to another one, which stops it as well, and says so; the first has nothing to say then.
func TestStoppedPartitionIsStoppedWhereverItGoes(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			requests, results := f.topic("requests.a", 2, nil), f.topic("results.a", 2, nil)
			f.fill(requests, 2, 0, 2)
			f.unreadable(requests)
			lane := func(n int) (*running, *health) {
				cfg, told := f.laneConfig("requests.", n), &health{}
				cfg.Delivery, cfg.Health = delivery, told.set
				r, _ := f.lane(cfg, echo(results))
				return r, told
			}
			first, told := lane(0)
			await(t, "the first lane says it", told.failing)
			second, other := lane(1)
			await(t, "both have joined", func() bool { return len(f.members()) == 2 })
			first.soft()
			_ = first.wait() // it says so, or has given the partition away already
			await(t, "the second lane says it", other.failing)
			f.fill(requests, 2, 3, 1) // to the other partition
			f.awaitCommit(requests, 1, 2)
			var stopped *consumers.UnreadableBatchError
			require.ErrorAs(t, second.stop(), &stopped)
			require.EqualValues(t, 1, stopped.Offset)
		})
	}
}

// TestReadingPassesOverAnUnreadableBatch: who reads a topic gets what can be read, and is told
// what cannot. Who reads a partition back, as for its request ids, misses nothing else.
func TestReadingPassesOverAnUnreadableBatch(t *testing.T) {
	t.Parallel()
	eachUnreadable(t, func(t *testing.T, f *fixture, topic, _ string, again func()) {
		t.Helper()
		again() // as the topic's last one
		var got []string
		visit := func(rec *schemas.Record) error {
			got = append(got, string(rec.Value))
			return nil
		}
		err := f.admin.Read(t.Context(), topic, visit)
		slices.Sort(got)
		require.Equal(t, []string{"0", "1", "2", "20", "21", "3", "4"}, got)
		require.ErrorContains(t, err, "topic "+topic+" partition 0: the record batch of the offsets 3 to 19 cannot be read and was passed over: ")
		require.ErrorContains(t, err, "topic "+topic+" partition 0: the record batch of the offsets 22 to 38 cannot be read and was passed over: ")

		got = nil
		require.NoError(t, f.admin.ReadBefore(t.Context(), topic, 0, time.Now().Add(-time.Hour), 0, 21, visit))
		require.Equal(t, []string{"0", "1", "2", "20"}, got)
		require.NoError(t, f.admin.FindRecord(t.Context(), topic, 0, 20, visit))
		require.ErrorContains(t, f.admin.FindRecord(t.Context(), topic, 0, 5, visit), "the record batch of offset 5 cannot be read: ")
	})
}

// TestUnreadableBatchIsSetAside: where the operator allows it, the partition goes on behind a
// batch that cannot be read, also where nothing is behind it. Of each batch there is one dead
// letter, which says where it is; the records before and behind it are handled once.
func TestUnreadableBatchIsSetAside(t *testing.T) {
	t.Parallel()
	eachUnreadable(t, func(t *testing.T, f *fixture, topic, _ string, again func()) {
		t.Helper()
		readers := f.readers(topic)
		roles, healths := make([]*running, len(readers)), make([]health, len(readers))
		handled := func() {
			for _, reader := range readers {
				await(t, reader.name+": the rest is handled", func() bool { return f.lag(f.group(reader.name).Name, topic) == 0 })
			}
		}
		for i, reader := range readers {
			g := f.group(reader.name)
			g.Unreadable = consumers.UnreadableSkip
			roles[i] = reader.run(g, healths[i].set)
		}
		handled()
		again() // with nothing behind it
		handled()
		for i, reader := range readers {
			t.Run(reader.name, func(t *testing.T) {
				r, health := roles[i], &healths[i]
				require.NoError(t, r.stop())
				require.False(t, health.failing())
				if reader.store != nil {
					want := map[string]int{}
					for _, place := range []string{"0/0", "0/1", "0/2", "0/3", "0/20", "0/21", "0/22", "1/0", "1/1"} {
						want[place] = 1
					}
					got := map[string]int{}
					for key, n := range reader.store.rows { // by topic and its id, too
						parts := strings.Split(key, "/")
						got[strings.Join(parts[2:], "/")] += n
					}
					require.Equal(t, want, got)
					require.Equal(t, []schemas.ErrorClass{schemas.ErrorClassUnreadableBatch, schemas.ErrorClassUnreadableBatch}, reader.store.classes)
				}
				if reader.results != "" {
					f.ended(reader.results)
					var got []string
					for _, rec := range f.read(reader.results) {
						got = append(got, string(rec.Value))
					}
					slices.Sort(got)
					require.Equal(t, []string{"0", "1", "2", "20", "21", "3", "4", "aside 22 to 39", "aside 3 to 20"}, got)
				}
			})
		}
	})
}

// TestUnreadableBatchThatTheClientDropped: a client drops what it has fetched when it is assigned
// partitions or its offsets are set, also that it has met a batch that inflates too far, which it
// tells never again. That is noticed, and ends the session: a new one fetches the batch.
func TestUnreadableBatchThatTheClientDropped(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 2, nil)
	f.bomb(topic)
	for range 2 {
		require.NoError(t, f.cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: 1, Value: []byte("1")}).FirstErr())
	}
	start := kadm.Offsets{}
	start.AddOffset(topic, 0, 0, -1)
	start.AddOffset(topic, 1, 0, -1)
	require.NoError(t, f.adm.CommitAllOffsets(t.Context(), f.group("dropped").Name, start))
	over := make(chan struct{})
	unsaid := consumers.NewUntold(func(error) { close(over) })
	defer unsaid.End()
	cl, err := kgo.NewClient(append(unsaid.Options(), kgo.SeedBrokers(f.conn.Brokers...), kgo.ConsumerGroup(f.group("dropped").Name),
		kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.MaxDecompressBatchBytes(128<<20))...)
	require.NoError(t, err)
	defer cl.Close()
	await(t, "the client has met the batch", func() bool { return unsaid.Knows(topic, 0) })
	cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {1: {Epoch: -1, Offset: 1}}})
	unsaid.Polls()
	fetches := cl.PollRecords(t.Context(), 10)
	unsaid.Polled(fetches)
	require.NoError(t, fetches.Err(), "the client tells it: untold is of no use any more")
	require.Equal(t, 1, fetches.NumRecords())
	unsaid.Polls() // and waits
	receive(t, over, "the end of the session")
	require.ErrorContains(t, unsaid.Lost(), "topic "+topic+" partition 0: the client has dropped that a batch inflates to more than 128 MiB")
}
