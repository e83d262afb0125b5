package worker

import (
	"context"

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
	models, err := catalog.Served(ctx, cfg)
	if err != nil {
		return nil, err
	}
	env := &role.Env{Config: cfg, Memory: memory.NewGoAllocator(), Done: &role.Progress{}}
	return newLaneHandler(ctx, env, 0, models, workerParts{runtime: catalog.Runtimes(zerolog.Nop()), metrics: NewMetrics(prometheus.NewRegistry())})
}
