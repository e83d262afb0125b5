package pipeline_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// A replay sends each request once more to the partition that it came from, and a request that
// fails for ever has one letter more for each replay, not twice as many.
func TestReplayedRequestsComeToTheirPartitionAndOnceForEachRun(t *testing.T) {
	h := newHarness(t, []catalogtest.Model{catalogtest.Prices})
	h.start("worker")
	requests := h.cfg.Topics.RequestsOf("prices")
	const hopeless = 6
	for i := range hopeless {
		h.produce(&kgo.Record{Topic: requests, Partition: 2, Key: fmt.Appendf(nil, "key%d", i), Value: []byte(`{"index":99}`)})
	}
	letters := func(want int) {
		t.Helper()
		h.eventually("dead letters", func() (string, bool) {
			n := len(h.read(h.cfg.Topics.DeadLetters))
			return strconv.Itoa(n), n >= want && h.unread(h.cfg.Worker.Group, requests) == 0
		})
		h.ended(requests)
		require.Len(t, h.read(h.cfg.Topics.DeadLetters), want)
	}
	letters(hopeless)
	all := operate.LetterFilter{Model: "prices"}
	again := all
	again.Again = true
	for run, filter := range []operate.LetterFilter{all, all, all, again, again, all} {
		done, err := operate.ReplayDeadLetters(t.Context(), h.cfg, filter)
		require.NoError(t, err)
		require.Equal(t, operate.Replayed{Sent: hopeless, Skipped: run * hopeless}, done, "run %d", run)
		letters((run + 2) * hopeless)
	}
	keys := map[string]int{}
	h.each(requests, func(rec *schemas.Record) {
		require.EqualValues(t, 2, rec.Partition)
		keys[string(rec.Key)]++
	})
	require.Len(t, keys, hopeless)
	for key, n := range keys {
		require.Equal(t, 7, n, key)
	}
	var list bytes.Buffer
	require.NoError(t, operate.ListDeadLetters(t.Context(), h.cfg, all, &list))
	require.Equal(t, 6*hopeless, strings.Count(list.String(), "\treplayed 2"), list.String())
	require.Equal(t, 7*hopeless, strings.Count(list.String(), "\n"))
}

// letters puts dead letters of a model onto their topic, as workers would.
func (h *harness) letters(model string, n int, change func(rec *schemas.Record)) {
	h.Helper()
	topicID := uuid.New()
	var records []*kgo.Record
	for i := range n {
		rec := schemas.Record{
			Topic: h.cfg.Topics.RequestsOf(model), TopicID: topicID, Partition: int32(i % 3), Offset: int64(i),
			Key: fmt.Appendf(nil, "%d", i%7), Value: fmt.Appendf(nil, `{"n":%d}`, i),
		}
		if change != nil {
			change(&rec)
		}
		m := schemas.NewDeadLetter(h.cfg.Topics.DeadLetters, &rec, schemas.WholeRecord, schemas.Errorf("malformed", "x"), model, "1", time.Now())
		r := &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value}
		for _, header := range m.Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
		}
		records = append(records, r)
	}
	h.produce(records...)
}

// requestsTopic makes the topic of a model that nobody serves.
func (h *harness) requestsTopic(model string, config map[string]*string) string {
	h.Helper()
	topic := h.cfg.Topics.RequestsOf(model)
	_, err := h.admin.CreateTopic(h.Context(), 3, -1, config, topic)
	require.NoError(h, err)
	return topic
}

