package stattest_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/stattest"
)

var numericNames = []string{
	"ks", "wasserstein", "wasserstein_raw", "anderson", "cramer_von_mises", "mannw", "t_test", "es", "ed", "empirical_mmd",
}

// run returns the result of the test of a name.
func run(name string, reference, current stattest.Sample) (stattest.Result, error) {
	return stattest.Lookup(name).Numeric(reference, current, stattest.Options{Seed: 1, Permutations: 20})
}

// same requires equal results: both are errors, or all figures agree within tolerance.
func same(t require.TestingT, what string, want, got stattest.Result, wantErr, gotErr error, tolerance float64) {
	if wantErr != nil || gotErr != nil {
		require.Equal(t, wantErr != nil, gotErr != nil, "%s: %v, %v", what, wantErr, gotErr)
		return
	}
	near := func(figure string, a, b float64) {
		require.True(t, math.Abs(a-b) <= tolerance*max(math.Abs(a), math.Abs(b)) || math.Abs(a-b) <= tolerance*1e-3,
			"%s: %s %v and %v", what, figure, a, b)
	}
	near("score", want.Score, got.Score)
	require.Equal(t, want.Method, got.Method, what)
	for figure, p := range map[string][2]*float64{
		"p-value": {want.PValue, got.PValue}, "effect size": {want.EffectSize, got.EffectSize},
	} {
		require.Equal(t, p[0] == nil, p[1] == nil, "%s: %s", what, figure)
		if p[0] != nil {
			near(figure, *p[0], *p[1])
		}
	}
}

// rows draws values with many ties, or with hardly any.
func rows(least int) *rapid.Generator[[]float64] {
	return rapid.OneOf(
		rapid.SliceOfN(rapid.Map(rapid.IntRange(-6, 6), func(i int) float64 { return float64(i) / 4 }), least, 40),
		rapid.SliceOfN(rapid.Float64Range(-100, 100), least, 40),
	)
}

// nasty draws values from the whole range of float64, NaN and infinities included.
func nasty() *rapid.Generator[[]float64] {
	return rapid.SliceOfN(rapid.OneOf(
		rapid.Float64(),
		rapid.SampledFrom([]float64{
			0, math.Copysign(0, -1), 1, -1, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64,
			math.SmallestNonzeroFloat64, 1e300, -1e300, 1e-300, 1e150, 1e-150, 1e12, 1e12 + 1,
		}),
	), 0, 30)
}

func TestNumericNeverNaN(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := stattest.NewSample(nasty().Draw(t, "reference")), stattest.NewSample(nasty().Draw(t, "current"))
		for _, name := range numericNames {
			r, err := run(name, a, b)
			if err != nil {
				require.True(t, strings.HasPrefix(err.Error(), name+": "), "%s: %v", name, err)
				continue
			}
			require.False(t, math.IsNaN(r.Score) || math.IsInf(r.Score, 0), "%s: score %v", name, r.Score)
			if r.PValue != nil {
				require.True(t, *r.PValue >= 0 && *r.PValue <= 1, "%s: p-value %v", name, *r.PValue)
			}
			if r.EffectSize != nil {
				require.False(t, math.IsNaN(*r.EffectSize) || math.IsInf(*r.EffectSize, 0), "%s: effect size %v", name, *r.EffectSize)
			}
		}
	})
}

func TestNumericOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := rows(1).Draw(t, "reference"), rows(1).Draw(t, "current")
		shuffled := rapid.Permutation(x).Draw(t, "shuffled")
		for _, name := range numericNames {
			want, wantErr := run(name, stattest.NewSample(x), stattest.NewSample(y))
			got, err := run(name, stattest.NewSample(shuffled), stattest.NewSample(y))
			require.Equal(t, want, got, name)
			require.Equal(t, wantErr, err, name)
		}
	})
}

func TestNumericSymmetry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := rows(1).Draw(t, "reference"), rows(1).Draw(t, "current")
		a, b := stattest.NewSample(x), stattest.NewSample(y)
		for _, name := range []string{"ks", "wasserstein_raw", "anderson", "cramer_von_mises", "ed"} {
			want, wantErr := run(name, a, b)
			got, err := run(name, b, a)
			same(t, name, want, got, wantErr, err, 1e-9)
		}
		for name, mirror := range map[string]float64{"mannw": float64(len(x) * len(y)), "t_test": 0} {
			want, wantErr := run(name, a, b)
			got, err := run(name, b, a)
			if err == nil {
				got.Score = mirror - got.Score
				if got.EffectSize != nil {
					*got.EffectSize = -*got.EffectSize
				}
			}
			same(t, name, want, got, wantErr, err, 1e-9)
		}
	})
}

