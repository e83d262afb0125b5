package multivariate_test

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/multivariate"
)

// normal returns rows of d independent columns, by a seed.
func normal(seed uint64, rows, d int) multivariate.Matrix {
	r := rand.New(rand.NewPCG(seed, 77))
	m := multivariate.Matrix{Columns: make([][]float64, d)}
	for j := range m.Columns {
		m.Columns[j] = make([]float64, rows)
		for i := range m.Columns[j] {
			m.Columns[j][i] = r.NormFloat64()
		}
	}
	return m
}

// correlate makes columns 1 and 2 correlated by rho, with the distributions they had.
func correlate(m multivariate.Matrix, rho float64) multivariate.Matrix {
	for i, v := range m.Columns[1] {
		m.Columns[2][i] = rho*v + math.Sqrt(1-rho*rho)*m.Columns[2][i]
	}
	return m
}

func change(m multivariate.Matrix, j int, f func(float64) float64) multivariate.Matrix {
	m.Columns = slices.Clone(m.Columns)
	m.Columns[j] = slices.Clone(m.Columns[j])
	for i, v := range m.Columns[j] {
		m.Columns[j][i] = f(v)
	}
	return m
}

// uniform requires that p-values are, by a Kolmogorov-Smirnov test at 1 %.
func uniform(t *testing.T, p []float64) {
	t.Helper()
	slices.Sort(p)
	n := float64(len(p))
	most := 0.0
	for i, v := range p {
		most = math.Max(most, math.Max(float64(i+1)/n-v, v-float64(i)/n))
	}
	require.Less(t, most, 1.63/math.Sqrt(n)+0.01, "p-values %v", p) // 0.01: they are multiples of that
}

func first(c []multivariate.Contribution, n int) []int {
	var out []int
	for _, v := range c[:n] {
		out = append(out, v.Column)
	}
	slices.Sort(out)
	return out
}

// TestEnergyPValuesAreUniform where nothing drifted.
func TestEnergyPValuesAreUniform(t *testing.T) {
	var p []float64
	for k := range uint64(200) {
		r, err := multivariate.Energy(normal(2*k, 30, 3), normal(2*k+1, 25, 3), multivariate.EnergyOptions{Permutations: 99, Seed: k})
		require.NoError(t, err)
		p = append(p, r.PValue)
	}
	uniform(t, p)
}

// TestClassifierPValuesAreUniform where nothing drifted: that of Mann and Whitney is not.
func TestClassifierPValuesAreUniform(t *testing.T) {
	var p []float64
	for k := range uint64(60) {
		r, err := multivariate.Classify(normal(2*k, 60, 2), normal(2*k+1, 40, 2), multivariate.ClassifierOptions{Seed: k, Folds: 2, Permutations: 9})
		require.NoError(t, err)
		p = append(p, r.PValue)
	}
	uniform(t, p)
}

