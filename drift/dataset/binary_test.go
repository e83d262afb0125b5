package dataset_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/dataset"
)

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(tb, err)
	return b
}

func TestNested(t *testing.T) {
	s := open(t, "testdata/nested.parquet", dataset.Options{})
	require.Equal(t, "a int64: 0 1 2 3 4\nb utf8: \"a\" \"b\" \"c\" \"d\" \"e\"\n", describe(t, s))
	for name, want := range map[string]string{"list": "list", "struct": "struct", "map": "list"} {
		columns, err := dataset.Columns(s, "a", name)
		require.NoError(t, err)
		err = s.Scan(context.Background(), columns, nil)
		require.EqualError(t, err, `testdata/nested.parquet: column "`+name+`" holds values of type `+want+`, which cannot be compared: leave it out`)
	}
	s = open(t, "testdata/views.arrow", dataset.Options{})
	columns, err := dataset.Columns(s, "run")
	require.NoError(t, err)
	require.EqualError(t, s.Scan(context.Background(), columns, nil), `testdata/views.arrow: column "run" holds values of type run_end_encoded, which cannot be compared: leave it out`)
}

func TestPandasIndexIsLeftOut(t *testing.T) {
	require.Equal(t, "a int64: 2 4\n", describe(t, open(t, "testdata/pandas_index.parquet", dataset.Options{})))
}

func TestColumns(t *testing.T) {
	s := open(t, write(t, "a.csv", "x,y\n1,2\n"), dataset.Options{})
	_, err := dataset.Columns(s, "y", "z")
	require.EqualError(t, err, s.Name()+`: there is no column "z"; there are x, y`)
	require.EqualError(t, s.Scan(context.Background(), []int{2}, nil), s.Name()+": there is no column 2 of 2")
}

// sources are one of each format.
func sources(t *testing.T) map[string]dataset.Source {
	t.Helper()
	stream := read(t, "stream.arrows")
	query, err := dataset.FromArrowStream(context.Background(), "a query", func(ctx context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(stream)), ctx.Err()
	}, dataset.Options{BatchRows: 9})
	require.NoError(t, err)
	out := map[string]dataset.Source{"query": query}
	for _, name := range []string{"pages_v2.parquet", "zstd.arrow", "stream.arrows", "pandas.csv", "rows.jsonl.zst"} {
		out[name] = open(t, "testdata/"+name, dataset.Options{BatchRows: 9})
	}
	return out
}

func TestScan(t *testing.T) {
	for name, s := range sources(t) {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, name != "query" && name != "pandas.csv" && name != "rows.jsonl.zst", s.Columnar())

			stop := errors.New("enough")
			calls := 0
			err := s.Scan(context.Background(), []int{0}, func(arrow.Record) error {
				calls++
				return stop
			})
			require.True(t, err == stop, "as it is: %v", err) //nolint:errorlint // that it is not wrapped
			require.Equal(t, 1, calls)

			cause := errors.New("the user went away")
			ctx, cancel := context.WithCancelCause(context.Background())
			err = s.Scan(ctx, []int{0}, func(arrow.Record) error {
				cancel(cause)
				return nil
			})
			require.ErrorIs(t, err, cause)

			require.PanicsWithValue(t, "of f", func() { _ = s.Scan(context.Background(), []int{0}, func(arrow.Record) error { panic("of f") }) })

			// Columns in any order and twice, in scans at the same time; batches are kept.
			columns := all(s)
			want := values(t, s, columns...)
			var group sync.WaitGroup
			for k := range 4 {
				group.Go(func() {
					i, j := columns[k], columns[len(columns)-1-k]
					var kept []arrow.Record
					if err := s.Scan(context.Background(), []int{j, i, j}, func(r arrow.Record) error {
						r.Retain()
						kept = append(kept, r)
						return nil
					}); err != nil {
						t.Error(err)
						return
					}
					got := make([][]string, 3)
					for _, r := range kept {
						for c := range got {
							got[c] = append(got[c], texts(r.Column(c))...)
						}
						r.Release()
					}
					if !equal(got[0], want[len(columns)-1-k]) || !equal(got[1], want[k]) || !equal(got[2], got[0]) {
						t.Errorf("columns %d and %d differ", i, j)
					}
				})
			}
			group.Wait()
		})
	}
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestFromArrowStream(t *testing.T) {
	broken := errors.New("connection refused")
	_, err := dataset.FromArrowStream(context.Background(), "a query", func(context.Context) (io.ReadCloser, error) { return nil, broken }, dataset.Options{})
	require.ErrorIs(t, err, broken)
	require.EqualError(t, err, "a query: connection refused")

	first, second := read(t, "stream.arrows"), read(t, "stream_plain.arrows")
	answers := [][]byte{first, second, first[:len(first)/2], nil}
	asked, closed := 0, 0
	s, err := dataset.FromArrowStream(context.Background(), "a query", func(context.Context) (io.ReadCloser, error) {
		asked++
		return closer{bytes.NewReader(answers[asked-1]), &closed}, nil
	}, dataset.Options{Types: map[string]arrow.DataType{"bool": dataset.Int64}})
	require.NoError(t, err)
	columns, err := dataset.Columns(s, "bool")
	require.NoError(t, err)
	require.Equal(t, []string{"0", "0", "1", "1", "null"}, values(t, s, columns...)[0][:5])
	require.ErrorContains(t, s.Scan(context.Background(), columns, func(arrow.Record) error { return nil }), "a query: it is cut short within a message")
	require.EqualError(t, s.Scan(context.Background(), columns, nil), "a query: its first message is no schema")
	require.Equal(t, 4, closed)
}

