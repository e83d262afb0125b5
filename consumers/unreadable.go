package consumers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

// Unreadable says what becomes of a record batch of which nothing can be read.
type Unreadable string

// What becomes of such a batch.
const (
	UnreadableStop Unreadable = "stop" // its partition stops there, until an operator sets the offset behind it
	UnreadableSkip Unreadable = "skip" // it is set aside, and its partition goes on behind it
)

// UnreadableBatchError says that a partition stands at a record batch of which nothing can
// be read, not even what a dead letter would need: it inflates beyond bounds, or is damaged.
type UnreadableBatchError struct {
	Group     string
	Topic     string
	TopicID   uuid.UUID
	Partition int32
	Offset    int64     // of the first record that was not read; -1 if it is not known
	Next      int64     // behind the batch's last record; -1 if it is not known
	Timestamp time.Time // of the batch's latest record, as its header says; see schemas.Record
	Untimed   bool
	Err       error

	epoch int32 // the leader's when the batch was appended
}

func (e *UnreadableBatchError) Error() string {
	next := "OFFSET"
	if e.Next >= 0 {
		next = strconv.FormatInt(e.Next, 10)
	}
	return fmt.Sprintf("group %s: topic %s partition %d: the record batch at offset %d cannot be read: %v; have its records sent again, "+
		"stop all members of the group, and let it go on behind the batch: `%s`",
		e.Group, e.Topic, e.Partition, e.Offset, e.Err, offsetsCommand(e.Group, e.Topic, e.Partition, next))
}

func (e *UnreadableBatchError) Unwrap() error { return e.Err }

// Record returns the record that stands for the batch in its dead letter: it has the batch's first
// coordinates, its last offset in a header, and no bytes.
func (e *UnreadableBatchError) Record() schemas.Record {
	return schemas.Record{
		Topic: e.Topic, TopicID: e.TopicID, Partition: e.Partition, Offset: e.Offset, Timestamp: e.Timestamp, Untimed: e.Untimed,
		Headers: []schemas.Header{{Key: schemas.HeaderLastOffset, Value: strconv.AppendInt(nil, e.Next-1, 10)}},
		Fault:   schemas.Errorf(schemas.ErrorClassUnreadableBatch, "the record batch of the offsets %d to %d cannot be read: %v", e.Offset, e.Next-1, e.Err),
	}
}

// behind returns the offset behind the batch, where its partition goes on.
func (e *UnreadableBatchError) behind() map[string]map[int32]kgo.EpochOffset {
	return map[string]map[int32]kgo.EpochOffset{e.Topic: {e.Partition: {Epoch: e.epoch, Offset: e.Next}}}
}

var errInflates = fmt.Errorf("it inflates to more than %d MiB", maxBatchBytes>>20)

// probeBytes is how much of a batch is asked for when its header is looked at. Brokers return
// the first batch whole all the same.
const probeBytes = 1 << 10

// locate finds the batch that a partition stands at by its header, which is not compressed. Between
// the offset and the batch may lie others without records, such as the end of a transaction.
func (e *UnreadableBatchError) locate(ctx context.Context, cl *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if e.Offset < 0 {
		return fmt.Errorf("find the batch that topic %s partition %d stands at: its offset is not known", e.Topic, e.Partition)
	}
	at, known := e.Offset, e.Next >= 0
	for range maxBetween {
		batch, err := e.fetch(ctx, cl, at)
		if err == nil {
			err = e.readHeader(batch, at)
		}
		if err != nil {
			return fmt.Errorf("find the batch at offset %d of topic %s partition %d: %w", at, e.Topic, e.Partition, err)
		}
		if known || !readable(batch) {
			return nil
		}
		at = e.Next
	}
	return fmt.Errorf("find the batch that topic %s partition %d stands at: every one of %d up to offset %d can be read", e.Topic, e.Partition, maxBetween, at)
}

// maxBetween bounds how many batches without a record are looked at before one that cannot be read.
const maxBetween = 1000

// readable tells whether the client can read the first of these batches.
func readable(batches []byte) bool {
	size := batchLength + 4 + int(int32(binary.BigEndian.Uint32(batches[batchLength:])))
	fetched := &kmsg.FetchResponseTopicPartition{RecordBatches: batches[:min(max(size, 0), len(batches))]}
	got, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{}, fetched, kgo.DefaultDecompressor(), nil)
	return got.Err == nil
}

// fetch returns the bytes of the batch that the offset lies in, as the broker stores it.
func (e *UnreadableBatchError) fetch(ctx context.Context, cl *kgo.Client, at int64) ([]byte, error) {
	topics, err := kadm.NewClient(cl).ListTopics(kadm.WithAuthorizedOps(ctx), e.Topic) // which asks a broker, and not kadm's cache
	if err != nil {
		return nil, err
	}
	detail := topics[e.Topic]
	of, ok := detail.Partitions[e.Partition]
	if err := errors.Join(detail.Err, of.Err); err != nil || !ok {
		return nil, errors.Join(err, kerr.UnknownTopicOrPartition)
	}
	if e.TopicID == uuid.Nil {
		e.TopicID = uuid.UUID(detail.ID)
	}
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition, partition.FetchOffset, partition.PartitionMaxBytes = e.Partition, at, probeBytes
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = e.Topic, detail.ID, []kmsg.FetchRequestTopicPartition{partition}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = 1000, 1, probeBytes, 1
	req.Topics = []kmsg.FetchRequestTopic{topic}
	answer, err := cl.Broker(int(of.Leader)).RetriableRequest(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.Partition == e.Partition {
				return p.RecordBatches, kerr.ErrorForCode(p.ErrorCode)
			}
		}
	}
	return nil, errors.New("the broker answers without the partition")
}

// The layout of a record batch's header, of magic 2.
const (
	batchLength    = 8
	batchEpoch     = 12
	batchMagic     = 16
	batchLastDelta = 23
	batchMaxTime   = 35
	batchHeader    = 61
)

var errNoHeader = errors.New("what the broker has there has no header of a record batch")

// readHeader takes from the header of a batch, which lies at an offset or behind it, where the
// batch ends and what its latest time is.
func (e *UnreadableBatchError) readHeader(batch []byte, at int64) error {
	if len(batch) < batchHeader || batch[batchMagic] != 2 {
		return errNoHeader
	}
	first := int64(binary.BigEndian.Uint64(batch))
	next := first + int64(int32(binary.BigEndian.Uint32(batch[batchLastDelta:]))) + 1
	if next <= at {
		return errNoHeader // the header is damaged too: nobody knows where the next batch begins
	}
	e.Offset, e.Next, e.epoch = max(first, at), next, int32(binary.BigEndian.Uint32(batch[batchEpoch:]))
	if ms := int64(binary.BigEndian.Uint64(batch[batchMaxTime:])); usableMillis(ms) {
		e.Timestamp = time.UnixMilli(ms)
	} else {
		e.Timestamp, e.Untimed = time.Now(), true
	}
	return nil
}
