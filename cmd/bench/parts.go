package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/inference/onnx"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/schemas/observe"
)

// partsSpec says whose parts are measured, and on what.
type partsSpec struct {
	Models  string        `json:"models"` // folder of the model repository
	Model   string        `json:"model"`  // version
	Codec   Codec         `json:"codec"`
	Lanes   int           `json:"lanes"`
	Records int           `json:"records"` // of one batch
	Total   int           `json:"total"`   // records of the topic
	For     time.Duration `json:"for"`     // of each part
	Profile string        `json:"profile"`
}

// partCost is what one part takes of a row.
type partCost struct {
	Name   string        `json:"name"`
	CPU    time.Duration `json:"cpu"`
	Allocs float64       `json:"allocs"`
}

// partBatches is how many batches each lane goes round. They are more than caches hold, and
// the live memory of the process is about that of a worker.
const partBatches = 6

// partLane is what a lane of the worker holds, with batches at every stage.
type partLane struct {
	requests    codec.Requests
	instance    inference.Instance
	results     codec.Results
	observed    *observe.Encoder
	records     [][]schemas.Record
	batches     []arrow.Record
	predictions []arrow.Record
	latency     []int64 // of the largest batch
	arena       []byte
	answer      codec.Answer // one for all, as the worker has it
}

