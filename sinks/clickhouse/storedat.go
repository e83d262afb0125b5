package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
)

// How tables of releases before 2026-11-29 come to be partitioned and to expire by
// stored_at. They followed times that producers set, or that a worker's clock said.
//
// Observations and minute_states get the column in place: their partitions follow
// scored_at, which is millrace's own, and stay. Each step leaves a state that tells which is
// the next: no column; one with a default that says when the rows that are there count as
// stored, until it is written into the parts; one that the server fills.
//
// Feedback, dead letters and events have partitions by a time that a producer sets. A
// partition key cannot be altered, so each table is made anew:
//
//  1. T is renamed to T_dated. From here on nobody stores into it: to a recorder of
//     whatever version T is an unknown table, an error that it retries with a replay.
//  2. The inserts that run are waited for. T_dated does not change any more.
//  3. Its rows are copied into T_copy_<random>, which no other process knows.
//  4. T_copy_<random> is renamed to T, if there is no T. T has all rows from its first
//     moment on: who looks for rows there finds them.
//  5. T_dated is renamed to T_retired_<random>, and dropped if it has no stored_at.
//
// Several processes may do this at once, and each may end anywhere. Whoever comes looks at
// what there is and goes on. A rename is what decides between two: one of them fails. A
// process that was slow can rename a table that is new already (in 1 or 5): it looks at
// what it got, and a table with stored_at is never copied from or dropped but given its
// name back.

// dated is a table that was partitioned by a time from outside.
type dated struct {
	table string
	place string // what the columns of a row's coordinates begin with
	time  string
}

var datedTables = []dated{
	{TableFeedback, "feedback", "received_at"}, {TableDeadLetters, "dead_letter", "failed_at"}, {TableEvents, "event", "time"},
}

const (
	suffixDated   = "_dated"
	infixCopy     = "_copy_"
	infixRetired  = "_retired_"
	storedAtSteps = 50 // far more than there are
)

// storeByServerTime brings all tables to stored_at.
func (c *Client) storeByServerTime(ctx context.Context) error {
	if c.storage.Cluster != "" {
		return nil // no release made replicated tables without stored_at
	}
	for _, d := range datedTables {
		if err := c.rebuild(ctx, d); err != nil {
			return fmt.Errorf("partition %s by %s: %w", d.table, schemas.ColumnStoredAt, err)
		}
	}
	var tables []tableState
	err := c.Ask(ctx, &tables, "SELECT name, engine_full FROM system.tables WHERE database = ? AND (name = 'minute_states' OR startsWith(name, ?)) AND endsWith(engine, 'MergeTree') ORDER BY name",
		c.storage.Database, schemas.ObservationsTable(""))
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := c.stamp(ctx, t.Name); err != nil {
			return fmt.Errorf("add %s to %s: %w", schemas.ColumnStoredAt, t.Name, err)
		}
	}
	return nil
}

// tablesLike tells of the tables whose names begin with one whether they have stored_at.
func (c *Client) tablesLike(ctx context.Context, name string) (map[string]bool, error) {
	var tables []struct {
		Name   string `ch:"name"`
		Stored uint8  `ch:"stored"`
	}
	err := c.Ask(ctx, &tables, "SELECT name, name IN (SELECT table FROM system.columns WHERE database = ? AND name = ?) AS stored "+
		"FROM system.tables WHERE database = ? AND startsWith(name, ?)",
		c.storage.Database, schemas.ColumnStoredAt, c.storage.Database, name)
	if err != nil {
		return nil, err
	}
	have := make(map[string]bool, len(tables))
	for _, t := range tables {
		have[t.Name] = t.Stored != 0
	}
	return have, nil
}

