package compare_test

import (
	"context"
	"math"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// memoryTable is a dataset.Source of columns in memory.
type memoryTable struct {
	name     string
	columnar bool
	batch    int64
	record   arrow.Record
}

type namedColumn struct {
	name   string
	values any // []float64 (NaN is null), []int64, []string ("\x00" is null), []bool
}

func newTable(tb testing.TB, name string, columns ...namedColumn) *memoryTable {
	tb.Helper()
	var fields []arrow.Field
	var arrays []arrow.Array
	rows := int64(0)
	for _, c := range columns {
		a := buildArray(c.values)
		tb.Cleanup(a.Release)
		fields = append(fields, arrow.Field{Name: c.name, Type: a.DataType(), Nullable: true})
		arrays = append(arrays, a)
		rows = int64(a.Len())
	}
	record := array.NewRecord(arrow.NewSchema(fields, nil), arrays, rows)
	tb.Cleanup(record.Release)
	return &memoryTable{name: name, columnar: true, batch: 1000, record: record}
}

func buildArray(values any) arrow.Array {
	switch v := values.(type) {
	case []float64:
		b := array.NewFloat64Builder(memory.DefaultAllocator)
		defer b.Release()
		for _, x := range v {
			if math.IsNaN(x) {
				b.AppendNull()
			} else {
				b.Append(x)
			}
		}
		return b.NewArray()
	case []int64:
		b := array.NewInt64Builder(memory.DefaultAllocator)
		defer b.Release()
		b.AppendValues(v, nil)
		return b.NewArray()
	case []bool:
		b := array.NewBooleanBuilder(memory.DefaultAllocator)
		defer b.Release()
		b.AppendValues(v, nil)
		return b.NewArray()
	case []string:
		b := array.NewStringBuilder(memory.DefaultAllocator)
		defer b.Release()
		for _, x := range v {
			if x == "\x00" {
				b.AppendNull()
			} else {
				b.Append(x)
			}
		}
		return b.NewArray()
	case []arrow.Timestamp:
		b := array.NewTimestampBuilder(memory.DefaultAllocator, &arrow.TimestampType{Unit: arrow.Second})
		defer b.Release()
		b.AppendValues(v, nil)
		return b.NewArray()
	default:
		panic("no such column")
	}
}

func (m *memoryTable) Name() string          { return m.name }
func (m *memoryTable) Schema() *arrow.Schema { return m.record.Schema() }
func (m *memoryTable) Columnar() bool        { return m.columnar }
func (m *memoryTable) Close() error          { return nil }
func (m *memoryTable) Notes() []string       { return nil }
func (m *memoryTable) TypeErrors() []int64   { return make([]int64, m.record.NumCols()) }

func (m *memoryTable) Scan(ctx context.Context, columns []int, f func(arrow.Record) error) error {
	var fields []arrow.Field
	var arrays []arrow.Array
	for _, c := range columns {
		fields = append(fields, m.record.Schema().Field(c))
		arrays = append(arrays, m.record.Column(c))
	}
	chosen := array.NewRecord(arrow.NewSchema(fields, nil), arrays, m.record.NumRows())
	defer chosen.Release()
	for from := int64(0); from < m.record.NumRows(); from += m.batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := chosen.NewSlice(from, min(from+m.batch, m.record.NumRows()))
		err := f(part)
		part.Release()
		if err != nil {
			return err
		}
	}
	return nil
}
