package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/registry"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

// repeatedRequests returns what tells which unanswered requests repeat one that came before
// them; nil where requests are not deduplicated. It decodes the requests of the partition
// twice: what is remembered is the ids of the unanswered ones alone.
func (c Config) repeatedRequests(log *consumers.Admin) func(ctx context.Context, model string, partition int32, unanswered *roaring64.Bitmap) (*roaring64.Bitmap, error) {
	window := c.Worker.Deduplicate.Window
	if window == 0 {
		return nil
	}
	return func(ctx context.Context, model string, partition int32, unanswered *roaring64.Bitmap) (*roaring64.Bitmap, error) {
		requests, end, err := c.decoder(ctx, model)
		if err != nil {
			return nil, fmt.Errorf("tell requests of %s that repeat another from those that were lost: %w", model, err)
		}
		defer end()
		topic := c.Topics.RequestsOf(model)
		ids := map[string]struct{}{}
		err = c.eachRequest(ctx, log, requests, topic, partition, func(id string, offset int64, _ time.Time) {
			if unanswered.Contains(uint64(offset)) {
				ids[id] = struct{}{}
			}
		})
		if err != nil {
			return nil, err
		}
		seen, repeated := map[string]time.Time{}, roaring64.New()
		err = c.eachRequest(ctx, log, requests, topic, partition, func(id string, offset int64, at time.Time) {
			if _, ok := ids[id]; !ok {
				return
			}
			if before, ok := seen[id]; ok && unanswered.Contains(uint64(offset)) && at.Sub(before) <= window {
				repeated.Add(uint64(offset))
			}
			seen[id] = at
		})
		return repeated, err
	}
}

// decoder returns the decoder of a model's requests.
func (c Config) decoder(ctx context.Context, model string) (requests codec.Requests, end func(), err error) {
	models, err := c.Models.open()
	if err != nil {
		return nil, nil, err
	}
	m, err := models.serving(ctx, model)
	if err != nil {
		return nil, nil, err
	}
	options, closing := codec.Options{}, func() {}
	if c.Registry.URL != "" {
		client, err := registry.New(c.Registry.client())
		if err != nil {
			return nil, nil, err
		}
		options, closing = codec.Options{Registry: client, Subject: c.Topics.ResultsOf(model) + "-value"}, client.Close
	}
	requests, _, err = codec.New(ctx, c.Worker.codec(model), m.Manifest, options, memory.NewGoAllocator())
	if err != nil {
		closing()
		return nil, nil, err
	}
	return requests, func() {
		requests.Release()
		closing()
	}, nil
}

// eachRequest visits the requests of a partition that can be decoded, by the id of their first
// row.
func (c Config) eachRequest(ctx context.Context, log *consumers.Admin, requests codec.Requests, topic string, partition int32, visit func(id string, offset int64, at time.Time)) error {
	held, err := log.Log(ctx, topic)
	if err != nil {
		return err
	}
	type place struct {
		row    int
		offset int64
		at     time.Time
	}
	var places []place
	flush := func() {
		batch := requests.NewBatch()
		defer batch.Release()
		ids := requestIDs(batch)
		for _, p := range places {
			visit(string([]byte(ids.Value(p.row))), p.offset, p.at)
		}
		places = places[:0]
	}
	err = log.ReadSpans(ctx, topic, map[int32]consumers.Span{partition: held.Partitions[partition]}, func(rec *schemas.Record) error {
		if len(rec.Value) > c.Worker.MaxRequestBytes || rec.Fault != nil {
			return nil //nolint:nilerr // the fault stands for what cannot be read, and is no failure
		}
		row := requests.Rows()
		got, err := requests.Append(ctx, rec)
		if err != nil {
			return fmt.Errorf("decode requests of topic %s: %w", topic, err)
		}
		if got.Fault == nil && got.Rows > 0 {
			places = append(places, place{row, rec.Offset, rec.Timestamp})
		}
		if requests.Rows() >= recallRows {
			flush()
		}
		return nil
	})
	flush()
	return err
}
