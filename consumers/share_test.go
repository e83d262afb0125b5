package consumers_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// Every partition has one holder, whoever wants a key has its partition and no other, shares differ
// by one at most, and a member keeps what it had as far as that lets it.
func TestShareOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int32Range(1, 12).Draw(t, "partitions")
		members := map[string]consumers.ShareMember{}
		for i := range rapid.IntRange(0, 6).Draw(t, "members") {
			m := consumers.ShareMember{Generation: rapid.Int32Range(0, 3).Draw(t, "generation")}
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				m.Wanted = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
			}
			m.Held = rapid.SliceOfNDistinct(rapid.Int32Range(0, n), 0, 3, rapid.ID[int32]).Draw(t, "held")
			members[fmt.Sprintf("member-%d", i)] = m
		}
		out := consumers.ShareOut(members, n)
		require.Len(t, out, int(n))
		shares, wanted, takers := map[string]int{}, map[int32]bool{}, 0
		for _, m := range members {
			if m.Wanted == "" {
				takers++
			} else {
				wanted[consumers.PartitionOf(m.Wanted, n)] = true
			}
		}
		for p, id := range out {
			m := members[id]
			switch {
			case wanted[int32(p)]:
				require.Equal(t, int32(p), consumers.PartitionOf(m.Wanted, n))
				require.NotEmpty(t, m.Wanted)
			case takers == 0:
				require.Empty(t, id)
			default:
				require.NotEmpty(t, id)
				require.Empty(t, m.Wanted)
				shares[id]++
			}
		}
		if takers > 0 {
			each := (int(n) - len(wanted)) / takers
			for id, m := range members {
				if m.Wanted == "" {
					require.Contains(t, []int{each, each + 1}, shares[id])
				}
			}
		}
		// As they hold now: nothing moves.
		for id, m := range members {
			m.Held, m.Generation = nil, 4
			for p, holder := range out {
				if holder == id {
					m.Held = append(m.Held, int32(p))
				}
			}
			members[id] = m
		}
		require.Equal(t, out, consumers.ShareOut(members, n))
	})
}

// shares is the work of several members: who holds which partition. Two at once fail the test.
type shares struct {
	t  *testing.T
	f  *fixture
	mu sync.Mutex
	by map[int32]string
	of map[int32]int32
	n  int // times that a partition was taken
}

// join adds a member until stop is called, which waits until it has left.
func (s *shares) join(name, topic, wanted string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	sharing := consumers.Sharing{Connection: s.f.conn, Group: s.f.group("shares"), Topic: topic, Wanted: wanted, Log: s.f.log}
	go func() { done <- sharing.Run(ctx, s.hold(name)) }() // ends with stop
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(s.t, receive(s.t, done, "the end of "+name))
	})
	s.t.Cleanup(stop)
	return stop
}

func (s *shares) hold(name string) func(ctx context.Context, held *consumers.Share) error {
	return func(ctx context.Context, held *consumers.Share) error {
		s.mu.Lock()
		if was, taken := s.by[held.Partition]; taken {
			s.t.Errorf("%s and %s hold partition %d", was, name, held.Partition)
		}
		s.by[held.Partition], s.of[held.Partition] = name, held.Partitions
		s.n++
		s.mu.Unlock()
		now := time.Now()
		if err := held.Announce(ctx, schemas.Lease{Announced: now, Deadline: now.Add(time.Minute)}); err != nil && ctx.Err() == nil {
			s.t.Errorf("%s cannot announce: %v", name, err)
		}
		<-ctx.Done()
		s.mu.Lock()
		delete(s.by, held.Partition)
		s.mu.Unlock()
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = held.Announce(leave, schemas.Lease{})
		return nil
	}
}

// await waits until each member holds as many partitions, of a topic that has so many, as one of the maps says.
func (s *shares) await(of int32, want ...map[string]int) {
	s.t.Helper()
	await(s.t, fmt.Sprintf("%v hold partitions", want), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		got := map[string]int{}
		for p, name := range s.by {
			if s.of[p] != of {
				return false
			}
			got[name]++
		}
		return slices.ContainsFunc(want, func(w map[string]int) bool { return maps.Equal(got, w) })
	})
}

