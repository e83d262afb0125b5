package inference_test

import (
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference"
)

// TestCast: every value that has its place in the other type comes there, and no other does.
func TestCast(t *testing.T) {
	var (
		i8, i32, i64 = arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64
		u64, f32     = arrow.PrimitiveTypes.Uint64, arrow.PrimitiveTypes.Float32
		f64, b, s    = arrow.PrimitiveTypes.Float64, arrow.FixedWidthTypes.Boolean, arrow.BinaryTypes.String
		large        = arrow.BinaryTypes.LargeString
		codes        = &arrow.DictionaryType{IndexType: i8, ValueType: i64}
		words        = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint32, ValueType: s}
	)
	for name, tc := range map[string]struct {
		from     arrow.DataType
		values   string
		to       arrow.DataType
		want, is string // values or error
	}{
		"same":               {f64, `[1.5, null]`, f64, `[1.5,null]`, ""},
		"narrower":           {i64, `[-2147483648, 2147483647, null]`, i32, `[-2147483648,2147483647,null]`, ""},
		"too narrow":         {i64, `[1, 2147483648]`, i32, "", "row 1 is 2147483648, which int32 cannot hold"},
		"wider":              {i8, `[-128]`, i64, `[-128]`, ""},
		"least":              {i64, `[-9223372036854775808]`, i64, `[-9223372036854775808]`, ""},
		"unsigned":           {u64, `[4611686018427387904]`, i64, `[4611686018427387904]`, ""},
		"unsigned, too much": {u64, `[9223372036854775808]`, i64, "", "row 0 is 9223372036854775808, which int64 cannot hold"},
		"whole":              {f64, `[3, -4.0, null]`, i32, `[3,-4,null]`, ""},
		"not whole":          {f64, `[3.5]`, i64, "", "row 0 is 3.5, which int64 cannot hold"},
		"beyond int64":       {f64, `[9223372036854775808]`, i64, "", "which int64 cannot hold"},
		"digits of a float":  {f64, `[0.1]`, f32, `[0.1]`, ""},
		"beyond float32":     {f64, `[1e300]`, f32, "", "which float32 cannot hold"},
		"int to float":       {i64, `[16777217]`, f64, `[16777217]`, ""},
		"bool of numbers":    {i8, `[0, 1]`, b, `[false,true]`, ""},
		"no bool":            {i8, `[2]`, b, "", "row 0 is 2, which bool cannot hold"},
		"number of bool":     {b, `[true, null]`, f32, `[1,null]`, ""},
		"large text":         {large, `["é", null]`, s, `["é",null]`, ""},
		"categories":         {words, `["b", "a", "b", null]`, s, `["b","a","b",null]`, ""},
		"codes":              {codes, `[7, -8]`, s, `["7","-8"]`, ""},
		"words of bools":     {b, `[true, null, false]`, s, `["true",null,"false"]`, ""},
		"codes as numbers":   {codes, `[7]`, i32, `[7]`, ""},
		"nothing":            {arrow.Null, `[null, null]`, s, `[null,null]`, ""},
		"text as a number":   {s, `["1"]`, f64, "", "utf8 cannot be read as float64"},
		"float as text":      {f64, `[1]`, s, "", "row 0 is 1, which utf8 cannot hold"},
		"time":               {arrow.FixedWidthTypes.Timestamp_us, `["2024-01-01"]`, f64, "", "timestamp[us, tz=UTC] cannot be read as float64"},
	} {
		t.Run(name, func(t *testing.T) {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer alloc.AssertSize(t, 0)
			from, _, err := array.FromJSON(alloc, tc.from, strings.NewReader(tc.values))
			require.NoError(t, err)
			defer from.Release()
			got, err := inference.Cast(t.Context(), from, tc.to, alloc)
			if tc.is != "" {
				require.ErrorContains(t, err, tc.is)
				return
			}
			require.NoError(t, err)
			defer got.Release()
			require.True(t, arrow.TypeEqual(tc.to, got.DataType()))
			text, err := got.MarshalJSON()
			require.NoError(t, err)
			require.Equal(t, tc.want, string(text))
		})
	}
}

// TestCastOfLargeCategories is of categories as Polars writes them, which cannot be built of JSON.
func TestCastOfLargeCategories(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	words, _, err := array.FromJSON(alloc, arrow.BinaryTypes.LargeString, strings.NewReader(`["a", "b"]`))
	require.NoError(t, err)
	defer words.Release()
	index, _, err := array.FromJSON(alloc, arrow.PrimitiveTypes.Uint32, strings.NewReader(`[1, null, 0]`))
	require.NoError(t, err)
	defer index.Release()
	from := array.NewDictionaryArray(&arrow.DictionaryType{IndexType: index.DataType(), ValueType: words.DataType()}, index, words)
	defer from.Release()
	got, err := inference.Cast(t.Context(), from, arrow.BinaryTypes.String, alloc)
	require.NoError(t, err)
	defer got.Release()
	text, err := got.MarshalJSON()
	require.NoError(t, err)
	require.Equal(t, `["b",null,"a"]`, string(text))
}
