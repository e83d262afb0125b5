package main

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkCompression is what the producers' compression was chosen by: CPU of both ways, and
// what is left, of the results and the observations of one batch of JSON requests.
func BenchmarkCompression(b *testing.B) {
	dir := b.TempDir()
	require.NoError(b, installModels(dir, false))
	model, err := loadModel(b.Context(), dir, modelMLP)
	require.NoError(b, err)
	lane, err := newPartLane(b.Context(), model, CodecJSON)
	require.NoError(b, err)
	defer func() { require.NoError(b, lane.instance.Close()) }()
	const rows = 4096
	records, err := partRecords(model.Manifest, CodecJSON, rows)
	require.NoError(b, err)
	lane.records = append(lane.records, records)
	require.NoError(b, keepBatches(b.Context(), lane))
	require.NoError(b, keepPredictions(b.Context(), lane))
	require.NoError(b, encodePart(b.Context(), lane, 0))
	results := bytes.Clone(lane.arena)
	require.NoError(b, observePart(b.Context(), lane, 0))
	observations := bytes.Clone(lane.arena)

	for _, sample := range []struct {
		name  string
		bytes []byte
	}{{"results", results}, {"observations", observations}} {
		for _, codec := range []struct {
			name string
			kgo.CompressionCodec
		}{{"gzip", kgo.GzipCompression().WithLevel(1)}, {"snappy", kgo.SnappyCompression()}, {"lz4", kgo.Lz4Compression()}, {"zstd", kgo.ZstdCompression().WithLevel(1)}} {
			b.Run(fmt.Sprintf("%s/%s", sample.name, codec.name), func(b *testing.B) {
				compressor, err := kgo.DefaultCompressor(codec.CompressionCodec)
				require.NoError(b, err)
				decompressor := kgo.DefaultDecompressor()
				var dst bytes.Buffer
				var left []byte
				var kind kgo.CompressionCodecType
				b.SetBytes(int64(len(sample.bytes)))
				var in, out time.Duration
				n := 0
				for b.Loop() {
					dst.Reset()
					began := cpuNow(b)
					left, kind = compressor.Compress(&dst, sample.bytes)
					middle := cpuNow(b)
					again, err := decompressor.Decompress(left, kind)
					if err != nil || len(again) != len(sample.bytes) {
						b.Fatal(err)
					}
					in, out = in+middle-began, out+cpuNow(b)-middle
					n++
				}
				b.ReportMetric(float64(len(left))/float64(len(sample.bytes)), "left")
				b.ReportMetric(float64(in.Nanoseconds())/float64(n*rows), "compress-cpu-ns/row")
				b.ReportMetric(float64(out.Nanoseconds())/float64(n*rows), "decompress-cpu-ns/row")
			})
		}
	}
}

func cpuNow(tb testing.TB) time.Duration {
	tb.Helper()
	cpu, err := ownCPU()
	require.NoError(tb, err)
	return cpu
}
