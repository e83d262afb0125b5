package pipeline_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
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
			" has 5: results take their request's partition number; set topics.partitions and run `millrace topics apply`")
	})
	require.False(t, worker.app.Ready())
	h.produce(&kgo.Record{Topic: requests, Partition: 4, Value: []byte(`{"a":1,"b":2}`)})

	_, err = h.admin.UpdatePartitions(t.Context(), 5, results)
	require.NoError(t, err)
	h.eventually("the model serves, and what waited is answered", func() (string, bool) {
		return "", worker.app.Ready() && len(h.read(results)) == 1
	})
}
