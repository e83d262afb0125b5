package consumers_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
)

// What a recorder has committed of a topic says nothing of another one of that name.
func TestCommitsOfATopicThatIsGoneAreLeftOut(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic := f.topic("observations", 2, nil)
	group := f.group("recorders").Name
	log, err := f.admin.Log(t.Context(), topic)
	require.NoError(t, err)
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: 7, LeaderEpoch: -1, Metadata: "millrace/2 topic=" + log.ID.String() + " at=7 claim=0"})
	offsets.Add(kadm.Offset{Topic: topic, Partition: 1, At: 9, LeaderEpoch: -1, Metadata: "millrace/2 topic=00000000-0000-4000-8000-000000000001 at=9 claim=0"})
	require.NoError(t, f.adm.CommitAllOffsets(t.Context(), group, offsets))
	committed, err := f.admin.Committed(t.Context(), group)
	require.NoError(t, err)
	require.Equal(t, map[string]map[int32]int64{topic: {0: 7}}, committed)
}
