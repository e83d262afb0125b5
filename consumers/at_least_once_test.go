package consumers_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

func (f *fixture) atLeastOnce(lane int) consumers.LaneConfig {
	cfg := f.laneConfig("requests.", lane)
	cfg.Delivery = consumers.AtLeastOnce
	return cfg
}

func TestAtLeastOnceKeepsOrderAndCommits(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	requests, results := f.topic("requests.a", 3, nil), f.topic("results.a", 3, nil)
	f.fill(requests, 3, 0, 3000)
	var committed atomic.Int64
	r, l := f.lane(f.atLeastOnce(0), handlerFunc(func(_ context.Context, records []schemas.Record, out consumers.Publisher) error {
		out.OnCommit(func() { committed.Add(int64(len(records))) })
		buf := out.Buffer()
		for i := range records {
			rec := &records[i]
			from := len(*buf)
			*buf = append(*buf, rec.Value...) // memory that later batches must not write to too early
			out.Publish(schemas.Message{Topic: results, Partition: rec.Partition, Key: rec.Key, Value: (*buf)[from:len(*buf):len(*buf)], Headers: rec.Headers})
		}
		return nil
	}))
	await(t, "all answered", func() bool { return l.Stats.Records.Load() == 3000 })
	require.EqualValues(t, 3000, committed.Load())
	require.NoError(t, r.stop())
	require.Zero(t, f.lag(f.group("workers").Name, requests))
	require.Zero(t, l.Stats.Reopened.Load())

	got := f.read(results)
	require.Len(t, got, 3000)
	for i, rec := range got { // sorted by partition, then in offset order
		want := strconv.Itoa(i%1000*3 + i/1000)
		require.Equal(t, want, string(rec.Value))
		require.Equal(t, []schemas.Header{{Key: "h", Value: []byte(want)}, {Key: "empty"}}, rec.Headers)
	}
}

func TestAtLeastOnceRepeatsAFailedBatch(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail     func(results string, out consumers.Publisher) error
		reopened int64
	}{
		"handler": {func(string, consumers.Publisher) error { return errors.New("not today") }, 0},
		"no such partition": {func(results string, out consumers.Publisher) error {
			out.Publish(schemas.Message{Topic: results, Partition: 7, Value: []byte("lost")})
			return nil
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			requests, results := f.topic("requests.a", 2, nil), f.topic("results.a", 2, nil)
			f.fill(requests, 2, 0, 400)
			var calls atomic.Int64
			r, l := f.lane(f.atLeastOnce(0), handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
				if err := echo(results)(ctx, records, out); err != nil {
					return err
				}
				if calls.Add(1) == 3 {
					return tc.fail(results, out)
				}
				return nil
			}))
			await(t, "all answered", func() bool { return f.lag(f.group("workers").Name, requests) == 0 })
			require.NoError(t, r.stop())
			require.Equal(t, tc.reopened, l.Stats.Reopened.Load())
			got := f.values(results)
			if tc.reopened == 0 {
				require.Equal(t, upTo(400), got, "what the handler refused was never sent")
			} else {
				require.Equal(t, upTo(400), slices.Compact(got))
			}
		})
	}
}

// What was acknowledged before a batch that failed is committed, and stays so.
func TestAtLeastOnceCommitsWhatCameBeforeAFailedBatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	requests, results := f.topic("requests.a", 1, nil), f.topic("results.a", 1, nil)
	f.fill(requests, 1, 0, 20)
	cfg := f.atLeastOnce(0)
	cfg.MaxRecords = 10
	var first, failed atomic.Int64
	r, _ := f.lane(cfg, handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
		if first.CompareAndSwap(0, int64(len(records))) {
			return echo(results)(ctx, records, out)
		}
		failed.Add(1)
		return errors.New("not today")
	}))
	await(t, "a batch fails again", func() bool { return failed.Load() >= 2 })
	require.NoError(t, r.stop())
	require.Equal(t, upTo(int(first.Load())), f.values(results))
	require.Equal(t, 20-first.Load(), f.lag(f.group("workers").Name, requests))
}

