package dataset

import "encoding/binary"

// thrift reads the compact protocol of Apache Thrift, in which Parquet writes its metadata.
// Every access is checked: bad is set by the first that fails, and all later ones return 0.
// The module of arrow allocates what the metadata says, and recurses as deep.
type thrift struct {
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

func (t *thrift) byte() byte {
	if t.bad || t.pos >= len(t.b) {
		t.bad = true
		return 0
	}
	t.pos++
	return t.b[t.pos-1]
}

func (t *thrift) varint() uint64 {
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

func (t *thrift) int() int64 {
	v := t.varint()
	return int64(v>>1) ^ -int64(v&1)
}

func (t *thrift) bytes() []byte {
	n := t.varint()
	if t.bad || n > uint64(len(t.b)-t.pos) {
		t.bad = true
		return nil
	}
	t.pos += int(n)
	return t.b[t.pos-int(n) : t.pos]
}

// structure calls f for each field of a structure; f returns false to have its value skipped.
func (t *thrift) structure(f func(id int, typ byte) bool) { t.fields(f, thriftDepth) }

func (t *thrift) fields(f func(id int, typ byte) bool, depth int) {
	id := int64(0)
	for !t.bad {
		head := t.byte()
		typ := head & 15
		if typ == 0 {
			return
		}
		if delta := int64(head >> 4); delta != 0 {
			id += delta
		} else {
			id = t.int()
		}
		if f == nil || !f(int(id), typ) {
			t.skip(typ, depth, true)
		}
	}
}

// list returns the number of elements, never more than there are bytes, and their type.
func (t *thrift) list() (n int, typ byte) {
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
func (t *thrift) skip(typ byte, depth int, field bool) {
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
		t.bytes()
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
		types := t.byte()
		for ; n > 0 && !t.bad; n-- {
			t.skip(types>>4, depth-1, false)
			t.skip(types&15, depth-1, false)
		}
	case thriftStruct:
		t.fields(nil, depth-1)
	default:
		t.bad = true
	}
}

func (t *thrift) forward(n int) {
	if n > len(t.b)-t.pos {
		t.bad = true
		return
	}
	t.pos += n
}
