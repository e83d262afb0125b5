package consumers

import (
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// Short waits that follow one another closely, as of rebalances under load, are not one long wait.
func TestShortWaitsAreNotHeldOffsets(t *testing.T) {
	var told []error
	h := newHeld("g", 10*time.Second, func(err error) { told = append(told, err) }, zerolog.Nop())
	tp, now := topicPartition{"t", 3}, time.Unix(1_700_000_000, 0)
	for range 100 {
		for range 3 { // the client logs once a second
			h.waits(tp, now)
			now = now.Add(time.Second)
		}
		require.False(t, h.over())
	}
	require.Empty(t, told)
	for range 20 {
		h.waits(tp, now)
		now = now.Add(time.Second)
	}
	require.Empty(t, told, "a transaction may be open for ten seconds, and its end take as long")
	h.waits(tp, now)
	require.Len(t, told, 1)
	require.ErrorContains(t, told[0], "topic t partition 3 has been held by an open transaction for 20s")
	require.True(t, h.over())
	require.False(t, h.over())
}
