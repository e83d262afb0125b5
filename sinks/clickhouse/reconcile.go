package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
)

// maxMinutes bounds the length of a query that names minutes.
const maxMinutes = 1000

// Reconcile compares the minute states of a model with its rows, for the minutes that from
// and to and the time between belong to, and derives those minutes anew in which they
// differ; it returns how many. A model without a table has nothing to compare. Inserts of
// this Client wait meanwhile. Another process may insert into the same minutes: only a
// difference that outlasts the inserts that run is repaired, and the result is looked at
// again when the inserts that ran beside the repair are over.
func (c *Client) Reconcile(ctx context.Context, model string, from, to time.Time) (repaired int, err error) {
	c.mu.Lock()
	before := c.repairing
	c.mu.Unlock()
	if !before.IsZero() {
		if err := c.AwaitLease(ctx, before, func(error) {}); err != nil {
			return 0, fmt.Errorf("reconcile %s: %w", model, err)
		}
	}
	at, err := c.Now(ctx)
	if err != nil {
		return 0, fmt.Errorf("reconcile %s: %w", model, err)
	}
	lease := schemas.Lease{Announced: at, Deadline: at.Add(repairLease)}
	repaired, err = c.ReconcileLeased(ctx, model, schemas.ClampMicros(from), schemas.ClampMicros(to), lease)
	if err == nil || Answered(err) {
		lease = schemas.Lease{}
	}
	c.mu.Lock()
	c.repairing = lease
	c.mu.Unlock()
	return repaired, err
}

// ReconcileLeased is Reconcile with times in microseconds since 1970, by whoever has a lease of
// its own. It begins no repair outside of the lease.
func (c *Client) ReconcileLeased(ctx context.Context, model string, from, to int64, lease schemas.Lease) (repaired int, err error) {
	if !schemas.ValidModelName(model) {
		return 0, fmt.Errorf("reconcile: %q is no model name", model)
	}
	from, to = wholeMinutes(from, to)
	known, err := c.scores(ctx)
	if err != nil {
		return 0, fmt.Errorf("reconcile %s: %w", model, err)
	}
	models, err := c.models(ctx, known)
	if err != nil {
		return 0, fmt.Errorf("reconcile %s: %w", model, err)
	}
	if !slices.Contains(models, model) {
		return 0, nil
	}
	lock := c.modelLock(model)
	lock.Lock()
	defer lock.Unlock()
	shards, err := c.minutesOf(ctx, model)
	if err != nil {
		return 0, fmt.Errorf("reconcile %s: %w", model, err)
	}
	for i := range shards {
		more, err := c.reconcileShard(ctx, model, i, from, to, schemas.ScoreSQL(known[model]), lease)
		repaired += more
		if err != nil {
			return repaired, fmt.Errorf("reconcile %s: %w", model, err)
		}
	}
	return repaired, nil
}

// minutes is where the rows and the minute states of a model lie in one shard. A view makes
// the states of a shard of its own rows, so each is compared with itself.
type minutes struct {
	Site
	rows, states string // qualified
}

// minutesOf returns a caught-up server of each shard.
func (c *Client) minutesOf(ctx context.Context, model string) ([]minutes, error) {
	t, err := c.topology(ctx)
	if err != nil {
		return nil, err
	}
	table := schemas.ObservationsTable(model)
	sites, err := c.Sites(ctx, table, "minute_states")
	if err != nil {
		return nil, err
	}
	all := make([]minutes, len(sites))
	for i, s := range sites {
		all[i] = minutes{s, c.qualified(t.layout.LocalTable(table)), c.qualified(t.layout.LocalTable("minute_states"))}
	}
	return all, nil
}

// reconcileShard is ReconcileLeased for one shard, by its number.
func (c *Client) reconcileShard(ctx context.Context, model string, shard int, from, to int64, score string, lease schemas.Lease) (repaired int, err error) {
	done := map[int64]bool{}
	for range 10 {
		minutes, err := c.differing(ctx, model, shard, from, to)
		if err != nil || len(minutes) == 0 {
			return len(done), err
		}
		for _, m := range minutes {
			done[m] = true
		}
		shards, err := c.minutesOf(ctx, model)
		if err != nil {
			return len(done), err
		}
		if err := shards[shard].derive(ctx, model, score, minutes, lease); err != nil {
			return len(done), err
		}
		// One that ran beside the repair may have had its row counted by it, and its view
		// may count it once more.
		if err := c.AwaitInserts(ctx, schemas.ObservationsTable(model)); err != nil {
			return len(done), err
		}
		c.log.Warn().Str("model", model).Int("minutes", len(minutes)).Msg("minute states differed from the rows and were derived anew")
	}
	return len(done), errors.New("minute states still differ from the rows after 10 repairs; is another process inserting?")
}

