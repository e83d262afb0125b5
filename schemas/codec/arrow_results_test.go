package codec

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// read returns the schema of a stream and its rows as JSON.
func read(tb testing.TB, value []byte) (*arrow.Schema, string) {
	tb.Helper()
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(tb, 0)
	r, err := ipc.NewReader(bytes.NewReader(value), ipc.WithAllocator(alloc))
	require.NoError(tb, err)
	defer r.Release()
	var rows strings.Builder
	for r.Next() {
		text, err := r.Record().MarshalJSON()
		require.NoError(tb, err)
		rows.Write(text)
	}
	require.NoError(tb, r.Err())
	return r.Schema(), rows.String()
}

// resultsManifest has an output of every type.
func resultsManifest(tb testing.TB) *schemas.Manifest {
	tb.Helper()
	head, _, _ := strings.Cut(manifestText, "outputs:")
	m, err := schemas.ParseManifest("test", []byte(head+`outputs:
  - {name: score, type: float32}
  - {name: label, type: int64}
  - {name: sure, type: bool}
  - {name: word, type: string}
`))
	require.NoError(tb, err)
	return m
}

// outputs makes predictions of rows; those that are not valid are null.
func outputs(tb testing.TB, m *schemas.Manifest, rows int, failed ...int) arrow.Record {
	tb.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(m.OutputFields(), nil))
	defer b.Release()
	for row := range rows {
		if len(failed) > 0 && failed[0] == row {
			failed = failed[1:]
			for _, f := range b.Fields() {
				f.AppendNull()
			}
			continue
		}
		b.Field(0).(*array.Float32Builder).Append(float32(row) / 2)
		b.Field(1).(*array.Int64Builder).Append(int64(row))
		b.Field(2).(*array.BooleanBuilder).Append(row%2 == 0)
		b.Field(3).(*array.StringBuilder).Append(fmt.Sprintf("w%d", row))
	}
	return b.NewRecord()
}

func TestArrowResults(t *testing.T) {
	m := resultsManifest(t)
	d, r, err := New(t.Context(), Arrow, m, Options{}, memory.DefaultAllocator)
	require.NoError(t, err)
	defer d.Release()
	require.Equal(t, 3, decodeArrow(t, d, record(stream(t, 2, goodColumns(3)))).Rows)
	columns := goodColumns(4)
	columns[0].values[0], columns[0].values[2] = nil, float32(-11)
	rec := record(stream(t, 3, columns))
	rec.Offset = 43
	got := decodeArrow(t, d, rec)
	require.Equal(t, 2, got.Rows)
	batch := d.NewBatch()
	defer batch.Release()
	// As slices, since runtimes may give slices too.
	all := outputs(t, m, 8, 5)
	defer all.Release()
	predictions := all.NewSlice(1, 6)
	defer predictions.Release()
	r.Bind(batch, predictions)

	first := record("")
	value, err := r.Append([]byte("before"), &Answer{Record: first, From: 0, Rows: 3, LatencyUS: 12, QueueUS: 34})
	require.NoError(t, err)
	schema, rows := read(t, value[len("before"):])
	id := topicID.String()
	require.JSONEq(t, `[{"request_id":"`+id+`/3/42","score":0.5,"label":1,"sure":false,"word":"w1","error_class":null,"latency_us":12,"queue_us":34},
		{"request_id":"`+id+`/3/42/1","score":1,"label":2,"sure":true,"word":"w2","error_class":null,"latency_us":12,"queue_us":34},
		{"request_id":"`+id+`/3/42/2","score":1.5,"label":3,"sure":false,"word":"w3","error_class":null,"latency_us":12,"queue_us":34}]`, rows)
	value, err = r.Append(nil, &Answer{Record: first, From: 0, Rows: 3, LatencyUS: 12, QueueUS: schemas.UnknownQueue})
	require.NoError(t, err)
	_, unknown := read(t, value)
	require.JSONEq(t, strings.ReplaceAll(rows, `"queue_us":34`, `"queue_us":null`), unknown)
	model, version, err := schemas.SchemaModel(schema)
	require.NoError(t, err)
	require.Equal(t, []string{"m", "1"}, []string{model, version})

	failed := []schemas.RowError{{Row: 4, RequestError: schemas.Errorf(schemas.ErrorClassInvalidPrediction, "NaN")}}
	value, err = r.Append(nil, &Answer{Record: rec, From: 3, Rows: 2, Refused: got.Refused, Failed: failed, LatencyUS: 1, QueueUS: 2})
	require.NoError(t, err)
	_, rows = read(t, value)
	require.JSONEq(t, `[{"request_id":"`+id+`/3/43","score":null,"label":null,"sure":null,"word":null,"error_class":"missing_feature","latency_us":1,"queue_us":2},
		{"request_id":"`+id+`/3/43/1","score":2,"label":4,"sure":true,"word":"w4","error_class":null,"latency_us":1,"queue_us":2},
		{"request_id":"`+id+`/3/43/2","score":null,"label":null,"sure":null,"word":null,"error_class":"out_of_range","latency_us":1,"queue_us":2},
		{"request_id":"`+id+`/3/43/3","score":null,"label":null,"sure":null,"word":null,"error_class":"invalid_prediction","latency_us":1,"queue_us":2}]`, rows)
}

