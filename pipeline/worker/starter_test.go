package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/schemas/observe"
)

// memoryKafka is topics in memory. Offsets without a record are those of control records.
type memoryKafka struct {
	ends    map[string]map[int32]consumers.Span
	records map[string][]schemas.Record // in the order of each partition's offsets
	read    map[string]int              // records that were read, by topic
	unread  map[string]int64            // the offset of a batch of partition 0 that cannot be read, by topic
}

func (k *memoryKafka) Ranges(_ context.Context, topic string) (map[int32]consumers.Span, error) {
	return k.ends[topic], nil
}

func (k *memoryKafka) ReadRanges(_ context.Context, topic string, ranges map[int32]consumers.Span, visit func(rec *schemas.Record) error) error {
	for i := range k.records[topic] {
		rec := &k.records[topic][i]
		if r, ok := ranges[rec.Partition]; ok && rec.Offset >= r.Start && rec.Offset < r.End {
			k.read[topic]++
			if err := visit(rec); err != nil {
				return err
			}
		}
	}
	if at, ok := k.unread[topic]; ok {
		if r, ok := ranges[0]; ok && at >= r.Start && at < r.End {
			return &consumers.UnreadableBatchError{Topic: topic, Offset: at, Next: at + 1, Err: errors.New("damaged")}
		}
	}
	return nil
}

func (k *memoryKafka) OffsetsAt(_ context.Context, topic string, at time.Time) (map[int32]int64, error) {
	offsets := map[int32]int64{}
	for p, r := range k.ends[topic] {
		offsets[p] = r.End
	}
	for _, rec := range slices.Backward(k.records[topic]) {
		if !rec.Timestamp.Before(at) {
			offsets[rec.Partition] = rec.Offset
		}
	}
	return offsets, nil
}

// append adds a record, at the end of its partition, and returns its offset.
func (k *memoryKafka) append(topic string, rec schemas.Record) int64 {
	if k.ends[topic] == nil {
		k.ends[topic] = map[int32]consumers.Span{}
	}
	r := k.ends[topic][rec.Partition]
	rec.Topic, rec.Offset = topic, r.End
	r.End++
	k.ends[topic][rec.Partition] = r
	k.records[topic] = append(k.records[topic], rec)
	return rec.Offset
}

// skip adds offsets that no record is at.
func (k *memoryKafka) skip(topic string, partition int32, n int64) {
	k.append(topic, schemas.Record{Partition: partition})
	k.records[topic] = k.records[topic][:len(k.records[topic])-1]
	r := k.ends[topic][partition]
	r.End += n - 1
	k.ends[topic][partition] = r
}

// trim deletes the records of a partition before an offset.
func (k *memoryKafka) trim(topic string, partition int32, to int64) {
	k.ends[topic][partition] = consumers.Span{Start: to, End: k.ends[topic][partition].End}
	k.records[topic] = slices.DeleteFunc(k.records[topic], func(rec schemas.Record) bool { return rec.Partition == partition && rec.Offset < to })
}

// world is a Kafka with one model, and what its workers wrote.
type world struct {
	*memoryKafka
	tb      require.TestingT
	topics  schemas.Topics
	id      uuid.UUID // of the requests topic
	decoder codec.Requests
	encoder *observe.Encoder
	outputs *arrow.Schema
	now     time.Time
}

func newWorld(ctx context.Context, tb require.TestingT) *world {
	m, err := schemas.ParseManifest("m", []byte("name: m\nversion: \"1\"\nruntime: onnx\nartifact: {file: m.onnx, sha256: "+
		`"`+fmt.Sprintf("%064d", 0)+`"`+"}\nfeatures:\n  - {name: x, type: float64}\noutputs:\n  - {name: y, type: float64}\n"))
	require.NoError(tb, err)
	decoder, _, err := codec.New(ctx, codec.JSON, m, codec.Options{}, memory.NewGoAllocator())
	require.NoError(tb, err)
	encoder, err := observe.NewEncoder(m, schemas.MaxObservationBytes)
	require.NoError(tb, err)
	return &world{
		memoryKafka: &memoryKafka{ends: map[string]map[int32]consumers.Span{}, records: map[string][]schemas.Record{}, read: map[string]int{}},
		tb:          tb, topics: schemas.DefaultTopics(), id: uuid.New(), decoder: decoder, encoder: encoder,
		outputs: arrow.NewSchema(m.OutputFields(), nil), now: time.UnixMilli(1_700_000_000_000),
	}
}

func (w *world) requests() string { return w.topics.RequestsOf("m") }
func (w *world) results() string  { return w.topics.ResultsOf("m") }

// request sends a request and returns its offset.
func (w *world) request(partition int32) int64 {
	w.now = w.now.Add(time.Second)
	return w.append(w.requests(), schemas.Record{Partition: partition, Timestamp: w.now})
}

