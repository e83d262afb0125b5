package dataset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/float16"
	"github.com/parquet-go/parquet-go"
)

// append reads n rows of the row group into b.
func (c *pqColumn) append(b *builder, n int) error {
	if c.logical == pqUnknown {
		for range n {
			b.appendNull()
		}
		return nil
	}
	for n > 0 {
		if err := c.nextPage(); err != nil {
			return err
		}
		k := min(n, c.rows)
		if err := c.appendPage(b, k); err != nil {
			return err
		}
		c.rows, c.left, n = c.rows-k, c.left-int64(k), n-k
	}
	return nil
}

// appendPage reads k rows of the page.
func (c *pqColumn) appendPage(b *builder, k int) error {
	var levels []byte
	values := k
	if c.levels != nil {
		levels, c.levels = c.levels[:k], c.levels[k:]
		values = bytes.Count(levels, []byte{1})
	}
	first := c.value
	c.value += values
	switch {
	case c.kind == kindFloat64 && c.physical == parquet.Double, c.physical == parquet.Int64 && c.logical != pqDecimal && c.logical != pqMillis && c.logical != pqNanos:
		b.b64 = c.spread(b, b.b64, c.gather(first, values), levels, k)
		return nil
	case c.physical == parquet.Float, c.kind == kindDate:
		b.b32 = c.spread(b, b.b32, c.gather(first, values), levels, k)
		return nil
	}
	for i := range k {
		if levels != nil && levels[i] == 0 {
			b.appendNull()
			continue
		}
		at := first
		if c.index != nil {
			at = int(c.index[first])
		}
		first++
		if err := c.convert(b, at); err != nil {
			return err
		}
	}
	return nil
}

// gather returns n values of fixed width.
func (c *pqColumn) gather(first, n int) []byte {
	if n == 0 {
		return nil // nothing but nulls: data may be a dictionary, shorter than the page
	}
	if c.index == nil {
		return c.data[first*c.width : (first+n)*c.width]
	}
	if cap(c.fixed) < n*c.width {
		c.fixed = make([]byte, n*c.width)
	}
	out := c.fixed[:n*c.width]
	if c.width == 8 {
		dictionary, dst := arrow.Uint64Traits.CastFromBytes(c.data), arrow.Uint64Traits.CastFromBytes(out)
		for i, k := range c.index[first : first+n] {
			dst[i] = dictionary[k]
		}
		return out
	}
	for i, k := range c.index[first : first+n] {
		copy(out[i*c.width:][:c.width], c.data[int(k)*c.width:])
	}
	return out
}

// spread appends values to dst as they are, and nulls between them.
func (c *pqColumn) spread(b *builder, dst, raw, levels []byte, k int) []byte {
	if levels == nil {
		b.n += k
		return append(dst, raw...)
	}
	from := len(dst)
	dst = append(dst, make([]byte, k*c.width)...)
	for i, p := range levels {
		if p == 0 {
			b.setNull(b.n + i)
			continue
		}
		copy(dst[from+i*c.width:][:c.width], raw)
		raw = raw[c.width:]
	}
	b.n += k
	return dst
}

// convert appends value i of data in the column's type.
func (c *pqColumn) convert(b *builder, i int) error {
	if c.physical == parquet.Boolean {
		b.appendBool(c.data[i>>3]>>(i&7)&1 != 0)
		return nil
	}
	var v []byte
	if c.physical == parquet.ByteArray {
		from, to := c.offsets[i], c.offsets[i+1]
		if from > to || uint64(to) > uint64(len(c.data)) {
			return errValues
		}
		v = c.data[from:to]
	} else {
		v = c.data[i*c.width:][:c.width]
	}
	switch {
	case c.logical == pqDecimal && len(v) > maxDecimal:
		return errValues
	case c.logical == pqDecimal && c.kind == kindInt64:
		if len(v) > 8 { // of a number of at most 18 digits
			for _, d := range v[:len(v)-8] {
				if d != byte(int8(v[len(v)-8])>>7) {
					c.errors++
					b.appendNull()
					return nil
				}
			}
			v = v[len(v)-8:]
		}
		x, _ := c.unscaled(v)
		b.append64(uint64(x))
	case c.logical == pqDecimal && c.kind == kindText:
		if x, n := c.unscaled(v); n != nil {
			c.text = appendDecimal(c.text[:0], n.Append(nil, 10), c.scale)
		} else {
			c.text = appendDecimal(c.text[:0], strconv.AppendInt(nil, x, 10), c.scale)
		}
		return b.appendText(c.text)
	case c.logical == pqDecimal:
		x, n := c.unscaled(v)
		if n != nil {
			b.append64(math.Float64bits(scaled(n, c.scale)))
		} else {
			b.append64(math.Float64bits(scaledInt(x, c.scale)))
		}
	case c.kind == kindText:
		return c.convertText(b, v)
	case c.kind == kindFloat32:
		b.append32(math.Float32bits(float16.FromBits(binary.LittleEndian.Uint16(v)).Float32()))
	case c.kind == kindTimestamp:
		c.appendTime(b, v)
	case c.logical == pqUnsigned:
		b.append64(uint64(binary.LittleEndian.Uint32(v)))
	default:
		b.append64(uint64(int64(int32(binary.LittleEndian.Uint32(v)))))
	}
	return nil
}

