package codec

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/millrace/millrace/schemas"
)

// The fields of a result message.
const (
	resultRequestID protowire.Number = iota + 1
	resultModel
	resultVersion
	resultPredictions
	resultLatency
	resultQueue
)

// protobufResults writes results as Protobuf messages, framed with the id of their schema.
type protobufResults struct {
	resultColumns
	header      []byte // and the path of the file's first message
	middle      []byte // model and version, and the key of the predictions
	predictions []byte // scratch
}

func newProtobufResults(ctx context.Context, m *schemas.Manifest, o Options) (*protobufResults, error) {
	s := Schema{Type: Protobuf, Text: ProtobufResultSchema(m)}
	if _, err := compileProtobuf(ctx, s); err != nil { // names that differ in an underscore only
		return nil, fmt.Errorf("its outputs make no Protobuf message: %w", err)
	}
	id, err := o.Registry.Register(ctx, o.Subject, s)
	if err != nil {
		return nil, fmt.Errorf("register the schema of its results under subject %s: %w", o.Subject, err)
	}
	e := &protobufResults{resultColumns: newResultColumns(m), header: append(appendHeader(nil, id), 0)}
	e.middle = appendProtobufText(nil, resultModel, m.Name)
	e.middle = appendProtobufText(e.middle, resultVersion, m.Version)
	e.middle = protowire.AppendTag(e.middle, resultPredictions, protowire.BytesType)
	return e, nil
}

// ProtobufResultSchema returns the .proto file of a model's results. Outputs are numbered in
// the manifest's order: a version that adds outputs behind those of the version before is
// compatible with it.
func ProtobufResultSchema(m *schemas.Manifest) string {
	var b strings.Builder
	fmt.Fprintf(&b, `syntax = "proto3";
package millrace;

message %s {
  string request_id = %d;
  string model = %d;
  string version = %d;
  %s predictions = %d;
  int64 latency_us = %d;
  int64 queue_us = %d;
}

message %s {
`, resultName(m, "Result"), resultRequestID, resultModel, resultVersion,
		resultName(m, "Predictions"), resultPredictions, resultLatency, resultQueue, resultName(m, "Predictions"))
	for i, out := range m.Outputs {
		fmt.Fprintf(&b, "  optional %s %s = %d;\n", protobufOutput(out.Type), out.Name, outputNumber(i))
	}
	b.WriteString("}\n")
	return b.String()
}

// outputNumber returns the field number of an output; 19000 to 19999 are Protobuf's own.
func outputNumber(i int) protowire.Number {
	n := protowire.Number(i + 1)
	if n >= protowire.FirstReservedNumber {
		n += protowire.LastReservedNumber - protowire.FirstReservedNumber + 1
	}
	return n
}

func protobufOutput(t schemas.FeatureType) string {
	switch t {
	case schemas.TypeFloat32:
		return "float"
	case schemas.TypeFloat64:
		return "double"
	default:
		return string(t) // bool, int32, int64 and string are called the same
	}
}

// Append implements Results. A request that failed has no result.
func (e *protobufResults) Append(dst []byte, a *Answer) ([]byte, error) {
	if len(a.Failed) > 0 {
		return dst, nil
	}
	e.predictions = e.predictions[:0]
	for i, c := range e.columns {
		e.predictions = appendProtobufValue(e.predictions, outputNumber(i), c, a.From)
	}
	dst = append(dst, e.header...)
	dst = appendProtobufText(dst, resultRequestID, e.ids.Value(a.From))
	dst = append(dst, e.middle...)
	dst = protowire.AppendBytes(dst, e.predictions)
	dst = appendProtobufCount(dst, resultLatency, a.LatencyUS)
	return appendProtobufCount(dst, resultQueue, a.QueueUS), nil
}

// appendProtobufValue appends one prediction, nothing where it is null.
func appendProtobufValue(dst []byte, n protowire.Number, c arrow.Array, row int) []byte {
	if c.IsNull(row) {
		return dst
	}
	switch c := c.(type) {
	case *array.Float32:
		return protowire.AppendFixed32(protowire.AppendTag(dst, n, protowire.Fixed32Type), math.Float32bits(c.Value(row)))
	case *array.Float64:
		return protowire.AppendFixed64(protowire.AppendTag(dst, n, protowire.Fixed64Type), math.Float64bits(c.Value(row)))
	case *array.Int32:
		return protowire.AppendVarint(protowire.AppendTag(dst, n, protowire.VarintType), uint64(c.Value(row)))
	case *array.Int64:
		return protowire.AppendVarint(protowire.AppendTag(dst, n, protowire.VarintType), uint64(c.Value(row)))
	case *array.Boolean:
		return protowire.AppendVarint(protowire.AppendTag(dst, n, protowire.VarintType), protowire.EncodeBool(c.Value(row)))
	case *array.String:
		return appendProtobufText(dst, n, c.Value(row))
	default:
		return dst
	}
}

func appendProtobufText(dst []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(dst, n, protowire.BytesType), s)
}

// appendProtobufCount appends an int64; as proto3 has it, zero is not written.
func appendProtobufCount(dst []byte, n protowire.Number, v int64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, n, protowire.VarintType), uint64(v))
}
