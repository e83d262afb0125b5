package pipeline

import "context"

// EndGrace is how long a role may take to end once it is cut off.
const EndGrace = endGrace

// RunRoles is Run with roles of the test's own.
func (a *App) RunRoles(ctx context.Context, roles map[Role]func(soft, hard context.Context) error) error {
	own := map[Role]runRole{}
	for role, run := range roles {
		own[role] = run
	}
	return a.run(ctx, own)
}
