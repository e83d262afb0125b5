package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// setAside adds a record for each batch that cannot be read, so that where it lies and why it
// cannot be read are stored. The range that is stored ends behind the batch.
func (h *hand) setAside(aside []*UnreadableBatchError) {
	if len(aside) > 0 && len(h.in.records) == 0 {
		h.since = time.Now()
	}
	for _, e := range aside {
		h.in.records = append(h.in.records, e.Record())
		of := h.rows[e.Topic]
		if of == nil {
			of = &handRows{most: 1}
			h.rows[e.Topic] = of
		}
		of.n++
		h.bytes += recordOverhead
		h.ends[topicPartition{e.Topic, e.Partition}] = kgo.EpochOffset{Epoch: e.epoch, Offset: e.Next}
	}
}

// health tells what is wrong: err, or else which partitions are stopped, and what is waited for.
func (s *recorderSession) health(err error) {
	if err == nil {
		err = errors.Join(s.faults.stalls.err(), s.reading.err())
	}
	s.Recorder.health(err)
}

// passOver moves a client that reads without a group behind a batch that cannot be read, and
// returns what is wrong with the batch. Any other error is returned as err.
func passOver(ctx context.Context, cl *kgo.Client, e kgo.FetchError, next int64) (passed *UnreadableBatchError, err error) {
	over := &UnreadableBatchError{Topic: e.Topic, Partition: e.Partition, Offset: next, Next: -1, Err: e.Err}
	if oversized, ok := errors.AsType[*kgo.ErrDecompressTooLarge](e.Err); ok {
		over.Offset, over.Next, over.Err = max(next, oversized.Offset), oversized.NextOffset, errInflates
	} else if e.Partition < 0 || !ofBatch(e.Err) || ctx.Err() != nil {
		return nil, e.Err
	}
	if err := over.locate(ctx, cl); err != nil {
		return nil, fmt.Errorf("%w; %w", e.Err, err)
	}
	cl.SetOffsets(over.behind())
	return over, nil
}

// endStopped adds to the error of a session that ends with ctx which partitions are stopped. It is
// called before the client is closed, which takes the partitions away.
func (s *recorderSession) endStopped(ctx context.Context, err *error) {
	if ctx.Err() != nil {
		*err = errors.Join(*err, s.faults.stalls.err())
	}
}