// differing returns the minutes, in seconds since 1970, in which states and rows differ
// and go on differing in the same way after the inserts that run are over: what is half
// done, rows but no states, is no fault.
func (c *Client) differing(ctx context.Context, model string, shard int, from, to int64) ([]int64, error) {
	look := func() (map[int64]uint64, error) {
		shards, err := c.minutesOf(ctx, model)
		if err != nil {
			return nil, err
		}
		return shards[shard].differences(ctx, model, from, to)
	}
	first, err := look()
	if err != nil || len(first) == 0 {
		return nil, err
	}
	if err := c.AwaitInserts(ctx, schemas.ObservationsTable(model)); err != nil {
		return nil, err
	}
	second, err := look()
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(first, func(minute int64, how uint64) bool {
		again, ok := second[minute]
		return !ok || again != how
	})
	return slices.Sorted(maps.Keys(first)), nil
}

// differences returns the minutes whose counts or sums of latency differ, and a hash of
// how. from and to are microseconds since 1970 at whole minutes, to exclusive.
func (s minutes) differences(ctx context.Context, model string, from, to int64) (map[int64]uint64, error) {
	const key = "version, variant, minute, request_topic_id, request_partition, outcome, error_class"
	query := `SELECT toInt64(toUnixTimestamp(minute)) AS at, sum(cityHash64(` + key + `, d, l)) AS how
FROM (
    SELECT ` + key + `, sum(n) AS d, sum(latency) AS l
    FROM (
        SELECT "@o".version AS version, "@o".variant AS variant, toStartOfMinute(toDateTime("@o".scored_at, 'UTC')) AS minute,
            "@o".request_topic_id AS request_topic_id, "@o".request_partition AS request_partition,
            "@o".outcome AS outcome, "@o".error_class AS error_class, toInt64(count()) AS n, sum("@o".latency_us) AS latency
        FROM ` + s.rows + ` AS "@o"
        WHERE ` + scoredWithin(from, to) + `
        GROUP BY "@o".version, "@o".variant, toStartOfMinute(toDateTime("@o".scored_at, 'UTC')),
            "@o".request_topic_id, "@o".request_partition, "@o".outcome, "@o".error_class
        UNION ALL
        SELECT s.version, s.variant, s.minute, s.request_topic_id, s.request_partition,
            s.outcome, s.error_class, -toInt64(sum(s.requests)), -sum(s.latency_sum_us)
        FROM ` + s.states + ` AS s
        WHERE s.model = '` + model + `' AND s.minute >= ` + schemas.SecondsSQL(from/1e6) + ` AND s.minute < ` + schemas.SecondsSQL(to/1e6) + `
        GROUP BY s.version, s.variant, s.minute, s.request_topic_id, s.request_partition, s.outcome, s.error_class
    )
    GROUP BY ` + key + `
    HAVING d != 0 OR l != 0
)
GROUP BY minute`
	var found []struct {
		At  int64  `ch:"at"`
		How uint64 `ch:"how"`
	}
	if err := s.Select(ctx, &found, query); err != nil {
		return nil, err
	}
	minutes := make(map[int64]uint64, len(found))
	for _, f := range found {
		minutes[f.At] = f.How
	}
	return minutes, nil
}

// derive replaces the states of those minutes, in seconds since 1970, by what the rows
// say. A crash in the middle leaves a difference that the next Reconcile finds.
//
// A DELETE has no deadline: it is a mutation, which would go on failing. It names the parts
// instead that hold the states now. One that comes late finds them gone, since a repair
// that came before it has renamed all parts; one that misses a part because of a merge
// leaves a difference too.
func (s minutes) derive(ctx context.Context, model, score string, which []int64, lease schemas.Lease) error {
	for list := range slices.Chunk(which, maxMinutes) {
		var in strings.Builder
		for i, m := range list {
			if i > 0 {
				in.WriteString(", ")
			}
			in.WriteString(schemas.SecondsSQL(m))
		}
		where := "model = '" + model + "' AND minute IN (" + in.String() + ")"
		var parts []struct {
			Name string `ch:"_part"`
		}
		if err := s.Ask(ctx, &parts, "SELECT DISTINCT _part FROM "+s.states+" WHERE "+where); err != nil {
			return err
		}
		if len(parts) > 0 {
			names := make([]string, len(parts))
			for i, p := range parts {
				names[i] = "'" + p.Name + "'"
			}
			err := s.Exec(ctx, "DELETE FROM "+s.states+" WHERE "+where+" AND _part IN ("+strings.Join(names, ", ")+")"+s.client.DeleteSync())
			if err != nil {
				return err
			}
		}
		where = scoredWithin(list[0]*1e6, (list[len(list)-1]+60)*1e6) +
			" AND toStartOfMinute(toDateTime(" + schemas.Observation + ".scored_at, 'UTC')) IN (" + in.String() + ") AND " + whileLeased(lease)
		err := s.Exec(ctx, "INSERT INTO "+s.states+" ("+schemas.MinuteStatesColumns+")\n"+
			schemas.MinuteStatesSelect(model, score, s.rows, where))
		if err != nil {
			return err
		}
	}
	return nil
}

