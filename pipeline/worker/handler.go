package worker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/role"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/schemas/observe"
)

// laneHandler answers the request batches of one lane: it decodes, scores, encodes and
// publishes. It is called by one goroutine and owns everything that it holds.
type laneHandler struct {
	cfg     config.Config
	lane    int
	metrics *Metrics
	alloc   memory.Allocator
	topics  map[string]*topic // by model
	drafts  []string          // models of which every version is a draft
	repeats *repeats          // nil where requests are not deduplicated
	done    *role.Progress
	room    int         // bytes for dead letters of rows that is left in this request batch; see maxRowLetters
	letters []rowLetter // of the record that is being answered
}

// topic is the requests topic of a model as one lane answers it.
type topic struct {
	codec   codec.Codec
	results string   // topic of the results
	serving *version // another one can take its place between two request batches; nil where the model is failed
	hand    inHand

	offered atomic.Pointer[version] // takes that place at the next request batch
	fault   atomic.Pointer[string]  // why none serves
}

// version is a version as one lane serves it. Nothing of it changes but what its parts hold of the
// batch in hand.
type version struct {
	ref      inference.Ref
	manifest *schemas.Manifest
	requests codec.Requests
	past     codec.Requests // decodes what came before; nil where requests are not deduplicated
	instance inference.Instance
	results  codec.Results
	observed *observe.Encoder
}

// inHand is what of a request batch is answered together: requests of one topic, by one version,
// and what becomes of them. It is used again for the next.
type inHand struct {
	*topic
	*version
	out     consumers.Publisher
	fetched time.Time

	records []decoded
	bytes   int

	batch       arrow.Record
	predictions arrow.Record       // rows of failed are NULL
	failed      []schemas.RowError // ascend by row
	scoredAt    time.Time
	latency     []int64 // by row
	queue       []int64 // by row
}

// decoded is a record that could be decoded, though all of its rows may have been refused.
type decoded struct {
	*schemas.Record
	from, rows int // in the batch
	refused    []schemas.RowError
}

// rowLetter is the dead letter of one row of a record of many.
type rowLetter struct {
	row   int // of the record
	fault *schemas.RequestError
	value []byte
}

// Bounds of the dead letters of rows, in bytes. Each letter repeats what its row shares with
// others, names of columns and entries of dictionaries, so that the letters of a record may be
// many times as large as it. They may take twice the record's size and smallLetters, or the room
// that is left in the request batch where that is more; but at most maxRowLetters, which is less
// than the largest dead letter. The room is maxRowLetters at first, and shrinks by what letters
// take beyond twice their record's size and smallLetters.
const (
	maxRowLetters  = 7 << 20
	smallLetters   = 4 << 10
	letterOverhead = 512 // what our headers and Kafka add to each, about
)

// workerParts are what the lanes of a worker share. All are safe for concurrent use.
type workerParts struct {
	runtime  inference.Runtime
	registry codec.Registry // nil without one
	past     past
	metrics  *Metrics
}

// newLaneHandler prepares a lane for the models that are to serve: of each it needs a version to be
// offered. Close it.
func newLaneHandler(env *role.Env, lane int, router *inference.Router, w workerParts) *laneHandler {
	cfg := env.Config
	h := &laneHandler{cfg: cfg, lane: lane, metrics: w.metrics, alloc: env.Memory, topics: map[string]*topic{}, done: env.Done, drafts: router.Drafts()}
	if cfg.Worker.Deduplicate.Window > 0 {
		h.repeats = newRepeats(cfg.Worker, w.past)
	}
	for _, name := range router.Models() {
		h.topics[name] = &topic{codec: cfg.Worker.Codec(name), results: cfg.Topics.ResultsOf(name)}
	}
	return h
}

