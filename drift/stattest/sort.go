package stattest

import (
	"math"
	"math/bits"
	"slices"
)

const (
	radixBits    = 11 // of a digit
	radixSize    = 1 << radixBits
	radixUpper   = 3 * radixBits // bits that are sorted first
	radixMinimum = 1500          // below it, slices.Sort is faster
	radixFew     = 24            // values up to which insertion is fastest
)

// SortFloats sorts values in ascending order, -0 and +0 as equals; NaN must not be among
// them. It returns the scratch space that it used, which holds nothing of use, for the next
// call: it grows to the length of values, and may be nil at first.
//
// Long slices are sorted by digits of their bits (LSD radix sort), but only by the 33 bits
// from the highest that differs: few values are alike in these, and they are sorted after.
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

// key maps floats to integers in the same order: of positive numbers the bits with the
// highest set, of negative ones all bits reversed.
func key(v float64) uint64 {
	b := math.Float64bits(v)
	return b ^ (uint64(int64(b)>>63) | 1<<63)
}

func radixSort(values, scratch []float64) {
	first, differ := key(values[0]), uint64(0)
	for _, v := range values {
		differ |= key(v) ^ first
	}
	if differ == 0 {
		return
	}
	low := uint(max(bits.Len64(differ)-radixUpper, 0)) & 63
	var counts [radixUpper / radixBits][radixSize]uint32
	for _, v := range values {
		k := key(v) >> low
		counts[0][k%radixSize]++
		counts[1][k>>radixBits%radixSize]++
		counts[2][k>>(2*radixBits)%radixSize]++
	}
	from, to := values, scratch
	for d := range counts {
		c, shift := &counts[d], low+uint(d*radixBits)
		if int(c[first>>(shift&63)%radixSize]) == len(values) {
			continue
		}
		var at uint32
		for k, n := range c {
			c[k] = at
			at += n
		}
		to = to[:len(from)]
		for _, v := range from {
			k := key(v) >> (shift & 63) % radixSize
			at := c[k]
			c[k] = at + 1
			to[at] = v
		}
		from, to = to, from
	}
	if &from[0] != &values[0] {
		copy(values, from)
	}
	if low == 0 {
		return
	}
	for i := 0; i < len(values); {
		upper := key(values[i]) >> low
		j := i + 1
		for j < len(values) && key(values[j])>>low == upper {
			j++
		}
		if run := values[i:j]; len(run) > radixFew {
			SortFloats(run, scratch[:len(run)])
		} else if len(run) > 1 {
			insert(run)
		}
		i = j
	}
}

func insert(values []float64) {
	for i := 1; i < len(values); i++ {
		v, j := values[i], i
		for ; j > 0 && values[j-1] > v; j-- {
			values[j] = values[j-1]
		}
		values[j] = v
	}
}
