package consumers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

// RecorderConfig configures a Recorder. A flush begins when one of FlushRows, FlushBytes
// and FlushInterval is reached.
type RecorderConfig struct {
	Connection
	Group
	Topics        []string
	FlushRows     int // of one topic, by header millrace-rows; a record without it counts as one
	FlushBytes    int
	FlushInterval time.Duration
}

// Storer keeps records outside of Kafka. replay says that they may be there already, in
// part or in whole; it must then store only what is missing. After an error it is called
// again with the same records and replay set, unless the group has given up on this
// recorder meanwhile. records, sorted by topic, partition and offset, are valid until it
// returns.
type Storer interface {
	Store(ctx context.Context, records []schemas.Record, replay bool) error
}

// RecorderStats count over the life of a recorder; they may be read at any time.
type RecorderStats struct {
	Flushes  atomic.Int64
	Records  atomic.Int64
	Replayed atomic.Int64 // records that were looked for before they were stored
	Retries  atomic.Int64 // store calls that failed
}

// Recorder stores records once, in two steps that Kafka remembers:
//
//  1. The range of offsets about to be stored goes into the metadata of the commit of the
//     offset where it begins.
//  2. The range is stored; the commit of its end comes with step 1 of the next one, or
//     after FlushInterval.
//
// Whoever gets the partition after a crash finds the range in the metadata and stores it
// with replay set; so does a recorder whose Storer failed. Only then are rows looked for.
//
// Rebalances wait while records are in hand, so that no other member can be storing them,
// but not for ever: a recorder that cannot store for rebalanceTimeout is put out of the
// group. It announces its range again before each try, and gives it up when it is refused.
type Recorder struct {
	cfg   RecorderConfig
	log   zerolog.Logger
	Stats RecorderStats
}

// NewRecorder prepares a recorder; nothing is connected before Run.
func NewRecorder(cfg RecorderConfig, log zerolog.Logger) *Recorder {
	return &Recorder{cfg: cfg, log: log}
}

// rebalanceTimeout is how long the group waits for a recorder that has records in hand. It
// holds up the commits of the others meanwhile.
const rebalanceTimeout = 2 * time.Minute

type topicPartition struct {
	topic     string
	partition int32
}

// position is what is known of one assigned partition. What lies from next to pending may
// be stored already, in part or in whole: every commit says so.
type position struct {
	next    int64 // everything before it is stored; -1 until the first record
	pending int64 // at or before next when nothing is
	changed bool  // since the last commit
}

// Run reads until ctx ends; what is in hand is then stored and committed under hard, and
// the group is left. It returns nil after such an orderly end. Kafka and the store being
// away are waited for: an error means that the settings are unusable, that records were
// lost (LostRangeError), or that the end was not orderly, which leaves what was in hand to
// whoever gets its partitions.
func (r *Recorder) Run(ctx, hard context.Context, store Storer) error {
	for {
		s := &recorderSession{
			Recorder: r, store: store, soft: ctx, hard: hard,
			positions: map[topicPartition]*position{}, ends: map[topicPartition]int64{}, rows: map[string]int{},
		}
		err := s.run(ctx)
		var lost *LostRangeError
		if err == nil || errors.As(err, &lost) || errors.Is(err, errConfiguration) || ctx.Err() != nil || hard.Err() != nil {
			return err
		}
		r.log.Error().Err(err).Msg("recorder session failed; opening a new one")
		if sleep(ctx, time.Second) != nil {
			return nil //nolint:nilerr // the session is closed: this is an orderly end
		}
	}
}

// recorderSession is one life of the Kafka session.
type recorderSession struct {
	*Recorder
	store      Storer
	soft, hard context.Context //nolint:containedctx // callbacks of the client need them
	cl         *kgo.Client

	mu        sync.Mutex // the client's callbacks run in its own goroutine, though never while records are in hand
	positions map[topicPartition]*position

	in    converter
	ends  map[topicPartition]int64 // behind the last record in hand
	rows  map[string]int           // by topic
	bytes int
	since time.Time // of the first record in hand
	idle  time.Time // of the last flush
}

func (s *recorderSession) run(ctx context.Context) error {
	opts := append(s.cfg.options(), groupOptions(s.cfg.Group)...)
	opts = append(opts,
		kgo.ConsumeTopics(s.cfg.Topics...),
		kgo.KeepControlRecords(), // or the end of every transaction would look like lag
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("%w: %w", errConfiguration, err)
	}
	s.cl = cl
	defer cl.CloseAllowingRebalance()
	for ctx.Err() == nil {
		if err := s.poll(ctx); err != nil {
			return err
		}
		if s.due() {
			if err := s.flush(); err != nil {
				return err
			}
		}
		if len(s.in.records) == 0 {
			cl.AllowRebalance()
		}
	}
	if err := s.flush(); err != nil {
		return err
	}
	return s.commit()
}

