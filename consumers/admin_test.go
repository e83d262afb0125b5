package consumers_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// transaction produces numbers to partition 0 of a topic.
type transaction struct {
	f     *fixture
	cl    *kgo.Client
	topic string
}

func (f *fixture) transact(topic string) *transaction {
	f.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.conn.Brokers...), kgo.TransactionalID(topic+"-"+strconv.Itoa(time.Now().Nanosecond())),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(f, err)
	f.Cleanup(cl.Close)
	return &transaction{f, cl, topic}
}

func (x *transaction) begin(first, n int) {
	x.f.Helper()
	require.NoError(x.f, x.cl.BeginTransaction())
	for i := range n {
		rec := &kgo.Record{Topic: x.topic, Value: []byte(strconv.Itoa(first + i))}
		require.NoError(x.f, x.cl.ProduceSync(context.Background(), rec).FirstErr())
	}
}

func (x *transaction) produce(first, n int, end kgo.TransactionEndTry) {
	x.f.Helper()
	x.begin(first, n)
	require.NoError(x.f, x.cl.EndTransaction(context.Background(), end))
	x.f.ended(x.topic)
}

func TestReadSeesWhatIsCommitted(t *testing.T) {
	t.Parallel()
	for name, fill := range map[string]func(f *fixture, topic string) (want int){
		"empty": func(*fixture, string) int { return 0 },
		"plain": func(f *fixture, topic string) int { f.fill(topic, 2, 0, 100); return 100 },
		"one partition empty": func(f *fixture, topic string) int {
			f.fill(topic, 1, 0, 10)
			return 10
		},
		"committed": func(f *fixture, topic string) int {
			f.transact(topic).produce(0, 10, kgo.TryCommit)
			return 10
		},
		"aborted at the end": func(f *fixture, topic string) int {
			x := f.transact(topic)
			x.produce(0, 10, kgo.TryCommit)
			x.produce(10, 10, kgo.TryAbort)
			return 10
		},
		"all aborted": func(f *fixture, topic string) int {
			f.transact(topic).produce(0, 10, kgo.TryAbort)
			return 0
		},
		"one open": func(f *fixture, topic string) int {
			f.transact(topic).produce(0, 5, kgo.TryCommit)
			f.transact(topic).begin(5, 5)
			return 5
		},
		"first records deleted": func(f *fixture, topic string) int {
			f.fill(topic, 1, -5, 5)
			f.fill(topic, 1, 0, 5)
			del := kadm.Offsets{}
			del.AddOffset(topic, 0, 5, -1)
			_, err := f.adm.DeleteRecords(context.Background(), del)
			require.NoError(f, err)
			return 5
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			topic := f.topic("a", 2, nil)
			want := fill(f, topic)
			require.ElementsMatch(t, upTo(want), f.numbers(f.read(topic)))
		})
	}
}

// What was aborted is never handed out, so a reader cannot see that it has passed it while
// another transaction is open right behind it.
func TestReadEndsWhenAnOpenTransactionBehindTheRangeEnds(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 1, nil)
	aborted, open := f.transact(topic), f.transact(topic)
	aborted.begin(0, 3)
	open.begin(3, 1)
	require.NoError(t, aborted.cl.EndTransaction(t.Context(), kgo.TryAbort))
	done := make(chan error, 1)
	go func() { // ends with the open transaction
		done <- f.admin.Read(context.Background(), topic, func(*schemas.Record) error { return errors.New("nothing is committed") })
	}()
	require.NoError(t, open.cl.EndTransaction(t.Context(), kgo.TryAbort))
	require.NoError(t, receive(t, done, "end of the reading"))
}

func TestReadPassesErrorsOn(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 1, nil)
	f.fill(topic, 1, 0, 5)
	enough := errors.New("enough")
	n := 0
	require.ErrorIs(t, f.admin.Read(t.Context(), topic, func(*schemas.Record) error { n++; return enough }), enough)
	require.Equal(t, 1, n)
	require.ErrorContains(t, f.admin.Read(t.Context(), f.id+".nowhere", nil), f.id+".nowhere")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.admin.Read(ended, topic, nil), context.Canceled)
}

