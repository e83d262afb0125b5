package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

func TestLaneAnswersEachRequestInItsPlace(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	requests, results := f.topic("requests.a", 3, nil), f.topic("results.a", 3, nil)
	f.fill(requests, 3, 0, 300)
	topics, err := f.adm.ListTopics(t.Context(), requests)
	require.NoError(t, err)
	var wrongID atomic.Int64
	r, l := f.lane(f.laneConfig("requests.", 0), handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
		for i := range records {
			if records[i].TopicID != [16]byte(topics[requests].ID) || records[i].Timestamp.IsZero() {
				wrongID.Add(1)
			}
		}
		return echo(results)(ctx, records, out)
	}))
	await(t, "all answered", func() bool { return l.Stats.Records.Load() == 300 })
	require.NoError(t, r.stop())
	require.Zero(t, wrongID.Load())
	require.EqualValues(t, 300, l.Stats.Published.Load())
	require.Zero(t, l.Stats.Reopened.Load())
	f.awaitLag(0, requests)

	f.ended(results)
	got := f.read(results)
	require.Len(t, got, 300)
	want := 0
	for i, rec := range got { // sorted by partition, then in offset order
		if i%100 == 0 {
			want = i / 100
		}
		text := strconv.Itoa(want)
		require.Equal(t, text, string(rec.Value))
		require.Equal(t, "k"+text, string(rec.Key))
		require.Equal(t, []schemas.Header{{Key: "h", Value: []byte(text)}, {Key: "empty"}}, rec.Headers)
		want += 3
	}
}

// rows of TestLaneAbortsAFailedBatch: what goes wrong the first time that a batch is handled.
func TestLaneAbortsAFailedBatch(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 100_000) // does not compress
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for name, fail := range map[string]func(f *fixture, results string, out consumers.Publisher) error{
		"handler": func(*fixture, string, consumers.Publisher) error { return errors.New("not today") },
		"too large for the topic": func(_ *fixture, results string, out consumers.Publisher) error {
			out.Publish(schemas.Message{Topic: results, Partition: 0, Value: noise})
			return nil
		},
		"too large for the client": func(_ *fixture, results string, out consumers.Publisher) error {
			out.Publish(schemas.Message{Topic: results, Partition: 0, Value: make([]byte, schemas.MaxResultBytes+1)})
			return nil
		},
		"no such partition": func(_ *fixture, results string, out consumers.Publisher) error {
			out.Publish(schemas.Message{Topic: results, Partition: 7, Value: []byte("lost")})
			return nil
		},
		"no topic": func(_ *fixture, _ string, out consumers.Publisher) error { // refused before it is buffered
			out.Publish(schemas.Message{Value: []byte("lost")})
			return nil
		},
		"no such topic": func(f *fixture, _ string, out consumers.Publisher) error {
			out.Publish(schemas.Message{Topic: f.id + ".nowhere", Value: []byte("lost")})
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			requests, results := f.topic("requests.a", 2, nil), f.topic("results.a", 2, map[string]string{"max.message.bytes": "20000"})
			f.fill(requests, 2, 0, 60)
			var first []int64
			var calls atomic.Int64
			cfg := f.laneConfig("requests.", 0)
			if name == "no such topic" {
				cfg.TransactionTimeout = 4 * time.Second // half of it is waited for the topic
			}
			r, l := f.lane(cfg, handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
				offsets := make([]int64, len(records))
				for i := range records {
					offsets[i] = records[i].Offset*2 + int64(records[i].Partition)
				}
				switch calls.Add(1) {
				case 1:
					first = offsets
					if err := echo(results)(ctx, records, out); err != nil {
						return err
					}
					return fail(f, results, out)
				case 2:
					if len(f.read(results)) != 0 {
						return errors.New("an aborted result can be seen")
					}
					// Batches may be cut anew, and start with the other partition.
					if offsets[0]%2 == first[0]%2 && offsets[0] != first[0] {
						return fmt.Errorf("offset %d did not come again", first[0])
					}
				}
				return echo(results)(ctx, records, out)
			}))
			await(t, "all answered", func() bool { return l.Stats.Records.Load() >= 60 })
			require.NoError(t, r.stop())
			require.EqualValues(t, 1, l.Stats.Aborted.Load())
			require.Zero(t, l.Stats.Reopened.Load())
			require.Equal(t, upTo(60), f.values(results))
		})
	}
}

