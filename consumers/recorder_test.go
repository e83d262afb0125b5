package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// memory is a Storer that looks for what it has only when it is told that it may have it.
type memory struct {
	mu      sync.Mutex
	rows    map[string]int // by topic, its id, partition and offset
	calls   []call
	settled []schemas.Lease // of Settle
	claims  map[uuid.UUID]schemas.Claim
	fail    func(call int, stored func()) error // nil: never; stored says that the rows are kept all the same
}

type call struct {
	replay bool
	lease  schemas.Lease
	places []string // "partition/offset"
}

func newMemory() *memory {
	return &memory{rows: map[string]int{}, claims: map[uuid.UUID]schemas.Claim{}}
}

func (m *memory) Now(context.Context) (time.Time, error) { return time.Now(), nil }

func (m *memory) Empty(_ context.Context, topic string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.rows {
		if strings.HasPrefix(key, topic+"/") {
			return false, nil
		}
	}
	return true, nil
}

func (m *memory) Settle(_ context.Context, lease schemas.Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settled = append(m.settled, lease)
	return nil
}

func (m *memory) Claim(_ context.Context, _ string, id uuid.UUID, group, from string) (schemas.Claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	claim := m.claims[id]
	if claim.Group == "" || claim.Group == from {
		m.claims[id] = schemas.Claim{Group: group, From: from, At: time.Now().Truncate(time.Microsecond)}
		first := claim.Group == ""
		claim = m.claims[id]
		claim.First = first
	}
	return claim, nil
}

func (m *memory) Store(_ context.Context, records []schemas.Record, replay bool, lease schemas.Lease) (int, error) {
	c := call{replay: replay, lease: lease}
	for i := range records {
		c.places = append(c.places, fmt.Sprintf("%d/%d", records[i].Partition, records[i].Offset))
	}
	keep := func() {
		for i := range records {
			key := fmt.Sprintf("%s/%s/%d/%d", records[i].Topic, records[i].TopicID, records[i].Partition, records[i].Offset)
			if m.rows[key] == 0 || !replay {
				m.rows[key]++
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, c)
	if m.fail != nil {
		if err := m.fail(len(m.calls), keep); err != nil {
			return 0, err
		}
	}
	keep()
	return 0, nil
}

// count returns how many rows there are, and how many are there more than once.
func (m *memory) count() (rows, twice int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.rows {
		if n > 1 {
			twice++
		}
	}
	return len(m.rows), twice
}

// waited returns what Settle was called with, in microseconds since 1970; of the zero time 0.
func (m *memory) waited() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []int64
	for _, l := range m.settled {
		if l.IsZero() {
			out = append(out, 0)
		} else {
			out = append(out, l.Deadline.UnixMicro())
		}
	}
	return out
}

func (m *memory) seen() []call {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

// recorderConfig is of a recorder that keeps its session under any load; see mortalRecorderConfig.
func (f *fixture) recorderConfig(topics ...string) consumers.RecorderConfig {
	group := f.group("recorders")
	group.SessionTimeout = 20 * time.Second
	return consumers.RecorderConfig{
		Connection: f.conn, Group: group, Topics: topics,
		FlushRows: 1000, FlushBytes: 1 << 20, FlushInterval: 20 * time.Millisecond, InsertDeadline: time.Minute,
	}
}

// mortalRecorderConfig is of a recorder that is to be killed: its session does not hold what it had
// for long.
func (f *fixture) mortalRecorderConfig(topics ...string) consumers.RecorderConfig {
	cfg := f.recorderConfig(topics...)
	cfg.Group = f.group("recorders")
	return cfg
}

func places(partition, from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, strconv.Itoa(partition)+"/"+strconv.Itoa(i))
	}
	return out
}

func (f *fixture) recorder(cfg consumers.RecorderConfig, m consumers.Storer) (*running, *consumers.Recorder) {
	f.Helper()
	rec := consumers.NewRecorder(cfg, f.log)
	return start(f, func(soft, hard context.Context) error { return rec.Run(soft, hard, m) }), rec
}

// stored waits until a group of recorders has stored and committed everything.
func (f *fixture) stored(topics ...string) {
	f.Helper()
	await(f, "everything is stored", func() bool {
		lag, err := f.admin.Lag(context.Background(), f.group("recorders").Name, topics...)
		return err == nil && lag == 0
	})
}

