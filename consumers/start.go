package consumers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Unstarted is a partition that a lane is assigned and of which its group has no commit.
type Unstarted struct {
	Topic     string
	TopicID   uuid.UUID
	Partition int32
	Start     int64 // the first offset of its log
	End       int64 // behind the last one
}

// StartError says that a group has no commit where requests were answered already, or may have
// been, and that nobody has said where it is to start.
type StartError struct {
	Group  string
	Reason string
}

func (e *StartError) Error() string { return fmt.Sprintf("group %s: %s", e.Group, e.Reason) }

// begin sets where partitions without a commit begin. When their first transaction is aborted, the
// client would otherwise go back to offset 0, which may be long gone.
//
// What LaneConfig.Start has decided is committed before the first record is read. So it is not
// asked again after a lane that crashed before it had committed anything else.
func (a *assignments) begin(ctx context.Context, cl *kgo.Client, offsets map[string]map[int32]kgo.Offset) error {
	unstarted, err := uncommitted(ctx, cl, offsets)
	if err != nil || len(unstarted) == 0 {
		return err
	}
	starts := make([]int64, len(unstarted))
	for i, u := range unstarted {
		starts[i] = u.Start
	}
	if a.start != nil {
		if starts, err = a.start(ctx, unstarted); err != nil {
			return fmt.Errorf("find where to start: %w", err)
		}
		if err := a.commitStart(ctx, cl, unstarted, starts); err != nil {
			return err
		}
	}
	for i, u := range unstarted {
		offsets[u.Topic][u.Partition] = kgo.NewOffset().At(starts[i])
	}
	return nil
}

// uncommitted returns the partitions without a commit. It leaves out those that are deleted, of
// which nothing is read, and those that are so new that they begin at 0.
func uncommitted(ctx context.Context, cl *kgo.Client, offsets map[string]map[int32]kgo.Offset) ([]Unstarted, error) {
	var topics []string
	for topic, partitions := range offsets {
		for _, o := range partitions {
			if o.EpochOffset().Offset < 0 {
				topics = append(topics, topic)
				break
			}
		}
	}
	if len(topics) == 0 {
		return nil, nil
	}
	adm := kadm.NewClient(cl)
	// Asking for authorised operations is what makes kadm ask a broker, and not its cache.
	details, err := adm.ListTopics(kadm.WithAuthorizedOps(ctx), topics...)
	if err != nil {
		return nil, fmt.Errorf("list topics %v: %w", topics, lacking(err, onTopics("Describe", topics...)))
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("list the start offsets of topics %v: %w", topics, lacking(err, onTopics("Describe", topics...)))
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("list the end offsets of topics %v: %w", topics, lacking(err, onTopics("Describe", topics...)))
	}
	var out []Unstarted
	for _, topic := range topics {
		for partition, o := range offsets[topic] {
			if o.EpochOffset().Offset >= 0 {
				continue
			}
			start, okStart, errStart := listed(starts, topic, partition)
			end, okEnd, errEnd := listed(ends, topic, partition)
			if err := errors.Join(errStart, errEnd); err != nil {
				return nil, fmt.Errorf("list the offsets of topic %s partition %d: %w", topic, partition, err)
			}
			if okStart && okEnd {
				out = append(out, Unstarted{Topic: topic, TopicID: topicIDOf(details[topic].ID, topic), Partition: partition, Start: start, End: end})
			}
		}
	}
	slices.SortFunc(out, func(x, y Unstarted) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return out, nil
}

// listed returns an offset; ok is false where the topic or the partition is not there.
func listed(offsets kadm.ListedOffsets, topic string, partition int32) (at int64, ok bool, err error) {
	o, ok := offsets.Lookup(topic, partition)
	if !ok {
		o = offsets[topic][-1] // what is wrong with the topic
	}
	if errors.Is(o.Err, kerr.UnknownTopicOrPartition) || errors.Is(o.Err, kerr.UnknownTopicID) {
		return 0, false, nil
	}
	return o.Offset, ok, o.Err
}

// commitStart commits where partitions begin, as the member of the group that they are assigned
// to. While the client waits for fetched, its generation is that of the assignment: a broker
// refuses the commit once another member can have the partitions.
func (a *assignments) commitStart(ctx context.Context, cl *kgo.Client, unstarted []Unstarted, starts []int64) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = a.group
	req.MemberID, req.Generation = cl.GroupMetadata()
	if a.instance != "" {
		req.InstanceID = &a.instance
	}
	topics := map[string]int{}
	for i, u := range unstarted {
		at, ok := topics[u.Topic]
		if !ok {
			at = len(req.Topics)
			topics[u.Topic] = at
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic, t.TopicID = u.Topic, u.TopicID
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata = u.Partition, starts[i], new("where it was started")
		req.Topics[at].Partitions = append(req.Topics[at].Partitions, p)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("commit where group %s starts: %w", a.group, err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				topic := t.Topic
				for _, u := range unstarted {
					if topic == "" && u.TopicID == t.TopicID { // from version 10 on the answer has the id alone
						topic = u.Topic
					}
				}
				return fmt.Errorf("commit where group %s starts: topic %s partition %d: %w", a.group, topic, p.Partition, lacking(err, onTopics("Read", topic), onGroup("Read", a.group)))
			}
		}
	}
	return nil
}
