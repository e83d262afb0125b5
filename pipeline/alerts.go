package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/alerts"
	"github.com/millrace/millrace/sinks/kafka"
)

// channel delivers one event; it is to be called again after an error.
type channel interface {
	Deliver(ctx context.Context, event []byte) error
}

// kafkaChannel copies events to another topic.
type kafkaChannel struct {
	producer *kafka.Producer
	topic    string
}

func (c kafkaChannel) Deliver(ctx context.Context, event []byte) error {
	return c.producer.Send(ctx, schemas.Message{Topic: c.topic, Partition: schemas.AnyPartition, Value: event})
}

// maxAlertBackoff bounds the wait between two attempts to deliver an event.
const maxAlertBackoff = time.Minute

// runAlerts delivers events to the subscriptions: one consumer group each, so that a
// receiver that is away holds up nobody else, and that each goes on where it stopped.
func (a *App) runAlerts(soft, hard context.Context, producer *kafka.Producer) error {
	group, ctx := errgroup.WithContext(soft)
	for _, sub := range a.cfg.Alerts {
		var out channel
		if sub.Webhook != nil {
			out = alerts.NewWebhook(sub.Webhook.URL, sub.Webhook.Headers, sub.Webhook.Timeout)
		} else {
			out = kafkaChannel{producer, sub.Kafka.Topic}
		}
		log := a.log.With().Str("subscription", sub.Name).Logger()
		group.Go(func() error { // ends with soft
			err := consumers.Subscribe(ctx, hard, a.connection(), a.group("millrace-alerts-"+sub.Name), a.cfg.Topics.Events, maxAlertBackoff, log,
				func(ctx context.Context, rec *schemas.Record) error {
					var e schemas.Event
					if err := json.Unmarshal(rec.Value, &e); err != nil {
						log.Warn().Err(err).Int32("partition", rec.Partition).Int64("offset", rec.Offset).Msg("no CloudEvent; passed over")
						return nil
					}
					if !sub.Matches(e.Data) {
						return nil
					}
					err := out.Deliver(ctx, rec.Value)
					outcome := "delivered"
					var refused *alerts.RefusedError
					switch {
					case errors.As(err, &refused): // the next ones may be taken; this one stays in the table of events
						log.Error().Err(err).Str("event", e.ID).Int32("partition", rec.Partition).Int64("offset", rec.Offset).Msg("event refused; passed over")
						outcome, err = "refused", nil
					case err != nil:
						outcome = "failed"
					}
					a.Metrics.deliveries.WithLabelValues(sub.Name, outcome).Inc()
					return err
				})
			if err != nil { // an alert that cannot be read must not stop inference
				a.ready.set("alerts "+sub.Name, err.Error())
				log.Error().Err(err).Msg("the subscription has ended")
			}
			return nil
		})
	}
	return group.Wait()
}
