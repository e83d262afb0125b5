package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/supervisor"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	sink "github.com/millrace/millrace/sinks/kafka"
)

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, name)
	return n
}

// testSeed makes a short plan of many kinds out of 10 faults: see TestSeedIsShort.
const testSeed = 20956

// testOptions are a short run's, of 10 faults or MILLRACE_TEST_CHAOS, with the embedded Kafka
// or those brokers that MILLRACE_TEST_KAFKA asks for. MILLRACE_TEST_SEED makes another plan;
// make chaos makes a new one each time.
func testOptions(t *testing.T) Options {
	t.Helper()
	o := DefaultOptions()
	brokers, err := kafkatest.Asked()
	require.NoError(t, err)
	if brokers > 0 {
		o.Kafka, o.Brokers = RealKafka, brokers
	}
	o.TLS = brokers == 1 // Apache Kafka alone: the others take plain text
	o.Faults = int(number(t, "MILLRACE_TEST_CHAOS", 10))
	o.Seed = number(t, "MILLRACE_TEST_SEED", testSeed)
	o.Requests = 1500 * (1 + o.Faults)
	o.Outage, o.Incidents = 0, 0
	o.Graph = filepath.Join("..", "..", "inference", "onnx", "testdata", "linear.onnx")
	o.Dir = t.TempDir()
	b := &o.Bounds // the race detector takes memory of its own
	b.WorkerRSS, b.RecorderRSS, b.RSS = 8*b.WorkerRSS, 8*b.RecorderRSS, 8*b.RSS
	t.Logf("MILLRACE_TEST_SEED=%d", o.Seed)
	return o
}

// TestRun does a few faults, and finds nothing wrong. Then it does what must not happen,
// and finds just that.
func TestRun(t *testing.T) {
	var logs bytes.Buffer
	o := testOptions(t)
	r, err := newRun(o, zerolog.New(zerolog.SyncWriter(&logs)))
	require.NoError(t, err)
	ctx := t.Context()
	require.NoError(t, r.start(ctx))
	defer func() {
		require.NoError(t, r.close())
		if t.Failed() {
			for _, f := range r.plan.Faults {
				t.Log(f)
			}
			t.Log(logs.String())
		}
	}()
	steps := r.steps()
	last := len(steps) - 1
	for i, step := range steps {
		if i == last {
			for name, p := range r.cluster.roles {
				require.Nil(t, p.current(), "%s still runs when it is judged what there is", name)
			}
		}
		require.NoError(t, step.do(ctx), step.what)
	}
	s := r.summary()
	require.Empty(t, s.Findings)
	bad := o.Requests / badEvery
	require.Equal(t, []int{o.Requests, o.Requests - bad, o.Requests - bad, bad, 0, 0, 0, 0, o.Faults},
		[]int{s.Requests, s.Results, s.Observations, s.DeadLetters, s.Duplicates, s.Lost, s.Reordered, s.Wrong, s.Faults})
	require.Positive(t, s.WorkerPeakRSS)
	require.Positive(t, s.RecorderPeakRSS)
	require.Positive(t, s.Effective)
	require.LessOrEqual(t, s.Effective, s.Faults)
	require.Len(t, s.Rest, 2, "a worker and a recorder live through it")
	for name, rest := range s.Rest {
		for i := range 2 {
			require.True(t, rest.Goroutines[i] > 0 && rest.Files[i] > 0 && rest.Heap[i] > 0 && rest.RSS[i] > 0, "%s: %v", name, rest)
		}
	}

	// Where no group waits for dead members, that nothing moves is ours.
	groups := r.cluster.cfg
	r.cluster.cfg.Worker.Group, r.cluster.cfg.Recorder.Group = "nobody", "nobody"
	admin, err := consumers.NewAdmin(r.cluster.cfg.Kafka.Connection())
	require.NoError(t, err)
	defer admin.Close()
	r.findings = nil
	for _, role := range []string{"worker", "recorder", ""} {
		require.NoError(t, r.unstick(ctx, admin, role, "7 requests are not answered"))
	}
	require.Len(t, r.findings, 3, "%v", r.findings)
	require.Contains(t, r.findings[0].What, "nothing moved for 30s: 7 requests are not answered, and the broker is not why")
	require.Equal(t, s.Unstuck, r.unstuck)
	r.cluster.cfg = groups

	r.doctor(t)
	r.findings = nil
	require.NoError(t, steps[last].do(ctx)) // after the end: what was stored late is seen
	var tells []string
	for _, f := range r.findings {
		kind, _, _ := strings.Cut(f.What, ":")
		tells = append(tells, kind)
	}
	require.Subset(t, tells, []string{"second result", "reordered result", "second row", "lost dead letter's row", "wrong minute", "wrong key of result", "wrong headers of result"}, "%v", r.summary().Findings)
	require.Equal(t, []int{2, 1, 1}, []int{r.tally.Duplicates, r.tally.Lost, r.tally.Reordered}, "%v", r.summary().Findings)

	var report bytes.Buffer
	r.findings = []Finding{{"first", r.began}, {"second", r.began}, {"third", time.Time{}}}
	r.tell(&report)
	require.Regexp(t, `^NOT AS IT MUST BE: first\nNOT AS IT MUST BE: second\n    .* `+string(r.plan.Faults[0].Kind)+` (.*\n)*NOT AS IT MUST BE: third\n$`, report.String())
}

