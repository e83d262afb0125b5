package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// TestARoleThatFailsLeavesTheOthers: one that fails at its work is stopped, and the others go
// on, until they are asked to end or none is left. What failed is named at the end.
func TestARoleThatFailsLeavesTheOthers(t *testing.T) {
	t.Parallel()
	errLost := errors.New("a range was lost")
	for name, tc := range map[string]struct {
		set   bool // up, before it fails
		both  bool // fail
		after time.Duration
		want  string
	}{
		"at its work":        {set: true, after: time.Hour, want: "recorder: a range was lost"},
		"both at their work": {set: true, both: true, after: 2 * time.Minute, want: "recorder: a range was lost\nworker: a range was lost"},
		"before it began":    {after: time.Minute, want: "recorder: a range was lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := config.Default()
				cfg.HTTP.Addr, cfg.Roles = "", []config.Role{config.RoleWorker, config.RoleRecorder}
				ctx, stop := context.WithTimeout(t.Context(), time.Hour)
				defer stop()
				app := pipeline.New(cfg, zerolog.Nop())
				finished := false
				began := time.Now()
				err := app.RunRoles(ctx, map[config.Role]func(soft, hard context.Context) error{
					config.RoleWorker: func(soft, hard context.Context) error {
						app.Began(config.RoleWorker)
						if tc.both {
							time.Sleep(2 * time.Minute)
							return errLost
						}
						<-soft.Done()
						time.Sleep(time.Second) // what it has in hand
						finished = hard.Err() == nil
						return nil
					},
					config.RoleRecorder: func(context.Context, context.Context) error {
						if tc.set {
							app.Began(config.RoleRecorder)
						}
						time.Sleep(time.Minute)
						return errLost
					},
				})
				require.EqualError(t, err, tc.want)
				require.ErrorIs(t, err, errLost)
				require.Equal(t, tc.after, time.Since(began).Truncate(time.Minute))
				require.Equal(t, tc.set && !tc.both, finished, "what the other role had in hand")
				require.False(t, app.Ready())
			})
		})
	}
}

// bomb produces a record batch that inflates to 136 MiB, of 17 records.
func (h *harness) bomb(topic string, partition int32) {
	h.Helper()
	operator, err := kafkatest.NewOperator(h.cfg.Kafka.Brokers)
	require.NoError(h, err)
	defer operator.Close()
	_, err = operator.Bomb(h.Context(), topic, partition)
	require.NoError(h, err)
}

// TestUnreadableBatchesLeaveEverythingElse: by default they stop their partitions of the worker
// and the recorder, in one process, and nothing else. Allowed to, both go on behind them, and
// what was set aside is a dead letter of the requests, and a row of dead_letters of the rest.
func TestUnreadableBatchesLeaveEverythingElse(t *testing.T) {
	parallel(t)
	addr := freeAddr(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares, catalogtest.Prices}, "http.addr="+addr, "worker.deduplicate.window=10m")
	requests, feedback := h.cfg.Topics.RequestsOf("fares"), h.cfg.Topics.Feedback
	request := func(partition int32) *kgo.Record {
		return &kgo.Record{Topic: requests, Partition: partition, Value: catalogtest.Fare{At: catalogtest.Epoch, Price: 1, Count: 1, Carrier: "AA"}.JSON()}
	}
	price := &kgo.Record{Topic: h.cfg.Topics.RequestsOf("prices"), Partition: 0, Value: []byte(`{"index":1}`)}
	label := func(partition int32) *kgo.Record {
		return &kgo.Record{Topic: feedback, Partition: partition, Value: feedbackOf("fares", fmt.Sprint("r", partition), 1)}
	}
	h.produce(request(0), label(0))
	h.bomb(requests, 0)
	h.bomb(feedback, 0)
	h.produce(request(0), label(0), request(1), label(1), price)

	r := h.run(pipeline.New(h.config("roles=worker,recorder"), h.log))
	h.eventually("the other partitions are answered and stored", func() (string, bool) {
		n := h.count("SELECT count() FROM millrace.observations_fares") + h.count("SELECT count() FROM millrace.observations_prices") + h.count("SELECT count() FROM millrace.feedback")
		return strconv.Itoa(n), n == 5
	})
	h.eventually("it is said which partitions stand still", func() (string, bool) {
		status, body := h.get("http://" + addr + "/readyz")
		return body, status == 503 && strings.Contains(body, "topic "+requests+" partition 0: the record batch at offset 1 cannot be read: it inflates to more than 128 MiB") &&
			strings.Contains(body, "topic "+feedback+" partition 0: the record batch at offset 1 cannot be read")
	})
	h.produce(request(1), label(1), price)
	h.eventually("the others go on", func() (string, bool) {
		n := h.count("SELECT count() FROM millrace.observations_fares") + h.count("SELECT count() FROM millrace.observations_prices") + h.count("SELECT count() FROM millrace.feedback")
		return strconv.Itoa(n), n == 8
	})
	_, metrics := h.get("http://" + addr + "/metrics")
	require.Contains(t, metrics, `millrace_role_up{role="worker"} 1`)
	require.Contains(t, metrics, `millrace_role_up{role="recorder"} 1`)
	r.stop()
	err := <-r.ended
	r.ended <- nil // drain has nothing left to wait for
	require.ErrorContains(t, err, "worker: group "+h.cfg.Worker.Group+": topic "+requests+" partition 0: the record batch at offset 1 cannot be read")
	require.ErrorContains(t, err, "recorder: group "+h.cfg.Recorder.Group+": topic "+feedback+" partition 0: the record batch at offset 1 cannot be read")
	for group, topic := range map[string]string{h.cfg.Worker.Group: requests, h.cfg.Recorder.Group: feedback} {
		offsets, err := h.admin.FetchOffsets(t.Context(), group)
		require.NoError(t, err)
		at, _ := offsets.Lookup(topic, 0)
		require.EqualValues(t, 1, at.At, "nothing is committed behind it")
	}

	again := h.start("worker,recorder", "consumers.unreadable=skip")
	h.answered(requests)
	h.eventually("all of it is stored", func() (string, bool) {
		n := h.count("SELECT count() FROM millrace.observations_fares") + h.count("SELECT count() FROM millrace.feedback") + h.count("SELECT count() FROM millrace.dead_letters")
		return strconv.Itoa(n), n == 4+4+2
	})
	h.requireRows("observations_fares", "request", 4)
	h.requireRows("observations_prices", "request", 2)
	h.requireRows("feedback", "feedback", 4)
	topics, err := h.admin.ListTopics(t.Context(), requests, feedback)
	require.NoError(t, err)
	id := func(topic string) string { return fmt.Sprintf("%x", [16]byte(topics[topic].ID)) }
	require.ElementsMatch(t, [][]string{
		{"unreadable_batch", "fares", requests, id(requests), "0", "1", "17", "the record batch of the offsets 1 to 17 cannot be read: it inflates to more than 128 MiB"},
		{"unreadable_batch", "", feedback, id(feedback), "0", "1", "17", "the record batch of the offsets 1 to 17 cannot be read: it inflates to more than 128 MiB"},
	}, h.sql("SELECT error_class, model, topic, replaceAll(toString(request_topic_id), '-', ''), request_partition, request_offset, headers['millrace-last-offset'], reason FROM millrace.dead_letters"))
	_, metrics = h.get("http://" + addr + "/metrics")
	require.Contains(t, metrics, `millrace_dead_letters_total{error_class="unreadable_batch",model="fares"} 1`)
	again.drain()

	// What stands for a batch holds nothing that could be sent again.
	letters := h.read(h.cfg.Topics.DeadLetters)
	require.Len(t, letters, 1)
	require.Equal(t, "17", headerOf(&letters[0], schemas.HeaderLastOffset))
	n, err := operate.ReplayDeadLetters(t.Context(), h.cfg, operate.LetterFilter{})
	require.ErrorContains(t, err, "nothing of its request could be read, so that there is nothing to send")
	require.Zero(t, n)
	var list bytes.Buffer
	require.NoError(t, operate.ListDeadLetters(t.Context(), h.cfg, operate.LetterFilter{}, &list))
	require.Contains(t, list.String(), "\tunreadable_batch\t0/1\t"+requests)

	// Nor is it a difference.
	h.requireEqual()
}

