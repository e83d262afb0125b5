package stattest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// dealer deals the rows of both sides, taken together, to two sides at random. Rows of one cell are
// alike. It is what permutation tests and the nulls of distances are made of.
type dealer struct {
	rng   *rand.Rand
	cells []float64  // rows of both sides together
	rows  [2]float64 // of each side
	total float64

	smaller int // the side that is drawn
	sides   [2][]float64
	take    func(cell int, rows float64) // into the smaller of the sides

	// One of three ways, by what they cost: rows drawn out of order, where table holds the cell of
	// each; rows drawn by their number and looked up in upTo, the rows of the cells up to each; or,
	// where there are few cells, the count of each.
	table   []int32
	upTo    []float64
	drawn   []float64 // rows of each cell that were drawn, where upTo is set; else nil
	touched []int     // cells of which any were
	normal  float64   // the variance from which a count is drawn as a rounded normal number

	rarest float64 // rows of both sides of what a distance tells apart, where these are fewest
}

const (
	mostTable   = 1 << 20 // rows of which a table of their cells is made; of more where it is the lesser
	singleRows  = 16      // a cell of so many rows is dealt row by row
	exactCells  = 64      // up to so many cells, counts are drawn exactly unless their variance is large
	exactRows   = 200     // of a cell, of which drawing the rows costs as much as drawing the count exactly
	roundedRows = 8       // of a cell, likewise, where counts are rounded normal numbers
	exactNormal = 100     // the variance from which a count is a rounded normal number
	largeNormal = 5       // likewise, of many cells, or halves of them: each has little part in a distance
)

// prepare starts the deals of a seed's stream. rows are those of a cell, of which drawing each costs
// as much as drawing the count.
func (d *dealer) prepare(seed, stream uint64, rows float64) {
	d.rng = rand.New(rand.NewPCG(seed, stream)) //nolint:gosec // a seeded simulation
	d.total = d.rows[0] + d.rows[1]
	if d.rows[1] < d.rows[0] {
		d.smaller = 1
	}
	switch few := d.rows[d.smaller] <= rows*float64(len(d.cells)); {
	case few && d.total <= float64(max(mostTable, 2*len(d.cells))):
		d.table = make([]int32, 0, int(d.total))
		for i, n := range d.cells {
			for range int(n) {
				d.table = append(d.table, int32(i))
			}
		}
	case few:
		d.upTo, d.drawn = make([]float64, len(d.cells)), make([]float64, len(d.cells))
		sum := 0.0
		for i, n := range d.cells {
			sum += n
			d.upTo[i] = sum
		}
	}
}

// prepareNull starts the deals of a distance's null.
func (d *dealer) prepareNull(seed uint64) {
	rows := float64(roundedRows)
	d.normal = largeNormal
	if len(d.cells) <= exactCells {
		rows, d.normal = exactRows, exactNormal
	}
	d.prepare(seed, seedNull, rows)
	for k := range d.sides {
		d.sides[k] = make([]float64, len(d.cells))
	}
	few := d.sides[d.smaller]
	d.take = func(cell int, rows float64) { few[cell] += rows }
}

// null makes the Null of a distance of d's cells.
func (d *dealer) null(distance Distance, o NullOptions) (*Null, error) {
	d.prepareNull(o.Seed)
	return d.nullBy(distance, o, func() (float64, error) {
		d.next()
		return distance.Of(d.sides[0], d.sides[1])
	})
}

// nullBy makes the Null of a distance of which draw makes a deal. draw keeps rarest up to date.
func (d *dealer) nullBy(distance Distance, o NullOptions, draw func() (float64, error)) (*Null, error) {
	n := &Null{rows: d.rows, square: distance.Square, unit: 1, draw: draw}
	if n.enough = o.Enough; n.enough <= 0 {
		n.enough = defaultEnough
	}
	n.most = min(max(dealsCost/len(d.cells), 2*secondDeals), mostDeals)
	if err := n.start(); err != nil {
		return nil, fmt.Errorf("null of %s: %w", distance.Name, err)
	}
	n.rarest = d.rarest
	return n, nil
}

// counts says that the count of each cell is drawn, not row by row.
func (d *dealer) counts() bool { return d.table == nil && d.upTo == nil }

