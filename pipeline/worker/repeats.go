package worker

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

// repeats remembers the request ids of the window, and tells which requests a producer has sent
// again. A record of many requests is known by the id of its first row.
//
// A request repeats another that has its id, lies before it in the partition, and is older by no
// more than the window, by Kafka's timestamps. So the partition alone decides: a batch that comes
// again does not repeat itself, and a partition that the lane is assigned is read back.
//
// Producers set timestamps, and some are wrong. Only timestamps of one id are compared, so that
// no other request changes what becomes of one. A timestamp ahead of the clock counts as the time
// at which the request is read, which is not before it came. How long ids are remembered follows
// from the least of the last timestamps, which a few wrong ones cannot move ahead.
//
// A request that was made from a dead letter bears the id of a request that had been seen: it
// repeats nothing, but a later request may repeat it.
//
// A request that could not be decoded has no id. Reading back decodes it anew, and may succeed:
// its schema may have been registered since, its model deployed, or a limit raised. It is
// remembered then, though it was not when it came.
type repeats struct {
	cfg      config.Deduplicate
	maxBytes int // of a request; a larger one was never decoded
	past     past
	seeds    [2]maphash.Seed
	now      func() time.Time
	clock    int64 // when the batch in hand is read, in milliseconds since 1970

	partitions map[partitionKey]*remembered

	mu   sync.Mutex
	lost []map[string][]int32 // partitions to forget, from other goroutines; a nil map is all of them
}

// past reads a partition back: see consumers.Admin.ReadBefore.
type past interface {
	ReadBefore(ctx context.Context, topic string, partition int32, since time.Time, from, before int64, visit func(rec *schemas.Record) error) error
}

type partitionKey struct {
	topic     string
	partition int32
}

// idHash is 128 bits with secret seeds: equal hashes are equal ids.
type idHash [2]uint64

// remembered is what is known of one partition. Times are milliseconds since 1970.
type remembered struct {
	topicID uuid.UUID
	from    int64            // it was read back up to this offset
	since   int64            // it was read back from this time on
	again   int              // how often it was read back further, since a request needed an earlier time
	end     int64            // behind the last offset seen
	last    map[idHash]int64 // number of the id's last sighting; see base
	queue   []sighting       // in the order of offsets; those before head are forgotten
	head    int
	base    int64 // number of queue[0]; sightings are numbered in the order of offsets

	block   int64 // the least time of the requests of the block that is being filled
	full    int64 // the least time of the requests of the block before
	inBlock int   // requests of the block that is being filled
}

// blockRequests is how many successive requests must have a wrong timestamp, at the least, for ids
// to be forgotten early. Twice as many always suffice.
const blockRequests = 64

// mostRecalls is how often a partition is read back further. Without a bound, requests of which
// each is older than the one before would have the partition read back for each.
const mostRecalls = 8

// sighting is one request.
type sighting struct {
	id       idHash
	offset   int64
	latest   int64 // the greatest time among this and the earlier sightings of the id
	until    int64 // its time, or what pass returned where that was later; its age counts from here
	before   int64 // number of the id's sighting before this one; -1 without one
	repeated bool
}

func newRepeats(cfg config.Worker, past past) *repeats {
	return &repeats{
		cfg: cfg.Deduplicate, maxBytes: cfg.MaxRequestBytes, past: past, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		now: time.Now, partitions: map[partitionKey]*remembered{},
	}
}

// forget has partitions forgotten before the next request; nil is all of them.
func (r *repeats) forget(partitions map[string][]int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = append(r.lost, partitions)
}

func (r *repeats) forgetLost() {
	r.mu.Lock()
	lost := r.lost
	r.lost = nil
	r.mu.Unlock()
	for _, partitions := range lost {
		if partitions == nil {
			clear(r.partitions)
		}
		for topic, list := range partitions {
			for _, p := range list {
				delete(r.partitions, partitionKey{topic, p})
			}
		}
	}
}

// look takes note of the time, which counts until the next call.
func (r *repeats) look() { r.clock = r.now().UnixMilli() }

// timeOf returns the time of a request for the window.
func (r *repeats) timeOf(at time.Time) int64 { return min(at.UnixMilli(), r.clock) }

// needs returns how far back in time a request is compared with those before it.
func (r *repeats) needs(at time.Time) int64 { return r.timeOf(at) - r.cfg.Window.Milliseconds() }

