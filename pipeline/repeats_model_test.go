package pipeline

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

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

// memoryLog is a partition.
type memoryLog []schemas.Record

// ReadBefore implements past.
func (l memoryLog) ReadBefore(_ context.Context, _ string, _ int32, since time.Time, before int64, visit func(rec *schemas.Record) error) error {
	for i := range l {
		if l[i].Offset < before && !l[i].Timestamp.Before(since) {
			if err := visit(&l[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// A request is answered exactly where no request with its id came within the window before,
// or where it is a replay, whenever a lane is restarted, loses the partition, or gets a batch
// again.
func TestRepeatsFollowFromThePartition(t *testing.T) {
	t.Parallel()
	m, err := schemas.ParseManifest("m", []byte("name: m\nversion: \"1\"\nruntime: onnx\nartifact: {file: m.onnx, sha256: "+
		`"`+fmt.Sprintf("%064d", 0)+`"`+"}\nfeatures:\n  - {name: x, type: float64}\noutputs:\n  - {name: y, type: float64}\n"))
	require.NoError(t, err)
	const window = 10 * time.Second
	cfg := WorkerConfig{MaxRequestBytes: 100, Deduplicate: DeduplicateConfig{Window: window, MaxRequests: 1000}}
	rapid.Check(t, func(t *rapid.T) {
		alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer alloc.AssertSize(t, 0)
		decoder, _, err := codec.New(t.Context(), codec.JSON, m, codec.Options{}, alloc)
		require.NoError(t, err)
		defer decoder.Release()
		var log memoryLog
		at, topic := time.UnixMilli(1_700_000_000_000), uuid.New()
		fresh := map[int64]bool{}
		seen := map[int]time.Time{} // when an id came last
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			at = at.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			id := rapid.IntRange(0, 5).Draw(t, "id")
			value := fmt.Sprintf(`{"x":1,"request_id":"%d"}`, id)
			offset := int64(2 * len(log)) // with gaps, as transactions leave them
			var headers []schemas.Header
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0:
				value = `{"request_id":` // unusable: it is known by no id
			case 1:
				value += strings.Repeat(" ", cfg.MaxRequestBytes) // too large: it is not even looked at
			case 2:
				headers = []schemas.Header{{Key: schemas.HeaderReplayOf, Value: []byte("t/0/0")}}
				fresh[offset] = true
				seen[id] = at
			default:
				if last, ok := seen[id]; !ok || at.Sub(last) > window {
					fresh[offset] = true
				}
				seen[id] = at
			}
			log = append(log, schemas.Record{Topic: "t", TopicID: topic, Offset: offset, Timestamp: at, Value: []byte(value), Headers: headers})
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
			p, err := r.partition(t.Context(), rec, decoder)
			require.NoError(t, err)
			if !r.sight(p, requestIDs(batch).Value(0), rec.Offset, rec.Timestamp, replayed(rec)) {
				got[rec.Offset] = true
			}
			batch.Release()
		}
		require.Equal(t, fresh, got)
	})
}

func TestRepeatsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRepeats(WorkerConfig{Deduplicate: DeduplicateConfig{Window: time.Hour, MaxRequests: 100}}, nil)
	p := &remembered{last: map[idHash]int64{}}
	at := time.UnixMilli(1_700_000_000_000)
	for i := range int64(10_000) {
		require.False(t, r.sight(p, strconv.FormatInt(i, 10), i, at, false))
		require.LessOrEqual(t, len(p.last), 100)
		require.LessOrEqual(t, cap(p.queue), 4096)
	}
	require.True(t, r.sight(p, "9950", 10_000, at, false))
	require.False(t, r.sight(p, "9850", 10_001, at, false), "the oldest are forgotten")
}
