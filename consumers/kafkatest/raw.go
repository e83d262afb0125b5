package kafkatest

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Sealed returns the bytes of a record batch of the newest format, with its length and checksum.
func Sealed(batch kmsg.RecordBatch) []byte {
	batch.Length, batch.PartitionLeaderEpoch, batch.Magic = 49+int32(len(batch.Records)), -1, 2
	const checked = 21 // where begins what the checksum is of
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[checked-4:], crc32.Checksum(raw[checked:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// TimedRecord is a record that bears any number as its time, as clients of other languages can send
// it.
type TimedRecord struct {
	Millis     int64
	Key, Value []byte
}

// TimedBatch returns one batch of these records, not compressed.
func TimedBatch(records ...TimedRecord) kmsg.RecordBatch {
	batch := kmsg.RecordBatch{
		LastOffsetDelta: int32(len(records) - 1), FirstTimestamp: records[0].Millis, MaxTimestamp: records[0].Millis,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(len(records)),
	}
	for i, r := range records {
		batch.MaxTimestamp = max(batch.MaxTimestamp, r.Millis)
		body := kbin.AppendInt8(nil, 0)                                         // attributes
		body = kbin.AppendVarlong(body, r.Millis-batch.FirstTimestamp)          // wraps, as reading it does
		body = kbin.AppendVarint(body, int32(i))                                // offset
		body = append(kbin.AppendVarint(body, int32(len(r.Key))), r.Key...)     // key
		body = append(kbin.AppendVarint(body, int32(len(r.Value))), r.Value...) // value
		body = kbin.AppendVarint(body, 0)                                       // headers
		batch.Records = append(kbin.AppendVarint(batch.Records, int32(len(body))), body...)
	}
	return batch
}

// ProduceTimed produces records to a partition as one batch.
func (o *Operator) ProduceTimed(ctx context.Context, topic string, partition int32, records ...TimedRecord) error {
	cl, err := o.dial()
	if err != nil {
		return fmt.Errorf("open a Kafka client: %w", err)
	}
	defer cl.Close()
	_, err = o.send(ctx, cl, topic, partition, Sealed(TimedBatch(records...)))
	return err
}

// send produces a batch as it is, and returns the offset of its first record.
func (o *Operator) send(ctx context.Context, cl *kgo.Client, topic string, partition int32, raw []byte) (first int64, err error) {
	err = await(ctx, fmt.Sprintf("topic %s partition %d has the batch", topic, partition), func() (bool, error) {
		topics, err := o.adm.ListTopics(ctx, topic)
		if err == nil {
			err = topics.Error()
		}
		if err != nil {
			return false, fmt.Errorf("list topic %s: %w", topic, err)
		}
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis = -1, 10_000
		in, of := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
		of.Partition, of.Records = partition, raw
		in.Topic, in.TopicID, in.Partitions = topic, topics[topic].ID, append(in.Partitions, of)
		req.Topics = append(req.Topics, in)
		resp, err := req.RequestWith(ctx, cl.Broker(int(topics[topic].Partitions[partition].Leader)))
		if err != nil {
			return false, err
		}
		done := resp.Topics[0].Partitions[0]
		first = done.BaseOffset
		return done.ErrorCode == 0, kerr.ErrorForCode(done.ErrorCode)
	})
	return first, err
}
