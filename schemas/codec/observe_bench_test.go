package codec

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe"
)

// wideBatch decodes rows of 20 features, from JSON or from one Arrow record.
func wideBatch(tb testing.TB, m *schemas.Manifest, c Codec, rows int) arrow.Record {
	tb.Helper()
	d, _, err := New(tb.Context(), c, m, Options{}, memory.DefaultAllocator)
	require.NoError(tb, err)
	if c == Arrow {
		require.Equal(tb, rows, decodeArrow(tb, d, record(stream(tb, rows, wideColumns(rows)))).Rows)
		return d.NewBatch()
	}
	var value bytes.Buffer
	for row := range rows {
		value.Reset()
		for i := range 20 {
			fmt.Fprintf(&value, `,"f%d":%g`, i, float32(row*31+i)*0.37)
		}
		rec := record("{" + value.String()[1:] + "}")
		rec.Offset = 1_234_567 + int64(row)
		got := decodeArrow(tb, d, rec)
		require.Nil(tb, got.Fault)
	}
	return d.NewBatch()
}

func wideScored(tb testing.TB, m *schemas.Manifest, c Codec, rows int) *observe.Scored {
	tb.Helper()
	b := array.NewFloat32Builder(memory.DefaultAllocator)
	b.AppendValues(make([]float32, rows), nil)
	predictions := array.NewRecord(arrow.NewSchema(m.OutputFields(), nil), []arrow.Array{b.NewArray()}, int64(rows))
	return &observe.Scored{Batch: wideBatch(tb, m, c, rows), Predictions: predictions, LatencyUS: make([]int64, rows), QueueUS: make([]int64, rows)}
}

func BenchmarkObserve(b *testing.B) {
	for _, c := range []Codec{JSON, Arrow} {
		for _, rows := range []int{64, 1024, 8192} {
			b.Run(fmt.Sprintf("%s/%d", c, rows), func(b *testing.B) {
				m := wide(b)
				s := wideScored(b, m, c, rows)
				e := observationEncoder(b, m, schemas.MaxObservationBytes)
				var dst []byte
				b.ReportAllocs()
				n, began := 0, processorTime(b)
				for b.Loop() {
					dst, _ = e.Append(dst[:0], s, time.UnixMicro(77))
					n += rows
				}
				b.SetBytes(int64(len(dst)))
				b.ReportMetric(float64(len(dst))/float64(rows), "bytes/row")
				perRow(b, n, began)
			})
		}
	}
}

func observationEncoder(tb testing.TB, m *schemas.Manifest, maxBytes int) *observe.Encoder {
	tb.Helper()
	e, err := observe.NewEncoder(m, maxBytes)
	require.NoError(tb, err)
	return e
}

// eachPart calls fn for the observation records of a scored batch.
func eachPart(e *observe.Encoder, s *observe.Scored, at time.Time, fn func(stream []byte, rows int)) {
	dst, parts := e.Append([]byte("before"), s, at)
	for _, p := range parts {
		fn(dst[p.From:p.To], p.Rows)
	}
}
