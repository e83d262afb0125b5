//go:build cgo

package onnx

import (
	"math"
	"runtime"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	ort "github.com/yalue/onnxruntime_go"
)

// tensor is the reused memory of one input or output of a graph: rows × columns elements,
// row by row.
type tensor struct {
	Tensor
	columns int
	// data is a []float32, []float64, []int64, []int32, []bool or []string. The runtime
	// reads and writes it in place, but for strings, which are copied.
	data any
	pin  runtime.Pinner

	divided bool // the graph may divide it; see outside
}

func newTensor(t Tensor, columns int) *tensor { return &tensor{Tensor: t, columns: columns} }

// resize makes room for rows, zeros. Values made before must be destroyed before, and
// release be called in the end.
func (t *tensor) resize(rows int) {
	t.pin.Unpin()
	n := rows * t.columns
	// The runtime keeps the address between calls, hence the pins.
	switch t.element() {
	case elementFloat:
		t.data = pinned[float32](&t.pin, n)
	case elementDouble:
		t.data = pinned[float64](&t.pin, n)
	case elementInt64:
		t.data = pinned[int64](&t.pin, n)
	case elementInt32:
		t.data = pinned[int32](&t.pin, n)
	case elementBool:
		t.data = pinned[bool](&t.pin, n)
	default:
		t.data = make([]string, n)
	}
}

func pinned[T any](pin *runtime.Pinner, n int) []T {
	data := make([]T, n)
	pin.Pin(&data[0])
	return data
}

// release lets go of the memory.
func (t *tensor) release() {
	t.pin.Unpin()
	t.data = nil
}

// value returns the first rows as a value of the runtime. The caller destroys it.
func (t *tensor) value(rows int) (ort.Value, error) {
	shape := ort.NewShape(int64(rows), int64(t.columns))
	switch {
	case len(t.Shape) == 1:
		shape = shape[:1]
	case len(t.Shape) > 2:
		shape = append(shape[:1], t.Shape[1:]...)
	}
	switch d := t.data.(type) {
	case []float32:
		return ort.NewTensor(shape, d)
	case []float64:
		return ort.NewTensor(shape, d)
	case []int64:
		return ort.NewTensor(shape, d)
	case []int32:
		return ort.NewTensor(shape, d)
	case []bool:
		return ort.NewTensor(shape, d)
	default:
		return ort.NewStringTensor(shape)
	}
}

// send copies strings into the runtime's value, receive copies them out of it. Other
// types are shared.
func (t *tensor) send(v ort.Value, rows int) error {
	if d, ok := t.data.([]string); ok {
		return v.(*ort.StringTensor).SetContents(d[:rows*t.columns])
	}
	return nil
}

func (t *tensor) receive(v ort.Value) error {
	d, ok := t.data.([]string)
	if !ok {
		return nil
	}
	contents, err := v.(*ort.StringTensor).GetContents()
	copy(d, contents)
	return err
}

// gather fills one column of the tensor with rows [from, from+n) of a feature. Dictionary
// entries from the number of categories on are unknown.
func (t *tensor) gather(column int, feature arrow.Array, from, n, categories int) {
	switch d := t.data.(type) {
	case []float32:
		fill(d[column:], t.columns, feature, from, n, categories, float32(math.NaN()))
	case []float64:
		fill(d[column:], t.columns, feature, from, n, categories, math.NaN())
	case []int64:
		fill(d[column:], t.columns, feature, from, n, categories, -1)
	case []int32:
		fill(d[column:], t.columns, feature, from, n, categories, -1)
	case []bool:
		values := feature.(*array.Boolean)
		for k := range n {
			d[column+k*t.columns] = values.Value(from + k)
		}
	case []string:
		fillStrings(d[column:], t.columns, feature, from, n)
	}
}

// pad repeats the last of n rows up to rows: values that the graph takes, or fails on, already.
func (t *tensor) pad(n, rows int) {
	switch d := t.data.(type) {
	case []float32:
		repeatRow(d, t.columns, n, rows)
	case []float64:
		repeatRow(d, t.columns, n, rows)
	case []int64:
		repeatRow(d, t.columns, n, rows)
	case []int32:
		repeatRow(d, t.columns, n, rows)
	case []bool:
		repeatRow(d, t.columns, n, rows)
	case []string:
		repeatRow(d, t.columns, n, rows)
	}
}

