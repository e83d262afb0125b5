package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Ready returns when all nodes that run and are not frozen know each other, every replica
// on them is in sync, and groups and transactions are served; else with ctx's cause.
func (c *Cluster) Ready(ctx context.Context) error {
	return c.until(ctx, func(cl *kgo.Client) error {
		for _, n := range c.alive() {
			topics, err := n.metadata(ctx, cl, c.alive())
			if err != nil {
				return fmt.Errorf("node %d: %w", n.id, err)
			}
			for i := range topics {
				if err := inSync(&topics[i], c.alive()); err != nil {
					return err
				}
			}
		}
		for _, kind := range []int8{0, 1} { // groups, transactions
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorType, req.CoordinatorKeys = kind, []string{"kafkatest"}
			resp, err := req.RequestWith(ctx, cl)
			if err != nil {
				return fmt.Errorf("find a coordinator: %w", err)
			}
			for _, found := range resp.Coordinators {
				if err := kerr.ErrorForCode(found.ErrorCode); err != nil {
					return fmt.Errorf("find a coordinator: %w", err)
				}
			}
		}
		return nil
	})
}

// leaderless returns when the controller has noticed that the single broker is gone.
func (c *Cluster) leaderless(ctx context.Context) error {
	return c.ask(ctx, []string{c.alone.controller}, func(cl *kgo.Client) error {
		req := kmsg.NewPtrElectLeadersRequest() // of a partition that has one it refuses with another error
		topic := kmsg.NewElectLeadersRequestTopic()
		topic.Topic, topic.Partitions = "__consumer_offsets", []int32{0}
		req.Topics, req.TimeoutMillis = append(req.Topics, topic), 5000
		resp, err := req.RequestWith(ctx, cl.SeedBrokers()[0])
		if err != nil {
			return fmt.Errorf("ask whether the broker is away: %w", err)
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); !errors.Is(err, kerr.PreferredLeaderNotAvailable) {
					return fmt.Errorf("the controller does not know yet that the broker is away: %w", err)
				}
			}
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}

// Reset deletes all topics and groups, so that the next test finds an empty cluster. It
// returns when every node has forgotten them. Members that were killed leave their groups.
func (c *Cluster) Reset(ctx context.Context) error {
	return c.until(ctx, func(cl *kgo.Client) error {
		left, err := c.alive()[0].metadata(ctx, cl, nil)
		if err != nil {
			return err
		}
		var names []string
		for i := range left {
			names = append(names, *left[i].Topic)
		}
		adm := kadm.NewClient(cl)
		if len(names) > 0 {
			if _, err := adm.DeleteTopics(ctx, names...); err != nil {
				return fmt.Errorf("delete topics: %w", err)
			}
		}
		for _, n := range c.alive() {
			if left, err = n.metadata(ctx, cl, nil); err != nil {
				return err
			}
			if len(left) > 0 {
				return fmt.Errorf("node %d still has %d topics", n.id, len(left))
			}
		}
		groups, err := adm.DescribeGroups(ctx)
		if err != nil {
			return fmt.Errorf("describe groups: %w", err)
		}
		for name, g := range groups {
			if err := remove(ctx, cl, name, g); err != nil {
				return err
			}
		}
		return nil
	})
}

// remove deletes a group with its members.
func remove(ctx context.Context, cl *kgo.Client, name string, g kadm.DescribedGroup) error {
	if len(g.Members) > 0 {
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group = name
		for _, m := range g.Members {
			member := kmsg.NewLeaveGroupRequestMember()
			member.MemberID = m.MemberID
			leave.Members = append(leave.Members, member)
		}
		if _, err := leave.RequestWith(ctx, cl); err != nil {
			return fmt.Errorf("remove the members of group %s: %w", name, err)
		}
	}
	resp, err := kadm.NewClient(cl).DeleteGroup(ctx, name)
	if err == nil {
		err = resp.Err
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("delete group %s: %w", name, err)
	}
	return nil
}

// until tries until it has succeeded, or a node has ended by itself.
func (c *Cluster) until(ctx context.Context, try func(cl *kgo.Client) error) error {
	return c.ask(ctx, c.Unguarded(), try)
}

func (c *Cluster) ask(ctx context.Context, seeds []string, try func(cl *kgo.Client) error) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.RequestRetries(1), kgo.RetryTimeout(5*time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	if err != nil {
		return fmt.Errorf("ask Kafka: %w", err)
	}
	defer cl.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		failed := try(cl)
		if failed == nil {
			return nil
		}
		if err := c.Failure(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for Kafka: %w: %w", context.Cause(ctx), errors.Join(failed, c.said()))
		}
	}
}

// metadata asks this node for all topics that are not Kafka's own. That it does not know
// the others is an error.
func (n *node) metadata(ctx context.Context, cl *kgo.Client, others []*node) ([]kmsg.MetadataResponseTopic, error) {
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl.SeedBrokers()[n.id])
	if err != nil {
		return nil, err
	}
	for _, other := range others {
		if !slices.ContainsFunc(resp.Brokers, func(b kmsg.MetadataResponseBroker) bool { return int(b.NodeID) == other.id }) {
			return nil, fmt.Errorf("does not know node %d", other.id)
		}
	}
	if others == nil {
		resp.Topics = slices.DeleteFunc(resp.Topics, func(t kmsg.MetadataResponseTopic) bool { return strings.HasPrefix(*t.Topic, "__") })
	}
	return resp.Topics, nil
}

// inSync tells which partition has a replica on a node that is alive and not in sync.
func inSync(t *kmsg.MetadataResponseTopic, alive []*node) error {
	for _, p := range t.Partitions {
		if p.ErrorCode != 0 {
			return fmt.Errorf("topic %s partition %d: %w", *t.Topic, p.Partition, kerr.ErrorForCode(p.ErrorCode))
		}
		for _, n := range alive {
			if slices.Contains(p.Replicas, int32(n.id)) && !slices.Contains(p.ISR, int32(n.id)) {
				return fmt.Errorf("topic %s partition %d: node %d is not in sync", *t.Topic, p.Partition, n.id)
			}
		}
	}
	return nil
}