func (s *shares) holder(p int32) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[p]
}

func (s *shares) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// Members come and go, one wants a key, and the topic gets more partitions: at no time do two hold
// the same one, and whoever keeps a partition is not interrupted.
func TestSharing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("shared", 4, nil)
	s := &shares{t: t, f: f, by: map[int32]string{}, of: map[int32]int32{}}
	one := s.join("one", topic, "")
	s.await(4, map[string]int{"one": 4})
	two := s.join("two", topic, "")
	s.await(4, map[string]int{"one": 2, "two": 2})
	require.Equal(t, 4+2, s.taken(), "two partitions have moved, and two were left alone")

	wanted := consumers.PartitionOf("key", 4)
	was := s.holder(wanted)
	command := s.join("command", topic, "key")
	want := map[string]int{"one": 2, "two": 2, "command": 1}
	want[was]--
	s.await(4, want)
	require.Equal(t, "command", s.holder(wanted))
	require.Equal(t, 4+2+1, s.taken())
	waiting := s.join("waiting", topic, "key")
	waiting()
	require.Equal(t, "command", s.holder(wanted), "who has it keeps it")
	command()
	s.await(4, map[string]int{"one": 2, "two": 2})
	require.Equal(t, was, s.holder(wanted))
	require.Equal(t, 4+2+2, s.taken())

	two()
	s.await(4, map[string]int{"one": 4})
	s.join("three", topic, "")
	s.await(4, map[string]int{"one": 2, "three": 2})
	f.topic(strings.TrimPrefix(topic, f.id+"."), 7, nil)
	s.await(7, map[string]int{"one": 4, "three": 3}, map[string]int{"one": 3, "three": 4})
	one()
	s.await(7, map[string]int{"three": 7})
}

// What a holder has announced is known to whoever gets the partition, and of holders who knew of
// fewer partitions all of it.
func TestSharesKnowWhatWasAnnounced(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("shared", 2, nil)
	at := time.Now().Truncate(time.Microsecond)
	announced := func(p int32) schemas.Lease {
		return schemas.Lease{Announced: at.Add(time.Duration(p) * time.Second), Deadline: at.Add(time.Duration(p+60) * time.Second)}
	}
	hold := func(partitions int32, then func(held *consumers.Share) error) map[int32]schemas.Lease {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var mu sync.Mutex
		found := map[int32]schemas.Lease{}
		all := make(chan struct{})
		done := make(chan error, 1)
		sharing := consumers.Sharing{Connection: f.conn, Group: f.group("shares"), Topic: topic, Log: f.log}
		go func() { // ends with stop
			done <- sharing.Run(ctx, func(ctx context.Context, held *consumers.Share) error {
				if held.Partitions != partitions {
					return nil
				}
				if err := then(held); err != nil {
					return err
				}
				mu.Lock()
				found[held.Partition] = held.Earlier
				if len(found) == int(partitions) {
					close(all)
				}
				mu.Unlock()
				<-ctx.Done()
				return nil
			})
		}()
		receive(t, all, "all partitions are held")
		stop()
		require.NoError(t, receive(t, done, "it has left"))
		return found
	}
	announce := func(held *consumers.Share) error { return held.Announce(t.Context(), announced(held.Partition)) }
	nothing := func(*consumers.Share) error { return nil }
	require.Equal(t, map[int32]schemas.Lease{0: {}, 1: {}}, hold(2, announce))
	require.Equal(t, map[int32]schemas.Lease{0: announced(0), 1: announced(1)}, hold(2, nothing))
	f.topic(strings.TrimPrefix(topic, f.id+"."), 3, nil)
	both := schemas.Lease{Announced: announced(0).Announced, Deadline: announced(1).Deadline}
	require.Equal(t, map[int32]schemas.Lease{0: both, 1: both, 2: both}, hold(3, nothing))
	takeBack := func(held *consumers.Share) error { return held.Announce(t.Context(), schemas.Lease{}) }
	hold(3, takeBack)
	require.Equal(t, map[int32]schemas.Lease{0: {}, 1: {}, 2: {}}, hold(3, nothing))
}
