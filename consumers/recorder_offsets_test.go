package consumers_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// set sets the recorders' offset of partition 0, as tools of Kafka do.
func (f *fixture) set(topic string, at int64, metadata string) {
	f.Helper()
	group := f.group("recorders").Name
	await(f, "the group has no members", func() bool {
		groups, err := f.adm.DescribeGroups(f.Context(), group)
		return err == nil && len(groups[group].Members) == 0
	})
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: at, LeaderEpoch: -1, Metadata: metadata})
	require.NoError(f, f.adm.CommitAllOffsets(f.Context(), group, offsets))
}

// requireOnce checks that so many rows are there, once each.
func (m *memory) requireOnce(tb testing.TB, rows int) {
	tb.Helper()
	got, twice := m.count()
	require.Equal(tb, rows, got)
	require.Zero(tb, twice)
}

// An offset that a recorder has not committed says nothing of what is stored, whatever was
// copied into its metadata.
func TestRecorderTakesNoOffsetsWordWithoutItsMarker(t *testing.T) {
	t.Parallel()
	for name, metadata := range map[string]func(f *fixture, m *memory, topic string) string{
		"empty":              func(*fixture, *memory, string) string { return "" },
		"of another tool":    func(*fixture, *memory, string) string { return "reset by hand" },
		"of another offset":  func(f *fixture, m *memory, topic string) string { return f.marker(m, topic, 40, 0, schemas.Lease{}) },
		"of an earlier time": func(*fixture, *memory, string) string { return "millrace pending=12 deadline=1764450000123456" },
		"of another claim": func(f *fixture, m *memory, topic string) string {
			claim, id := f.claim(m, topic)
			claim.At = claim.At.Add(-time.Hour)
			return consumers.Marker(id, claim, 5, 0, schemas.Lease{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			topic := f.topic("a", 1, nil)
			f.fill(topic, 1, 0, 40)
			m := newMemory()
			r, _ := f.recorder(f.recorderConfig(topic), m)
			f.stored(topic)
			require.NoError(t, r.stop())
			f.set(topic, 5, metadata(f, m, topic))
			f.fill(topic, 1, 40, 10)
			r, _ = f.recorder(f.recorderConfig(topic), m)
			f.stored(topic)
			require.NoError(t, r.stop())
			m.requireOnce(t, 50)
		})
	}
}

// A crashed recorder's lease is waited for, though the offset is set while it lasts; and so is one
// as long as any where nothing is known of it.
func TestRecorderWaitsForLeasesOfOffsetsThatWereSet(t *testing.T) {
	t.Parallel()
	for name, kept := range map[string]bool{"marker kept": true, "nothing kept": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			topic := f.topic("a", 1, nil)
			f.fill(topic, 1, 0, 30)
			cfg := f.mortalRecorderConfig(topic)
			m := newMemory()
			f.crash(cfg, m, 0)
			lease := m.seen()[0].lease
			metadata := ""
			if kept {
				_, metadata = f.committed(topic)
			}
			f.set(topic, 0, strings.Replace(metadata, " at=0 ", " at=-1 ", 1))
			before := time.Now()
			r, _ := f.recorder(cfg, m)
			f.stored(topic)
			require.NoError(t, r.stop())
			m.requireOnce(t, 30)
			waited := m.waited()
			if kept {
				require.Contains(t, waited, lease.Deadline.UnixMicro())
			}
			require.Greater(t, waited[len(waited)-1], before.Add(cfg.InsertDeadline).UnixMicro())
		})
	}
}

// The lease is that of its range: it ends with it.
func TestRecorderForgetsTheLeaseOfAStoredRange(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 1, nil)
	m := newMemory()
	ahead := &skewed{memory: m}
	cfg := f.mortalRecorderConfig(topic)
	r, _ := f.recorder(cfg, ahead)
	ahead.by.Store(int64(time.Hour))
	f.fill(topic, 1, 0, 10)
	f.stored(topic)
	ahead.by.Store(0)
	f.fill(topic, 1, 10, 10)
	f.stored(topic)
	storing := make(chan struct{})
	m.mu.Lock()
	m.fail = func(_ int, stored func()) error {
		stored()
		close(storing)
		return errors.New("crash")
	}
	m.mu.Unlock()
	f.fill(topic, 1, 20, 10)
	receive(t, storing, "store")
	require.Error(t, r.kill())
	m.fail = nil
	r, _ = f.recorder(cfg, m)
	f.stored(topic)
	require.NoError(t, r.stop())
	m.requireOnce(t, 30)
	for _, until := range m.waited() {
		require.Less(t, until, time.Now().Add(cfg.InsertDeadline).UnixMicro())
	}
}

// skewed is a Storer with a clock of its own.
type skewed struct {
	*memory
	by atomic.Int64
}

func (s *skewed) Now(ctx context.Context) (time.Time, error) {
	now, err := s.memory.Now(ctx)
	return now.Add(time.Duration(s.by.Load())), err
}

