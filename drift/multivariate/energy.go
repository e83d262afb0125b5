package multivariate

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// EnergyOptions are the parameters of Energy. The zero value is the default.
type EnergyOptions struct {
	Rows         int     // of a side at most, a seeded sample of more; 0: 1000
	Permutations int     // 0: 499
	Seed         uint64  // of the sample and the permutations
	Alpha        float64 // a p-value below drifts; 0: 0.05

	byReference bool // the scale is the reference's, as that of the golden values
}

func (o EnergyOptions) withDefaults() (EnergyOptions, error) {
	if o.Rows == 0 {
		o.Rows = 1000
	}
	if o.Permutations == 0 {
		o.Permutations = 499
	}
	if o.Alpha == 0 {
		o.Alpha = 0.05
	}
	var errs []error
	if o.Rows < 2 || o.Rows > 10_000 { // all distances of 20,000 rows are 3.2 GB
		errs = append(errs, fmt.Errorf("rows must be 2 to 10000, got %d", o.Rows))
	}
	if o.Permutations < 1 {
		errs = append(errs, fmt.Errorf("permutations must be at least 1, got %d", o.Permutations))
	}
	if !(o.Alpha > 0 && o.Alpha < 1) {
		errs = append(errs, fmt.Errorf("alpha must be between 0 and 1, got %v", o.Alpha))
	}
	return o, errors.Join(errs...)
}

// EnergyResult is the energy distance between two sides.
type EnergyResult struct {
	Distance                       float64 // see Energy
	PValue                         float64 // of as large a distance where both sides have one distribution
	Drifted                        bool
	RowsOfReference, RowsOfCurrent int // that were compared

	// Contributions are the columns' parts of the squared distance, estimated without bias:
	// each distance d between two rows is the sum over the columns of s/d, where s is the
	// column's part of the squared one. A column with a part below 0 has none.
	Contributions []Contribution
}

// Energy returns the energy distance between the rows x of the reference and y of the current
// side (Székely and Rizzo 2013, "Energy statistics"),
//
//	sqrt(2 E|x-y| - E|x-x'| - E|y-y'|)
//
// of Euclidean distances between standardised rows. Numeric columns are standardised by the rows
// of both sides that are compared. Two categories are 0 or sqrt(2/g) apart, where g is the
// probability that two of these rows differ, so that the expected squared distance is 2, a numeric
// column's. Of one numeric column this is scipy.stats.energy_distance of the standardised values.
//
// The p-value is (1 + permutations of the sides that are as far apart) / (1 + permutations). It is
// exact because a permutation leaves the scale as it is. One that the reference had by itself would
// not be a permutation's: its own rows would lie closer than any others (a quarter of equal
// distributions at 0.05, where rows are few and values skewed).
func Energy(reference, current Matrix, o EnergyOptions) (EnergyResult, error) {
	r, err := energy(reference, current, o)
	if err != nil {
		return EnergyResult{}, fmt.Errorf("energy distance: %w", err)
	}
	return r, nil
}

func energy(reference, current Matrix, o EnergyOptions) (EnergyResult, error) {
	o, err := o.withDefaults()
	if err != nil {
		return EnergyResult{}, err
	}
	if err := checkPair(reference, current, 1); err != nil {
		return EnergyResult{}, err
	}
	if err := errors.Join(reference.checkFinite("reference"), current.checkFinite("current")); err != nil {
		return EnergyResult{}, err
	}
	random := rand.New(rand.NewPCG(o.Seed, seedEnergy)) //nolint:gosec // a reproducible sample, not a secret
	rows := [2][]int{sampleRows(reference.Rows(), o.Rows, random), sampleRows(current.Rows(), o.Rows, random)}
	points, err := newPoints(reference, current, rows, o.byReference)
	if err != nil {
		return EnergyResult{}, err
	}
	m, n := len(rows[0]), len(rows[1])
	distances, sums := points.distances(m)

	all := len(points.columns) // the index of sums of all columns
	squared := sums.biased(all, m, n)
	if squared < 1e-12*sums.between[all]/float64(m)/float64(n) {
		squared = 0 // rounding of the sums explains it
	}
	amounts := make([]float64, all)
	for j := range amounts {
		amounts[j] = sums.unbiased(j, m, n)
	}
	res := EnergyResult{
		Distance:        math.Sqrt(math.Max(0, squared)),
		PValue:          permutationP(distances, m, n, squared, o.Permutations, random),
		RowsOfReference: m, RowsOfCurrent: n,
		Contributions: shares(amounts),
	}
	res.Drifted = res.PValue < o.Alpha
	return res, nil
}

// Streams of the random numbers of a seed.
const (
	seedEnergy     = 1
	seedClassifier = 2
)

// points are the rows of both sides, standardised, the reference's first.
type points struct {
	columns [][]float64
	apart   []float64 // squared distance of two categories; 0: numeric
}

