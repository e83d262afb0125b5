package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
)

// with replaces a column or adds it.
func with(columns []column, c column) []column {
	out := []column{c}
	for _, old := range columns {
		if old.name != c.name {
			out = append(out, old)
		}
	}
	return out
}

func without(columns []column, name string) []column { return with(columns, column{name: name})[1:] }

func TestArrowRecordFaults(t *testing.T) {
	const jsonText = good
	good := goodColumns(2)
	plain := stream(t, 2, good)
	list := arrow.ListOf(arrow.PrimitiveTypes.Int64)
	for name, tc := range map[string]struct {
		value  string
		class  schemas.ErrorClass
		reason string
	}{
		"empty":                {"", schemas.ErrorClassMalformed, "empty"},
		"JSON":                 {jsonText, schemas.ErrorClassMalformed, "no message starts"},
		"no rows":              {stream(t, 1, goodColumns(0)), schemas.ErrorClassMalformed, "no rows"},
		"trailing":             {plain + "x", schemas.ErrorClassMalformed, "1 bytes follow its end"},
		"cut":                  {plain[:len(plain)-20], schemas.ErrorClassMalformed, "ends in a message's body"},
		"two streams":          {plain + plain, schemas.ErrorClassMalformed, "follow its end"},
		"missing column":       {stream(t, 2, without(good, "i64")), schemas.ErrorClassMissingFeature, `no column "i64"`},
		"column of nulls only": {stream(t, 2, with(good, column{"i64", arrow.Null, repeat(2, nil)})), schemas.ErrorClassMissingFeature, `no column "i64"`},
		"missing time":         {stream(t, 2, without(good, "at")), schemas.ErrorClassMissingFeature, `no column "at"`},
		"text for number":      {stream(t, 2, with(good, column{"f32", arrow.BinaryTypes.String, repeat(2, "1")})), schemas.ErrorClassWrongType, `column "f32" is utf8; for a feature of type float32 it must be an integer or a floating-point type`},
		"number for text":      {stream(t, 2, with(good, column{"color", arrow.PrimitiveTypes.Int64, repeat(2, 1)})), schemas.ErrorClassWrongType, `column "color" is int64`},
		"binary for text":      {stream(t, 2, with(good, column{"color", arrow.BinaryTypes.Binary, repeat(2, "eA==")})), schemas.ErrorClassWrongType, `column "color" is binary`},
		"number for bool":      {stream(t, 2, with(good, column{"flag", arrow.PrimitiveTypes.Int8, repeat(2, 1)})), schemas.ErrorClassWrongType, `column "flag" is int8; for a feature of type bool it must be bool`},
		"list":                 {stream(t, 2, with(good, column{"f64", list, repeat(2, nil)})), schemas.ErrorClassWrongType, `column "f64" is list`},
		"float16":              {stream(t, 2, with(good, column{"f64", arrow.FixedWidthTypes.Float16, repeat(2, nil)})), schemas.ErrorClassWrongType, `column "f64" is float16`},
		"bool for id":          {stream(t, 2, with(good, column{"request_id", arrow.FixedWidthTypes.Boolean, repeat(2, true)})), schemas.ErrorClassWrongType, `column "request_id" is bool`},
		"text for time":        {stream(t, 2, with(good, column{"at", arrow.BinaryTypes.String, repeat(2, "1")})), schemas.ErrorClassWrongType, `column "at" is utf8; it must be timestamp or a number (unix_ms)`},
		"a column twice":       {stream(t, 2, append(goodColumns(2), column{"x", list, repeat(2, nil)}, column{"x", list, repeat(2, nil)})), schemas.ErrorClassDuplicateKey, `column "x" stands twice`},
	} {
		t.Run(name, func(t *testing.T) {
			d := arrowRequests(t, manifest(t))
			require.Equal(t, 2, decodeArrow(t, d, record(plain)).Rows)
			got := decodeArrow(t, d, record(tc.value))
			require.NotNil(t, got.Fault)
			require.Equal(t, tc.class, got.Fault.Class, got.Fault.Reason)
			require.Contains(t, got.Fault.Reason, tc.reason)
			require.Zero(t, got.Rows)
			require.Equal(t, 2, d.Rows(), "the rows before stay")
			batch := d.NewBatch()
			require.Equal(t, 2, batch.Column(1).NullN())
			checkBatch(t, batch)
			batch.Release()
		})
	}
}

