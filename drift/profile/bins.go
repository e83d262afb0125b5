package profile

import (
	"math"
	"math/bits"
	"sort"
)

const (
	// maxSlots bounds the slots of a window: its table has 2 bytes for each.
	maxSlots = 1024
	binade   = 1 << 52 // of keys: a factor of two
)

// bins finds the bin of a number: a table over the leading bits of its key gives the first that it
// may be in, and most often one comparison the rest.
type bins struct {
	keys    []int64   // of the edges, ascending
	edges   []uint64  // the same, the sign flipped, and twice what is above all
	windows [2]window // of keys that are not negative, and of negative ones
	slots   int       // places of counts by slot, of both
	fine    bool      // no slot within a window has two edges
}

// window is the keys of one sign about the edges, cut into slots of equal width. The first and the
// last slot are what lies below and above.
type window struct {
	low   int64
	shift uint8
	drop  uint8    // what is left of a key in its slot less these bits has at most 16
	mask  uint64   // of what is left of a key in its slot
	base  int64    // places of the window before
	last  int64    // slot
	first []uint16 // the number of edges below a slot
}

// orderedKey returns an integer that is ordered as x is, which is not NaN; -0 and 0 have the same.
func orderedKey(x float64) int64 {
	bits := int64(math.Float64bits(x + 0))
	return bits ^ int64(uint64(bits>>63)>>1)
}

// ofKey is the inverse of orderedKey.
func ofKey(k int64) float64 {
	return math.Float64frombits(uint64(k ^ int64(uint64(k>>63)>>1)))
}

// newBins makes the table of edges that are finite and ascend.
func newBins(edges []float64) *bins {
	t := &bins{fine: true}
	for _, e := range edges {
		t.keys = append(t.keys, orderedKey(e))
	}
	positive := sort.Search(len(edges), func(i int) bool { return t.keys[i] >= 0 })
	// Edges about 0 would make slots wide: what is less than a 2^64th of the greatest lies outside.
	from, to := positive, positive
	for from < len(edges) && t.keys[len(edges)-1]-t.keys[from] > 64*binade {
		from++
	}
	for to > 0 && t.keys[to-1]-t.keys[0] > 64*binade {
		to--
	}
	t.window(0, from, len(edges), positive, orderedKey(0), orderedKey(math.MaxFloat64))
	t.window(1, 0, to, 0, orderedKey(-math.MaxFloat64), -1)
	for _, k := range t.keys {
		t.edges = append(t.edges, uint64(k)^1<<63)
	}
	t.edges = append(t.edges, math.MaxUint64, math.MaxUint64)
	return t
}

// window makes the window of the edges [from, to), of which below are before its sign, within the
// keys that it may have.
func (t *bins) window(at, from, to, below int, least, greatest int64) {
	w := &t.windows[at]
	w.base = int64(t.slots)
	if from == to {
		w.first = []uint16{uint16(below)}
		return
	}
	low, high := t.keys[from], t.keys[to-1]
	margin := int64(binade)
	if high > low {
		margin = min((high-low)/2, 2*binade)
	}
	low, high = max(low, least+margin)-margin, min(high, greatest-margin)+margin
	for (high-low)>>w.shift > maxSlots-4 {
		w.shift++
	}
	low = low >> w.shift << w.shift // so that of numbers with few digits nothing is dropped
	w.low, w.mask, w.drop = low, 1<<w.shift-1, max(w.shift, 16)-16
	last := (high-low)>>w.shift + 2
	w.last, w.first = last, make([]uint16, last+1)
	w.first[0] = uint16(below)
	for slot, i := int64(1), from; slot <= last; slot++ {
		w.first[slot] = uint16(i)
		inside := 0
		for i < to && (t.keys[i]-low)>>w.shift < slot {
			i++
			inside++
		}
		t.fine = t.fine && inside < 2
	}
	t.slots += len(w.first) + len(t.keys)
}

// found is where the values of a block belong.
type found struct {
	keys [blockValues]int64
	bins [blockValues]uint16 // how many edges are not above the value
}

