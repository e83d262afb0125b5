package stattest_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/stattest"
)

func TestNumericRegistry(t *testing.T) {
	want := map[string]struct {
		pValue    bool
		threshold float64
	}{
		"ks": {true, 0.05}, "wasserstein": {false, 0.1}, "wasserstein_raw": {false, 0.1}, "anderson": {true, 0.1},
		"cramer_von_mises": {true, 0.1}, "mannw": {true, 0.05}, "t_test": {true, 0.05}, "es": {true, 0.05},
		"ed": {false, 0.1}, "empirical_mmd": {true, 0.1},
	}
	require.Len(t, numericNames, len(want))
	for name, w := range want {
		test := stattest.Lookup(name)
		require.NotNil(t, test, name)
		require.NotNil(t, test.Numeric, name)
		require.Equal(t, w.pValue, test.PValue, name)
		require.Equal(t, w.threshold, test.Threshold, name)
	}
}

func TestNumericRefusals(t *testing.T) {
	inf := math.Inf(1)
	good := stattest.NewSample([]float64{1, 2, 3, 4, 5, 6, 7})
	none := stattest.NewSample([]float64{math.NaN(), math.NaN()})
	infinite := stattest.NewSample([]float64{-inf, 1, 2, 3, 4, 5, inf})
	fractional, err := stattest.NewWeightedSample([]float64{1, 2, 3, 4, 5, 6}, []float64{1.5, 1, 1, 1, 1, 2.5})
	require.NoError(t, err)
	one := stattest.NewSample([]float64{3})

	needFinite := map[string]bool{"wasserstein": true, "wasserstein_raw": true, "t_test": true, "es": true, "ed": true, "empirical_mmd": true}
	needWhole := map[string]bool{"anderson": true, "cramer_von_mises": true, "mannw": true, "empirical_mmd": true}
	needTwo := map[string]bool{"cramer_von_mises": true, "t_test": true, "es": true, "empirical_mmd": true}
	for _, name := range numericNames {
		for _, pair := range [][2]stattest.Sample{{none, good}, {good, none}, {none, none}, {{}, {}}} {
			_, err := run(name, pair[0], pair[1])
			require.ErrorIs(t, err, stattest.ErrNoValues, name)
		}
		for _, pair := range [][2]stattest.Sample{{infinite, good}, {good, infinite}, {infinite, infinite}} {
			_, err := run(name, pair[0], pair[1])
			if needFinite[name] {
				require.ErrorIs(t, err, stattest.ErrInfinite, name)
			} else {
				require.NoError(t, err, name)
			}
		}
		for _, pair := range [][2]stattest.Sample{{fractional, good}, {good, fractional}} {
			r, err := run(name, pair[0], pair[1])
			if needWhole[name] {
				require.ErrorIs(t, err, stattest.ErrFractional, name)
			} else {
				require.NoError(t, err, name)
			}
			if name == "ks" {
				require.Equal(t, "asymptotic", r.Method)
			}
		}
		_, err := run(name, one, good)
		require.Equal(t, needTwo[name], err != nil, "%s: %v", name, err)
	}

	for _, c := range []struct {
		name, want         string
		reference, current stattest.Sample
	}{
		{"ks", "ks: reference: no values to compare", none, good},
		{"ks", "ks: both sides: no values to compare", none, none},
		{"ed", "ed: current: infinite values, which this test cannot use", good, infinite},
		{"t_test", "t_test: 7 and 1 rows, at least 2 are needed on each side", good, one},
		{"anderson", "anderson: 2 rows, at least 4 are needed", one, one},
	} {
		_, err := run(c.name, c.reference, c.current)
		require.EqualError(t, err, c.want)
	}
	_, err = stattest.AndersonSamples(good)
	require.EqualError(t, err, "anderson: 1 samples, at least 2 are needed")
}