func TestFindRecord(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 2, nil)
	f.fill(topic, 2, 0, 20)
	var value string
	find := func(partition int32, offset int64) error {
		return f.admin.FindRecord(t.Context(), topic, partition, offset, func(rec *schemas.Record) error {
			value = string(rec.Value)
			require.Equal(t, schemas.Coordinates{TopicID: rec.TopicID, Partition: partition, Offset: offset}, rec.Coordinates())
			return nil
		})
	}
	require.NoError(t, find(1, 3))
	require.Equal(t, "7", value)
	require.NoError(t, find(0, 9))
	require.Equal(t, "18", value)
	for _, at := range []struct {
		partition int32
		offset    int64
	}{{0, 10}, {0, -1}, {2, 0}} {
		require.ErrorContains(t, find(at.partition, at.offset), "has no record at offset")
	}
	f.transact(topic).produce(100, 1, kgo.TryAbort)
	require.ErrorContains(t, find(0, 10), "has no record at offset", "it was aborted")
	require.ErrorContains(t, find(0, 11), "has no record at offset", "it ends a transaction")
	bad := errors.New("no good")
	require.ErrorIs(t, f.admin.FindRecord(t.Context(), topic, 0, 0, func(*schemas.Record) error { return bad }), bad)
}

func TestTopicsAreMadeOnceAndOnlyRaised(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	a := schemas.TopicSpec{Name: f.id + ".a", Partitions: 2, ReplicationFactor: -1, Config: map[string]string{
		"cleanup.policy": "delete", "max.message.bytes": "2000000", "retention.ms": "1000000", "retention.bytes": "-1",
	}}
	b := schemas.TopicSpec{Name: f.id + ".b", Partitions: 1, ReplicationFactor: 1, Config: map[string]string{"cleanup.policy": "compact"}}
	apply := func(specs ...schemas.TopicSpec) []string {
		done, err := f.admin.ApplyTopics(t.Context(), specs)
		require.NoError(t, err)
		return done
	}
	check := func(specs ...schemas.TopicSpec) []string {
		problems, err := f.admin.CheckTopics(t.Context(), specs)
		require.NoError(t, err)
		var out []string
		for _, p := range problems {
			out = append(out, p.String())
		}
		return out
	}
	require.Equal(t, []string{
		a.Name + ": does not exist; `millrace topics apply` makes it", b.Name + ": does not exist; `millrace topics apply` makes it",
	}, check(a, b))
	require.Equal(t, []string{a.Name + ": created with 2 partitions", b.Name + ": created with 1 partitions"}, apply(a, b))
	require.Empty(t, check(a, b))
	require.Empty(t, apply(a, b), "a second time there is nothing to do")

	a.Partitions = 5
	a.Config = map[string]string{"cleanup.policy": "delete", "max.message.bytes": "3000000"}
	require.Equal(t, []string{a.Name + ": has 2 partitions, 5 are wanted", a.Name + ": has max.message.bytes=2000000, 3000000 is wanted"}, check(a, b))
	require.Equal(t, []string{a.Name + ": raised from 2 to 5 partitions", a.Name + ": set max.message.bytes from 2000000 to 3000000"}, apply(a, b))
	require.Empty(t, check(a, b))
	a.Partitions = 3
	require.Empty(t, check(a), "more partitions than specified are fine")
	require.Empty(t, apply(a))

	b.ReplicationFactor = 3
	require.Equal(t, []string{b.Name + ": has replication factor 1, 3 is wanted; reassign its partitions"}, check(b))
	require.NoError(t, f.admin.Ping(t.Context()))
}

