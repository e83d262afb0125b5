package operate

import (
	"context"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
)

// ShowOffsets returns what a group has committed of a topic, of all of which it has committed
// something if topic is empty.
func ShowOffsets(ctx context.Context, cfg config.Config, group, topic string) (offsets []consumers.GroupOffset, err error) {
	err = withReachableKafka(ctx, cfg, func(ctx context.Context, admin *consumers.Admin) error {
		var topics []string
		if topic != "" {
			topics = append(topics, topic)
		}
		offsets, err = admin.GroupOffsets(ctx, group, topics...)
		return err
	})
	return offsets, err
}

// ValidPlace tells whether SetOffsets takes a place.
func ValidPlace(to string) bool { return consumers.ValidPlace(to) }

// SetOffsets sets the offsets of a group without members; see consumers.Admin.
func SetOffsets(ctx context.Context, cfg config.Config, group, topic string, partition int32, to string) (set []consumers.SetOffset, err error) {
	err = withReachableKafka(ctx, cfg, func(ctx context.Context, admin *consumers.Admin) error {
		set, err = admin.SetOffsets(ctx, group, topic, partition, to)
		return err
	})
	return set, err
}
