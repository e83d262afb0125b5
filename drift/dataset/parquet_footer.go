package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
)

// Physical types of parquet.thrift.
const (
	pqBoolean = iota
	pqInt32
	pqInt64
	pqInt96
	pqFloat
	pqDouble
	pqByteArray
	pqFixed
)

// Logical types, for which parquet.thrift has a union and older writers an enumeration.
type pqLogical uint8

const (
	pqPlain pqLogical = iota
	pqString
	pqDecimal
	pqDate
	pqTime
	pqMillis // timestamps
	pqMicros
	pqNanos
	pqUnsigned
	pqUnknown // nothing but nulls
	pqUUID
	pqFloat16
	pqInterval
)

const maxFooter = 256 << 20

// pqLeaf is a column that has no others in it: no list, map or structure.
type pqLeaf struct {
	kind     kind
	physical int
	width    int // bytes of a value, 0 for texts and booleans
	logical  pqLogical
	scale    int  // of a decimal
	optional bool // has definition levels
	leaf     int  // its place in a row group
}

// pqChunk is where the values of a column in a row group lie.
type pqChunk struct {
	codec     int
	start     int64
	size      int64
	values    int64
	encrypted bool
	external  bool
}

type pqGroup struct {
	rows   int64
	chunks []pqChunk
}

type pqFooter struct {
	fields []arrow.Field
	leaves []*pqLeaf // of fields; nil for nested ones
	groups []pqGroup
}

// pqElement is a node of the schema, which parquet.thrift lists depth first.
type pqElement struct {
	name       string
	physical   int
	width      int
	repetition int // 0 required, 1 optional, 2 repeated
	children   int
	converted  int
	scale      int
	logical    pqLogical
	list       bool
}

