package compare

import (
	"math"
	"slices"
	"sync"

	"github.com/millrace/millrace/drift/stattest"
)

// Values are hashed in 64 bits for what only equality is asked of: whether columns are the
// same, and rows. Missing values are equal to each other, as in pandas, and so are 0 and -0.
const (
	missingHash = 0x9AE16A3B2F90404F
	golden      = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio
)

// mix spreads the bits of x (finalizer of splitmix64; Stafford's mix 13).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

func floatBits(v float64) uint64 {
	if v-v != 0 && math.IsNaN(v) {
		return missingHash
	}
	return math.Float64bits(v + 0) // -0 + 0 is 0
}

// textBits is FNV-1a, mixed.
func textBits(text string) uint64 {
	h := uint64(0xCBF29CE484222325)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 0x100000001B3
	}
	return mix(h)
}

const hashBlock = 1 << 16 // rows under one lock

// rowHashes are the sums over columns of their values' hashes, by row, so that columns may
// be added in any order and at the same time.
type rowHashes struct {
	limit int64 // rows beyond which there are none
	done  bool  // nothing is added any more

	mu     sync.Mutex
	blocks []*hashes
	over   bool
}

type hashes struct {
	mu  sync.Mutex
	sum [hashBlock]uint64
}

func (r *rowHashes) block(i int64) *hashes {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || (i+1)*hashBlock > r.limit+hashBlock {
		r.over, r.blocks = true, nil
		return nil
	}
	for int64(len(r.blocks)) <= i {
		r.blocks = append(r.blocks, &hashes{})
	}
	return r.blocks[i]
}

// add adds the bits of a column's values in consecutive rows from first.
func (r *rowHashes) add(first int64, bits []uint64, salt uint64) {
	if r.done {
		return
	}
	for len(bits) > 0 {
		at := int(first % hashBlock)
		k := min(len(bits), hashBlock-at)
		b := r.block(first / hashBlock)
		if b == nil {
			return
		}
		b.mu.Lock()
		sum := b.sum[at : at+k]
		for i, x := range bits[:k] {
			sum[i] += mix(x ^ salt)
		}
		b.mu.Unlock()
		bits, first = bits[k:], first+int64(k)
	}
}

// duplicated returns how many of the rows repeat an earlier one, and whether that is known.
// It takes two rooms for what it sorts.
func (r *rowHashes) duplicated(rows int64, room, scratch *[]float64) (int64, bool) {
	if r.over || rows == 0 {
		return 0, false
	}
	*room = slices.Grow((*room)[:0], int(rows))[:rows]
	all := *room // sorted as numbers of 52 bits and an exponent that is no NaN's
	for i := range all {
		all[i] = math.Float64frombits(r.blocks[i/hashBlock].sum[i%hashBlock] &^ (1 << 62))
	}
	*scratch = stattest.SortFloats(all, *scratch)
	repeats := int64(0)
	for i := 1; i < len(all); i++ {
		if all[i] == all[i-1] {
			repeats++
		}
	}
	return repeats, true
}