type closer struct {
	io.Reader
	closed *int
}

func (c closer) Close() error {
	*c.closed++
	return nil
}

func TestTypesOfBinaryFormats(t *testing.T) {
	given := map[string]arrow.DataType{
		"int": dataset.Text, "float_null": dataset.Float32, "uint64": dataset.Int64, "bool": dataset.Float64, "word": dataset.Int64,
		"date": dataset.Timestamp, "time": dataset.Date, "time_zone": dataset.Text, "float32": dataset.Text,
	}
	for _, file := range []string{"default.parquet", "zstd.arrow"} {
		typed, plain := open(t, "testdata/"+file, dataset.Options{Types: given}), open(t, "testdata/"+file, dataset.Options{})
		get := func(s dataset.Source, name string) []string {
			c, err := dataset.Columns(s, name)
			require.NoError(t, err)
			return values(t, s, c...)[0]
		}
		for name, typ := range given {
			c, err := dataset.Columns(typed, name)
			require.NoError(t, err)
			require.Equal(t, typ, typed.Schema().Field(c[0]).Type)
			before, after := get(plain, name), get(typed, name)
			require.Len(t, after, len(before))
			failed := typed.TypeErrors()[c[0]]
			switch name {
			case "uint64", "word": // too large, and texts
				require.EqualValues(t, len(before), failed)
				continue
			case "int":
				require.Equal(t, strconv.Quote(before[3]), after[3])
			case "bool":
				require.Equal(t, "0", after[0])
				require.Equal(t, "false", before[0])
			}
			require.Zero(t, failed, name)
			for i := range before {
				require.Equal(t, before[i] == "null", after[i] == "null", name)
				if before[i] == "null" {
					continue
				}
				x, _ := strconv.ParseInt(before[i], 10, 64)
				switch name {
				case "date":
					require.Equal(t, strconv.FormatInt(x*86_400_000_000, 10), after[i])
				case "time":
					require.Equal(t, arrow.Date32FromTime(arrow.Timestamp(x).ToTime(arrow.Microsecond)), arrow.Date32(must(strconv.Atoi(after[i]))))
				}
			}
		}
	}
}

func must(x int, err error) int {
	if err != nil {
		panic(err)
	}
	return x
}

