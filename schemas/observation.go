package schemas

import (
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
)

// System columns of an observation. Names are public: analysts write SQL with them.
const (
	ColumnRequestID  = "request_id"
	ColumnEventTime  = "event_time" // when the request's subject happened; drift windows follow it
	ColumnVersion    = "version"
	ColumnVariant    = "variant" // part in an experiment; "" outside of one
	ColumnOutcome    = "outcome" // OutcomeOK or OutcomeFailed
	ColumnErrorClass = "error_class"
	ColumnLatency    = "latency_us" // from fetch to the start of encoding the result
	ColumnQueue      = "queue_us"   // from appended to fetched; NULL where the request's Record is Untimed
	ColumnScoredAt   = "scored_at"  // one value per observation record
	ColumnTopicID    = "request_topic_id"
	ColumnPartition  = "request_partition"
	ColumnOffset     = "request_offset"
	ColumnRow        = "request_row"
)

// UnknownQueue stands for the queue_us of a request whose Record is Untimed, where a NULL cannot.
const UnknownQueue = -1

// Outcomes of an observation. A failed row's outputs are NULL, and the request is a dead
// letter too.
const (
	OutcomeOK     = "ok"
	OutcomeFailed = "failed"
)

// Keys of the Arrow schema's metadata. With them a recorder needs no manifest: the table
// follows from the schema alone.
const (
	MetadataModel   = "millrace.model"
	MetadataVersion = "millrace.version"
	MetadataOutputs = "millrace.outputs" // names of the prediction columns, comma-separated
	MetadataScore   = "millrace.score"   // the output that stands for the prediction across models; absent if none is a number
)

// Arrow types of the columns.
var (
	// DictionaryType is the type of names and categories: it becomes LowCardinality(String).
	DictionaryType = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	// TimestampType is the type of times: microseconds, UTC. It becomes DateTime64(6, 'UTC').
	TimestampType = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
)

// Microseconds since 1970 that DateTime64(6) holds: the years 1900 to 2299.
const (
	MinMicros = -2_208_988_800_000_000
	MaxMicros = 10_413_791_999_999_999
)

// ClampMicros returns the time in microseconds since 1970, as far as DateTime64(6) reaches.
func ClampMicros(t time.Time) int64 { return min(max(t.UnixMicro(), MinMicros), MaxMicros) }

// ArrowType returns the Arrow type of a column of that feature type.
func (t FeatureType) ArrowType() arrow.DataType {
	switch t {
	case TypeBool:
		return arrow.FixedWidthTypes.Boolean
	case TypeInt32:
		return arrow.PrimitiveTypes.Int32
	case TypeInt64:
		return arrow.PrimitiveTypes.Int64
	case TypeFloat32:
		return arrow.PrimitiveTypes.Float32
	case TypeFloat64:
		return arrow.PrimitiveTypes.Float64
	case TypeCategory:
		return DictionaryType
	default:
		return arrow.BinaryTypes.String
	}
}

// FeatureFields returns one field per feature, in manifest order; optional features are
// nullable.
func (m *Manifest) FeatureFields() []arrow.Field {
	fields := make([]arrow.Field, len(m.Features))
	for i, f := range m.Features {
		fields[i] = arrow.Field{Name: f.Name, Type: f.Type.ArrowType(), Nullable: f.Optional}
	}
	return fields
}

// OutputFields returns one field per output, in manifest order; all are nullable, since a
// row can fail.
func (m *Manifest) OutputFields() []arrow.Field {
	fields := make([]arrow.Field, len(m.Outputs))
	for i, o := range m.Outputs {
		fields[i] = arrow.Field{Name: o.Name, Type: o.Type.ArrowType(), Nullable: true}
	}
	return fields
}

