package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/consumers/embedded"
)

// brokerDirEnv makes the test binary a broker with its data in that directory, until SIGTERM.
const brokerDirEnv = "MILLRACE_TEST_EMBEDDED_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(brokerDirEnv); dir != "" {
		os.Exit(serveMain(dir))
	}
	goleak.VerifyTestMain(m)
}

func serveMain(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg := embedded.DefaultConfig()
	cfg.Dir, cfg.Listen = dir, "127.0.0.1:0"
	if err := embedded.Serve(ctx, cfg, func(addr string) { fmt.Println(addr) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func testConfig(t *testing.T) embedded.Config {
	t.Helper()
	cfg := embedded.DefaultConfig()
	cfg.Dir, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	return cfg
}

// start serves cfg until the test ends or stop is called; stop waits for a clean end.
func start(t *testing.T, cfg embedded.Config) (addr string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- embedded.Serve(ctx, cfg, func(addr string) { ready <- addr }) }()
	select {
	case addr = <-ready:
	case err := <-done:
		cancel()
		require.NoError(t, err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(t, <-done)
	}
	t.Cleanup(stop)
	return addr, stop
}

func newClient(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addr),
		kgo.ProducerBatchMaxBytes(9 << 20),
		kgo.FetchMaxWait(100 * time.Millisecond),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func createTopic(t *testing.T, client *kgo.Client, partitions int32, topic string, configs map[string]string) {
	t.Helper()
	values := make(map[string]*string)
	for k, v := range configs {
		values[k] = &v
	}
	_, err := kadm.NewClient(client).CreateTopic(t.Context(), partitions, 1, values, topic)
	require.NoError(t, err)
}

// poll fetches until it has want records.
func poll(t *testing.T, client *kgo.Client, want int) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var records []*kgo.Record
	for len(records) < want {
		fetches := client.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		records = append(records, fetches.Records()...)
	}
	require.Len(t, records, want)
	return records
}

// TestAdvertise: clients are told the address of a proxy.
func TestAdvertise(t *testing.T) {
	cfg := testConfig(t)
	cfg.Advertise = "localhost:1"
	addr, _ := start(t, cfg)
	require.NotEqual(t, cfg.Advertise, addr, "ready tells where the broker listens")
	metadata, err := kadm.NewClient(newClient(t, addr)).Metadata(t.Context())
	require.NoError(t, err)
	require.Len(t, metadata.Brokers, 1)
	require.Equal(t, cfg.Advertise, net.JoinHostPort(metadata.Brokers[0].Host, strconv.Itoa(int(metadata.Brokers[0].Port))))
}

// TestFullFetch: what was aborted stays hidden also where a fetch takes all that it may.
func TestFullFetch(t *testing.T) {
	addr, _ := start(t, testConfig(t))
	createTopic(t, newClient(t, addr), 1, "full", nil)
	producer := newClient(t, addr, kgo.TransactionalID("full"), kgo.DefaultProduceTopic("full"))
	produce := func(value string, end kgo.TransactionEndTry) {
		require.NoError(t, producer.BeginTransaction())
		for range 50 {
			require.NoError(t, producer.ProduceSync(t.Context(), kgo.SliceRecord([]byte(value))).FirstErr())
		}
		require.NoError(t, producer.EndTransaction(t.Context(), end))
	}
	produce("aborted", kgo.TryAbort)
	produce("committed", kgo.TryCommit)
	consumer := newClient(t, addr, kgo.ConsumeTopics("full"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxBytes(1000))
	for _, record := range poll(t, consumer, 50) {
		require.Equal(t, "committed", string(record.Value))
	}
}

func TestConfigValidateReportsAllViolations(t *testing.T) {
	err := embedded.Config{}.Validate()
	for _, want := range []string{"dir ", "listen ", "partitions ", "retention_bytes ", "retention_check_interval ", "max_message_bytes "} {
		require.ErrorContains(t, err, want)
	}
	for listen, ok := range map[string]bool{
		"127.0.0.1:9092": true, "localhost:9092": true, "[::1]:9092": true, "127.9.9.9:0": true,
		"0.0.0.0:9092": false, ":9092": false, "192.168.1.7:9092": false, "kafka.example:9092": false, "127.0.0.1": false,
	} {
		cfg := embedded.DefaultConfig()
		cfg.Dir, cfg.Listen = "data", listen
		if err := cfg.Validate(); ok {
			require.NoError(t, err, listen)
		} else {
			require.ErrorContains(t, err, "listen must be", listen)
		}
	}
	cfg := embedded.DefaultConfig()
	cfg.Dir, cfg.Advertise = "data", "proxy"
	require.ErrorContains(t, cfg.Validate(), "advertise must be host:port")
}

func TestServeRefusesADirectoryInUse(t *testing.T) {
	cfg := testConfig(t)
	_, stop := start(t, cfg)
	err := embedded.Serve(t.Context(), cfg, func(string) { t.Error("ready was called") })
	require.ErrorIs(t, err, embedded.ErrDirInUse)
	require.ErrorContains(t, err, "served by process "+strconv.Itoa(os.Getpid()))
	stop()
	start(t, cfg) // free again
}

func TestServeSaysThatThePortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	cfg := testConfig(t)
	cfg.Listen = l.Addr().String()
	err = embedded.Serve(t.Context(), cfg, func(string) { t.Error("ready was called") })
	require.ErrorContains(t, err, cfg.Listen)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}

func TestServeReportsAFailedClose(t *testing.T) {
	cfg := testConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := embedded.Serve(ctx, cfg, func(string) {
		// A directory cannot be replaced by the file that the close writes.
		require.NoError(t, os.Remove(filepath.Join(cfg.Dir, "topics.json")))
		require.NoError(t, os.MkdirAll(filepath.Join(cfg.Dir, "topics.json", "x"), 0o750))
		cancel()
	})
	require.ErrorContains(t, err, "close embedded kafka with data in "+cfg.Dir)
}

func TestPing(t *testing.T) {
	addr, stop := start(t, testConfig(t))
	require.NoError(t, embedded.Ping(t.Context(), addr))
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, embedded.Ping(ctx, addr), "ping kafka at "+addr)
}

func TestTopicsAreNotCreatedByUse(t *testing.T) {
	addr, _ := start(t, testConfig(t))
	client := newClient(t, addr, kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(1))
	err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "unknown"}).FirstErr()
	require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)

	topics, err := kadm.NewClient(client).CreateTopic(t.Context(), -1, -1, nil, "known")
	require.NoError(t, err)
	require.EqualValues(t, 4, topics.NumPartitions)
}

