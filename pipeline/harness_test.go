package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/pipeline/services"
	"github.com/millrace/millrace/pipeline/supervisor"
	"github.com/millrace/millrace/schemas"
)

// roleCommand makes the test binary run roles, as `millrace run` does: its arguments are
// configuration keys with values.
const roleCommand = "run-roles"

func TestMain(m *testing.M) {
	if isChild, code := services.RunChild(os.Args[1:], os.Stderr); isChild {
		os.Exit(code)
	}
	if len(os.Args) > 1 && os.Args[1] == roleCommand {
		os.Exit(runRoles(os.Args[2:]))
	}
	// Children that are built with the race detector would wait a second at their end.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
		panic(err)
	}
	os.Exit(testMain(m))
}

// cluster is the Apache Kafka that the tests run against, one at a time; nil when it is the
// embedded one.
var (
	cluster     *kafkatest.Cluster
	clusterFree sync.Mutex
)

func testMain(m *testing.M) int {
	var err error
	if cluster, err = kafkatest.Selected(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if cluster == nil { // the tests wait more than they work; -parallel stands over this
		_ = flag.Set("test.parallel", "3")
	}
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	err = cluster.Close()
	if code == 0 {
		err = errors.Join(err, goleak.Find())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// runRoles runs an App until SIGTERM, or until the test that started it has gone.
func runRoles(set []string) int {
	go func() { // ends the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	log := zerolog.New(os.Stderr).With().Timestamp().Logger()
	cfg, err := config.Load("", nil, set)
	if err != nil {
		log.Error().Err(err).Msg("configuration")
		return 2
	}
	ctx, stop := pipeline.UntilSignal(context.Background())
	defer stop()
	if err := pipeline.New(cfg, log).Run(ctx); err != nil {
		log.Error().Err(err).Msg("roles ended")
		return 1
	}
	return 0
}

// logs keeps what roles and services say, and shows it when the test has failed.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) tail() string {
	const most = 24 << 10
	text := l.all()
	return text[max(0, len(text)-most):]
}

// harness is an embedded Kafka and ClickHouse with a model repository and topics. Where
// tests run against Apache Kafka, it is that, emptied for each of them, and the embedded
// one has nothing to do.
type harness struct {
	testing.TB
	models   []catalogtest.Model
	set      []string // configuration of every role
	cfg      config.Config
	log      zerolog.Logger
	logs     *logs
	services *services.Services
	client   *kgo.Client // produces to the partition that a record names
	admin    *kadm.Client
	reader   *consumers.Admin
}

// newHarness starts the services; the test's end stops them. set overrides configuration.
func newHarness(t *testing.T, models []catalogtest.Model, set ...string) *harness {
	t.Helper()
	dir := t.TempDir()
	h := &harness{TB: t, models: models, logs: &logs{}}
	h.log = zerolog.New(h.logs).With().Timestamp().Logger()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last lines of the logs:\n%s", h.logs.tail())
		}
	})
	repository := filepath.Join(dir, "models")
	require.NoError(t, os.Mkdir(repository, 0o750))
	for _, m := range models {
		catalogtest.Install(t, repository, m)
	}
	h.set = append([]string{
		"instance=test", "log.level=debug", "log.format=json", "http.addr=", "drain_timeout=20s",
		"models.repository=" + repository, "monitor.reports_dir=" + filepath.Join(dir, "reports"),
		"topics.partitions=3", "worker.transaction_timeout=30s", "recorder.flush_interval=100ms",
		"recorder.insert_deadline=2s", "clickhouse.durability=none", "monitor.interval=200ms", "monitor.report_interval=500ms",
		"embedded.dir=" + filepath.Join(dir, "data"), "embedded.kafka_addr=127.0.0.1:0", "embedded.clickhouse_addr=127.0.0.1:0",
	}, set...)
	h.cfg = h.config()
	var err error
	h.services, err = services.Start(t.Context(), &h.cfg, -1, h.log)
	require.NoError(t, err)
	t.Cleanup(func() { h.services.Stop(context.WithoutCancel(t.Context()), 20*time.Second, h.log) })
	if cluster != nil { // which all tests share: none of them may be parallel
		require.True(t, clusterFree.TryLock(), "two tests use the cluster at the same time")
		t.Cleanup(clusterFree.Unlock)
		require.NoError(t, cluster.Reset(t.Context()))
		h.cfg.Kafka.Brokers = cluster.Brokers()
	}
	h.set = append(h.set, "kafka.brokers="+strings.Join(h.cfg.Kafka.Brokers, ","), "clickhouse.addr="+h.services.ClickHouse.Addr(),
		"clickhouse.password_file="+h.cfg.ClickHouse.PasswordFile) // some tests put a proxy in between
	_, err = operate.ApplyTopics(t.Context(), h.cfg)
	require.NoError(t, err)

	h.client, err = kgo.NewClient(kgo.SeedBrokers(h.cfg.Kafka.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(64<<20), kgo.MaxBufferedBytes(256<<20), kgo.BrokerMaxWriteBytes(128<<20),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	require.NoError(t, err)
	t.Cleanup(h.client.Close)
	h.admin = kadm.NewClient(h.client)
	h.reader, err = consumers.NewAdmin(consumers.Connection{Brokers: h.cfg.Kafka.Brokers, ClientID: "test"})
	require.NoError(t, err)
	t.Cleanup(h.reader.Close)
	return h
}

// parallel lets a test that waits more than it works run beside others, but for Apache Kafka,
// which all tests share.
func parallel(t *testing.T) {
	t.Helper()
	if cluster == nil {
		t.Parallel()
	}
}

// with returns the harness for a subtest.
func (h *harness) with(t *testing.T) *harness {
	t.Helper()
	of := *h
	of.TB = t
	return &of
}

// config returns what the roles are configured with, with further keys set.
func (h *harness) config(set ...string) config.Config {
	h.Helper()
	cfg, err := config.Load("", nil, append(slices.Clone(h.set), set...))
	require.NoError(h, err)
	return cfg
}

// running is an App in this process.
type running struct {
	h     *harness
	app   *pipeline.App
	stop  context.CancelFunc
	ended chan error
}

// start runs roles in this process and waits until they are ready; the test's end stops
// them.
func (h *harness) start(roles string, set ...string) *running {
	h.Helper()
	r := h.run(pipeline.New(h.config(append(set, "roles="+roles)...), h.log))
	h.eventually("the roles are ready", func() (string, bool) {
		select {
		case err := <-r.ended:
			r.ended <- err
			require.NoError(h, err, "the roles have ended")
		default:
		}
		return "", r.app.Ready()
	})
	return r
}

// run starts roles without waiting for them.
func (h *harness) run(app *pipeline.App) *running {
	h.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(h.Context()))
	r := &running{h: h, app: app, stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- r.app.Run(ctx) }() // ends with drain
	h.Cleanup(r.drain)
	return r
}

// drain stops the roles and waits for their end; calling it again does nothing.
func (r *running) drain() {
	r.h.Helper()
	r.stop()
	err := <-r.ended
	r.ended <- nil
	require.NoError(r.h, err)
}

// process is a role in a process of its own.
type process struct {
	h     *harness
	args  []string
	cmd   *exec.Cmd
	stdin io.Closer // its end ends the process
	ended chan struct{}
}

// spawn starts a process that plays the roles; the test's end kills it.
func (h *harness) spawn(roles string, set ...string) *process {
	h.Helper()
	args := append([]string{roleCommand}, h.set...)
	p := &process{h: h, args: append(append(args, "roles="+roles), set...)}
	h.Cleanup(func() { p.kill() })
	p.start()
	return p
}

func (p *process) start() {
	p.h.Helper()
	exe, err := os.Executable()
	require.NoError(p.h, err)
	p.cmd = exec.Command(exe, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = p.h.logs, p.h.logs
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(p.h, err)
	require.NoError(p.h, p.cmd.Start())
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) { // ends with the process
		defer close(ended)
		_ = cmd.Wait() // the result is cmd.ProcessState
	}(p.cmd, p.ended)
}

// kill ends the process with SIGKILL, if it has not ended, and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// killAndRestart is what a crash and a supervisor do.
func (p *process) killAndRestart() {
	p.h.Helper()
	select {
	case <-p.ended:
		require.Fail(p.h, "the process ended by itself", p.cmd.ProcessState.String())
	default:
	}
	p.kill()
	p.start()
}

// freeze stops a process and returns when none of its threads runs any more: under load
// they go on for a while after the signal.
func (h *harness) freeze(pid int) {
	h.Helper()
	require.NoError(h, syscall.Kill(pid, syscall.SIGSTOP))
	h.await(time.Millisecond, "the process stands still", func() (string, bool) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		require.NoError(h, err)
		for _, thread := range threads {
			stat, err := os.ReadFile(thread) // "id (name) state …"
			if err == nil && !bytes.Contains(stat, []byte(") T ")) {
				return "", false
			}
		}
		return "", len(threads) > 0
	})
}

