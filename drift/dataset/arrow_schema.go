package dataset

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/float16"

	"github.com/millrace/millrace/schemas/arrowipc"
)

// ipcField is a column, and how its values are read.
type ipcField struct {
	arrowipc.Field
	kind   kind // kindNone: it cannot be scanned
	offset int  // bytes of an offset of texts
	width  int  // bytes of a value, 0 for texts, booleans and nulls
	put    func(b *builder, v []byte) bool
	index  ipcIndex // where it is in a dictionary
}

// ipcIndex is the integer type of indices into a dictionary.
type ipcIndex struct {
	width  int
	signed bool
}

// ipcTable is a schema.
type ipcTable struct {
	*arrowipc.Schema
	fields []*ipcField
}

// readIPCSchema reads a schema message.
func readIPCSchema(m *ipcMessage) (*ipcTable, error) {
	schema, err := m.Schema(maxColumns, false)
	if err != nil {
		return nil, err
	}
	t := &ipcTable{Schema: schema}
	for _, of := range schema.Fields {
		f := &ipcField{Field: of, offset: of.Stored.OffsetBytes()}
		if !f.readType() {
			return nil, fmt.Errorf("column %q is of type %s with sizes that it cannot have", f.Name, f.Kind)
		}
		if i, ok := f.Index.(arrow.FixedWidthDataType); ok {
			f.index = ipcIndex{i.Bytes(), arrow.IsSignedInteger(i.ID())}
		}
		t.fields = append(t.fields, f)
	}
	return t, nil
}

// readType sets how values are read, and tells whether the type can have the size that it has.
func (f *ipcField) readType() bool {
	t := f.Stored
	f.width = t.Bits / 8
	switch t.ID {
	case arrowipc.Null:
		f.kind = kindFloat64
	case arrowipc.Bool:
		f.kind = kindBool
	case arrowipc.Binary, arrowipc.Utf8, arrowipc.LargeBinary, arrowipc.LargeUtf8:
		f.kind = kindText
	case arrowipc.BinaryView, arrowipc.Utf8View:
		f.kind, f.width = kindText, 16
	case arrowipc.Int:
		if slices.Contains([]int{8, 16, 32, 64}, t.Bits) { // Polars has 128
			f.setInteger(f.width, t.Signed)
		}
	case arrowipc.Float:
		switch t.Bits {
		case 16:
			f.kind, f.put = kindFloat32, func(b *builder, v []byte) bool {
				b.append32(math.Float32bits(float16.FromBits(binary.LittleEndian.Uint16(v)).Float32()))
				return true
			}
		case 32:
			f.kind = kindFloat32
		default:
			f.kind = kindFloat64
		}
	case arrowipc.Decimal:
		f.kind, f.put = kindFloat64, putDecimal(t.Scale, false)
		if wholeDecimal(t.Digits, t.Scale) {
			f.kind, f.put = kindInt64, putWhole
		}
		return slices.Contains([]int{32, 64, 128, 256}, t.Bits) && t.Scale >= -1<<10 && t.Scale <= 1<<10
	case arrowipc.Date:
		if f.kind = kindDate; t.Bits == 64 {
			f.put = putDateMillis
		}
	case arrowipc.Time:
		f.setInteger(f.width, true)
		return t.Bits == 32 || t.Bits == 64
	case arrowipc.Duration:
		f.setInteger(8, true)
	case arrowipc.Timestamp:
		f.kind, f.width = kindTimestamp, 8
		if t.Unit != arrow.Microsecond {
			f.put = func(b *builder, v []byte) bool {
				us, ok := microseconds(int64(binary.LittleEndian.Uint64(v)), t.Unit)
				b.append64(uint64(us))
				return ok
			}
		}
	case arrowipc.FixedSizeBinary:
		f.kind = kindText
		uuid := f.Extension == "arrow.uuid" && f.width == 16
		f.put = func(b *builder, v []byte) bool {
			if uuid {
				return b.appendText(appendUUID(nil, v)) == nil
			}
			return b.appendText(fmt.Appendf(nil, "%x", v)) == nil
		}
		return f.width > 0 && f.width <= 1<<20
	default: // it cannot be scanned
	}
	return true
}