// find finds at most blockValues values, and returns the least and the greatest of their keys and of
// two others. Its loops have no branches that depend on the values.
func (t *bins) find(f *found, block []float64, low, high int64) (least, greatest int64) {
	keys := f.keys[:len(block)]
	for i, x := range block {
		k := orderedKey(x)
		low, high = min(low, k), max(high, k)
		keys[i] = k
	}
	edges, crowded := t.edges, uint64(0)
	for i, k := range keys {
		w := &t.windows[uint64(k)>>63]
		slot := min(max((k-w.low)>>(w.shift&63)+1, 0), w.last)
		b := uint64(w.first[slot])
		_, below := bits.Sub64(uint64(k)^1<<63, edges[b], 0)
		b += 1 - below
		_, below = bits.Sub64(uint64(k)^1<<63, edges[b], 0)
		crowded |= 1 - below
		f.bins[i&(blockValues-1)] = uint16(b)
	}
	if crowded != 0 { // slots of several edges
		for i, k := range keys {
			f.bins[i&(blockValues-1)] = uint16(t.search(int(f.bins[i&(blockValues-1)]), k))
		}
	}
	return low, high
}

// slotCounts are values by slot; a slot with an edge has another place for those that are not below
// it. They say how many from bit 40 on, which is enough for maxCounterRows, and the sum of what is
// left of their keys in the slot below.
type slotCounts []uint64

// place returns the place of the values of a slot that are below its edge. The next is that of the
// others, where there is an edge, else of the next slot.
func (w *window) place(slot int64) int64 { return w.base + slot + int64(w.first[slot]) }

const slotRow = 1 << 40

// count counts at most blockValues values by slot where bins are fine, and puts those that lie outside
// of the windows into outside. It returns how many these are, and the least and the greatest key of all
// values and of two others.
func (t *bins) count(counts slotCounts, block []float64, outside *[blockValues]float64, low, high int64) (n int, least, greatest int64) {
	edges := t.edges
	for _, x := range block {
		k := orderedKey(x)
		low, high = min(low, k), max(high, k)
		w := &t.windows[uint64(k)>>63]
		d := k - w.low
		slot := d>>(w.shift&63) + 1
		if slot <= 0 || slot >= w.last {
			outside[n&(blockValues-1)] = x
			n++
			continue
		}
		first := uint64(w.first[slot])
		_, below := bits.Sub64(uint64(k)^1<<63, edges[first], 0)
		counts[uint64(w.base+slot)+first+1-below] += slotRow | uint64(d)&w.mask>>(w.drop&63)
	}
	return n, low, high
}

// edged tells whether a slot has an edge.
func (w *window) edged(slot int64) bool { return w.first[slot+1] > w.first[slot] }

// addSlots adds values that were counted by slot to cells.
func (t *bins) addSlots(cells []uint64, counts slotCounts) {
	for i := range t.windows {
		w := &t.windows[i]
		for slot := int64(1); slot < w.last; slot++ {
			at, bin := w.place(slot), w.first[slot]
			cells[bin] += counts[at] / slotRow
			if w.edged(slot) {
				cells[bin+1] += counts[at+1] / slotRow
			}
		}
	}
}

// appendSlots appends a centroid for each slot with values, of their mean, ascending.
func (t *bins) appendSlots(dst []centroid, counts slotCounts) []centroid {
	for _, w := range []*window{&t.windows[1], &t.windows[0]} {
		for slot := int64(1); slot < w.last; slot++ {
			at := w.place(slot)
			sum := counts[at]
			if w.edged(slot) {
				sum += counts[at+1]
			}
			rows := sum / slotRow
			if rows == 0 {
				continue
			}
			left := float64(sum%slotRow) / float64(rows)
			k := w.low + (slot-1)<<w.shift + int64(left*float64(uint64(1)<<w.drop))
			dst = append(dst, centroid{valueOfKey32(orderedKey32(ofKey(k))), uint32(rows)})
		}
	}
	return dst
}

// search returns the bin of a key that b edges are not above.
func (t *bins) search(b int, k int64) int {
	rest := t.keys[b:]
	if len(rest) == 0 || rest[0] > k {
		return b
	}
	return b + sort.Search(len(rest), func(i int) bool { return rest[i] > k })
}
