package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/schemas/observe"
	"github.com/millrace/millrace/sinks/clickhouse"
)

const (
	// maxInsertBytes is about what an insert has at most. A single record may be more.
	maxInsertBytes = 128 << 20
	// maxBuiltBytes bounds the inserts that are built here, which are held in memory.
	maxBuiltBytes = 32 << 20
	// maxKnown bounds the schemas that are remembered.
	maxKnown = 1024
)

// Stats says what one call of Store did.
type Stats struct {
	Observations int // rows inserted, by table
	Feedback     int
	DeadLetters  int // refused records included
	Events       int

	Present  int   // rows that were stored already; only found with replay
	Refused  int   // records that could not be used and became dead letters here
	Inserts  int   // INSERT statements, also those that failed
	Bytes    int64 // that the others carried
	Repaired int   // minutes of minute_states that were derived anew; only with replay
	Profiles int   // rows of profiles that were inserted
}

// Store stores Kafka records in ClickHouse. It is used by one goroutine at a time; make
// one per session, on one Client.
type Store struct {
	client *clickhouse.Client
	feeds  []feed
	mem    memory.Allocator
	reader *observe.Reader
	known  map[*observe.Schema]*observations
	labels codec.LabelDecoder
	label  codec.Label  // the last that was decoded
	buf    bytes.Buffer // streams built here

	waiting   func(reason error) // told why Settle takes strangely long, and nil when it goes on
	unsettled []schemas.Lease    // of calls that may not be over
	plans     plans
}

// New returns a Store for the records of these topics. mem is what rows are built in.
func New(c *clickhouse.Client, topics schemas.Topics, mem memory.Allocator) *Store {
	return &Store{client: c, feeds: newFeeds(topics), mem: mem, reader: observe.NewReader(), known: map[*observe.Schema]*observations{}, waiting: func(error) {}}
}

// OnWait has fn told why Settle cannot go on, as where the clock of a server was set back,
// and nil when it does. fn may be called by several goroutines, and must not block.
func (s *Store) OnWait(fn func(reason error)) { s.waiting = fn }

// Now returns the time by the clock that deadlines are checked with.
func (s *Store) Now(ctx context.Context) (time.Time, error) { return s.client.Now(ctx) }

// Empty tells whether none of the tables that a topic's records go to has a row, on any
// server. Any record may have become a dead letter.
func (s *Store) Empty(ctx context.Context, topic string) (bool, error) {
	names, prefix := []string{deadLettersTable.name}, deadLettersTable.name
	switch f := s.feed(topic); {
	case f == nil:
	case f.table == nil: // one for each model, and what is derived from them
		minutes, err := s.client.Local(ctx, "minute_states")
		if err != nil {
			return false, err
		}
		if prefix, err = s.client.Local(ctx, schemas.ObservationsTable("")); err != nil {
			return false, err
		}
		names = append(names, minutes)
	default:
		names = append(names, f.table.name)
	}
	var filled []struct {
		Tables uint64 `ch:"tables"`
	}
	empty := true
	err := s.client.AskEach(ctx, &filled, func() bool {
		empty = len(filled) == 1 && filled[0].Tables == 0
		return !empty
	}, "SELECT count() AS tables FROM system.tables WHERE database = ? AND (has(?, name) OR startsWith(name, ?)) "+
		"AND endsWith(engine, 'MergeTree') AND ifNull(total_rows, 1) != 0", s.client.Database(), names, prefix)
	if err != nil {
		return false, fmt.Errorf("look whether tables of topic %s are empty: %w", topic, err)
	}
	return empty, nil
}

// Settle waits until no insert with that lease, or of an earlier call of this Store,
// begins any more on any server. It is for whoever replays, before the lease of the
// replay is chosen. The zero lease stands for none.
func (s *Store) Settle(ctx context.Context, lease schemas.Lease) error {
	if !lease.IsZero() {
		if err := s.client.AwaitLease(ctx, lease, s.waiting); err != nil {
			return err
		}
	}
	for len(s.unsettled) > 0 {
		if err := s.client.AwaitLease(ctx, s.unsettled[0], s.waiting); err != nil {
			return err
		}
		s.unsettled = s.unsettled[1:]
	}
	return nil
}

