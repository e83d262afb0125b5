package pipeline_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// TestResultsNeedTheirRequestsPartitions: a model is not served while a result could not
// go to its request's partition number; what to do is said, and what waited is answered then.
func TestResultsNeedTheirRequestsPartitions(t *testing.T) {
	h := newHarness(t, []catalogtest.Model{catalogtest.Ratios})
	requests, results := h.cfg.Topics.RequestsOf("ratios"), h.cfg.Topics.ResultsOf("ratios")
	_, err := h.admin.UpdatePartitions(t.Context(), 5, requests)
	require.NoError(t, err)
	worker := h.run(pipeline.New(h.config("roles=worker"), h.log))
	h.eventually("the topic is named", func() (string, bool) {
		return "", strings.Contains(h.logs.all(), "topic "+results+" has 3 partitions and "+requests+
			" has 5: results take their request's partition number; `millrace topics apply` adds them")
	})
	require.False(t, worker.app.Ready())
	h.produce(&kgo.Record{Topic: requests, Partition: 4, Value: []byte(`{"a":1,"b":2}`)})

	problems, err := operate.CheckTopics(t.Context(), h.cfg)
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(problems), results+": has 3 partitions, 5 are wanted, as many as "+requests+" has: the requests of the others wait; `millrace topics apply` adds them")
	done, err := operate.ApplyTopics(t.Context(), h.cfg) // though topics.partitions is 3
	require.NoError(t, err)
	require.Equal(t, []string{results + ": raised from 3 to 5 partitions"}, done)
	h.eventually("the model serves, and what waited is answered", func() (string, bool) {
		return "", worker.app.Ready() && len(h.read(results)) == 1
	})
}

// TestModelsDestinationStopsItAlone: of two models on one worker the results topic of one is deleted,
// made again with fewer partitions, and mended. The other is answered at each step. Readiness, a
// metric and `millrace topics check` name the one that waits and what mends it; in the end each of its
// requests has its result. So it is where the topic of dead letters is gone, for who needs it.
func TestModelsDestinationStopsItAlone(t *testing.T) {
	for _, delivery := range []string{"exactly_once", "at_least_once"} {
		t.Run(delivery, func(t *testing.T) {
			parallel(t)
			addr := freeAddr(t)
			h := newHarness(t, []catalogtest.Model{catalogtest.Fares, catalogtest.Ratios}, "http.addr="+addr, "worker.delivery="+delivery)
			fares, ratios := h.cfg.Topics.RequestsOf("fares"), h.cfg.Topics.RequestsOf("ratios")
			answered := func(topics ...string) {
				h.eventually("all is answered", func() (string, bool) {
					lag, err := h.reader.Lag(t.Context(), h.cfg.Worker.Group, topics...)
					return fmt.Sprint(lag, err), err == nil && lag == 0
				})
			}
			ask := func(partition int32, value string) {
				h.produce(&kgo.Record{Topic: ratios, Partition: partition, Value: []byte(value)})
			}
			asks := func() {
				for partition := range int32(3) {
					ask(partition, `{"a":1,"b":2}`)
				}
				h.produce(h.fares(30)...)
			}
			readyz := func(want string) {
				h.eventually("readiness says "+want, func() (string, bool) {
					status, body := h.get("http://" + addr + "/readyz")
					return body, strings.Contains(body, want) == (status == 503) && strings.Contains(body, want)
				})
			}
			remove := func(topic string) {
				_, err := h.admin.DeleteTopic(context.WithoutCancel(t.Context()), topic)
				require.NoError(t, err)
			}
			worker := h.run(pipeline.New(h.config("roles=worker"), h.log))
			asks()
			answered(fares, ratios)
			results := h.cfg.Topics.ResultsOf("ratios")
			remove(results)
			asks()
			answered(fares)
			readyz("partitions [0 1 2] of topic " + ratios + " wait: topic " + results + " does not exist; `millrace topics apply` makes it")
			_, metrics := h.get("http://" + addr + "/metrics")
			require.Contains(t, metrics, `millrace_partitions_waiting{model="ratios",topic="`+results+`"} 3`)

			_, err := h.reader.ApplyTopics(t.Context(), []schemas.TopicSpec{{Name: results, Partitions: 2, ReplicationFactor: -1}})
			require.NoError(t, err)
			readyz("partitions [2] of topic " + ratios + " wait: topic " + results + " has 2 partitions, fewer than its requests; `millrace topics apply` adds them")
			asks()
			answered(fares)
			problems, err := operate.CheckTopics(t.Context(), h.cfg)
			require.NoError(t, err)
			require.Contains(t, fmt.Sprint(problems), results+": has 2 partitions, 3 are wanted")

			_, err = operate.ApplyTopics(t.Context(), h.cfg)
			require.NoError(t, err)
			answered(fares, ratios)
			h.eventually("all is ready", func() (string, bool) {
				status, body := h.get("http://" + addr + "/readyz")
				return body, status == 200
			})
			if delivery == "exactly_once" {
				require.Len(t, h.read(results), 6, "of those since the topic was deleted")
				require.Len(t, h.read(h.cfg.Topics.ResultsOf("fares")), 90)
			} else {
				require.GreaterOrEqual(t, len(h.read(results)), 6)
			}

			remove(h.cfg.Topics.DeadLetters)
			ask(1, `{"a":"x"}`)
			asks()
			answered(fares)
			readyz("partitions [1] of topic " + ratios + " wait: topic " + h.cfg.Topics.DeadLetters + " does not exist")
			_, err = operate.ApplyTopics(t.Context(), h.cfg)
			require.NoError(t, err)
			answered(fares, ratios)
			require.Len(t, h.read(h.cfg.Topics.DeadLetters), 1)
			require.NotContains(t, h.logs.all(), "opening a new one")
			require.True(t, worker.app.Ready())
		})
	}
}
