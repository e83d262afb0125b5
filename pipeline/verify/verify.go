package verify

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/store"
)

// Sources are what a verification works on. They stay the caller's.
type Sources struct {
	Log     *consumers.Admin
	Tables  *clickhouse.Client
	Topics  schemas.Topics
	Group   string // the recorder's: what it has committed is stored
	Workers string // the workers' group: what it has committed is answered
	TTLDays int
	Logger  zerolog.Logger
	// Repeats, if set, returns which of the requests were not answered because they repeat
	// another one.
	Repeats func(ctx context.Context, model string, partition int32, unanswered *roaring64.Bitmap) (*roaring64.Bitmap, error)
}

// Options choose what is verified.
type Options struct {
	// From and To bound the time of the records in the log, To exclusive. Zero is all that the
	// log still holds.
	From, To time.Time
	// Since, if set, bounds the offsets instead, by topic and partition; a partition that it
	// does not name is read from its start.
	Since map[string]map[int32]int64
	// Answers adds the comparison of requests with their results and dead letters.
	Answers bool
	// Each, if set, is called with every difference.
	Each func(d Difference)
}

// margin is how far apart the time of a record and its place in the log can be, in order.
const margin = 5 * time.Minute

// firstOf is how many coordinates a line names.
const firstOf = 5

// run is one verification.
type run struct {
	Sources
	Options
	observed  *observe.Reader
	committed map[string]map[int32]int64 // by the recorder's group
	workers   map[string]map[int32]int64 // by the workers'
	answered  map[partitionKey]*answers
	rereading bool // every log has been read once
	// answersSince is when the oldest answers came that the logs still hold, if they have lost any.
	answersSince time.Time
	names        map[uuid.UUID]string
	expiry       int64 // microseconds since 1970: what is older may have been removed
	lines        map[lineKey]*Line
	logs         map[string]*logScan
	books        []*book
	lost         map[string]map[int32]*roaring64.Bitmap // offsets of records with missing rows, by topic
	doubled      map[string][]doubledRow                // by table
	minutes      map[string][]clickhouse.Minute         // by model
}

type lineKey struct {
	kind, table string
	topic       uuid.UUID
	partition   int32
}

// doubledRow is a place of which there are too many rows.
type doubledRow struct {
	store.Single
	ledger store.Ledger
	keep   int // rows of this table that stay
}

// logScan is what is known of a topic.
type logScan struct {
	consumers.Log
	read  map[int32]consumers.Span // with context at both ends
	scope map[int32]consumers.Span // what is verified
	first map[int32]time.Time      // of the first record that was read of each partition
	began time.Time                // before anything was read
	// entries tells which rows there must be of a record.
	entries func(rec *schemas.Record, emit func(entry)) error
}

// heldSince returns a time from which on everything that was appended is among what was read.
func (l *logScan) heldSince() time.Time {
	var cut, oldest time.Time
	for p, s := range l.read {
		first, ok := l.first[p]
		if !ok {
			first = l.began
		}
		if s.Start > 0 && first.Add(margin).After(cut) {
			cut = first.Add(margin)
		}
		if oldest.IsZero() || first.Before(oldest) {
			oldest = first
		}
	}
	if cut.After(oldest) {
		return cut
	}
	return oldest
}

// book is what the log says of one or two tables: of a record there is a row in the one, or
// in the other where it was refused.
type book struct {
	kind, model string
	scan        *logScan
	ledgers     []store.Ledger
	own         bool // rows bear the coordinates of the log's own records
	topic       uuid.UUID
	pieces      map[store.Piece]*tally
	minAt       int64
	maxAt       int64
}

// tally is what the log says of one piece.
type tally struct {
	stored store.Sum  // must be there
	open   store.Sum  // may be there
	where  []logRange // unless the book is of its own coordinates
}

// logRange is where rows of a piece lie in the log.
type logRange struct {
	partition int32
	span      consumers.Span
}

func (t *tally) note(partition int32, offset int64) {
	for i := range t.where {
		if w := &t.where[i]; w.partition == partition {
			w.span.Start, w.span.End = min(w.span.Start, offset), max(w.span.End, offset+1)
			return
		}
	}
	t.where = append(t.where, logRange{partition, consumers.Span{Start: offset, End: offset + 1}})
}

// Run verifies.
func Run(ctx context.Context, p Sources, o Options) (*Report, error) {
	began := time.Now()
	r, err := verify(ctx, p, o)
	if err != nil {
		return nil, err
	}
	report := r.report()
	report.Seconds = time.Since(began).Seconds()
	return report, nil
}