func TestSpecsOfTheDefaultTopicsAreApplied(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topics := schemas.DefaultTopics()
	for _, name := range []*string{
		&topics.Requests, &topics.Results, &topics.Observations, &topics.DeadLetters, &topics.Feedback,
		&topics.Control, &topics.Events, &topics.Audit,
	} {
		*name = f.id + "." + *name
	}
	specs := topics.Specs([]string{"m"}, schemas.TopicSettings{
		Partitions: 3, ReplicationFactor: -1, Retention: 24 * time.Hour, RetentionBytes: -1, Spread: 2,
	})
	done, err := f.admin.ApplyTopics(t.Context(), specs)
	require.NoError(t, err)
	require.Len(t, done, len(specs))
	problems, err := f.admin.CheckTopics(t.Context(), specs)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestLag(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic, empty := f.topic("a", 2, nil), f.topic("b", 1, nil)
	f.fill(topic, 2, 0, 30)
	group := f.group("g").Name
	lag := func() int64 {
		lag, err := f.admin.Lag(t.Context(), group, topic, empty)
		require.NoError(t, err)
		return lag
	}
	require.EqualValues(t, 30, lag(), "nobody has committed")
	commit := func(partition int32, at int64) {
		offsets := kadm.Offsets{}
		offsets.AddOffset(topic, partition, at, -1)
		require.NoError(t, f.adm.CommitAllOffsets(t.Context(), group, offsets))
	}
	commit(0, 10)
	require.EqualValues(t, 20, lag())
	commit(1, 15)
	require.EqualValues(t, 5, lag())
	undecided := func() int64 {
		n, err := f.admin.Undecided(t.Context(), topic, empty)
		require.NoError(t, err)
		return n
	}
	require.Zero(t, undecided())
	open := f.transact(topic)
	open.begin(0, 5)
	require.EqualValues(t, 5, lag(), "an open transaction is no lag yet")
	require.EqualValues(t, 5, undecided())
	require.NoError(t, open.cl.EndTransaction(t.Context(), kgo.TryAbort))
	f.ended(topic)
	require.Zero(t, undecided())
	_, err := f.admin.Lag(t.Context(), group, f.id+".nowhere")
	require.Error(t, err)
	_, err = f.admin.Undecided(t.Context(), f.id+".nowhere")
	require.Error(t, err)
}

func TestMembers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	requests := f.topic("requests.a", 2, nil)
	f.fill(requests, 2, 0, 10)
	members := func() (string, map[string]int) {
		state, members, err := f.admin.Members(t.Context(), f.group("workers").Name)
		require.NoError(t, err)
		return state, members
	}
	running := make([]*running, 0, 2)
	for i, client := range []string{"one", "two"} {
		cfg := f.laneConfig("requests.", i)
		cfg.ClientID = client
		r, _ := f.lane(cfg, echo(f.topic("results."+client, 2, nil)))
		running = append(running, r)
	}
	require.Eventually(t, func() bool {
		state, members := members()
		return state == "Stable" && members["one"] == 1 && members["two"] == 1 && len(members) == 2
	}, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, running[0].stop())
	require.Eventually(t, func() bool {
		state, members := members()
		return state == "Stable" && members["two"] == 1 && len(members) == 1
	}, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, running[1].stop())
}

func TestAsk(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	requests, results, letters := f.topic("requests.a", 2, nil), f.topic("results.a", 2, nil), f.topic("letters", 1, nil)
	f.fill(requests, 2, 0, 10) // others ask, too
	r, _ := f.lane(f.laneConfig("requests.", 0), handlerFunc(func(_ context.Context, records []schemas.Record, out consumers.Publisher) error {
		for i := range records {
			rec := &records[i]
			m := schemas.Message{Topic: results, Partition: rec.Partition, Key: rec.Key, Value: rec.Value, Headers: rec.Headers}
			if string(rec.Value) == "bad" {
				m.Topic, m.Partition = letters, schemas.AnyPartition
			}
			out.Publish(m)
		}
		return nil
	}))
	got := map[string]string{}
	require.NoError(t, f.admin.Ask(t.Context(), requests, [][]byte{[]byte("good"), []byte("bad"), []byte("good")}, []string{results, letters},
		func(rec *schemas.Record) error { got[string(rec.Value)] += rec.Topic + " "; return nil }))
	require.Equal(t, map[string]string{"good": results + " " + results + " ", "bad": letters + " "}, got)
	require.NoError(t, r.stop())

	ended, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := f.admin.Ask(ended, requests, [][]byte{[]byte("nobody is there")}, []string{results}, nil)
	require.ErrorContains(t, err, "1 of 1 requests were not answered")
	missing, stop := context.WithTimeout(t.Context(), 600*time.Millisecond)
	defer stop()
	require.ErrorContains(t, f.admin.Ask(missing, requests, nil, []string{f.id + ".nowhere"}, nil), "topics ["+f.id+".nowhere] do not exist; `millrace topics apply` makes")
	require.ErrorContains(t, f.admin.Read(t.Context(), f.id+".nowhere", nil), "topic "+f.id+".nowhere does not exist; `millrace topics apply` makes it")
}