// next deals the rows again, to sides.
func (d *dealer) next() {
	few, other := d.sides[d.smaller], d.sides[1-d.smaller]
	clear(few)
	d.deal(d.take)
	for i, n := range d.cells {
		other[i] = n - few[i]
	}
}

// deal deals the rows again: it calls take with the cells that rows of the smaller side are from,
// and how many.
func (d *dealer) deal(take func(cell int, rows float64)) {
	switch {
	case d.table != nil:
		// The first steps of a shuffle (Fisher and Yates), which any order of the rows is a start for.
		for i := range int(d.rows[d.smaller]) {
			j := i + int(d.rng.Uint64N(uint64(len(d.table)-i)))
			d.table[i], d.table[j] = d.table[j], d.table[i]
			take(int(d.table[i]), 1)
		}
	case d.upTo != nil:
		d.drawRows(take)
	default: // the count of each cell, given those before: multivariate hypergeometric
		left, all := d.rows[d.smaller], d.total
		for i, n := range d.cells {
			if left == 0 {
				break
			}
			k := d.drawCount(n, all, left)
			if k > 0 {
				take(i, k)
			}
			left, all = left-k, all-n
		}
	}
}

// drawRows draws rows one by one, each only once.
func (d *dealer) drawRows(take func(cell int, rows float64)) {
	for _, i := range d.touched {
		d.drawn[i] = 0
	}
	d.touched = d.touched[:0]
	for range int(d.rows[d.smaller]) {
		for {
			u := d.rng.Float64() * d.total
			i, _ := slices.BinarySearch(d.upTo, u)
			i = min(i, len(d.cells)-1)
			if d.drawn[i] > 0 && d.rng.Float64()*d.cells[i] < d.drawn[i] {
				continue // the row was drawn before
			}
			if d.drawn[i] == 0 {
				d.touched = append(d.touched, i)
			}
			d.drawn[i]++
			take(i, 1)
			break
		}
	}
}

// drawCount draws how many of left rows, dealt from all, are of the n rows of a cell.
func (d *dealer) drawCount(n, all, left float64) (k float64) {
	mean := left * (n / all)
	variance := mean * ((all - n) / all) * ((all - left) / max(all-1, 1))
	switch {
	case left == 0:
		return 0
	case left == all:
		return n
	case n <= singleRows:
		for row := range int(n) {
			if d.rng.Float64()*(all-float64(row)) < left-k {
				k++
			}
		}
		return k
	case variance < d.normal:
		return drawHypergeometric(d.rng, n, all-n, left)
	default:
		// A normal number, bent to the skewness of the hypergeometric distribution
		// (Cornish and Fisher 1938).
		z, deviation := d.rng.NormFloat64(), math.Sqrt(variance)
		skewness := (all - 2*n) / all * ((all - 2*left) / all) / deviation
		k = math.Round(mean + deviation*(z+skewness*(z*z-1)/6))
		return min(max(k, 0, left-(all-n)), n, left)
	}
}

const (
	pooledCells = 1024 // values up to which all are told apart
	innerCells  = 256  // of a side, of the same number of rows
	outerGrowth = 16   // toward its ends, a cell has a sixteenth of the rows beyond
)

// pool takes the values of both sides together, into d.cells, and returns the value of each
// cell, ascending.
func (d *dealer) pool(reference, current Sample) []float64 {
	b := Bins{}
	if Distinct(pooledCells+1, reference, current) <= pooledCells {
		b = ValueBins(reference, current)
	} else {
		b.Values = slices.Compact(slices.Sorted(slices.Values(append(marks(reference), marks(current)...))))
	}
	d.cells = make([]float64, len(b.Values))
	for _, s := range []Sample{reference, current} {
		for i, n := range rowsUpTo(s, b.Values) {
			d.cells[i] += n
		}
	}
	return b.Values
}

// rowsUpTo returns the rows above the mark before, and up to each. The last mark is the
// greatest value there is.
func rowsUpTo(s Sample, marks []float64) []float64 {
	out := make([]float64, len(marks))
	at := 0
	for i, m := range marks {
		to := at
		if at < len(s.Values) && s.Values[at] <= m {
			to = at + upTo(s.Values[at:], m)
		}
		if s.Weights == nil {
			out[i] = float64(to - at)
		} else {
			for _, w := range s.Weights[at:to] {
				out[i] += w
			}
		}
		at = to
	}
	return out
}

