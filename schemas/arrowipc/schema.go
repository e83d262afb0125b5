package arrowipc

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/schemas/flatbuffer"
)

// What every error of this package wraps, one or the other.
var (
	ErrMalformed = errors.New("malformed Arrow IPC stream")
	ErrTooLarge  = errors.New("too large Arrow IPC stream")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

func tooLarge(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrTooLarge, fmt.Sprintf(format, args...))
}

// Schema is the schema of a stream, and where its columns lie in a record batch.
type Schema struct {
	Fields       []Field
	nodes        int // of one record batch
	buffers      int
	texts        int                      // bytes of names and time zones
	dictionaries map[int64]arrow.DataType // types of entries by id, of columns; nil where they are passed over
}

// Field is one column.
type Field struct {
	Name     string
	Nullable bool
	// Type is the type of the values, of a dictionary's entries where Index is set. It is nil
	// for types that the reader passes over: nested ones, views, decimals, dates.
	Type  arrow.DataType
	Index arrow.DataType // of a column in a dictionary
	Kind  string         // the type's name for errors; set for every type

	dictionary int64
	node       int
	buffer     int // the validity; values, or offsets and values, follow
}

// Members of the union Type of Arrow's Schema.fbs.
const (
	typeNull            = 1
	typeInt             = 2
	typeFloat           = 3
	typeBinary          = 4
	typeUtf8            = 5
	typeBool            = 6
	typeDecimal         = 7
	typeDate            = 8
	typeTime            = 9
	typeTimestamp       = 10
	typeInterval        = 11
	typeList            = 12
	typeStruct          = 13
	typeUnion           = 14
	typeFixedSizeBinary = 15
	typeFixedSizeList   = 16
	typeMap             = 17
	typeDuration        = 18
	typeLargeBinary     = 19
	typeLargeUtf8       = 20
	typeLargeList       = 21
	typeRunEndEncoded   = 22
	typeListView        = 25
	typeLargeListView   = 26
)

var typeNames = map[uint64]string{
	typeNull: "null", typeInt: "an integer of odd width", typeFloat: "float16", typeBinary: "binary", typeUtf8: "utf8",
	typeBool: "bool", typeDecimal: "decimal", typeDate: "date", typeTime: "time", typeTimestamp: "timestamp",
	typeInterval: "interval", typeList: "list", typeStruct: "struct", typeUnion: "union",
	typeFixedSizeBinary: "fixed_size_binary", typeFixedSizeList: "fixed_size_list", typeMap: "map",
	typeDuration: "duration", typeLargeBinary: "large_binary", typeLargeUtf8: "large_utf8", typeLargeList: "large_list",
	typeRunEndEncoded: "run_end_encoded", typeListView: "list_view", typeLargeListView: "large_list_view",
}

// Bounds of a schema. A schema message is kept as long as streams with it come.
const (
	maxDepth  = 32
	maxFields = 1 << 14 // of all levels
	maxZone   = 120     // bytes of a time zone
)

// readSchema reads a schema message.
func readSchema(m message) (*Schema, error) {
	s := &Schema{dictionaries: map[int64]arrow.DataType{}}
	if endianness, ok := m.header.Uint(4, 2, 0); !ok || endianness != 0 {
		return nil, malformed("the schema is not little-endian")
	}
	at, n, ok := m.header.Vector(6, 4)
	if !ok || n > maxFields {
		return nil, malformed("the schema's fields lie outside of its message, or are more than %d", maxFields)
	}
	for i := range n {
		table, ok := flatbuffer.Element(m.header.Buf, at, i)
		if !ok {
			return nil, malformed("field %d of the schema lies outside of the message", i)
		}
		f, err := s.readField(table, 0)
		if err != nil {
			return nil, err
		}
		if _, shared := s.dictionaries[f.dictionary]; f.Index != nil && !shared {
			s.dictionaries[f.dictionary] = f.Type
		}
		s.Fields = append(s.Fields, f)
	}
	return s, nil
}

// readField reads a column, and its children to know how many buffers they take.
func (s *Schema) readField(t flatbuffer.Table, depth int) (f Field, err error) {
	if err := s.countText(t, 4); err != nil {
		return f, err
	}
	name, ok1 := t.Text(4)
	nullable, ok2 := t.Uint(6, 1, 0)
	kind, ok3 := t.Uint(8, 1, 0)
	typ, ok4 := t.Table(10)
	encoding, encoded, ok5 := t.Optional(12)
	at, children, ok6 := t.Vector(14, 4)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 {
		return f, malformed("a field of the schema reaches outside of its message")
	}
	if depth > maxDepth || s.nodes > maxFields {
		return f, malformed("the schema is nested more than %d deep or has more than %d fields", maxDepth, maxFields)
	}
	f = Field{Name: name, Nullable: nullable != 0, node: s.nodes, buffer: s.buffers, dictionary: -1}
	if f.Type, err = s.readType(kind, typ); err != nil {
		return f, err
	}
	f.Kind = typeNames[kind]
	if f.Type != nil {
		f.Kind = f.Type.String()
	}
	s.nodes++
	if encoded {
		return f, s.readDictionary(&f, encoding)
	}
	switch kind {
	case typeNull, typeRunEndEncoded:
	case typeStruct, typeFixedSizeList:
		s.buffers++
	case typeUnion:
		s.buffers++
		if mode, ok := typ.Uint(4, 2, 0); !ok || mode != 0 { // dense unions have offsets
			s.buffers++
		}
	case typeBinary, typeUtf8, typeLargeBinary, typeLargeUtf8, typeListView, typeLargeListView:
		s.buffers += 3
	default:
		s.buffers += 2
	}
	for i := range children {
		child, ok := flatbuffer.Element(t.Buf, at, i)
		if !ok {
			return f, malformed("a child of field %.120q lies outside of the message", name)
		}
		if _, err := s.readField(child, depth+1); err != nil {
			return f, err
		}
	}
	return f, nil
}

