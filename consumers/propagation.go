package consumers

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

// propagationTimeout bounds the wait for brokers to hear of what was applied. What differs after
// that CheckTopics reports.
const propagationTimeout = 10 * time.Second

// awaitBrokers waits until every broker that answers has the topics as specified. The
// controller answers before the brokers have heard of a change, so that the next question,
// which any of them answers, could find a topic missing.
func (a *Admin) awaitBrokers(ctx context.Context, specs []schemas.TopicSpec) error {
	brokers, err := a.adm.ListBrokers(ctx)
	if err != nil {
		return fmt.Errorf("list brokers: %w", err)
	}
	deadline := time.Now().Add(propagationTimeout)
	for _, b := range brokers {
		for time.Now().Before(deadline) {
			behind, err := a.behind(ctx, b.NodeID, specs)
			if err != nil || !behind { // a broker that is away learns them before it serves again
				break
			}
			if err := sleep(ctx, 20*time.Millisecond); err != nil {
				return fmt.Errorf("wait until broker %d has the topics: %w", b.NodeID, err)
			}
		}
	}
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	// The client itself remembers for a while that a topic did not exist.
	if _, err := a.adm.ListTopics(kadm.WithAuthorizedOps(ctx), names...); err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	return nil
}

// behind tells whether a broker lacks something of the topics' specifications.
func (a *Admin) behind(ctx context.Context, broker int32, specs []schemas.TopicSpec) (bool, error) {
	topics, configs := kmsg.NewPtrMetadataRequest(), kmsg.NewPtrDescribeConfigsRequest()
	for _, spec := range specs {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &spec.Name
		topics.Topics = append(topics.Topics, t)
		c := kmsg.NewDescribeConfigsRequestResource()
		c.ResourceType, c.ResourceName = kmsg.ConfigResourceTypeTopic, spec.Name
		configs.Resources = append(configs.Resources, c)
	}
	described, err := topics.RequestWith(ctx, a.cl.Broker(int(broker)))
	if err != nil {
		return false, fmt.Errorf("ask broker %d for topics: %w", broker, err)
	}
	configured, err := configs.RequestWith(ctx, a.cl.Broker(int(broker)))
	if err != nil {
		return false, fmt.Errorf("ask broker %d for configurations: %w", broker, err)
	}
	partitions, config := map[string]int{}, map[string]map[string]string{}
	for _, t := range described.Topics {
		if kerr.ErrorForCode(t.ErrorCode) == nil {
			partitions[*t.Topic] = len(t.Partitions)
		}
	}
	for _, r := range configured.Resources {
		config[r.ResourceName] = map[string]string{}
		for _, c := range r.Configs {
			if c.Value != nil {
				config[r.ResourceName][c.Name] = *c.Value
			}
		}
	}
	for _, spec := range specs {
		if partitions[spec.Name] < int(spec.Partitions) {
			return true, nil
		}
		for key, value := range spec.Config {
			if config[spec.Name][key] != value {
				return true, nil
			}
		}
	}
	return false, nil
}