// marks are values of a sample between which the rows are few, and ever fewer to both ends.
func marks(s Sample) []float64 {
	n := s.Rows()
	var out []float64
	row, upTo, i := 0.0, 0.0, -1
	for {
		// The value of the row, counted from 0.
		if s.Weights == nil {
			i = int(row)
		} else {
			for upTo <= row && i < len(s.Values)-1 {
				i++
				upTo += s.Weights[i]
			}
		}
		out = append(out, s.Values[i])
		if row == n-1 {
			return out
		}
		beyond := min(row, n-1-row)
		row = min(row+math.Floor(max(min(beyond/outerGrowth, n/innerCells), 1)), n-1)
	}
}

// distanceOfValues is a distance of counts of ascending values.
func distanceOfValues(test string, values []float64) func(r, c []float64) (float64, error) {
	unit := max(math.Abs(values[0]), math.Abs(values[len(values)-1]))
	if unit == 0 {
		unit = 1
	}
	x := make([]float64, len(values)) // from -1 to 1, and near 0 where the values are near each other
	centre := values[len(values)/2] / unit
	for i, v := range values {
		x[i] = v/unit - centre
	}
	gaps := make([]float64, len(x))
	for i := range x[1:] {
		gaps[i] = (values[i+1]/unit - values[i]/unit)
	}
	return func(r, c []float64) (float64, error) {
		n, m := 0.0, 0.0
		for i := range r {
			n, m = n+r[i], m+c[i]
		}
		a, b := 1/n, 1/m
		gap, sum, squares, most := 0.0, 0.0, 0.0, 0.0
		var first, second float64 // moments of the reference
		for i := range r {
			gap += r[i]*a - c[i]*b
			sum += math.Abs(gap) * gaps[i]
			squares += gap * gap * gaps[i]
			most = max(most, math.Abs(gap))
			w := r[i] * x[i]
			first += w
			second += w * x[i]
		}
		switch test {
		case "ks":
			return most, nil
		case "ed":
			return math.Sqrt(2*squares) * math.Sqrt(unit), nil
		case "wasserstein_raw":
			return sum * unit, nil
		default:
			variance := second*a - first*a*first*a
			return sum / max(math.Sqrt(max(variance, 0)), wassersteinMinimum/unit), nil
		}
	}
}

// binned is a distance of counts of ascending values by the bins of the reference's.
func (d *dealer) binned(test *Test, values []float64, rule func(Sample) (Bins, error)) func(r, c []float64) (float64, error) {
	s := Sample{Values: make([]float64, 0, len(values)), Weights: make([]float64, 0, len(values))}
	cells := binCounts{d: d, test: test}
	return func(r, c []float64) (float64, error) {
		s.Values, s.Weights = s.Values[:0], s.Weights[:0]
		for i, n := range r {
			if n > 0 {
				s.Values, s.Weights = append(s.Values, values[i]), append(s.Weights, n)
			}
		}
		bins, err := rule(s)
		if err == nil && bins.Edges == nil {
			err = errors.New("bins of single values are categories, which deals are made of themselves")
		}
		if err != nil {
			return 0, err
		}
		cells.reset(bins.Len())
		at := 0
		for k := range cells.r {
			end := len(values)
			if k < len(cells.r)-1 {
				end = at
				for end < len(values) && values[end] < bins.Edges[k+1] {
					end++
				}
			}
			for ; at < end; at++ {
				cells.r[k] += r[at]
				cells.c[k] += c[at]
			}
		}
		return cells.score()
	}
}

// binCounts are the rows of both sides by bin, in one deal after the other.
type binCounts struct {
	d    *dealer
	test *Test
	r, c []float64
}

func (b *binCounts) reset(bins int) {
	b.r, b.c = slices.Grow(b.r[:0], bins)[:bins], slices.Grow(b.c[:0], bins)[:bins]
	clear(b.r)
	clear(b.c)
}

