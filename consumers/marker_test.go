package consumers

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

func TestMarkerRoundTrip(t *testing.T) {
	t.Parallel()
	at := time.UnixMicro(1_764_450_000_123_456)
	for name, m := range map[string]marker{
		"stored":    {topic: uuid.New(), at: 0, claim: 1},
		"unproven":  {topic: uuid.New(), at: -1, claim: 1, lease: schemas.Lease{Announced: at, Deadline: at.Add(15 * time.Second)}},
		"announced": {topic: uuid.New(), at: 1 << 62, claim: 1 << 62, pending: 1<<62 + 1, lease: schemas.Lease{Announced: at, Deadline: at.Add(time.Hour)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Less(t, len(m.String()), 256, "Kafka takes 4096 by default")
			got, ok := parseMarker(m.String())
			require.True(t, ok)
			require.Equal(t, m, got)
		})
	}
}

// What is not of a recorder, or damaged, says nothing.
func TestMarkerOfOthers(t *testing.T) {
	t.Parallel()
	topic := uuid.NewString()
	for _, metadata := range []string{
		"", "member-1", "millrace", "millrace/3 topic=" + topic + " at=1", "millrace/2 ", "millrace/2 at=1", "millrace/2 topic=" + topic,
		"millrace/2 topic=x at=1", "millrace/2 topic=" + topic + " at=", "millrace/2 topic=" + topic + " at=1 pending=x",
		"millrace/2 topic=" + topic + " at=1 pending=2 announced=0 deadline=1764450000123456",
		"millrace/2 topic=" + topic + " at=1 pending=2 announced=2 deadline=1", "millrace pending=x deadline=1",
	} {
		_, ok := parseMarker(metadata)
		require.False(t, ok, metadata)
	}
}

// A marker of an earlier version names neither topic nor offset: it proves nothing.
func TestMarkerOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	m, ok := parseMarker("millrace pending=25")
	require.True(t, ok)
	require.Equal(t, marker{at: -1, pending: 25}, m)
	m, ok = parseMarker("millrace pending=25 deadline=1764450000123456")
	require.True(t, ok)
	require.EqualValues(t, -1, m.at)
	require.EqualValues(t, 25, m.pending)
	require.EqualValues(t, 1_764_450_000_123_456, m.lease.Deadline.UnixMicro())
	require.Equal(t, maxExtension, m.lease.Span())
}

func FuzzMarker(f *testing.F) {
	f.Add("millrace pending=25 deadline=1764450000123456")
	f.Add(marker{topic: uuid.New(), at: 5, claim: 7, pending: 9, lease: schemas.Lease{Announced: time.UnixMicro(1), Deadline: time.UnixMicro(2)}}.String())
	f.Fuzz(func(t *testing.T, metadata string) {
		m, ok := parseMarker(metadata)
		if !ok || m.topic == uuid.Nil {
			return
		}
		again, ok := parseMarker(m.String())
		if m.pending < 0 {
			m.pending = 0 // announces nothing, and is not written
			again.pending = 0
		}
		if !ok || again != m {
			t.Fatalf("round trip of %q: %v, %v", metadata, again, ok)
		}
	})
}