func TestArrowRowRefusals(t *testing.T) {
	nan32 := float32(math.NaN())
	for name, tc := range map[string]struct {
		column column
		class  schemas.ErrorClass // of row 1; the others are good
	}{
		"null":              {column{"f32", arrow.PrimitiveTypes.Float32, []any{float32(1), nil, float32(2)}}, schemas.ErrorClassMissingFeature},
		"NaN":               {column{"f32", arrow.PrimitiveTypes.Float32, []any{float32(1), nan32, float32(2)}}, schemas.ErrorClassMissingFeature},
		"infinity":          {column{"f32", arrow.PrimitiveTypes.Float32, []any{float32(1), float32(math.Inf(1)), float32(2)}}, schemas.ErrorClassWrongType},
		"infinity, float64": {column{"f64", arrow.PrimitiveTypes.Float64, []any{1.0, math.Inf(-1), nil}}, schemas.ErrorClassWrongType},
		"too large":         {column{"f32", arrow.PrimitiveTypes.Float64, []any{1.0, 1e39, 2.0}}, schemas.ErrorClassWrongType},
		"out of range":      {column{"f32", arrow.PrimitiveTypes.Int8, []any{1, -11, 2}}, schemas.ErrorClassOutOfRange},
		"fraction":          {column{"i64", arrow.PrimitiveTypes.Float64, []any{1.0, 1.5, -2.0}}, schemas.ErrorClassWrongType},
		"beyond int64":      {column{"i64", arrow.PrimitiveTypes.Uint64, []any{1, "9223372036854775808", 2}}, schemas.ErrorClassWrongType},
		"beyond int32":      {column{"i32", arrow.PrimitiveTypes.Int64, []any{1, 1 << 31, -1 << 31}}, schemas.ErrorClassWrongType},
		"unknown category":  {column{"size", arrow.BinaryTypes.String, []any{"s", "xxl", nil}}, schemas.ErrorClassUnknownCategory},
		"unknown entry":     {column{"size", schemas.DictionaryType, []any{"s", "xxl", nil}}, schemas.ErrorClassUnknownCategory},
		"invalid UTF-8":     {column{"text", arrow.BinaryTypes.String, []any{"é", "\xff", "x"}}, schemas.ErrorClassMalformed},
		"half a character":  {column{"color", arrow.BinaryTypes.LargeString, []any{"é", "\xc3", "é"}}, schemas.ErrorClassMalformed},
		"invalid entry":     {column{"color", schemas.DictionaryType, []any{"é", "\xc3", "é"}}, schemas.ErrorClassMalformed},
		"null time":         {column{"at", arrow.PrimitiveTypes.Int64, []any{1, nil, 2}}, schemas.ErrorClassMissingFeature},
		"time out of range": {column{"at", arrow.PrimitiveTypes.Int64, []any{1, int64(math.MaxInt64), -2_208_988_800_000}}, schemas.ErrorClassOutOfRange},
		"fraction of a ms":  {column{"at", arrow.PrimitiveTypes.Float64, []any{1.0, 1.5, 2.0}}, schemas.ErrorClassWrongType},
		"long id":           {column{"request_id", arrow.BinaryTypes.String, []any{"a", strings.Repeat("x", 513), nil}}, schemas.ErrorClassWrongType},
		"texts too long":    {column{"text", arrow.BinaryTypes.String, []any{"a", strings.Repeat("x", schemas.MaxTextBytes), nil}}, schemas.ErrorClassTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			for _, chunk := range []int{1, 2, 3} {
				d := arrowRequests(t, manifest(t))
				got := decodeArrow(t, d, record(stream(t, chunk, with(goodColumns(3), tc.column))))
				require.Nil(t, got.Fault)
				require.Equal(t, 2, got.Rows)
				require.Len(t, got.Refused, 1)
				require.Equal(t, 1, got.Refused[0].Row)
				require.Equal(t, tc.class, got.Refused[0].Class, got.Refused[0].Reason)
				require.LessOrEqual(t, len(got.Refused[0].Reason), maxReasonBytes)
				batch := d.NewBatch()
				rows := batch.Column(int(batch.NumCols()) - 1).(*array.Int32)
				require.Equal(t, []int32{0, 2}, rows.Int32Values())
				batch.Release()
			}
		})
	}
}

