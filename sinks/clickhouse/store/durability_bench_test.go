package store_test

import (
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/store"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

// BenchmarkStoreDurability is what it costs that the rows of an insert have reached the
// disk when it is answered: for the inserts of a recorder that is busy, and of one that
// stores what little came in a second.
func BenchmarkStoreDurability(b *testing.B) {
	for _, rows := range []int{benchRows, 1000} {
		for _, durability := range []schemas.Durability{schemas.DurabilityNone, schemas.DurabilityFsync} {
			b.Run(fmt.Sprintf("rows=%d/durability=%s", rows, durability), func(b *testing.B) {
				c := clickhousetest.Open(b, schemas.Storage{Database: clickhousetest.NewDatabase(b), TTLDays: 90, Durability: durability})
				require.NoError(b, c.Migrate(b.Context()))
				s := storetest.Recorder{Bare: store.New(c, schemas.DefaultTopics(), memory.DefaultAllocator), Lease: storetest.CallLease}
				n := max(rows/4000, 1)
				records := storetest.Observations(b, observetest.Manifest("flights", "v1"), n, rows/n)
				_, err := s.Store(b.Context(), records, false)
				require.NoError(b, err)
				size := 0
				for _, r := range records {
					size += len(r.Value)
				}
				b.SetBytes(int64(size))
				for b.Loop() {
					b.StopTimer() // as BenchmarkStoreObservations
					require.NoError(b, c.Exec(b.Context(), "TRUNCATE TABLE "+c.Database()+".observations_flights"))
					b.StartTimer()
					_, err := s.Store(b.Context(), records, false)
					require.NoError(b, err)
				}
				b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}
