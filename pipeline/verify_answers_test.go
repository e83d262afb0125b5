package pipeline_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/verify"
	"github.com/millrace/millrace/schemas"
)

// Results that are not there, or twice, or of no request, requests that were passed over, and
// dead letters that are there twice are found by the coordinates of their requests.
func TestVerifyFindsRequestsThatWereNotAnsweredOnce(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares, catalogtest.Prices})
	tr := newTraffic(h, seeded(t), 60)
	r := h.start("worker,recorder")
	tr.sendHour()
	h.produceOddities(30)
	requests := h.cfg.Topics.RequestsOf("fares")
	h.settled(requests, h.cfg.Topics.RequestsOf("prices"))
	h.requireEqual()
	r.drain()

	// Answered elsewhere.
	for _, name := range []string{"fares", "prices"} {
		_, err := h.admin.CreateTopic(t.Context(), 3, 1, nil, "elsewhere."+name)
		require.NoError(t, err)
	}
	r = h.start("worker,recorder", "topics.results=elsewhere.")
	want := map[string]bool{}
	from := h.ends(requests)
	tr.sendHour()
	h.settled(requests)
	r.drain()
	h.each(requests, func(rec *schemas.Record) {
		if rec.Offset >= from[rec.Partition] {
			want[verify.Missing+" "+place{rec.Partition, rec.Offset}.String()] = true
		}
	})
	// Passed over: an operator has set the offsets of the group.
	from = h.ends(requests)
	tr.sendHour()
	ends := h.ends(requests)
	for p, end := range ends {
		for offset := from[p]; offset < end; offset++ {
			want[verify.Missing+" "+place{p, offset}.String()] = true
		}
	}
	h.passOver(requests)
	// A result and a dead letter twice, and a result of nothing.
	again := h.read(h.cfg.Topics.ResultsOf("fares"))[7]
	twice := &kgo.Record{Topic: again.Topic, Partition: again.Partition, Key: again.Key, Value: again.Value}
	for _, header := range again.Headers {
		twice.Headers = append(twice.Headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
	}
	h.each(requests, func(rec *schemas.Record) {
		if string(rec.Key) == string(again.Key) {
			want[verify.Doubled+" "+place{rec.Partition, rec.Offset}.String()] = true
		}
	})
	letter := h.read(h.cfg.Topics.DeadLetters)[3]
	buried := &kgo.Record{Topic: letter.Topic, Partition: letter.Partition, Key: letter.Key, Value: letter.Value}
	for _, header := range letter.Headers {
		buried.Headers = append(buried.Headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
	}
	want[verify.Doubled+" "+headerOf(&letter, schemas.HeaderPartition)+"/"+headerOf(&letter, schemas.HeaderOffset)] = true
	h.produce(twice, buried, &kgo.Record{Topic: again.Topic, Partition: 1, Key: []byte("nobody's"), Value: []byte(`{"request_id":"nobody's"}`)})
	want[verify.Alien+" "+place{1, -1}.String()] = true
	h.start("recorder")
	h.settled(h.cfg.Topics.RequestsOf("prices"))

	report, all := h.verify(false)
	require.False(t, report.Equal)
	got := map[string]bool{}
	for _, d := range all {
		require.Equal(t, verify.KindResults, d.Kind, "%+v", d)
		got[d.Fault+" "+place{d.Partition, d.Offset}.String()] = true
	}
	require.Equal(t, want, got)
	report, _ = h.verify(true)
	require.False(t, report.Equal, "what was not answered cannot be repaired")
	require.Empty(t, report.Notes[1:], "the alien result")

	h.produce(&kgo.Record{Topic: h.cfg.Topics.RequestsOf("prices"), Partition: 0, Value: []byte(`{"index":1}`)})
	report, _ = h.verify(false)
	require.Contains(t, report.Notes, "1 requests lie behind what group "+h.cfg.Worker.Group+" has committed: they are not answered yet")
}

// ends returns where each partition of a topic ends.
func (h *harness) ends(topic string) map[int32]int64 {
	h.Helper()
	listed, err := h.admin.ListEndOffsets(h.Context(), topic)
	require.NoError(h, err)
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends
}

// passOver sets the offsets of the workers' group to the ends of a topic.
func (h *harness) passOver(topic string) {
	h.Helper()
	skip := kadm.Offsets{}
	for p, end := range h.ends(topic) {
		skip.Add(kadm.Offset{Topic: topic, Partition: p, At: end, LeaderEpoch: -1})
	}
	require.NoError(h, h.admin.CommitAllOffsets(h.Context(), h.cfg.Worker.Group, skip))
}
