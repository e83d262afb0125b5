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

// LaneConfig configures one lane.
type LaneConfig struct {
	Connection
	Group
	Instance           string // of the worker; with Group and Lane it makes the transactional id, so it must be stable over restarts and unique among running workers
	Lane               int
	TopicPrefix        string // every topic with this prefix is read
	MaxRecords         int    // of one request batch
	TransactionTimeout time.Duration
}

// Publisher takes messages into the transaction of the batch being handled.
type Publisher interface {
	// Publish must get its message's bytes unchanged until the handler's batch has ended,
	// which is when the lane calls the handler again.
	Publish(m schemas.Message)
}

// Handler answers one request batch. What it publishes is committed with the batch's
// offsets. After an error the transaction is aborted and the same records come again.
// records and their bytes are valid until it returns, the bytes that it published until it
// is called again. It is called by one goroutine.
type Handler interface {
	Handle(ctx context.Context, records []schemas.Record, fetched time.Time, out Publisher) error
}

// LaneStats count over the life of a lane; they may be read at any time.
type LaneStats struct {
	Batches   atomic.Int64
	Records   atomic.Int64
	Published atomic.Int64
	Aborted   atomic.Int64 // transactions
	Reopened  atomic.Int64 // sessions given up and opened anew
}

// Lane is one member of the workers' consumer group with one transactional session.
type Lane struct {
	cfg   LaneConfig
	log   zerolog.Logger
	Stats LaneStats
}

// NewLane prepares a lane; nothing is connected before Run.
func NewLane(cfg LaneConfig, log zerolog.Logger) *Lane {
	return &Lane{cfg: cfg, log: log.With().Int("lane", cfg.Lane).Logger()}
}

// Run polls until ctx ends; the batch in hand is then finished under hard, and the group
// is left. It returns nil after such an orderly end, and an error only where an operator
// must act; Kafka being away is waited for.
func (l *Lane) Run(ctx, hard context.Context, h Handler) error {
	for backoff := time.Duration(0); ; {
		began := time.Now()
		err := l.session(ctx, hard, h)
		var lost *LostRangeError
		if err == nil || errors.As(err, &lost) || ctx.Err() != nil || hard.Err() != nil {
			return err
		}
		if time.Since(began) > time.Minute {
			backoff = 0
		}
		backoff = min(max(2*backoff, 250*time.Millisecond), 10*time.Second)
		l.Stats.Reopened.Add(1)
		l.log.Error().Err(err).Dur("retry_in", backoff).Msg("lane session failed; opening a new one")
		if sleep(ctx, backoff) != nil {
			return nil
		}
	}
}

// session is one life of the Kafka session. An error means that it cannot be used further.
func (l *Lane) session(ctx, hard context.Context, h Handler) error {
	opts := append(l.cfg.Connection.options(), groupOptions(l.cfg.Group)...)
	opts = append(opts,
		kgo.ConsumeRegex(), kgo.ConsumeTopics("^"+regexp.QuoteMeta(l.cfg.TopicPrefix)+".+$"),
		kgo.TransactionalID(fmt.Sprintf("%s-%s-%d", l.cfg.Name, l.cfg.Instance, l.cfg.Lane)),
		kgo.TransactionTimeout(l.cfg.TransactionTimeout),
		kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil)}),
		kgo.ProducerBatchMaxBytes(schemas.MaxResultBytes),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(1<<20), kgo.MaxBufferedBytes(256<<20),
	)
	sess, err := kgo.NewGroupTransactSession(opts...)
	if err != nil {
		return fmt.Errorf("open a Kafka session: %w", err)
	}
	defer sess.CloseAllowingRebalance()
	tx := &transaction{ctx: hard, sess: sess}
	var in converter
	for {
		fetches := sess.PollRecords(ctx, l.cfg.MaxRecords)
		fetched := time.Now()
		if fetches.IsClientClosed() || ctx.Err() != nil {
			return nil
		}
		if err := fetchErrors(ctx, sess.Client(), l.cfg.Name, fetches, l.log); err != nil {
			return err
		}
		in.reset()
		in.add(fetches)
		if len(in.records) == 0 {
			continue
		}
		if err := l.round(hard, sess, tx, &in, fetched, h); err != nil {
			return err
		}
	}
}

// round answers one batch in one transaction.
func (l *Lane) round(hard context.Context, sess *kgo.GroupTransactSession, tx *transaction, in *converter, fetched time.Time, h Handler) error {
	if err := sess.Begin(); err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	tx.reset()
	handled := h.Handle(hard, in.records, fetched, tx)
	if handled != nil {
		l.log.Error().Err(handled).Int("records", len(in.records)).Msg("batch failed; aborting its transaction")
	}
	committed, err := sess.End(hard, kgo.TransactionEndTry(handled == nil))
	if err != nil {
		return fmt.Errorf("end the transaction of %d records: %w", len(in.records), errors.Join(err, tx.failure()))
	}
	if !committed {
		l.Stats.Aborted.Add(1)
		if failure := tx.failure(); failure != nil {
			l.log.Error().Err(failure).Msg("transaction aborted: a message could not be produced")
		}
		// A rebalance aborts too, and needs no wait; a batch that fails again and again does.
		if handled != nil || tx.failure() != nil {
			return sleep(hard, 250*time.Millisecond)
		}
		return nil
	}
	l.Stats.Batches.Add(1)
	l.Stats.Records.Add(int64(len(in.records)))
	l.Stats.Published.Add(tx.published)
	return nil
}

// transaction is the Publisher of one session. Its records are reused from batch to
// batch: End has flushed them all before the next one begins.
type transaction struct {
	ctx       context.Context //nolint:containedctx // the session's hard context, for promises
	sess      *kgo.GroupTransactSession
	blocks    [][]kgo.Record // never moved, since kgo keeps pointers
	headers   []kgo.RecordHeader
	published int64
	failed    atomic.Pointer[error]
}

const recordBlock = 1024

func (t *transaction) reset() {
	t.published = 0
	t.failed.Store(nil)
	// Headers may have moved when they grew; records of earlier batches are done with.
	clear(t.headers)
	t.headers = t.headers[:0]
}

func (t *transaction) failure() error {
	if p := t.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// Publish implements Publisher.
func (t *transaction) Publish(m schemas.Message) {
	n := int(t.published)
	if n/recordBlock == len(t.blocks) {
		t.blocks = append(t.blocks, make([]kgo.Record, recordBlock))
	}
	r := &t.blocks[n/recordBlock][n%recordBlock]
	t.published++
	from := len(t.headers)
	for _, h := range m.Headers {
		t.headers = append(t.headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	*r = kgo.Record{
		Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value,
		Headers: t.headers[from:len(t.headers):len(t.headers)],
	}
	t.sess.Produce(t.ctx, r, t.promise)
}

func (t *transaction) promise(r *kgo.Record, err error) {
	if err != nil {
		err = fmt.Errorf("produce %d bytes to topic %s: %w", len(r.Value), r.Topic, err)
		t.failed.CompareAndSwap(nil, &err)
	}
}

// partitioner takes the partition that a message names, and the key's hash where it names
// none.
type partitioner struct{ keyed kgo.Partitioner }

func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return topicPartitioner{p.keyed.ForTopic(topic)}
}

type topicPartitioner struct{ keyed kgo.TopicPartitioner }

func (p topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || p.keyed.RequiresConsistency(r)
}

func (p topicPartitioner) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return p.keyed.Partition(r, n)
}
