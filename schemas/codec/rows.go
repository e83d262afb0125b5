package codec

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
)

// MaxRequestIDBytes bounds a request id.
const MaxRequestIDBytes = 512

// fieldRequestID is the field of a request that may carry its id.
const fieldRequestID = "request_id"

// field is the plan for one field of a request.
type field struct {
	name    string // in requests
	plain   string // in requests whose names are identifiers
	role    role
	feature *schemas.Feature
	builder array.Builder // of a feature; of its indices for a category
	dict    *dictionary   // category only
	def     cell          // what an absent value becomes; only where hasDef
	hasDef  bool
	min     float64
	max     float64
	low     int64 // the least whole number that is not below min
	high    int64 // the greatest that is not above max
	bounded bool  // values outside min and max are rejected
	bits    int   // of a floating-point feature, 32 or 64; else 0
}

type role uint8

const (
	roleFeature role = iota
	roleRequestID
	roleEventTime
)

// cell is one decoded value, waiting until its whole row is known to be good.
type cell struct {
	seen bool // in this row
	null bool
	num  float64
	int  int64 // integers, booleans (0, 1), dictionary indices
	text []byte
}

// rowBuilder gathers rows into the columns of Manifest.RequestSchema. A front end, one for
// each encoding, calls begin, fills the cells of the fields that it finds, and calls finish.
type rowBuilder struct {
	schema    *arrow.Schema
	mem       *recycler
	fields    []field
	cells     []cell
	index     map[string]int
	eventTime int // index of the event-time field, -1 without one
	requestID int
	format    schemas.TimeFormat
	zone      zone // of event times that say none

	scratch    []byte // texts of this row that stand nowhere in the request; never shrinks while they are in use
	reserved   int    // rows that fit without growing
	idScratch  []byte
	requestIDs *array.StringBuilder
	eventTimes *array.TimestampBuilder
	topics     *dictionary
	topicIDs   []uuid.UUID // of topics' entries
	topicIdx   *array.Int32Builder
	partitions *array.Int32Builder
	offsets    *array.Int64Builder
	rows       *array.Int32Builder
}

// newRowBuilder plans the fields of a model's requests: its features in their order, the
// request id, the event time. Release it when done.
func newRowBuilder(m *schemas.Manifest, alloc memory.Allocator) (rowBuilder, error) {
	mem := &recycler{alloc: alloc}
	b := rowBuilder{
		schema: m.RequestSchema(), mem: mem, index: map[string]int{},
		eventTime: -1, requestID: -1, format: m.EventTime.Format,
		requestIDs: array.NewStringBuilder(mem),
		eventTimes: array.NewTimestampBuilder(mem, schemas.TimestampType),
		topics:     newDictionary(mem, nil),
		topicIdx:   array.NewInt32Builder(mem),
		partitions: array.NewInt32Builder(mem),
		offsets:    array.NewInt64Builder(mem),
		rows:       array.NewInt32Builder(mem),
	}
	loc, err := m.EventTime.Location()
	if err != nil {
		b.Release()
		return b, fmt.Errorf("model %s version %s: event_time.zone: %w", m.Name, m.Version, err)
	}
	b.zone.loc = loc
	for i := range m.Features {
		f, err := planFeature(&m.Features[i], mem)
		if err != nil {
			b.Release()
			return b, fmt.Errorf("model %s version %s: feature %q: %w", m.Name, m.Version, m.Features[i].Name, err)
		}
		b.fields = append(b.fields, f)
	}
	b.requestID = len(b.fields)
	b.fields = append(b.fields, field{name: fieldRequestID, plain: fieldRequestID, role: roleRequestID})
	if name := m.EventTime.Field; name != "" {
		b.eventTime = len(b.fields)
		b.fields = append(b.fields, field{name: name, plain: name, role: roleEventTime})
	}
	for i := range b.fields {
		b.index[b.fields[i].name] = i
	}
	b.cells = make([]cell, len(b.fields))
	return b, nil
}

func planFeature(f *schemas.Feature, mem memory.Allocator) (field, error) {
	p := field{name: f.Key(), plain: f.FieldName(), feature: f, min: math.Inf(-1), max: math.Inf(1)}
	switch f.Type {
	case schemas.TypeBool:
		p.builder = array.NewBooleanBuilder(mem)
	case schemas.TypeInt32:
		p.builder = array.NewInt32Builder(mem)
	case schemas.TypeInt64:
		p.builder = array.NewInt64Builder(mem)
	case schemas.TypeFloat32:
		p.builder, p.bits = array.NewFloat32Builder(mem), 32
	case schemas.TypeFloat64:
		p.builder, p.bits = array.NewFloat64Builder(mem), 64
	case schemas.TypeString:
		p.builder = array.NewStringBuilder(mem)
	case schemas.TypeCategory:
		p.builder = array.NewInt32Builder(mem)
		p.dict = newDictionary(mem, f.Categories)
	default:
		return p, fmt.Errorf("type %q is unknown", f.Type)
	}
	if f.OutOfRange == schemas.PolicyReject {
		p.bounded = true
		if f.Min != nil {
			p.min = *f.Min
		}
		if f.Max != nil {
			p.max = *f.Max
		}
		if f.Type == schemas.TypeFloat32 { // as the values are: 0.1 is not above 0.1
			p.min, p.max = float64(float32(p.min)), float64(float32(p.max))
		}
	}
	p.low, p.high = wholeRange(p.min, p.max)
	if f.Optional {
		p.hasDef, p.def = true, cell{null: true}
	}
	switch v := f.Default.(type) {
	case nil:
	case bool:
		p.hasDef = true
		if v {
			p.def.int = 1
		}
	case string:
		p.hasDef, p.def.text = true, []byte(v)
	default:
		x, ok := schemas.Number(v)
		if !ok {
			return p, fmt.Errorf("default %v is no number", v)
		}
		p.hasDef, p.def.num, p.def.int = true, x, int64(x)
	}
	return p, nil
}

