package codec

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/schemas"
)

// arrowTypes are those that a column may have for each field of the manifest.
var arrowTypes = map[string][]arrow.DataType{
	"f32": numberTypes, "f64": numberTypes, "i32": numberTypes, "i64": numberTypes, "at": integers,
	"flag": {arrow.FixedWidthTypes.Boolean},
	"text": textTypes, "color": textTypes, "size": textTypes,
	"request_id": append(slices.Clone(textTypes), arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Uint64),
}

var (
	integers = []arrow.DataType{
		arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int8,
		arrow.PrimitiveTypes.Uint64, arrow.PrimitiveTypes.Uint32, arrow.PrimitiveTypes.Uint16, arrow.PrimitiveTypes.Uint8,
	}
	numberTypes = append([]arrow.DataType{arrow.PrimitiveTypes.Float64, arrow.PrimitiveTypes.Float32}, integers...)
	textTypes   = []arrow.DataType{
		arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString,
		&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String},
		&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String},
		&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint16, ValueType: arrow.BinaryTypes.String},
	}
)

// drawTame draws a value that is good in most fields.
func drawTame(t *rapid.T, name string, typ arrow.DataType) (value any, text string) {
	n := rapid.IntRange(0, 100).Draw(t, name)
	switch typ.ID() {
	case arrow.BOOL:
		return n%2 == 0, strconv.FormatBool(n%2 == 0)
	case arrow.FLOAT32:
		return float32(n), strconv.Itoa(n)
	case arrow.FLOAT64:
		return float64(n), strconv.Itoa(n)
	case arrow.STRING, arrow.LARGE_STRING, arrow.DICTIONARY:
		v := []string{"s", "m", "l"}[n%3]
		return v, strconv.Quote(v)
	default:
		return strconv.Itoa(n), strconv.Itoa(n)
	}
}

// drawValue draws a value that the type can hold, and its JSON.
func drawValue(t *rapid.T, name string, typ arrow.DataType) (value any, text string) {
	if rapid.IntRange(0, 9).Draw(t, name+" null") == 0 {
		return nil, "null"
	}
	switch typ.ID() {
	case arrow.BOOL:
		v := rapid.Bool().Draw(t, name)
		return v, strconv.FormatBool(v)
	case arrow.FLOAT32:
		v := rapid.SampledFrom([]float32{0, 1, -9.5, 3, 2.5, 1e6, 16777216, -11, 1e30, math.MaxFloat32}).Draw(t, name)
		return v, strconv.FormatFloat(float64(v), 'g', -1, 64) // the value exactly: widening adds no digits
	case arrow.FLOAT64:
		v := rapid.SampledFrom([]float64{0, 1, -9.5, 3, 0.1, 1e6, 2147483648, 1e17, 9007199254740991, 3.5e38, 1e300, math.Copysign(0, -1)}).Draw(t, name)
		return v, strconv.FormatFloat(v, 'g', -1, 64)
	case arrow.STRING, arrow.LARGE_STRING, arrow.DICTIONARY:
		v := rapid.SampledFrom([]string{"", "red", "green", "s", "l", "violet", "é😀", "a\"b"}).Draw(t, name)
		quoted, err := json.Marshal(v)
		require.NoError(t, err)
		return v, string(quoted)
	default:
		bits := typ.(arrow.FixedWidthDataType).BitWidth()
		v := rapid.Int64().Draw(t, name)
		if strings.HasPrefix(typ.Name(), "u") {
			u := uint64(v) >> (64 - bits) >> rapid.IntRange(0, bits-1).Draw(t, name+" shift")
			return strconv.FormatUint(u, 10), strconv.FormatUint(u, 10)
		}
		v = v >> (64 - bits) >> rapid.IntRange(0, bits-1).Draw(t, name+" shift")
		return strconv.FormatInt(v, 10), strconv.FormatInt(v, 10)
	}
}