// RequestSchema is the schema of a decoded request batch: the features, request_id and
// event_time, and the coordinates.
func (m *Manifest) RequestSchema() *arrow.Schema {
	fields := append(m.FeatureFields(),
		arrow.Field{Name: ColumnRequestID, Type: arrow.BinaryTypes.String},
		arrow.Field{Name: ColumnEventTime, Type: TimestampType},
		arrow.Field{Name: ColumnTopicID, Type: DictionaryType},
		arrow.Field{Name: ColumnPartition, Type: arrow.PrimitiveTypes.Int32},
		arrow.Field{Name: ColumnOffset, Type: arrow.PrimitiveTypes.Int64},
		arrow.Field{Name: ColumnRow, Type: arrow.PrimitiveTypes.Int32})
	return arrow.NewSchema(fields, nil)
}

// RequestIDs returns the column of ids of a batch of RequestSchema, owned by the batch.
func RequestIDs(batch arrow.Record) *array.String {
	return batch.Column(batch.Schema().FieldIndices(ColumnRequestID)[0]).(*array.String)
}

// ScoreOutput returns the output that stands for the prediction where models are seen
// together: the target's score where it is a number, else the first numeric output, else "".
func (m *Manifest) ScoreOutput() string {
	if m.Target != nil {
		if o, ok := m.Output(m.Target.Score); !ok || o.Type.Numeric() {
			return m.Target.Score
		}
	}
	for _, o := range m.Outputs {
		if o.Type.Numeric() {
			return o.Name
		}
	}
	return ""
}

// ObservationSchema is the schema of the observations of a version: the request batch
// that was scored, extended with outputs, circumstances and version. The columns of
// RequestSchema come first, in its order, so that the batch is extended without a copy.
func (m *Manifest) ObservationSchema() *arrow.Schema {
	fields := append(m.RequestSchema().Fields(), m.OutputFields()...)
	fields = append(fields,
		arrow.Field{Name: ColumnVersion, Type: DictionaryType},
		arrow.Field{Name: ColumnVariant, Type: DictionaryType},
		arrow.Field{Name: ColumnOutcome, Type: DictionaryType},
		arrow.Field{Name: ColumnErrorClass, Type: DictionaryType},
		arrow.Field{Name: ColumnLatency, Type: arrow.PrimitiveTypes.Int64},
		arrow.Field{Name: ColumnQueue, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		arrow.Field{Name: ColumnScoredAt, Type: TimestampType})
	outputs := make([]string, len(m.Outputs))
	for i, o := range m.Outputs {
		outputs[i] = o.Name
	}
	keys := []string{MetadataModel, MetadataVersion, MetadataOutputs}
	values := []string{m.Name, m.Version, strings.Join(outputs, ",")}
	if score := m.ScoreOutput(); score != "" {
		keys, values = append(keys, MetadataScore), append(values, score)
	}
	md := arrow.NewMetadata(keys, values)
	return arrow.NewSchema(fields, &md)
}

// SampleSchema is the schema of the manifest's sample file: some rows of the reference
// with what the version answered to them where it was made. A runtime that answers
// differently when it is loaded has the wrong artifact, feature order or encoding.
// Categories are plain strings there.
func (m *Manifest) SampleSchema() *arrow.Schema {
	fields := append(m.FeatureFields(), m.OutputFields()...)
	for i := range fields {
		if fields[i].Type == arrow.DataType(DictionaryType) {
			fields[i].Type = arrow.BinaryTypes.String
		}
		fields[i].Nullable = true
	}
	return arrow.NewSchema(fields, nil)
}

// ObservationsTable returns the ClickHouse table of a model's observations.
func ObservationsTable(model string) string { return "observations_" + model }

// SchemaModel returns the model and version that an observation schema belongs to.
func SchemaModel(s *arrow.Schema) (model, version string, err error) {
	md := s.Metadata()
	model, okM := md.GetValue(MetadataModel)
	version, okV := md.GetValue(MetadataVersion)
	if !okM || !okV || !ValidModelName(model) || !versionName.MatchString(version) {
		return "", "", fmt.Errorf("arrow schema names no model and version in its metadata (%s=%q, %s=%q)",
			MetadataModel, model, MetadataVersion, version)
	}
	return model, version, nil
}
