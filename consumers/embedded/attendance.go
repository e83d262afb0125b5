package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// attendance has members of groups answered who wait for their JoinGroup or SyncGroup. A member
// that waits says nothing else, and Apache Kafka takes it for alive. kfake does not, in four ways:
//
//   - Its session goes on, and ends before the slowest member has joined. The member is then
//     removed, and its request never answered. So the broker's own client sends heartbeats for it.
//   - One that has just joined has no session, and gets none where its connection is gone by the time
//     of the answer: the group waits for it for ever. A heartbeat begins its session.
//   - One that is removed otherwise while it waits gets no answer either. It gets one here, and
//     joins anew.
//   - A SyncGroup that waits while its member joins again, or leaves, spoils the count of who has
//     joined: all have, and the group waits on for as long as a rebalance may take. All its members
//     are removed then, and join anew.
//
// It is safe for concurrent use.
type attendance struct {
	log zerolog.Logger

	mu      sync.Mutex
	seats   map[*seat]bool
	arrived chan struct{} // has one when the first seat is taken
}

// seat is a request of a member that is not answered.
type seat struct {
	group, member string // member is "" where the broker is to choose it
	instance      *string
	joins         bool // JoinGroup, not SyncGroup
	host          string
	refuse        func() // answers that the member is not known

	gone    bool // the connection is; of attendance.mu
	unknown int  // beats in a row at which the group did not know it
}

const (
	// beat is the time between two heartbeats, a quarter of the shortest session.
	beat = 250 * time.Millisecond
	// doubts is how many beats in a row must find the same fault: what was read from a
	// connection may not have been handled yet.
	doubts = 4
	// maxSeatBytes bounds what is kept of a request to know who sent it.
	maxSeatBytes = 1 << 20
)

func newAttendance(log zerolog.Logger) *attendance {
	return &attendance{log: log, seats: map[*seat]bool{}, arrived: make(chan struct{}, 1)}
}

// take notes a request of a member; the request is everything behind its correlation id. It is nil
// where that cannot be read, which kfake cannot either.
func (a *attendance) take(request asked, body []byte, host string, refuse func()) *seat {
	s := &seat{host: host, refuse: refuse}
	req := kmsg.RequestForKey(request.key)
	req.SetVersion(request.version)
	head := kbin.Reader{Src: body}
	head.NullableString() // of the client's id
	if req.IsFlexible() {
		kmsg.SkipTags(&head)
	}
	if head.Complete() != nil || req.ReadFrom(head.Src) != nil {
		return nil
	}
	switch req := req.(type) {
	case *kmsg.JoinGroupRequest:
		s.group, s.member, s.instance, s.joins = req.Group, req.MemberID, req.InstanceID, true
	case *kmsg.SyncGroupRequest:
		s.group, s.member, s.instance = req.Group, req.MemberID, req.InstanceID
	default:
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seats[s] = true
	select {
	case a.arrived <- struct{}{}:
	default:
	}
	return s
}

// answered forgets a request whose answer is about to be written.
func (a *attendance) answered(s *seat) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.seats, s)
}

// left notes that the connection of a request is gone. One more heartbeat begins the session that
// the member has left to come back.
func (a *attendance) left(s *seat) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.gone = true
}

// groups returns the seats by group.
func (a *attendance) groups() map[string][]*seat {
	a.mu.Lock()
	defer a.mu.Unlock()
	of := map[string][]*seat{}
	for s := range a.seats {
		of[s.group] = append(of[s.group], s)
	}
	return of
}

func (a *attendance) isGone(s *seat) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return s.gone
}