func TestLaneFindsNewTopicsAndPartitions(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	results := f.topic("results", 2, nil)
	old := f.topic("requests.old", 1, nil)
	f.fill(old, 1, 0, 1)
	r, l := f.lane(f.laneConfig("requests.", 0), echo(results))
	await(t, "the first topic is read", func() bool { return l.Stats.Records.Load() == 1 })
	young := f.topic("requests.young", 1, nil)
	other := f.topic("requests-not.x", 1, nil)
	f.fill(other, 1, 100, 1)
	f.fill(young, 1, 1, 5)
	_, err := f.adm.UpdatePartitions(t.Context(), 2, old)
	require.NoError(t, err)
	await(t, "the new partition takes a record", func() bool {
		rec := &kgo.Record{Topic: old, Partition: 1, Value: []byte("6")}
		f.cl.ForceMetadataRefresh()
		return f.cl.ProduceSync(t.Context(), rec).FirstErr() == nil
	})
	await(t, "all are read", func() bool { return l.Stats.Records.Load() == 7 })
	require.NoError(t, r.stop())
	require.Equal(t, upTo(7), f.values(results))
}

func TestLaneFinishesItsBatchWhenStopped(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	requests, results := f.topic("requests.a", 1, nil), f.topic("results.a", 1, nil)
	f.fill(requests, 1, 0, 10)
	s := newStuck()
	r, l := f.lane(f.laneConfig("requests.", 0), handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
		if err := s.wait(ctx); err != nil {
			return err
		}
		return echo(results)(ctx, records, out)
	}))
	receive(t, s.reached, "first batch")
	r.soft()
	close(s.release)
	require.NoError(t, r.wait())
	require.Equal(t, upTo(int(l.Stats.Records.Load())), f.values(results))
	f.awaitLag(10-l.Stats.Records.Load(), requests)
	require.Positive(t, l.Stats.Records.Load())
}

func TestLaneKilledInItsBatchLeavesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	requests, results := f.topic("requests.a", 1, nil), f.topic("results.a", 1, nil)
	f.fill(requests, 1, 0, 10)
	s := newStuck()
	h := handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
		if err := echo(results)(ctx, records, out); err != nil {
			return err
		}
		return s.wait(ctx)
	})
	r, _ := f.lane(f.mortalConfig("requests.", 0), h)
	receive(t, s.reached, "first batch")
	require.ErrorIs(t, r.kill(), context.Canceled)

	again, l := f.lane(f.mortalConfig("requests.", 0), h)
	await(t, "all answered", func() bool { return l.Stats.Records.Load() == 10 })
	require.NoError(t, again.stop())
	require.Equal(t, upTo(10), f.values(results))
}

func TestLanesShareAndRebalance(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	const n = 4000
	requests, results := f.topic("requests.a", 4, nil), f.topic("results.a", 4, nil)
	h := func() handlerFunc { return echo(results) }
	first, l0 := f.lane(f.laneConfig("requests.", 0), h())
	f.fill(requests, 4, 0, n/4)
	await(t, "the first lane works", func() bool { return l0.Stats.Records.Load() > 0 })
	second, l1 := f.lane(f.laneConfig("requests.", 1), h())
	f.fill(requests, 4, n/4, n/4)
	for at := n / 2; at < 3*n/4; at += 100 { // until the second lane has its share
		f.fill(requests, 4, at, 100)
	}
	at := 3 * n / 4
	await(t, "the second lane works", func() bool {
		if l1.Stats.Records.Load() > 0 {
			return true
		}
		f.fill(requests, 4, at, 4)
		at += 4
		return false
	})
	require.NoError(t, first.stop())
	f.fill(requests, 4, at, 100)
	at += 100
	await(t, "all answered", func() bool { return l0.Stats.Records.Load()+l1.Stats.Records.Load() == int64(at) })
	require.NoError(t, second.stop())
	require.Equal(t, upTo(at), f.values(results))
	f.awaitLag(0, requests)
}

