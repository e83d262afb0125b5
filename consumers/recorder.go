package consumers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// RecorderConfig configures a Recorder. A flush begins when FlushRows, half of FlushBytes or
// FlushInterval is reached; but not before the last flush is stored, nor before insertPace has
// passed for each of its inserts.
type RecorderConfig struct {
	Connection
	Group
	Topics         []string
	FlushRows      int // of one topic, by header millrace-rows; a record without it counts as one
	FlushBytes     int // of keys, values, headers and recordOverhead of each record, in hand and being stored together
	FlushInterval  time.Duration
	InsertDeadline time.Duration // from the announcement of a range to the refusal of its inserts; a replay may have more
	Repairs        string        // the group of the Lease under which rows are stored again beside recorders; "": nobody does
	// Health, if set, is told what ended a session, and nil when a later one has committed or waits
	// for records; from NewRecorder on, until the first session has begun to read, what it waits for.
	// It may be called by several goroutines, and must not block.
	Health func(err error)
}

// Storer keeps records outside of Kafka. A Recorder calls one method at a time.
type Storer interface {
	// Now returns the time by the clock that deadlines are checked with.
	Now(ctx context.Context) (time.Time, error)
	// Empty tells whether nothing of a topic's records is stored. Where that is not known it may
	// return false.
	Empty(ctx context.Context, topic string) (bool, error)
	// Settle waits until no Store can begin to store any more that has the lease, whoever has
	// called it, nor any that this Storer has begun before. The zero lease is none.
	Settle(ctx context.Context, lease schemas.Lease) error
	// Store stores records, sorted by topic, partition and offset, which are valid until it
	// returns. What it has not begun to store within the lease must not be stored at all,
	// even if this process stands still meanwhile.
	//
	// replay says that records may be stored already: Store then stores only what is missing.
	// After an error it is called again with the same records, replay set and a later lease, after
	// Settle, unless the group has given up on this recorder meanwhile. inserts is how many times
	// it has written, also where it returns an error.
	Store(ctx context.Context, records []schemas.Record, replay bool, lease schemas.Lease) (inserts int, err error)
	// Claim makes a group the owner of the rows of a topic, given by its name and id, where
	// nobody owns them yet or the group named by from does, and returns whose they are then.
	Claim(ctx context.Context, topic string, id uuid.UUID, group, from string) (schemas.Claim, error)
}

// RecorderStats count over the life of a recorder; they may be read at any time.
type RecorderStats struct {
	Read     atomic.Int64 // records, stored or not
	Flushes  atomic.Int64
	Records  atomic.Int64
	Replayed atomic.Int64 // records that were looked for before they were stored
	Retries  atomic.Int64 // store calls that failed
}

// Recorder stores records once, in two steps that Kafka remembers:
//
//  1. The range of offsets about to be stored goes into the metadata of the commit of the
//     offset where it begins, with the lease within which it is stored or refused.
//  2. The range is stored; the commit of its end comes with step 1 of the next one, or
//     after FlushInterval.
//
// Whoever gets the partition after a crash finds the range in the metadata, waits until the lease
// is over, and stores the range with replay set. A recorder whose Storer failed does so too. Rows
// are looked for in no other case. A recorder that was frozen and wakes up late can announce
// nothing, being no member any more, and its Storer refuses what it had announced.
//
// Every commit bears a marker. Where there is none, or one that is not of this offset, topic or
// owner, an operator or a tool has set the offset, Kafka has dropped it, the topic was made again,
// or another group has stored meanwhile: rows of all that the log holds from there are looked
// for, unless recording starts for the first time. The rows of a topic belong to one group, which
// the Storer knows. Another one waits as long as that group has members, and then takes them over.
//
// What was read of a topic that is deleted, or made again, is stored all the same: nobody
// can read it again, so that it needs no announcement, but this recorder must still be a member.
//
// A replay announces its deadline before it waits for inserts that still run and looks for rows.
// So its deadline is later by as much as the last replay took: one that came too late, and was
// refused, is not refused for ever.
//
// Reading and storing overlap: while a range is stored in a goroutine, records behind it are
// read. That changes nothing above. Only one range at a time is announced and not known to be
// stored: one commit says that it is stored and announces the next. What has been read beyond the
// announced range is known to nobody, and is read again after a crash. A range is complete before
// it is announced: what is read meanwhile never joins it.
//
// A rebalance waits while records are in hand or being stored, so that no other member can be
// storing them. While one is wanted nothing is read ahead, so that it does not wait for a pause in
// the traffic. It does not wait for ever: a recorder that cannot store for rebalanceTimeout is put
// out of the group. Such a recorder announces its range again before each try, and gives the range
// up when the announcement is refused.
//
// Memory is bounded, whatever the store does. In hand and being stored are at most
// FlushBytes and two polls. A poll takes what the client has fetched ahead, and no more than
// is missing for a flush: maxFetches responses, each of fetchedBytes decompressed, as far as
// fetchBudget foresees, or of one batch, which may have maxBatchBytes. The Storer's own memory
// comes on top.
type Recorder struct {
	cfg   RecorderConfig
	log   zerolog.Logger
	Stats RecorderStats

	reading *reading
}

