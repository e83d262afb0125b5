package consumers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
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
	TopicPrefix        string        // every topic with this prefix is read
	MaxRecords         int           // of one request batch
	TransactionTimeout time.Duration // after it the brokers abort; a message that cannot be produced for half of it fails its batch
	// Health, if set, is told what failed, and nil when a batch was committed. It is called by
	// the lane's goroutine and must not block.
	Health func(err error)
}

// Publisher takes messages into the transaction of the batch being handled.
type Publisher interface {
	// Publish needs its message's bytes unchanged until the batch has ended, which is when
	// the lane calls the handler again or Run returns. A message that cannot be produced
	// fails the batch. It is sent when the handler has returned.
	Publish(m schemas.Message)
}

// Handler answers one request batch. What it publishes is committed with the batch's
// offsets. After an error the transaction is aborted and the same records come again, after
// a wait that doubles up to 10 s; they come again at once when a rebalance aborted it, if
// the lane still has their partition. records and their bytes are valid until Handle
// returns, those that it published until it is called again. It is called by one goroutine.
type Handler interface {
	Handle(ctx context.Context, records []schemas.Record, fetched time.Time, out Publisher) error
}

// LaneStats count over the life of a lane; they may be read at any time.
type LaneStats struct {
	Batches   atomic.Int64 // committed
	Records   atomic.Int64 // of them
	Published atomic.Int64 // messages of them
	Aborted   atomic.Int64 // transactions, by a failure or a rebalance
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

func (l *Lane) health(err error) {
	if l.cfg.Health != nil {
		l.cfg.Health(err)
	}
}

// Run polls until ctx ends; the batch in hand is then finished under hard, and the group
// is left. It returns nil after such an orderly end. Kafka being away is waited for, and a
// session that cannot be used further is opened anew: an error means that the settings are
// unusable, that records were lost (LostRangeError), or that the last batch could not be
// finished, which leaves it to whoever gets its partitions.
func (l *Lane) Run(ctx, hard context.Context, h Handler) error {
	for backoff := time.Duration(0); ; {
		began := time.Now()
		err := l.session(ctx, hard, h)
		var lost *LostRangeError
		if err == nil || errors.As(err, &lost) || errors.Is(err, errConfiguration) || ctx.Err() != nil || hard.Err() != nil {
			return err
		}
		if time.Since(began) > time.Minute {
			backoff = 0
		}
		backoff = longer(backoff)
		l.Stats.Reopened.Add(1)
		l.health(err)
		l.log.Error().Err(err).Dur("retry_in", backoff).Msg("lane session failed; opening a new one")
		if sleep(ctx, backoff) != nil {
			return nil //nolint:nilerr // the session is closed: this is an orderly end
		}
	}
}

// session is one life of the Kafka session. An error means that it cannot be used further.
func (l *Lane) session(ctx, hard context.Context, h Handler) error {
	opts := append(l.cfg.options(), groupOptions(l.cfg.Group)...)
	opts = append(opts,
		kgo.ConsumeRegex(), kgo.ConsumeTopics("^"+regexp.QuoteMeta(l.cfg.TopicPrefix)+".+$"),
		kgo.TransactionalID(fmt.Sprintf("%s-%s-%d", l.cfg.Name, l.cfg.Instance, l.cfg.Lane)),
		kgo.TransactionTimeout(l.cfg.TransactionTimeout),
		kgo.RecordDeliveryTimeout(l.cfg.TransactionTimeout/2), // else a topic that is gone is awaited for ever, silently
		kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil)}),
		kgo.ProducerBatchMaxBytes(schemas.MaxResultBytes),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(1<<20), kgo.MaxBufferedBytes(256<<20),
	)
	sess, err := kgo.NewGroupTransactSession(opts...)
	if err != nil {
		return fmt.Errorf("%w: %w", errConfiguration, err)
	}
	tx := &transaction{ctx: hard, sess: sess}
	tx.promised = tx.promise
	defer tx.open.Wait() // what was published is used until every promise is kept
	defer sess.CloseAllowingRebalance()
	// Takes over the transactional id at once, and not with the first message: that ends what
	// a killed lane of the same name left open, and the group's offsets cannot be read before.
	if _, _, err := sess.Client().ProducerID(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("take over the transactional id: %w", err)
	}
	var in converter
	var backoff time.Duration
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
		failed, err := l.round(hard, sess, tx, &in, fetched, h)
		if err != nil {
			return err
		}
		if !failed {
			backoff = 0
			continue
		}
		backoff = longer(backoff)
		if sleep(ctx, backoff) != nil {
			return nil
		}
	}
}