// TestKnownShiftsAreFound, each by the methods that can see it, with the columns that moved.
func TestKnownShiftsAreFound(t *testing.T) {
	const rows, d = 1500, 5
	reference := correlate(normal(1, rows, d), 0.9)
	again := func() multivariate.Matrix { return correlate(normal(2, rows, d), 0.9) }
	categories := func(seed uint64, codes ...float64) multivariate.Matrix {
		m := normal(seed, rows, d)
		m.Categorical = []bool{true, false, false, false, false}
		for i := range rows {
			m.Columns[0][i] = codes[i%len(codes)]
		}
		return m
	}
	for name, tc := range map[string]struct {
		reference, current  multivariate.Matrix
		pca, energy, domain bool
		columns             []int
	}{
		"none":        {reference: reference, current: again()},
		"mean":        {reference, change(again(), 3, func(v float64) float64 { return v + 2 }), true, true, true, []int{3}},
		"variance":    {reference, change(again(), 4, func(v float64) float64 { return 3 * v }), true, true, true, []int{4}},
		"correlation": {reference, correlate(normal(3, rows, d), 0), true, true, true, []int{1, 2}},
		// Same mean, variance and correlations: a ring of two columns.
		"ring": {reference, func() multivariate.Matrix {
			m := again()
			r := rand.New(rand.NewPCG(8, 8))
			for i := range rows {
				sin, cos := math.Sincos(2 * math.Pi * r.Float64())
				m.Columns[3][i], m.Columns[4][i] = math.Sqrt2*sin, math.Sqrt2*cos
			}
			return m
		}(), false, false, true, []int{3, 4}},
		// To PCA, categories with equal shares of the reference are equal; and it sees nothing
		// in a column that a component of its own reconstructs.
		"categories of equal shares": {categories(5, 0, 1, 2, 3), categories(6, 0, 0, 0, 0), false, true, true, []int{0}},
		"new categories":             {categories(5, 0, 1, 2, 2), categories(6, 3, 4, 2, 2), false, true, true, []int{0}},
		"missing": {reference, change(again(), 0, func(v float64) float64 {
			if math.Mod(math.Abs(v)*1e6, 10) < 7 {
				return math.NaN()
			}
			return v
		}), false, true, true, []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := multivariate.FitPCA(tc.reference, multivariate.PCAOptions{})
			require.NoError(t, err)
			byPCA, err := p.Compare(tc.current)
			require.NoError(t, err)
			require.Len(t, byPCA.Contributions, d)
			require.Equal(t, tc.pca, byPCA.Drifted, "error %v, at most %v", byPCA.Error, p.Upper)
			if name == "correlation" {
				require.Equal(t, tc.columns, first(byPCA.Contributions, 2))
			}
			energy, err := multivariate.Energy(tc.reference, tc.current, multivariate.EnergyOptions{Rows: 500, Permutations: 199})
			require.NoError(t, err)
			require.Equal(t, tc.energy, energy.Drifted, "p %v", energy.PValue)
			domain, err := multivariate.Classify(tc.reference, tc.current, multivariate.ClassifierOptions{Rows: 400, Folds: 3, Permutations: 4})
			require.NoError(t, err)
			require.Equal(t, tc.domain, domain.Drifted, "auc %v, p %v", domain.AUC, domain.PValue)
			if tc.domain {
				require.Less(t, domain.PValue, 0.01)
				require.Equal(t, tc.columns, first(domain.Contributions, len(tc.columns)), "%v", domain.Contributions)
			}
			if tc.energy {
				require.Equal(t, tc.columns, first(energy.Contributions, len(tc.columns)), "%v", energy.Contributions)
			}
		})
	}
}

// TestMoreShiftIsMoreDrift has all scores grow with a shift.
func TestMoreShiftIsMoreDrift(t *testing.T) {
	reference, current := correlate(normal(1, 800, 4), 0.8), correlate(normal(2, 800, 4), 0.8)
	p, err := multivariate.FitPCA(reference, multivariate.PCAOptions{})
	require.NoError(t, err)
	var before [3]float64
	for _, shift := range []float64{0.5, 1, 2, 4, 8} {
		moved := change(current, 1, func(v float64) float64 { return v + shift })
		a, err := p.Compare(moved)
		require.NoError(t, err)
		b, err := multivariate.Energy(reference, moved, multivariate.EnergyOptions{Rows: 300, Permutations: 9})
		require.NoError(t, err)
		c, err := multivariate.Classify(reference, moved, multivariate.ClassifierOptions{Rows: 300, Permutations: 2})
		require.NoError(t, err)
		now := [3]float64{a.Error, b.Distance, c.AUC}
		for k := range now {
			require.GreaterOrEqual(t, now[k], before[k], "shift %v: %v after %v", shift, now, before)
		}
		before = now
	}
	require.InDelta(t, 1, before[2], 0.01)
}

// draw returns a matrix of anything: ties, constants, copies, gaps, extreme scales.
func draw(t *rapid.T, name string, kinds []int, rows int) multivariate.Matrix {
	m := multivariate.Matrix{}
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, name), 3))
	for j, kind := range kinds {
		c := make([]float64, rows)
		for i := range c {
			switch kind {
			case 0:
				c[i] = r.NormFloat64()
			case 1:
				c[i] = math.Floor(3 * r.Float64())
			case 2:
				c[i] = 7
			case 3:
				c[i] = 1e300 * r.NormFloat64()
			case 4:
				c[i] = 1e-300*r.NormFloat64() + 1e-310
			case 5:
				c[i] = 1e9 + r.Float64()
			case 6:
				c[i] = m.Columns[0][i] // also a copy of itself, when it is first
			default:
				c[i] = r.NormFloat64()
				if i > 0 && r.Float64() < 0.5 {
					c[i] = math.NaN()
				}
			}
		}
		m.Columns = append(m.Columns, c)
		m.Categorical = append(m.Categorical, kind == 1 && j%2 == 0)
	}
	return m
}

func kinds(t *rapid.T) []int {
	out := rapid.SliceOfN(rapid.IntRange(0, 7), 1, 12).Draw(t, "kinds")
	if out[0] == 6 {
		out[0] = 0
	}
	return append(out, 0) // one varies
}