// A record of refused rows only is answered too, whatever was bound.
func TestArrowResultsOfRefusedRowsOnly(t *testing.T) {
	m := resultsManifest(t)
	d, r, err := New(t.Context(), Arrow, m, Options{}, memory.DefaultAllocator)
	require.NoError(t, err)
	defer d.Release()
	rec := record(stream(t, 2, with(goodColumns(2), column{"f32", arrow.PrimitiveTypes.Float32, repeat(2, nil)})))
	got := decodeArrow(t, d, rec)
	require.Zero(t, got.Rows)
	require.Len(t, got.Refused, 2)
	value, err := r.Append(nil, &Answer{Record: rec, Refused: got.Refused})
	require.NoError(t, err)
	_, rows := read(t, value)
	require.Equal(t, 2, strings.Count(rows, `"error_class":"missing_feature"`))
	require.Equal(t, 2, strings.Count(rows, `"score":null`))

	// As in the dead letter of the row.
	rec.Headers = []schemas.Header{{Key: schemas.HeaderRequestID, Value: []byte("A")}}
	value, err = r.Append(nil, &Answer{Record: rec, Refused: got.Refused})
	require.NoError(t, err)
	_, rows = read(t, value)
	require.Contains(t, rows, `"request_id":"A"`)
	require.Contains(t, rows, `"request_id":"A/1"`)
}

// The dead letter of a row is a request of its own that decodes to the same row.
func TestArrowRequestOfOneRow(t *testing.T) {
	m := manifest(t)
	inner := arrow.ListOf(arrow.PrimitiveTypes.Int8)
	columns := []column{
		{"f32", arrow.PrimitiveTypes.Float64, []any{1.5, nil, 2.5}},
		{"i64", arrow.PrimitiveTypes.Uint8, []any{1, 2, 3}},
		{"nested", inner, repeat(3, nil)},
		{"note", arrow.BinaryTypes.LargeBinary, []any{"eHh4", nil, "eQ=="}},
		{"color", schemas.DictionaryType, []any{"red", "violet", "violet"}},
		{"size", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint8, ValueType: arrow.BinaryTypes.String}, []any{"s", nil, "l"}},
		{"flag", arrow.FixedWidthTypes.Boolean, []any{nil, true, false}},
		{"text", arrow.BinaryTypes.LargeString, []any{"a", "é", nil}},
		{"nothing", arrow.Null, repeat(3, nil)},
		{"at", arrow.FixedWidthTypes.Timestamp_ns, []any{arrow.Timestamp(1_000), arrow.Timestamp(2_000), arrow.Timestamp(3_000)}},
		{"request_id", arrow.BinaryTypes.String, []any{"x", "y", "z"}},
	}
	for _, opts := range [][]ipc.Option{nil, {ipc.WithLZ4()}} {
		for _, chunk := range []int{1, 2, 3} {
			d := arrowRequests(t, m)
			other := record(stream(t, 1, goodColumns(1)))
			rec := record(stream(t, chunk, columns, opts...))
			require.Len(t, decodeArrow(t, d, rec).Refused, 1)
			whole := d.NewBatch()
			for _, row := range []int{2, 0, 1, 1} {
				value, ok := d.AppendRequest([]byte("before"), rec, row, 4000)
				require.True(t, ok)
				value = value[len("before"):]
				_, ok = d.AppendRequest(nil, other, 0, 4000)
				require.True(t, ok)
				schema, text := read(t, value)
				require.Equal(t, 8, schema.NumFields(), "all but the columns that are ignored")
				require.Contains(t, text, fmt.Sprintf(`"i64":%d`, row+1))
				single := arrowRequests(t, m)
				got := decodeArrow(t, single, record(string(value)))
				require.Nil(t, got.Fault)
				if row == 1 {
					require.Len(t, got.Refused, 1)
					require.Equal(t, schemas.ErrorClassMissingFeature, got.Refused[0].Class)
					continue
				}
				batch := single.NewBatch()
				want, have := whole.NewSlice(int64(row/2), int64(row/2)+1), batch
				for i := range 10 { // the features, request_id and event_time
					require.Equal(t, want.Column(i).IsNull(0), have.Column(i).IsNull(0))
					if d, ok := want.Column(i).(*array.Dictionary); ok {
						h := have.Column(i).(*array.Dictionary)
						require.Equal(t, d.Dictionary().ValueStr(d.GetValueIndex(0)), h.Dictionary().ValueStr(h.GetValueIndex(0)))
						continue
					}
					require.Equal(t, want.Column(i).ValueStr(0), have.Column(i).ValueStr(0))
				}
				want.Release()
				batch.Release()
			}
			whole.Release()
		}
	}
}

