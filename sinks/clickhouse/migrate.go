package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/millrace/millrace/schemas"
)

// Migrate creates the database and applies the migrations that are not recorded in its
// table migrations, in order. It also brings tables of earlier releases to partitions and
// expiry by stored_at, and tables that exist to the TTL and durability of the configuration. It is safe to run twice, and by several processes at once:
// every statement is, and a migration is recorded when all of its statements are done.
func (c *Client) Migrate(ctx context.Context) error {
	migrations, err := schemas.Migrations(c.storage)
	if err != nil {
		return err
	}
	db := c.storage.Database
	for _, statement := range []string{
		"CREATE DATABASE IF NOT EXISTS " + db,
		`CREATE TABLE IF NOT EXISTS ` + db + `.migrations
(
    number     UInt32,
    name       String,
    applied_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY number
COMMENT 'Migrations of this database that are done. Read with FINAL.'`,
	} {
		if err := c.execRacing(ctx, statement); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	}
	if err := c.storeByServerTime(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	var done []struct {
		Number uint32 `ch:"number"`
	}
	if err := c.Select(ctx, &done, "SELECT number FROM "+db+".migrations FINAL"); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	applied := map[int]bool{}
	for _, d := range done {
		applied[int(d.Number)] = true
	}
	for _, m := range migrations {
		if applied[m.Number] {
			continue
		}
		start := time.Now()
		for i, statement := range m.Statements {
			if err := c.execRacing(ctx, statement); err != nil {
				return fmt.Errorf("migration %d_%s, statement %d: %w", m.Number, m.Name, i+1, err)
			}
		}
		row := []struct {
			Number    uint32    `ch:"number"`
			Name      string    `ch:"name"`
			AppliedAt time.Time `ch:"applied_at"`
		}{{uint32(m.Number), m.Name, time.Now().UTC()}}
		if err := c.InsertRows(ctx, "migrations", row); err != nil {
			return fmt.Errorf("migration %d_%s: %w", m.Number, m.Name, err)
		}
		c.log.Info().Str("database", db).Int("number", m.Number).Str("name", m.Name).
			Dur("took", time.Since(start)).Msg("migration applied")
	}
	if err := c.align(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return c.refreshPredictions(ctx)
}

// Exceptions that a statement meets when another process runs the same one at that moment.
const (
	codeTableExists     = 57
	codeUnknownTable    = 60
	codeDatabaseExists  = 82
	codeCannotAssign    = 517 // the table's metadata changed while the ALTER waited
	codeReplicaMetadata = 342
)

// exceptionCode returns the code of an error that the server has answered with, 0 for others.
func exceptionCode(err error) int32 {
	if e := (*ch.Exception)(nil); errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// execRacing runs a statement that is safe to run twice, again if another process ran it
// at the same time.
func (c *Client) execRacing(ctx context.Context, statement string) error {
	for try := 1; ; try++ {
		err := c.Exec(ctx, statement)
		var e *ch.Exception
		if err == nil || try == 10 || !errors.As(err, &e) {
			return err
		}
		switch e.Code {
		case codeTableExists, codeUnknownTable, codeDatabaseExists, codeCannotAssign, codeReplicaMetadata:
		default:
			return err
		}
		select {
		case <-time.After(time.Duration(try) * 20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w; then %w", err, context.Cause(ctx))
		}
	}
}
