package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

type topicPartition struct {
	topic     string
	partition int32
}

// position is what is known of one assigned partition. What lies from next to pending may
// be stored already, in part or in whole: every commit says so.
type position struct {
	topicID  uuid.UUID       // of the log that the offsets are of
	claim    int64           // when the group claimed the topic's rows; see marker
	next     int64           // everything before it is stored; -1 until the first record
	epoch    int32           // leader epoch of the last record before next, by which its loss shows; -1 if it is not known
	start    bool            // the partition is read from its start, whatever is committed
	pending  int64           // what lies before it may be stored; at or before next: nothing more is
	lease    schemas.Lease   // of whoever stores up to pending, or may have begun to
	earlier  []schemas.Lease // of those who may have begun to store before; they may not be over yet
	unproven bool            // no commit says how far it is stored: pending is the end of the log, until prove has asked
	owned    bool            // since it was assigned, the topic's rows were seen to be the group's
	gone     bool            // the topic was deleted: nobody reads this log any more, and nothing of it can be committed
	changed  bool            // since the last commit
	member   string          // the id in the group that the partition was assigned to
}

// errReplaced says that the group had given this member up, and that it has joined anew: its
// partitions may have been another's meanwhile, though kgo has not said that they were lost.
var errReplaced = errors.New("the group has replaced this member")

// metadata is the marker of a commit at next.
func (p *position) metadata() string {
	m := marker{topic: p.topicID, at: p.next, claim: p.claim}
	if p.unproven {
		m.at = -1
	}
	if p.unproven || p.pending > max(p.next, 0) {
		m.lease = p.lease
	}
	if p.pending > max(p.next, 0) {
		m.pending = p.pending
	}
	return m.String()
}

// commit commits how far the changed partitions are stored, and in the metadata how much more may
// be. It returns nil when the broker has accepted the commit from this member. Nothing is committed
// of a topic that is gone, but the group must still have this member.
func (s *recorderSession) commit() error {
	s.mu.Lock() // until it is done, so that no partition goes to another member meanwhile
	defer s.mu.Unlock()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	metadata := map[topicPartition]string{}
	members := map[topicPartition]string{}
	topics := map[uuid.UUID]string{} // those that are committed
	memberOf := ""                   // of a topic that is gone
	for tp, p := range s.positions {
		switch {
		case !p.changed:
			continue
		case p.gone:
			memberOf, p.changed = p.member, false
			continue
		case offsets[tp.topic] == nil:
			offsets[tp.topic] = map[int32]kgo.EpochOffset{}
			topics[p.topicID] = tp.topic
		}
		offsets[tp.topic][tp.partition] = kgo.EpochOffset{Epoch: p.epoch, Offset: p.next}
		metadata[tp], members[tp] = p.metadata(), p.member
	}
	if len(offsets) == 0 {
		if memberOf == "" {
			return nil
		}
		return s.isMember(memberOf)
	}
	annotate := func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			t := &req.Topics[i]
			for j := range t.Partitions {
				tp := topicPartition{t.Topic, t.Partitions[j].Partition}
				if members[tp] != req.MemberID {
					return errReplaced
				}
				text := metadata[tp]
				t.Partitions[j].Metadata = &text
			}
		}
		return nil
	}
	var failed error
	accepted := false
	unknown := map[string]error{} // topics, with what the broker says
	s.send(offsets, annotate, func(resp *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if resp == nil {
			return
		}
		for _, t := range resp.Topics {
			topic := t.Topic
			if topic == "" { // from version 10 on the answer has the id alone
				topic = topics[t.TopicID]
			}
			for _, p := range t.Partitions {
				switch e := kerr.ErrorForCode(p.ErrorCode); {
				case e == nil:
					accepted = true
				case errors.Is(e, kerr.UnknownTopicID), errors.Is(e, kerr.UnknownTopicOrPartition):
					unknown[topic] = fmt.Errorf("topic %s partition %d: %w", topic, p.Partition, e)
				default:
					failed = errors.Join(failed, fmt.Errorf("topic %s partition %d: %w", topic, p.Partition, e))
				}
			}
		}
	})
	if failed == nil && len(unknown) > 0 {
		failed = s.letGo(unknown)
		for tp := range members {
			memberOf = members[tp]
		}
	}
	if failed == nil && !accepted && memberOf != "" {
		failed = s.isMember(memberOf)
	}
	if failed != nil {
		return fmt.Errorf("commit offsets of group %s: %w", s.cfg.Name, lacking(failed, onGroup("Read", s.cfg.Name), onTopics("Read", s.cfg.Topics...)))
	}
	s.health(nil)
	for tp, p := range s.positions {
		if _, ok := offsets[tp.topic][tp.partition]; ok {
			p.changed = false
		}
	}
	return nil
}