// NewRecorder prepares a recorder; nothing is connected before Run.
func NewRecorder(cfg RecorderConfig, log zerolog.Logger) *Recorder {
	r := &Recorder{cfg: cfg, log: log}
	r.reading = newReading(cfg.Name, func() { r.health(nil) }) // before the session has polled what it could tell of
	r.health(r.reading.err())
	return r
}

// rebalanceTimeout is how long the group waits for a recorder that has records in hand. It
// holds up the commits of the others meanwhile.
const rebalanceTimeout = 2 * time.Minute

const (
	// insertPace is the least time between two inserts, on average over a flush.
	insertPace = 100 * time.Millisecond
	// maxPace is how far a flush can put off the next one.
	maxPace = 10 * time.Second

	// recordOverhead is about what a record takes beside its bytes.
	recordOverhead = 256

	maxFetches = 2
	fetchBytes = 4 << 20

	// maxExtension is how much longer than InsertDeadline a replay may have, and so how much
	// longer whoever takes over may have to wait.
	maxExtension = 10 * time.Minute
)

// Run waits until the rows are this group's, and reads until ctx ends; what is in hand is
// then stored and committed under hard, and the group is left. It returns nil after such an
// orderly end. Kafka and the store being away are waited for. A partition of which records were
// lost (LostRangeError) or cannot be read (UnreadableBatchError) is stopped, and the others go on:
// Run returns why when ctx has ended. Any other error means that the settings are unusable, or
// that the end was not orderly, which leaves what was in hand to whoever gets its partitions.
func (r *Recorder) Run(ctx, hard context.Context, store Storer) error {
	for {
		claims, err := r.claims(ctx, store)
		if err == nil {
			s := &recorderSession{
				Recorder: r, store: store, claims: claims, soft: ctx, hard: hard,
				faults:    faults{Group: r.cfg.Group, log: r.log, stalls: newStalls(r.log, r.health)},
				unsaid:    newUntold(nil),
				positions: map[topicPartition]*position{}, hand: newHand(r.reading.noTime), spare: newHand(r.reading.noTime),
			}
			s.faults.stalls.unsaid = s.unsaid
			err = s.run(ctx)
		} else if ctx.Err() != nil {
			return nil //nolint:nilerr // nothing was begun: this is an orderly end
		}
		if err == nil || hopeless(err) || ctx.Err() != nil || hard.Err() != nil {
			return cutOff(hard, err)
		}
		r.health(err)
		r.log.Error().Err(err).Msg("recorder session failed; opening a new one")
		if sleep(ctx, time.Second) != nil {
			return nil //nolint:nilerr // the session is closed: this is an orderly end
		}
	}
}

func (r *Recorder) health(err error) {
	if r.cfg.Health != nil {
		r.cfg.Health(err)
	}
}

