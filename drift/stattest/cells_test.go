package stattest_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/stattest"
)

// cellNames are the tests of cells, in the documented order.
var cellNames = []string{"chisquare", "g_test", "z", "fisher_exact", "TVD", "l_infinity", "jensenshannon", "psi", "kl_div", "hellinger"}

// symmetric are those of which the sides can be exchanged, all but for the sign of z.
var symmetric = []string{"chisquare", "g_test", "z", "TVD", "l_infinity", "jensenshannon", "psi", "hellinger"}

func cellTestOf(t require.TestingT, name string) cellTest {
	test := stattest.Lookup(name)
	require.NotNil(t, test, name)
	require.NotNil(t, test.Cells, name)
	return func(reference, current []float64) (stattest.Result, error) {
		return test.Cells(reference, current, stattest.Options{Seed: 1, Permutations: 20})
	}
}

func TestCellTests(t *testing.T) {
	var names []string
	for _, test := range stattest.Tests() {
		if test.Cells == nil {
			continue
		}
		names = append(names, test.Name)
		r, err := test.Cells([]float64{30, 20}, []float64{10, 40}, stattest.Options{})
		require.NoError(t, err, test.Name)
		require.Equal(t, test.PValue, r.PValue != nil, test.Name)
		require.Equal(t, test.PValue, r.Method != "", test.Name)
		require.Positive(t, r.Score*r.Score, test.Name)
		require.True(t, test.Drifted(r, test.Threshold), test.Name)
		require.False(t, test.Binned && test.PValue, "numeric columns have tests of their values")
		if test.PValue && test.Name != "TVD" { // the distance is its own effect size
			require.NotNil(t, r.EffectSize, test.Name)
		}
	}
	require.Equal(t, cellNames, names)
}

func TestCellGuards(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, name := range cellNames {
		f := cellTestOf(t, name)
		for _, c := range []struct {
			r, c []float64
			want string
		}{
			{[]float64{1, 2}, []float64{1}, "the reference has 2 cells, the current data 1"},
			{[]float64{1, -2}, []float64{1, 1}, "cell 1 is negative"},
			{[]float64{1, 2}, []float64{nan, 1}, "cell 0 is negative or not a number"},
			{[]float64{1, inf}, []float64{1, 1}, "must be finite"},
			{[]float64{1e308, 1e308}, []float64{1, 1}, "must be finite"},
			{[]float64{0, 0}, []float64{1, 1}, "reference: no values"},
			{[]float64{1, 0}, []float64{0, 0}, "current: no values"},
			{nil, nil, "both sides: no values"},
		} {
			got, err := f(c.r, c.c)
			require.ErrorContains(t, err, c.want, "%s of %v and %v", name, c.r, c.c)
			require.ErrorContains(t, err, name)
			require.Zero(t, got, name)
		}
		_, err := f([]float64{0}, []float64{1})
		require.ErrorIs(t, err, stattest.ErrNoValues, name)
	}
	for _, name := range []string{"fisher_exact", "TVD"} {
		_, err := cellTestOf(t, name)([]float64{1.5, 2}, []float64{1, 1})
		require.ErrorContains(t, err, "whole", name)
		_, err = cellTestOf(t, name)([]float64{1 << 53, 2}, []float64{1, 1})
		require.ErrorContains(t, err, "at most 2^53", name)
	}
	for _, name := range []string{"fisher_exact", "z"} {
		_, err := cellTestOf(t, name)([]float64{1, 2, 3}, []float64{1, 1, 0})
		require.ErrorContains(t, err, "two categories, and 3 have rows", name)
	}
	_, err := stattest.TVD([]float64{1}, []float64{1}, stattest.Options{Permutations: -1})
	require.ErrorContains(t, err, "-1 permutations")
	_, err = stattest.PSIOfShares([]float64{1, 1, 0}, []float64{1, 1, 1})
	require.ErrorContains(t, err, "psi is infinite: cell 2 is empty on one side (reference 0, current 1)")
	_, err = stattest.KLDivergenceOfShares([]float64{1, 0, 1}, []float64{1, 1, 0})
	require.ErrorContains(t, err, "kl_div is infinite: cell 2")
	r, err := stattest.KLDivergenceOfShares([]float64{1, 0}, []float64{1, 1})
	require.NoError(t, err, "an empty cell of the reference costs nothing")
	require.InDelta(t, math.Ln2, r.Score, 1e-15)
	for _, f := range []cellTest{stattest.ChiSquareFit, stattest.GTestFit} {
		_, err := f([]float64{1, 2}, []float64{1, 3})
		require.ErrorContains(t, err, "must be as many")
		_, err = f([]float64{1, 2}, []float64{3, 0})
		require.ErrorContains(t, err, "cell 1 is expected to be empty")
		_, err = f([]float64{1}, []float64{0})
		require.ErrorIs(t, err, stattest.ErrNoValues)
	}
	for _, f := range []cellTest{stattest.EvidentlyPSI, stattest.EvidentlyKLDivergence} {
		r, err := f([]float64{1}, []float64{0})
		require.ErrorIs(t, err, stattest.ErrNoValues)
		require.Zero(t, r)
	}
}

