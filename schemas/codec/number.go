package codec

import (
	"math"
	"strconv"
)

// maxShortDigits is how many decimal digits a uint64 holds whatever they are.
const maxShortDigits = 19

// powers are the powers of ten that float64 holds exactly.
var powers = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// float returns the value of a number as strconv.ParseFloat does with that many bits, 32 or
// 64: the nearest one, and false where it is too large.
//
// A quotient of two integers that float64 holds exactly is rounded once, and so correctly
// (Clinger, "How to Read Floating Point Numbers Accurately", 1990). Rounded again to float32
// it is still the nearest one, unless it lies in the middle between two of them.
func (v *value) float(bits int) (float64, bool) {
	if !v.short || v.digits >= 1<<53 || v.places >= len(powers) {
		return parseFloat(v.text, bits)
	}
	x := float64(v.digits) / powers[v.places]
	if v.negative {
		x = -x
	}
	if bits == 64 {
		return x, true
	}
	const below, half = 1<<29 - 1, 1 << 28 // of a float64's bits, those that float32 has not
	if math.Float64bits(x)&below == half || (math.Abs(x) < 0x1p-126 && v.digits != 0) {
		return parseFloat(v.text, bits)
	}
	return float64(float32(x)), true
}

func parseFloat(text []byte, bits int) (float64, bool) {
	x, err := strconv.ParseFloat(str(text), bits)
	return x, err == nil
}

// int returns the value of a number that is written as an integer, and false where it is
// not or where int64 does not hold it.
func (v *value) int() (int64, bool) {
	if !v.short || v.places > 0 || v.digits > math.MaxInt64 {
		n, err := strconv.ParseInt(str(v.text), 10, 64)
		return n, err == nil
	}
	if v.negative {
		return -int64(v.digits), true
	}
	return int64(v.digits), true
}

// whole returns the value of a whole number, also of one written as 3.0 or 1e3, as far as float64
// counts those exactly.
func (v *value) whole() (int64, bool) {
	if n, ok := v.int(); ok {
		return n, true
	}
	x, fits := v.float(64)
	return int64(x), fits && x == math.Trunc(x) && math.Abs(x) < 1<<53
}
