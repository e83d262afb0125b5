package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/schemas"
)

// DeliveryConfig is what a Delivery needs beside its subscription.
type DeliveryConfig struct {
	Producer  Producer   // of what is parked, and of which addresses have accepted an event
	Control   string     // the topic that both are kept on
	Receivers *Receivers // fed from that topic

	Ready   func(reason string)  // called when events come to the receiver (""), or why not
	Outcome func(outcome string) // called for each attempt: delivered, failed (tried again), refused (parked)
	Log     zerolog.Logger
}

// Delivery delivers the events of one subscription. What its receiver refuses is parked on the
// control topic, and other events go on. It is for one goroutine.
type Delivery struct {
	Subscription
	cfg     DeliveryConfig
	out     Channel
	hook    *Webhook // the same as out, where that is a webhook
	unready bool     // what Ready was told last
}

// NewDelivery returns the delivery of a subscription that configuration has checked.
func NewDelivery(s Subscription, cfg DeliveryConfig) *Delivery {
	out, hook := s.channel(cfg.Producer)
	return &Delivery{Subscription: s, cfg: cfg, out: out, hook: hook}
}

// ready tells whether events come to the receiver, or why not.
func (d *Delivery) ready(reason string) {
	if reason != "" || d.unready {
		d.cfg.Ready(reason)
		d.unready = reason != ""
	}
}

// Handle delivers, or parks, what the subscription wants. An error makes the event come again.
func (d *Delivery) Handle(ctx context.Context, rec *schemas.Record) error {
	var e schemas.Event
	if err := json.Unmarshal(rec.Value, &e); err != nil {
		d.cfg.Log.Warn().Err(err).Int32("partition", rec.Partition).Int64("offset", rec.Offset).Msg("no CloudEvent; passed over")
		return nil
	}
	if !d.Matches(e.Data) {
		return nil
	}
	outcome, err := d.deliver(ctx, rec, e.ID)
	d.cfg.Outcome(outcome)
	return err
}

func (d *Delivery) deliver(ctx context.Context, rec *schemas.Record, id string) (outcome string, err error) {
	err = d.out.Deliver(ctx, rec.Value)
	refused, isRefusal := errors.AsType[*RefusedError](err)
	switch {
	case err == nil:
		d.accepted(ctx)
		d.ready("")
		return "delivered", nil
	case !isRefusal:
		return "failed", err
	case refused.Ambiguous() && !d.cfg.Receivers.accepts(d.Name, schemas.PublicAddress(d.hook.URL)):
		err = fmt.Errorf("%w; it has never accepted an event, so that this is taken for a wrong address and tried again: %s", err, d.hook.Hint())
		d.ready(err.Error())
		return "failed", err
	}
	parked := schemas.ParkedEvent{
		Subscription: d.Name, Event: schemas.Place{TopicID: rec.TopicID, Partition: rec.Partition, Offset: rec.Offset},
		ID: id, Reason: err.Error(), At: time.Now(), Body: rec.Value,
	}
	if failure := d.cfg.Producer.Send(ctx, parked.Message(d.cfg.Control)); failure != nil {
		return "failed", fmt.Errorf("park an event: %w (%w)", failure, err)
	}
	d.ready("")
	d.cfg.Log.Error().Err(err).Str("event", id).Int32("partition", rec.Partition).Int64("offset", rec.Offset).
		Msg("event refused and parked; see `millrace alerts parked`, and `millrace alerts send` when the receiver takes it")
	return "refused", nil
}

// accepted remembers, over restarts, that the receiver has accepted an event.
func (d *Delivery) accepted(ctx context.Context) {
	if d.hook == nil {
		return
	}
	address := schemas.PublicAddress(d.hook.URL)
	if d.cfg.Receivers.accepts(d.Name, address) {
		return
	}
	m, err := schemas.Receiver{Subscription: d.Name, Address: address, At: time.Now()}.Message(d.cfg.Control)
	if err == nil {
		err = d.cfg.Producer.Send(ctx, m)
	}
	if err != nil { // the next event that is accepted says it, too
		d.cfg.Log.Warn().Err(err).Msg("that the receiver accepts events could not be kept")
		return
	}
	d.cfg.Receivers.accept(d.Name, address)
}