// A rebalance waits for what is on its way and commits it: nothing is answered twice.
func TestAtLeastOnceRebalancesWithoutRepeating(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	requests, results := f.topic("requests.a", 4, nil), f.topic("results.a", 4, nil)
	first, l0 := f.lane(f.atLeastOnce(0), echo(results))
	at := 0
	more := func(n int) {
		f.fill(requests, 4, at, n)
		at += n
	}
	more(1000)
	await(t, "the first lane works", func() bool { return l0.Stats.Records.Load() > 0 })
	second, l1 := f.lane(f.atLeastOnce(1), echo(results))
	await(t, "the second lane works", func() bool {
		more(40)
		return l1.Stats.Records.Load() > 0
	})
	require.NoError(t, first.stop())
	more(100)
	await(t, "all answered", func() bool { return l0.Stats.Records.Load()+l1.Stats.Records.Load() >= int64(at) })
	require.NoError(t, second.stop())
	require.Equal(t, upTo(at), f.values(results))
	require.Zero(t, f.lag(f.group("workers").Name, requests))
}

func TestAtLeastOnceKilledLosesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	requests, results := f.topic("requests.a", 1, nil), f.topic("results.a", 1, nil)
	f.fill(requests, 1, 0, 500)
	s := newStuck()
	var calls atomic.Int64
	h := handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
		if err := echo(results)(ctx, records, out); err != nil {
			return err
		}
		if calls.Add(1) == 4 {
			return s.wait(ctx)
		}
		return nil
	})
	cfg := f.mortalConfig("requests.", 0)
	cfg.Delivery = consumers.AtLeastOnce
	r, _ := f.lane(cfg, h)
	receive(t, s.reached, "fourth batch")
	_ = r.kill() // an error or not, as what was on its way happened to stand
	again, _ := f.lane(cfg, h)
	await(t, "all answered", func() bool { return f.lag(f.group("workers").Name, requests) == 0 })
	require.NoError(t, again.stop())
	require.Equal(t, upTo(500), slices.Compact(f.values(results)))
}

// A static member that comes back within the session timeout gets its partitions again,
// and no other member is disturbed.
func TestStaticMemberComesBack(t *testing.T) {
	t.Parallel()
	for _, delivery := range []consumers.Delivery{consumers.ExactlyOnce, consumers.AtLeastOnce} {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			requests, results := f.topic("requests.a", 4, nil), f.topic("results.a", 4, nil)
			config := func(lane int) consumers.LaneConfig {
				cfg := f.laneConfig("requests.", lane)
				cfg.Delivery, cfg.Static = delivery, true
				return cfg
			}
			assigned := func() map[string][]int32 {
				groups, err := f.adm.DescribeGroups(t.Context(), f.group("workers").Name)
				require.NoError(t, err)
				of := map[string][]int32{}
				for _, m := range groups[f.group("workers").Name].Members {
					require.NotNil(t, m.InstanceID)
					if a, ok := m.Assigned.AsConsumer(); ok {
						for _, topic := range a.Topics {
							of[*m.InstanceID] = append(of[*m.InstanceID], topic.Partitions...)
						}
					}
					slices.Sort(of[*m.InstanceID])
				}
				return of
			}
			_, l0 := f.lane(config(0), echo(results))
			second, _ := f.lane(config(1), echo(results))
			await(t, "both have two partitions", func() bool {
				a := assigned()
				return len(a["w-0"]) == 2 && len(a["w-1"]) == 2
			})
			before := assigned()
			require.NoError(t, second.stop())
			require.Equal(t, before, assigned(), "it did not leave")
			f.fill(requests, 4, 0, 400)
			await(t, "the first lane answers its half", func() bool { return l0.Stats.Records.Load() == 200 })
			_, l1 := f.lane(config(1), echo(results))
			await(t, "the second lane answers its half", func() bool { return l1.Stats.Records.Load() == 200 })
			require.Equal(t, before, assigned())
			require.Equal(t, upTo(400), f.values(results))
		})
	}
}