// committed returns the group's offset and metadata for partition 0 of a topic.
func (f *fixture) committed(topic string) (int64, string) {
	f.Helper()
	offsets, err := f.adm.FetchOffsets(context.Background(), f.group("recorders").Name)
	require.NoError(f, err)
	o, ok := offsets.Lookup(topic, 0)
	require.True(f, ok)
	return o.At, o.Metadata
}

// claim returns the claim on the rows of a topic, and the topic's id.
func (f *fixture) claim(m *memory, topic string) (schemas.Claim, uuid.UUID) {
	f.Helper()
	details, err := f.adm.ListTopics(context.Background(), topic)
	require.NoError(f, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	id := uuid.UUID(details[topic].ID)
	return m.claims[id], id
}

// marker is what the owner of a topic's rows writes into a commit at an offset.
func (f *fixture) marker(m *memory, topic string, at, pending int64, lease schemas.Lease) string {
	f.Helper()
	claim, id := f.claim(m, topic)
	return consumers.Marker(id, claim, at, pending, lease)
}

func TestRecorderStoresOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	a, b := f.topic("a", 2, nil), f.topic("b", 1, nil)
	f.fill(a, 2, 0, 500)
	f.fill(b, 1, 0, 100)
	m := newMemory()
	r, rec := f.recorder(f.recorderConfig(a, b), m)
	f.stored(a, b)
	f.fill(a, 2, 500, 100)
	f.stored(a, b)
	require.NoError(t, r.stop())
	rows, twice := m.count()
	require.Equal(t, 700, rows)
	require.Zero(t, twice)
	require.EqualValues(t, 700, rec.Stats.Records.Load())
	require.Zero(t, rec.Stats.Replayed.Load())
	require.Zero(t, rec.Stats.Retries.Load())
	for _, c := range m.seen() {
		require.False(t, c.replay)
	}

	offsets, err := f.adm.FetchOffsets(t.Context(), f.group("recorders").Name)
	require.NoError(t, err)
	o, ok := offsets.Lookup(b, 0)
	require.True(t, ok)
	require.GreaterOrEqual(t, o.LeaderEpoch, int32(0), "else a log that is cut off behind the offset looks whole")

	again, rec := f.recorder(f.recorderConfig(a, b), m) // nothing is replayed after an orderly end
	f.fill(b, 1, 100, 10)
	f.stored(a, b)
	require.NoError(t, again.stop())
	require.Zero(t, rec.Stats.Replayed.Load())
	rows, twice = m.count()
	require.Equal(t, 710, rows)
	require.Zero(t, twice)
}

// A recorder that the group gave up, and that joins anew before it has noticed, keeps its
// partitions as far as the client knows. What it knows of them is another's by then.
func TestRecorderThatWasReplacedCommitsNothing(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "a"),
		kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "1000"}))
	require.NoError(t, err)
	defer cluster.Close()
	f := newFixture(t, cluster.ListenAddrs()[0])
	group := f.group("recorders").Name
	member := func() string {
		groups, err := f.adm.DescribeGroups(t.Context(), group)
		require.NoError(t, err)
		if g := groups[group]; g.State == "Stable" && len(g.Members) == 1 {
			return g.Members[0].MemberID
		}
		return ""
	}
	f.fill("a", 1, 0, 10)
	m := newMemory()
	r, _ := f.recorder(f.recorderConfig("a"), m)
	f.stored("a")
	old := member()
	require.NotEmpty(t, old)

	// Its heartbeats are answered as if nothing had happened, then as if others had joined.
	var code atomic.Int32
	cluster.ControlKey(int16(kmsg.Heartbeat), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if req.(*kmsg.HeartbeatRequest).MemberID != old {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = int16(code.Load())
		return resp, nil, true
	})
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group, leave.MemberID = group, old
	leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: old}}
	_, err = leave.RequestWith(t.Context(), f.cl)
	require.NoError(t, err)
	// Another one has stored up to 20, and is storing up to 25.
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: "a", Partition: 0, At: 20, LeaderEpoch: -1, Metadata: f.marker(m, "a", 20, 25, schemas.Lease{})})
	require.NoError(t, f.adm.CommitAllOffsets(t.Context(), group, offsets))
	code.Store(int32(kerr.RebalanceInProgress.Code))
	await(t, "it has joined anew", func() bool { now := member(); return now != "" && now != old })

	f.fill("a", 1, 10, 20)
	f.stored("a")
	require.NoError(t, r.stop())
	var got []call
	for _, c := range m.seen()[1:] {
		got = append(got, call{replay: c.replay, places: c.places})
	}
	require.Equal(t, []call{{replay: true, places: places(0, 20, 25)}, {places: places(0, 25, 30)}}, got)
}

