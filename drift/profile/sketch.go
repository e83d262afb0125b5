package profile

import (
	"encoding/binary"
	"math"
)

const (
	// pendingValues is how many values are kept until they are merged into a digest.
	pendingValues = 2048
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
}

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

// merge returns the centroids of a digest with what is pending, valid until the next call.
func (s *sketcher) merge(d *digest) []centroid {
	if len(d.pending) == 0 {
		return d.centroids
	}
	keys, old := s.sort(d.pending), d.centroids
	n := float64(d.merged + uint64(len(keys)))
	s.out = s.out[:0]
	step := 0
	end := n * sketchGrid[0]
	before, sum, weight := 0.0, 0.0, 0.0 // before the centroid, and of it
	add := func(mean, w float64) {
		if middle := before + weight + w/2; middle >= end {
			if weight > 0 {
				s.out = append(s.out, centroid{float32(sum / weight), uint32(weight)})
			}
			before, sum, weight = before+weight, 0, 0
			for middle >= end {
				step++
				end = n * sketchGrid[step]
			}
		}
		sum += mean * w
		weight += w
	}
	for _, k := range keys {
		x := valueOfKey32(k)
		for len(old) > 0 && old[0].mean <= x {
			add(float64(old[0].mean), float64(old[0].weight))
			old = old[1:]
		}
		add(float64(x), 1)
	}
	for _, c := range old {
		add(float64(c.mean), float64(c.weight))
	}
	s.out = append(s.out, centroid{float32(sum / weight), uint32(weight)})
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
func (s *sketcher) encode(d *digest) []byte {
	out := s.merge(d)
	b := binary.AppendUvarint(make([]byte, 0, 3+8*len(out)), uint64(len(out)))
	low := float32(math.Inf(-1))
	for _, c := range out {
		low = max(low, c.mean) // neighbours may have changed places within what sort tells apart
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(low))
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(c.weight)))
	}
	return b
}