// readFooter reads the metadata of a Parquet file of size bytes.
func readFooter(r io.ReaderAt, size int64) (*pqFooter, error) {
	var tail [8]byte
	if size < 12 {
		return nil, fmt.Errorf("it has %d bytes, too few for a Parquet file", size)
	}
	if _, err := r.ReadAt(tail[:4], 0); err != nil {
		return nil, err
	}
	head := string(tail[:4])
	if _, err := r.ReadAt(tail[:], size-8); err != nil {
		return nil, err
	}
	switch end := string(tail[4:]); {
	case head == "PARE" || end == "PARE":
		return nil, errors.New("it is encrypted, which is not supported")
	case head != "PAR1":
		return nil, errors.New("it is no Parquet file: it does not start with PAR1")
	case end != "PAR1":
		return nil, errors.New("it is cut short: a Parquet file ends with PAR1, and this one does not")
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	if n > size-12 || n > maxFooter {
		return nil, fmt.Errorf("its footer says that it has %d bytes, of a file of %d", n, size)
	}
	buf := make([]byte, n)
	if _, err := r.ReadAt(buf, size-8-n); err != nil {
		return nil, err
	}
	return parseFooter(buf)
}

var errFooter = errors.New("its footer is broken")

func parseFooter(buf []byte) (*pqFooter, error) {
	t := &thrift{b: buf}
	f := &pqFooter{}
	var elements []pqElement
	encrypted := false
	t.structure(func(id int, typ byte) bool {
		switch {
		case id == 2 && typ == thriftList:
			n, element := t.list()
			for range n {
				if t.bad = t.bad || element != thriftStruct; t.bad {
					break
				}
				elements = append(elements, readElement(t))
			}
		case id == 4 && typ == thriftList:
			n, element := t.list()
			for range n {
				if t.bad = t.bad || element != thriftStruct; t.bad {
					break
				}
				f.groups = append(f.groups, readGroup(t))
			}
		case id == 8:
			encrypted = true
			return false
		default:
			return false
		}
		return true
	})
	if t.bad || len(elements) == 0 {
		return nil, errFooter
	}
	if encrypted {
		return nil, errors.New("it is encrypted, which is not supported")
	}
	leaves, err := f.columns(elements)
	if err != nil {
		return nil, err
	}
	for i, g := range f.groups {
		if len(g.chunks) != leaves || g.rows < 0 {
			return nil, fmt.Errorf("its footer is broken: row group %d has %d columns of %d and %d rows", i, len(g.chunks), leaves, g.rows)
		}
	}
	return f, nil
}

func readElement(t *thrift) pqElement {
	e := pqElement{physical: -1, converted: -1}
	t.structure(func(id int, typ byte) bool {
		switch {
		case id == 4 && typ == thriftBinary:
			e.name = string(t.bytes())
		case id == 10 && typ == thriftStruct:
			readLogical(t, &e)
		case typ != thriftI32:
			return false
		case id == 1:
			e.physical = int(t.int())
		case id == 2:
			e.width = int(t.int())
		case id == 3:
			e.repetition = int(t.int())
		case id == 5:
			e.children = int(t.int())
		case id == 6:
			e.converted = int(t.int())
		case id == 7:
			e.scale = int(t.int())
		default:
			return false
		}
		return true
	})
	if e.logical == pqPlain {
		e.convert()
	}
	return e
}

// readLogical reads the union LogicalType.
func readLogical(t *thrift, e *pqElement) {
	t.structure(func(id int, typ byte) bool {
		simple := map[int]pqLogical{1: pqString, 4: pqString, 6: pqDate, 7: pqTime, 11: pqUnknown, 12: pqString, 14: pqUUID, 15: pqFloat16}
		switch {
		case typ != thriftStruct:
			return false
		case id == 2 || id == 3:
			e.list = true
			return false
		case id == 5:
			e.logical = pqDecimal
			t.structure(func(id int, typ byte) bool {
				if id != 1 || typ != thriftI32 {
					return false
				}
				e.scale = int(t.int())
				return true
			})
		case id == 8:
			t.structure(func(id int, typ byte) bool {
				if id != 2 || typ != thriftStruct {
					return false
				}
				t.structure(func(id int, _ byte) bool {
					if id >= 1 && id <= 3 {
						e.logical = pqMillis + pqLogical(id-1)
					}
					return false
				})
				return true
			})
		case id == 10:
			t.structure(func(id int, typ byte) bool {
				if id == 2 && typ == thriftFalse {
					e.logical = pqUnsigned
				}
				return false
			})
		default:
			e.logical = simple[id]
			return false
		}
		return true
	})
}

// convert takes the logical type from the older enumeration ConvertedType.
func (e *pqElement) convert() {
	switch e.converted {
	case 0, 4, 19:
		e.logical = pqString
	case 1, 2, 3:
		e.list = true
	case 5:
		e.logical = pqDecimal
	case 6:
		e.logical = pqDate
	case 7, 8:
		e.logical = pqTime
	case 9:
		e.logical = pqMillis
	case 10:
		e.logical = pqMicros
	case 11, 12, 13, 14:
		e.logical = pqUnsigned
	case 21:
		e.logical = pqInterval
	}
}

func readGroup(t *thrift) pqGroup {
	g := pqGroup{}
	t.structure(func(id int, typ byte) bool {
		switch {
		case id == 1 && typ == thriftList:
			n, element := t.list()
			for range n {
				if t.bad = t.bad || element != thriftStruct; t.bad {
					break
				}
				g.chunks = append(g.chunks, readChunk(t))
			}
		case id == 3 && typ == thriftI64:
			g.rows = t.int()
		default:
			return false
		}
		return true
	})
	return g
}

func readChunk(t *thrift) pqChunk {
	c := pqChunk{}
	dictionary := int64(0)
	t.structure(func(id int, typ byte) bool {
		switch {
		case id == 1 && typ == thriftBinary:
			c.external = len(t.bytes()) > 0
			return true
		case id == 8 || id == 9:
			c.encrypted = true
			return false
		case id != 3 || typ != thriftStruct:
			return false
		}
		t.structure(func(id int, typ byte) bool {
			switch {
			case typ != thriftI32 && typ != thriftI64:
				return false
			case id == 4:
				c.codec = int(t.int())
			case id == 5:
				c.values = t.int()
			case id == 7:
				c.size = t.int()
			case id == 9:
				c.start = t.int()
			case id == 11:
				dictionary = t.int()
			default:
				return false
			}
			return true
		})
		return true
	})
	if dictionary > 0 && dictionary < c.start { // some writers set 0 where there is none
		c.start = dictionary
	}
	return c
}

// columns makes the fields of the schema's top level and returns the number of leaves.
func (f *pqFooter) columns(elements []pqElement) (int, error) {
	leaves, at := 0, 1
	for range elements[0].children {
		if at >= len(elements) {
			return 0, errFooter
		}
		e := &elements[at]
		first, from := leaves, at
		for pending := 1; pending > 0; at++ {
			if at >= len(elements) || elements[at].children < 0 || elements[at].children > len(elements) {
				return 0, errFooter
			}
			pending += elements[at].children - 1
			if elements[at].children == 0 {
				leaves++
			}
		}
		if isPandasIndex(e.name) {
			continue
		}
		field := arrow.Field{Name: e.name, Nullable: e.repetition != 0}
		var leaf *pqLeaf
		switch {
		case at-from > 1 && !e.list && e.repetition != 2:
			field.Type = arrow.StructOf()
		case at-from > 1 || e.repetition == 2:
			field.Type = arrow.ListOf(arrow.Null)
		default:
			var err error
			if leaf, err = e.leaf(); err != nil {
				return 0, err
			}
			leaf.leaf = first
			field.Type = kindTypes[leaf.kind]
		}
		f.fields, f.leaves = append(f.fields, field), append(f.leaves, leaf)
	}
	return leaves, nil
}

// isPandasIndex tells of the columns in which pandas keeps an index without a name; it
// does not show them as columns either.
func isPandasIndex(name string) bool {
	return strings.HasPrefix(name, "__index_level_") && strings.HasSuffix(name, "__")
}

var pqWidths = [...]int{pqBoolean: 0, pqInt32: 4, pqInt64: 8, pqInt96: 12, pqFloat: 4, pqDouble: 8, pqByteArray: 0, pqFixed: 0}

func (e *pqElement) leaf() (*pqLeaf, error) {
	if e.physical < 0 || e.physical > pqFixed {
		return nil, fmt.Errorf("column %q has the unknown type %d", e.name, e.physical)
	}
	l := &pqLeaf{physical: e.physical, logical: e.logical, scale: e.scale, optional: e.repetition == 1, width: pqWidths[e.physical]}
	if e.physical == pqFixed {
		if l.width = e.width; l.width < 1 || l.width > 1<<20 {
			return nil, fmt.Errorf("column %q has values of %d bytes", e.name, l.width)
		}
	}
	if l.logical == pqDecimal && (l.scale < 0 || l.scale > 1<<10) {
		return nil, fmt.Errorf("column %q is a decimal of scale %d", e.name, l.scale)
	}
	switch e.physical {
	case pqBoolean:
		l.kind = kindBool
	case pqInt32, pqInt64:
		switch l.logical {
		case pqDecimal, pqUnknown:
			l.kind = kindFloat64
		case pqDate:
			l.kind = kindDate
		case pqMillis, pqMicros, pqNanos:
			l.kind = kindTimestamp
		case pqUnsigned:
			l.kind = kindInt64
			if e.physical == pqInt64 {
				l.kind = kindUint64
			}
		default:
			l.kind = kindInt64
		}
		if l.kind == kindDate && e.physical != pqInt32 || l.kind == kindTimestamp && e.physical != pqInt64 {
			return nil, fmt.Errorf("column %q has integers of the wrong width for its type", e.name)
		}
	case pqInt96:
		l.kind = kindTimestamp
	case pqFloat:
		l.kind = kindFloat32
	case pqDouble:
		l.kind = kindFloat64
	default:
		switch {
		case l.logical == pqDecimal || l.logical == pqUnknown:
			l.kind = kindFloat64
		case l.logical == pqFloat16 && l.width == 2:
			l.kind = kindFloat32
		default:
			l.kind = kindText
		}
	}
	return l, nil
}
