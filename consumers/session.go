package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Connection says how to reach Kafka.
type Connection struct {
	Brokers  []string
	ClientID string
}

func (c Connection) options() []kgo.Opt {
	// A broker that ends when it has just accepted a connection is away, and not one that wants
	// SASL or TLS, as kgo would conclude.
	return []kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.ClientID(c.ClientID), kgo.AlwaysRetryEOF()}
}

// Group names a consumer group and how fast a dead member of it is noticed.
type Group struct {
	Name           string
	SessionTimeout time.Duration // a member that is silent for this long has left; at least 6s on most brokers
}

// groupOptions are those that all readers share: committed data only, cooperative
// rebalancing, and never a silent jump over lost offsets.
func groupOptions(g Group) []kgo.Opt {
	return []kgo.Opt{
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
	}
}

// errConfiguration is a session that cannot be opened however often it is tried.
var errConfiguration = errors.New("the Kafka settings are not usable")

// LostRangeError says that records were deleted before they were read, or taken back after
// they had been.
type LostRangeError struct {
	Group     string
	Topic     string
	Partition int32
	Committed int64 // the offset that should have been read next
	LogStart  int64 // the first that is still there
	LogEnd    int64
}

func (e *LostRangeError) Error() string {
	return fmt.Sprintf("group %s: topic %s partition %d: offset %d is out of range, the log has %d to %d: records were lost; "+
		"raise the topic's retention, then set the group's offset where reading shall go on (kafka-consumer-groups --reset-offsets)",
		e.Group, e.Topic, e.Partition, e.Committed, e.LogStart, e.LogEnd)
}

// lostRange turns an out-of-range fetch error into a LostRangeError with its figures.
func lostRange(ctx context.Context, cl *kgo.Client, group, topic string, partition int32) error {
	e := &LostRangeError{Group: group, Topic: topic, Partition: partition, Committed: -1, LogStart: -1, LogEnd: -1}
	adm := kadm.NewClient(cl)
	if offsets, err := adm.FetchOffsets(ctx, group); err == nil {
		if o, ok := offsets.Lookup(topic, partition); ok {
			e.Committed = o.At
		}
	}
	if starts, err := adm.ListStartOffsets(ctx, topic); err == nil {
		if o, ok := starts.Lookup(topic, partition); ok {
			e.LogStart = o.Offset
		}
	}
	if ends, err := adm.ListEndOffsets(ctx, topic); err == nil {
		if o, ok := ends.Lookup(topic, partition); ok {
			e.LogEnd = o.Offset
		}
	}
	return e
}

// fetchErrors sorts the errors of a poll: nil for those that the client retries by itself
// (logged), an error for those that nobody but an operator can mend.
func fetchErrors(ctx context.Context, cl *kgo.Client, group string, fetches kgo.Fetches, log zerolog.Logger) error {
	var fatal error
	fetches.EachError(func(topic string, partition int32, err error) {
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, kgo.ErrClientClosed):
		case errors.Is(err, kerr.OffsetOutOfRange), isDataLoss(err):
			fatal = errors.Join(fatal, lostRange(context.WithoutCancel(ctx), cl, group, topic, partition))
		case errors.Is(err, kerr.UnknownTopicID): // deleted, and perhaps made again: only a new session learns its new id
			fatal = errors.Join(fatal, fmt.Errorf("topic %s: %w", topic, err))
		default:
			log.Warn().Err(err).Str("topic", topic).Int32("partition", partition).Msg("fetch failed; retrying")
		}
	})
	return fatal
}

// isDataLoss tells that a broker no longer has records that it had given out. The client
// would go on where the log ends now, and offsets would stand for other records.
func isDataLoss(err error) bool {
	var loss *kgo.ErrDataLoss
	return errors.As(err, &loss)
}

// converter turns fetched records into schemas.Record. Its memory is reused:
// records are valid until the next reset.
type converter struct {
	records []schemas.Record
	headers []schemas.Header
	ids     map[string]uuid.UUID
}

func (c *converter) reset() {
	clear(c.records)
	clear(c.headers)
	c.records, c.headers = c.records[:0], c.headers[:0]
}

// add appends the records of the fetches, those of each partition in offset order. It
// leaves out control records, which end transactions.
func (c *converter) add(fetches kgo.Fetches) {
	for i := range fetches {
		for j := range fetches[i].Topics {
			t := &fetches[i].Topics[j]
			id := c.topicID(t)
			for k := range t.Partitions {
				for _, r := range t.Partitions[k].Records {
					if r.Attrs.IsControl() {
						continue
					}
					c.records = append(c.records, schemas.Record{
						Topic: r.Topic, TopicID: id, Partition: r.Partition, Offset: r.Offset,
						Timestamp: r.Timestamp, Key: r.Key, Value: r.Value, Headers: c.copyHeaders(r.Headers),
					})
				}
			}
		}
	}
}

// topicID returns the topic's id. A broker that predates topic ids gives none: then the
// name stands for it, in the one way that RFC 4122 has for names.
func (c *converter) topicID(t *kgo.FetchTopic) uuid.UUID {
	if t.TopicID != [16]byte{} {
		return t.TopicID
	}
	id, ok := c.ids[t.Topic]
	if !ok {
		if c.ids == nil {
			c.ids = map[string]uuid.UUID{}
		}
		id = uuid.NewSHA1(uuid.NameSpaceURL, []byte("kafka:"+t.Topic))
		c.ids[t.Topic] = id
	}
	return id
}

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
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
