package pipeline_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
)

// TestReadyWhenAnswersGoOn kills a worker. The one that is started in its place gets partitions when the
// group has given the first one up: until then it says what it waits for, and it is ready when it can
// answer.
func TestReadyWhenAnswersGoOn(t *testing.T) {
	parallel(t)
	admin := freeAddr(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, fastRestart, "http.addr="+admin)
	requests, group := h.cfg.Topics.RequestsOf("fares"), h.cfg.Worker.Group
	worker := h.spawn("worker")
	h.awaitReady(admin, http.StatusOK, `"worker 0":"ready"`)
	h.produce(h.fares(10)...)
	h.answered(requests)
	before := map[string]bool{}
	members := func() (ids []string, partitions int) {
		groups, err := h.admin.DescribeGroups(t.Context(), group)
		require.NoError(t, err)
		for _, m := range groups[group].Members {
			ids = append(ids, m.MemberID)
			if given, ok := m.Assigned.AsConsumer(); ok {
				for _, topic := range given.Topics {
					partitions += len(topic.Partitions)
				}
			}
		}
		return ids, partitions
	}
	ids, partitions := members()
	for _, id := range ids {
		before[id] = true
	}
	worker.killAndRestart()
	body := h.awaitReady(admin, http.StatusServiceUnavailable, "waiting for partitions from group "+group)
	require.Contains(t, body, "kafka.session_timeout")
	h.awaitReady(admin, http.StatusOK, `"worker 0":"ready"`)
	ids, now := members()
	require.Positive(t, now, "the new one has partitions when it is ready; a rebalance among its lanes may be under way")
	for _, id := range ids {
		require.False(t, before[id], "the killed one is given up when the new one is ready")
	}
	h.produce(h.fares(10)...)
	h.answered(requests)
	_, page := h.get("http://" + admin + "/metrics")
	require.Equal(t, partitions, strings.Count(page, `role="worker",topic="`+requests+`"} 0`+"\n"), "of each partition the lag is 0")
}
