package dataset_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/dataset"
)

// TestParquetMemory scans a row group of a million rows in memory that does not grow with it,
// by scans at the same time.
func TestParquetMemory(t *testing.T) {
	type row struct {
		X float64 `parquet:"x"`
		S string  `parquet:"s,dict"`
	}
	const rows = 1 << 20
	var file bytes.Buffer
	w := parquet.NewGenericWriter[row](&file, parquet.PageBufferSize(1<<16), parquet.Compression(&parquet.Lz4Raw))
	for i := 0; i < rows; i += 1 << 12 {
		part := make([]row, 1<<12)
		for k := range part {
			part[k] = row{X: float64(i+k) * 1.1, S: []string{"a", "bb", "ccc"}[(i+k)%3]}
		}
		_, err := w.Write(part)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	path := filepath.Join(t.TempDir(), "a.parquet")
	require.NoError(t, os.WriteFile(path, file.Bytes(), 0o600))
	file = bytes.Buffer{}
	s := open(t, path, dataset.Options{BatchRows: 1 << 10})
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var wait sync.WaitGroup
	for column := range 2 {
		wait.Go(func() {
			seen, most := int64(0), uint64(0)
			err := s.Scan(context.Background(), []int{column}, func(r arrow.Record) error {
				if seen += r.NumRows(); seen%(1<<18) == 0 {
					var m runtime.MemStats
					runtime.GC()
					runtime.ReadMemStats(&m)
					most = max(most, m.HeapAlloc)
				}
				return nil
			})
			if err != nil || seen != rows || most > before.HeapAlloc+4<<20 {
				t.Errorf("column %d: %d rows, %d bytes beside %d: %v", column, seen, most, before.HeapAlloc, err)
			}
		})
	}
	wait.Wait()
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := errors.New("stop")
	require.ErrorIs(t, s.Scan(ctx, []int{0}, func(arrow.Record) error { cancel(stop); return nil }), stop)
}