// observe writes one observation record of requests of a partition, and a result of each.
func (w *world) observe(ctx context.Context, to, partition int32, offsets ...int64) {
	if len(offsets) == 0 {
		return
	}
	w.now = w.now.Add(time.Second)
	for _, at := range offsets {
		_, err := w.decoder.Append(ctx, &schemas.Record{Topic: w.requests(), TopicID: w.id, Partition: partition, Offset: at, Timestamp: w.now, Value: []byte(`{"x":1}`)})
		require.NoError(w.tb, err)
		w.append(w.results(), schemas.Record{Partition: partition, Timestamp: w.now})
	}
	batch := w.decoder.NewBatch()
	defer batch.Release()
	b := array.NewFloat64Builder(memory.NewGoAllocator())
	b.AppendValues(make([]float64, len(offsets)), nil)
	predictions := array.NewRecord(w.outputs, []arrow.Array{b.NewArray()}, batch.NumRows())
	times := make([]int64, len(offsets))
	value, _ := w.encoder.Append(nil, &observe.Scored{Batch: batch, Predictions: predictions, LatencyUS: times, QueueUS: times}, w.now)
	w.append(w.topics.Observations, schemas.Record{
		Partition: to, Timestamp: w.now, Value: value, Headers: []schemas.Header{{Key: schemas.HeaderModel, Value: []byte("m")}},
	})
}

// bury writes the dead letter of a request.
func (w *world) bury(partition int32, offset int64) {
	m := schemas.NewDeadLetter(w.topics.DeadLetters, &schemas.Record{Topic: w.requests(), TopicID: w.id, Partition: partition, Offset: offset},
		schemas.WholeRecord, schemas.Errorf(schemas.ErrorClassMalformed, "no JSON"), "m", "1", w.now)
	w.append(m.Topic, schemas.Record{Timestamp: w.now, Headers: m.Headers})
}

// start asks where the partitions of the requests topic begin, by partition.
func (w *world) start(ctx context.Context, setting string, delivery consumers.Delivery) ([]int64, error) {
	cfg := config.Default()
	cfg.Worker.Start, cfg.Worker.Delivery = setting, delivery
	var partitions []consumers.Unstarted
	for p := range int32(len(w.ends[w.requests()])) {
		r := w.ends[w.requests()][p]
		partitions = append(partitions, consumers.Unstarted{Topic: w.requests(), TopicID: w.id, Partition: p, Start: r.Start, End: r.End})
	}
	return newStarter(cfg, zerolog.Nop(), w).Start(ctx, partitions)
}

// A group without offsets that starts behind what was answered answers nothing again and leaves
// nothing out. At least once it may answer again what came behind a request without an answer,
// and nothing before it.
func TestStartBehindWhatWasAnswered(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		w := newWorld(ctx, t)
		delivery := rapid.SampledFrom([]consumers.Delivery{consumers.ExactlyOnce, consumers.AtLeastOnce}).Draw(t, "delivery")
		if rapid.Bool().Draw(t, "made again") { // what was answered of the topic of that name before is nothing
			w.id = uuid.New()
			w.observe(ctx, 0, 0, 0, 1, 2, 100)
			w.bury(1, 50)
			w.id = uuid.New()
		}
		const partitions = 2
		traced := [partitions]map[int64]bool{{}, {}} // answered, by offset
		var rest [partitions][]int64                 // not answered, repetitions aside
		trim := map[int32]int64{}
		for p := range int32(partitions) {
			w.ends[w.requests()] = map[int32]consumers.Span{0: w.ends[w.requests()][0], 1: w.ends[w.requests()][1]}
			for range rapid.IntRange(0, 6).Draw(t, "batches") {
				var scored []int64
				for range rapid.IntRange(1, 8).Draw(t, "requests") {
					kind := rapid.IntRange(0, 9).Draw(t, "kind")
					if kind == 0 {
						w.skip(w.requests(), p, 1)
						continue
					}
					at := w.request(p)
					switch {
					case kind == 1 && delivery == consumers.ExactlyOnce: // a repetition leaves no trace
						continue
					case kind <= 3:
						w.bury(p, at)
					default:
						scored = append(scored, at)
					}
					traced[p][at] = true
				}
				if delivery == consumers.AtLeastOnce && rapid.IntRange(0, 4).Draw(t, "lost") == 0 { // a crash, and the group's offsets are lost
					for _, at := range scored {
						delete(traced[p], at)
						rest[p] = append(rest[p], at)
					}
					continue
				}
				w.observe(ctx, int32(rapid.IntRange(0, 1).Draw(t, "lane")), p, scored...)
			}
			for range rapid.IntRange(0, 3).Draw(t, "new requests") {
				rest[p] = append(rest[p], w.request(p))
			}
			if r := w.ends[w.requests()][p]; r.End > 0 && rapid.Bool().Draw(t, "retention") {
				trim[p] = rapid.Int64Range(0, r.End).Draw(t, "to")
				w.trim(w.requests(), p, trim[p])
			}
		}
		answered := false
		for p := range int32(partitions) {
			r := w.ends[w.requests()][p]
			left := slices.ContainsFunc(w.records[w.requests()], func(rec schemas.Record) bool { return rec.Partition == p })
			answered = answered || (left && r.End > r.Start && len(traced[p]) > 0)
		}
		_, err := w.start(ctx, "", delivery)
		require.Equal(t, answered, err != nil, "it refuses where something was answered: %v", err)
		starts, err := w.start(ctx, "answered", delivery)
		require.NoError(t, err)
		for p, start := range starts {
			r := w.ends[w.requests()][int32(p)]
			require.GreaterOrEqual(t, start, r.Start)
			require.LessOrEqual(t, start, r.End)
			if r.Start == r.End {
				continue
			}
			for _, at := range rest[p] {
				if at >= r.Start {
					require.LessOrEqual(t, start, at, "request %d of partition %d was not answered", at, p)
				}
			}
			for at := range traced[p] {
				if at >= start {
					first := slices.IndexFunc(rest[p], func(open int64) bool { return open >= r.Start })
					require.True(t, first >= 0 && rest[p][first] == start && delivery == consumers.AtLeastOnce,
						"request %d of partition %d was answered and comes again from %d on", at, p, start)
				}
			}
		}
	})
}

