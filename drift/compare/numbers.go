package compare

import (
	"math"
	"math/rand/v2"

	"github.com/millrace/millrace/drift/stattest"
)

// numbers collects the finite values of one side of a column: all of them while they fit;
// then values with their counts, as long as these are few; then a uniform sample.
// Its moments and extremes are those of all values in any case.
type numbers struct {
	limit  int       // values held at most
	values []float64 // in the order of rows, until they are folded or sorted

	distinct, counts []float64 // ascending; what was folded out of values

	sampled bool
	rng     *rand.Rand
	w       float64   // of Li's algorithm L
	next    int64     // index of the value that comes into the sample next
	pending []float64 // on their way into the sample and the moments

	n        int64 // finite values; not before finish, unless they are sampled
	missing  int64
	infinite int64
	min, max float64
	mean, m2 float64 // m2 is the sum of squared deviations
}

func newNumbers(limit int, seed, stream uint64) *numbers {
	return &numbers{limit: max(limit, 2), rng: randomOf(seed, stream)}
}

// randomOf makes samples that a seed makes again.
func randomOf(seed, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, stream)) //nolint:gosec // a sample, not a secret
}

// reset makes n ready for another column, with its memory.
func (n *numbers) reset(seed, stream uint64) {
	*n = numbers{limit: n.limit, values: n.values[:0], pending: n.pending[:0], rng: randomOf(seed, stream)}
}

// add takes values; NaN is missing.
func (n *numbers) add(block []float64) {
	for len(block) > 0 {
		room := n.limit - len(n.values) - len(n.distinct)
		switch {
		case n.sampled:
			room = max(n.block()-len(n.pending), 1)
		case room == 0 && block[0]-block[0] != 0: // takes none
			n.notFinite(block[0])
			block = block[1:]
			continue
		case room == 0:
			n.fold()
			continue
		}
		k := min(room, len(block))
		to := n.values
		if n.sampled {
			to = n.pending
		} else if cap(to)-len(to) < k {
			// Twice the room, not append's quarter more: what is left behind is less.
			to = append(make([]float64, 0, min(max(2*cap(to), len(to)+k), n.limit)), to...)
		}
		for _, v := range block[:k] {
			if v-v == 0 { // neither NaN nor infinite
				to = append(to, v)
			} else {
				n.notFinite(v)
			}
		}
		if !n.sampled {
			n.values = to
		} else if n.pending = to; len(to) >= n.block() {
			n.sample()
		}
		block = block[k:]
	}
}

// block is how many values wait to be sampled: no more than are held.
func (n *numbers) block() int { return min(blockRows, max(n.limit, leastHeld)) }

func (n *numbers) notFinite(v float64) {
	if math.IsNaN(v) {
		n.missing++
	} else {
		n.infinite++
	}
}

// describe adds values, which are few enough to stay in the cache, to the moments, by the
// formula for the union of two sets (Chan, Golub and LeVeque 1979).
func (n *numbers) describe(values []float64) {
	if len(values) == 0 {
		return
	}
	if n.n == 0 {
		n.min, n.max = values[0], values[0]
	}
	low, high, sum := n.min, n.max, 0.0
	for _, v := range values {
		low, high = min(low, v), max(high, v)
		sum += v
	}
	n.min, n.max = low, high
	k := float64(len(values))
	mean := sum / k
	m2 := 0.0
	for _, v := range values {
		m2 += (v - mean) * (v - mean)
	}
	total := float64(n.n) + k
	delta := mean - n.mean
	n.mean += delta * k / total
	n.m2 += m2 + delta*delta*(float64(n.n)*k/total)
	n.n += int64(len(values))
}

// fold makes room: equal values become one with a count. Where that frees less than half,
// the values are too many to be held, and a sample takes their place.
func (n *numbers) fold() {
	n.distinct, n.counts = n.folded(new([]float64))
	n.values = n.values[:0]
	if len(n.distinct) <= n.limit/2 {
		return
	}
	n.describeCounts()
	// A uniform sample of what was seen: limit of the n.n rows, by selection in order
	// (Knuth, algorithm S), then in random order, as a reservoir is.
	wanted, left := int64(n.limit), n.n
	for i, v := range n.distinct {
		for range int64(n.counts[i]) {
			if int64(n.rng.Uint64N(uint64(left))) < wanted {
				n.values = append(n.values, v)
				wanted--
			}
			left--
		}
	}
	n.rng.Shuffle(len(n.values), func(i, j int) { n.values[i], n.values[j] = n.values[j], n.values[i] })
	n.distinct, n.counts, n.sampled = nil, nil, true
	// Algorithm L begins with a full reservoir of its first rows; having seen n rows, the
	// largest of the reservoir's keys is the limit-th smallest of n uniform ones.
	n.w = betaOrder(n.rng, n.limit, n.n)
	n.next = n.n + n.skip()
}

