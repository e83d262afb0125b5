package chaos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/kafkatest"
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

// testOptions are a short run's of MILLRACE_TEST_CHAOS faults; without it there is none with
// the embedded Kafka, and one of 10 faults with those that MILLRACE_TEST_KAFKA asks for.
// MILLRACE_TEST_SEED repeats a run.
func testOptions(t *testing.T) Options {
	t.Helper()
	o := DefaultOptions()
	brokers, err := kafkatest.Asked()
	require.NoError(t, err)
	usual := uint64(0)
	if brokers > 0 {
		o.Kafka, o.Brokers, usual = RealKafka, brokers, 10
	}
	o.Faults = int(number(t, "MILLRACE_TEST_CHAOS", usual))
	if o.Faults == 0 {
		t.Skip("MILLRACE_TEST_CHAOS is not set")
	}
	o.Seed = number(t, "MILLRACE_TEST_SEED", uint64(time.Now().UnixNano())>>16&0xffffffff)
	o.Requests = 1500 * (1 + o.Faults)
	o.Outage = 0
	o.Graph = filepath.Join("..", "..", "inference", "onnx", "testdata", "linear.onnx")
	o.Dir = t.TempDir()
	o.Bounds.WorkerRSS, o.Bounds.RecorderRSS = 8*o.Bounds.WorkerRSS, 8*o.Bounds.RecorderRSS // of the race detector
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
	require.NoError(t, r.play(ctx))
	require.NoError(t, r.settle(ctx))
	require.NoError(t, r.verify(ctx))
	s := r.summary()
	require.Empty(t, s.Findings)
	bad := o.Requests / badEvery
	require.Equal(t, []int{o.Requests, o.Requests - bad, o.Requests - bad, bad, 0, 0, 0, 0, o.Faults},
		[]int{s.Requests, s.Results, s.Observations, s.DeadLetters, s.Duplicates, s.Lost, s.Reordered, s.Wrong, s.Faults})
	require.Positive(t, s.WorkerPeakRSS)
	require.Positive(t, s.RecorderPeakRSS)
	require.NoError(t, r.cluster.Terminate(ctx))

	r.doctor(t)
	r.findings = nil
	require.NoError(t, r.verify(ctx))
	var tells []string
	for _, f := range r.findings {
		kind, _, _ := strings.Cut(f.What, ":")
		tells = append(tells, kind)
	}
	require.Subset(t, tells, []string{"second result", "reordered result", "second row", "lost dead letter's row", "wrong minute"}, "%v", r.summary().Findings)
	require.Equal(t, []int{2, 1, 1}, []int{r.verdict.Duplicates, r.verdict.Lost, r.verdict.Reordered}, "%v", r.summary().Findings)

	var report bytes.Buffer
	r.findings = []Finding{{"first", r.began}, {"second", r.began}, {"third", time.Time{}}}
	r.tell(&report)
	require.Regexp(t, `^NOT AS IT MUST BE: first\nNOT AS IT MUST BE: second\n    .* `+string(r.plan.Faults[0].Kind)+` (.*\n)*NOT AS IT MUST BE: third\n$`, report.String())
}

// doctor answers the first request again, stores a row again, counts it a third time, and
// deletes the row of a dead letter.
func (r *run) doctor(t *testing.T) {
	t.Helper()
	ctx, cfg := context.Background(), r.cluster.cfg
	admin, err := consumers.NewAdmin(consumers.Connection{Brokers: cfg.Kafka.Brokers, ClientID: "doctor"})
	require.NoError(t, err)
	defer admin.Close()
	var again schemas.Message
	require.NoError(t, admin.Read(ctx, cfg.Topics.ResultsOf(model), func(rec *schemas.Record) error {
		if id, _ := rec.Header(schemas.HeaderRequestID); string(id) == idOf(0) {
			again = schemas.Message{Topic: rec.Topic, Partition: rec.Partition, Value: bytes.Clone(rec.Value), Headers: []schemas.Header{{Key: schemas.HeaderRequestID, Value: bytes.Clone(id)}}}
		}
		return nil
	}))
	p, err := sink.NewProducer(cfg.Kafka.Brokers, "doctor", 1, cfg.Topics.MaxBytes)
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

func TestOptions(t *testing.T) {
	require.NoError(t, DefaultOptions().Validate())
	o := Options{Seed: 7, Faults: -1, Kafka: "redpanda", Brokers: 2, Outage: -time.Second, Only: []Kind{"flood"}}
	for _, want := range []string{"--requests", "--workers", "--recorders", "--faults", "--kafka", "--brokers", "--outage", "--only"} {
		require.ErrorContains(t, o.Validate(), want)
	}
	_, err := Run(t.Context(), o, zerolog.Nop(), nil)
	require.ErrorContains(t, err, "--kafka")
	o = DefaultOptions()
	o.Seed, o.Only = 7, []Kind{Late, Kill}
	require.NoError(t, o.Validate())
	require.Equal(t, `make chaos ARGS="--seed 7 --faults 50 --requests 300000 --kafka embedded --brokers 1 --workers 3 --recorders 2 --outage 1m0s --only late --only kill"`, o.Command())
}