// measureParts measures decode, score, encode and observe, one after the other.
func measureParts(ctx context.Context, c *child) error {
	defer pipeline.SetGCPercent()() // as the worker
	var spec partsSpec
	if err := c.read(&spec); err != nil {
		return err
	}
	model, err := loadModel(ctx, spec.Models, spec.Model)
	if err != nil {
		return err
	}
	records, err := partRecords(model.Manifest, spec.Codec, spec.Records*partBatches*spec.Lanes)
	if err != nil {
		return err
	}
	lanes := make([]*partLane, spec.Lanes)
	for i := range lanes {
		if lanes[i], err = newPartLane(ctx, model, spec.Codec); err != nil {
			return err
		}
		for range partBatches {
			lanes[i].records = append(lanes[i].records, records[:spec.Records])
			records = records[spec.Records:]
		}
	}
	writeProfiles, err := profile(spec.Profile)
	if err != nil {
		return err
	}
	var costs []partCost
	for _, part := range []struct {
		name string
		do   func(ctx context.Context, l *partLane, batch int) error
		keep func(ctx context.Context, l *partLane) error // what the next part needs
	}{
		{"decode", decodePart, keepBatches},
		{"score", scorePart, keepPredictions},
		{"encode", encodePart, nil},
		{"observe", observePart, nil},
	} {
		cost, err := costOf(ctx, lanes, rowsOf(spec.Codec), spec.For, part.do)
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		cost.Name = part.name
		costs = append(costs, cost)
		for _, l := range lanes {
			if part.keep == nil {
				continue
			}
			if err := part.keep(ctx, l); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	return errors.Join(c.say(costs), writeProfiles())
}

func newPartLane(ctx context.Context, model *inference.Model, c Codec) (*partLane, error) {
	alloc := memory.NewGoAllocator() // as the worker's
	requests, results, err := codec.New(ctx, codec.Codec(c), model.Manifest, codec.Options{}, alloc)
	if err != nil {
		return nil, err
	}
	instance, err := inference.NewInstance(ctx, onnx.Runtime{Log: zerolog.New(os.Stderr)}, model, alloc)
	if err != nil {
		return nil, err
	}
	observed, err := observe.NewEncoder(model.Manifest, schemas.MaxObservationBytes)
	if err != nil {
		return nil, err
	}
	return &partLane{requests: requests, instance: instance, results: results, observed: observed}, nil
}

// costOf runs a part on all lanes at once, for a while after a first round that is not
// counted.
func costOf(ctx context.Context, lanes []*partLane, rowsEach int64, length time.Duration, do func(ctx context.Context, l *partLane, batch int) error) (partCost, error) {
	rows := make([]int64, len(lanes))
	round := func(atLeast time.Duration) error {
		began := time.Now()
		group, ctx := errgroup.WithContext(ctx)
		for i, l := range lanes {
			rows[i] = 0
			group.Go(func() error {
				for {
					for batch := range partBatches {
						if err := do(ctx, l, batch); err != nil {
							return err
						}
						rows[i] += int64(len(l.records[batch])) * rowsEach
					}
					if time.Since(began) >= atLeast || ctx.Err() != nil {
						return ctx.Err()
					}
				}
			})
		}
		return group.Wait()
	}
	if err := round(0); err != nil {
		return partCost{}, err
	}
	runtime.GC() // the garbage of what came before is not this part's
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	from, err := ownCPU()
	if err != nil {
		return partCost{}, err
	}
	if err := round(length); err != nil {
		return partCost{}, err
	}
	to, err := ownCPU()
	if err != nil {
		return partCost{}, err
	}
	runtime.ReadMemStats(&after)
	total := int64(0)
	for _, n := range rows {
		total += n
	}
	return partCost{CPU: (to - from) / time.Duration(total), Allocs: float64(after.Mallocs-before.Mallocs) / float64(total)}, nil
}

func decodePart(ctx context.Context, l *partLane, batch int) error {
	decoded, err := l.decode(ctx, batch)
	if err != nil {
		return err
	}
	decoded.Release()
	return nil
}

func (l *partLane) decode(ctx context.Context, batch int) (arrow.Record, error) {
	records := l.records[batch]
	l.requests.Reserve(len(records))
	for i := range records {
		got, err := l.requests.Append(ctx, &records[i])
		if err != nil {
			return nil, err
		}
		if got.Fault != nil {
			return nil, got.Fault
		}
	}
	return l.requests.NewBatch(), nil
}

func keepBatches(ctx context.Context, l *partLane) error {
	for batch := range l.records {
		decoded, err := l.decode(ctx, batch)
		if err != nil {
			return err
		}
		l.batches = append(l.batches, decoded)
		l.latency = make([]int64, max(len(l.latency), int(decoded.NumRows())))
	}
	return nil
}

func scorePart(ctx context.Context, l *partLane, batch int) error {
	predictions, _, err := l.instance.Predict(ctx, l.batches[batch])
	if err != nil {
		return err
	}
	predictions.Release()
	return nil
}

func keepPredictions(ctx context.Context, l *partLane) error {
	for _, batch := range l.batches {
		predictions, failed, err := l.instance.Predict(ctx, batch)
		if err != nil {
			return err
		}
		if len(failed) > 0 {
			return failed[0].RequestError
		}
		l.predictions = append(l.predictions, predictions)
	}
	return nil
}

// A latency and a queue time with as many digits as they have under load.
const partLatencyUS, partQueueUS = 54_321, 1_234_567

func encodePart(_ context.Context, l *partLane, batch int) error {
	l.arena = l.arena[:0]
	l.results.Bind(l.batches[batch], l.predictions[batch])
	records := l.records[batch]
	each := int(l.batches[batch].NumRows()) / len(records)
	l.answer = codec.Answer{Rows: each, LatencyUS: partLatencyUS, QueueUS: partQueueUS}
	for i := range records {
		var err error
		l.answer.Record, l.answer.From = &records[i], i*each
		l.arena, err = l.results.Append(l.arena, &l.answer)
		if err != nil {
			return err
		}
	}
	return nil
}

func observePart(_ context.Context, l *partLane, batch int) error {
	l.arena = l.arena[:0]
	took := l.latency[:l.batches[batch].NumRows()]
	scored := &observe.Scored{Batch: l.batches[batch], Predictions: l.predictions[batch], LatencyUS: took, QueueUS: took}
	l.arena, _ = l.observed.Append(l.arena, scored, time.Now())
	return nil
}

// partRecords makes as many records as a fetch would give: each with bytes of its own.
func partRecords(m *schemas.Manifest, c Codec, n int) ([]schemas.Record, error) {
	bodies, err := makeBodies(c, m)
	if err != nil {
		return nil, err
	}
	records, id, now := make([]schemas.Record, n), uuid.New(), time.Now()
	for i := range records {
		records[i] = schemas.Record{
			TopicID: id, Partition: int32(i % partitions), Offset: int64(i), Timestamp: now,
			Key: appendKey(nil, int64(i)), Value: bytes.Clone(bodies[i%len(bodies)]),
		}
	}
	return records, nil
}
