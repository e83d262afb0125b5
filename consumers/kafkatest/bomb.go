package kafkatest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a Bomb inflates to: more than the 128 MiB that millrace takes of a batch.
const (
	bombRecords     = 17
	bombRecordBytes = 8 << 20
)

// bombPayload returns the records of a Bomb, compressed. They are never in memory as a whole: with
// the race detector that would take seconds.
var bombPayload = sync.OnceValues(func() ([]byte, error) {
	head := func(i int64) []byte {
		body := []byte{0, 0}                 // no attributes; the first one's time
		body = binary.AppendVarint(body, i)  // offset
		body = binary.AppendVarint(body, -1) // no key
		body = binary.AppendVarint(body, bombRecordBytes)
		const headers = 1 // the byte behind the value, which counts them
		return append(binary.AppendVarint(nil, int64(len(body)+bombRecordBytes+headers)), body...)
	}
	size := int64(0)
	for i := range int64(bombRecords) {
		size += int64(len(head(i))) + bombRecordBytes + 1
	}
	var out bytes.Buffer
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	w.ResetContentSize(&out, size) // readers see at once how large it is
	zeros := make([]byte, 64<<10)
	for i := range int64(bombRecords) {
		_, err = w.Write(head(i))
		for range bombRecordBytes / len(zeros) {
			_, more := w.Write(zeros)
			err = errors.Join(err, more)
		}
		_, more := w.Write([]byte{0}) // no headers
		if err = errors.Join(err, more); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return out.Bytes(), err
})

// Bomb produces one record batch to a partition that is some kilobytes as it is sent and
// inflates to 136 MiB.
func (o *Operator) Bomb(ctx context.Context, topic string, partition int32) (Batch, error) {
	b := Batch{Topic: topic, Partition: partition}
	cl, err := o.dial()
	if err != nil {
		return b, fmt.Errorf("open a Kafka client: %w", err)
	}
	defer cl.Close()
	id, epoch, err := cl.ProducerID(ctx) // so that a batch that is sent twice is there once
	if err != nil {
		return b, fmt.Errorf("open a Kafka producer: %w", err)
	}
	payload, err := bombPayload()
	if err != nil {
		return b, fmt.Errorf("compress %d records: %w", bombRecords, err)
	}
	batch := kmsg.RecordBatch{
		Length: 49 + int32(len(payload)), PartitionLeaderEpoch: -1, Magic: 2,
		Attributes: 4 /* zstd */, LastOffsetDelta: bombRecords - 1, FirstTimestamp: time.Now().UnixMilli(),
		ProducerID: id, ProducerEpoch: epoch, NumRecords: bombRecords, Records: payload,
	}
	batch.MaxTimestamp = batch.FirstTimestamp
	const checked = 21 // where begins what the checksum is of
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[checked-4:], crc32.Checksum(raw[checked:], crc32.MakeTable(crc32.Castagnoli)))

	err = await(ctx, fmt.Sprintf("topic %s partition %d has a batch that inflates too far", topic, partition), func() (bool, error) {
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
		b.First, b.Last = done.BaseOffset, done.BaseOffset+bombRecords-1
		return done.ErrorCode == 0, kerr.ErrorForCode(done.ErrorCode)
	})
	return b, err
}
