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
	FlushRows     int // rows by header millrace-rows; a record without it counts as one
	FlushBytes    int
	FlushInterval time.Duration
}

// Storer keeps records outside of Kafka. replay says that they may be there already, in
// part or in whole; it must then store only what is missing. After an error it is called
// again with the same records and replay set. records are valid until it returns.
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
// with replay set, which is the only time that rows are looked for first.
//
// Rebalances wait while records are in hand, so that no other member can be storing them.
type Recorder struct {
	cfg   RecorderConfig
	log   zerolog.Logger
	Stats RecorderStats
}

// NewRecorder prepares a recorder; nothing is connected before Run.
func NewRecorder(cfg RecorderConfig, log zerolog.Logger) *Recorder {
	return &Recorder{cfg: cfg, log: log}
}

type topicPartition struct {
	topic     string
	partition int32
}

// position is what is known of one assigned partition.
type position struct {
	next      int64 // everything before it is stored; -1 until the first record
	replayTo  int64 // records before it may be stored already
	announced bool  // the last commit carries a pending range that has been stored since
}

// Run reads until ctx ends; what is in hand is then stored and committed under hard, and
// the group is left. It returns an error only where an operator must act: Kafka and the
// store being away are waited for.
func (r *Recorder) Run(ctx, hard context.Context, store Storer) error {
	for {
		s := &recorderSession{Recorder: r, store: store, hard: hard, positions: map[topicPartition]*position{}}
		err := s.run(ctx)
		var lost *LostRangeError
		if err == nil || errors.As(err, &lost) || ctx.Err() != nil || hard.Err() != nil {
			return err
		}
		r.log.Error().Err(err).Msg("recorder session failed; opening a new one")
		if sleep(ctx, time.Second) != nil {
			return nil
		}
	}
}

// recorderSession is one life of the Kafka session.
type recorderSession struct {
	*Recorder
	store Storer
	hard  context.Context //nolint:containedctx // callbacks of the client need it
	cl    *kgo.Client

	mu        sync.Mutex // the client's callbacks run in its own goroutine, though never while records are in hand
	positions map[topicPartition]*position

	in    converter
	rows  int
	bytes int
	since time.Time // of the first record in hand
	idle  time.Time // of the last flush
}

func (s *recorderSession) run(ctx context.Context) error {
	opts := append(s.cfg.Connection.options(), groupOptions(s.cfg.Group)...)
	opts = append(opts,
		kgo.ConsumeTopics(s.cfg.Topics...),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("open a Kafka session: %w", err)
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
	return s.settle()
}

// poll adds what has arrived to what is in hand.
func (s *recorderSession) poll(ctx context.Context) error {
	wait := s.cfg.FlushInterval
	if len(s.in.records) > 0 {
		wait = max(time.Until(s.since.Add(wait)), time.Millisecond)
	}
	pollCtx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	fetches := s.cl.PollRecords(pollCtx, s.cfg.FlushRows)
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
		s.rows += recordRows(rec)
		s.bytes += len(rec.Value) + len(rec.Key)
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
	return s.rows >= s.cfg.FlushRows || s.bytes >= s.cfg.FlushBytes || time.Since(s.since) >= s.cfg.FlushInterval
}

func (s *recorderSession) unsettled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.positions {
		if p.announced {
			return true
		}
	}
	return false
}

