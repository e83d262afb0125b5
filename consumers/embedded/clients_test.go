package embedded_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// javaLib is what `make kafka` fetches: Apache Kafka's clients and tools.
const javaLib = "../../deploy/kafka/lib/*"

// clientsDir is where `make test-clients` has installed the clients of Python and JavaScript.
func clientsDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("MILLRACE_TEST_CLIENTS")
	if dir == "" {
		t.Skip("make test-clients installs Kafka's other clients")
	}
	return dir
}

// java runs a class by its source. The JVM compiles little, since each runs for seconds.
func java(ctx context.Context, class string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "java", append([]string{
		"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", javaLib, filepath.Join("testdata", "clients", class+".java"),
	}, args...)...)
}

// shown is a record as the clients print it.
type shown struct {
	Topic     string       `json:"topic"`
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Key       *string      `json:"key"`
	Value     *string      `json:"value"`
	Headers   [][2]*string `json:"headers"`
}

// line is a form by which records are compared: headers by name, for some clients keep no order.
func (s shown) line() string {
	headers := make([]string, len(s.Headers))
	for i, h := range s.Headers {
		headers[i] = quoted(h[0]) + "=" + quoted(h[1])
	}
	slices.Sort(headers)
	return fmt.Sprintf("%s/%d/%d %s %s %s", s.Topic, s.Partition, s.Offset, quoted(s.Key), quoted(s.Value), strings.Join(headers, " "))
}

func quoted(s *string) string {
	if s == nil {
		return "null"
	}
	return strconv.Quote(*s)
}

// results are the topics that clients read, one for each compression. They hold the same: in each
// of two partitions a committed transaction, an aborted one and another committed one.
type results struct {
	addr string
	want map[string][]string // topic: lines of what is committed
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func produceResults(t *testing.T) *results {
	t.Helper()
	addr, _ := start(t, testConfig(t))
	r := &results{addr: addr, want: map[string][]string{}}
	admin := kadm.NewClient(newClient(t, addr))
	for codec, compression := range codecs {
		topic := "results-" + codec
		_, err := admin.CreateTopic(t.Context(), 2, 1, nil, topic)
		require.NoError(t, err)
		client := newClient(t, addr, kgo.TransactionalID(topic), kgo.ProducerBatchCompression(compression), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		for i, commit := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
			require.NoError(t, client.BeginTransaction())
			for partition := range int32(2) {
				records := []*kgo.Record{
					{Key: []byte("ключ"), Value: fmt.Appendf(nil, `{"request_id":"%d","predictions":{"p":0.5}}`, i), Headers: []kgo.RecordHeader{{Key: "request-id", Value: []byte("id")}, {Key: "traceparent", Value: []byte("00-1-2-01")}}},
					{Value: bytes.Repeat([]byte("no key "), 100)},
					{Key: []byte("tombstone"), Headers: []kgo.RecordHeader{{Key: "empty", Value: []byte{}}}},
				}
				for _, rec := range records {
					rec.Topic, rec.Partition = topic, partition
				}
				require.NoError(t, client.ProduceSync(t.Context(), records...).FirstErr())
				for _, rec := range records {
					if commit == kgo.TryCommit {
						r.want[topic] = append(r.want[topic], lineOf(rec))
					}
				}
			}
			require.NoError(t, client.EndTransaction(t.Context(), commit))
		}
		slices.Sort(r.want[topic])
	}
	return r
}

func lineOf(rec *kgo.Record) string {
	text := func(b []byte) *string {
		if b == nil {
			return nil
		}
		return new(string(b))
	}
	s := shown{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Key: text(rec.Key), Value: text(rec.Value)}
	for _, h := range rec.Headers {
		s.Headers = append(s.Headers, [2]*string{&h.Key, text(h.Value)})
	}
	return s.line()
}

// foreign is a client of another project.
type foreign struct {
	name  string
	reads []string // compressions, of those that it reads without further packages
	runs  []string // producers, by the prefix of their keys
	cmd   func(ctx context.Context, dir string, args ...string) *exec.Cmd
	extra []string // arguments of its own
}

func foreignClients() []foreign {
	all, plain := []string{"none", "gzip", "snappy", "lz4", "zstd"}, []string{"none", "gzip"}
	python := func(script string) func(context.Context, string, ...string) *exec.Cmd {
		return func(ctx context.Context, dir string, args ...string) *exec.Cmd {
			return exec.CommandContext(ctx, filepath.Join(dir, "venv", "bin", "python"), append([]string{filepath.Join("testdata", "clients", script)}, args...)...)
		}
	}
	ofJava := func(ctx context.Context, _ string, args ...string) *exec.Cmd { return java(ctx, "Client", args...) }
	return []foreign{
		{name: "confluent-kafka", reads: all, runs: []string{"default", "gzip", "snappy", "lz4", "zstd"}, cmd: python("confluent.py")},
		{name: "kafka-python", reads: plain, runs: []string{"default", "gzip"}, cmd: python("kafka_python.py")},
		{name: "aiokafka", reads: plain, runs: []string{"default", "gzip"}, cmd: python("aio_kafka.py")},
		{name: "kafkajs", reads: plain, runs: []string{"default", "gzip"}, cmd: func(ctx context.Context, dir string, args ...string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, "node", append([]string{filepath.Join("testdata", "clients", "kafkajs.js")}, args...)...)
			cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(dir, "js", "node_modules"))
			return cmd
		}},
		{name: "java-classic", reads: all, runs: []string{"default", "gzip", "snappy", "lz4", "zstd"}, cmd: ofJava, extra: []string{"classic"}},
		{name: "java-consumer", reads: all, runs: []string{"default", "gzip", "snappy", "lz4", "zstd"}, cmd: ofJava, extra: []string{"consumer"}},
	}
}

