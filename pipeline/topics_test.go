package pipeline_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
)

// TestResultsNeedTheirRequestsPartitions: a worker does not start where a result could not
// go to its request's partition number, and says what to do.
func TestResultsNeedTheirRequestsPartitions(t *testing.T) {
	h := newHarness(t, []catalogtest.Model{catalogtest.Prices}, "roles=worker")
	requests := h.cfg.Topics.RequestsOf("prices")
	_, err := h.admin.UpdatePartitions(t.Context(), 5, requests)
	require.NoError(t, err)
	err = pipeline.New(h.cfg, h.log).Run(t.Context())
	require.EqualError(t, err, "worker: topic "+h.cfg.Topics.ResultsOf("prices")+" has 3 partitions and "+requests+
		" has 5: results take their request's partition number; set topics.partitions and run `millrace topics apply`")
}
