package detect

import "math/bits"

const (
	twisterN = 624
	twisterM = 397
)

// twister is MT19937 (Matsumoto and Nishimura 1998), seeded and sampled as Python's
// random.Random does, so that KSWIN draws what River draws.
type twister struct {
	state [twisterN]uint32
	next  int // index of the next word; twisterN: generate first
}

// seed is random.Random(seed): init_by_array of the seed's 32-bit words, lowest first.
func (t *twister) seed(seed uint64) {
	key := [2]uint32{uint32(seed), uint32(seed >> 32)}
	words := 1
	if key[1] != 0 {
		words = 2
	}

	s := &t.state
	s[0] = 19650218
	for i := 1; i < twisterN; i++ {
		s[i] = 1812433253*(s[i-1]^s[i-1]>>30) + uint32(i)
	}
	i, j := 1, 0
	for range twisterN {
		s[i] = (s[i] ^ (s[i-1]^s[i-1]>>30)*1664525) + key[j] + uint32(j)
		if i++; i == twisterN {
			s[0], i = s[twisterN-1], 1
		}
		j = (j + 1) % words
	}
	for range twisterN - 1 {
		s[i] = (s[i] ^ (s[i-1]^s[i-1]>>30)*1566083941) - uint32(i)
		if i++; i == twisterN {
			s[0], i = s[twisterN-1], 1
		}
	}
	s[0] = 1 << 31
	t.next = twisterN
}

func (t *twister) uint32() uint32 {
	if t.next == twisterN {
		s := &t.state
		for i := range s {
			y := s[i]&(1<<31) | s[(i+1)%twisterN]&(1<<31-1)
			s[i] = s[(i+twisterM)%twisterN] ^ y>>1 ^ -(y&1)&0x9908b0df
		}
		t.next = 0
	}
	y := t.state[t.next]
	t.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// dead says that the state is all zero, from which nothing but zeros comes: of the first
// word only the highest bit counts.
func (t *twister) dead() bool {
	if t.state[0]>>31 != 0 {
		return false
	}
	for _, w := range t.state[1:] {
		if w != 0 {
			return false
		}
	}
	return true
}

// below is a number in [0, n), n from 1 to 2^32-1: as many bits as n has, until one is below.
func (t *twister) below(n int) int {
	shift := 32 - bits.Len32(uint32(n))
	for {
		if v := int(t.uint32() >> shift); v < n {
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
