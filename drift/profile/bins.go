package profile

import (
	"math"
	"sort"
)

// maxSlots bounds the slots of a window: its table has 2 bytes for each.
const maxSlots = 2048

// bins finds the bin of a number: a table over the leading bits of its key gives the first that it
// may be in, and most often one comparison the rest.
type bins struct {
	edges   []float64
	keys    []int64   // of the edges, ascending, and twice what is above all keys
	windows [2]window // of keys that are not negative, and of negative ones
}

// window is the keys of one sign from the least to the greatest edge, cut into slots of equal width.
// Slot 0 is what lies below.
type window struct {
	low   int64
	shift uint8
	first []uint16 // the number of edges below a slot
}

// orderedKey returns an integer that is ordered as x is, which is not NaN; -0 and 0 have the same.
func orderedKey(x float64) int64 {
	bits := int64(math.Float64bits(x + 0))
	return bits ^ int64(uint64(bits>>63)>>1)
}

// newBins makes the table of edges that are finite and ascend.
func newBins(edges []float64) *bins {
	t := &bins{edges: edges}
	for _, e := range edges {
		t.keys = append(t.keys, orderedKey(e))
	}
	positive := sort.Search(len(edges), func(i int) bool { return t.keys[i] >= 0 })
	t.windows[0] = newWindow(t.keys[positive:], positive)
	t.windows[1] = newWindow(t.keys[:positive], 0)
	t.keys = append(t.keys, math.MaxInt64, math.MaxInt64)
	return t
}

// newWindow makes the window of keys of edges of one sign, of which below are before them.
func newWindow(keys []int64, below int) window {
	if len(keys) == 0 {
		return window{first: []uint16{uint16(below)}}
	}
	w := window{low: keys[0]}
	span := keys[len(keys)-1] - w.low
	for span>>w.shift > maxSlots-3 {
		w.shift++
	}
	w.first = make([]uint16, 2+span>>w.shift)
	w.first[0] = uint16(below)
	i := 0
	for slot := 1; slot < len(w.first); slot++ {
		for i < len(keys) && (keys[i]-w.low)>>w.shift < int64(slot-1) {
			i++
		}
		w.first[slot] = uint16(below + i)
	}
	return w
}

// find returns the bin of a key: how many edges are not above it.
func (t *bins) find(k int64) int {
	w := &t.windows[uint64(k)>>63]
	slot := min(max((k-w.low)>>(w.shift&63)+1, 0), int64(len(w.first)-1))
	b := int(w.first[slot])
	if k >= t.keys[b] {
		b++
	}
	if k >= t.keys[b] {
		return t.search(b, k)
	}
	return b
}

// search is find in a slot of many edges.
func (t *bins) search(b int, k int64) int {
	rest := t.keys[b : len(t.keys)-2]
	return b + sort.Search(len(rest), func(i int) bool { return rest[i] > k })
}
