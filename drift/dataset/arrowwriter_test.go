package dataset_test

import (
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/schema"
	"github.com/stretchr/testify/require"
)

// writeParquet writes a table by arrow's Parquet writer, in row groups of at most as many rows as
// props say. It hands the values to the column writers itself, as pqarrow does: that package takes
// arrow/compute and grpc along, which are longer in building than all that this package tests.
func writeParquet(t require.TestingT, to io.Writer, table arrow.Record, props *parquet.WriterProperties) {
	fields := make(schema.FieldList, table.NumCols())
	for i, f := range table.Schema().Fields() {
		fields[i] = parquetField(t, f)
	}
	root := schema.MustGroup(schema.NewGroupNode(props.RootName(), props.RootRepetition(), fields, -1))
	w := file.NewParquetWriter(to, root, file.WithWriterProps(props))
	for from := int64(0); from < table.NumRows(); from += props.MaxRowGroupLength() {
		rows := table.NewSlice(from, min(from+props.MaxRowGroupLength(), table.NumRows()))
		group := w.AppendBufferedRowGroup()
		for i, values := range rows.Columns() {
			column, err := group.Column(i)
			require.NoError(t, err)
			writeColumn(t, column, values, rows.Schema().Field(i).Nullable)
			require.NoError(t, column.Close())
		}
		require.NoError(t, group.Close())
		rows.Release()
	}
	require.NoError(t, w.Close())
}

// parquetField is the field that pqarrow makes of one of Arrow's.
func parquetField(t require.TestingT, f arrow.Field) schema.Node {
	repetition := parquet.Repetitions.Required
	if f.Nullable {
		repetition = parquet.Repetitions.Optional
	}
	var (
		typ     parquet.Type
		logical schema.LogicalType = schema.NoLogicalType{}
	)
	switch f.Type.ID() {
	case arrow.INT64:
		typ, logical = parquet.Types.Int64, schema.NewIntLogicalType(64, true)
	case arrow.INT32:
		typ, logical = parquet.Types.Int32, schema.NewIntLogicalType(32, true)
	case arrow.UINT64:
		typ, logical = parquet.Types.Int64, schema.NewIntLogicalType(64, false)
	case arrow.FLOAT64:
		typ = parquet.Types.Double
	case arrow.FLOAT32:
		typ = parquet.Types.Float
	case arrow.BOOL:
		typ = parquet.Types.Boolean
	case arrow.STRING:
		typ, logical = parquet.Types.ByteArray, schema.StringLogicalType{}
	case arrow.DATE32:
		typ, logical = parquet.Types.Int32, schema.DateLogicalType{}
	default:
		require.Fail(t, "no field of Parquet", "%s", f.Type)
	}
	return schema.Must(schema.NewPrimitiveNodeLogical(f.Name, repetition, logical, typ, -1, -1))
}

func writeColumn(t require.TestingT, w file.ColumnChunkWriter, values arrow.Array, nullable bool) {
	switch v := values.(type) {
	case *array.Int64:
		writeValues(t, w.(*file.Int64ColumnChunkWriter), v.Int64Values(), v, nullable)
	case *array.Int32:
		writeValues(t, w.(*file.Int32ColumnChunkWriter), v.Int32Values(), v, nullable)
	case *array.Uint64:
		writeValues(t, w.(*file.Int64ColumnChunkWriter), valuesOf(v, func(i int) int64 { return int64(v.Value(i)) }), v, nullable)
	case *array.Float64:
		writeValues(t, w.(*file.Float64ColumnChunkWriter), v.Float64Values(), v, nullable)
	case *array.Float32:
		writeValues(t, w.(*file.Float32ColumnChunkWriter), v.Float32Values(), v, nullable)
	case *array.Boolean:
		writeValues(t, w.(*file.BooleanColumnChunkWriter), valuesOf(v, v.Value), v, nullable)
	case *array.String:
		writeValues(t, w.(*file.ByteArrayColumnChunkWriter), valuesOf(v, func(i int) parquet.ByteArray { return parquet.ByteArray(v.Value(i)) }), v, nullable)
	case *array.Date32:
		writeValues(t, w.(*file.Int32ColumnChunkWriter), valuesOf(v, func(i int) int32 { return int32(v.Value(i)) }), v, nullable)
	default:
		require.Fail(t, "no column of Parquet", "%T", values)
	}
}

// valuesOf returns what f says of the values of a, nulls included.
func valuesOf[V any](a arrow.Array, f func(i int) V) []V {
	out := make([]V, a.Len())
	for i := range out {
		out[i] = f(i)
	}
	return out
}

// columnWriter is what the column writers of parquet/file have in common, by the type of values.
type columnWriter[V any] interface {
	WriteBatch(values []V, definition, repetition []int16) (int64, error)
	WriteBatchSpaced(values []V, definition, repetition []int16, valid []byte, offset int64)
}

// writeValues writes values, which are those of a.
func writeValues[V any](t require.TestingT, w columnWriter[V], values []V, a arrow.Array, nullable bool) {
	var levels []int16
	if nullable {
		levels = valuesOf(a, func(i int) int16 {
			if a.IsNull(i) {
				return 0
			}
			return 1
		})
	}
	if a.NullN() > 0 {
		w.WriteBatchSpaced(values, levels, nil, a.NullBitmapBytes(), int64(a.Data().Offset()))
		return
	}
	_, err := w.WriteBatch(values, levels, nil)
	require.NoError(t, err)
}