// terminate sends SIGTERM and returns the exit code.
func (p *process) terminate() int {
	p.h.Helper()
	require.NoError(p.h, p.cmd.Process.Signal(syscall.SIGTERM))
	return p.wait()
}

func (p *process) wait() int {
	p.h.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		require.Fail(p.h, "the process does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// patience is how long eventually waits without progress. Machines under load are slow;
// tests that pass do not wait for it.
const patience = 60 * time.Second

// eventually polls until done. It fails when state has not changed for patience.
func (h *harness) eventually(what string, poll func() (state string, done bool)) {
	h.Helper()
	h.await(25*time.Millisecond, what, poll)
}

// await is eventually with an interval: short ones are for what must be met on its way.
func (h *harness) await(interval time.Duration, what string, poll func() (state string, done bool)) {
	h.Helper()
	last, moved := "", time.Now()
	for {
		state, done := poll()
		if done {
			return
		}
		if state != last {
			last, moved = state, time.Now()
		}
		require.Less(h, time.Since(moved), patience, "waiting until %s: stuck at %q", what, state)
		select {
		case <-time.After(interval):
		case <-h.Context().Done():
			require.NoError(h, h.Context().Err())
		}
	}
}

// produce writes the records in order and waits until they are acknowledged; each then
// has its offset. A record's partition is where it goes.
func (h *harness) produce(records ...*kgo.Record) {
	h.Helper()
	for chunk := range slices.Chunk(records, 10_000) {
		require.NoError(h, h.client.ProduceSync(h.Context(), chunk...).FirstErr())
	}
}

// read returns the committed records of a topic, in offset order within each partition.
func (h *harness) read(topic string) []schemas.Record {
	h.Helper()
	var out []schemas.Record
	h.each(topic, func(rec *schemas.Record) {
		r := *rec
		r.Key, r.Value, r.Headers = bytes.Clone(rec.Key), bytes.Clone(rec.Value), slices.Clone(rec.Headers)
		out = append(out, r)
	})
	return out
}

// each visits the same; rec is valid during the visit.
func (h *harness) each(topic string, visit func(rec *schemas.Record)) {
	h.Helper()
	require.NoError(h, h.reader.Read(h.Context(), topic, func(rec *schemas.Record) error {
		visit(rec)
		return nil
	}))
}

// value returns the value of one record.
func (h *harness) value(topic string, at place) (value []byte) {
	h.Helper()
	require.NoError(h, h.reader.FindRecord(h.Context(), topic, at.partition, at.offset, func(rec *schemas.Record) error {
		value = bytes.Clone(rec.Value)
		return nil
	}))
	return value
}

// end returns the sum of the end offsets of a topic: a measure of progress. It counts the
// control records that end transactions, and what open ones have written.
func (h *harness) end(topic string) int64 {
	h.Helper()
	ends, err := h.admin.ListEndOffsets(h.Context(), topic)
	require.NoError(h, err)
	var sum int64
	ends.Each(func(o kadm.ListedOffset) { sum += o.Offset })
	return sum
}

// lag returns what a group has not committed of the topics.
func (h *harness) lag(group string, topics ...string) int64 {
	h.Helper()
	lag, err := h.reader.Lag(h.Context(), group, topics...)
	require.NoError(h, err)
	return lag
}

// joined waits until a group is stable with one member that is not the one of before, and
// returns its id.
func (h *harness) joined(group, before string) (member string) {
	h.Helper()
	h.eventually("the group "+group+" is stable", func() (string, bool) {
		groups, err := h.admin.DescribeGroups(h.Context(), group)
		require.NoError(h, err)
		g := groups[group]
		if len(g.Members) == 1 {
			member = g.Members[0].MemberID
		}
		return g.State, g.State == "Stable" && len(g.Members) == 1 && member != before
	})
	return member
}

// ended waits until no transaction is open on what answers the requests. Kafka tells that
// one has ended before it has told the partitions.
func (h *harness) ended(requests ...string) {
	h.Helper()
	topics := []string{h.cfg.Topics.Observations, h.cfg.Topics.DeadLetters}
	for _, topic := range requests {
		if name, ok := h.cfg.Topics.ModelOf(topic); ok && slices.ContainsFunc(h.models, func(m catalogtest.Model) bool { return m.Name == name }) {
			topics = append(topics, h.cfg.Topics.ResultsOf(name))
		}
	}
	h.eventually("every transaction has ended", func() (string, bool) {
		ends, err := h.admin.ListEndOffsets(h.Context(), topics...)
		require.NoError(h, err)
		stable, err := h.admin.ListCommittedOffsets(h.Context(), topics...)
		require.NoError(h, err)
		open := 0
		ends.Each(func(end kadm.ListedOffset) {
			if at, _ := stable.Lookup(end.Topic, end.Partition); at.Offset < end.Offset {
				open++
			}
		})
		return strconv.Itoa(open), open == 0
	})
}

// settled waits until the workers have answered and the recorders stored everything.
func (h *harness) settled(requests ...string) {
	h.Helper()
	h.eventually("every request is answered", func() (string, bool) {
		lag := h.unread(h.cfg.Worker.Group, requests...)
		return strconv.FormatInt(lag, 10), lag == 0
	})
	h.ended(requests...)
	// A lag that counts the markers of transactions would never be 0.
	ends := map[string]map[int32]int64{}
	t := h.cfg.Topics
	for _, topic := range []string{t.Observations, t.DeadLetters, t.Feedback, t.Events} {
		ends[topic] = map[int32]int64{}
		h.each(topic, func(rec *schemas.Record) { ends[topic][rec.Partition] = rec.Offset + 1 })
	}
	h.eventually("everything is stored", func() (string, bool) {
		committed, err := h.admin.FetchOffsets(h.Context(), h.cfg.Recorder.Group)
		if errors.Is(err, kerr.GroupIDNotFound) {
			err = nil // it has not joined yet
		}
		require.NoError(h, err)
		var lag int64
		for topic, partitions := range ends {
			for partition, end := range partitions {
				at, _ := committed.Lookup(topic, partition)
				lag += max(0, end-at.At)
			}
		}
		return strconv.FormatInt(lag, 10), lag == 0
	})
}

// query asks ClickHouse over plain HTTP, as curl does.
func (h *harness) query(sql string) ([][]string, error) {
	req, err := http.NewRequestWithContext(h.Context(), http.MethodGet,
		"http://"+h.services.ClickHouse.Addr()+"/?query="+url.QueryEscape(sql+" FORMAT JSONCompactStrings"), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", sql, resp.Status, body)
	}
	var answer struct {
		Data [][]string `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("%s: %w in %s", sql, err, body)
	}
	return answer.Data, nil
}

// sql returns the rows of a query, every value as text.
func (h *harness) sql(sql string) [][]string {
	h.Helper()
	rows, err := h.query(sql)
	require.NoError(h, err)
	return rows
}

// sqlOne returns the one row of a query.
func (h *harness) sqlOne(sql string) []string {
	h.Helper()
	rows := h.sql(sql)
	require.Len(h, rows, 1, sql)
	return rows[0]
}

// count returns the one number of a query, 0 where the table does not exist yet.
func (h *harness) count(sql string) int {
	h.Helper()
	rows, err := h.query(sql)
	if err != nil && strings.Contains(err.Error(), "UNKNOWN_TABLE") || err != nil && strings.Contains(err.Error(), "UNKNOWN_DATABASE") {
		return 0
	}
	require.NoError(h, err)
	require.Len(h, rows, 1, sql)
	n, err := strconv.Atoi(rows[0][0])
	require.NoError(h, err, sql)
	return n
}

// requireRows checks that a table has so many rows, all at different places of Kafka.
func (h *harness) requireRows(table, prefix string, want int) {
	h.Helper()
	require.Equal(h, []string{strconv.Itoa(want), strconv.Itoa(want)},
		h.sqlOne(fmt.Sprintf("SELECT count(), uniqExact(%[1]s_topic_id, %[1]s_partition, %[1]s_offset) FROM millrace.%[2]s", prefix, table)), table)
}

// requireMinutes checks that the minute statistics of a model are equal to its rows, minute
// by minute and class by class.
func (h *harness) requireMinutes(model string) {
	h.Helper()
	require.Empty(h, h.sql(fmt.Sprintf(`SELECT version, variant, minute, sum(n) AS d, sum(f) AS e FROM (
    SELECT version, variant, toStartOfMinute(toDateTime(scored_at, 'UTC')) AS minute,
        toInt64(count()) AS n, toInt64(countIf(outcome = 'failed')) AS f
    FROM millrace.observations_%[1]s GROUP BY version, variant, minute
    UNION ALL
    SELECT version, variant, minute, -toInt64(requests), -toInt64(failed) FROM millrace.minute_statistics WHERE model = '%[1]s')
GROUP BY version, variant, minute HAVING d != 0 OR e != 0`, model)), "minutes in which statistics and rows differ")
	require.Equal(h,
		h.sql(fmt.Sprintf("SELECT toString(error_class) AS c, count() FROM millrace.observations_%s WHERE c != '' GROUP BY c ORDER BY c", model)),
		h.sql(fmt.Sprintf("SELECT kv.1 AS c, sum(kv.2) FROM millrace.minute_statistics ARRAY JOIN errors::Array(Tuple(String, UInt64)) AS kv WHERE model = '%s' GROUP BY c ORDER BY c", model)),
		"errors by class")
}

// headerOf returns the last header of that key, as text.
func headerOf(rec *schemas.Record, key string) string {
	v, _ := rec.Header(key)
	return string(v)
}

// place names a record within its topic.
type place struct {
	partition int32
	offset    int64
}

func (p place) String() string { return fmt.Sprintf("%d/%d", p.partition, p.offset) }

// get fetches a page of an HTTP server on loopback.
func (h *harness) get(address string) (status int, body string) {
	h.Helper()
	req, err := http.NewRequestWithContext(h.Context(), http.MethodGet, address, nil)
	require.NoError(h, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(h, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(h, err)
	return resp.StatusCode, string(text)
}

// webhook receives alerts. It refuses the first.
type webhook struct {
	*httptest.Server
	mu   sync.Mutex
	got  []string
	fail int
}

func newWebhook(tb testing.TB) *webhook {
	tb.Helper()
	w := &webhook{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil || w.fail == 0 {
			w.fail++
			http.Error(rw, "not now", http.StatusServiceUnavailable)
			return
		}
		w.got = append(w.got, string(body))
	}))
	tb.Cleanup(w.Close)
	return w
}

// bodies returns what was delivered.
func (w *webhook) bodies() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.got)
}

func (w *webhook) refused() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fail
}

// freeAddr returns a loopback address where nothing listens.
func freeAddr(tb testing.TB) string {
	tb.Helper()
	addr, _, err := supervisor.FreePort("127.0.0.1:0")
	require.NoError(tb, err)
	return addr
}

// seeded returns a random source. MILLRACE_TEST_SEED repeats a run.
func seeded(tb testing.TB) *rand.Rand {
	tb.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("MILLRACE_TEST_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(tb, err)
	}
	tb.Logf("MILLRACE_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