// A new model, and a new installation, start at the earliest without reading the observations
// of others.
func TestNewModelStartsWithoutReadingWhatOthersWereAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t.Context(), t)
	for range 2 * fewRecords {
		w.append(w.topics.Observations, schemas.Record{Headers: []schemas.Header{{Key: schemas.HeaderModel, Value: []byte("other")}}})
	}
	w.request(0)
	w.request(1)
	for _, setting := range []string{"", "earliest", "latest", "answered", "2026-11-29T12:00:00Z"} {
		clear(w.read)
		starts, err := w.start(t.Context(), setting, consumers.ExactlyOnce)
		require.NoError(t, err)
		require.Equal(t, []int64{0, 0}, starts, setting)
		require.LessOrEqual(t, w.read[w.topics.Observations], 2*fewRecords, setting)
	}
}

// A partition that was answered is told by the last observations.
func TestRefusalReadsTheLastObservations(t *testing.T) {
	t.Parallel()
	w := newWorld(t.Context(), t)
	for range 1000 {
		w.observe(t.Context(), 0, 0, w.request(0))
	}
	_, err := w.start(t.Context(), "", consumers.ExactlyOnce)
	require.ErrorContains(t, err, "up to offset 999 at least")
	require.Equal(t, firstPiece, w.read[w.topics.Observations])
}

// A batch of observations or dead letters that cannot be read is not the fault of partitions that
// are started: those of which nothing was answered begin, and so do others where an operator says
// where. What cannot be told is where the answers end.
func TestStartBesideWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, delivery := range []consumers.Delivery{consumers.ExactlyOnce, consumers.AtLeastOnce} {
		for _, of := range []string{"observations", "deadletters"} {
			w := newWorld(t.Context(), t)
			var offsets []int64
			for range 10 {
				offsets = append(offsets, w.request(0))
			}
			w.observe(t.Context(), 0, 0, offsets[:4]...)
			w.bury(0, 4)
			topic := "millrace." + of
			w.unread = map[string]int64{topic: w.append(topic, schemas.Record{})}
			w.records[topic] = w.records[topic][:len(w.records[topic])-1]
			w.request(1)
			for setting, want := range map[string]int64{"earliest": 0, "latest": 10} {
				starts, err := w.start(t.Context(), setting, delivery)
				require.NoError(t, err)
				require.Equal(t, []int64{want, 0}, starts, setting)
			}
			for _, setting := range []string{"", "answered"} {
				_, err := w.start(t.Context(), setting, delivery)
				var refused *consumers.StartError
				require.ErrorAs(t, err, &refused)
				if setting == "answered" {
					require.ErrorContains(t, err, "which requests a batch of "+topic+" tells of that cannot be read (partition 0, offset 1) is not known")
				}
			}
			other := w.topics.RequestsOf("n") // another model, which nobody has answered
			w.append(other, schemas.Record{Timestamp: w.now})
			cfg := config.Default()
			cfg.Worker.Delivery = delivery
			starts, err := newStarter(cfg, zerolog.Nop(), w).Start(t.Context(), []consumers.Unstarted{{Topic: other, TopicID: uuid.New(), Start: 0, End: 1}})
			require.NoError(t, err)
			require.Equal(t, []int64{0}, starts)
		}
	}
}

