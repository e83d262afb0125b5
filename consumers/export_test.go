package consumers

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Marker is the metadata of a commit at an offset that announces a range up to pending.
func Marker(topic uuid.UUID, claim schemas.Claim, at, pending int64, lease schemas.Lease) string {
	return marker{topic: topic, at: at, claim: claim.At.UnixMicro(), pending: pending, lease: lease}.String()
}

// FetchErrors sorts the errors of a poll.
func FetchErrors(cl *kgo.Client, group string, fetches kgo.Fetches) error {
	f := faults{Group: Group{Name: group}, log: zerolog.Nop()}
	_, err := f.of(context.Background(), cl, fetches)
	return err
}

// PaceOf returns how long a flush of so many inserts puts off the next one.
func PaceOf(inserts int) time.Duration {
	now := time.Now()
	return paced(now, now, inserts).Sub(now)
}

// FetchAfter returns how much a fetch asks for after batches of these ratios of compression.
func FetchAfter(ratios ...float64) int32 {
	b := newFetchBudget(fetchBytes)
	for _, r := range ratios {
		b.read(r)
	}
	return b.ask()
}
