//go:build cgo

package onnx_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/inference/onnx"
)

func BenchmarkPredict(b *testing.B) {
	for graph, outputs := range map[string]string{"gbdt": gbdtOutputs, "mlp": mlpOutputs} {
		m := loadModel(b, graph, floats(20)+outputs)
		inst, err := inference.NewInstance(context.Background(), onnx.Runtime{}, m, memory.DefaultAllocator)
		require.NoError(b, err)
		defer inst.Close()
		for _, rows := range []int{32, 256, 1024, 8192} {
			b.Run(fmt.Sprintf("%s/%d", graph, rows), func(b *testing.B) {
				in, err := m.Example(rows, memory.DefaultAllocator)
				require.NoError(b, err)
				defer in.Release()
				b.SetBytes(int64(4 * 20 * rows))
				b.ReportAllocs()
				for b.Loop() {
					out, _, err := inst.Predict(context.Background(), in)
					require.NoError(b, err)
					out.Release()
				}
				b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}
