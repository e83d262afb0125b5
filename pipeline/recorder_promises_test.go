package pipeline_test

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// memberless waits until a group has no members.
func (h *harness) memberless(group string) {
	h.Helper()
	h.eventually("group "+group+" has no members", func() (string, bool) {
		groups, err := h.admin.DescribeGroups(h.Context(), group)
		require.NoError(h, err)
		return groups[group].State, len(groups[group].Members) == 0
	})
}

// rewind sets a group's offsets to the start of topics, as kafka-consumer-groups
// --reset-offsets --to-earliest does: without metadata.
func (h *harness) rewind(group string, topics ...string) {
	h.Helper()
	h.memberless(group)
	starts, err := h.admin.ListStartOffsets(h.Context(), topics...)
	require.NoError(h, err)
	offsets := kadm.Offsets{}
	starts.Each(func(o kadm.ListedOffset) { offsets.AddOffset(o.Topic, o.Partition, o.Offset, -1) })
	require.NoError(h, h.admin.CommitAllOffsets(h.Context(), group, offsets))
}

// again deletes a topic and makes it again.
func (h *harness) again(topic string) {
	h.Helper()
	idOf := func() kadm.TopicID {
		details, err := h.admin.ListTopics(h.Context(), topic)
		require.NoError(h, err)
		return details[topic].ID
	}
	before := idOf()
	_, err := h.admin.DeleteTopics(h.Context(), topic)
	require.NoError(h, err)
	h.eventually("the topic is made again", func() (string, bool) { // Kafka may still be deleting it
		_, err := operate.ApplyTopics(h.Context(), h.cfg)
		id := idOf()
		return "", err == nil && id != before && id != (kadm.TopicID{})
	})
	h.client.PurgeTopicsFromClient(topic) // which does not follow it to its new id
}

// Rows are lost, and the operator rewinds the recorders' group by a tool that knows nothing of
// millrace, or by its command: what is missing is stored, and nothing twice.
func TestRecorderThatIsRewoundStoresWhatIsMissing(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, fastRestart)
	topics := []string{h.cfg.Topics.Observations, h.cfg.Topics.Feedback, h.cfg.Topics.DeadLetters, h.cfg.Topics.Events}
	group := h.cfg.Recorder.Group
	tr := newTraffic(h, seeded(t), 1000)
	r := h.start("worker,recorder")
	tr.sendHour()
	tr.requireOnce()
	r.drain()
	for name, rewind := range map[string]func(){
		"by a tool of Kafka": func() { h.rewind(group, topics...) },
		"by offsets set": func() {
			h.memberless(group)
			for _, topic := range topics {
				_, err := operate.SetOffsets(t.Context(), h.cfg, group, topic, -1, "earliest")
				require.NoError(t, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr.h = h.with(t)
			for _, statement := range []string{"observations_fares DELETE WHERE request_offset % 3 = 0", "feedback DELETE WHERE feedback_offset > 100"} {
				tr.h.exec("ALTER TABLE millrace." + statement + " SETTINGS mutations_sync = 2")
			}
			rewind()
			r := tr.h.start("worker,recorder")
			tr.sendHour()
			tr.requireOnce()
			r.drain()
		})
	}
}

// What a recorder has read of a topic is stored when the topic is deleted and made again under
// it, and the new one is read from its start.
func TestRecorderStoresWhatItReadOfADeletedTopic(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, fastRestart)
	topic := h.cfg.Topics.Feedback
	labels := func(from, n int) {
		var records []*kgo.Record
		for i := range n {
			records = append(records, &kgo.Record{Topic: topic, Partition: int32(i % 3), Value: feedbackOf("fares", "r"+strconv.Itoa(from+i), true)})
		}
		h.produce(records...)
	}
	rows := func(want int) {
		h.eventually("the labels are stored", func() (string, bool) {
			n := h.count("SELECT count() FROM millrace.feedback")
			return strconv.Itoa(n), n >= want
		})
	}
	r := h.start("recorder")
	labels(0, 300)
	rows(300)
	r.drain()
	g, addr := newGate(t, h.services.ClickHouse.Addr(), "feedback", delayed)
	r = h.start("recorder", "clickhouse.addr="+addr)
	labels(300, 90)
	g.hold()
	h.again(topic)
	labels(390, 60)
	g.pass()
	held := h.count("SELECT count() FROM millrace.feedback")
	require.GreaterOrEqual(t, held, 300)
	rows(held + 1)
	h.eventually("the new topic is stored", func() (string, bool) {
		n := h.count("SELECT uniqExact(request_id) FROM millrace.feedback WHERE toUInt32(substring(request_id, 2)) >= 390")
		return strconv.Itoa(n), n == 60
	})
	r.drain()
	n := h.count("SELECT count() FROM millrace.feedback")
	h.requireRows("feedback", "feedback", n)
	// The held insert was of the partitions that the poll had brought.
	require.Equal(t, n, h.count("SELECT uniqExact(request_id) FROM millrace.feedback"))
	require.Greater(t, n, 300+60)
	r = h.start("recorder")
	labels(450, 30)
	rows(n + 30)
	r.drain()
	h.requireRows("feedback", "feedback", n+30)
}

// clockProxy is a way to a ClickHouse whose clock is ahead.
type clockProxy struct {
	to    string
	ahead atomic.Bool
}

