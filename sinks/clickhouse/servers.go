package clickhouse

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// Server is what a server says of itself.
type Server struct {
	Addr    string
	Started time.Time // to about two seconds, by its own clock
	Uptime  time.Duration
	// Broken is how many parts of this database's tables it has set aside as broken, or since
	// Keeper knows nothing of them. Those that an operator has detached are not among them: they may
	// be attached again.
	Broken uint64
}

// Servers asks every server. One that does not answer is an error.
func (c *Client) Servers(ctx context.Context) ([]Server, error) {
	out := make([]Server, len(c.servers))
	g, ctx := errgroup.WithContext(ctx)
	for i, conn := range c.servers {
		g.Go(func() error { // ends with its query
			var rows []struct {
				Now    time.Time `ch:"at"`
				Uptime uint64    `ch:"up"`
				Broken uint64    `ch:"broken"`
			}
			err := within(ctx, c.answerTimeout, func(ctx context.Context) error {
				return c.told(conn.Select(ctx, &rows, "SELECT now('UTC') AS at, toUInt64(uptime()) AS up, "+
					"(SELECT count() FROM system.detached_parts WHERE database = ? AND (startsWith(ifNull(reason, ''), 'broken') OR startsWith(ifNull(reason, ''), 'unexpected'))) AS broken", c.storage.Database))
			})
			if err == nil && len(rows) != 1 {
				err = fmt.Errorf("%d rows, want 1", len(rows))
			}
			if err != nil {
				return fmt.Errorf("ask clickhouse at %s since when it runs: %w", c.fleet.addresses[i].String(), err)
			}
			up := time.Duration(rows[0].Uptime) * time.Second
			out[i] = Server{c.fleet.addresses[i].String(), rows[0].Now.Add(-up), up, rows[0].Broken}
			return nil
		})
	}
	return out, g.Wait()
}