func TestMaxMessageBytes(t *testing.T) {
	cfg := testConfig(t)
	addr, _ := start(t, cfg)
	client := newClient(t, addr,
		kgo.ConsumeTopics("default", "large"), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.BrokerMaxReadBytes(100<<20))
	createTopic(t, client, 1, "default", nil)
	createTopic(t, client, 1, "small", map[string]string{"max.message.bytes": "1048588"})
	createTopic(t, client, 1, "large", map[string]string{"max.message.bytes": "10000000"})

	produce := func(topic string, size int) error {
		return client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: make([]byte, size)}).FirstErr()
	}
	require.NoError(t, produce("default", 8<<20))
	require.ErrorIs(t, produce("small", 2<<20), kerr.MessageTooLarge)
	require.NoError(t, produce("large", 9_000_000)) // above the broker's own bound
	for _, r := range poll(t, client, 2) {
		require.GreaterOrEqual(t, len(r.Value), 8<<20)
	}
}

func TestConsumeRegexSeesTopicsMadeLater(t *testing.T) {
	addr, _ := start(t, testConfig(t))
	admin := newClient(t, addr)
	createTopic(t, admin, 1, "millrace.requests.a", nil)
	consumer := newClient(t, addr,
		kgo.ConsumerGroup("g"), kgo.ConsumeRegex(), kgo.ConsumeTopics(`millrace\.requests\..*`),
		kgo.MetadataMinAge(10*time.Millisecond), kgo.MetadataMaxAge(50*time.Millisecond))

	require.NoError(t, admin.ProduceSync(t.Context(), &kgo.Record{Topic: "millrace.requests.a", Value: []byte("1")}).FirstErr())
	require.Equal(t, "millrace.requests.a", poll(t, consumer, 1)[0].Topic)
	createTopic(t, admin, 1, "millrace.requests.b", nil)
	createTopic(t, admin, 1, "other", nil)
	require.NoError(t, admin.ProduceSync(t.Context(),
		&kgo.Record{Topic: "other", Value: []byte("x")}, &kgo.Record{Topic: "millrace.requests.b", Value: []byte("2")}).FirstErr())
	require.Equal(t, "millrace.requests.b", poll(t, consumer, 1)[0].Topic)
}