// load makes a version ready to serve a topic. It may be called while others are served.
func (h *laneHandler) load(ctx context.Context, t *topic, model *inference.Model, w workerParts) (_ *version, err error) {
	m := model.Manifest
	v := &version{ref: model.Ref(), manifest: m}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.close())
		}
	}()
	options := codec.Options{Registry: w.registry, Subject: t.results + "-value"}
	if v.requests, v.results, err = codec.New(ctx, t.codec, m, options, h.alloc); err != nil {
		return nil, err
	}
	if h.repeats != nil {
		if v.past, _, err = codec.New(ctx, t.codec, m, options, h.alloc); err != nil {
			return nil, err
		}
	}
	if v.instance, err = inference.NewInstance(ctx, w.runtime, model, h.alloc); err != nil {
		return nil, err
	}
	if v.observed, err = observe.NewEncoder(m, schemas.MaxObservationBytes); err != nil {
		return nil, err
	}
	return v, nil
}

// Close frees the instances.
func (h *laneHandler) Close() error {
	var errs []error
	for _, t := range h.topics {
		for _, v := range []*version{t.serving, t.offered.Swap(nil)} {
			if v != nil {
				errs = append(errs, v.close())
			}
		}
	}
	return errors.Join(errs...)
}

// close frees what has been made.
func (v *version) close() error {
	for _, r := range []codec.Requests{v.requests, v.past} {
		if r != nil {
			r.Release()
		}
	}
	if v.instance != nil {
		return v.instance.Close()
	}
	return nil
}

// Handle implements consumers.Handler.
func (h *laneHandler) Handle(ctx context.Context, records []schemas.Record, fetched time.Time, out consumers.Publisher) error {
	for _, t := range h.topics {
		t.begin(fetched, out)
	}
	h.room = maxRowLetters
	for i := range records {
		rec := &records[i]
		model, _ := h.cfg.Topics.ModelOf(rec.Topic)
		t, ok := h.topics[model]
		switch {
		case ok && t.serving == nil:
			if err := h.unserved(out, rec, t, model); err != nil {
				return err
			}
		case len(rec.Value) > h.cfg.Worker.MaxRequestBytes:
			h.bury(out, rec, schemas.Errorf(schemas.ErrorClassTooLarge, "the request has %d bytes; worker.max_request_bytes is %d",
				len(rec.Value), h.cfg.Worker.MaxRequestBytes), inference.Ref{Name: model})
		case !ok:
			h.bury(out, rec, h.noVersion(model, rec.Topic), inference.Ref{Name: model})
		default:
			if err := h.take(ctx, &t.hand, rec); err != nil {
				return err
			}
		}
	}
	for _, t := range h.topics {
		if err := h.score(ctx, &t.hand); err != nil {
			return err
		}
	}
	return nil
}

// unserved says what becomes of a request whose model is failed. Where requests wait it is an error:
// their topic is paused then, so that none comes.
func (h *laneHandler) unserved(out consumers.Publisher, rec *schemas.Record, t *topic, model string) error {
	reason := "it is not loaded yet"
	if fault := t.fault.Load(); fault != nil {
		reason = *fault
	}
	if h.cfg.Models.Failed != config.FailedDeadLetter {
		return fmt.Errorf("model %s is failed: %s", model, reason)
	}
	h.bury(out, rec, schemas.Errorf(schemas.ErrorClassNoVersion, "model %s is failed: %s", model, reason), inference.Ref{Name: model})
	return nil
}

// noVersion says why nothing answers a topic's requests.
func (h *laneHandler) noVersion(model, topic string) *schemas.RequestError {
	if slices.Contains(h.drafts, model) {
		return schemas.Errorf(schemas.ErrorClassNoVersion, "every version of model %s is a draft", model)
	}
	return schemas.Errorf(schemas.ErrorClassNoVersion, "no version of model %q is deployed for topic %s", model, topic)
}

// begin takes the version that serves, for one request batch, and drops what is left of one that
// failed.
func (t *topic) begin(fetched time.Time, out consumers.Publisher) {
	b := &t.hand
	if b.version != nil {
		b.reset()
	}
	if next := t.offered.Swap(nil); next != nil {
		t.serving = next // offered once, where there was none
	}
	b.topic, b.version, b.fetched, b.out = t, t.serving, fetched, out
}

