package multivariate_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/multivariate"
)

// skewed returns rows of a lognormal, a normal and a categorical column, the numbers moved by shift.
func skewed(r *rand.Rand, rows int, shift float64) multivariate.Matrix {
	m := multivariate.Matrix{Columns: make([][]float64, 3), Categorical: []bool{false, false, true}}
	for range rows {
		m.Columns[0] = append(m.Columns[0], math.Exp(r.NormFloat64())+shift)
		m.Columns[1] = append(m.Columns[1], r.NormFloat64()+shift)
		m.Columns[2] = append(m.Columns[2], math.Floor(8*r.Float64()*r.Float64()))
	}
	return m
}

// atMost is a rate and three standard errors.
func atMost(rate float64, simulations int) float64 {
	return rate + 3*math.Sqrt(rate*(1-rate)/float64(simulations))
}

// TestEnergyHoldsItsRate: with equal distributions 5 % are called drifted. With the scale of the
// reference alone, its own rows would lie closer than any others: of ten columns with long tails, in 20 %.
func TestEnergyHoldsItsRate(t *testing.T) {
	const simulations, columns = 200, 10
	tails := func(seed uint64) multivariate.Matrix {
		m := normal(seed, 20, columns)
		for _, c := range m.Columns {
			for i, v := range c {
				c[i] = math.Exp(1.5 * v)
			}
		}
		return m
	}
	var pooled, byReference float64
	for k := range uint64(simulations) {
		reference, current := tails(2*k), tails(2*k+1)
		o := multivariate.EnergyOptions{Permutations: 99, Seed: k, Alpha: 0.055} // p-values are hundredths
		e, err := multivariate.Energy(reference, current, o)
		require.NoError(t, err)
		was, err := multivariate.EnergyByReference(reference, current, o)
		require.NoError(t, err)
		if e.Drifted {
			pooled += 1.0 / simulations
		}
		if was.Drifted {
			byReference += 1.0 / simulations
		}
	}
	require.LessOrEqual(t, pooled, atMost(0.05, simulations))
	require.Greater(t, byReference, atMost(0.05, simulations), "the scale of the reference alone")
}

// TestClassifierOfFewRows: with 20 rows on each side 5 % of equal distributions are called drifted,
// and a shift of two standard deviations is found. Where a number's own bin had no row that the
// classifier learned from, as nearly all of so few, it went to the right of every split.
func TestClassifierOfFewRows(t *testing.T) {
	const simulations = 200
	r := rand.New(rand.NewPCG(6, 6))
	for _, c := range []struct{ shift, least, most float64 }{{0, 0, atMost(0.05, simulations)}, {2, 0.8, 1}} {
		n := simulations
		if c.shift > 0 {
			n = 20
		}
		below := 0.0
		for k := range n {
			o := multivariate.ClassifierOptions{Seed: uint64(k), Folds: 2, Permutations: 9}
			x, err := multivariate.Classify(skewed(r, 20, 0), skewed(r, 20, c.shift), o)
			require.NoError(t, err)
			if x.PValue < 0.05 {
				below += 1 / float64(n)
			}
			require.Equal(t, x.Drifted, x.PValue < 0.05 && x.AUC > 0.65)
		}
		require.LessOrEqual(t, below, c.most, "moved by %v", c.shift)
		require.GreaterOrEqual(t, below, c.least, "moved by %v", c.shift)
	}
}

// TestSameBytes: the same figures for the same input and seed in call after call, whatever the
// number of processors; of categories, too.
func TestSameBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	reference, current := skewed(r, 90, 0), skewed(r, 120, 0.3)
	for i := range reference.Columns[2] { // many categories of all frequencies
		reference.Columns[2][i] = math.Floor(math.Exp(4 * r.Float64()))
	}
	all := func() string {
		e, err := multivariate.Energy(reference, current, multivariate.EnergyOptions{Permutations: 49, Seed: 3})
		require.NoError(t, err)
		c, err := multivariate.Classify(reference, current, multivariate.ClassifierOptions{Permutations: 4, Seed: 3})
		require.NoError(t, err)
		p, err := multivariate.FitPCA(reference, multivariate.PCAOptions{})
		require.NoError(t, err)
		q, err := p.Compare(current)
		require.NoError(t, err)
		text, err := json.Marshal([]any{e, c, p, q})
		require.NoError(t, err)
		return string(text)
	}
	want := all()
	for _, processors := range []int{1, 2, 8} {
		before := runtime.GOMAXPROCS(processors)
		for range 3 {
			require.Equal(t, want, all(), "%d processors", processors)
		}
		runtime.GOMAXPROCS(before)
	}
}