// TestCellsOfOneCategory: nothing differs, whichever the test.
func TestCellsOfOneCategory(t *testing.T) {
	for _, name := range cellNames {
		for _, sides := range [][2][]float64{{{5}, {9}}, {{5, 0}, {9, 0}}, {{0, 5, 0}, {0, 9, 0}}} {
			r, err := cellTestOf(t, name)(sides[0], sides[1])
			require.NoError(t, err, name)
			switch name {
			case "psi", "kl_div":
				require.Less(t, r.Score, 0.1, "smoothing of the empty cells")
			case "fisher_exact":
				require.Positive(t, r.Score)
			default:
				require.Zero(t, r.Score, name)
			}
			if r.PValue != nil {
				require.InDelta(t, 1, *r.PValue, 1e-15, name)
			}
		}
	}
}

func drawCells(t *rapid.T, n int, label string) []float64 {
	v := rapid.SliceOfN(rapid.Int64Range(0, 1_000_000), n, n).Draw(t, label)
	out := make([]float64, n)
	for i := range v {
		out[i] = float64(v[i])
	}
	out[0]++
	return out
}

func near(t require.TestingT, want, got float64, what string) {
	require.InDelta(t, want, got, 1e-9*(1+math.Abs(want)), what)
}

func nearResult(t require.TestingT, want, got stattest.Result, what string) {
	near(t, want.Score, got.Score, what)
	if want.PValue != nil {
		near(t, *want.PValue, *got.PValue, what)
	}
	if want.EffectSize != nil {
		near(t, *want.EffectSize, *got.EffectSize, what)
	}
}

// TestCellProperties: sides can be exchanged where the test is symmetric; the order of cells
// does not matter; a distance is 0 to itself and to a multiple of itself; ranges hold.
func TestCellProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(cellNames).Draw(t, "test")
		n := rapid.IntRange(1, 30).Draw(t, "cells")
		if name == "z" || name == "fisher_exact" {
			n = 2
		}
		a, b := drawCells(t, n, "reference"), drawCells(t, n, "current")
		f := cellTestOf(t, name)
		ab, err := f(a, b)
		require.NoError(t, err)
		if slices.Contains(symmetric, name) {
			ba, err := f(b, a)
			require.NoError(t, err)
			if name == "z" {
				ba.Score, *ba.EffectSize = -ba.Score, -*ba.EffectSize
			}
			if name == "TVD" {
				ba.PValue = ab.PValue // other deals
			}
			nearResult(t, ab, ba, name)
		}
		order := rand.New(rand.NewPCG(1, uint64(n))).Perm(n)
		if name != "z" && name != "fisher_exact" {
			pa, pb := make([]float64, n), make([]float64, n)
			for i, k := range order {
				pa[i], pb[i] = a[k], b[k]
			}
			permuted, err := f(pa, pb)
			require.NoError(t, err)
			nearResult(t, ab, permuted, name)
		}
		multiple := slices.Clone(a)
		k := float64(rapid.IntRange(1, 50).Draw(t, "multiple"))
		for i := range multiple {
			multiple[i] *= k
		}
		if name == "psi" || name == "kl_div" {
			multiple = a // smoothing weighs less where there are more rows
		}
		self, err := f(a, multiple)
		require.NoError(t, err)
		if name == "fisher_exact" {
			require.InDelta(t, 1, *self.PValue, 1e-9)
		} else {
			require.Zero(t, self.Score)
			if self.PValue != nil {
				require.InDelta(t, 1, *self.PValue, 1e-15)
			}
		}
		if ab.PValue != nil {
			require.True(t, *ab.PValue >= 0 && *ab.PValue <= 1, "p %v", *ab.PValue)
		}
		switch name {
		case "TVD", "l_infinity", "hellinger":
			require.True(t, ab.Score >= 0 && ab.Score <= 1, "%v", ab.Score)
		case "jensenshannon":
			require.True(t, ab.Score >= 0 && ab.Score <= math.Sqrt(math.Ln2), "%v", ab.Score)
		case "chisquare", "g_test":
			require.True(t, *ab.EffectSize >= 0 && *ab.EffectSize <= 1, "%v", *ab.EffectSize)
			require.GreaterOrEqual(t, ab.Score, 0.0)
		}
	})
}