// poll adds what has arrived to what is in hand.
func (s *recorderSession) poll(ctx context.Context) error {
	wait := s.cfg.FlushInterval
	if len(s.in.records) > 0 {
		wait = max(time.Until(s.since.Add(wait)), time.Millisecond)
	}
	pollCtx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	fetches := s.cl.PollRecords(pollCtx, max(1, s.cfg.FlushRows/2)) // so that a flush has at most half as many more
	if fetches.IsClientClosed() {
		return errors.New("the Kafka client was closed")
	}
	if err := fetchErrors(ctx, s.cl, s.cfg.Name, fetches, s.log); err != nil {
		return err
	}
	from := len(s.in.records)
	s.in.add(fetches)
	if from == 0 && len(s.in.records) > 0 {
		s.since = time.Now()
	}
	for i := from; i < len(s.in.records); i++ {
		rec := &s.in.records[i]
		s.rows[rec.Topic] += recordRows(rec)
		s.bytes += len(rec.Value) + len(rec.Key)
	}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if n := len(p.Records); n > 0 {
			tp := topicPartition{p.Topic, p.Partition}
			s.ends[tp] = max(s.ends[tp], p.Records[n-1].Offset+1)
		}
	})
	if len(s.in.records) == 0 && len(s.ends) > 0 { // control records alone
		s.stored()
	}
	return nil
}

func recordRows(rec *schemas.Record) int {
	if h, ok := rec.Header(schemas.HeaderRows); ok {
		if n, err := strconv.Atoi(string(h)); err == nil && n > 0 {
			return n
		}
	}
	return 1
}

func (s *recorderSession) due() bool {
	if len(s.in.records) == 0 {
		return s.unsettled() && time.Since(s.idle) >= s.cfg.FlushInterval
	}
	for _, rows := range s.rows {
		if rows >= s.cfg.FlushRows {
			return true
		}
	}
	return s.bytes >= s.cfg.FlushBytes || time.Since(s.since) >= s.cfg.FlushInterval
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

// flush announces and stores. With nothing in hand it commits what is stored.
func (s *recorderSession) flush() error {
	if len(s.in.records) == 0 {
		return s.commit()
	}
	// Offset order within a partition, whatever order the polls came in.
	slices.SortStableFunc(s.in.records, func(a, b schemas.Record) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	replays, err := s.plan()
	if err != nil {
		return err
	}
	if err := s.announce(); err != nil {
		return err
	}
	if err := s.storeAll(s.in.records[:replays], true); err != nil {
		return err
	}
	if err := s.storeAll(s.in.records[replays:], false); err != nil {
		return err
	}
	s.Stats.Flushes.Add(1)
	s.Stats.Records.Add(int64(len(s.in.records)))
	s.stored()
	return nil
}

// plan moves the records that may be stored already to the front, and tells how many they
// are.
func (s *recorderSession) plan() (replays int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fresh []schemas.Record
	for _, rec := range s.in.records {
		p, ok := s.positions[topicPartition{rec.Topic, rec.Partition}]
		if !ok {
			return 0, fmt.Errorf("topic %s partition %d: a record came in, but its committed offset could not be learned", rec.Topic, rec.Partition)
		}
		if p.next < 0 {
			p.next = rec.Offset
		}
		if rec.Offset < p.pending {
			s.in.records[replays] = rec
			replays++
		} else {
			fresh = append(fresh, rec)
		}
	}
	copy(s.in.records[replays:], fresh)
	return replays, nil
}

// announce commits that what is in hand may be stored from now on.
func (s *recorderSession) announce() error {
	s.mu.Lock()
	for tp, end := range s.ends {
		if p, ok := s.positions[tp]; ok && p.next >= 0 {
			p.pending, p.changed = max(p.pending, end), true
		}
	}
	s.mu.Unlock()
	return s.commit()
}

// stored moves the positions behind what was in hand.
func (s *recorderSession) stored() {
	s.mu.Lock()
	for tp, end := range s.ends {
		if p, ok := s.positions[tp]; ok {
			p.next, p.changed = end, true
		}
	}
	s.mu.Unlock()
	clear(s.ends)
	s.in.reset()
	clear(s.rows)
	s.bytes = 0
	s.idle = time.Now()
}

func (s *recorderSession) storeAll(records []schemas.Record, replay bool) error {
	if len(records) == 0 {
		return nil
	}
	for backoff := time.Duration(0); ; replay = true {
		if replay {
			s.Stats.Replayed.Add(int64(len(records)))
		}
		err := s.store.Store(s.hard, records, replay)
		if err == nil {
			return nil
		}
		failed := fmt.Errorf("store %d records: %w", len(records), err)
		if s.hard.Err() != nil {
			return failed
		}
		s.Stats.Retries.Add(1)
		backoff = longer(backoff)
		s.log.Error().Err(err).Int("records", len(records)).Dur("retry_in", backoff).Msg("storing failed; trying again")
		if sleep(s.hard, backoff) != nil {
			return failed
		}
		// Others may be storing them by now if the group has given up on this recorder.
		if err := s.announce(); err != nil {
			return errors.Join(failed, err)
		}
	}
}

const pendingPrefix = "millrace pending="

// commit says how far the changed partitions are stored, and in the metadata how much more
// may be. It returns when the broker has accepted that of this member.
func (s *recorderSession) commit() error {
	s.mu.Lock() // until it is done, so that no partition goes to another member meanwhile
	defer s.mu.Unlock()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	metadata := map[topicPartition]string{}
	for tp, p := range s.positions {
		if !p.changed {
			continue
		}
		if offsets[tp.topic] == nil {
			offsets[tp.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[tp.topic][tp.partition] = kgo.EpochOffset{Epoch: -1, Offset: p.next}
		if p.pending > max(p.next, 0) {
			metadata[tp] = pendingPrefix + strconv.FormatInt(p.pending, 10)
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	annotate := kgo.PreCommitFnContext(s.hard, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			t := &req.Topics[i]
			for j := range t.Partitions {
				text := metadata[topicPartition{t.Topic, t.Partitions[j].Partition}]
				t.Partitions[j].Metadata = &text
			}
		}
		return nil
	})
	var failed error
	s.cl.CommitOffsetsSync(annotate, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if resp == nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
					failed = errors.Join(failed, fmt.Errorf("topic %s partition %d: %w", t.Topic, p.Partition, e))
				}
			}
		}
	})
	if failed != nil {
		return fmt.Errorf("commit offsets of group %s: %w", s.cfg.Name, failed)
	}
	for tp, p := range s.positions {
		if _, ok := offsets[tp.topic][tp.partition]; ok {
			p.changed = false
		}
	}
	return nil
}

