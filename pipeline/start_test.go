package pipeline_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// deleteGroup removes a group with its offsets, as Kafka does when it has had no member for
// offsets.retention.minutes.
func (h *harness) deleteGroup(group string) {
	h.Helper()
	h.eventually("the group "+group+" is empty", func() (string, bool) {
		groups, err := h.admin.DescribeGroups(h.Context(), group)
		require.NoError(h, err)
		return groups[group].State, groups[group].State == "Empty" || groups[group].State == "Dead"
	})
	_, err := h.admin.DeleteGroups(h.Context(), group)
	require.NoError(h, err)
}

// refused starts a worker that must end by itself, and returns why.
func (h *harness) refused(set ...string) *consumers.StartError {
	h.Helper()
	r := h.run(pipeline.New(h.config(append(set, "roles=worker")...), h.log))
	err := <-r.ended
	r.ended <- nil
	var refusal *consumers.StartError
	require.ErrorAs(h, err, &refusal)
	return refusal
}

// answers returns how often each request was answered, by result or dead letter, by place.
func (h *harness) answers(of string) map[string]int {
	h.Helper()
	n := map[string]int{}
	if slices.ContainsFunc(h.models, func(m catalogtest.Model) bool { return m.Name == of }) {
		h.each(h.cfg.Topics.ResultsOf(of), func(rec *schemas.Record) {
			var r result
			require.NoError(h, json.Unmarshal(rec.Value, &r))
			n[r.RequestID]++
		})
	}
	h.each(h.cfg.Topics.DeadLetters, func(rec *schemas.Record) {
		if headerOf(rec, schemas.HeaderTopic) == h.cfg.Topics.RequestsOf(of) {
			n[headerOf(rec, schemas.HeaderTopicID)+"/"+headerOf(rec, schemas.HeaderPartition)+"/"+headerOf(rec, schemas.HeaderOffset)]++
		}
	})
	return n
}

// requireEachOnce waits until a group has answered all requests of models, and checks that each
// has been answered once.
func (h *harness) requireEachOnce(group string, want map[string]int) {
	h.Helper()
	for model, n := range want {
		requests := h.cfg.Topics.RequestsOf(model)
		h.eventually("the requests of "+model+" are answered", func() (string, bool) {
			lag := h.lag(group, requests)
			return strconv.FormatInt(lag, 10), lag == 0
		})
		h.ended(requests)
		got := h.answers(model)
		require.Len(h, got, n, model)
		for id, times := range got {
			require.Equal(h, 1, times, "answers to %s of %s", id, model)
		}
	}
}

