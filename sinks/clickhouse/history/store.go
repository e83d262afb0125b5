package history

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
)

// Conn is ClickHouse as a Store sees it. Both methods return when ClickHouse has answered.
type Conn interface {
	// Select runs a query and puts its rows into dest, a pointer to a slice of structs
	// with `ch:"column"` tags.
	Select(ctx context.Context, dest any, query string, args ...any) error
	// InsertRows inserts a slice of such structs into a table of the store's database, as
	// one insert: all of it or nothing.
	InsertRows(ctx context.Context, table string, rows any) error
}

// Store counts and keeps the windows of versions in one database. It is as safe for
// concurrent use as its Conn.
type Store struct {
	conn     Conn
	database string
}

// New returns a store of a database, which conn inserts into too.
func New(conn Conn, database string) *Store { return &Store{conn: conn, database: database} }

// The queries hold their values as literals: ClickHouse prunes by them, categories may
// hold any text, and binding of times by the client would cut them to seconds.

// quote renders a string literal.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// column quotes a column's name. Manifest names need no escaping.
func column(name string) string { return "`" + name + "`" }

// instant renders a time as a DateTime64(6).
func instant(t time.Time) string {
	return schemas.MicrosSQL(t.UnixMicro())
}

// of selects what is kept of a version.
func of(m *schemas.Manifest) string {
	return fmt.Sprintf("model = %s AND version = %s", quote(m.Name), quote(m.Version))
}

// ofWindows selects what was found in the windows that the manifest is about (schemas.Spread).
func ofWindows(m *schemas.Manifest) string {
	return of(m) + " AND window_kind = " + quote(m.WindowKind())
}