// ServeHTTP implements http.Handler.
func (p *clockProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	query := r.URL.Query()
	if p.ahead.Load() {
		move := strings.NewReplacer("now64(6, 'UTC')", "(now64(6, 'UTC') + toIntervalHour(1))", "now64(6)", "(now64(6) + toIntervalHour(1))")
		if query.Has("query") {
			query.Set("query", move.Replace(query.Get("query")))
			r.URL.RawQuery = query.Encode()
		} else {
			body = []byte(move.Replace(string(body)))
		}
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+p.to+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	out.Header = r.Header.Clone()
	resp, err := http.DefaultClient.Do(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // fails when the client has gone
}

// A clock of ClickHouse that is an hour ahead and then right holds up nobody for an hour: whoever
// takes over a range that was announced meanwhile says what it waits for, is not ready, and goes on.
func TestWrongClockHoldsUpTheNextRecorderBriefly(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, fastRestart, "recorder.insert_deadline=3s")
	tr := newTraffic(h, seeded(t), 300)
	proxy := &clockProxy{to: h.services.ClickHouse.Addr()}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	g, addr := newGate(t, strings.TrimPrefix(server.URL, "http://"), "observations_fares", unreported)
	h.start("worker")
	g.armed.Store(false)
	p := h.spawn("recorder", "clickhouse.addr="+addr)
	tr.sendHour()
	tr.requireOnce()
	proxy.ahead.Store(true)
	tr.sendHour()
	tr.requireOnce() // under its own clock all is well
	g.armed.Store(true)
	tr.sendHour()
	g.hold() // stored, announced, and nobody knows
	p.kill()
	close(g.open)
	g.answer()
	proxy.ahead.Store(false)

	admin := freeAddr(t)
	h.spawn("recorder", "clickhouse.addr="+strings.TrimPrefix(server.URL, "http://"), "http.addr="+admin)
	h.eventually("it is not ready, and says why", func() (string, bool) {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return err.Error(), false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body), resp.StatusCode != http.StatusOK && strings.Contains(string(body), "the clock of clickhouse at")
	})
	tr.requireOnce()
	require.Contains(t, h.logs.all(), "waiting until inserts that were announced are given up")
	status, body := h.get("http://" + admin + "/readyz")
	require.Equal(t, http.StatusOK, status, body)
}

// A group of another name waits, unready, as long as the old one has members, takes over when it
// has none, and stores nothing twice. Readiness names both.
func TestSecondRecorderGroupWaitsForTheOldOne(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, fastRestart)
	tr := newTraffic(h, seeded(t), 500)
	h.start("worker")
	old := h.spawn("recorder")
	tr.sendHour()
	tr.requireOnce()
	admin := freeAddr(t)
	h.spawn("recorder", "recorder.group=renamed", "http.addr="+admin)
	h.eventually("it says whom it waits for", func() (string, bool) {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return err.Error(), false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		text := string(body)
		return text, strings.Contains(text, "stop the old one first") && strings.Contains(text, "renamed") && strings.Contains(text, h.cfg.Recorder.Group)
	})
	tr.sendHour()
	tr.requireOnce() // by the old one
	require.Equal(t, 0, old.terminate())
	tr.h = h.with(t)
	tr.h.cfg.Recorder.Group = "renamed"
	tr.sendHour()
	tr.requireOnce()
	status, body := h.get("http://" + admin + "/readyz")
	require.Equal(t, http.StatusOK, status, body)
}

// A conflict of types that is mended while a range is announced leaves what is stored of it as it
// is: dead letters, and no rows beside them.
func TestConflictMendedWhileARangeIsAnnounced(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, fastRestart)
	tr := newTraffic(h, seeded(t), 300)
	h.start("worker")
	r := h.spawn("recorder")
	tr.sendHour()
	tr.requireOnce()
	require.Equal(t, 0, r.terminate())
	h.exec("ALTER TABLE millrace.observations_fares MODIFY COLUMN `count` Int32 SETTINGS mutations_sync = 2")
	g, addr := newGate(t, h.services.ClickHouse.Addr(), "dead_letters", unreported)
	first := h.spawn("recorder", "clickhouse.addr="+addr)
	tr.sendHour()
	g.hold()
	first.kill()
	close(g.open)
	g.answer()
	h.exec("ALTER TABLE millrace.observations_fares MODIFY COLUMN `count` Int64 SETTINGS mutations_sync = 2")
	h.spawn("recorder")
	h.settled(h.cfg.Topics.RequestsOf("fares"))
	requests := map[string]bool{}
	letters := 0
	for _, row := range h.sql("SELECT dead_letter_topic_id, dead_letter_partition, dead_letter_offset, count() FROM millrace.dead_letters GROUP BY 1, 2, 3") {
		require.Equal(t, "1", row[3])
		letters++
		requests[strings.Join(row[:3], "/")] = true
	}
	require.NotZero(t, letters)
	// The rows of every observation record are there, or its dead letter is, and never both.
	stored, refused := 0, 0
	h.each(h.cfg.Topics.Observations, func(rec *schemas.Record) {
		n, err := strconv.Atoi(headerOf(rec, schemas.HeaderRows))
		require.NoError(t, err)
		if requests[rec.TopicID.String()+"/"+strconv.Itoa(int(rec.Partition))+"/"+strconv.FormatInt(rec.Offset, 10)] {
			refused += n
		} else {
			stored += n
		}
	})
	h.requireRows("observations_fares", "request", stored)
	require.Equal(t, len(tr.totals), stored+refused)
	require.Equal(t, len(requests), letters)
}
