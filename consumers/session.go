package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Group names a consumer group, how fast a dead member of it is noticed, and what becomes of
// what it cannot read.
type Group struct {
	Name           string
	SessionTimeout time.Duration // a member that is silent for this long has left; at least 6s on most brokers
	Unreadable     Unreadable    // "" is UnreadableStop
}

// groupOptions are those that all readers share: committed data only, cooperative
// rebalancing, and never a silent jump over lost offsets. The client asks nothing more once
// hard has ended: else its Close would wait for brokers that do not answer.
func groupOptions(hard context.Context, g Group) []kgo.Opt {
	return []kgo.Opt{
		kgo.WithContext(hard),
		kgo.ConsumerGroup(g.Name),
		kgo.SessionTimeout(g.SessionTimeout),
		kgo.HeartbeatInterval(g.SessionTimeout / 4),
		// A member that dies while it joins is waited for that long: a minute by default.
		kgo.RebalanceTimeout(6 * g.SessionTimeout),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.MetadataMaxAge(10 * time.Second), // how late a new topic or partition is seen
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.FetchMaxBytes(32 << 20),
		kgo.FetchMaxPartitionBytes(8 << 20),
		kgo.BrokerMaxReadBytes(128 << 20),
		kgo.MaxDecompressBatchBytes(maxBatchBytes),
	}
}

// cutOff adds to the error of a session that hard has ended, where that closed the client under it.
func cutOff(hard context.Context, err error) error {
	if err == nil || hard.Err() == nil || errors.Is(err, hard.Err()) {
		return err
	}
	return fmt.Errorf("%w (%w)", err, hard.Err())
}

// maxBatchBytes bounds what one record batch inflates to: a few kilobytes can become a
// gigabyte, and the batch is inflated whole before the size of a record is known.
const maxBatchBytes = 128 << 20

// errConfiguration is a session that cannot be opened however often it is tried.
var errConfiguration = errors.New("the Kafka settings are not usable")

// partitionsOf returns the partitions of which a poll has brought records.
func partitionsOf(fetches kgo.Fetches) map[topicPartition]bool {
	of := map[topicPartition]bool{}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) > 0 {
			of[topicPartition{p.Topic, p.Partition}] = true
		}
	})
	return of
}

// converter turns fetched records into schemas.Record. Its memory is reused:
// records are valid until the next reset.
type converter struct {
	records []schemas.Record
	bytes   int                // of keys and values
	untimed func(topic string) // told of each record without a usable time; nil: nobody is
	headers []schemas.Header
	ids     map[string]uuid.UUID
}

func (c *converter) reset() {
	clear(c.records)
	clear(c.headers)
	c.records, c.headers, c.bytes = c.records[:0], c.headers[:0], 0
}

// add appends the records of fetches that arrived at that time, those of each partition in offset
// order. It leaves out control records, which end transactions. A record without a usable time gets
// that of its arrival.
func (c *converter) add(fetches kgo.Fetches, arrived time.Time) {
	for i := range fetches {
		for j := range fetches[i].Topics {
			t := &fetches[i].Topics[j]
			id := c.topicID(t)
			for k := range t.Partitions {
				for _, r := range t.Partitions[k].Records {
					if r.Attrs.IsControl() {
						continue
					}
					c.bytes += len(r.Key) + len(r.Value)
					c.records = append(c.records, schemas.Record{
						Topic: r.Topic, TopicID: id, Partition: r.Partition, Offset: r.Offset,
						Timestamp: r.Timestamp, Key: r.Key, Value: r.Value, Headers: c.copyHeaders(r.Headers),
					})
					if usableTime(r.Timestamp) {
						continue
					}
					last := &c.records[len(c.records)-1]
					last.Timestamp, last.Untimed = arrived, true
					if c.untimed != nil {
						c.untimed(r.Topic)
					}
				}
			}
		}
	}
}

// topicID returns the topic's id. A broker that predates topic ids gives none: then an id is made
// from the name, as RFC 4122 does it.
func (c *converter) topicID(t *kgo.FetchTopic) uuid.UUID {
	if t.TopicID != [16]byte{} {
		return t.TopicID
	}
	id, ok := c.ids[t.Topic]
	if !ok {
		if c.ids == nil {
			c.ids = map[string]uuid.UUID{}
		}
		id = nameID(t.Topic)
		c.ids[t.Topic] = id
	}
	return id
}

// topicIDOf returns a topic's id, or what stands for it where the broker gave none.
func topicIDOf(id [16]byte, topic string) uuid.UUID {
	if id != [16]byte{} {
		return id
	}
	return nameID(topic)
}

// nameID is the id of a topic of a broker that knows no topic ids.
func nameID(topic string) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceURL, []byte("kafka:"+topic)) }

func (c *converter) copyHeaders(in []kgo.RecordHeader) []schemas.Header {
	if len(in) == 0 {
		return nil
	}
	from := len(c.headers)
	for _, h := range in {
		c.headers = append(c.headers, schemas.Header{Key: h.Key, Value: h.Value})
	}
	return c.headers[from:len(c.headers):len(c.headers)]
}

// longer returns the wait after a wait of d: it doubles, from 250 ms up to 10 s.
func longer(d time.Duration) time.Duration {
	return min(max(2*d, 250*time.Millisecond), 10*time.Second)
}

// sleep waits, or returns early with ctx's cause.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
