//go:build cgo

package onnx

import (
	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/schemas"
)

// column collects one output of a batch, run by run.
type column interface {
	// resize makes room for a batch of rows.
	resize(rows int)
	// take copies the tensor's first n rows to rows [from, from+n) of the batch, and
	// reports those that are not finite.
	take(from, n int)
	// array builds the batch's column; valid is nil where all rows are. The caller
	// releases it.
	array(valid []bool) arrow.Array
	release()
}

// columnOf implements column for the Go type T of an Arrow column.
type columnOf[T comparable] struct {
	values  []T
	builder arrayBuilder[T]
	read    func(dst []T)           // from the tensor's start
	check   func(run []T, from int) // of numbers
}

type arrayBuilder[T any] interface {
	AppendValues(values []T, valid []bool)
	NewArray() arrow.Array
	Release()
}

// newColumn returns the column of an output that gives says its tensor converts to.
// It calls invalid with each row whose value is not finite, or beyond int64.
func newColumn(o *schemas.Output, t *tensor, alloc memory.Allocator, invalid func(row int, value float64)) column {
	switch o.Type {
	case schemas.TypeBool:
		return &columnOf[bool]{builder: array.NewBooleanBuilder(alloc), read: same[bool](t, o.Index)}
	case schemas.TypeInt32:
		return numbers(t, o.Index, array.NewInt32Builder(alloc), invalid)
	case schemas.TypeInt64:
		return numbers(t, o.Index, array.NewInt64Builder(alloc), invalid)
	case schemas.TypeFloat32:
		return numbers(t, o.Index, array.NewFloat32Builder(alloc), invalid)
	case schemas.TypeFloat64:
		return numbers(t, o.Index, array.NewFloat64Builder(alloc), invalid)
	default:
		return &columnOf[string]{builder: array.NewStringBuilder(alloc), read: same[string](t, o.Index)}
	}
}

func numbers[T number](t *tensor, index int, b arrayBuilder[T], invalid func(row int, value float64)) column {
	c := &columnOf[T]{builder: b, check: func(run []T, from int) {
		for k, v := range run {
			if v-v != 0 { //nolint:gocritic // NaN, of NaN and the infinities
				invalid(from+k, float64(v))
			}
		}
	}}
	if t.Type == "uint64" { // read as int64, where what is beyond that is negative
		c.check = func(run []T, from int) {
			for k, v := range run {
				if v < 0 {
					invalid(from+k, float64(v)+1<<64)
				}
			}
		}
	}
	switch t.element() {
	case elementFloat:
		c.read = convert[T, float32](t, index)
	case elementDouble:
		c.read = convert[T, float64](t, index)
	case elementInt64:
		c.read = convert[T, int64](t, index)
	default:
		c.read = convert[T, int32](t, index)
	}
	return c
}

// convert reads a column of a tensor whose elements are of type E.
func convert[T, E number](t *tensor, index int) func([]T) {
	return func(dst []T) {
		src := t.data.([]E)
		for k := range dst {
			dst[k] = T(src[k*t.columns+index])
		}
	}
}

// same reads a column of a tensor whose elements are of type T.
func same[T any](t *tensor, index int) func([]T) {
	return func(dst []T) {
		src := t.data.([]T)
		for k := range dst {
			dst[k] = src[k*t.columns+index]
		}
	}
}

func (c *columnOf[T]) resize(rows int) {
	if cap(c.values) < rows {
		c.values = make([]T, rows)
	}
	c.values = c.values[:rows]
}

func (c *columnOf[T]) take(from, n int) {
	run := c.values[from : from+n]
	c.read(run)
	if c.check != nil {
		c.check(run, from)
	}
}

func (c *columnOf[T]) array(valid []bool) arrow.Array {
	for row, ok := range valid {
		if !ok {
			var zero T // not what an earlier batch left there
			c.values[row] = zero
		}
	}
	c.builder.AppendValues(c.values, valid)
	return c.builder.NewArray()
}

func (c *columnOf[T]) release() { c.builder.Release() }