// assigned learns from the commits' metadata which records may be stored already.
func (s *recorderSession) assigned(ctx context.Context, cl *kgo.Client, assigned map[string][]int32) {
	committed, err := s.committed(cl)
	for backoff := longer(0); err != nil; backoff = longer(backoff) {
		if ctx.Err() != nil || s.soft.Err() != nil {
			return // what comes in has no position, and is not stored
		}
		s.log.Error().Err(err).Dur("retry_in", backoff).Msg("fetching committed offsets failed; trying again")
		if sleep(s.soft, backoff) == nil {
			committed, err = s.committed(cl)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, partitions := range assigned {
		for _, partition := range partitions {
			p := &position{next: -1, pending: -1}
			if o, ok := committed.Lookup(topic, partition); ok && o.At >= 0 {
				p.next = o.At
				p.pending = pendingTo(o.Metadata)
			}
			if p.pending > p.next {
				s.log.Info().Str("topic", topic).Int32("partition", partition).Int64("from", p.next).Int64("to", p.pending).
					Msg("a range was being stored when its recorder ended; its rows will be looked for")
			}
			s.positions[topicPartition{topic, partition}] = p
		}
	}
}

func (s *recorderSession) committed(cl *kgo.Client) (kadm.OffsetResponses, error) {
	offsets, err := kadm.NewClient(cl).FetchOffsets(s.soft, s.cfg.Name)
	if err == nil {
		err = offsets.Error() // of a partition: to take it for uncommitted would store twice
	}
	return offsets, err
}

// pendingTo reads the end of the range that a commit announces; 0 is none.
func pendingTo(metadata string) int64 {
	text, ok := strings.CutPrefix(metadata, pendingPrefix)
	if !ok {
		return 0
	}
	end, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0 // not of this program
	}
	return end
}

// revoked runs with nothing in hand: what was read is stored, or the session has failed,
// and then its positions say what may be stored.
func (s *recorderSession) revoked(_ context.Context, _ *kgo.Client, revoked map[string][]int32) {
	if err := s.commit(); err != nil {
		s.log.Warn().Err(err).Msg("last commit before a rebalance failed; the next owner will look for the rows")
	}
	s.forget(revoked)
}

func (s *recorderSession) lost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	s.forget(lost)
}

func (s *recorderSession) forget(gone map[string][]int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, partitions := range gone {
		for _, partition := range partitions {
			delete(s.positions, topicPartition{topic, partition})
		}
	}
}
