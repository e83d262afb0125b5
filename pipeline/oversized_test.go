package pipeline_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/schemas"
)

// TestOversized sends records that cannot be passed on as they are: compressed they pass
// the broker's bound, and what follows from them would not. None may stop a lane.
func TestOversized(t *testing.T) {
	rnd := seeded(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Echo}, "worker.max_request_bytes="+strconv.Itoa(schemas.MaxRequestBytes))
	topics := h.cfg.Topics
	random := make([]byte, 3<<20)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	text := base64.StdEncoding.EncodeToString(random) // 4 MiB that do not compress
	header := func(n int) []kgo.RecordHeader {
		return []kgo.RecordHeader{{Key: "small", Value: []byte("stays")}, {Key: "large", Value: bytes.Repeat([]byte("h"), n)}}
	}
	request := func(carrier string) []byte { return []byte(`{"carrier":"` + carrier + `"}`) }
	records := []struct {
		what  string
		class schemas.ErrorClass // "": answered
		*kgo.Record
	}{
		{"good", "", &kgo.Record{Value: request("first")}},
		{"value of 24 MB", schemas.ErrorClassTooLarge, &kgo.Record{Value: request(strings.Repeat("x", 24<<20))}},
		{"value of 4 MiB", schemas.ErrorClassTooLarge, &kgo.Record{Value: request(strings.Repeat("x", 4<<20))}},
		{"key of 9 MB", schemas.ErrorClassResultTooLarge, &kgo.Record{Key: bytes.Repeat([]byte("k"), 9<<20), Value: request("key")}},
		{"headers of 9 MB", schemas.ErrorClassResultTooLarge, &kgo.Record{Value: request("headers"), Headers: header(9 << 20)}},
		{"everything large", schemas.ErrorClassTooLarge, &kgo.Record{Key: bytes.Repeat([]byte("k"), 9<<20), Value: request(strings.Repeat("x", 9<<20)), Headers: header(9 << 20)}},
		{"answer that grows by escapes", schemas.ErrorClassTooLarge, &kgo.Record{Value: request(strings.Repeat(`\n`, 1_500_000))}},
		{"text of 3 MB", schemas.ErrorClassTooLarge, &kgo.Record{Value: request(text[:3_000_000])}},
		{"text of 600 kB", schemas.ErrorClassTooLarge, &kgo.Record{Value: request(text[:600_000])}},
		{"text of 200 kB", "", &kgo.Record{Value: request(text[:200_000])}},
		{"headers of 1 MB", "", &kgo.Record{Value: request("headers"), Headers: header(1 << 20)}},
		{"good", "", &kgo.Record{Value: request("last")}},
	}
	h.start("worker,recorder")
	want := map[int64]int{}
	good := 0
	for i, r := range records {
		r.Topic = topics.RequestsOf("echo")
		h.produce(r.Record)
		want[r.Offset] = i
		if r.class == "" {
			good++
		}
	}
	h.settled(topics.RequestsOf("echo"))

	results := h.read(topics.ResultsOf("echo"))
	require.Len(t, results, good)
	for i := range results {
		var got result
		require.NoError(t, json.Unmarshal(results[i].Value, &got))
		offset, err := strconv.ParseInt(got.RequestID[strings.LastIndexByte(got.RequestID, '/')+1:], 10, 64)
		require.NoError(t, err)
		r := records[want[offset]]
		require.Empty(t, r.class, r.what)
		var sent struct{ Carrier json.RawMessage }
		require.NoError(t, json.Unmarshal(r.Value, &sent))
		require.Equal(t, string(sent.Carrier), string(got.Predictions["carrier_out"]))
	}
	letters := h.read(topics.DeadLetters)
	require.Len(t, letters, len(records)-good)
	for i := range letters {
		l := &letters[i]
		at, err := strconv.ParseInt(headerOf(l, schemas.HeaderOffset), 10, 64)
		require.NoError(t, err)
		r := records[want[at]]
		require.Equal(t, string(r.class), headerOf(l, schemas.HeaderErrorClass), "%s: %s", r.what, headerOf(l, schemas.HeaderReason))
		size := len(r.Value) + len(r.Key)
		for _, h := range r.Headers {
			size += len(h.Value)
		}
		if size < 7<<20 {
			require.Equal(t, string(r.Value), string(l.Value), r.what)
			continue
		}
		require.Contains(t, headerOf(l, schemas.HeaderReason), "cut", r.what)
		require.True(t, bytes.HasPrefix(r.Value, l.Value), r.what)
		require.True(t, bytes.HasPrefix(r.Key, l.Key), r.what)
		if len(r.Headers) > 0 {
			require.Equal(t, "stays", headerOf(l, "small"), r.what)
		}
	}
	h.requireRows("observations_echo", "request", good+2) // those whose answer was too large, too
	h.requireRows("dead_letters", "dead_letter", len(letters))
	require.Equal(t, "0", h.sqlOne("SELECT countIf(carrier_out IS NOT NULL) FROM millrace.observations_echo WHERE outcome = 'failed'")[0])
	h.requireMinutes("echo")
}

// TestManyLarge has one batch make more observations than their topic takes at once. They go in
// several pieces: a piece that is too large would be refused each time that it is made again.
func TestManyLarge(t *testing.T) {
	for _, delivery := range []string{"exactly_once", "at_least_once"} {
		t.Run(delivery, func(t *testing.T) {
			rnd := seeded(t)
			h := newHarness(t, []catalogtest.Model{catalogtest.Echo}, "worker.delivery="+delivery)
			requests := h.cfg.Topics.RequestsOf("echo")
			const n = 24
			random := make([]byte, 150<<10)
			for range n {
				for i := range random {
					random[i] = byte(rnd.Uint32())
				}
				h.produce(&kgo.Record{Topic: requests, Partition: 0, Value: []byte(`{"carrier":"` + base64.StdEncoding.EncodeToString(random) + `"}`)})
			}
			h.start("worker,recorder")
			h.settled(requests)
			require.Len(t, h.read(h.cfg.Topics.ResultsOf("echo")), n, "none was answered twice")
			rows := 0
			for _, rec := range h.read(h.cfg.Topics.Observations) {
				more, err := strconv.Atoi(headerOf(&rec, schemas.HeaderRows))
				require.NoError(t, err)
				rows += more
			}
			require.Equal(t, n, rows)
		})
	}
}
