package detect

import (
	"encoding/binary"
	"hash/crc32"
)

// KSExact is the p-value of KSWIN's test.
func KSExact(n, h int) float64 { return ksExact(n, h) }

// Twister draws as Python's random.Random(seed).
type Twister struct{ t twister }

// NewTwister is random.Random(seed).
func NewTwister(seed uint64) *Twister {
	t := new(Twister)
	t.t.seed(seed)
	return t
}

// Sample is random.sample(range(n), k).
func (t *Twister) Sample(n, k int) []int {
	out, scratch := make([]int, k), make([]int, n)
	for i := range scratch {
		scratch[i] = -i
	}
	t.t.sample(out, n, scratch)
	return out
}

// Word is random.getrandbits(32).
func (t *Twister) Word() uint32 { return t.t.source.Uint32() }

// Seal puts the right checksum on a state, so that what lies behind it can be tested.
func Seal(state []byte) []byte {
	n := len(state) - 4
	if n < 0 {
		return state
	}
	return binary.LittleEndian.AppendUint32(state[:n:n], crc32.ChecksumIEEE(state[:n]))
}