// again deletes a topic and makes it again.
func (f *fixture) again(topic string) {
	f.Helper()
	idOf := func() kadm.TopicID {
		details, err := f.adm.ListTopics(f.Context(), topic)
		require.NoError(f, err)
		return details[topic].ID
	}
	before := idOf()
	_, err := f.adm.DeleteTopics(f.Context(), topic)
	require.NoError(f, err)
	spec := schemas.TopicSpec{Name: topic, Partitions: 1, ReplicationFactor: -1}
	await(f, "the topic is made again", func() bool { // Kafka may still be deleting it
		_, err := f.admin.ApplyTopics(f.Context(), []schemas.TopicSpec{spec})
		id := idOf()
		return err == nil && id != before && id != (kadm.TopicID{})
	})
	f.cl.PurgeTopicsFromClient(topic) // which does not follow it to its new id
}

// What was read of a topic that is deleted, or made again, under a running recorder is
// stored, and the new one is read from its start, whatever offsets were committed of the old one.
func TestRecorderOutlivesItsTopic(t *testing.T) {
	t.Parallel()
	for name, stuck := range map[string]bool{"in hand": false, "being stored": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			topic, other := f.topic("a", 1, nil), f.topic("b", 1, nil)
			m := newMemory()
			cfg := f.recorderConfig(topic, other)
			r, _ := f.recorder(cfg, m)
			f.fill(topic, 1, 0, 30)
			f.stored(topic)
			require.NoError(t, r.stop())

			cfg.FlushRows, cfg.FlushInterval = 20, time.Hour
			s := newStuck()
			if stuck {
				cfg.FlushRows = 10
			} else {
				close(s.release)
			}
			r, rec := f.recorder(cfg, stuckStorer{m, s})
			f.fill(topic, 1, 30, 15)
			f.fill(other, 1, 0, 5)
			if stuck {
				receive(t, s.reached, "store")
			}
			await(t, "everything is in hand", func() bool { return rec.Stats.Read.Load() == 20 })
			f.again(topic)
			f.fill(topic, 1, 45, 40)
			if stuck {
				close(s.release)
			}
			await(t, "what was in hand is stored, and what the new topic has", func() bool { rows, _ := m.count(); return rows == 45+5+40 })
			require.NoError(t, r.stop())
			m.requireOnce(t, 45+5+40)

			f.fill(topic, 1, 85, 5) // and it goes on
			r, _ = f.recorder(f.recorderConfig(topic, other), m)
			f.stored(topic, other)
			require.NoError(t, r.stop())
			m.requireOnce(t, 45+5+45)
		})
	}
}

// renamed returns the configuration of a recorder whose group has another name, and what it says.
func renamed(cfg consumers.RecorderConfig) (consumers.RecorderConfig, *health) {
	says := new(health)
	cfg.Name += "-renamed"
	cfg.Health = says.set
	return cfg, says
}

// Two groups never record the same topics: the second one says whom it waits for, and looks
// for what is stored when the first has gone, also where that had announced a range.
func TestSecondGroupWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 1, nil)
	f.fill(topic, 1, 0, 30)
	m := newMemory()
	first, _ := f.recorder(f.mortalRecorderConfig(topic), m)
	f.stored(topic)
	renamed, waits := renamed(f.mortalRecorderConfig(topic))
	second, rec := f.recorder(renamed, m)
	await(t, "it says whom it waits for", func() bool {
		return waits.says("stop the old one first") && waits.says(renamed.Name) && waits.says(f.group("recorders").Name)
	})
	f.fill(topic, 1, 30, 10)
	f.stored(topic)

	storing := make(chan struct{})
	m.mu.Lock()
	m.fail = func(_ int, stored func()) error {
		m.fail = nil
		stored()
		close(storing)
		return errors.New("crash")
	}
	m.mu.Unlock()
	f.fill(topic, 1, 40, 10)
	receive(t, storing, "store")
	require.Zero(t, rec.Stats.Read.Load())
	require.Error(t, first.kill())
	lease := m.seen()[len(m.seen())-1].lease
	await(t, "the second group has taken over", func() bool { return f.lag(renamed.Name, topic) == 0 })
	m.requireOnce(t, 50)
	require.Contains(t, m.waited(), lease.Deadline.UnixMicro())
	require.False(t, waits.failing())

	// The first group is started again, and waits in its turn. What it has committed before the
	// second one stored is no proof then.
	f.fill(topic, 1, 50, 10)
	await(t, "the second group goes on", func() bool { return f.lag(renamed.Name, topic) == 0 })
	again := f.mortalRecorderConfig(topic)
	var back health
	again.Health = back.set
	first, _ = f.recorder(again, m)
	await(t, "it says whom it waits for", func() bool { return back.says("stop the old one first") })
	require.NoError(t, second.stop())
	f.fill(topic, 1, 60, 10)
	f.stored(topic)
	require.NoError(t, first.stop())
	m.requireOnce(t, 70)
}

// says tells whether what fails is said in these words.
func (h *health) says(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last != nil && strings.Contains(h.last.Error(), text)
}