// anyWeight draws rows of any scale, and what is no number of rows.
func anyWeight() *rapid.Generator[float64] {
	return rapid.OneOf(
		rapid.Map(rapid.IntRange(0, 20), func(n int) float64 { return float64(n) }),
		rapid.SampledFrom([]float64{0, 5e-324, 1e-310, 1e-300, 1, 1e15, 1e16, 1e300, math.MaxFloat64}),
		rapid.Float64(),
	)
}

// TestCellsOfAnyScale: an error or figures, and never NaN, an infinity or a panic.
func TestCellsOfAnyScale(t *testing.T) {
	functions := map[string]cellTest{
		"chisquare fit": stattest.ChiSquareFit, "g_test fit": stattest.GTestFit,
		"psi of shares": stattest.PSIOfShares, "kl_div of shares": stattest.KLDivergenceOfShares,
		"evidently's psi": stattest.EvidentlyPSI, "evidently's kl_div": stattest.EvidentlyKLDivergence,
	}
	for _, name := range cellNames {
		functions[name] = cellTestOf(t, name)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 6).Draw(t, "cells")
		a := rapid.SliceOfN(anyWeight(), n, n).Draw(t, "reference")
		b := rapid.SliceOfN(anyWeight(), n, n).Draw(t, "current")
		for name, f := range functions {
			r, err := f(a, b)
			if err != nil {
				continue
			}
			figures := []float64{r.Score}
			if r.PValue != nil {
				figures = append(figures, *r.PValue)
				require.True(t, *r.PValue >= 0 && *r.PValue <= 1, "%s: p %v", name, *r.PValue)
			}
			if r.EffectSize != nil {
				figures = append(figures, *r.EffectSize)
			}
			for _, v := range figures {
				require.False(t, math.IsNaN(v) || math.IsInf(v, 0), "%s of %v and %v: %+v", name, a, b, figures)
			}
		}
	})
}

// TestCellsGrowWithShift moves rows step by step from the first cell to the last.
func TestCellsGrowWithShift(t *testing.T) {
	for _, name := range cellNames {
		reference := []float64{1000, 1000, 1000, 1000}
		if name == "z" || name == "fisher_exact" {
			reference = []float64{1000, 1000}
		}
		last, lastP := -1.0, 2.0
		for moved := 0.0; moved <= 1000; moved += 50 {
			current := slices.Clone(reference)
			current[0] -= moved
			current[len(current)-1] += moved
			r, err := cellTestOf(t, name)(reference, current)
			require.NoError(t, err)
			require.Greater(t, math.Abs(r.Score), last, name) // the odds ratio grows, too
			last = math.Abs(r.Score)
			if r.PValue != nil {
				require.LessOrEqual(t, *r.PValue, lastP, name)
				lastP = *r.PValue
			}
			if r.EffectSize != nil && moved > 0 {
				require.NotZero(t, *r.EffectSize)
			}
		}
	}
}

// deal draws rows from shares that every side has.
func deal(rng *rand.Rand, rows int, shares []float64) []float64 {
	out := make([]float64, len(shares))
	for range rows {
		u, k := rng.Float64(), 0
		for k < len(shares)-1 && u >= shares[k] {
			u -= shares[k]
			k++
		}
		out[k]++
	}
	return out
}

