package arrowipc

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/schemas/arrowipc/flatbuffer"
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
	Fields   []Field
	Metadata arrow.Metadata // where it was read strictly
	Nodes    int            // of one record batch
	Buffers  int            // of the same, without those of views' data
	Views    int            // columns of views; of all levels

	strict       bool
	maxFields    int
	texts        int            // bytes of names, time zones and metadata
	dictionaries map[int64]Type // types of entries by id, of columns
	message      []byte         // of a reader's schemas and of those to be written
}

// Message returns the message that a Reader read the schema from, or that starts a stream to be
// written. Its bytes are the schema's.
func (s *Schema) Message() []byte { return s.message }

// Field is one column.
type Field struct {
	Name     string
	Nullable bool
	// Extension is the name of its extension type, such as arrow.uuid; empty: none.
	Extension string
	Stored    Type // of the values, of a dictionary's entries where Index is set
	// Type is the same for a Reader, nil for types that it passes over: nested ones, views,
	// decimals, dates, and dictionaries of other than texts.
	Type  arrow.DataType
	Index arrow.DataType // of a column in a dictionary
	Kind  string         // the type's name for errors; set for every type

	Dictionary int64 // id; -1 where the column is in none
	Ordered    bool  // of the entries of its dictionary
	Children   int
	Node       int // before this column, in a record batch
	Buffer     int // of the same: the validity; values, or offsets and values, follow
	View       int // of the same: columns of views
}

// TypeID is a member of the union Type of Arrow's Schema.fbs.
type TypeID int

// The types.
const (
	Null TypeID = iota + 1
	Int
	Float
	Binary
	Utf8
	Bool
	Decimal
	Date
	Time
	Timestamp
	Interval
	List
	Struct
	Union
	FixedSizeBinary
	FixedSizeList
	Map
	Duration
	LargeBinary
	LargeUtf8
	LargeList
	RunEndEncoded
	BinaryView
	Utf8View
	ListView
	LargeListView
)

var typeNames = [...]string{
	"", "null", "an integer of odd width", "float16", "binary", "utf8", "bool", "decimal", "date", "time", "timestamp", "interval", "list",
	"struct", "union", "fixed_size_binary", "fixed_size_list", "map", "duration", "large_binary", "large_utf8", "large_list",
	"run_end_encoded", "binary_view", "utf8_view", "list_view", "large_list_view",
}

// String returns the type's name, of such types alone that a Reader passes over.
func (t TypeID) String() string { return typeNames[t] }

// Type is a type as a schema message says it. What else it says is in the fields that the type
// has; the others are 0.
type Type struct {
	ID     TypeID
	Bits   int            // of a value of Int, Float, Decimal, Date, Time and FixedSizeBinary; not checked
	Signed bool           // Int
	Scale  int            // Decimal
	Digits int            // Decimal: how many at most; 0 where it does not say
	Unit   arrow.TimeUnit // Time, Timestamp and Duration
	Zone   string         // Timestamp
	dense  bool           // Union
}

// OffsetBytes returns how many bytes an offset of a type of variable length has, 0 for others.
func (t Type) OffsetBytes() int {
	switch t.ID {
	case Binary, Utf8:
		return 4
	case LargeBinary, LargeUtf8:
		return 8
	default:
		return 0
	}
}

// IsView tells whether values are views.
func (t Type) IsView() bool { return t.ID == BinaryView || t.ID == Utf8View }

// Bounds of a schema. A schema message is kept as long as streams with it come.
const (
	maxDepth     = 32
	readerFields = 1 << 14 // of all levels, for a Reader
	maxZone      = 120     // bytes of a time zone
)

// Schema reads a message of KindSchema, of at most so many fields of all levels. Where it is
// strict it reads the metadata as well, and refuses a dictionary that two columns share.
func (m *Message) Schema(maxFields int, strict bool) (*Schema, error) {
	header := m.header
	s := &Schema{dictionaries: map[int64]Type{}, maxFields: maxFields, strict: strict}
	if endianness, ok := header.Uint(4, 2, 0); !ok || endianness != 0 {
		return nil, malformed("the schema is not little-endian")
	}
	at, n, ok := header.Vector(6, 4)
	if !ok || n > maxFields {
		return nil, malformed("the schema's fields lie outside of its message, or are more than %d", maxFields)
	}
	for i := range n {
		table, ok := flatbuffer.Element(header.Buf, at, i)
		if !ok {
			return nil, malformed("field %d of the schema lies outside of the message", i)
		}
		f, err := s.readField(table, 0)
		if err != nil {
			return nil, err
		}
		if f.Index != nil {
			if _, shared := s.dictionaries[f.Dictionary]; !shared {
				s.dictionaries[f.Dictionary] = f.Stored
			} else if strict {
				return nil, malformed("column %.120q shares dictionary %d", f.Name, f.Dictionary)
			}
		}
		s.Fields = append(s.Fields, f)
	}
	var err error
	if strict {
		s.Metadata, err = s.readMetadata(header, 8)
	}
	return s, err
}