func TestLaneOutlivesTheBroker(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	f := newFixture(t, b.addr)
	requests, results := f.topic("requests.a", 2, nil), f.topic("results.a", 2, nil)
	f.fill(requests, 2, 0, 100)
	s := newStuck()
	r, l := f.lane(f.laneConfig("requests.", 0), handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
		if err := echo(results)(ctx, records, out); err != nil {
			return err
		}
		return s.wait(ctx)
	}))
	receive(t, s.reached, "first batch")
	b.stop() // in the middle of a transaction
	close(s.release)
	b.start()
	f.fill(requests, 2, 100, 100)
	await(t, "all answered", func() bool { return f.lag(f.group("workers").Name, requests) == 0 })
	require.Equal(t, upTo(200), f.values(results))

	b.stop()
	began := time.Now()
	require.NoError(t, r.stop())
	require.Less(t, time.Since(began), 10*time.Second, "a lane without a broker must end, too")
	require.GreaterOrEqual(t, l.Stats.Batches.Load(), int64(1))
}

// TestLostRangeStopsItsPartitionAlone: it is named at once and at the end, and the other
// partition goes on.
func TestLostRangeStopsItsPartitionAlone(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		commit, deleteTo int64
		partition        int32
	}{
		"before the start": {commit: 3, deleteTo: 8, partition: 1},
		"behind the end":   {commit: 500, partition: 0},
	} {
		for role, run := range map[string]func(f *fixture, topic string, told func(error)) *running{
			"exactly once": func(f *fixture, _ string, told func(error)) *running {
				return f.told(consumers.ExactlyOnce, told)
			},
			"at least once": func(f *fixture, _ string, told func(error)) *running {
				return f.told(consumers.AtLeastOnce, told)
			},
			"recorder": func(f *fixture, topic string, told func(error)) *running {
				cfg := f.recorderConfig(topic)
				cfg.Group, cfg.Health = f.group("workers"), told
				return start(f, func(soft, hard context.Context) error {
					return consumers.NewRecorder(cfg, f.log).Run(soft, hard, newMemory())
				})
			},
			"subscriber": func(f *fixture, topic string, _ func(error)) *running {
				return start(f, func(soft, hard context.Context) error {
					return consumers.Subscribe(soft, hard, f.conn, f.group("workers"), topic, time.Second, f.log,
						func(context.Context, *schemas.Record) error { return nil })
				})
			},
		} {
			t.Run(name+"/"+role, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t, sharedAddr)
				requests := f.topic("requests.a", 2, nil)
				f.fill(requests, 2, 0, 20)
				offsets := kadm.Offsets{}
				offsets.AddOffset(requests, tc.partition, tc.commit, -1)
				require.NoError(t, f.adm.CommitAllOffsets(t.Context(), f.group("workers").Name, offsets))
				if tc.deleteTo > 0 {
					del := kadm.Offsets{}
					del.AddOffset(requests, tc.partition, tc.deleteTo, -1) // never the last record: the broker would count from 0 again
					_, err := f.adm.DeleteRecords(t.Context(), del)
					require.NoError(t, err)
				}
				want := &consumers.LostRangeError{
					Group: f.group("workers").Name, Topic: requests, Partition: tc.partition,
					Committed: tc.commit, LogStart: tc.deleteTo, LogEnd: 10,
				}
				var health health
				r := run(f, requests, health.set)
				if role == "subscriber" { // one that cannot deliver everything delivers nothing: it is one of many
					requireErrorAs(t, want, r.wait())
					return
				}
				f.awaitCommit(requests, 1-tc.partition, 10)
				await(t, "it is said", health.failing)
				requireErrorAs(t, want, health.err())
				f.fill(requests, 2, 20, 2)
				f.awaitCommit(requests, 1-tc.partition, 11)
				require.True(t, health.failing(), "what is committed makes it not well")
				requireErrorAs(t, want, r.stop())
				f.awaitCommit(requests, tc.partition, tc.commit)
			})
		}
	}
}

// told runs a lane that answers nothing.
func (f *fixture) told(delivery consumers.Delivery, told func(error)) *running {
	cfg := f.laneConfig("requests.", 0)
	cfg.Delivery, cfg.Health = delivery, told
	r, _ := f.lane(cfg, handlerFunc(func(context.Context, []schemas.Record, consumers.Publisher) error { return nil }))
	return r
}

