package dataset_test

import (
	"context"
	"os"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/dataset"
)

// BenchmarkFile scans the file that MILLRACE_BENCH_TABLE names, column by column where it is
// columnar; MB/s are of the file.
func BenchmarkFile(b *testing.B) {
	path := os.Getenv("MILLRACE_BENCH_TABLE")
	if path == "" {
		b.Skip("MILLRACE_BENCH_TABLE is not set")
	}
	s := open(b, path, dataset.Options{})
	info, err := os.Stat(path)
	require.NoError(b, err)
	b.SetBytes(info.Size())
	b.ReportAllocs()
	for b.Loop() {
		scans := [][]int{all(s)}
		if s.Columnar() {
			scans = nil
			for _, c := range all(s) {
				scans = append(scans, []int{c})
			}
		}
		for _, columns := range scans {
			require.NoError(b, s.Scan(context.Background(), columns, func(arrow.Record) error { return nil }))
		}
	}
}