// answered waits until the workers have answered every request of a topic.
func (h *harness) answered(requests string) {
	h.Helper()
	h.eventually("every request is answered", func() (string, bool) {
		lag := h.lag(h.cfg.Worker.Group, requests)
		return strconv.FormatInt(lag, 10), lag == 0
	})
	h.ended(requests)
}

// TestALostRangeOfTheRecorderLeavesTheWorker: the recorder's partition stands still and is
// named, the worker of the process goes on. Set to where the log begins, the recorder goes on.
func TestALostRangeOfTheRecorderLeavesTheWorker(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Prices})
	price := &kgo.Record{Topic: h.cfg.Topics.RequestsOf("prices"), Partition: 0, Value: []byte(`{"index":1}`)}
	r := h.start("worker,recorder")
	h.produce(price)
	h.settled(price.Topic)
	r.drain()

	w := h.start("worker") // whose observations are gone before they are recorded
	for range 3 {
		h.produce(price)
		h.answered(price.Topic)
	}
	w.drain()
	observations := h.cfg.Topics.Observations
	ends, err := h.admin.ListEndOffsets(t.Context(), observations)
	require.NoError(t, err)
	end, _ := ends.Lookup(observations, 0)
	gone := kadm.Offsets{}
	gone.AddOffset(observations, 0, end.Offset-1, -1)
	_, err = h.admin.DeleteRecords(t.Context(), gone)
	require.NoError(t, err)

	both := h.run(pipeline.New(h.config("roles=worker,recorder"), h.log))
	h.eventually("it is said", func() (string, bool) {
		return "", strings.Contains(h.logs.all(), "this partition is stopped; the others go on")
	})
	before := both.app.Done.Answered.Load()
	h.produce(price)
	h.answered(price.Topic)
	h.produce(&kgo.Record{Topic: h.cfg.Topics.Feedback, Partition: 0, Value: feedbackOf("prices", "r", 1)})
	h.eventually("the recorder's other topics are stored", func() (string, bool) { return "", h.count("SELECT count() FROM millrace.feedback") == 1 })
	require.Equal(t, before+1, both.app.Done.Answered.Load())
	require.False(t, both.app.Ready())
	both.stop()
	err = <-both.ended
	both.ended <- nil // drain has nothing left to wait for
	require.ErrorContains(t, err, "recorder: group "+h.cfg.Recorder.Group+": topic "+observations+" partition 0: offset ")
	require.ErrorContains(t, err, "records were lost")

	behind := kadm.Offsets{}
	behind.AddOffset(observations, 0, end.Offset-1, -1)
	require.NoError(t, h.admin.CommitAllOffsets(t.Context(), h.cfg.Recorder.Group, behind))
	h.start("worker,recorder")
	h.settled(price.Topic)
	h.requireRows("observations_prices", "request", 2)
}
