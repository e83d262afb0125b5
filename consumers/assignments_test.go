package consumers_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

var deliveries = []consumers.Delivery{consumers.ExactlyOnce, consumers.AtLeastOnce}

// members returns how many partitions each member of the workers' group has, nil while it
// rebalances.
func (f *fixture) members() map[string]int {
	f.Helper()
	group := f.group("workers").Name
	groups, err := f.adm.DescribeGroups(context.Background(), group)
	require.NoError(f, err)
	if groups[group].State != "Stable" {
		return nil
	}
	partitions := map[string]int{}
	for _, m := range groups[group].Members {
		partitions[m.MemberID] = 0
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, topic := range a.Topics {
				partitions[m.MemberID] += len(topic.Partitions)
			}
		}
	}
	return partitions
}

// evict has the workers' group give up its only member, as after a silence of a session
// timeout. The member's heartbeats are answered as if nothing had happened, until notice:
// it returns when one has been answered as if others had joined.
func (f *fixture) evict(cluster *kfake.Cluster, member string) (notice func()) {
	f.Helper()
	var code atomic.Int32
	noticed := make(chan struct{}, 100)
	cluster.ControlKey(int16(kmsg.Heartbeat), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if req.(*kmsg.HeartbeatRequest).MemberID != member {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
		if resp.ErrorCode = int16(code.Load()); resp.ErrorCode != 0 {
			noticed <- struct{}{}
		}
		return resp, nil, true
	})
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group, leave.MemberID = f.group("workers").Name, member
	leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: member}}
	_, err := leave.RequestWith(context.Background(), f.cl)
	require.NoError(f, err)
	return func() {
		code.Store(int32(kerr.RebalanceInProgress.Code))
		receive(f, noticed, "a heartbeat")
	}
}

// A lane that the group gave up, and that joins anew before it has noticed, keeps its
// partitions as far as the client knows. Another one has answered some of their requests by
// then: neither are they answered again, nor is its commit overwritten.
func TestLaneThatWasReplaced(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		for _, busy := range []bool{false, true} {
			name := string(delivery) + "/idle"
			if busy {
				name = string(delivery) + "/in a batch"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "1000"}))
				require.NoError(t, err)
				defer cluster.Close()
				f := newFixture(t, cluster.ListenAddrs()[0])
				requests, results := f.topic("requests.a", 1, nil), f.topic("results.a", 1, nil)
				group := f.group("workers").Name
				f.fill(requests, 1, 0, 10)
				s := newStuck()
				cfg := f.laneConfig("requests.", 0)
				cfg.Delivery, cfg.MaxRecords = delivery, 10
				r, l := f.lane(cfg, handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
					if records[0].Offset >= 10 && busy {
						if err := s.wait(ctx); err != nil {
							return err
						}
					}
					return echo(results)(ctx, records, out)
				}))
				await(t, "the first are answered", func() bool { return l.Stats.Records.Load() == 10 })
				f.awaitLag(0, requests)
				before := f.members()
				require.Len(t, before, 1)
				var old string
				for old = range before {
				}
				if busy {
					f.fill(requests, 1, 10, 30)
					receive(t, s.reached, "a batch")
				}
				notice := f.evict(cluster, old)
				offsets := kadm.Offsets{} // of the other one
				offsets.AddOffset(requests, 0, 40, -1)
				require.NoError(t, f.adm.CommitAllOffsets(t.Context(), group, offsets))
				var overwritten atomic.Bool
				cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
					cluster.KeepControl()
					commit := req.(*kmsg.OffsetCommitRequest)
					if commit.MemberID != old && commit.Topics[0].Partitions[0].Offset < 40 {
						overwritten.Store(true)
					}
					return nil, nil, false
				})
				notice()
				if delivery == consumers.AtLeastOnce { // which joins when its batch is done
					close(s.release)
				}
				await(t, "it has joined anew", func() bool {
					now := f.members()
					_, still := now[old]
					return len(now) == 1 && !still
				})
				if delivery == consumers.ExactlyOnce {
					close(s.release)
				}
				if busy {
					f.fill(requests, 1, 40, 10)
				} else {
					f.fill(requests, 1, 10, 40)
				}
				await(t, "the last are answered", func() bool { v := f.numbers(f.read(results)); return len(v) > 0 && v[len(v)-1] == 49 })
				f.awaitLag(0, requests)
				require.NoError(t, r.stop())
				require.False(t, overwritten.Load())
				require.Positive(t, l.Stats.Reopened.Load())
				got := f.values(results)
				if busy && delivery == consumers.AtLeastOnce { // what it answers before it knows is answered again
					got = slices.DeleteFunc(got, func(n int) bool { return n >= 10 && n < 40 })
				}
				require.Equal(t, append(upTo(10), upTo(50)[40:]...), got)
			})
		}
	}
}

