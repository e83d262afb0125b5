package consumers_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/consumers"
)

// flow produces requests at a steady rate, in turn to the partitions. Their values count
// them.
type flow struct {
	f          *fixture
	partitions int
	sent       atomic.Int64 // acknowledged
	halt       context.CancelFunc
	done       chan error
}

func (f *fixture) flow(topic string, partitions int) *flow {
	ctx, halt := context.WithCancel(context.Background())
	fl := &flow{f: f, partitions: partitions, halt: halt, done: make(chan error, 1)}
	f.Cleanup(halt)
	go func() { // ends with halt
		rate := time.NewTicker(20 * time.Millisecond)
		defer rate.Stop()
		for ctx.Err() == nil {
			records := make([]*kgo.Record, 10*partitions)
			for i := range records {
				n := int(fl.sent.Load()) + i
				records[i] = &kgo.Record{Topic: topic, Partition: int32(n % partitions), Value: []byte(strconv.Itoa(n))}
			}
			// A request that was cut off could be there or not: the last ones are finished.
			if err := f.cl.ProduceSync(context.WithoutCancel(ctx), records...).FirstErr(); err != nil {
				fl.done <- err
				return
			}
			fl.sent.Add(int64(len(records)))
			select {
			case <-rate.C:
			case <-ctx.Done():
			}
		}
		fl.done <- nil
	}()
	return fl
}

// stop returns how many requests there are.
func (fl *flow) stop() int {
	fl.f.Helper()
	fl.halt()
	require.NoError(fl.f, receive(fl.f, fl.done, "end of the requests"))
	return int(fl.sent.Load())
}

// answered waits until so many more records are in a topic than there were before, whatever
// becomes of them.
func (f *fixture) answered(topic string, more int64) {
	f.Helper()
	end := func() (sum int64) {
		ends, err := f.adm.ListEndOffsets(context.Background(), topic)
		if err != nil || ends.Error() != nil {
			return -1 // a leader is away
		}
		for _, partitions := range ends {
			for _, o := range partitions {
				sum += o.Offset
			}
		}
		return sum
	}
	until := int64(-1)
	awaitFor(f, 2*time.Minute, "answers come", func() bool {
		now := end()
		if until < 0 && now >= 0 {
			until = now + more
		}
		return until >= 0 && now >= until
	})
}

// requireOnceInOrder waits until n requests are answered, and checks that a reader of
// committed results sees each of them once, and those of a partition in their order.
func (f *fixture) requireOnceInOrder(requests, results string, partitions, n int) {
	f.Helper()
	awaitFor(f, 2*time.Minute, "all answered", func() bool {
		lag, err := f.admin.Lag(context.Background(), f.group("workers").Name, requests)
		return err == nil && lag == 0
	})
	f.ended(results)
	got, want := make([][]int, partitions), make([][]int, partitions)
	for i := range n {
		want[i%partitions] = append(want[i%partitions], i)
	}
	for _, rec := range f.read(results) {
		value, err := strconv.Atoi(string(rec.Value))
		require.NoError(f, err)
		got[rec.Partition] = append(got[rec.Partition], value)
	}
	require.Equal(f, want, got)
}

// TestRebalancesUnderTraffic adds lanes, stops them and, exactly once, ends them at once, while
// requests flow. Each request has one result, in its place: also at least once, as long as
// nothing crashes.
func TestRebalancesUnderTraffic(t *testing.T) {
	t.Parallel()
	for _, delivery := range []consumers.Delivery{consumers.ExactlyOnce, consumers.AtLeastOnce} {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 1))
			f := newFixture(t, sharedAddr)
			const partitions, lanes, changes = 6, 3, 8
			requests, results := f.topic("requests.a", partitions, nil), f.topic("results.a", partitions, nil)
			var up [lanes]*running
			add := func(lane int) {
				cfg := f.mortalConfig("requests.", lane)
				cfg.Delivery = delivery
				cfg.TransactionTimeout = 2 * time.Second // until the records of a lane that was killed are given out again
				up[lane], _ = f.lane(cfg, echo(results))
			}
			fl := f.flow(requests, partitions)
			add(0)
			running := 1
			for range changes {
				f.answered(results, 50+random.Int64N(200))
				lane := random.IntN(lanes)
				switch {
				case up[lane] == nil:
					add(lane)
					running++
					continue
				case running == 1:
					continue // somebody must answer
				case delivery == consumers.AtLeastOnce || random.IntN(2) == 0:
					up[lane].stopMortal()
				default:
					_ = up[lane].kill() // an error or not, as the batch happened to stand
				}
				up[lane] = nil
				running--
			}
			n := fl.stop()
			f.requireOnceInOrder(requests, results, partitions, n)
			for _, r := range up {
				if r != nil {
					r.stopMortal()
				}
			}
			t.Logf("%d requests", n)
		})
	}
}

// TestLeaderKilled kills the broker that leads a partition of the requests, again and
// again, while they flow. It runs before the parallel tests, which want the cluster whole.
func TestLeaderKilled(t *testing.T) {
	if cluster == nil || len(cluster.Brokers()) < 3 {
		t.Skip("only three brokers of Apache Kafka go on without one that is killed")
	}
	f := newFixture(t, sharedAddr)
	const partitions, kills = 3, 2
	requests, results := f.topic("requests.a", partitions, nil), f.topic("results.a", partitions, nil)
	var up []*running
	for lane := range 2 {
		r, _ := f.lane(f.laneConfig("requests.", lane), echo(results))
		up = append(up, r)
	}
	fl := f.flow(requests, partitions)
	for kill := range kills {
		f.answered(results, 100)
		topics, err := f.adm.ListTopics(t.Context(), requests)
		require.NoError(t, err)
		leader := int(topics[requests].Partitions[int32(kill%partitions)].Leader)
		began, before := time.Now(), fl.sent.Load()
		require.NoError(t, cluster.Kill(leader))
		f.answered(results, 300)
		t.Logf("broker %d killed: 300 more answers after %s, %d requests meanwhile", leader, time.Since(began).Round(time.Millisecond), fl.sent.Load()-before)
		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		require.NoError(t, cluster.Restart(ctx, leader))
		cancel()
		t.Logf("broker %d is back and in sync after %s", leader, time.Since(began).Round(time.Millisecond))
	}
	n := fl.stop()
	f.requireOnceInOrder(requests, results, partitions, n)
	for _, r := range up {
		require.NoError(t, r.stop())
	}
	t.Logf("%d requests", n)
}