// TestOtherClients: each reads what is committed and nothing else, with keys, headers, tombstones
// and all compressions that it has, commits as a group, produces by its defaults and compressed,
// and administers.
func TestOtherClients(t *testing.T) {
	dir := clientsDir(t)
	r := produceResults(t)
	client := newClient(t, r.addr)
	for _, f := range foreignClients() {
		t.Run(f.name, func(t *testing.T) {
			var topics, want []string
			for _, codec := range f.reads {
				topics = append(topics, "results-"+codec)
				want = append(want, r.want["results-"+codec]...)
			}
			createTopic(t, client, 2, "requests-"+f.name, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			cmd := f.cmd(ctx, dir, append([]string{r.addr, strings.Join(topics, ","), strconv.Itoa(len(want)), f.name, "requests-" + f.name}, f.extra...)...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			require.NoError(t, cmd.Run(), "%s", &stderr)
			require.NotContains(t, strings.ToLower(stderr.String()), "telemetry")

			var got []string
			for l := range strings.Lines(stdout.String()) {
				var s shown
				require.NoError(t, json.Unmarshal([]byte(l), &s), l)
				got = append(got, s.line())
			}
			slices.Sort(got)
			slices.Sort(want)
			require.Equal(t, want, got)
			r.requireCommitted(t, client, f.name, topics)
			requireRequests(t, r.addr, "requests-"+f.name, f.runs)
		})
	}
}

// requireCommitted finds the group's offsets behind all records of the topics; behind them is at
// most the end of their transaction.
func (r *results) requireCommitted(t *testing.T, client *kgo.Client, group string, topics []string) {
	t.Helper()
	offsets, err := kadm.NewClient(client).FetchOffsets(t.Context(), group)
	require.NoError(t, err)
	for _, topic := range topics {
		for partition := range int32(2) {
			o, ok := offsets.Lookup(topic, partition)
			require.True(t, ok, "%s/%d", topic, partition)
			require.Contains(t, []int64{11, 12}, o.At, "%s/%d", topic, partition) // nine records, three ends
		}
	}
}

// requireRequests finds ten requests of each run, each once.
func requireRequests(t *testing.T, addr, topic string, runs []string) {
	t.Helper()
	reader := newClient(t, addr, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	var got, want []string
	for _, rec := range poll(t, reader, 10*len(runs)) {
		require.Len(t, rec.Headers, 1)
		require.Equal(t, "request-id", rec.Headers[0].Key)
		require.Equal(t, rec.Key, rec.Headers[0].Value)
		require.True(t, json.Valid(rec.Value))
		got = append(got, string(rec.Key))
	}
	for _, run := range runs {
		for i := range 10 {
			want = append(want, fmt.Sprintf("%s-%d", run, i))
		}
	}
	require.ElementsMatch(t, want, got)
}

// TestKcat is TestOtherClients of kcat, which Debian has: it reads and produces, and lists.
func TestKcat(t *testing.T) {
	clientsDir(t)
	path, err := exec.LookPath("kcat")
	if err != nil {
		t.Skip("kcat is not installed: it is a package of Debian")
	}
	r := produceResults(t)
	kcat := func(stdin string, args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, append([]string{"-b", r.addr}, args...)...)
		var stdout, stderr bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
		require.NoError(t, cmd.Run(), "%s", &stderr)
		require.NotContains(t, strings.ToLower(stderr.String()), "telemetry")
		return stdout.String()
	}
	for codec := range codecs {
		topic := "results-" + codec
		var got []string
		for l := range strings.Lines(kcat("", "-C", "-t", topic, "-o", "beginning", "-e", "-J", "-X", "isolation.level=read_committed")) {
			var s struct {
				shown
				Payload *string  `json:"payload"`
				Flat    []string `json:"headers"`
			}
			require.NoError(t, json.Unmarshal([]byte(l), &s), l)
			s.Value = s.Payload
			for pair := range slices.Chunk(s.Flat, 2) {
				s.Headers = append(s.Headers, [2]*string{&pair[0], &pair[1]})
			}
			got = append(got, s.line())
		}
		slices.Sort(got)
		require.Equal(t, r.want[topic], got)
	}
	createTopic(t, newClient(t, r.addr), 2, "requests", nil)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for i := range 10 {
			id := fmt.Sprintf("%s-%d", codec, i)
			kcat(id+`:{"x":1}`, "-P", "-t", "requests", "-K:", "-z", codec, "-H", "request-id="+id, "-X", "enable.idempotence=true")
		}
	}
	requireRequests(t, r.addr, "requests", []string{"none", "gzip", "snappy", "lz4", "zstd"})
	require.Contains(t, kcat("", "-L"), `topic "results-gzip" with 2 partitions`)
}

// TestKafkaStreams: an application with a state, a changelog and a repartition topic counts what is
// committed, exactly once.
func TestKafkaStreams(t *testing.T) {
	clientsDir(t)
	r := produceResults(t)
	createTopic(t, newClient(t, r.addr), 1, "counts", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := java(ctx, "Streams", r.addr, "results-gzip", "counts", t.TempDir())
	stop, err := cmd.StdinPipe()
	require.NoError(t, err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends when its standard input is closed, or by ctx

	reader := newClient(t, r.addr, kgo.ConsumeTopics("counts"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	want := map[string]string{strings.Repeat("no key ", 100): "4", `{"request_id":"0","predictions":{"p":0.5}}`: "2", `{"request_id":"2","predictions":{"p":0.5}}`: "2"}
	got := map[string]string{}
	for !maps.Equal(want, got) && ctx.Err() == nil {
		fetches := reader.PollFetches(ctx)
		fetches.EachRecord(func(rec *kgo.Record) { got[string(rec.Key)] = string(rec.Value) })
	}
	require.Equal(t, want, got)
	require.NoError(t, stop.Close())
	require.NoError(t, <-ended, "%s", &stderr)
	require.NotContains(t, stderr.String(), "ERROR")
	require.NotContains(t, stderr.String(), "Exception:")
}