// A recorder whose session fails again and again is not well, until one commits or is idle.
func TestRecorderHealth(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "a"),
		kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "1000"}))
	require.NoError(t, err)
	defer cluster.Close()
	var refused, commits atomic.Bool
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if !refused.Load() {
			return nil, nil, false
		}
		commits.Store(true)
		resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, t := range req.(*kmsg.OffsetCommitRequest).Topics {
			topic := kmsg.OffsetCommitResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
			for _, p := range t.Partitions {
				topic.Partitions = append(topic.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: kerr.GroupAuthorizationFailed.Code})
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp, nil, true
	})
	f := newFixture(t, cluster.ListenAddrs()[0])
	var health health
	cfg := f.recorderConfig("a")
	cfg.Health = health.set
	m := newMemory()
	r, _ := f.recorder(cfg, m)
	f.fill("a", 1, 0, 10)
	f.stored("a")
	require.False(t, health.failing())
	refused.Store(true)
	f.fill("a", 1, 10, 10)
	await(t, "the session has failed", func() bool { return commits.Load() && health.failing() })
	refused.Store(false)
	await(t, "it is well again", health.recovered)
	f.stored("a")
	require.NoError(t, r.stop())
	rows, twice := m.count()
	require.Equal(t, 20, rows)
	require.Zero(t, twice)
}

// Kafka drops the offsets of a group that has no member for a week, and a group can get
// another name: what the topic holds then may be stored already, and what comes later is not.
func TestRecorderWithoutOffsetsLooksForRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic, other := f.topic("a", 1, nil), f.topic("b", 1, nil)
	f.fill(topic, 1, 0, 30)
	cfg := f.mortalRecorderConfig(topic, other)
	cfg.FlushRows = 10
	m := newMemory()
	r, rec := f.recorder(cfg, m)
	f.stored(topic)
	require.NoError(t, r.stop())
	require.Zero(t, rec.Stats.Replayed.Load(), "nothing was stored before")
	_, err := f.adm.DeleteGroup(t.Context(), cfg.Name)
	require.NoError(t, err)
	f.fill(topic, 1, 30, 5)
	f.fill(other, 1, 0, 5)
	before := len(m.seen())

	// It ends in the middle: the rest is still looked for.
	stuck := newStuck()
	m.fail = func(call int, _ func()) error {
		if call == before+2 {
			close(stuck.reached)
			<-stuck.release
			return errors.New("crash")
		}
		return nil
	}
	r, _ = f.recorder(cfg, m)
	receive(t, stuck.reached, "the second range")
	r.hard()
	close(stuck.release)
	require.ErrorContains(t, r.stop(), "crash")
	m.fail = nil
	r, _ = f.recorder(cfg, m)
	f.stored(topic, other)
	f.fill(topic, 1, 35, 5)
	f.stored(topic, other)
	require.NoError(t, r.stop())
	rows, twice := m.count()
	require.Equal(t, 45, rows)
	require.Zero(t, twice)
}

// Transactions end with control records, which are no rows and no lag.
func TestRecorderReadsWhatIsCommitted(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 1, nil)
	tx := f.transact(topic)
	tx.produce(0, 10, kgo.TryCommit)
	m := newMemory()
	r, _ := f.recorder(f.recorderConfig(topic), m)
	f.stored(topic)
	tx.produce(10, 10, kgo.TryAbort)
	f.stored(topic)
	tx.produce(20, 10, kgo.TryCommit)
	f.stored(topic)
	require.NoError(t, r.stop())
	rows, twice := m.count()
	require.Equal(t, 20, rows)
	require.Zero(t, twice)
}

