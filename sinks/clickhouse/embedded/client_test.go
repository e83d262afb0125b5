//go:build linux && amd64

package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
)

func TestClient(t *testing.T) {
	for _, method := range []clickhouse.CompressionMethod{
		clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD,
		clickhouse.CompressionGZIP, clickhouse.CompressionDeflate, clickhouse.CompressionBrotli,
	} {
		t.Run(method.String(), func(t *testing.T) {
			ctx := t.Context()
			conn := connect(t, newDatabase(t), &clickhouse.Compression{Method: method})
			require.NoError(t, conn.Ping(ctx))
			require.NoError(t, conn.Exec(ctx, `CREATE TABLE t (
				id UInt64, name LowCardinality(String), at DateTime64(6, 'UTC'), tags Array(String), score Nullable(Float64),
				attrs Map(String, UInt8), kind Enum8('a' = 1, 'b' = 2), pair Tuple(x Int8, y String), day Date DEFAULT '2001-01-02'
			) ENGINE = MergeTree ORDER BY id`))

			type row struct {
				ID    uint64           `ch:"id"`
				Name  string           `ch:"name"`
				At    time.Time        `ch:"at"`
				Tags  []string         `ch:"tags"`
				Score *float64         `ch:"score"`
				Attrs map[string]uint8 `ch:"attrs"`
				Kind  string           `ch:"kind"`
				Pair  []any            `ch:"pair"`
				Day   time.Time        `ch:"day"`
			}
			score := 0.5
			at := time.Date(2001, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
			want := []row{
				{1, "one", at, []string{"x", "y"}, &score, map[string]uint8{"k": 1}, "a", []any{int8(1), "p"}, time.Time{}},
				{2, "two", at, []string{}, nil, map[string]uint8{}, "b", []any{int8(2), "q"}, time.Time{}},
			}
			batch, err := conn.PrepareBatch(ctx, "INSERT INTO t (id, name, at, tags, score, attrs, kind, pair)")
			require.NoError(t, err)
			defer batch.Close()
			for _, r := range want {
				require.NoError(t, batch.Append(r.ID, r.Name, r.At, r.Tags, r.Score, r.Attrs, r.Kind, r.Pair))
			}
			require.NoError(t, batch.Send())

			var got []row
			require.NoError(t, conn.Select(ctx, &got, "SELECT * FROM t WHERE id >= ? ORDER BY id", 1))
			for i := range got {
				require.Equal(t, "2001-01-02", got[i].Day.Format(time.DateOnly)) // in the engine's time zone
				got[i].Day = time.Time{}
			}
			require.Equal(t, want, got)
			require.NoError(t, conn.Select(ctx, &got, "SELECT * FROM t WHERE id > 2"))
			require.Empty(t, got)

			var name string
			require.NoError(t, conn.QueryRow(ctx, "SELECT name FROM t WHERE id = {id:UInt64}", clickhouse.Named("id", 2)).Scan(&name))
			require.Equal(t, "two", name)

			// Enough rows for several blocks and several compressed frames.
			var count, sum uint64
			rows, err := conn.Query(ctx, "SELECT number, toString(number) FROM numbers(300000)")
			require.NoError(t, err)
			for rows.Next() {
				var n uint64
				require.NoError(t, rows.Scan(&n, &name))
				count, sum = count+1, sum+n
			}
			require.NoError(t, rows.Err())
			require.NoError(t, rows.Close())
			require.Equal(t, uint64(300_000), count)
			require.Equal(t, uint64(300_000*299_999/2), sum)

			err = conn.Exec(ctx, "SELECT * FROM nope")
			var exception *clickhouse.Exception
			require.ErrorAs(t, err, &exception)
			require.Equal(t, int32(60), exception.Code)
			require.Error(t, conn.QueryRow(ctx, "SELECT throwIf(1)").Scan(&count))

			with := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_threads": 3}), clickhouse.WithQueryID("q1"))
			var threads string
			require.NoError(t, conn.QueryRow(with, "SELECT toString(getSetting('max_threads'))").Scan(&threads))
			require.Equal(t, "3", threads)

			body := requests(t, 0, 1000)
			require.NoError(t, conn.Exec(ctx, createRequests))
			require.NoError(t, conn.InsertFormat(ctx, "ArrowStream", "INSERT INTO requests", bytes.NewReader(body)))
			stream, err := conn.QueryFormat(ctx, "ArrowStream", "SELECT id, model FROM requests WHERE id < ? ORDER BY id", 10)
			require.NoError(t, err)
			r, err := ipc.NewReader(stream)
			require.NoError(t, err)
			defer r.Release()
			require.True(t, r.Next(), r.Err())
			require.EqualValues(t, 10, r.Record().NumRows())
			require.EqualValues(t, 9, r.Record().Column(0).(*array.Int64).Value(9))
			require.NoError(t, stream.Close())
		})
	}
}

func TestClientThatDiesInsertsNothing(t *testing.T) {
	conn := connect(t, newDatabase(t), nil)
	require.NoError(t, conn.Exec(t.Context(), createRequests))
	body := requests(t, 0, 50_000)
	broken := io.MultiReader(bytes.NewReader(body[:len(body)/2]), errorReader{})
	require.ErrorIs(t, conn.InsertFormat(t.Context(), "ArrowStream", "INSERT INTO requests", broken), errBroken)

	ctx, cancel := context.WithCancel(t.Context())
	stalled, source := io.Pipe()
	inserted := make(chan error, 1)
	go func() { inserted <- conn.InsertFormat(ctx, "ArrowStream", "INSERT INTO requests", stalled) }() // ended by cancel
	_, err := source.Write(body[:len(body)/2])
	require.NoError(t, err)
	cancel()
	require.NoError(t, source.CloseWithError(context.Canceled)) // net/http waits for a body that it reads from
	require.ErrorIs(t, <-inserted, context.Canceled)

	var count uint64
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count() FROM requests").Scan(&count))
	require.Zero(t, count)
}

var errBroken = errors.New("source is broken")

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errBroken }

