package verify

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/store"
)

// Repairing is what a repair needs beside its sources.
type Repairing struct {
	Connection consumers.Connection
	Session    time.Duration // after which a repair that is silent has ended
	Deadline   time.Duration // recorder.insert_deadline
	Memory     memory.Allocator
	// KeepDoubled leaves doubled rows where they are.
	KeepDoubled bool
	// Restored, if set, is called with the rows that were stored again, as it goes.
	Restored func(table string, rows int)
}

// LeaseGroup names the consumer group whose member repairs, one at a time, whichever group
// records: all whose topics these are have the same control topic.
func LeaseGroup(topics schemas.Topics) string { return topics.Control + "-repairs" }

// OwnedError says that the rows of a topic are those of another group: that one may be storing what
// is missing, and what this one has committed says nothing of it.
type OwnedError struct{ Topic, Group, Owner string }

func (e *OwnedError) Error() string {
	return fmt.Sprintf("the rows of topic %s are recorded by group %q, not by %q: repair with recorder.group=%s", e.Topic, e.Owner, e.Group, e.Owner)
}

// Owned returns an error where another group than that of the sources records one of the topics.
func Owned(ctx context.Context, p Sources, store *store.Store) error {
	for _, topic := range []string{p.Topics.Observations, p.Topics.Feedback, p.Topics.DeadLetters, p.Topics.Events} {
		if err := owned(ctx, p, store, topic); err != nil {
			return err
		}
	}
	return nil
}

func owned(ctx context.Context, p Sources, store *store.Store, topic string) error {
	log, err := p.Log.Log(ctx, topic)
	if err != nil || log.ID == (uuid.UUID{}) {
		return err
	}
	claim, err := store.Owner(ctx, topic, log.ID)
	if err == nil && claim.Group != "" && claim.Group != p.Group {
		err = &OwnedError{Topic: topic, Group: p.Group, Owner: claim.Group}
	}
	return err
}

// Bounds of what is stored again at a time.
const (
	repairBytes   = 32 << 20
	repairRecords = 50_000
	repairGap     = 1000 // offsets of records that are read between two that are wanted, at most
)

// RunRepair verifies, repairs, and verifies again until nothing is left that can be repaired.
// Killed at any point, it is run again: what is stored is looked for before it is stored, and
// rows are removed by name.
func RunRepair(ctx context.Context, p Sources, o Options, with Repairing) (*Report, error) {
	began := time.Now()
	lease, err := consumers.AcquireLease(ctx, with.Connection, consumers.Group{Name: LeaseGroup(p.Topics), SessionTimeout: with.Session}, p.Topics.Control)
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	if err := p.Tables.Migrate(ctx); err != nil { // the database may be gone as a whole
		return nil, err
	}
	done, idle := &Repair{}, false
	f := &repair{Sources: p, Repairing: with, lease: lease, store: store.New(p.Tables, p.Topics, with.Memory), done: done}
	if err := Owned(ctx, p, f.store); err != nil {
		return nil, err
	}
	if err := f.settle(ctx, lease.Earlier()); err != nil {
		return nil, err
	}
	var before []Line
	for {
		r, err := verify(ctx, p, o)
		if err != nil {
			return nil, err
		}
		if with.KeepDoubled {
			clear(r.doubled)
		}
		report := r.report()
		if done.Rounds == 0 {
			for _, l := range report.Lines {
				if l.differs() {
					before = append(before, l)
				}
			}
		}
		if !r.repairable() || idle {
			report.Before, report.Repaired = before, done
			report.Seconds = time.Since(began).Seconds()
			return report, lease.Announce(ctx, schemas.Lease{}) // all is over
		}
		o.Each = nil // once
		last := done.Stored + done.Removed + done.Minutes
		done.Rounds++
		if err := f.round(ctx, r); err != nil {
			return nil, fmt.Errorf("repair, after %d rows stored and %d removed: %w; run it again", done.Stored, done.Removed, err)
		}
		idle = done.Stored+done.Removed+done.Minutes == last // no further round would do more
	}
}

func (r *run) repairable() bool { return len(r.lost)+len(r.doubled)+len(r.minutes) > 0 }

// repair is a repair under way.
type repair struct {
	Sources
	Repairing
	lease *consumers.Lease
	store *store.Store
	done  *Repair
	took  time.Duration // by the last replay
}

