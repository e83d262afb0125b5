package worker_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/worker"
	"github.com/millrace/millrace/schemas"
)

// sink is a Publisher that keeps only counts, and no memory but its buffer.
type sink struct {
	buffer    []byte
	published int
	commits   int
}

func (s *sink) Publish(schemas.Message) { s.published++ }
func (s *sink) Buffer() *[]byte         { return &s.buffer }
func (s *sink) OnCommit(func())         { s.commits++ }

// TestHandlingAllocatesNothingPerRequest handles batches of two sizes, from records as they
// were fetched to the messages to be sent: decoded, scored, encoded and observed. What the
// larger one allocates more is nothing, in number.
func TestHandlingAllocatesNothingPerRequest(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates by itself; make test runs this without it")
	}
	now := time.Now()
	topicID := uuid.New()
	record := func(topic string, i int, value []byte) schemas.Record {
		return schemas.Record{Topic: topic, TopicID: topicID, Offset: int64(i), Timestamp: now, Key: []byte("key"), Value: value}
	}
	for name, tc := range map[string]struct {
		model   catalogtest.Model
		codec   string
		records func(t *testing.T, topic string, rows int) []schemas.Record
		results func(rows int) int
	}{
		"json": {catalogtest.Fares, "json", func(_ *testing.T, topic string, rows int) []schemas.Record {
			out := make([]schemas.Record, rows)
			for i := range out {
				f := catalogtest.Fare{At: catalogtest.Epoch.Add(time.Duration(i) * time.Second), Price: float64(i) / 7, Count: int64(i % 5), Carrier: "UA", Urgent: i%3 == 0}
				out[i] = record(topic, i, f.JSON())
			}
			return out
		}, func(rows int) int { return rows }},
		"arrow": {catalogtest.Prices, "arrow", func(t *testing.T, topic string, rows int) []schemas.Record {
			t.Helper()
			of := make([]int64, rows)
			for i := range of {
				of[i] = int64(i % 3)
			}
			return []schemas.Record{record(topic, 0, catalogtest.Indices(t, of...))}
		}, func(int) int { return 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "models")
			catalogtest.Install(t, dir, tc.model)
			cfg, err := config.Load("", nil, []string{"models.repository=" + dir, fmt.Sprintf("worker.codecs={%s: %s}", tc.model.Name, tc.codec)})
			require.NoError(t, err)
			h, err := worker.NewHandler(t.Context(), cfg)
			require.NoError(t, err)
			defer func() { require.NoError(t, h.Close()) }()
			handled := func(rows int) float64 {
				records := tc.records(t, cfg.Topics.RequestsOf(tc.model.Name), rows)
				var out sink
				handle := func() {
					out = sink{buffer: out.buffer[:0]}
					if err := h.Handle(t.Context(), records, now, &out); err != nil {
						t.Error(err)
					}
				}
				for range 3 { // until every buffer is as large as it will be
					handle()
				}
				allocations := testing.AllocsPerRun(20, handle)
				require.Equal(t, tc.results(rows)+1, out.published, "the results and one observation record")
				return allocations
			}
			few, many := handled(256), handled(2048)
			t.Log(strconv.FormatFloat(few, 'f', 0, 64), "allocations for 256 requests,", strconv.FormatFloat(many, 'f', 0, 64), "for 2048")
			require.LessOrEqual(t, many-few, 16.0, "some buffers are of a size class in which they are rounded")
		})
	}
}
