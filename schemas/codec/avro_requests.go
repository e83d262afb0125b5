package codec

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/millrace/millrace/schemas"
)

// maxAvroDepth bounds how deep values that are skipped may nest.
const maxAvroDepth = 100

// row implements rowPlan.
func (p *avroPlan) row(b *rowBuilder, in []byte) (int, *schemas.RequestError) {
	r := avroReader{in: in}
	for i := range p.steps {
		s := &p.steps[i]
		if s.field >= 0 {
			if fault := r.fill(b, s.field, s.typ); fault != nil {
				return 0, fault
			}
		} else if !r.skip(s.typ, 0) {
			return 0, r.broken()
		}
	}
	if r.at != len(in) {
		return 0, malformed("%d bytes follow the record", len(in)-r.at)
	}
	return len(in) + p.enums, nil
}

// avroReader reads Avro's binary encoding. Its methods tell whether a whole value stood
// there; it stays within the bytes in any case.
type avroReader struct {
	in []byte
	at int
}

// broken describes bytes that are not what the schema says.
func (r *avroReader) broken() *schemas.RequestError {
	if r.at >= len(r.in) {
		return malformed("the record ends after %d bytes, before its last field", len(r.in))
	}
	return malformed("byte %d of the record is not what the schema says", r.at)
}

func (r *avroReader) long() (int64, bool) {
	var u uint64
	for at, shift := r.at, 0; at < len(r.in) && shift < 64; at, shift = at+1, shift+7 {
		c := r.in[at]
		if c < 0x80 {
			if shift == 63 && c > 1 {
				return 0, false
			}
			r.at = at + 1
			u |= uint64(c) << shift
			return int64(u>>1) ^ -int64(u&1), true
		}
		u |= uint64(c&0x7f) << shift
	}
	return 0, false
}

// next returns n bytes.
func (r *avroReader) next(n int64) ([]byte, bool) {
	if n < 0 || n > int64(len(r.in)-r.at) {
		return nil, false
	}
	b := r.in[r.at : r.at+int(n)]
	r.at += int(n)
	return b, true
}

// sized returns bytes with their length before them.
func (r *avroReader) sized() ([]byte, bool) {
	n, ok := r.long()
	if !ok {
		return nil, false
	}
	return r.next(n)
}

// index reads the place of a symbol or a branch, of n.
func (r *avroReader) index(n int) (int, bool) {
	from := r.at
	i, ok := r.long()
	if !ok || i < 0 || i >= int64(n) {
		r.at = from
		return 0, false
	}
	return int(i), true
}

// fill reads a value into the cell of a field.
func (r *avroReader) fill(b *rowBuilder, i int, t *avroType) *schemas.RequestError {
	from := r.at
	switch t.kind {
	case avroUnion:
		branch, ok := r.index(len(t.inner))
		if !ok {
			return r.broken()
		}
		return r.fill(b, i, t.inner[branch])
	case avroNull:
		return b.setNull(i)
	default:
	}
	if t.as == shapeNone { // another branch of the union fits
		want, _ := b.fits(i, shapeNone)
		return schemas.Errorf(schemas.ErrorClassWrongType, "%q must be %s, got %s", b.fields[i].name, want, t)
	}
	switch t.kind {
	case avroBoolean:
		if v, ok := r.next(1); ok && v[0] <= 1 {
			b.setBool(i, v[0] == 1)
			return nil
		}
	case avroInt, avroLong:
		n, ok := r.long()
		switch {
		case !ok || t.kind == avroInt && int64(int32(n)) != n:
		case t.as == shapeTime:
			return b.setTimestamp(i, n, t.timeUnit())
		default:
			return b.setInt(i, n)
		}
	case avroFloat:
		if v, ok := r.next(4); ok {
			return b.setFloat(i, float64(math.Float32frombits(binary.LittleEndian.Uint32(v))))
		}
	case avroDouble:
		if v, ok := r.next(8); ok {
			return b.setFloat(i, math.Float64frombits(binary.LittleEndian.Uint64(v)))
		}
	case avroEnum:
		if at, ok := r.index(len(t.symbols)); ok {
			return b.setText(i, t.symbols[at])
		}
	default:
		return r.text(b, i, t)
	}
	r.at = from
	return r.broken()
}

// text reads a string, bytes or a fixed into the cell of a field.
func (r *avroReader) text(b *rowBuilder, i int, t *avroType) *schemas.RequestError {
	from := r.at
	text, ok := r.next(int64(t.size))
	if t.kind != avroFixed {
		text, ok = r.sized()
	}
	switch {
	case !ok:
		r.at = from
		return r.broken()
	case !utf8.Valid(text):
		return malformed("%q is not valid UTF-8", b.fields[i].name)
	default:
		return b.setText(i, text)
	}
}

// setTimestamp puts an event time that counts units of which so many make a second.
func (b *rowBuilder) setTimestamp(i int, n, perSecond int64) *schemas.RequestError {
	b.cells[i] = cell{seen: true}
	switch {
	case perSecond > 1e6:
		per := perSecond / 1e6
		us := n / per
		if n%per < 0 {
			us--
		}
		return b.setMicros(i, us, nil)
	case n > schemas.MaxMicros/(1e6/perSecond) || n < schemas.MinMicros/(1e6/perSecond):
		return outOfTime(b.fields[i].name, strconv.AppendInt(nil, n, 10))
	default:
		return b.setMicros(i, n*(1e6/perSecond), nil)
	}
}

// skip passes over a value.
func (r *avroReader) skip(t *avroType, depth int) bool {
	if t.zeroSize {
		return true
	}
	if depth > maxAvroDepth {
		return false
	}
	ok := true
	switch t.kind {
	case avroBoolean:
		_, ok = r.next(1)
	case avroInt, avroLong:
		_, ok = r.long()
	case avroFloat:
		_, ok = r.next(4)
	case avroDouble:
		_, ok = r.next(8)
	case avroBytes, avroString:
		_, ok = r.sized()
	case avroFixed:
		_, ok = r.next(int64(t.size))
	case avroEnum:
		_, ok = r.index(len(t.symbols))
	case avroRecord:
		for _, of := range t.inner {
			if !r.skip(of, depth+1) {
				return false
			}
		}
	case avroUnion:
		var branch int
		if branch, ok = r.index(len(t.inner)); ok {
			ok = r.skip(t.inner[branch], depth+1)
		}
	default:
		ok = r.skipBlocks(t, depth)
	}
	return ok
}

// skipBlocks passes over an array or a map: blocks of a count and so many items; a negative
// count has the block's size in bytes behind it.
func (r *avroReader) skipBlocks(t *avroType, depth int) bool {
	for {
		n, ok := r.long()
		switch {
		case !ok:
			return false
		case n == 0:
			return true
		case n < 0:
			if _, ok := r.sized(); !ok {
				return false
			}
			continue
		case t.kind == avroArray && t.inner[0].zeroSize:
			continue // however many: they take no bytes
		}
		for range n {
			if t.kind == avroMap {
				if _, ok := r.sized(); !ok {
					return false
				}
			}
			if !r.skip(t.inner[0], depth+1) {
				return false
			}
		}
	}
}
