package codec

import (
	"bytes"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

func arrowRequests(tb testing.TB, m *schemas.Manifest) *ArrowRequests {
	tb.Helper()
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	d, err := NewArrowRequests(m, alloc)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		d.Release()
		alloc.AssertSize(tb, 0)
	})
	return d
}

// column is one column of a stream: a type and its values, nil for null.
type column struct {
	name   string
	typ    arrow.DataType
	values []any
}

// stream writes columns as an Arrow IPC stream of batches of so many rows.
func stream(tb testing.TB, batch int, columns []column, opts ...ipc.Option) string {
	tb.Helper()
	fields := make([]arrow.Field, len(columns))
	arrays := make([]arrow.Array, len(columns))
	for i, c := range columns {
		fields[i] = arrow.Field{Name: c.name, Type: c.typ, Nullable: true}
		b := array.NewBuilder(memory.DefaultAllocator, c.typ)
		for _, v := range c.values {
			appendAny(tb, b, v)
		}
		arrays[i] = b.NewArray()
	}
	schema := arrow.NewSchema(fields, nil)
	rows := int64(len(columns[0].values))
	rec := array.NewRecord(schema, arrays, rows)
	var out bytes.Buffer
	w := ipc.NewWriter(&out, append(opts, ipc.WithSchema(schema))...)
	for from := int64(0); from < rows; from += int64(batch) {
		require.NoError(tb, w.Write(rec.NewSlice(from, min(rows, from+int64(batch)))))
	}
	require.NoError(tb, w.Close())
	return out.String()
}

func appendAny(tb testing.TB, b array.Builder, v any) {
	tb.Helper()
	if v == nil {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.Float32Builder:
		b.Append(v.(float32))
	case *array.Float64Builder:
		b.Append(v.(float64))
	case *array.TimestampBuilder:
		b.Append(v.(arrow.Timestamp))
	default:
		require.NoError(tb, b.AppendValueFromString(fmt.Sprint(v)))
	}
}

// repeat returns a value n times.
func repeat(n int, v any) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = v
	}
	return out
}

func decodeArrow(tb testing.TB, d Requests, rec *schemas.Record) Decoded {
	tb.Helper()
	got, err := d.Append(tb.Context(), rec)
	require.NoError(tb, err)
	return got
}

func goodColumns(rows int) []column {
	return []column{
		{"f32", arrow.PrimitiveTypes.Float32, repeat(rows, float32(1.5))},
		{"i64", arrow.PrimitiveTypes.Int64, repeat(rows, 7)},
		{"color", arrow.BinaryTypes.String, repeat(rows, "green")},
		{"at", arrow.PrimitiveTypes.Int64, repeat(rows, 978307200123)},
	}
}

func TestArrowRow(t *testing.T) {
	for _, opts := range [][]ipc.Option{nil, {ipc.WithLZ4()}, {ipc.WithZstd()}} {
		d := arrowRequests(t, manifest(t))
		columns := append(goodColumns(3),
			column{"request_id", arrow.BinaryTypes.String, []any{"a", "", nil}},
			column{"unheard_of", arrow.ListOf(arrow.PrimitiveTypes.Int8), repeat(3, nil)},
			column{"f64", arrow.PrimitiveTypes.Float64, []any{nil, 2.25, nil}},
			column{"text", arrow.BinaryTypes.LargeString, []any{"x", nil, "é"}})
		got := decodeArrow(t, d, record(stream(t, 2, columns, opts...)))
		require.Nil(t, got.Fault)
		require.Equal(t, 3, got.Rows)
		batch := d.NewBatch()
		require.Equal(t, manifest(t).RequestSchema(), batch.Schema())
		text, err := batch.MarshalJSON()
		require.NoError(t, err)
		common := `"i32":7,"i64":7,"flag":true,`
		id := topicID.String()
		at := func(row int) string {
			return fmt.Sprintf(`"event_time":"2001-01-01 00:00:00.123","request_topic_id":%q,"request_partition":3,"request_offset":42,"request_row":%d`, id, row)
		}
		require.JSONEq(t, `[{"f32":1.5,"f64":null,`+common+`"text":"x","color":"green","size":"m","request_id":"a",`+at(0)+`},
			{"f32":1.5,"f64":2.25,`+common+`"text":null,"color":"green","size":"m","request_id":"`+id+`/3/42/1",`+at(1)+`},
			{"f32":1.5,"f64":null,`+common+`"text":"é","color":"green","size":"m","request_id":"`+id+`/3/42/2",`+at(2)+`}]`, string(text))
		batch.Release()
	}
}

func wide(tb testing.TB) *schemas.Manifest {
	tb.Helper()
	var text strings.Builder
	head, _, _ := strings.Cut(manifestText, "features:")
	text.WriteString(head + "features:\n")
	for i := range 20 {
		fmt.Fprintf(&text, "  - {name: f%d, type: float32}\n", i)
	}
	text.WriteString("outputs:\n  - {name: score, type: float32}\n")
	m, err := schemas.ParseManifest("test", []byte(text.String()))
	require.NoError(tb, err)
	return m
}

func wideColumns(rows int) []column {
	columns := make([]column, 20)
	for i := range columns {
		columns[i] = column{fmt.Sprintf("f%d", i), arrow.PrimitiveTypes.Float32, make([]any, rows)}
		for row := range rows {
			columns[i].values[row] = float32(row*31+i) * 0.37
		}
	}
	return columns
}

func BenchmarkArrowDecode(b *testing.B) {
	for name, opts := range map[string][]ipc.Option{"plain": nil, "lz4": {ipc.WithLZ4()}, "zstd": {ipc.WithZstd()}} {
		for _, rows := range []int{64, 1024, 8192} {
			b.Run(fmt.Sprintf("%s/%d", name, rows), func(b *testing.B) {
				d, err := NewArrowRequests(wide(b), memory.NewGoAllocator())
				require.NoError(b, err)
				defer d.Release()
				rec := record(stream(b, rows, wideColumns(rows), opts...))
				b.SetBytes(int64(len(rec.Value)))
				b.ReportAllocs()
				n, began := 0, processorTime(b)
				for b.Loop() {
					got, _ := d.Append(b.Context(), rec)
					if n += got.Rows; got.Rows != rows {
						b.Fatal(got.Fault)
					}
					if d.Rows() >= 8192 {
						d.NewBatch().Release()
					}
				}
				perRow(b, n, began)
			})
		}
	}
}

// processorTime is what this process has used so far. Other processes do not disturb it.
func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	require.NoError(tb, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perRow reports the processor time per row.
func perRow(b *testing.B, rows int, began time.Duration) {
	b.Helper()
	b.ReportMetric(float64(processorTime(b)-began)/float64(rows), "cpu-ns/row")
}
