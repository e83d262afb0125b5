package codec

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/millrace/millrace/schemas"
)

// avroResults writes results as Avro records, framed with the id of their schema.
type avroResults struct {
	resultColumns
	header []byte
	middle []byte // model and version
}

func newAvroResults(ctx context.Context, m *schemas.Manifest, o Options) (*avroResults, error) {
	id, err := o.Registry.Register(ctx, o.Subject, Schema{Type: Avro, Text: AvroResultSchema(m)})
	if err != nil {
		return nil, fmt.Errorf("register the schema of its results under subject %s: %w", o.Subject, err)
	}
	e := &avroResults{resultColumns: newResultColumns(m), header: appendHeader(nil, id)}
	e.middle = appendAvroText(appendAvroText(nil, m.Name), m.Version)
	return e, nil
}

// AvroResultSchema returns the schema of a model's results in Avro. A version that adds
// outputs is compatible with those before it, one that changes the type of an output is not.
func AvroResultSchema(m *schemas.Manifest) string {
	type typed struct {
		Type any    `json:"type"`
		Name string `json:"name,omitempty"`
	}
	type record struct {
		Type      string `json:"type"`
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		Fields    []any  `json:"fields"`
	}
	type nullable struct {
		Name    string    `json:"name"`
		Type    [2]string `json:"type"`
		Default *int      `json:"default"` // null
	}
	predictions := record{Type: "record", Name: resultName(m, "Predictions"), Namespace: "millrace", Fields: []any{}}
	for _, out := range m.Outputs {
		predictions.Fields = append(predictions.Fields, nullable{Name: out.Name, Type: [2]string{"null", avroOutput(out.Type)}})
	}
	text, err := json.Marshal(record{Type: "record", Name: resultName(m, "Result"), Namespace: "millrace", Fields: []any{
		typed{Name: "request_id", Type: "string"},
		typed{Name: "model", Type: "string"},
		typed{Name: "version", Type: "string"},
		typed{Name: "predictions", Type: predictions},
		typed{Name: "latency_us", Type: "long"},
		typed{Name: "queue_us", Type: "long"},
	}})
	if err != nil {
		panic(err) // none of these values fails
	}
	return string(text)
}

func avroOutput(t schemas.FeatureType) string {
	switch t {
	case schemas.TypeBool:
		return "boolean"
	case schemas.TypeInt32:
		return "int"
	case schemas.TypeInt64:
		return "long"
	case schemas.TypeFloat32:
		return "float"
	case schemas.TypeFloat64:
		return "double"
	default:
		return "string"
	}
}

// Append implements Results. A request that failed has no result.
func (e *avroResults) Append(dst []byte, a *Answer) ([]byte, error) {
	if len(a.Failed) > 0 {
		return dst, nil
	}
	dst = append(dst, e.header...)
	dst = appendAvroText(dst, e.ids.Value(a.From))
	dst = append(dst, e.middle...)
	for _, c := range e.columns {
		dst = appendAvroNullable(dst, c, a.From)
	}
	dst = binary.AppendVarint(dst, a.LatencyUS)
	return binary.AppendVarint(dst, a.QueueUS), nil
}

// appendAvroNullable appends one prediction as a union of null and its type.
func appendAvroNullable(dst []byte, c arrow.Array, row int) []byte {
	const null, typed = 0, 2 // branches 0 and 1
	if c.IsNull(row) {
		return append(dst, null)
	}
	dst = append(dst, typed)
	switch c := c.(type) {
	case *array.Float32:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(c.Value(row)))
	case *array.Float64:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.Value(row)))
	case *array.Int32:
		return binary.AppendVarint(dst, int64(c.Value(row)))
	case *array.Int64:
		return binary.AppendVarint(dst, c.Value(row))
	case *array.Boolean:
		if c.Value(row) {
			return append(dst, 1)
		}
		return append(dst, 0)
	case *array.String:
		return appendAvroText(dst, c.Value(row))
	default:
		dst[len(dst)-1] = null
		return dst
	}
}

func appendAvroText(dst []byte, s string) []byte {
	return append(binary.AppendVarint(dst, int64(len(s))), s...)
}
