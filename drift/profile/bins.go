package profile

import (
	"math"
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
	keys    []int64   // of the edges, ascending, and twice what is above all keys
	windows [2]window // of keys that are not negative, and of negative ones
	slots   int       // of both
	fine    bool      // no slot within a window has two edges
}

// window is the keys of one sign about the edges, cut into slots of equal width. The first and the
// last slot are what lies below and above.
type window struct {
	low   int64
	shift uint8
	drop  uint8    // what is left of a key in its slot less these bits has at most 16
	base  int      // slots of the window before
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
	t.keys = append(t.keys, math.MaxInt64, math.MaxInt64)
	return t
}

// window makes the window of the edges [from, to), of which below are before its sign, within the
// keys that it may have.
func (t *bins) window(at, from, to, below int, least, greatest int64) {
	w := &t.windows[at]
	w.base = t.slots
	if from == to {
		w.first = []uint16{uint16(below)}
		t.slots++
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
	w.low, w.drop = low, max(w.shift, 16)-16
	last := (high-low)>>w.shift + 2
	w.first = make([]uint16, last+1)
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
	t.slots += len(w.first)
}

// add counts values by bin, and returns the least and the greatest of their keys and of two others.
// The bin is how many edges are not above the value.
func (t *bins) add(cells []uint32, block []float64, low, high int64) (least, greatest int64) {
	keys := t.keys
	for _, x := range block {
		k := orderedKey(x)
		low, high = min(low, k), max(high, k)
		w := &t.windows[uint64(k)>>63]
		slot := min(max((k-w.low)>>(w.shift&63)+1, 0), int64(len(w.first)-1))
		b := int(w.first[slot])
		if k >= keys[b] {
			b++
		}
		if k >= keys[b] {
			b = t.search(b, k)
		}
		cells[b]++
	}
	return low, high
}

// slotCounts are values by slot: how many from bit 40 on, which is enough for maxCounterRows, and the
// sum of what is left of their keys in the slot below.
type slotCounts []uint64

const slotRow = 1 << 40

// addFine is add for a column whose slots are counted too. It appends to rest what lies in no window.
func (t *bins) addFine(cells []uint32, counts slotCounts, block, rest []float64, low, high int64) (least, greatest int64, outside []float64) {
	keys := t.keys
	for _, x := range block {
		k := orderedKey(x)
		low, high = min(low, k), max(high, k)
		w := &t.windows[uint64(k)>>63]
		last := int64(len(w.first) - 1)
		d := k - w.low
		slot := min(max(d>>(w.shift&63)+1, 0), last)
		b := int(w.first[slot])
		if k >= keys[b] {
			b++
		}
		if k >= keys[b] {
			b = t.search(b, k)
		}
		cells[b]++
		if slot == 0 || slot == last {
			rest = append(rest, x)
			continue
		}
		left := uint64(d) & (1<<(w.shift&63) - 1) >> (w.drop & 63)
		counts[w.base+int(slot)] += slotRow | left
	}
	return low, high, rest
}

// appendSlots appends a centroid for each slot with values, of their mean, ascending by window.
func (t *bins) appendSlots(dst []centroid, counts slotCounts) []centroid {
	for i := range t.windows {
		w := &t.windows[i]
		for slot := range w.first {
			rows := counts[w.base+slot] / slotRow
			if rows == 0 {
				continue
			}
			left := float64(counts[w.base+slot]%slotRow) / float64(rows)
			k := w.low + int64(slot-1)<<w.shift + int64(left*float64(uint64(1)<<w.drop))
			dst = append(dst, centroid{valueOfKey32(orderedKey32(ofKey(k))), uint32(rows)})
		}
	}
	return dst
}

// search returns the bin of a key in a slot of many edges, of which b are passed.
func (t *bins) search(b int, k int64) int {
	rest := t.keys[b : len(t.keys)-2]
	return b + sort.Search(len(rest), func(i int) bool { return rest[i] > k })
}
