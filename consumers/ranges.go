package consumers

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/millrace/millrace/schemas"
)

// Ranges returns what each partition of a topic holds, open transactions included. A topic that
// does not exist has none.
func (a *Admin) Ranges(ctx context.Context, topic string) (map[int32]Span, error) {
	spans, err := a.spans(ctx, topic, a.adm.ListEndOffsets)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list what topic %s holds: %w", topic, lacking(err, onTopics("Describe", topic)))
	}
	return spans, nil
}

// ReadRanges hands the committed records of ranges of a topic to visit, those of each partition
// in offset order. It waits for transactions that are open there to end. Batches that cannot be
// read are passed over: when everything else was visited, the first is returned as an
// UnreadableBatchError.
func (a *Admin) ReadRanges(ctx context.Context, topic string, ranges map[int32]Span, visit func(rec *schemas.Record) error) error {
	passed, err := a.read(ctx, topic, ranges, visit)
	if err == nil && len(passed) > 0 {
		err = passed[0]
	}
	return err
}
