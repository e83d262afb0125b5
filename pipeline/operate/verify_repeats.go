package operate

import (
	"context"
	"fmt"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/registry"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

// repeatedRequests returns what tells which unanswered requests repeat one that came before
// them; nil where requests are not deduplicated. It decodes the requests of the partition
// twice: what is remembered is the ids of the unanswered ones alone.
func repeatedRequests(cfg config.Config, log *consumers.Admin) func(ctx context.Context, model string, partition int32, unanswered *roaring64.Bitmap) (*roaring64.Bitmap, error) {
	window := cfg.Worker.Deduplicate.Window
	if window == 0 {
		return nil
	}
	r := requestReader{cfg, log}
	return func(ctx context.Context, model string, partition int32, unanswered *roaring64.Bitmap) (*roaring64.Bitmap, error) {
		requests, end, err := r.decoder(ctx, model)
		if err != nil {
			return nil, fmt.Errorf("tell requests of %s that repeat another from those that were lost: %w", model, err)
		}
		defer end()
		topic := cfg.Topics.RequestsOf(model)
		ids := map[string]struct{}{}
		err = r.each(ctx, requests, topic, partition, func(id string, offset int64, _ time.Time) {
			if unanswered.Contains(uint64(offset)) {
				ids[id] = struct{}{}
			}
		})
		if err != nil {
			return nil, err
		}
		seen, repeated := map[string]time.Time{}, roaring64.New()
		err = r.each(ctx, requests, topic, partition, func(id string, offset int64, at time.Time) {
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

// rowsAtATime is how many requests are decoded at a time.
const rowsAtATime = 1024

// requestReader reads the requests of partitions anew.
type requestReader struct {
	cfg config.Config
	log *consumers.Admin
}

// decoder returns the decoder of a model's requests.
func (r requestReader) decoder(ctx context.Context, model string) (requests codec.Requests, end func(), err error) {
	models, err := catalog.Open(r.cfg.Models)
	if err != nil {
		return nil, nil, err
	}
	m, err := models.Serving(ctx, model)
	if err != nil {
		return nil, nil, err
	}
	options, closing := codec.Options{}, func() {}
	if r.cfg.Registry.URL != "" {
		client, err := registry.New(r.cfg.Registry.Client())
		if err != nil {
			return nil, nil, err
		}
		options, closing = codec.Options{Registry: client, Subject: r.cfg.Topics.ResultsOf(model) + "-value"}, client.Close
	}
	requests, _, err = codec.New(ctx, r.cfg.Worker.Codec(model), m.Manifest, options, memory.NewGoAllocator())
	if err != nil {
		closing()
		return nil, nil, err
	}
	return requests, func() {
		requests.Release()
		closing()
	}, nil
}

// each visits the requests of a partition that can be decoded, by the id of their first
// row.
func (r requestReader) each(ctx context.Context, requests codec.Requests, topic string, partition int32, visit func(id string, offset int64, at time.Time)) error {
	held, err := r.log.Log(ctx, topic)
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
		ids := schemas.RequestIDs(batch)
		for _, p := range places {
			visit(string([]byte(ids.Value(p.row))), p.offset, p.at)
		}
		places = places[:0]
	}
	err = r.log.ReadSpans(ctx, topic, map[int32]consumers.Span{partition: held.Partitions[partition]}, func(rec *schemas.Record) error {
		if len(rec.Value) > r.cfg.Worker.MaxRequestBytes || rec.Fault != nil {
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
		if requests.Rows() >= rowsAtATime {
			flush()
		}
		return nil
	})
	flush()
	return err
}
