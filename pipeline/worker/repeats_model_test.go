package worker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

// memoryLog is a partition.
type memoryLog []schemas.Record

// ReadBefore implements past.
func (l memoryLog) ReadBefore(_ context.Context, _ string, _ int32, since time.Time, from, before int64, visit func(rec *schemas.Record) error) error {
	found := false // as Kafka, all from the first that has that time
	for i := range l {
		found = found || !l[i].Timestamp.Before(since)
		if found && l[i].Offset >= from && l[i].Offset < before {
			if err := visit(&l[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// A request is answered exactly where no request with its id came within the window before,
// or where it is a replay, whenever a lane is restarted, loses the partition, or gets a batch
// again. Wrong timestamps of some change nothing for the others, and one that is ahead counts as
// the time of arrival.
func TestRepeatsFollowFromThePartition(t *testing.T) {
	t.Parallel()
	m, err := schemas.ParseManifest("m", []byte("name: m\nversion: \"1\"\nruntime: onnx\nartifact: {file: m.onnx, sha256: "+
		`"`+fmt.Sprintf("%064d", 0)+`"`+"}\nfeatures:\n  - {name: x, type: float64}\noutputs:\n  - {name: y, type: float64}\n"))
	require.NoError(t, err)
	const window = 10 * time.Second
	cfg := config.Worker{MaxRequestBytes: 100, Deduplicate: config.Deduplicate{Window: window, MaxRequests: 1000}}
	rapid.Check(t, func(t *rapid.T) {
		alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer alloc.AssertSize(t, 0)
		decoder, _, err := codec.New(t.Context(), codec.JSON, m, codec.Options{}, alloc)
		require.NoError(t, err)
		defer decoder.Release()
		var log memoryLog
		var arrived []time.Time // when each record came
		at, topic := time.UnixMilli(1_700_000_000_000), uuid.New()
		const (
			repeated = iota + 1
			answered
			either
		)
		want := map[int64]int{}
		type seen struct{ came, said time.Time }
		sightings := map[int][]seen{} // by id
		// A worker that is behind cannot tell timestamps that are ahead by less.
		lag := time.Duration(rapid.SampledFrom([]int{0, 0, 2}).Draw(t, "years of lag")) * 365 * 24 * time.Hour
		wrong := rapid.SampledFrom([]int{0, 0, 1, 4}).Draw(t, "wrong clocks of 10")
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			at = at.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			said := at
			if rapid.IntRange(0, 9).Draw(t, "clock") < wrong {
				said = at.Add(time.Duration(rapid.SampledFrom([]int{20, 3600, 86400 * 365, -15, -86400 * 365}).Draw(t, "seconds off")) * time.Second)
			}
			id := rapid.IntRange(0, 5).Draw(t, "id")
			value := fmt.Sprintf(`{"x":1,"request_id":"%d"}`, id)
			offset := int64(2 * len(log)) // with gaps, as transactions leave them
			var headers []schemas.Header
			kind := rapid.IntRange(0, 9).Draw(t, "kind")
			switch kind {
			case 0:
				value = `{"request_id":` // unusable: it is known by no id
			case 1:
				value += strings.Repeat(" ", cfg.MaxRequestBytes) // too large: it is not even looked at
			case 2:
				headers = []schemas.Header{{Key: schemas.HeaderReplayOf, Value: []byte("t/0/0")}}
			}
			if kind > 1 {
				oldest := said.Add(-window)
				if said.After(at) {
					oldest = at.Add(-window)
				}
				want[offset] = answered
				for _, s := range sightings[id] {
					came := s.said
					if came.After(s.came) {
						came = s.came
					}
					switch {
					case kind == 2:
					case said.After(at) && lag > 0:
						want[offset] = either
					case !came.Before(oldest) && !said.Before(at):
						want[offset] = repeated
					case !s.said.Before(oldest) && want[offset] != repeated:
						// It is behind and what it is compared with may be forgotten, or the other was ahead
						// and has been read back when it no longer was.
						want[offset] = either
					}
				}
				sightings[id] = append(sightings[id], seen{at, said})
			}
			log = append(log, schemas.Record{Topic: "t", TopicID: topic, Offset: offset, Timestamp: said, Value: []byte(value), Headers: headers})
			arrived = append(arrived, at)
		}
		r := newRepeats(cfg, log)
		got := map[int64]bool{}
		for i := 0; i < len(log); i++ {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				r = newRepeats(cfg, log) // a restart
			case 1:
				r.forget(map[string][]int32{"t": {0}}) // a rebalance
			case 2:
				i = max(0, i-rapid.IntRange(1, 5).Draw(t, "again")) // an aborted batch
			}
			rec := &log[i]
			if len(rec.Value) > cfg.MaxRequestBytes {
				continue
			}
			decoded, err := decoder.Append(t.Context(), rec)
			require.NoError(t, err)
			if decoded.Rows == 0 {
				continue
			}
			batch := decoder.NewBatch()
			r.forgetLost()
			r.now = func() time.Time { return arrived[i].Add(lag) }
			r.look()
			p, err := r.partition(t.Context(), rec, decoder)
			require.NoError(t, err)
			if !r.sight(p, schemas.RequestIDs(batch).Value(0), rec.Offset, rec.Timestamp, replayed(rec)) {
				got[rec.Offset] = true
			}
			batch.Release()
		}
		for offset, what := range want {
			if what != either {
				require.Equal(t, what == answered, got[offset], "request at offset %d, seconds after the first: came %v, said %v",
					offset, arrived[offset/2].Sub(arrived[0]).Seconds(), log[offset/2].Timestamp.Sub(arrived[0]).Seconds())
			}
		}
	})
}

func TestRepeatsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRepeats(config.Worker{Deduplicate: config.Deduplicate{Window: time.Hour, MaxRequests: 100}}, nil)
	r.look()
	p := newRemembered(&schemas.Record{})
	at := time.UnixMilli(1_700_000_000_000)
	for i := range int64(10_000) {
		require.False(t, r.sight(p, strconv.FormatInt(i, 10), i, at, false))
		require.LessOrEqual(t, len(p.last), 100)
		require.LessOrEqual(t, cap(p.queue), 4096)
	}
	require.True(t, r.sight(p, "9950", 10_000, at, false))
	require.False(t, r.sight(p, "9850", 10_001, at, false), "the oldest are forgotten")
}
