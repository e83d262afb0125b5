package codec

import (
	"encoding/binary"
	"math"
	"strconv"
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/schemas/arrowipc"
)

// arrowSource is a column of the record batch that is being read.
type arrowSource struct {
	arrowipc.Column
	present bool
	typ     arrow.Type // of values, or of a dictionary's indices
	wide    bool       // offsets of 64 bits
	bulk    bool       // every row can be taken as it is, without a look
	longest int        // bytes of the longest text
}

type number interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// view returns bytes as values. They need not be aligned: no type here holds pointers, and
// the machines that this runs on load from any address.
func view[T number](b []byte, n int) []T {
	if n == 0 {
		return nil
	}
	_ = b[n*int(unsafe.Sizeof(T(0)))-1]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n) //nolint:gosec // the length was checked
}

// float returns a value of a floating-point source.
func (s *arrowSource) float(i int) float64 {
	if s.typ == arrow.FLOAT32 {
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(s.Values[4*i:])))
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(s.Values[8*i:]))
}

// int returns a value of an integer source. ok is false beyond int64.
func (s *arrowSource) int(i int) (n int64, ok bool) {
	switch s.typ {
	case arrow.INT8:
		return int64(int8(s.Values[i])), true
	case arrow.UINT8:
		return int64(s.Values[i]), true
	case arrow.INT16:
		return int64(int16(binary.LittleEndian.Uint16(s.Values[2*i:]))), true
	case arrow.UINT16:
		return int64(binary.LittleEndian.Uint16(s.Values[2*i:])), true
	case arrow.INT32:
		return int64(int32(binary.LittleEndian.Uint32(s.Values[4*i:]))), true
	case arrow.UINT32:
		return int64(binary.LittleEndian.Uint32(s.Values[4*i:])), true
	default:
		n = int64(binary.LittleEndian.Uint64(s.Values[8*i:]))
		return n, n >= 0 || s.typ == arrow.INT64
	}
}

// decimal writes a number of the source, for errors and for request ids.
func (s *arrowSource) decimal(dst []byte, i int) []byte {
	switch s.typ {
	case arrow.FLOAT32:
		return strconv.AppendFloat(dst, s.float(i), 'g', -1, 32)
	case arrow.FLOAT64:
		return strconv.AppendFloat(dst, s.float(i), 'g', -1, 64)
	default:
	}
	n, ok := s.int(i)
	if !ok {
		return strconv.AppendUint(dst, uint64(n), 10)
	}
	return strconv.AppendInt(dst, n, 10)
}

// text returns a text of the source, which must not be null there.
func (s *arrowSource) text(i int) []byte {
	if s.Dictionary != nil {
		n, _ := s.int(i)
		return s.Dictionary.Value(int(n))
	}
	if s.wide {
		return s.Data[binary.LittleEndian.Uint64(s.Offsets[8*i:]):binary.LittleEndian.Uint64(s.Offsets[8*i+8:])]
	}
	return s.Data[binary.LittleEndian.Uint32(s.Offsets[4*i:]):binary.LittleEndian.Uint32(s.Offsets[4*i+4:])]
}

// finite tells whether no float32 is NaN or an infinity: those have an exponent of ones,
// which one more at its end carries into the sign.
func finite(values []byte) bool {
	const exponents, ones, signs = 0x7f8000007f800000, 0x0080000000800000, 0x8000000080000000
	var seen uint64
	for len(values) >= 32 {
		b := values[:32]
		seen |= binary.LittleEndian.Uint64(b)&exponents + ones
		seen |= binary.LittleEndian.Uint64(b[8:])&exponents + ones
		seen |= binary.LittleEndian.Uint64(b[16:])&exponents + ones
		seen |= binary.LittleEndian.Uint64(b[24:])&exponents + ones
		values = values[32:]
	}
	for ; len(values) >= 4; values = values[4:] {
		seen |= uint64(binary.LittleEndian.Uint32(values))&exponents + ones
	}
	return seen&signs == 0
}

// within tells whether every value of the source is a number of type D from low to high.
func within[D number](s *arrowSource, low, high D) bool {
	switch s.typ {
	case arrow.FLOAT32:
		return allWithin(view[float32](s.Values, s.Rows), low, high)
	case arrow.FLOAT64:
		return allWithin(view[float64](s.Values, s.Rows), low, high)
	case arrow.INT8:
		return allWithin(view[int8](s.Values, s.Rows), low, high)
	case arrow.INT16:
		return allWithin(view[int16](s.Values, s.Rows), low, high)
	case arrow.INT32:
		return allWithin(view[int32](s.Values, s.Rows), low, high)
	case arrow.INT64:
		return allWithin(view[int64](s.Values, s.Rows), low, high)
	case arrow.UINT8:
		return allWithin(view[uint8](s.Values, s.Rows), low, high)
	case arrow.UINT16:
		return allWithin(view[uint16](s.Values, s.Rows), low, high)
	case arrow.UINT32:
		return allWithin(view[uint32](s.Values, s.Rows), low, high)
	case arrow.UINT64:
		return allWithin(view[uint64](s.Values, s.Rows), low, high)
	default:
		return false
	}
}

func allWithin[D, S number](values []S, low, high D) bool {
	for _, v := range values {
		if x := D(v); x >= low && x <= high {
			continue
		}
		return false // NaN too
	}
	return true
}

// convert fills dst with the source's values from a row on, which all fit. Its table of types
// stands in within too: a generic function cannot be handed to one that would be shared.
func convert[D number](dst []D, s *arrowSource, from int) {
	n := from + len(dst)
	switch s.typ {
	case arrow.FLOAT32:
		fill(dst, view[float32](s.Values, n)[from:])
	case arrow.FLOAT64:
		fill(dst, view[float64](s.Values, n)[from:])
	case arrow.INT8:
		fill(dst, view[int8](s.Values, n)[from:])
	case arrow.INT16:
		fill(dst, view[int16](s.Values, n)[from:])
	case arrow.INT32:
		fill(dst, view[int32](s.Values, n)[from:])
	case arrow.INT64:
		fill(dst, view[int64](s.Values, n)[from:])
	case arrow.UINT8:
		fill(dst, view[uint8](s.Values, n)[from:])
	case arrow.UINT16:
		fill(dst, view[uint16](s.Values, n)[from:])
	case arrow.UINT32:
		fill(dst, view[uint32](s.Values, n)[from:])
	case arrow.UINT64:
		fill(dst, view[uint64](s.Values, n)[from:])
	default:
	}
}

func fill[D, S number](dst []D, src []S) {
	src = src[:len(dst)]
	if same, ok := any(src).([]D); ok {
		copy(dst, same)
		return
	}
	for i, v := range src {
		dst[i] = D(v)
	}
}

func (s *arrowSource) offset(i int) uint64 {
	if s.wide {
		return binary.LittleEndian.Uint64(s.Offsets[8*i:])
	}
	return uint64(binary.LittleEndian.Uint32(s.Offsets[4*i:]))
}

func ascii(b []byte) bool {
	var seen uint64
	for ; len(b) >= 8; b = b[8:] {
		seen |= binary.LittleEndian.Uint64(b)
	}
	for _, x := range b {
		seen |= uint64(x)
	}
	return seen&0x8080808080808080 == 0
}