// The dead letter of a batch of requests that was set aside answers all of them.
func TestStartBehindABatchThatWasSetAside(t *testing.T) {
	t.Parallel()
	for _, delivery := range []consumers.Delivery{consumers.ExactlyOnce, consumers.AtLeastOnce} {
		w := newWorld(t.Context(), t)
		w.observe(t.Context(), 0, 0, w.request(0))
		w.skip(w.requests(), 0, 17)
		w.bury(0, 1)
		letter := &w.records[w.topics.DeadLetters][0]
		letter.Headers = append(letter.Headers, schemas.Header{Key: schemas.HeaderLastOffset, Value: []byte("17")})
		w.request(0)
		starts, err := w.start(t.Context(), "answered", delivery)
		require.NoError(t, err)
		require.Equal(t, []int64{18}, starts)
	}
}

func TestStartWhereThatIsSet(t *testing.T) {
	t.Parallel()
	w := newWorld(t.Context(), t)
	var offsets []int64
	for range 10 {
		offsets = append(offsets, w.request(0))
	}
	at := w.records[w.requests()][4].Timestamp.UTC().Format(time.RFC3339)
	w.observe(t.Context(), 0, 0, offsets[:7]...)
	w.request(1) // was never answered, so it begins at the start whatever is set
	for setting, want := range map[string]int64{"earliest": 0, "latest": 10, at: 4, "2100-01-01T00:00:00Z": 10, "2001-01-01T00:00:00Z": 0, "answered": 7} {
		starts, err := w.start(t.Context(), setting, consumers.ExactlyOnce)
		require.NoError(t, err)
		require.Equal(t, []int64{want, 0}, starts, setting)
	}
}

// Where observations of results are gone, nobody can tell what was answered.
func TestStartIsRefusedWhereObservationsAreGone(t *testing.T) {
	t.Parallel()
	filled := func() *world {
		w := newWorld(t.Context(), t)
		for range 100 {
			w.observe(t.Context(), 0, 0, w.request(0))
		}
		w.bury(0, w.request(0))
		w.request(0)
		return w
	}
	for name, tc := range map[string]struct {
		lose     func(w *world)
		delivery consumers.Delivery
		refused  bool
	}{
		"retention has some of them, exactly once":  {func(w *world) { w.trim(w.topics.Observations, 0, 50) }, consumers.ExactlyOnce, false},
		"retention has some of them, at least once": {func(w *world) { w.trim(w.topics.Observations, 0, 50) }, consumers.AtLeastOnce, true},
		"with their requests, at least once": {func(w *world) {
			w.trim(w.topics.Observations, 0, 50)
			w.trim(w.requests(), 0, 50)
		}, consumers.AtLeastOnce, false},
		"retention has all of them":  {func(w *world) { w.trim(w.topics.Observations, 0, 100) }, consumers.ExactlyOnce, true},
		"their topic was made again": {func(w *world) { delete(w.ends, w.topics.Observations) }, consumers.ExactlyOnce, true},
		"results are gone as well": {func(w *world) {
			w.trim(w.topics.Observations, 0, 100)
			w.trim(w.results(), 0, 100)
		}, consumers.ExactlyOnce, true},
		"the results topic was made again": {func(w *world) { delete(w.ends, w.results()) }, consumers.ExactlyOnce, false},
		"the log of the requests has lost its end": {func(w *world) {
			w.ends[w.requests()][0] = consumers.Span{End: 90}
		}, consumers.ExactlyOnce, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := filled()
			tc.lose(w)
			starts, err := w.start(t.Context(), "answered", tc.delivery)
			if tc.refused {
				var refusal *consumers.StartError
				require.ErrorAs(t, err, &refusal)
				require.NotContains(t, err.Error(), "--set worker.start=answered")
				require.Contains(t, err.Error(), "--set worker.start=earliest")
			} else {
				require.NoError(t, err)
				require.Equal(t, []int64{101}, starts)
			}
			_, err = w.start(t.Context(), "", tc.delivery)
			require.Error(t, err)
		})
	}
}

// What an aborted transaction of results, or the ends of transactions of requests, leave in the
// logs is no answer, and no request.
func TestControlRecordsAreNeitherAnswersNorRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t.Context(), t)
	w.request(0)
	w.skip(w.results(), 0, 5)
	w.skip(w.topics.Observations, 0, 5)
	starts, err := w.start(t.Context(), "", consumers.ExactlyOnce)
	require.NoError(t, err)
	require.Equal(t, []int64{0}, starts)

	w = newWorld(t.Context(), t)
	w.observe(t.Context(), 0, 0, w.request(0))
	w.skip(w.requests(), 0, 1)
	w.trim(w.requests(), 0, 1) // so nothing is left but the end of a transaction
	starts, err = w.start(t.Context(), "", consumers.ExactlyOnce)
	require.NoError(t, err)
	require.Equal(t, []int64{1}, starts)
}
