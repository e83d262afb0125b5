package consumers

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// TopicState is what a broker says of a topic at one time.
type TopicState struct {
	ID     uuid.UUID
	Starts map[int32]int64 // the first offset that each partition still has
}

// Topic asks for the state of a topic. One that does not exist has no partitions.
func (a *Admin) Topic(ctx context.Context, name string) (TopicState, error) {
	state := TopicState{Starts: map[int32]int64{}}
	// Asking for authorised operations is what makes kadm ask a broker, and not its cache.
	details, err := a.adm.ListTopics(kadm.WithAuthorizedOps(ctx), name)
	if err != nil {
		return state, fmt.Errorf("list topic %s: %w", name, lacking(err, onTopics("Describe", name)))
	}
	d := details[name]
	if errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
		return state, nil
	}
	if d.Err != nil {
		return state, fmt.Errorf("list topic %s: %w", name, d.Err)
	}
	starts, err := whole(a.adm.ListStartOffsets(ctx, name))
	if err != nil {
		return state, fmt.Errorf("list start offsets of topic %s: %w", name, lacking(err, onTopics("Describe", name)))
	}
	state.ID = uuid.UUID(d.ID)
	starts.Each(func(o kadm.ListedOffset) { state.Starts[o.Partition] = o.Offset })
	return state, nil
}
