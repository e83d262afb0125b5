package consumers

import (
	"context"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The metadata of a commit that announces a range.
const (
	PendingPrefix  = pendingPrefix
	DeadlinePrefix = deadlinePrefix
)

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
