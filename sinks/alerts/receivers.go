package alerts

import (
	"context"
	"sync"

	"github.com/millrace/millrace/schemas"
)

// Receivers is what the control topic says of the subscriptions' receivers: which addresses have
// accepted an event, and how many events are parked. Reset, Visit and CaughtUp feed it, as a
// consumers.Follower is fed. It is safe for concurrent use.
type Receivers struct {
	changed func(subscription string, parked int)
	ready   chan struct{} // closed when the topic has been read once

	mu       sync.Mutex
	accepted map[string]string          // subscription: address
	parked   map[string]map[string]bool // subscription: keys
	reading  bool                       // the topic is read from its start
}

// NewReceivers returns one that knows nothing yet. changed is called with how many events of a
// subscription are parked, whenever that has changed; it must not call back.
func NewReceivers(changed func(subscription string, parked int)) *Receivers {
	return &Receivers{changed: changed, ready: make(chan struct{}), accepted: map[string]string{}, parked: map[string]map[string]bool{}}
}

// Known waits until the topic has been read once; it returns false when ctx ends before.
func (r *Receivers) Known(ctx context.Context) bool {
	select {
	case <-r.ready:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *Receivers) accepts(subscription, address string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted[subscription] == address
}

func (r *Receivers) accept(subscription, address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accepted[subscription] = address
}

// Reset tells that the topic is read from its start. Which addresses were accepted, and how many events were
// parked, stands until the topic says otherwise.
func (r *Receivers) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reading = true
	for _, keys := range r.parked {
		clear(keys)
	}
}

// Visit takes a record of the topic.
func (r *Receivers) Visit(rec *schemas.Record) {
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

// CaughtUp tells that the topic has been read to its end.
func (r *Receivers) CaughtUp() {
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
