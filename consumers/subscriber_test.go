package consumers_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// heard collects what a subscriber was given.
type heard struct {
	mu   sync.Mutex
	list []int
}

func (h *heard) add(rec *schemas.Record) (times int) {
	n, _ := strconv.Atoi(string(rec.Value)) // the test's own numbers
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, n)
	for _, x := range h.list {
		if x == n {
			times++
		}
	}
	return times
}

func (h *heard) all() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]int(nil), h.list...)
}

func (f *fixture) subscribe(topic string, handle func(ctx context.Context, rec *schemas.Record) error) *running {
	f.Helper()
	return start(f, func(soft, hard context.Context) error {
		return consumers.Subscribe(soft, hard, f.conn, f.group("subscribers"), topic, 20*time.Millisecond, f.log, handle)
	})
}

func TestSubscribeTriesUntilItIsHandledAndGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("events", 1, nil)
	f.fill(topic, 1, 0, 5)
	var h heard
	r := f.subscribe(topic, func(_ context.Context, rec *schemas.Record) error {
		if h.add(rec) < 3 && string(rec.Value) == "2" {
			return errors.New("nobody there")
		}
		return nil
	})
	await(t, "all are handled", func() bool { return f.lag(f.group("subscribers").Name, topic) == 0 })
	require.NoError(t, r.stop())
	require.Equal(t, []int{0, 1, 2, 2, 2, 3, 4}, h.all())

	f.fill(topic, 1, 5, 2)
	var later heard
	waiting := make(chan struct{})
	r = f.subscribe(topic, func(ctx context.Context, rec *schemas.Record) error {
		later.add(rec)
		if string(rec.Value) == "6" {
			close(waiting)
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	receive(t, waiting, "the record that is not handled")
	require.NoError(t, r.stop())
	require.Equal(t, []int{5, 6}, later.all())

	var last heard
	r = f.subscribe(topic, func(_ context.Context, rec *schemas.Record) error { last.add(rec); return nil })
	await(t, "it comes again", func() bool { return f.lag(f.group("subscribers").Name, topic) == 0 })
	require.NoError(t, r.stop())
	require.Equal(t, []int{6}, last.all())
}

// A topic that is deleted and made again is read on.
func TestSubscribeTopicMadeAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("again", 1, nil)
	f.fill(topic, 1, 0, 3)
	var h heard
	r := f.subscribe(topic, func(_ context.Context, rec *schemas.Record) error { h.add(rec); return nil })
	await(t, "the first are handled", func() bool { return f.lag(f.group("subscribers").Name, topic) == 0 })
	f.makeAgain("again")
	f.fill(topic, 1, 3, 3)
	await(t, "those of the new topic are handled", func() bool { return len(h.all()) == 6 })
	require.NoError(t, r.stop())
	require.Equal(t, []int{0, 1, 2, 3, 4, 5}, h.all())
}
