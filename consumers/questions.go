package consumers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// questions follow what a session's client has asked the brokers, so that an end that takes long
// says what it waits for. The client commits nothing while it joins its group: where a broker does
// not answer the JoinGroup, that is waited for until the session is cut off.
type questions struct {
	group string
	log   zerolog.Logger

	mu   sync.Mutex
	sent map[kmsg.Key][]time.Time // of requests without an answer, oldest first
	told error                    // what the log has said last
}

const (
	// endsSoon is how long an end takes before it is told what it waits for.
	endsSoon = 2 * time.Second
	// toldAgain is the time between two lines about it.
	toldAgain = 10 * time.Second
)

func newQuestions(group string, log zerolog.Logger) *questions {
	return &questions{group: group, log: log, sent: map[kmsg.Key][]time.Time{}}
}

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (u *questions) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if err != nil || kmsg.Key(key) == kmsg.Fetch { // which no end waits for
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sent[kmsg.Key(key)] = append(u.sent[kmsg.Key(key)], time.Now())
}

// OnBrokerE2E implements kgo.HookBrokerE2E. A connection that ends is an answer too, which the client
// tells of one request alone: what was asked before by the same key is forgotten with it.
func (u *questions) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if e2e.WriteErr != nil {
		return
	}
	asked := time.Now().Add(-e2e.ReadWait - e2e.TimeToRead)
	u.mu.Lock()
	defer u.mu.Unlock()
	sent := u.sent[kmsg.Key(key)]
	for n := 0; len(sent) > 0 && (n == 0 || sent[0].Before(asked)); n++ {
		sent = sent[1:]
	}
	u.sent[kmsg.Key(key)] = sent
}

// open returns the names of the requests that are without an answer for a while.
func (u *questions) open(now time.Time) (names []string) {
	for key, sent := range u.sent {
		if len(sent) > 0 && now.Sub(sent[0]) >= endsSoon/2 {
			names = append(names, kmsg.NameForKey(int16(key)))
		}
	}
	slices.Sort(names)
	return names
}

// watch tells in the log what an end waits for that takes long, from the end of soft on, until end is
// called with the session's error, to which it adds that.
func (u *questions) watch(soft context.Context) (end func(err *error)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ends with ctx
		defer close(done)
		select {
		case <-soft.Done():
		case <-ctx.Done():
			return
		}
		began := time.Now()
		for wait := endsSoon; sleep(ctx, wait) == nil; wait = toldAgain {
			u.tell(began)
		}
	}()
	return func(err *error) {
		cancel()
		<-done
		u.mu.Lock()
		defer u.mu.Unlock()
		if *err != nil && u.told != nil {
			*err = fmt.Errorf("%w (%w)", *err, u.told)
		}
	}
}

// joins tells whether the client waits for an answer to its JoinGroup or SyncGroup.
func (u *questions) joins() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.sent[kmsg.JoinGroup])+len(u.sent[kmsg.SyncGroup]) > 0
}

// leave closes a client that has committed all that it is to. Before it leaves its group the client
// waits for the answer to its JoinGroup, for minutes where another member holds up the rebalance: if it
// still does after endsSoon, the group is left beside it, and cut ends the client's context.
func (u *questions) leave(cl *kgo.Client, closes, cut func()) {
	closed := make(chan struct{})
	go func() { // ends with the client's context, or before
		defer close(closed)
		closes()
	}()
	for {
		select {
		case <-closed:
			return
		case <-time.After(endsSoon):
		}
		if !u.joins() {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), endsSoon)
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group = u.group
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID, _ = cl.GroupMetadata()
		req.Members = append(req.Members, m)
		_, _ = req.RequestWith(ctx, cl) // or its session ends without it
		cancel()
		cut()
		<-closed
		return
	}
}

func (u *questions) tell(began time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	names := u.open(now)
	if u.told = nil; len(names) == 0 {
		u.log.Info().Str("group", u.group).Dur("ends_for", now.Sub(began)).Msg("the end of a session takes long, though Kafka has answered what it was asked")
		return
	}
	u.told = fmt.Errorf("a broker has not answered %s of group %s", strings.Join(names, ", "), u.group)
	u.log.Warn().Err(u.told).Dur("ends_for", now.Sub(began)).
		Msg("the end of a session waits for Kafka; at drain_timeout it is cut off, and what was in hand comes again after the restart")
}
