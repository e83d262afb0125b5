package consumers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

// ErrLeaseLost says that the group has given up on the holder of a lease.
var ErrLeaseLost = errors.New("the lease was lost")

// Lease is held by one process at a time: by the member of a group that has partition 0 of a
// topic, of which nothing is read. The holder announces a deadline before it begins anything, as a
// recorder does: in the metadata of a commit, which is refused when the group has another holder.
// Whoever gets the lease waits for the deadline that it finds, so that a holder that was frozen
// cannot act beside it.
type Lease struct {
	group, topic string
	cl           *kgo.Client
	cut          context.CancelFunc // ends whatever cl still waits for
	got          chan struct{}      // closed when it is held
	lost         context.Context    //nolint:containedctx // ends when the lease is lost, with the cause
	lose         context.CancelCauseFunc

	mu      sync.Mutex
	member  string
	earlier schemas.Lease
}

const (
	leasePrefix   = "millrace lease announced="
	leaseDeadline = " deadline="
)

func leaseText(l schemas.Lease) string {
	if l.IsZero() {
		return leasePrefix + "0" + leaseDeadline + "0"
	}
	return leasePrefix + strconv.FormatInt(l.Announced.UnixMicro(), 10) + leaseDeadline + strconv.FormatInt(l.Deadline.UnixMicro(), 10)
}

func parseLease(text string) (l schemas.Lease) {
	text, ok := strings.CutPrefix(text, leasePrefix)
	announced, deadline, limited := strings.Cut(text, leaseDeadline)
	from, errFrom := strconv.ParseInt(announced, 10, 64)
	to, errTo := strconv.ParseInt(deadline, 10, 64)
	if ok && limited && errFrom == nil && errTo == nil && to > 0 {
		l = schemas.Lease{Announced: time.UnixMicro(from), Deadline: time.UnixMicro(to)}
	}
	if span := l.Deadline.Sub(l.Announced); span < 0 || span > longestLease { // damaged: recorders wait for it, too
		return schemas.Lease{}
	}
	return l
}

// AcquireLease waits until the lease is held, or ctx ends. The topic must have one partition,
// or the lease can move while it is held. Release it.
func AcquireLease(ctx context.Context, conn Connection, group Group, topic string) (*Lease, error) {
	l := &Lease{group: group.Name, topic: topic, got: make(chan struct{})}
	l.lost, l.lose = context.WithCancelCause(context.Background())
	// It is left also when ctx has ended, or the next holder would wait for the session's end.
	connected, cut := context.WithCancel(context.WithoutCancel(ctx))
	l.cut = cut
	cl, err := conn.Dial(
		kgo.WithContext(connected),
		kgo.ConsumerGroup(group.Name), kgo.SessionTimeout(group.SessionTimeout), kgo.HeartbeatInterval(group.SessionTimeout/4),
		kgo.RebalanceTimeout(6*group.SessionTimeout), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.MetadataMinAge(250*time.Millisecond),
		kgo.OnPartitionsAssigned(l.assigned), kgo.OnPartitionsRevoked(l.gone), kgo.OnPartitionsLost(l.gone))
	if err != nil {
		cut()
		return nil, fmt.Errorf("%w: %w", errConfiguration, err)
	}
	l.cl = cl
	cl.PauseFetchTopics(topic)
	if err := l.await(ctx); err != nil {
		l.Release()
		return nil, fmt.Errorf("wait for the lease of group %s: %w", group.Name, err)
	}
	// Of who held it before.
	adm := kadm.NewClient(cl)
	fetched, err := whole(adm.FetchOffsets(ctx, group.Name))
	if err != nil {
		l.Release()
		return nil, fmt.Errorf("fetch what the last holder of the lease of group %s has announced: %w", group.Name, err)
	}
	if o, ok := fetched.Lookup(topic, 0); ok {
		l.earlier = parseLease(o.Metadata)
	}
	return l, nil
}

// await returns when the lease is held, or when it is forbidden: polls bring no record, since the topic
// is paused, but tell that.
func (l *Lease) await(ctx context.Context) error {
	polling, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with await
		select {
		case <-l.got:
			stop()
		case <-polling.Done():
		}
	}()
	for {
		fetches := l.cl.PollRecords(polling, 1)
		select {
		case <-l.got:
			return nil
		default:
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, e := range fetches.Errors() {
			if isForbidden(e.Err) {
				return lacking(e.Err, onGroup("Read", l.group), onTopics("Read", l.topic))
			}
		}
		if fetches.NumRecords() == 0 {
			_ = sleep(polling, faultPause)
		}
	}
}

func (l *Lease) assigned(_ context.Context, cl *kgo.Client, assigned map[string][]int32) {
	for _, p := range assigned[l.topic] {
		if p == 0 {
			l.mu.Lock()
			l.member, _ = cl.GroupMetadata()
			l.mu.Unlock()
			close(l.got)
		}
	}
}

func (l *Lease) gone(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	for _, p := range gone[l.topic] {
		if p == 0 {
			l.lose(fmt.Errorf("%w: group %s has another holder", ErrLeaseLost, l.group))
		}
	}
}

// Earlier returns what the holder before has announced; zero is nothing.
func (l *Lease) Earlier() schemas.Lease { return l.earlier }

// Announce says within which time the holder may begin something; zero is nothing. It fails where
// the lease is lost.
func (l *Lease) Announce(ctx context.Context, within schemas.Lease) error {
	if l.lost.Err() != nil {
		return context.Cause(l.lost)
	}
	l.mu.Lock()
	member := l.member
	l.mu.Unlock()
	return announce(ctx, l.cl, l.group, l.topic, 0, member, leaseText(within))
}

// announce commits a text for a partition, as the member that it was assigned to. It fails where the
// group has another holder of the partition.
func announce(ctx context.Context, cl *kgo.Client, group, topic string, partition int32, member, text string) error {
	annotate := kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		if req.MemberID != member {
			return ErrLeaseLost
		}
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				req.Topics[i].Partitions[j].Metadata = &text
			}
		}
		return nil
	})
	var failed error
	cl.CommitOffsetsSync(annotate, map[string]map[int32]kgo.EpochOffset{topic: {partition: {Epoch: -1, Offset: 0}}},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			failed = err
			if resp == nil {
				return
			}
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
				}
			}
		})
	if failed != nil {
		return fmt.Errorf("announce to group %s: %w", group, lacking(failed, onGroup("Read", group), onTopics("Read", topic)))
	}
	return nil
}

// leaveWithin is how long a broker has to hear that the lease is given up.
const leaveWithin = time.Second

// Release gives the lease up. It waits leaveWithin for the broker; where none has answered by
// then, the next holder waits for the end of the session.
func (l *Lease) Release() {
	l.lose(ErrLeaseLost)
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	_ = l.cl.LeaveGroupContext(ctx)
	l.cut()
	l.cl.Close()
}
