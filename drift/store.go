package drift

import (
	"context"

	"github.com/millrace/millrace/schemas"
)

// Store is ClickHouse as the monitor sees it. Both methods return when ClickHouse has
// answered; the monitor calls one at a time.
type Store interface {
	// Select runs a query and puts its rows into dest, a pointer to a slice of structs
	// with `ch:"column"` tags.
	Select(ctx context.Context, dest any, query string, args ...any) error
	// InsertRows inserts a slice of such structs into a table of the configured database, as
	// one insert: all of it or nothing.
	InsertRows(ctx context.Context, table string, rows any) error
}

// Publisher puts events on the events topic. It returns when Kafka has acknowledged.
type Publisher interface {
	Publish(ctx context.Context, e schemas.Event) error
}