// TestNumericConstants: what is said where SciPy answers NaN or an infinity, or raises.
func TestNumericConstants(t *testing.T) {
	constant := func(v float64) stattest.Sample { return stattest.NewSample([]float64{v, v, v, v, v, v}) }
	four, five := constant(4), constant(5)
	for _, name := range []string{"anderson", "es"} {
		_, err := run(name, four, four)
		require.ErrorIs(t, err, stattest.ErrConstant, name)
	}
	_, err := run("es", four, five)
	require.ErrorIs(t, err, stattest.ErrConstant)
	mostly := stattest.NewSample([]float64{0, 0, 0, 0, 0, 0, 0, 9})
	_, err = run("es", mostly, mostly)
	require.ErrorIs(t, err, stattest.ErrConstant)

	r, err := run("t_test", four, four)
	require.NoError(t, err)
	require.Zero(t, r.Score)
	require.Equal(t, 1.0, *r.PValue)
	require.Zero(t, *r.EffectSize)
	r, err = run("t_test", four, five)
	require.NoError(t, err)
	require.Equal(t, -math.MaxFloat64, r.Score)
	require.InDelta(t, 1.0/21, *r.PValue, 1e-15, "no permutation of 20 parts them so")
	require.Zero(t, *r.SciPyPValue)
	require.Nil(t, r.EffectSize)

	r, err = run("empirical_mmd", four, four)
	require.NoError(t, err)
	require.Zero(t, r.Score)
	require.Equal(t, 1.0, *r.PValue)
	r, err = run("mannw", four, four)
	require.NoError(t, err)
	require.Equal(t, 1.0, *r.PValue)
	r, err = run("wasserstein", four, five)
	require.NoError(t, err)
	require.InEpsilon(t, 1000, r.Score, 1e-12) // over 0.001, as Evidently
}

// TestNumericRange: the result is right where it is finite, and an error where it is not.
func TestNumericRange(t *testing.T) {
	s := stattest.NewSample
	for name, c := range map[string]struct {
		a, b []float64
		want float64
	}{
		"largest":  {[]float64{0}, []float64{math.MaxFloat64}, math.MaxFloat64},
		"smallest": {[]float64{0}, []float64{5e-324}, 5e-324},
		"both":     {[]float64{-1e300, 1e-300}, []float64{1e300, 1e-300}, 1e300},
		"far":      {[]float64{-1.7e308, 1.7e308}, []float64{-1.7e308, 1.6e308}, 0.05e308},
	} {
		r, err := stattest.WassersteinRaw(s(c.a), s(c.b))
		require.NoError(t, err, name)
		require.InEpsilon(t, c.want, r.Score, 1e-12, name)
	}
	_, err := stattest.WassersteinRaw(s([]float64{-1.7e308}), s([]float64{1.7e308}))
	require.ErrorContains(t, err, "too large for float64")
	r, err := stattest.Wasserstein(s([]float64{-1.7e308, 1.7e308}), s([]float64{-1.7e308, 1.7e308}))
	require.NoError(t, err)
	require.Zero(t, r.Score)
	r, err = stattest.Energy(s([]float64{0}), s([]float64{2e-300}))
	require.NoError(t, err)
	require.InEpsilon(t, 2e-150, r.Score, 1e-12)
}

func TestEmpiricalMMDDraws(t *testing.T) {
	values := make([]float64, 1200)
	for i := range values {
		values[i] = float64(i%997) / 100
	}
	a, b := stattest.NewSample(values), stattest.NewSample(values[:200])
	seed := func(n uint64) stattest.Result {
		r, err := stattest.EmpiricalMMD(a, b, stattest.Options{Seed: n, Permutations: 20})
		require.NoError(t, err)
		require.Equal(t, "permutation, of 1000 and 200 rows drawn", r.Method)
		return r
	}
	require.Equal(t, seed(1), seed(1))
	require.NotEqual(t, seed(1).Score, seed(2).Score)
	r, err := stattest.EmpiricalMMD(b, b, stattest.Options{})
	require.NoError(t, err)
	require.Equal(t, "permutation", r.Method)

	moved := make([]float64, 150)
	for i := range moved {
		moved[i] = values[i] + 5
	}
	r, err = stattest.EmpiricalMMD(b, stattest.NewSample(moved), stattest.Options{})
	require.NoError(t, err)
	require.InDelta(t, 1.0/101, *r.PValue, 1e-15, "no permutation of 100 reaches it")
}

func TestHotTestsDoNotAllocate(t *testing.T) {
	values := make([]float64, 20000)
	for i := range values {
		values[i] = float64(i * i % 10007)
	}
	a := stattest.NewSample(values)
	for i := range values {
		values[i] += 500
	}
	b := stattest.NewSample(values[:15000])
	require.Zero(t, testing.AllocsPerRun(5, func() { _, _ = stattest.Wasserstein(a, b) }))
	require.LessOrEqual(t, testing.AllocsPerRun(5, func() { _, _ = stattest.KS(a, b) }), 1.0) // the p-value
}