// watch attends to who waits, until ctx is done. opts are those of the broker's own client.
func (a *attendance) watch(ctx context.Context, cluster *kfake.Cluster, opts []kgo.Opt) error {
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("embedded kafka: client of its own for groups: %w", err)
	}
	defer client.Close()
	all := map[string]int{} // beats in a row at which all members of a group had joined, without an answer
	for {
		groups := a.groups()
		if len(groups) == 0 {
			clear(all)
			select {
			case <-a.arrived:
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case <-time.After(beat):
		case <-ctx.Done():
			return nil
		}
		for group, seats := range groups {
			info := cluster.GroupInfo(group)
			if info == nil {
				info = &kfake.GroupInfo{Group: group}
			}
			// The seed is the broker itself, and not what is in front of it.
			broker := client.SeedBrokers()[0]
			for _, s := range seats {
				a.beat(ctx, broker, info, s)
			}
			if all[group]++; !a.allJoin(info, seats) {
				delete(all, group)
			} else if all[group] >= doubts {
				delete(all, group)
				a.startOver(ctx, broker, info, seats)
			}
		}
	}
}

// memberOf returns the member that has a seat, "" where there is none.
func memberOf(info *kfake.GroupInfo, s *seat) string {
	for i := range info.Members {
		if m := &info.Members[i]; m.MemberID == s.member || s.member == "" && m.ClientHost == s.host {
			return m.MemberID
		}
	}
	return ""
}

// beat sends a heartbeat for who has a seat.
func (a *attendance) beat(ctx context.Context, broker *kgo.Broker, info *kfake.GroupInfo, s *seat) {
	gone := a.isGone(s) // before the heartbeat
	var err error = kerr.UnknownMemberID
	if member := memberOf(info, s); member != "" {
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.InstanceID, req.Generation = info.Group, member, s.instance, info.Epoch
		var resp kmsg.Response
		if resp, err = request(ctx, broker, req); err == nil {
			err = kerr.ErrorForCode(resp.(*kmsg.HeartbeatResponse).ErrorCode)
		}
	}
	unknown := errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.FencedInstanceID)
	if s.unknown++; !unknown {
		s.unknown = 0
	}
	switch {
	case gone && (err == nil || unknown || errors.Is(err, kerr.RebalanceInProgress)):
		a.answered(s) // never, but its session has begun, or it has none
	case s.unknown >= doubts:
		a.log.Info().Str("group", s.group).Str("member", s.member).Msg("embedded kafka has forgotten a member that waits; it joins anew")
		a.answered(s)
		s.refuse()
	}
}

// allJoin tells whether all members of a group have asked to join, which kfake answers at once.
func (a *attendance) allJoin(info *kfake.GroupInfo, seats []*seat) bool {
	if info.State != "PreparingRebalance" || len(info.Members) == 0 {
		return false
	}
	joins := map[string]bool{}
	for _, s := range seats {
		if s.joins && !a.isGone(s) {
			joins[memberOf(info, s)] = true
		}
	}
	return !slices.ContainsFunc(info.Members, func(m kfake.GroupMember) bool { return !joins[m.MemberID] })
}

// startOver removes all members of a group, which ends its rebalance, and has them join anew.
func (a *attendance) startOver(ctx context.Context, broker *kgo.Broker, info *kfake.GroupInfo, seats []*seat) {
	a.log.Info().Str("group", info.Group).Int("members", len(info.Members)).Msg("embedded kafka does not end a rebalance that all members have joined; they join anew")
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = info.Group
	for i := range info.Members {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = info.Members[i].MemberID
		req.Members = append(req.Members, m)
	}
	if _, err := request(ctx, broker, req); err != nil {
		return // the next look finds it so again
	}
	for _, s := range seats {
		a.answered(s)
		s.refuse()
	}
}

// request asks the broker, but does not wait for long: others wait too.
func request(ctx context.Context, broker *kgo.Broker, req kmsg.Request) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*beat)
	defer cancel()
	return broker.RetriableRequest(ctx, req)
}

// seated tells whether requests of a key may wait for other members of a group.
func seated(key int16) bool {
	return kmsg.Key(key) == kmsg.JoinGroup || kmsg.Key(key) == kmsg.SyncGroup
}
