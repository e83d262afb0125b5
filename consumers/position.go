package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type topicPartition struct {
	topic     string
	partition int32
}

// position is what is known of one assigned partition. What lies from next to pending may
// be stored already, in part or in whole: every commit says so.
type position struct {
	next     int64     // everything before it is stored; -1 until the first record
	epoch    int32     // the leader's of the last record before next, by which its loss shows; -1 if it is not known
	pending  int64     // at or before next when nothing is
	deadline time.Time // of whoever stores up to pending; zero is none
	earlier  time.Time // the deadline that was found with the partition
	unproven bool      // nothing was committed: pending is the end of the log, until prove has asked
	changed  bool      // since the last commit
	member   string    // the id in the group that the partition was assigned to
}

// errReplaced is a member that the group had given up, and that has joined anew: its
// partitions were another's meanwhile, though kgo has not said that they were lost.
var errReplaced = errors.New("the group has replaced this member")

const (
	pendingPrefix  = "millrace pending="
	deadlinePrefix = " deadline="
)

// metadata says what may be stored beyond next, and until when; "" if nothing may.
func (p *position) metadata() string {
	if p.pending <= max(p.next, 0) {
		return ""
	}
	text := pendingPrefix + strconv.FormatInt(p.pending, 10)
	if !p.deadline.IsZero() {
		text += deadlinePrefix + strconv.FormatInt(p.deadline.UnixMicro(), 10)
	}
	return text
}

// pendingTo reads the end of the range that a commit announces, and its deadline; 0 is
// none.
func pendingTo(metadata string) (end int64, deadline time.Time) {
	text, ok := strings.CutPrefix(metadata, pendingPrefix)
	if !ok {
		return 0, deadline
	}
	text, until, limited := strings.Cut(text, deadlinePrefix)
	end, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, deadline // not of this program
	}
	if micros, err := strconv.ParseInt(until, 10, 64); limited && err == nil {
		deadline = time.UnixMicro(micros)
	}
	return end, deadline
}

// commit says how far the changed partitions are stored, and in the metadata how much more
// may be. It returns when the broker has accepted that of this member.
func (s *recorderSession) commit() error {
	s.mu.Lock() // until it is done, so that no partition goes to another member meanwhile
	defer s.mu.Unlock()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	metadata := map[topicPartition]string{}
	members := map[topicPartition]string{}
	for tp, p := range s.positions {
		if !p.changed {
			continue
		}
		if offsets[tp.topic] == nil {
			offsets[tp.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[tp.topic][tp.partition] = kgo.EpochOffset{Epoch: p.epoch, Offset: p.next}
		metadata[tp], members[tp] = p.metadata(), p.member
	}
	if len(offsets) == 0 {
		return nil
	}
	annotate := kgo.PreCommitFnContext(s.hard, func(req *kmsg.OffsetCommitRequest) error {
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
	})
	failed := commit(annotate, s.cl, offsets)
	if failed != nil {
		return fmt.Errorf("commit offsets of group %s: %w", s.cfg.Name, failed)
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
		if p.next >= 0 && p.pending > p.next {
			s.log.Info().Str("topic", tp.topic).Int32("partition", tp.partition).Int64("from", p.next).Int64("to", p.pending).
				Msg("a range was being stored when its recorder ended; its rows will be looked for")
		}
		s.positions[tp] = p
	}
	s.joined.Store(true)
}

// learn returns what the commits say of partitions. Nothing is known of one that is gone by
// now.
//
// Without a commit, everything that its log holds may be stored already: Kafka drops the
// offsets of a group that has no member for a week, and the group may have another name now.
func (s *recorderSession) learn(cl *kgo.Client, assigned map[string][]int32) (map[topicPartition]*position, error) {
	adm := kadm.NewClient(cl)
	committed, err := adm.FetchOffsets(s.soft, s.cfg.Name)
	if err == nil {
		err = committed.Error()
	}
	if err != nil {
		return nil, err
	}
	positions := map[topicPartition]*position{}
	bare := map[string][]int32{}
	for topic, partitions := range assigned {
		for _, partition := range partitions {
			o, ok := committed.Lookup(topic, partition)
			if !ok || o.At < 0 {
				bare[topic] = append(bare[topic], partition)
				continue
			}
			p := &position{next: o.At, epoch: o.LeaderEpoch}
			p.pending, p.earlier = pendingTo(o.Metadata)
			p.deadline = p.earlier
			positions[topicPartition{topic, partition}] = p
		}
	}
	if len(bare) == 0 {
		return positions, nil
	}
	ends, err := adm.ListEndOffsets(s.soft, slices.Collect(maps.Keys(bare))...)
	if err != nil {
		return nil, fmt.Errorf("list end offsets: %w", err)
	}
	for topic, partitions := range bare {
		for _, partition := range partitions {
			end, ok := ends.Lookup(topic, partition)
			err := errors.Join(ends[topic][-1].Err, end.Err) // -1 is the topic
			if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) || !ok && err == nil {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("list end offsets: topic %s partition %d: %w", topic, partition, err)
			}
			positions[topicPartition{topic, partition}] = &position{next: -1, epoch: -1, pending: end.Offset, unproven: end.Offset > 0}
		}
	}
	return positions, nil
}

// prove asks of the partitions without a commit whether anything of their topics is stored.
// Where nothing is, as when recording starts for the first time, no row is looked for. That
// cannot change meanwhile: nobody stores what is not announced by a commit.
func (s *recorderSession) prove(ctx context.Context) error {
	unproven := map[string]map[int32]*position{}
	s.mu.Lock()
	for tp, p := range s.positions {
		if p.unproven {
			if unproven[tp.topic] == nil {
				unproven[tp.topic] = map[int32]*position{}
			}
			unproven[tp.topic][tp.partition] = p
		}
	}
	s.mu.Unlock()
	for topic, positions := range unproven {
		empty, err := s.store.Empty(ctx, topic)
		if err != nil {
			return err
		}
		s.mu.Lock()
		for partition, p := range positions {
			p.unproven = false
			if empty {
				p.pending = -1
				continue
			}
			s.log.Info().Str("topic", topic).Int32("partition", partition).Int64("to", p.pending).
				Msg("the group has no offset here, and rows are stored already; those of this range will be looked for")
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
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, partitions := range gone {
		for _, partition := range partitions {
			delete(s.positions, topicPartition{topic, partition})
		}
	}
}
