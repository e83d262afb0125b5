package codec

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
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

// maxFieldBytes bounds the name of the event-time field, as the manifest does of features.
const maxFieldBytes = 120

// field is the plan for one key of a request.
type field struct {
	name    string
	literal string // `"name":`; empty if JSON could write the name in another way
	role    role
	feature *schemas.Feature
	builder array.Builder // of a feature; of its indices for a category
	dict    *dictionary   // category only
	def     cell          // what an absent value becomes; only where hasDef
	hasDef  bool
	min     float64
	max     float64
	bounded bool // values outside min and max are rejected
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

// Decoder turns JSON requests into the columns of Manifest.RequestSchema.
//
// Append decodes one request into one row, or says why it cannot be used and leaves the
// columns as they were. NewBatch gives out the rows and starts the next batch.
type Decoder struct {
	schema    *arrow.Schema
	alloc     memory.Allocator
	fields    []field
	cells     []cell
	index     map[string]int
	order     []int // the field that stood at each place of the object before
	eventTime int   // index of the event-time field, -1 without one
	requestID int
	format    schemas.TimeFormat

	scan scanner

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

// NewDecoder plans a decoder. Release it when done.
func NewDecoder(m *schemas.Manifest, alloc memory.Allocator) (*Decoder, error) {
	d := &Decoder{
		schema: m.RequestSchema(), alloc: alloc, index: map[string]int{},
		eventTime: -1, requestID: -1, format: m.EventTime.Format,
		requestIDs: array.NewStringBuilder(alloc),
		eventTimes: array.NewTimestampBuilder(alloc, schemas.TimestampType),
		topics:     newDictionary(alloc, nil),
		topicIdx:   array.NewInt32Builder(alloc),
		partitions: array.NewInt32Builder(alloc),
		offsets:    array.NewInt64Builder(alloc),
		rows:       array.NewInt32Builder(alloc),
	}
	for i := range m.Features {
		f, err := planFeature(&m.Features[i], alloc)
		if err != nil {
			d.Release()
			return nil, fmt.Errorf("model %s version %s: feature %q: %w", m.Name, m.Version, m.Features[i].Name, err)
		}
		d.fields = append(d.fields, f)
	}
	d.requestID = len(d.fields)
	d.fields = append(d.fields, field{name: fieldRequestID, role: roleRequestID})
	switch m.EventTime.Field {
	case "":
	case fieldRequestID:
		d.Release()
		return nil, fmt.Errorf("model %s version %s: event_time.field: %q is the request id", m.Name, m.Version, fieldRequestID)
	default:
		if n := len(m.EventTime.Field); n > maxFieldBytes { // errors repeat it
			d.Release()
			return nil, fmt.Errorf("model %s version %s: event_time.field: it has %d bytes; at most %d are allowed", m.Name, m.Version, n, maxFieldBytes)
		}
		d.eventTime = len(d.fields)
		d.fields = append(d.fields, field{name: m.EventTime.Field, role: roleEventTime})
	}
	for i := range d.fields {
		f := &d.fields[i]
		f.literal = literalKey(f.name)
		d.index[f.name] = i
		d.order = append(d.order, i)
	}
	d.cells = make([]cell, len(d.fields))
	return d, nil
}

func literalKey(name string) string {
	for _, c := range []byte(name) {
		if !plain[c] || c >= utf8.RuneSelf {
			return ""
		}
	}
	return `"` + name + `":`
}

func planFeature(f *schemas.Feature, alloc memory.Allocator) (field, error) {
	p := field{name: f.Name, feature: f, min: math.Inf(-1), max: math.Inf(1)}
	switch f.Type {
	case schemas.TypeBool:
		p.builder = array.NewBooleanBuilder(alloc)
	case schemas.TypeInt32:
		p.builder = array.NewInt32Builder(alloc)
	case schemas.TypeInt64:
		p.builder = array.NewInt64Builder(alloc)
	case schemas.TypeFloat32:
		p.builder = array.NewFloat32Builder(alloc)
	case schemas.TypeFloat64:
		p.builder = array.NewFloat64Builder(alloc)
	case schemas.TypeString:
		p.builder = array.NewStringBuilder(alloc)
	case schemas.TypeCategory:
		p.builder = array.NewInt32Builder(alloc)
		p.dict = newDictionary(alloc, f.Categories)
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

// Release frees the columns. The decoder cannot be used afterwards.
func (d *Decoder) Release() {
	for i := range d.fields {
		if b := d.fields[i].builder; b != nil {
			b.Release()
		}
		if dict := d.fields[i].dict; dict != nil {
			dict.release()
		}
	}
	d.topics.release()
	for _, b := range []array.Builder{d.requestIDs, d.eventTimes, d.topicIdx, d.partitions, d.offsets, d.rows} {
		b.Release()
	}
}

// Rows returns how many rows wait for NewBatch.
func (d *Decoder) Rows() int { return d.offsets.Len() }

// Reserve makes room for n more rows.
func (d *Decoder) Reserve(n int) {
	for i := range d.fields {
		if b := d.fields[i].builder; b != nil {
			b.Reserve(n)
		}
	}
	for _, b := range []array.Builder{d.requestIDs, d.eventTimes, d.topicIdx, d.partitions, d.offsets, d.rows} {
		b.Reserve(n)
	}
}

// Append decodes the request of a Kafka record as one row. On an error nothing is
// appended. rec is not retained.
func (d *Decoder) Append(rec *schemas.Record) *schemas.RequestError {
	for i := range d.cells {
		d.cells[i].seen = false
	}
	d.scan.reset(rec.Value)
	empty, err := d.scan.open()
	if err != nil {
		return err
	}
	for more, at := !empty, 0; more; at++ {
		if err := d.member(at); err != nil {
			return err
		}
		if more, err = d.scan.next(); err != nil {
			return err
		}
	}
	for i := range d.fields {
		if !d.cells[i].seen {
			if err := d.absent(i); err != nil {
				return err
			}
		}
	}
	if len(rec.Value) > schemas.MaxTextBytes {
		if err := d.checkTexts(); err != nil {
			return err
		}
	}
	id, err := d.id(rec)
	if err != nil {
		return err
	}
	d.commit(rec, id)
	return nil
}

// checkTexts refuses a row that would not fit an observation record.
func (d *Decoder) checkTexts() *schemas.RequestError {
	n := 0
	for i := range d.fields {
		if d.fields[i].role == roleFeature {
			n += len(d.cells[i].text)
		}
	}
	if n > schemas.MaxTextBytes {
		return schemas.Errorf(schemas.ErrorClassTooLarge, "the texts of the features have %d bytes together; at most %d are allowed", n, schemas.MaxTextBytes)
	}
	return nil
}

// member reads one key and its value. at is its place in the object: producers keep to an
// order, so the field is most often the one that stood there before.
func (d *Decoder) member(at int) *schemas.RequestError {
	if at < len(d.order) {
		i := d.order[at]
		if f := &d.fields[i]; d.scan.keyIs(f.literal) {
			return d.fill(i)
		}
	}
	key, err := d.scan.key()
	if err != nil {
		return err
	}
	if i, ok := d.index[string(key)]; ok {
		if at < len(d.order) {
			d.order[at] = i
		}
		return d.fill(i)
	}
	return d.scan.unknown(key)
}

// fill reads the value of a field into its cell.
func (d *Decoder) fill(i int) *schemas.RequestError {
	f := &d.fields[i]
	c := &d.cells[i]
	if c.seen {
		return schemas.Errorf(schemas.ErrorClassDuplicateKey, "key %q stands twice", f.name)
	}
	v, err := d.scan.value(f.name)
	if err != nil {
		return err
	}
	if v.kind == kindNull {
		if err := d.absent(i); err != nil {
			return err
		}
		c.seen = true
		return nil
	}
	*c = cell{seen: true}
	switch f.role {
	case roleRequestID:
		if v.kind != kindString && v.kind != kindNumber {
			return wrongType(f.name, "a string or a number", v)
		}
		c.text = v.text
		return nil
	case roleEventTime:
		return d.parseTime(c, f.name, v)
	default:
		return f.parse(c, v)
	}
}

// absent fills in what an absent or null value becomes.
func (d *Decoder) absent(i int) *schemas.RequestError {
	f, c := &d.fields[i], &d.cells[i]
	switch {
	case f.hasDef:
		*c = f.def
	case f.role == roleRequestID:
		*c = cell{}
	default:
		return schemas.Errorf(schemas.ErrorClassMissingFeature, "%q is absent or null and has no default", f.name)
	}
	return nil
}

func clip(b []byte) []byte {
	const most = 80
	if len(b) <= most {
		return b
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(b[cut]) {
		cut--
	}
	return append(slices.Clone(b[:cut]), "…"...)
}

func wrongType(name, want string, v value) *schemas.RequestError {
	if v.kind == kindString || v.kind == kindNumber {
		return schemas.Errorf(schemas.ErrorClassWrongType, "%q must be %s, got %s (%s)", name, want, v.kind, clip(v.text))
	}
	return schemas.Errorf(schemas.ErrorClassWrongType, "%q must be %s, got %s", name, want, v.kind)
}

// str views bytes as a string for the parsers of package strconv, which do not retain it.
func str(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // read-only view, not retained

// parse checks a value against the feature and puts it into the cell.
func (f *field) parse(c *cell, v value) *schemas.RequestError {
	switch f.feature.Type {
	case schemas.TypeBool:
		if v.kind != kindBool {
			return wrongType(f.name, "a boolean", v)
		}
		if v.bool {
			c.int = 1
		}
	case schemas.TypeString:
		if v.kind != kindString {
			return wrongType(f.name, "a string", v)
		}
		c.text = v.text
	case schemas.TypeCategory:
		if v.kind != kindString {
			return wrongType(f.name, "a string", v)
		}
		if f.feature.Unknown == schemas.PolicyReject && !f.dict.known(v.text) {
			return schemas.Errorf(schemas.ErrorClassUnknownCategory, "%q is %q, which is not one of its categories", f.name, clip(v.text))
		}
		c.text = v.text
	case schemas.TypeInt32, schemas.TypeInt64:
		return f.parseInt(c, v)
	default:
		return f.parseFloat(c, v)
	}
	return nil
}

func (f *field) parseFloat(c *cell, v value) *schemas.RequestError {
	if v.kind != kindNumber {
		return wrongType(f.name, "a number", v)
	}
	bits := 64
	if f.feature.Type == schemas.TypeFloat32 {
		bits = 32
	}
	x, err := strconv.ParseFloat(str(v.text), bits)
	if err != nil {
		return schemas.Errorf(schemas.ErrorClassWrongType, "%q is %s, which does not fit %s", f.name, clip(v.text), f.feature.Type)
	}
	c.num = x
	return f.inRange(x, v)
}

func (f *field) parseInt(c *cell, v value) *schemas.RequestError {
	if v.kind != kindNumber {
		return wrongType(f.name, "a whole number", v)
	}
	bits := 64
	if f.feature.Type == schemas.TypeInt32 {
		bits = 32
	}
	n, err := strconv.ParseInt(str(v.text), 10, bits)
	if err != nil {
		// 3.0 and 1e3 are whole numbers too, as far as float64 counts them exactly.
		x, ferr := strconv.ParseFloat(str(v.text), 64)
		exact := ferr == nil && x == math.Trunc(x) && math.Abs(x) < 1<<53
		if n = int64(x); !exact || (bits == 32 && int64(int32(n)) != n) {
			return schemas.Errorf(schemas.ErrorClassWrongType, "%q is %s, which does not fit %s", f.name, clip(v.text), f.feature.Type)
		}
	}
	c.int = n
	return f.inRange(float64(n), v)
}

func (f *field) inRange(x float64, v value) *schemas.RequestError {
	if f.bounded && (x < f.min || x > f.max) {
		return schemas.Errorf(schemas.ErrorClassOutOfRange, "%q is %s, outside %g to %g", f.name, clip(v.text), f.min, f.max)
	}
	return nil
}

// parseTime puts the event time into the cell, in microseconds since 1970.
func (d *Decoder) parseTime(c *cell, name string, v value) *schemas.RequestError {
	var us int64
	switch d.format {
	case schemas.TimeRFC3339:
		if v.kind != kindString {
			return wrongType(name, "a time in RFC 3339", v)
		}
		t, err := time.Parse(time.RFC3339Nano, str(v.text))
		if err != nil {
			return wrongType(name, "a time in RFC 3339, like 2001-02-03T04:05:06Z", v)
		}
		us = t.UnixMicro()
	case schemas.TimeUnix:
		if v.kind != kindNumber {
			return wrongType(name, "a number of seconds since 1970", v)
		}
		x, err := strconv.ParseFloat(str(v.text), 64)
		if err != nil || math.Abs(x) > 1e11 {
			return outOfTime(name, v)
		}
		us = int64(math.Round(x * 1e6))
	default:
		if v.kind != kindNumber {
			return wrongType(name, "a whole number ("+string(d.format)+")", v)
		}
		n, err := strconv.ParseInt(str(v.text), 10, 64)
		if err != nil {
			return wrongType(name, "a whole number ("+string(d.format)+")", v)
		}
		if us = n; d.format == schemas.TimeUnixMS {
			if n > schemas.MaxMicros/1000 || n < schemas.MinMicros/1000 {
				return outOfTime(name, v)
			}
			us = n * 1000
		}
	}
	if us < schemas.MinMicros || us > schemas.MaxMicros {
		return outOfTime(name, v)
	}
	c.int = us
	return nil
}

func outOfTime(name string, v value) *schemas.RequestError {
	return schemas.Errorf(schemas.ErrorClassOutOfRange, "%q is %s, a time outside the years 1900 to 2299", name, clip(v.text))
}

// id finds the request id: the header, else the field, else the request coordinates.
func (d *Decoder) id(rec *schemas.Record) ([]byte, *schemas.RequestError) {
	id, from := d.cells[d.requestID].text, "field "+fieldRequestID
	if h, ok := rec.Header(schemas.HeaderRequestID); ok && len(h) > 0 {
		if !utf8.Valid(h) {
			return nil, malformed("header %s is not valid UTF-8", schemas.HeaderRequestID)
		}
		id, from = h, "header "+schemas.HeaderRequestID
	}
	if len(id) == 0 {
		d.idScratch = rec.Coordinates().AppendID(d.idScratch[:0])
		return d.idScratch, nil
	}
	if len(id) > MaxRequestIDBytes {
		return nil, schemas.Errorf(schemas.ErrorClassWrongType, "the request id in %s has %d bytes; at most %d are allowed", from, len(id), MaxRequestIDBytes)
	}
	return id, nil
}

// commit appends the row that the cells hold. Nothing in it can fail.
func (d *Decoder) commit(rec *schemas.Record, id []byte) {
	for i := range d.fields {
		f, c := &d.fields[i], &d.cells[i]
		if f.role != roleFeature {
			continue
		}
		if c.null {
			f.builder.AppendNull()
			continue
		}
		switch b := f.builder.(type) {
		case *array.Float32Builder:
			b.Append(float32(c.num))
		case *array.Float64Builder:
			b.Append(c.num)
		case *array.Int64Builder:
			b.Append(c.int)
		case *array.BooleanBuilder:
			b.Append(c.int != 0)
		case *array.StringBuilder:
			b.BinaryBuilder.Append(c.text)
		case *array.Int32Builder:
			if f.dict != nil {
				b.Append(f.dict.index(c.text))
			} else {
				b.Append(int32(c.int))
			}
		}
	}
	d.requestIDs.BinaryBuilder.Append(id)
	if d.eventTime >= 0 {
		d.eventTimes.Append(arrow.Timestamp(d.cells[d.eventTime].int))
	} else {
		d.eventTimes.Append(arrow.Timestamp(schemas.ClampMicros(rec.Timestamp)))
	}
	d.topicIdx.Append(d.topic(rec.TopicID))
	d.partitions.Append(rec.Partition)
	d.offsets.Append(rec.Offset)
	d.rows.Append(0)
}

// topic returns the dictionary index of a topic id; there is hardly ever more than one.
func (d *Decoder) topic(id uuid.UUID) int32 {
	for i, t := range d.topicIDs {
		if t == id {
			return int32(i)
		}
	}
	d.topicIDs = append(d.topicIDs, id)
	return d.topics.index([]byte(id.String()))
}

// NewBatch returns the rows that were appended, with the schema Manifest.RequestSchema,
// and starts an empty batch. The caller releases it.
func (d *Decoder) NewBatch() arrow.Record {
	rows := d.Rows()
	columns := make([]arrow.Array, 0, len(d.schema.Fields()))
	for i := range d.fields {
		f := &d.fields[i]
		switch {
		case f.role != roleFeature:
		case f.dict != nil:
			columns = append(columns, f.dict.newArray(f.builder))
		default:
			columns = append(columns, f.builder.NewArray())
		}
	}
	columns = append(columns,
		d.requestIDs.NewArray(), d.eventTimes.NewArray(), d.topics.newArray(d.topicIdx),
		d.partitions.NewArray(), d.offsets.NewArray(), d.rows.NewArray())
	d.topicIDs = d.topicIDs[:0]
	batch := array.NewRecord(d.schema, columns, int64(rows))
	for _, c := range columns {
		c.Release()
	}
	return batch
}
