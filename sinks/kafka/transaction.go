package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/link"
)

// ErrFenced says that another producer has taken over the transactional id, or that Kafka has
// given up on this one because a transaction of it took too long. Nothing of the transaction
// that failed with it is there.
var ErrFenced = errors.New("another producer has taken over the transactional id")

// transactionTimeout is after how long Kafka aborts what a killed producer left open: until
// then nobody reads on in the partitions that it has written to.
const transactionTimeout = 10 * time.Second

// Transactor produces messages to several topics at once: all of a call, or none. It is not
// safe for concurrent use. Close it.
type Transactor struct {
	cl *kgo.Client
	id string
}

// NewTransactor takes over a transactional id: it ends what another producer of that id has
// left open, and fences it. What that one committed can be read when NewTransactor returns.
func NewTransactor(ctx context.Context, dial Dial, id string) (*Transactor, error) {
	cl, err := dial(
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(partition)),
		kgo.ProducerBatchMaxBytes(64<<20), kgo.BrokerMaxWriteBytes(128<<20), // it is the topic that decides what is too large, once it is compressed
		kgo.WithCompressor(nil), kgo.ProducerBatchCompression(kgo.SnappyCompression()), // whatever is configured: an original may have passed compressed alone
		kgo.UnknownTopicRetries(3), // callers have seen the topic
		kgo.TransactionalID(id), kgo.TransactionTimeout(transactionTimeout))
	if err != nil {
		return nil, fmt.Errorf("open a Kafka producer: %w", err)
	}
	if _, _, err := cl.ProducerID(ctx); err != nil {
		cl.Close()
		if errors.Is(err, kerr.TransactionalIDAuthorizationFailed) {
			err = &link.ForbiddenError{Operation: "Write", Kind: "transactional id", Names: []string{id}, Err: err}
		}
		return nil, fmt.Errorf("take over the transactional id %s: %w", id, err)
	}
	return &Transactor{cl: cl, id: id}, nil
}

// Close ends the connection.
func (t *Transactor) Close() { t.cl.Close() }

// Commit produces all messages in one transaction, or none. It finishes what it has begun though
// ctx ends, within seconds. After an error none of the messages is there, unless Kafka has not
// confirmed the end of the transaction itself: then all may be. The Transactor is not to be used
// after an error other than ErrTooLarge.
func (t *Transactor) Commit(ctx context.Context, messages []schemas.Message) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 2*transactionTimeout, errors.New("no answer of Kafka in time"))
	defer cancel()
	if err := t.cl.BeginTransaction(); err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	records := make([]*kgo.Record, len(messages))
	for i, m := range messages {
		r := &kgo.Record{Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value}
		for _, h := range m.Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		records[i] = r
	}
	var err error
	for _, r := range t.cl.ProduceSync(ctx, records...) {
		if err == nil && r.Err != nil {
			err = lacking(r.Err, r.Record.Topic)
		}
	}
	if err == nil {
		if err = t.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
			return t.failed(messages, "commit", err)
		}
		return nil
	}
	if !fenced(err) { // aborting would fence the one who has taken over
		if abort := errors.Join(t.cl.AbortBufferedRecords(ctx), t.cl.EndTransaction(ctx, kgo.TryAbort)); abort != nil {
			err = fmt.Errorf("%w (and aborting it: %w)", err, abort)
		}
	}
	return t.failed(messages, "produce", err)
}

// ErrTooLarge says that a topic does not take one of the messages. None of them is there, and
// the Transactor can be used further.
var ErrTooLarge = errors.New("too large for its topic")

func (t *Transactor) failed(messages []schemas.Message, what string, err error) error {
	switch {
	case fenced(err):
		err = fmt.Errorf("%w %s: %w", ErrFenced, t.id, err)
	case errors.Is(err, kerr.MessageTooLarge):
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("%s %d messages in one transaction: %w", what, len(messages), err)
}

func fenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.TransactionalIDNotFound) ||
		errors.Is(err, kerr.InvalidProducerIDMapping) || errors.Is(err, kerr.UnknownProducerID)
}

// lacking says which ACL is missing where that is why producing to a topic has failed. Who may write to
// no topic at all may not even begin to produce.
func lacking(err error, topic string) error {
	if errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed) {
		return &link.ForbiddenError{Operation: "Write", Kind: "topic", Names: []string{topic}, Err: err}
	}
	return err
}