// What a row shares with others, and what is ignored, does not make its dead letter large.
func TestArrowRequestOfOneRowIsBounded(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	columns := append(goodColumns(3), column{"unread", schemas.DictionaryType, repeat(3, long)},
		column{"text", schemas.DictionaryType, []any{"short", long, nil}}, column{"size", arrow.BinaryTypes.String, repeat(3, "bad")})
	d := arrowRequests(t, manifest(t))
	rec := record(stream(t, 2, columns, ipc.WithZstd()))
	require.Less(t, len(rec.Value), 10_000)
	require.Len(t, decodeArrow(t, d, rec).Refused, 3)
	for row := range 3 {
		got, ok := d.AppendRequest([]byte("before"), rec, row, 4000)
		require.Equal(t, row != 1, ok, row)
		if row == 1 {
			require.Equal(t, "before", string(got))
		}
		_, ok = d.AppendRequest(nil, rec, row, 500)
		require.False(t, ok)
	}
	got, ok := d.AppendRequest(nil, rec, 1, 4<<20)
	require.True(t, ok)
	require.Greater(t, len(got), 3<<20)
}

// Entries that come later, as deltas or in place of others, are those of the rows after them.
func TestArrowDictionariesThatChange(t *testing.T) {
	for _, delta := range []bool{false, true} {
		var out bytes.Buffer
		schema := arrow.NewSchema([]arrow.Field{
			{Name: "f32", Type: arrow.PrimitiveTypes.Float32}, {Name: "i64", Type: arrow.PrimitiveTypes.Int64}, {Name: "color", Type: schemas.DictionaryType}, {Name: "at", Type: arrow.PrimitiveTypes.Int64},
		}, nil)
		w := ipc.NewWriter(&out, ipc.WithSchema(schema), ipc.WithDictionaryDeltas(delta))
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		want := []string{"violet", "red", "mauve", "violet", "green"}
		for i := range want {
			b.Field(0).(*array.Float32Builder).Append(1)
			b.Field(1).(*array.Int64Builder).Append(1)
			b.Field(3).(*array.Int64Builder).Append(1)
			require.NoError(t, b.Field(2).(*array.BinaryDictionaryBuilder).AppendString("x"))
			rec := b.NewRecord()
			index := int32(i)
			values := stringsOf(want[:i+1])
			if !delta {
				index, values = 0, stringsOf(want[i:i+1])
			}
			idx := array.NewInt32Builder(memory.DefaultAllocator)
			idx.Append(index)
			columns := rec.Columns()
			columns[2] = array.NewDictionaryArray(schemas.DictionaryType, idx.NewArray(), values)
			require.NoError(t, w.Write(array.NewRecord(schema, columns, 1)))
		}
		require.NoError(t, w.Close())
		d := arrowRequests(t, manifest(t))
		require.Equal(t, len(want), decodeArrow(t, d, record(out.String())).Rows)
		batch := d.NewBatch()
		color := batch.Column(6).(*array.Dictionary)
		for i, c := range want {
			require.Equal(t, c, color.Dictionary().ValueStr(color.GetValueIndex(i)))
		}
		batch.Release()
	}
}

func stringsOf(values []string) arrow.Array {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	b.AppendValues(values, nil)
	return b.NewArray()
}

