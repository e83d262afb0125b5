package pipeline

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/sinks/kafka"
)

var nan = math.NaN()

// laneHandler answers the request batches of one lane: it decodes, scores, encodes and
// publishes. It is called by one goroutine and owns everything that it holds.
type laneHandler struct {
	cfg     Config
	lane    int
	metrics *Metrics
	alloc   memory.Allocator
	served  map[string]*served // by model
	arena   []byte             // bytes published in this batch; they live until the next one
	done    *Progress
}

// served is one version as one lane serves it.
type served struct {
	ref      inference.Ref
	manifest *schemas.Manifest
	instance inference.Instance
	decoder  *codec.Decoder
	results  *codec.ResultEncoder
	observed *codec.ObservationEncoder
	topic    string // of results
	records  []*schemas.Record
	bytes    int
	latency  []int64
	queue    []int64
}

// newLaneHandler loads one instance of every model for the lane. Close it.
func newLaneHandler(ctx context.Context, cfg Config, lane int, models []*inference.Model, rt inference.Runtime, alloc memory.Allocator, m *Metrics, done *Progress) (*laneHandler, error) {
	h := &laneHandler{cfg: cfg, lane: lane, metrics: m, alloc: alloc, served: map[string]*served{}, done: done}
	for _, model := range models {
		s, err := h.load(ctx, model, rt)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lane %d: %w", lane, err), h.Close())
		}
		h.served[model.Manifest.Name] = s
	}
	return h, nil
}

func (h *laneHandler) load(ctx context.Context, model *inference.Model, rt inference.Runtime) (*served, error) {
	decoder, err := codec.NewDecoder(model.Manifest, h.alloc)
	if err != nil {
		return nil, err
	}
	instance, err := inference.NewInstance(ctx, rt, model, h.alloc)
	if err != nil {
		decoder.Release()
		return nil, err
	}
	observed, err := codec.NewObservationEncoder(model.Manifest)
	if err != nil {
		decoder.Release()
		return nil, errors.Join(err, instance.Close())
	}
	return &served{
		ref: model.Ref(), manifest: model.Manifest, instance: instance, decoder: decoder,
		results:  codec.NewResultEncoder(model.Manifest),
		observed: observed,
		topic:    h.cfg.Topics.ResultsOf(model.Manifest.Name),
	}, nil
}

// Close frees the instances.
func (h *laneHandler) Close() error {
	var errs []error
	for _, s := range h.served {
		errs = append(errs, s.instance.Close())
		s.decoder.Release()
	}
	return errors.Join(errs...)
}

// Handle implements consumers.Handler.
func (h *laneHandler) Handle(ctx context.Context, records []schemas.Record, fetched time.Time, out consumers.Publisher) error {
	h.arena = h.arena[:0]
	for _, s := range h.served {
		s.reset() // of a batch that failed
	}
	for i := range records {
		rec := &records[i]
		model, _ := h.cfg.Topics.ModelOf(rec.Topic)
		s, ok := h.served[model]
		switch {
		case len(rec.Value) > h.cfg.Worker.MaxRequestBytes:
			h.bury(out, rec, schemas.Errorf(schemas.ErrorClassTooLarge, "the request has %d bytes; worker.max_request_bytes is %d",
				len(rec.Value), h.cfg.Worker.MaxRequestBytes), inference.Ref{Name: model})
		case !ok:
			h.bury(out, rec, schemas.Errorf(schemas.ErrorClassNoVersion, "no version of model %q is deployed for topic %s", model, rec.Topic), inference.Ref{Name: model})
		default:
			if err := h.take(ctx, s, rec, fetched, out); err != nil {
				return err
			}
		}
	}
	for _, s := range h.served {
		if err := h.score(ctx, s, fetched, out); err != nil {
			return err
		}
	}
	return nil
}

func (s *served) reset() {
	if s.decoder.Rows() > 0 {
		s.decoder.NewBatch().Release()
	}
	clear(s.records)
	s.records, s.bytes = s.records[:0], 0
}