func sound(t *rapid.T, contributions []multivariate.Contribution, columns int, figures ...float64) {
	require.Len(t, contributions, columns)
	sum := 0.0
	for k, c := range contributions {
		figures = append(figures, c.Share)
		sum += c.Share
		if k > 0 {
			require.LessOrEqual(t, c.Share, contributions[k-1].Share)
		}
	}
	for _, f := range figures {
		if math.IsNaN(f) || math.IsInf(f, 0) || f < 0 {
			t.Fatalf("figures %v", figures)
		}
	}
	require.True(t, sum == 0 || math.Abs(sum-1) < 1e-9, "shares sum to %v", sum)
}

// TestAnythingHasAnAnswer draws what is hard to digest, also with more columns than rows.
func TestAnythingHasAnAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := kinds(t)
		reference := draw(t, "reference", k, rapid.IntRange(10, 40).Draw(t, "rows"))
		current := draw(t, "current", k, rapid.IntRange(3, 40).Draw(t, "current rows"))
		if rapid.Bool().Draw(t, "other columns") {
			slices.Reverse(current.Columns[1:]) // scales that the reference does not know
			current.Categorical = reference.Categorical
		}
		p, err := multivariate.FitPCA(reference, multivariate.PCAOptions{})
		require.NoError(t, err)
		a, err := p.Compare(current)
		require.NoError(t, err)
		sound(t, a.Contributions, len(k), a.Error, a.SamplingError, p.ReferenceError, p.Upper, p.Explained)
		b, err := multivariate.Energy(reference, current, multivariate.EnergyOptions{Permutations: 19})
		require.NoError(t, err)
		sound(t, b.Contributions, len(k), b.Distance, b.PValue)
		c, err := multivariate.Classify(reference, current, multivariate.ClassifierOptions{Folds: 3, Permutations: 2})
		if min(reference.Rows(), current.Rows()) < 20 {
			require.ErrorIs(t, err, multivariate.ErrNoData)
			return
		}
		require.NoError(t, err)
		sound(t, c.Contributions, len(k), c.AUC, c.PValue)
		require.LessOrEqual(t, c.PValue, 1.0)
	})
}

// TestAgainstItself compares a side with itself.
func TestAgainstItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := kinds(t)
		m := draw(t, "m", k, rapid.IntRange(10, 60).Draw(t, "rows"))
		p, err := multivariate.FitPCA(m, multivariate.PCAOptions{})
		require.NoError(t, err)
		a, err := p.Compare(m)
		require.NoError(t, err)
		require.Equal(t, p.ReferenceError, a.Error)
		require.Equal(t, p.Reference, a.Chunks)
		require.Zero(t, a.Contributions[0].Share, "nothing changed")
		b, err := multivariate.Energy(m, m, multivariate.EnergyOptions{Permutations: 19})
		require.NoError(t, err)
		require.Zero(t, b.Distance)
		require.EqualValues(t, 1, b.PValue)
	})
}

// TestUnitsDoNotMatter scales, moves and turns around columns of both sides.
func TestUnitsDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		reference, current := correlate(normal(seed, 60, 3), 0.5), normal(seed+1, 50, 3)
		a, b := reference, current
		for j := range 3 {
			factor := rapid.SampledFrom([]float64{1e-200, 0.001, -2, 1, 1000, -1e200}).Draw(t, "factor")
			shift := factor * rapid.Float64Range(-10, 10).Draw(t, "shift")
			f := func(v float64) float64 { return factor*v + shift }
			a, b = change(a, j, f), change(b, j, f)
		}
		p, err := multivariate.FitPCA(reference, multivariate.PCAOptions{})
		require.NoError(t, err)
		want, err := p.Compare(current)
		require.NoError(t, err)
		p, err = multivariate.FitPCA(a, multivariate.PCAOptions{})
		require.NoError(t, err)
		got, err := p.Compare(b)
		require.NoError(t, err)
		require.InEpsilon(t, want.Error, got.Error, 1e-9)
		x, err := multivariate.Energy(reference, current, multivariate.EnergyOptions{Permutations: 9})
		require.NoError(t, err)
		y, err := multivariate.Energy(a, b, multivariate.EnergyOptions{Permutations: 9})
		require.NoError(t, err)
		require.InEpsilon(t, x.Distance, y.Distance, 1e-9)
		require.Equal(t, x.PValue, y.PValue)
	})
}

