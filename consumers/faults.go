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

// hopeless tells that no new session gets further than the one that failed.
func hopeless(err error) bool {
	var lost *LostRangeError
	var unreadable *UnreadableBatchError
	var start *StartError
	return errors.As(err, &lost) || errors.As(err, &unreadable) || errors.As(err, &start) || errors.Is(err, errConfiguration)
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
	// mostFaults is how many consecutive tries to read one place must fail for it to be unreadable:
	// what a broken connection has garbled is read at the second.
	mostFaults = 10
	// faultPause is the wait before the next poll after one that brought faults alone.
	faultPause = 100 * time.Millisecond
	// faultsPass is how long after a fault the next one counts as the first.
	faultsPass = 10 * time.Second
)

// faults sorts the errors of a session's polls.
type faults struct {
	Group
	log    zerolog.Logger
	stalls *stalls                   // nil: what stops a partition ends the session
	recent map[topicPartition]streak // since the last records of the partition
}

// streak is how many consecutive faults there were, and when the last of them was.
type streak struct {
	n  int
	at time.Time
}

// of sorts the errors of one poll. It returns those that end the session, and logs those after
// which the client tries again by itself. It stops the partitions that only an operator can get
// further, and takes out of fetches what came of them. aside are the record batches that cannot
// be read and are to be set aside.
func (f *faults) of(ctx context.Context, cl *kgo.Client, fetches kgo.Fetches) (aside []*UnreadableBatchError, err error) {
	var fatal error
	paused := false
	for i := range fetches {
		for j := range fetches[i].Topics {
			t := &fetches[i].Topics[j]
			for k := range t.Partitions {
				p := &t.Partitions[k]
				if p.Err == nil || f.stalls != nil && f.stalls.has(t.Topic, p.Partition) {
					continue
				}
				unreadable, err, retried := f.sort(ctx, cl, t, p)
				paused = paused || retried
				switch {
				case err != nil:
					fatal = errors.Join(fatal, err)
				case unreadable != nil:
					aside = append(aside, unreadable)
				}
			}
		}
	}
	if f.stalls != nil {
		f.stalls.strip(fetches)
	}
	if len(f.recent) > 0 {
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) > 0 {
				delete(f.recent, topicPartition{p.Topic, p.Partition})
			}
		})
	}
	if paused && fatal == nil && len(aside) == 0 && fetches.NumRecords() == 0 { // the client itself asks again at once
		_ = sleep(ctx, faultPause)
	}
	return aside, fatal
}

// sort says what to do about the error of one partition: the batch that is to be set aside, the
// error that ends the session, or whether the client tries again by itself.
func (f *faults) sort(ctx context.Context, cl *kgo.Client, t *kgo.FetchTopic, p *kgo.FetchPartition) (aside *UnreadableBatchError, fatal error, retried bool) {
	var oversized *kgo.ErrDecompressTooLarge
	tp := topicPartition{t.Topic, p.Partition}
	switch err := p.Err; {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, kgo.ErrClientClosed):
		return nil, nil, false
	case errors.As(err, &oversized): // the client tells it once, and goes no further
		aside, fatal = f.unreadable(ctx, cl, t, p, &UnreadableBatchError{
			Offset: max(oversized.Offset, reached(cl, tp)), Next: oversized.NextOffset, Err: errInflates,
		})
		return aside, fatal, false
	case errors.Is(err, kerr.OffsetOutOfRange), isDataLoss(err):
		return nil, f.stop(cl, tp, lostRange(context.WithoutCancel(ctx), cl, f.Name, t.Topic, p.Partition)), false
	case errors.Is(err, kerr.UnknownTopicID): // deleted, and perhaps made again: only a new session learns its new id
		return nil, fmt.Errorf("topic %s was deleted, and perhaps made again: %w", t.Topic, err), false
	default:
		n := f.count(tp)
		if n >= mostFaults && p.Partition >= 0 && ofBatch(err) {
			aside, fatal = f.unreadable(ctx, cl, t, p, &UnreadableBatchError{Offset: reached(cl, tp), Next: -1, Err: err})
			return aside, fatal, aside == nil
		}
		if n&(n-1) == 0 { // the 1st, 2nd, 4th, 8th time, and so on
			f.log.Warn().Err(lacking(err, onGroup("Read", f.Name), onTopics("Read", t.Topic))).Str("topic", t.Topic).Int32("partition", p.Partition).Int("times", n).Msg("fetch failed; retrying")
		}
		return nil, nil, true
	}
}

// stop stops a partition, or returns the error where that ends the session.
func (f *faults) stop(cl *kgo.Client, tp topicPartition, err error) error {
	if f.stalls == nil {
		return err
	}
	f.stalls.add(cl, tp, err)
	return nil
}

// unreadable stops a partition at a batch that cannot be read, or has it set aside where the
// operator allows it.
func (f *faults) unreadable(ctx context.Context, cl *kgo.Client, t *kgo.FetchTopic, p *kgo.FetchPartition, e *UnreadableBatchError) (aside *UnreadableBatchError, fatal error) {
	e.Group, e.Topic, e.TopicID, e.Partition = f.Name, t.Topic, t.TopicID, p.Partition
	err := e.locate(context.WithoutCancel(ctx), cl)
	if err != nil {
		f.log.Warn().Err(err).Msg("the extent of a record batch that cannot be read is not known")
	}
	if f.Unreadable != UnreadableSkip {
		return nil, f.stop(cl, topicPartition{e.Topic, e.Partition}, e)
	}
	if err == nil && len(p.Records) > 0 {
		err = errors.New("records came with it")
	}
	if err != nil { // a new session fetches it again
		return nil, fmt.Errorf("set aside what cannot be read (%w): %w", e.Err, err)
	}
	delete(f.recent, topicPartition{e.Topic, e.Partition})
	f.log.Error().Err(e.Err).Str("topic", e.Topic).Int32("partition", e.Partition).Int64("offset", e.Offset).Int64("next", e.Next).
		Msg("a record batch cannot be read and is set aside")
	return e, nil
}

// count returns how many consecutive faults of a partition there were, with this one.
func (f *faults) count(tp topicPartition) int {
	if f.recent == nil {
		f.recent = map[topicPartition]streak{}
	}
	r := f.recent[tp]
	if time.Since(r.at) > faultsPass {
		r.n = 0
	}
	r.n, r.at = r.n+1, time.Now()
	f.recent[tp] = r
	return r.n
}

// ofBatch tells whether an error is of what was fetched: neither of a broker nor of the way to it.
func ofBatch(err error) bool {
	var broker *kerr.Error
	var network net.Error
	var group *kgo.ErrGroupSession
	return !errors.As(err, &broker) && !errors.As(err, &network) && !errors.As(err, &group) &&
		!errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}

// reached returns the offset that a group's member reads next, -1 if it has none.
func reached(cl *kgo.Client, tp topicPartition) int64 {
	for _, known := range []map[string]map[int32]kgo.EpochOffset{cl.UncommittedOffsets(), cl.CommittedOffsets()} {
		if at, ok := known[tp.topic][tp.partition]; ok {
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