// round repairs what a verification has found.
func (f *repair) round(ctx context.Context, r *run) error {
	for _, table := range slices.Sorted(maps.Keys(r.doubled)) {
		if err := f.remove(ctx, table, r.doubled[table]); err != nil {
			return err
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(r.lost)) {
		if err := f.restore(ctx, topic, r.lost[topic]); err != nil {
			return err
		}
	}
	// The rows that were removed and stored have changed what the minutes should be.
	for _, b := range r.books {
		if b.kind != KindObservations || b.maxAt < b.minAt && len(r.minutes[b.model]) == 0 {
			continue
		}
		from, to := time.UnixMicro(max(b.minAt, r.expiry)), time.UnixMicro(b.maxAt)
		for _, m := range r.minutes[b.model] {
			if m.At.Before(from) {
				from = m.At
			}
			if m.At.After(to) {
				to = m.At
			}
		}
		n, err := f.Tables.Reconcile(ctx, b.model, from, to)
		f.done.Minutes += int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *repair) remove(ctx context.Context, table string, rows []doubledRow) error {
	for _, keep := range []int{0, 1} {
		var places []store.Single
		var ledger store.Ledger
		for _, row := range rows {
			if (row.keep > 0) == (keep > 0) {
				places, ledger = append(places, row.Single), row.ledger
			}
		}
		if len(places) == 0 {
			continue
		}
		if err := f.lease.Announce(ctx, schemas.Lease{}); err != nil {
			return err
		}
		what := ledger.KeepOne
		if keep == 0 {
			what = ledger.Remove
		}
		n, err := what(ctx, f.Tables, places)
		f.done.Removed += int64(n)
		if err != nil {
			return err
		}
		f.Logger.Warn().Str("table", table).Int("rows", n).Msg("doubled rows removed; one of each is left")
	}
	return nil
}

// restore stores records again of which rows are missing: their offsets, by partition.
func (f *repair) restore(ctx context.Context, topic string, lost map[int32]*roaring64.Bitmap) error {
	var records []schemas.Record
	size := 0
	flush := func() error {
		if len(records) == 0 {
			return nil
		}
		err := f.replay(ctx, topic, records)
		records, size = records[:0], 0
		return err
	}
	for _, partition := range slices.Sorted(maps.Keys(lost)) {
		wanted := lost[partition]
		for it := wanted.Iterator(); it.HasNext(); {
			span := consumers.Span{Start: int64(it.Next())}
			for span.End = span.Start + 1; it.HasNext() && int64(it.PeekNext())-span.End < repairGap; {
				span.End = int64(it.Next()) + 1
			}
			err := f.Log.ReadSpans(ctx, topic, map[int32]consumers.Span{partition: span}, func(rec *schemas.Record) error {
				if !wanted.Contains(uint64(rec.Offset)) {
					return nil
				}
				records = append(records, clone(rec))
				size += len(rec.Key) + len(rec.Value)
				if size >= repairBytes || len(records) >= repairRecords {
					return flush()
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return flush()
}

// replay stores records of which rows may be there, until it is done.
func (f *repair) replay(ctx context.Context, topic string, records []schemas.Record) error {
	var last error
	for try := range 5 {
		if err := f.settle(ctx, schemas.Lease{}); err != nil {
			return err
		}
		now, err := f.store.Now(ctx)
		if err != nil {
			return err
		}
		within := schemas.Lease{Announced: now, Deadline: now.Add(f.Deadline + min(f.took, 10*time.Minute))}
		if err := f.lease.Announce(ctx, within); err != nil {
			return err
		}
		// After that: another group that takes the rows over waits for what it finds announced then.
		if err := owned(ctx, f.Sources, f.store, topic); err != nil {
			return err
		}
		began := time.Now()
		stats, err := f.store.Store(ctx, records, true, within)
		f.took = time.Since(began)
		f.done.Minutes += int64(stats.Repaired)
		for table, rows := range map[string]int{"observations": stats.Observations, "feedback": stats.Feedback, "dead_letters": stats.DeadLetters, "events": stats.Events} {
			if rows > 0 {
				f.done.Stored += int64(rows)
				f.Logger.Warn().Str("table", table).Str("topic", topic).Int("rows", rows).Msg("rows that were committed as stored were missing, and are stored again")
				if f.Restored != nil {
					f.Restored(table, rows)
				}
			}
		}
		if err == nil {
			return nil
		}
		last = err
		f.Logger.Error().Err(err).Int("try", try+1).Int("records", len(records)).Msg("storing missing rows failed; trying again")
		select {
		case <-time.After(time.Duration(try+1) * 250 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return last
}

// settle waits until nothing that was begun within an earlier lease is stored any more.
func (f *repair) settle(ctx context.Context, earlier schemas.Lease) error {
	if err := f.store.Settle(ctx, earlier); err != nil {
		return fmt.Errorf("wait for the inserts of an earlier repair: %w", err)
	}
	return nil
}

// clone returns a record that outlives its fetch.
func clone(rec *schemas.Record) schemas.Record {
	r := *rec
	r.Topic, r.Key, r.Value = strings.Clone(rec.Topic), bytes.Clone(rec.Key), bytes.Clone(rec.Value)
	r.Headers = make([]schemas.Header, len(rec.Headers))
	for i, h := range rec.Headers {
		r.Headers[i] = schemas.Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)}
	}
	return r
}
