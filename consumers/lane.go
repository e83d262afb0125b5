package consumers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Delivery says what a lane promises.
type Delivery string

// The deliveries.
const (
	// ExactlyOnce ends each batch as one transaction, its offsets included, before the next one
	// is polled.
	ExactlyOnce Delivery = "exactly_once"
	// AtLeastOnce commits offsets behind what was acknowledged, several batches at a time on
	// their way: the lowest latency, and results twice after a crash.
	AtLeastOnce Delivery = "at_least_once"
)

// LaneConfig configures one lane.
type LaneConfig struct {
	Connection
	Group
	Delivery    Delivery
	Instance    string // of the worker; with Group and Lane it makes the transactional id, so it must be stable over restarts and unique among running workers
	Lane        int
	Static      bool   // a static member, by Instance and Lane: a restart within the session timeout moves no partition
	TopicPrefix string // every topic with this prefix is read
	MaxRecords  int    // of one request batch, which has no more than some megabytes either
	// MaxBytes returns how large a batch that a topic takes may be; nil: schemas.MaxResultBytes for
	// all of them. A larger one would be refused for ever, since it is made again from the same requests.
	MaxBytes           func(topic string) int
	TransactionTimeout time.Duration // after it the brokers abort; a message that cannot be produced for half of it fails its batch
	// Start, if set, decides where partitions begin of which the group has no commit: it returns
	// an offset for each. A StartError ends the lane; after any other error it is asked again. It
	// may be called by another goroutine than the handler, while other partitions are answered.
	Start func(ctx context.Context, partitions []Unstarted) ([]int64, error)
	// Lost, if set, is told which partitions the lane no longer has, nil for all, and of each that
	// it is assigned, before its first records: what comes need not continue what came before. It
	// may be called by another goroutine than the handler.
	Lost func(partitions map[string][]int32)
	// SetAside publishes the dead letter of a record batch that cannot be read. It is needed
	// where Unreadable is UnreadableSkip, and is called by the goroutine that calls the handler.
	SetAside func(batch *UnreadableBatchError, out Publisher)
	// Origin, if set, returns which request a message answers; ok is false where that is not to be
	// said. It is asked of messages that could not be produced. Where that is by fault of their
	// topic, the partitions of these requests wait: they are paused, nothing of them is committed,
	// and the others go on. The topic is looked at until it takes what it has refused, and then
	// they go on. Without Origin, and after every other fault, the batch fails as a whole. It may be
	// called by several goroutines, and must not block.
	Origin func(m schemas.Message) (source Source, ok bool)
	// Awaited, if set, is told of all partitions of the lane that wait for a topic, at each change.
	// It may be called by several goroutines, one at a time, and must not block.
	Awaited func(awaited []Awaited)
	// Health, if set, is told what failed, and nil when a batch was committed, or when a new
	// session has its partitions after one that failed; while partitions are stopped it is told
	// which instead, and until the lane has begun to read, from NewLane on, what it waits for. It may
	// be called by several goroutines, and must not block.
	Health func(err error)
}

// Publisher takes messages into the batch that is being handled.
type Publisher interface {
	// Publish needs its message's bytes unchanged until the batch has ended; those of Buffer
	// and of the batch's records are. A message that cannot be produced fails the batch, or the
	// part of it that it answers (LaneConfig.Origin). It is
	// sent when the handler has returned. Where several records become more than a batch can
	// hold, their batch has failed, and Handle's context ends.
	Publish(m schemas.Message)
	// Buffer returns memory for bytes to publish: append to it, until the next call. What
	// stands in it is the batch's until the batch has ended.
	Buffer() *[]byte
	// OnCommit has fn called when the batch is committed or, at least once, acknowledged; never
	// where it is not. fn must not block; it may run in another goroutine.
	OnCommit(fn func())
}

// Handler answers one request batch. What it publishes is committed with the batch's offsets.
// After an error nothing of the batch is committed, and its records come again, fewer at a time,
// after a wait that doubles up to 10 s. After a rebalance that aborted the batch they come again
// at once, if the lane still has their partition. records is valid until Handle returns, and the
// bytes of its records as long as what was published. Handle is called by one goroutine.
type Handler interface {
	Handle(ctx context.Context, records []schemas.Record, fetched time.Time, out Publisher) error
}

