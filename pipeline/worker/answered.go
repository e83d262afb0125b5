package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe"
)

// evidence is what observations, dead letters and results tell of one partition.
type evidence struct {
	observed bool      // there is an observation of these requests
	other    bool      // there is an observation of the same partition of a deleted topic of this name
	otherAt  time.Time // when the last observation of a deleted topic was sent
	buried   bool      // there is a dead letter of these requests
	lost     string    // why it cannot be told which requests were answered; "" where it can
	last     int64     // the greatest offset that was found to be answered; greater ones may have been
}

var errFound = errors.New("found")

// answered returns those partitions, by requests topic, of which requests were answered already,
// or may have been.
//
// Observations are looked for from the end of their topic, since those of a partition that was
// answered lie there; it is read to its start only where there have been results and none of
// their observations is left. Where there has been no result, the last observations are looked
// at all the same, so that a results topic that was made again hides nothing. Dead letters, which
// are few, are read as far as needed.
func (s *starter) answered(ctx context.Context, byTopic map[string][]*unstarted) (map[string][]*unstarted, error) {
	results := map[string]map[int32]consumers.Span{}
	var unseen []*unstarted
	for topic, all := range byTopic {
		var err error
		if results[topic], err = s.read.Ranges(ctx, s.results(topic)); err != nil {
			return nil, err
		}
		model, _ := s.topics.ModelOf(topic)
		if err := s.searchObservations(ctx, model, all, results[topic]); err != nil {
			return nil, err
		}
		for _, u := range all {
			if !u.observed {
				unseen = append(unseen, u)
			}
		}
	}
	if err := s.searchLetters(ctx, unseen); err != nil {
		return nil, err
	}
	answered := map[string][]*unstarted{}
	for topic, all := range byTopic {
		for _, u := range all {
			if err := s.missObservations(ctx, topic, u, results[topic][u.Partition]); err != nil {
				return nil, err
			}
			if !u.observed && !u.buried && !isLost(u) {
				continue
			}
			// Where only ends of transactions are left, and no request, nothing can be answered again.
			_, left, err := s.first(ctx, topic, u.Partition, consumers.Span{Start: u.Start, End: u.End}, nil)
			if err != nil {
				return nil, err
			}
			if left {
				answered[topic] = append(answered[topic], u)
			}
		}
	}
	return answered, nil
}

// missObservations notes that a partition has results without observations. A results topic that
// has lost nothing, and holds nothing but what was aborted, never had any.
func (s *starter) missObservations(ctx context.Context, topic string, u *unstarted, results consumers.Span) error {
	if results.End == 0 || u.observed || u.other {
		return nil
	}
	had := results.Start > 0
	if !had {
		var err error
		if _, had, err = s.first(ctx, s.results(topic), u.Partition, results, nil); err != nil {
			return err
		}
	}
	if had {
		u.lost = fmt.Sprintf("%s has had results, and %s has no observations of them any more, so which requests were answered cannot be told", s.results(topic), s.topics.Observations)
	}
	return nil
}

// first returns the first committed record of a range of a partition that is not among others.
func (s *starter) first(ctx context.Context, topic string, partition int32, r consumers.Span, others *offsetSet) (at int64, ok bool, err error) {
	_, err = s.readRanges(ctx, topic, map[int32]consumers.Span{partition: r}, func(rec *schemas.Record) error {
		if others != nil && others.has(rec.Offset) {
			return nil
		}
		at = rec.Offset
		return errFound
	})
	if errors.Is(err, errFound) {
		return at, true, nil
	}
	return 0, false, err
}

// readRanges is requestLog.ReadRanges, but a batch that cannot be read is passed over and returned:
// it must not keep the partitions from starting.
func (s *starter) readRanges(ctx context.Context, topic string, ranges map[int32]consumers.Span, visit func(rec *schemas.Record) error) (*consumers.UnreadableBatchError, error) {
	err := s.read.ReadRanges(ctx, topic, ranges, visit)
	if unread, ok := errors.AsType[*consumers.UnreadableBatchError](err); ok {
		s.log.Warn().Str("topic", unread.Topic).Int32("partition", unread.Partition).Int64("offset", unread.Offset).AnErr("error", unread.Err).
			Msg("a record batch cannot be read; what it tells of answered requests is not known")
		return unread, nil
	}
	return nil, err
}

const (
	firstPiece = 64   // records of a partition's end that are looked at first; four times as many next
	fewRecords = 4096 // that are looked at where there have been no results
)

