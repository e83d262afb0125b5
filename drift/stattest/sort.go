package stattest

import (
	"math"
	"slices"
)

const (
	radixBits    = 11 // 6 digits of a float64
	radixSize    = 1 << radixBits
	radixDigits  = 6
	radixMinimum = 1500 // below it, slices.Sort is faster
)

// SortFloats sorts values in ascending order, -0 and +0 as equals; NaN must not be among
// them. It returns the scratch space that it used, which holds nothing of use, for the next
// call: it grows to the length of values, and may be nil at first.
//
// Long slices are sorted by digits of their bits from the lowest (LSD radix sort), where a
// digit that all values share costs nothing.
func SortFloats(values, scratch []float64) []float64 {
	if slices.IsSorted(values) {
		return scratch
	}
	if len(values) < radixMinimum {
		slices.Sort(values)
		return scratch
	}
	if cap(scratch) < len(values) {
		scratch = make([]float64, len(values))
	}
	radixSort(values, scratch[:len(values)])
	return scratch
}

// radixSort sorts by the bits as they are: those of positive numbers ascend with the
// number, those of negative ones descend and have the highest bit. So the last pass puts
// the negative ones first, in reverse.
func radixSort(values, scratch []float64) {
	var counts [radixDigits][radixSize]uint32
	for _, v := range values {
		b := math.Float64bits(v)
		counts[0][b%radixSize]++
		counts[1][b>>radixBits%radixSize]++
		counts[2][b>>(2*radixBits)%radixSize]++
		counts[3][b>>(3*radixBits)%radixSize]++
		counts[4][b>>(4*radixBits)%radixSize]++
		counts[5][b>>(5*radixBits)%radixSize]++
	}
	first := math.Float64bits(values[0])
	from, to := values, scratch
	for d := range radixDigits - 1 {
		c, shift := &counts[d], uint(d*radixBits)
		if int(c[first>>shift%radixSize]) == len(values) {
			continue
		}
		var at uint32
		for k, n := range c {
			c[k] = at
			at += n
		}
		to = to[:len(from)]
		for _, v := range from {
			k := math.Float64bits(v) >> shift % radixSize
			at := c[k]
			c[k] = at + 1
			to[at] = v
		}
		from, to = to, from
	}

	const shift, negative = uint(5 * radixBits), 1 << (63 - 5*radixBits) // the last digit has 9 bits
	c := &counts[radixDigits-1]
	if int(c[first>>shift]) == len(values) {
		if first>>shift >= negative {
			slices.Reverse(from)
		}
	} else {
		var at uint32
		for k := 2*negative - 1; k >= negative; k-- {
			at += c[k]
			c[k] = at // its end: filled from behind
		}
		for k := range negative {
			n := c[k]
			c[k] = at
			at += n
		}
		to = to[:len(from)]
		for _, v := range from {
			k := math.Float64bits(v) >> shift
			at := c[k] - uint32(k/negative) // the last digits of negative numbers are filled from behind
			c[k] = at + 1 - uint32(k/negative)
			to[at] = v
		}
		from = to
	}
	if &from[0] != &values[0] {
		copy(values, from)
	}
}