// LaneStats count over the life of a lane; they may be read at any time.
type LaneStats struct {
	Batches   atomic.Int64 // committed; at least once: acknowledged
	Records   atomic.Int64 // of the committed batches
	Published atomic.Int64 // messages of the committed batches
	Aborted   atomic.Int64 // by a failure or, where it is a transaction, a rebalance
	Reopened  atomic.Int64 // sessions given up and opened anew
}

// Lane is one member of the workers' consumer group with one session of its own.
type Lane struct {
	cfg   LaneConfig
	log   zerolog.Logger
	polls *appetite
	Stats LaneStats

	reopened atomic.Bool                  // a session has failed, and the next one has no partitions yet
	stalls   atomic.Pointer[stalls]       // of the session
	held     atomic.Pointer[held]         // of the session
	dests    atomic.Pointer[destinations] // of the session
	waiting  *waiting
	reading  *reading
	limits   limits
}

// NewLane prepares a lane; nothing is connected before Run.
func NewLane(cfg LaneConfig, log zerolog.Logger) *Lane {
	l := &Lane{cfg: cfg, polls: newAppetite(cfg.MaxRecords), waiting: newWaiting(), log: log.With().Int("lane", cfg.Lane).Logger()}
	l.reading = newReading(cfg.Name, func() { l.health(nil) })
	l.health(nil) // which says that it has not begun
	return l
}

func (l *Lane) health(err error) {
	if l.cfg.Health == nil {
		return
	}
	if err == nil {
		err = errors.Join(l.stopped(), l.waiting.err(), l.reading.err())
	}
	l.cfg.Health(err)
}

// stopped says which partitions are stopped, and why.
func (l *Lane) stopped() error {
	if s := l.stalls.Load(); s != nil {
		return s.err()
	}
	return nil
}

// endStopped adds to the error of a session that ends with ctx which partitions are stopped. It is
// called before the client is closed, which takes the partitions away.
func (l *Lane) endStopped(ctx context.Context, err *error) {
	if ctx.Err() != nil {
		*err = errors.Join(*err, l.stopped())
	}
}

// moveBehind has the client go on behind record batches that were set aside.
func moveBehind(cl *kgo.Client, aside []*UnreadableBatchError) {
	for _, e := range aside {
		cl.SetOffsets(e.behind())
	}
}

// Run polls until ctx ends; the batch in hand is then finished under hard, and the group
// is left. It returns nil after such an orderly end. Kafka being away is waited for, and a
// session that cannot be used further is opened anew. A partition of which records were lost
// (LostRangeError) or cannot be read (UnreadableBatchError) is stopped, and the others go on:
// Run returns why when ctx has ended. Any other error means that the settings are unusable,
// that it is not known where to start (StartError), or that the last batch could not be finished,
// which leaves it to whoever gets its partitions.
func (l *Lane) Run(ctx, hard context.Context, h Handler) error {
	for backoff := time.Duration(0); ; {
		began := time.Now()
		l.lost(nil)
		l.polls.begin()
		var err error
		if l.cfg.Delivery == AtLeastOnce {
			err = l.atLeastOnce(ctx, hard, h)
		} else {
			err = l.exactlyOnce(ctx, hard, h)
		}
		if err == nil || hopeless(err) || ctx.Err() != nil || hard.Err() != nil {
			return cutOff(hard, err)
		}
		if errors.Is(err, errLimit) {
			l.Stats.Reopened.Add(1)
			l.log.Info().Err(err).Msg("opening a new session, whose client knows")
			continue
		}
		if time.Since(began) > time.Minute {
			backoff = 0
		}
		backoff = longer(backoff)
		l.Stats.Reopened.Add(1)
		l.reopened.Store(true)
		l.polls.failed()
		l.health(err)
		l.log.Error().Err(err).Dur("retry_in", backoff).Msg("lane session failed; opening a new one")
		if sleep(ctx, backoff) != nil {
			return nil //nolint:nilerr // the session is closed: this is an orderly end
		}
	}
}

