package dataset_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	pq "github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/dataset"
)

// An Arrow file is read by its footer where no message begins it, as Polars writes it: the schema stands
// there without the prefix of a message.
func TestArrowFileByItsFooter(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: arrow.PrimitiveTypes.Int64},
		{Name: "b", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i, s := range []string{"x", "y", "x"} {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		require.NoError(t, b.Field(1).(*array.BinaryDictionaryBuilder).AppendString(s))
	}
	record := b.NewRecord()
	defer record.Release()
	path := writeRecord(t, "a.arrow", record)
	want := describe(t, open(t, path, dataset.Options{}))
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	size := int(binary.LittleEndian.Uint32(file[12:]))
	copy(file[8:], file[16:16+size]) // the message without its prefix
	require.NoError(t, os.WriteFile(path, file, 0o600))
	require.Equal(t, want, describe(t, open(t, path, dataset.Options{})))

	footer := len(file) - 10 - int(binary.LittleEndian.Uint32(file[len(file)-10:]))
	for at := footer; at < len(file)-10; at++ { // whatever the footer says, it is an error or a table
		broken := bytes.Clone(file)
		broken[at] ^= 0x55
		require.NoError(t, os.WriteFile(path, broken, 0o600))
		if s, err := dataset.Open(t.Context(), path, dataset.Options{}); err == nil {
			_ = s.Scan(t.Context(), []int{0}, func(arrow.Record) error { return nil })
			require.NoError(t, s.Close())
		}
	}
}

// Durations are integers in Parquet, of the unit that the schema of Arrow beside them says.
func TestDurationsOfParquet(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "d", Type: arrow.FixedWidthTypes.Duration_ms}, {Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)
	var message bytes.Buffer
	require.NoError(t, ipc.NewWriter(&message, ipc.WithSchema(schema)).Close())
	for said, unit := range map[string]int64{
		base64.StdEncoding.EncodeToString(message.Bytes()): 1_000_000, "": 0, "AAAA": 0, "//////////8=": 0, "none": 0,
	} {
		path := filepath.Join(t.TempDir(), "a.parquet")
		type row struct {
			D int64 `parquet:"d"`
			N int64 `parquet:"n"`
		}
		var file bytes.Buffer
		w := pq.NewGenericWriter[row](&file, pq.KeyValueMetadata("ARROW:schema", said))
		_, err := w.Write([]row{{1, 2}})
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.NoError(t, os.WriteFile(path, file.Bytes(), 0o600))
		s := open(t, path, dataset.Options{})
		require.Equal(t, unit, dataset.Unit(s.Schema().Field(0)), said)
		require.Zero(t, dataset.Unit(s.Schema().Field(1)))
	}
}

// Bytes that are UUIDs by their extension type are written as in Parquet.
func TestUUIDsOfArrow(t *testing.T) {
	bytes16 := &arrow.FixedSizeBinaryType{ByteWidth: 16}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: bytes16, Metadata: arrow.NewMetadata([]string{"x", "ARROW:extension:name"}, []string{"y", "arrow.uuid"})},
		{Name: "b", Type: bytes16},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range 2 {
		b.Field(i).(*array.FixedSizeBinaryBuilder).Append([]byte("0123456789abcdef"))
	}
	record := b.NewRecord()
	defer record.Release()
	require.Equal(t, "a utf8: \"30313233-3435-3637-3839-616263646566\"\nb utf8: \"30313233343536373839616263646566\"\n",
		describe(t, open(t, writeRecord(t, "a.arrow", record), dataset.Options{})))
}

// A name is one word of a list of a command line.
func TestOptionWord(t *testing.T) {
	for name, want := range map[string]string{"a": "a", "a b": "'a b'", "a,b": `'"a,b"'`, `say "x"`: `'"say ""x"""'`, "it's": `'it'\''s'`, "größe": "größe"} {
		require.Equal(t, want, dataset.OptionWord(name))
	}
}
