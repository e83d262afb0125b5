package consumers_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/embedded"
	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/schemas"
)

// sharedAddr is where the brokers of all tests listen that do not stop theirs, with commas
// between; cluster is what they are if that is Apache Kafka.
var (
	sharedAddr string
	cluster    *kafkatest.Cluster
)

func TestMain(m *testing.M) {
	code := testMain(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "millrace-consumers-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	var stop func() error
	if cluster, err = kafkatest.Selected(context.Background()); err == nil {
		if cluster != nil {
			sharedAddr, stop = strings.Join(cluster.Brokers(), ","), cluster.Close
		} else {
			sharedAddr, stop, err = serve(dir, "127.0.0.1:0", "")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if cluster == nil { // the tests wait more than they work; -parallel stands over this
		_ = flag.Set("test.parallel", "6")
	}
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// serve runs a broker until stop is called. It tells clients to connect to advertise, if that
// is set.
func serve(dir, listen, advertise string) (addr string, stop func() error, err error) {
	cfg := embedded.DefaultConfig()
	cfg.Dir, cfg.Listen, cfg.Advertise = dir, listen, advertise
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- embedded.Serve(ctx, cfg, func(addr string) { ready <- addr }) }() // ends with ctx
	select {
	case addr = <-ready:
		return addr, func() error { cancel(); return <-done }, nil
	case err = <-done:
		cancel()
		return "", nil, err
	}
}

// broker is a broker of one test, which can be stopped and started again.
type broker struct {
	t         *testing.T
	dir, addr string
	halt      func() error
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	if cluster != nil {
		t.Skip("stops the embedded broker; nodes of Apache Kafka are killed by TestLeaderKilled")
	}
	b := &broker{t: t, dir: t.TempDir(), addr: freeAddr(t)}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func (b *broker) start() {
	b.t.Helper()
	addr, halt, err := serve(b.dir, b.addr, "")
	require.NoError(b.t, err)
	b.addr, b.halt = addr, halt
}

func (b *broker) stop() {
	b.t.Helper()
	if b.halt != nil {
		require.NoError(b.t, b.halt())
		b.halt = nil
	}
}

// fixture is one test's view of a broker: topics and groups of its own.
type fixture struct {
	testing.TB
	conn  consumers.Connection
	cl    *kgo.Client
	adm   *kadm.Client
	admin *consumers.Admin
	id    string
	log   zerolog.Logger
}

func newFixture(tb testing.TB, addr string) *fixture {
	tb.Helper()
	conn := consumers.Connection{Brokers: strings.Split(addr, ","), ClientID: "test"}
	cl, err := kgo.NewClient(kgo.SeedBrokers(conn.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(8<<20))
	require.NoError(tb, err)
	tb.Cleanup(cl.Close)
	admin, err := consumers.NewAdmin(conn)
	require.NoError(tb, err)
	tb.Cleanup(admin.Close)
	log := zerolog.Nop()
	if testing.Verbose() && os.Getenv("MILLRACE_TEST_LOG") != "" {
		log = zerolog.New(zerolog.NewTestWriter(tb)).With().Timestamp().Logger()
	}
	return &fixture{TB: tb, conn: conn, cl: cl, adm: kadm.NewClient(cl), admin: admin, id: uuid.NewString()[:8], log: log}
}

func (f *fixture) group(name string) consumers.Group {
	return consumers.Group{Name: f.id + "-" + name, SessionTimeout: 2 * time.Second}
}

func (f *fixture) topic(name string, partitions int32, config map[string]string) string {
	f.Helper()
	name = f.id + "." + name
	_, err := f.admin.ApplyTopics(context.Background(), []schemas.TopicSpec{{Name: name, Partitions: partitions, ReplicationFactor: -1, Config: config}})
	require.NoError(f, err)
	return name
}

// fill produces n records, whose values are numbers from first on, to the partitions in turn.
func (f *fixture) fill(topic string, partitions, first, n int) {
	f.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		v := first + i
		records[i] = &kgo.Record{
			Topic: topic, Partition: int32(v % partitions), Key: []byte("k" + strconv.Itoa(v)), Value: []byte(strconv.Itoa(v)),
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(strconv.Itoa(v))}, {Key: "empty"}},
		}
	}
	require.NoError(f, f.cl.ProduceSync(context.Background(), records...).FirstErr())
}

// read returns copies of the committed records of a topic, sorted by place.
func (f *fixture) read(topic string) []schemas.Record {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var out []schemas.Record
	require.NoError(f, f.admin.Read(ctx, topic, func(rec *schemas.Record) error {
		r := *rec
		r.Headers = slices.Clone(rec.Headers)
		out = append(out, r)
		return nil
	}))
	slices.SortStableFunc(out, func(a, b schemas.Record) int { return int(a.Partition - b.Partition) })
	return out
}

// ended waits until no transaction is open on a topic. Kafka tells that one has ended
// before it has told the partitions.
func (f *fixture) ended(topic string) {
	f.Helper()
	await(f, "every transaction has ended", func() bool {
		ends, err := f.adm.ListEndOffsets(context.Background(), topic)
		require.NoError(f, err)
		stable, err := f.adm.ListCommittedOffsets(context.Background(), topic)
		require.NoError(f, err)
		open := false
		ends.Each(func(end kadm.ListedOffset) {
			at, ok := stable.Lookup(end.Topic, end.Partition)
			open = open || !ok || at.Offset < end.Offset
		})
		return !open
	})
}

// values returns the values of the committed records of a topic on which no transaction
// stays open, sorted as numbers.
func (f *fixture) values(topic string) []int {
	f.Helper()
	f.ended(topic)
	return f.numbers(f.read(topic))
}

func (f *fixture) numbers(records []schemas.Record) []int {
	f.Helper()
	var out []int
	for _, r := range records {
		n, err := strconv.Atoi(string(r.Value))
		require.NoError(f, err)
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func (f *fixture) lag(group, topic string) int64 {
	f.Helper()
	lag, err := f.admin.Lag(context.Background(), group, topic)
	require.NoError(f, err)
	return lag
}

// awaitLag waits until the workers' group has so much left of a topic: as in ended, the
// offsets of a transaction can come after its end.
func (f *fixture) awaitLag(want int64, topic string) {
	f.Helper()
	await(f, fmt.Sprintf("a lag of %d", want), func() bool { return f.lag(f.group("workers").Name, topic) == want })
}

// await asks until it is so.
func await(tb testing.TB, what string, so func() bool) {
	tb.Helper()
	awaitFor(tb, 30*time.Second, what, so)
}

func awaitFor(tb testing.TB, most time.Duration, what string, so func() bool) {
	tb.Helper()
	deadline := time.Now().Add(most)
	for !so() {
		if time.Now().After(deadline) {
			require.FailNow(tb, "not in time", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// receive takes what comes from a channel, in time.
func receive[T any](tb testing.TB, ch <-chan T, what string) T {
	tb.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(30 * time.Second):
		require.FailNow(tb, "not in time", what)
		return *new(T)
	}
}

// running is something that Run runs.
type running struct {
	tb         testing.TB
	soft, hard context.CancelFunc
	done       chan error
	once       sync.Once
	err        error
}

func start(tb testing.TB, run func(soft, hard context.Context) error) *running {
	tb.Helper()
	hard, kill := context.WithCancel(context.Background())
	soft, stop := context.WithCancel(hard)
	r := &running{tb: tb, soft: stop, hard: kill, done: make(chan error, 1)}
	go func() { r.done <- run(soft, hard) }() // ends with soft
	tb.Cleanup(func() { _ = r.kill() })
	return r
}

// wait returns what Run returned.
func (r *running) wait() error {
	r.tb.Helper()
	r.once.Do(func() {
		r.err = receive(r.tb, r.done, "end of Run")
		r.hard()
	})
	return r.err
}

// stop ends Run in an orderly way.
func (r *running) stop() error { r.tb.Helper(); r.soft(); return r.wait() }

// kill ends Run at once, as far as it can be without ending the process.
func (r *running) kill() error { r.tb.Helper(); r.hard(); return r.wait() }

// makeAgain deletes a topic of one partition and makes it again.
func (f *fixture) makeAgain(name string) {
	f.Helper()
	topic := f.id + "." + name
	_, err := f.adm.DeleteTopic(context.Background(), topic)
	require.NoError(f, err)
	for _, b := range f.cl.SeedBrokers() { // the controller has deleted it, and brokers hear of that
		await(f, "the topic is gone", func() bool {
			resp, err := kmsg.NewPtrMetadataRequest().RequestWith(context.Background(), b)
			return err == nil && !slices.ContainsFunc(resp.Topics, func(t kmsg.MetadataResponseTopic) bool { return *t.Topic == topic })
		})
	}
	require.Equal(f, topic, f.topic(name, 1, nil))
	again, err := kgo.NewClient(kgo.SeedBrokers(f.conn.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())) // the old one knows the old topic
	require.NoError(f, err)
	f.Cleanup(again.Close)
	f.cl = again
}

// health remembers what was told of the health of a part, but for what it waits for when it begins.
type health struct {
	mu     sync.Mutex
	failed int
	last   error
}

func (h *health) set(err error) {
	if errors.Is(err, consumers.ErrNotReading) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last = err; err != nil {
		h.failed++
	}
}

// err is what was told last.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

func (h *health) failing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last != nil
}

// recovered tells that it has failed, and fails no more.
func (h *health) recovered() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed > 0 && h.last == nil
}

// handlerFunc is a Handler.
type handlerFunc func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error

func (h handlerFunc) Handle(ctx context.Context, records []schemas.Record, _ time.Time, out consumers.Publisher) error {
	return h(ctx, records, out)
}

// echo answers every record on topic, with its partition number.
func echo(topic string) handlerFunc {
	return func(_ context.Context, records []schemas.Record, out consumers.Publisher) error {
		for i := range records {
			rec := &records[i]
			out.Publish(schemas.Message{Topic: topic, Partition: rec.Partition, Key: rec.Key, Value: rec.Value, Headers: rec.Headers})
		}
		return nil
	}
}

// laneConfig is of a lane that keeps its session under any load; see mortalConfig.
func (f *fixture) laneConfig(prefix string, lane int) consumers.LaneConfig {
	group := f.group("workers")
	group.SessionTimeout = 20 * time.Second
	return consumers.LaneConfig{
		Connection: f.conn, Group: group, Instance: "w", Lane: lane,
		TopicPrefix: f.id + "." + prefix, MaxRecords: 50, TransactionTimeout: 20 * time.Second,
	}
}

// stopMortal stops a lane. What a killed lane of its name asked for can come late, and short
// transactions time out on a loaded machine: it is fenced then, and its batch left to whoever gets
// its partitions, as after a kill.
func (r *running) stopMortal() {
	r.tb.Helper()
	if err := r.stop(); err != nil {
		require.Contains(r.tb, err.Error(), kerr.ProducerFenced.Message)
	}
}

// mortalConfig is of a lane that is to be killed: its session does not hold what it had for long.
func (f *fixture) mortalConfig(prefix string, lane int) consumers.LaneConfig {
	cfg := f.laneConfig(prefix, lane)
	cfg.Group = f.group("workers")
	return cfg
}

func (f *fixture) lane(cfg consumers.LaneConfig, h consumers.Handler) (*running, *consumers.Lane) {
	f.Helper()
	l := consumers.NewLane(cfg, f.log)
	return start(f, func(soft, hard context.Context) error { return l.Run(soft, hard, h) }), l
}

// stuck blocks the first call that reaches it until it is released.
type stuck struct {
	reached chan struct{}
	release chan struct{}
	used    atomic.Bool
}

func newStuck() *stuck { return &stuck{reached: make(chan struct{}), release: make(chan struct{})} }

func (s *stuck) wait(ctx context.Context) error {
	if s.used.Swap(true) {
		return nil
	}
	close(s.reached)
	select {
	case <-s.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