func TestRecorderTriesAgainWithReplay(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 1, nil)
	f.fill(topic, 1, 0, 10)
	m := newMemory()
	m.fail = func(call int, stored func()) error {
		if call <= 2 {
			stored()
			return errors.New("the answer was lost")
		}
		return nil
	}
	r, rec := f.recorder(f.recorderConfig(topic), m)
	f.stored(topic)
	require.NoError(t, r.stop())
	rows, twice := m.count()
	require.Equal(t, 10, rows)
	require.Zero(t, twice)
	calls := m.seen()
	require.Equal(t, []bool{false, true, true}, []bool{calls[0].replay, calls[1].replay, calls[2].replay})
	require.Equal(t, []int64{0, 0}, m.waited(), "the Storer itself knows the deadlines of its own calls")
	require.True(t, calls[1].lease.Deadline.After(calls[0].lease.Deadline), "each try has a later deadline")
	require.True(t, calls[2].lease.Deadline.After(calls[1].lease.Deadline), "each try has a later deadline")
	require.Equal(t, calls[0].places, calls[2].places)
	require.EqualValues(t, 2, rec.Stats.Retries.Load())
	require.EqualValues(t, 2*len(calls[0].places), rec.Stats.Replayed.Load())
}

// A replay that looks for rows for longer than the deadline of inserts is stored in the end.
func TestRecorderGivesASlowReplayMoreTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 1, nil)
	f.fill(topic, 1, 0, 10)
	s := &slowLook{memory: newMemory(), takes: 200 * time.Millisecond}
	cfg := f.recorderConfig(topic)
	cfg.InsertDeadline = 100 * time.Millisecond
	r, rec := f.recorder(cfg, s)
	f.stored(topic)
	require.NoError(t, r.stop())
	rows, twice := s.count()
	require.Equal(t, 10, rows)
	require.Zero(t, twice)
	require.GreaterOrEqual(t, rec.Stats.Retries.Load(), int64(2), "the first try, and the first replay")
}

// slowLook is a Storer that fails once, then takes its time before it inserts, and inserts
// nothing after the deadline.
type slowLook struct {
	*memory
	takes time.Duration // of the real clock, as deadlines are
}

func (s *slowLook) Store(ctx context.Context, records []schemas.Record, replay bool, lease schemas.Lease) (int, error) {
	if !replay {
		return 0, errors.New("the answer was lost")
	}
	timer := time.NewTimer(s.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if time.Now().After(lease.Deadline) {
		return 0, errors.New("the deadline of this insert has passed")
	}
	return s.memory.Store(ctx, records, replay, lease)
}

// crash leaves a range of records announced, and stored though nobody knows.
func (f *fixture) crash(cfg consumers.RecorderConfig, m *memory, from int) {
	f.Helper()
	storing := make(chan struct{})
	m.fail = func(_ int, stored func()) error {
		stored()
		close(storing)
		return errors.New("crash")
	}
	r, _ := f.recorder(cfg, m)
	receive(f, storing, "store")
	require.Error(f, r.kill()) // of the store, or of the client that was closed under it
	m.fail = nil
	require.Equal(f, from, len(m.seen())-1)
}

func TestRecorderReplaysExactlyTheAnnouncedRange(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 1, nil)
	f.fill(topic, 1, 0, 30)
	cfg := f.mortalRecorderConfig(topic)
	m := newMemory()
	f.crash(cfg, m, 0)
	announced := m.seen()[0].places
	require.Equal(t, places(0, 0, len(announced)), announced)
	at, metadata := f.committed(topic)
	require.Zero(t, at)
	deadline := m.seen()[0].lease.Deadline
	require.Equal(t, f.marker(m, topic, 0, int64(len(announced)), m.seen()[0].lease), metadata)

	f.fill(topic, 1, 30, 20)
	r, rec := f.recorder(cfg, m)
	f.stored(topic)
	require.NoError(t, r.stop())
	require.Equal(t, []int64{deadline.UnixMicro()}, m.waited(), "the deadline of the crashed recorder, once")
	rows, twice := m.count()
	require.Equal(t, 50, rows)
	require.Zero(t, twice)
	require.EqualValues(t, len(announced), rec.Stats.Replayed.Load())
	var replayed, fresh []string
	for _, c := range m.seen()[1:] {
		if c.replay {
			replayed = append(replayed, c.places...)
		} else {
			fresh = append(fresh, c.places...)
		}
	}
	require.Equal(t, announced, replayed)
	require.Equal(t, places(0, len(announced), 50), fresh)
	at, metadata = f.committed(topic)
	require.EqualValues(t, 50, at)
	require.NotContains(t, metadata, "pending")
}

