package estimate

// mt19937 is the Mersenne Twister (Matsumoto and Nishimura 1998). It is here because NannyML
// decides on calibration by folds that numpy's RandomState(42) draws: with the same generator
// the decision is the same. Nothing else draws from it.
type mt19937 struct {
	state [624]uint32
	next  int
}

func newMT19937(seed uint32) *mt19937 {
	m := &mt19937{next: 624}
	m.state[0] = seed
	for i := 1; i < 624; i++ {
		m.state[i] = 1812433253*(m.state[i-1]^m.state[i-1]>>30) + uint32(i)
	}
	return m
}

func (m *mt19937) uint32() uint32 {
	if m.next == 624 {
		for i := range m.state {
			y := m.state[i]&0x80000000 | m.state[(i+1)%624]&0x7fffffff
			v := m.state[(i+397)%624] ^ y>>1
			if y&1 != 0 {
				v ^= 0x9908b0df
			}
			m.state[i] = v
		}
		m.next = 0
	}
	y := m.state[m.next]
	m.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// below returns a number from 0 to limit, by rejection of masked draws as numpy's legacy
// random_interval.
func (m *mt19937) below(limit uint32) uint32 {
	mask := limit
	for s := 1; s < 32; s *= 2 {
		mask |= mask >> s
	}
	for limit > 0 {
		if v := m.uint32() & mask; v <= limit {
			return v
		}
	}
	return 0
}

// shuffle is RandomState.shuffle.
func (m *mt19937) shuffle(v []int) {
	for i := len(v) - 1; i > 0; i-- {
		j := m.below(uint32(i))
		v[i], v[j] = v[j], v[i]
	}
}

// permutation is RandomState.permutation.
func (m *mt19937) permutation(n int) []int {
	v := make([]int, n)
	for i := range v {
		v[i] = i
	}
	m.shuffle(v)
	return v
}
