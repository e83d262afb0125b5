package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/millrace/millrace/schemas"
)

// Range is the offsets of a partition from Start to before End.
type Range struct{ Start, End int64 }

// Ranges returns what each partition of a topic holds, open transactions included. A topic that
// does not exist has none.
func (a *Admin) Ranges(ctx context.Context, topic string) (map[int32]Range, error) {
	starts, err := a.adm.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	var ends kadm.ListedOffsets
	if err == nil {
		ends, err = a.adm.ListEndOffsets(ctx, topic)
	}
	if err == nil {
		err = ends.Error()
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list what topic %s holds: %w", topic, err)
	}
	ranges := map[int32]Range{}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		ranges[end.Partition] = Range{start.Offset, end.Offset}
	})
	return ranges, nil
}

// ReadRanges hands the committed records of ranges of a topic to visit, those of each partition
// in offset order. It waits for transactions that are open there to end. A batch that cannot be
// read is passed over, and an UnreadableBatchError in the end.
func (a *Admin) ReadRanges(ctx context.Context, topic string, ranges map[int32]Range, visit func(rec *schemas.Record) error) error {
	of := make(map[int32]offsetRange, len(ranges))
	for partition, r := range ranges {
		of[partition] = offsetRange{r.Start, r.End}
	}
	passed, err := a.read(ctx, topic, of, visit)
	if err == nil && len(passed) > 0 {
		err = passed[0]
	}
	return err
}

// OffsetsAt returns for each partition of a topic the first offset whose record has that
// timestamp or a later one; where there is none, the offset behind the last record.
func (a *Admin) OffsetsAt(ctx context.Context, topic string, at time.Time) (map[int32]int64, error) {
	listed, err := a.adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find where topic %s was at %s: %w", topic, at.UTC().Format(time.RFC3339), err)
	}
	offsets := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { offsets[o.Partition] = o.Offset })
	return offsets, nil
}