// requireSentOnce checks that so many requests are on a topic, each once and in the partition
// that it came from. Kafka tells that a transaction has ended before it has told the partitions:
// that is awaited.
func (h *harness) requireSentOnce(topic string, want int) {
	h.Helper()
	h.eventually("no transaction is open on "+topic, func() (string, bool) {
		open, err := h.reader.Undecided(h.Context(), topic, h.cfg.Topics.Control)
		require.NoError(h, err)
		return strconv.FormatInt(open, 10), open == 0
	})
	seen := map[string]bool{}
	h.each(topic, func(rec *schemas.Record) {
		of := headerOf(rec, schemas.HeaderReplayOf)
		require.False(h, seen[of], "%s was sent twice", of)
		seen[of] = true
		c, ok := schemas.ParseCoordinates(of)
		require.True(h, ok)
		require.Equal(h, c.Partition, rec.Partition)
	})
	require.Equal(h, want, len(seen))
}

// interrupted is a context that looks at the world each time that it is asked whether it has
// ended.
type interrupted struct {
	context.Context
	look func()
}

func (c interrupted) Err() error {
	c.look()
	return c.Context.Err()
}

func TestReplay(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares})
	control := h.cfg.Topics.Control
	replay := func(t *testing.T, model string) (operate.Replayed, error) {
		t.Helper()
		return operate.ReplayDeadLetters(t.Context(), h.cfg, operate.LetterFilter{Model: model})
	}

	t.Run("goes on where it was interrupted", func(t *testing.T) {
		h := h.with(t)
		topic := h.requestsTopic("interrupted", nil)
		h.letters("interrupted", 3000, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		before := h.end(control)
		first, err := operate.ReplayDeadLetters(interrupted{ctx, func() {
			if h.end(control) > before {
				cancel()
			}
		}}, h.cfg, operate.LetterFilter{Model: "interrupted"})
		require.ErrorIs(t, err, context.Canceled)
		require.Positive(t, first.Sent)
		require.Less(t, first.Sent, 3000)
		h.requireSentOnce(topic, first.Sent)
		second, err := replay(t, "interrupted")
		require.NoError(t, err)
		require.Equal(t, operate.Replayed{Sent: 3000 - first.Sent, Skipped: first.Sent}, second)
		third, err := replay(t, "interrupted")
		require.NoError(t, err)
		require.Equal(t, operate.Replayed{Skipped: 3000}, third)
		h.requireSentOnce(topic, 3000)
	})

	t.Run("that another one takes over from ends, and nothing is sent twice", func(t *testing.T) {
		h := h.with(t)
		topic := h.requestsTopic("concurrent", nil)
		h.letters("concurrent", 3000, nil)
		before, took := h.end(control), false
		var other operate.Replayed
		first, err := operate.ReplayDeadLetters(interrupted{t.Context(), func() {
			if !took && h.end(control) > before {
				took = true
				var err error
				other, err = replay(t, "concurrent")
				require.NoError(t, err)
			}
		}}, h.cfg, operate.LetterFilter{Model: "concurrent"})
		require.ErrorContains(t, err, "another `millrace deadletters replay` has begun")
		require.Positive(t, first.Sent)
		require.Equal(t, operate.Replayed{Sent: 3000 - first.Sent, Skipped: first.Sent}, other)
		h.requireSentOnce(topic, 3000)
	})

	t.Run("sends a request once although it has two letters", func(t *testing.T) {
		h := h.with(t)
		topic := h.requestsTopic("twice", nil)
		id := uuid.New()
		for range 2 {
			h.letters("twice", 10, func(rec *schemas.Record) { rec.TopicID = id })
		}
		done, err := replay(t, "twice")
		require.NoError(t, err)
		require.Equal(t, operate.Replayed{Sent: 10, Skipped: 10}, done)
		h.requireSentOnce(topic, 10)
	})

	t.Run("goes by the key where the partition is not there any more", func(t *testing.T) {
		h := h.with(t)
		topic := h.requestsTopic("moved", nil)
		h.letters("moved", 10, func(rec *schemas.Record) { rec.Partition += 2; rec.Key = []byte("k") })
		done, err := replay(t, "moved")
		require.NoError(t, err)
		require.Equal(t, 6, done.Moved)
		require.Equal(t, 10, done.Sent)
		sent := 0
		h.eventually("all are sent", func() (string, bool) {
			sent = len(h.read(topic))
			return strconv.Itoa(sent), sent >= 10
		})
		require.Equal(t, 10, sent)
	})

	t.Run("passes over what cannot be sent, and names it", func(t *testing.T) {
		h := h.with(t)
		topic := h.requestsTopic("odd", map[string]*string{"max.message.bytes": new("100000")})
		noise := make([]byte, 200_000)
		for i, rng := 0, rand.New(rand.NewPCG(1, 2)); i < len(noise); i++ {
			noise[i] = byte(rng.Uint32())
		}
		h.letters("odd", 10, func(rec *schemas.Record) {
			switch rec.Offset {
			case 2:
				rec.Value = noise
			case 4:
				rec.Topic = h.cfg.Topics.RequestsOf("nowhere")
			case 6:
				rec.Topic = "elsewhere"
			}
		})
		h.produce(&kgo.Record{Topic: h.cfg.Topics.DeadLetters, Value: []byte("{}"), Headers: []kgo.RecordHeader{
			{Key: schemas.HeaderModel, Value: []byte("odd")}, {Key: schemas.HeaderTopic, Value: []byte(topic)},
		}}, &kgo.Record{Topic: h.cfg.Topics.DeadLetters, Headers: []kgo.RecordHeader{
			{Key: schemas.HeaderModel, Value: []byte("odd")}, {Key: schemas.HeaderErrorClass, Value: []byte("unreadable_batch")},
		}})
		for _, want := range []operate.Replayed{{Sent: 7}, {Skipped: 7}} {
			done, err := replay(t, "odd")
			require.Equal(t, want, done)
			for _, text := range []string{
				"too large for its topic", "its topic " + h.cfg.Topics.RequestsOf("nowhere") + " does not exist any more", `"elsewhere" is no requests topic`,
				"do not say which request", "nothing of its request could be read",
			} {
				require.ErrorContains(t, err, text)
			}
		}
		h.requireSentOnce(topic, 7)
	})

	t.Run("forgets the marks of letters that are gone", func(t *testing.T) {
		h := h.with(t)
		letters := h.cfg.Topics.DeadLetters
		ends, err := h.admin.ListEndOffsets(t.Context(), letters)
		require.NoError(t, err)
		deleted, err := h.admin.DeleteRecords(t.Context(), ends.Offsets())
		require.NoError(t, err)
		require.NoError(t, deleted.Error())
		topic := h.requestsTopic("later", nil)
		h.letters("later", 10, nil)
		done, err := replay(t, "later")
		require.NoError(t, err)
		require.Equal(t, operate.Replayed{Sent: 10}, done)
		h.requireSentOnce(topic, 10)
		marks := map[string]bool{} // requireSentOnce has awaited them, too
		h.each(control, func(rec *schemas.Record) {
			if mark, gone, ok := schemas.ReadReplayMark(rec); ok {
				id := string(mark.Request.AppendID(nil))
				marks[id] = true
				if gone {
					delete(marks, id)
				}
			}
		})
		require.Len(t, marks, 10)
	})

	t.Run("needs a control topic that keeps what it is told", func(t *testing.T) {
		h := h.with(t)
		resp, err := h.admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: new("delete")}}, control)
		require.NoError(t, err)
		require.NoError(t, resp[0].Err)
		_, err = replay(t, "later")
		require.ErrorContains(t, err, "topic "+control+": has cleanup.policy=delete, compact is wanted")
		_, err = h.admin.DeleteTopic(t.Context(), control)
		require.NoError(t, err)
		_, err = replay(t, "later")
		require.ErrorContains(t, err, "topic "+control+": does not exist; `millrace topics apply` makes it")
		require.ErrorContains(t, operate.ListDeadLetters(t.Context(), h.cfg, operate.LetterFilter{}, &bytes.Buffer{}), "does not exist; `millrace topics apply` makes it")
	})
}
