package store

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// table is one of the tables whose rows are built here, one per Kafka record.
type table struct {
	name    string
	places  placeColumns
	schema  *arrow.Schema
	columns clickhouse.Columns
	count   func(*Stats) *int // of its rows that were inserted
}

func newTable(name, places string, count func(*Stats) *int, fields []arrow.Field) *table {
	t := &table{name: name, count: count, places: placeColumns{places + "_topic_id", places + "_partition", places + "_offset", "", ""}}
	t.schema = arrow.NewSchema(append(fields,
		arrow.Field{Name: t.places.topicID, Type: schemas.DictionaryType},
		arrow.Field{Name: t.places.partition, Type: arrow.PrimitiveTypes.Int32},
		arrow.Field{Name: t.places.offset, Type: arrow.PrimitiveTypes.Int64}), nil)
	var err error
	if t.columns, err = clickhouse.ColumnsOf(t.schema); err != nil {
		panic(err) // a type above that ColumnsOf does not know
	}
	return t
}

// Columns of these tables, by their place in the schema.
const (
	feedbackModel = iota
	feedbackRequestID
	feedbackLabel
	feedbackLabelClass
	feedbackObservedAt
	feedbackReceivedAt
)

const (
	letterErrorClass = iota
	letterReason
	letterModel
	letterVersion
	letterTopic
	letterRequestTopicID
	letterRequestPartition
	letterRequestOffset
	letterRequestRow
	letterFailedAt
	letterKey
	letterValue
	letterHeaders
)

const (
	eventID = iota
	eventType
	eventKind
	eventSeverity
	eventModel
	eventVersion
	eventTime
	eventBody
)

// Bytes that come from outside are Arrow binaries and not strings: ClickHouse's String
// takes any bytes, and they are kept as they came.
var (
	feedbackTable = newTable(clickhouse.TableFeedback, "feedback", func(s *Stats) *int { return &s.Feedback }, []arrow.Field{
		feedbackModel:      {Name: "model", Type: schemas.DictionaryType},
		feedbackRequestID:  {Name: "request_id", Type: arrow.BinaryTypes.Binary},
		feedbackLabel:      {Name: "label", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		feedbackLabelClass: {Name: "label_class", Type: schemas.DictionaryType},
		feedbackObservedAt: {Name: "observed_at", Type: schemas.TimestampType},
		feedbackReceivedAt: {Name: "received_at", Type: schemas.TimestampType},
	})

	deadLettersTable = newTable(clickhouse.TableDeadLetters, "dead_letter", func(s *Stats) *int { return &s.DeadLetters }, []arrow.Field{
		letterErrorClass:       {Name: "error_class", Type: schemas.DictionaryType},
		letterReason:           {Name: "reason", Type: arrow.BinaryTypes.Binary},
		letterModel:            {Name: "model", Type: schemas.DictionaryType},
		letterVersion:          {Name: "version", Type: schemas.DictionaryType},
		letterTopic:            {Name: "topic", Type: schemas.DictionaryType},
		letterRequestTopicID:   {Name: "request_topic_id", Type: schemas.DictionaryType},
		letterRequestPartition: {Name: "request_partition", Type: arrow.PrimitiveTypes.Int32},
		letterRequestOffset:    {Name: "request_offset", Type: arrow.PrimitiveTypes.Int64},
		letterRequestRow:       {Name: "request_row", Type: arrow.PrimitiveTypes.Int32},
		letterFailedAt:         {Name: "failed_at", Type: schemas.TimestampType},
		letterKey:              {Name: "key", Type: arrow.BinaryTypes.Binary},
		letterValue:            {Name: "value", Type: arrow.BinaryTypes.Binary},
		letterHeaders:          {Name: "headers", Type: arrow.MapOf(arrow.BinaryTypes.Binary, arrow.BinaryTypes.Binary)},
	})

	eventsTable = newTable(clickhouse.TableEvents, "event", func(s *Stats) *int { return &s.Events }, []arrow.Field{
		eventID:       {Name: "id", Type: arrow.BinaryTypes.Binary},
		eventType:     {Name: "type", Type: schemas.DictionaryType},
		eventKind:     {Name: "kind", Type: schemas.DictionaryType},
		eventSeverity: {Name: "severity", Type: schemas.DictionaryType},
		eventModel:    {Name: "model", Type: schemas.DictionaryType},
		eventVersion:  {Name: "version", Type: schemas.DictionaryType},
		eventTime:     {Name: "time", Type: schemas.TimestampType},
		eventBody:     {Name: "body", Type: arrow.BinaryTypes.Binary},
	})
)

// rows gathers the rows of one table until they are inserted.
type rows struct {
	table   *table
	builder *array.RecordBuilder
	present map[schemas.Coordinates]struct{} // rows that are stored already and must be left out
	extent  extent                           // of the rows in builder
	places  []schemas.Coordinates            // of the same
	bytes   int                              // of the records that they came from

	topicID   uuid.UUID // of the last row, and its text
	topicText []byte
}

func newRows(mem memory.Allocator, t *table) *rows {
	return &rows{table: t, builder: array.NewRecordBuilder(mem, t.schema)}
}

// begin tells whether the record's row is still to be stored, and if so notes its
// coordinates, as the last columns. The caller appends the others.
func (t *rows) begin(r *schemas.Record, size int) bool {
	at := r.Coordinates()
	if _, ok := t.present[at]; ok {
		return false
	}
	t.places = append(t.places, at)
	t.extent.add(at, 0)
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
	_, ok := t.present[r.Coordinates()]
	return ok
}

func (t *rows) full() bool {
	return len(t.places) >= clickhouse.MaxInsertRows || t.bytes >= maxBuiltBytes
}

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
	t.dict(feedbackModel, l.Model)
	t.binary(feedbackRequestID, l.RequestID)
	value := t.builder.Field(feedbackLabel).(*array.Float64Builder)
	if l.IsClass {
		value.AppendNull()
	} else {
		value.Append(l.Value)
	}
	t.dict(feedbackLabelClass, l.Class)
	t.micros(feedbackObservedAt, l.ObservedAt)
	t.micros(feedbackReceivedAt, schemas.ClampMicros(r.Timestamp))
}

