package verify

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/store"
)

// entry is one row that the log says there must be.
type entry struct {
	book    *book
	version string
	schemas.Coordinates
	at int64 // microseconds since 1970
}

// open opens the books of a topic and learns what of it is to be read.
func (r *run) open(ctx context.Context, topic string) (*logScan, error) {
	log, err := r.Log.Log(ctx, topic)
	if err != nil {
		return nil, err
	}
	s := &logScan{Log: log, read: map[int32]consumers.Span{}, scope: map[int32]consumers.Span{}, first: map[int32]time.Time{}, began: time.Now()}
	r.logs[topic] = s
	at := func(t time.Time, otherwise func(consumers.Span) int64) (map[int32]int64, error) {
		if t.IsZero() {
			out := map[int32]int64{}
			for p, held := range log.Partitions {
				out[p] = otherwise(held)
			}
			return out, nil
		}
		return r.Log.OffsetsAt(ctx, topic, t)
	}
	start := func(s consumers.Span) int64 { return s.Start }
	end := func(s consumers.Span) int64 { return s.End }
	around := func(t time.Time, by time.Duration) time.Time {
		if t.IsZero() {
			return t
		}
		return t.Add(by)
	}
	var bounds [4]map[int32]int64
	for i, of := range []struct {
		t         time.Time
		otherwise func(consumers.Span) int64
	}{{r.From, start}, {r.To, end}, {around(r.From, -margin), start}, {around(r.To, margin), end}} {
		if bounds[i], err = at(of.t, of.otherwise); err != nil {
			return nil, err
		}
	}
	within := func(held consumers.Span, from, to int64) consumers.Span {
		from = min(max(held.Start, from), held.End)
		return consumers.Span{Start: from, End: max(from, min(held.End, to))}
	}
	for p, held := range log.Partitions {
		s.scope[p] = within(held, bounds[0][p], bounds[1][p])
		s.read[p] = within(held, bounds[2][p], bounds[3][p])
		if since, ok := r.Since[topic][p]; ok && since <= held.End { // or the topic was made again
			s.scope[p] = within(held, max(since, s.scope[p].Start), s.scope[p].End)
			s.read[p] = within(held, s.scope[p].Start, s.read[p].End)
		}
	}
	return s, nil
}

// scanTopic reads what a topic's log says.
func (r *run) scanTopic(ctx context.Context, topic string) error {
	s, err := r.open(ctx, topic)
	if err != nil || s.ID == (uuid.UUID{}) {
		return err
	}
	if s.entries, err = r.entries(ctx, s); err != nil {
		return err
	}
	var last struct {
		book  *book
		piece store.Piece
		tally *tally
		line  *Line
	}
	return r.Log.ReadSpans(ctx, topic, s.read, func(rec *schemas.Record) error {
		if _, ok := s.first[rec.Partition]; !ok && !rec.Untimed {
			s.first[rec.Partition] = rec.Timestamp
		}
		base := r.class(s, rec, r.committed)
		if topic == r.Topics.DeadLetters && r.Answers {
			r.bury(rec)
		}
		return s.entries(rec, func(e entry) {
			piece := store.PieceOf(e.version, e.TopicID, e.Partition, e.Offset)
			if last.tally == nil || last.book != e.book || last.piece != piece {
				t := e.book.pieces[piece]
				if t == nil {
					t = &tally{}
					e.book.pieces[piece] = t
				}
				last.book, last.piece, last.tally, last.line = e.book, piece, t, r.line(e.book.kind, e.book.ledgers[0].Table, e.TopicID, e.Partition)
			}
			e.book.minAt, e.book.maxAt = min(e.book.minAt, e.at), max(e.book.maxAt, e.at)
			switch r.aged(base, e.at) {
			case inScope:
				last.tally.stored.Add(e.Offset, e.Row)
				last.line.Expected++
			case notStored:
				last.tally.open.Add(e.Offset, e.Row)
				last.line.NotStored++
			case expired:
				last.tally.open.Add(e.Offset, e.Row)
				last.line.OutOfScope++
			case besides:
				last.tally.open.Add(e.Offset, e.Row)
			}
			if !e.book.own {
				last.tally.note(rec.Partition, rec.Offset)
			}
		})
	})
}