// recorderSession is one life of the Kafka session. One goroutine reads, and starts another
// for each hand that is stored.
type recorderSession struct {
	*Recorder
	store      Storer
	claims     map[uuid.UUID]schemas.Claim // of the group, by topic id
	soft, hard context.Context             //nolint:containedctx // callbacks of the client need them
	cl         *kgo.Client

	mu        sync.Mutex // the client's callbacks run in its own goroutine, though never while records are in hand
	positions map[topicPartition]*position
	beside    bool // what is left to commit is, beside the client

	faults faults
	unsaid *untold

	joined  atomic.Bool // the group has assigned partitions, if only none
	wanted  atomic.Bool // a rebalance waits for AllowRebalance
	hand    *hand
	storing *storing // nil when nothing is being stored
	spare   *hand    // an empty one, whose memory is used again

	idle time.Time // of the last flush

	// Of the goroutine that stores while there is one.
	paced time.Time     // no flush before
	took  time.Duration // how long the last replay took, or the last try that failed since
}

// storing is a hand that is being stored.
type storing struct {
	*hand
	done context.Context //nolint:containedctx // ends when it is stored, or given up with err
	quit context.CancelFunc
	err  error
}

func (s *recorderSession) run(ctx context.Context) (err error) {
	budget, begins := newFetchBudget(fetchBytes), newAssignments(s.log)
	begins.reading = s.reading
	defer s.unsaid.end()
	asks := newQuestions(s.cfg.Name, s.log)
	defer func(end func(err *error)) { end(&err) }(asks.watch(ctx))
	life, cut := context.WithCancel(s.hard)
	defer cut()
	opts := append(groupOptions(life, s.cfg.Group), s.unsaid.options()...)
	opts = append(opts,
		kgo.ConsumeTopics(s.cfg.Topics...),
		kgo.KeepControlRecords(), // or the end of every transaction would look like lag
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsCallbackBlocked(func(context.Context, *kgo.Client) { s.wanted.Store(true) }),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.FetchMaxBytes(budget.ask()),
		kgo.FetchMaxPartitionBytes(budget.ask()),
		kgo.WithHooks(budget, begins, readingHook{s.reading}, asks),
		kgo.MaxConcurrentFetches(maxFetches),
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.AdjustFetchOffsetsFn(func(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			offsets, err := s.fetched(ctx, offsets)
			if err != nil {
				return nil, err
			}
			return begins.fetched(ctx, offsets) // or the client would not move a partition of which it has read nothing
		}),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost))
	cl, err := s.cfg.Dial(opts...)
	if err != nil {
		return fmt.Errorf("%w: %w", errConfiguration, err)
	}
	s.cl = cl
	defer asks.leave(cl, cl.CloseAllowingRebalance, cut)
	defer s.endStopped(ctx, &err)
	defer s.abandon()
	for ctx.Err() == nil {
		if err := s.poll(ctx); err != nil {
			if hopeless(err) || errors.Is(err, kerr.UnknownTopicID) { // a new session cannot read it again: it is stored now, or never
				err = errors.Join(err, s.flush(), s.finish(), s.commit())
			}
			return err
		}
		if s.storing != nil && s.storing.done.Err() != nil {
			if err := s.finish(); err != nil {
				return err
			}
		}
		if s.due() {
			if err := s.flush(); err != nil {
				return err
			}
		}
		if s.storing == nil && len(s.hand.in.records) == 0 {
			if s.joined.Load() {
				s.health(nil)
			}
			s.wanted.Store(false)
			cl.AllowRebalance()
		}
	}
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.finish(); err != nil {
		return err
	}
	return s.commit()
}

