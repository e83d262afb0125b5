package detect

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"gonum.org/v1/gonum/mathext/prng"
)

// twisterWords is the length of the state of MT19937.
const twisterWords = 624

// twister is MT19937 (Matsumoto and Nishimura 1998), seeded and sampled as Python's
// random.Random does, so that KSWIN draws what River draws.
type twister struct{ source prng.MT19937 }

// seed is random.Random(seed): init_by_array of the seed's 32-bit words, lowest first.
func (t *twister) seed(seed uint64) {
	key := []uint32{uint32(seed)}
	if high := uint32(seed >> 32); high != 0 {
		key = append(key, high)
	}
	t.source.SeedFromKeys(key)
}

// state returns the words, and the index of the next one; twisterWords: they are made anew first.
func (t *twister) state() (words [twisterWords]uint32, next int) {
	b, _ := t.source.MarshalBinary() // never fails
	for i := range words {
		words[i] = binary.BigEndian.Uint32(b[4*i:])
	}
	return words, int(binary.BigEndian.Uint32(b[4*twisterWords:]))
}

// setState is false for a state that no seed leads to: next is out of range, or all is zero, from
// which nothing but zeros comes. Of the first word only the highest bit counts.
func (t *twister) setState(words [twisterWords]uint32, next int) bool {
	dead := words[0]>>31 == 0 && !slices.ContainsFunc(words[1:], func(w uint32) bool { return w != 0 })
	if dead || next < 0 || next > twisterWords {
		return false
	}
	b := make([]byte, 0, 4*(twisterWords+1))
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return t.source.UnmarshalBinary(binary.BigEndian.AppendUint32(b, uint32(next))) == nil
}

// below is a number in [0, n), n from 1 to 2^32-1: as many bits as n has, until one is below.
func (t *twister) below(n int) int {
	shift := 32 - bits.Len32(uint32(n))
	for {
		if v := int(t.source.Uint32() >> shift); v < n {
			return v
		}
	}
}

// sample fills out with distinct numbers of [0, n), as random.sample(range(n), len(out))
// does. scratch has n entries; what is in them at the start does not matter.
func (t *twister) sample(out []int, n int, scratch []int) {
	// Python keeps a set of what was drawn where that is smaller than a list of all.
	setSize := 21
	if len(out) > 5 {
		table := 1
		for table < 3*len(out) {
			table *= 4
		}
		setSize += table
	}
	if n <= setSize {
		for i := range n {
			scratch[i] = i
		}
		for i := range out {
			j := t.below(n - i)
			out[i] = scratch[j]
			scratch[j] = scratch[n-i-1]
		}
		return
	}
	clear(scratch[:n])
	for i := range out {
		j := t.below(n)
		for scratch[j] != 0 {
			j = t.below(n)
		}
		scratch[j], out[i] = 1, j
	}
}
