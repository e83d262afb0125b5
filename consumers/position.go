package consumers

import (
	"context"
	"errors"
	"fmt"
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
	pending  int64     // at or before next when nothing is
	deadline time.Time // of whoever stores up to pending; zero is none
	earlier  time.Time // the deadline that was found with the partition
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
		offsets[tp.topic][tp.partition] = kgo.EpochOffset{Epoch: -1, Offset: p.next}
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
	var failed error
	s.cl.CommitOffsetsSync(annotate, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if resp == nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
					failed = errors.Join(failed, fmt.Errorf("topic %s partition %d: %w", t.Topic, p.Partition, e))
				}
			}
		}
	})
	if failed != nil {
		return fmt.Errorf("commit offsets of group %s: %w", s.cfg.Name, failed)
	}
	for tp, p := range s.positions {
		if _, ok := offsets[tp.topic][tp.partition]; ok {
			p.changed = false
		}
	}
	return nil
}

// assigned learns from the commits' metadata which records may be stored already.
func (s *recorderSession) assigned(ctx context.Context, cl *kgo.Client, assigned map[string][]int32) {
	committed, err := s.committed(cl)
	for backoff := longer(0); err != nil; backoff = longer(backoff) {
		if ctx.Err() != nil || s.soft.Err() != nil {
			return // what comes in has no position, and is not stored
		}
		s.log.Error().Err(err).Dur("retry_in", backoff).Msg("fetching committed offsets failed; trying again")
		if sleep(s.soft, backoff) == nil {
			committed, err = s.committed(cl)
		}
	}
	member, _ := cl.GroupMetadata()
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, partitions := range assigned {
		for _, partition := range partitions {
			p := &position{next: -1, pending: -1, member: member}
			if o, ok := committed.Lookup(topic, partition); ok && o.At >= 0 {
				p.next = o.At
				p.pending, p.earlier = pendingTo(o.Metadata)
				p.deadline = p.earlier
			}
			if p.pending > p.next {
				s.log.Info().Str("topic", topic).Int32("partition", partition).Int64("from", p.next).Int64("to", p.pending).
					Msg("a range was being stored when its recorder ended; its rows will be looked for")
			}
			s.positions[topicPartition{topic, partition}] = p
		}
	}
}

func (s *recorderSession) committed(cl *kgo.Client) (kadm.OffsetResponses, error) {
	offsets, err := kadm.NewClient(cl).FetchOffsets(s.soft, s.cfg.Name)
	if err == nil {
		err = offsets.Error() // of a partition: to take it for uncommitted would store twice
	}
	return offsets, err
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
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, partitions := range gone {
		for _, partition := range partitions {
			delete(s.positions, topicPartition{topic, partition})
		}
	}
}
