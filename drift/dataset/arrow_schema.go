package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/float16"

	"github.com/millrace/millrace/schemas/flatbuffer"
)

// Members of the union Type of Arrow's Schema.fbs.
const (
	ipcNull = iota + 1
	ipcInt
	ipcFloat
	ipcBinary
	ipcUtf8
	ipcBool
	ipcDecimal
	ipcDate
	ipcTime
	ipcTimestamp
	ipcInterval
	ipcList
	ipcStruct
	ipcUnion
	ipcFixedBinary
	ipcFixedList
	ipcMap
	ipcDuration
	ipcLargeBinary
	ipcLargeUtf8
	ipcLargeList
	ipcRunEnds
	ipcBinaryView
	ipcUtf8View
	ipcListView
	ipcLargeListView
)

var ipcNames = [...]string{
	"", "null", "int", "float", "binary", "utf8", "bool", "decimal", "date", "time", "timestamp", "interval", "list",
	"struct", "union", "fixed_size_binary", "fixed_size_list", "map", "duration", "large_binary", "large_utf8", "large_list",
	"run_end_encoded", "binary_view", "utf8_view", "list_view", "large_list_view",
}

const maxDepth = 32

// ipcField is a column, and where its buffers are.
type ipcField struct {
	name   string
	kind   kind // kindNone: it cannot be scanned
	typ    uint64
	offset int // bytes of an offset of texts
	width  int // bytes of a value, 0 for texts, booleans and nulls
	put    func(b *builder, v []byte) bool

	dictionary int64 // id; -1: none
	index      ipcIndex

	node, buffer, views int // before this field
}

// ipcIndex is the integer type of indices into a dictionary.
type ipcIndex struct {
	width  int
	signed bool
}

// ipcTable is a schema.
type ipcTable struct {
	fields                []*ipcField
	nodes, buffers, views int
	seen                  int // fields of all levels
	texts                 int // bytes of all names
}

// readIPCSchema reads a schema message: like schemas/arrowipc, without trust, but for files
// of any size and more types.
func readIPCSchema(m *ipcMessage) (*ipcTable, error) {
	s := &ipcTable{}
	if endianness, ok := m.header.Uint(4, 2, 0); !ok || endianness != 0 {
		return nil, errors.New("its numbers are big-endian, which is not supported")
	}
	at, n, ok := m.header.Vector(6, 4)
	if !ok || n > maxColumns {
		return nil, errMetadata
	}
	for i := range n {
		table, ok := flatbuffer.Element(m.header.Buf, at, i)
		if !ok {
			return nil, errMetadata
		}
		f, err := s.field(table, 0)
		if err != nil {
			return nil, err
		}
		s.fields = append(s.fields, f)
	}
	return s, nil
}

