package pipeline

import (
	"context"

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

// Began tells that a role of the test's own is set up.
func (a *App) Began(role config.Role) { a.began(role) }
