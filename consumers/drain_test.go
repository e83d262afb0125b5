package consumers_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// mostAfterHard is how long the end of a session may take once everything is to end. It is
// generous, but less than the client waits for one answer.
const mostAfterHard = 8 * time.Second

// TestNothingOutlivesHard has the broker hang at each kind of question that a session asks:
// at its start, with nothing in hand, and in the middle of a batch. Nothing of that may hold
// up the end of Run once hard has ended.
func TestNothingOutlivesHard(t *testing.T) {
	t.Parallel()
	lane := func(delivery consumers.Delivery) func(f *fixture) *running {
		return func(f *fixture) *running {
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery, cfg.ClientID = delivery, "hung"
			r, _ := f.lane(cfg, echo(f.id+".results"))
			return r
		}
	}
	recorder := func(f *fixture) *running {
		cfg := f.recorderConfig(f.id + ".requests.a")
		cfg.ClientID, cfg.Group = "hung", f.group("workers")
		r, _ := f.recorder(cfg, newMemory())
		return r
	}
	subscriber := func(f *fixture) *running {
		conn := f.conn
		conn.ClientID = "hung"
		return start(f, func(soft, hard context.Context) error {
			return consumers.Subscribe(soft, hard, conn, f.group("workers"), f.id+".requests.a", 20*time.Millisecond, f.log,
				func(context.Context, *schemas.Record) error { return nil })
		})
	}
	start := []kmsg.Key{kmsg.Metadata, kmsg.FindCoordinator, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.OffsetFetch}
	for name, tc := range map[string]struct {
		run               func(f *fixture) *running
		start, idle, busy []kmsg.Key // questions that it asks then
	}{
		"exactly once": {
			lane(consumers.ExactlyOnce), append(start, kmsg.InitProducerID, kmsg.ListOffsets, kmsg.Fetch),
			[]kmsg.Key{kmsg.Heartbeat, kmsg.Fetch},
			[]kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.Heartbeat, kmsg.EndTxn},
		},
		"at least once": {
			lane(consumers.AtLeastOnce), append(start, kmsg.InitProducerID, kmsg.ListOffsets, kmsg.Fetch),
			[]kmsg.Key{kmsg.Heartbeat, kmsg.Fetch},
			[]kmsg.Key{kmsg.Produce, kmsg.OffsetCommit},
		},
		"recorder": {
			recorder, append(start, kmsg.Fetch), []kmsg.Key{kmsg.Heartbeat, kmsg.Fetch}, []kmsg.Key{kmsg.OffsetCommit},
		},
		"subscriber": {
			subscriber, append(start, kmsg.Fetch), []kmsg.Key{kmsg.Heartbeat, kmsg.Fetch}, []kmsg.Key{kmsg.OffsetCommit},
		},
	} {
		// hung runs a session until the broker hangs, then ends it.
		hung := func(t *testing.T, when string, begin func(f *fixture, b *hangingBroker) *running) {
			t.Helper()
			t.Run(name+"/"+when, func(t *testing.T) {
				t.Parallel()
				b := newHangingBroker(t)
				f := newFixture(t, b.addr())
				f.topic("requests.a", 1, nil)
				f.topic("results", 1, nil)
				f.fill(f.id+".requests.a", 1, 0, 10)
				r := begin(f, b)
				r.soft()
				select {
				case err := <-r.done:
					r.done <- err
				case <-time.After(200 * time.Millisecond): // it is waiting for the broker, as it may until hard ends
				}
				r.hard()
				select {
				case err := <-r.done:
					r.done <- err
				case <-time.After(mostAfterHard):
					require.FailNow(t, "Run goes on although hard has ended")
				}
			})
		}
		answered := func(f *fixture, r *running) *running {
			await(f, "the first records are done", func() bool {
				lag, err := f.admin.Lag(context.Background(), f.group("workers").Name, f.id+".requests.a")
				return err == nil && lag == 0
			})
			return r
		}
		for _, key := range tc.start {
			hung(t, "start "+key.Name(), func(f *fixture, b *hangingBroker) *running {
				b.hang("hung", key)
				r := tc.run(f)
				receive(f, b.hung, "a question that hangs")
				return r
			})
		}
		for _, key := range tc.idle {
			hung(t, "idle "+key.Name(), func(f *fixture, b *hangingBroker) *running {
				r := answered(f, tc.run(f))
				b.hang("hung", key)
				receive(f, b.hung, "a question that hangs")
				return r
			})
		}
		hung(t, "idle LeaveGroup", func(f *fixture, b *hangingBroker) *running {
			r := answered(f, tc.run(f))
			b.hang("hung", kmsg.LeaveGroup)
			r.soft()
			receive(f, b.hung, "a question that hangs")
			return r
		})
		for _, key := range append(tc.busy, -1) {
			when, keys := "busy everything", []kmsg.Key(nil)
			if key >= 0 {
				when, keys = "busy "+key.Name(), []kmsg.Key{key}
			}
			hung(t, when, func(f *fixture, b *hangingBroker) *running {
				r := answered(f, tc.run(f))
				b.hang("hung", keys...)
				f.fill(f.id+".requests.a", 1, 10, 10)
				receive(f, b.hung, "a question that hangs")
				return r
			})
		}
	}
}