// searchObservations looks for observations of partitions from the end of their topic on.
func (s *starter) searchObservations(ctx context.Context, model string, all []*unstarted, results map[int32]consumers.Span) error {
	find := map[int32]*unstarted{}
	for _, u := range all {
		find[u.Partition] = u
	}
	reader := observe.NewReader()
	return s.backwards(ctx, s.topics.Observations, func(rec *schemas.Record) {
		if m, _ := rec.Header(schemas.HeaderModel); string(m) != model {
			return
		}
		s.observed(reader, rec, func(id uuid.UUID, partition int32, offset int64) {
			u, ok := find[partition]
			switch {
			case !ok:
			case u.TopicID == id:
				u.observed, u.last = true, max(u.last, offset)
			default:
				u.other = true
				if rec.Timestamp.After(u.otherAt) {
					u.otherAt = rec.Timestamp
				}
			}
		})
	}, func(records int64, oldest time.Time) bool {
		for _, u := range all {
			// What was answered of this topic was answered later than anything of a deleted one of its name.
			if !u.observed && (!u.other || oldest.After(u.otherAt)) && (results[u.Partition].End > 0 || records < fewRecords) {
				return false
			}
		}
		return true
	})
}

// searchLetters looks for dead letters of partitions.
func (s *starter) searchLetters(ctx context.Context, all []*unstarted) error {
	find := map[origin]*unstarted{}
	for _, u := range all {
		find[u.origin()] = u
	}
	return s.backwards(ctx, s.topics.DeadLetters, func(rec *schemas.Record) {
		c, ok := schemas.DeadLetterCoordinates(rec)
		if !ok {
			return
		}
		if u, ok := find[origin{c.TopicID, c.Partition}]; ok {
			u.buried, u.last = true, max(u.last, c.Offset)
		}
	}, func(int64, time.Time) bool {
		for _, u := range find {
			if !u.buried {
				return false
			}
		}
		return true
	})
}

// backwards visits the committed records of each partition of a topic, backwards in pieces that
// become larger, until enough returns true. enough is told how many offsets of the partition were
// looked at, and the timestamp of the first record among them.
func (s *starter) backwards(ctx context.Context, topic string, visit func(rec *schemas.Record), enough func(records int64, oldest time.Time) bool) error {
	ranges, err := s.read.Ranges(ctx, topic)
	if err != nil {
		return err
	}
	for partition, r := range ranges {
		oldest := time.Now()
		for to, n := r.End, int64(firstPiece); to > r.Start && !enough(r.End-to, oldest); n *= 4 {
			from := max(r.Start, to-n)
			first := true
			_, err := s.readRanges(ctx, topic, map[int32]consumers.Span{partition: {Start: from, End: to}}, func(rec *schemas.Record) error {
				if first {
					first, oldest = false, rec.Timestamp
				}
				visit(rec)
				return nil
			})
			if err != nil {
				return err
			}
			to = from
		}
	}
	return nil
}

