package stattest_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/stattest"
)

func sortInputs(n int) map[string][]float64 {
	r := rand.New(rand.NewPCG(1, 2))
	in := map[string][]float64{}
	fill := func(name string, f func(i int) float64) {
		v := make([]float64, n)
		for i := range v {
			v[i] = f(i)
		}
		in[name] = v
	}
	fill("normal", func(int) float64 { return r.NormFloat64() })
	fill("bits", func(int) float64 {
		for {
			if v := math.Float64frombits(r.Uint64()); !math.IsNaN(v) {
				return v
			}
		}
	})
	fill("small integers", func(int) float64 { return float64(r.IntN(10)) })
	fill("signed integers", func(int) float64 { return float64(r.IntN(2001) - 1000) })
	fill("negative", func(int) float64 { return -1 - r.Float64()/2 })
	fill("one exponent", func(int) float64 { return 1 + r.Float64()/2 })
	fill("constant", func(int) float64 { return 4 })
	fill("ascending", func(i int) float64 { return float64(i) })
	fill("descending", func(i int) float64 { return float64(-i) })
	special := []float64{math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), 5e-324, -5e-324, math.MaxFloat64, -math.MaxFloat64}
	fill("special", func(int) float64 { return special[r.IntN(len(special))] })
	fill("infinities at the ends", func(i int) float64 { return []float64{math.Inf(-1), r.NormFloat64(), math.Inf(1)}[i%3] })
	return in
}

func TestSortFloats(t *testing.T) {
	var scratch []float64
	for _, n := range []int{0, 1, 2, 100, 1499, 1500, 5000, 60000} {
		for name, in := range sortInputs(n) {
			want := slices.Clone(in)
			sort.Float64s(want)
			got := slices.Clone(in)
			scratch = stattest.SortFloats(got, scratch)
			require.Equal(t, want, got, "%d %s", n, name) // as floats: -0 is 0
			// and no bits are invented or lost: as many negative zeros as before
			zeros := func(v []float64) (k int) {
				for _, x := range v {
					if x == 0 && math.Signbit(x) {
						k++
					}
				}
				return k
			}
			require.Equal(t, zeros(in), zeros(got), "%d %s", n, name)
		}
	}
	require.Len(t, scratch, 60000)
}

func TestSortFloatsReusesScratch(t *testing.T) {
	in := sortInputs(10000)["normal"]
	v, scratch := make([]float64, len(in)), make([]float64, len(in))
	require.Zero(t, testing.AllocsPerRun(10, func() {
		copy(v, in)
		scratch = stattest.SortFloats(v, scratch)
	}))
}

func BenchmarkSort(b *testing.B) {
	for name, in := range sortInputs(1000000) {
		v, scratch := make([]float64, len(in)), make([]float64, len(in))
		for by, sortBy := range map[string]func([]float64){
			"radix":  func(v []float64) { scratch = stattest.SortFloats(v, scratch) },
			"slices": slices.Sort[[]float64],
		} {
			b.Run(name+"/"+by, func(b *testing.B) {
				b.SetBytes(int64(8 * len(in)))
				for b.Loop() {
					copy(v, in)
					sortBy(v)
				}
			})
		}
	}
}