func (b *inHand) reset() {
	if b.requests.Rows() > 0 {
		b.requests.NewBatch().Release()
	}
	clear(b.records)
	b.records, b.bytes = b.records[:0], 0
	b.batch, b.predictions, b.failed = nil, nil, nil
}

// take decodes one record, and scores what has gathered when the batch is full.
func (h *laneHandler) take(ctx context.Context, b *inHand, rec *schemas.Record) error {
	if len(b.records) == 0 {
		b.requests.Reserve(min(b.manifest.Batch.MaxRows, h.cfg.Worker.MaxBatchRows))
	}
	from := b.requests.Rows()
	got, err := b.requests.Append(ctx, rec)
	if err != nil {
		return fmt.Errorf("decode requests of topic %s: %w", rec.Topic, err)
	}
	if fault := got.Fault; fault != nil {
		h.bury(b.out, rec, fault, b.ref)
		return nil
	}
	b.records = append(b.records, decoded{rec, from, got.Rows, slices.Clone(got.Refused)})
	b.bytes += max(len(rec.Value), got.Bytes)
	if b.requests.Rows() >= b.manifest.Batch.MaxRows || b.bytes >= b.manifest.Batch.MaxBytes {
		return h.score(ctx, b)
	}
	return nil
}

// score answers what has gathered for one version.
func (h *laneHandler) score(ctx context.Context, b *inHand) error {
	if len(b.records) == 0 {
		return nil
	}
	defer b.reset()
	if ctx.Err() != nil { // the batch has failed: perhaps more was published than it can hold
		return context.Cause(ctx)
	}
	b.batch = b.requests.NewBatch()
	defer func() { b.batch.Release() }() // before reset
	if h.repeats != nil {
		if err := h.withoutRepeats(ctx, b); err != nil {
			return err
		}
		if len(b.records) == 0 {
			return nil
		}
	}
	began := time.Now()
	predictions, failed, err := b.instance.Predict(ctx, b.batch)
	if err != nil {
		return fmt.Errorf("score %d rows with %s: %w", b.batch.NumRows(), b.ref, err)
	}
	defer predictions.Release()
	b.predictions, b.failed, b.scoredAt = predictions, failed, time.Now()
	h.metrics.scoring.WithLabelValues(b.ref.Name, b.ref.Version).Observe(b.scoredAt.Sub(began).Seconds())
	h.metrics.inference.WithLabelValues(b.ref.Name, b.ref.Version).Add(float64(b.batch.NumRows()))
	h.metrics.executions.WithLabelValues(b.ref.Name, b.ref.Version).Inc()
	tooLarge, err := h.answer(b)
	if err != nil {
		return err
	}
	if len(tooLarge) > 0 {
		if b.predictions, err = withoutRows(predictions, tooLarge, h.alloc); err != nil {
			return err
		}
		defer b.predictions.Release()
		b.failed = append(b.failed, tooLarge...)
	}
	h.observe(b)
	h.count(b)
	return nil
}

