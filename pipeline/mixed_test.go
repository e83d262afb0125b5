package pipeline_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/schemas"
)

// mixer makes requests to fares, good and bad, from a seed. Values alternate between few
// fixed ones and damage at random places.
type mixer struct {
	rnd   *rand.Rand
	large []byte
	deep  []byte
}

func newMixer(rnd *rand.Rand) *mixer {
	m := &mixer{rnd: rnd, large: bytes.Repeat([]byte("0123456789abcdef"), 2<<20/16)}
	for i := range m.large {
		if i%64 < 8 {
			m.large[i] = byte('a' + rnd.IntN(26)) // it still compresses
		}
	}
	m.deep = []byte(`{"a":` + strings.Repeat(`[{"b":`, 20_000) + "1" + strings.Repeat("}]", 20_000) + "}")
	return m
}

func (m *mixer) good() []byte {
	f := catalogtest.Fare{
		At: catalogtest.Epoch.Add(time.Duration(m.rnd.IntN(86400)) * time.Second), Price: m.rnd.Float64(), Count: m.rnd.Int64N(10) + 1,
		Carrier: []string{"AA", "UA", "WN"}[m.rnd.IntN(3)], Urgent: m.rnd.IntN(2) == 0,
	}
	return f.JSON()
}

// verdict is what must become of a request.
type verdict uint8

const (
	unsent verdict = iota
	answered
	buried
	either // damaged at random: it may be valid still
)

// next returns a value and what must become of it.
func (m *mixer) next() ([]byte, verdict) {
	good := m.good()
	set := func(key, value string) []byte {
		at := bytes.Index(good, []byte(`"`+key+`":`)) + len(key) + 3
		end := at + bytes.IndexAny(good[at:], ",}")
		return slices.Concat(good[:at], []byte(value), good[end:])
	}
	switch k := m.rnd.IntN(100); {
	case k < 60:
		return good, answered
	case k < 66: // truncated
		return good[:m.rnd.IntN(len(good))], buried
	case k < 70: // one byte changed
		good[m.rnd.IntN(len(good))] = byte(m.rnd.IntN(256))
		return good, either
	case k < 74: // wrong types
		return set([]string{"price", "count", "urgent", "carrier"}[m.rnd.IntN(4)], []string{`[1]`, `{"x":1}`, `{}`}[m.rnd.IntN(3)]), buried
	case k < 78: // huge numbers
		huge := []string{"1e400", "-1e999999999", "9223372036854775808", "1" + strings.Repeat("0", 19+m.rnd.IntN(5000)), "0.1e-999"}[m.rnd.IntN(5)]
		if huge == "0.1e-999" {
			return set("price", huge), either // 0, or too small: as the decoder likes
		}
		return set("count", huge), buried
	case k < 82: // invalid UTF-8
		return set("carrier", "\"A\xc3\x28\xff\""), buried
	case k < 85:
		return nil, buried // a tombstone
	case k < 87:
		return []byte{}, buried
	case k < 91: // duplicate keys
		return slices.Concat(good[:len(good)-1], []byte(`,"price":1}`)), buried
	case k < 93: // not the JSON that is wanted
		return [][]byte{[]byte("null"), []byte("[]"), []byte(`"text"`), []byte("17"), []byte("<xml/>"), []byte("{}")}[m.rnd.IntN(6)], buried
	case k < 95: // random bytes
		b := make([]byte, m.rnd.IntN(300))
		for i := range b {
			b[i] = byte(m.rnd.Uint32())
		}
		return b, buried
	case k < 97: // unknown keys do no harm
		return slices.Concat(good[:len(good)-1], fmt.Appendf(nil, `,"x%d":"\ud83d\ude00","":null}`, m.rnd.IntN(1000))), answered
	case k < 99:
		return set("price", "1000000"), buried // out of range
	default:
		switch m.rnd.IntN(25) {
		case 0:
			return slices.Concat(good[:len(good)-1], []byte(`,"note":"`), m.large, []byte(`"}`)), buried
		case 1:
			return m.deep, buried
		default:
			return good, answered
		}
	}
}