// firstRow returns a copy of the first row, for setFirstRow.
func (t *tensor) firstRow() any {
	switch d := t.data.(type) {
	case []float32:
		return slices.Clone(d[:t.columns])
	case []float64:
		return slices.Clone(d[:t.columns])
	case []int64:
		return slices.Clone(d[:t.columns])
	case []int32:
		return slices.Clone(d[:t.columns])
	case []bool:
		return slices.Clone(d[:t.columns])
	default:
		row := slices.Clone(t.data.([]string)[:t.columns])
		for k, s := range row {
			row[k] = strings.Clone(s) // it points into a batch
		}
		return row
	}
}

func (t *tensor) setFirstRow(row any) {
	switch d := t.data.(type) {
	case []float32:
		copy(d, row.([]float32))
	case []float64:
		copy(d, row.([]float64))
	case []int64:
		copy(d, row.([]int64))
	case []int32:
		copy(d, row.([]int32))
	case []bool:
		copy(d, row.([]bool))
	case []string:
		copy(d, row.([]string))
	}
}

func repeatRow[T any](data []T, columns, n, rows int) {
	last := data[(n-1)*columns : n*columns]
	for k := n; k < rows; k++ {
		copy(data[k*columns:], last)
	}
}

type number interface {
	float32 | float64 | int32 | int64
}

// fill writes every stride-th element of dst. missing stands for NULL, but for
// categories, where that is -1.
func fill[T number](dst []T, stride int, feature arrow.Array, from, n, categories int, missing T) {
	switch f := feature.(type) {
	case *array.Float32:
		cast(dst, stride, f.Float32Values()[from:from+n])
	case *array.Float64:
		cast(dst, stride, f.Float64Values()[from:from+n])
	case *array.Int32:
		cast(dst, stride, f.Int32Values()[from:from+n])
	case *array.Int64:
		cast(dst, stride, f.Int64Values()[from:from+n])
	case *array.Boolean:
		for k := range n {
			dst[k*stride] = 0
			if f.Value(from + k) {
				dst[k*stride] = 1
			}
		}
	case *array.Dictionary:
		missing = -1
		for k, code := range f.Indices().(*array.Int32).Int32Values()[from : from+n] {
			if int(code) >= categories {
				code = -1
			}
			dst[k*stride] = T(code)
		}
	}
	if feature.NullN() > 0 {
		for k := range n {
			if feature.IsNull(from + k) {
				dst[k*stride] = missing
			}
		}
	}
}

// cast rounds float64 and large integers to the nearest float; a float64 beyond float32
// becomes an infinity. planInputs refuses what would be cut: floats to integers, int64 to int32.
func cast[T, S number](dst []T, stride int, src []S) {
	for k, v := range src {
		dst[k*stride] = T(v)
	}
}

func fillStrings(dst []string, stride int, feature arrow.Array, from, n int) {
	var values *array.String
	var codes []int32
	switch f := feature.(type) {
	case *array.String:
		values = f
	case *array.Dictionary:
		values = f.Dictionary().(*array.String)
		codes = f.Indices().(*array.Int32).Int32Values()
	}
	for k := range n {
		row := from + k
		switch {
		case feature.IsNull(row):
			dst[k*stride] = ""
		case codes != nil:
			dst[k*stride] = values.Value(int(codes[row]))
		default:
			dst[k*stride] = values.Value(row)
		}
	}
}

// outside calls each with the values of the first n rows that the graph's own type cannot hold,
// by row and column, and puts a zero in their place, or a one. Of an input that the graph may divide it is also the
// lowest whole number: divided by -1 it ends the process (SIGFPE), and the next one that the
// request is sent to. NaN becomes that number where it is cast to one.
func (t *tensor) outside(n int, each func(row, column int, value any)) {
	w, ok := wide[t.Type]
	if !ok {
		if !t.divided {
			return
		}
		switch d := t.data.(type) {
		case []int32:
			limit(d[:n*t.columns], math.MinInt32+1, math.MaxInt32, 1, t.columns, each)
		case []int64:
			limit(d[:n*t.columns], math.MinInt64+1, math.MaxInt64, 1, t.columns, each)
		}
		return
	}
	switch d := t.data.(type) {
	case []float32:
		limit(d[:n*t.columns], float32(w.low), float32(w.high), 0, t.columns, each)
	case []int32:
		limit(d[:n*t.columns], int32(w.low), int32(w.high), 0, t.columns, each)
	case []int64:
		limit(d[:n*t.columns], int64(w.low), wholeLimit(w.high), 0, t.columns, each)
	}
}

func limit[T number](data []T, low, high, instead T, columns int, each func(row, column int, value any)) {
	for k, v := range data {
		if v < low || v > high { // NaN is neither
			data[k] = instead
			each(k/columns, k%columns, v)
		}
	}
}

// wholeLimit returns the greatest whole number up to x.
func wholeLimit(x float64) int64 {
	if x >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(x)
}
