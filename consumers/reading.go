package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reading is what is to be told of a member of a group beside its records: whether it has begun to
// read, how far it is behind, and whose records have no usable time. It outlives the member's
// sessions, whose clients have its hook. It is safe for concurrent use.
type reading struct {
	group string
	tell  func() // called once, when the member has begun to read

	joined atomic.Bool // the group has given it partitions, and nothing was fetched of them yet
	begun  atomic.Bool

	mu      sync.Mutex
	cl      *kgo.Client        // of the session
	stop    context.CancelFunc // ends watch
	look    chan struct{}      // has watch look at once
	of      map[topicPartition]*extent
	untimed map[string]int64 // records read, by topic
}

// extent is where a partition that the member has begins and ends for it. Behind what was polled last
// may lie the ends of transactions, which nobody has to answer.
type extent struct {
	start int64 // where the member was assigned it, or where its log began then
	data  int64 // behind the last record that was polled
	end   int64 // behind the ends of transactions that follow it
	high  int64 // the high watermark; -1 until it is known
}

// lookInterval is how often the ends of the partitions are asked for: a partition of which nothing is
// fetched, since it waits or stands still, falls behind all the same.
const lookInterval = 5 * time.Second

func newReading(group string, tell func()) *reading {
	return &reading{group: group, tell: tell, look: make(chan struct{}, 1), of: map[topicPartition]*extent{}, untimed: map[string]int64{}}
}

// readingHook is what a client tells a reading of.
type readingHook struct{ *reading }

// OnNewClient implements kgo.HookNewClient.
func (r readingHook) OnNewClient(cl *kgo.Client) {
	ctx, stop := context.WithCancel(context.Background())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cl, r.stop = cl, stop
	clear(r.of)
	go r.watch(ctx, cl) // ends when the client is closed
}

// OnClientClosed implements kgo.HookClientClosed.
func (r readingHook) OnClientClosed(cl *kgo.Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cl != cl {
		return
	}
	r.stop()
	r.cl = nil
	clear(r.of)
}

// OnBrokerE2E implements kgo.HookBrokerE2E: it waits for the first answer to a fetch. The client asks
// for nothing before it has partitions, and the broker answers when it has records, or soon after.
func (r readingHook) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if !r.begun.Load() && key == kmsg.Fetch.Int16() && e2e.Err() == nil && r.joined.Load() {
		r.begin()
	}
}

// given takes note of the partitions that the group has given to the member, beside those that it
// has. There may be none: others have them all.
func (r *reading) given(partitions map[string][]int32) {
	if len(partitions) > 0 {
		r.joined.Store(true)
	} else if !r.joined.Load() {
		r.begin()
	}
}

func (r *reading) begin() {
	if !r.begun.Swap(true) {
		r.tell()
	}
}

// err tells what a member that has not begun to read waits for. Once it has, a rebalance changes
// nothing of that: whoever has the partitions reads them.
func (r *reading) err() error {
	switch {
	case r.begun.Load():
		return nil
	case r.joined.Load():
		return fmt.Errorf("%w: waiting for the first fetch of the partitions from group %s", ErrNotReading, r.group)
	default:
		return fmt.Errorf("%w: waiting for partitions from group %s; a member of it that was killed keeps its own until kafka.session_timeout has passed", ErrNotReading, r.group)
	}
}

// ErrNotReading says that a member of a group has not begun to read.
var ErrNotReading = errors.New("not reading yet")

// assigned takes note of where partitions begin that the member is assigned.
func (r *reading) assigned(offsets map[string]map[int32]kgo.Offset) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, partitions := range offsets {
		for partition, o := range partitions {
			at := max(0, o.EpochOffset().Offset)
			r.of[topicPartition{topic, partition}] = &extent{start: at, data: at, end: at, high: -1}
		}
	}
	select {
	case r.look <- struct{}{}:
	default:
	}
}