// TestNumericWeights: a value of weight 3 is three rows.
func TestNumericWeights(t *testing.T) {
	side := func(t *rapid.T, name string) (repeated, weighted stattest.Sample) {
		values := rows(1).Draw(t, name)
		var all, weights []float64
		for range values {
			weights = append(weights, float64(rapid.IntRange(0, 9).Draw(t, "weight")))
		}
		for i, v := range values {
			for range int(weights[i]) {
				all = append(all, v)
			}
		}
		weighted, err := stattest.NewWeightedSample(values, weights)
		require.NoError(t, err)
		return stattest.NewSample(all), weighted
	}
	rapid.Check(t, func(t *rapid.T) {
		a, wa := side(t, "reference")
		b, wb := side(t, "current")
		for _, name := range numericNames {
			if name == "es" {
				continue // see TestEppsSingletonProperties
			}
			want, wantErr := run(name, a, b)
			for _, pair := range [][2]stattest.Sample{{wa, wb}, {a, wb}, {wa, b}} {
				got, err := run(name, pair[0], pair[1])
				same(t, name, want, got, wantErr, err, 1e-9)
			}
		}
	})
}

// TestEppsSingletonProperties: on samples whose covariance is far from singular, where the
// statistic has all its digits.
func TestEppsSingletonProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		side := func(n int, shift float64) (repeated, weighted stattest.Sample) {
			var all, values, weights []float64
			for range n {
				v, w := r.NormFloat64()+shift, r.IntN(4)
				values, weights = append(values, v), append(weights, float64(w))
				for range w {
					all = append(all, v)
				}
			}
			weighted, err := stattest.NewWeightedSample(values, weights)
			require.NoError(t, err)
			return stattest.NewSample(all), weighted
		}
		a, wa := side(rapid.IntRange(20, 60).Draw(t, "reference"), 0)
		b, wb := side(rapid.IntRange(20, 60).Draw(t, "current"), rapid.Float64Range(0, 2).Draw(t, "shift"))
		want, wantErr := run("es", a, b)
		require.NoError(t, wantErr)
		for what, pair := range map[string][2]stattest.Sample{
			"symmetry": {b, a}, "weights": {wa, wb}, "weights of one side": {wa, b},
		} {
			got, err := run("es", pair[0], pair[1])
			same(t, what, want, got, nil, err, 1e-9)
		}
		// Neither the unit nor the origin matters.
		moved := func(s stattest.Sample) stattest.Sample {
			v := slices.Clone(s.Values)
			for i := range v {
				v[i] = 8*v[i] + 1024
			}
			return stattest.NewSample(v)
		}
		got, err := run("es", moved(a), moved(b))
		same(t, "unit and origin", want, got, nil, err, 1e-8)
	})
}

// TestDistanceWeightsScale: distances know shares, not counts.
func TestDistanceWeightsScale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rows(1).Draw(t, "reference")
		var weights, thirds []float64
		for range values {
			w := rapid.Float64Range(0.01, 5).Draw(t, "weight")
			weights, thirds = append(weights, w), append(thirds, w/3)
		}
		a, err := stattest.NewWeightedSample(values, weights)
		require.NoError(t, err)
		third, err := stattest.NewWeightedSample(values, thirds)
		require.NoError(t, err)
		b := stattest.NewSample(rows(1).Draw(t, "current"))
		for _, name := range []string{"wasserstein", "wasserstein_raw", "ed"} {
			want, wantErr := run(name, a, b)
			got, err := run(name, third, b)
			same(t, name, want, got, wantErr, err, 1e-6)
		}
	})
}

func TestNumericOfItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := stattest.NewSample(rows(5).Draw(t, "values"))
		for _, name := range []string{"ks", "wasserstein", "wasserstein_raw", "cramer_von_mises", "t_test", "es", "ed"} {
			r, err := run(name, s, s)
			if err != nil {
				require.ErrorIs(t, err, stattest.ErrConstant, name)
				continue
			}
			require.Zero(t, r.Score, name)
			if r.PValue != nil {
				require.InDelta(t, 1, *r.PValue, 1e-12, name)
			}
		}
		r, err := run("mannw", s, s)
		require.NoError(t, err)
		require.Zero(t, *r.EffectSize)
		require.Equal(t, 1.0, *r.PValue)
	})
}

