package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Producer is an idempotent producer that waits for all in-sync replicas. It is safe for
// concurrent use. Close it.
type Producer struct {
	cl     *kgo.Client
	failed atomic.Pointer[error]
}

// NewProducer connects lazily. At most maxBuffered records wait in memory; then Enqueue
// blocks.
func NewProducer(brokers []string, clientID string, maxBuffered int) (*Producer, error) {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.ClientID(clientID),
		kgo.ProducerBatchMaxBytes(schemas.MaxDeadLetterBytes),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
		kgo.MaxBufferedRecords(maxBuffered), kgo.MaxBufferedBytes(256<<20))
	if err != nil {
		return nil, fmt.Errorf("open a Kafka producer: %w", err)
	}
	return &Producer{cl: cl}, nil
}

// Close ends the connection; what was enqueued and not flushed is lost.
func (p *Producer) Close() { p.cl.Close() }

func record(m schemas.Message) *kgo.Record {
	r := &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}

// Send produces one message and returns when Kafka has acknowledged it. The key chooses
// the partition.
func (p *Producer) Send(ctx context.Context, m schemas.Message) error {
	if err := p.cl.ProduceSync(ctx, record(m)).FirstErr(); err != nil {
		return fmt.Errorf("produce to topic %s: %w", m.Topic, err)
	}
	return nil
}

// Enqueue produces one message in the background; the first failure is returned by Flush.
// It blocks while the buffer is full. The message's bytes must stay unchanged until Flush.
func (p *Producer) Enqueue(ctx context.Context, m schemas.Message) {
	p.cl.Produce(ctx, record(m), func(r *kgo.Record, err error) {
		if err != nil {
			err = fmt.Errorf("produce to topic %s: %w", r.Topic, err)
			p.failed.CompareAndSwap(nil, &err)
		}
	})
}

// Flush waits until everything enqueued is acknowledged, and returns the first failure
// since the last Flush.
func (p *Producer) Flush(ctx context.Context) error {
	if err := p.cl.Flush(ctx); err != nil {
		return fmt.Errorf("flush the Kafka producer: %w", err)
	}
	if failed := p.failed.Swap(nil); failed != nil {
		return *failed
	}
	return nil
}

// EventPublisher sends events to the events topic, keyed by model.
type EventPublisher struct {
	Producer *Producer
	Topic    string
}

// Publish returns when Kafka has acknowledged the event.
func (p EventPublisher) Publish(ctx context.Context, e schemas.Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	return p.Producer.Send(ctx, schemas.Message{
		Topic: p.Topic, Partition: schemas.AnyPartition, Key: []byte(e.Data.Model), Value: body,
		Headers: []schemas.Header{{Key: "content-type", Value: []byte("application/cloudevents+json; charset=UTF-8")}},
	})
}