// take decodes one record, and scores what has gathered when the batch is full.
func (h *laneHandler) take(ctx context.Context, s *served, rec *schemas.Record, fetched time.Time, out consumers.Publisher) error {
	if len(s.records) == 0 {
		s.decoder.Reserve(min(s.manifest.Batch.MaxRows, h.cfg.Worker.MaxBatchRows))
	}
	if fault := s.decoder.Append(rec); fault != nil {
		h.bury(out, rec, fault, s.ref)
		return nil
	}
	s.records = append(s.records, rec)
	s.bytes += len(rec.Value)
	if len(s.records) >= s.manifest.Batch.MaxRows || s.bytes >= s.manifest.Batch.MaxBytes {
		return h.score(ctx, s, fetched, out)
	}
	return nil
}

// score answers what has gathered for one version.
func (h *laneHandler) score(ctx context.Context, s *served, fetched time.Time, out consumers.Publisher) error {
	if len(s.records) == 0 {
		return nil
	}
	defer s.reset()
	batch := s.decoder.NewBatch()
	defer batch.Release()
	began := time.Now()
	predictions, failed, err := s.instance.Predict(ctx, batch)
	if err != nil {
		return fmt.Errorf("score %d rows with %s: %w", len(s.records), s.ref, err)
	}
	defer predictions.Release()
	encoding := time.Now()
	h.metrics.scoring.WithLabelValues(s.ref.Name, s.ref.Version).Observe(encoding.Sub(began).Seconds())
	failed, tooLarge := h.answer(s, batch, predictions, failed, fetched, encoding, out)
	if len(tooLarge) > 0 {
		all := predictions
		if predictions, err = withoutRows(all, tooLarge, h.alloc); err != nil {
			return err
		}
		defer predictions.Release()
		failed = append(failed, tooLarge...)
	}
	h.observe(s, batch, predictions, failed, encoding, out)
	h.count(s, len(failed), encoding.Sub(fetched))
	return nil
}

// answer publishes a result for each row that succeeded and a dead letter for each that
// did not. It returns the latter: those of the runtime, and those too large to send.
func (h *laneHandler) answer(s *served, batch, predictions arrow.Record, failed []schemas.RowError, fetched, encoding time.Time, out consumers.Publisher) (_, tooLarge []schemas.RowError) {
	s.results.Bind(batch, predictions)
	s.latency, s.queue = s.latency[:0], s.queue[:0]
	latency := encoding.Sub(fetched).Microseconds()
	next := 0 // index into failed, which ascends by row
	for row, rec := range s.records {
		queue := max(0, fetched.Sub(rec.Timestamp).Microseconds())
		s.latency, s.queue = append(s.latency, latency), append(s.queue, queue)
		if next < len(failed) && failed[next].Row == row {
			h.bury(out, rec, failed[next].RequestError, s.ref)
			next++
			continue
		}
		from := len(h.arena)
		h.arena = s.results.AppendRow(h.arena, row, latency, queue)
		value := h.arena[from:len(h.arena):len(h.arena)]
		if fault := tooLargeResult(rec, value, predictions, row); fault != nil {
			tooLarge = append(tooLarge, schemas.RowError{Row: row, RequestError: fault})
			h.bury(out, rec, fault, s.ref)
			continue
		}
		out.Publish(schemas.Message{Topic: s.topic, Partition: rec.Partition, Key: rec.Key, Value: value, Headers: rec.Headers})
	}
	return failed, tooLarge
}

// resultOverhead is what Kafka's record batch adds to the largest result, generously.
const resultOverhead = 4 << 10

// tooLargeResult says why a result cannot be sent, or its prediction not be observed.
func tooLargeResult(rec *schemas.Record, value []byte, predictions arrow.Record, row int) *schemas.RequestError {
	if size := len(value) + headersBytes(rec) + len(rec.Key); size > schemas.MaxResultBytes-resultOverhead {
		return schemas.Errorf(schemas.ErrorClassResultTooLarge, "the result has %d bytes; at most %d are allowed", size, schemas.MaxResultBytes-resultOverhead)
	}
	if len(value) <= schemas.MaxTextBytes {
		return nil
	}
	texts := 0
	for _, c := range predictions.Columns() {
		if text, ok := c.(*array.String); ok {
			texts += len(text.Value(row))
		}
	}
	if texts > schemas.MaxTextBytes {
		return schemas.Errorf(schemas.ErrorClassResultTooLarge, "the texts of the prediction have %d bytes; at most %d are allowed", texts, schemas.MaxTextBytes)
	}
	return nil
}

