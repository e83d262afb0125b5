package verify

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/google/uuid"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// Each request is answered once: by a result, or by a dead letter, which a transaction commits
// together with the request's observations. Observations and dead letters bear the request's
// coordinates. Results do not: they come in the order of their requests, on the partition of
// that number, with the request's key and headers, and so are found beside them.

// partitionKey names a partition of a requests topic.
type partitionKey struct {
	topic     uuid.UUID
	partition int32
}

// answers are the requests of one partition that the logs have answers of, by offset.
type answers struct {
	observed *roaring64.Bitmap // with an observation
	letters  *roaring64.Bitmap // with a dead letter of the whole record
	rows     *roaring64.Bitmap // with dead letters of rows
	doubled  *roaring64.Bitmap // observed or dead-lettered twice
	last     schemas.Coordinates
}

func (r *run) answersOf(topic uuid.UUID, partition int32) *answers {
	key := partitionKey{topic, partition}
	a := r.answered[key]
	if a == nil {
		a = &answers{roaring64.New(), roaring64.New(), roaring64.New(), roaring64.New(), schemas.Coordinates{Offset: -1}}
		r.answered[key] = a
	}
	return a
}

// observe notes the row of an observation. The rows of a record come one after the other, in
// order: what comes again is of a second answer.
func (a *answers) observe(c schemas.Coordinates) {
	if c.Offset == a.last.Offset && c.Row > a.last.Row {
		a.last = c
		return
	}
	a.last = c
	if !a.observed.CheckedAdd(uint64(c.Offset)) {
		a.doubled.Add(uint64(c.Offset))
	}
}

// bury notes a dead letter of the dead-letter topic. Those of other records than requests name
// a topic that is none of requests.
func (r *run) bury(rec *schemas.Record) {
	c, whole, ok := letterOf(rec)
	if !ok {
		return
	}
	switch a := r.answersOf(c.TopicID, c.Partition); {
	case !whole:
		a.rows.Add(uint64(c.Offset))
	case !a.letters.CheckedAdd(uint64(c.Offset)):
		a.doubled.Add(uint64(c.Offset))
	}
}

// letterOf reads the coordinates of the request that a dead letter is of.
func letterOf(rec *schemas.Record) (c schemas.Coordinates, whole, ok bool) {
	id, _ := rec.Header(schemas.HeaderTopicID)
	partition, _ := rec.Header(schemas.HeaderPartition)
	offset, _ := rec.Header(schemas.HeaderOffset)
	_, row := rec.Header(schemas.HeaderRow)
	topic, err1 := uuid.ParseBytes(id)
	p, err2 := strconv.ParseInt(string(partition), 10, 32)
	o, err3 := strconv.ParseInt(string(offset), 10, 64)
	return schemas.Coordinates{TopicID: topic, Partition: int32(p), Offset: o}, !row, errors.Join(err1, err2, err3) == nil && o >= 0
}

