package role

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

func TestAccessTellsOfBrokersThatRefuse(t *testing.T) {
	var out bytes.Buffer
	ready := NewReadiness()
	a := NewAccess(ready, zerolog.New(&out))
	a.Tell("a:1", nil) // there is nothing to tell of what is as it should be
	_, parts := ready.Snapshot()
	require.Empty(t, parts)
	for range 3 {
		a.Tell("a:1", errors.New("broker a:1: it refuses user x"))
		a.Tell("b:1", errors.New("broker b:1: it wants TLS"))
	}
	ok, parts := ready.Snapshot()
	require.False(t, ok)
	require.Equal(t, "broker a:1: it refuses user x; broker b:1: it wants TLS", parts["kafka"])
	require.Equal(t, 2, strings.Count(out.String(), "does not let this process in"))
	a.Tell("a:1", nil)
	_, parts = ready.Snapshot()
	require.Equal(t, "broker b:1: it wants TLS", parts["kafka"])
	a.Tell("a:1", nil)
	ok, _ = ready.Snapshot()
	require.False(t, ok)
	require.Contains(t, out.String(), `"broker":"a:1","message":"the broker lets this process in again"`)
}

// A broker that has left the cluster is forgotten, though the connections to the others last, so that
// nothing is told of any.
func TestAccessForgetsBrokersThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := NewReadiness()
		a := NewAccess(ready, zerolog.Nop())
		ready.Set("worker", "")
		a.Tell("a:1", errors.New("it refuses user x"))
		time.Sleep(refusedFor - time.Second)
		a.Tell("b:1", errors.New("it wants TLS"))
		ok, _ := ready.Snapshot()
		require.False(t, ok)
		time.Sleep(2 * time.Second)
		_, parts := ready.Snapshot()
		require.Equal(t, "it wants TLS", parts["kafka"])
		time.Sleep(2 * refusedFor)
		ok, _ = ready.Snapshot()
		require.True(t, ok)
	})
}