// wholeRange returns the range of int64 within that of float64, which cannot tell all
// large integers apart.
func wholeRange(least, most float64) (low, high int64) {
	if least >= 1<<63 || most < -1<<63 {
		return 1, 0 // none
	}
	low, high = math.MinInt64, math.MaxInt64
	if least > -1<<63 {
		low = int64(math.Ceil(least))
	}
	if most < 1<<63 {
		high = int64(math.Floor(most))
	}
	return low, high
}

// Release frees the columns. The decoder cannot be used afterwards.
func (b *rowBuilder) Release() {
	for i := range b.fields {
		if b := b.fields[i].builder; b != nil {
			b.Release()
		}
		if dict := b.fields[i].dict; dict != nil {
			dict.release()
		}
	}
	b.topics.release()
	for _, b := range []array.Builder{b.requestIDs, b.eventTimes, b.topicIdx, b.partitions, b.offsets, b.rows} {
		b.Release()
	}
	b.mem.close()
}

// Rows returns how many rows wait for NewBatch.
func (b *rowBuilder) Rows() int { return b.offsets.Len() }

// Reserve makes room for n more rows.
func (b *rowBuilder) Reserve(n int) {
	for i := range b.fields {
		if b := b.fields[i].builder; b != nil {
			b.Reserve(n)
		}
	}
	for _, b := range []array.Builder{b.requestIDs, b.eventTimes, b.topicIdx, b.partitions, b.offsets, b.rows} {
		b.Reserve(n)
	}
	b.reserved = max(b.reserved, b.Rows()+n)
}

// begin starts a row.
func (b *rowBuilder) begin() {
	for i := range b.cells {
		b.cells[i].seen = false
	}
	b.scratch = b.scratch[:0]
}

// finish appends the row that the cells hold, or says why it cannot be used. texts bounds
// what the texts of its features can have together, defaults aside.
func (b *rowBuilder) finish(rec *schemas.Record, texts int) *schemas.RequestError {
	for i := range b.fields {
		if !b.cells[i].seen {
			if err := b.absent(i); err != nil {
				return err
			}
		}
	}
	if texts > schemas.MaxTextBytes {
		if err := b.checkTexts(); err != nil {
			return err
		}
	}
	id, err := b.id(rec)
	if err != nil {
		return err
	}
	b.commit(rec, id)
	return nil
}

// checkTexts refuses a row that would not fit an observation record.
func (b *rowBuilder) checkTexts() *schemas.RequestError {
	n := 0
	for i := range b.fields {
		if b.fields[i].role == roleFeature {
			n += len(b.cells[i].text)
		}
	}
	if n > schemas.MaxTextBytes {
		return schemas.Errorf(schemas.ErrorClassTooLarge, "the texts of the features have %d bytes together; at most %d are allowed", n, schemas.MaxTextBytes)
	}
	return nil
}

// absent fills in what an absent or null value becomes.
func (b *rowBuilder) absent(i int) *schemas.RequestError {
	f, c := &b.fields[i], &b.cells[i]
	switch {
	case f.hasDef:
		*c = f.def
	case f.role == roleRequestID:
		*c = cell{}
	default:
		return schemas.Errorf(schemas.ErrorClassMissingFeature, "%q is absent, null or NaN and has no default", f.name)
	}
	return nil
}

func clip(b []byte) []byte { return clipTo(b, 80) }