// transform copies all of "in" to "out" in transactions and commits offsets with metadata.
// It returns after want records.
func transform(t *testing.T, addr string, want int) {
	t.Helper()
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(addr), kgo.TransactionalID("worker-0"), kgo.ConsumerGroup("workers"), kgo.ConsumeTopics("in"),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond),
	)
	require.NoError(t, err)
	defer session.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	withMetadata := kgo.PreTxnCommitFnContext(ctx, func(req *kmsg.TxnOffsetCommitRequest) error {
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				req.Topics[i].Partitions[j].Metadata = new("range")
			}
		}
		return nil
	})
	for n := 0; n < want; {
		fetches := session.PollRecords(ctx, 10)
		require.NoError(t, fetches.Err())
		require.NoError(t, session.Begin())
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			session.Produce(ctx, &kgo.Record{Topic: "out", Partition: r.Partition, Value: r.Value}, nil)
		})
		committed, err := session.End(withMetadata, kgo.TryCommit)
		require.NoError(t, err)
		require.True(t, committed)
	}
}

func produceNumbers(t *testing.T, client *kgo.Client, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		client.Produce(t.Context(), &kgo.Record{Topic: "in", Value: []byte(strconv.Itoa(i))}, nil)
	}
	require.NoError(t, client.Flush(t.Context()))
}

