package embedded_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/millrace/millrace/consumers/embedded"
)

const (
	memberSession = time.Second
	// memberRebalance is longer than a test: what ends sooner has not waited for it.
	memberRebalance = 5 * time.Minute
)

// member is a member of group g by single requests, each of which may be left without an answer.
type member struct {
	*testing.T
	client     *kgo.Client
	id         string
	instance   *string
	generation int32
}

// ask sends a request until it is answered.
func (m *member) ask(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	return m.client.Request(ctx, req)
}

// join joins the group with what it subscribes to, and returns what the broker says at last.
func (m *member) join(ctx context.Context, subscription string) error {
	for {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Group, req.ProtocolType, req.MemberID, req.InstanceID = "g", "consumer", m.id, m.instance
		req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(memberSession.Milliseconds()), int32(memberRebalance.Milliseconds())
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = "p", []byte(subscription)
		req.Protocols = append(req.Protocols, p)
		answer, err := m.ask(ctx, req)
		if err != nil {
			return err
		}
		resp := answer.(*kmsg.JoinGroupResponse)
		m.id, m.generation = resp.MemberID, resp.Generation
		switch err := kerr.ErrorForCode(resp.ErrorCode); {
		case errors.Is(err, kerr.MemberIDRequired):
		case errors.Is(err, kerr.UnknownMemberID): // as clients do
			m.id = ""
		default:
			return err
		}
	}
}

func (m *member) sync(ctx context.Context) error {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.InstanceID, req.Generation = "g", m.id, m.instance, m.generation
	resp, err := m.ask(ctx, req)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.(*kmsg.SyncGroupResponse).ErrorCode)
}

func (m *member) heartbeat() error {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.InstanceID, req.Generation = "g", m.id, m.instance, m.generation
	resp, err := m.ask(m.Context(), req)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.(*kmsg.HeartbeatResponse).ErrorCode)
}

func (m *member) leave() {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = "g"
	l := kmsg.NewLeaveGroupRequestMember()
	l.MemberID, l.InstanceID = m.id, m.instance
	req.Members = append(req.Members, l)
	_, err := m.ask(m.Context(), req)
	require.NoError(m, err)
}

// told sends heartbeats until the group is to be joined anew.
func (m *member) told() {
	require.Eventually(m, func() bool { return errors.Is(m.heartbeat(), kerr.RebalanceInProgress) }, 10*time.Second, 10*time.Millisecond)
}

// begin does something that waits; its end comes from the channel.
func begin(do func() error) chan error {
	done := make(chan error, 1)
	go func() { done <- do() }() // ends with the test's context
	return done
}

// soon is long after what a member waits for has happened.
const soon = 15 * time.Second

func ends(t *testing.T, what string, done chan error) {
	t.Helper()
	select {
	case err := <-done:
		require.NoError(t, err, what)
	case <-time.After(soon):
		require.FailNow(t, what+": not answered")
	}
}

// pair makes a stable group of two, or one whose SyncGroups are still to come.
func pair(t *testing.T, dial func() *kgo.Client, synced bool) (leader, follower *member) {
	t.Helper()
	leader, follower = &member{T: t, client: dial()}, &member{T: t, client: dial()}
	require.NoError(t, leader.join(t.Context(), ""))
	require.NoError(t, leader.sync(t.Context()))
	joined := begin(func() error { return follower.join(t.Context(), "") })
	leader.told()
	require.NoError(t, leader.join(t.Context(), ""))
	ends(t, "the follower joins", joined)
	if synced {
		done := begin(func() error { return follower.sync(t.Context()) })
		require.NoError(t, leader.sync(t.Context()))
		ends(t, "the follower syncs", done)
	}
	return leader, follower
}

// slow has the leader of a pair wait for longer than its session until the follower joins.
func slow(t *testing.T, leader, follower *member) (joined chan error) {
	t.Helper()
	joined = begin(func() error { return leader.join(t.Context(), "changed") })
	follower.told()
	for until := time.Now().Add(2 * memberSession); time.Now().Before(until); {
		require.ErrorIs(t, follower.heartbeat(), kerr.RebalanceInProgress)
	}
	require.NoError(t, follower.join(t.Context(), ""))
	return joined
}

