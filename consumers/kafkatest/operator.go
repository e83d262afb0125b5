package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Operator does to a Kafka what its operators do by hand, rightly or not, and to their
// harm. It knows nothing of millrace's own commits, as Kafka's tools do not. It is safe for
// concurrent use. Close it.
type Operator struct {
	dial Dial
	cl   *kgo.Client
	adm  *kadm.Client
}

// Dial opens a client of the Kafka that it knows, with further options.
type Dial func(opts ...kgo.Opt) (*kgo.Client, error)

// NewOperator connects lazily, to a Kafka that asks nobody who he is.
func NewOperator(brokers []string) (*Operator, error) {
	return DialOperator(func(opts ...kgo.Opt) (*kgo.Client, error) {
		return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.ClientID("operator")}, opts...)...)
	})
}

// DialOperator connects lazily, as dial does.
func DialOperator(dial Dial) (*Operator, error) {
	cl, err := dial(kgo.MetadataMinAge(100 * time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("open a Kafka client: %w", err)
	}
	return &Operator{dial: dial, cl: cl, adm: kadm.NewClient(cl)}, nil
}

// Close ends the connection.
func (o *Operator) Close() { o.cl.Close() }

// operatorPoll is how often an Operator looks whether what it waits for is there.
const operatorPoll = 50 * time.Millisecond

// await asks again and again until the answer is yes or ctx ends.
func await(ctx context.Context, what string, ask func() (bool, error)) error {
	for {
		done, err := ask()
		if done && err == nil {
			return nil
		}
		select {
		case <-time.After(operatorPoll):
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, errors.Join(context.Cause(ctx), err))
		}
	}
}

// AwaitEmpty waits until no member is left in a group: Kafka changes the offsets of no other.
func (o *Operator) AwaitEmpty(ctx context.Context, group string) error {
	return await(ctx, "group "+group+" has no member", func() (bool, error) {
		groups, err := o.adm.DescribeGroups(ctx, group)
		if err == nil {
			err = groups.Error()
		}
		if errors.Is(err, kerr.GroupIDNotFound) {
			return true, nil
		}
		return err == nil && len(groups[group].Members) == 0 && groups[group].State != "PreparingRebalance", err
	})
}

// DeleteGroup deletes a group and its offsets, as Kafka does by itself to those of a group
// that has had no member for offsets.retention.minutes. The group must be empty.
func (o *Operator) DeleteGroup(ctx context.Context, group string) error {
	resps, err := o.adm.DeleteGroups(ctx, group)
	if err == nil {
		err = resps[group].Err
	}
	if err != nil {
		return fmt.Errorf("delete group %s: %w", group, err)
	}
	return nil
}

// Commit sets the offsets of a group, of one topic by partition. Whatever metadata the
// commits had is gone. The group must be empty.
func (o *Operator) Commit(ctx context.Context, group, topic string, offsets map[int32]int64) error {
	list := kadm.Offsets{}
	for partition, at := range offsets {
		list.AddOffset(topic, partition, at, -1)
	}
	if err := o.adm.CommitAllOffsets(ctx, group, list); err != nil {
		return fmt.Errorf("commit offsets of group %s for topic %s: %w", group, topic, err)
	}
	return nil
}

// Extent is where the log of a partition begins and ends, and how far a group has come.
type Extent struct{ Start, Committed, End int64 } // Committed is -1 without a commit

// Extents returns those of a topic, by partition. The end is that of ended transactions. A
// topic that was just made again is waited for.
func (o *Operator) Extents(ctx context.Context, group, topic string) (extents map[int32]Extent, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var failed error // that waiting does not mend
	err = await(ctx, "topic "+topic+" is known", func() (bool, error) {
		extents, failed = o.extents(ctx, group, topic)
		if errors.Is(failed, kerr.UnknownTopicOrPartition) || errors.Is(failed, kerr.LeaderNotAvailable) {
			return false, failed
		}
		return true, nil
	})
	if err == nil {
		err = failed
	}
	return extents, err
}

