package clickhouse

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// expiring are the tables, beside those of observations, of which rows expire.
var expiring = []string{TableFeedback, TableDeadLetters, TableEvents, "minute_states", "label_counts", "profiles"}

// kept are the other tables of which a lost row would be missed.
var kept = []string{
	"drift_results", "accuracy_results", "windows", "model_versions", "migrations", "recorder_groups", "label_looks", "learned_references", "profile_plans", "break_states",
	"accuracy_segments", "requirement_results", "label_delays", "learned_estimators", "alarm_calibrations", "alarms",
}

// remade is a table whose rows are made again of others where they are lost, so that no insert waits
// until they have reached the disk: what is not as many as the rows is not taken from profiles, and
// counted again.
const remade = "profiles"

// fsyncSettings make a part reach the disk, with its name, before its insert is answered,
// and the part that a merge makes before those that it was made of are deleted.
var fsyncSettings = []string{
	"fsync_after_insert", "fsync_part_directory", "min_rows_to_fsync_after_merge", "min_compressed_bytes_to_fsync_after_merge",
}

// recalculateOnly makes a changed TTL cost one column of each part, not all of them.
const recalculateOnly = "materialize_ttl_recalculate_only"

// tableState is what an ALTER of align could change.
type tableState struct {
	Name   string `ch:"name"`
	Engine string `ch:"engine_full"`
}

var (
	ttlClause = regexp.MustCompile(` TTL (.+?)(?: SETTINGS |$)`)
	plainTTL  = regexp.MustCompile("^(?:toDateTime\\()?`?([a-z_]+)`?\\)? \\+ (?:toIntervalDay\\(([0-9]+)\\)|INTERVAL ([0-9]+) DAY)$")
)

// ttl returns the expression that rows expire by, "" if they do not.
func (t tableState) ttl() string {
	m := ttlClause.FindStringSubmatch(t.Engine)
	if m == nil {
		return ""
	}
	return m[1]
}

// setting returns the value of a setting of the table itself, "" where the server's holds.
func (t tableState) setting(name string) string {
	_, settings, _ := strings.Cut(t.Engine, " SETTINGS ")
	for s := range strings.SplitSeq(settings, ", ") {
		if value, ok := strings.CutPrefix(s, name+" = "); ok {
			return value
		}
	}
	return ""
}

// align gives the tables of rows, or only those named, the TTL and the settings that the
// configuration says. It alters nothing that is as it should be, and says what it altered.
func (c *Client) align(ctx context.Context, only ...string) error {
	var tables []tableState
	topology, err := c.topology(ctx)
	if err != nil {
		return err
	}
	err = c.Ask(ctx, &tables, "SELECT name, engine_full FROM system.tables WHERE database = ? AND endsWith(engine, 'MergeTree') ORDER BY name", c.storage.Database)
	if err != nil {
		return fmt.Errorf("look at the tables: %w", err)
	}

	stamped, err := c.stamped(ctx)
	if err != nil {
		return err
	}
	var expiry, durability []string
	for _, t := range tables {
		expires := strings.HasPrefix(t.Name, topology.layout.LocalTable(schemas.ObservationsTable(""))) ||
			slices.ContainsFunc(expiring, func(name string) bool { return topology.layout.LocalTable(name) == t.Name })
		if !expires && !slices.Contains(kept, t.Name) || len(only) > 0 && !slices.Contains(only, t.Name) {
			continue
		}
		changed, err := c.alignSettings(ctx, t, expires, t.Name != topology.layout.LocalTable(remade))
		if err != nil {
			return err
		}
		if changed {
			durability = append(durability, t.Name)
		}
		if !expires || stamped[t.Name] == "" {
			continue
		}
		if changed, err = c.alignTTL(ctx, t); err != nil {
			return err
		}
		if changed {
			expiry = append(expiry, t.Name)
		}
	}
	if len(expiry) > 0 {
		c.log.Info().Strs("tables", expiry).Int("ttl_days", c.storage.TTLDays).Msg("tables keep their rows for another time: clickhouse.ttl_days")
	}
	if len(durability) > 0 {
		c.log.Info().Strs("tables", durability).Str("durability", string(c.storage.Durability)).Msg("settings of tables changed: clickhouse.durability")
	}
	return nil
}