// rebuild makes the table anew with partitions by stored_at, if it has not got them.
func (c *Client) rebuild(ctx context.Context, d dated) error {
	name, old := d.table, d.table+suffixDated
	start, copied := time.Now(), uint64(0)
	for range storedAtSteps {
		have, err := c.tablesLike(ctx, name)
		if err != nil {
			return err
		}
		stored, exists := have[name]
		oldStored, oldExists := have[old]
		switch retired := withInfix(have, name+infixRetired); {
		case len(retired) > 0:
			err = c.dropRetired(ctx, name, retired[0])
		case exists && oldExists && (!stored || oldStored):
			return fmt.Errorf("tables %s and %s are there and neither is made of the other: move the rows of %s by hand, then drop it", name, old, old)
		case exists && oldExists:
			err = c.retire(ctx, d)
		case exists && stored:
			for _, left := range withInfix(have, name+infixCopy) {
				if err := c.execRacing(ctx, "DROP TABLE IF EXISTS "+c.qualified(left)); err != nil {
					return err
				}
			}
			if copied > 0 {
				c.log.Info().Str("table", name).Uint64("rows", copied).Dur("took", time.Since(start)).
					Msg("table made anew: its rows expire by the time at which they were stored")
			}
			return nil
		case exists:
			c.log.Warn().Str("table", name).Msg("the table is made anew, by the time at which rows were stored; recorders of an earlier release store nothing into it meanwhile")
			err = c.rename(ctx, name, old)
		case oldExists && oldStored:
			err = c.rename(ctx, old, name)
		case oldExists:
			copied, err = c.copyDated(ctx, d)
		default:
			return nil // the migrations make it
		}
		if err != nil {
			return err
		}
	}
	return errors.New("other processes change it all the time")
}

