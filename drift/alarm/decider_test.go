package alarm_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/alarm"
)

// TestPhases follows an alarm of 2 of 3 windows through its phases.
func TestPhases(t *testing.T) {
	r := alarm.Rule{K: 2, N: 3, Close: 2}
	var s alarm.State
	want := []alarm.Phase{"ok", "pending", "pending", "firing", "no_data", "firing", "firing", "firing", "resolved", "ok", "pending"}
	for i, c := range "-x-x0-x---x" {
		var tr alarm.Transition
		before := s
		s, tr = r.Decide(s, alarm.Window{Start: time.Unix(int64(i), 0), Above: c == 'x', NoData: c == '0'})
		require.Equal(t, want[i], s.Phase, "window %d", i)
		require.Equal(t, want[i], tr.To)
		require.Equal(t, i == 3, tr.Opened)
		require.Equal(t, i == 8, tr.Resolved)
		require.Equal(t, s.Open, s.OpenedAt != nil)
		if c == '0' {
			require.Equal(t, before.Recent, s.Recent)
			require.True(t, s.Open)
		}
	}
}

// TestRevisions: whatever the order in which windows come, and however often they are revised, the
// decisions are those of their last forms in order, also from JSON.
func TestRevisions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		r := alarm.Rule{K: rapid.IntRange(1, n).Draw(t, "k"), N: n, Close: rapid.IntRange(1, 4).Draw(t, "close")}
		d, err := alarm.NewDecider(r, 100)
		require.NoError(t, err)
		last := map[int]alarm.Window{}
		for range rapid.IntRange(1, 40).Draw(t, "windows") {
			i := rapid.IntRange(0, 20).Draw(t, "start")
			w := alarm.Window{Start: time.Unix(int64(i), 0).UTC(), Above: rapid.Bool().Draw(t, "above"), NoData: rapid.IntRange(0, 9).Draw(t, "no data") == 0}
			last[i] = w
			now, was, err := d.Put(w)
			require.NoError(t, err)
			require.Len(t, was, len(now))
			text, err := json.Marshal(d)
			require.NoError(t, err)
			d = &alarm.Decider{}
			require.NoError(t, json.Unmarshal(text, d))
		}
		var s alarm.State
		at := 0
		for i := range 21 {
			w, ok := last[i]
			if !ok {
				continue
			}
			var tr alarm.Transition
			s, tr = r.Decide(s, w)
			require.Equal(t, tr, d.Windows[at].Transition)
			require.Equal(t, s, d.Windows[at].After)
			at++
		}
		require.Equal(t, s, d.State())
	})
}

// TestTooOld: a window that is forgotten is refused and changes nothing.
func TestTooOld(t *testing.T) {
	d, err := alarm.NewDecider(alarm.Rule{K: 1, N: 1, Close: 1}, 2)
	require.NoError(t, err)
	for i := range 4 {
		_, _, err = d.Put(alarm.Window{Start: time.Unix(int64(i), 0)})
		require.NoError(t, err)
	}
	before, err := json.Marshal(d)
	require.NoError(t, err)
	_, _, err = d.Put(alarm.Window{Start: time.Unix(1, 0), Above: true})
	require.ErrorIs(t, err, alarm.ErrTooOld)
	after, err := json.Marshal(d)
	require.NoError(t, err)
	require.JSONEq(t, string(before), string(after))
}