// behind places partitions behind what was answered of them, or says why that cannot be told.
//
// The first lane that asks finds it for the other lanes too, which most often are assigned the
// rest of the topics' partitions. A place is given once: it is out of date when its partition has
// been answered further.
func (s *starter) behind(ctx context.Context, byTopic map[string][]*unstarted) error {
	var found map[origin]int64
	select {
	case found = <-s.found:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { s.found <- found }()
	rest := map[string][]*unstarted{}
	for topic, all := range byTopic {
		for _, u := range all {
			at, ok := found[u.origin()]
			if ok {
				u.at = max(u.at, at)
				delete(found, u.origin())
			} else if !isLost(u) {
				rest[topic] = append(rest[topic], u)
			}
		}
	}
	if len(rest) == 0 {
		return nil
	}
	asked := map[origin]bool{}
	for topic, all := range rest {
		for _, u := range all {
			asked[u.origin()] = true
		}
		ranges, err := s.read.Ranges(ctx, topic)
		if err != nil {
			return err
		}
		id := all[0].TopicID
		for partition, r := range ranges {
			if !asked[origin{id, partition}] {
				other := consumers.Unstarted{Topic: topic, TopicID: id, Partition: partition, Start: r.Start, End: r.End}
				rest[topic] = append(rest[topic], &unstarted{Unstarted: other, at: r.Start})
			}
		}
	}
	if err := s.scan(ctx, rest); err != nil {
		return err
	}
	for _, all := range rest {
		for _, u := range all {
			if !asked[u.origin()] && !isLost(u) {
				found[u.origin()] = u.at
			}
		}
	}
	return nil
}

// scan finds what was answered of partitions by reading all observations and dead letters, and
// places them behind it.
//
// With exactly_once everything up to the greatest answered offset was answered. With at_least_once
// some requests before it may not have been: a partition begins at the first request without an
// answer, and what was answered behind that is answered again.
func (s *starter) scan(ctx context.Context, byTopic map[string][]*unstarted) error {
	began := time.Now()
	s.log.Info().Int("topics", len(byTopic)).Msg("looking in all observations and dead letters for what was answered")
	find := map[origin]*unstarted{}
	sets := map[origin]*offsetSet{}
	models := map[string]bool{}
	for topic, all := range byTopic {
		model, _ := s.topics.ModelOf(topic)
		models[model] = true
		for _, u := range all {
			find[u.origin()], u.last = u, -1
			if s.delivery == consumers.AtLeastOnce {
				sets[u.origin()] = &offsetSet{from: u.Start, to: u.End}
			}
		}
	}
	take := func(id uuid.UUID, partition int32, offset int64) {
		key := origin{id, partition}
		if u, ok := find[key]; ok {
			u.last = max(u.last, offset)
			if set := sets[key]; set != nil {
				set.add(offset)
			}
		}
	}
	observations, err := s.read.Ranges(ctx, s.topics.Observations)
	if err != nil {
		return err
	}
	reader, records := observe.NewReader(), 0
	unread, err := s.readRanges(ctx, s.topics.Observations, observations, func(rec *schemas.Record) error {
		records++
		if m, _ := rec.Header(schemas.HeaderModel); models[string(m)] {
			s.observed(reader, rec, take)
		}
		return nil
	})
	if err != nil {
		return err
	}
	letters, err := s.read.Ranges(ctx, s.topics.DeadLetters)
	if err != nil {
		return err
	}
	unreadLetters, err := s.readRanges(ctx, s.topics.DeadLetters, letters, func(rec *schemas.Record) error {
		records++
		if c, ok := schemas.DeadLetterCoordinates(rec); ok {
			take(c.TopicID, c.Partition, c.Offset)
			if last, ok := rec.Header(schemas.HeaderLastOffset); ok { // of a batch that was set aside as a whole
				if offset, err := strconv.ParseInt(string(last), 10, 64); err == nil && offset > c.Offset {
					take(c.TopicID, c.Partition, offset)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, u := range find {
		if batch := cmp.Or(unread, unreadLetters); batch != nil {
			u.lost = fmt.Sprintf("which requests a batch of %s tells of that cannot be read (partition %d, offset %d) is not known", batch.Topic, batch.Partition, batch.Offset)
			continue
		}
		if err := s.placeBehind(ctx, u, sets[u.origin()], trimmed(observations)); err != nil {
			return err
		}
	}
	s.log.Info().Int("records", records).Dur("took", time.Since(began)).Msg("looked for what was answered")
	return nil
}

// placeBehind places a partition behind its greatest answered offset or, where the answered ones
// are given, at the first request that is not among them.
func (s *starter) placeBehind(ctx context.Context, u *unstarted, answered *offsetSet, trimmed bool) error {
	if u.last >= u.End {
		u.lost = fmt.Sprintf("offset %d was answered, which lies behind its end: its last records were lost, or another group still answers them", u.last)
		return nil
	}
	u.at = max(u.at, u.last+1)
	if answered == nil {
		return nil
	}
	gap, ok, err := s.first(ctx, u.Topic, u.Partition, consumers.Span{Start: answered.firstGap(), End: u.at}, answered)
	if err != nil || !ok {
		return err
	}
	if u.at = gap; trimmed && gap < answered.least() {
		u.lost = fmt.Sprintf("offset %d may have been answered, since %s has lost its first records", gap, s.topics.Observations)
	}
	return nil
}

// trimmed tells whether a topic has lost its first records, to retention most often.
func trimmed(ranges map[int32]consumers.Span) bool {
	for _, r := range ranges {
		if r.Start > 0 {
			return true
		}
	}
	return false
}

// observed visits the requests of an observation record. A record that cannot be read is not ours,
// and is passed over.
func (s *starter) observed(r *observe.Reader, rec *schemas.Record, visit func(id uuid.UUID, partition int32, offset int64)) {
	if _, _, err := r.Read(rec, func(c schemas.Coordinates, _ int64) { visit(c.TopicID, c.Partition, c.Offset) }); err != nil {
		s.log.Warn().Err(err).Str("topic", rec.Topic).Int32("partition", rec.Partition).Int64("offset", rec.Offset).
			Msg("an observation record cannot be read; what it tells of answered requests is not known")
	}
}

// offsetSet is a set of offsets of a partition, a bit for each from the start of its log on.
type offsetSet struct {
	from  int64
	to    int64 // behind the last offset that it may hold
	words []uint64
}

func (s *offsetSet) add(offset int64) {
	at := offset - s.from
	if at < 0 || offset >= s.to {
		return
	}
	for int(at/64) >= len(s.words) {
		s.words = append(s.words, 0)
	}
	s.words[at/64] |= 1 << (at % 64)
}

func (s *offsetSet) has(offset int64) bool {
	at := offset - s.from
	return at >= 0 && int(at/64) < len(s.words) && s.words[at/64]&(1<<(at%64)) != 0
}

// firstGap returns the first offset that is not in the set.
func (s *offsetSet) firstGap() int64 {
	for i, w := range s.words {
		if w != ^uint64(0) {
			return s.from + int64(64*i+bits.TrailingZeros64(^w))
		}
	}
	return s.from + int64(64*len(s.words))
}

// least returns the first offset that is in the set, or one behind all.
func (s *offsetSet) least() int64 {
	for i, w := range s.words {
		if w != 0 {
			return s.from + int64(64*i+bits.TrailingZeros64(w))
		}
	}
	return s.from + int64(64*len(s.words))
}