// randomTable draws a table with the types that arrow's writers have.
func randomTable(t *rapid.T, alloc memory.Allocator) arrow.Record {
	types := []arrow.DataType{
		arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Uint64, arrow.PrimitiveTypes.Float64,
		arrow.PrimitiveTypes.Float32, arrow.FixedWidthTypes.Boolean, arrow.BinaryTypes.String, arrow.FixedWidthTypes.Date32,
	}
	columns := rapid.SliceOfN(rapid.SampledFrom(types), 1, 5).Draw(t, "types")
	fields := make([]arrow.Field, len(columns))
	for i, typ := range columns {
		fields[i] = arrow.Field{Name: "c" + strconv.Itoa(i), Type: typ, Nullable: rapid.Bool().Draw(t, "nullable")}
	}
	b := array.NewRecordBuilder(alloc, arrow.NewSchema(fields, nil))
	defer b.Release()
	rows := rapid.IntRange(1, 200).Draw(t, "rows")
	levels := rapid.Int64Range(1, 1<<40).Draw(t, "levels")
	seed := rapid.Uint64().Draw(t, "seed")
	for range rows {
		for i, f := range fields {
			seed = seed*6364136223846793005 + 1442695040888963407
			x := int64(seed>>20) % levels
			if f.Nullable && seed>>60 == 0 {
				b.Field(i).AppendNull()
				continue
			}
			switch b := b.Field(i).(type) {
			case *array.Int64Builder:
				b.Append(x - levels/2)
			case *array.Int32Builder:
				b.Append(int32(x))
			case *array.Uint64Builder:
				b.Append(uint64(x) << 20)
			case *array.Float64Builder:
				b.Append(float64(x) / 7)
			case *array.Float32Builder:
				b.Append(float32(x) / 7)
			case *array.BooleanBuilder:
				b.Append(x%2 == 0)
			case *array.StringBuilder:
				b.Append(strconv.FormatInt(x, 36))
			case *array.Date32Builder:
				b.Append(arrow.Date32(x))
			}
		}
	}
	return b.NewRecord()
}

// TestAsArrowWrites reads random tables as arrow's writers wrote them, to the value.
func TestAsArrowWrites(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		record := randomTable(t, alloc)
		want := make([][]string, record.NumCols())
		for i, c := range record.Columns() {
			want[i] = texts(c)
		}
		var file bytes.Buffer
		name := filepath.Join(dir, "t.parquet")
		if rapid.Bool().Draw(t, "parquet") {
			writeParquet(t, &file, record, parquet.NewWriterProperties(
				parquet.WithAllocator(alloc),
				parquet.WithCompression(rapid.SampledFrom([]compress.Compression{compress.Codecs.Uncompressed, compress.Codecs.Snappy, compress.Codecs.Gzip, compress.Codecs.Zstd, compress.Codecs.Brotli}).Draw(t, "codec")),
				parquet.WithDictionaryDefault(rapid.Bool().Draw(t, "dictionary")),
				parquet.WithDataPageSize(rapid.Int64Range(20, 1000).Draw(t, "page")),
				parquet.WithBatchSize(rapid.Int64Range(1, 100).Draw(t, "batch")),
				parquet.WithDictionaryPageSizeLimit(rapid.Int64Range(50, 1000).Draw(t, "limit")),
				parquet.WithDataPageVersion(rapid.SampledFrom([]parquet.DataPageVersion{parquet.DataPageV1, parquet.DataPageV2}).Draw(t, "version")),
				parquet.WithMaxRowGroupLength(rapid.Int64Range(1, 250).Draw(t, "group")),
			))
		} else {
			name = filepath.Join(dir, "t.arrows")
			options := []ipc.Option{ipc.WithSchema(record.Schema()), ipc.WithAllocator(alloc)}
			switch rapid.IntRange(0, 2).Draw(t, "codec") {
			case 1:
				options = append(options, ipc.WithLZ4())
			case 2:
				options = append(options, ipc.WithZstd())
			}
			w := ipc.NewWriter(&file, options...)
			step := rapid.Int64Range(1, record.NumRows()).Draw(t, "step")
			for from := int64(0); from < record.NumRows(); from += step { // slices have offsets that are not 0
				slice := record.NewSlice(from, min(from+step, record.NumRows()))
				require.NoError(t, w.Write(slice))
				slice.Release()
			}
			require.NoError(t, w.Close())
		}
		record.Release()
		require.NoError(t, os.WriteFile(name, file.Bytes(), 0o600))
		s, err := dataset.Open(t.Context(), name, dataset.Options{BatchRows: rapid.IntRange(1, 250).Draw(t, "rows")})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		columns := make([]int, len(want))
		got := make([][]string, len(want))
		for i := range columns {
			columns[i] = i
		}
		require.NoError(t, s.Scan(context.Background(), columns, func(r arrow.Record) error {
			for i, c := range r.Columns() {
				got[i] = append(got[i], texts(c)...)
			}
			return nil
		}))
		require.Equal(t, want, got)
	})
}

