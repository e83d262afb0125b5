package dataset

import "encoding/binary"

// checkThrift tells whether b starts with a structure in the compact protocol of Apache
// Thrift, in which Parquet writes its metadata, and how long it is. A structure that claims
// more elements than there are bytes, or is nested too deep, is none.
func checkThrift(b []byte) (n int, ok bool) {
	t := &thriftChecker{b: b}
	t.skip(thriftStruct, thriftDepth, true)
	return t.pos, !t.bad
}

// thriftChecker passes over values. Every access is checked: bad is set by the first that
// fails, and all later ones return 0.
type thriftChecker struct {
	b   []byte
	pos int
	bad bool
}

// Types of values, as a list's header has them.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
	thriftUUID   = 13

	thriftDepth = 32
)

func (t *thriftChecker) byte() byte {
	if t.bad || t.pos >= len(t.b) {
		t.bad = true
		return 0
	}
	t.pos++
	return t.b[t.pos-1]
}

func (t *thriftChecker) varint() uint64 {
	if t.bad {
		return 0
	}
	v, n := binary.Uvarint(t.b[t.pos:])
	if n <= 0 {
		t.bad = true
		return 0
	}
	t.pos += n
	return v
}

// fields passes over the fields of a structure.
func (t *thriftChecker) fields(depth int) {
	for !t.bad {
		head := t.byte()
		if head&15 == 0 {
			return
		}
		if head>>4 == 0 {
			t.varint() // its number
		}
		t.skip(head&15, depth, true)
	}
}

// list returns the number of elements, never more than there are bytes, and their type.
func (t *thriftChecker) list() (n int, typ byte) {
	head := t.byte()
	size := uint64(head >> 4)
	if size == 15 {
		size = t.varint()
	}
	if t.bad || size > uint64(len(t.b)-t.pos) { // an element takes a byte at least
		t.bad = true
		return 0, 0
	}
	return int(size), head & 15
}

// skip passes over a value; a field's boolean is in its type.
func (t *thriftChecker) skip(typ byte, depth int, field bool) {
	if depth == 0 {
		t.bad = true
	}
	if t.bad {
		return
	}
	switch typ {
	case thriftTrue, thriftFalse:
		if !field {
			t.byte()
		}
	case thriftByte:
		t.byte()
	case thriftI16, thriftI32, thriftI64:
		t.varint()
	case thriftDouble:
		t.forward(8)
	case thriftUUID:
		t.forward(16)
	case thriftBinary:
		t.forward(t.varint())
	case thriftList, thriftSet:
		n, element := t.list()
		for range n {
			t.skip(element, depth-1, false)
		}
	case thriftMap:
		n := t.varint()
		if n == 0 {
			return
		}
		if t.bad = t.bad || n > uint64(len(t.b)-t.pos); t.bad {
			return
		}
		types := t.byte()
		for ; n > 0 && !t.bad; n-- {
			t.skip(types>>4, depth-1, false)
			t.skip(types&15, depth-1, false)
		}
	case thriftStruct:
		t.fields(depth - 1)
	default:
		t.bad = true
	}
}

func (t *thriftChecker) forward(n uint64) {
	if t.bad || n > uint64(len(t.b)-t.pos) {
		t.bad = true
		return
	}
	t.pos += int(n)
}
