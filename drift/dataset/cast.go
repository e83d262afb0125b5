package dataset

import (
	"context"
	"math"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
)

// castSource gives columns of a format that has types other ones.
type castSource struct {
	base
	inner Source
}

// withTypes applies Options.Types to a source of a format that has types.
func withTypes(s Source, o Options) (Source, error) {
	if len(o.Types) == 0 {
		return s, nil
	}
	c := &castSource{base: newBase(s.Name(), o), inner: s}
	c.typed, c.notes = true, s.Notes()
	return c, c.setSchema(s.Schema().Fields())
}

// exact is Exact. Columns whose type is given keep it, and are read out of the exact ones.
func (s *castSource) exact() Source {
	e := *s
	e.base, _ = s.exactBase()
	e.inner = Exact(s.inner)
	return &e
}

func (s *castSource) Columnar() bool { return s.inner.Columnar() }

func (s *castSource) Close() error { return s.inner.Close() }

func (s *castSource) Scan(ctx context.Context, columns []int, f func(arrow.Record) error) error {
	if err := s.check(columns); err != nil {
		return err
	}
	fields, failed := make([]arrow.Field, len(columns)), make([]int64, len(columns))
	for i, c := range columns {
		fields[i] = s.schema.Field(c)
	}
	schema := arrow.NewSchema(fields, nil)
	err := s.inner.Scan(ctx, columns, func(in arrow.Record) error {
		arrays := make([]arrow.Array, len(columns))
		for i, f := range fields {
			if arrow.TypeEqual(f.Type, in.Column(i).DataType()) {
				arrays[i] = in.Column(i)
				continue
			}
			out, errors, err := cast(in.Column(i), kindOf(f.Type))
			if err != nil {
				return err
			}
			defer out.Release()
			arrays[i], failed[i] = out, failed[i]+errors
		}
		out := array.NewRecord(schema, arrays, in.NumRows())
		defer out.Release()
		return f(out)
	})
	if err != nil {
		return err
	}
	inner := s.inner.TypeErrors()
	for i, c := range columns {
		s.setTypeErrors(c, inner[c]+failed[i])
	}
	return nil
}

// cast reads what the values look like as text; those that do not fit are nulls.
func cast(in arrow.Array, to kind) (out arrow.Array, failed int64, err error) {
	b := builder{kind: to}
	b.reset(in.Len())
	text := castText(in, to)
	for i := range in.Len() {
		if in.IsNull(i) {
			b.appendNull()
			continue
		}
		v := text(i)
		if v == nil { // NaN
			b.appendNull()
			continue
		}
		ok, err := b.parse(v)
		if err != nil {
			return nil, 0, err
		}
		if !ok {
			failed++
			b.appendNull()
		}
	}
	return b.array(), failed, nil
}

// castText returns the function that gives a row's text, nil of NaN; the text is valid
// until the next call.
func castText(in arrow.Array, to kind) func(i int) []byte {
	var buf []byte
	float := func(x float64, bits int) []byte {
		if math.IsNaN(x) {
			return nil
		}
		buf = strconv.AppendFloat(buf[:0], x, 'g', -1, bits)
		return buf
	}
	switch in := in.(type) {
	case *array.Boolean:
		numeric := to != kindText && to != kindBool
		return func(i int) []byte {
			switch v := in.Value(i); {
			case !numeric:
				return strconv.AppendBool(buf[:0], v)
			case v:
				return []byte("1")
			default:
				return []byte("0")
			}
		}
	case *array.Int64:
		return func(i int) []byte { buf = strconv.AppendInt(buf[:0], in.Value(i), 10); return buf }
	case *array.Uint64:
		return func(i int) []byte { buf = strconv.AppendUint(buf[:0], in.Value(i), 10); return buf }
	case *array.Float64:
		return func(i int) []byte { return float(in.Value(i), 64) }
	case *array.Float32:
		return func(i int) []byte { return float(float64(in.Value(i)), 32) }
	case *array.Date32:
		return func(i int) []byte { buf = in.Value(i).ToTime().AppendFormat(buf[:0], time.DateOnly); return buf }
	case *array.Timestamp:
		return func(i int) []byte {
			buf = time.UnixMicro(int64(in.Value(i))).UTC().AppendFormat(buf[:0], "2006-01-02 15:04:05.999999")
			return buf
		}
	default:
		text := in.(*array.String) //nolint:forcetypeassert // the only type of a Source that is left
		return func(i int) []byte { return append(buf[:0], text.Value(i)...) }
	}
}
