package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/alarm"
)

const seed = 1

func short() testCase {
	return testCase{
		Name: "days", process: process{columns: 5, rows: 10, bucket: time.Hour, daily: 0.3, weekly: 0.3, wander: 0.2, memory: 12 * time.Hour, common: 0.3},
		per: 24, reference: 60, every: 40, k: 1, n: 1, streams: 10, windows: 200,
	}
}

// TestPromise: on streams without drift alarms are no more frequent than promised, and with
// thresholds of rows that are drawn one by one alarms are open many times as long.
func TestPromise(t *testing.T) {
	t.Logf("seed %d", seed)
	c := short()
	for _, k := range []int{1, 2} {
		c.k, c.n = k, 2*k-1
		r, err := c.measure(seed, 2)
		require.NoError(t, err)
		t.Logf("%d of %d: %s between alarms, stated %v, promised %.1f; 3 sigma %s, drawn one by one %s",
			c.k, c.n, r.Ours.between(), r.Stated, r.Promised, r.Sigma.between(), r.Drawn.between())
		require.False(t, r.over(), "%+v", r.Ours)
		require.Greater(t, r.Drawn.Open, 3*r.Ours.Open, "an alarm that does not close is one alarm")
		require.Less(t, r.Ours.Delays[1], float64(mostDelay), "a shift of one standard deviation is found")
	}
}

// TestSame: the same seed gives the same bytes, whatever the number of workers, and a reference that
// is too short promises less and says so.
func TestSame(t *testing.T) {
	c := short()
	ref := newGenerator(c.process, seed, 0).take(30, c.per)
	var first []byte
	for _, workers := range []int{1, 2, 3} {
		cal, err := alarm.Calibrate(ref, alarm.Options{Window: 24 * time.Hour, Every: 365 * 24 * time.Hour, Replicates: 40, Seed: seed, Workers: workers})
		require.NoError(t, err)
		require.Less(t, cal.Promised, cal.Options.Every)
		require.NotEmpty(t, cal.Warnings)
		card, err := alarm.NewCard(ref, cal)
		require.NoError(t, err)
		text, err := json.Marshal([]any{cal, card})
		require.NoError(t, err)
		if first == nil {
			first = text
		}
		require.Equal(t, string(first), string(text))
		for i, d := range card.Delays {
			require.True(t, i == 0 || d.Kind != card.Delays[i-1].Kind || d.Detected >= card.Delays[i-1].Detected-0.1, "%+v", card.Delays)
		}
		require.GreaterOrEqual(t, card.Whole.Between, float64(cal.Promised/(24*time.Hour)))
	}
	_, err := alarm.Calibrate(newGenerator(c.process, seed, 0).take(5, c.per), alarm.Options{Window: 24 * time.Hour, Every: 365 * 24 * time.Hour})
	require.ErrorIs(t, err, alarm.ErrShortReference)
}
