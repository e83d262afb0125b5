package pipeline_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
)

// A backfill, or a mirrored topic, brings labels of any date: they stay for clickhouse.ttl_days
// from when they were stored, and so do the dead letters of those that cannot be used. Another
// clickhouse.ttl_days holds for the tables that are there from the next start on.
func TestLabelsOfAnyDateStayForTTLDays(t *testing.T) {
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, "clickhouse.durability=fsync")
	r := h.start("recorder")
	// Kafka dates what arrives by its own clock, but for a topic of an earlier release.
	producers, forever := "CreateTime", "-1" // nor may a broker that looks just now delete what is of 2001
	_, err := h.admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "message.timestamp.type", Value: &producers},
		{Op: kadm.SetConfig, Name: "retention.ms", Value: &forever},
	}, h.cfg.Topics.Feedback)
	require.NoError(t, err)
	dates := []time.Time{time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), time.UnixMilli(1), time.Now().Add(-1000 * time.Hour)}
	if cluster == nil { // Apache Kafka 4 refuses what is more than an hour ahead
		dates = append(dates, time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC))
	}
	var labels []*kgo.Record
	for i := range 1000 {
		value := []byte(`{"model":"fares","request_id":"` + strconv.Itoa(i) + `","label":1}`)
		if i%10 == 0 {
			value = []byte("bad")
		}
		labels = append(labels, &kgo.Record{Topic: h.cfg.Topics.Feedback, Partition: int32(i % 3), Timestamp: dates[i%len(dates)].Add(time.Duration(i) * time.Minute), Value: value})
	}
	h.produce(labels...)
	settle := func() {
		h.eventually("the labels are stored", func() (string, bool) {
			lag := h.lag(h.cfg.Recorder.Group, h.cfg.Topics.Feedback)
			return strconv.FormatInt(lag, 10), lag == 0
		})
		for _, table := range []string{"feedback", "dead_letters"} { // whatever a TTL deletes is gone afterwards
			h.exec("OPTIMIZE TABLE millrace." + table + " FINAL")
		}
		h.requireRows("feedback", "feedback", 900)
		h.requireRows("dead_letters", "dead_letter", 100)
	}
	settle()
	require.NotZero(t, h.count("SELECT countIf(toYear(received_at) = 2001) FROM millrace.feedback"), "the dates came through Kafka")
	r.drain()
	h.start("recorder", "clickhouse.ttl_days=365")
	settle()
	for _, table := range []string{"feedback", "dead_letters", "events", "minute_states"} {
		query := h.sqlOne("SELECT create_table_query FROM system.tables WHERE database = 'millrace' AND name = '" + table + "'")[0]
		require.Contains(t, query, "TTL stored_at + toIntervalDay(365)", table)
		require.Contains(t, query, "fsync_after_insert = 1", table)
	}
}

// Kafka deletes by timestamps, and so a backfill that waits for ClickHouse must not bear those
// of its producer.
func TestFeedbackTopicDatesLabelsByTheirArrival(t *testing.T) {
	if cluster == nil {
		t.Skip("the embedded Kafka knows no LogAppendTime, and deletes nothing by time")
	}
	h := newHarness(t, nil)
	before := time.Now().Add(-time.Minute)
	h.produce(&kgo.Record{Topic: h.cfg.Topics.Feedback, Timestamp: time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), Value: []byte("{}")})
	for _, r := range h.read(h.cfg.Topics.Feedback) {
		require.Greater(t, r.Timestamp, before)
	}
	require.EqualValues(t, 1, h.end(h.cfg.Topics.Feedback))
}