// TestArrowRowsAreWhatJSONMakesOfThem: the same rows as JSON and as Arrow, in columns of any
// type, order, chunking and compression, give equal batches and refuse the same rows.
func TestArrowRowsAreWhatJSONMakesOfThem(outer *testing.T) {
	m := manifest(outer)
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(outer, 0)
	byJSON, err := NewDecoder(m, alloc)
	require.NoError(outer, err)
	defer byJSON.Release()
	byArrow, err := NewArrowRequests(m, alloc)
	require.NoError(outer, err)
	defer byArrow.Release()
	accepted, refused, faulty := 0, 0, 0
	rapid.Check(outer, func(t *rapid.T) {
		for record := range rapid.IntRange(1, 3).Draw(t, "records") {
			rows := rapid.IntRange(1, 20).Draw(t, "rows")
			names := []string{"f32", "f64", "i32", "i64", "flag", "text", "color", "size", "at", "request_id"}
			names = rapid.Permutation(names).Draw(t, "columns")
			texts := make([]string, rows)
			tame := rapid.Bool().Draw(t, "tame")
			var columns []column
			for _, name := range names {
				required := name == "f32" || name == "i64" || name == "color" || name == "at"
				if !required && rapid.IntRange(0, 3).Draw(t, name+" absent") == 0 {
					continue
				}
				typ := rapid.SampledFrom(arrowTypes[name]).Draw(t, name+" type")
				c := column{name: name, typ: typ}
				for row := range rows {
					v, text := drawTame(t, name, typ)
					if !tame || row == rows/2 {
						v, text = drawValue(t, name, typ)
					}
					c.values = append(c.values, v)
					texts[row] += fmt.Sprintf(",%q:%s", name, text)
				}
				columns = append(columns, c)
			}
			opts := rapid.SampledFrom([][]ipc.Option{nil, {ipc.WithLZ4()}, {ipc.WithZstd()}}).Draw(t, "compression")
			rec := recordAt(int64(record), stream(outer, rapid.IntRange(1, rows).Draw(t, "chunk"), columns, opts...))
			got, err := byArrow.Append(t.Context(), rec)
			require.NoError(t, err)
			require.Nil(t, got.Fault, "%v", got.Fault)
			next := 0
			for row, text := range texts {
				one := recordAt(int64(record), "{"+text[1:]+"}")
				fault := byJSON.Append(one)
				if fault == nil {
					continue
				}
				require.Less(t, next, len(got.Refused), "row %d: %s: %v", row, text, fault)
				require.Equal(t, row, got.Refused[next].Row, "%s: %v", text, fault)
				next++
			}
			require.Len(t, got.Refused, next)
			require.Equal(t, rows-next, got.Rows)
			accepted, refused = accepted+got.Rows, refused+next
			if next > 0 {
				faulty++
			}
		}
		require.Equal(t, byJSON.Rows(), byArrow.Rows())
		want, have := byJSON.NewBatch(), byArrow.NewBatch()
		defer want.Release()
		defer have.Release()
		for i, f := range want.Schema().Fields() {
			if f.Name == schemas.ColumnRow || f.Name == schemas.ColumnRequestID {
				continue // rows of a record are numbered, and default ids with them
			}
			requireSame(t, want.Column(i), have.Column(i), f.Name)
		}
	})
	require.NotZero(outer, refused)
	require.Greater(outer, accepted, refused/10)
	outer.Logf("%d rows accepted, %d refused in %d records", accepted, refused, faulty)
}

func recordAt(offset int64, value string) *schemas.Record {
	rec := record(value)
	rec.Offset = offset
	return rec
}

// requireSame compares two columns by their values: dictionaries may hold other entries.
func requireSame(t *rapid.T, want, have arrow.Array, name string) {
	require.Equal(t, want.Len(), have.Len())
	require.Equal(t, want.NullN(), have.NullN(), name)
	require.True(t, arrow.TypeEqual(want.DataType(), have.DataType()))
	for i := range want.Len() {
		require.Equal(t, want.IsNull(i), have.IsNull(i), "%s, row %d", name, i)
		if want.IsNull(i) {
			continue
		}
		w, h := want.ValueStr(i), have.ValueStr(i)
		if d, ok := want.(*array.Dictionary); ok {
			other := have.(*array.Dictionary)
			w, h = d.Dictionary().ValueStr(d.GetValueIndex(i)), other.Dictionary().ValueStr(other.GetValueIndex(i))
		}
		require.Equal(t, w, h, "%s, row %d", name, i)
	}
}
