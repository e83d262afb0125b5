package estimate

import "gonum.org/v1/gonum/mathext/prng"

// mt19937 is the Mersenne Twister (Matsumoto and Nishimura 1998) as numpy's RandomState draws from
// it. It is here because NannyML decides on calibration by folds that RandomState(42) draws: with the
// same draws the decision is the same. Nothing else draws from it.
type mt19937 struct{ prng.MT19937 }

func newMT19937(seed uint32) *mt19937 {
	m := &mt19937{}
	m.Seed(uint64(seed))
	return m
}

// below returns a number from 0 to limit, by rejection of masked draws as numpy's legacy
// random_interval.
func (m *mt19937) below(limit uint32) uint32 {
	mask := limit
	for s := 1; s < 32; s *= 2 {
		mask |= mask >> s
	}
	for limit > 0 {
		if v := m.Uint32() & mask; v <= limit {
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
