package alerts

import (
	"context"

	"github.com/millrace/millrace/schemas"
)

// Channel brings events to one receiver. Deliver takes an event as CloudEvents in structured mode;
// it is to be called again after an error, unless that is a RefusedError. A new kind of channel is
// a type of this package, with its settings and its choice in Subscription.
type Channel interface {
	Deliver(ctx context.Context, event []byte) error
}

// Producer sends a message to Kafka and returns when Kafka has it.
type Producer interface {
	Send(ctx context.Context, m schemas.Message) error
}

// Topic is a Channel that copies events to a topic. It is safe for concurrent use.
type Topic struct {
	Producer Producer
	Name     string
}

// Deliver implements Channel.
func (t Topic) Deliver(ctx context.Context, event []byte) error {
	return t.Producer.Send(ctx, schemas.Message{Topic: t.Name, Partition: schemas.AnyPartition, Value: event})
}