// TestOrderOfRowsDoesNotMatter for what is not of chunks or folds.
func TestOrderOfRowsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := kinds(t)
		a, b := draw(t, "a", k, 30), draw(t, "b", k, 25)
		shuffled := func(m multivariate.Matrix) multivariate.Matrix {
			order := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
				for i := range m.Rows() {
					if !yield(i) {
						return
					}
				}
			})).Draw(t, "order")
			out := m
			out.Columns = make([][]float64, len(m.Columns))
			for j, c := range m.Columns {
				for _, i := range order {
					out.Columns[j] = append(out.Columns[j], c[i])
				}
			}
			return out
		}
		x, err := multivariate.Energy(a, b, multivariate.EnergyOptions{Permutations: 1})
		require.NoError(t, err)
		y, err := multivariate.Energy(shuffled(a), shuffled(b), multivariate.EnergyOptions{Permutations: 1})
		require.NoError(t, err)
		require.InDelta(t, x.Distance, y.Distance, 1e-9*x.Distance)
	})
}

// TestSameSeedSameAnswer also with another number of processors, and another seed another.
func TestSameSeedSameAnswer(t *testing.T) {
	a, b := normal(1, 400, 3), change(normal(2, 300, 3), 0, func(v float64) float64 { return v + 0.5 })
	run := func(seed uint64) (multivariate.EnergyResult, multivariate.ClassifierResult) {
		e, err := multivariate.Energy(a, b, multivariate.EnergyOptions{Rows: 100, Permutations: 99, Seed: seed})
		require.NoError(t, err)
		require.Equal(t, 100, e.RowsOfReference)
		c, err := multivariate.Classify(a, b, multivariate.ClassifierOptions{Rows: 200, Permutations: 4, Seed: seed})
		require.NoError(t, err)
		require.Equal(t, 200, c.RowsOfCurrent)
		return e, c
	}
	e, c := run(1)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	again, cAgain := run(1)
	require.Equal(t, e, again)
	require.Equal(t, c, cAgain)
	other, cOther := run(2)
	require.NotEqual(t, e.Distance, other.Distance)
	require.NotEqual(t, c.AUC, cOther.AUC)
}

func TestInfiniteIsLargestForTheClassifier(t *testing.T) {
	a, b := normal(1, 200, 2), normal(2, 200, 2)
	big := func(x float64) multivariate.Matrix {
		n := 0
		return change(b, 1, func(v float64) float64 {
			if n++; n%2 == 0 {
				return x
			}
			return v
		})
	}
	o := multivariate.ClassifierOptions{Permutations: 4}
	inf, err := multivariate.Classify(a, big(math.Inf(1)), o)
	require.NoError(t, err)
	large, err := multivariate.Classify(a, big(1e300), o)
	require.NoError(t, err)
	require.Equal(t, large, inf)
	require.True(t, inf.Drifted)
}