// score is the test's of the counts. It keeps the deal's rarest bin up to date.
func (b *binCounts) score() (float64, error) {
	for k := range b.r {
		if rows := b.r[k] + b.c[k]; rows > 0 {
			b.d.rarest = min(b.d.rarest, rows)
		}
	}
	result, err := b.test.Cells(b.r, b.c, Options{})
	return result.Score, err
}

// byQuantiles returns what deals values to sides and compares them over n quantile bins of the
// reference.
func (d *dealer) byQuantiles(test *Test, values []float64, n int) func() (float64, error) {
	q := newQuantileDeal(d, values, n)
	cells := binCounts{d: d, test: test}
	return func() (float64, error) {
		q.next()
		bins, err := QuantileBins(q.reference, n)
		if err != nil {
			return 0, err
		}
		cells.reset(bins.Len())
		entry, cell := 0, 0
		for k := range cells.r {
			end := len(values)
			if k < len(cells.r)-1 {
				end, _ = slices.BinarySearch(values, bins.Edges[k+1])
			}
			for ; entry < len(q.at) && q.at[entry] < end; entry++ {
				cells.r[k] += q.reference.Weights[entry]
			}
			cells.c[k] = q.upTo[end] - q.upTo[cell] - cells.r[k]
			cell = end
		}
		return cells.score()
	}
}

// quantileDeal deals values as far as quantiles of the reference tell them apart: its sample has
// the values that these are between, and what lies between two of them as one.
type quantileDeal struct {
	d      *dealer
	values []float64
	upTo   []float64 // rows of both sides in the cells before each
	ranks  []float64 // of the reference's rows that quantiles are between, ascending

	reference Sample
	at        []int // the cell of each value of it, the first of those that are taken as one
}

func newQuantileDeal(d *dealer, values []float64, n int) *quantileDeal {
	q := &quantileDeal{d: d, values: values, upTo: make([]float64, len(values)+1)}
	for i, rows := range d.cells {
		q.upTo[i+1] = q.upTo[i] + rows
	}
	for i := range n + 1 {
		k := math.Floor((d.rows[0] - 1) * (float64(i) / float64(n)))
		q.ranks = append(q.ranks, k, min(k+1, d.rows[0]-1))
	}
	slices.Sort(q.ranks)
	q.ranks = slices.Compact(q.ranks)
	return q
}

func (q *quantileDeal) next() {
	q.at, q.reference.Values, q.reference.Weights = q.at[:0], q.reference.Values[:0], q.reference.Weights[:0]
	if q.d.counts() {
		q.halve(0, len(q.values), q.d.rows[0], 0, q.ranks)
		return
	}
	q.d.next()
	upTo, from, rows, ranks := 0.0, 0, 0.0, q.ranks
	for i, n := range q.d.sides[0] {
		if upTo += n; n == 0 || len(ranks) > 0 && ranks[0] >= upTo {
			rows += n
			continue
		}
		q.add(from, rows)
		q.add(i, n)
		for from, rows = i+1, 0; len(ranks) > 0 && ranks[0] < upTo; {
			ranks = ranks[1:]
		}
	}
}

func (q *quantileDeal) add(cell int, rows float64) {
	if rows > 0 {
		q.at = append(q.at, cell)
		q.reference.Values, q.reference.Weights = append(q.reference.Values, q.values[cell]), append(q.reference.Weights, rows)
	}
}

// halve deals rows of the reference, of which there are others before them, to the cells from low to
// high: first how many are in a half of these, then in a half of that half, down to the cells that
// the ranks are in. So there are about as many draws as ranks have binary digits, not one a cell.
func (q *quantileDeal) halve(low, high int, rows, before float64, ranks []float64) {
	for len(ranks) > 0 && ranks[0] < before {
		ranks = ranks[1:]
	}
	if high-low == 1 || len(ranks) == 0 || ranks[0] >= before+rows {
		q.add(low, rows)
		return
	}
	middle := (low + high) / 2
	k := q.d.drawCount(q.upTo[middle]-q.upTo[low], q.upTo[high]-q.upTo[low], rows)
	q.halve(low, middle, k, before, ranks)
	q.halve(middle, high, rows-k, before+k, ranks)
}
