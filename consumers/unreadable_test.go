package consumers_test

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// bomb produces 17 records as one batch of 136 MiB, which is some kilobytes as sent.
func (f *fixture) bomb(topic string) {
	f.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.conn.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(160<<20), kgo.BrokerMaxWriteBytes(200<<20), kgo.MaxBufferedBytes(200<<20),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerLinger(time.Minute), kgo.ManualFlushing())
	require.NoError(f, err)
	defer cl.Close()
	zeros := make([]byte, 8<<20)
	for range 17 {
		cl.Produce(context.Background(), &kgo.Record{Topic: topic, Value: zeros}, func(_ *kgo.Record, err error) {
			if err != nil {
				f.Error(err)
			}
		})
	}
	require.NoError(f, cl.Flush(context.Background()))
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

// slow is a store whose inserts take a while, and can be given up meanwhile.
type slow struct{ *memory }

func (s slow) Store(ctx context.Context, records []schemas.Record, replay bool, lease schemas.Lease) (int, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(300 * time.Millisecond):
		return s.memory.Store(ctx, records, replay, lease)
	}
}

// TestUnreadableBatch: what lies before it is handled and committed; then the partition
// cannot go on, and the role ends and says where and why, each time it is started. Set
// behind the batch, it goes on.
func TestUnreadableBatch(t *testing.T) {
	t.Parallel()
	t.Run("inflates too far", func(t *testing.T) {
		testUnreadable(t, (*fixture).bomb, 20, "at offset 3 cannot be read: it inflates to more than 128 MiB", ":0 --to 20`")
	})
	t.Run("does not inflate", func(t *testing.T) {
		if cluster != nil {
			t.Skip("Apache Kafka refuses it")
		}
		testUnreadable(t, (*fixture).garbage, -1, "at offset 3 cannot be read: unable to decompress batch", ":0 --to OFFSET`")
	})
}

func testUnreadable(t *testing.T, produce func(f *fixture, topic string), next int64, messages ...string) {
	t.Helper()
	f := newFixture(t, sharedAddr)
	topic, results := f.topic("requests.a", 1, nil), f.topic("results", 1, nil)
	f.fill(topic, 1, 0, 3)
	produce(f, topic)
	f.fill(topic, 1, 20, 5)

	lane := func(delivery consumers.Delivery) func(t *testing.T, g consumers.Group) *running {
		return func(t *testing.T, g consumers.Group) *running {
			t.Helper()
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery, cfg.Group = delivery, g
			l := consumers.NewLane(cfg, f.log)
			return start(t, func(soft, hard context.Context) error { return l.Run(soft, hard, echo(results)) })
		}
	}
	for name, run := range map[string]func(t *testing.T, g consumers.Group) *running{
		"exactly once":  lane(consumers.ExactlyOnce),
		"at least once": lane(consumers.AtLeastOnce),
		"recorder": func(t *testing.T, g consumers.Group) *running {
			t.Helper()
			cfg := f.recorderConfig(topic)
			cfg.Group, cfg.FlushInterval = g, 2*time.Second // what lies before is in hand then
			r := consumers.NewRecorder(cfg, f.log)
			return start(t, func(soft, hard context.Context) error { return r.Run(soft, hard, slow{newMemory()}) })
		},
		"subscriber": func(t *testing.T, g consumers.Group) *running {
			t.Helper()
			return start(t, func(soft, hard context.Context) error {
				return consumers.Subscribe(soft, hard, f.conn, g, topic, time.Second, f.log, func(context.Context, *schemas.Record) error { return nil })
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := f.group("of " + name)
			for range 2 {
				err := run(t, g).wait()
				var unreadable *consumers.UnreadableBatchError
				require.ErrorAs(t, err, &unreadable)
				require.Equal(t, []any{g.Name, topic, int32(0), int64(3), next},
					[]any{unreadable.Group, unreadable.Topic, unreadable.Partition, unreadable.Offset, unreadable.Next})
				for _, message := range messages {
					require.ErrorContains(t, err, message)
				}
			}
			require.EqualValues(t, 22, f.lag(g.Name, topic), "what lies before the batch is committed")
			behind := kadm.Offsets{}
			behind.AddOffset(topic, 0, 20, -1)
			require.NoError(t, f.adm.CommitAllOffsets(t.Context(), g.Name, behind))
			r := run(t, g)
			await(t, "the rest is handled", func() bool { return f.lag(g.Name, topic) == 0 })
			require.NoError(t, r.stop())
		})
	}
}
