package worker_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/worker"
	"github.com/millrace/millrace/schemas"
)

// overflowing takes no more than one result.
type overflowing struct {
	sink
	topic   string
	results int
	end     context.CancelCauseFunc
}

var errOverflow = errors.New("no more")

func (s *overflowing) Publish(m schemas.Message) {
	s.sink.Publish(m)
	if m.Topic == s.topic {
		s.results++
		s.end(errOverflow)
	}
}

// A few hundred bytes of compressed Arrow can be many thousand requests. A batch whose
// answers are too much already is not scored to its end.
func TestHandlerStopsWhereItsAnswersAreTooMuch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "models")
	catalogtest.Install(t, dir, catalogtest.Prices)
	cfg, err := config.Load("", nil, []string{"models.repository=" + dir, "worker.codecs={prices: arrow}"})
	require.NoError(t, err)
	h, err := worker.NewHandler(t.Context(), cfg)
	require.NoError(t, err)
	defer h.Close()
	schema := arrow.NewSchema([]arrow.Field{{Name: "index", Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues(make([]int64, 60_000), nil)
	batch := b.NewRecord()
	defer batch.Release()
	var value bytes.Buffer
	w := ipc.NewWriter(&value, ipc.WithSchema(schema), ipc.WithZstd())
	require.NoError(t, w.Write(batch))
	require.NoError(t, w.Close())
	require.Less(t, value.Len(), 1000)
	records := make([]schemas.Record, 5)
	id := uuid.New()
	for i := range records {
		records[i] = schemas.Record{Topic: cfg.Topics.RequestsOf("prices"), TopicID: id, Offset: int64(i), Timestamp: time.Now(), Value: value.Bytes()}
	}
	ctx, end := context.WithCancelCause(t.Context())
	out := &overflowing{topic: cfg.Topics.ResultsOf("prices"), end: end}
	require.ErrorIs(t, h.Handle(ctx, records, time.Now(), out), errOverflow)
	require.Equal(t, 1, out.results)
	out.end = func(error) {} // and its instance is good for the next batch
	require.NoError(t, h.Handle(t.Context(), records[:2], time.Now(), out))
	require.Equal(t, 3, out.results)
}