// A group that has committed nothing reads a log that no longer begins at 0. What it goes
// back to after a first batch that failed is where the log begins.
func TestLaneFirstBatchFails(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			requests, results := f.topic("requests.a", 1, nil), f.topic("results.a", 1, nil)
			f.fill(requests, 1, 0, 20)
			del := kadm.Offsets{}
			del.AddOffset(requests, 0, 8, -1)
			_, err := f.adm.DeleteRecords(t.Context(), del)
			require.NoError(t, err)
			var calls atomic.Int64
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery = delivery
			r, l := f.lane(cfg, handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
				if calls.Add(1) == 1 {
					return errors.New("not today")
				}
				return echo(results)(ctx, records, out)
			}))
			await(t, "all answered", func() bool { return l.Stats.Records.Load() == 12 })
			require.NoError(t, r.stop())
			require.Equal(t, upTo(20)[8:], f.values(results))
			require.Zero(t, l.Stats.Reopened.Load())
		})
	}
}

// The client does not tell of each partition that is lost while a lane has nothing to do.
// What a lane is given of a partition continues what it was given before, or it has been
// told that it need not.
func TestLaneTellsWhatItIsAssigned(t *testing.T) {
	t.Parallel()
	for _, delivery := range deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedAddr)
			requests, results := f.topic("requests.a", 4, nil), f.topic("results.a", 4, nil)
			const each = 40
			f.fill(requests, 4, 0, each)
			var mu sync.Mutex
			next, gaps := map[int32]int64{}, 0
			cfg := f.laneConfig("requests.", 0)
			cfg.Delivery = delivery
			cfg.Lost = func(lost map[string][]int32) {
				mu.Lock()
				defer mu.Unlock()
				if lost == nil {
					clear(next)
				}
				for _, p := range lost[requests] {
					delete(next, p)
				}
			}
			_, l := f.lane(cfg, handlerFunc(func(ctx context.Context, records []schemas.Record, out consumers.Publisher) error {
				mu.Lock()
				for i := range records {
					if at, ok := next[records[i].Partition]; ok && records[i].Offset > at {
						gaps++
					}
					next[records[i].Partition] = records[i].Offset + 1
				}
				mu.Unlock()
				return echo(results)(ctx, records, out)
			}))
			await(t, "the first are answered", func() bool { return l.Stats.Records.Load() == each })
			var others []*running
			for lane := 1; lane <= 3; lane++ {
				cfg := f.laneConfig("requests.", lane)
				cfg.Delivery = delivery
				r, _ := f.lane(cfg, echo(results))
				others = append(others, r)
				await(t, "it has its share", func() bool {
					members, total := f.members(), 0
					for _, n := range members {
						if n == 0 {
							return false
						}
						total += n
					}
					return len(members) == lane+1 && total == 4
				})
			}
			f.fill(requests, 4, each, each)
			f.awaitLag(0, requests)
			for _, r := range others {
				require.NoError(t, r.stop())
			}
			f.fill(requests, 4, 2*each, each)
			f.awaitLag(0, requests)
			require.Equal(t, upTo(3*each), f.values(results))
			mu.Lock()
			defer mu.Unlock()
			require.Zero(t, gaps)
		})
	}
}
