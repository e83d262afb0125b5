package store

import (
	"bytes"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// Columns of profiles, by their place in the rows that are inserted.
const (
	profileModel = iota
	profileVersion
	profilePlan
	profileSegment
	profileValue
	profileColumn
	profileBucket
	profileVariant
	profileTopic
	profilePartition
	profileFirst
	profileLast
	profileRowsCount
	profileMissing
	profileNaN
	profilePositiveInf
	profileNegativeInf
	profileOther
	profileCells
	profileTotal
	profileSquares
	profileLeast
	profileGreatest
	profileUnseen
	profileQuantiles
)

// profileFields are the fields of the rows, and profileColumns what is stored of them: states of
// aggregate functions are made of lists by the server, but for the digest, which comes as a state.
var (
	texts  = arrow.BinaryTypes.Binary
	counts = arrow.PrimitiveTypes.Uint64
	unseen = arrow.MapOf(texts, counts)

	profileFields = []arrow.Field{
		profileModel: {Name: "model", Type: texts}, profileVersion: {Name: "version", Type: texts}, profilePlan: {Name: "plan", Type: texts},
		profileSegment: {Name: "segment", Type: texts}, profileValue: {Name: "value", Type: texts}, profileColumn: {Name: "column", Type: texts},
		profileBucket: {Name: "bucket", Type: arrow.FixedWidthTypes.Timestamp_us}, profileVariant: {Name: "variant", Type: texts},
		profileTopic: {Name: "topic_id", Type: texts}, profilePartition: {Name: "partition", Type: arrow.PrimitiveTypes.Int32},
		profileFirst: {Name: "first_offset", Type: arrow.PrimitiveTypes.Int64}, profileLast: {Name: "last_offset", Type: arrow.PrimitiveTypes.Int64},
		profileRowsCount: {Name: "rows", Type: counts}, profileMissing: {Name: "missing", Type: counts}, profileNaN: {Name: "nan", Type: counts},
		profilePositiveInf: {Name: "positive_inf", Type: counts}, profileNegativeInf: {Name: "negative_inf", Type: counts}, profileOther: {Name: "other", Type: counts},
		profileCells: {Name: "cells", Type: arrow.ListOf(counts)},
		profileTotal: {Name: "total", Type: arrow.PrimitiveTypes.Float64}, profileSquares: {Name: "squares", Type: arrow.PrimitiveTypes.Float64},
		profileLeast: {Name: "least", Type: arrow.PrimitiveTypes.Float64}, profileGreatest: {Name: "greatest", Type: arrow.PrimitiveTypes.Float64},
		profileUnseen: {Name: "unseen", Type: unseen}, profileQuantiles: {Name: "quantiles", Type: texts},
	}
	profileColumns = func() clickhouse.Columns {
		columns := make([]clickhouse.Column, len(profileFields))
		for i, f := range profileFields {
			column := clickhouse.Column{Name: f.Name}
			switch f.Type.ID() {
			case arrow.TIMESTAMP:
				column.Type = "DateTime64(6, 'UTC')"
			case arrow.INT32:
				column.Type = "Int32"
			case arrow.INT64:
				column.Type = "Int64"
			case arrow.UINT64:
				column.Type = "UInt64"
			case arrow.FLOAT64:
				column.Type = "Float64"
			case arrow.LIST:
				column.Type = "Array(UInt64)"
			case arrow.MAP:
				column.Type = "Map(String, UInt64)"
			default:
				column.Type = "String"
			}
			columns[i] = column
		}
		columns[profileCells].Value = "arrayReduce('sumForEachState', [cells])"
		columns[profileUnseen].Value = "arrayReduce('topKWeightedState(10, 3, \\'counts\\')', mapKeys(unseen), mapValues(unseen))"
		columns[profileQuantiles].Value = "CAST(quantiles, 'AggregateFunction(quantilesTDigest(0.5), Float64)')"
		return clickhouse.ColumnsOfValues(columns)
	}()
)

// emptyDigest is the state of a t-digest of nothing.
var emptyDigest = []byte{0}

// profileRows builds rows of profiles.
type profileRows struct{ *array.RecordBuilder }

func newProfileRows(mem memory.Allocator) profileRows {
	return profileRows{array.NewRecordBuilder(mem, arrow.NewSchema(profileFields, nil))}
}

func (b profileRows) rows() int { return b.Field(0).Len() }

// encode writes the rows as an Arrow IPC stream of one batch.
func (b profileRows) encode(mem memory.Allocator, out *bytes.Buffer) error {
	rec := b.NewRecord()
	defer rec.Release()
	w := ipc.NewWriter(out, ipc.WithSchema(rec.Schema()), ipc.WithAllocator(mem))
	if err := w.Write(rec); err != nil {
		return err
	}
	return w.Close()
}

func (b profileRows) texts(first int, values ...string) {
	for i, v := range values {
		b.Field(first + i).(*array.BinaryBuilder).AppendString(v)
	}
}

func (b profileRows) counts(first int, values ...uint64) {
	for i, v := range values {
		b.Field(first + i).(*array.Uint64Builder).Append(v)
	}
}

func (b profileRows) floats(first int, values ...float64) {
	for i, v := range values {
		b.Field(first + i).(*array.Float64Builder).Append(v)
	}
}

func (b profileRows) place(topic string, partition int32, first, last int64) {
	b.texts(profileTopic, topic)
	b.Field(profilePartition).(*array.Int32Builder).Append(partition)
	b.Field(profileFirst).(*array.Int64Builder).Append(first)
	b.Field(profileLast).(*array.Int64Builder).Append(last)
}

func (b profileRows) row(k *counted, r *profile.Row) {
	b.texts(profileModel, k.of.model, k.of.version, k.plan, r.Segment, r.Value, r.Column)
	b.Field(profileBucket).(*array.TimestampBuilder).Append(arrow.Timestamp(r.Bucket.UnixMicro()))
	b.texts(profileVariant, r.Variant)
	b.counts(profileRowsCount, r.Rows, r.Missing, r.NaN, r.PositiveInf, r.NegativeInf, r.Other)
	cells := b.Field(profileCells).(*array.ListBuilder)
	cells.Append(true)
	cells.ValueBuilder().(*array.Uint64Builder).AppendValues(r.Cells, nil)
	b.floats(profileTotal, r.Sum, r.SumSquares, r.Min, r.Max)
	seen := b.Field(profileUnseen).(*array.MapBuilder)
	seen.Append(true)
	for category, n := range r.Unseen {
		seen.KeyBuilder().(*array.BinaryBuilder).AppendString(category)
		seen.ItemBuilder().(*array.Uint64Builder).Append(n)
	}
	digest := r.Sketch
	if digest == nil {
		digest = emptyDigest
	}
	b.Field(profileQuantiles).(*array.BinaryBuilder).Append(digest)
}

// add appends what was counted of a version, and which records that was.
func (b profileRows) add(k *counted, rows []profile.Row) {
	for i := range rows {
		b.row(k, &rows[i])
		b.place("", 0, 0, 0)
	}
	for _, s := range k.ranges.spans {
		b.row(k, &profile.Row{})
		b.place(s.topic.String(), s.partition, s.min, s.max)
	}
}
