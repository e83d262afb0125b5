package pipeline_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// requireHarmless checks that a terminal shows the text and obeys nothing in it.
func requireHarmless(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		require.False(t, r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r), "%q in %q", r, text)
	}
}

// Reasons, header keys, ids and values of requests are whatever their producers sent. Neither
// dead letters nor results bring it to a terminal as it is.
func TestRequestsReachNoTerminal(t *testing.T) {
	const hostile = "\x1b[2J\x1b]0;title\a\u009b31m\u202e\u2066\r\n0/0\tforged\x7f"
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares})
	topic := h.cfg.Topics.DeadLetters
	headers := []kgo.RecordHeader{{Key: "key" + hostile, Value: []byte(hostile)}, {Key: "binary", Value: []byte("\xff\x1b")}}
	for _, key := range []string{
		schemas.HeaderFailedAt, schemas.HeaderErrorClass, schemas.HeaderPartition, schemas.HeaderOffset, schemas.HeaderRow, schemas.HeaderTopic, schemas.HeaderReason,
	} {
		headers = append(headers, kgo.RecordHeader{Key: key, Value: []byte(hostile)})
	}
	h.produce(&kgo.Record{Topic: topic, Key: []byte(hostile), Value: []byte("first line\nsecond " + hostile), Headers: headers})

	var out bytes.Buffer
	require.NoError(t, operate.ListDeadLetters(t.Context(), h.cfg, operate.LetterFilter{}, &out))
	requireHarmless(t, out.String())
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
	require.Equal(t, 6, strings.Count(out.String(), "\t"))
	out.Reset()
	require.NoError(t, operate.ShowDeadLetter(t.Context(), h.cfg, 0, 0, &out))
	requireHarmless(t, out.String())
	require.Contains(t, out.String(), "\n\nfirst line\nsecond ")
	_, err := operate.ReplayDeadLetters(t.Context(), h.cfg, operate.LetterFilter{})
	require.Error(t, err)

	// A worker that answers with what it likes.
	go func() { // ends with the test's client, or when it has answered
		cl, err := kgo.NewClient(kgo.SeedBrokers(h.cfg.Kafka.Brokers...), kgo.ConsumeTopics(h.cfg.Topics.RequestsOf("fares")),
			kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			return
		}
		defer cl.Close()
		for n := 0; n < 3; {
			for _, r := range cl.PollFetches(t.Context()).Records() {
				answer := &kgo.Record{Topic: h.cfg.Topics.ResultsOf("fares"), Headers: r.Headers, Value: []byte("{\"request_id\":\"\u009b\u202e\x7f\"}")}
				switch n++; n {
				case 2:
					answer.Value = []byte("no JSON " + hostile)
				case 3:
					answer.Topic = topic
					answer.Headers = append(answer.Headers, kgo.RecordHeader{Key: schemas.HeaderReason, Value: []byte(hostile)})
				}
				cl.ProduceSync(t.Context(), answer)
			}
			if t.Context().Err() != nil {
				return
			}
		}
	}()
	out.Reset()
	err = operate.Predict(t.Context(), h.cfg, "fares", [][]byte{[]byte(`{"n":1}`), []byte(`{"n":2}`), []byte(`{"n":3}`)}, time.Minute, &out)
	require.Error(t, err)
	requireHarmless(t, err.Error())
	require.NotContains(t, err.Error(), "\n0/0")
	requireHarmless(t, out.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 2, fmt.Sprint(lines))
	for _, line := range lines {
		require.True(t, json.Valid([]byte(line)), line)
	}
	var same struct {
		ID string `json:"request_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &same))
	require.Equal(t, "\u009b\u202e\x7f", same.ID)

	// The log for people.
	out.Reset()
	log := config.Log{Level: "info", Format: "console"}.Logger(&out)
	log.Error().Err(fmt.Errorf("reason %s", hostile)).Str("topic", hostile).Msg("topic " + hostile)
	requireHarmless(t, out.String())
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
}