// doctor answers the first request again, under no key and without a header, stores a row again, counts it a third time, and
// deletes the row of a dead letter.
func (r *run) doctor(t *testing.T) {
	t.Helper()
	ctx, cfg := context.Background(), r.cluster.cfg
	admin, err := consumers.NewAdmin(cfg.Kafka.Connection())
	require.NoError(t, err)
	defer admin.Close()
	var again schemas.Message
	require.NoError(t, admin.Read(ctx, cfg.Topics.ResultsOf(model), func(rec *schemas.Record) error {
		if id, _ := rec.Header(schemas.HeaderRequestID); string(id) == idOf(0) {
			again = schemas.Message{Topic: rec.Topic, Partition: rec.Partition, Value: bytes.Clone(rec.Value), Headers: []schemas.Header{{Key: schemas.HeaderRequestID, Value: bytes.Clone(id)}}}
		}
		return nil
	}))
	p, err := sink.NewProducer(cfg.Kafka.Connection().Dial, 1, cfg.Topics.MaxBytes)
	require.NoError(t, err)
	defer p.Close()
	require.NoError(t, p.Send(ctx, again))

	db, err := clickhouse.Open(clickhouse.Options{Addr: cfg.ClickHouse.Addr, Storage: cfg.Storage()})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for _, statement := range []string{
		"INSERT INTO millrace.observations_linear SELECT * FROM millrace.observations_linear WHERE request_id = '" + idOf(0) + "'",
		"INSERT INTO millrace.minute_states SELECT * FROM millrace.minute_states LIMIT 1",
		fmt.Sprintf("ALTER TABLE millrace.dead_letters DELETE WHERE headers['request-id'] = '%s' SETTINGS mutations_sync = 1", idOf(badEvery/2)),
	} {
		require.NoError(t, db.Exec(ctx, statement), statement)
	}
}

// TestSeedIsShort: the run is part of make test.
func TestSeedIsShort(t *testing.T) {
	p := NewPlan(testSeed, 10, usual, 0)
	require.Less(t, p.Length, 25*time.Second)
	var done strings.Builder
	for _, f := range p.Faults {
		fmt.Fprintln(&done, f.Kind, f.key())
	}
	for _, fault := range []string{"kill worker", "kill recorder", "kill clickhouse", "freeze worker", "terminate kafka", "join worker", "cut recorder", "mute recorder", "late worker"} {
		require.Contains(t, done.String(), fault)
	}
}

func TestGhosts(t *testing.T) {
	alive := map[string]int{"worker-0": 2, "worker-1": 2}
	require.Empty(t, ghosts(map[string]int{"worker-0": 2, "worker-1": 1}, alive), "a member is missing, none is dead")
	require.Equal(t, []string{"1 of worker-1", "2 of worker-x"}, ghosts(map[string]int{"worker-0": 2, "worker-1": 3, "worker-x": 2}, alive))
}