// A workers' group that is deleted, renamed, or has been away for so long that Kafka has dropped
// its offsets, answers nothing again: it does not start until it is told where to, and
// worker.start=answered goes on behind what was answered. What was never answered, it answers
// without asking.
func TestWorkerGroupWithoutOffsetsRefusesToAnswerAgain(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares, catalogtest.Prices, catalogtest.Ratios}, fastRestart)
	topics := h.cfg.Topics
	nobody := topics.RequestsOf("nobody")
	_, err := h.admin.CreateTopic(t.Context(), 3, -1, nil, nobody)
	require.NoError(t, err)
	send := func(model string, n int, value func(i int) string) {
		records := make([]*kgo.Record, n)
		for i := range records {
			records[i] = &kgo.Record{Topic: topics.RequestsOf(model), Partition: int32(i % 3), Value: []byte(value(i))}
		}
		h.produce(records...)
	}
	good := func(i int) string {
		return string(catalogtest.Fare{At: catalogtest.Epoch, Price: float64(i % 1000), Count: 1, Carrier: "AA"}.JSON())
	}
	mixed := func(i int) string { // whose last are dead letters, so that observations alone do not tell the end
		if i%10 == 3 || i > 290 {
			return "{"
		}
		return good(i)
	}
	price := func(i int) string { return fmt.Sprintf(`{"index":%d}`, i%3) }
	want := map[string]int{"fares": 300, "nobody": 30}

	// A new installation finds what was sent before it.
	send("fares", 300, mixed)
	send("nobody", 30, price)
	r := h.start("worker")
	h.requireEachOnce(h.cfg.Worker.Group, want)
	r.drain()

	h.deleteGroup(h.cfg.Worker.Group)
	send("prices", 30, price) // a model that was never asked; ratios has nothing at all
	want["prices"] = 30
	refusal := h.refused()
	require.Equal(t, h.cfg.Worker.Group, refusal.Group)
	for _, text := range []string{"worker.start=answered`", "worker.start=earliest`", "worker.start=latest`", "worker.group"} {
		require.Contains(t, refusal.Error(), text)
	}
	require.NotContains(t, refusal.Error(), topics.RequestsOf("prices"))
	require.Len(t, h.answers("fares"), 300, "nothing was answered again")

	// What the message says, word for word.
	_, command, ok := strings.Cut(refusal.Error(), "`--set ")
	require.True(t, ok)
	command, _, _ = strings.Cut(command, "`")
	send("fares", 30, good)
	want["fares"] = 330
	r = h.start("worker", command)
	h.requireEachOnce(h.cfg.Worker.Group, want)
	r.drain()

	// It is said once: a restart asks nothing, though nothing more was answered meanwhile.
	r = h.start("worker")
	send("fares", 30, good)
	want["fares"] = 360
	h.requireEachOnce(h.cfg.Worker.Group, want)
	r.drain()

	// A renamed group, at least once.
	renamed := "worker.group=renamed"
	require.Contains(t, h.refused(renamed, "worker.delivery=at_least_once").Error(), "renamed")
	send("fares", 30, good)
	want["fares"] = 390
	r = h.start("worker", renamed, "worker.delivery=at_least_once", "worker.start=answered")
	h.requireEachOnce("renamed", want)
	r.drain()

	// An operator's commits are obeyed.
	offsets := kadm.Offsets{}
	ends, err := h.admin.ListEndOffsets(t.Context(), topics.RequestsOf("fares"), topics.RequestsOf("prices"), topics.RequestsOf("ratios"), nobody)
	require.NoError(t, err)
	ends.Each(func(o kadm.ListedOffset) { offsets.AddOffset(o.Topic, o.Partition, o.Offset, -1) })
	committed, err := h.admin.CommitOffsets(t.Context(), "moved", offsets)
	require.NoError(t, err)
	require.NoError(t, committed.Error())
	r = h.start("worker", "worker.group=moved")
	send("fares", 30, good)
	want["fares"] = 420
	h.requireEachOnce("moved", want)
	r.drain()
}

// A requests topic that was made again is a new one: nothing of it was answered.
func TestRequestsTopicMadeAgainIsAnsweredFromItsStart(t *testing.T) {
	h := newHarness(t, []catalogtest.Model{catalogtest.Prices}, fastRestart, "topics.spread=2")
	requests := h.cfg.Topics.RequestsOf("prices")
	send := func(n int) {
		records := make([]*kgo.Record, n)
		for i := range records {
			records[i] = &kgo.Record{Topic: requests, Partition: int32(i % 3), Value: fmt.Appendf(nil, `{"index":%d}`, i%3)}
		}
		h.produce(records...)
	}
	send(30)
	r := h.start("worker")
	h.requireEachOnce(h.cfg.Worker.Group, map[string]int{"prices": 30})
	r.drain()
	_, err := h.admin.DeleteTopics(t.Context(), requests)
	require.NoError(t, err)
	h.deleteGroup(h.cfg.Worker.Group)
	h.eventually("the topic is made again", func() (string, bool) {
		done, err := operate.ApplyTopics(t.Context(), h.cfg)
		return fmt.Sprint(err), err == nil && len(done) > 0
	})
	h.client.PurgeTopicsFromClient(requests)
	send(60)
	r = h.start("worker")
	h.requireEachOnce(h.cfg.Worker.Group, map[string]int{"prices": 90})
	r.drain()

	// Where observations are gone as well, what was answered cannot be told.
	h.deleteGroup(h.cfg.Worker.Group)
	deleted, err := h.admin.DeleteTopics(t.Context(), h.cfg.Topics.Observations)
	require.NoError(t, err)
	require.NoError(t, deleted.Error())
	h.eventually("the observations are made again", func() (string, bool) {
		done, err := operate.ApplyTopics(t.Context(), h.cfg)
		return fmt.Sprint(err), err == nil && len(done) > 0
	})
	require.Contains(t, h.refused().Error(), "cannot be told")
	refusal := h.refused("worker.start=answered").Error()
	require.Contains(t, refusal, "cannot be told")
	require.NotContains(t, refusal, "`--set worker.start=answered`")
}