// readField reads a column, and its children to know how many buffers they take.
func (s *Schema) readField(t flatbuffer.Table, depth int) (f Field, err error) {
	if err := s.countText(t, 4); err != nil {
		return f, err
	}
	name, ok1 := t.Text(4)
	nullable, ok2 := t.Uint(6, 1, 0)
	id, ok3 := t.Uint(8, 1, 0)
	typ, ok4 := t.Table(10)
	encoding, encoded, ok5 := t.Optional(12)
	at, children, ok6 := t.Vector(14, 4)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 {
		return f, malformed("a field of the schema reaches outside of its message")
	}
	if depth > maxDepth || s.Nodes > s.maxFields {
		return f, malformed("the schema is nested more than %d deep or has more than %d fields", maxDepth, s.maxFields)
	}
	if s.strict {
		if _, err := s.readMetadata(t, 16); err != nil {
			return f, err
		}
	}
	f = Field{Extension: extensionOf(t), Name: name, Nullable: nullable != 0, Children: children, Node: s.Nodes, Buffer: s.Buffers, View: s.Views, Dictionary: -1}
	if f.Stored, err = s.readType(TypeID(id), typ); err != nil {
		return f, err
	}
	f.Type, f.Kind = f.Stored.arrow(), typeNames[f.Stored.ID]
	if f.Type != nil {
		f.Kind = f.Type.String()
	}
	s.Nodes++
	if encoded { // what children it has are those of the dictionary
		return f, s.readEncoding(&f, encoding)
	}
	buffers, views := f.Stored.Buffers()
	s.Buffers, s.Views = s.Buffers+buffers, s.Views+views
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

// Buffers returns how many buffers a column of the type has in a record batch, without those of
// its children and of the data of views, and how many columns of views it is.
func (t Type) Buffers() (buffers, views int) {
	switch {
	case t.ID == Null || t.ID == RunEndEncoded:
		return 0, 0
	case t.ID == Struct || t.ID == FixedSizeList || t.ID == Union && !t.dense:
		return 1, 0
	case t.OffsetBytes() > 0 || t.ID == ListView || t.ID == LargeListView:
		return 3, 0
	case t.IsView():
		return 2, 1
	default:
		return 2, 0
	}
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

// readEncoding reads how a column refers to its dictionary.
func (s *Schema) readEncoding(f *Field, encoding flatbuffer.Table) error {
	id, ok1 := encoding.Uint(4, 8, 0)
	index, present, ok2 := encoding.Optional(6)
	ordered, ok3 := encoding.Uint(8, 1, 0)
	if !ok1 || !ok2 || !ok3 {
		return malformed("the dictionary of field %.120q reaches outside of its message", f.Name)
	}
	f.Index = arrow.PrimitiveTypes.Int32
	if present {
		t, err := s.readType(Int, index)
		if err != nil {
			return err
		}
		f.Index = t.arrow()
	}
	if f.Index == nil {
		return malformed("the indices of field %.120q are no integers", f.Name)
	}
	f.Dictionary, f.Ordered = int64(id), ordered != 0
	f.Kind = "dictionary<" + f.Kind + ">"
	if f.Stored.OffsetBytes() == 0 {
		f.Type = nil
	}
	s.Buffers += 2
	return nil
}

// readType reads a type.
func (s *Schema) readType(id TypeID, t flatbuffer.Table) (out Type, err error) {
	if id < Null || int(id) >= len(typeNames) {
		return out, malformed("type %d has no known layout", id)
	}
	out.ID = id
	number := func(slot, size int, otherwise uint64) (n uint64) {
		n, ok := t.Uint(slot, size, otherwise)
		if !ok {
			err = malformed("a type %s reaches outside of its message", typeNames[id])
		}
		return n
	}
	switch id {
	case Int:
		out.Bits, out.Signed = int(int32(number(4, 4, 0))), number(6, 1, 0) != 0
	case Float:
		precision := number(4, 2, 0)
		if precision > 2 {
			return out, malformed("a float is of precision %d", precision)
		}
		out.Bits = 16 << precision
	case Union:
		out.dense = number(4, 2, 0) != 0
	case Decimal:
		out.Digits, out.Scale, out.Bits = int(int32(number(4, 4, 0))), int(int32(number(6, 4, 0))), int(int32(number(8, 4, 128)))
	case Date:
		if out.Bits = 64; number(4, 2, 1) == 0 { // of days; the default is of milliseconds
			out.Bits = 32
		}
	case Time, Duration:
		unit := number(4, 2, 1)
		if unit > 3 {
			return out, malformed("a type %s is of unit %d", typeNames[id], unit)
		}
		if out.Unit = arrow.TimeUnit(unit); id == Time {
			out.Bits = int(int32(number(6, 4, 32)))
		}
	case FixedSizeBinary:
		out.Bits = 8 * int(int32(number(4, 4, 0)))
	case Timestamp:
		if err := s.countText(t, 6); err != nil {
			return out, err
		}
		unit := number(4, 2, 0)
		zone, ok := t.Text(6)
		if !ok || unit > 3 || len(zone) > maxZone {
			return out, malformed("a timestamp type reaches outside of its message, or has a time zone of more than %d bytes", maxZone)
		}
		out.Unit, out.Zone = arrow.TimeUnit(unit), zone
	default:
	}
	return out, err
}

// arrow returns the Arrow type, nil for one that a Reader passes over.
func (t Type) arrow() arrow.DataType {
	switch t.ID {
	case Null:
		return arrow.Null
	case Bool:
		return arrow.FixedWidthTypes.Boolean
	case Binary:
		return arrow.BinaryTypes.Binary
	case Utf8:
		return arrow.BinaryTypes.String
	case LargeBinary:
		return arrow.BinaryTypes.LargeBinary
	case LargeUtf8:
		return arrow.BinaryTypes.LargeString
	case Int:
		return integerTypes[integerType{t.Bits, t.Signed}]
	case Float:
		switch t.Bits {
		case 32:
			return arrow.PrimitiveTypes.Float32
		case 64:
			return arrow.PrimitiveTypes.Float64
		}
	case Timestamp:
		return &arrow.TimestampType{Unit: t.Unit, TimeZone: t.Zone}
	default:
	}
	return nil
}

type integerType struct {
	bits   int
	signed bool
}

var integerTypes = map[integerType]arrow.DataType{
	{8, true}: arrow.PrimitiveTypes.Int8, {16, true}: arrow.PrimitiveTypes.Int16,
	{32, true}: arrow.PrimitiveTypes.Int32, {64, true}: arrow.PrimitiveTypes.Int64,
	{8, false}: arrow.PrimitiveTypes.Uint8, {16, false}: arrow.PrimitiveTypes.Uint16,
	{32, false}: arrow.PrimitiveTypes.Uint32, {64, false}: arrow.PrimitiveTypes.Uint64,
}

// extensionOf returns the name of a field's extension type, which stands among the first of its metadata.
func extensionOf(t flatbuffer.Table) string {
	at, n, ok := t.Vector(16, 4)
	for i := 0; ok && i < min(n, 32); i++ {
		pair, ok := flatbuffer.Element(t.Buf, at, i)
		if !ok {
			break
		}
		if key, _ := pair.Text(4); key == "ARROW:extension:name" {
			name, _ := pair.Text(6)
			return name
		}
	}
	return ""
}

// readMetadata reads a vector of keys and values.
func (s *Schema) readMetadata(t flatbuffer.Table, slot int) (arrow.Metadata, error) {
	at, n, ok := t.Vector(slot, 4)
	var keys, values []string
	for i := 0; ok && i < n; i++ {
		var pair flatbuffer.Table
		if pair, ok = flatbuffer.Element(t.Buf, at, i); !ok {
			break
		}
		for _, slot := range []int{4, 6} {
			if err := s.countText(pair, slot); err != nil {
				return arrow.Metadata{}, err
			}
		}
		key, ok1 := pair.Text(4)
		value, ok2 := pair.Text(6)
		keys, values, ok = append(keys, key), append(values, value), ok1 && ok2
	}
	if !ok {
		return arrow.Metadata{}, malformed("the schema's metadata lies outside of its message")
	}
	return arrow.NewMetadata(keys, values), nil
}