// compareAnswers compares the requests of all models with their answers.
func (r *run) compareAnswers(ctx context.Context) error {
	for _, topic := range slices.Sorted(maps.Values(r.names)) {
		model, ok := r.Topics.ModelOf(topic)
		if !ok {
			continue
		}
		// Results before requests: every result that is read then has its request among those.
		results, err := r.Log.Log(ctx, r.Topics.ResultsOf(model))
		if err != nil {
			return err
		}
		requests, err := r.open(ctx, topic)
		if err != nil {
			return err
		}
		for _, p := range slices.Sorted(maps.Keys(requests.read)) {
			a := &answering{run: r, model: model, requests: requests, results: results, partition: p}
			if err := a.compare(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// answering is the comparison of one partition of requests.
type answering struct {
	*run
	model     string
	requests  *logScan
	results   consumers.Log
	partition int32

	answers    *answers
	line       *Line
	unanswered *roaring64.Bitmap
	present    *roaring64.Bitmap // requests that were read
	seed       maphash.Seed
	prefix     []byte // of a request id that is made of coordinates

	waiting []expecting        // requests whose result has not come, in order
	matched map[uint64][]int64 // offsets of requests whose result came lately, by fingerprint
	recent  []expecting
	any     bool // a result has been found beside its request
	exact   bool // results name the offsets of their requests
	alike   bool // fingerprints do not tell requests apart
	early   map[uint64]struct{}
}

// expecting is a request.
type expecting struct {
	offset      int64
	fingerprint uint64
	due         bool // a result must be there
	done        bool
}

// lookahead is how many requests may lie between a result and its own, either way.
const lookahead = 4096

func (a *answering) compare(ctx context.Context) error {
	id := a.requests.ID
	a.answers = a.answersOf(id, a.partition)
	a.line = a.run.line(KindResults, a.Topics.ResultsOf(a.model), id, a.partition)
	a.unanswered, a.present, a.matched, a.early, a.seed = roaring64.New(), roaring64.New(), map[uint64][]int64{}, map[uint64]struct{}{}, maphash.MakeSeed()
	a.prefix = []byte(id.String() + "/" + strconv.Itoa(int(a.partition)) + "/")

	held := a.results.Partitions[a.partition]
	if !a.From.IsZero() {
		at, err := a.Log.OffsetsAt(ctx, a.results.Topic, a.From.Add(-margin))
		if err != nil {
			return err
		}
		held.Start = max(held.Start, min(held.End, at[a.partition]))
	}
	var failed [2]error
	next, stopResults := iter.Pull(a.stream(ctx, a.results.Topic, held, &failed[0], a.ofResult))
	defer stopResults()
	ask, stopRequests := iter.Pull(a.stream(ctx, a.requests.Topic, a.requests.read[a.partition], &failed[1], a.ofRequest))
	defer stopRequests()
	fill := func() bool {
		e, ok := ask()
		if ok {
			a.waiting = append(a.waiting, e)
		}
		return ok
	}
	cut := a.requests.read[a.partition].Start > 0
	resultsCut := held.Start > 0
	for {
		x, ok := next()
		if !ok {
			break
		}
		a.exact = a.exact || x.offset >= 0
		switch {
		case a.take(x, fill):
		case !cut, a.any && (x.offset >= 0 || !a.alike):
			a.surplus(x)
		}
		for len(a.waiting) > lookahead {
			a.pass(resultsCut)
		}
	}
	for fill() {
		for len(a.waiting) > lookahead {
			a.pass(resultsCut)
		}
	}
	for len(a.waiting) > 0 {
		a.pass(resultsCut)
	}
	if err := errors.Join(failed[:]...); err != nil {
		return err
	}
	return a.settle(ctx)
}

// stream returns what is read of a partition; an error ends it.
func (a *answering) stream(ctx context.Context, topic string, span consumers.Span, failed *error, of func(rec *schemas.Record) expecting) iter.Seq[expecting] {
	return func(yield func(expecting) bool) {
		err := a.Log.ReadSpans(ctx, topic, map[int32]consumers.Span{a.partition: span}, func(rec *schemas.Record) error {
			if rec.Fault != nil { // of requests, a batch may have a dead letter
				if topic == a.requests.Topic {
					a.present.Add(uint64(rec.Offset))
				}
				return nil
			}
			if !yield(of(rec)) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			*failed = err
		}
	}
}

var errStop = errors.New("no more is wanted")

// fingerprint is the same for a request and its result.
func (a *answering) fingerprint(rec *schemas.Record) uint64 {
	var h maphash.Hash
	h.SetSeed(a.seed)
	_, _ = h.Write(rec.Key) // hashes do not fail
	for _, header := range rec.Headers {
		_, _ = h.WriteString("\x00" + header.Key + "\x01")
		_, _ = h.Write(header.Value)
	}
	return h.Sum64()
}

func (a *answering) ofResult(rec *schemas.Record) expecting {
	x := expecting{offset: -1, fingerprint: a.fingerprint(rec)}
	if i := bytes.Index(rec.Value, a.prefix); i >= 0 {
		digits := rec.Value[i+len(a.prefix):]
		n := 0
		for n < len(digits) && n < 19 && digits[n] >= '0' && digits[n] <= '9' {
			n++
		}
		if offset, err := strconv.ParseInt(string(digits[:n]), 10, 64); err == nil {
			x.offset = offset
		}
	}
	return x
}

// ofRequest notes a request, and tells whether it must have a result.
func (a *answering) ofRequest(rec *schemas.Record) expecting {
	offset := uint64(rec.Offset)
	a.present.Add(offset)
	e := expecting{offset: rec.Offset, fingerprint: a.fingerprint(rec)}
	seen := a.answers.observed.Contains(offset) || a.answers.rows.Contains(offset)
	buried := a.answers.letters.Contains(offset)
	class := a.class(a.requests, rec, a.workers)
	switch {
	case class == besides:
	case seen || buried:
		a.line.Expected++
		e.due = seen && !buried
		if !e.due {
			a.line.Found++
		}
	case class == notStored:
		a.line.NotStored++
	case rec.Timestamp.Before(a.answersSince), rec.Untimed && !a.answersSince.IsZero(): // perhaps before
		a.line.OutOfScope++
	default:
		a.line.Expected++
		a.unanswered.Add(offset)
	}
	if !a.alike && len(a.early) < lookahead {
		_, a.alike = a.early[e.fingerprint]
		a.early[e.fingerprint] = struct{}{}
	}
	return e
}

// take looks for the request of a result. Where requests are alike, one that must have a result
// comes before one of which no answer was known when the logs were read.
func (a *answering) take(x expecting, fill func() bool) bool {
	at := -1
	for i := 0; i < len(a.waiting) || i < 2*lookahead && fill(); i++ {
		e := &a.waiting[i]
		if e.done || (x.offset >= 0 && e.offset != x.offset) || (x.offset < 0 && e.fingerprint != x.fingerprint) {
			continue
		}
		if at < 0 || e.due {
			at = i
		}
		if e.due || x.offset >= 0 || !a.alike {
			break
		}
	}
	if at < 0 {
		return false
	}
	e := &a.waiting[at]
	a.any = true
	e.done = true
	if e.due {
		a.line.Found++
	}
	a.remember(*e)
	for len(a.waiting) > 0 && a.waiting[0].done {
		a.waiting = a.waiting[1:]
	}
	return true
}

func (a *answering) remember(e expecting) {
	a.matched[e.fingerprint] = append(a.matched[e.fingerprint], e.offset)
	a.recent = append(a.recent, e)
	if len(a.recent) > lookahead {
		old := a.recent[0]
		a.recent = a.recent[1:]
		if list := a.matched[old.fingerprint]; len(list) > 1 {
			a.matched[old.fingerprint] = list[1:]
		} else {
			delete(a.matched, old.fingerprint)
		}
	}
}

// surplus notes a result without a request that waits for it.
func (a *answering) surplus(x expecting) {
	d := a.difference(Alien, x.offset)
	d.Copies = 1
	if list := a.matched[x.fingerprint]; len(list) > 0 {
		d.Fault, d.Offset, d.Copies, d.Want = Doubled, list[len(list)-1], 2, 1
		if x.offset >= 0 {
			d.Offset = x.offset
		}
	}
	a.line.Found++
	a.differ(d)
}

// pass gives up waiting for the oldest result. Before any result was found beside its request
// it may have been deleted with the start of the results; and later too, where requests are told
// apart neither by their keys and headers nor by the ids of their results.
func (a *answering) pass(cut bool) {
	e := a.waiting[0]
	a.waiting = a.waiting[1:]
	switch {
	case e.done || !e.due:
	case cut && (!a.any || a.alike && !a.exact):
		a.line.OutOfScope++
		a.line.Expected--
	default:
		d := a.difference(Missing, e.offset)
		d.Want = 1
		a.differ(d)
	}
}

func (a *answering) difference(fault string, offset int64) Difference {
	return Difference{
		Kind: KindResults, Table: a.Topics.ResultsOf(a.model), Fault: fault,
		Coordinates: schemas.Coordinates{TopicID: a.requests.ID, Partition: a.partition, Offset: offset},
	}
}

// settle tells of requests that have no answer at all, or two, and of answers of none.
func (a *answering) settle(ctx context.Context) error {
	if !a.unanswered.IsEmpty() && a.Repeats != nil {
		repeated, err := a.Repeats(ctx, a.model, a.partition, a.unanswered)
		if err != nil {
			return err
		}
		a.unanswered.AndNot(repeated)
		a.line.Found += int64(repeated.GetCardinality())
	}
	for it := a.unanswered.Iterator(); it.HasNext(); {
		d := a.difference(Missing, int64(it.Next()))
		d.Want = 1
		a.differ(d)
	}
	for it := a.answers.doubled.Iterator(); it.HasNext(); {
		if offset := it.Next(); a.present.Contains(offset) {
			d := a.difference(Doubled, int64(offset))
			d.Copies, d.Want = 2, 1
			a.differ(d)
		}
	}
	alien := roaring64.Or(a.answers.observed, roaring64.Or(a.answers.letters, a.answers.rows))
	alien.AndNot(a.present)
	read := a.requests.read[a.partition]
	for it := alien.Iterator(); it.HasNext(); {
		if offset := int64(it.Next()); offset >= read.Start && offset < read.End {
			d := a.difference(Alien, offset)
			d.Copies = 1
			a.differ(d)
		}
	}
	return nil
}

// answersHeldSince returns a time from which on the logs hold all answers that were read.
func (r *run) answersHeldSince() time.Time {
	var since time.Time
	for _, topic := range []string{r.Topics.Observations, r.Topics.DeadLetters} {
		s := r.logs[topic]
		if s == nil {
			continue
		}
		for _, span := range s.read {
			if span.Start > 0 {
				if held := s.heldSince(); held.After(since) {
					since = held
				}
			}
		}
	}
	return since
}
