package quality_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/quality"
)

// BenchmarkAdd judges a million rows in batches of 64k.
func BenchmarkAdd(b *testing.B) {
	const n, batch = 1 << 20, 1 << 16
	rng := rand.New(rand.NewPCG(seed, 3))
	y, s, t, p := make([]bool, n), make([]float64, n), make([]int, n), make([]int, n)
	for i := range n {
		y[i], s[i], t[i], p[i] = rng.IntN(3) == 0, rng.Float64(), rng.IntN(2), rng.IntN(2)
	}
	run := func(name string, f func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(8 * n)
			b.ReportAllocs()
			for b.Loop() {
				f(b)
			}
		})
	}
	run("confusion", func(b *testing.B) {
		b.Helper()
		c, err := quality.NewConfusion(2)
		require.NoError(b, err)
		for i := 0; i < n; i += batch {
			require.NoError(b, c.Add(t[i:i+batch], p[i:i+batch], nil))
		}
	})
	run("ranking", func(b *testing.B) {
		b.Helper()
		r := quality.NewRanking()
		for i := 0; i < n; i += batch {
			require.NoError(b, r.Add(y[i:i+batch], s[i:i+batch], nil))
		}
		_, err := r.ROCAUC()
		require.NoError(b, err)
	})
	run("probabilities", func(b *testing.B) {
		b.Helper()
		c, err := quality.NewProbabilities(2, 0)
		require.NoError(b, err)
		for i := 0; i < n; i += batch {
			require.NoError(b, c.AddBinary(y[i:i+batch], s[i:i+batch], nil))
		}
	})
	run("regression", func(b *testing.B) {
		b.Helper()
		r := quality.NewRegression()
		for i := 0; i < n; i += batch {
			require.NoError(b, r.Add(s[i:i+batch], s[:batch], nil))
		}
	})
}
