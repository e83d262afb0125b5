package consumers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// LostRangeError says that records were deleted before they were read, or taken back after
// they had been.
type LostRangeError struct {
	Group     string
	Topic     string
	Partition int32
	Committed int64 // the offset that should have been read next
	LogStart  int64 // the first that is still there
	LogEnd    int64
}

func (e *LostRangeError) Error() string {
	return fmt.Sprintf("group %s: topic %s partition %d: offset %d is out of range, the log has %d to %d: records were lost; "+
		"raise the topic's retention, stop all members of the group, then let it go on where the log does: `%s`",
		e.Group, e.Topic, e.Partition, e.Committed, e.LogStart, e.LogEnd, offsetsCommand(e.Group, e.Topic, e.Partition, e.next()))
}

// next returns where reading can go on.
func (e *LostRangeError) next() string {
	switch {
	case e.LogEnd >= 0 && e.Committed > e.LogEnd:
		return Latest
	case e.LogStart < 0:
		return Earliest
	}
	return strconv.FormatInt(e.LogStart, 10)
}

// UnreadableBatchError says that a partition stands at a record batch of which nothing can
// be read, not even what a dead letter would need.
type UnreadableBatchError struct {
	Group     string
	Topic     string
	Partition int32
	Offset    int64 // of the batch's first record; -1 if it is not known
	Next      int64 // behind its last record; -1 if it is not known
	Err       error
}

func (e *UnreadableBatchError) Error() string {
	next := "OFFSET"
	if e.Next >= 0 {
		next = strconv.FormatInt(e.Next, 10)
	}
	return fmt.Sprintf("group %s: topic %s partition %d: the record batch at offset %d cannot be read: %v; have its records sent again, "+
		"stop all members of the group, and let it go on behind the batch: `%s`",
		e.Group, e.Topic, e.Partition, e.Offset, e.Err, offsetsCommand(e.Group, e.Topic, e.Partition, next))
}

func (e *UnreadableBatchError) Unwrap() error { return e.Err }

var errInflates = fmt.Errorf("it inflates to more than %d MiB", maxBatchBytes>>20)

// hopeless tells that no new session gets further than the one that failed.
func hopeless(err error) bool {
	var lost *LostRangeError
	var unreadable *UnreadableBatchError
	return errors.As(err, &lost) || errors.As(err, &unreadable) || errors.Is(err, errConfiguration)
}

// lostRange turns an out-of-range fetch error into a LostRangeError with its figures.
func lostRange(ctx context.Context, cl *kgo.Client, group, topic string, partition int32) error {
	e := &LostRangeError{Group: group, Topic: topic, Partition: partition, Committed: -1, LogStart: -1, LogEnd: -1}
	adm := kadm.NewClient(cl)
	if offsets, err := adm.FetchOffsets(ctx, group); err == nil {
		if o, ok := offsets.Lookup(topic, partition); ok {
			e.Committed = o.At
		}
	}
	if starts, err := adm.ListStartOffsets(ctx, topic); err == nil {
		if o, ok := starts.Lookup(topic, partition); ok {
			e.LogStart = o.Offset
		}
	}
	if ends, err := adm.ListEndOffsets(ctx, topic); err == nil {
		if o, ok := ends.Lookup(topic, partition); ok {
			e.LogEnd = o.Offset
		}
	}
	return e
}

const (
	// mostFaults is how often in a row reading one place must fail for it to be unreadable:
	// what a broken connection garbles is read at the second time.
	mostFaults = 10
	faultPause = 100 * time.Millisecond
	faultsPass = 10 * time.Second // without another one
)

// faults sorts the errors of a session's polls.
type faults struct {
	group string
	log   zerolog.Logger
	since map[topicPartition]row // last records
}

// row is how many faults have come in a row, and the time of the last.
type row struct {
	n  int
	at time.Time
}

// of returns nil for errors that the client retries by itself, which are logged, and an
// error for those that nobody but an operator can mend.
func (f *faults) of(ctx context.Context, cl *kgo.Client, fetches kgo.Fetches) error {
	var fatal error
	paused := false
	fetches.EachError(func(topic string, partition int32, err error) {
		var oversized *kgo.ErrDecompressTooLarge
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, kgo.ErrClientClosed):
		case errors.As(err, &oversized): // the client tells it once, and goes no further
			fatal = errors.Join(fatal, &UnreadableBatchError{
				Group: f.group, Topic: topic, Partition: partition, Offset: oversized.Offset, Next: oversized.NextOffset, Err: errInflates,
			})
		case errors.Is(err, kerr.OffsetOutOfRange), isDataLoss(err):
			fatal = errors.Join(fatal, lostRange(context.WithoutCancel(ctx), cl, f.group, topic, partition))
		case errors.Is(err, kerr.UnknownTopicID): // deleted, and perhaps made again: only a new session learns its new id
			fatal = errors.Join(fatal, fmt.Errorf("topic %s was deleted, and perhaps made again: %w", topic, err))
		default:
			paused = true
			n := f.count(topicPartition{topic, partition})
			if n >= mostFaults && partition >= 0 && ofBatch(err) {
				fatal = errors.Join(fatal, &UnreadableBatchError{
					Group: f.group, Topic: topic, Partition: partition, Offset: reached(cl, topic, partition), Next: -1, Err: err,
				})
			} else if n&(n-1) == 0 { // ever more rarely
				f.log.Warn().Err(err).Str("topic", topic).Int32("partition", partition).Int("times", n).Msg("fetch failed; retrying")
			}
		}
	})
	if len(f.since) > 0 {
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) > 0 {
				delete(f.since, topicPartition{p.Topic, p.Partition})
			}
		})
	}
	if paused && fatal == nil && fetches.NumRecords() == 0 { // the client itself asks again at once
		_ = sleep(ctx, faultPause)
	}
	return fatal
}

func (f *faults) count(tp topicPartition) int {
	if f.since == nil {
		f.since = map[topicPartition]row{}
	}
	r := f.since[tp]
	if time.Since(r.at) > faultsPass {
		r.n = 0
	}
	r.n, r.at = r.n+1, time.Now()
	f.since[tp] = r
	return r.n
}

// ofBatch tells that an error is neither of a broker nor of the way to it: it is of what
// was fetched.
func ofBatch(err error) bool {
	var broker *kerr.Error
	var network net.Error
	var group *kgo.ErrGroupSession
	return !errors.As(err, &broker) && !errors.As(err, &network) && !errors.As(err, &group) &&
		!errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}

// reached returns the offset that a group's member reads next, -1 if it has none.
func reached(cl *kgo.Client, topic string, partition int32) int64 {
	for _, known := range []map[string]map[int32]kgo.EpochOffset{cl.UncommittedOffsets(), cl.CommittedOffsets()} {
		if at, ok := known[topic][partition]; ok {
			return at.Offset
		}
	}
	return -1
}

// isDataLoss tells that a broker no longer has records that it had given out. The client
// would go on where the log ends now, and offsets would stand for other records.
func isDataLoss(err error) bool {
	var loss *kgo.ErrDataLoss
	return errors.As(err, &loss)
}