// poll adds what has arrived to what is in hand. It returns early when the storing of the hand
// before has ended.
func (s *recorderSession) poll(ctx context.Context) error {
	h := s.hand
	wait := s.cfg.FlushInterval
	if s.storing != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.storing.done, cancel)()
		if s.full() || s.hand.bytes >= s.bound() || s.wanted.Load() {
			<-ctx.Done()
			return nil
		}
	} else {
		switch {
		case h.bytes >= s.bound(): // no more: only the pace is waited for
			_ = sleep(ctx, time.Until(s.paced))
			return nil
		case s.full():
			wait = time.Until(s.paced)
		case len(h.in.records) > 0:
			wait = max(time.Until(h.since.Add(wait)), time.Until(s.paced))
		}
		wait = max(wait, time.Millisecond)
	}
	pollCtx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	s.unsaid.polls()
	fetches := s.cl.PollRecords(pollCtx, s.room())
	s.unsaid.polled(fetches)
	s.reading.polled(fetches)
	if fetches.IsClientClosed() {
		return errors.New("the Kafka client was closed")
	}
	aside, err := s.faults.of(ctx, s.cl, fetches)
	err = errors.Join(err, s.unsaid.lost())
	before := len(h.in.records)
	h.add(fetches)
	h.setAside(aside)
	moveBehind(s.cl, aside)
	s.Stats.Read.Add(int64(len(h.in.records) - before))
	s.passed()
	return err
}

func (s *recorderSession) due() bool {
	switch {
	case s.storing != nil:
		return false
	case len(s.hand.in.records) == 0:
		return s.unsettled() && time.Since(s.idle) >= s.cfg.FlushInterval
	}
	return (s.full() || s.wanted.Load() || time.Since(s.hand.since) >= s.cfg.FlushInterval) && !time.Now().Before(s.paced)
}

// full tells whether enough is in hand for a flush: another record might be more than an
// insert should have.
func (s *recorderSession) full() bool {
	for _, r := range s.hand.rows {
		if r.n > 0 && r.n+r.most > s.cfg.FlushRows {
			return true
		}
	}
	return s.hand.bytes >= s.cfg.FlushBytes/2
}

// room returns how many records, at least one, a poll may bring before the hand is full, if all
// are as large as the largest so far. A full hand that waits for the pace gets more, up to its
// bytes, so that fewer inserts store more rows.
func (s *recorderSession) room() int {
	h := s.hand
	if s.full() {
		return max(1, min(s.cfg.FlushRows, (s.bound()-h.bytes)/h.most))
	}
	n := min(s.cfg.FlushRows, (min(s.bound(), s.cfg.FlushBytes/2)-h.bytes)/h.most)
	for _, r := range h.rows {
		n = min(n, (s.cfg.FlushRows-r.n)/max(1, r.most))
	}
	return max(1, n)
}

// bound returns the bytes that may be in hand now.
func (s *recorderSession) bound() int {
	if s.storing != nil {
		return s.cfg.FlushBytes - s.storing.bytes
	}
	return s.cfg.FlushBytes
}

func (s *recorderSession) unsettled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.positions {
		if p.changed {
			return true
		}
	}
	return false
}

// flush waits until the last hand is stored, and begins to store the present one. With nothing in
// hand it commits what is stored.
func (s *recorderSession) flush() error {
	if err := s.finish(); err != nil {
		return err
	}
	h := s.hand
	if len(h.in.records) == 0 {
		return s.commit()
	}
	// Offset order within a partition, whatever order the polls came in.
	slices.SortStableFunc(h.in.records, func(a, b schemas.Record) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	going, quit := context.WithCancel(s.hard)
	done, end := context.WithCancel(context.Background())
	f := &storing{hand: h, done: done, quit: quit}
	s.storing, s.hand, s.spare = f, s.spare, nil
	for topic, r := range h.rows {
		s.hand.rows[topic] = &handRows{most: r.most}
	}
	s.hand.most = h.most
	go func() { // finish waits for it
		defer end()
		f.err = s.storeHand(going, f.hand)
	}()
	return nil
}

// abandon ends the storing of a session that fails: it waits for the try that has begun, and no
// other follows. If that try fails too, the range stays announced.
func (s *recorderSession) abandon() {
	if s.storing != nil {
		s.storing.quit()
		if err := s.finish(); err != nil {
			s.log.Warn().Err(err).Msg("the last range of a session was not stored; it will be looked for")
		}
	}
}

// passed moves the positions behind control records where nothing else is in hand.
func (s *recorderSession) passed() {
	if s.storing == nil && len(s.hand.in.records) == 0 && len(s.hand.ends) > 0 {
		s.stored(s.hand)
	}
}
