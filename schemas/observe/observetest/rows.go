package observetest

import (
	"bytes"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// Rows makes observation records of chosen values. Those of functions that are nil are of an
// answered row of the manifest's version, in no variant, of 1970.
type Rows struct {
	Manifest *schemas.Manifest
	Event    func(row int) int64              // microseconds
	Value    func(column string, row int) any // of a feature or output, of the Go type of its column; nil: NULL
	Variant  func(row int) string
	Outcome  func(row int) string
	Version  func(row int) string
}

// Stream returns rows as an Arrow IPC stream, in batches of [cuts[0], cuts[1]), [cuts[1], cuts[2]) and so on.
func (w *Rows) Stream(tb testing.TB, cuts []int, opts ...ipc.Option) []byte {
	tb.Helper()
	mem := memory.DefaultAllocator
	schema := w.Manifest.ObservationSchema()
	var buf bytes.Buffer
	out := ipc.NewWriter(&buf, append([]ipc.Option{ipc.WithSchema(schema), ipc.WithAllocator(mem)}, opts...)...)
	builder := array.NewRecordBuilder(mem, schema)
	defer builder.Release()
	for i := range len(cuts) - 1 {
		for row := cuts[i]; row < cuts[i+1]; row++ {
			for j, f := range schema.Fields() {
				appendValue(builder.Field(j), w.of(f, row))
			}
		}
		rec := builder.NewRecord()
		err := out.Write(rec)
		rec.Release()
		require.NoError(tb, err)
	}
	require.NoError(tb, out.Close())
	return buf.Bytes()
}

func (w *Rows) of(f arrow.Field, row int) any {
	text := func(fn func(int) string, otherwise string) string {
		if fn == nil {
			return otherwise
		}
		return fn(row)
	}
	at := int64(0)
	if w.Event != nil {
		at = w.Event(row)
	}
	switch f.Name {
	case schemas.ColumnEventTime:
		return at
	case schemas.ColumnVersion:
		return text(w.Version, w.Manifest.Version)
	case schemas.ColumnVariant:
		return text(w.Variant, "")
	case schemas.ColumnOutcome:
		return text(w.Outcome, schemas.OutcomeOK)
	case schemas.ColumnTopicID:
		return RequestTopicID.String()
	case schemas.ColumnOffset, schemas.ColumnLatency, schemas.ColumnQueue, schemas.ColumnScoredAt:
		return int64(row)
	case schemas.ColumnRow, schemas.ColumnPartition:
		return int32(0)
	case schemas.ColumnRequestID, schemas.ColumnErrorClass:
		return ""
	}
	if w.Value == nil {
		return nil
	}
	return w.Value(f.Name, row)
}

func appendValue(b array.Builder, v any) {
	if v == nil {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.BinaryDictionaryBuilder:
		if err := b.AppendString(v.(string)); err != nil {
			panic(err)
		}
	case *array.StringBuilder:
		b.Append(v.(string))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v.(int64)))
	case *array.Int64Builder:
		b.Append(v.(int64))
	case *array.Int32Builder:
		b.Append(v.(int32))
	case *array.Float32Builder:
		b.Append(v.(float32))
	case *array.Float64Builder:
		b.Append(v.(float64))
	case *array.BooleanBuilder:
		b.Append(v.(bool))
	default:
		panic(b.Type().String())
	}
}
