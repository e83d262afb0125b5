package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/role"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/alerts"
	"github.com/millrace/millrace/sinks/kafka"
)

// maxAlertBackoff bounds the wait between two attempts to deliver an event.
const maxAlertBackoff = time.Minute

// runAlerts delivers events to the subscriptions: one consumer group each, so that a
// receiver that is away holds up nobody else, and that each goes on where it stopped.
func runAlerts(soft, hard context.Context, env *role.Env, m *monitorMetrics, producer *kafka.Producer) error {
	if len(env.Config.Alerts) == 0 {
		return nil
	}
	admin, err := consumers.NewAdmin(env.Connection())
	if err != nil {
		return err
	}
	defer admin.Close()
	receivers := newReceivers(func(subscription string, n int) {
		m.parked.WithLabelValues(subscription).Set(float64(n))
		note := ""
		if n > 0 {
			note = fmt.Sprintf("%d events that the receiver refused are parked: see `millrace alerts parked`", n)
		}
		env.Ready.Note("alerts "+subscription, note)
	})
	group, ctx := errgroup.WithContext(soft)
	group.Go(func() error { // ends with soft
		admin.Follow(ctx, env.Config.Topics.Control, env.Log, receivers)
		return nil
	})
	for _, s := range env.Config.Alerts {
		sub := &subscriber{
			Subscription: s, env: env, metrics: m, producer: producer, receivers: receivers, part: "alerts " + s.Name,
			log: env.Log.With().Str("subscription", s.Name).Logger(),
		}
		if s.Webhook != nil {
			sub.hook = alerts.NewWebhook(s.Webhook.URL, s.Webhook.Headers, s.Webhook.Timeout)
			sub.out = sub.hook
		} else {
			sub.out = alerts.Topic{Producer: producer, Name: s.Kafka.Topic}
		}
		group.Go(func() error { // ends with soft
			if !receivers.known(ctx) {
				return nil // the process ends
			}
			err := consumers.Subscribe(ctx, hard, env.Connection(), env.Group("millrace-alerts-"+s.Name), env.Config.Topics.Events, maxAlertBackoff, sub.log, sub.handle)
			if err != nil { // an alert that cannot be read must not stop inference
				env.Ready.Set(sub.part, err.Error())
				sub.log.Error().Err(err).Msg("the subscription has ended")
			}
			return nil
		})
	}
	return group.Wait()
}

// subscriber delivers the events of one subscription.
type subscriber struct {
	config.Subscription
	env       *role.Env
	metrics   *monitorMetrics
	out       alerts.Channel
	hook      *alerts.Webhook // the same as out, where that is a webhook
	producer  *kafka.Producer
	receivers *receivers
	part      string // of readiness
	unready   bool   // what readiness says of the part
	log       zerolog.Logger
}

// ready tells whether events come to the receiver, or why not.
func (s *subscriber) ready(reason string) {
	if reason != "" || s.unready {
		s.env.Ready.Set(s.part, reason)
		s.unready = reason != ""
	}
}

// handle delivers, or parks, what the subscription wants. An error makes the event come again.
func (s *subscriber) handle(ctx context.Context, rec *schemas.Record) error {
	var e schemas.Event
	if err := json.Unmarshal(rec.Value, &e); err != nil {
		s.log.Warn().Err(err).Int32("partition", rec.Partition).Int64("offset", rec.Offset).Msg("no CloudEvent; passed over")
		return nil
	}
	if !s.Matches(e.Data) {
		return nil
	}
	outcome, err := s.deliver(ctx, rec, e.ID)
	s.metrics.deliveries.WithLabelValues(s.Name, outcome).Inc()
	return err
}