func (o *Operator) extents(ctx context.Context, group, topic string) (map[int32]Extent, error) {
	starts, err := o.adm.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	var ends kadm.ListedOffsets
	if err == nil {
		ends, err = o.adm.ListCommittedOffsets(ctx, topic)
	}
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list the offsets of topic %s: %w", topic, err)
	}
	var committed kadm.OffsetResponses
	if group != "" {
		committed, err = o.adm.FetchOffsets(ctx, group)
		if err == nil {
			err = committed.Error()
		}
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return nil, fmt.Errorf("fetch offsets of group %s: %w", group, err)
		}
	}
	extents := map[int32]Extent{}
	ends.Each(func(end kadm.ListedOffset) {
		e := Extent{Committed: -1, End: end.Offset}
		if s, ok := starts.Lookup(topic, end.Partition); ok {
			e.Start = s.Offset
		}
		if c, ok := committed.Lookup(topic, end.Partition); ok {
			e.Committed = c.At
		}
		extents[end.Partition] = e
	})
	return extents, nil
}

// DeleteTopic deletes a topic and waits until the brokers no longer know it.
func (o *Operator) DeleteTopic(ctx context.Context, topic string) error {
	resps, err := o.adm.DeleteTopics(ctx, topic)
	if err == nil {
		err = resps[topic].Err
	}
	if err != nil {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	return await(ctx, "topic "+topic+" is gone", func() (bool, error) {
		// Asking for authorised operations is what makes kadm ask a broker, and not its cache.
		topics, err := o.adm.ListTopics(kadm.WithAuthorizedOps(ctx), topic)
		if err != nil {
			return false, fmt.Errorf("list topic %s: %w", topic, err)
		}
		return errors.Is(topics[topic].Err, kerr.UnknownTopicOrPartition), nil
	})
}

// Batch is one record batch by its coordinates: First to Last, both of it.
type Batch struct {
	Topic       string
	Partition   int32
	First, Last int64
}

// Holds tells whether a record lies in the batch.
func (b Batch) Holds(topic string, partition int32, offset int64) bool {
	return b.Topic == topic && b.Partition == partition && b.First <= offset && offset <= b.Last
}

// Read hands every committed record that the topic holds at the time of the call to visit,
// those of each partition in offset order, but none of the batches that are not to be read.
// rec is valid until visit returns.
func (o *Operator) Read(ctx context.Context, topic string, but []Batch, visit func(rec *schemas.Record) error) error {
	extents, err := o.Extents(ctx, "", topic)
	if err != nil {
		return err
	}
	from := map[int32]kgo.Offset{}
	for partition, e := range extents {
		if e.Start < e.End {
			from[partition] = kgo.NewOffset().At(e.Start)
		}
	}
	if len(from) == 0 {
		return nil
	}
	cl, err := o.dial(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(8<<20), kgo.FetchMaxPartitionBytes(1<<20), kgo.MaxConcurrentFetches(1), kgo.BrokerMaxReadBytes(128<<20))
	if err != nil {
		return fmt.Errorf("read topic %s: %w", topic, err)
	}
	defer cl.Close()
	for len(from) > 0 {
		fetches := cl.PollRecords(ctx, 65536)
		for _, e := range fetches.Errors() {
			return fmt.Errorf("read topic %s partition %d: %w", topic, e.Partition, e.Err)
		}
		fetches.EachTopic(func(t kgo.FetchTopic) {
			t.EachRecord(func(r *kgo.Record) {
				e := extents[r.Partition]
				if r.Offset >= e.End-1 {
					delete(from, r.Partition)
				}
				unwanted := slices.ContainsFunc(but, func(b Batch) bool { return b.Holds(topic, r.Partition, r.Offset) })
				if err == nil && r.Offset < e.End && !r.Attrs.IsControl() && !unwanted {
					err = visit(record(uuid.UUID(t.TopicID), r))
				}
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func record(topic uuid.UUID, r *kgo.Record) *schemas.Record {
	headers := make([]schemas.Header, len(r.Headers))
	for i, h := range r.Headers {
		headers[i] = schemas.Header{Key: h.Key, Value: h.Value}
	}
	return &schemas.Record{
		Topic: r.Topic, TopicID: topic, Partition: r.Partition, Offset: r.Offset,
		Timestamp: r.Timestamp, Key: r.Key, Value: r.Value, Headers: headers,
	}
}
