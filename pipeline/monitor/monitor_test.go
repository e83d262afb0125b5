package monitor_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/monitor"
)

func TestEveryPassesAtOnceAndAtEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		began := time.Now()
		var passes []time.Duration
		monitor.Every(ctx, time.Second, nil, func(now time.Time) { passes = append(passes, now.Sub(began)) })
		require.Len(t, passes, 11)
		for i, at := range passes {
			require.Equal(t, time.Duration(i)*time.Second, at)
		}
		require.Equal(t, 10*time.Second+time.Millisecond, time.Since(began), "it ends with its context")
	})
}
