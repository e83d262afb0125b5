package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

const (
	// rowsPerArrow is the rows of one Arrow request.
	rowsPerArrow = 1000
	// jsonBodies and arrowBodies are how many different requests there are; they are sent
	// in turn. Both are more than caches and compression windows hold.
	jsonBodies  = 16_384
	arrowBodies = 128
	// loadSeed makes the values of the features.
	loadSeed = 7
)

// rowsOf returns how many rows a request of the codec has.
func rowsOf(c Codec) int64 {
	if c == CodecArrow {
		return rowsPerArrow
	}
	return 1
}

// loadSpec says what a load generator sends, and where.
type loadSpec struct {
	Brokers []string `json:"brokers"`
	Topic   string   `json:"topic"`
	Codec   Codec    `json:"codec"`
	Models  string   `json:"models"` // folder of the model repository
}

// loadCommand starts a schedule, lets the one that runs go on, or releases what was held.
type loadCommand struct {
	*Schedule
	Held     bool  `json:"held"`     // send in a transaction, which stays open: nobody sees the requests yet
	Release  bool  `json:"release"`  // commit it: all of them are there
	Answered int64 `json:"answered"` // requests of the schedule; for its window
}

// loadDone tells that a schedule has been sent and acknowledged.
type loadDone struct {
	Sent   int64 `json:"sent"`
	Bytes  int64 `json:"bytes"`   // of values
	LateUS int64 `json:"late_us"` // p99 of how late requests were sent
}

// generator sends requests. One goroutine sends; only answered is shared.
type generator struct {
	cl       *kgo.Client
	held     *kgo.Client // with a transaction
	topic    string
	bodies   [][]byte
	answered atomic.Int64
	failed   atomic.Pointer[error]
}

// generate is the load generator: it sends one schedule after the other.
func generate(ctx context.Context, c *child) error {
	var spec loadSpec
	if err := c.read(&spec); err != nil {
		return err
	}
	model, err := loadModel(ctx, spec.Models, modelMLP) // both versions have the same features
	if err != nil {
		return err
	}
	bodies, err := makeBodies(spec.Codec, model.Manifest)
	if err != nil {
		return err
	}
	opts := []kgo.Opt{
		kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.ProducerBatchMaxBytes(schemas.MaxRequestBytes),
		kgo.ProducerLinger(0), kgo.MaxBufferedRecords(1 << 18), kgo.MaxBufferedBytes(256 << 20),
	}
	g := &generator{topic: spec.Topic, bodies: bodies}
	conn := connection(spec.Brokers, "bench-load")
	if g.cl, err = conn.Dial(opts...); err != nil {
		return fmt.Errorf("open the load generator's client: %w", err)
	}
	defer g.cl.Close()
	if g.held, err = conn.Dial(append(opts, kgo.TransactionalID(spec.Topic), kgo.TransactionTimeout(holdAtMost))...); err != nil {
		return fmt.Errorf("open the load generator's transactional client: %w", err)
	}
	defer g.held.Close()
	if err := c.say(loadDone{}); err != nil {
		return err
	}
	failed := make(chan error, 1) // by the schedule that runs; the parent starts one at a time
	for {
		var command loadCommand
		select {
		case line, ok := <-c.lines:
			if !ok {
				return nil
			}
			if err := json.Unmarshal(line, &command); err != nil {
				return fmt.Errorf("read a command: %w", err)
			}
		case err := <-failed:
			return err
		}
		if command.Release {
			if err := g.held.EndTransaction(ctx, kgo.TryCommit); err != nil {
				return fmt.Errorf("release the requests: %w", err)
			}
			if err := c.say(loadDone{}); err != nil {
				return err
			}
			continue
		}
		g.answered.Store(command.Answered)
		if command.Schedule == nil {
			continue
		}
		cl := g.cl
		if command.Held {
			cl = g.held
			if err := cl.BeginTransaction(); err != nil {
				return fmt.Errorf("hold requests: %w", err)
			}
		}
		go func() { // ends with its schedule, or with ctx
			done, err := g.send(ctx, cl, command.Schedule)
			if err == nil {
				err = c.say(done)
			}
			if err != nil {
				failed <- err
			}
		}()
	}
}