func TestArrowNaNIsAbsent(t *testing.T) {
	d := arrowRequests(t, manifest(t))
	columns := with(with(goodColumns(2), column{"f64", arrow.PrimitiveTypes.Float64, []any{math.NaN(), 1.0}}),
		column{"i32", arrow.PrimitiveTypes.Float32, []any{float32(3), float32(math.NaN())}})
	require.Equal(t, 2, decodeArrow(t, d, record(stream(t, 2, columns))).Rows)
	batch := d.NewBatch()
	defer batch.Release()
	require.True(t, batch.Column(1).IsNull(0))
	require.InDelta(t, 1.0, batch.Column(1).(*array.Float64).Value(1), 0)
	require.Equal(t, []int32{3, 7}, batch.Column(2).(*array.Int32).Int32Values())
}

// Each refused row becomes a dead letter, so a record of little else is refused as one.
func TestArrowRecordOfBadRows(t *testing.T) {
	d := arrowRequests(t, manifest(t))
	columns := with(goodColumns(maxRefused+1), column{"f32", arrow.PrimitiveTypes.Float32, repeat(maxRefused+1, nil)})
	columns[0].values[7] = float32(1)
	got := decodeArrow(t, d, record(stream(t, 1000, columns)))
	require.Nil(t, got.Fault)
	require.Len(t, got.Refused, maxRefused)
	columns[0].values[7] = nil
	got = decodeArrow(t, d, record(stream(t, 1000, columns)))
	require.NotNil(t, got.Fault)
	require.Equal(t, schemas.ErrorClassMissingFeature, got.Fault.Class)
	require.Contains(t, got.Fault.Reason, "more than 4096 rows")
	require.Equal(t, 1, d.Rows())
	d.NewBatch().Release()
}

func TestArrowIDs(t *testing.T) {
	id := topicID.String() + "/3/42"
	header := schemas.Header{Key: schemas.HeaderRequestID, Value: []byte("h")}
	for name, tc := range map[string]struct {
		column  *column
		headers []schemas.Header
		want    []string
	}{
		"none":    {nil, nil, []string{id, id + "/1", id + "/2"}},
		"header":  {&column{"request_id", arrow.BinaryTypes.String, []any{"a", "b", "c"}}, []schemas.Header{header}, []string{"h", "h/1", "h/2"}},
		"texts":   {&column{"request_id", arrow.BinaryTypes.LargeString, []any{"a", "", nil}}, nil, []string{"a", id + "/1", id + "/2"}},
		"entries": {&column{"request_id", schemas.DictionaryType, []any{nil, "a", "a"}}, nil, []string{id, "a", "a"}},
		"numbers": {&column{"request_id", arrow.PrimitiveTypes.Uint64, []any{"18446744073709551615", nil, 7}}, nil, []string{"18446744073709551615", id + "/1", "7"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, chunk := range []int{1, 3} {
				d := arrowRequests(t, manifest(t))
				columns := goodColumns(3)
				if tc.column != nil {
					columns = with(columns, *tc.column)
				}
				require.Equal(t, 3, decodeArrow(t, d, record(stream(t, chunk, columns), tc.headers...)).Rows)
				batch := d.NewBatch()
				got := batch.Column(8).(*array.String)
				require.Equal(t, tc.want, []string{got.Value(0), got.Value(1), got.Value(2)})
				batch.Release()
			}
		})
	}
	d := arrowRequests(t, manifest(t))
	header.Value = []byte(strings.Repeat("x", MaxRequestIDBytes-1))
	require.Equal(t, 1, decodeArrow(t, d, record(stream(t, 1, goodColumns(1)), header)).Rows)
	require.Equal(t, schemas.ErrorClassWrongType, decodeArrow(t, d, record(stream(t, 2, goodColumns(2)), header)).Fault.Class)
	header.Value = []byte("\xff")
	require.Equal(t, schemas.ErrorClassMalformed, decodeArrow(t, d, record(stream(t, 2, goodColumns(2)), header)).Fault.Class)
	d.NewBatch().Release()
}

// Default ids are patched digit by digit; they must be those of the coordinates.
func TestArrowDefaultIDs(t *testing.T) {
	const rows = 12_000
	columns := goodColumns(rows)
	for _, bad := range []int{0, 9, 10, 99, 100, 101, 999, 5000} {
		columns[0].values[bad] = nil
	}
	d := arrowRequests(t, manifest(t))
	got := decodeArrow(t, d, record(stream(t, 1001, columns)))
	require.Equal(t, rows-8, got.Rows)
	batch := d.NewBatch()
	defer batch.Release()
	ids, numbers := batch.Column(8).(*array.String), batch.Column(13).(*array.Int32)
	for i := range got.Rows {
		c := schemas.Coordinates{TopicID: topicID, Partition: 3, Offset: 42, Row: numbers.Value(i)}
		require.Equal(t, string(c.AppendID(nil)), ids.Value(i))
	}
}

