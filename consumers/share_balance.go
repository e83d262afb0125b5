package consumers

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// shareBalancer is a kgo.GroupBalancer, a cooperative one: a partition that stays where it is is not
// interrupted. A member that wants a key gets the partition of that key, and no other. The others
// keep what they have, as far as all have about as many.
//
// The number of partitions decides what belongs to which, so all members know the one that the
// leader has balanced with. Where it has changed, all give up what they have before any gets
// something.
type shareBalancer struct {
	topic, wanted string
	of            atomic.Int32 // partitions, as the leader told last
}

func newShareBalancer(topic, wanted string) *shareBalancer {
	return &shareBalancer{topic: topic, wanted: wanted}
}

// partitions is how many the topic has, as the leader knew it when it last assigned any.
func (b *shareBalancer) partitions() int32 { return b.of.Load() }

// shareMember is what a member tells the leader beside what it holds.
type shareMember struct {
	Wanted string `json:"wanted,omitempty"`
	Of     int32  `json:"of,omitempty"` // the partitions that the topic had when it got what it holds
}

// ProtocolName implements kgo.GroupBalancer.
func (*shareBalancer) ProtocolName() string { return "millrace-share" }

// IsCooperative implements kgo.GroupBalancer.
func (*shareBalancer) IsCooperative() bool { return true }

// JoinGroupMetadata implements kgo.GroupBalancer.
func (b *shareBalancer) JoinGroupMetadata(topics []string, current map[string][]int32, generation int32) []byte {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version, meta.Topics, meta.Generation = 3, topics, generation
	member := shareMember{Wanted: b.wanted}
	if held := current[b.topic]; len(held) > 0 {
		owned := kmsg.NewConsumerMemberMetadataOwnedPartition()
		owned.Topic, owned.Partitions = b.topic, held
		meta.OwnedPartitions = append(meta.OwnedPartitions, owned)
		member.Of = b.of.Load()
	}
	meta.UserData, _ = json.Marshal(member) // of a text and a number: it does not fail
	return meta.AppendTo(nil)
}

// ParseSyncAssignment implements kgo.GroupBalancer.
func (b *shareBalancer) ParseSyncAssignment(assignment []byte) (map[string][]int32, error) {
	out, err := kgo.ParseConsumerSyncAssignment(assignment)
	if err != nil {
		return nil, err
	}
	var told kmsg.ConsumerMemberAssignment
	var member shareMember
	if err := told.ReadFrom(assignment); err == nil && json.Unmarshal(told.UserData, &member) == nil && member.Of > 0 {
		b.of.Store(member.Of)
	}
	return out, nil
}

// MemberBalancer implements kgo.GroupBalancer.
func (b *shareBalancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	cb, err := kgo.NewConsumerBalancer(b, members)
	if err != nil {
		return nil, nil, err
	}
	return cb, cb.MemberTopics(), nil
}

// sharer is a member as the leader sees it.
type sharer struct {
	*kmsg.JoinGroupResponseMember
	shareMember
	held       []int32
	generation int32 // in which it held them
	got        int
}

// Balance implements kgo.ConsumerBalancerBalance.
func (b *shareBalancer) Balance(cb *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	n := topics[b.topic]
	plan := cb.NewPlan()
	var sharers []*sharer
	settled := true
	cb.EachMember(func(member *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		s := &sharer{JoinGroupResponseMember: member, generation: meta.Generation}
		_ = json.Unmarshal(meta.UserData, &s.shareMember) // of a stranger nothing is known
		for _, owned := range meta.OwnedPartitions {
			if owned.Topic == b.topic {
				s.held = append(s.held, owned.Partitions...)
			}
		}
		settled = settled && (len(s.held) == 0 || s.Of == n)
		sharers = append(sharers, s)
	})
	if settled && n > 0 {
		for p, s := range shareOut(sharers, n) {
			if s != nil {
				plan.AddPartition(s.JoinGroupResponseMember, b.topic, int32(p))
			}
		}
		plan.AdjustCooperative(cb)
	}
	return shareAssignment{plan, n}
}

// shareOut returns who is to hold each partition; nil is nobody. It depends on nothing but its
// arguments, and not on the order of the sharers.
func shareOut(sharers []*sharer, n int32) []*sharer {
	sharers = slices.Clone(sharers)
	slices.SortFunc(sharers, func(x, y *sharer) int { return cmp.Compare(x.MemberID, y.MemberID) })
	was := make([]*sharer, n) // of several that say so, the one that says it of the latest generation
	for _, s := range sharers {
		for _, p := range s.held {
			if p >= 0 && p < n && (was[p] == nil || s.generation > was[p].generation) {
				was[p] = s
			}
		}
	}
	out := make([]*sharer, n)
	var takers []*sharer
	for _, s := range sharers {
		if s.Wanted == "" {
			takers = append(takers, s)
			continue
		}
		if p := PartitionOf(s.Wanted, n); out[p] == nil || was[p] == s { // who has it keeps it
			out[p] = s
		}
	}
	if len(takers) == 0 {
		return out
	}
	var left []int
	for p := range out {
		if out[p] == nil {
			left = append(left, p)
		}
	}
	each, more := len(left)/len(takers), len(left)%len(takers)
	for _, p := range left {
		s := was[p]
		if s == nil || s.Wanted != "" {
			continue
		}
		if s.got == each && more > 0 {
			more--
		} else if s.got >= each {
			continue
		}
		s.got++
		out[p] = s
	}
	for _, p := range left {
		if out[p] == nil {
			s := slices.MinFunc(takers, func(x, y *sharer) int { return cmp.Compare(x.got, y.got) })
			s.got++
			out[p] = s
		}
	}
	return out
}

// shareAssignment is a plan that tells the number of partitions, too.
type shareAssignment struct {
	*kgo.BalancePlan
	partitions int32
}

// IntoSyncAssignment implements kgo.IntoSyncAssignment.
func (a shareAssignment) IntoSyncAssignment() []kmsg.SyncGroupRequestGroupAssignment {
	out := a.BalancePlan.IntoSyncAssignment()
	for i := range out {
		var told kmsg.ConsumerMemberAssignment
		if err := told.ReadFrom(out[i].MemberAssignment); err != nil {
			continue // it was written just before
		}
		told.UserData, _ = json.Marshal(shareMember{Of: a.partitions})
		out[i].MemberAssignment = told.AppendTo(nil)
	}
	return out
}
