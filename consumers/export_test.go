package consumers

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

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

// IsObservation is isObservation.
var IsObservation = isObservation

// Untold is untold.
type Untold struct{ *untold }

// NewUntold is newUntold.
func NewUntold(lose func(error)) Untold { return Untold{newUntold(lose)} }

// Options is untold.options.
func (u Untold) Options() []kgo.Opt { return u.options() }

// Polls is untold.polls.
func (u Untold) Polls() { u.polls() }

// Polled is untold.polled.
func (u Untold) Polled(fetches kgo.Fetches) { u.polled(fetches) }

// Lost is untold.lost.
func (u Untold) Lost() error { return u.lost() }

// End is untold.end.
func (u Untold) End() { u.end() }

// Knows tells whether the client has met a batch of a partition that no poll has told of.
func (u Untold) Knows(topic string, partition int32) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.since[topicPartition{topic, partition}]
	return ok
}

// Missed tells whether a look has found that a topic is not there.
func (l *Lane) Missed(topic string) bool {
	d := l.dests.Load()
	d.mu.Lock()
	defer d.mu.Unlock()
	look := d.looks[topic]
	return look != nil && look.missing
}

// ShareMember is a member as the leader of a sharing group sees it.
type ShareMember struct {
	Wanted     string
	Held       []int32
	Generation int32
}

// ShareOut returns which member is to hold each partition; "" is none.
func ShareOut(members map[string]ShareMember, n int32) []string {
	var sharers []*sharer
	for id, m := range members {
		sharers = append(sharers, &sharer{
			JoinGroupResponseMember: &kmsg.JoinGroupResponseMember{MemberID: id}, shareMember: shareMember{Wanted: m.Wanted}, held: m.Held, generation: m.Generation,
		})
	}
	out := make([]string, n)
	for p, s := range shareOut(sharers, n) {
		if s != nil {
			out[p] = s.MemberID
		}
	}
	return out
}

// UsableTime is usableTime.
var UsableTime = usableTime