func withInfix(have map[string]bool, prefix string) []string {
	var names []string
	for name := range have {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names
}

// rename gives a table another name. That another process did it, or took the name, is no
// error: the caller looks again.
func (c *Client) rename(ctx context.Context, from, to string) error {
	err := c.Exec(ctx, "RENAME TABLE "+c.qualified(from)+" TO "+c.qualified(to))
	if code := exceptionCode(err); code == codeTableExists || code == codeUnknownTable {
		return nil
	}
	return err
}

// copyDated makes T of T_dated: steps 2 to 4.
func (c *Client) copyDated(ctx context.Context, d dated) (rows uint64, err error) {
	name, old := d.table, d.table+suffixDated
	// Inserts into T, and copies that another process makes: their names begin with it.
	if err := c.AwaitInserts(ctx, name); err != nil {
		return 0, err
	}
	have, err := c.tablesLike(ctx, name)
	if err != nil {
		return 0, err
	}
	if _, exists := have[name]; exists {
		return 0, nil
	}
	if _, exists := have[old]; !exists {
		return 0, nil
	}
	copied := name + infixCopy + strings.ReplaceAll(uuid.NewString(), "-", "")
	rows, err = c.copyRows(ctx, d, old, copied)
	if code := exceptionCode(err); code == codeUnknownTable {
		return 0, nil // another process was faster, and has dropped the copy or the source
	}
	if err != nil {
		return 0, errors.Join(err, c.Exec(ctx, "DROP TABLE IF EXISTS "+c.qualified(copied)))
	}
	return rows, c.rename(ctx, copied, name)
}

// copyRows makes the table copied with all rows of old.
func (c *Client) copyRows(ctx context.Context, d dated, old, copied string) (rows uint64, err error) {
	create, err := schemas.CreateTable(c.storage, d.table, copied)
	if err != nil {
		return 0, err
	}
	// The rows that are there bring their time with them.
	if err := c.execRacing(ctx, strings.Replace(create, "MATERIALIZED now()", "DEFAULT now()", 1)); err != nil {
		return 0, err
	}
	columns, err := c.copyColumns(ctx, old, copied)
	if err != nil {
		return 0, err
	}
	var clock []struct {
		Now    uint32 `ch:"now"`
		Expiry uint32 `ch:"expiry"`
	}
	if err := c.Ask(ctx, &clock, "SELECT toUnixTimestamp(now()) AS now, toUnixTimestamp(now() - INTERVAL ? DAY) AS expiry", c.storage.TTLDays); err != nil || len(clock) != 1 {
		return 0, fmt.Errorf("read the clock of clickhouse: %w", err)
	}
	var partitions []struct {
		ID string `ch:"id"`
	}
	if err := c.Ask(ctx, &partitions, "SELECT DISTINCT _partition_id AS id FROM "+c.qualified(old)+" ORDER BY id"); err != nil {
		return 0, err
	}
	copying := ch.Context(ctx, ch.WithSettings(ch.Settings{
		"async_insert": 0, "insert_deduplicate": 0, "max_execution_time": 0, "max_partitions_per_insert_block": 0,
	}))
	for _, p := range partitions {
		statement := "INSERT INTO " + c.qualified(copied) + " (" + columns + ", " + schemas.ColumnStoredAt + ") SELECT " + columns + ", " +
			countsAsStored(d.time, clock[0].Expiry, clock[0].Now) + " FROM " + c.qualified(old) + " WHERE _partition_id = ?"
		if err := c.Exec(copying, statement, p.ID); err != nil {
			return 0, err
		}
	}
	if err := c.execRacing(ctx, "ALTER TABLE "+c.qualified(copied)+" MODIFY COLUMN "+schemas.ColumnStoredAt+" "+schemas.StoredAtDDL); err != nil {
		return 0, err
	}
	var counts []struct {
		Old  uint64 `ch:"old"`
		Copy uint64 `ch:"copied"`
	}
	err = c.Ask(ctx, &counts, "SELECT (SELECT count() FROM "+c.qualified(old)+") AS old, (SELECT count() FROM "+c.qualified(copied)+") AS copied")
	if err != nil {
		return 0, err
	}
	// The old table may still lose rows to its TTL.
	if len(counts) != 1 || counts[0].Copy < counts[0].Old {
		return 0, fmt.Errorf("%w: table %s, copied from %s: %v", ErrIncomplete, copied, old, counts)
	}
	return counts[0].Copy, nil
}

// countsAsStored is when a row that bears another time counts as stored: then, unless that
// lies in the future or so far back that the row would be deleted, and now otherwise.
func countsAsStored(column string, expiry, now uint32) string {
	return fmt.Sprintf("if(%[1]s > toDateTime64(%[2]d, 6, 'UTC') AND %[1]s < toDateTime64(%[3]d, 6, 'UTC'), toDateTime(%[1]s, 'UTC'), toDateTime(%[3]d, 'UTC'))",
		column, expiry, now)
}

// copyColumns returns the columns that both tables have. A column that somebody else added
// to the old table is added to the copy.
func (c *Client) copyColumns(ctx context.Context, old, copied string) (string, error) {
	types, err := c.columnTypes(ctx, copied)
	if err != nil {
		return "", err
	}
	var columns []struct {
		Name       string `ch:"name"`
		Type       string `ch:"type"`
		Kind       string `ch:"kind"`
		Expression string `ch:"default_expression"`
	}
	err = c.Ask(ctx, &columns, "SELECT name, type, toString(default_kind) AS kind, default_expression FROM system.columns WHERE database = ? AND table = ? ORDER BY position", c.storage.Database, old)
	if err != nil {
		return "", err
	}
	var names []string
	for _, col := range columns {
		if types[col.Name] == "" {
			statement := "ALTER TABLE " + c.qualified(copied) + " ADD COLUMN `" + col.Name + "` " + col.Type
			if col.Kind != "" {
				statement += " " + col.Kind + " " + col.Expression
			}
			if err := c.execRacing(ctx, statement); err != nil {
				return "", err
			}
		}
		if col.Kind == "" || col.Kind == "DEFAULT" {
			names = append(names, "`"+col.Name+"`")
		}
	}
	return strings.Join(names, ", "), nil
}

// retire ends T_dated once T has its rows: step 5.
func (c *Client) retire(ctx context.Context, d dated) error {
	name, old := d.table, d.table+suffixDated
	byPlace := "SELECT " + d.place + "_topic_id AS t, " + d.place + "_partition AS p, intDiv(" + d.place + "_offset, 1000000) AS o, count() AS n FROM %s GROUP BY t, p, o"
	var missing []struct {
		N uint64 `ch:"n"`
	}
	err := c.Ask(ctx, &missing, fmt.Sprintf("SELECT count() AS n FROM ("+byPlace+") AS a LEFT JOIN ("+byPlace+") AS b ON a.t = b.t AND a.p = b.p AND a.o = b.o WHERE a.n > b.n",
		c.qualified(old), c.qualified(name)))
	if exceptionCode(err) == codeUnknownTable {
		return nil // another process was faster
	}
	if err != nil {
		return err
	}
	if len(missing) != 1 || missing[0].N != 0 {
		return fmt.Errorf("%w: table %s lacks rows that %s has: move them by hand, then drop %s", ErrIncomplete, name, old, old)
	}
	var views []struct {
		Names []string `ch:"names"`
	}
	err = c.Ask(ctx, &views, "SELECT arrayMap((d, t) -> concat(d, '.', t), dependencies_database, dependencies_table) AS names FROM system.tables WHERE database = ? AND name = ?", c.storage.Database, old)
	if err != nil {
		return err
	}
	for _, v := range views {
		if len(v.Names) > 0 {
			c.log.Warn().Str("table", name).Strs("views", v.Names).Msg("these materialised views follow the table that was replaced: DETACH TABLE and ATTACH TABLE each, so that they get new rows")
		}
	}
	return c.rename(ctx, old, name+infixRetired+strings.ReplaceAll(uuid.NewString(), "-", ""))
}

// dropRetired drops a table whose rows T has; one that a slow process has taken for it by
// its name gets that back.
func (c *Client) dropRetired(ctx context.Context, name, retired string) error {
	have, err := c.tablesLike(ctx, retired)
	if err != nil {
		return err
	}
	stored, exists := have[retired]
	if !exists {
		return nil
	}
	if stored {
		return c.rename(ctx, retired, name)
	}
	return c.execRacing(ctx, "DROP TABLE IF EXISTS "+c.qualified(retired))
}

// stamp adds stored_at to a table that keeps its partitions.
func (c *Client) stamp(ctx context.Context, table string) error {
	typ, final := "DateTime('UTC')", schemas.StoredAtDDL
	column := schemas.ColumnScoredAt
	if table == "minute_states" {
		typ, final = "SimpleAggregateFunction(max, DateTime('UTC'))", schemas.MinuteStoredAtDDL
		column = "scored_at_max"
	}
	for try := 0; ; try++ {
		var columns []struct {
			Type       string `ch:"type"`
			Expression string `ch:"default_expression"`
		}
		err := c.Ask(ctx, &columns, "SELECT type, default_expression FROM system.columns WHERE database = ? AND table = ? AND name = ?",
			c.storage.Database, table, schemas.ColumnStoredAt)
		if err != nil {
			return err
		}
		switch {
		case len(columns) == 0 && try == 0:
			var clock []struct {
				Now    uint32 `ch:"now"`
				Expiry uint32 `ch:"expiry"`
			}
			if err := c.Ask(ctx, &clock, "SELECT toUnixTimestamp(now()) AS now, toUnixTimestamp(now() - INTERVAL ? DAY) AS expiry", c.storage.TTLDays); err != nil || len(clock) != 1 {
				return fmt.Errorf("read the clock of clickhouse: %w", err)
			}
			err := c.execRacing(ctx, "ALTER TABLE "+c.qualified(table)+" ADD COLUMN IF NOT EXISTS "+schemas.ColumnStoredAt+" "+typ+
				" DEFAULT "+countsAsStored(column, clock[0].Expiry, clock[0].Now))
			if err != nil {
				return err
			}
			continue
		case len(columns) == 0:
			return errors.New("the column is gone again")
		case columns[0].Expression == "now()":
			return nil
		case columns[0].Type != typ:
			c.log.Warn().Str("table", table).Str("type", columns[0].Type).
				Msg("the table has a feature called stored_at: its rows go on to expire by the time that its worker's clock said")
			return nil
		}
		// A process that does this a second time writes the same values, or, if the last step
		// has been done meanwhile, lets rows live longer.
		if err := c.execRacing(ctx, "ALTER TABLE "+c.qualified(table)+" MATERIALIZE COLUMN "+schemas.ColumnStoredAt+" SETTINGS mutations_sync = 0"); err != nil {
			return err
		}
		if err := c.awaitMutations(ctx, table); err != nil {
			return err
		}
		if err := c.execRacing(ctx, "ALTER TABLE "+c.qualified(table)+" MODIFY COLUMN "+schemas.ColumnStoredAt+" "+final); err != nil {
			return err
		}
		c.log.Info().Str("table", table).Msg("rows of the table expire by the time at which they were stored")
		return nil
	}
}

// awaitMutations waits until stored_at is written into all parts of the table.
func (c *Client) awaitMutations(ctx context.Context, table string) error {
	for {
		var pending []struct {
			N    uint64 `ch:"n"`
			Fail string `ch:"fail"`
		}
		err := c.Ask(ctx, &pending, "SELECT count() AS n, any(latest_fail_reason) AS fail FROM system.mutations WHERE database = ? AND table = ? AND NOT is_done AND command LIKE '%MATERIALIZE COLUMN%'",
			c.storage.Database, table)
		if err != nil {
			return err
		}
		if len(pending) != 1 || pending[0].N == 0 {
			return nil
		}
		if pending[0].Fail != "" {
			return fmt.Errorf("write the column into the parts: %s", pending[0].Fail)
		}
		select {
		case <-time.After(insertsPoll):
		case <-ctx.Done():
			return fmt.Errorf("wait until the column is written into the parts: %w", context.Cause(ctx))
		}
	}
}