// A range that is replayed in parts stays announced to its end: a crash, a rebalance or an
// orderly end between two parts must not make the rest look new.
func TestRecorderKeepsTheRestOfARangeAnnounced(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*running) error{"stopped": (*running).stop, "killed": (*running).kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			topic := f.topic("a", 1, nil)
			f.fill(topic, 1, 0, 40)
			cfg := f.mortalRecorderConfig(topic)
			cfg.FlushInterval = 10 * time.Second
			cfg.FlushRows = 40
			m := newMemory()
			f.crash(cfg, m, 0)
			require.Len(t, m.seen()[0].places, 40)

			cfg.FlushRows = 10 // in parts now
			storing, release := make(chan struct{}), make(chan struct{})
			m.fail = func(call int, _ func()) error {
				if call == 3 {
					close(storing)
					<-release
				}
				return nil
			}
			r, _ := f.recorder(cfg, m)
			receive(t, storing, "second part")
			at, metadata := f.committed(topic)
			require.EqualValues(t, 10, at)
			require.Contains(t, metadata, " at=10 ")
			require.Contains(t, metadata, " pending=40 announced=")
			r.soft()
			if name == "killed" {
				r.hard()
			}
			close(release)
			_ = end(r) // in the second case an error or not, as the commit happens to go
			m.fail = nil

			f.fill(topic, 1, 40, 5)
			cfg.FlushInterval = 20 * time.Millisecond
			again, _ := f.recorder(cfg, m)
			f.stored(topic)
			require.NoError(t, again.stop())
			rows, twice := m.count()
			require.Equal(t, 45, rows)
			require.Zero(t, twice)
			for _, c := range m.seen()[1:] {
				for _, p := range c.places {
					require.Equal(t, slices.Contains(places(0, 0, 40), p), c.replay, p)
				}
			}
		})
	}
}

func TestRecordersRebalance(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 4, nil)
	f.fill(topic, 4, 0, 400)
	m := newMemory() // both store here
	first, r0 := f.recorder(f.recorderConfig(topic), m)
	await(t, "the first recorder works", func() bool { return r0.Stats.Records.Load() > 0 })
	second, r1 := f.recorder(f.recorderConfig(topic), m)
	at := 400
	await(t, "the second recorder works", func() bool {
		if r1.Stats.Records.Load() > 0 {
			return true
		}
		f.fill(topic, 4, at, 20)
		at += 20
		return false
	})
	f.fill(topic, 4, at, 400)
	at += 400
	require.NoError(t, first.stop())
	f.fill(topic, 4, at, 100)
	at += 100
	f.stored(topic)
	require.NoError(t, second.stop())
	rows, twice := m.count()
	require.Equal(t, at, rows)
	require.Zero(t, twice)
	require.Zero(t, r0.Stats.Replayed.Load()+r1.Stats.Replayed.Load(), "an orderly rebalance replays nothing")
}

// A recorder that cannot store keeps its partitions: nobody else stores the same records.
func TestRebalanceWaitsForRecordsInHand(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 2, nil)
	f.fill(topic, 2, 0, 100)
	s := newStuck()
	m := newMemory()
	slow := stuckStorer{m, s}
	cfg := f.recorderConfig(topic)
	cfg.FlushRows, cfg.FlushInterval = 100, 5*time.Second // all in hand
	first, _ := f.recorder(cfg, slow)
	receive(t, s.reached, "store")
	second, r1 := f.recorder(cfg, m)
	await(t, "the second recorder waits to join", func() bool {
		groups, err := f.adm.DescribeGroups(t.Context(), f.group("recorders").Name)
		require.NoError(t, err)
		return groups[f.group("recorders").Name].State == "PreparingRebalance"
	})
	require.Zero(t, r1.Stats.Records.Load())
	close(s.release)
	f.fill(topic, 2, 100, 100)
	f.stored(topic)
	require.NoError(t, first.stop())
	require.NoError(t, second.stop())
	rows, twice := m.count()
	require.Equal(t, 200, rows)
	require.Zero(t, twice)
}

// stuckStorer does not store before it is released.
type stuckStorer struct {
	*memory
	stuck *stuck
}

func (s stuckStorer) Store(ctx context.Context, records []schemas.Record, replay bool, lease schemas.Lease) (int, error) {
	if err := s.stuck.wait(ctx); err != nil {
		return 0, err
	}
	return s.memory.Store(ctx, records, replay, lease)
}

