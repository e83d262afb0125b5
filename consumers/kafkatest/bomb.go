package kafkatest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
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
		Attributes: 4 /* zstd */, LastOffsetDelta: bombRecords - 1, FirstTimestamp: time.Now().UnixMilli(),
		ProducerID: id, ProducerEpoch: epoch, NumRecords: bombRecords, Records: payload,
	}
	batch.MaxTimestamp = batch.FirstTimestamp
	b.First, err = o.send(ctx, cl, topic, partition, Sealed(batch))
	b.Last = b.First + bombRecords - 1
	return b, err
}