func TestArrowEventTimes(t *testing.T) {
	const wrong, out = schemas.ErrorClassWrongType, schemas.ErrorClassOutOfRange
	stamp := func(unit arrow.TimeUnit) arrow.DataType {
		return &arrow.TimestampType{Unit: unit, TimeZone: "Europe/Zurich"}
	}
	for format, values := range map[string][]struct {
		typ   arrow.DataType
		value any
		want  any
	}{
		"rfc3339": {
			{arrow.BinaryTypes.String, "2001-02-03T04:05:06.1234567+01:00", int64(981169506123456)},
			{arrow.BinaryTypes.LargeString, "2001-02-03", wrong},
			{schemas.DictionaryType, "1969-12-31T23:59:59.9999999Z", int64(-1)},
			{stamp(arrow.Second), arrow.Timestamp(-2), int64(-2_000_000)},
			{stamp(arrow.Nanosecond), arrow.Timestamp(-1), int64(-1)},
			{stamp(arrow.Nanosecond), arrow.Timestamp(1999), int64(1)},
			{stamp(arrow.Microsecond), arrow.Timestamp(schemas.MaxMicros), int64(schemas.MaxMicros)},
			{stamp(arrow.Microsecond), arrow.Timestamp(schemas.MaxMicros + 1), out},
			{stamp(arrow.Millisecond), arrow.Timestamp(schemas.MinMicros / 1000), int64(schemas.MinMicros)},
			{stamp(arrow.Second), arrow.Timestamp(math.MinInt64), out},
		},
		"unix_s": {
			{arrow.PrimitiveTypes.Int64, 981173106, int64(981173106000000)},
			{arrow.PrimitiveTypes.Float64, 981173106.5, int64(981173106500000)},
			{arrow.PrimitiveTypes.Float64, math.Inf(1), out},
			{arrow.PrimitiveTypes.Int64, int64(1e11), out},
		},
		"unix_ms": {{arrow.PrimitiveTypes.Float64, 5.0, int64(5000)}, {arrow.PrimitiveTypes.Uint64, "18446744073709551615", wrong}, {arrow.PrimitiveTypes.Int64, int64(math.MinInt64), out}},
		"unix_us": {{arrow.PrimitiveTypes.Int32, -5, int64(-5)}, {arrow.PrimitiveTypes.Float32, float32(0.5), wrong}},
	} {
		m, err := schemas.ParseManifest("test", []byte(strings.Replace(manifestText, "unix_ms", format, 1)))
		require.NoError(t, err)
		d := arrowRequests(t, m)
		for _, v := range values {
			got := decodeArrow(t, d, record(stream(t, 1, with(goodColumns(1), column{"at", v.typ, []any{v.value}}))))
			require.Nil(t, got.Fault, "%s %v", format, v)
			if class, ok := v.want.(schemas.ErrorClass); ok {
				require.Len(t, got.Refused, 1, "%s %v", format, v)
				require.Equal(t, class, got.Refused[0].Class, "%s %v: %s", format, v, got.Refused[0].Reason)
				continue
			}
			require.Empty(t, got.Refused, "%s %v", format, v)
			batch := d.NewBatch()
			require.EqualValues(t, v.want, batch.Column(9).(*array.Timestamp).Value(0), "%s %v", format, v)
			batch.Release()
		}
	}
	m, err := schemas.ParseManifest("test", []byte(strings.Replace(manifestText, "event_time: {field: at, format: unix_ms}", "", 1)))
	require.NoError(t, err)
	d := arrowRequests(t, m)
	rec := record(stream(t, 2, goodColumns(2)))
	rec.Timestamp = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	require.Equal(t, 2, decodeArrow(t, d, rec).Rows)
	batch := d.NewBatch()
	defer batch.Release()
	require.EqualValues(t, schemas.MaxMicros, batch.Column(9).(*array.Timestamp).Value(1))
}