// ClientOptions returns the options of one client that both deliveries share. The client uses the
// memory of records again on which Recycle was called. ClientOptions is exported for cmd/bench,
// which compares a lane with a bare client of the same settings.
func (l *Lane) ClientOptions(hard context.Context) []kgo.Opt {
	return append(l.cfg.options(), l.options(hard, newAssignments(l.log))...)
}

func (l *Lane) options(hard context.Context, assigned *assignments) []kgo.Opt {
	budget := newFetchBudget(fetchedBytes) // what is not compressed as well
	opts := groupOptions(hard, l.cfg.Group)
	if id := l.staticInstance(); id != "" {
		opts = append(opts, kgo.InstanceID(id))
	}
	if l.cfg.Origin != nil {
		opts = append(opts, kgo.UnknownTopicRetries(0)) // a topic that is not there is noticed at once, and looked at beside the lane
	}
	return append(opts,
		kgo.OnPartitionsAssigned(l.assigned), kgo.OnPartitionsRevoked(l.revoked), kgo.OnPartitionsLost(l.revoked), kgo.AdjustFetchOffsetsFn(func(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			l.released()
			if l.waiting.begin(assigned.cl.Load(), offsets) {
				l.health(nil)
			}
			return assigned.fetched(ctx, offsets)
		}),
		kgo.ConsumeRegex(), kgo.ConsumeTopics("^"+regexp.QuoteMeta(l.cfg.TopicPrefix)+".+$"),
		kgo.RecordDeliveryTimeout(l.cfg.TransactionTimeout/2), // else a topic that is gone is awaited for ever, silently
		kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil)}),
		kgo.ProducerBatchMaxBytesFn(l.maxBytes),
		kgo.WithPools(&fetchPool{ratio: budget.likely}),
		kgo.FetchMaxBytes(budget.ask()), kgo.FetchMaxPartitionBytes(budget.ask()), kgo.WithHooks(budget, assigned),
		kgo.MaxBufferedRecords(1<<20), kgo.MaxBufferedBytes(256<<20),
	)
}

// staticInstance returns the id of a static member; "" where the lane is none.
func (l *Lane) staticInstance() string {
	if !l.cfg.Static {
		return ""
	}
	return fmt.Sprintf("%s-%d", l.cfg.Instance, l.cfg.Lane)
}

func (l *Lane) maxBytes(topic string) int32 {
	most := int32(schemas.MaxResultBytes)
	if l.cfg.MaxBytes != nil {
		most = int32(l.cfg.MaxBytes(topic))
	}
	return l.limits.at(topic, most)
}

func (l *Lane) lost(partitions map[string][]int32) {
	if l.cfg.Lost != nil {
		l.cfg.Lost(partitions)
	}
}

func (l *Lane) assigned(_ context.Context, _ *kgo.Client, given map[string][]int32) {
	l.reading.given(given)
	if l.reopened.Swap(false) {
		l.health(nil)
	}
}

func (l *Lane) revoked(_ context.Context, cl *kgo.Client, partitions map[string][]int32) {
	l.lost(partitions)
	l.waiting.gone(partitions)
	l.reading.gone(partitions)
	l.dests.Load().gone(partitions)
	if s := l.stalls.Load(); s != nil {
		s.forget(cl, partitions)
	}
}

// handle has the handler answer a batch, and learns how much it becomes. What cannot be read
// is set aside first.
func (l *Lane) handle(ctx context.Context, h Handler, in *polled, out *outbox) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	out.begin(len(in.records), end)
	for _, e := range in.aside {
		l.cfg.SetAside(e, out)
	}
	if len(in.records) == 0 {
		return nil
	}
	err := h.Handle(ctx, in.records, in.at, out)
	l.polls.handled(len(in.records), in.bytes, out.bytes)
	if tooMuch := out.failure(); tooMuch != nil {
		return tooMuch
	}
	return err
}

// failed tells of a batch that will come again.
func (l *Lane) failed(fault error, records int) {
	l.polls.failed()
	l.health(fault)
	l.log.Error().Err(fault).Int("records", records).Msg("batch failed; its records will come again")
}

// done counts a batch that was committed.
func (l *Lane) done(o *outbox, records int) {
	o.commit()
	l.health(nil)
	l.Stats.Batches.Add(1)
	l.Stats.Records.Add(int64(records))
	l.Stats.Published.Add(int64(o.published))
}