// TestClaims changes each four bytes of small files to claims of sizes: whatever comes of
// it, it takes no more memory than a scan may.
func TestClaims(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"int96.parquet", "pandas_index.parquet", "pandas.feather", "nested.parquet"} {
		good := read(t, name)
		path := filepath.Join(dir, name)
		for at := 0; at+4 <= len(good); at += 3 + at%11 {
			bad := bytes.Clone(good)
			binary.LittleEndian.PutUint32(bad[at:], []uint32{0x7fffffff, 0xffffffff, 0x3fffffff, 0xfffffffe}[at%4])
			exercise(t, path, bad, 0)
		}
	}
	for _, name := range []string{"default.parquet", "file.arrow", "stream.arrows", "rows.jsonl.zst", "pandas.csv.gz"} { // cut short
		good := read(t, name)
		for n := 0; n < len(good); n += 1 + len(good)/30 {
			exercise(t, filepath.Join(dir, name), good[:n], 0)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	require.Less(t, m.Sys, uint64(3<<30))
}

// exercise opens a file that may be broken, and scans its columns, at most so many (0: all).
func exercise(tb testing.TB, path string, content []byte, most int) {
	tb.Helper()
	require.NoError(tb, os.WriteFile(path, content, 0o600))
	s, err := dataset.Open(tb.Context(), path, dataset.Options{BatchRows: 100})
	if err != nil {
		require.ErrorContains(tb, err, path+": ")
		require.NotContains(tb, err.Error(), "runtime error")
		return
	}
	rows := int64(0)
	enough := errors.New("enough")
	columns := all(s)
	if most > 0 && len(columns) > most { // a fuzzer comes again with another length
		from := len(content) % (len(columns) - most + 1)
		columns = columns[from : from+most]
	}
	for _, c := range columns {
		err := s.Scan(context.Background(), []int{c}, func(r arrow.Record) error {
			require.Len(tb, texts(r.Column(0)), int(r.NumRows())) // every value can be read
			if rows += r.NumRows(); rows > 100_000 {              // a claim of rows without values is no error
				return enough
			}
			return nil
		})
		if err != nil && !errors.Is(err, enough) {
			require.ErrorContains(tb, err, path+": ")
			require.NotContains(tb, err.Error(), "runtime error")
		}
	}
	require.NoError(tb, s.Close())
}

// TestParquetNullsBetweenDictionaryValues reads batches of nothing but nulls at the end of
// pages whose values lie in a dictionary shorter than the page.
func TestParquetNullsBetweenDictionaryValues(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	var want []string
	for i := range 100_000 {
		if i < 99_990 {
			b.Field(0).(*array.Int64Builder).Append(7)
			want = append(want, "7")
		} else {
			b.Field(0).AppendNull()
			want = append(want, "")
		}
	}
	record := b.NewRecord()
	defer record.Release()
	var file bytes.Buffer
	writeParquet(t, &file, record, parquet.NewWriterProperties(parquet.WithDictionaryDefault(true)))
	name := filepath.Join(t.TempDir(), "t.parquet")
	require.NoError(t, os.WriteFile(name, file.Bytes(), 0o600))
	s, err := dataset.Open(t.Context(), name, dataset.Options{BatchRows: 10})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	var got []string
	require.NoError(t, s.Scan(t.Context(), []int{0}, func(r arrow.Record) error {
		for i := range int(r.NumRows()) {
			if r.Column(0).IsNull(i) {
				got = append(got, "")
			} else {
				got = append(got, r.Column(0).ValueStr(i))
			}
		}
		return nil
	}))
	require.Equal(t, want, got)
}