// disorder is by how much the timestamps of successive requests may go back before the partition
// must be read back further.
func (r *repeats) disorder() int64 { return min(r.cfg.Window, time.Minute).Milliseconds() }

// partition returns what is known of the partition of a record, once it has been read back
// as far as the record.
func (r *repeats) partition(ctx context.Context, rec *schemas.Record, past codec.Requests) (*remembered, error) {
	key := partitionKey{rec.Topic, rec.Partition}
	p, ok := r.partitions[key]
	// It is read back anew where its topic was made again, and for a record that comes again from
	// before what is remembered.
	known := ok && p.topicID == rec.TopicID && (rec.Offset >= p.end || (rec.Offset >= p.from && p.head < len(p.queue) && rec.Offset >= p.queue[p.head].offset))
	again := 0
	if known {
		// It was read back as far as the timestamp of one record asked for; this one's may be older.
		if p.since <= r.needs(rec.Timestamp) || p.again == mostRecalls {
			return p, nil
		}
		again = p.again + 1
	}
	p = newRemembered(rec)
	p.again, p.since = again, r.needs(rec.Timestamp)-r.disorder()
	if err := r.recall(ctx, p, rec, past); err != nil {
		return nil, fmt.Errorf("recall the request ids of topic %s partition %d: %w", rec.Topic, rec.Partition, err)
	}
	r.partitions[key] = p
	return p, nil
}

func newRemembered(rec *schemas.Record) *remembered {
	return &remembered{topicID: rec.TopicID, from: rec.Offset, last: map[idHash]int64{}, block: math.MaxInt64, full: math.MaxInt64}
}

// recallRows is how many requests are decoded at a time when a partition is read back.
const recallRows = 1024

// recall reads back what came before a record, at most twice MaxRequests offsets: no more requests
// are remembered, and each may be followed by the end of a transaction of its own. What is too
// large or cannot be decoded became a dead letter, and is left out.
func (r *repeats) recall(ctx context.Context, p *remembered, upTo *schemas.Record, decoder codec.Requests) error {
	type place struct {
		row      int
		offset   int64
		at       time.Time
		replayed bool
	}
	var places []place
	note := func() {
		batch := decoder.NewBatch()
		defer batch.Release()
		ids := schemas.RequestIDs(batch)
		for _, at := range places {
			r.sight(p, ids.Value(at.row), at.offset, at.at, at.replayed)
		}
		places = places[:0]
	}
	since := time.UnixMilli(p.since)
	if upTo.Untimed { // those before it may have no time either, by which Kafka could find them
		since = time.Time{}
	}
	err := r.past.ReadBefore(ctx, upTo.Topic, upTo.Partition, since, upTo.Offset-2*int64(r.cfg.MaxRequests), upTo.Offset, func(rec *schemas.Record) error {
		if len(rec.Value) > r.maxBytes {
			return nil
		}
		row := decoder.Rows()
		got, err := decoder.Append(ctx, rec)
		if err != nil {
			return err
		}
		if got.Rows > 0 {
			places = append(places, place{row, rec.Offset, rec.Timestamp, replayed(rec)})
		}
		if decoder.Rows() >= recallRows {
			note()
		}
		return nil
	})
	note()
	return err
}

// replayed tells whether a request was made from a dead letter.
func replayed(rec *schemas.Record) bool {
	_, ok := rec.Header(schemas.HeaderReplayOf)
	return ok
}

// sight remembers a request, and tells whether it repeats one that came before it.
func (r *repeats) sight(p *remembered, id string, offset int64, at time.Time, replayed bool) (repeated bool) {
	key := idHash{maphash.String(r.seeds[0], id), maphash.String(r.seeds[1], id)}
	if offset < p.end { // it comes again
		for s := p.latest(key); s != nil; s = p.numbered(s.before) {
			if s.offset == offset {
				return s.repeated
			}
		}
		return false
	}
	now := r.timeOf(at)
	passed := p.pass(now)
	forget := passed - r.cfg.Window.Milliseconds() - r.disorder()
	for p.head < len(p.queue) && (p.queue[p.head].until < forget || len(p.queue)-p.head >= r.cfg.MaxRequests) {
		p.forgetOldest()
	}
	s := sighting{id: key, offset: offset, latest: now, until: max(now, passed), before: -1}
	if last := p.latest(key); last != nil {
		s.before, s.repeated = p.last[key], last.latest >= r.needs(at) && !replayed
		s.latest = max(now, last.latest)
	}
	p.last[key] = p.base + int64(len(p.queue))
	p.queue = append(p.queue, s)
	p.end = offset + 1
	return s.repeated
}

