package pipeline_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
)

// TestTimesOutOfRange sends requests and labels with times that no record can have. They are answered
// and stored as others are, with the time of arrival; how long they were queued is NULL, and the
// statistics of the minute are of the others.
func TestTimesOutOfRange(t *testing.T) {
	h := newHarness(t, []catalogtest.Model{catalogtest.Echo})
	requests, feedback := h.cfg.Topics.RequestsOf("echo"), h.cfg.Topics.Feedback
	operator, err := kafkatest.NewOperator(h.cfg.Kafka.Brokers)
	require.NoError(t, err)
	defer operator.Close()
	began := time.Now()
	odd := []int64{-1, 0, began.UnixNano(), began.UnixMicro(), 10_413_792_000_000}
	for i, millis := range odd {
		id := fmt.Sprintf("odd-%d", i)
		require.NoError(t, operator.ProduceTimed(t.Context(), requests, 0, kafkatest.TimedRecord{Millis: millis, Key: []byte(id), Value: []byte(`{"carrier":"AA","request_id":"` + id + `"}`)}))
		require.NoError(t, operator.ProduceTimed(t.Context(), feedback, 0, kafkatest.TimedRecord{Millis: millis, Value: []byte(`{"model":"echo","label":"AA","request_id":"` + id + `"}`)}))
	}
	h.produce(&kgo.Record{Topic: requests, Partition: 0, Value: []byte(`{"carrier":"AA","request_id":"good"}`)})
	admin := freeAddr(t)
	h.start("worker,recorder", "http.addr="+admin)
	h.settled(requests)

	unknown := 0
	for _, r := range h.read(h.cfg.Topics.ResultsOf("echo")) {
		var got result
		require.NoError(t, json.Unmarshal(r.Value, &got))
		require.Equal(t, got.RequestID != "good", got.QueueUS == nil, "%s", r.Value)
		if got.QueueUS == nil {
			unknown++
		}
	}
	require.Equal(t, len(odd), unknown)
	for what, query := range map[string]string{
		"rows":        "SELECT count() FROM millrace.observations_echo WHERE queue_us IS NULL AND event_time BETWEEN %s AND now64(6)",
		"predictions": "SELECT count() FROM millrace.predictions WHERE queue_us IS NULL AND event_time BETWEEN %s AND now64(6)",
		"labels":      "SELECT count() FROM millrace.feedback WHERE received_at BETWEEN %s AND now64(6) AND observed_at = received_at",
	} {
		require.Equal(t, len(odd), h.count(fmt.Sprintf(query, fmt.Sprintf("fromUnixTimestamp64Milli(%d)", began.UnixMilli()-1))), what)
	}
	h.requireRows("observations_echo", "request", len(odd)+1)
	h.requireMinutes("echo")
	require.Equal(t, 1, h.count("SELECT count() FROM (SELECT quantilesTDigestMerge(0.5)(queue)[1] AS q FROM millrace.minute_states) WHERE q = (SELECT max(queue_us) FROM millrace.observations_echo)"))

	// Records are counted each time that they are read, and the lag is known within seconds. Labels have
	// the time of the broker, where it sets one as the topic is configured: the embedded Kafka does not.
	for _, line := range []string{
		`millrace_records_untimed_total{model="echo",role="worker",topic="` + requests + `"} (5|[1-9]\d+)`,
		`millrace_consumer_lag_records{model="echo",partition="0",role="worker",topic="` + requests + `"} 0`,
		`millrace_consumer_lag_records{model="",partition="0",role="recorder",topic="` + feedback + `"} 0`,
	} {
		wanted := regexp.MustCompile(strings.NewReplacer("{", `\{`, "}", `\}`, ".", `\.`).Replace(line) + "\n")
		h.eventually(line, func() (string, bool) {
			status, metrics := h.get("http://" + admin + "/metrics")
			return metrics, status == http.StatusOK && wanted.MatchString(metrics)
		})
	}
}
