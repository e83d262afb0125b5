package pipeline_test

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
)

// result is an answer on Kafka.
type result struct {
	RequestID   string                     `json:"request_id"`
	Model       string                     `json:"model"`
	Version     string                     `json:"version"`
	Predictions map[string]json.RawMessage `json:"predictions"`
	LatencyUS   *int64                     `json:"latency_us"`
	QueueUS     *int64                     `json:"queue_us"`
}

func feedbackOf(model, requestID string, label any) []byte {
	text, err := json.Marshal(map[string]any{"model": model, "request_id": requestID, "label": label})
	if err != nil {
		panic(fmt.Sprint(err))
	}
	return text
}

func TestCodecsOfUnknownModelsAreRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "models")
	catalogtest.Install(t, dir, catalogtest.Prices)
	cfg, err := config.Load("", nil, []string{"models.repository=" + dir, "worker.codecs={prizes: arrow}"})
	require.NoError(t, err)
	lines, err := operate.CheckModels(t.Context(), cfg)
	require.EqualError(t, err, "worker.codecs.prizes: there is no such model in "+dir+"; its models are prices")
	require.Len(t, lines, 1, "the others are checked all the same")
	require.ErrorContains(t, operate.Predict(t.Context(), cfg, "prizes", nil, time.Second, io.Discard), "predict sends JSON")
}