func clipTo(b []byte, most int) []byte {
	if len(b) <= most {
		return b
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(b[cut]) {
		cut--
	}
	return append(slices.Clone(b[:cut]), "…"...)
}

// str views bytes as a string for the parsers of package strconv, which do not retain it.
func str(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // read-only view, not retained

// wholeInRange checks an integer of a feature. text is how the request writes it.
func (f *field) wholeInRange(n int64, text []byte) *schemas.RequestError {
	if f.bounded && (n < f.low || n > f.high) {
		return f.outside(text)
	}
	return nil
}

// outside refuses a number outside the range of its feature.
func (f *field) outside(text []byte) *schemas.RequestError {
	return schemas.Errorf(schemas.ErrorClassOutOfRange, "%q is %s, outside %g to %g", f.name, clip(text), f.min, f.max)
}

// inRange checks a number of a feature. text is how the request writes it.
func (f *field) inRange(x float64, text []byte) *schemas.RequestError {
	if f.bounded && (x < f.min || x > f.max) {
		return f.outside(text)
	}
	return nil
}

// unfit refuses a number that the type of its feature cannot hold.
func (f *field) unfit(text []byte) *schemas.RequestError {
	return schemas.Errorf(schemas.ErrorClassWrongType, "%q is %s, which does not fit %s", f.name, clip(text), f.feature.Type)
}

// inCategories checks a value of a category.
func (f *field) inCategories(text []byte) *schemas.RequestError {
	if f.feature.Unknown == schemas.PolicyReject && !f.dict.known(text) {
		return schemas.Errorf(schemas.ErrorClassUnknownCategory, "%q is %q, which is not one of its categories", f.name, clip(text))
	}
	return nil
}

func outOfTime(name string, text []byte) *schemas.RequestError {
	return schemas.Errorf(schemas.ErrorClassOutOfRange, "%q is %s, a time outside the years 1900 to 2299", name, clip(text))
}

// id finds the request id: the header, else the field, else the request coordinates.
func (b *rowBuilder) id(rec *schemas.Record) ([]byte, *schemas.RequestError) {
	id, from := b.cells[b.requestID].text, "field "+fieldRequestID
	if h, ok := rec.Header(schemas.HeaderRequestID); ok && len(h) > 0 {
		if !utf8.Valid(h) {
			return nil, malformed("header %s is not valid UTF-8", schemas.HeaderRequestID)
		}
		id, from = h, "header "+schemas.HeaderRequestID
	}
	if len(id) == 0 {
		b.idScratch = rec.Coordinates().AppendID(b.idScratch[:0])
		return b.idScratch, nil
	}
	if len(id) > MaxRequestIDBytes {
		return nil, schemas.Errorf(schemas.ErrorClassWrongType, "the request id in %s has %d bytes; at most %d are allowed", from, len(id), MaxRequestIDBytes)
	}
	return id, nil
}

// commit appends the row that the cells hold. Nothing in it can fail.
func (b *rowBuilder) commit(rec *schemas.Record, id []byte) {
	if rows := b.Rows(); rows == b.reserved {
		b.Reserve(max(64, rows))
	}
	for i := range b.fields {
		f, c := &b.fields[i], &b.cells[i]
		if f.role != roleFeature {
			continue
		}
		if c.null {
			f.builder.AppendNull()
			continue
		}
		switch b := f.builder.(type) {
		case *array.Float32Builder:
			b.UnsafeAppend(float32(c.num))
		case *array.Float64Builder:
			b.UnsafeAppend(c.num)
		case *array.Int64Builder:
			b.UnsafeAppend(c.int)
		case *array.BooleanBuilder:
			b.UnsafeAppend(c.int != 0)
		case *array.StringBuilder:
			b.BinaryBuilder.Append(c.text)
		case *array.Int32Builder:
			if f.dict != nil {
				b.UnsafeAppend(f.dict.index(c.text))
			} else {
				b.UnsafeAppend(int32(c.int))
			}
		}
	}
	b.requestIDs.BinaryBuilder.Append(id)
	if b.eventTime >= 0 {
		b.eventTimes.UnsafeAppend(arrow.Timestamp(b.cells[b.eventTime].int))
	} else {
		b.eventTimes.UnsafeAppend(arrow.Timestamp(schemas.ClampMicros(rec.Timestamp)))
	}
	b.topicIdx.UnsafeAppend(b.topic(rec.TopicID))
	b.partitions.UnsafeAppend(rec.Partition)
	b.offsets.UnsafeAppend(rec.Offset)
	b.rows.UnsafeAppend(0)
}

// topic returns the dictionary index of a topic id; there is hardly ever more than one.
func (b *rowBuilder) topic(id uuid.UUID) int32 {
	for i, t := range b.topicIDs {
		if t == id {
			return int32(i)
		}
	}
	b.topicIDs = append(b.topicIDs, id)
	return b.topics.index([]byte(id.String()))
}

// NewBatch returns the rows that were appended, with the schema Manifest.RequestSchema,
// and starts an empty batch. The caller releases it.
func (b *rowBuilder) NewBatch() arrow.Record {
	rows := b.Rows()
	columns := make([]arrow.Array, 0, len(b.schema.Fields()))
	for i := range b.fields {
		f := &b.fields[i]
		switch {
		case f.role != roleFeature:
		case f.dict != nil:
			columns = append(columns, f.dict.newArray(f.builder))
		default:
			columns = append(columns, f.builder.NewArray())
		}
	}
	columns = append(columns,
		b.requestIDs.NewArray(), b.eventTimes.NewArray(), b.topics.newArray(b.topicIdx),
		b.partitions.NewArray(), b.offsets.NewArray(), b.rows.NewArray())
	b.topicIDs, b.reserved = b.topicIDs[:0], 0
	batch := array.NewRecord(b.schema, columns, int64(rows))
	for _, c := range columns {
		c.Release()
	}
	return batch
}
