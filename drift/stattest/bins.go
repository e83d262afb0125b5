package stattest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
)

// DefaultBins is the number of quantile bins where none is given.
const DefaultBins = 10

// Bins are the cells of a numeric column: intervals, or single values. They belong to the
// reference: the current data are counted into them and never move them. Exactly one of
// the fields is set.
type Bins struct {
	// Edges are finite and ascending. Bin i is [Edges[i], Edges[i+1]), the last one with its
	// right edge; the first and last bin also take what lies outside, infinities included.
	Edges []float64

	// Values are cells of one value each, ascending.
	Values []float64
}

// NewBins returns the bins between given edges: two or more, finite and ascending.
func NewBins(edges []float64) (Bins, error) {
	if len(edges) < 2 {
		return Bins{}, fmt.Errorf("bins: %d edges, at least 2 are needed", len(edges))
	}
	for i, e := range edges {
		if math.IsNaN(e) || math.IsInf(e, 0) {
			return Bins{}, fmt.Errorf("bins: edge %d is %v, must be finite", i, e)
		}
		if i > 0 && e <= edges[i-1] {
			return Bins{}, fmt.Errorf("bins: edge %d is %v, must be above the one before, %v", i, e, edges[i-1])
		}
	}
	return Bins{Edges: slices.Clone(edges)}, nil
}

// errNoFinite is returned where bins would have to be made of nothing.
var errNoFinite = errors.New("no finite values to make bins of")

// QuantileBins returns n bins that each hold as near as can be to the same number of the
// reference's rows. The edges are its quantiles at i/n by linear interpolation
// (numpy.quantile's default), ties merged. As by the other constructors, infinite values
// are left out, and a reference of one value has three bins: below, the value, above.
func QuantileBins(reference Sample, n int) (Bins, error) {
	if n < 1 {
		return Bins{}, fmt.Errorf("quantile bins: %d bins, at least 1 is needed", n)
	}
	s := FiniteOnly(reference)
	if len(s.Values) == 0 {
		return Bins{}, fmt.Errorf("quantile bins: %w", errNoFinite)
	}
	low, high := s.Values[0], s.Values[len(s.Values)-1]
	if low == high {
		return aroundValue(low), nil
	}
	edges := []float64{low}
	q := quantiler{sample: s}
	for i := 1; i < n; i++ {
		edges = append(edges, q.at(float64(i)/float64(n)))
	}
	return Bins{Edges: ascending(append(edges, high))}, nil
}

// ascending drops the edges that are not above the one before or not below the last.
func ascending(edges []float64) []float64 {
	last := edges[len(edges)-1]
	out := edges[:1]
	for _, e := range edges[1:] {
		if e > out[len(out)-1] && e < last {
			out = append(out, e)
		}
	}
	return append(out, last)
}

// aroundValue returns the bins below, at and above v, of which the middle one is as narrow
// as can be. Where no number is above or below v, that bin is missing.
func aroundValue(v float64) Bins {
	width := max(math.Abs(v)/2, 0.5)
	var edges []float64
	for _, e := range []float64{v - width, v, math.Nextafter(v, math.Inf(1)), v + width} {
		if !math.IsInf(e, 0) {
			edges = append(edges, e)
		}
	}
	if len(edges) == 2 { // v is the largest number: the last bin is [v, v]
		edges = append(edges, v)
	}
	return Bins{Edges: edges}
}

// quantiler finds quantiles of a sample, in ascending order of their levels.
type quantiler struct {
	sample Sample
	rows   float64 // of the sample, once it has weights and was asked
	i      int
	upTo   float64 // rows of the values up to i, i included
}

// at returns the quantile at level: with weights, that of the values repeated as often.
func (q *quantiler) at(level float64) float64 {
	s := q.sample
	if s.Weights == nil {
		h := float64(len(s.Values)-1) * level
		k := int(h)
		return between(s.Values[k], s.Values[min(k+1, len(s.Values)-1)], h-float64(k))
	}
	if q.rows == 0 {
		q.rows, q.upTo = s.Rows(), s.Weights[0]
	}
	h := max(q.rows-1, 0) * level
	k := math.Floor(h)
	for q.upTo <= k && q.i < len(s.Values)-1 {
		q.i++
		q.upTo += s.Weights[q.i]
	}
	low, high := s.Values[q.i], s.Values[q.i]
	if q.upTo <= k+1 && q.i < len(s.Values)-1 {
		high = s.Values[q.i+1]
	}
	return between(low, high, h-k)
}

// between returns the point at t, from 0 to 1, of the way from a to b; in NumPy's order of
// operations, so that edges are the same to the bit. The conversions keep the compiler from
// fusing a product and a sum.
func between(a, b, t float64) float64 {
	d := b - a
	switch {
	case math.IsInf(d, 0):
		return float64(a*(1-t)) + float64(b*t)
	case t >= 0.5:
		return b - float64(d*(1-t))
	default:
		return a + float64(d*t)
	}
}