// TestNumericShift: of values and the same values moved up, all differences grow with the
// move, and SciPy's p-values fall; those of 20 permutations are too coarse for it. (Multiples of 1/64, so that no sum is rounded.)
func TestNumericShift(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOfN(rapid.Map(rapid.IntRange(-500, 500), func(i int) float64 { return float64(i) / 64 }), 5, 60).Draw(t, "values")
		a := stattest.NewSample(x)
		last := map[string]stattest.Result{}
		shift := 0.0
		for range 8 {
			y := slices.Clone(x)
			for i := range y {
				y[i] += shift
			}
			b := stattest.NewSample(y)
			for _, name := range []string{"ks", "wasserstein", "wasserstein_raw", "ed", "mannw", "t_test"} {
				r, err := stattest.Lookup(name).Numeric(a, b, stattest.Options{SciPy: true})
				require.NoError(t, err, name)
				if before, ok := last[name]; ok {
					grown := r.Score - before.Score
					if name == "mannw" || name == "t_test" { // of the reference against current
						grown = -grown
					}
					require.GreaterOrEqual(t, grown, -1e-9*math.Abs(before.Score), name)
					if r.PValue != nil && r.Method == before.Method { // ties decide on that of mannw
						require.LessOrEqual(t, *r.PValue, *before.PValue*(1+1e-9), name)
					}
				}
				last[name] = r
			}
			raw := last["wasserstein_raw"].Score
			require.InDelta(t, shift, raw, 1e-9)
			shift += float64(rapid.IntRange(0, 64).Draw(t, "step")) / 64
		}
	})
}

// TestNumericShiftNormal: the tests whose statistic need not grow in every sample do so in an
// ordinary one.
func TestNumericShiftNormal(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	draw := func(shift float64, n int) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = r.NormFloat64() + shift
		}
		return v
	}
	x, y := draw(0, 200), draw(0, 300)
	for _, name := range []string{"anderson", "cramer_von_mises", "es", "empirical_mmd"} {
		score, p := math.Inf(-1), 1.0
		for _, shift := range []float64{0.1, 0.2, 0.4, 0.7, 1} {
			moved := slices.Clone(y)
			for i := range moved {
				moved[i] += shift
			}
			got, err := run(name, stattest.NewSample(x), stattest.NewSample(moved))
			require.NoError(t, err)
			require.Greater(t, got.Score, score, "%s at %v", name, shift)
			require.LessOrEqual(t, *got.PValue, p, "%s at %v", name, shift)
			score, p = got.Score, *got.PValue
		}
	}
}

// TestNumericNull: with both sides of one distribution, P(p < α) is α.
func TestNumericNull(t *testing.T) {
	const simulations = 2000
	r := rand.New(rand.NewPCG(7, 8))
	below := map[string]map[float64]float64{}
	levels := []float64{0.01, 0.05, 0.1, 0.2}
	for range simulations {
		n, m := 40+r.IntN(20), 60+r.IntN(40)
		x, y := make([]float64, n), make([]float64, m)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		for i := range y {
			y[i] = r.NormFloat64()
		}
		a, b := stattest.NewSample(x), stattest.NewSample(y)
		for _, name := range []string{"ks", "anderson", "cramer_von_mises", "mannw", "t_test", "es", "empirical_mmd"} {
			if name == "empirical_mmd" {
				a, b = stattest.NewSample(x[:12]), stattest.NewSample(y[:12])
			}
			got, err := stattest.Lookup(name).Numeric(a, b, stattest.Options{Seed: r.Uint64(), Permutations: 99})
			require.NoError(t, err)
			for _, level := range levels {
				if *got.PValue <= level {
					if below[name] == nil {
						below[name] = map[float64]float64{}
					}
					below[name][level] += 1.0 / simulations
				}
			}
		}
	}
	for name, rates := range below {
		for _, level := range levels {
			// Four standard errors; ks is discrete, so conservative.
			slack := 4 * math.Sqrt(level*(1-level)/simulations)
			low, high := level-slack, level+slack
			if name == "ks" {
				low -= 0.3 * level
			}
			require.Greater(t, rates[level], low, "%s at %v", name, level)
			require.Less(t, rates[level], high, "%s at %v", name, level)
		}
	}
}
