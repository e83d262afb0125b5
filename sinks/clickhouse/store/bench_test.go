package store_test

import (
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/store"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

// benchRows is the size of one call, as the recorder makes them: 24 records of 4,000 rows.
const benchRows = 96_000

func BenchmarkStoreObservations(b *testing.B) {
	for name, opts := range map[string][]ipc.Option{"none": nil, "lz4": {ipc.WithLZ4()}, "zstd": {ipc.WithZstd()}} {
		b.Run("compression="+name, func(b *testing.B) {
			c := clickhousetest.Client(b)
			s := storetest.Recorder{Bare: store.New(c, schemas.DefaultTopics(), memory.DefaultAllocator), Lease: storetest.CallLease}
			records := storetest.Observations(b, observetest.Manifest("flights", "v1"), benchRows/4000, 4000, opts...)
			_, err := s.Store(b.Context(), records, false)
			require.NoError(b, err)
			// Each call must bring new rows; taking the old away is cheaper than making new ones.
			reset := func() {
				b.StopTimer()
				require.NoError(b, c.Exec(b.Context(), "TRUNCATE TABLE "+c.Database()+".observations_flights"))
				b.StartTimer()
			}
			size := 0
			for _, r := range records {
				size += len(r.Value)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				reset()
				_, err := s.Store(b.Context(), records, false)
				require.NoError(b, err)
			}
			b.ReportMetric(benchRows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkStoreProfiled is BenchmarkStoreObservations with and without a plan, of 40 bins for each of
// 8 features and 2 outputs and two columns of categories.
func BenchmarkStoreProfiled(b *testing.B) {
	for _, profiled := range []bool{false, true} {
		b.Run(fmt.Sprintf("profiled=%t", profiled), func(b *testing.B) {
			c := clickhousetest.Client(b)
			if profiled {
				m, ref := monitored()
				ref.Columns, m.Monitoring.Segments = nil, nil
				for i, f := range m.Features {
					column := schemas.ReferenceColumn{Name: f.Name, Categories: f.Categories, Counts: make([]int64, len(f.Categories))}
					for k := range 39 {
						if i < 8 {
							column.Edges = append(column.Edges, float64(k+1)*25)
						}
					}
					ref.Columns = append(ref.Columns, column)
				}
				for _, o := range m.Outputs {
					column := schemas.ReferenceColumn{Name: o.Name}
					for k := range 39 {
						column.Edges = append(column.Edges, float64(k+1)/40)
					}
					ref.Columns = append(ref.Columns, column)
				}
				_, err := history.NewProfiler(c, c.Database()).Plan(b.Context(), m, ref)
				require.NoError(b, err)
			}
			s := storetest.Recorder{Bare: store.New(c, schemas.DefaultTopics(), memory.DefaultAllocator), Lease: storetest.CallLease}
			records := storetest.Observations(b, observetest.Manifest("flights", "v1"), benchRows/4000, 4000)
			stats, err := s.Store(b.Context(), records, false)
			require.NoError(b, err)
			require.Equal(b, profiled, stats.Profiles > 0)
			busy := time.Duration(0) // of both cores, of the engine too, which a machine that does other things does not change
			for b.Loop() {
				b.StopTimer()
				require.NoError(b, c.Exec(b.Context(), "TRUNCATE TABLE "+c.Database()+".observations_flights"))
				b.StartTimer()
				before := cpuTime(b)
				_, err := s.Store(b.Context(), records, false)
				require.NoError(b, err)
				busy += cpuTime(b) - before
			}
			b.ReportMetric(float64(busy.Milliseconds())/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(stats.Profiles), "profile-rows")
			b.ReportMetric(benchRows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkInsertFormat is the same bytes without Store: what ClickHouse itself takes,
// with the materialised view and without it.
func BenchmarkInsertFormat(b *testing.B) {
	for _, views := range []bool{true, false} {
		b.Run(fmt.Sprintf("views=%t", views), func(b *testing.B) {
			c := clickhousetest.Client(b)
			m := observetest.Manifest("flights", "v1")
			require.NoError(b, c.EnsureTable(b.Context(), m.ObservationSchema()))
			if !views {
				require.NoError(b, c.Exec(b.Context(), "DROP TABLE "+c.Database()+"."+schemas.MinuteViewName("flights")))
			}
			splice := storetest.Splice(b, storetest.Observations(b, m, benchRows/4000, 4000))
			size := 0
			for _, s := range splice {
				size += len(s)
			}
			ctx := ch.Context(b.Context(), ch.WithSettings(ch.Settings{"async_insert": 0}))
			b.SetBytes(int64(size))
			for b.Loop() {
				b.StopTimer() // as BenchmarkStoreObservations: the same table, without merges
				require.NoError(b, c.Exec(b.Context(), "TRUNCATE TABLE "+c.Database()+".observations_flights"))
				b.StartTimer()
				stream := append(net.Buffers(nil), splice...)
				require.NoError(b, clickhousetest.Conn(b).InsertFormat(ctx, "ArrowStream", "INSERT INTO "+c.Database()+".observations_flights", &stream))
			}
			b.ReportMetric(benchRows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func BenchmarkStoreFeedback(b *testing.B) {
	c := clickhousetest.Client(b)
	s := storetest.Recorder{Bare: store.New(c, schemas.DefaultTopics(), memory.DefaultAllocator), Lease: storetest.CallLease}
	records := make([]schemas.Record, benchRows)
	size := 0
	for i := range records {
		id := observetest.RequestTopicID.String() + "/0/" + strconv.Itoa(i)
		value := fmt.Sprintf(`{"request_id":"%s","model":"flights","label":%d,"observed_at":%d}`, id, i%2, 978307200000+i*50)
		records[i] = observetest.Record(schemas.DefaultTopics().Feedback, int64(i), []byte(id), []byte(value))
		size += len(value)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		require.NoError(b, c.Exec(b.Context(), "TRUNCATE TABLE "+c.Database()+".feedback"))
		b.StartTimer()
		stats, err := s.Store(b.Context(), records, false)
		require.NoError(b, err)
		require.Equal(b, benchRows, stats.Feedback)
	}
	b.ReportMetric(benchRows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