// Store stores the rows of the records exactly once: observations, dead letters, feedback
// and events, by topic. It does not keep the records. The server refuses each insert that
// it begins outside of the lease, by its own clock.
//
// replay says that they, or part of them, may be stored already: then inserts that still
// run are waited for, rows are looked for by their coordinates, only what is missing is
// inserted, and the minute statistics that the records belong to are reconciled. After an
// error the caller repeats the call with the same records, replay true and a new lease.
// Where another Store may have begun to store them, Settle comes before.
//
// A record that cannot be used becomes a row of dead_letters, with its bytes and the
// reason; it is no error. So does every observation record of a version whose columns
// conflict with the model's table, until the operator has acted: see clickhouse.ErrSchemaConflict.
func (s *Store) Store(ctx context.Context, records []schemas.Record, replay bool, lease schemas.Lease) (Stats, error) {
	if replay {
		if err := s.Settle(ctx, schemas.Lease{}); err != nil {
			return Stats{}, err
		}
	}
	c := &call{
		Store: s, replay: replay, lease: lease, groups: map[*observations]*group{},
		rows: map[*table]*rows{}, counted: map[version]*counted{},
	}
	for _, f := range s.feeds {
		if f.table != nil {
			c.rows[f.table] = newRows(s.mem, f.table)
		}
	}
	c.letters = c.rows[deadLettersTable]
	defer c.release()
	err := c.store(ctx, records)
	if err != nil && !clickhouse.Answered(err) {
		s.unsettled = append(s.unsettled, lease)
	}
	return c.stats, err
}

// store is Store.
func (c *call) store(ctx context.Context, records []schemas.Record) error {
	if c.replay {
		// Something went wrong: trust nothing that was known of the tables.
		c.client.ForgetTables()
		c.plans.asked = time.Time{}
		for _, o := range c.known {
			o.ready = false
		}
		if err := c.findPresent(ctx, records); err != nil {
			return err
		}
	}
	for i := range records {
		if err := c.take(ctx, &records[i]); err != nil {
			return err
		}
	}
	for _, g := range c.order {
		if err := c.insertGroup(ctx, g); err != nil {
			return err
		}
	}
	for _, f := range c.feeds {
		if f.table == nil {
			continue
		}
		if err := c.flush(ctx, c.rows[f.table]); err != nil {
			return err
		}
	}
	return c.insertProfiles(ctx)
}

// call is one call of Store.
type call struct {
	*Store
	replay bool
	lease  schemas.Lease

	mu    sync.Mutex // of inserts that run at the same time
	stats Stats

	groups  map[*observations]*group
	order   []*group
	rows    map[*table]*rows // that are built here
	letters *rows            // the dead letters among them
	counted map[version]*counted
}

func (c *call) release() {
	for _, t := range c.rows {
		t.builder.Release()
	}
}

// group is the observation records of one schema message, and so of one table.
type group struct {
	of    *observations
	parts []part
}

// part is one observation record.
type part struct {
	record   *schemas.Record
	value    []byte // all of it
	messages []byte // without schema and end-of-stream: a slice of value
	extent   extent
	bad      error // why its content cannot be used; only found with replay
}

