package pipeline_test

import (
	"errors"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/millrace/millrace/schemas"
)

// unread returns how many committed records of the topics a group has not committed. It is what
// lag is without the control records that end transactions: where the last record of a
// partition came by one, as a replay does, a group never commits what ends it.
func (h *harness) unread(group string, topics ...string) int64 {
	h.Helper()
	lag := h.lag(group, topics...)
	if lag == 0 || lag > 100 { // a lag that large is not one of control records alone
		return lag
	}
	committed, err := h.admin.FetchOffsets(h.Context(), group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return lag // nobody has joined yet
	}
	require.NoError(h, err)
	ends, err := h.admin.ListCommittedOffsets(h.Context(), topics...)
	require.NoError(h, err)
	unread := int64(0)
	for _, topic := range topics {
		for partition, end := range ends[topic] {
			at, _ := committed.Lookup(topic, partition)
			if at.At >= end.Offset {
				continue
			}
			require.NoError(h, h.reader.ReadBefore(h.Context(), topic, partition, time.UnixMilli(0), 0, end.Offset, func(rec *schemas.Record) error {
				if rec.Offset >= at.At {
					unread++
				}
				return nil
			}))
		}
	}
	return unread
}