func TestTransactionsAndOffsetsSurviveSIGTERM(t *testing.T) {
	dir := t.TempDir()
	addr, stop := startProcess(t, dir)
	client := newClient(t, addr)
	createTopic(t, client, 2, "in", nil)
	createTopic(t, client, 2, "out", map[string]string{"retention.bytes": "1000000"})
	before, err := kadm.NewClient(client).ListTopics(t.Context(), "in", "out")
	require.NoError(t, err)
	produceNumbers(t, client, 0, 50)
	transform(t, addr, 50)

	cfg := testConfig(t)
	cfg.Dir = dir
	err = embedded.Serve(t.Context(), cfg, func(string) { t.Error("ready was called") })
	require.ErrorIs(t, err, embedded.ErrDirInUse) // held by the other process

	// The last transaction of the group is open when the broker stops.
	open := newClient(t, addr, kgo.TransactionalID("crashed"))
	require.NoError(t, open.BeginTransaction())
	require.NoError(t, open.ProduceSync(t.Context(), &kgo.Record{Topic: "out", Value: []byte("never committed")}).FirstErr())
	stop()

	addr, _ = startProcess(t, dir)
	client = newClient(t, addr)
	admin := kadm.NewClient(client)
	after, err := admin.ListTopics(t.Context(), "in", "out")
	require.NoError(t, err)
	require.Equal(t, before["in"].ID, after["in"].ID) // coordinates carry topic ids
	configs, err := admin.DescribeTopicConfigs(t.Context(), "out")
	require.NoError(t, err)
	for _, c := range configs[0].Configs {
		if c.Key == "retention.bytes" {
			require.Equal(t, "1000000", c.MaybeValue())
		}
	}

	offsets, err := admin.FetchOffsets(t.Context(), "workers")
	require.NoError(t, err)
	var committed int64
	offsets.Each(func(o kadm.OffsetResponse) {
		committed += o.At
		require.Equal(t, "range", o.Metadata)
	})
	require.EqualValues(t, 50, committed)

	// The same transactional id goes on; a stale open transaction is fenced off by its successor.
	successor := newClient(t, addr, kgo.TransactionalID("crashed"))
	require.NoError(t, successor.BeginTransaction())
	require.NoError(t, successor.EndTransaction(t.Context(), kgo.TryAbort))
	produceNumbers(t, client, 50, 60)
	transform(t, addr, 10)
	reader := newClient(t, addr, kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	seen := make(map[string]int)
	for _, r := range poll(t, reader, 60) {
		seen[string(r.Value)]++
	}
	for i := range 60 {
		require.Equal(t, 1, seen[strconv.Itoa(i)], i)
	}
}

// startProcess is start in another process, stopped by SIGTERM.
func startProcess(t *testing.T, dir string) (addr string, stop func()) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), brokerDirEnv+"="+dir, "GORACE=atexit_sleep_ms=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line := make([]byte, 64)
	n, err := stdout.Read(line) // ends with the process at the latest
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait(), &stderr)
	}
	t.Cleanup(stop)
	require.NoError(t, err)
	return strings.TrimSpace(string(line[:n])), stop
}

func TestLogsAreBoundedByBytesAndNotByAge(t *testing.T) {
	cfg := testConfig(t)
	cfg.RetentionBytes = 4 << 20
	cfg.RetentionCheckInterval = 10 * time.Millisecond
	addr, stop := start(t, cfg)
	client := newClient(t, addr, kgo.ProducerBatchCompression(kgo.NoCompression()))
	admin := kadm.NewClient(client)
	createTopic(t, client, 1, "default", nil)
	createTopic(t, client, 1, "own", map[string]string{"retention.bytes": "1"}) // less than a batch
	createTopic(t, client, 1, "compacted", map[string]string{"cleanup.policy": "compact"})
	createTopic(t, client, 1, "by_age", map[string]string{"retention.ms": "3600000"})

	longAgo := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, topic := range []string{"default", "own", "compacted", "by_age"} {
		for i := range 40 {
			size := 1
			if topic == "default" {
				size = 1 << 20
			}
			require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{
				Topic: topic, Key: []byte("k"), Value: make([]byte, size), Timestamp: longAgo.Add(time.Duration(i)),
			}).FirstErr())
		}
	}
	type bounds struct{ start, end int64 }
	offsets := func(topic string) bounds {
		starts, err := admin.ListStartOffsets(t.Context(), topic)
		require.NoError(t, err)
		ends, err := admin.ListEndOffsets(t.Context(), topic)
		require.NoError(t, err)
		s, _ := starts.Lookup(topic, 0)
		e, _ := ends.Lookup(topic, 0)
		return bounds{s.Offset, e.Offset}
	}
	want := map[string]bounds{"default": {37, 40}, "own": {39, 40}, "compacted": {0, 40}, "by_age": {0, 40}}
	require.Eventually(t, func() bool { return offsets("default") == want["default"] && offsets("own") == want["own"] },
		30*time.Second, 10*time.Millisecond)
	stop()
	segments, err := filepath.Glob(filepath.Join(cfg.Dir, "partitions", "default*", "*.dat"))
	require.NoError(t, err)
	require.Len(t, segments, 1) // whole files are deleted

	addr, _ = start(t, cfg)
	admin = kadm.NewClient(newClient(t, addr))
	for topic, w := range want {
		require.Equal(t, w, offsets(topic), topic)
	}
}