func TestBadInput(t *testing.T) {
	good := normal(1, 50, 2)
	with := func(f func(m *multivariate.Matrix)) multivariate.Matrix {
		m := normal(2, 50, 2)
		f(&m)
		return m
	}
	inf := with(func(m *multivariate.Matrix) { m.Columns[1][7] = math.Inf(-1) })
	named := with(func(m *multivariate.Matrix) {
		m.Names = []string{"delay", "distance"}
		m.Columns[1] = m.Columns[1][:9]
	})
	void := with(func(m *multivariate.Matrix) {
		for i := range m.Columns[0] {
			m.Columns[0][i] = math.NaN()
		}
	})
	constant := change(change(good, 0, func(float64) float64 { return 3 }), 1, func(float64) float64 { return 1e-5 })
	pca := func(a, b multivariate.Matrix, o multivariate.PCAOptions) error {
		p, err := multivariate.FitPCA(a, o)
		if err != nil {
			return err
		}
		_, err = p.Compare(b)
		return err
	}
	energy := func(a, b multivariate.Matrix, o multivariate.EnergyOptions) error {
		_, err := multivariate.Energy(a, b, o)
		return err
	}
	domain := func(a, b multivariate.Matrix, o multivariate.ClassifierOptions) error {
		_, err := multivariate.Classify(a, b, o)
		return err
	}
	for want, err := range map[string]error{
		"pca reconstruction: reference: not enough data: no columns":                                                 pca(multivariate.Matrix{}, good, multivariate.PCAOptions{}),
		"pca reconstruction: current: not enough data: no columns":                                                   pca(good, multivariate.Matrix{}, multivariate.PCAOptions{}),
		"pca reconstruction: 2 columns of reference and 3 of current":                                                pca(good, normal(1, 10, 3), multivariate.PCAOptions{}),
		"pca reconstruction: reference: not enough data: 9 rows, must be at least one for each of 10 chunks":         pca(normal(1, 9, 2), good, multivariate.PCAOptions{}),
		"pca reconstruction: reference: not enough data: 1 rows, must be at least 2":                                 pca(normal(1, 1, 2), good, multivariate.PCAOptions{}),
		"pca reconstruction: current: not enough data: 0 rows, must be at least 1":                                   pca(good, normal(1, 0, 2), multivariate.PCAOptions{}),
		"pca reconstruction: reference: column 1 is -Inf in row 7, must be finite":                                   pca(inf, good, multivariate.PCAOptions{}),
		"pca reconstruction: current: column 1 is -Inf in row 7, must be finite":                                     pca(good, inf, multivariate.PCAOptions{}),
		"pca reconstruction: reference: column \"distance\" has 9 rows, column \"delay\" has 50":                     pca(named, good, multivariate.PCAOptions{}),
		"pca reconstruction: reference: not enough data: column 0 has no value":                                      pca(void, good, multivariate.PCAOptions{}),
		"pca reconstruction: reference: not enough data: no column varies":                                           pca(constant, good, multivariate.PCAOptions{}),
		"pca reconstruction: explained variance must be between 0 and 1, got 1.5\nchunks must be at least 0, got -1": pca(good, good, multivariate.PCAOptions{Explained: 1.5, Chunks: -1}),
		"pca reconstruction: 3 components of 50 rows and 2 columns, can be at most 2":                                pca(good, good, multivariate.PCAOptions{Components: 3}),
		"energy distance: current: not enough data: 0 rows, must be at least 1":                                      energy(good, normal(1, 0, 2), multivariate.EnergyOptions{}),
		"energy distance: current: column 1 is -Inf in row 7, must be finite":                                        energy(good, inf, multivariate.EnergyOptions{}),
		"energy distance: reference: not enough data: column 0 has no value":                                         energy(void, good, multivariate.EnergyOptions{}),
		"energy distance: rows must be 2 to 10000, got 1\npermutations must be at least 1, got -1":                   energy(good, good, multivariate.EnergyOptions{Rows: 1, Permutations: -1}),
		"energy distance: column 0 is categorical on one side only":                                                  energy(good, with(func(m *multivariate.Matrix) { m.Categorical = []bool{true, false} }), multivariate.EnergyOptions{}),
		"energy distance: current: 2 columns, but 1 marks of categorical ones and 0 names":                           energy(good, with(func(m *multivariate.Matrix) { m.Categorical = []bool{true} }), multivariate.EnergyOptions{}),
		"domain classifier: reference: not enough data: 4 rows, must be at least 20":                                 domain(normal(1, 4, 2), good, multivariate.ClassifierOptions{}),
		"domain classifier: folds must be at least 2, got 1\nalpha must be between 0 and 1, got 2":                   domain(good, good, multivariate.ClassifierOptions{Folds: 1, Alpha: 2}),
		"domain classifier: rows must be at least 20, got 4\npermutations must be at least 2, got 1":                 domain(good, good, multivariate.ClassifierOptions{Rows: 4, Permutations: 1}),
		"domain classifier: threshold must be between 0 and 1, got NaN":                                              domain(good, good, multivariate.ClassifierOptions{Threshold: math.NaN()}),
	} {
		require.EqualError(t, err, want)
	}
}

// TestTooFewRowsForAClassifier are not judged, which is not the same as not drifted.
func TestTooFewRowsForAClassifier(t *testing.T) {
	for _, rows := range [][2]int{{19, 50}, {50, 19}, {2, 2}} {
		_, err := multivariate.Classify(normal(1, rows[0], 3), normal(2, rows[1], 3), multivariate.ClassifierOptions{Folds: 2})
		require.ErrorIs(t, err, multivariate.ErrNoData)
	}
}

func BenchmarkPCA(b *testing.B) {
	for _, rows := range []int{10_000, 100_000} {
		m := correlate(normal(1, rows, 20), 0.7)
		b.Run(strconv.Itoa(rows), func(b *testing.B) {
			b.SetBytes(int64(8 * 20 * rows))
			b.ReportAllocs()
			for b.Loop() {
				p, err := multivariate.FitPCA(m, multivariate.PCAOptions{})
				require.NoError(b, err)
				_, err = p.Compare(m)
				require.NoError(b, err)
			}
		})
	}
}

func BenchmarkEnergy(b *testing.B) {
	x, y := normal(1, 10_000, 20), normal(2, 10_000, 20)
	b.ReportAllocs()
	for b.Loop() {
		_, err := multivariate.Energy(x, y, multivariate.EnergyOptions{})
		require.NoError(b, err)
	}
}

func BenchmarkClassify(b *testing.B) {
	x, y := normal(1, 10_000, 20), normal(2, 10_000, 20)
	b.ReportAllocs()
	for b.Loop() {
		_, err := multivariate.Classify(x, y, multivariate.ClassifierOptions{})
		require.NoError(b, err)
	}
}