// While a range is stored the next one is read, but neither announced nor joined to it. Whoever
// takes over after a crash looks for the rows of the announced one alone.
func TestRecorderReadsAheadWhileItStores(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]bool{"stored": false, "crash": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			topic := f.topic("a", 1, nil)
			f.fill(topic, 1, 0, 50)
			cfg := f.recorderConfig(topic)
			if crash {
				cfg = f.mortalRecorderConfig(topic)
			}
			cfg.FlushRows, cfg.FlushInterval = 10, 5*time.Second
			m := newMemory()
			stuck := newStuck()
			r, rec := f.recorder(cfg, stuckStorer{m, stuck})
			receive(t, stuck.reached, "store")
			await(t, "the next range is in hand", func() bool { return rec.Stats.Read.Load() == 20 })
			at, metadata := f.committed(topic)
			require.Zero(t, at)
			require.Contains(t, metadata, " pending=10 announced=")
			require.EqualValues(t, 20, rec.Stats.Read.Load(), "one range ahead and no more")
			if crash {
				require.ErrorIs(t, r.kill(), context.Canceled)
				require.Empty(t, m.seen())
				r, rec = f.recorder(cfg, m)
			} else {
				close(stuck.release)
			}
			f.stored(topic)
			require.NoError(t, r.stop())
			rows, twice := m.count()
			require.Equal(t, 50, rows)
			require.Zero(t, twice)
			calls := m.seen()
			require.Len(t, calls, 5)
			for i, c := range calls {
				require.Equal(t, places(0, 10*i, 10*i+10), c.places)
				require.Equal(t, crash && i == 0, c.replay)
			}
			at, metadata = f.committed(topic)
			require.EqualValues(t, 50, at)
			require.NotContains(t, metadata, "pending")
		})
	}
}

// A range that cannot be stored stays announced alone, however often it is tried, and is stored
// before what was read meanwhile.
func TestRecorderTriesARangeAgainBeforeTheNext(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 1, nil)
	f.fill(topic, 1, 0, 30)
	cfg := f.recorderConfig(topic)
	cfg.FlushRows, cfg.FlushInterval = 10, 5*time.Second
	m := newMemory()
	m.fail = func(call int, stored func()) error {
		if call <= 3 {
			stored()
			return errors.New("the answer was lost")
		}
		return nil
	}
	r, rec := f.recorder(cfg, m)
	f.stored(topic)
	require.NoError(t, r.stop())
	rows, twice := m.count()
	require.Equal(t, 30, rows)
	require.Zero(t, twice)
	require.EqualValues(t, 3, rec.Stats.Retries.Load())
	for i, c := range m.seen() {
		first := 10 * max(0, i-3)
		require.Equal(t, places(0, first, first+10), c.places)
		require.Equal(t, 0 < i && i <= 3, c.replay)
	}
}

// A recorder that always has something in hand lets another one in all the same.
func TestRecordersRebalanceWithinABacklog(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 2, nil)
	f.fill(topic, 2, 0, 2000)
	s := &feeding{memory: newMemory(), f: f, topic: topic, sent: 2000}
	cfg := f.recorderConfig(topic)
	cfg.FlushRows = 10 // of both partitions together
	s.reader = consumers.NewRecorder(cfg, f.log)
	first := start(f, func(soft, hard context.Context) error { return s.reader.Run(soft, hard, s) })
	await(t, "the first recorder works", func() bool { rows, _ := s.count(); return rows > 0 })
	second, r1 := f.recorder(cfg, s.memory)
	await(t, "the second recorder works", func() bool { return r1.Stats.Records.Load() > 0 })
	s.enough.Store(true)
	f.stored(topic)
	require.NoError(t, first.stop())
	require.NoError(t, second.stop())
	rows, twice := s.count()
	require.Equal(t, s.sent, rows)
	require.Zero(t, twice)
}

// feeding is a Storer that produces more than it stores until it is enough, and stores when
// the recorder has read ahead, or does not care to.
type feeding struct {
	*memory
	f      *fixture
	topic  string
	sent   int
	taken  int64
	reader *consumers.Recorder
	enough atomic.Bool
}

func (s *feeding) Store(ctx context.Context, records []schemas.Record, replay bool, lease schemas.Lease) (int, error) {
	s.taken += int64(len(records))
	if !s.enough.Load() {
		s.f.fill(s.topic, 2, s.sent, 2*len(records))
		s.sent += 2 * len(records)
		for until := time.Now().Add(200 * time.Millisecond); s.reader.Stats.Read.Load() == s.taken && time.Now().Before(until); {
			time.Sleep(time.Millisecond)
		}
	}
	return s.memory.Store(ctx, records, replay, lease)
}