// assigned learns from the commits' metadata which records may be stored already.
func (s *recorderSession) assigned(ctx context.Context, cl *kgo.Client, assigned map[string][]int32) {
	positions, err := s.learn(cl, assigned)
	for backoff := longer(0); err != nil; backoff = longer(backoff) {
		if ctx.Err() != nil || s.soft.Err() != nil {
			return // what comes in has no position, and is not stored
		}
		s.log.Error().Err(err).Dur("retry_in", backoff).Msg("fetching committed offsets failed; trying again")
		if sleep(s.soft, backoff) == nil {
			positions, err = s.learn(cl, assigned)
		}
	}
	member, _ := cl.GroupMetadata()
	s.mu.Lock()
	defer s.mu.Unlock()
	for tp, p := range positions {
		p.member = member
		if !p.unproven && p.next >= 0 && p.pending > p.next {
			s.log.Info().Str("topic", tp.topic).Int32("partition", tp.partition).Int64("from", p.next).Int64("to", p.pending).
				Msg("a range was being stored when its recorder ended; its rows will be looked for")
		}
		s.positions[tp] = p
	}
	s.joined.Store(true)
	s.reading.given(assigned)
}

// fetched has the client read from the start where learn says so: the committed offset of a topic
// that was made again is of another log.
func (s *recorderSession) fetched(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, partitions := range offsets {
		for partition := range partitions {
			if p, ok := s.positions[topicPartition{topic, partition}]; ok && p.start {
				partitions[partition] = kgo.NewOffset().AtStart()
			}
		}
	}
	return offsets, nil
}

// learn returns what the commits say of partitions. Nothing is known of one that is gone by
// now, or of a topic that was made since the session began.
//
// Where no commit with a marker says how far a partition is stored, everything that its log
// holds from there may be: Kafka drops the offsets of a group that has no member for a week,
// the group may have another name now, and tools that set offsets keep no metadata.
func (s *recorderSession) learn(cl *kgo.Client, assigned map[string][]int32) (map[topicPartition]*position, error) {
	adm := kadm.NewClient(cl)
	committed, err := committedBy(s.soft, adm, s.cfg.Name)
	if err != nil {
		return nil, err
	}
	topics := slices.Collect(maps.Keys(assigned))
	if len(topics) == 0 {
		return nil, nil
	}
	details, err := adm.ListTopics(s.soft, topics...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	ends, err := adm.ListEndOffsets(s.soft, topics...)
	if err != nil {
		return nil, fmt.Errorf("list end offsets: %w", err)
	}
	positions := map[topicPartition]*position{}
	for topic, partitions := range assigned {
		id := topicIDOf(details[topic].ID, topic)
		claim, claimed := s.claims[id]
		if !claimed {
			continue
		}
		for _, partition := range partitions {
			end, ok := ends.Lookup(topic, partition)
			err := errors.Join(ends[topic][-1].Err, end.Err) // -1 is the topic
			if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) || !ok && err == nil {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("list end offsets: topic %s partition %d: %w", topic, partition, err)
			}
			o, ok := committed.Lookup(topic, partition)
			if !ok || o.At < 0 {
				o = kadm.OffsetResponse{Offset: kadm.Offset{At: -1, LeaderEpoch: -1}}
			}
			m, marked := parseMarker(o.Metadata)
			if marked && isOther(m.topic, id, topic) {
				s.log.Warn().Str("topic", topic).Int32("partition", partition).Stringer("id_of_the_offset", m.topic).Stringer("id", id).Int64("offset", o.At).
					Msg("the topic was made again since this offset was committed; it is read from its start")
				o.At, o.LeaderEpoch = -1, -1
			}
			p := &position{topicID: id, claim: claim.At.UnixMicro(), next: o.At, epoch: o.LeaderEpoch, start: o.At < 0, pending: max(end.Offset, m.pending)}
			if marked && !m.lease.IsZero() {
				p.earlier, p.lease = []schemas.Lease{m.lease}, m.lease
			}
			if marked && o.At >= 0 && m.at == o.At && m.claim == p.claim {
				p.pending = m.pending
			} else {
				p.unproven = p.pending > max(p.next, 0)
			}
			if !p.unproven && p.next < 0 {
				p.next, p.changed = 0, true // a commit says that there was nothing
			}
			positions[topicPartition{topic, partition}] = p
		}
	}
	return positions, s.inherit(adm, positions)
}

// isOther tells whether a marker is of another log than the topic's. It is not known, and false,
// where the broker has no topic ids or had none when the marker was written.
func isOther(marked, id uuid.UUID, topic string) bool {
	unknown := nameID(topic)
	return marked != uuid.Nil && marked != id && marked != unknown && id != unknown
}

