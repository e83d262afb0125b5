package stattest_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/stattest"
)

func BenchmarkRows(b *testing.B) {
	const n = 1000000
	for _, kind := range []string{"normal", "integers"} {
		var sides [2]stattest.Sample
		for s := range sides {
			r := rand.New(rand.NewPCG(uint64(s), 3))
			v := make([]float64, n)
			for i := range v {
				if v[i] = r.NormFloat64() + 0.01*float64(s); kind == "integers" {
					v[i] = float64(int(20 * v[i]))
				}
			}
			sides[s] = stattest.NewSample(v)
		}
		for _, name := range numericNames {
			test := stattest.Lookup(name)
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_, err := test.Numeric(sides[0], sides[1], stattest.Options{})
					require.NoError(b, err)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(2*n), "ns/value")
			})
		}
	}
}

// BenchmarkNull is what a column costs that did not drift: of counts by cell, and of values.
func BenchmarkNull(b *testing.B) {
	rng := rand.New(rand.NewPCG(nullSeed, 9))
	for _, cells := range []int{10, 40, 1000} {
		b.Run(fmt.Sprintf("jensenshannon/%d", cells), func(b *testing.B) {
			test, r, c := stattest.Lookup("jensenshannon"), zipf(rng, 10_000, cells), zipf(rng, 10_000, cells)
			for b.Loop() {
				_, err := stattest.NullOfCells(test, r, c, stattest.NullOptions{})
				require.NoError(b, err)
			}
		})
	}
	for _, rows := range []int{1001, 1_000_000} {
		b.Run(fmt.Sprintf("wasserstein/%d", rows), func(b *testing.B) {
			test, r, c := stattest.Lookup("wasserstein"), drawn(rng, "normal", rows), drawn(rng, "normal", rows)
			for b.Loop() {
				_, err := stattest.NullOfValues(test, r, c, stattest.NullOptions{})
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkRare is what the smallest effect of a column costs whose rows are nearly all in one cell.
func BenchmarkRare(b *testing.B) {
	for _, rows := range []float64{1e4, 1e6, 1e8} {
		for _, name := range []string{"psi", "chisquare"} {
			b.Run(fmt.Sprintf("%s/%.0g", name, rows), func(b *testing.B) {
				null, err := stattest.NullOfCells(stattest.Lookup(name), []float64{rows - 3, 3}, []float64{rows, 0}, stattest.NullOptions{})
				require.NoError(b, err)
				for b.Loop() {
					null.Power().SmallestEffect(0.001, 0.02)
				}
			})
		}
	}
}