// EqualWidthBins returns n bins of the same width from the least to the greatest value of
// the reference (numpy.histogram_bin_edges).
func EqualWidthBins(reference Sample, n int) (Bins, error) {
	if n < 1 {
		return Bins{}, fmt.Errorf("equal width bins: %d bins, at least 1 is needed", n)
	}
	s := FiniteOnly(reference)
	if len(s.Values) == 0 {
		return Bins{}, fmt.Errorf("equal width bins: %w", errNoFinite)
	}
	low, high := s.Values[0], s.Values[len(s.Values)-1]
	if low == high {
		return aroundValue(low), nil
	}
	return Bins{Edges: linspace(low, high, n)}, nil
}

// SturgesBins returns bins of the same width, as many as Sturges's rule says for the rows of
// the reference, log2(n) + 1 rounded up (numpy.histogram_bin_edges, "sturges"). Bins of
// whole numbers, where integers is set, are 1 wide at least.
func SturgesBins(reference Sample, integers bool) (Bins, error) {
	s := FiniteOnly(reference)
	if len(s.Values) == 0 {
		return Bins{}, fmt.Errorf("sturges bins: %w", errNoFinite)
	}
	low, high := s.Values[0], s.Values[len(s.Values)-1]
	if low == high {
		return aroundValue(low), nil
	}
	return sturges(low, high, s.Rows(), integers), nil
}

func sturges(low, high, rows float64, integers bool) Bins {
	n := 1.0
	span, bins := high-low, math.Log2(max(rows, 1))+1
	if math.IsInf(span, 0) {
		n = math.Ceil(bins)
	} else if width := span / bins; width > 0 {
		if integers && width < 1 {
			width = 1
		}
		n = math.Ceil(span / width)
	}
	return Bins{Edges: linspace(low, high, int(max(n, 1)))}
}

// linspace returns n+1 edges from low to high by NumPy's rules, to the bit; equal ends are
// moved apart by a half each. Where NumPy refuses, edges that are equal, because the
// numbers lie too close, are merged, and ends that a half does not move are treated as
// a reference of one value.
func linspace(low, high float64, n int) []float64 {
	if low == high {
		low, high = low-0.5, high+0.5
		if low == high {
			return aroundValue(low).Edges
		}
	}
	edges := make([]float64, n+1)
	span := high - low
	step := span / float64(n)
	for i := range edges {
		switch {
		case math.IsInf(span, 0):
			edges[i] = between(low, high, float64(i)/float64(n))
		case step == 0: // denormal
			edges[i] = float64(float64(i)/float64(n)*span) + low
		default:
			edges[i] = float64(float64(i)*step) + low
		}
	}
	edges[n] = high
	return ascending(edges)
}

// ValueBins returns one cell for each value of the samples.
func ValueBins(samples ...Sample) Bins {
	var b Bins
	eachDistinct(samples, func(v float64) bool {
		b.Values = append(b.Values, v)
		return true
	})
	return b
}

// evidentlyValues is the number of distinct values of the reference up to which Evidently
// takes each for a cell.
const evidentlyValues = 20

// EvidentlyBins returns the cells of Evidently's get_binned_data, for comparison with its
// jensenshannon, psi and kl_div: Sturges's bins of both sides together where the reference
// has more than 20 distinct values, else the values themselves. They move with the current
// data, which is why they are not the default. integers says that both columns are of an
// integer type, for which NumPy's bins are 1 wide at least. Evidently leaves infinite values
// out beforehand: give FiniteOnly samples.
func EvidentlyBins(reference, current Sample, integers bool) (Bins, error) {
	s, err := bothSides("evidently bins", reference, current)
	if err != nil {
		return Bins{}, err
	}
	if Distinct(evidentlyValues+1, reference) <= evidentlyValues {
		return ValueBins(reference, current), nil
	}
	return sturges(s.low, s.high, s.rows, integers), nil
}

// EvidentlyHellingerBins returns the cells of Evidently's hellinger of a numeric column:
// Sturges's bins of the distinct values of both sides, whatever their number.
func EvidentlyHellingerBins(reference, current Sample, integers bool) (Bins, error) {
	s, err := bothSides("evidently bins", reference, current)
	if err != nil {
		return Bins{}, err
	}
	return sturges(s.low, s.high, float64(Distinct(math.MaxInt, FiniteOnly(reference), FiniteOnly(current))), integers), nil
}

type extent struct{ low, high, rows float64 }

func bothSides(what string, reference, current Sample) (extent, error) {
	a, b := FiniteOnly(reference), FiniteOnly(current)
	if len(a.Values) == 0 || len(b.Values) == 0 {
		return extent{}, fmt.Errorf("%s: %w", what, errNoFinite)
	}
	return extent{
		low:  min(a.Values[0], b.Values[0]),
		high: max(a.Values[len(a.Values)-1], b.Values[len(b.Values)-1]),
		rows: a.Rows() + b.Rows(),
	}, nil
}

// FiniteOnly returns the sample without its infinite values, which share its memory.
func FiniteOnly(s Sample) Sample {
	from := sort.Search(len(s.Values), func(i int) bool { return s.Values[i] >= -math.MaxFloat64 })
	to := sort.Search(len(s.Values), func(i int) bool { return s.Values[i] > math.MaxFloat64 })
	s.Values = s.Values[from:to]
	if s.Weights != nil {
		s.Weights = s.Weights[from:to]
	}
	return s
}

