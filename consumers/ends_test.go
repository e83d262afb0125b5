package consumers_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestEndsWhileJoining: a group is joined anew, and no member's JoinGroup is ever answered. A recorder
// that is told to end has stored and committed what it had read all the same, without an error and
// long before it would be cut off, and leaves the group.
func TestEndsWhileJoining(t *testing.T) {
	t.Parallel()
	b := newHangingBroker(t)
	f := newFixture(t, b.addr())
	topic := f.topic("requests.a", 1, nil)
	f.fill(topic, 1, 0, 10)
	cfg := f.recorderConfig(topic)
	cfg.ClientID = "hung"
	kept := newMemory()
	r, rec := f.recorder(cfg, kept)
	f.stored(topic)

	b.hang("hung", kmsg.JoinGroup)
	other := cfg
	other.ClientID = "other"
	o, _ := f.recorder(other, newMemory())
	receive(f, b.hung, "a JoinGroup that is not answered")
	f.fill(topic, 1, 10, 10) // which the recorder reads, but cannot announce by the client
	awaitFor(f, 10*time.Second, "the records are read", func() bool { return rec.Stats.Read.Load() == 20 })
	began := time.Now()
	require.NoError(t, r.stop())
	require.Less(t, time.Since(began), 10*time.Second)
	kept.requireOnce(t, 20)
	require.Positive(t, b.questions(kmsg.LeaveGroup))
	require.NoError(t, o.stop())
	f.stored(topic)
}

// TestLeavesWhileJoining: so does whatever else reads a topic, when it has nothing in hand.
func TestLeavesWhileJoining(t *testing.T) {
	t.Parallel()
	for name, run := range readers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newHangingBroker(t)
			f := newFixture(t, b.addr())
			f.topic("requests.a", 1, nil)
			f.topic("results", 1, nil)
			f.fill(f.id+".requests.a", 1, 0, 10)
			r := run(f)
			f.caughtUp()
			b.hang("hung", kmsg.JoinGroup)
			cfg := f.laneConfig("requests.", 1)
			o, _ := f.lane(cfg, echo(f.id+".results"))
			receive(f, b.hung, "a JoinGroup that is not answered")
			began := time.Now()
			require.NoError(t, r.stop())
			require.Less(t, time.Since(began), 10*time.Second)
			require.Positive(t, b.questions(kmsg.LeaveGroup))
			f.fill(f.id+".requests.a", 1, 10, 10)
			f.caughtUp()
			require.NoError(t, o.stop())
		})
	}
}

// TestEndSaysWhatItWaitsFor: whatever reads a topic, an end that waits for Kafka names the request
// that is not answered, in the log while it waits and in the error when it is cut off.
func TestEndSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	for name, run := range readers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newHangingBroker(t)
			f := newFixture(t, b.addr())
			said := &lines{}
			f.log = zerolog.New(said)
			f.topic("requests.a", 1, nil)
			f.topic("results", 1, nil)
			f.fill(f.id+".requests.a", 1, 0, 10)
			r := run(f)
			f.caughtUp()
			b.hang("hung", kmsg.LeaveGroup)
			r.soft()
			awaitFor(f, 20*time.Second, "it says what it waits for", func() bool {
				return bytes.Contains([]byte(said.String()), []byte("a broker has not answered LeaveGroup of group "+f.group("workers").Name))
			})
			began := time.Now()
			_ = r.kill() // an error or not, as it had committed all that it had
			require.Less(t, time.Since(began), mostAfterHard)
		})
	}
}

// readers start what reads topic requests.a, by a client that can hang.
func readers() map[string]func(f *fixture) *running {
	return map[string]func(f *fixture) *running{
		"exactly once": func(f *fixture) *running {
			cfg := f.laneConfig("requests.", 0)
			cfg.ClientID = "hung"
			r, _ := f.lane(cfg, echo(f.id+".results"))
			return r
		},
		"at least once": func(f *fixture) *running {
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery, cfg.ClientID = consumers.AtLeastOnce, "hung"
			r, _ := f.lane(cfg, echo(f.id+".results"))
			return r
		},
		"recorder": func(f *fixture) *running {
			cfg := f.recorderConfig(f.id + ".requests.a")
			cfg.ClientID, cfg.Group = "hung", f.group("workers")
			r, _ := f.recorder(cfg, newMemory())
			return r
		},
		"subscriber": func(f *fixture) *running {
			conn := f.conn
			conn.ClientID = "hung"
			return start(f, func(soft, hard context.Context) error {
				return consumers.Subscribe(soft, hard, conn, f.group("workers"), f.id+".requests.a", 20*time.Millisecond, f.log,
					func(context.Context, *schemas.Record) error { return nil })
			})
		},
	}
}

// caughtUp waits until all requests are done.
func (f *fixture) caughtUp() {
	f.Helper()
	await(f, "the requests are done", func() bool {
		lag, err := f.admin.Lag(context.Background(), f.group("workers").Name, f.id+".requests.a")
		return err == nil && lag == 0
	})
}
