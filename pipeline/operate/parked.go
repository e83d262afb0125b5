package operate

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/printable"
	"github.com/millrace/millrace/sinks/alerts"
	"github.com/millrace/millrace/sinks/kafka"
)

// ParkedFilter chooses parked events; zero values choose all.
type ParkedFilter struct {
	Subscription string
	Only         []string // ids of events, or their partition/offset on the events topic
}

func (f ParkedFilter) matches(p schemas.ParkedEvent) bool {
	return (f.Subscription == "" || p.Subscription == f.Subscription) &&
		(len(f.Only) == 0 || slices.Contains(f.Only, p.ID) || slices.Contains(f.Only, parkedPlace(p)))
}

// parkedPlace is how people name a parked event.
func parkedPlace(p schemas.ParkedEvent) string {
	return fmt.Sprintf("%d/%d", p.Event.Partition, p.Event.Offset)
}

// readParked returns the parked events that match, by subscription and in the order of the
// events topic.
func readParked(ctx context.Context, cfg config.Config, admin *consumers.Admin, filter ParkedFilter) ([]schemas.ParkedEvent, error) {
	reached, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	if err := needControl(reached, cfg, admin); err != nil {
		return nil, err
	}
	parked := map[string]schemas.ParkedEvent{}
	err := admin.Read(ctx, cfg.Topics.Control, func(rec *schemas.Record) error {
		switch p, gone, ok := schemas.ReadParkedEvent(rec); {
		case ok && gone:
			delete(parked, string(rec.Key))
		case ok && filter.matches(p):
			p.Body = bytes.Clone(p.Body)
			parked[string(rec.Key)] = p
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read which events are parked: %w", err)
	}
	return slices.SortedFunc(maps.Values(parked), func(a, b schemas.ParkedEvent) int {
		return cmp.Or(
			cmp.Compare(a.Subscription, b.Subscription), bytes.Compare(a.Event.TopicID[:], b.Event.TopicID[:]),
			cmp.Compare(a.Event.Partition, b.Event.Partition), cmp.Compare(a.Event.Offset, b.Event.Offset))
	}), nil
}

// ListParked writes one line a parked event: where it lies on the events topic, the
// subscription, when it was parked, the event's id, and what the receiver answered.
func ListParked(ctx context.Context, cfg config.Config, filter ParkedFilter, out io.Writer) error {
	return withAdmin(cfg, func(admin *consumers.Admin) error {
		parked, err := readParked(ctx, cfg, admin, filter)
		for _, p := range parked {
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", parkedPlace(p), printable.Text(p.Subscription), p.At.UTC().Format(time.RFC3339),
				printable.Text(p.ID), printable.Text(p.Reason))
		}
		return err
	})
}

// SendParked delivers the parked events that match, each subscription's in order, and returns
// how many were taken: those are parked no more. One that is refused again stays parked. Where a
// receiver does not answer, the rest of its events stays too.
func SendParked(ctx context.Context, cfg config.Config, filter ParkedFilter) (sent int, err error) {
	err = eachParked(ctx, cfg, filter, func(admin *consumers.Admin, producer *kafka.Producer, parked []schemas.ParkedEvent) error {
		var errs []error
		away := map[string]bool{} // subscriptions
		for _, p := range parked {
			if away[p.Subscription] {
				continue
			}
			err := sendParked(ctx, cfg, admin, producer, p)
			if err == nil {
				sent++
				continue
			}
			if _, ok := errors.AsType[*alerts.RefusedError](err); !ok {
				away[p.Subscription] = true
			}
			errs = append(errs, fmt.Errorf("subscription %s, event %s: %w", p.Subscription, parkedPlace(p), err))
		}
		return errors.Join(errs...)
	})
	return sent, err
}

func sendParked(ctx context.Context, cfg config.Config, admin *consumers.Admin, producer *kafka.Producer, p schemas.ParkedEvent) error {
	i := slices.IndexFunc(cfg.Alerts, func(s alerts.Subscription) bool { return s.Name == p.Subscription })
	if i < 0 || cfg.Alerts[i].Webhook == nil {
		return errors.New("the configuration has no such subscription with a webhook; `millrace alerts drop` gives the event up")
	}
	hook := cfg.Alerts[i].Webhook
	if len(p.Body) == 0 { // it was too large to be kept with its mark
		err := admin.FindRecord(ctx, cfg.Topics.Events, p.Event.Partition, p.Event.Offset, func(rec *schemas.Record) error {
			if rec.TopicID != p.Event.TopicID {
				return fmt.Errorf("topic %s was made again since", rec.Topic)
			}
			p.Body = bytes.Clone(rec.Value)
			return nil
		})
		if err != nil {
			return fmt.Errorf("%w; `millrace alerts drop` gives the event up", err)
		}
	}
	if err := alerts.NewWebhook(hook.URL, hook.Headers, hook.Timeout).Deliver(ctx, p.Body); err != nil {
		return err
	}
	accepts, err := schemas.Receiver{Subscription: p.Subscription, Address: schemas.PublicAddress(hook.URL), At: time.Now()}.Message(cfg.Topics.Control)
	if err == nil {
		err = errors.Join(producer.Send(ctx, accepts), producer.Send(ctx, deletion(cfg, p)))
	}
	if err != nil {
		return fmt.Errorf("it was taken, but is parked still: %w", err)
	}
	return nil
}

// DropParked gives up the parked events that match, and returns how many.
func DropParked(ctx context.Context, cfg config.Config, filter ParkedFilter) (dropped int, err error) {
	err = eachParked(ctx, cfg, filter, func(_ *consumers.Admin, producer *kafka.Producer, parked []schemas.ParkedEvent) error {
		for _, p := range parked {
			if err := producer.Send(ctx, deletion(cfg, p)); err != nil {
				return err
			}
			dropped++
		}
		return nil
	})
	return dropped, err
}

func deletion(cfg config.Config, p schemas.ParkedEvent) schemas.Message {
	return schemas.Message{Topic: cfg.Topics.Control, Partition: schemas.AnyPartition, Key: p.Key()}
}

// eachParked hands the parked events that match to do. It returns an error for each event that is
// named and not parked.
func eachParked(ctx context.Context, cfg config.Config, filter ParkedFilter,
	do func(admin *consumers.Admin, producer *kafka.Producer, parked []schemas.ParkedEvent) error,
) error {
	return withAdmin(cfg, func(admin *consumers.Admin) error {
		parked, err := readParked(ctx, cfg, admin, filter)
		if err != nil {
			return err
		}
		var missing []error
		for _, id := range filter.Only {
			if !slices.ContainsFunc(parked, func(p schemas.ParkedEvent) bool { return id == p.ID || id == parkedPlace(p) }) {
				missing = append(missing, fmt.Errorf("no event %q is parked; see `millrace alerts parked`", id))
			}
		}
		producer, err := kafka.NewProducer(cfg.Kafka.Connection().Dial, 10_000, cfg.Topics.MaxBytes)
		if err != nil {
			return err
		}
		defer producer.Close()
		return errors.Join(append(missing, do(admin, producer, parked))...)
	})
}