// pass takes note of a request's time, and returns the least time of the last requests: of more
// than blockRequests and at most twice as many, once so many have come.
func (p *remembered) pass(at int64) int64 {
	if p.inBlock == blockRequests {
		p.full, p.block, p.inBlock = p.block, math.MaxInt64, 0
	}
	p.block = min(p.block, at)
	p.inBlock++
	return min(p.block, p.full)
}

// latest returns the id's last sighting, nil without one.
func (p *remembered) latest(id idHash) *sighting {
	n, ok := p.last[id]
	if !ok {
		return nil
	}
	return p.numbered(n)
}

// numbered returns a sighting, nil if it is forgotten.
func (p *remembered) numbered(n int64) *sighting {
	if n < p.base+int64(p.head) {
		return nil
	}
	return &p.queue[n-p.base]
}

func (p *remembered) forgetOldest() {
	if id := p.queue[p.head].id; p.last[id] == p.base+int64(p.head) {
		delete(p.last, id)
	}
	p.head++
	if p.head >= 1024 && p.head > len(p.queue)/2 { // what is left moves, at most once for each that goes
		p.base += int64(p.head)
		p.queue = append(p.queue[:0], p.queue[p.head:]...)
		p.head = 0
	}
}

// withoutRepeats takes repeated records, and their rows, out of what is to be answered.
func (h *laneHandler) withoutRepeats(ctx context.Context, b *inHand) error {
	h.repeats.forgetLost()
	h.repeats.look()
	ids := schemas.RequestIDs(b.batch)
	var repeated []decoded
	for i := range b.records {
		d := &b.records[i]
		if d.rows == 0 {
			continue
		}
		p, err := h.repeats.partition(ctx, d.Record, b.past)
		if err != nil {
			return err
		}
		if h.repeats.sight(p, ids.Value(d.from), d.Offset, d.Timestamp, replayed(d.Record)) {
			repeated = append(repeated, *d)
		}
	}
	if len(repeated) == 0 {
		return nil
	}
	rest, err := withoutRecords(b.batch, repeated, h.alloc)
	if err != nil {
		return err
	}
	b.batch.Release()
	b.batch = rest
	gone, next := 0, 0
	kept := b.records[:0]
	for _, d := range b.records {
		if next < len(repeated) && repeated[next].from == d.from && d.rows > 0 {
			gone += d.rows
			next++
			continue
		}
		d.from -= gone
		kept = append(kept, d)
	}
	clear(b.records[len(kept):])
	b.records = kept
	name, n := b.ref.Name, len(repeated) // b is of another batch by then
	b.out.OnCommit(func() { h.metrics.repeated.WithLabelValues(name).Add(float64(n)) })
	return nil
}

// withoutRecords returns the batch without the rows of some records, which ascend. The
// caller releases the result.
func withoutRecords(batch arrow.Record, drop []decoded, alloc memory.Allocator) (arrow.Record, error) {
	columns := make([]arrow.Array, 0, batch.NumCols())
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	rows := batch.NumRows()
	for _, d := range drop {
		rows -= int64(d.rows)
	}
	for _, c := range batch.Columns() {
		dict, isDict := c.(*array.Dictionary)
		if isDict {
			c = dict.Indices()
		}
		pieces := make([]arrow.Array, 0, len(drop)+1)
		next := 0
		for _, d := range drop {
			pieces = append(pieces, array.NewSlice(c, int64(next), int64(d.from)))
			next = d.from + d.rows
		}
		pieces = append(pieces, array.NewSlice(c, int64(next), int64(c.Len())))
		joined, err := array.Concatenate(pieces, alloc)
		for _, p := range pieces {
			p.Release()
		}
		if err != nil {
			return nil, fmt.Errorf("leave the rows of %d records out: %w", len(drop), err)
		}
		if isDict {
			indices := joined
			joined = array.NewDictionaryArray(dict.DataType(), indices, dict.Dictionary())
			indices.Release()
		}
		columns = append(columns, joined)
	}
	return array.NewRecord(batch.Schema(), columns, rows), nil
}
