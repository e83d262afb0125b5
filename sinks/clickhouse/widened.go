package clickhouse

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// rewriteWidened has the server write the columns anew that a table lets be NULL and some of its parts
// do not. Such a part is left as it is when the column's type is altered, and its values are read right;
// but "IS NULL" and "count(column)", which read nothing but which rows are NULL, take all rows of the
// part for NULL (seen in 26.5). Parts that are merged are right again, which may never come to the others.
// It is done in the background, and looked for again whenever a process meets a version's schema for the
// first time: one that was killed behind the ALTER leaves it to the next. The time at which rows were
// stored stays as it was.
func (c *Client) rewriteWidened(ctx context.Context, table string) error {
	sites, _, err := c.SitesOf(ctx, table)
	if err != nil {
		return err
	}
	t, err := c.topology(ctx)
	if err != nil {
		return err
	}
	local := t.layout.LocalTable(table)
	var columns []string
	for _, site := range sites {
		var found []struct {
			Name string `ch:"name"`
		}
		if err := site.Ask(ctx, &found, `SELECT DISTINCT c.name AS name FROM system.columns AS c
INNER JOIN system.parts_columns AS p ON p.database = c.database AND p.table = c.table AND p.column = c.name
WHERE c.database = ? AND c.table = ? AND p.active AND c.type != p.type AND position(c.type, 'Nullable(') > 0 AND position(p.type, 'Nullable(') = 0
    AND NOT exists(SELECT 1 FROM system.mutations WHERE database = ? AND table = ? AND NOT is_done)`,
			c.storage.Database, local, c.storage.Database, local); err != nil {
			return fmt.Errorf("look for parts of %s from before a column could be NULL: %w", local, err)
		}
		for _, col := range found {
			columns = append(columns, col.Name)
		}
	}
	if len(columns) == 0 {
		return nil
	}
	slices.Sort(columns)
	columns = slices.Compact(columns)
	updates := make([]string, len(columns))
	for i, name := range columns {
		updates[i] = "`" + name + "` = `" + name + "`"
	}
	statement := "ALTER TABLE " + c.qualified(table) + " UPDATE " + strings.Join(updates, ", ") + " WHERE 1 SETTINGS mutations_sync = 0"
	if err := c.define(ctx, statement); err != nil {
		// What is stored is right all the same, and a user may lack the grant.
		c.log.Warn().Err(err).Str("table", table).Strs("columns", columns).
			Msg("rows from before these columns could be NULL are counted as NULL there until their parts are merged: run the statement by hand")
		return nil
	}
	c.log.Info().Str("table", table).Strs("columns", columns).Msg("columns that can be NULL now are written anew, in the background")
	return nil
}
