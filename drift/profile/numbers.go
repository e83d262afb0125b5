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

// numbers are the sums of deviations from an origin and of their squares, and the extremes.
type numbers struct {
	sum, squares doubled
	min, max     float64
}

var noNumbers = numbers{min: math.Inf(1), max: math.Inf(-1)}

// add adds at most blockValues finite values.
func (s *numbers) add(block []float64, origin float64) {
	var sums, squares [4]float64
	low, high := s.min, s.max
	i := 0
	for ; i+4 <= len(block); i += 4 {
		v := block[i : i+4 : i+4]
		for lane, x := range v {
			if x < low {
				low = x
			}
			if x > high {
				high = x
			}
			d := x - origin
			sums[lane] += d
			squares[lane] += float64(d * d)
		}
	}
	for lane, x := range block[i:] {
		if x < low {
			low = x
		}
		if x > high {
			high = x
		}
		d := x - origin
		sums[lane] += d
		squares[lane] += float64(d * d)
	}
	s.min, s.max = low, high
	s.sum.add((sums[0] + sums[1]) + (sums[2] + sums[3]))
	s.squares.add((squares[0] + squares[1]) + (squares[2] + squares[3]))
}

// addNumbers counts values of a column, nullBits where NULL.
func (c *Counter) addNumbers(p *column, s *state, values []float64, rows []int32) {
	n := len(values)
	if rows != nil {
		n = len(rows)
	}
	for from := 0; from < n; from += blockValues {
		to := min(from+blockValues, n)
		kept := 0
		if rows == nil {
			for _, x := range values[from:to] {
				if math.Float64bits(x)&expMask == expMask {
					s.special(x)
					continue
				}
				c.block[kept&(blockValues-1)] = x
				kept++
			}
		} else {
			for _, row := range rows[from:to] {
				x := values[row]
				if math.Float64bits(x)&expMask == expMask {
					s.special(x)
					continue
				}
				c.block[kept&(blockValues-1)] = x
				kept++
			}
		}
		if kept > 0 {
			c.addFinite(p, s, c.block[:kept])
		}
	}
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

// addFinite counts at most blockValues finite values.
func (c *Counter) addFinite(p *column, s *state, block []float64) {
	s.numbers.add(block, p.origin)
	d := &s.sketch
	if len(d.pending)+len(block) > pendingValues {
		room := pendingValues - len(d.pending)
		c.keep(d, block[:room])
		c.bytes += c.sketcher.flush(d)
		c.keep(d, block[room:])
	} else {
		c.keep(d, block)
	}
	bins, cells := p.bins, s.cells
	for _, x := range block {
		cells[bins.find(orderedKey(x))]++
	}
}

// keep makes values pending.
func (c *Counter) keep(d *digest, values []float64) {
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