// Minute is a minute of a model in which the statistics and the rows differ.
type Minute struct {
	At              time.Time
	Rows, Requests  int64 // in the observations table; by the statistics
	RowsUS, StatsUS int64 // sums of latency
}

// DifferingMinutes returns the minutes from from to to in which the statistics of a model
// and its rows differ, and go on differing when the inserts that run are over.
func (c *Client) DifferingMinutes(ctx context.Context, model string, from, to time.Time) ([]Minute, error) {
	for _, table := range []string{schemas.ObservationsTable(model), "minute_states"} {
		if ok, err := c.HasTable(ctx, table); err != nil || !ok {
			return nil, err
		}
	}
	lo, hi := wholeMinutes(schemas.ClampMicros(from), schemas.ClampMicros(to))
	shards, err := c.minutesOf(ctx, model)
	if err != nil {
		return nil, fmt.Errorf("compare the minutes of %s: %w", model, err)
	}
	found := map[int64]bool{}
	for i := range shards {
		of, err := c.differing(ctx, model, i, lo, hi)
		if err != nil {
			return nil, fmt.Errorf("compare the minutes of %s: %w", model, err)
		}
		for _, second := range of {
			found[second] = true
		}
	}
	seconds := slices.Sorted(maps.Keys(found))
	minutes := make([]Minute, 0, len(seconds))
	for chunk := range slices.Chunk(seconds, maxMinutes) {
		list := make([]string, len(chunk))
		for i, s := range chunk {
			list[i] = schemas.SecondsSQL(s)
		}
		in := " IN (" + strings.Join(list, ", ") + ")"
		var found []struct {
			At       int64 `ch:"at"`
			Rows     int64 `ch:"r"`
			Requests int64 `ch:"q"`
			RowsUS   int64 `ch:"rl"`
			StatsUS  int64 `ch:"ql"`
		}
		err := c.Select(ctx, &found, `SELECT toInt64(toUnixTimestamp(m)) AS at, sum(a) AS r, sum(b) AS q, sum(la) AS rl, sum(lb) AS ql FROM (
    SELECT toStartOfMinute(toDateTime("@o".scored_at, 'UTC')) AS m, toInt64(count()) AS a, toInt64(0) AS b, sum("@o".latency_us) AS la, toInt64(0) AS lb
    FROM `+c.qualified(schemas.ObservationsTable(model))+` AS "@o" WHERE `+scoredWithin(chunk[0]*1e6, (chunk[len(chunk)-1]+60)*1e6)+` GROUP BY m
    UNION ALL
    SELECT s.minute AS m, 0, toInt64(sum(s.requests)), 0, sum(s.latency_sum_us) FROM `+c.qualified("minute_states")+` AS s WHERE s.model = '`+model+`' GROUP BY m)
WHERE m`+in+` GROUP BY m ORDER BY m`)
		if err != nil {
			return nil, fmt.Errorf("compare the minutes of %s: %w", model, err)
		}
		for _, f := range found {
			minutes = append(minutes, Minute{time.Unix(f.At, 0).UTC(), f.Rows, f.Requests, f.RowsUS, f.StatsUS})
		}
	}
	return minutes, nil
}

// wholeMinutes widens a range of microseconds to whole minutes; to becomes exclusive.
func wholeMinutes(from, to int64) (lo, hi int64) {
	const minute = 60_000_000
	from -= ((from % minute) + minute) % minute
	if to > math.MaxInt64-minute {
		to = math.MaxInt64 - minute
	}
	return from, to + minute - ((to%minute)+minute)%minute
}

// scoredWithin is a condition on the table Observation; to is exclusive.
func scoredWithin(from, to int64) string {
	return schemas.Observation + ".scored_at >= " + schemas.MicrosSQL(from) + " AND " + schemas.Observation + ".scored_at < " + schemas.MicrosSQL(to)
}
