package role

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/config"
)

func newEnv(log *bytes.Buffer) *Env {
	return &Env{Role: config.RoleMonitor, Config: config.Default(), Log: zerolog.New(log), Ready: NewReadiness(), Done: &Progress{}}
}

// What a role waits for is said by readiness, and logged once.
func TestRetrySaysWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := newEnv(&log)
		tries := 0
		require.NoError(t, e.Retry(t.Context(), func(context.Context) error {
			if tries++; tries < 4 {
				return errors.New("away")
			}
			_, parts := e.Ready.Snapshot()
			require.Equal(t, map[string]string{"monitor": "away"}, parts)
			return nil
		}))
		require.Equal(t, 4, tries)
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("away")))
	})
}

func TestRetryEndsWithItsContextAndWithWhatNoRetryMends(t *testing.T) {
	e := newEnv(&bytes.Buffer{})
	hopeless := errors.New("hopeless")
	require.Equal(t, hopeless, e.Retry(t.Context(), func(context.Context) error { return Permanent(hopeless) }))
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	err := e.Retry(ctx, func(context.Context) error {
		cancel(stopped)
		return errors.New("away")
	})
	require.Equal(t, stopped, err)
	require.NoError(t, Orderly(ctx, err))
	require.Equal(t, stopped, Orderly(t.Context(), err))
}

// One failing part makes its role unready; what is to be known beside leaves it ready.
func TestReadiness(t *testing.T) {
	e := newEnv(&bytes.Buffer{})
	ready, _ := e.Ready.Snapshot()
	require.False(t, ready, "nothing has begun")
	e.Ready.Set("monitor", "")
	e.Ready.Note("alerts ops", "2 events are parked")
	health := e.Health(1)
	health(nil)
	ready, parts := e.Ready.Snapshot()
	require.True(t, ready)
	require.Equal(t, map[string]string{"monitor": "ready", "alerts ops": "ready; 2 events are parked"}, parts)
	health(errors.New("broken"))
	ready, parts = e.Ready.Snapshot()
	require.False(t, ready)
	require.Equal(t, "broken", parts["monitor 1"])
	health(nil)
	ready, _ = e.Ready.Snapshot()
	require.True(t, ready)
}
