package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// pqLogical is the meaning of a column's values, for which parquet.thrift has a union and
// older writers an enumeration.
type pqLogical uint8

const (
	pqPlain pqLogical = iota
	pqDecimal
	pqDate
	pqMillis // timestamps
	pqMicros
	pqNanos
	pqUnsigned
	pqUnknown // nothing but nulls
	pqUUID
	pqFloat16
)

// pqLeaf is a column that has no others in it: no list, map or structure.
type pqLeaf struct {
	chunk    *parquet.FileColumnChunk
	kind     kind
	physical parquet.Kind
	width    int // bytes of a value, 0 for texts and booleans
	logical  pqLogical
	scale    int  // of a decimal
	digits   int  // of a decimal, at most; 0 where it does not say
	optional bool // has definition levels
	leaf     int  // its place in a row group
}

const maxNesting = 64

// openSchema has the library open a file that has the columns of meta and one row group, whose
// chunks are streams from 0 on: pqStream gives it the pages.
func openSchema(meta *format.FileMetaData) (f *parquet.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, errPanic(p)
		}
	}()
	if err := checkDepth(meta.Schema); err != nil {
		return nil, err
	}
	var group format.RowGroup
	for i := range meta.Schema {
		if meta.Schema[i].Type.Valid {
			group.Columns = append(group.Columns, format.ColumnChunk{MetaData: format.ColumnMetaData{TotalCompressedSize: math.MaxInt64}})
		}
	}
	copied := format.FileMetaData{Version: meta.Version, Schema: meta.Schema, RowGroups: []format.RowGroup{group}}
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), &copied)
	if err != nil {
		return nil, fmt.Errorf("its footer is broken: %w", err)
	}
	file := binary.LittleEndian.AppendUint32(append([]byte("PAR1"), footer...), uint32(len(footer)))
	file = append(file, "PAR1"...)
	f, err = parquet.OpenFile(bytes.NewReader(file), int64(len(file)), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("its schema is broken: %w", err)
	}
	return f, nil
}

// checkDepth refuses schemas that are nested too deep: the library takes memory that is the
// square of the depth.
func checkDepth(schema []format.SchemaElement) error {
	var open []int32 // children that are missing, by level
	for i := range schema {
		if n := schema[i].NumChildren.V; n > 0 {
			if open = append(open, n); len(open) > maxNesting {
				return fmt.Errorf("its columns are nested more than %d deep", maxNesting)
			}
			continue
		}
		for len(open) > 0 {
			if open[len(open)-1]--; open[len(open)-1] > 0 {
				break
			}
			open = open[:len(open)-1]
		}
	}
	return nil
}

// pqFields returns the columns of the schema's top level, and how many have values.
func pqFields(f *parquet.File, schema []format.SchemaElement, note func(format string, args ...any)) (fields []arrow.Field, leaves []*pqLeaf, count int, err error) {
	elements, at := make(map[*parquet.Column]*format.SchemaElement), 0
	var walk func(c *parquet.Column)
	walk = func(c *parquet.Column) { // the schema lists columns depth first
		elements[c] = &schema[at]
		at++
		if c.Leaf() {
			count++
		}
		for _, child := range c.Columns() {
			walk(child)
		}
	}
	walk(f.Root())
	for _, c := range f.Root().Columns() {
		if isPandasIndex(c.Name()) {
			note(noteIndex, c.Name())
			continue
		}
		e := elements[c]
		field := arrow.Field{Name: c.Name(), Nullable: !c.Required()}
		var leaf *pqLeaf
		switch {
		case c.Repeated() || isList(e):
			field.Type = arrow.ListOf(arrow.Null)
		case !c.Leaf():
			field.Type = arrow.StructOf()
		default:
			if leaf, err = newLeaf(c, e); err != nil {
				return nil, nil, 0, fmt.Errorf("column %q %w", c.Name(), err)
			}
			leaf.chunk = f.RowGroups()[0].ColumnChunks()[leaf.leaf].(*parquet.FileColumnChunk) //nolint:forcetypeassert // the library says so
			field.Type = kindTypes[leaf.kind]
			if t, ok := e.LogicalType.Value.(*format.TimestampType); ok {
				field.Metadata = zonedMetadata(t.IsAdjustedToUTC)
			}
			unit, isTime := timeOfDay(e)
			switch {
			case isTime && leaf.kind == kindInt64:
				tagUnit(&field, unit)
			case leaf.kind == kindText:
				tag(&field, declaredKey, "text")
			case leaf.logical == pqFloat16 && leaf.kind == kindFloat32:
				tag(&field, bitsKey, "16")
			case leaf.logical == pqDecimal && leaf.kind == kindFloat64 && !fewDigits(leaf.digits):
				tag(&field, roundedKey, roundedForm(leaf.scale))
			}
		}
		fields, leaves = append(fields, field), append(leaves, leaf)
	}
	return fields, leaves, count, nil
}

// timeOfDay returns the unit of a time of day.
func timeOfDay(e *format.SchemaElement) (unit arrow.TimeUnit, ok bool) {
	if t, ok := e.LogicalType.Value.(*format.TimeType); ok {
		switch t.Unit.Value.(type) {
		case *format.MilliSeconds:
			return arrow.Millisecond, true
		case *format.NanoSeconds:
			return arrow.Nanosecond, true
		}
		return arrow.Microsecond, true
	}
	switch c := e.ConvertedType; {
	case !c.Valid:
	case c.V == deprecated.TimeMillis:
		return arrow.Millisecond, true
	case c.V == deprecated.TimeMicros:
		return arrow.Microsecond, true
	}
	return 0, false
}