// answer publishes a result for each record and a dead letter for each row that was refused
// or failed; where either would be too large, the record becomes one dead letter instead. It
// returns the rows of such records that are not among those that failed.
func (h *laneHandler) answer(b *inHand) (tooLarge []schemas.RowError, err error) {
	b.version.results.Bind(b.batch, b.predictions)
	b.latency, b.queue = b.latency[:0], b.queue[:0]
	failed := b.failed
	a := codec.Answer{LatencyUS: b.scoredAt.Sub(b.fetched).Microseconds()}
	buf := b.out.Buffer()
	for i := range b.records {
		d := &b.records[i]
		a.Record, a.From, a.Rows, a.Refused = d.Record, d.from, d.rows, d.refused
		if a.QueueUS = max(0, b.fetched.Sub(d.Timestamp).Microseconds()); d.Untimed {
			a.QueueUS = schemas.UnknownQueue
		}
		for range d.rows {
			b.latency, b.queue = append(b.latency, a.LatencyUS), append(b.queue, a.QueueUS)
		}
		n := 0 // how many of failed, which ascends by row, are of this record
		for n < len(failed) && failed[n].Row < d.from+d.rows {
			n++
		}
		a.Failed, failed = failed[:n], failed[n:]
		if n > 0 && b.codec != codec.Arrow { // the row is the record
			h.bury(b.out, d.Record, a.Failed[0].RequestError, b.ref)
			continue
		}
		start := len(*buf)
		var value []byte
		var fault *schemas.RequestError
		if *buf, fault = h.rowLetters(*buf, b, d, a.Failed); fault == nil {
			from := len(*buf)
			if *buf, err = b.version.results.Append(*buf, &a); err != nil {
				return nil, fmt.Errorf("encode the result of %d rows of %s: %w", d.rows, b.ref, err)
			}
			value = (*buf)[from:len(*buf):len(*buf)]
			fault = tooLargeResult(d, value, b.predictions)
		}
		if fault != nil {
			*buf = (*buf)[:start]
			known := a.Failed
			for row := d.from; row < d.from+d.rows; row++ {
				if len(known) > 0 && known[0].Row == row {
					known = known[1:]
					continue
				}
				tooLarge = append(tooLarge, schemas.RowError{Row: row, RequestError: fault})
			}
			h.bury(b.out, d.Record, fault, b.ref)
			continue
		}
		for _, l := range h.letters {
			alone := *d.Record
			alone.Value = l.value
			h.letter(b.out, &alone, l.row, l.fault, b.ref)
		}
		b.out.Publish(schemas.Message{Topic: b.topic.results, Partition: d.Partition, Key: d.Key, Value: value, Headers: d.Headers})
	}
	return tooLarge, nil
}

// rowLetters makes the dead letters of a record of many requests, their values behind dst,
// or says why it must become one as a whole.
func (h *laneHandler) rowLetters(dst []byte, b *inHand, d *decoded, failed []schemas.RowError) ([]byte, *schemas.RequestError) {
	clear(h.letters)
	h.letters = h.letters[:0]
	if len(d.refused)+len(failed) == 0 {
		return dst, nil
	}
	rest := len(d.Key) + headersBytes(d.Record)
	own := 2*(len(d.Value)+rest) + smallLetters
	most := min(max(own, h.room), maxRowLetters)
	size := 0
	add := func(row int, fault *schemas.RequestError) bool {
		from := len(dst)
		var ok bool
		size += rest + len(fault.Reason) + letterOverhead
		if dst, ok = b.requests.AppendRequest(dst, d.Record, row, most-size); !ok {
			return false
		}
		size += len(dst) - from
		h.letters = append(h.letters, rowLetter{row, fault, dst[from:len(dst):len(dst)]})
		return true
	}
	tooMany := func(row int, fault *schemas.RequestError) *schemas.RequestError {
		return schemas.Errorf(fault.Class, "the dead letters of %d rows of the record would take more than %d bytes; row %d: %s",
			len(d.refused)+len(failed), most, row, fault.Reason)
	}
	for _, r := range d.refused {
		if !add(r.Row, r.RequestError) {
			return dst, tooMany(r.Row, r.RequestError)
		}
	}
	for _, f := range failed {
		if row := d.rowOf(f.Row); !add(row, f.RequestError) {
			return dst, tooMany(row, f.RequestError)
		}
	}
	h.room -= max(0, size-own)
	return dst, nil
}

// rowOf returns which row of the record a row of the batch is: refused rows are not in the batch.
func (d *decoded) rowOf(row int) int {
	row -= d.from
	for _, r := range d.refused {
		if r.Row > row {
			break
		}
		row++
	}
	return row
}

// resultOverhead is what Kafka's record batch adds to the largest result, generously.
const resultOverhead = 4 << 10

