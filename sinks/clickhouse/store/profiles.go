package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// Why each range of records is counted once in the table profiles, or not at all.
//
// What is counted of a version is inserted once all of its rows of the call are seen to be stored,
// in one insert of one block, which lies in one partition: it is there as a whole or not at all.
// Among its rows is one for each topic and partition, which says which offsets were counted. The
// insert bears the lease of the call. So a replay, which comes when nothing of the tries before it
// can still begin or run, finds these offsets or knows that nothing was counted, and what it then
// counts is the same, since it is a function of the records alone. Where some of the offsets were counted as part of
// another range, as when rows that were lost are stored again in other portions, nothing is
// counted.
//
// Rows that were stored a while ago may have been counted by then as rows that were not
// (history.Profiler): a replay leaves these to that, and the insert begins soon after its call or not at
// all; see schemas.ProfileSettled.
//
// What is not counted, because no plan was known then or as said above, is found by who reads:
// the counts of a window are taken for what they are only where they are as many as its rows.

const (
	tableProfiles = "profiles"
	tablePlans    = "profile_plans"
	// plansEvery is how often plans are asked for.
	plansEvery = time.Minute
	// maxProfileRows bounds the rows that a call adds to profiles. Where there would be more, as
	// when rows of years are stored at once, nothing is counted.
	maxProfileRows = clickhouse.MaxInsertRows
)

// version is a version of a model.
type version struct{ model, version string }

// plans are the plans of versions, as the monitor has made them.
type plans struct {
	asked time.Time
	ids   map[version]string
	known map[string]*profile.Counter // by id; nil: of no use here
}

// counterOf returns what counts by the plan of a version, nil where there is none.
func (s *Store) counterOf(ctx context.Context, of version) (id string, counter *profile.Counter, err error) {
	if s.plans.asked.IsZero() || time.Since(s.plans.asked) >= plansEvery {
		var rows []struct {
			Model   string `ch:"model"`
			Version string `ch:"version"`
			Plan    string `ch:"plan"`
		}
		err := s.client.Ask(ctx, &rows, "SELECT model, version, argMax(plan, (made_at, plan)) AS plan FROM "+s.client.Database()+"."+tablePlans+" GROUP BY model, version")
		if err != nil {
			return "", nil, fmt.Errorf("look for plans of profiles: %w", err)
		}
		s.plans.ids, s.plans.asked = make(map[version]string, len(rows)), time.Now()
		for _, r := range rows {
			s.plans.ids[version{r.Model, r.Version}] = r.Plan
		}
	}
	id, ok := s.plans.ids[of]
	if !ok {
		return "", nil, nil
	}
	if counter, ok := s.plans.known[id]; ok {
		return id, counter, nil
	}
	var rows []struct {
		Text string `ch:"text"`
	}
	err = s.client.Ask(ctx, &rows, "SELECT text FROM "+s.client.Database()+"."+tablePlans+" WHERE model = ? AND version = ? AND plan = ? LIMIT 1", of.model, of.version, id)
	if err != nil {
		return "", nil, fmt.Errorf("read the plan of the profiles of %s version %s: %w", of.model, of.version, err)
	}
	for _, r := range rows {
		// One with another id is of a release that counts what this one does not know.
		var plan profile.Plan
		if json.Unmarshal([]byte(r.Text), &plan) != nil || plan.ID() != id {
			continue
		}
		if made, err := profile.NewCounter(&plan); err == nil { // else who reads counts the rows
			counter = made
		}
	}
	if s.plans.known == nil || len(s.plans.known) >= maxKnown {
		s.plans.known = map[string]*profile.Counter{}
	}
	s.plans.known[id] = counter
	return id, counter, nil
}

// counted is what is counted of a version in one call.
type counted struct {
	of      version
	plan    string
	counter *profile.Counter
	ranges  extent // of records
	failed  bool   // what was counted is not all of it
}

// counting begins to count the records of a group, beside their inserts, and returns what waits
// for the end of that. What cannot be counted is left to who reads.
func (c *call) counting(ctx context.Context, g *group) (wait func(), err error) {
	of := version{g.of.Model, g.of.Version}
	k := c.counted[of]
	if k == nil {
		id, counter, err := c.counterOf(ctx, of)
		if err != nil || counter == nil {
			return func() {}, err
		}
		counter.Reset()
		k = &counted{of: of, plan: id, counter: counter}
		c.counted[of] = k
	}
	parts := g.parts
	if c.replay && !k.failed {
		if k.failed, err = c.storedEarlier(ctx, g); err != nil {
			return nil, err
		}
	}
	ended := make(chan struct{})
	go func() { // ends with the records
		defer close(ended)
		for i := range parts {
			r := parts[i].record
			k.ranges.add(schemas.Coordinates{TopicID: r.TopicID, Partition: r.Partition, Offset: r.Offset}, 0)
			k.failed = k.failed || c.reader.Batches(g.of.Schema, parts[i].messages, k.counter.Add) != nil
		}
	}()
	return func() { <-ended }, nil
}