// gone takes note of partitions that are taken away.
func (r *reading) gone(partitions map[string][]int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, of := range partitions {
		for _, partition := range of {
			delete(r.of, topicPartition{topic, partition})
		}
	}
}

// polled takes note of how far the partitions were polled, and of where they end.
func (r *reading) polled(fetches kgo.Fetches) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		e := r.of[topicPartition{p.Topic, p.Partition}]
		if e == nil || p.Err != nil || len(p.Records) == 0 {
			return
		}
		e.high = p.HighWatermark
		n := len(p.Records)
		last := p.Records[n-1].Offset + 1
		for n > 0 && p.Records[n-1].Attrs.IsControl() {
			n--
		}
		if n > 0 {
			e.data = p.Records[n-1].Offset + 1
		}
		e.end = last
	})
}

// noTime takes note of a record without a usable time.
func (r *reading) noTime(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untimed[topic]++
}

// watch asks now and then how far the partitions reach.
func (r *reading) watch(ctx context.Context, cl *kgo.Client) {
	adm := kadm.NewClient(cl)
	every := time.NewTicker(lookInterval)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		case <-r.look:
		}
		r.mu.Lock()
		topics := map[string]bool{}
		for tp := range r.of {
			topics[tp.topic] = true
		}
		r.mu.Unlock()
		if len(topics) == 0 {
			continue
		}
		names := slices.Collect(maps.Keys(topics))
		starts, err := adm.ListStartOffsets(ctx, names...)
		if err != nil {
			continue // and known as before
		}
		if ends, err := adm.ListEndOffsets(ctx, names...); err == nil {
			r.listed(starts, ends)
		}
	}
}

// listed takes note of how far partitions reach, of which some may have been taken away meanwhile.
func (r *reading) listed(starts, ends kadm.ListedOffsets) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for tp, e := range r.of {
		if o, ok := starts.Lookup(tp.topic, tp.partition); ok && o.Err == nil {
			e.start = max(e.start, o.Offset)
		}
		if o, ok := ends.Lookup(tp.topic, tp.partition); ok && o.Err == nil {
			e.high = o.Offset
		}
	}
}

// Lags calls visit with how many offsets each partition that the lane has now holds behind what is
// committed of it, open transactions included. The ends of transactions count as committed with what
// they follow. It may be called at any time.
func (l *Lane) Lags(visit func(topic string, partition int32, records int64)) { l.reading.lags(visit) }

// Untimed calls visit with how many records of each topic had no usable time, counted each time that
// they were read. It may be called at any time.
func (l *Lane) Untimed(visit func(topic string, records int64)) { l.reading.eachUntimed(visit) }

// Lags is Lane.Lags for a recorder.
func (r *Recorder) Lags(visit func(topic string, partition int32, records int64)) {
	r.reading.lags(visit)
}

// Untimed is Lane.Untimed for a recorder.
func (r *Recorder) Untimed(visit func(topic string, records int64)) { r.reading.eachUntimed(visit) }

// lags implements Lane.Lags.
func (r *reading) lags(visit func(topic string, partition int32, records int64)) {
	r.mu.Lock()
	cl, none := r.cl, len(r.of) == 0
	r.mu.Unlock()
	if cl == nil || none { // a client that is being made has no partitions, and is not to be asked yet
		return
	}
	committed := cl.CommittedOffsets()
	r.mu.Lock()
	defer r.mu.Unlock()
	for tp, e := range r.of {
		if e.high < 0 {
			continue
		}
		at := max(e.start, committed[tp.topic][tp.partition].Offset)
		if at >= e.data {
			at = max(at, e.end)
		}
		visit(tp.topic, tp.partition, max(0, e.high-at))
	}
}

// eachUntimed implements Lane.Untimed.
func (r *reading) eachUntimed(visit func(topic string, records int64)) {
	r.mu.Lock()
	counts := maps.Clone(r.untimed)
	r.mu.Unlock()
	for topic, n := range counts {
		visit(topic, n)
	}
}