// stamped returns the kind of default that column stored_at has, by table; "" is no such
// column.
func (c *Client) stamped(ctx context.Context) (map[string]string, error) {
	var columns []struct {
		Table string `ch:"table"`
		Kind  string `ch:"default_kind"`
	}
	err := c.Ask(ctx, &columns, "SELECT table, toString(default_kind) AS default_kind FROM system.columns WHERE database = ? AND name = ? AND default_kind != ''",
		c.storage.Database, schemas.ColumnStoredAt)
	if err != nil {
		return nil, fmt.Errorf("look at the columns of the tables: %w", err)
	}
	kinds := make(map[string]string, len(columns))
	for _, col := range columns {
		kinds[col.Table] = col.Kind
	}
	return kinds, nil
}

// alignTTL makes rows expire by the time at which they were stored. An expression that is
// not of the plain form is the operator's, such as one that moves old rows to another
// disk: it stays.
func (c *Client) alignTTL(ctx context.Context, t tableState) (changed bool, err error) {
	have := t.ttl()
	m := plainTTL.FindStringSubmatch(have)
	if m == nil {
		c.log.Warn().Str("table", t.Name).Str("ttl", have).
			Msg("the table has a TTL of its own, so that clickhouse.ttl_days does not hold for it")
		return false, nil
	}
	if m[1] == schemas.ColumnStoredAt && m[2]+m[3] == strconv.Itoa(c.storage.TTLDays) {
		return false, nil
	}
	statement := fmt.Sprintf("ALTER TABLE %s MODIFY TTL %s + INTERVAL %d DAY SETTINGS materialize_ttl_after_modify = 1, mutations_sync = 0",
		c.qualified(t.Name), schemas.ColumnStoredAt, c.storage.TTLDays)
	if err := c.define(ctx, statement); err != nil {
		return false, fmt.Errorf("change the TTL of %s from %s: %w", t.Name, have, err)
	}
	return true, nil
}

// alignSettings applies clickhouse.durability, where the table's rows must not be lost. A server that does not let its settings be
// changed, as managed ones do, stores in its own way: that is said once.
func (c *Client) alignSettings(ctx context.Context, t tableState, expires, durable bool) (changed bool, err error) {
	want := map[string]string{}
	if expires {
		want[recalculateOnly] = "1"
	}
	var reset []string
	for _, name := range fsyncSettings {
		if durable && c.storage.Durability == schemas.DurabilityFsync {
			want[name] = "1"
		} else if t.setting(name) != "" {
			reset = append(reset, name)
		}
	}
	var modify []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if t.setting(name) != want[name] {
			modify = append(modify, name+" = "+want[name])
		}
	}
	for _, statement := range []struct {
		verb  string
		names []string
	}{{"MODIFY SETTING ", modify}, {"RESET SETTING ", reset}} {
		if len(statement.names) == 0 {
			continue
		}
		err := c.define(ctx, "ALTER TABLE "+c.qualified(t.Name)+" "+statement.verb+strings.Join(statement.names, ", "))
		if err != nil && !Answered(err) {
			return false, fmt.Errorf("change settings of %s: %w", t.Name, err)
		}
		if err != nil {
			c.refused.Do(func() {
				c.log.Warn().Err(err).Str("table", t.Name).Str("durability", string(c.storage.Durability)).
					Msg("clickhouse does not let settings of tables be changed: it stores in its own way, whatever clickhouse.durability says")
			})
			continue
		}
		changed = changed || statement.verb == "RESET SETTING " || strings.Join(statement.names, "") != recalculateOnly+" = 1"
	}
	return changed, nil
}
