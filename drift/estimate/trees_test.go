package estimate_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/estimate"
)

// TestTreesFit wants most of the variance of new rows explained, by numbers, categories and
// what is missing, and the same trees from the same rows.
func TestTreesFit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func(n int) ([]estimate.Feature, []float64) {
		x, z, c, y := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range n {
			x[i], z[i], c[i] = rng.Float64(), rng.NormFloat64(), float64(rng.IntN(40))
			y[i] = 3*math.Sin(6*x[i]) + math.Abs(z[i])
			if int(c[i])%3 == 0 {
				y[i] += 2
			}
			if rng.Float64() < 0.1 {
				x[i] = math.NaN()
				y[i] = 8 + 0.1*rng.NormFloat64()
			}
			if i%50 == 0 {
				z[i] = math.Inf(1)
			}
		}
		return []estimate.Feature{{Name: "x", Values: x}, {Name: "z", Values: z}, {Name: "c", Values: c, Categorical: true}}, y
	}
	features, y := draw(5000)
	f := must(estimate.FitTrees(features, y, estimate.TreeOptions{}))
	again := must(estimate.FitTrees(features, y, estimate.TreeOptions{}))
	test, want := draw(2000)
	got := must(f.Predict(test))
	require.Equal(t, got, must(again.Predict(test)))
	var mean, total, left float64
	for _, v := range want {
		mean += v / float64(len(want))
	}
	for i, v := range want {
		total += (v - mean) * (v - mean)
		left += (v - got[i]) * (v - got[i])
	}
	require.Less(t, left/total, 0.05, "share of the variance not explained")
}

// TestTreesUnseen puts a category that the training lacks, and a missing number where it had
// none, with the more rows.
func TestTreesUnseen(t *testing.T) {
	n := 300
	x, c, y := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range n {
		x[i], c[i] = float64(i), float64(i%3)
		if i >= 200 {
			y[i] = 10
		}
	}
	o := estimate.TreeOptions{Trees: 200, Leaves: 2}
	number := must(estimate.FitTrees([]estimate.Feature{{Name: "x", Values: x}}, y, o))
	got := must(number.Predict([]estimate.Feature{{Name: "x", Values: []float64{math.NaN(), 0, 1e9, math.Inf(-1)}}}))
	for i, want := range []float64{0, 0, 10, 0} {
		require.InDelta(t, want, got[i], 1e-6, "row %d", i)
	}
	for i := range y {
		y[i] = 0
		if c[i] == 1 {
			y[i] = 10
		}
	}
	category := must(estimate.FitTrees([]estimate.Feature{{Name: "c", Values: c, Categorical: true}}, y, o))
	got = must(category.Predict([]estimate.Feature{{Name: "c", Values: []float64{0, 1, 2, 77, math.NaN()}, Categorical: true}}))
	for i, want := range []float64{0, 10, 0, 0, 0} {
		require.InDelta(t, want, got[i], 1e-3, "row %d", i)
	}
}

// TestTreesScale trains on targets whose squares overflow or vanish: the trees are the same.
func TestTreesScale(t *testing.T) {
	n := 500
	x, y := make([]float64, n), make([]float64, n)
	for i := range n {
		x[i], y[i] = float64(i%50), float64(i%50%7)
	}
	features := []estimate.Feature{{Name: "x", Values: x}}
	want := must(must(estimate.FitTrees(features, y, estimate.TreeOptions{})).Predict(features))
	for _, exp := range []int{-900, 900} {
		scaled := make([]float64, n)
		for i := range y {
			scaled[i] = math.Ldexp(y[i], exp)
		}
		for i, v := range must(must(estimate.FitTrees(features, scaled, estimate.TreeOptions{})).Predict(features)) {
			require.InEpsilon(t, math.Ldexp(want[i], exp)+1e-300, v+1e-300, 1e-9, "row %d, 2^%d", i, exp)
		}
	}
}

// TestTreesManyValues has more values than bins, numbers and categories.
func TestTreesManyValues(t *testing.T) {
	n := 20000
	x, y := make([]float64, n), make([]float64, n)
	for i := range n {
		x[i] = float64(i % 1000)
		y[i] = math.Floor(x[i] / 100)
	}
	f := must(estimate.FitTrees([]estimate.Feature{{Name: "x", Values: x}}, y, estimate.TreeOptions{}))
	for i, v := range must(f.Predict([]estimate.Feature{{Name: "x", Values: x[:1000]}})) {
		if m := i % 100; m > 4 && m < 95 { // bins are about 4 values wide
			require.InDelta(t, y[i], v, 0.05, "x = %d", i)
		}
	}
	f = must(estimate.FitTrees([]estimate.Feature{{Name: "x", Values: x, Categorical: true}}, y, estimate.TreeOptions{}))
	got := must(f.Predict([]estimate.Feature{{Name: "x", Values: x[:254], Categorical: true}}))
	for i, v := range got {
		require.InDelta(t, y[i], v, 1.5, "x = %d", i)
	}
}

func BenchmarkFitTrees(b *testing.B) {
	r := regressionSide{N: 20000, Seed: 1}.generate()
	for b.Loop() {
		must(estimate.FitTrees(r.Features, r.Targets, estimate.TreeOptions{}))
	}
}

func BenchmarkFitBinaryCBPE(b *testing.B) {
	reference := simulate(rand.New(rand.NewPCG(1, 2)), 1_000_000, 2)
	chunks := must(estimate.Chunks(1_000_000, 10))
	for b.Loop() {
		must(estimate.FitBinaryCBPE(reference, chunks))
	}
}