func TestNativeWithoutRowsKeepsItsColumns(t *testing.T) {
	// One block without rows and with a LowCardinality column, as ClickHouse writes it.
	empty := []byte("\x02\x00\x01n\x06UInt64\x01s\x16LowCardinality(String)")
	got, err := nativeAt(54_460, empty, nil)
	require.NoError(t, err)
	require.Equal(t, "\x01\x00\x02\xff\xff\xff\xff\x00\x02\x00\x01n\x06UInt64\x00\x01s\x16LowCardinality(String)\x00", string(got))
	_, err = nativeAt(54_460, empty[:9], nil)
	require.ErrorContains(t, err, "translate the result")
}

const createRequests = `CREATE TABLE requests (
	id Int64, model LowCardinality(String), at DateTime64(6, 'UTC'), a Float64, b Float64, ok Bool, tags Array(String), kind String DEFAULT 'k'
) ENGINE = MergeTree ORDER BY id`

// requests returns an Arrow stream of n rows whose ids begin at first.
func requests(tb testing.TB, first, n int) []byte {
	tb.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(tb, 0)
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "model", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}},
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
		{Name: "a", Type: arrow.PrimitiveTypes.Float64},
		{Name: "b", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "ok", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String)},
	}, nil)
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	tags := b.Field(6).(*array.ListBuilder)
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(int64(first + i))
		require.NoError(tb, b.Field(1).(*array.BinaryDictionaryBuilder).AppendString([]string{"delays", "fraud"}[i%2]))
		b.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(978_404_645_000_000 + i))
		b.Field(3).(*array.Float64Builder).Append(float64(i))
		b.Field(4).(*array.Float64Builder).Append(1 / float64(i+1))
		b.Field(5).(*array.BooleanBuilder).Append(i%2 == 0)
		tags.Append(true)
		tags.ValueBuilder().(*array.StringBuilder).Append("t")
	}
	record := b.NewRecord()
	defer record.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema), ipc.WithAllocator(mem))
	require.NoError(tb, w.Write(record))
	require.NoError(tb, w.Close())
	return out.Bytes()
}

func BenchmarkInsertArrowStream(b *testing.B) {
	for _, rows := range []int{1024, 65_536} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			conn := connect(b, newDatabase(b), nil)
			require.NoError(b, conn.Exec(b.Context(), createRequests))
			body := requests(b, 0, rows)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, conn.InsertFormat(b.Context(), "ArrowStream", "INSERT INTO requests", bytes.NewReader(body)))
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func BenchmarkQuery(b *testing.B) {
	conn := connect(b, "default", nil)
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, conn.Ping(b.Context()))
	}
}
