package consumers

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Sharing is work that the members of a group share by the partitions of a topic, of which nothing
// is read: whoever holds a partition does what belongs to it, and nobody else does. What belongs
// to a partition is known by keys; see PartitionOf.
type Sharing struct {
	Connection Connection
	Group      Group
	Topic      string
	// Wanted is a key. The member gets the partition of that key before all others, which give it up,
	// and no other partition; "": whatever it is given.
	Wanted string
	Log    zerolog.Logger
	Health func(err error) // called when the group cannot be joined, and with nil when it can; nil: nobody is told
}

// PartitionOf returns the partition, of so many, that a key belongs to.
func PartitionOf(key string, partitions int32) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return int32(h.Sum32() % uint32(partitions))
}

// Share is a partition that this process holds.
type Share struct {
	Partition  int32
	Partitions int32 // that the topic has, as all holders know it
	// Earlier is the widest of what earlier holders have announced and not taken back; zero is nothing.
	Earlier schemas.Lease

	of     *sharing
	cl     *kgo.Client // the one of the callback: sharing.cl is set when the client has been made, which may be later
	member string
}

// Holds tells whether what is of a key belongs to the partition.
func (s *Share) Holds(key string) bool { return PartitionOf(key, s.Partitions) == s.Partition }

// Announce says within which time the holder may begin something, as Lease.Announce does; zero is
// nothing. It fails where another holds the partition.
func (s *Share) Announce(ctx context.Context, within schemas.Lease) error {
	return announce(ctx, s.cl, s.of.Group.Name, s.of.Topic, s.Partition, s.member, shareText(s.Partitions, within))
}

const sharePrefix = "millrace share of="

// shareText is what is announced of a partition of a topic that has so many.
func shareText(partitions int32, l schemas.Lease) string {
	return sharePrefix + strconv.Itoa(int(partitions)) + " " + leaseText(l)
}

func parseShare(text string) (partitions int32, l schemas.Lease) {
	text, ok := strings.CutPrefix(text, sharePrefix)
	of, lease, both := strings.Cut(text, " ")
	n, err := strconv.ParseInt(of, 10, 32)
	if !ok || !both || err != nil {
		return 0, schemas.Lease{}
	}
	return int32(n), parseLease(lease)
}

// sharing is a member of the group.
type sharing struct {
	Sharing
	cl       *kgo.Client
	balancer *shareBalancer
	ctx      context.Context //nolint:containedctx // of the callbacks of the client, which give none that ends with Run
	work     func(ctx context.Context, held *Share) error

	mu   sync.Mutex
	held map[int32]*holding
}

// holding is the work of a partition while it is held.
type holding struct {
	stop context.CancelFunc
	done chan struct{}
}

// Run shares until ctx ends. work is called for each partition as long as it is held, on a goroutine of
// its own, and again where it returns before its ctx has ended. The partition is given up when
// work has returned: its ctx ends when another member is to have the partition, or has it since
// this one was not heard of. An error means that the settings are unusable.
func (s Sharing) Run(ctx context.Context, work func(ctx context.Context, held *Share) error) error {
	m := &sharing{Sharing: s, balancer: newShareBalancer(s.Topic, s.Wanted), ctx: ctx, work: work, held: map[int32]*holding{}}
	// The group is left also when ctx has ended, or the next holder would wait for the session's end.
	connected, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	cl, err := s.Connection.Dial(
		kgo.WithContext(connected),
		kgo.ConsumerGroup(s.Group.Name), kgo.SessionTimeout(s.Group.SessionTimeout), kgo.HeartbeatInterval(s.Group.SessionTimeout/4),
		kgo.RebalanceTimeout(6*s.Group.SessionTimeout), kgo.Balancers(m.balancer),
		kgo.ConsumeTopics(s.Topic), kgo.DisableAutoCommit(),
		kgo.MetadataMaxAge(10*time.Second), kgo.MetadataMinAge(250*time.Millisecond), // how late a new partition is seen
		kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.gone), kgo.OnPartitionsLost(m.gone))
	if err != nil {
		return fmt.Errorf("%w: %w", errConfiguration, err)
	}
	m.cl = cl
	cl.PauseFetchTopics(s.Topic)
	m.poll(ctx)
	m.gone(ctx, cl, map[string][]int32{s.Topic: m.all()}) // while it is still a member
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
	defer cancel()
	_ = cl.LeaveGroupContext(leave)
	cut()
	cl.Close()
	return nil
}

