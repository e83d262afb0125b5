package clickhouse

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

// table is one of the tables whose rows are built here, one per Kafka record.
type table struct {
	name   string
	places placeColumns
	schema *arrow.Schema
	source source
}

func newTable(name, places string, fields ...arrow.Field) *table {
	t := &table{name: name, places: placeColumns{places + "_topic_id", places + "_partition", places + "_offset", "", ""}}
	t.schema = arrow.NewSchema(append(fields,
		arrow.Field{Name: t.places.topicID, Type: schemas.DictionaryType},
		arrow.Field{Name: t.places.partition, Type: arrow.PrimitiveTypes.Int32},
		arrow.Field{Name: t.places.offset, Type: arrow.PrimitiveTypes.Int64}), nil)
	var err error
	if t.source, err = newSource(t.schema); err != nil {
		panic(err) // a type above that newSource does not know
	}
	return t
}

// Bytes that come from outside are Arrow binaries and not strings: ClickHouse's String
// takes any bytes, and they are kept as they came.
var (
	feedbackTable = newTable("feedback", "feedback",
		arrow.Field{Name: "model", Type: schemas.DictionaryType},
		arrow.Field{Name: "request_id", Type: arrow.BinaryTypes.Binary},
		arrow.Field{Name: "label", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		arrow.Field{Name: "label_class", Type: schemas.DictionaryType},
		arrow.Field{Name: "observed_at", Type: schemas.TimestampType},
		arrow.Field{Name: "received_at", Type: schemas.TimestampType})

	deadLettersTable = newTable("dead_letters", "dead_letter",
		arrow.Field{Name: "error_class", Type: schemas.DictionaryType},
		arrow.Field{Name: "reason", Type: arrow.BinaryTypes.Binary},
		arrow.Field{Name: "model", Type: schemas.DictionaryType},
		arrow.Field{Name: "version", Type: schemas.DictionaryType},
		arrow.Field{Name: "topic", Type: schemas.DictionaryType},
		arrow.Field{Name: "request_topic_id", Type: schemas.DictionaryType},
		arrow.Field{Name: "request_partition", Type: arrow.PrimitiveTypes.Int32},
		arrow.Field{Name: "request_offset", Type: arrow.PrimitiveTypes.Int64},
		arrow.Field{Name: "request_row", Type: arrow.PrimitiveTypes.Int32},
		arrow.Field{Name: "failed_at", Type: schemas.TimestampType},
		arrow.Field{Name: "key", Type: arrow.BinaryTypes.Binary},
		arrow.Field{Name: "value", Type: arrow.BinaryTypes.Binary},
		arrow.Field{Name: "headers", Type: arrow.MapOf(arrow.BinaryTypes.Binary, arrow.BinaryTypes.Binary)})

	eventsTable = newTable("events", "event",
		arrow.Field{Name: "id", Type: arrow.BinaryTypes.Binary},
		arrow.Field{Name: "type", Type: schemas.DictionaryType},
		arrow.Field{Name: "kind", Type: schemas.DictionaryType},
		arrow.Field{Name: "severity", Type: schemas.DictionaryType},
		arrow.Field{Name: "model", Type: schemas.DictionaryType},
		arrow.Field{Name: "version", Type: schemas.DictionaryType},
		arrow.Field{Name: "time", Type: schemas.TimestampType},
		arrow.Field{Name: "body", Type: arrow.BinaryTypes.Binary})
)

// rows gathers the rows of one table until they are inserted.
type rows struct {
	table   *table
	builder *array.RecordBuilder
	present map[place]struct{} // rows that are stored already and must be left out
	extent  extent             // of the rows in builder
	places  []place            // of the same
	bytes   int                // of the records that they came from

	topicID   uuid.UUID // of the last row, and its text
	topicText []byte
}

func newRows(mem memory.Allocator, t *table) *rows {
	return &rows{table: t, builder: array.NewRecordBuilder(mem, t.schema)}
}

// begin tells whether the record's row is still to be stored, and if so notes its
// coordinates, as the last columns. The caller appends the others.
func (t *rows) begin(r *schemas.Record, size int) bool {
	p := placeOf(r)
	if _, ok := t.present[p]; ok {
		return false
	}
	t.places = append(t.places, p)
	t.extent.add(p.topic, p.partition, p.offset, 0)
	t.bytes += size
	n := len(t.builder.Fields())
	if t.topicText == nil || t.topicID != r.TopicID {
		t.topicID, t.topicText = r.TopicID, []byte(r.TopicID.String())
	}
	t.dict(n-3, t.topicText)
	t.int32(n-2, r.Partition)
	t.int64(n-1, r.Offset)
	return true
}

// has tells whether the record's row is stored; that is only known in a replay.
func (t *rows) has(r *schemas.Record) bool {
	if len(t.present) == 0 {
		return false
	}
	_, ok := t.present[placeOf(r)]
	return ok
}

func (t *rows) full() bool { return len(t.places) >= maxInsertRows || t.bytes >= maxBuiltBytes }

// encode writes the rows as an Arrow IPC stream to out and empties t.
func (t *rows) encode(mem memory.Allocator, out *bytes.Buffer) error {
	rec := t.builder.NewRecord()
	defer rec.Release()
	// The builders keep their dictionaries for ever: take new ones.
	t.builder.Release()
	t.builder = array.NewRecordBuilder(mem, t.table.schema)
	w := ipc.NewWriter(out, ipc.WithSchema(rec.Schema()), ipc.WithAllocator(mem))
	if err := w.Write(rec); err != nil {
		return err
	}
	return w.Close()
}

// The appenders take the index of the column in the table's schema.

func (t *rows) dict(i int, v []byte) {
	if v == nil {
		v = []byte{} // nil would be NULL
	}
	// Append fails only if the dictionary's type were another one.
	_ = t.builder.Field(i).(*array.BinaryDictionaryBuilder).Append(v)
}
func (t *rows) name(i int, v string)   { t.dict(i, []byte(v)) }
func (t *rows) binary(i int, v []byte) { t.builder.Field(i).(*array.BinaryBuilder).Append(v) }
func (t *rows) int32(i int, v int32)   { t.builder.Field(i).(*array.Int32Builder).Append(v) }
func (t *rows) int64(i int, v int64)   { t.builder.Field(i).(*array.Int64Builder).Append(v) }
func (t *rows) micros(i int, v int64) {
	t.builder.Field(i).(*array.TimestampBuilder).Append(arrow.Timestamp(v))
}

// addFeedback appends a label.
func (t *rows) addFeedback(r *schemas.Record, l *codec.Label) {
	if !t.begin(r, len(r.Value)+len(r.Key)) {
		return
	}
	t.dict(0, l.Model)
	t.binary(1, l.RequestID)
	value := t.builder.Field(2).(*array.Float64Builder)
	if l.IsClass {
		value.AppendNull()
	} else {
		value.Append(l.Value)
	}
	t.dict(3, l.Class)
	t.micros(4, l.ObservedAt)
	t.micros(5, schemas.ClampMicros(r.Timestamp))
}

// deadLetter is a row of dead_letters beside the coordinates of its own record.
type deadLetter struct {
	class          schemas.ErrorClass
	reason         string
	model, version string
	topic          string
	request        schemas.Coordinates
	failedAt       time.Time
	original       func(header string) bool // whether the header is one of the original record
}

func (t *rows) addDeadLetter(r *schemas.Record, d *deadLetter) {
	if !t.begin(r, len(r.Value)+len(r.Key)) {
		return
	}
	t.name(0, string(d.class))
	t.binary(1, []byte(strings.ToValidUTF8(d.reason, "\uFFFD")))
	t.name(2, d.model)
	t.name(3, d.version)
	t.name(4, d.topic)
	t.name(5, d.request.TopicID.String())
	t.int32(6, d.request.Partition)
	t.int64(7, d.request.Offset)
	t.int32(8, d.request.Row)
	t.micros(9, schemas.ClampMicros(d.failedAt))
	t.binary(10, r.Key)
	t.binary(11, r.Value)
	headers := t.builder.Field(12).(*array.MapBuilder)
	headers.Append(true)
	seen := make(map[string]struct{}, len(r.Headers))
	for _, h := range slices.Backward(r.Headers) {
		// Of repeated keys the last: a map has each once.
		if _, ok := seen[h.Key]; !ok && d.original(h.Key) {
			seen[h.Key] = struct{}{}
			headers.KeyBuilder().(*array.BinaryBuilder).Append([]byte(h.Key))
			headers.ItemBuilder().(*array.BinaryBuilder).Append(h.Value)
			t.bytes += len(h.Key) + len(h.Value)
		}
	}
}

// addRefused appends a record of a topic of ours that cannot be used. What failed and
// where it was found are the same record, and the time is the record's own, so that a
// replay makes the same row.
func (t *rows) addRefused(r *schemas.Record, refused *schemas.RequestError) {
	d := deadLetter{
		class: refused.Class, reason: refused.Reason, topic: r.Topic, request: r.Coordinates(), failedAt: r.Timestamp,
		original: func(string) bool { return true },
	}
	d.model, d.version = headerName(r, schemas.HeaderModel), headerName(r, schemas.HeaderVersion)
	t.addDeadLetter(r, &d)
}

// addLetter appends a record of the dead letters topic. Headers that are missing or
// damaged lose nothing: the dead letter then stands for itself, and its reason says so.
func (t *rows) addLetter(r *schemas.Record) {
	d := deadLetter{
		class: schemas.ErrorClassMalformed, topic: r.Topic, request: r.Coordinates(), failedAt: r.Timestamp,
		original: func(header string) bool { return !slices.Contains(deadLetterHeaders, header) },
	}
	d.model, d.version = headerName(r, schemas.HeaderModel), headerName(r, schemas.HeaderVersion)
	var faults []string
	fault := func(key string) {
		v, _ := r.Header(key)
		faults = append(faults, key+"="+strconv.Quote(string(v[:min(len(v), 80)])))
	}
	if reason, ok := r.Header(schemas.HeaderReason); ok {
		d.reason = string(reason)
	}
	class, _ := r.Header(schemas.HeaderErrorClass)
	if c := schemas.ErrorClass(class); slices.Contains(schemas.ErrorClasses(), c) {
		d.class = c
	} else {
		fault(schemas.HeaderErrorClass)
	}
	if topic := headerName(r, schemas.HeaderTopic); topic != "" {
		d.topic = topic
	} else {
		fault(schemas.HeaderTopic)
	}
	if c, ok := headerCoordinates(r); ok {
		d.request = c
	} else {
		fault(schemas.HeaderTopicID)
		fault(schemas.HeaderPartition)
		fault(schemas.HeaderOffset)
	}
	at, _ := r.Header(schemas.HeaderFailedAt)
	if failedAt, err := time.Parse(time.RFC3339, string(at)); err == nil {
		d.failedAt = failedAt
	} else {
		fault(schemas.HeaderFailedAt)
	}
	if len(faults) > 0 {
		d.reason = strings.TrimSpace(d.reason + " (unusable headers of the dead letter: " + strings.Join(faults, ", ") + ")")
	}
	t.addDeadLetter(r, &d)
}

// deadLetterHeaders are added to the original ones when a record is dead-lettered.
var deadLetterHeaders = []string{
	schemas.HeaderModel, schemas.HeaderVersion, schemas.HeaderErrorClass, schemas.HeaderReason, schemas.HeaderTopic,
	schemas.HeaderTopicID, schemas.HeaderPartition, schemas.HeaderOffset, schemas.HeaderRow, schemas.HeaderFailedAt, schemas.HeaderCut,
}

// headerName returns a header that goes into a LowCardinality column, "" if it could not
// be a name.
func headerName(r *schemas.Record, key string) string {
	v, _ := r.Header(key)
	if len(v) > 249 || !utf8.Valid(v) {
		return ""
	}
	return string(v)
}

func headerCoordinates(r *schemas.Record) (c schemas.Coordinates, ok bool) {
	id, _ := r.Header(schemas.HeaderTopicID)
	partition, _ := r.Header(schemas.HeaderPartition)
	offset, _ := r.Header(schemas.HeaderOffset)
	topicID, err1 := uuid.ParseBytes(id)
	p, err2 := strconv.ParseInt(string(partition), 10, 32)
	o, err3 := strconv.ParseInt(string(offset), 10, 64)
	var n int64
	var err4 error
	if row, ok := r.Header(schemas.HeaderRow); ok { // of one row of a record of many
		n, err4 = strconv.ParseInt(string(row), 10, 32)
	}
	return schemas.Coordinates{TopicID: topicID, Partition: int32(p), Offset: o, Row: int32(n)}, errors.Join(err1, err2, err3, err4) == nil
}

// addEvent appends an event, or tells why it is none.
func (t *rows) addEvent(r *schemas.Record) *schemas.RequestError {
	var e schemas.Event
	if !utf8.Valid(r.Value) {
		return schemas.Errorf(schemas.ErrorClassMalformed, "the event is not UTF-8")
	}
	if err := json.Unmarshal(r.Value, &e); err != nil {
		return schemas.Errorf(schemas.ErrorClassMalformed, "the event is no CloudEvent: %v", err)
	}
	if e.ID == "" {
		return schemas.Errorf(schemas.ErrorClassMissingFeature, "the event has no id")
	}
	if !t.begin(r, len(r.Value)) {
		return nil
	}
	t.binary(0, []byte(e.ID))
	t.name(1, e.Type)
	t.name(2, string(e.Data.Kind))
	t.name(3, string(e.Data.Severity))
	t.name(4, e.Data.Model)
	t.name(5, e.Data.Version)
	t.micros(6, schemas.ClampMicros(e.Time))
	t.binary(7, r.Value)
	return nil
}
