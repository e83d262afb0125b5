package profile

import "math"

const (
	expMask = 0x7ff << 52
	// nullBits stands for NULL among numbers: a NaN that a NaN of the data is not left to be.
	nullBits = 0x7ff8_0000_4e55_4c4c
	// blockValues is how many values are summed up plainly, in four lanes of 32.
	blockValues = 128
)

// doubled is a sum of two floats, of which low is what high has lost (Knuth's TwoSum).
type doubled struct{ high, low float64 }

func (s *doubled) add(x float64) {
	t := s.high + x
	y := t - s.high
	s.low += (s.high - (t - y)) + (x - y)
	s.high = t
}

// value is not finite where the sum is not.
func (s *doubled) value() float64 {
	if math.IsInf(s.high, 0) || math.IsNaN(s.high) {
		return s.high
	}
	return s.high + s.low
}

// numbers are the sums of deviations from an origin and of their squares, and the keys of the extremes.
type numbers struct {
	sum, squares doubled
	min, max     int64
}

// noNumbers are those of no value: the keys of the infinities.
var noNumbers = numbers{min: orderedKey(math.Inf(1)), max: orderedKey(math.Inf(-1))}

// add adds at most blockValues finite values.
func (s *numbers) add(block []float64, origin float64) {
	var s0, s1, s2, s3, q0, q1, q2, q3 float64
	for len(block) >= 4 {
		d0, d1, d2, d3 := block[0]-origin, block[1]-origin, block[2]-origin, block[3]-origin
		block = block[4:]
		s0, s1, s2, s3 = s0+d0, s1+d1, s2+d2, s3+d3
		q0, q1, q2, q3 = q0+float64(d0*d0), q1+float64(d1*d1), q2+float64(d2*d2), q3+float64(d3*d3)
	}
	for _, x := range block {
		d := x - origin
		s0 += d
		q0 += float64(d * d)
	}
	s.sum.add((s0 + s1) + (s2 + s3))
	s.squares.add((q0 + q1) + (q2 + q3))
}

// addNumbers counts values of a column, nullBits where NULL.
func (c *Counter) addNumbers(p *column, s *state, values []float64, rows []int32) {
	n := len(values)
	if rows != nil {
		n = len(rows)
	}
	for from := 0; from < n; from += blockValues {
		to := min(from+blockValues, n)
		if rows == nil && allFinite(values[from:to]) {
			c.addFinite(p, s, values[from:to])
			continue
		}
		kept := 0
		for i := from; i < to; i++ {
			row := i
			if rows != nil {
				row = int(rows[i])
			}
			x := values[row]
			if math.Float64bits(x)&expMask == expMask {
				s.special(x)
				continue
			}
			c.block[kept&(blockValues-1)] = x
			kept++
		}
		if kept > 0 {
			c.addFinite(p, s, c.block[:kept])
		}
	}
}

// allFinite tells whether no value is NaN, infinite or NULL: no exponent is all ones, to which one more
// would carry into the sign.
func allFinite(values []float64) bool {
	carry := uint64(0)
	for _, x := range values {
		carry |= math.Float64bits(x)&expMask + 1<<52
	}
	return carry>>63 == 0
}

// special counts what is no finite number.
func (s *state) special(x float64) {
	switch {
	case math.Float64bits(x) == nullBits:
		s.missing++
	case x > 0:
		s.positive++
		s.cells[len(s.cells)-1]++
	case x < 0:
		s.negative++
		s.cells[0]++
	default:
		s.nan++
	}
}

// addFinite counts at most blockValues finite values: the first of a state each by its bin and for
// the digest, then by slot, of which both are made in the end, where the bins allow that.
func (c *Counter) addFinite(p *column, s *state, block []float64) {
	s.numbers.add(block, p.origin)
	d := &s.sketch
	if d.slots == nil {
		early := len(block)
		if p.bins.fine {
			early = min(early, fineAfter-int(d.values()))
		}
		c.addBinned(p, s, block[:early])
		c.keep(d, block[:early])
		if block = block[early:]; len(block) == 0 {
			return
		}
		d.slots = make(slotCounts, p.bins.slots)
		c.bytes += 8 * p.bins.slots
	}
	var outside int
	outside, s.numbers.min, s.numbers.max = p.bins.count(d.slots, block, &c.outside, s.numbers.min, s.numbers.max)
	if outside > 0 {
		c.addBinned(p, s, c.outside[:outside])
		c.keep(d, c.outside[:outside])
	}
}

// addBinned counts values by bin.
func (c *Counter) addBinned(p *column, s *state, block []float64) {
	f := &c.found
	s.numbers.min, s.numbers.max = p.bins.find(f, block, s.numbers.min, s.numbers.max)
	cells := s.cells
	for _, b := range f.bins[:len(block)] {
		cells[b]++
	}
}

// keep adds values to a digest.
func (c *Counter) keep(d *digest, values []float64) {
	if len(d.pending)+len(values) > pendingValues {
		room := pendingValues - len(d.pending)
		c.append(d, values[:room])
		c.bytes += c.sketcher.flush(d)
		values = values[room:]
	}
	c.append(d, values)
}

// append makes values pending, for which there is room.
func (c *Counter) append(d *digest, values []float64) {
	if free := cap(d.pending) - len(d.pending); free < len(values) {
		more := min(max(16, 2*cap(d.pending), len(d.pending)+len(values)), pendingValues)
		c.bytes += 4 * (more - cap(d.pending))
		d.pending = append(make([]int32, 0, more), d.pending...)
	}
	at := len(d.pending)
	d.pending = d.pending[:at+len(values)]
	for i, x := range values {
		d.pending[at+i] = orderedKey32(x)
	}
}