// round answers one batch in one transaction. failed tells that the batch is at fault when
// the transaction was aborted, and not a rebalance.
func (l *Lane) round(hard context.Context, sess *kgo.GroupTransactSession, tx *transaction, in *converter, fetched time.Time, h Handler) (failed bool, err error) {
	if err := sess.Begin(); err != nil {
		return false, fmt.Errorf("begin a transaction: %w", err)
	}
	tx.reset()
	fault := h.Handle(hard, in.records, fetched, tx)
	if fault == nil {
		tx.send()
		// End commits although a message was refused before it was sent: ask first.
		if err := sess.Client().Flush(hard); err != nil {
			return false, fmt.Errorf("flush %d messages: %w", tx.published, err)
		}
		tx.open.Wait()
		fault = tx.failure()
	}
	if fault != nil {
		l.health(fault)
		l.log.Error().Err(fault).Int("records", len(in.records)).Msg("batch failed; aborting its transaction")
	}
	committed, err := sess.End(hard, kgo.TransactionEndTry(fault == nil))
	if err != nil {
		return false, fmt.Errorf("end the transaction of %d records: %w", len(in.records), errors.Join(err, fault))
	}
	tx.open.Wait()
	if !committed {
		l.Stats.Aborted.Add(1)
		return fault != nil, nil
	}
	l.health(nil)
	l.Stats.Batches.Add(1)
	l.Stats.Records.Add(int64(len(in.records)))
	l.Stats.Published.Add(int64(tx.published))
	return false, nil
}

// transaction is the Publisher of one session. Its memory is reused from batch to batch:
// every promise is kept before the next one begins.
type transaction struct {
	ctx       context.Context //nolint:containedctx // the session's hard context, for promises
	sess      *kgo.GroupTransactSession
	promised  func(*kgo.Record, error) // promise, bound once
	open      sync.WaitGroup           // promises
	blocks    [][]kgo.Record           // never moved, since kgo keeps pointers
	headers   []kgo.RecordHeader
	published int
	failed    atomic.Pointer[error]
}

const recordBlock = 1024

// reset forgets the batch before, so that its bytes can be freed.
func (t *transaction) reset() {
	for i := 0; i < t.published; i += recordBlock {
		clear(t.blocks[i/recordBlock][:min(recordBlock, t.published-i)])
	}
	clear(t.headers)
	t.headers = t.headers[:0]
	t.published = 0
	t.failed.Store(nil)
}

func (t *transaction) failure() error {
	if p := t.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// Publish implements Publisher.
func (t *transaction) Publish(m schemas.Message) {
	n := t.published
	if n/recordBlock == len(t.blocks) {
		t.blocks = append(t.blocks, make([]kgo.Record, recordBlock))
	}
	r := &t.blocks[n/recordBlock][n%recordBlock]
	t.published++
	from := len(t.headers) // growing moves the headers, but not those already published
	for _, h := range m.Headers {
		t.headers = append(t.headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	*r = kgo.Record{
		Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value,
		Headers: t.headers[from:len(t.headers):len(t.headers)],
	}
}

// send produces what was published. Only now does the broker's clock start to run: a model
// may take longer over a batch than the transaction timeout.
func (t *transaction) send() {
	t.open.Add(t.published)
	for i := range t.published {
		t.sess.Produce(t.ctx, &t.blocks[i/recordBlock][i%recordBlock], t.promised)
	}
}

func (t *transaction) promise(r *kgo.Record, err error) {
	if err != nil {
		err = fmt.Errorf("produce %d bytes to topic %s: %w", len(r.Value), r.Topic, err)
		t.failed.CompareAndSwap(nil, &err)
	}
	t.open.Done()
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

// OnNewBatch implements kgo.TopicPartitionerOnNewBatch: messages without a key move on.
func (p topicPartitioner) OnNewBatch() {
	if keyed, ok := p.keyed.(kgo.TopicPartitionerOnNewBatch); ok {
		keyed.OnNewBatch()
	}
}
