package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Producer is an idempotent producer that waits for all in-sync replicas. It is safe for
// concurrent use. Close it.
type Producer struct {
	cl     *kgo.Client
	done   func(*kgo.Record, error) // finished, bound once
	failed atomic.Pointer[failure]

	mu      sync.Mutex
	records []kgo.Record // what is left of the current block
}

// Dial returns a client with these options and those that every client of the program has, such as
// consumers.Connection.Dial.
type Dial func(opts ...kgo.Opt) (*kgo.Client, error)

// NewProducer connects lazily. At most maxBuffered records wait in memory; then Enqueue
// blocks. maxBytes returns how large a batch that a topic takes may be.
func NewProducer(dial Dial, maxBuffered int, maxBytes func(topic string) int) (*Producer, error) {
	cl, err := dial(
		kgo.MetadataMinAge(250*time.Millisecond), // how late a topic that was made again is noticed
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(partition)),
		kgo.ProducerBatchMaxBytesFn(func(topic string) int32 { return int32(maxBytes(topic)) }),
		kgo.MaxBufferedRecords(maxBuffered), kgo.MaxBufferedBytes(256<<20))
	if err != nil {
		return nil, fmt.Errorf("open a Kafka producer: %w", err)
	}
	p := &Producer{cl: cl}
	p.done = p.finished
	return p, nil
}

// partition chooses the partition that a message names, else the one of its key's hash. All
// messages of a topic that have no key go to the same one, which differs by producer.
func partition(topic string) func(r *kgo.Record, n int) int {
	keyed := kgo.StickyKeyPartitioner(nil).ForTopic(topic)
	return func(r *kgo.Record, n int) int {
		if r.Partition >= 0 {
			return int(r.Partition)
		}
		return keyed.Partition(r, n)
	}
}

// Close ends the connection; what was enqueued and not flushed is lost.
func (p *Producer) Close() { p.cl.Close() }

// record shapes a message. Records come from blocks that are freed as a whole: millions of
// them are cheap.
func (p *Producer) record(m schemas.Message) *kgo.Record {
	const block = 1024
	p.mu.Lock()
	if len(p.records) == 0 {
		p.records = make([]kgo.Record, block)
	}
	r := &p.records[0]
	p.records = p.records[1:]
	p.mu.Unlock()
	r.Topic, r.Partition, r.Key, r.Value = m.Topic, m.Partition, m.Key, m.Value
	if len(m.Headers) > 0 {
		r.Headers = make([]kgo.RecordHeader, len(m.Headers))
		for i, h := range m.Headers {
			r.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
		}
	}
	return r
}

// Send produces one message and returns when Kafka has acknowledged it. A topic that was made
// again since the last message takes it as well.
func (p *Producer) Send(ctx context.Context, m schemas.Message) error {
	err := p.cl.ProduceSync(ctx, p.record(m)).FirstErr()
	if p.forget(m.Topic, err) {
		err = p.cl.ProduceSync(ctx, p.record(m)).FirstErr()
	}
	if err != nil {
		return fmt.Errorf("produce to topic %s: %w", m.Topic, lacking(err, m.Topic))
	}
	return nil
}

// forget has the client learn anew what it knows of a topic that was deleted, and perhaps made
// again: it knows a topic by its id, and would refuse every message for ever.
func (p *Producer) forget(topic string, err error) bool {
	gone := errors.Is(err, kerr.UnknownTopicID)
	if gone {
		p.cl.PurgeTopicsFromProducing(topic)
	}
	return gone
}

// Enqueue produces one message in the background; the first failure is returned by Flush.
// It blocks while the buffer is full. The message's bytes must stay unchanged until Flush.
func (p *Producer) Enqueue(ctx context.Context, m schemas.Message) {
	p.cl.Produce(ctx, p.record(m), p.done)
}

func (p *Producer) finished(r *kgo.Record, err error) {
	if err != nil {
		failure := &failure{topic: r.Topic, err: err} // err itself would escape at each call
		p.failed.CompareAndSwap(nil, failure)
	}
}

// Flush waits until everything enqueued is acknowledged, and returns the first failure
// since the last Flush. What is enqueued after it goes to a topic that was made again, too.
func (p *Producer) Flush(ctx context.Context) error {
	if err := p.cl.Flush(ctx); err != nil {
		return fmt.Errorf("flush the Kafka producer: %w", err)
	}
	if failed := p.failed.Swap(nil); failed != nil {
		p.forget(failed.topic, failed.err)
		return failed
	}
	return nil
}

// failure is why a message could not be produced.
type failure struct {
	topic string
	err   error
}

func (f *failure) Error() string { return fmt.Sprintf("produce to topic %s: %v", f.topic, f.err) }

func (f *failure) Unwrap() error { return f.err }

// EventMessage is an event as it is sent to the events topic, keyed by model.
func EventMessage(topic string, e schemas.Event) (schemas.Message, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return schemas.Message{}, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	return schemas.Message{
		Topic: topic, Partition: schemas.AnyPartition, Key: []byte(e.Data.Model), Value: body,
		Headers: []schemas.Header{{Key: "content-type", Value: []byte("application/cloudevents+json; charset=UTF-8")}},
	}, nil
}