// flush announces, stores and advances. With nothing in hand it commits what is stored.
func (s *recorderSession) flush() error {
	if len(s.in.records) == 0 {
		return s.settle()
	}
	// Offset order within a partition, whatever order the polls came in.
	slices.SortStableFunc(s.in.records, func(a, b schemas.Record) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	ends, fresh := s.plan()
	if err := s.commit(ends); err != nil {
		return err
	}
	if err := s.storeAll(s.in.records[:fresh], true); err != nil {
		return err
	}
	if err := s.storeAll(s.in.records[fresh:], false); err != nil {
		return err
	}
	s.Stats.Flushes.Add(1)
	s.Stats.Records.Add(int64(len(s.in.records)))
	s.mu.Lock()
	for tp, end := range ends {
		if p, ok := s.positions[tp]; ok {
			p.next, p.announced = end, true
		}
	}
	s.mu.Unlock()
	s.in.reset()
	s.rows, s.bytes = 0, 0
	s.idle = time.Now()
	return nil
}

// plan returns the end of each partition's range in hand, and moves the records that may
// be stored already to the front: there are fresh of them.
func (s *recorderSession) plan() (ends map[topicPartition]int64, fresh int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ends = map[topicPartition]int64{}
	replay := func(rec *schemas.Record) bool {
		p, ok := s.positions[topicPartition{rec.Topic, rec.Partition}]
		return ok && rec.Offset < p.replayTo
	}
	for i := range s.in.records {
		rec := &s.in.records[i]
		tp := topicPartition{rec.Topic, rec.Partition}
		ends[tp] = rec.Offset + 1
		if p, ok := s.positions[tp]; ok && p.next < 0 {
			p.next = rec.Offset
		}
		if replay(rec) {
			fresh++
		}
	}
	if fresh > 0 {
		slices.SortStableFunc(s.in.records, func(a, b schemas.Record) int {
			return cmp.Compare(boolInt(!replay(&a)), boolInt(!replay(&b)))
		})
	}
	return ends, fresh
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
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
		if s.hard.Err() != nil {
			return fmt.Errorf("store %d records: %w", len(records), err)
		}
		s.Stats.Retries.Add(1)
		backoff = min(max(2*backoff, 250*time.Millisecond), 10*time.Second)
		s.log.Error().Err(err).Int("records", len(records)).Dur("retry_in", backoff).Msg("storing failed; trying again")
		if sleep(s.hard, backoff) != nil {
			return fmt.Errorf("store %d records: %w", len(records), err)
		}
	}
}

// settle commits what is stored, with no range pending.
func (s *recorderSession) settle() error { return s.commit(nil) }

const pendingPrefix = "millrace pending="

// commit moves the offsets of all partitions to what is stored; pending ranges go into the
// metadata. It returns only when the broker has accepted it for this member.
func (s *recorderSession) commit(pending map[topicPartition]int64) error {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	s.mu.Lock()
	for tp, p := range s.positions {
		_, isPending := pending[tp]
		if p.next < 0 || (!p.announced && !isPending) {
			continue
		}
		if offsets[tp.topic] == nil {
			offsets[tp.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[tp.topic][tp.partition] = kgo.EpochOffset{Epoch: -1, Offset: p.next}
		if !isPending {
			p.announced = false
		}
	}
	s.mu.Unlock()
	if len(offsets) == 0 {
		return nil
	}
	annotate := kgo.PreCommitFnContext(s.hard, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				p := &req.Topics[i].Partitions[j]
				var metadata string
				if end, ok := pending[topicPartition{req.Topics[i].Topic, p.Partition}]; ok {
					metadata = pendingPrefix + strconv.FormatInt(end, 10)
				}
				p.Metadata = &metadata
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
				if e := commitError(p.ErrorCode); e != nil {
					failed = errors.Join(failed, fmt.Errorf("topic %s partition %d: %w", t.Topic, p.Partition, e))
				}
			}
		}
	})
	if failed != nil {
		return fmt.Errorf("commit offsets of group %s: %w", s.cfg.Name, failed)
	}
	return nil
}

// assigned learns from the commits' metadata which records may be stored already.
func (s *recorderSession) assigned(ctx context.Context, cl *kgo.Client, assigned map[string][]int32) {
	committed, err := kadm.NewClient(cl).FetchOffsets(ctx, s.cfg.Name)
	for backoff := 100 * time.Millisecond; err != nil && ctx.Err() == nil; backoff = min(2*backoff, 5*time.Second) {
		s.log.Error().Err(err).Msg("fetching committed offsets failed; trying again")
		if sleep(ctx, backoff) != nil {
			return
		}
		committed, err = kadm.NewClient(cl).FetchOffsets(ctx, s.cfg.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, partitions := range assigned {
		for _, partition := range partitions {
			p := &position{next: -1}
			if o, ok := committed.Lookup(topic, partition); ok && o.At >= 0 {
				p.next = o.At
				if text, ok := strings.CutPrefix(o.Metadata, pendingPrefix); ok {
					if end, err := strconv.ParseInt(text, 10, 64); err == nil {
						p.replayTo = end
						s.log.Info().Str("topic", topic).Int32("partition", partition).Int64("from", o.At).Int64("to", end).
							Msg("a range was being stored when its recorder ended; its rows will be looked for")
					}
				}
			}
			s.positions[topicPartition{topic, partition}] = p
		}
	}
}

// revoked runs with nothing in hand: everything read is stored.
func (s *recorderSession) revoked(_ context.Context, _ *kgo.Client, revoked map[string][]int32) {
	if err := s.settle(); err != nil {
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