// Distinct returns the number of distinct values of samples together, counted up to most:
// telling few from many takes no time.
func Distinct(most int, samples ...Sample) int {
	n := 0
	eachDistinct(samples, func(float64) bool {
		n++
		return n < most
	})
	return n
}

// eachDistinct calls yield with the distinct values of samples together, ascending, until it
// returns false.
func eachDistinct(samples []Sample, yield func(float64) bool) {
	rest := make([][]float64, len(samples))
	for k, s := range samples {
		rest[k] = s.Values
	}
	for {
		next, some := 0.0, false
		for _, values := range rest {
			if len(values) > 0 && (!some || values[0] < next) {
				next, some = values[0], true
			}
		}
		if !some || !yield(next) {
			return
		}
		for k, values := range rest {
			if len(values) > 0 && values[0] == next {
				rest[k] = values[upTo(values, next):]
			}
		}
	}
}

// upTo returns how many of ascending values are not above v, in steps that double first:
// most values are distinct, or are equal to many others.
func upTo(values []float64, v float64) int {
	n := 1
	for n < len(values) && values[n-1] <= v {
		n *= 2
	}
	from := n / 2
	return from + sort.Search(min(n, len(values))-from, func(i int) bool { return values[from+i] > v })
}

// Len returns the number of cells.
func (b Bins) Len() int {
	if b.Values != nil {
		return len(b.Values)
	}
	return max(len(b.Edges)-1, 0)
}

// Index returns the cell of v, or -1 where v is NaN or, of single values, is not listed.
func (b Bins) Index(v float64) int {
	if math.IsNaN(v) || b.Len() == 0 {
		return -1
	}
	if b.Values != nil {
		i := sort.SearchFloat64s(b.Values, v)
		if i == len(b.Values) || b.Values[i] != v {
			return -1
		}
		return i
	}
	// The number of edges that are not above v, less one.
	i := sort.Search(len(b.Edges), func(i int) bool { return b.Edges[i] > v }) - 1
	return min(max(i, 0), len(b.Edges)-2)
}

// Count returns the rows of a sample in each cell. Of single values, those that are not
// listed are in none: ValueBins of both sides lists all.
func (b Bins) Count(s Sample) []float64 {
	out := make([]float64, b.Len())
	if len(out) == 0 {
		return out
	}
	if s.Weights == nil && len(s.Values) > len(out) {
		// Values are ascending: a cell ends where the next one begins.
		rest := s.Values
		for i := range out {
			switch {
			case b.Values != nil:
				rest = rest[sort.SearchFloat64s(rest, b.Values[i]):]
				n := sort.Search(len(rest), func(k int) bool { return rest[k] > b.Values[i] })
				out[i], rest = float64(n), rest[n:]
			case i == len(out)-1:
				out[i] = float64(len(rest))
			default:
				n := sort.SearchFloat64s(rest, b.Edges[i+1])
				out[i], rest = float64(n), rest[n:]
			}
		}
		return out
	}
	for i, v := range s.Values {
		if k := b.Index(v); k >= 0 {
			if s.Weights == nil {
				out[k]++
			} else {
				out[k] += s.Weights[i]
			}
		}
	}
	return out
}

// OtherCategory is the name of the cell for what is not listed.
const OtherCategory = "(other)"

// Categories are the cells of a categorical column, as the reference has them.
type Categories struct {
	Names []string // most frequent first
}

// TopCategories returns the categories with the most rows of the reference, at most top of
// them (0: all), the most frequent first and ties by name.
func TopCategories(reference map[string]float64, top int) Categories {
	names := make([]string, 0, len(reference))
	for name, n := range reference {
		if n > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(reference[b], reference[a]), cmp.Compare(a, b))
	})
	if top > 0 && len(names) > top {
		names = names[:top]
	}
	return Categories{Names: names}
}

// Cells returns the cells' names and the rows of both sides in them. A last cell,
// OtherCategory, holds what is not listed when either side has any.
func (c Categories) Cells(reference, current map[string]float64) (names []string, r, k []float64) {
	names = slices.Clone(c.Names)
	count := func(side map[string]float64) (cells []float64, other float64) {
		listed := make(map[string]bool, len(c.Names))
		cells = make([]float64, len(c.Names))
		for i, name := range c.Names {
			cells[i], listed[name] = side[name], true
		}
		// In the order of names, for sums of weights depend on it.
		var rest []string
		for name := range side {
			if !listed[name] {
				rest = append(rest, name)
			}
		}
		slices.Sort(rest)
		for _, name := range rest {
			other += side[name]
		}
		return cells, other
	}
	r, otherReference := count(reference)
	k, otherCurrent := count(current)
	if otherReference > 0 || otherCurrent > 0 {
		names, r, k = append(names, OtherCategory), append(r, otherReference), append(k, otherCurrent)
	}
	return names, r, k
}
