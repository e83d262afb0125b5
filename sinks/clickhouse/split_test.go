package clickhouse_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
)

// smallStream is an observation record of three rows, in two batches.
func smallStream(tb testing.TB, opts ...ipc.Option) []byte {
	tb.Helper()
	m := &schemas.Manifest{
		Name: "flights", Version: "v1",
		Features: []schemas.Feature{
			{Name: "distance", Type: schemas.TypeFloat32, Optional: true},
			{Name: "night", Type: schemas.TypeBool},
			{Name: "origin", Type: schemas.TypeCategory, Optional: true},
			{Name: "note", Type: schemas.TypeString, Optional: true},
		},
		Outputs: []schemas.Output{{Name: "probability", Type: schemas.TypeFloat64}},
	}
	return clickhousetest.Stream(tb, []clickhousetest.Batch{
		{Manifest: m, Rows: 2, Partition: 7, Offset: 1, Failed: 2}, {Manifest: m, Rows: 1, Partition: 7, Offset: 3},
	}, opts...)
}

func TestSplit(t *testing.T) {
	for name, opts := range map[string][]ipc.Option{"none": nil, "lz4": {ipc.WithLZ4()}, "zstd": {ipc.WithZstd()}} {
		t.Run(name, func(t *testing.T) {
			value := smallStream(t, opts...)
			message, messages, places, err := clickhouse.Split(value)
			require.NoError(t, err)
			require.Equal(t, []schemas.Coordinates{
				{TopicID: clickhousetest.RequestTopicID, Partition: 7, Offset: 1},
				{TopicID: clickhousetest.RequestTopicID, Partition: 7, Offset: 2},
				{TopicID: clickhousetest.RequestTopicID, Partition: 7, Offset: 3},
			}, places)
			require.Equal(t, value, bytes.Join([][]byte{message, messages, clickhouse.EndOfStream}, nil), "nothing but the frame was taken away")
			require.NoError(t, clickhouse.CheckContent(value))
		})
	}
}

// Every byte of the metadata is changed in turn: what is still accepted must be whole.
func TestSplitSurvivesEveryChangedByte(t *testing.T) {
	good := smallStream(t)
	value := make([]byte, len(good))
	refused := 0
	for i := range good {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			copy(value, good)
			value[i] ^= flip
			_, _, _, err := clickhouse.Split(value)
			if err != nil {
				require.ErrorIs(t, err, clickhouse.ErrMalformed)
				refused++
				continue
			}
			require.NoError(t, clickhouse.CheckContent(value), "byte %d ^ %#x", i, flip)
		}
	}
	require.Greater(t, refused, 1000)
	for i := range good {
		_, _, places, err := clickhouse.Split(good[:i])
		if err == nil {
			require.Less(t, len(places), 3+1) // cut between two messages: the rows header tells
		} else {
			require.ErrorIs(t, err, clickhouse.ErrMalformed)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(smallStream(f))
	f.Add(smallStream(f, ipc.WithZstd()))
	f.Add(smallStream(f, ipc.WithLZ4()))
	f.Add(clickhouse.EndOfStream)
	f.Fuzz(func(t *testing.T, value []byte) {
		message, messages, places, err := clickhouse.Split(value)
		if err != nil {
			if !errors.Is(err, clickhouse.ErrMalformed) {
				t.Fatalf("split %q = %v, want ErrMalformed", value, err)
			}
			return
		}
		_, _, again, err := clickhouse.Split(bytes.Join([][]byte{message, messages, clickhouse.EndOfStream}, nil))
		require.NoError(t, err)
		require.Equal(t, places, again)
	})
}

func TestSplitAllocatesPerRecordOnly(t *testing.T) {
	value := clickhousetest.Stream(t, []clickhousetest.Batch{{Manifest: clickhousetest.Manifest("flights", "v1"), Rows: 4000}})
	require.Less(t, clickhouse.SplitAllocs(t, value), 100.0, "for 4,000 rows")
}