type class uint8

const (
	inScope   class = iota // must be there
	notStored              // behind what the group has committed
	expired                // time to live may have removed it
	besides                // outside of what is verified
)

// class tells what is asked for of a record's rows, unless they are too old.
func (r *run) class(s *logScan, rec *schemas.Record, committed map[string]map[int32]int64) class {
	scope := s.scope[rec.Partition]
	switch {
	case rec.Fault != nil: // set aside, or passed over by an operator
		return besides
	case rec.Offset < scope.Start || rec.Offset >= scope.End:
		return besides
	case rec.Offset >= committed[s.Topic][rec.Partition]:
		return notStored
	}
	return inScope
}

// aged is class for a row of that time.
func (r *run) aged(of class, at int64) class {
	if of == inScope && at < r.expiry {
		return expired
	}
	return of
}

// entries opens the books of a topic and returns a function that tells which rows there must
// be of a record.
func (r *run) entries(ctx context.Context, s *logScan) (func(rec *schemas.Record, emit func(entry)) error, error) {
	open := func(kind, model string, own bool, topic uuid.UUID, ledgers ...store.Ledger) *book {
		b := &book{kind: kind, model: model, scan: s, ledgers: ledgers, own: own, topic: topic, pieces: map[store.Piece]*tally{}, minAt: schemas.MaxMicros, maxAt: schemas.MinMicros}
		r.books = append(r.books, b)
		return b
	}
	single := func(b *book) func(rec *schemas.Record, emit func(entry)) error {
		return func(rec *schemas.Record, emit func(entry)) error {
			emit(entry{b, "", rec.Coordinates(), schemas.ClampMicros(rec.Timestamp)})
			return nil
		}
	}
	switch s.Topic {
	case r.Topics.Feedback:
		return single(open(KindFeedback, "", true, s.ID, store.FeedbackLedger, store.DeadLettersLedger)), nil
	case r.Topics.DeadLetters:
		return single(open(KindDeadLetters, "", true, s.ID, store.DeadLettersLedger)), nil
	case r.Topics.Events:
		return single(open(KindEvents, "", true, s.ID, store.EventsLedger, store.DeadLettersLedger)), nil
	}
	refused, err := store.Refused(ctx, r.Tables, s.ID)
	if err != nil {
		return nil, err
	}
	models, err := r.Tables.StoredModels(ctx)
	if err != nil {
		return nil, err
	}
	letters := open(KindDeadLetters, "", true, s.ID, store.DeadLettersLedger)
	byModel := map[string]*book{}
	of := func(model string) *book {
		b := byModel[model]
		if b == nil {
			b = open(KindObservations, model, false, uuid.UUID{}, store.ObservationsLedger(model))
			byModel[model] = b
		}
		return b
	}
	for _, model := range models {
		of(model)
	}
	type placed struct {
		schemas.Coordinates
		at int64
	}
	var rows []placed
	return func(rec *schemas.Record, emit func(entry)) error {
		rows = rows[:0]
		if rec.Fault != nil {
			emit(entry{letters, "", rec.Coordinates(), schemas.ClampMicros(rec.Timestamp)})
			return nil //nolint:nilerr // the fault stands for what cannot be read, and is no failure
		}
		schema, _, err := r.observed.Read(rec, func(c schemas.Coordinates, scoredAt int64) {
			rows = append(rows, placed{c, scoredAt})
		})
		if r.Answers && !r.rereading && err == nil {
			for _, row := range rows {
				r.answersOf(row.TopicID, row.Partition).observe(row.Coordinates)
			}
		}
		if err != nil || refused[rec.Partition][rec.Offset] {
			emit(entry{letters, "", rec.Coordinates(), schemas.ClampMicros(rec.Timestamp)})
			return nil //nolint:nilerr // a record that cannot be used is a dead letter, and no fault of its reader
		}
		b := of(schema.Model)
		for _, row := range rows {
			emit(entry{b, schema.Version, row.Coordinates, row.at})
		}
		return nil
	}, nil
}
