package bench

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A pass-through produces one result of the sample for each request, in both delivery modes
// and for requests of one row and of many, in batches of the wanted size.
func TestPassThroughAnswersEveryRequest(t *testing.T) {
	dir := t.TempDir()
	k, err := startKafka(t.Context(), KafkaEmbedded, filepath.Join(dir, "kafka"))
	require.NoError(t, err)
	defer func() { require.NoError(t, k.stop(context.WithoutCancel(t.Context()))) }()
	h := &harness{
		sizes: Sizes{JSONWarmUp: 600, JSONRecords: 3000, ArrowWarmUp: 8, ArrowRecords: 40}, progress: io.Discard, models: filepath.Join(dir, "models"),
		runs: map[Case][]*run{}, passes: map[passKey][]*run{},
	}
	require.NoError(t, installModels(h.models))
	h.kafka, err = openCluster(k.addrs)
	require.NoError(t, err)
	defer h.kafka.close()
	for _, codec := range []Codec{CodecJSON, CodecArrow} {
		for _, d := range deliveries {
			c := Case{codec, modelMLP, d}
			t.Run(c.Name(), func(t *testing.T) {
				h.runs[c] = []*run{{batchRows: float64(10 * rowsOf(codec)), sample: sample{
					Results: [][]byte{[]byte("one"), []byte("two")}, Observation: bytes.Repeat([]byte("seen"), 1000), ObservationRows: 400,
				}}}
				require.NoError(t, h.runPass(t.Context(), c))
				pass := middle(h.passes[c.passKey()])
				require.Positive(t, pass.rowsPerS)
				require.GreaterOrEqual(t, pass.batchRows, float64(5*rowsOf(codec)), "batches are gathered")
				require.Positive(t, pass.cpu)
			})
		}
	}
}
