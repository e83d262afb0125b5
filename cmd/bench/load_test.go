package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

func installed(t *testing.T, version string) *inference.Model {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "models")
	require.NoError(t, installModels(dir, false))
	model, err := loadModel(t.Context(), dir, version) // checks the digests
	require.NoError(t, err)
	return model
}

func TestModelsAreSmallAndAlike(t *testing.T) {
	gbdt, mlp := installed(t, modelGBDT), installed(t, modelMLP)
	for _, m := range []*inference.Model{gbdt, mlp} {
		info, err := os.Stat(m.ArtifactPath())
		require.NoError(t, err)
		require.Less(t, info.Size(), int64(1_000_000))
		require.Len(t, m.Manifest.Features, 20)
	}
	require.True(t, gbdt.Manifest.RequestSchema().Equal(mlp.Manifest.RequestSchema()), "both answer the same requests")
}

func TestJSONRequestsDecode(t *testing.T) {
	m := installed(t, modelMLP).Manifest
	bodies, err := makeBodies(CodecJSON, m)
	require.NoError(t, err)
	again, err := makeBodies(CodecJSON, m)
	require.NoError(t, err)
	require.Equal(t, bodies, again, "the same requests every time")
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	decoder, err := codec.NewDecoder(m, alloc)
	require.NoError(t, err)
	defer decoder.Release()
	for _, body := range bodies {
		require.InDelta(t, 450, len(body), 30)
		require.Nil(t, decoder.Append(&schemas.Record{Value: body}), "%s", body)
	}
	batch := decoder.NewBatch()
	defer batch.Release()
	require.Equal(t, int64(len(bodies)), batch.NumRows())
}

func TestArrowRequestsRead(t *testing.T) {
	m := installed(t, modelMLP).Manifest
	bodies, err := makeBodies(CodecArrow, m)
	require.NoError(t, err)
	require.Len(t, bodies, arrowBodies)
	require.NotEqual(t, bodies[0], bodies[1])
	for _, body := range bodies[:2] {
		r, err := ipc.NewReader(bytes.NewReader(body))
		require.NoError(t, err)
		require.True(t, r.Next())
		require.Equal(t, int64(rowsPerArrow), r.Record().NumRows())
		require.Equal(t, "feature_00", r.Record().ColumnName(0))
		require.Equal(t, int64(20), r.Record().NumCols())
		require.False(t, r.Next())
		require.NoError(t, r.Err())
		r.Release()
	}
}

// A spliced file is one stream with the rows of all records.
func TestSplicerJoinsStreams(t *testing.T) {
	m := installed(t, modelMLP).Manifest
	dir := t.TempDir()
	s := splicer{dir: dir}
	streams := map[int][]byte{}
	for _, rows := range []int{60_000, 40_000, 1, 2} { // the third begins a new file
		if streams[rows] == nil {
			body, err := arrowRequest(m, newRandom(), rows)
			require.NoError(t, err)
			streams[rows] = body
		}
		require.NoError(t, s.add(&schemas.Record{
			Value: streams[rows], Headers: []schemas.Header{{Key: schemas.HeaderRows, Value: strconv.AppendInt(nil, int64(rows), 10)}},
		}))
	}
	require.NoError(t, s.close())
	require.Len(t, s.files, 2)
	require.Equal(t, int64(100_003), s.rows)
	for i, want := range []int64{100_000, 3} {
		text, err := os.ReadFile(s.files[i].name)
		require.NoError(t, err)
		r, err := ipc.NewReader(bytes.NewReader(text))
		require.NoError(t, err)
		rows := int64(0)
		for r.Next() {
			rows += r.Record().NumRows()
		}
		require.NoError(t, r.Err())
		r.Release()
		require.Equal(t, want, rows)
	}
	for name, bad := range map[string][]byte{"empty": nil, "cut": streams[2][:len(streams[2])-3], "no stream": bytes.Repeat([]byte("x"), 100)} {
		t.Run(name, func(t *testing.T) {
			_, _, err := splitStream(bad)
			require.Error(t, err)
		})
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	before, err := ownCPU()
	require.NoError(t, err)
	for now := before; now < before+20*time.Millisecond; { // it counts work
		bytes.Repeat([]byte("work"), 1<<16)
		now, err = ownCPU()
		require.NoError(t, err)
	}
	peak, err := peakRSS(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, peak, int64(1<<20))
	_, err = peakRSS(0)
	require.Error(t, err)
}
