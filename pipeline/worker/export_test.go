package worker

import (
	"context"
	"errors"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/role"
)

// NewHandler returns what answers the request batches of a lane. Close it.
func NewHandler(ctx context.Context, cfg config.Config) (h interface {
	consumers.Handler
	Close() error
}, err error,
) {
	router, err := catalog.Routed(cfg)
	if err != nil {
		return nil, err
	}
	models, err := catalog.Served(ctx, cfg)
	if err != nil {
		return nil, err
	}
	env := &role.Env{Config: cfg, Memory: memory.NewGoAllocator(), Done: &role.Progress{}}
	parts := workerParts{runtime: catalog.Runtimes(zerolog.Nop()), metrics: NewMetrics(prometheus.NewRegistry())}
	lane := newLaneHandler(env, 0, router, parts)
	for _, m := range models {
		t := lane.topics[m.Manifest.Name]
		if t.serving, err = lane.load(ctx, t, m, parts); err != nil {
			return nil, errors.Join(err, lane.Close())
		}
	}
	return lane, nil
}