func (f *ipcField) setInteger(width int, signed bool) {
	f.kind, f.width = kindInt64, width
	switch {
	case width == 8 && !signed:
		f.kind = kindUint64
	case width < 8:
		f.put = func(b *builder, v []byte) bool {
			b.append64(uint64(littleEndian(v, signed)))
			return true
		}
	}
}

// littleEndian returns an integer of 1, 2, 4 or 8 bytes.
func littleEndian(v []byte, signed bool) int64 {
	var x uint64
	for i, d := range v {
		x |= uint64(d) << (8 * i)
	}
	if shift := 64 - 8*len(v); signed {
		return int64(x<<shift) >> shift
	}
	return int64(x)
}

func putDateMillis(b *builder, v []byte) bool {
	ms := int64(binary.LittleEndian.Uint64(v))
	day := ms / 86_400_000
	if ms%86_400_000 < 0 {
		day--
	}
	b.append32(uint32(day))
	return day >= math.MinInt32 && day <= math.MaxInt32
}

// putWhole appends a decimal that is a whole number of 64 bits.
func putWhole(b *builder, v []byte) bool {
	x := littleEndian(v[:min(len(v), 8)], true)
	b.append64(uint64(x))
	for _, d := range v[min(len(v), 8):] {
		if d != byte(x>>63) {
			return false
		}
	}
	return true
}

// putDecimal appends a decimal as the closest float64, or exactly, as text.
func putDecimal(scale int, exact bool) func(b *builder, v []byte) bool {
	small := func(b *builder, x int64) bool {
		if exact {
			return b.appendText(appendDecimal(nil, strconv.AppendInt(nil, x, 10), scale)) == nil
		}
		b.append64(math.Float64bits(scaledInt(x, scale)))
		return true
	}
	return func(b *builder, v []byte) bool {
		if len(v) <= 8 {
			return small(b, littleEndian(v, true))
		}
		if x, rest := int64(binary.LittleEndian.Uint64(v)), binary.LittleEndian.Uint64(v[8:]); len(v) == 16 && rest == uint64(x>>63) {
			return small(b, x)
		}
		v = slices.Clone(v)
		slices.Reverse(v)
		n := signed(v)
		if exact {
			return b.appendText(appendDecimal(nil, n.Append(nil, 10), scale)) == nil
		}
		b.append64(math.Float64bits(scaled(n, scale)))
		return true
	}
}

// arrowField is the field of the Source's schema.
func (f *ipcField) arrowField() arrow.Field {
	if f.kind != kindNone {
		field := arrow.Field{Name: f.Name, Type: kindTypes[f.kind], Nullable: true}
		switch {
		case f.kind == kindTimestamp:
			field.Metadata = zonedMetadata(f.Stored.Zone != "")
		case f.Stored.ID == arrowipc.Time || f.Stored.ID == arrowipc.Duration:
			tagUnit(&field, f.Stored.Unit)
		case f.kind == kindText:
			tag(&field, declaredKey, f.Kind)
		case f.Stored.ID == arrowipc.Float && f.Stored.Bits == 16:
			tag(&field, bitsKey, "16")
		case f.Stored.ID == arrowipc.Decimal && f.kind == kindFloat64 && !fewDigits(f.Stored.Digits) && f.Dictionary < 0:
			tag(&field, roundedKey, roundedForm(f.Stored.Scale))
		}
		return field
	}
	out := arrow.Field{Name: f.Name, Type: arrow.StructOf(), Nullable: true, Metadata: arrow.NewMetadata([]string{typeKey}, []string{f.Stored.ID.String()})}
	switch f.Stored.ID {
	case arrowipc.List, arrowipc.LargeList, arrowipc.FixedSizeList, arrowipc.Map, arrowipc.ListView, arrowipc.LargeListView:
		out.Type = arrow.ListOf(arrow.Null)
	default:
	}
	return out
}
