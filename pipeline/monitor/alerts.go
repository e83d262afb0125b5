package monitor

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/role"
	"github.com/millrace/millrace/sinks/alerts"
	"github.com/millrace/millrace/sinks/kafka"
)

// maxAlertBackoff bounds the wait between two attempts to deliver an event.
const maxAlertBackoff = time.Minute

// runAlerts delivers events to the subscriptions: one consumer group each, so that a
// receiver that is away holds up nobody else, and that each goes on where it stopped.
func runAlerts(soft, hard context.Context, env *role.Env, m *Metrics, producer *kafka.Producer) error {
	if len(env.Config.Alerts) == 0 {
		return nil
	}
	admin, err := consumers.NewAdmin(env.Connection())
	if err != nil {
		return err
	}
	defer admin.Close()
	receivers := alerts.NewReceivers(func(subscription string, n int) {
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
		part, log := "alerts "+s.Name, env.Log.With().Str("subscription", s.Name).Logger()
		delivery := alerts.NewDelivery(s, alerts.DeliveryConfig{
			Producer: producer, Control: env.Config.Topics.Control, Receivers: receivers, Log: log,
			Ready:   func(reason string) { env.Ready.Set(part, reason) },
			Outcome: func(outcome string) { m.deliveries.WithLabelValues(s.Name, outcome).Inc() },
		})
		group.Go(func() error { // ends with soft
			if !receivers.Known(ctx) {
				return nil // the process ends
			}
			err := consumers.Subscribe(ctx, hard, env.Connection(), env.Group("millrace-alerts-"+s.Name), env.Config.Topics.Events, maxAlertBackoff, log, delivery.Handle)
			if err != nil { // an alert that cannot be read must not stop inference
				env.Ready.Set(part, err.Error())
				log.Error().Err(err).Msg("the subscription has ended")
			}
			return nil
		})
	}
	return group.Wait()
}