// awaitCommit waits until the workers' group has committed an offset.
func (f *fixture) awaitCommit(topic string, partition int32, want int64) {
	f.Helper()
	await(f, fmt.Sprintf("a commit of %d/%d", partition, want), func() bool {
		offsets, err := f.adm.FetchOffsets(context.Background(), f.group("workers").Name)
		at, ok := offsets.Lookup(topic, partition)
		return err == nil && ok && at.At == want
	})
}

// requireErrorAs checks the first error of a type in a tree of errors.
func requireErrorAs[E error](t *testing.T, want E, err error) {
	t.Helper()
	var got E
	require.ErrorAs(t, err, &got)
	require.Equal(t, want, got)
}

func TestDataLossIsALostRange(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("requests.a", 1, nil)
	fetch := func(err error) kgo.Fetches {
		return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: topic, Partitions: []kgo.FetchPartition{{Err: err}}}}}}
	}
	var lost *consumers.LostRangeError
	require.ErrorAs(t, consumers.FetchErrors(f.cl, "g", fetch(&kgo.ErrDataLoss{Topic: topic, ConsumedTo: 9, ResetTo: 5})), &lost)
	require.NoError(t, consumers.FetchErrors(f.cl, "g", fetch(errors.New("a broker coughed"))))
	require.NoError(t, consumers.FetchErrors(f.cl, "g", kgo.NewErrFetch(context.DeadlineExceeded)))
}

func TestUnusableSettingsAreNotRetried(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	f.conn.Brokers = nil
	r, _ := f.lane(f.laneConfig("requests.", 0), echo("x"))
	require.Error(t, r.wait())
	require.Error(t, start(t, func(soft, hard context.Context) error {
		return consumers.NewRecorder(f.recorderConfig("x"), f.log).Run(soft, hard, newMemory())
	}).wait())
}

// TestLanesAtRandom starts and stops lanes in the middle of the traffic, in an orderly way
// and at once, while batches fail at random. Every request has exactly one result.
func TestLanesAtRandom(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	var dice sync.Mutex
	f := newFixture(t, sharedAddr)
	const n, lanes = 3000, 3
	requests, results := f.topic("requests.a", 4, nil), f.topic("results.a", 4, nil)
	handler := func() handlerFunc {
		return func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
			if err := echo(results)(ctx, records, out); err != nil {
				return err
			}
			dice.Lock()
			defer dice.Unlock()
			if random.IntN(40) == 0 {
				return errors.New("bad luck")
			}
			return nil
		}
	}
	var up [lanes]*running
	sent := 0
	for round := 0; sent < n || round < 12; round++ {
		if sent < n {
			f.fill(requests, 4, sent, 250)
			sent += 250
		}
		dice.Lock()
		lane, orderly := random.IntN(lanes), random.IntN(3) > 0
		dice.Unlock()
		if up[lane] == nil {
			cfg := f.mortalConfig("requests.", lane)
			cfg.MaxRecords = 20
			cfg.TransactionTimeout = 2 * time.Second // until the records of a lane that was killed are given out again
			up[lane], _ = f.lane(cfg, handler())
			continue
		}
		if orderly {
			up[lane].stopMortal()
		} else {
			_ = up[lane].kill() // an error or not, as the batch happened to stand
		}
		up[lane] = nil
	}
	if up[0] == nil {
		up[0], _ = f.lane(f.mortalConfig("requests.", 0), handler())
	}
	await(t, "all answered", func() bool { return f.lag(f.group("workers").Name, requests) == 0 })
	for _, r := range up {
		if r != nil {
			r.stopMortal()
		}
	}
	require.Equal(t, upTo(sent), f.values(results))
}

