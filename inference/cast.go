package inference

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/compute"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// Cast makes of a column of any Arrow type one of the type to, which is that of a feature or an
// output: bool, int32, int64, float32, float64, or utf8, which dictionaries become too; as text,
// bools are "true" and "false". A value that has no place there is an error that names its row: a number that is not whole or
// too large for integers, a number where text is, or text where a number is. Floats keep what
// digits they have, as in a request, and NaN where integers are is NULL, as pandas writes it.
// The caller releases the result.
func Cast(ctx context.Context, col arrow.Array, to arrow.DataType, alloc memory.Allocator) (arrow.Array, error) {
	ctx = compute.WithAllocator(ctx, alloc)
	if dict, ok := col.(*array.Dictionary); ok {
		plain, err := compute.CastArray(ctx, col, compute.SafeCastOptions(dict.Dictionary().DataType()))
		if err != nil {
			return nil, err
		}
		defer plain.Release()
		return Cast(ctx, plain, to, alloc)
	}
	switch from := col.DataType(); {
	case arrow.TypeEqual(from, to):
		col.Retain()
		return col, nil
	case from.ID() == arrow.NULL:
		return array.MakeArrayOfNull(alloc, to, col.Len()), nil
	case from.ID() == arrow.LARGE_STRING && to.ID() == arrow.STRING:
		return compute.CastArray(ctx, col, compute.SafeCastOptions(to))
	}
	value, ok := numbersOf(col)
	if !ok {
		return nil, fmt.Errorf("%s cannot be read as %s", col.DataType(), to)
	}
	b := array.NewBuilder(alloc, to)
	defer b.Release()
	b.Reserve(col.Len())
	for i := range col.Len() {
		if col.IsNull(i) {
			b.AppendNull()
			continue
		}
		if x := value(i); !x.appendTo(b) {
			return nil, fmt.Errorf("row %d is %s, which %s cannot hold", i, col.ValueStr(i), to)
		}
	}
	return b.NewArray(), nil
}

// number is a value of a column of numbers: a float, or a whole number in magnitude and sign.
type number struct {
	float    float64
	whole    uint64 // magnitude
	negative bool
	isFloat  bool
	isBool   bool
}

func integer[T int8 | int16 | int32 | int64](values []T) func(int) number {
	return func(i int) number {
		if v := int64(values[i]); v < 0 {
			return number{whole: -uint64(v), negative: true}
		}
		return number{whole: uint64(values[i])}
	}
}

func unsigned[T uint8 | uint16 | uint32 | uint64](values []T) func(int) number {
	return func(i int) number { return number{whole: uint64(values[i])} }
}

// numbersOf returns what gives the value in a row that is not NULL; false for a column of no numbers.
func numbersOf(col arrow.Array) (func(row int) number, bool) {
	switch col := col.(type) {
	case *array.Boolean:
		return func(i int) number {
			if col.Value(i) {
				return number{whole: 1, isBool: true}
			}
			return number{isBool: true}
		}, true
	case *array.Int8:
		return integer(col.Int8Values()), true
	case *array.Int16:
		return integer(col.Int16Values()), true
	case *array.Int32:
		return integer(col.Int32Values()), true
	case *array.Int64:
		return integer(col.Int64Values()), true
	case *array.Uint8:
		return unsigned(col.Uint8Values()), true
	case *array.Uint16:
		return unsigned(col.Uint16Values()), true
	case *array.Uint32:
		return unsigned(col.Uint32Values()), true
	case *array.Uint64:
		return unsigned(col.Uint64Values()), true
	case *array.Float16:
		return func(i int) number { return number{float: float64(col.Value(i).Float32()), isFloat: true} }, true
	case *array.Float32:
		return func(i int) number { return number{float: float64(col.Value(i)), isFloat: true} }, true
	case *array.Float64:
		return func(i int) number { return number{float: col.Value(i), isFloat: true} }, true
	case *array.Decimal128:
		scale := col.DataType().(*arrow.Decimal128Type).Scale
		return func(i int) number { return number{float: col.Value(i).ToFloat64(scale), isFloat: true} }, true
	default:
		return nil, false
	}
}

// appendTo appends the number to a builder of a feature or an output; false where it has no
// place there.
func (x number) appendTo(b array.Builder) bool {
	switch b := b.(type) {
	case *array.Float64Builder:
		b.Append(x.asFloat())
		return true
	case *array.Float32Builder:
		f := x.asFloat()
		b.Append(float32(f))
		return math.IsInf(f, 0) || !math.IsInf(float64(float32(f)), 0)
	case *array.StringBuilder: // codes of categories
		if x.isFloat {
			return false
		}
		text := strconv.FormatUint(x.whole, 10)
		switch {
		case x.isBool:
			text = strconv.FormatBool(x.whole == 1)
		case x.negative:
			text = "-" + text
		}
		b.Append(text)
		return true
	}
	if x.isFloat && math.IsNaN(x.float) {
		b.AppendNull()
		return true
	}
	v, ok := x.asInt64()
	switch b := b.(type) {
	case *array.Int64Builder:
		b.Append(v)
		return ok
	case *array.Int32Builder:
		b.Append(int32(v))
		return ok && v == int64(int32(v))
	case *array.BooleanBuilder:
		b.Append(v == 1)
		return ok && (v == 0 || v == 1)
	default:
		return false
	}
}

func (x number) asFloat() float64 {
	switch f := float64(x.whole); {
	case x.isFloat:
		return x.float
	case x.negative:
		return -f
	default:
		return f
	}
}

func (x number) asInt64() (int64, bool) {
	switch {
	case x.isFloat:
		if x.float != math.Trunc(x.float) || x.float < -1<<63 || x.float >= 1<<63 {
			return 0, false
		}
		return int64(x.float), true
	case x.negative:
		return -int64(x.whole), x.whole <= 1<<63
	default:
		return int64(x.whole), x.whole <= math.MaxInt64
	}
}
