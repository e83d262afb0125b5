package observe_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
	"github.com/millrace/millrace/schemas/observe"
	"github.com/millrace/millrace/schemas/observe/observetest"
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
	return observetest.Stream(tb, []observetest.Batch{
		{Manifest: m, Rows: 2, Partition: 7, Offset: 1, Failed: 2}, {Manifest: m, Rows: 1, Partition: 7, Offset: 3},
	}, opts...)
}

func TestSplit(t *testing.T) {
	for name, opts := range map[string][]ipc.Option{"none": nil, "lz4": {ipc.WithLZ4()}, "zstd": {ipc.WithZstd()}} {
		t.Run(name, func(t *testing.T) {
			value := smallStream(t, opts...)
			message, messages, places, err := split(value)
			require.NoError(t, err)
			require.Equal(t, []schemas.Coordinates{
				{TopicID: observetest.RequestTopicID, Partition: 7, Offset: 1},
				{TopicID: observetest.RequestTopicID, Partition: 7, Offset: 2},
				{TopicID: observetest.RequestTopicID, Partition: 7, Offset: 3},
			}, places)
			require.Equal(t, value, bytes.Join([][]byte{message, messages, arrowipc.AppendEnd(nil)}, nil), "nothing but the frame was taken away")
			require.NoError(t, checkContent(value))
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
			_, _, _, err := split(value)
			if err != nil {
				require.ErrorIs(t, err, observe.ErrMalformed)
				require.Equal(t, 1, strings.Count(err.Error(), "malformed"), err)
				refused++
				continue
			}
			require.NoError(t, checkContent(value), "byte %d ^ %#x", i, flip)
		}
	}
	require.Greater(t, refused, 1000)
	for i := range good {
		_, _, places, err := split(good[:i])
		if err == nil {
			require.Less(t, len(places), 3+1) // cut between two messages: the rows header tells
		} else {
			require.ErrorIs(t, err, observe.ErrMalformed)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(smallStream(f))
	f.Add(smallStream(f, ipc.WithZstd()))
	f.Add(smallStream(f, ipc.WithLZ4()))
	f.Add(arrowipc.AppendEnd(nil))
	f.Fuzz(func(t *testing.T, value []byte) {
		message, messages, places, err := split(value)
		if err != nil {
			if !errors.Is(err, observe.ErrMalformed) {
				t.Fatalf("split %q = %v, want ErrMalformed", value, err)
			}
			return
		}
		_, _, again, err := split(bytes.Join([][]byte{message, messages, arrowipc.AppendEnd(nil)}, nil))
		require.NoError(t, err)
		require.Equal(t, places, again)
		if decompress(value) == nil { // a replay looks no further: see checkContent of sinks/clickhouse/store
			require.NoError(t, checkContent(value))
		}
	})
}

func TestSplitAllocatesPerRecordOnly(t *testing.T) {
	value := observetest.Stream(t, []observetest.Batch{{Manifest: observetest.Manifest("flights", "v1"), Rows: 4000}})
	r := observe.NewReader()
	require.Less(t, testing.AllocsPerRun(10, func() {
		_, _, err := r.Read(&schemas.Record{Value: value}, func(schemas.Coordinates, int64) {})
		require.NoError(t, err)
	}), 10.0, "for 4,000 rows")
}

// split takes a record apart, and checks that a second look at its messages finds the same rows.
func split(value []byte) (message, messages []byte, rows []schemas.Coordinates, err error) {
	s, messages, err := observe.NewReader().Read(&schemas.Record{Value: value}, func(c schemas.Coordinates, _ int64) { rows = append(rows, c) })
	if err != nil {
		return nil, nil, rows, err
	}
	var again []schemas.Coordinates
	if err := s.Rows(messages, func(c schemas.Coordinates, _ int64) { again = append(again, c) }); err != nil || !slices.Equal(rows, again) {
		return nil, nil, nil, fmt.Errorf("rows are %v at first, then %v, error %w", rows, again, err)
	}
	return s.Message(), messages, rows, nil
}

// decompress reads the record batches of a stream by the arrow module, and none of their values.
func decompress(value []byte) error {
	return decode(value, func(arrow.Record) error { return nil })
}

// checkContent reads all values of a stream by the arrow module.
func checkContent(value []byte) error {
	return decode(value, func(rec arrow.Record) error {
		for i, column := range rec.Columns() {
			switch a := column.(type) {
			case *array.String:
				for row := range a.Len() {
					_ = a.Value(row) // panics where offsets fall or leave the values
				}
			case *array.Dictionary:
				for row := range a.Len() {
					if at := a.GetValueIndex(row); a.IsValid(row) && (at < 0 || at >= a.Dictionary().Len()) {
						return fmt.Errorf("column %d, row %d: value %d of a dictionary of %d", i, row, at, a.Dictionary().Len())
					}
				}
			}
		}
		return nil
	})
}

func decode(value []byte, visit func(arrow.Record) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	r, err := ipc.NewReader(bytes.NewReader(value))
	if err != nil {
		return err
	}
	defer r.Release()
	for r.Next() {
		if err := visit(r.Record()); err != nil {
			return err
		}
	}
	return r.Err()
}