// tooLargeResult says why a result cannot be sent, or one of its predictions cannot be observed.
func tooLargeResult(d *decoded, value []byte, predictions arrow.Record) *schemas.RequestError {
	if size := len(value) + headersBytes(d.Record) + len(d.Key); size > schemas.MaxResultBytes-resultOverhead {
		return schemas.Errorf(schemas.ErrorClassResultTooLarge, "the result has %d bytes; at most %d are allowed", size, schemas.MaxResultBytes-resultOverhead)
	}
	if len(value) <= schemas.MaxTextBytes {
		return nil
	}
	for row := d.from; row < d.from+d.rows; row++ {
		texts := 0
		for _, c := range predictions.Columns() {
			if text, ok := c.(*array.String); ok {
				texts += len(text.Value(row))
			}
		}
		if texts > schemas.MaxTextBytes {
			return schemas.Errorf(schemas.ErrorClassResultTooLarge, "the texts of the prediction have %d bytes; at most %d are allowed", texts, schemas.MaxTextBytes)
		}
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

func (h *laneHandler) observe(b *inHand) {
	headers := []schemas.Header{
		{Key: schemas.HeaderModel, Value: []byte(b.ref.Name)},
		{Key: schemas.HeaderVersion, Value: []byte(b.ref.Version)},
	}
	scored := &observe.Scored{Batch: b.batch, Predictions: b.predictions, Failed: b.failed, LatencyUS: b.latency, QueueUS: b.queue}
	buf := b.out.Buffer()
	var parts []observe.Part
	*buf, parts = b.observed.Append(*buf, scored, b.scoredAt)
	for _, p := range parts {
		b.out.Publish(schemas.Message{
			Topic: h.cfg.Topics.Observations, Partition: h.spread(b.ref.Name), Key: headers[0].Value,
			Value:   (*buf)[p.From:p.To:p.To],
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

// setAside publishes the dead letter of a record batch that cannot be read. The letter says where
// the batch lies, and holds nothing of what is in it.
func (h *laneHandler) setAside(e *consumers.UnreadableBatchError, out consumers.Publisher) {
	rec := e.Record()
	model, _ := h.cfg.Topics.ModelOf(e.Topic)
	ref := inference.Ref{Name: model}
	if t, ok := h.topics[model]; ok && t.serving != nil {
		ref = t.serving.ref
	}
	m := h.deadLetter(&rec, schemas.WholeRecord, rec.Fault, ref, out)
	m.Headers = append(m.Headers, rec.Headers...)
	out.Publish(m)
}

// bury publishes the dead letter of a record.
func (h *laneHandler) bury(out consumers.Publisher, rec *schemas.Record, fault *schemas.RequestError, ref inference.Ref) {
	h.letter(out, rec, schemas.WholeRecord, fault, ref)
}

func (h *laneHandler) letter(out consumers.Publisher, rec *schemas.Record, row int, fault *schemas.RequestError, ref inference.Ref) {
	out.Publish(h.deadLetter(rec, row, fault, ref, out))
}

// deadLetter makes a dead letter, and has it counted when it is committed.
func (h *laneHandler) deadLetter(rec *schemas.Record, row int, fault *schemas.RequestError, ref inference.Ref, out consumers.Publisher) schemas.Message {
	out.OnCommit(func() {
		h.done.DeadLetters.Add(1)
		h.metrics.deadLetters.WithLabelValues(ref.Name, string(fault.Class)).Inc()
	})
	return schemas.NewDeadLetter(h.cfg.Topics.DeadLetters, rec, row, fault, ref.Name, ref.Version, time.Now())
}

// count has what became of a batch counted when it is committed.
func (h *laneHandler) count(b *inHand) {
	name, version := b.ref.Name, b.ref.Version
	rows, failed, latency := int(b.batch.NumRows()), len(b.failed), b.scoredAt.Sub(b.fetched)
	queue := int64(schemas.UnknownQueue)
	for _, us := range b.queue {
		if queue = us; us != schemas.UnknownQueue {
			break
		}
	}
	b.out.OnCommit(func() {
		h.done.Answered.Add(int64(rows - failed))
		h.metrics.requests.WithLabelValues(name, version, schemas.OutcomeOK).Add(float64(rows - failed))
		if failed > 0 {
			h.metrics.requests.WithLabelValues(name, version, schemas.OutcomeFailed).Add(float64(failed))
		}
		h.metrics.latency.Observe(latency.Seconds())
		if queue != schemas.UnknownQueue {
			h.metrics.queue.Observe(float64(queue) / 1e6)
		}
	})
}
