package pipeline

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/inference/onnx"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
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
	a := New(cfg, zerolog.Nop())
	models, err := catalog.Served(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return newLaneHandler(ctx, cfg, 0, models, workerParts{runtime: onnx.Runtime{Log: a.log}}, a.alloc, a.Metrics, &a.Done)
}

// Began tells that a role of the test's own is set up.
func (a *App) Began(role config.Role) { a.began(role) }

// Every is every.
var Every = every
