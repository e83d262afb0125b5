package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

const control = "millrace.control"

// topics is a Producer that keeps what it is sent.
type topics struct {
	sent []schemas.Message
	err  error
}

func (p *topics) Send(_ context.Context, m schemas.Message) error {
	if p.err == nil {
		p.sent = append(p.sent, m)
	}
	return p.err
}

// visit has a follower read what was sent to the control topic.
func (p *topics) visit(r *Receivers) {
	for _, m := range p.sent {
		r.Visit(&schemas.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers})
	}
}

// subscriber is a subscription with a receiver that answers as it is told.
type subscriber struct {
	*Delivery
	producer  *topics
	receivers *Receivers
	answer    atomic.Int64 // status
	got       atomic.Int64 // events
	reasons   []string     // of not being ready
	outcomes  []string
	parked    int
}

func subscribe(t *testing.T, change func(s *Subscription)) *subscriber {
	t.Helper()
	r := &subscriber{producer: &topics{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.got.Add(1)
		w.WriteHeader(int(r.answer.Load()))
	}))
	t.Cleanup(srv.Close)
	r.receivers = NewReceivers(func(subscription string, parked int) {
		require.Equal(t, "ops", subscription)
		r.parked = parked
	})
	s := Subscription{Name: "ops", Webhook: &WebhookSettings{URL: srv.URL, Timeout: time.Minute}}
	change(&s)
	r.Delivery = NewDelivery(s, DeliveryConfig{
		Producer: r.producer, Control: control, Receivers: r.receivers, Log: zerolog.Nop(),
		Ready:   func(reason string) { r.reasons = append(r.reasons, reason) },
		Outcome: func(outcome string) { r.outcomes = append(r.outcomes, outcome) },
	})
	return r
}

// event is a record of the events topic.
func event(t *testing.T, offset int64, data schemas.EventData) *schemas.Record {
	t.Helper()
	value, err := json.Marshal(schemas.Event{ID: "e", Data: data})
	require.NoError(t, err)
	return &schemas.Record{Topic: "millrace.events", TopicID: uuid.UUID{1}, Offset: offset, Value: value}
}

// What a receiver refuses is parked, with the event, and is no error: the next event goes on.
func TestRefusedEventIsParked(t *testing.T) {
	s := subscribe(t, func(*Subscription) {})
	s.receivers.Reset()
	s.receivers.CaughtUp()
	s.answer.Store(http.StatusUnprocessableEntity)
	rec := event(t, 7, schemas.EventData{Model: "m"})
	s.producer.err = errors.New("kafka is away")
	require.ErrorIs(t, s.Handle(t.Context(), rec), s.producer.err, "it comes again")
	s.producer.err = nil
	require.NoError(t, s.Handle(t.Context(), rec))
	require.Equal(t, []string{"failed", "refused"}, s.outcomes)
	require.Empty(t, s.reasons, "the subscription is ready")
	require.Len(t, s.producer.sent, 1)
	require.Equal(t, control, s.producer.sent[0].Topic)
	parked, gone, ok := schemas.ReadParkedEvent(&schemas.Record{Key: s.producer.sent[0].Key, Value: s.producer.sent[0].Value, Headers: s.producer.sent[0].Headers})
	require.True(t, ok && !gone)
	require.Equal(t, schemas.Place{TopicID: rec.TopicID, Offset: 7}, parked.Event)
	require.Equal(t, rec.Value, parked.Body)
	s.producer.visit(s.receivers)
	require.Equal(t, 1, s.parked)
	s.receivers.Visit(&schemas.Record{Topic: control, Key: s.producer.sent[0].Key}) // it was sent by hand
	require.Equal(t, 0, s.parked)
}

// 400 can be about the address, until that has accepted an event. Then the same answer is about
// the event, also after a restart.
func TestAmbiguousRefusalIsTriedAgainUntilTheReceiverHasAccepted(t *testing.T) {
	s := subscribe(t, func(*Subscription) {})
	rec := event(t, 0, schemas.EventData{Model: "m"})
	s.answer.Store(http.StatusBadRequest)
	for range 2 {
		require.ErrorContains(t, s.Handle(t.Context(), rec), "never accepted")
	}
	require.Empty(t, s.producer.sent)
	require.Len(t, s.reasons, 2)
	require.Contains(t, s.reasons[0], "https://")

	s.answer.Store(http.StatusNoContent)
	s.producer.err = errors.New("kafka is away")
	require.NoError(t, s.Handle(t.Context(), rec), "it was delivered, though that could not be kept")
	s.producer.err = nil
	for range 2 {
		require.NoError(t, s.Handle(t.Context(), rec))
	}
	require.Len(t, s.producer.sent, 1, "it is kept once")
	require.Empty(t, s.reasons[len(s.reasons)-1], "ready again")

	restarted := subscribe(t, func(of *Subscription) { of.Webhook = s.Webhook })
	require.False(t, restarted.receivers.accepts("ops", schemas.PublicAddress(s.Webhook.URL)))
	restarted.receivers.Reset()
	s.producer.visit(restarted.receivers)
	restarted.receivers.CaughtUp()
	require.True(t, restarted.receivers.Known(t.Context()))
	s.answer.Store(http.StatusBadRequest)
	require.NoError(t, restarted.Handle(t.Context(), rec))
	require.Equal(t, []string{"refused"}, restarted.outcomes)

	moved := subscribe(t, func(*Subscription) {})
	s.producer.visit(moved.receivers)
	moved.answer.Store(http.StatusBadRequest)
	require.ErrorContains(t, moved.Handle(t.Context(), rec), "never accepted", "another address has accepted")
}

// A subscription gets what it asks for, and passes over what is no event.
func TestSubscriptionGetsWhatMatches(t *testing.T) {
	s := subscribe(t, func(s *Subscription) {
		s.Models, s.Kinds, s.MinSeverity = []string{"m"}, []schemas.EventKind{schemas.EventDrift}, schemas.SeverityWarning
	})
	s.answer.Store(http.StatusNoContent)
	for _, data := range []schemas.EventData{
		{Model: "other", Kind: schemas.EventDrift, Severity: schemas.SeverityCritical},
		{Model: "m", Kind: schemas.EventAccuracy, Severity: schemas.SeverityCritical},
		{Model: "m", Kind: schemas.EventDrift, Severity: schemas.SeverityInfo},
	} {
		require.NoError(t, s.Handle(t.Context(), event(t, 0, data)))
	}
	require.NoError(t, s.Handle(t.Context(), &schemas.Record{Value: []byte("no event")}))
	require.Zero(t, s.got.Load())
	require.NoError(t, s.Handle(t.Context(), event(t, 0, schemas.EventData{Model: "m", Kind: schemas.EventDrift, Severity: schemas.SeverityCritical})))
	require.EqualValues(t, 1, s.got.Load())
	require.Equal(t, []string{"delivered"}, s.outcomes)
}

// Events that are copied to a topic are neither parked nor remembered.
func TestSubscriptionOfATopic(t *testing.T) {
	s := subscribe(t, func(s *Subscription) { s.Webhook, s.Kafka = nil, &TopicSettings{Topic: "copies"} })
	rec := event(t, 0, schemas.EventData{Model: "m"})
	require.NoError(t, s.Handle(t.Context(), rec))
	require.Equal(t, []schemas.Message{{Topic: "copies", Partition: schemas.AnyPartition, Value: rec.Value}}, s.producer.sent)
	s.producer.err = errors.New("kafka is away")
	require.ErrorIs(t, s.Handle(t.Context(), rec), s.producer.err)
	require.Equal(t, []string{"delivered", "failed"}, s.outcomes)
}
