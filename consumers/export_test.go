package consumers

import (
	"context"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The metadata of a commit that announces a range.
const PendingPrefix = pendingPrefix

// FetchErrors sorts the errors of a poll.
func FetchErrors(cl *kgo.Client, group string, fetches kgo.Fetches) error {
	return fetchErrors(context.Background(), cl, group, fetches, zerolog.Nop())
}