// inherit adds the leases of the groups that owned the rows before, and that of a repair: until
// these are over, what was announced under them can still be stored.
func (s *recorderSession) inherit(adm *kadm.Client, positions map[topicPartition]*position) error {
	before := map[string]kadm.OffsetResponses{}
	repair, asked := schemas.Lease{}, s.cfg.Repairs == ""
	for tp, p := range positions {
		if !p.unproven {
			continue
		}
		if !asked {
			asked = true
			repairs, err := committedBy(s.soft, adm, s.cfg.Repairs)
			if err != nil {
				return err
			}
			repairs.Each(func(o kadm.OffsetResponse) { repair = later(repair, parseLease(o.Metadata)) })
		}
		if !repair.IsZero() {
			p.earlier, p.lease = append(p.earlier, repair), later(p.lease, repair)
		}
		from := s.claims[p.topicID].From
		if from == "" {
			continue
		}
		if before[from] == nil {
			var err error
			if before[from], err = committedBy(s.soft, adm, from); err != nil {
				return err
			}
		}
		o, _ := before[from].Lookup(tp.topic, tp.partition)
		if m, ok := parseMarker(o.Metadata); ok && !m.lease.IsZero() {
			p.earlier = append(p.earlier, m.lease)
			p.lease = later(p.lease, m.lease)
		}
	}
	return nil
}

// later returns the lease that ends later.
func later(a, b schemas.Lease) schemas.Lease {
	if b.Deadline.After(a.Deadline) {
		return b
	}
	return a
}

// committedBy returns the offsets of a group; none where there is no such group.
func committedBy(ctx context.Context, adm *kadm.Client, group string) (kadm.OffsetResponses, error) {
	committed, err := whole(adm.FetchOffsets(ctx, group))
	if errors.Is(err, kerr.GroupIDNotFound) {
		return kadm.OffsetResponses{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fetch offsets of group %s: %w", group, lacking(err, onGroup("Describe", group)))
	}
	return committed, nil
}

// prove makes sure that the rows of the partitions that were assigned since the last call are
// still this group's. Of partitions that no commit speaks of it asks whether anything of their
// topics is stored. If nothing is, as when recording starts for the first time, no row is looked
// for and nothing is waited for: nothing is stored meanwhile, since no commit announces it. If
// something is stored, a commit that is gone may have announced more: InsertDeadline is waited for.
func (s *recorderSession) prove(ctx context.Context) error {
	fresh := map[string]map[int32]*position{}
	ids := map[string]uuid.UUID{}
	s.mu.Lock()
	for tp, p := range s.positions {
		if p.owned {
			continue
		}
		if fresh[tp.topic] == nil {
			fresh[tp.topic] = map[int32]*position{}
		}
		fresh[tp.topic][tp.partition], ids[tp.topic] = p, p.topicID
	}
	s.mu.Unlock()
	adm := kadm.NewClient(s.cl)
	for topic, positions := range fresh {
		claim, err := s.own(ctx, adm, s.store, topic, ids[topic])
		if err != nil {
			return err
		}
		if known := s.claims[ids[topic]]; !claim.At.Equal(known.At) {
			return fmt.Errorf("%w: topic %s, group %s", errReclaimed, topic, s.cfg.Name)
		}
		unproven := slices.ContainsFunc(slices.Collect(maps.Values(positions)), func(p *position) bool { return p.unproven })
		empty, unknown := true, schemas.Lease{}
		if unproven {
			if empty, err = s.store.Empty(ctx, topic); err != nil {
				return err
			}
			empty = empty && s.claims[ids[topic]].First
			if unknown.Announced, err = s.store.Now(ctx); err != nil {
				return err
			}
			unknown.Deadline = unknown.Announced.Add(s.cfg.InsertDeadline)
		}
		s.mu.Lock()
		for partition, p := range positions {
			p.owned = true
			if !p.unproven {
				continue
			}
			p.unproven = false
			if empty {
				p.pending = -1
				continue
			}
			p.earlier, p.lease = append(p.earlier, unknown), later(p.lease, unknown)
			s.log.Info().Str("topic", topic).Int32("partition", partition).Int64("from", max(p.next, 0)).Int64("to", p.pending).
				Msg("no commit of a recorder says how far this partition is stored; rows of this range will be looked for")
		}
		s.mu.Unlock()
	}
	return nil
}

// revoked runs with nothing in hand: what was read is stored, or the session has failed,
// and then its positions say what may be stored.
func (s *recorderSession) revoked(_ context.Context, _ *kgo.Client, revoked map[string][]int32) {
	if err := s.commit(); err != nil {
		s.log.Warn().Err(err).Msg("last commit before a rebalance failed; the next owner will look for the rows")
	}
	s.forget(revoked)
}

func (s *recorderSession) lost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	s.forget(lost)
}

func (s *recorderSession) forget(gone map[string][]int32) {
	s.faults.stalls.forget(s.cl, gone)
	s.reading.gone(gone)
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, partitions := range gone {
		for _, partition := range partitions {
			delete(s.positions, topicPartition{topic, partition})
		}
	}
}