// TestCellPValuesUnderTheNull: over sides drawn alike, a share of α of the p-values is at
// most α (fewer, where the test is exact and its p-values come in steps). Taking the
// reference for exact expectations, as Evidently does, alarms far more often.
func TestCellPValuesUnderTheNull(t *testing.T) {
	const simulations = 3000
	many, two := []float64{0.3, 0.25, 0.2, 0.15, 0.1}, []float64{0.4, 0.6}
	for _, c := range []struct {
		name     string
		shares   []float64
		test     func(reference, current []float64, seed uint64) (stattest.Result, error)
		smallest float64 // share of alarms, of what α says
	}{
		{"chisquare", many, nil, 1},
		{"g_test", many, nil, 1},
		{"z", two, nil, 1},
		{"fisher_exact", two, nil, 0.5},
		{"TVD", many, func(r, c []float64, seed uint64) (stattest.Result, error) {
			return stattest.TVD(r, c, stattest.Options{Seed: seed, Permutations: 199})
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, 7))
			var p []float64
			asExact := 0
			for i := range simulations {
				r, k := deal(rng, 400, c.shares), deal(rng, 300, c.shares)
				test := c.test
				if test == nil {
					test = func(r, k []float64, _ uint64) (stattest.Result, error) { return cellTestOf(t, c.name)(r, k) }
				}
				result, err := test(r, k, uint64(i))
				require.NoError(t, err)
				p = append(p, *result.PValue)
				if c.name == "chisquare" {
					expected := make([]float64, len(r))
					for j := range r {
						expected[j] = r[j] * 300 / 400
					}
					if exact, err := stattest.ChiSquareFit(k, expected); err == nil && *exact.PValue < 0.05 {
						asExact++
					}
				}
			}
			for _, alpha := range []float64{0.01, 0.05, 0.2, 0.5, 0.8} {
				share := 0.0
				for _, v := range p {
					if v <= alpha {
						share += 1.0 / simulations
					}
				}
				slack := 4 * math.Sqrt(alpha*(1-alpha)/simulations)
				require.LessOrEqual(t, share, alpha+slack, "alarms at %v", alpha)
				require.GreaterOrEqual(t, share, alpha*c.smallest-slack, "alarms at %v", alpha)
			}
			if c.name == "chisquare" {
				require.Greater(t, asExact, simulations*15/100, "alarms at 0.05 with the reference for exact")
			}
		})
	}
}

// TestTVDEqualsEnumeration: the permutation test estimates the exact probability.
func TestTVDEqualsEnumeration(t *testing.T) {
	const deals = 20000
	for _, c := range [][2][]float64{
		{{8, 3, 1}, {3, 4, 6}}, {{20, 15, 5}, {10, 10, 12}}, {{1, 2, 3}, {3, 2, 1}}, {{3, 2, 2}, {1, 3, 7}}, {{1, 9, 3}, {4, 2, 1}}, {{6, 0, 5}, {2, 7, 4}}, {{40, 0, 1}, {30, 2, 2}}, {{2, 0, 0}, {1, 1, 1}},
	} {
		r, k := c[0], c[1]
		nr, nk := r[0]+r[1]+r[2], k[0]+k[1]+k[2]
		distance := func(a, b float64) float64 {
			x := []float64{a, b, nr - a - b}
			d := 0.0
			for i := range x {
				d += math.Abs(x[i]/nr-(r[i]+k[i]-x[i])/nk) / 2
			}
			return d
		}
		seen, exact := distance(r[0], r[1]), 0.0
		all := [3]float64{r[0] + k[0], r[1] + k[1], r[2] + k[2]}
		for a := 0.0; a <= all[0]; a++ {
			for b := 0.0; b <= all[1]; b++ {
				if rest := nr - a - b; rest >= 0 && rest <= all[2] && distance(a, b) >= seen-1e-12 {
					exact += math.Exp(logChoose(all[0], a) + logChoose(all[1], b) + logChoose(all[2], rest) - logChoose(nr+nk, nr))
				}
			}
		}
		got, err := stattest.TVD(r, k, stattest.Options{Seed: 3, Permutations: deals})
		require.NoError(t, err)
		near(t, seen, got.Score, "TVD")
		require.InDelta(t, exact, *got.PValue, 5*math.Sqrt(exact*(1-exact)/deals)+1.0/deals, "%v", c)

		again, err := stattest.TVD(r, k, stattest.Options{Seed: 3, Permutations: deals})
		require.NoError(t, err)
		require.Equal(t, got, again, "the same seed, the same figure")
	}
}

func logChoose(n, k float64) float64 {
	a, _ := math.Lgamma(n + 1)
	b, _ := math.Lgamma(k + 1)
	c, _ := math.Lgamma(n - k + 1)
	return a - b - c
}

