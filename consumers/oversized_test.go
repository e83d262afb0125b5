package consumers_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// TestBatchThatInflatesTooFar: what lies before it is handled and committed; then the
// partition cannot go on, and the role ends and says where and why, each time it is started.
// Set behind the batch, it goes on.
func TestBatchThatInflatesTooFar(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic, results := f.topic("requests.a", 1, nil), f.topic("results", 1, nil)
	f.fill(topic, 1, 0, 3)
	bomber, err := kgo.NewClient(kgo.SeedBrokers(f.conn.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(160<<20), kgo.BrokerMaxWriteBytes(200<<20), kgo.MaxBufferedBytes(200<<20),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerLinger(time.Minute), kgo.ManualFlushing())
	require.NoError(t, err)
	defer bomber.Close()
	zeros := make([]byte, 8<<20)
	for range 17 { // one batch of 136 MiB, some kilobytes as sent
		bomber.Produce(t.Context(), &kgo.Record{Topic: topic, Value: zeros}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	require.NoError(t, bomber.Flush(t.Context()))
	f.fill(topic, 1, 20, 5)

	lane := func(delivery consumers.Delivery) func(t *testing.T, g consumers.Group) *running {
		return func(t *testing.T, g consumers.Group) *running {
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
			cfg := f.recorderConfig(topic)
			cfg.Group = g
			r := consumers.NewRecorder(cfg, f.log)
			return start(t, func(soft, hard context.Context) error { return r.Run(soft, hard, newMemory()) })
		},
		"subscriber": func(t *testing.T, g consumers.Group) *running {
			return start(t, func(soft, hard context.Context) error {
				return consumers.Subscribe(soft, hard, f.conn, g, topic, time.Second, f.log, func(context.Context, *schemas.Record) error { return nil })
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := f.group("of " + name)
			for range 2 {
				err := run(t, g).wait()
				var oversized *consumers.OversizedBatchError
				require.ErrorAs(t, err, &oversized)
				require.Equal(t, &consumers.OversizedBatchError{Group: g.Name, Topic: topic, Offset: 3, Next: 20}, oversized)
				require.ErrorContains(t, err, "offsets 3 to 19 inflates to more than 128 MiB")
				require.ErrorContains(t, err, "--reset-offsets --to-offset 20")
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
