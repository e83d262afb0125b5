package compare_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/compare"
)

// BenchmarkCompare is the cost of a comparison without that of reading: 20 columns of
// 1,000,000 and as many rows.
func BenchmarkCompare(b *testing.B) {
	var tables [2]*memoryTable
	for k := range tables {
		rng := rand.New(rand.NewPCG(uint64(k), 1))
		var columns []namedColumn
		for i := range 20 {
			values := make([]float64, 1_000_000)
			for j := range values {
				values[j] = rng.NormFloat64()
			}
			columns = append(columns, namedColumn{fmt.Sprintf("f%02d", i), values})
		}
		tables[k] = newTable(b, []string{"reference", "current"}[k], columns...)
		tables[k].batch = 65536
	}
	b.ReportAllocs()
	for b.Loop() {
		_, err := compare.Compare(b.Context(), tables[0], tables[1], compare.Options{})
		require.NoError(b, err)
	}
}
