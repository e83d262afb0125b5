package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// goneTimeout bounds how long brokers are asked whether a topic is gone.
const goneTimeout = 10 * time.Second

// letGo takes note which topics are gone, of those that the broker did not know at a commit. For
// one that is not gone it returns what the broker said. The caller holds mu.
func (s *recorderSession) letGo(unknown map[string]error) error {
	for topic, said := range unknown {
		var id uuid.UUID
		for tp, p := range s.positions {
			if tp.topic == topic {
				id = p.topicID
			}
		}
		if gone, err := isGone(s.hard, s.cl, topic, id); err != nil || !gone {
			return errors.Join(said, err)
		}
		s.log.Warn().Str("topic", topic).Stringer("id", id).Msg("the topic was deleted; what was read of it is stored, and the topic of that name is read from its start")
		for tp, p := range s.positions {
			if tp.topic == topic {
				p.gone, p.changed = true, false
			}
		}
	}
	return nil
}

// isGone tells whether no broker that answers knows a topic of that name and id. A broker that
// has just begun may not know yet, but others do.
func isGone(ctx context.Context, cl *kgo.Client, topic string, id uuid.UUID) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	brokers, err := kadm.NewClient(cl).ListBrokers(ctx)
	if err != nil {
		return false, fmt.Errorf("ask brokers whether topic %s is gone: %w", topic, err)
	}
	answers := 0
	var failed error
	for _, b := range brokers {
		req := kmsg.NewPtrMetadataRequest()
		of := kmsg.NewMetadataRequestTopic()
		of.Topic = new(topic)
		req.Topics = append(req.Topics, of)
		resp, err := req.RequestWith(ctx, cl.Broker(int(b.NodeID)))
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("ask broker %d whether topic %s is gone: %w", b.NodeID, topic, err))
			continue
		}
		answers++
		for _, t := range resp.Topics {
			if t.ErrorCode != kerr.UnknownTopicOrPartition.Code && topicIDOf(t.TopicID, topic) == id {
				return false, nil
			}
		}
	}
	if answers == 0 {
		return false, failed
	}
	return true, nil
}

// isMember returns an error unless the session is still this member of the group, to which a
// partition was assigned.
func (s *recorderSession) isMember(member string) error {
	id, generation := s.cl.GroupMetadata()
	if id != member {
		return errReplaced
	}
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.Generation, req.MemberID = s.cfg.Name, generation, id
	resp, err := req.RequestWith(s.hard, s.cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil && !errors.Is(err, kerr.RebalanceInProgress) { // which only a member is told
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}