// betaOrder returns the k-th smallest of n uniform numbers, which is Beta(k, n-k+1).
func betaOrder(rng *rand.Rand, k int, n int64) float64 {
	x, y := gamma(rng, float64(k)), gamma(rng, float64(n-int64(k)+1))
	return x / (x + y)
}

// gamma draws from Gamma(shape, 1), shape at least 1 (Marsaglia and Tsang 2000).
func gamma(rng *rand.Rand, shape float64) float64 {
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := rng.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-rng.Float64()) < 0.5*x*x+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

// skip returns how many rows are passed over before the next that is taken.
func (n *numbers) skip() int64 {
	s := math.Floor(math.Log(1-n.rng.Float64()) / math.Log1p(-n.w))
	if !(s < 1<<62) {
		return 1 << 62
	}
	return int64(s)
}

// sample lets the pending values pass by the reservoir (algorithm L; Li 1994).
func (n *numbers) sample() {
	for n.next < n.n+int64(len(n.pending)) {
		n.values[n.rng.IntN(len(n.values))] = n.pending[n.next-n.n]
		n.w *= math.Exp(math.Log(1-n.rng.Float64()) / float64(len(n.values)))
		n.next += n.skip() + 1
	}
	n.describe(n.pending)
	n.pending = n.pending[:0]
}

// folded returns the distinct values, ascending, and their counts.
func (n *numbers) folded(scratch *[]float64) (distinct, counts []float64) {
	n.sort(scratch)
	for i, j := 0, 0; i < len(n.distinct) || j < len(n.values); {
		var v, count float64
		switch {
		case j == len(n.values) || i < len(n.distinct) && n.distinct[i] < n.values[j]:
			v, count = n.distinct[i], n.counts[i]
			i++
		default:
			v = n.values[j]
			if i < len(n.distinct) && n.distinct[i] == v {
				count = n.counts[i]
				i++
			}
			for ; j < len(n.values) && n.values[j] == v; j++ {
				count++
			}
		}
		distinct, counts = append(distinct, v), append(counts, count)
	}
	return distinct, counts
}

func (n *numbers) sort(scratch *[]float64) { *scratch = stattest.SortFloats(n.values, *scratch) }

// describeCounts finds the moments of distinct and counts.
func (n *numbers) describeCounts() {
	rows, sum := 0.0, 0.0
	for i, v := range n.distinct {
		rows += n.counts[i]
		sum += v * n.counts[i]
	}
	n.n, n.mean = int64(rows), sum/rows
	n.min, n.max = n.distinct[0], n.distinct[len(n.distinct)-1]
	for i, v := range n.distinct {
		n.m2 += (v - n.mean) * (v - n.mean) * n.counts[i]
	}
}

// finish returns the sample, which shares its memory with n. Nothing is added after it.
// scratch is room for a sort.
func (n *numbers) finish(scratch *[]float64) stattest.Sample {
	s := stattest.Sample{Missing: float64(n.missing)}
	switch {
	case n.sampled:
		n.sample()
		n.sort(scratch)
	case len(n.distinct) > 0:
		n.distinct, n.counts = n.folded(scratch)
		n.values = n.values[:0]
		n.describeCounts()
		s.Values, s.Weights = n.distinct, n.counts
		return s
	default:
		n.sort(scratch)
		for rest := n.values; len(rest) > 0; {
			k := min(len(rest), blockRows)
			n.describe(rest[:k])
			rest = rest[k:]
		}
	}
	s.Values = n.values
	return s
}

// chunks cuts the values, in the order of rows, into so many parts of the same length; none
// where that order was lost.
func (n *numbers) chunks(parts int) []stattest.Sample {
	if n.sampled || len(n.distinct) > 0 || len(n.values) < parts {
		return nil
	}
	var out []stattest.Sample
	for i := range parts {
		from, to := i*len(n.values)/parts, (i+1)*len(n.values)/parts
		out = append(out, stattest.NewSample(n.values[from:to]))
	}
	return out
}