// holdAtMost bounds how long requests may be held; brokers allow no more by default.
const holdAtMost = 15 * time.Minute

// send sends the requests of a schedule when they are due, and waits until all are
// acknowledged.
func (g *generator) send(ctx context.Context, cl *kgo.Client, s *Schedule) (loadDone, error) {
	var done loadDone
	var late []int64
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			failure := err // or every err would be on the heap
			g.failed.CompareAndSwap(nil, &failure)
		}
	}
	for done.Sent < s.Records {
		now := monotonic()
		ready := s.arrived(now)
		if s.Window > 0 {
			ready = min(ready, g.answered.Load()+s.Window)
		}
		if ready <= done.Sent {
			wait := time.Millisecond // for answers
			if s.Rate > 0 {
				wait = until(s.due(done.Sent))
			}
			if err := pause(ctx, wait); err != nil {
				return done, err
			}
			continue
		}
		late = append(late, now-s.due(done.Sent))
		block := make([]kgo.Record, ready-done.Sent)
		keys := make([]byte, 0, keyBytes*len(block))
		for i := range block {
			seq := s.First + done.Sent
			keys = appendKey(keys, seq)
			body := g.bodies[int(seq)%len(g.bodies)]
			block[i] = kgo.Record{Topic: g.topic, Key: keys[keyBytes*i : keyBytes*(i+1) : keyBytes*(i+1)], Value: body}
			cl.Produce(ctx, &block[i], promise)
			done.Sent++
			done.Bytes += int64(len(body))
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return done, fmt.Errorf("flush requests: %w", err)
	}
	if failed := g.failed.Load(); failed != nil {
		return done, fmt.Errorf("produce requests: %w", *failed)
	}
	if s.Rate > 0 {
		slices.Sort(late)
		done.LateUS = quantile(late, 0.99) / 1000
	}
	return done, nil
}

// pause waits, or returns early with ctx's cause.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// makeBodies makes the requests.
func makeBodies(codec Codec, m *schemas.Manifest) ([][]byte, error) {
	random := newRandom()
	if codec == CodecJSON {
		bodies := make([][]byte, jsonBodies)
		for i := range bodies {
			bodies[i] = jsonRequest(m, random)
		}
		return bodies, nil
	}
	bodies := make([][]byte, arrowBodies)
	for i := range bodies {
		var err error
		if bodies[i], err = arrowRequest(m, random, rowsPerArrow); err != nil {
			return nil, err
		}
	}
	return bodies, nil
}

// newRandom returns the source of the features' values.
func newRandom() *rand.Rand {
	return rand.New(rand.NewPCG(loadSeed, 0)) //nolint:gosec // the same numbers every time
}

// jsonRequest is one flat object: {"feature_00":0.123456,…}.
func jsonRequest(m *schemas.Manifest, random *rand.Rand) []byte {
	body := []byte{'{'}
	for i := range m.Features {
		if i > 0 {
			body = append(body, ',')
		}
		name, _ := json.Marshal(m.Features[i].Name) // a string never fails
		body = append(append(body, name...), ':')
		body = strconv.AppendFloat(body, random.NormFloat64(), 'f', 6, 64)
	}
	return append(body, '}')
}

// arrowRequest is one Arrow IPC stream of rows, a column a feature.
func arrowRequest(m *schemas.Manifest, random *rand.Rand, rows int) ([]byte, error) {
	schema := arrow.NewSchema(m.FeatureFields(), nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range m.Features {
		column, ok := b.Field(i).(*array.Float32Builder)
		if !ok {
			return nil, fmt.Errorf("feature %s is %s, want float32", m.Features[i].Name, m.Features[i].Type)
		}
		for range rows {
			column.Append(float32(random.NormFloat64()))
		}
	}
	batch := b.NewRecord()
	defer batch.Release()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(schema))
	if err := errors.Join(w.Write(batch), w.Close()); err != nil {
		return nil, fmt.Errorf("write an Arrow request: %w", err)
	}
	return buf.Bytes(), nil
}