// What a batch costs does not depend on its rows.
func TestArrowAllocatesNothingPerRow(t *testing.T) {
	m := wide(t)
	perBatch := func(rows int) (decode, answer, observe float64) {
		d, r, err := New(t.Context(), Arrow, m, Options{}, memory.DefaultAllocator)
		require.NoError(t, err)
		defer d.Release()
		rec := record(stream(t, rows, wideColumns(rows)))
		decode = testing.AllocsPerRun(10, func() {
			_, _ = d.Append(t.Context(), rec)
			d.NewBatch().Release()
		})
		s := wideScored(t, m, Arrow, rows)
		var dst []byte
		r.Bind(s.Batch, s.Predictions)
		a := &Answer{Record: rec, Rows: rows}
		answer = testing.AllocsPerRun(10, func() { dst, _ = r.Append(dst[:0], a) })
		e := observationEncoder(t, m, schemas.MaxObservationBytes)
		observe = testing.AllocsPerRun(10, func() { dst, _ = e.Append(dst[:0], s, time.UnixMicro(77)) })
		return decode, answer, observe
	}
	decode, _, _ := perBatch(10)
	again, answer, observe := perBatch(20_000)
	require.InDelta(t, decode, again, 2)
	require.Zero(t, answer)
	require.Zero(t, observe)
	d, err := NewArrowRequests(m, memory.DefaultAllocator)
	require.NoError(t, err)
	defer d.Release()
	d.Reserve(100_000)
	rec := record(stream(t, 100, wideColumns(100)))
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = d.Append(ctx, rec) }), "a record")
}

func BenchmarkArrowResults(b *testing.B) {
	for _, rows := range []int{64, 1024, 8192} {
		b.Run(strconv.Itoa(rows), func(b *testing.B) {
			m := wide(b)
			_, r, err := New(b.Context(), Arrow, m, Options{}, memory.DefaultAllocator)
			require.NoError(b, err)
			s := wideScored(b, m, Arrow, rows)
			r.Bind(s.Batch, s.Predictions)
			a := &Answer{Record: record(""), Rows: rows}
			var dst []byte
			b.ReportAllocs()
			n, began := 0, processorTime(b)
			for b.Loop() {
				if dst, err = r.Append(dst[:0], a); err != nil {
					b.Fatal(err)
				}
				n += rows
			}
			b.SetBytes(int64(len(dst)))
			b.ReportMetric(float64(len(dst))/float64(rows), "bytes/row")
			perRow(b, n, began)
		})
	}
}

// FuzzArrowRequests: no panic, nothing appended with a fault, a class of the closed set, and
// every value in its place.
func FuzzArrowRequests(f *testing.F) {
	columns := append(goodColumns(3), column{"size", schemas.DictionaryType, []any{"s", nil, "l"}},
		column{"text", arrow.BinaryTypes.LargeString, []any{"é", nil, ""}}, column{"flag", arrow.FixedWidthTypes.Boolean, []any{true, nil, false}},
		column{"request_id", arrow.BinaryTypes.String, []any{"a", nil, ""}}, column{"list", arrow.ListOf(arrow.PrimitiveTypes.Int8), repeat(3, nil)})
	for _, opts := range [][]ipc.Option{nil, {ipc.WithLZ4()}, {ipc.WithZstd()}} {
		f.Add([]byte(stream(f, 2, columns, opts...)))
		f.Add([]byte(stream(f, 1, goodColumns(1), opts...)))
	}
	f.Add([]byte{})
	f.Add([]byte("\xff\xff\xff\xff\x00\x00\x00\x00"))
	m := manifest(f)
	classes := map[schemas.ErrorClass]bool{}
	for _, c := range schemas.ErrorClasses() {
		classes[c] = true
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer alloc.AssertSize(t, 0)
		d, err := NewArrowRequests(m, alloc)
		require.NoError(t, err)
		defer d.Release()
		before := bytes.Clone(value)
		rec := &schemas.Record{Value: value, TopicID: topicID}
		got := decodeArrow(t, d, rec)
		require.Equal(t, before, value, "the request was changed")
		require.Equal(t, got.Rows, d.Rows())
		if got.Fault != nil {
			require.Zero(t, got.Rows)
			require.True(t, classes[got.Fault.Class], got.Fault.Class)
			require.LessOrEqual(t, len(got.Fault.Reason), maxReasonBytes)
			return
		}
		require.Positive(t, got.Rows+len(got.Refused))
		batch := d.NewBatch()
		defer batch.Release()
		checkBatch(t, batch)
		refused := slices.Clone(got.Refused)
		row := len(value) % (got.Rows + len(refused))
		if len(refused) > 0 {
			row = refused[row%len(refused)].Row
		}
		letter, ok := d.AppendRequest(nil, rec, row, math.MaxInt)
		require.True(t, ok)
		again := decodeArrow(t, d, record(string(letter)))
		require.Nil(t, again.Fault)
		require.Equal(t, 1, again.Rows+len(again.Refused))
		if len(refused) > 0 {
			at := slices.IndexFunc(refused, func(r schemas.RowError) bool { return r.Row == row })
			require.Len(t, again.Refused, 1)
			require.Equal(t, refused[at].Class, again.Refused[0].Class)
		}
		d.NewBatch().Release()
	})
}
