package main

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

// A pass-through produces one result of the sample for each request, in both delivery modes
// and for requests of one row and of many, in batches of the wanted size.
func TestPassThroughAnswersEveryRequest(t *testing.T) {
	dir := t.TempDir()
	end, err := secure(filepath.Join(dir, "tls")) // which differs from plain text in its cost alone
	require.NoError(t, err)
	defer func() { require.NoError(t, end()) }()
	k, err := startKafka(t.Context(), KafkaEmbedded, filepath.Join(dir, "kafka"))
	require.NoError(t, err)
	defer func() { require.NoError(t, k.stop(context.WithoutCancel(t.Context()))) }()
	h := &harness{
		sizes: Sizes{JSONWarmUp: 600, JSONRecords: 3000, ArrowWarmUp: 8, ArrowRecords: 40}, progress: io.Discard, models: filepath.Join(dir, "models"),
		runs: map[Case][]*run{}, passes: map[passKey][]*run{},
	}
	require.NoError(t, installModels(h.models, false))
	h.kafka, err = openCluster(k.addrs)
	require.NoError(t, err)
	defer h.kafka.close()
	for _, codec := range []Codec{CodecJSON, CodecArrow} {
		for _, d := range deliveries {
			c := Case{codec, modelMLP, d}
			t.Run(c.Name(), func(t *testing.T) {
				h.runs[c] = []*run{{batchRows: float64(10 * rowsOf(codec)), txnRecords: 10, sample: sample{
					Results: [][]byte{[]byte("one"), []byte("two")}, Observation: bytes.Repeat([]byte("seen"), 1000), ObservationRows: 400,
				}}}
				require.NoError(t, h.runPass(t.Context(), c))
				pass := middle(h.passes[c.passKey()])
				require.Positive(t, pass.rowsPerS)
				require.GreaterOrEqual(t, pass.batchRows, float64(5*rowsOf(codec)), "batches are gathered")
				if d == ExactlyOnce {
					require.LessOrEqual(t, pass.batchRows, float64(10*rowsOf(codec)), "and are no larger than the worker's transactions")
				}
				require.Positive(t, pass.cpu)
			})
		}
	}
}

// At least once, a pass-through polls on while batches are on their way, as a lane does, and
// commits nothing that is not acknowledged.
func TestPassThroughHasSeveralBatchesOnTheirWay(t *testing.T) {
	const requests = 10 * passFlights
	topics := schemas.DefaultTopics()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topics.RequestsOf(modelName), topics.ResultsOf(modelName), topics.Observations))
	require.NoError(t, err)
	defer cluster.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	require.NoError(t, err)
	defer cl.Close()
	for range requests {
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: topics.RequestsOf(modelName), Value: []byte("request")}).FirstErr())
	}
	release := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		cluster.SleepControl(func() { <-release })
		return nil, nil, false
	})

	var batches, rows atomic.Int64
	ctx, end := context.WithCancel(t.Context())
	l := newPassLane(ctx, &passThroughSpec{
		Brokers: cluster.ListenAddrs(), Group: "g", Delivery: AtLeastOnce, Topics: topics,
		SessionTimeout: 10 * time.Second, TransactionTimeout: time.Minute, MaxRecords: 1, RowsEach: 1,
		Sample: sample{Results: [][]byte{[]byte("result")}, Observation: []byte("seen"), ObservationRows: 1},
	}, &batches, &rows)
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx, 0) }() // ends with ctx
	committed := func() int64 {
		offsets, err := kadm.NewClient(cl).FetchOffsets(t.Context(), l.Group)
		if of, ok := offsets.Lookup(topics.RequestsOf(modelName), 0); err == nil && ok {
			return max(0, of.At) // -1: nothing
		}
		return 0
	}
	require.Eventually(t, func() bool { return batches.Load() == passFlights }, 20*time.Second, time.Millisecond)
	require.Zero(t, committed())
	letGo()
	require.Eventually(t, func() bool { return committed() == requests }, 20*time.Second, 10*time.Millisecond)
	require.EqualValues(t, requests, batches.Load())
	end()
	require.NoError(t, <-ended)
}