func TestRecorderFlushesByRowsBytesAndTime(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rows, bytes int
		interval    time.Duration
		stop        bool
	}{
		"rows":     {rows: 6, bytes: 1 << 30, interval: time.Hour},
		"bytes":    {rows: 1 << 30, bytes: 18, interval: time.Hour},
		"interval": {rows: 1 << 30, bytes: 1 << 30, interval: 100 * time.Millisecond},
		"shutdown": {rows: 1 << 30, bytes: 1 << 30, interval: time.Hour, stop: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			topic := f.topic("a", 1, nil)
			for i := range 2 { // three rows, nine bytes each
				rec := &kgo.Record{Topic: topic, Value: []byte("123456" + strconv.Itoa(100+i)), Headers: []kgo.RecordHeader{{Key: schemas.HeaderRows, Value: []byte("3")}}}
				require.NoError(t, f.cl.ProduceSync(t.Context(), rec).FirstErr())
			}
			cfg := f.recorderConfig(topic)
			cfg.FlushRows, cfg.FlushBytes, cfg.FlushInterval = tc.rows, tc.bytes, tc.interval
			m := newMemory()
			r, rec := f.recorder(cfg, m)
			if tc.stop {
				await(t, "the group is joined", func() bool {
					groups, err := f.adm.DescribeGroups(t.Context(), cfg.Name)
					return err == nil && groups[cfg.Name].State == "Stable"
				})
				for range 200 { // until the records are in hand, which nothing shows from outside
					f.lag(cfg.Name, topic)
				}
				require.Zero(t, rec.Stats.Flushes.Load())
			} else {
				await(t, "a flush", func() bool { return rec.Stats.Records.Load() == 2 })
			}
			require.NoError(t, r.stop())
			rows, twice := m.count()
			require.Zero(t, twice)
			if rows > 0 || !tc.stop {
				require.Equal(t, 2, rows)
				at, metadata := f.committed(topic)
				require.EqualValues(t, 2, at)
				require.NotContains(t, metadata, "pending")
			}
		})
	}
}

func TestRecorderOutlivesTheBroker(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	f := newFixture(t, b.addr)
	topic := f.topic("a", 2, nil)
	f.fill(topic, 2, 0, 100)
	m := newMemory()
	r, _ := f.recorder(f.recorderConfig(topic), m)
	f.stored(topic)
	b.stop()
	b.start()
	f.fill(topic, 2, 100, 100)
	f.stored(topic)
	rows, twice := m.count()
	require.Equal(t, 200, rows)
	require.Zero(t, twice)
	b.stop()
	began := time.Now()
	require.NoError(t, r.stop(), "everything was stored and committed before")
	require.Less(t, time.Since(began), 10*time.Second)
}

// TestRecordersAtRandom starts and stops recorders in the middle of the traffic, in an
// orderly way and at once, while the store fails at random, before or after it has stored.
func TestRecordersAtRandom(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 3, nil)
	m := newMemory()
	var dice sync.Mutex
	m.fail = func(_ int, stored func()) error {
		dice.Lock()
		defer dice.Unlock()
		switch random.IntN(8) {
		case 0:
			return errors.New("refused")
		case 1:
			stored()
			return errors.New("the answer was lost")
		default:
			return nil
		}
	}
	cfg := f.mortalRecorderConfig(topic)
	cfg.FlushRows = 40
	var up [2]*running
	sent := 0
	for range 14 {
		f.fill(topic, 3, sent, 150)
		sent += 150
		dice.Lock()
		i, orderly := random.IntN(len(up)), random.IntN(2) == 0
		dice.Unlock()
		if up[i] == nil {
			up[i], _ = f.recorder(cfg, m)
			continue
		}
		if orderly {
			require.NoError(t, up[i].stop())
		} else {
			_ = up[i].kill()
		}
		up[i] = nil
	}
	if up[0] == nil {
		up[0], _ = f.recorder(cfg, m)
	}
	f.stored(topic)
	for _, r := range up {
		if r != nil {
			require.NoError(t, r.stop())
		}
	}
	rows, twice := m.count()
	require.Equal(t, sent, rows)
	require.Zero(t, twice)
}