// addDeadLetter appends a row of dead_letters beside the coordinates of its own record, with those
// of its headers that are original.
func (t *rows) addDeadLetter(r *schemas.Record, d *schemas.DeadLetter, original func(header string) bool) {
	if !t.begin(r, len(r.Value)+len(r.Key)) {
		return
	}
	t.name(letterErrorClass, string(d.Class))
	t.binary(letterReason, []byte(strings.ToValidUTF8(d.Reason, "\uFFFD")))
	t.name(letterModel, d.Model)
	t.name(letterVersion, d.Version)
	t.name(letterTopic, d.Topic)
	t.name(letterRequestTopicID, d.Request.TopicID.String())
	t.int32(letterRequestPartition, d.Request.Partition)
	t.int64(letterRequestOffset, d.Request.Offset)
	t.int32(letterRequestRow, d.Request.Row)
	t.micros(letterFailedAt, schemas.ClampMicros(d.FailedAt))
	t.binary(letterKey, r.Key)
	t.binary(letterValue, r.Value)
	headers := t.builder.Field(letterHeaders).(*array.MapBuilder)
	headers.Append(true)
	seen := make(map[string]struct{}, len(r.Headers))
	for _, h := range slices.Backward(r.Headers) {
		// Of repeated keys the last: a map has each once.
		if _, ok := seen[h.Key]; !ok && original(h.Key) {
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
	t.addDeadLetter(r, &schemas.DeadLetter{
		Class: refused.Class, Reason: refused.Reason, Topic: r.Topic, Request: r.Coordinates(), FailedAt: r.Timestamp,
		Model: r.HeaderName(schemas.HeaderModel), Version: r.HeaderName(schemas.HeaderVersion),
	}, func(string) bool { return true })
}

// addLetter appends a record of the dead letters topic. Where headers are unusable its reason says
// so.
func (t *rows) addLetter(r *schemas.Record) {
	d := schemas.ReadDeadLetter(r)
	var faults []string
	for _, key := range d.Unusable {
		v, _ := r.Header(key)
		faults = append(faults, key+"="+strconv.Quote(string(v[:min(len(v), 80)])))
	}
	if len(faults) > 0 {
		d.Reason = strings.TrimSpace(d.Reason + " (unusable headers of the dead letter: " + strings.Join(faults, ", ") + ")")
	}
	t.addDeadLetter(r, &d, func(header string) bool { return !schemas.OfDeadLetter(header) })
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
	t.binary(eventID, []byte(e.ID))
	t.name(eventType, e.Type)
	t.name(eventKind, string(e.Data.Kind))
	t.name(eventSeverity, string(e.Data.Severity))
	t.name(eventModel, e.Data.Model)
	t.name(eventVersion, e.Data.Version)
	t.micros(eventTime, schemas.ClampMicros(e.Time))
	t.binary(eventBody, r.Value)
	return nil
}
