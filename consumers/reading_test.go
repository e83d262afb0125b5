package consumers_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// beginning is a Health that remembers whether reading has begun, and whether it was told afterwards
// that it has not.
type beginning struct {
	mu          sync.Mutex
	last        error
	begun, back bool
}

func (b *beginning) set(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = err
	b.back = b.back || b.begun && errors.Is(err, consumers.ErrNotReading)
	b.begun = b.begun || err == nil
}

func (b *beginning) state() (begun, back bool, last error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.begun, b.back, b.last
}

type lagging interface {
	Lags(visit func(topic string, partition int32, records int64))
}

// lags returns how far a member is behind, by partition of its one topic.
func lags(l lagging) map[int32]int64 {
	out := map[int32]int64{}
	l.Lags(func(_ string, partition int32, records int64) { out[partition] = records })
	return out
}

// A lane has begun to read when it has fetched from its partitions, or when others have them all, and a
// rebalance changes nothing of that.
func TestLaneHasBegunWhenItHasFetched(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			topic := f.topic("requests.begin", 1, nil)
			results := f.topic("results.begin", 1, nil)
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery = delivery
			var first, second beginning
			cfg.Health = first.set
			lane := consumers.NewLane(cfg, f.log)
			_, _, err := first.state()
			require.ErrorIs(t, err, consumers.ErrNotReading)
			require.ErrorContains(t, err, "waiting for partitions from group "+cfg.Name)
			why := errors.New("no model")
			lane.Wait(topic, why) // has nothing fetched, though the group gives the partition
			run := start(t, func(soft, hard context.Context) error { return lane.Run(soft, hard, echo(results)) })
			await(t, "the partition is given", func() bool {
				_, _, err := first.state()
				return errors.Is(err, why)
			})
			_, _, err = first.state()
			require.ErrorIs(t, err, consumers.ErrNotReading)
			require.ErrorContains(t, err, "waiting for the first fetch")
			lane.Resume(topic)
			await(t, "it reads", func() bool { begun, _, _ := first.state(); return begun })

			cfg.Lane, cfg.Health = 1, second.set
			other, _ := f.lane(cfg, echo(results))
			await(t, "the second has begun too, with no partition", func() bool { begun, _, _ := second.state(); return begun })
			require.NoError(t, run.stop())
			f.fill(topic, 1, 0, 3)
			await(t, "the second answers", func() bool { return len(f.values(results)) == 3 })
			require.NoError(t, other.stop())
			for _, b := range []*beginning{&first, &second} {
				_, back, _ := b.state()
				require.False(t, back)
			}
		})
	}
}

// silent is a Storer that does not answer when it is to store.
type silent struct{ *memory }

func (silent) Now(ctx context.Context) (time.Time, error) {
	<-ctx.Done()
	return time.Time{}, ctx.Err()
}

func TestRecorderHasBegunWhenItHasFetched(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	cfg := f.recorderConfig(f.topic("observations", 1, nil))
	var told beginning
	cfg.Health = told.set
	run, _ := f.recorder(cfg, newMemory())
	await(t, "it reads", func() bool { begun, _, _ := told.state(); return begun })
	f.fill(cfg.Topics[0], 1, 0, 3)
	f.stored(cfg.Topics...)
	require.NoError(t, run.stop())
	_, back, _ := told.state()
	require.False(t, back)

	// What it reads first need not be stored for that.
	var busy beginning
	cfg.Group, cfg.Health = f.group("others"), busy.set
	run, _ = f.recorder(cfg, silent{newMemory()})
	await(t, "it reads, and stores nothing", func() bool { begun, _, _ := busy.state(); return begun })
	_ = run.kill()
	var first beginning
	cfg.Health = first.set
	consumers.NewRecorder(cfg, f.log)
	_, _, err := first.state()
	require.ErrorIs(t, err, consumers.ErrNotReading)
}

// Lag is what is not committed, of partitions that wait as well; the ends of transactions, aborted ones
// too, leave none, and a partition that goes to another lane goes from the figures of this one.
func TestLagsOfALane(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			topic, results := f.topic("requests.lag", 2, nil), f.topic("results.lag", 2, nil)
			f.fill(topic, 2, 0, 14)
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery = delivery
			lane := consumers.NewLane(cfg, f.log)
			require.Empty(t, lags(lane))
			lane.Wait(topic, errors.New("no model"))
			run := start(t, func(soft, hard context.Context) error { return lane.Run(soft, hard, echo(results)) })
			is := func(what string, l lagging, want map[int32]int64) {
				t.Helper()
				await(t, what, func() bool { return maps.Equal(want, lags(l)) })
			}
			is("what waits is behind", lane, map[int32]int64{0: 7, 1: 7})
			lane.Resume(topic)
			is("all is answered", lane, map[int32]int64{0: 0, 1: 0})
			x := f.transact(topic)
			x.produce(14, 10, kgo.TryCommit)
			await(t, "the transaction is answered", func() bool { return len(f.values(results)) == 24 })
			is("its end is no lag", lane, map[int32]int64{0: 0, 1: 0})
			x.produce(24, 10, kgo.TryAbort)
			x.produce(34, 1, kgo.TryCommit)
			await(t, "what follows is answered", func() bool { return len(f.values(results)) == 25 })
			is("an aborted one is none either", lane, map[int32]int64{0: 0, 1: 0})

			cfg.Lane = 1
			other, second := f.lane(cfg, echo(results))
			await(t, "each has one partition", func() bool { return len(lags(lane)) == 1 && len(lags(second)) == 1 })
			require.NoError(t, other.stop())
			require.Empty(t, lags(second))
			is("it has both again, and reads on behind the end", lane, map[int32]int64{0: 0, 1: 0})
			require.NoError(t, run.stop())
			require.Empty(t, lags(lane))
		})
	}
}

// A batch that fails is behind, although it was polled.
func TestLagOfWhatFails(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			topic := f.topic("requests.fails", 1, nil)
			f.fill(topic, 1, 0, 5)
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery = delivery
			failed := make(chan struct{}, 100)
			run, lane := f.lane(cfg, handlerFunc(func(_ context.Context, _ []schemas.Record, _ consumers.Publisher) error {
				failed <- struct{}{}
				return errors.New("no")
			}))
			for range 2 {
				receive(t, failed, "a failure")
			}
			require.Equal(t, map[int32]int64{0: 5}, lags(lane))
			require.NoError(t, run.stop())
		})
	}
}

func TestLagsOfARecorder(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("observations", 1, nil)
	f.transact(topic).produce(0, 10, kgo.TryCommit)
	m := newMemory()
	run, recorder := f.recorder(f.recorderConfig(topic), m)
	f.stored(topic)
	await(t, "all is stored", func() bool { return maps.Equal(map[int32]int64{0: 0}, lags(recorder)) })
	require.NoError(t, run.stop())
	require.Empty(t, lags(recorder))
}