// field reads a column, and its children to know how many buffers they take.
func (s *ipcTable) field(t flatbuffer.Table, depth int) (*ipcField, error) {
	_, length, ok0 := t.Vector(4, 1)
	s.texts += length
	if s.seen++; !ok0 || s.texts > len(t.Buf) || s.seen > maxColumns || depth > maxDepth { // fields may share bytes
		return nil, errMetadata
	}
	name, ok1 := t.Text(4)
	typ, ok2 := t.Uint(8, 1, 0)
	table, ok3 := t.Table(10)
	encoding, encoded, ok4 := t.Optional(12)
	at, children, ok5 := t.Vector(14, 4)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return nil, errMetadata
	}
	if typ == 0 || typ >= uint64(len(ipcNames)) {
		return nil, fmt.Errorf("column %q has a type of an unknown layout, number %d", name, typ)
	}
	f := &ipcField{name: name, typ: typ, dictionary: -1, node: s.nodes, buffer: s.buffers, views: s.views}
	if !f.readType(table) {
		return nil, errMetadata
	}
	s.nodes++
	if encoded { // what children it has are those of the dictionary
		s.buffers += 2
		return f, f.readEncoding(encoding)
	}
	switch typ {
	case ipcNull, ipcRunEnds:
	case ipcStruct, ipcFixedList:
		s.buffers++
	case ipcUnion:
		s.buffers++
		if mode, ok := table.Uint(4, 2, 0); !ok || mode != 0 {
			s.buffers++
		}
	case ipcBinary, ipcUtf8, ipcLargeBinary, ipcLargeUtf8, ipcListView, ipcLargeListView:
		s.buffers += 3
	case ipcBinaryView, ipcUtf8View:
		s.buffers += 2
		s.views++
	default:
		s.buffers += 2
	}
	for i := range children {
		child, ok := flatbuffer.Element(t.Buf, at, i)
		if !ok {
			return nil, errMetadata
		}
		if _, err := s.field(child, depth+1); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// readEncoding reads how the column refers to its dictionary.
func (f *ipcField) readEncoding(t flatbuffer.Table) error {
	id, ok1 := t.Uint(4, 8, 0)
	table, present, ok2 := t.Optional(6)
	if !ok1 || !ok2 {
		return errMetadata
	}
	f.dictionary, f.index = int64(id), ipcIndex{4, true}
	if present {
		width, signed, ok := integer(table)
		if !ok {
			return errMetadata
		}
		f.index = ipcIndex{width, signed}
	}
	return nil
}

func integer(t flatbuffer.Table) (width int, signed, ok bool) {
	bits, ok1 := t.Uint(4, 4, 0)
	sign, ok2 := t.Uint(6, 1, 0)
	return int(bits / 8), sign != 0, ok1 && ok2 && slices.Contains([]uint64{8, 16, 32, 64}, bits)
}

// readType sets how values are read.
func (f *ipcField) readType(t flatbuffer.Table) bool {
	switch f.typ {
	case ipcNull:
		f.kind = kindFloat64
	case ipcBool:
		f.kind = kindBool
	case ipcBinary, ipcUtf8:
		f.kind, f.offset = kindText, 4
	case ipcLargeBinary, ipcLargeUtf8:
		f.kind, f.offset = kindText, 8
	case ipcBinaryView, ipcUtf8View:
		f.kind, f.width = kindText, 16
	case ipcInt:
		width, signed, ok := integer(t)
		f.setInteger(width, signed)
		return ok
	case ipcFloat:
		precision, ok := t.Uint(4, 2, 0)
		switch precision {
		case 0:
			f.kind, f.width, f.put = kindFloat32, 2, func(b *builder, v []byte) bool {
				b.append32(math.Float32bits(float16.FromBits(binary.LittleEndian.Uint16(v)).Float32()))
				return true
			}
		case 1:
			f.kind, f.width = kindFloat32, 4
		case 2:
			f.kind, f.width = kindFloat64, 8
		default:
			return false
		}
		return ok
	case ipcDecimal:
		scale, ok1 := t.Uint(6, 4, 0)
		bits, ok2 := t.Uint(8, 4, 128)
		f.kind, f.width = kindFloat64, int(bits/8)
		f.put = putDecimal(int(int32(scale)))
		return ok1 && ok2 && slices.Contains([]uint64{32, 64, 128, 256}, bits) && int32(scale) >= -1<<10 && int32(scale) <= 1<<10
	case ipcDate:
		unit, ok := t.Uint(4, 2, 1) // the default is milliseconds
		f.kind, f.width = kindDate, 4
		if unit != 0 {
			f.width, f.put = 8, putDateMillis
		}
		return ok
	case ipcTime:
		bits, ok := t.Uint(6, 4, 32)
		f.setInteger(int(bits/8), true)
		return ok && (bits == 32 || bits == 64)
	case ipcDuration:
		f.setInteger(8, true)
	case ipcTimestamp:
		unit, ok := t.Uint(4, 2, 0)
		f.kind, f.width = kindTimestamp, 8
		if arrow.TimeUnit(unit) != arrow.Microsecond {
			f.put = func(b *builder, v []byte) bool {
				us, ok := microseconds(int64(binary.LittleEndian.Uint64(v)), arrow.TimeUnit(unit))
				b.append64(uint64(us))
				return ok
			}
		}
		return ok && unit <= 3
	case ipcFixedBinary:
		width, ok := t.Uint(4, 4, 0)
		f.kind, f.width = kindText, int(width)
		f.put = func(b *builder, v []byte) bool {
			return b.appendText(fmt.Appendf(nil, "%x", v)) == nil
		}
		return ok && width > 0 && width <= 1<<20
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

func putDecimal(scale int) func(b *builder, v []byte) bool {
	return func(b *builder, v []byte) bool {
		if len(v) <= 8 {
			b.append64(math.Float64bits(scaledInt(littleEndian(v, true), scale)))
			return true
		}
		if x, rest := int64(binary.LittleEndian.Uint64(v)), binary.LittleEndian.Uint64(v[8:]); len(v) == 16 && rest == uint64(x>>63) {
			b.append64(math.Float64bits(scaledInt(x, scale)))
			return true
		}
		v = slices.Clone(v)
		slices.Reverse(v)
		n := new(big.Int).SetBytes(v)
		if v[0]&0x80 != 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v))))
		}
		b.append64(math.Float64bits(scaled(n, scale)))
		return true
	}
}

// arrowField is the field of the Source's schema.
func (f *ipcField) arrowField() arrow.Field {
	if f.kind != kindNone {
		return arrow.Field{Name: f.name, Type: kindTypes[f.kind], Nullable: true}
	}
	out := arrow.Field{Name: f.name, Type: arrow.StructOf(), Nullable: true, Metadata: arrow.NewMetadata([]string{typeKey}, []string{ipcNames[f.typ]})}
	switch f.typ {
	case ipcList, ipcLargeList, ipcFixedList, ipcMap, ipcListView, ipcLargeListView:
		out.Type = arrow.ListOf(arrow.Null)
	}
	return out
}

// typeKey is the key of a field's metadata that names a type which cannot be scanned.
const typeKey = "type"
