package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/millrace/millrace/schemas"
)

// Migrate creates the database, where it is not there, and applies the migrations that are not
// recorded in its table migrations, in order. It also brings tables of earlier releases to
// partitions and expiry by stored_at, and tables that exist to the TTL and durability of the
// configuration. It is safe to run twice, and by several processes at once: every statement is,
// and a migration is recorded when all of its statements are done. Where nothing is to be done it
// only reads.
func (c *Client) Migrate(ctx context.Context) error {
	migrations, err := schemas.Migrations(c.storage)
	if err != nil {
		return err
	}
	db := c.storage.Database
	if err := c.ensureDatabase(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if exists, err := c.HasTable(ctx, "migrations"); err != nil {
		return fmt.Errorf("migrate: %w", err)
	} else if !exists {
		if err := c.define(ctx, `CREATE TABLE IF NOT EXISTS `+db+`.migrations
(
    number     UInt32,
    name       String,
    applied_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY number
COMMENT 'Migrations of this database that are done. Read with FINAL.'`); err != nil {
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
			if i > 0 && m.Number == firstMigration && strings.HasPrefix(statement, "CREATE OR REPLACE VIEW ") { // it reads all shards
				if err := c.alignDistributed(ctx); err != nil {
					return fmt.Errorf("migration %d_%s: %w", m.Number, m.Name, err)
				}
			}
			if err := c.define(ctx, statement); err != nil {
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
	if err := c.alignDistributed(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := c.align(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return c.refreshPredictions(ctx)
}

// firstMigration makes the tables and the view minute_statistics.
const firstMigration = 1

// ensureDatabase creates the database where it is not there, and looks at the tables that are.
func (c *Client) ensureDatabase(ctx context.Context) error {
	t, err := c.topology(ctx)
	if err != nil {
		return err
	}
	var databases []struct {
		Engine string `ch:"engine"`
	}
	if err := c.askFirst(ctx, &databases, "SELECT engine FROM system.databases WHERE name = ?", c.storage.Database); err != nil {
		return err
	}
	if len(databases) == 0 {
		err := c.define(ctx, "CREATE DATABASE IF NOT EXISTS "+c.storage.Database)
		if exceptionCode(err) == codeAccessDenied {
			return fmt.Errorf("database %s (clickhouse.database) is not there, or user %s may not see it, and it may not be made by that user: have it made, and give the user what deploy/README.md lists: %w",
				c.storage.Database, c.fleet.username, err)
		}
		return err
	}
	if databases[0].Engine == "Replicated" && c.storage.Cluster == "" {
		return fmt.Errorf("database %[1]s has the engine Replicated: set clickhouse.cluster to the cluster of its replicas, which mostly has the database's name, %[1]s", c.storage.Database)
	}
	return c.checkReplicated(ctx, t)
}

// Exceptions that a statement meets when another process runs the same one at that moment.
const (
	codeTableExists     = 57
	codeUnknownTable    = 60
	codeDatabaseExists  = 82
	codeCannotAssign    = 517 // the table's metadata changed while the ALTER waited
	codeReplicaMetadata = 342
	codeReplicaExists   = 253 // of a table that was made on another server at the same time
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
		case codeTableExists, codeUnknownTable, codeDatabaseExists, codeCannotAssign, codeReplicaMetadata, codeReplicaExists:
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
