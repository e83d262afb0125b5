// Package observetest gives tests observations, made as a worker would and yet another way.
package observetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
)

// RequestTopicID is the topic that Observations say their requests are of.
var RequestTopicID = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")

// Manifest returns a manifest with eight numeric features and two categories, and the
// outputs label (float64, the first) and probability (float64, the score).
func Manifest(model, version string) *schemas.Manifest {
	m := &schemas.Manifest{
		Name: model, Version: version,
		Outputs: []schemas.Output{{Name: "label", Type: schemas.TypeFloat64}, {Name: "probability", Type: schemas.TypeFloat64}},
		Target:  &schemas.Target{Kind: schemas.TargetBinary, Score: "probability", Threshold: 0.5},
	}
	for i := range 8 {
		m.Features = append(m.Features, schemas.Feature{Name: "f" + strconv.Itoa(i), Type: schemas.TypeFloat32})
	}
	for _, name := range []string{"origin", "minute"} { // minute is also a column of minute_states
		m.Features = append(m.Features, schemas.Feature{Name: name, Type: schemas.TypeCategory, Categories: categories})
	}
	return m
}

var categories = []string{"ATL", "BOS", "DEN", "JFK", "LAX", "ORD", "SFO", "SEA"}

// Batch says which observations to make. Rows follow from it alone.
type Batch struct {
	Manifest  *schemas.Manifest
	Rows      int
	Partition int32     // of the requests
	Offset    int64     // of the first request; those after it count on
	ScoredAt  time.Time // default 2026-11-22T12:00:00Z
	Failed    int       // every so manyth row failed; 0 for none
	Version   string    // of the column version; default the manifest's
	Variant   string
	Timed     int  // every so manyth row alone has queue_us; 0: all have it
	Earlier   bool // the schema is that of releases before 2026-11-30, in which all have it
}

func (b Batch) schema() *arrow.Schema {
	schema := b.Manifest.ObservationSchema()
	if !b.Earlier {
		return schema
	}
	fields, md := schema.Fields(), schema.Metadata()
	fields[schema.FieldIndices(schemas.ColumnQueue)[0]].Nullable = false
	return arrow.NewSchema(fields, &md)
}

// Record makes a record batch of the manifest's observation schema. The caller releases it.
func (b Batch) Record(mem memory.Allocator) arrow.Record {
	schema := b.schema()
	if b.ScoredAt.IsZero() {
		b.ScoredAt = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	}
	if b.Version == "" {
		b.Version = b.Manifest.Version
	}
	builder := array.NewRecordBuilder(mem, schema)
	defer builder.Release()
	random := rand.New(rand.NewPCG(uint64(b.Offset), uint64(b.Partition))) //nolint:gosec // repeatable
	for row := range b.Rows {
		offset := b.Offset + int64(row)
		failed := b.Failed > 0 && row%b.Failed == 0
		for i, f := range schema.Fields() {
			switch c := builder.Field(i).(type) {
			case *array.BinaryDictionaryBuilder:
				_ = c.AppendString(b.name(f.Name, failed, random)) // fails for other types only
			case *array.StringBuilder:
				if f.Name == schemas.ColumnRequestID {
					c.Append(fmt.Sprintf("%s/%d/%d", RequestTopicID, b.Partition, offset))
				} else {
					c.Append("text " + strconv.Itoa(row))
				}
			case *array.TimestampBuilder:
				at := b.ScoredAt
				if f.Name == schemas.ColumnEventTime {
					at = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(offset) * 50 * time.Millisecond)
				}
				c.Append(arrow.Timestamp(at.UnixMicro()))
			case *array.Int64Builder:
				switch f.Name {
				case schemas.ColumnOffset:
					c.Append(offset)
				case schemas.ColumnQueue:
					if us := 1000 + random.Int64N(9000); b.Timed == 0 || row%b.Timed == 0 {
						c.Append(us)
					} else {
						c.AppendNull()
					}
				default:
					c.Append(1000 + random.Int64N(9000))
				}
			case *array.Int32Builder:
				switch f.Name {
				case schemas.ColumnPartition:
					c.Append(b.Partition)
				case schemas.ColumnRow:
					c.Append(0)
				default:
					c.Append(int32(row))
				}
			case *array.Float64Builder:
				if failed && f.Nullable {
					c.AppendNull()
				} else {
					c.Append(random.Float64())
				}
			case *array.Float32Builder:
				c.Append(random.Float32() * 1000)
			case *array.BooleanBuilder:
				c.Append(row%2 == 0)
			}
		}
	}
	return builder.NewRecord()
}