func (c *pqColumn) appendTime(b *builder, v []byte) {
	if c.physical == parquet.Int96 { // nanoseconds of the day, and the Julian day
		day := int64(binary.LittleEndian.Uint32(v[8:])) - 2440588
		b.append64(uint64(day*86_400_000_000 + int64(binary.LittleEndian.Uint64(v))/1000))
		return
	}
	x := int64(binary.LittleEndian.Uint64(v))
	unit := arrow.Millisecond
	if c.logical == pqNanos {
		unit = arrow.Nanosecond
	}
	us, ok := microseconds(x, unit)
	if !ok {
		c.errors++
		b.appendNull()
		return
	}
	b.append64(uint64(us))
}

// microseconds converts a time; ok is false where they are more than 64 bits hold.
func microseconds(v int64, unit arrow.TimeUnit) (us int64, ok bool) {
	factor := int64(1)
	switch unit {
	case arrow.Second:
		factor = 1_000_000
	case arrow.Millisecond:
		factor = 1000
	case arrow.Microsecond:
	case arrow.Nanosecond:
		us = v / 1000
		if v%1000 < 0 {
			us--
		}
		return us, true
	}
	us = v * factor
	return us, us/factor == v
}

// unscaled returns a decimal without its scale, as n where 64 bits do not hold it.
func (c *pqColumn) unscaled(v []byte) (x int64, n *big.Int) {
	switch {
	case c.physical == parquet.Int32:
		return int64(int32(binary.LittleEndian.Uint32(v))), nil
	case c.physical == parquet.Int64:
		return int64(binary.LittleEndian.Uint64(v)), nil
	case len(v) == 0:
		return 0, nil
	case len(v) <= 8: // big-endian
		x = int64(int8(v[0]))
		for _, d := range v[1:] {
			x = x<<8 | int64(d)
		}
		return x, nil
	default:
		return 0, signed(v)
	}
}

// signed reads big-endian bytes in two's complement.
func signed(v []byte) *big.Int {
	n := new(big.Int).SetBytes(v)
	if v[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v))))
	}
	return n
}

// appendDecimal appends unscaled/10^scale in plain digits.
func appendDecimal(dst, unscaled []byte, scale int) []byte {
	dst, _ = AppendNumber(dst, strconv.AppendInt(append(unscaled, 'e'), int64(-scale), 10))
	return dst
}

// wholeDecimal says that decimals of so many digits and such a scale are integers of 64 bits.
func wholeDecimal(digits, scale int) bool { return scale == 0 && digits > 0 && digits <= 18 }

// fewDigits says that a 64-bit float tells all decimals of so many digits apart.
func fewDigits(digits int) bool { return digits > 0 && digits <= 15 }

// roundedForm is the value of roundedKey of decimals of a scale.
func roundedForm(scale int) string {
	if scale <= 0 {
		return "whole"
	}
	return "decimal"
}

// scaledInt returns x/10^scale, rounded once.
func scaledInt(x int64, scale int) float64 {
	if x > -1<<53 && x < 1<<53 && scale >= 0 && scale <= 22 { // both are exact
		return float64(x) / pow10[scale]
	}
	return scaled(big.NewInt(x), scale)
}

func scaled(n *big.Int, scale int) float64 {
	f, _ := strconv.ParseFloat(n.String()+"e"+strconv.Itoa(-scale), 64) // an infinity where it is too large
	return f
}

var pow10 = [23]float64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// convertText appends a text, and bytes of fixed width in hexadecimal.
func (c *pqColumn) convertText(b *builder, v []byte) error {
	switch {
	case c.physical == parquet.ByteArray:
		return b.appendText(v)
	case c.logical == pqUUID && len(v) == 16:
		return b.appendText(appendUUID(nil, v))
	default:
		return b.appendText(fmt.Appendf(nil, "%x", v))
	}
}

// appendUUID appends the 16 bytes of a UUID as it is written (RFC 9562).
func appendUUID(dst, v []byte) []byte {
	return fmt.Appendf(dst, "%x-%x-%x-%x-%x", v[:4], v[4:6], v[6:8], v[8:10], v[10:])
}
