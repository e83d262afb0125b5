package consumers_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// slowClaim is the memory of a group that is held up between its look at the old group's members
// and its claim.
type slowClaim struct {
	*memory
	before func() // called once, before the claim
}

func (s *slowClaim) Claim(ctx context.Context, topic string, id uuid.UUID, group, from string) (schemas.Claim, error) {
	if from != "" && s.before != nil {
		s.before()
		s.before = nil
	}
	return s.memory.Claim(ctx, topic, id, group, from)
}

// TestClaimOfAGroupThatIsHeldUp: a group has seen that the old one has no member, which one gets,
// and stores, before the claim arrives. Both must not store then.
func TestClaimOfAGroupThatIsHeldUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("a", 1, nil)
	f.fill(topic, 1, 0, 30)
	m := newMemory()
	first, _ := f.recorder(f.recorderConfig(topic), m)
	f.stored(topic)
	require.NoError(t, first.stop())

	renamed, waits := renamed(f.recorderConfig(topic))
	held := &slowClaim{memory: m, before: func() {
		first, _ = f.recorder(f.recorderConfig(topic), m)
		f.fill(topic, 1, 30, 10)
		f.stored(topic)
	}}
	second, _ := f.recorder(renamed, held)
	await(t, "it says whom it waits for", func() bool { return waits.says("stop the old one first") })
	f.fill(topic, 1, 40, 10)
	f.stored(topic)
	m.requireOnce(t, 50)
	require.Equal(t, renamed.Name, f.owner(m, topic), "it has claimed")

	// Nor must a third one that claims from the second, which has no member.
	third := f.recorderConfig(topic)
	third.Name += "-third"
	var asks health
	third.Health = asks.set
	last, _ := f.recorder(third, m)
	await(t, "it says whom it waits for", func() bool { return asks.says(f.group("recorders").Name+"\"") && asks.says("stop the old one first") })
	require.NoError(t, last.stop())

	require.NoError(t, first.stop())
	f.fill(topic, 1, 50, 10)
	await(t, "the second group has taken over", func() bool { return f.lag(renamed.Name, topic) == 0 })
	require.NoError(t, second.stop())
	m.requireOnce(t, 60)
}

// owner returns the group that has claimed the rows of a topic.
func (f *fixture) owner(m *memory, topic string) string {
	f.Helper()
	claim, _ := f.claim(m, topic)
	return claim.Group
}
