package flatbuffer

import "encoding/binary"

// Table is a table of a flatbuffer whose every access is checked: unlike those of the
// flatbuffers module, which panic on bytes that are none. The zero value has no fields.
type Table struct {
	Buf    []byte // all of the flatbuffer
	pos    int
	vtable []byte
}

// Root returns the root table of a flatbuffer.
func Root(buf []byte) (Table, bool) {
	if len(buf) < 4 {
		return Table{}, false
	}
	return tableAt(buf, int64(binary.LittleEndian.Uint32(buf)))
}

// tableAt returns the table at that position.
func tableAt(buf []byte, pos int64) (Table, bool) {
	size := int64(len(buf))
	if pos < 0 || pos > size-4 {
		return Table{}, false
	}
	vt := pos - int64(int32(binary.LittleEndian.Uint32(buf[pos:])))
	if vt < 0 || vt > size-4 {
		return Table{}, false
	}
	n := int64(binary.LittleEndian.Uint16(buf[vt:]))
	if n < 4 || n%2 != 0 || vt+n > size {
		return Table{}, false
	}
	return Table{Buf: buf, pos: int(pos), vtable: buf[vt : vt+n]}, true
}

// Element returns element i of a vector of tables; vec is what Vector returned.
func Element(buf []byte, vec, i int) (Table, bool) {
	at := int64(vec) + 4*int64(i)
	return tableAt(buf, at+int64(binary.LittleEndian.Uint32(buf[at:])))
}

// field returns the position of a field by its place in the vtable, and 0 if it is absent.
// ok is false if size bytes there are not all within the buffer.
func (t Table) field(slot, size int) (pos int, ok bool) {
	if slot+2 > len(t.vtable) {
		return 0, true
	}
	o := int(binary.LittleEndian.Uint16(t.vtable[slot:]))
	if o == 0 {
		return 0, true
	}
	pos = t.pos + o
	return pos, pos <= len(t.Buf)-size
}

// Uint returns a number of size 1, 2, 4 or 8 bytes, or def if it is absent.
func (t Table) Uint(slot, size int, def uint64) (uint64, bool) {
	pos, ok := t.field(slot, size)
	switch {
	case !ok:
		return 0, false
	case pos == 0:
		return def, true
	case size == 1:
		return uint64(t.Buf[pos]), true
	case size == 2:
		return uint64(binary.LittleEndian.Uint16(t.Buf[pos:])), true
	case size == 4:
		return uint64(binary.LittleEndian.Uint32(t.Buf[pos:])), true
	default:
		return binary.LittleEndian.Uint64(t.Buf[pos:]), true
	}
}

// Text returns a string, "" if it is absent.
func (t Table) Text(slot int) (string, bool) {
	pos, n, ok := t.Vector(slot, 1)
	if !ok {
		return "", false
	}
	return string(t.Buf[pos : pos+n]), true
}

// Optional returns a table that may be absent.
func (t Table) Optional(slot int) (table Table, present, ok bool) {
	pos, ok := t.field(slot, 4)
	if !ok || pos == 0 {
		return Table{}, false, ok
	}
	table, ok = tableAt(t.Buf, int64(pos)+int64(binary.LittleEndian.Uint32(t.Buf[pos:])))
	return table, ok, ok
}

// Table returns a table that must be there.
func (t Table) Table(slot int) (Table, bool) {
	table, present, ok := t.Optional(slot)
	return table, present && ok
}

// Vector returns the position of the first element and the number of elements, 0 if the
// Vector is absent. ok is false unless all of it lies within the buffer.
func (t Table) Vector(slot, elementSize int) (pos, n int, ok bool) {
	at, ok := t.field(slot, 4)
	if !ok || at == 0 {
		return 0, 0, ok
	}
	start := int64(at) + int64(binary.LittleEndian.Uint32(t.Buf[at:]))
	if start > int64(len(t.Buf))-4 {
		return 0, 0, false
	}
	count := int64(binary.LittleEndian.Uint32(t.Buf[start:]))
	if count*int64(elementSize) > int64(len(t.Buf))-start-4 {
		return 0, 0, false
	}
	return int(start) + 4, int(count), true
}