// poll returns when ctx ends: polls bring no record, since the topic is paused, but tell what is wrong.
func (s *sharing) poll(ctx context.Context) {
	tell := func(err error) {
		if s.Health != nil {
			s.Health(err)
		}
	}
	last := ""
	for ctx.Err() == nil {
		polling, cancel := context.WithTimeout(ctx, time.Second)
		fetches := s.cl.PollRecords(polling, 1)
		cancel()
		var failed error
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) && !errors.Is(e.Err, context.Canceled) {
				failed = lacking(e.Err, onGroup("Read", s.Group.Name), onTopics("Read", s.Topic))
			}
		}
		if ctx.Err() != nil {
			return
		}
		if failed == nil {
			if s.joined() {
				last = ""
				tell(nil)
			}
			continue
		}
		failed = fmt.Errorf("share the work of group %s: %w", s.Group.Name, failed)
		tell(failed)
		if text := failed.Error(); text != last { // once, not at each try
			last = text
			s.Log.Error().Err(failed).Msg("cannot hold any partition; trying again")
		}
		_ = sleep(ctx, faultPause)
	}
}

// joined tells whether the client is a member now.
func (s *sharing) joined() bool {
	_, generation := s.cl.GroupMetadata()
	return generation >= 0
}

func (s *sharing) all() []int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]int32, 0, len(s.held))
	for p := range s.held {
		all = append(all, p)
	}
	return all
}

func (s *sharing) assigned(_ context.Context, cl *kgo.Client, assigned map[string][]int32) {
	member, _ := cl.GroupMetadata()
	for _, p := range assigned[s.Topic] {
		ctx, stop := context.WithCancel(s.ctx)
		h := &holding{stop: stop, done: make(chan struct{})}
		s.mu.Lock()
		s.held[p] = h
		s.mu.Unlock()
		held := &Share{Partition: p, Partitions: s.balancer.partitions(), of: s, cl: cl, member: member}
		go func() { // ends with stop, once work has returned
			defer close(h.done)
			s.hold(ctx, held)
		}()
	}
}

// hold does the work of a partition until ctx ends.
func (s *sharing) hold(ctx context.Context, held *Share) {
	for ctx.Err() == nil {
		err := s.earlier(ctx, held)
		if err == nil {
			err = s.work(ctx, held)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.Log.Error().Err(err).Int32("partition", held.Partition).Str("group", s.Group.Name).Msg("the work of a partition has failed; trying again")
		}
		_ = sleep(ctx, faultPause)
	}
}

// earlier reads what earlier holders have announced: those of the partition, and those who knew of
// another number of partitions, by which any key may have been theirs.
func (s *sharing) earlier(ctx context.Context, held *Share) error {
	fetched, err := whole(kadm.NewClient(held.cl).FetchOffsets(ctx, s.Group.Name))
	if err != nil {
		return fmt.Errorf("fetch what holders of group %s have announced: %w", s.Group.Name, err)
	}
	held.Earlier = schemas.Lease{}
	fetched.Each(func(o kadm.OffsetResponse) {
		if o.Topic != s.Topic {
			return
		}
		of, l := parseShare(o.Metadata)
		if l.IsZero() || (of == held.Partitions && o.Partition != held.Partition) {
			return
		}
		if held.Earlier.IsZero() || l.Announced.Before(held.Earlier.Announced) {
			held.Earlier.Announced = l.Announced
		}
		if l.Deadline.After(held.Earlier.Deadline) {
			held.Earlier.Deadline = l.Deadline
		}
	})
	return nil
}

// gone returns when the work of the partitions has ended.
func (s *sharing) gone(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	var ending []*holding
	s.mu.Lock()
	for _, p := range gone[s.Topic] {
		if h := s.held[p]; h != nil {
			h.stop()
			ending = append(ending, h)
			delete(s.held, p)
		}
	}
	s.mu.Unlock()
	for _, h := range ending {
		<-h.done
	}
}
