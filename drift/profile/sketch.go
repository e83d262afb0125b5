package profile

import (
	"encoding/binary"
	"math"
)

const (
	// pendingValues is how many values are kept until they are merged into a digest.
	pendingValues = 2048
	// fineAfter is after how many values those within the windows of the bins are counted by slot
	// instead, which costs less.
	fineAfter = 2048
	// sketchStep is how far a centroid reaches on the scale ln(q/(1-q)) of its quantile q: it has at
	// most about the share 4·0.01·q(1-q) of all values, as ClickHouse's quantilesTDigest.
	sketchStep = 0.04
	// sketchSteps reach to the quantiles of single values among 2^32.
	sketchSteps = 560
)

// sketchGrid are the quantiles at which centroids end: 1/(1+exp(-sketchStep·i)), ascending, and one
// that none reaches.
var sketchGrid = func() (grid [2*sketchSteps + 2]float64) {
	for i := range grid {
		grid[i] = 1 / (1 + math.Exp(-sketchStep*float64(i-sketchSteps)))
	}
	grid[len(grid)-1] = 2
	return grid
}()

// centroid is weight values whose mean is mean.
type centroid struct {
	mean   float32
	weight uint32
}

// digest is a merging t-digest (Dunning and Ertl, Computing Extremely Accurate Quantiles Using
// t-Digests, 2019) of values as 32-bit floats, whose scale function is the logit and whose centroids
// end on a fixed grid of it. It is a function of the sequence of values, however they come.
type digest struct {
	pending   []int32    // keys of values, in order of arrival
	centroids []centroid // of the others, ascending
	merged    uint64     // values in them
	slots     slotCounts // of values that are in neither; nil before there are many
}

// values returns how many values are not in slots.
func (d *digest) values() uint64 { return d.merged + uint64(len(d.pending)) }

const maxKey32 = int32(0x7f7fffff) // of the greatest 32-bit float

// orderedKey32 returns an integer that is ordered as x is, which is finite, rounded to 32 bits.
func orderedKey32(x float64) int32 {
	bits := int32(math.Float32bits(float32(x)))
	return min(max(bits^int32(uint32(bits>>31)>>1), -maxKey32-1), maxKey32)
}

// valueOfKey32 is the inverse of orderedKey32.
func valueOfKey32(k int32) float32 {
	return math.Float32frombits(uint32(k ^ int32(uint32(k>>31)>>1)))
}

// sketcher is what digests are merged with.
type sketcher struct {
	keys  [2][]int32
	out   []centroid
	slots []centroid
	both  []centroid // those of slots and the others
	count [2][1 << digitBits]uint32
}

const digitBits = 10

// sort returns keys in ascending order, as exactly as the leading 20 bits of what they differ in
// tell. They are more than 0 and at most pendingValues; the result is valid until the next call.
func (s *sketcher) sort(keys []int32) []int32 {
	low, high := keys[0], keys[0]
	for _, k := range keys {
		low, high = min(low, k), max(high, k)
	}
	span, shift := uint32(high)-uint32(low), 0
	for span>>shift >= 1<<(2*digitBits) {
		shift++
	}
	s.count = [2][1 << digitBits]uint32{}
	const mask = 1<<digitBits - 1
	for _, k := range keys {
		d := (uint32(k) - uint32(low)) >> (shift & 31)
		s.count[0][d&mask]++
		s.count[1][d>>digitBits&mask]++
	}
	for p := range s.count {
		total := uint32(0)
		for i, n := range &s.count[p] {
			s.count[p][i] = total
			total += n
		}
	}
	for p := range s.keys {
		if cap(s.keys[p]) < len(keys) {
			s.keys[p] = make([]int32, pendingValues)
		}
		s.keys[p] = s.keys[p][:len(keys)]
	}
	from := keys
	for p := range s.keys {
		to := s.keys[p]
		places := &s.count[p]
		at := (shift + p*digitBits) & 31
		for _, k := range from {
			place := &places[(uint32(k)-uint32(low))>>at&mask]
			to[*place] = k
			*place++
		}
		from = to
	}
	return from
}

// merge returns the centroids of a digest with what is pending, slots left out; valid until the next
// call.
func (s *sketcher) merge(d *digest) []centroid {
	if len(d.pending) == 0 {
		return d.centroids
	}
	s.out = compress(s.out[:0], s.sort(d.pending), d.centroids, d.values())
	return s.out
}

// compress appends the centroids of n values, which are keys of single ones and centroids, both
// ascending.
func compress(dst []centroid, keys []int32, old []centroid, n uint64) []centroid {
	step, end := 0, float64(n)*sketchGrid[0]
	before, sum, weight := 0.0, 0.0, 0.0 // values before the next, and what the centroid has of them
	for len(keys)+len(old) > 0 {
		var mean float64
		w := 1.0
		if len(keys) == 0 || len(old) > 0 && old[0].mean <= valueOfKey32(keys[0]) {
			mean, w = float64(old[0].mean), float64(old[0].weight)
			old = old[1:]
		} else {
			mean = float64(valueOfKey32(keys[0]))
			keys = keys[1:]
		}
		if before+w/2 >= end {
			if weight > 0 {
				dst = append(dst, centroid{float32(sum / weight), uint32(weight)})
			}
			sum, weight = 0, 0
			for before+w/2 >= end {
				step++
				end = float64(n) * sketchGrid[step]
			}
		}
		sum += mean * w
		weight += w
		before += w
	}
	if weight > 0 {
		dst = append(dst, centroid{float32(sum / weight), uint32(weight)})
	}
	return dst
}

// withSlots returns centroids with those of slots, valid until the next call.
func (s *sketcher) withSlots(centroids []centroid, t *bins, counts slotCounts) []centroid {
	s.slots = t.appendSlots(s.slots[:0], counts)
	s.both = s.both[:0]
	slots, n := s.slots, uint64(0)
	for len(centroids)+len(slots) > 0 {
		from := &centroids
		if len(centroids) == 0 || len(slots) > 0 && slots[0].mean < centroids[0].mean {
			from = &slots
		}
		n += uint64((*from)[0].weight)
		s.both = append(s.both, (*from)[0])
		*from = (*from)[1:]
	}
	s.out = compress(s.out[:0], nil, s.both, n)
	return s.out
}

// flush merges what is pending, and returns by how many bytes the digest grew.
func (s *sketcher) flush(d *digest) int {
	out := s.merge(d)
	was := cap(d.centroids)
	d.centroids = append(d.centroids[:0], out...)
	d.merged += uint64(len(d.pending))
	d.pending = d.pending[:0]
	return 8 * (cap(d.centroids) - was)
}

// encode returns a digest as ClickHouse's quantilesTDigest serialises its state: how many centroids
// there are as a varint, then mean and weight of each as 32-bit floats. It leaves the digest as it is.
func (s *sketcher) encode(d *digest, t *bins) []byte {
	out := s.merge(d)
	if d.slots != nil {
		out = s.withSlots(out, t, d.slots)
	}
	b := binary.AppendUvarint(make([]byte, 0, 3+8*len(out)), uint64(len(out)))
	low := float32(math.Inf(-1))
	for _, c := range out {
		low = max(low, c.mean) // neighbours may have changed places within what sort tells apart
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(low))
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(c.weight)))
	}
	return b
}
