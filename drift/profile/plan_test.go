package profile_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
)

func TestBucket(t *testing.T) {
	for window, want := range map[time.Duration]time.Duration{
		time.Minute: time.Minute, 10 * time.Minute: time.Minute, time.Hour: 5 * time.Minute, 24 * time.Hour: 2 * time.Hour,
		7 * 24 * time.Hour: 12 * time.Hour, 30 * 24 * time.Hour: 24 * time.Hour, 90 * time.Second: 90 * time.Second, 7 * time.Minute: time.Minute,
	} {
		got := profile.Bucket(window)
		require.Equal(t, want, got, "%v", window)
		require.Zero(t, window%got)
	}
}

func TestPlanID(t *testing.T) {
	p := profile.Plan{Model: "m", Version: "1", Bucket: time.Hour, Columns: []profile.Column{{Name: "x", Edges: []float64{1, 2}}}}
	id := p.ID()
	require.Len(t, id, 32)
	require.Equal(t, id, p.ID())
	p.Columns[0].Edges[1] = 3
	require.NotEqual(t, id, p.ID())
}