func isList(e *format.SchemaElement) bool {
	switch e.LogicalType.Value.(type) {
	case *format.ListType, *format.MapType:
		return true
	}
	c := e.ConvertedType
	return c.Valid && (c.V == deprecated.List || c.V == deprecated.Map || c.V == deprecated.MapKeyValue)
}

// noteIndex is the note of a column that is left out because isPandasIndex says so.
const noteIndex = "column %q is left out: pandas keeps an index without a name in it"

// isPandasIndex tells of the columns in which pandas keeps an index without a name; it
// does not show them as columns either.
func isPandasIndex(name string) bool {
	return strings.HasPrefix(name, "__index_level_") && strings.HasSuffix(name, "__")
}

var pqWidths = [...]int{
	parquet.Boolean: 0, parquet.Int32: 4, parquet.Int64: 8, parquet.Int96: 12, parquet.Float: 4, parquet.Double: 8,
	parquet.ByteArray: 0, parquet.FixedLenByteArray: 0,
}

func newLeaf(c *parquet.Column, e *format.SchemaElement) (*pqLeaf, error) {
	l := &pqLeaf{physical: parquet.Kind(e.Type.V), optional: c.Optional(), leaf: c.Index()}
	if l.physical < 0 || int(l.physical) >= len(pqWidths) {
		return nil, fmt.Errorf("has the unknown type %d", e.Type.V)
	}
	l.width = pqWidths[l.physical]
	if l.physical == parquet.FixedLenByteArray {
		if l.width = int(e.TypeLength.V); l.width < 1 || l.width > 1<<20 {
			return nil, fmt.Errorf("has values of %d bytes", l.width)
		}
	}
	l.logical, l.scale, l.digits = logicalType(e)
	if l.logical == pqUnknown {
		l.kind = kindFloat64
		return l, nil
	}
	if l.logical == pqDecimal && (l.scale < 0 || l.scale > 1<<10) {
		return nil, fmt.Errorf("is a decimal of scale %d", l.scale)
	}
	if t := c.Type(); t.Kind() != l.physical || l.physical == parquet.FixedLenByteArray && t.Length() != l.width {
		return nil, errors.New("has values of the wrong width for its type")
	}
	switch l.physical {
	case parquet.Boolean:
		l.kind = kindBool
	case parquet.Int96:
		l.kind = kindTimestamp
	case parquet.Float:
		l.kind = kindFloat32
	case parquet.Double:
		l.kind = kindFloat64
	case parquet.Int32, parquet.Int64:
		switch {
		case l.logical == pqDecimal && wholeDecimal(l.digits, l.scale):
			l.kind, l.logical = kindInt64, pqPlain
		case l.logical == pqDecimal:
			l.kind = kindFloat64
		case l.logical == pqDate:
			l.kind = kindDate
		case l.logical == pqMillis || l.logical == pqMicros || l.logical == pqNanos:
			l.kind = kindTimestamp
		case l.logical == pqUnsigned && l.physical == parquet.Int64:
			l.kind = kindUint64
		default:
			l.kind = kindInt64
		}
	default:
		switch {
		case l.logical == pqDecimal && wholeDecimal(l.digits, l.scale):
			l.kind = kindInt64
		case l.logical == pqDecimal:
			l.kind = kindFloat64
		case l.logical == pqFloat16 && l.width == 2:
			l.kind = kindFloat32
		default:
			l.kind = kindText
		}
	}
	return l, nil
}

func logicalType(e *format.SchemaElement) (l pqLogical, scale, digits int) {
	switch t := e.LogicalType.Value.(type) {
	case *format.DecimalType:
		return pqDecimal, int(t.Scale), int(t.Precision)
	case *format.DateType:
		return pqDate, 0, 0
	case *format.TimestampType:
		switch t.Unit.Value.(type) {
		case *format.MilliSeconds:
			return pqMillis, 0, 0
		case *format.NanoSeconds:
			return pqNanos, 0, 0
		}
		return pqMicros, 0, 0
	case *format.IntType:
		if !t.IsSigned {
			return pqUnsigned, 0, 0
		}
		return pqPlain, 0, 0
	case *format.NullType:
		return pqUnknown, 0, 0
	case *format.UUIDType:
		return pqUUID, 0, 0
	case *format.Float16Type:
		return pqFloat16, 0, 0
	}
	if !e.ConvertedType.Valid {
		return pqPlain, 0, 0
	}
	switch e.ConvertedType.V {
	case deprecated.Decimal:
		return pqDecimal, int(e.Scale.V), int(e.Precision.V)
	case deprecated.Date:
		return pqDate, 0, 0
	case deprecated.TimestampMillis:
		return pqMillis, 0, 0
	case deprecated.TimestampMicros:
		return pqMicros, 0, 0
	case deprecated.Uint8, deprecated.Uint16, deprecated.Uint32, deprecated.Uint64:
		return pqUnsigned, 0, 0
	default:
		return pqPlain, 0, 0
	}
}