// What is small on Kafka must not fill the memory.
func TestArrowBombs(t *testing.T) {
	long := strings.Repeat("x", 40<<10)
	claims := []byte(stream(t, 2, goodColumns(2), ipc.WithLZ4()))
	for at := len(claims) - 8; at >= 0; at-- { // what compressed buffers say that they hold
		if n := binary.LittleEndian.Uint64(claims[at:]); at%8 == 0 && (n == 8 || n == 16) {
			binary.LittleEndian.PutUint64(claims[at:], 1<<40)
		}
	}
	for name, value := range map[string]string{
		"compressed":     stream(t, 1000, append(goodColumns(1000), column{"unread", arrow.BinaryTypes.String, repeat(1000, long)}), ipc.WithZstd()),
		"rows of little": stream(t, 300_000, goodColumns(300_000), ipc.WithLZ4()),
		"one long entry": stream(t, 1000, with(goodColumns(1000), column{"text", schemas.DictionaryType, repeat(1000, long)})),
		"claims":         string(claims),
		"categories":     stream(t, 50, with(with(goodColumns(100), column{"color", arrow.BinaryTypes.String, distinct(100, long[:10<<10]+strings.Repeat("y", 200<<10))}), column{"text", schemas.DictionaryType, repeat(100, strings.Repeat("z", 200<<10))}), ipc.WithZstd()),
	} {
		t.Run(name, func(t *testing.T) {
			require.Less(t, len(value), 4<<20)
			d := arrowRequests(t, manifest(t))
			got := decodeArrow(t, d, record(value))
			require.NotNil(t, got.Fault)
			require.Equal(t, schemas.ErrorClassTooLarge, got.Fault.Class, got.Fault.Reason)
			require.Less(t, d.mem.alloc.(*memory.CheckedAllocator).CurrentAlloc(), 2*maxExpanded)
			requireNothingKept(t, d)
		})
	}
}

// distinct returns n texts of the same length.
func distinct(n int, rest string) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = fmt.Sprintf("%06d", i) + rest
	}
	return out
}

// requireNothingKept requires that no category was added, and that what was grown for texts
// of a record that was refused is free again.
func requireNothingKept(tb testing.TB, d *ArrowRequests) {
	tb.Helper()
	for i := range d.columns {
		c := &d.columns[i]
		require.LessOrEqual(tb, len(c.data), 1<<20, c.name)
		if c.dict != nil {
			require.Empty(tb, c.dict.added)
			require.Len(tb, c.dict.entries, c.dict.base)
			require.Zero(tb, c.dict.bytes)
		}
	}
}

// Texts of new categories are held once for a batch: they count once, and are forgotten with
// a record that is refused.
func TestArrowCategoriesCount(t *testing.T) {
	const rows, size = 40, 440_000
	texts := distinct(rows, strings.Repeat("x", size))
	for _, typ := range []arrow.DataType{arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, schemas.DictionaryType} {
		d := arrowRequests(t, manifest(t))
		value := stream(t, 30, with(goodColumns(rows), column{"color", typ, texts}), ipc.WithZstd())
		first := decodeArrow(t, d, record(value))
		require.Equal(t, rows, first.Rows)
		require.Greater(t, first.Bytes, rows*size)
		again := decodeArrow(t, d, record(value))
		require.Equal(t, rows, again.Rows)
		require.Less(t, again.Bytes, 2*rows*100)
		batch := d.NewBatch()
		checkBatch(t, batch)
		batch.Release()
		requireNothingKept(t, d)

		require.Equal(t, 1, decodeArrow(t, d, record(stream(t, 1, with(goodColumns(1), column{"color", typ, []any{"violet"}})))).Rows)
		require.NotNil(t, decodeArrow(t, d, record(value[:len(value)-20])).Fault)
		color := d.columns[6].dict
		require.Equal(t, []string{"violet"}, color.added)
		require.Len(t, color.entries, color.base+1)
		d.NewBatch().Release()
	}
}

// oneName has every column of a stream's schema bear the name of the first one.
func oneName(tb testing.TB, value string, names []string) string {
	tb.Helper()
	out := []byte(value)
	size := int(binary.LittleEndian.Uint32(out[4:]))
	schema := out[8 : 8+size]
	at := func(name string) int {
		return bytes.Index(schema, append(binary.LittleEndian.AppendUint32(nil, uint32(len(name))), name...))
	}
	first := at(names[0])
	for _, name := range names[1:] {
		text, referred := at(name), 0
		for p := 0; p < size-4; p += 4 {
			if p+int(binary.LittleEndian.Uint32(schema[p:])) == text {
				require.Less(tb, p, first)
				binary.LittleEndian.PutUint32(schema[p:], uint32(first-p))
				referred++
			}
		}
		require.Equal(tb, 1, referred, name)
	}
	return string(out)
}

