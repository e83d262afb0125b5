package consumers

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// held tells of partitions whose offsets an open transaction holds. The client waits for its end
// without a word, and should: Kafka ends it by its timeout. But a broker that is killed can lose
// that there is a transaction, and leave it open for ever: then everything that it touched stands
// still until an operator ends it. held learns of the wait from the client's log, where alone it
// is told. It is safe for concurrent use.
type held struct {
	group string
	after time.Duration // for which a transaction may be open
	tell  func(err error)
	log   zerolog.Logger

	mu    sync.Mutex
	since map[topicPartition]time.Time
	last  map[topicPartition]time.Time
	said  time.Time
	told  bool // and it is not over
}

const (
	// heldMessage is the beginning of what the client logs once a second.
	heldMessage = "fetch offsets failed with retryable partition error"
	// heldPause is after which silence a wait is another one.
	heldPause = 10 * time.Second
	// heldSlack is how much longer than its timeout a transaction may take to be ended.
	heldSlack = 10 * time.Second
	// heldRepeat is how often it is logged.
	heldRepeat = time.Minute
)

// HeldError says that a partition's offset cannot be had, since a transaction that has not ended
// holds it for longer than one may be open.
type HeldError struct {
	Group     string
	Topic     string
	Partition int32
	For       time.Duration
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("group %s: the offset of topic %s partition %d has been held by an open transaction for %s, longer than one may be open: "+
		"Kafka may have lost that transaction; `kafka-transactions.sh find-hanging` finds it, and `abort` ends it",
		e.Group, e.Topic, e.Partition, e.For.Round(time.Second))
}

func newHeld(group string, timeout time.Duration, tell func(err error), log zerolog.Logger) *held {
	return &held{group: group, after: timeout + heldSlack, tell: tell, log: log, since: map[topicPartition]time.Time{}, last: map[topicPartition]time.Time{}}
}

// logged takes a line of the client's log.
func (h *held) logged(message string, fields ...any) {
	if !strings.HasPrefix(message, heldMessage) {
		return
	}
	if tp, reason := loggedOf(fields); errors.Is(reason, kerr.UnstableOffsetCommit) {
		h.waits(tp, time.Now())
	}
}

// waits takes note of a partition that is waited for.
func (h *held) waits(tp topicPartition, now time.Time) {
	h.mu.Lock()
	if now.Sub(h.last[tp]) > heldPause {
		h.since[tp] = now
	}
	h.last[tp] = now
	err := &HeldError{Group: h.group, Topic: tp.topic, Partition: tp.partition, For: now.Sub(h.since[tp])}
	loud := now.Sub(h.said) >= heldRepeat
	if err.For < h.after {
		h.mu.Unlock()
		return
	}
	if loud {
		h.said = now
	}
	h.told = true
	h.mu.Unlock()
	if loud {
		h.log.Error().Err(err).Msg("waiting for a transaction that does not end")
	}
	h.tell(err)
}

// over takes note that the client has got the offsets, so that the next wait is another one, and
// tells whether anything was told of this one.
func (h *held) over() (told bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	told, h.told = h.told, false
	clear(h.since)
	clear(h.last)
	return told
}

// clientLog hands what a client logs to those that learn from it.
type clientLog struct {
	*untold
	held *held
}

// Level implements kgo.Logger.
func (l clientLog) Level() kgo.LogLevel { return kgo.LogLevelInfo }

// Log implements kgo.Logger.
func (l clientLog) Log(level kgo.LogLevel, message string, fields ...any) {
	l.untold.Log(level, message, fields...)
	l.held.logged(message, fields...)
}

// clientLog is what the client of a lane's session logs to.
func (l *Lane) clientLog(u *untold) kgo.Opt {
	h := newHeld(l.cfg.Name, l.cfg.TransactionTimeout, l.health, l.log)
	l.held.Store(h)
	return kgo.WithLogger(clientLog{u, h})
}

// released takes note that offsets were fetched.
func (l *Lane) released() {
	if h := l.held.Load(); h != nil && h.over() {
		l.health(nil)
	}
}
