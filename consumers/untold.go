package consumers

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// untold knows the batches that inflate beyond bounds and of which a client has told no poll yet.
// The client fetches nothing behind such a batch, and the next poll returns the error. But the
// client drops what it has fetched whenever it is assigned partitions or its offsets are set. It
// never tells an error that it has dropped, and the partition stands still in silence: only a new
// session, which fetches the batch again, gets further. untold is safe for concurrent use.
//
// untold learns of such a batch from the client's log, where alone it is told in any case.
type untold struct {
	lose func(err error) // ends the session's polls; nil where they look at lost

	mu     sync.Mutex
	since  map[topicPartition]time.Time
	began  time.Time // of the last poll
	inPoll bool
	empty  time.Time // when the last poll that brought nothing began
	timer  *time.Timer
	ended  bool
	err    error
}

const (
	// tooLargeMessage is the beginning of what the client logs of such a batch.
	tooLargeMessage = "batch decompresses larger than MaxDecompressBatchBytes"
	// untoldFor is how long after the log a poll must have told of the batch: what was fetched with
	// it is inflated first.
	untoldFor  = 3 * time.Second
	untoldPoll = 250 * time.Millisecond
	// untoldLongest is how long a batch is waited for while polls bring the records before it.
	untoldLongest = 2 * time.Minute
)

func newUntold(lose func(err error)) *untold {
	return &untold{lose: lose, since: map[topicPartition]time.Time{}}
}

// options are those of a client whose batches are watched.
func (u *untold) options() []kgo.Opt { return []kgo.Opt{kgo.WithLogger(u)} }

// Level implements kgo.Logger.
func (u *untold) Level() kgo.LogLevel { return kgo.LogLevelError }

// Log implements kgo.Logger.
func (u *untold) Log(_ kgo.LogLevel, message string, fields ...any) {
	if !strings.HasPrefix(message, tooLargeMessage) {
		return
	}
	tp, _ := loggedOf(fields)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.since[tp] = time.Now()
	if u.timer == nil && !u.ended {
		u.timer = time.AfterFunc(untoldFor, u.look)
	}
}

// loggedOf returns what a line of the client's log is about, and the error in it, if any.
func loggedOf(fields []any) (tp topicPartition, reason error) {
	for i := 0; i+1 < len(fields); i += 2 {
		switch v := fields[i+1].(type) {
		case string:
			if fields[i] == "topic" {
				tp.topic = v
			}
		case int32:
			if fields[i] == "partition" {
				tp.partition = v
			}
		case error:
			reason = v
		}
	}
	return tp, reason
}

// polls takes note that a poll begins.
func (u *untold) polls() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.began, u.inPoll = time.Now(), true
}

// polled takes note of what a poll has brought.
func (u *untold) polled(fetches kgo.Fetches) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.inPoll = false
	empty := true
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if p.Topic == "" { // the end of the poll's context
			return
		}
		empty = false
		if p.Err != nil {
			delete(u.since, topicPartition{p.Topic, p.Partition})
		}
	})
	if empty {
		u.empty = u.began
	}
}

// forget forgets partitions that are taken away: another member fetches their batches.
func (u *untold) forget(gone map[string][]int32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for topic, partitions := range gone {
		for _, partition := range partitions {
			delete(u.since, topicPartition{topic, partition})
		}
	}
}

// look ends the session where a batch is not going to be told.
func (u *untold) look() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.timer = nil
	if u.ended || u.err != nil {
		return
	}
	now := time.Now()
	for tp, at := range u.since {
		nothing := u.empty.After(at.Add(untoldFor/2)) || u.inPoll && now.Sub(u.began) > untoldFor/2
		switch {
		case now.Sub(at) < untoldFor, !nothing && now.Sub(at) < untoldLongest:
		default:
			u.err = fmt.Errorf("topic %s partition %d: the client has dropped that a batch inflates to more than %d MiB", tp.topic, tp.partition, maxBatchBytes>>20)
			if u.lose != nil {
				u.lose(u.err)
			}
			return
		}
	}
	if len(u.since) > 0 {
		u.timer = time.AfterFunc(untoldPoll, u.look)
	}
}

// lost returns why the session must end.
func (u *untold) lost() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// end ends the watch with its session.
func (u *untold) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	if u.timer != nil {
		u.timer.Stop()
	}
}