// A Storer that writes much is called less often, and gets more at a time.
func TestRecorderPacesInserts(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 1, nil)
	s := &inserting{memory: newMemory(), inserts: 3}
	cfg := f.recorderConfig(topic)
	cfg.FlushRows = 10
	r, _ := f.recorder(cfg, s)
	sent := 0
	for s.flushes() < 5 {
		f.fill(topic, 1, sent, 10)
		sent += 10
	}
	f.stored(topic)
	require.NoError(t, r.stop())
	rows, twice := s.count()
	require.Equal(t, sent, rows)
	require.Zero(t, twice)
	// A flush begins a little before its call of Store.
	const slack = 10 * time.Millisecond
	for i := range 4 { // the end of the recorder paces nothing
		require.Greater(t, s.at[i+1].Sub(s.at[i]), 300*time.Millisecond-slack)
	}
}

// inserting is a Storer that says how many inserts each call took.
type inserting struct {
	*memory
	inserts int
	at      []time.Time
}

func (s *inserting) Store(ctx context.Context, records []schemas.Record, replay bool, lease schemas.Lease) (int, error) {
	s.mu.Lock()
	s.at = append(s.at, time.Now())
	s.mu.Unlock()
	_, err := s.memory.Store(ctx, records, replay, lease)
	return s.inserts, err
}

func (s *inserting) flushes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

func TestPaceIsBounded(t *testing.T) {
	t.Parallel()
	require.Equal(t, 3*time.Second, consumers.PaceOf(30), "30 models")
	require.Equal(t, 10*time.Second, consumers.PaceOf(30*40))
	require.LessOrEqual(t, consumers.PaceOf(0), time.Duration(0))
}

func TestFetchesShrinkWithCompression(t *testing.T) {
	t.Parallel()
	require.EqualValues(t, 256<<10, consumers.FetchAfter(), "nothing is known")
	require.EqualValues(t, 4<<20, consumers.FetchAfter(slices.Repeat([]float64{1.5}, 100)...))
	require.EqualValues(t, 32<<10, consumers.FetchAfter(2, 256, 256), "the worst is believed at once")
	after := consumers.FetchAfter(256, 1)
	require.Greater(t, after, int32(32<<10))
	require.Less(t, after, int32(40<<10), "and forgotten slowly")
}

// away is a Storer that cannot be reached until it is back.
type away struct {
	*memory
	back atomic.Bool
}

func (s *away) Now(ctx context.Context) (time.Time, error) {
	if !s.back.Load() {
		return time.Time{}, errors.New("the store is away")
	}
	return s.memory.Now(ctx)
}

// While the store is away the recorder keeps a bounded part of the backlog, and then catches
// up. It does not run beside other tests, whose memory it would measure.
func TestRecorderMemoryIsBounded(t *testing.T) {
	// The second is some hundred times smaller in the topic than in memory.
	for name, noise := range map[string]int{"observations": 64 << 10, "zeros": 0} {
		t.Run(name, func(t *testing.T) { testRecorderMemory(t, noise) })
	}
}

// testRecorderMemory stores records of which noise bytes cannot be compressed.
func testRecorderMemory(t *testing.T, noise int) {
	t.Helper()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 2, nil)
	const records, size = 640, 256 << 10
	random := rand.NewChaCha8([32]byte{1})
	for i := range records {
		value := make([]byte, size)
		_, _ = random.Read(value[:noise]) // never fails
		f.cl.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: value}, func(_ *kgo.Record, err error) {
			require.NoError(t, err)
		})
	}
	require.NoError(t, f.cl.Flush(t.Context()))
	heap := func() int {
		var stats runtime.MemStats
		runtime.GC()
		runtime.GC() // what pools held is garbage after the first
		runtime.ReadMemStats(&stats)
		return int(stats.HeapAlloc)
	}
	before := heap()
	s := &away{memory: newMemory()}
	cfg := f.recorderConfig(topic)
	cfg.FlushBytes = 8 << 20
	r, rec := f.recorder(cfg, s)
	for try := range int64(3) { // and the client has fetched ahead meanwhile
		await(t, "a try to store", func() bool { return rec.Stats.Retries.Load() > try })
		grown := heap() - before
		t.Logf("heap grown by %d MB with a backlog of %d MB", grown>>20, records*size>>20)
		require.Less(t, grown, 50<<20)
	}
	s.back.Store(true)
	f.stored(topic)
	require.NoError(t, r.stop())
	rows, twice := s.count()
	require.Equal(t, records, rows)
	require.Zero(t, twice)
}