func verify(ctx context.Context, p Sources, o Options) (*run, error) {
	r := &run{
		Sources: p, Options: o, observed: observe.NewReader(), lines: map[lineKey]*Line{}, answered: map[partitionKey]*answers{}, logs: map[string]*logScan{}, names: map[uuid.UUID]string{},
		lost: map[string]map[int32]*roaring64.Bitmap{}, doubled: map[string][]doubledRow{}, minutes: map[string][]clickhouse.Minute{},
	}
	// A day more, since what expires is removed when parts are merged.
	r.expiry = time.Now().AddDate(0, 0, 1-p.TTLDays).UnixMicro()
	ids, err := p.Log.Topics(ctx)
	if err != nil {
		return nil, err
	}
	for name, id := range ids {
		r.names[id] = name
	}
	// Before the ends of the logs and before the tables: what was committed by now must be there.
	if r.committed, err = p.Log.Committed(ctx, p.Group); err != nil {
		return nil, err
	}
	if r.workers, err = p.Log.Committed(ctx, p.Workers); err != nil {
		return nil, err
	}
	for _, topic := range []string{p.Topics.Observations, p.Topics.Feedback, p.Topics.DeadLetters, p.Topics.Events} {
		if err := r.scanTopic(ctx, topic); err != nil {
			return nil, err
		}
	}
	for _, b := range r.books {
		if err := r.compare(ctx, b); err != nil {
			return nil, err
		}
	}
	if err := r.compareMinutes(ctx); err != nil || !o.Answers {
		return r, err
	}
	r.answersSince = r.answersHeldSince()
	return r, r.compareAnswers(ctx)
}

// line returns the line that a place belongs to.
func (r *run) line(kind, table string, topic uuid.UUID, partition int32) *Line {
	key := lineKey{kind, table, topic, partition}
	l := r.lines[key]
	if l == nil {
		name := r.names[topic]
		if name == "" {
			name = topic.String()
		}
		l = &Line{Kind: kind, Table: table, Topic: name, Partition: partition}
		r.lines[key] = l
	}
	return l
}

// differ notes a difference.
func (r *run) differ(d Difference) {
	l := r.line(d.Kind, d.Table, d.TopicID, d.Partition)
	switch d.Fault {
	case Missing:
		l.Missing += int64(d.Want - d.Copies)
	case Doubled:
		l.Doubled += int64(d.Copies - d.Want)
	case Alien:
		l.Alien += int64(d.Copies)
	}
	if len(l.First) < firstOf {
		l.First = append(l.First, d.String())
	}
	if r.Each != nil {
		r.Each(d)
	}
}

func (r *run) report() *Report {
	report := &Report{At: time.Now().UTC(), From: r.From, To: r.To, Equal: true}
	for _, key := range slices.SortedFunc(maps.Keys(r.lines), func(a, b lineKey) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.table, b.table), cmp.Compare(a.topic.String(), b.topic.String()), cmp.Compare(a.partition, b.partition))
	}) {
		l := r.lines[key]
		report.Lines = append(report.Lines, *l)
		report.Equal = report.Equal && !l.differs()
	}
	sum := report.Sum()
	var unanswered int64
	for i := range report.Lines {
		if report.Lines[i].Kind == KindResults {
			unanswered += report.Lines[i].NotStored
		}
	}
	if unanswered > 0 {
		report.Notes = append(report.Notes, fmt.Sprintf("%d requests lie behind what group %s has committed: they are not answered yet", unanswered, r.Workers))
	}
	if stored := sum.NotStored - unanswered; stored > 0 {
		report.Notes = append(report.Notes, fmt.Sprintf("%d lie behind what group %s has committed: they are not stored yet", stored, r.Group))
	}
	if sum.OutOfScope > 0 {
		report.Notes = append(report.Notes, fmt.Sprintf("%d are out of scope: rows that may be past clickhouse.ttl_days, and requests whose answers may have been deleted with the start of their log", sum.OutOfScope))
	}
	if sum.Alien > 0 {
		report.Notes = append(report.Notes, fmt.Sprintf("%d are alien: nothing in the log stands for them, so nothing tells whether they are wrong; they are not removed", sum.Alien))
	}
	return report
}

func (r *run) compareMinutes(ctx context.Context) error {
	for _, b := range r.books {
		if b.kind != KindObservations {
			continue
		}
		from, to := time.UnixMicro(max(b.minAt, r.expiry)), time.Now().Add(time.Minute)
		if !r.whole() {
			to = time.UnixMicro(b.maxAt)
		} else if since := b.scan.heldSince(); since.Before(from) {
			from = time.UnixMicro(max(since.UnixMicro(), r.expiry))
		}
		if to.Before(from) {
			continue
		}
		minutes, err := r.Tables.DifferingMinutes(ctx, b.model, from, to)
		if err != nil {
			return err
		}
		l := r.line(KindMinutes, "minute_statistics", uuid.UUID{}, 0)
		l.Topic = "-"
		for _, m := range minutes {
			fault := Missing
			if m.Requests > m.Rows {
				fault = Doubled
			}
			l.Expected += m.Rows
			l.Found += m.Requests
			d := Difference{Kind: KindMinutes, Table: b.model, Fault: fault, Minute: m.At, Copies: int(m.Requests), Want: int(m.Rows)}
			if m.Rows == m.Requests { // of other classes, versions or latencies
				l.Missing++
			}
			l.note(d)
			if r.Each != nil {
				r.Each(d)
			}
		}
		if len(minutes) > 0 {
			r.minutes[b.model] = minutes
		}
	}
	return nil
}

func (l *Line) note(d Difference) {
	switch n := int64(d.Copies - d.Want); {
	case n > 0:
		l.Doubled += n
	default:
		l.Missing -= n
	}
	if len(l.First) < firstOf {
		l.First = append(l.First, d.Table+" "+d.String())
	}
}

// whole tells whether everything that the log holds is verified.
func (r *run) whole() bool { return r.From.IsZero() && r.To.IsZero() && r.Since == nil }