// TestMillionMixed sends good and bad requests at random. Each must be answered or
// dead-lettered, and none twice. MILLRACE_TEST_MIXED sets how many: `make test-million`.
func TestMillionMixed(t *testing.T) {
	total := 20_000
	if text := os.Getenv("MILLRACE_TEST_MIXED"); text != "" {
		var err error
		total, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	const partitions = 3
	m := newMixer(seeded(t))
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares})
	topics := h.cfg.Topics
	_, err := h.admin.CreateTopic(t.Context(), partitions, -1, nil, topics.RequestsOf("nobody"))
	require.NoError(t, err)
	roles := []string{topics.RequestsOf("fares"), topics.RequestsOf("nobody")}
	details, err := h.admin.ListTopics(t.Context(), roles...)
	require.NoError(t, err)
	topicID := uuid.UUID(details[roles[0]].ID).String()
	began := time.Now()
	h.start("worker,recorder")

	// Per partition, by offset: what must become of a request, and what did. One byte each.
	want := map[string]*[partitions][]verdict{roles[0]: {}, roles[1]: {}}
	goodSum := 0
	for sent := 0; sent < total; {
		n := min(5000, total-sent)
		records := make([]*kgo.Record, n)
		verdicts := make([]verdict, n)
		for i := range records {
			r := &kgo.Record{Topic: roles[0], Partition: int32(m.rnd.IntN(partitions))}
			r.Value, verdicts[i] = m.next()
			if m.rnd.IntN(2) == 0 {
				r.Key = []byte(strconv.Itoa(m.rnd.IntN(1000)))
			}
			if m.rnd.IntN(1000) == 0 {
				r.Topic, verdicts[i] = roles[1], buried
			}
			records[i] = r
		}
		h.produce(records...)
		for i, r := range records {
			list := &want[r.Topic][r.Partition]
			require.EqualValues(t, len(*list), r.Offset)
			*list = append(*list, verdicts[i])
			if verdicts[i] == answered {
				goodSum++
			}
		}
		sent += n
		// Not further ahead than the worker can follow: memory and disk stay small.
		h.eventually("the worker follows", func() (string, bool) {
			lag := h.lag(h.cfg.Worker.Group, roles...)
			return strconv.FormatInt(lag, 10), lag < 100_000
		})
	}
	h.settled(roles...)
	took := time.Since(began)

	results, letters := 0, 0
	settle := func(topic string, at place, as verdict) {
		list := want[topic]
		require.NotNil(t, list, topic)
		require.Less(t, at.offset, int64(len(list[at.partition])))
		v := &list[at.partition][at.offset]
		if *v != as && *v != either {
			require.Fail(t, "answered or dead-lettered twice, or wrongly", "%s %s: %d, wanted %d: %.500q", topic, at, as, *v, h.value(topic, at))
		}
		*v = unsent
	}
	h.each(topics.ResultsOf("fares"), func(rec *schemas.Record) {
		results++
		// {"request_id":"<topic id>/<partition>/<offset>",…
		id, ok := bytes.CutPrefix(rec.Value, []byte(`{"request_id":"`+topicID+`/`))
		require.True(t, ok, "%s", rec.Value)
		var at place
		_, err := fmt.Sscanf(string(id[:bytes.IndexByte(id, '"')]), "%d/%d", &at.partition, &at.offset)
		require.NoError(t, err)
		require.Equal(t, at.partition, rec.Partition)
		settle(roles[0], at, answered)
	})
	h.each(topics.DeadLetters, func(rec *schemas.Record) {
		letters++
		var at place
		_, err := fmt.Sscan(headerOf(rec, schemas.HeaderPartition)+" "+headerOf(rec, schemas.HeaderOffset), &at.partition, &at.offset)
		require.NoError(t, err)
		settle(headerOf(rec, schemas.HeaderTopic), at, buried)
	})
	for topic, list := range want {
		for partition := range list {
			at := slices.IndexFunc(list[partition], func(v verdict) bool { return v != unsent })
			require.Negative(t, at, "%s %d: neither answered nor dead-lettered", topic, partition)
		}
	}
	require.Equal(t, total, results+letters)
	require.GreaterOrEqual(t, results, goodSum)
	h.requireRows("observations_fares", "request", results)
	h.requireRows("dead_letters", "request", letters)
	h.requireRows("dead_letters", "dead_letter", letters)
	h.requireMinutes("fares")
	t.Logf("%d requests, %d results, %d dead letters in %s: %.0f/s", total, results, letters, took.Round(time.Millisecond), float64(total)/took.Seconds())
}