// withoutRows returns the predictions with NULL in the outputs of those rows. The caller
// releases the result.
func withoutRows(predictions arrow.Record, rows []schemas.RowError, alloc memory.Allocator) (arrow.Record, error) {
	columns := make([]arrow.Array, 0, predictions.NumCols())
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	for _, c := range predictions.Columns() {
		null := array.MakeArrayOfNull(alloc, c.DataType(), 1)
		pieces := make([]arrow.Array, 0, 2*len(rows)+1)
		next := 0
		for _, r := range rows {
			pieces = append(pieces, array.NewSlice(c, int64(next), int64(r.Row)), null)
			null.Retain()
			next = r.Row + 1
		}
		pieces = append(pieces, array.NewSlice(c, int64(next), int64(c.Len())))
		joined, err := array.Concatenate(pieces, alloc)
		null.Release()
		for _, p := range pieces {
			p.Release()
		}
		if err != nil {
			return nil, fmt.Errorf("leave %d predictions out: %w", len(rows), err)
		}
		columns = append(columns, joined)
	}
	return array.NewRecord(predictions.Schema(), columns, predictions.NumRows()), nil
}

func headersBytes(rec *schemas.Record) int {
	n := 0
	for _, h := range rec.Headers {
		n += len(h.Key) + len(h.Value) + 10
	}
	return n
}

func (h *laneHandler) observe(s *served, batch, predictions arrow.Record, failed []schemas.RowError, scoredAt time.Time, out consumers.Publisher) {
	headers := []schemas.Header{
		{Key: schemas.HeaderModel, Value: []byte(s.ref.Name)},
		{Key: schemas.HeaderVersion, Value: []byte(s.ref.Version)},
	}
	scored := &codec.Scored{Batch: batch, Predictions: predictions, Failed: failed, LatencyUS: s.latency, QueueUS: s.queue}
	var parts []codec.Part
	h.arena, parts = s.observed.Append(h.arena, scored, scoredAt)
	for _, p := range parts {
		out.Publish(schemas.Message{
			Topic: h.cfg.Topics.Observations, Partition: h.spread(s.ref.Name), Key: headers[0].Value,
			Value:   h.arena[p.From:p.To:p.To],
			Headers: append(headers[:2:2], schemas.Header{Key: schemas.HeaderRows, Value: strconv.AppendInt(nil, int64(p.Rows), 10)}),
		})
	}
}

// spread gives each lane one of the partitions that a model's observations go to.
func (h *laneHandler) spread(model string) int32 {
	hash := fnv.New32a()
	hash.Write([]byte(model)) //nolint:gosec // writing to a hash never fails
	return int32((hash.Sum32()%uint32(h.cfg.Topics.Spread) + uint32(h.lane)) % uint32(h.cfg.Topics.Spread))
}

// bury publishes the dead letter of a record.
func (h *laneHandler) bury(out consumers.Publisher, rec *schemas.Record, fault *schemas.RequestError, ref inference.Ref) {
	h.done.DeadLetters.Add(1)
	h.metrics.deadLetters.WithLabelValues(ref.Name, string(fault.Class)).Inc()
	out.Publish(kafka.DeadLetter(h.cfg.Topics.DeadLetters, rec, kafka.WholeRecord, fault, ref.Name, ref.Version, time.Now()))
}

func (h *laneHandler) count(s *served, failed int, latency time.Duration) {
	n := len(s.records)
	h.done.Answered.Add(int64(n - failed))
	name, version := s.ref.Name, s.ref.Version
	h.metrics.requests.WithLabelValues(name, version, schemas.OutcomeOK).Add(float64(n - failed))
	if failed > 0 {
		h.metrics.requests.WithLabelValues(name, version, schemas.OutcomeFailed).Add(float64(failed))
	}
	h.metrics.inference.WithLabelValues(name, version).Add(float64(n))
	h.metrics.executions.WithLabelValues(name, version).Inc()
	h.metrics.latency.Observe(latency.Seconds())
	h.metrics.queue.Observe(float64(s.queue[0]) / 1e6)
}