// storedEarlier tells whether rows of a group were stored longer ago than schemas.ProfileReplayed.
func (c *call) storedEarlier(ctx context.Context, g *group) (bool, error) {
	var sum extent
	for i := range g.parts {
		sum.merge(&g.parts[i].extent)
	}
	if sum.rows == 0 {
		return false, nil
	}
	table := schemas.ObservationsTable(g.of.Model)
	sites, local, err := c.client.SettledSitesOf(ctx, table)
	if err != nil {
		return false, fmt.Errorf("look since when rows are stored in %s: %w", table, err)
	}
	for _, site := range sites {
		for _, where := range observationPlaces.conditions(&sum) {
			var found []struct {
				N uint64 `ch:"n"`
			}
			err := site.Ask(ctx, &found, fmt.Sprintf("SELECT count() AS n FROM %s WHERE %s%s AND stored_at < now() - %d",
				local, versionCondition(g.of.Version), where, int(schemas.ProfileReplayed.Seconds())))
			if err != nil {
				return false, fmt.Errorf("look since when rows are stored in %s: %w", table, err)
			}
			if len(found) == 1 && found[0].N > 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// where selects the rows of profiles that say that records of these ranges were counted.
func (k *counted) where() string {
	var ranges []string
	for _, s := range k.ranges.spans {
		ranges = append(ranges, fmt.Sprintf("(topic_id = '%s' AND partition = %d AND first_offset <= %d AND last_offset >= %d)", s.topic, s.partition, s.max, s.min))
	}
	return fmt.Sprintf("model = '%s' AND version = '%s' AND plan = '%s' AND segment = '' AND value = '' AND column = '' AND (%s)",
		k.of.model, k.of.version, k.plan, strings.Join(ranges, " OR "))
}

// insertProfiles stores what was counted.
func (c *call) insertProfiles(ctx context.Context) error {
	if len(c.counted) == 0 {
		return nil
	}
	if c.replay {
		if err := c.client.AwaitInserts(ctx, tableProfiles); err != nil {
			return err
		}
	}
	b := newProfileRows(c.mem)
	defer b.Release()
	marks, where := 0, []string(nil)
	for _, k := range c.counted {
		if k.failed || len(k.ranges.spans) == 0 {
			continue
		}
		if c.replay {
			if n, err := c.marks(ctx, k.where()); err != nil || n > 0 {
				if err != nil {
					return err
				}
				continue
			}
		}
		rows := k.counter.Rows()
		if b.rows()+len(rows) > maxProfileRows {
			continue
		}
		b.add(k, rows)
		marks += len(k.ranges.spans)
		where = append(where, "("+k.where()+")")
	}
	if marks == 0 {
		return nil
	}
	n := b.rows()
	var stream bytes.Buffer
	if err := b.encode(c.mem, &stream); err != nil {
		return fmt.Errorf("encode %d rows for %s: %w", n, tableProfiles, err)
	}
	c.stats.Inserts++
	lease := c.lease
	if soon := lease.Announced.Add(schemas.ProfileLease); lease.Deadline.After(soon) {
		lease.Deadline = soon
	}
	if err := c.client.Insert(ctx, tableProfiles, profileColumns, lease, &stream); err != nil {
		return fmt.Errorf("insert %d rows into %s: %w", n, tableProfiles, err)
	}
	c.stats.Profiles += n
	// A stream that was cut is taken without an error.
	if stored, err := c.marks(ctx, strings.Join(where, " OR ")); err != nil {
		return err
	} else if stored < marks {
		return fmt.Errorf("%w: %d of %d ranges are not in %s", clickhouse.ErrIncomplete, marks-stored, marks, tableProfiles)
	}
	return nil
}

// marks counts the rows of profiles that say what was counted, among those that where selects.
func (c *call) marks(ctx context.Context, where string) (int, error) {
	sites, local, err := c.client.SitesOf(ctx, tableProfiles)
	if c.replay {
		sites, local, err = c.client.SettledSitesOf(ctx, tableProfiles)
	}
	if err != nil {
		return 0, fmt.Errorf("look for what was counted: %w", err)
	}
	most := 0
	for _, site := range sites {
		var found []struct {
			N uint64 `ch:"n"`
		}
		err := site.Ask(ctx, &found, "SELECT uniqExact(model, version, plan, topic_id, partition, first_offset, last_offset) AS n FROM "+local+" WHERE "+where)
		if err != nil {
			return 0, fmt.Errorf("look for what was counted: %w", err)
		}
		for _, f := range found {
			most = max(most, int(f.N))
		}
	}
	return most, nil
}