func BenchmarkLane(b *testing.B) {
	f := newFixture(b, sharedAddr)
	requests, results := f.topic("requests.a", 4, nil), f.topic("results.a", 4, nil)
	value := make([]byte, 160)
	for at := 0; at < b.N; at += 10_000 {
		records := make([]*kgo.Record, min(10_000, b.N-at))
		for i := range records {
			records[i] = &kgo.Record{Topic: requests, Partition: int32(i % 4), Value: value}
		}
		require.NoError(b, f.cl.ProduceSync(context.Background(), records...).FirstErr())
	}
	cfg := f.laneConfig("requests.", 0)
	cfg.MaxRecords = 8192
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	b.ResetTimer()
	r, l := f.lane(cfg, echo(results))
	await(b, "all answered", func() bool { return l.Stats.Records.Load() == int64(b.N) })
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(b.N)/float64(l.Stats.Batches.Load()), "records/batch")
	require.NoError(b, r.stop())
}

// A model that takes longer over a batch than the transaction timeout is slow, not stuck:
// nothing is sent before the batch is done, so the brokers' clock does not run meanwhile.
func TestLaneSlowerThanTheTransactionTimeout(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	requests, results := f.topic("requests.m", 1, nil), f.topic("results.m", 1, nil)
	f.fill(requests, 1, 0, 20)
	cfg := f.laneConfig("requests.", 0)
	cfg.TransactionTimeout = 2 * time.Second
	reply := echo(results)
	timer := time.NewTimer(3 * time.Second) // of the broker's clock: what is tested is time itself
	defer timer.Stop()
	first := true
	run, lane := f.lane(cfg, handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
		if err := reply(ctx, records[:1], out); err != nil {
			return err
		}
		if first {
			<-timer.C
		}
		first = false
		return reply(ctx, records[1:], out)
	}))
	await(t, "all results", func() bool { return len(f.values(results)) == 20 })
	require.NoError(t, run.stop())
	require.Equal(t, upTo(20), f.values(results))
	require.Zero(t, lane.Stats.Reopened.Load()+lane.Stats.Aborted.Load())
}

// A requests topic that is deleted and made again starts a new count: only a new session
// learns its new id.
func TestLaneTopicMadeAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	requests, results := f.topic("requests.again", 1, nil), f.topic("results.again", 1, nil)
	f.fill(requests, 1, 0, 5)
	cfg := f.laneConfig("requests.", 0)
	var health health
	cfg.Health = health.set
	run, lane := f.lane(cfg, echo(results))
	await(t, "the first results", func() bool { return len(f.values(results)) == 5 })
	f.makeAgain("requests.again")
	await(t, "the lane is well again, though no request has come", health.recovered)
	f.fill(requests, 1, 5, 20)
	await(t, "the results of the new topic", func() bool { return len(f.values(results)) == 25 })
	require.NoError(t, run.stop())
	require.Positive(t, lane.Stats.Reopened.Load())
}

// Records that become more than a batch can hold come again, fewer at a time.
func TestLaneTakesFewerOfWhatBecomesTooMuch(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			requests, results, bulk := f.topic("requests.a", 1, nil), f.topic("results.a", 1, nil), f.topic("bulk", 1, nil)
			const n, huge, bound = 20, 5, 64
			f.fill(requests, 1, 0, n)
			mebibyte := make([]byte, 1<<20)
			type call struct {
				records, size int
				ended         bool
			}
			var calls []call
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery = delivery
			cfg.TransactionTimeout = time.Minute // with the race detector
			r, l := f.lane(cfg, handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
				c := call{records: len(records)}
				for i := range records {
					size := 1
					if records[i].Offset == huge {
						size = bound - 10
					}
					for range size {
						out.Publish(schemas.Message{Topic: bulk, Value: mebibyte})
					}
					c.size += size
				}
				c.ended = ctx.Err() != nil
				calls = append(calls, c)
				return echo(results)(context.WithoutCancel(ctx), records, out)
			}))
			await(t, "all answered", func() bool { return l.Stats.Records.Load() == n })
			require.NoError(t, r.stop())
			require.Equal(t, upTo(n), f.values(results))
			require.Zero(t, l.Stats.Reopened.Load())
			aborted := 0
			for i, c := range calls {
				require.Equal(t, c.records > 1 && c.size > bound, c.ended, "%+v", c)
				if c.ended {
					aborted++
					require.LessOrEqual(t, calls[i+1].records, c.records/2)
				}
			}
			require.Positive(t, aborted)
			require.EqualValues(t, aborted, l.Stats.Aborted.Load())
		})
	}
}