func (s *subscriber) deliver(ctx context.Context, rec *schemas.Record, id string) (outcome string, err error) {
	err = s.out.Deliver(ctx, rec.Value)
	refused, isRefusal := errors.AsType[*alerts.RefusedError](err)
	switch {
	case err == nil:
		s.accepted(ctx)
		s.ready("")
		return "delivered", nil
	case !isRefusal:
		return "failed", err
	case refused.Ambiguous() && !s.receivers.accepts(s.Name, schemas.PublicAddress(s.hook.URL)):
		err = fmt.Errorf("%w; it has never accepted an event, so that this is taken for a wrong address and tried again: %s", err, s.hook.Hint())
		s.ready(err.Error())
		return "failed", err
	}
	parked := schemas.ParkedEvent{
		Subscription: s.Name, Event: schemas.Place{TopicID: rec.TopicID, Partition: rec.Partition, Offset: rec.Offset},
		ID: id, Reason: err.Error(), At: time.Now(), Body: rec.Value,
	}
	if failure := s.producer.Send(ctx, parked.Message(s.env.Config.Topics.Control)); failure != nil {
		return "failed", fmt.Errorf("park an event: %w (%w)", failure, err)
	}
	s.ready("")
	s.log.Error().Err(err).Str("event", id).Int32("partition", rec.Partition).Int64("offset", rec.Offset).
		Msg("event refused and parked; see `millrace alerts parked`, and `millrace alerts send` when the receiver takes it")
	return "refused", nil
}

// accepted remembers, over restarts, that the receiver has accepted an event.
func (s *subscriber) accepted(ctx context.Context) {
	if s.hook == nil {
		return
	}
	address := schemas.PublicAddress(s.hook.URL)
	if s.receivers.accepts(s.Name, address) {
		return
	}
	m, err := schemas.Receiver{Subscription: s.Name, Address: address, At: time.Now()}.Message(s.env.Config.Topics.Control)
	if err == nil {
		err = s.producer.Send(ctx, m)
	}
	if err != nil { // the next event that is accepted says it, too
		s.log.Warn().Err(err).Msg("that the receiver accepts events could not be kept")
		return
	}
	s.receivers.accept(s.Name, address)
}

// receivers follows what the control topic says of the subscriptions' receivers. It is safe
// for concurrent use.
type receivers struct {
	changed func(subscription string, parked int)
	ready   chan struct{} // closed when the topic has been read once

	mu       sync.Mutex
	accepted map[string]string          // subscription: address
	parked   map[string]map[string]bool // subscription: keys
	reading  bool                       // the topic is read from its start
}

func newReceivers(changed func(subscription string, parked int)) *receivers {
	return &receivers{changed: changed, ready: make(chan struct{}), accepted: map[string]string{}, parked: map[string]map[string]bool{}}
}

// known waits until the topic has been read once; it returns false when ctx ends before.
func (r *receivers) known(ctx context.Context) bool {
	select {
	case <-r.ready:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *receivers) accepts(subscription, address string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted[subscription] == address
}

func (r *receivers) accept(subscription, address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accepted[subscription] = address
}

// Reset implements consumers.Follower. Which addresses were accepted, and how many events were
// parked, stands until the topic says otherwise.
func (r *receivers) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reading = true
	for _, keys := range r.parked {
		clear(keys)
	}
}

// Visit implements consumers.Follower.
func (r *receivers) Visit(rec *schemas.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if receiver, ok := schemas.ReadReceiver(rec); ok {
		r.accepted[receiver.Subscription] = receiver.Address
	}
	p, gone, ok := schemas.ReadParkedEvent(rec)
	if !ok {
		return
	}
	keys := r.parked[p.Subscription]
	if keys == nil {
		keys = map[string]bool{}
		r.parked[p.Subscription] = keys
	}
	if keys[string(rec.Key)] = true; gone {
		delete(keys, string(rec.Key))
	}
	if !r.reading {
		r.changed(p.Subscription, len(keys))
	}
}

// CaughtUp implements consumers.Follower.
func (r *receivers) CaughtUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reading = false
	for subscription, keys := range r.parked {
		r.changed(subscription, len(keys))
	}
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
}