// A name that many columns share is not copied for each, and a schema that is of no use is
// not remembered.
func TestArrowSchemaBombs(t *testing.T) {
	columns := goodColumns(1)
	names := []string{strings.Repeat("n", 200<<10)}
	for i := range 100 {
		names = append(names, fmt.Sprintf("column %d!", i+1000))
	}
	for _, name := range names {
		columns = append(columns, column{name, arrow.PrimitiveTypes.Int8, []any{1}})
	}
	value := stream(t, 1, columns)
	d := arrowRequests(t, manifest(t))
	require.Equal(t, 1, decodeArrow(t, d, record(value)).Rows, "a long name is ignored")
	got := decodeArrow(t, d, record(oneName(t, value, names)))
	require.NotNil(t, got.Fault)
	require.Equal(t, schemas.ErrorClassMalformed, got.Fault.Class)
	require.Contains(t, got.Fault.Reason, "overlap")

	schemaOf := func(value string) *arrowipc.Schema {
		s, err := d.reader.Reset([]byte(value))
		require.NoError(t, err)
		return s
	}
	require.Same(t, schemaOf(value), schemaOf(value))
	useless := stream(t, 1, without(columns, "i64"))
	require.NotNil(t, decodeArrow(t, d, record(useless)).Fault)
	require.Len(t, d.plans, 1)
	require.True(t, d.reader.Knows(d.plans[0].schema))
	before := schemaOf(useless)
	d.reader.Forget()
	require.NotNil(t, decodeArrow(t, d, record(useless)).Fault)
	require.NotSame(t, before, schemaOf(useless))
	require.Equal(t, 1, decodeArrow(t, d, record(value)).Rows)

	zone := column{"at", &arrow.TimestampType{Unit: arrow.Second, TimeZone: strings.Repeat("z", 200)}, []any{arrow.Timestamp(1)}}
	require.Contains(t, decodeArrow(t, d, record(stream(t, 1, with(goodColumns(1), zone)))).Fault.Reason, "time zone")
	for i := range 40 { // schemas that can be used, large ones
		large := column{strings.Repeat("n", 100<<10) + strconv.Itoa(i), arrow.PrimitiveTypes.Int8, []any{1}}
		require.Equal(t, 1, decodeArrow(t, d, record(stream(t, 1, append(goodColumns(1), large)))).Rows)
		require.LessOrEqual(t, len(d.plans), 9)
	}
	d.NewBatch().Release()
}

// Bytes that are changed at random give rows or a fault, and never more.
func TestArrowDamagedStreams(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	columns := append(goodColumns(50), column{"size", schemas.DictionaryType, repeat(50, "s")}, column{"text", arrow.BinaryTypes.String, repeat(50, "é")})
	d := arrowRequests(t, manifest(t))
	for _, opts := range [][]ipc.Option{nil, {ipc.WithLZ4()}, {ipc.WithZstd()}} {
		intact := stream(t, 20, columns, opts...)
		accepted := 0
		for i := range 3000 {
			value := []byte(intact)
			for range 1 + random.IntN(3) {
				value[random.IntN(len(value))] = byte(random.Uint32() >> random.IntN(9))
			}
			if i%4 == 0 {
				value = value[:random.IntN(len(value))]
			}
			got := decodeArrow(t, d, record(string(value)))
			if got.Fault == nil {
				accepted++
				require.Positive(t, got.Rows+len(got.Refused))
				_, ok := d.AppendRequest(nil, record(string(value)), random.IntN(got.Rows+len(got.Refused)), math.MaxInt)
				require.True(t, ok)
			}
			if d.Rows() > 1000 {
				batch := d.NewBatch()
				checkBatch(t, batch)
				batch.Release()
			}
		}
		require.NotZero(t, accepted)
	}
	d.NewBatch().Release()
}

// checkBatch looks at every value of a batch.
func checkBatch(tb testing.TB, batch arrow.Record) {
	tb.Helper()
	for i, c := range batch.Columns() {
		require.EqualValues(tb, batch.NumRows(), c.Len(), batch.ColumnName(i))
		for row := range c.Len() {
			if d, ok := c.(*array.Dictionary); ok && !c.IsNull(row) {
				require.Less(tb, d.GetValueIndex(row), d.Dictionary().Len())
			}
			require.True(tb, utf8.ValidString(c.ValueStr(row)))
		}
	}
}