// newPoints standardises by the rows of both sides that are compared; where byReference is set, by
// all rows of the reference.
func newPoints(reference, current Matrix, rows [2][]int, byReference bool) (points, error) {
	p := points{columns: make([][]float64, len(reference.Columns)), apart: make([]float64, len(reference.Columns))}
	for j, values := range reference.Columns {
		out := make([]float64, 0, len(rows[0])+len(rows[1]))
		for _, i := range rows[0] {
			out = append(out, values[i])
		}
		for _, i := range rows[1] {
			out = append(out, current.Columns[j][i])
		}
		p.columns[j] = out
		of := out
		if byReference {
			of = values
		}
		if reference.categorical(j) {
			p.apart[j] = 2 / diversity(of)
			for i, v := range out {
				if math.IsNaN(v) {
					out[i] = math.Inf(1) // no code is infinite
				}
			}
			continue
		}
		c, ok := fit(of)
		if !ok || empty(values) {
			return points{}, noValue(reference, j)
		}
		for i, v := range out {
			out[i] = c.at(v)
		}
	}
	return p, nil
}

func empty(values []float64) bool {
	return !slices.ContainsFunc(values, func(v float64) bool { return !math.IsNaN(v) })
}

// diversity is the probability that two rows differ (Gini 1912), and 1 where none do: then
// there is no scale.
func diversity(codes []float64) float64 {
	// In ascending order, NaN first: the sum is the same to the bit in whatever order rows come.
	sorted := slices.Sorted(slices.Values(codes))
	n, same := float64(len(sorted)), 0.0
	for first := 0; first < len(sorted); {
		last := first + 1
		for last < len(sorted) && (sorted[last] == sorted[first] || math.IsNaN(sorted[last]) && math.IsNaN(sorted[first])) {
			last++
		}
		share := float64(last-first) / n
		same += share * share
		if share == 1 {
			return 1
		}
		first = last
	}
	return 1 - same
}

// pairSums are sums of the distances within the reference, within the current side and
// between them: each column's part, and then all of them.
type pairSums struct{ within0, within1, between []float64 }

// biased is the squared energy distance of the two samples as they are.
func (s pairSums) biased(k, m, n int) float64 {
	return squaredEnergy(s.within0[k], s.within1[k], s.between[k], m, n)
}

func squaredEnergy(within0, within1, between float64, m, n int) float64 {
	a, b := float64(m), float64(n)
	return 2*(between/a/b) - 2*(within0/a/a) - 2*(within1/b/b)
}

// unbiased estimates that of the distributions, where a row is not compared with itself.
func (s pairSums) unbiased(k, m, n int) float64 {
	if m < 2 || n < 2 {
		return s.biased(k, m, n)
	}
	a, b := float64(m), float64(n)
	return 2*(s.between[k]/a/b) - 2*(s.within0[k]/a/(a-1)) - 2*(s.within1[k]/b/(b-1))
}

// distances returns all of them, row by row, and their sums; the first m rows are the
// reference.
func (p points) distances(m int) ([][]float64, pairSums) {
	d, n := len(p.columns), len(p.columns[0])
	sums := pairSums{make([]float64, d+1), make([]float64, d+1), make([]float64, d+1)}
	out := make([][]float64, n)
	for i := range out {
		out[i] = make([]float64, n)
	}
	squares := make([]float64, d)
	for i := range n {
		for k := range i {
			total := 0.0
			for j, c := range p.columns {
				switch {
				case p.apart[j] == 0:
					squares[j] = (c[i] - c[k]) * (c[i] - c[k])
				case c[i] != c[k]:
					squares[j] = p.apart[j]
				default:
					squares[j] = 0
				}
				total += squares[j]
			}
			to := sums.between
			switch {
			case i < m:
				to = sums.within0
			case k >= m:
				to = sums.within1
			}
			distance := math.Sqrt(total)
			out[i][k], out[k][i] = distance, distance
			if distance == 0 {
				continue
			}
			to[d] += distance
			for j, s := range squares {
				to[j] += s / distance
			}
		}
	}
	return out, sums
}

// permutationP permutes the sides. Of a permutation it sums the distances within the smaller
// side; the other sums follow from the rows' and the total.
func permutationP(distances [][]float64, m, n int, squared float64, permutations int, random *rand.Rand) float64 {
	rowSums := make([]float64, m+n)
	total := 0.0
	for i, row := range distances {
		for _, v := range row {
			rowSums[i] += v
		}
		total += rowSums[i] / 2
	}
	small := min(m, n)
	asFar := 0
	for range permutations {
		rows := sampleRows(m+n, small, random)
		within, out := 0.0, 0.0
		for a, i := range rows {
			row := distances[i]
			sum := 0.0
			for _, k := range rows[:a] {
				sum += row[k]
			}
			within += sum
			out += rowSums[i]
		}
		between := out - 2*within
		d := squaredEnergy(within, total-between-within, between, small, m+n-small)
		// The sides themselves, permuted, are as far but for rounding of the sums.
		if d >= squared-1e-12*total/float64(m)/float64(n) {
			asFar++
		}
	}
	return float64(1+asFar) / float64(1+permutations)
}