// countText refuses a text if all of them have more bytes than the message: fields that
// refer to the same bytes would make a small message large.
func (s *Schema) countText(t flatbuffer.Table, slot int) error {
	if _, n, ok := t.Vector(slot, 1); ok {
		s.texts += n
	}
	if s.texts > len(t.Buf) {
		return malformed("the names in the schema overlap")
	}
	return nil
}

// readDictionary reads how a column refers to its dictionary.
func (s *Schema) readDictionary(f *Field, encoding flatbuffer.Table) error {
	id, ok1 := encoding.Uint(4, 8, 0)
	index, present, ok2 := encoding.Optional(6)
	if !ok1 || !ok2 {
		return malformed("the dictionary of field %.120q reaches outside of its message", f.Name)
	}
	f.Index = arrow.PrimitiveTypes.Int32
	if present {
		var err error
		if f.Index, err = s.readType(typeInt, index); err != nil {
			return err
		}
	}
	if f.Index == nil {
		return malformed("the indices of field %.120q are no integers", f.Name)
	}
	f.dictionary = int64(id)
	f.Kind = "dictionary<" + f.Kind + ">"
	if f.Type != nil && textWidth(f.Type) == 0 {
		f.Type = nil
	}
	s.buffers += 2
	return nil
}

// readType returns the Arrow type, nil for one that the reader passes over.
func (s *Schema) readType(kind uint64, t flatbuffer.Table) (arrow.DataType, error) {
	switch kind {
	case typeNull:
		return arrow.Null, nil
	case typeBool:
		return arrow.FixedWidthTypes.Boolean, nil
	case typeBinary:
		return arrow.BinaryTypes.Binary, nil
	case typeUtf8:
		return arrow.BinaryTypes.String, nil
	case typeLargeBinary:
		return arrow.BinaryTypes.LargeBinary, nil
	case typeLargeUtf8:
		return arrow.BinaryTypes.LargeString, nil
	case typeInt:
		bits, ok1 := t.Uint(4, 4, 0)
		signed, ok2 := t.Uint(6, 1, 0)
		if !ok1 || !ok2 {
			return nil, malformed("an integer type reaches outside of its message")
		}
		return integerTypes[integerType{bits, signed != 0}], nil
	case typeFloat:
		switch precision, ok := t.Uint(4, 2, 0); {
		case !ok:
			return nil, malformed("a floating-point type reaches outside of its message")
		case precision == 1:
			return arrow.PrimitiveTypes.Float32, nil
		case precision == 2:
			return arrow.PrimitiveTypes.Float64, nil
		}
		return nil, nil
	case typeTimestamp:
		if err := s.countText(t, 6); err != nil {
			return nil, err
		}
		unit, ok1 := t.Uint(4, 2, 0)
		zone, ok2 := t.Text(6)
		if !ok1 || !ok2 || unit > 3 || len(zone) > maxZone {
			return nil, malformed("a timestamp type reaches outside of its message, or has a time zone of more than %d bytes", maxZone)
		}
		return &arrow.TimestampType{Unit: arrow.TimeUnit(unit), TimeZone: zone}, nil
	}
	if typeNames[kind] == "" {
		return nil, malformed("type %d has no known layout", kind)
	}
	return nil, nil
}

type integerType struct {
	bits   uint64
	signed bool
}

var integerTypes = map[integerType]arrow.DataType{
	{8, true}: arrow.PrimitiveTypes.Int8, {16, true}: arrow.PrimitiveTypes.Int16,
	{32, true}: arrow.PrimitiveTypes.Int32, {64, true}: arrow.PrimitiveTypes.Int64,
	{8, false}: arrow.PrimitiveTypes.Uint8, {16, false}: arrow.PrimitiveTypes.Uint16,
	{32, false}: arrow.PrimitiveTypes.Uint32, {64, false}: arrow.PrimitiveTypes.Uint64,
}

// textWidth returns the bytes of an offset of a type of variable length, 0 for other types.
func textWidth(t arrow.DataType) int {
	switch t.ID() {
	case arrow.STRING, arrow.BINARY:
		return 4
	case arrow.LARGE_STRING, arrow.LARGE_BINARY:
		return 8
	default:
		return 0
	}
}