// take sorts a record in.
func (c *call) take(ctx context.Context, r *schemas.Record) error {
	// What is stored already decides what becomes of a record, not what would be decided now: types
	// that were in conflict may no longer be, or the other way round, and versions differ.
	f := c.feed(r.Topic)
	if f == nil {
		return fmt.Errorf("store: topic %s is none of %s", r.Topic, strings.Join(c.Topics(), ", "))
	}
	if f.table != deadLettersTable && c.letters.has(r) {
		c.stats.Present++
		return nil
	}
	refused := r.Fault // of a record of which there is nothing to take
	if refused == nil {
		refused = f.take(c, r)
	}
	if refused != nil {
		c.stats.Refused++
		c.letters.addRefused(r, refused)
	}
	for _, t := range []*rows{c.rows[f.table], c.letters} {
		if t != nil && t.full() {
			if err := c.flush(ctx, t); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *call) takeObservations(r *schemas.Record) *schemas.RequestError {
	o, p, err := c.split(r)
	if err != nil {
		return schemas.Errorf(schemas.ErrorClassMalformed, "%v", err)
	}
	if c.replay { // perhaps it is what the insert failed on
		p.bad = checkContent(r.Value)
	}
	g := c.groups[o]
	if g == nil {
		g = &group{of: o}
		c.groups[o] = g
		c.order = append(c.order, g)
	}
	g.parts = append(g.parts, p)
	return nil
}

// observations are the observation records of one schema, and so of one table.
type observations struct {
	*observe.Schema
	columns clickhouse.Columns
	ready   bool // the table was seen to take the schema
}

// split checks an observation record and takes it apart.
func (s *Store) split(r *schemas.Record) (*observations, part, error) {
	p := part{record: r, value: r.Value}
	schema, messages, err := s.reader.Read(r, p.extent.add)
	if err != nil {
		return nil, p, err
	}
	p.messages = messages
	o := s.known[schema]
	if o == nil {
		o = &observations{Schema: schema}
		if o.columns, err = clickhouse.ColumnsOf(schema.Schema); err != nil {
			return nil, p, fmt.Errorf("%w: %w", observe.ErrMalformed, err)
		}
		if len(s.known) >= maxKnown {
			clear(s.known)
		}
		s.known[schema] = o
	}
	return o, p, nil
}

// insertGroup stores the records of one schema, in as few inserts as the limits allow.
func (c *call) insertGroup(ctx context.Context, g *group) error {
	if c.replay {
		if err := c.refuseBad(ctx, g); err != nil || len(g.parts) == 0 {
			return err
		}
	}
	if err := c.ensure(ctx, g.of); errors.Is(err, clickhouse.ErrSchemaConflict) {
		return c.refuseGroup(ctx, g, err)
	} else if err != nil {
		return err
	}
	if c.replay {
		if err := c.client.AwaitInserts(ctx, schemas.ObservationsTable(g.of.Model)); err != nil {
			return err
		}
	}
	var touched extent
	for i := range g.parts {
		touched.merge(&g.parts[i].extent)
	}
	counted, err := c.counting(ctx, g)
	if err != nil {
		return err
	}
	err = c.insertEach(ctx, g.of, insertsOf(g.parts))
	counted()
	if err != nil {
		return err
	}
	if !c.replay || touched.rows == 0 {
		return nil
	}
	repaired, err := c.client.ReconcileLeased(ctx, g.of.Model, touched.from, touched.to, c.lease)
	c.stats.Repaired += repaired
	return err
}

// insertsOf cuts records into inserts: as few as the limits allow, and about equal ones.
func insertsOf(parts []part) [][]part {
	rows, size := 0, 0
	for i := range parts {
		rows += parts[i].extent.rows
		size += len(parts[i].messages)
	}
	n := max((rows+clickhouse.MaxInsertRows-1)/clickhouse.MaxInsertRows, (size+maxInsertBytes-1)/maxInsertBytes, 1)
	mostRows, mostSize := (rows+n-1)/n, (size+n-1)/n
	var out [][]part
	start, rows, size := 0, 0, 0
	for i := range parts {
		moreRows, moreSize := rows+parts[i].extent.rows, size+len(parts[i].messages)
		// A record that crosses the end of an equal share still belongs to it, if it may.
		if i > start && (moreRows > clickhouse.MaxInsertRows || moreSize > maxInsertBytes || rows >= mostRows || size >= mostSize) {
			out = append(out, parts[start:i])
			start, moreRows, moreSize = i, parts[i].extent.rows, len(parts[i].messages)
		}
		rows, size = moreRows, moreSize
	}
	return append(out, parts[start:])
}

// insertLanes is how many inserts of one call run at a time. ClickHouse works on each with
// one core, and while the rows of one are sent it would have nothing to do.
const insertLanes = 2

// insertEach makes the inserts. Where one fails, those that run are waited for.
func (c *call) insertEach(ctx context.Context, o *observations, inserts [][]part) error {
	if c.replay || len(inserts) == 1 { // a replay looks for what is there, one insert after the other
		for _, parts := range inserts {
			if err := c.insertParts(ctx, o, parts); err != nil {
				return err
			}
		}
		return nil
	}
	var failed atomic.Bool
	var group errgroup.Group
	group.SetLimit(insertLanes)
	errs := make([]error, len(inserts))
	for i, parts := range inserts {
		group.Go(func() error { // ends with its insert
			if failed.Load() {
				return nil
			}
			if errs[i] = c.insertParts(ctx, o, parts); errs[i] != nil {
				failed.Store(true)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	for _, err := range errs {
		if err != nil && !clickhouse.Answered(err) {
			return err // the one of which the end is unknown decides what a replay waits for
		}
	}
	return errors.Join(errs...)
}

// refuseBad makes dead letters of the records of a group whose content cannot be used.
func (c *call) refuseBad(ctx context.Context, g *group) error {
	var bad []part
	good := g.parts[:0]
	for _, p := range g.parts {
		if p.bad != nil {
			bad = append(bad, p)
		} else {
			good = append(good, p)
		}
	}
	g.parts = good
	return c.refuse(ctx, g.of, bad, func(p *part) *schemas.RequestError {
		return schemas.Errorf(schemas.ErrorClassMalformed, "%v", p.bad)
	})
}

// refuseGroup makes dead letters of records that their table cannot take.
func (c *call) refuseGroup(ctx context.Context, g *group, conflict error) error {
	refused := schemas.Errorf(schemas.ErrorClassMalformed, "%s; %s", strings.ReplaceAll(conflict.Error(), "\n", "; "), clickhouse.ConflictRemedy)
	return c.refuse(ctx, g.of, g.parts, func(*part) *schemas.RequestError { return refused })
}

// refuse makes dead letters of observation records, but not of those whose rows are stored: a
// record is either rows or a dead letter. Where some of its rows are, as after an insert over
// midnight that was cut, the others must come in the end: that is an error.
func (c *call) refuse(ctx context.Context, o *observations, parts []part, reason func(*part) *schemas.RequestError) error {
	have, err := c.rowsOf(ctx, o, parts)
	if err != nil {
		return err
	}
	for i := range parts {
		p := &parts[i]
		stored := 0
		if len(have) > 0 {
			if err := o.Rows(p.messages, func(at schemas.Coordinates, _ int64) {
				if _, ok := have[at]; ok {
					stored++
				}
			}); err != nil {
				return err
			}
			c.stats.Present += stored
			if stored > 0 && stored == p.extent.rows {
				continue
			}
		}
		refused := reason(p)
		if stored > 0 {
			return fmt.Errorf("observation record of topic %s, partition %d, offset %d: %d of its %d rows are in %s, and the others cannot be stored: %w",
				p.record.Topic, p.record.Partition, p.record.Offset, stored, p.extent.rows, schemas.ObservationsTable(o.Model), refused)
		}
		c.stats.Refused++
		c.letters.addRefused(p.record, refused)
		if c.letters.full() {
			if err := c.flush(ctx, c.letters); err != nil {
				return err
			}
		}
	}
	return nil
}

// rowsOf returns which rows of records are stored, of any of which none is before a replay.
func (c *call) rowsOf(ctx context.Context, o *observations, parts []part) (map[schemas.Coordinates]struct{}, error) {
	var sum extent
	for i := range parts {
		sum.merge(&parts[i].extent)
	}
	if !c.replay || sum.rows == 0 {
		return nil, nil
	}
	table := schemas.ObservationsTable(o.Model)
	if ok, err := c.client.HasTable(ctx, table); err != nil || !ok {
		return nil, err
	}
	if err := c.client.AwaitInserts(ctx, table); err != nil {
		return nil, err
	}
	return c.present(ctx, table, observationPlaces, o.Version, &sum)
}

func (c *call) ensure(ctx context.Context, o *observations) error {
	if o.ready {
		return nil
	}
	if err := c.client.EnsureTable(ctx, o.Schema.Schema); err != nil {
		return err
	}
	o.ready = true
	return nil
}

// insertParts stores records as one insert; with replay, only the rows that are missing.
func (c *call) insertParts(ctx context.Context, o *observations, parts []part) error {
	table := schemas.ObservationsTable(o.Model)
	if c.replay {
		missing, rest, err := c.missingParts(ctx, o, parts)
		if err != nil {
			return err
		}
		if rest != nil {
			// Part of a record: its own insert, with the stream's own schema message.
			var sum extent
			sum.merge(&rest.extent)
			if err := c.insertObservations(ctx, o, net.Buffers{rest.value}, &sum); err != nil {
				return err
			}
			if err := c.verify(ctx, table, observationPlaces, o.Version, &sum, func() ([]schemas.Coordinates, error) { return rest.places, nil }); err != nil {
				return err
			}
		}
		parts = missing
	}
	var sum extent
	stream := make(net.Buffers, 0, len(parts)+2)
	stream = append(stream, o.Message())
	for i := range parts {
		if parts[i].extent.rows > 0 {
			stream = append(stream, parts[i].messages)
			sum.merge(&parts[i].extent)
		}
	}
	if sum.rows == 0 {
		return nil
	}
	if err := c.insertObservations(ctx, o, append(stream, arrowipc.AppendEnd(nil)), &sum); err != nil {
		return err
	}
	return c.verify(ctx, table, observationPlaces, o.Version, &sum, func() ([]schemas.Coordinates, error) {
		places := make([]schemas.Coordinates, 0, sum.rows)
		for i := range parts {
			err := o.Rows(parts[i].messages, func(at schemas.Coordinates, _ int64) { places = append(places, at) })
			if err != nil {
				return nil, err
			}
		}
		return places, nil
	})
}

// insertObservations sends a stream; the buffers are sent as they are.
func (c *call) insertObservations(ctx context.Context, o *observations, stream net.Buffers, sum *extent) error {
	size := int64(0)
	for _, b := range stream {
		size += int64(len(b))
	}
	table := schemas.ObservationsTable(o.Model)
	err := c.client.Insert(ctx, table, o.columns, c.lease, &stream)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Inserts++
	if err != nil {
		return fmt.Errorf("insert %d rows into %s: %w", sum.rows, table, err)
	}
	c.stats.Observations += sum.rows
	c.stats.Bytes += size
	return nil
}

// flush inserts the rows that were gathered for a table.
func (c *call) flush(ctx context.Context, t *rows) error {
	n := len(t.places)
	if n == 0 {
		return nil
	}
	c.buf.Reset()
	if err := t.encode(c.mem, &c.buf); err != nil {
		return fmt.Errorf("encode %d rows for %s: %w", n, t.table.name, err)
	}
	c.stats.Inserts++
	if err := c.client.Insert(ctx, t.table.name, t.table.columns, c.lease, bytes.NewReader(c.buf.Bytes())); err != nil {
		return fmt.Errorf("insert %d rows into %s: %w", n, t.table.name, err)
	}
	c.stats.Bytes += int64(c.buf.Len())
	*t.table.count(&c.stats) += n
	err := c.verify(ctx, t.table.name, t.table.places, "", &t.extent, func() ([]schemas.Coordinates, error) { return t.places, nil })
	t.places, t.extent, t.bytes = t.places[:0], extent{}, 0
	return err
}
