package consumers

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// send commits offsets by the client, with annotate called for the request. The client holds commits
// back while it joins the group, which another member can make last for rebalanceTimeout. An orderly
// end does not wait for that: endsSoon after soft, what is still held back is committed beside the
// client. took is called once, with what the broker says.
func (s *recorderSession) send(offsets map[string]map[int32]kgo.EpochOffset, annotate func(*kmsg.OffsetCommitRequest) error,
	took func(*kmsg.OffsetCommitResponse, error),
) {
	if s.beside {
		took(s.sendBeside(offsets, annotate))
		return
	}
	const held, sent, given = 0, 1, 2
	var state atomic.Int32
	ctx, cancel := context.WithCancel(s.hard)
	defer cancel()
	defer context.AfterFunc(s.soft, func() {
		time.AfterFunc(endsSoon, func() {
			if state.CompareAndSwap(held, given) {
				cancel()
			}
		})
	})()
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		if !state.CompareAndSwap(held, sent) { // what has been sent is waited for: it must not come after the next one
			return context.Canceled
		}
		return annotate(req)
	})
	var resp *kmsg.OffsetCommitResponse
	var err error
	s.cl.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, r *kmsg.OffsetCommitResponse, e error) {
		resp, err = r, e
	})
	if state.Load() == given && s.hard.Err() == nil {
		s.beside = true // and so are the commits that are left
		s.log.Info().Str("group", s.cfg.Name).Msg("the group is still being joined at the end; the last offsets are committed without waiting for it")
		resp, err = s.sendBeside(offsets, annotate)
	}
	took(resp, err)
}

// sendBeside commits offsets by a request of its own, which the client does not hold back. The broker
// takes it from a member of this generation alone, so that no other can have got the partitions.
func (s *recorderSession) sendBeside(offsets map[string]map[int32]kgo.EpochOffset, annotate func(*kmsg.OffsetCommitRequest) error) (*kmsg.OffsetCommitResponse, error) {
	for backoff := longer(0); ; backoff = longer(backoff) {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group = s.cfg.Name
		req.MemberID, req.Generation = s.cl.GroupMetadata()
		for topic, partitions := range offsets {
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic = topic
			for partition, o := range partitions {
				p := kmsg.NewOffsetCommitRequestTopicPartition()
				p.Partition, p.Offset, p.LeaderEpoch = partition, o.Offset, o.Epoch
				t.Partitions = append(t.Partitions, p)
				t.TopicID = s.positions[topicPartition{topic, partition}].topicID
			}
			req.Topics = append(req.Topics, t)
		}
		if err := annotate(req); err != nil {
			return nil, err
		}
		resp, err := req.RequestWith(s.hard, s.cl)
		if err != nil {
			return nil, err
		}
		_, generation := s.cl.GroupMetadata()
		if !refused(resp, kerr.RebalanceInProgress) && (generation == req.Generation || !refused(resp, kerr.IllegalGeneration)) {
			return resp, nil
		}
		if err := sleep(s.hard, backoff); err != nil {
			return nil, err
		}
	}
}

// refused tells whether a commit was refused for a reason.
func refused(resp *kmsg.OffsetCommitResponse, why error) bool {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if errors.Is(kerr.ErrorForCode(p.ErrorCode), why) {
				return true
			}
		}
	}
	return false
}