func (b Batch) name(column string, failed bool, random *rand.Rand) string {
	switch column {
	case schemas.ColumnTopicID:
		return RequestTopicID.String()
	case schemas.ColumnVersion:
		return b.Version
	case schemas.ColumnVariant:
		return b.Variant
	case schemas.ColumnOutcome:
		if failed {
			return schemas.OutcomeFailed
		}
		return schemas.OutcomeOK
	case schemas.ColumnErrorClass:
		if failed {
			return string(schemas.ErrorClassInferenceFailed)
		}
		return ""
	default:
		return categories[random.IntN(len(categories))]
	}
}

// Stream returns the observations as an Arrow IPC stream, one record batch per batch, as
// a worker writes it.
func Stream(tb testing.TB, batches []Batch, opts ...ipc.Option) []byte {
	tb.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(tb, 0)
	var buf bytes.Buffer
	opts = append([]ipc.Option{ipc.WithSchema(batches[0].schema()), ipc.WithAllocator(mem)}, opts...)
	w := ipc.NewWriter(&buf, opts...)
	for _, b := range batches {
		rec := b.Record(mem)
		err := w.Write(rec)
		rec.Release()
		require.NoError(tb, err)
	}
	require.NoError(tb, w.Close())
	return buf.Bytes()
}

// Observations returns an observation record of the default topic.
func Observations(tb testing.TB, offset int64, b Batch, opts ...ipc.Option) schemas.Record {
	tb.Helper()
	r := Record(schemas.DefaultTopics().Observations, offset, []byte(b.Manifest.Name), Stream(tb, []Batch{b}, opts...))
	r.Headers = []schemas.Header{
		{Key: schemas.HeaderModel, Value: []byte(b.Manifest.Name)},
		{Key: schemas.HeaderVersion, Value: []byte(b.Manifest.Version)},
		{Key: schemas.HeaderRows, Value: []byte(strconv.Itoa(b.Rows))},
	}
	return r
}

// Record returns a record of partition 0 of a topic, whose id follows from its name.
func Record(topic string, offset int64, key, value []byte) schemas.Record {
	return schemas.Record{
		Topic: topic, TopicID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(topic)), Offset: offset,
		Timestamp: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Add(time.Duration(offset) * time.Millisecond),
		Key:       key, Value: value,
	}
}

// SchemaBytes returns how many bytes of an observation record its schema message is.
func SchemaBytes(value []byte) int { return 8 + int(binary.LittleEndian.Uint32(value[4:])) }

// Damage calls fn with the stored bytes of a buffer of the record's first batch, of the column of
// that name, on a copy.
func Damage(tb testing.TB, r *schemas.Record, column string, buffer int, fn func(stored []byte)) {
	tb.Helper()
	r.Value = slices.Clone(r.Value)
	var schema *arrowipc.Schema
	for rest := r.Value; ; {
		size := int64(SchemaBytes(rest))
		m, err := arrowipc.ReadMetadata(rest[8:size])
		require.NoError(tb, err)
		body := rest[size : size+m.BodyBytes]
		switch rest = rest[size+m.BodyBytes:]; m.Kind {
		case arrowipc.KindSchema:
			schema, err = m.Schema(1000, true)
			require.NoError(tb, err)
		case arrowipc.KindRecordBatch:
			b, err := m.RecordBatch(schema)
			require.NoError(tb, err)
			at := slices.IndexFunc(schema.Fields, func(f arrowipc.Field) bool { return f.Name == column })
			from, n, err := b.Extent(schema.Fields[at].Buffer+buffer, m.BodyBytes)
			require.NoError(tb, err)
			fn(body[from : from+n])
			return
		default:
		}
	}
}