// TestWhoWaitsIsAnswered: no JoinGroup is left without an answer, whatever happens to other members.
func TestWhoWaitsIsAnswered(t *testing.T) {
	t.Parallel()
	instance := "static"
	for name, run := range map[string]func(t *testing.T, dial func() *kgo.Client){
		"longer than its session": func(t *testing.T, dial func() *kgo.Client) {
			t.Helper()
			leader, follower := pair(t, dial, true)
			was := leader.id
			joined := slow(t, leader, follower)
			ends(t, "the leader joins", joined)
			require.Equal(t, was, leader.id, "it is the same member")
			require.Equal(t, leader.generation, follower.generation)
		},
		"joins over a SyncGroup that waits": func(t *testing.T, dial func() *kgo.Client) {
			t.Helper()
			leader, follower := pair(t, dial, false)
			cut, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, follower.sync(cut), context.DeadlineExceeded)
			follower.client = dial()
			again := begin(func() error { return follower.join(t.Context(), "changed") })
			leader.told()
			joined := begin(func() error { return leader.join(t.Context(), "") })
			ends(t, "the follower joins", again)
			ends(t, "the leader joins", joined)
		},
		"a member leaves whose SyncGroup waits": func(t *testing.T, dial func() *kgo.Client) {
			t.Helper()
			leader, follower := pair(t, dial, false)
			cut, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, follower.sync(cut), context.DeadlineExceeded)
			follower.client = dial()
			follower.leave()
			ends(t, "the leader joins", begin(func() error { return leader.join(t.Context(), "") }))
		},
		"is removed while it waits": func(t *testing.T, dial func() *kgo.Client) {
			t.Helper()
			leader, follower := pair(t, dial, true)
			removed := &member{T: t, client: dial(), id: leader.id}
			joined := begin(func() error { return leader.join(t.Context(), "changed") })
			follower.told()
			removed.leave()
			require.NoError(t, follower.join(t.Context(), ""))
			follower.told() // the leader is back, as another member
			again := begin(func() error { return follower.join(t.Context(), "") })
			ends(t, "the leader joins", joined)
			ends(t, "the follower joins", again)
			require.NotEqual(t, removed.id, leader.id)
		},
		"the other has died while it joined":                func(t *testing.T, dial func() *kgo.Client) { t.Helper(); dies(t, dial, nil) },
		"the other, a static one, has died while it joined": func(t *testing.T, dial func() *kgo.Client) { t.Helper(); dies(t, dial, &instance) },
	} {
		for how, security := range map[string]embedded.Security{
			"no login": {}, "login": {Users: []embedded.User{{Mechanism: embedded.Plain, Name: "u", Password: "p"}}},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				cfg := testConfig(t)
				cfg.Security = security
				addr, _ := start(t, cfg)
				run(t, func() *kgo.Client {
					if len(security.Users) > 0 {
						return newClient(t, addr, kgo.SASL(plain.Auth{User: "u", Pass: "p"}.AsMechanism()))
					}
					return newClient(t, addr)
				})
			})
		}
	}
}

// dies has a new member die while it joins. Its group goes on without it when its session is over.
func dies(t *testing.T, dial func() *kgo.Client, instance *string) {
	t.Helper()
	leader, dead := &member{T: t, client: dial()}, &member{T: t, client: dial(), instance: instance}
	require.NoError(t, leader.join(t.Context(), ""))
	require.NoError(t, leader.sync(t.Context()))
	join, die := context.WithCancel(t.Context())
	joined := begin(func() error { return dead.join(join, "") })
	leader.told()
	die()
	require.ErrorIs(t, <-joined, context.Canceled)
	dead.client.Close()
	for range 2 { // with the dead member, and without it
		ends(t, "the leader joins", begin(func() error { return leader.join(t.Context(), "changed") }))
		require.NoError(t, leader.sync(t.Context()))
		if leader.alone() {
			return
		}
		leader.told()
	}
	require.True(t, leader.alone())
}

// alone tells whether the group has no other member.
func (m *member) alone() bool {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{"g"}
	resp, err := m.ask(m.Context(), req)
	require.NoError(m, err)
	members := resp.(*kmsg.DescribeGroupsResponse).Groups[0].Members
	return len(members) == 1 && members[0].MemberID == m.id
}

// TestKfakeForgetsWhoWaits shows what attendance is for. Where it fails kfake does it itself by now.
func TestKfakeForgetsWhoWaits(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "1000"}))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	leader, follower := pair(t, func() *kgo.Client { return newClient(t, cluster.ListenAddrs()[0]) }, true)
	joined := slow(t, leader, follower)
	select {
	case err := <-joined:
		require.FailNow(t, "kfake answers", "%v", err)
	case <-time.After(2 * memberSession):
	}
}