// TestExcused: which ends of a process that was asked to drain are no finding.
func TestExcused(t *testing.T) {
	drained := pipeline.ErrDrainTimeout.Error()
	for name, tc := range map[string]struct {
		script string
		killed bool
		want   bool
	}{
		"drain timeout":                    {"echo " + drained + "; exit 1", false, true},
		"another failure":                  {"echo no such model; exit 1", false, false},
		"panic":                            {"echo panic; exit 2", false, false},
		"panic at a drain timeout":         {"echo " + drained + "; exit 2", false, false},
		"killed by us":                     {"kill -KILL $$", true, true},
		"killed, and not by us":            {"kill -KILL $$", false, false},
		"a signal of its own":              {"kill -SEGV $$", true, false},
		"a signal, at a drain timeout too": {"echo " + drained + "; kill -ABRT $$", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			said, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", tc.script).Output()
			require.Error(t, err)
			require.Equal(t, tc.want, excused(fmt.Errorf("stop it: %w; it last wrote: %s", err, said), tc.killed))
		})
	}
	require.False(t, excused(fmt.Errorf("terminate it: %w", errNotRunning), true))
}

// TestDrain: a crash on the way to an orderly end is a finding.
func TestDrain(t *testing.T) {
	c := &cluster{log: zerolog.Nop()}
	addr, _, err := supervisor.FreePort("127.0.0.1:0")
	require.NoError(t, err)
	p, err := newProcess(t.TempDir(), "worker-1", true, childRole, "roles=worker", "http.addr="+addr, "http.pprof=true", "kafka.brokers=127.0.0.1:1", "models.repository="+t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	require.NoError(t, p.Start(t.Context()))
	require.NoError(t, p.Signal(syscall.SIGQUIT)) // it ends as of a panic
	require.Eventually(t, p.Ended, 20*time.Second, time.Millisecond)
	c.drain(t.Context(), p)
	require.Len(t, c.Findings(), 1)
	require.Contains(t, c.Findings()[0].What, "worker-1 ended, but not in order")
	require.Contains(t, c.Findings()[0].What, "exit status 2")
}

// TestEffect: a fault that nobody has felt does not count.
func TestEffect(t *testing.T) {
	addr, _ := echoServer(t)
	p, err := newProxy(addr, nil)
	require.NoError(t, err)
	defer p.Close()
	c := &cluster{log: zerolog.Nop(), busy: map[string]*sync.Mutex{}, proxies: map[string]*proxy{"recorder-0": p}}
	fault := func(kind Kind, while func()) int {
		before := c.Effective()
		ctx, undo := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { // ends with ctx
			done <- c.Do(ctx, Fault{Kind: kind, Target: "recorder-0", Service: clickHouse, For: time.Minute, Latency: time.Millisecond})
		}()
		require.Eventually(t, func() bool { f, _ := p.gate(everyone).state(); return f.Kind == kind }, 10*time.Second, time.Millisecond)
		while()
		undo()
		require.NoError(t, <-done)
		return c.Effective() - before
	}
	kinds := []Kind{Cut, BlackHole, Mute, Delay, HalfClose}
	for _, kind := range kinds {
		require.Zero(t, fault(kind, func() {}), "%s of nobody", kind)
	}
	for _, kind := range kinds {
		conn := dial(t, p, "there")
		receive(t, conn, "there")
		require.Equal(t, 1, fault(kind, func() {
			_, _ = conn.Write([]byte("back")) // or it is reset already
			require.Eventually(t, p.gate(everyone).Felt, 10*time.Second, time.Millisecond)
		}), "%s", kind)
	}
}

func TestOptions(t *testing.T) {
	require.NoError(t, DefaultOptions().Validate())
	o := Options{Seed: 7, Faults: -1, Incidents: -2, Kafka: "redpanda", Brokers: 2, Outage: -time.Second, Only: []Kind{"flood", "again:flood"}}
	for _, want := range []string{"--requests", "--workers", "--recorders", "--faults", "--incidents", "--kafka", "--brokers", "--outage", "--only"} {
		require.ErrorContains(t, o.Validate(), want)
	}
	_, err := Run(t.Context(), o, zerolog.Nop(), nil)
	require.ErrorContains(t, err, "--kafka")
	o = DefaultOptions()
	o.Seed, o.Only = 7, []Kind{Late, Kill, "again:results"}
	require.NoError(t, o.Validate())
	require.Equal(t, `make chaos ARGS="--seed 7 --faults 50 --incidents -1 --requests 300000 --kafka embedded --brokers 1 --workers 3 --recorders 2 --outage 1m0s --only late,kill,again:results"`, o.Command())
}
