package arrowipc

import "encoding/binary"

// fbTable is a table of a flatbuffer whose every access is checked: unlike those of the
// flatbuffers module, which panic on bytes that are none. The zero value has no fields.
type fbTable struct {
	buf    []byte
	pos    int
	vtable []byte
}

// fbRoot returns the root table of a flatbuffer.
func fbRoot(buf []byte) (fbTable, bool) {
	if len(buf) < 4 {
		return fbTable{}, false
	}
	return fbAt(buf, int64(binary.LittleEndian.Uint32(buf)))
}

// fbAt returns the table at that position.
func fbAt(buf []byte, pos int64) (fbTable, bool) {
	size := int64(len(buf))
	if pos < 0 || pos > size-4 {
		return fbTable{}, false
	}
	vt := pos - int64(int32(binary.LittleEndian.Uint32(buf[pos:])))
	if vt < 0 || vt > size-4 {
		return fbTable{}, false
	}
	n := int64(binary.LittleEndian.Uint16(buf[vt:]))
	if n < 4 || n%2 != 0 || vt+n > size {
		return fbTable{}, false
	}
	return fbTable{buf: buf, pos: int(pos), vtable: buf[vt : vt+n]}, true
}

// fbElement returns element i of a vector of tables; vec is what vector returned.
func fbElement(buf []byte, vec, i int) (fbTable, bool) {
	at := int64(vec) + 4*int64(i)
	return fbAt(buf, at+int64(binary.LittleEndian.Uint32(buf[at:])))
}

// field returns the position of a field by its place in the vtable, and 0 if it is absent.
// ok is false if size bytes there are not all within the buffer.
func (t fbTable) field(slot, size int) (pos int, ok bool) {
	if slot+2 > len(t.vtable) {
		return 0, true
	}
	o := int(binary.LittleEndian.Uint16(t.vtable[slot:]))
	if o == 0 {
		return 0, true
	}
	pos = t.pos + o
	return pos, pos <= len(t.buf)-size
}

// uint returns a number of size 1, 2, 4 or 8 bytes, or def if it is absent.
func (t fbTable) uint(slot, size int, def uint64) (uint64, bool) {
	pos, ok := t.field(slot, size)
	switch {
	case !ok:
		return 0, false
	case pos == 0:
		return def, true
	case size == 1:
		return uint64(t.buf[pos]), true
	case size == 2:
		return uint64(binary.LittleEndian.Uint16(t.buf[pos:])), true
	case size == 4:
		return uint64(binary.LittleEndian.Uint32(t.buf[pos:])), true
	default:
		return binary.LittleEndian.Uint64(t.buf[pos:]), true
	}
}

// text returns a string, "" if it is absent.
func (t fbTable) text(slot int) (string, bool) {
	pos, n, ok := t.vector(slot, 1)
	if !ok {
		return "", false
	}
	return string(t.buf[pos : pos+n]), true
}

// optional returns a table that may be absent.
func (t fbTable) optional(slot int) (table fbTable, present, ok bool) {
	pos, ok := t.field(slot, 4)
	if !ok || pos == 0 {
		return fbTable{}, false, ok
	}
	table, ok = fbAt(t.buf, int64(pos)+int64(binary.LittleEndian.Uint32(t.buf[pos:])))
	return table, ok, ok
}

// table returns a table that must be there.
func (t fbTable) table(slot int) (fbTable, bool) {
	table, present, ok := t.optional(slot)
	return table, present && ok
}

// vector returns the position of the first element and the number of elements, 0 if the
// vector is absent. ok is false unless all of it lies within the buffer.
func (t fbTable) vector(slot, elementSize int) (pos, n int, ok bool) {
	at, ok := t.field(slot, 4)
	if !ok || at == 0 {
		return 0, 0, ok
	}
	start := int64(at) + int64(binary.LittleEndian.Uint32(t.buf[at:]))
	if start > int64(len(t.buf))-4 {
		return 0, 0, false
	}
	count := int64(binary.LittleEndian.Uint32(t.buf[start:]))
	if count*int64(elementSize) > int64(len(t.buf))-start-4 {
		return 0, 0, false
	}
	return int(start) + 4, int(count), true
}