// TestTVDOfManyRows: a billion rows cost what a thousand do, and are not drifted when equal.
func TestTVDOfManyRows(t *testing.T) {
	r := []float64{5e14, 3e14, 1e9, 7, 0}
	c := []float64{5e14 + 1e7, 3e14 - 1e7, 1e9, 7, 1}
	got, err := stattest.TVD(r, c, stattest.Options{})
	require.NoError(t, err)
	require.Greater(t, *got.PValue, 0.1, "one standard deviation")
	c[0], c[1] = 5e14+2e8, 3e14-2e8
	got, err = stattest.TVD(r, c, stattest.Options{})
	require.NoError(t, err)
	require.InDelta(t, 1.0/1001, *got.PValue, 1e-15, "no deal is as far apart: the smallest p-value of 1,000")
}

// TestHypergeometricDraws compares draws with the distribution, where they are inverted,
// where they are rejected, and on each side of the symmetries; and their moments for counts too large for
// a table.
func TestHypergeometricDraws(t *testing.T) {
	const draws = 30000
	for _, c := range [][3]float64{
		{5, 9, 4},
		{9, 5, 4},
		{5, 9, 11},
		{9, 5, 11},
		{3, 500, 100},
		{40, 60, 50},
		{60, 40, 70},
		{300, 1000, 200},
		{5000, 100, 3000},
		{1, 1, 1},
		{0, 5, 3},
		{5, 0, 3},
		{4, 4, 8},
		{4, 4, 0},
		{1e6, 2e6, 100},
	} {
		good, bad, n := c[0], c[1], c[2]
		rng := rand.New(rand.NewPCG(11, 13))
		counts := map[float64]float64{}
		for range draws {
			counts[stattest.DrawHypergeometric(rng, good, bad, n)]++
		}
		// Cells of at least ten expected draws, in order; the last takes what is left.
		var observed, expected []float64
		o, e, sum := 0.0, 0.0, 0.0
		for k := max(0, n-bad); k <= min(n, good); k++ {
			p := math.Exp(stattest.HypergeometricPMF(good, bad, n, k))
			o, e, sum = o+counts[k], e+draws*p, sum+p
			delete(counts, k)
			if e >= 10 {
				observed, expected = append(observed, o), append(expected, e)
				o, e = 0, 0
			}
		}
		require.Empty(t, counts, "draws outside the support of %v", c)
		near(t, 1, sum, "the probabilities' sum")
		observed[len(observed)-1] += o
		expected[len(expected)-1] += e
		r, err := stattest.ChiSquareFit(observed, expected)
		require.NoError(t, err)
		require.Greater(t, *r.PValue, 1e-3, "%v", c)
	}
	for _, c := range [][3]float64{{1e9, 3e9, 2e9}, {1e15, 2e15, 5e14}} {
		good, bad, n := c[0], c[1], c[2]
		rng := rand.New(rand.NewPCG(17, 19))
		share := good / (good + bad)
		sigma := math.Sqrt(n * share * (1 - share) * (good + bad - n) / (good + bad - 1))
		mean, squares := 0.0, 0.0
		for range draws {
			z := (stattest.DrawHypergeometric(rng, good, bad, n) - n*share) / sigma
			mean, squares = mean+z/draws, squares+z*z/draws
		}
		require.InDelta(t, 0, mean, 4/math.Sqrt(draws), "%v", c)
		require.InDelta(t, 1, squares, 4*math.Sqrt2/math.Sqrt(draws), "%v", c)
	}
}

// TestFisherOddsRatioIsFinite: a half is added to all cells where one is empty.
func TestFisherOddsRatioIsFinite(t *testing.T) {
	r, err := stattest.FisherExact([]float64{5, 0}, []float64{3, 2})
	require.NoError(t, err)
	require.InDelta(t, 5.5/0.5*(2.5/3.5), r.Score, 1e-12)
	r, err = stattest.FisherExact([]float64{0, 5}, []float64{0, 7})
	require.NoError(t, err)
	require.InDelta(t, 0.5/5.5*(7.5/0.5), r.Score, 1e-12)
	require.Zero(t, *r.EffectSize)
}

// TestFisherOfHugeCounts: near the normal distribution's p-value, which z has.
func TestFisherOfHugeCounts(t *testing.T) {
	for _, c := range [][4]float64{{5e8, 5e8, 5e8 + 1e5, 5e8 - 1e5}, {3e11, 7e11, 3e11 + 3e6, 7e11 - 3e6}, {3e11, 7e11, 3e11, 7e11}} {
		f, err := stattest.FisherExact(c[:2], c[2:])
		require.NoError(t, err)
		z, err := stattest.Z(c[:2], c[2:])
		require.NoError(t, err)
		require.InEpsilon(t, *z.PValue, *f.PValue, 1e-3, fmt.Sprint(c))
	}
}
