package pipeline

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

// EndGrace is how long a role may take to end once it is cut off.
const EndGrace = endGrace

// RunRoles is Run with roles of the test's own.
func (a *App) RunRoles(ctx context.Context, roles map[config.Role]func(soft, hard context.Context) error) error {
	own := map[config.Role]runRole{}
	for role, run := range roles {
		own[role] = run
	}
	return a.run(ctx, own)
}

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
	return newLaneHandler(ctx, env, 0, models, workerParts{runtime: catalog.Runtimes(zerolog.Nop()), metrics: newWorkerMetrics(prometheus.NewRegistry())})
}

// Began tells that a role of the test's own is set up.
func (a *App) Began(role config.Role) { a.began(role) }

// Every is every.
var Every = every
