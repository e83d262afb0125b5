package drift_test

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

const calibrated = 30 // windows

// alarmWorld has a version whose alarm is calibrated on 30 windows, and no other checks of drift.
func alarmWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.Manifest.Target = nil
	w.Manifest.Monitoring.Checks = nil
	w.Manifest.Monitoring.FalseAlarms = &schemas.FalseAlarms{
		Every: schemas.Duration(48 * time.Hour), Windows: schemas.KOfN{K: 2, N: 3}, Close: 2, Season: "auto", Calibration: calibrated, Severity: schemas.SeverityCritical,
	}
	for h := range calibrated {
		w.Hour(h, 300, 0)
	}
	return w
}

// told are the events of alarms in the order in which they came, hours from the end of calibration on.
func told(t *testing.T, p *topic) (out []string) {
	t.Helper()
	for _, e := range p.events {
		a := e.Data.Alarm
		require.NotNil(t, a, "%+v", e.Data)
		hour := func(at time.Time) int { return int(at.Sub(historytest.Start).Hours()) - calibrated }
		text := fmt.Sprintf("%s %d", a.State, hour(e.Data.WindowStart))
		if a.OpenedAt != nil {
			text += fmt.Sprintf(" of %d", hour(*a.OpenedAt))
		}
		if !a.Judged.Equal(e.Data.WindowStart) {
			text += fmt.Sprintf(" by %d", hour(a.Judged))
		}
		if a.Withdrawn {
			text += " withdrawn"
		}
		out = append(out, text)
	}
	return out
}

// drifted stores an hour after the calibration.
func (w *world) after(shifts ...int) {
	for i, s := range shifts {
		n := 300
		if s < 0 {
			n, s = 20, 0
		}
		w.Hour(calibrated+i, n, s)
	}
}

// TestAlarm: one event when drift begins and one when it ends, whatever windows lie between; windows
// without data are told once, and the alarm stays open over them.
func TestAlarm(t *testing.T) {
	w := alarmWorld(t)
	pub := &topic{}
	m := w.monitor(w, pub)
	w.tick(m, historytest.WallClock)
	require.Empty(t, pub.events)

	w.after(0, 0, 4, 4, 4, 4, -1, -1, 4, 0, 0, 0)
	w.Hour(calibrated+14, 300, 0) // 12 and 13 have no rows at all
	w.Hour(calibrated+15, 300, 0)
	w.tick(m, historytest.WallClock.Add(time.Second))
	require.Equal(t, []string{"firing 3 of 3", "no_data 6 of 3", "data 8 of 3", "resolved 10 of 3", "no_data 12", "data 14"}, told(t, pub))
	fired := pub.events[0].Data
	require.Equal(t, schemas.EventDrift, fired.Kind)
	require.Equal(t, schemas.SeverityCritical, fired.Severity)
	require.NotEmpty(t, fired.Breaches)
	require.Greater(t, fired.Alarm.Score, fired.Alarm.Threshold)
	require.Equal(t, "2 of 3", fired.Alarm.Windows)
	require.Equal(t, (48 * time.Hour).Seconds(), fired.Alarm.Asked)
	require.LessOrEqual(t, fired.Alarm.Promised, fired.Alarm.Asked)
	for _, b := range fired.Breaches {
		require.Greater(t, b.Value, b.Threshold, "%+v", b)
	}
	seen := map[string]bool{}
	for _, e := range pub.events {
		require.False(t, seen[e.ID], "ids are of one event")
		seen[e.ID] = true
	}
	rows, err := history.New(w, w.Database()).AlarmWindows(t.Context(), w.Manifest, time.Time{})
	require.NoError(t, err)
	var phases []string
	for _, r := range rows {
		phases = append(phases, r.Phase)
	}
	require.Equal(t, "ok ok pending firing firing firing no_data no_data firing firing resolved ok no_data ok", strings.Join(phases, " "))

	// A restarted monitor says nothing again, and calibrates nothing again.
	again := &topic{}
	w.tick(w.monitor(w, again), historytest.WallClock.Add(2*time.Second))
	require.Empty(t, again.events)
	kept, err := history.New(w, w.Database()).AlarmCalibrations(t.Context(), w.Manifest)
	require.NoError(t, err)
	require.Len(t, kept, 1)
	// Another rate is another calibration, of the same windows, and the windows decided stay so.
	w.Manifest.Monitoring.FalseAlarms.Every = schemas.Duration(24 * time.Hour)
	w.tick(w.monitor(w, again), historytest.WallClock.Add(3*time.Second))
	require.Empty(t, again.events)
	kept, err = history.New(w, w.Database()).AlarmCalibrations(t.Context(), w.Manifest)
	require.NoError(t, err)
	require.Len(t, kept, 2)
	require.Equal(t, kept[0].Buckets, kept[1].Buckets)
}

// TestAlarmRevised: late rows that undo a window withdraw the alarm that it opened.
func TestAlarmRevised(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := alarmWorld(t)
		pub := &topic{}
		m := w.monitor(w, pub)
		w.after(0, 4, 4, 4, 0)
		w.tick(m, historytest.WallClock)
		require.Equal(t, []string{"firing 2 of 2"}, told(t, pub))
		if restart {
			m = w.monitor(w, pub)
		}
		// So many rows without a shift that hours 2 and 3 are calm.
		w.Hour(calibrated+2, 30_000, 0)
		w.Hour(calibrated+3, 30_000, 0)
		w.tick(m, historytest.WallClock.Add(time.Hour))
		require.Equal(t, []string{"firing 2 of 2", "firing 3 of 3 by 2", "resolved 2 of 2 withdrawn", "resolved 3 of 3 withdrawn"}, sorted(told(t, pub)))
		require.Equal(t, "ok pending pending pending", w.phases(t))
	}
}

func sorted(of []string) []string { sort.Strings(of); return of }

// phases are those of the latest revisions.
func (w *world) phases(t *testing.T) string {
	t.Helper()
	rows, err := history.New(w, w.Database()).AlarmWindows(t.Context(), w.Manifest, time.Time{})
	require.NoError(t, err)
	var out []string
	for i, r := range rows {
		if i+1 == len(rows) || !rows[i+1].WindowStart.Equal(r.WindowStart) {
			out = append(out, r.Phase)
		}
	}
	return strings.Join(out, " ")
}

// TestAlarmKilledAnywhere ends the monitor before and after each of its writes and events, and starts
// another one: rows and the set of events are those of an undisturbed run.
func TestAlarmKilledAnywhere(t *testing.T) {
	w := alarmWorld(t)
	w.after(0, 4, 4, 0, 0, -1, 4, 4)
	var want string
	var events map[string]string
	run := func(failAt int, after bool) {
		for _, table := range []string{"drift_results", "windows", "alarms", "alarm_calibrations"} {
			require.NoError(t, w.Exec(t.Context(), "TRUNCATE TABLE "+w.Database()+"."+table))
		}
		p := &topic{}
		f := writing{&flaky{Conn: w, Publisher: p, failAt: failAt, after: after}}
		_, err := w.monitor(f, f).Tick(t.Context(), historytest.WallClock, []drift.Version{w.version})
		if failAt >= 0 {
			require.ErrorIs(t, err, errKilled)
			w.tick(w.monitor(w, p), historytest.WallClock)
		} else {
			require.NoError(t, err)
		}
		ids := map[string]string{}
		for i, text := range told(t, p) {
			if was, ok := ids[p.events[i].ID]; ok {
				require.Equal(t, was, text)
			}
			ids[p.events[i].ID] = text
		}
		var rows []struct {
			Text string `ch:"text"`
		}
		require.NoError(t, w.Select(t.Context(), &rows, "SELECT toString(tuple(window_start, revision, phase, opened_at, recent, quiet, score)) AS text FROM "+w.Database()+".alarms FINAL ORDER BY text"))
		got := fmt.Sprint(rows)
		if failAt < 0 {
			want, events = got, ids
			require.GreaterOrEqual(t, len(ids), 4, "%v", ids)
			t.Logf("%d writes and events: %v", f.calls, told(t, p))
			events["calls"] = fmt.Sprint(f.calls)
			return
		}
		calls := events["calls"]
		delete(events, "calls")
		require.Equal(t, events, ids, "killed at call %d, after %v", failAt, after)
		events["calls"] = calls
		require.Equal(t, want, got, "killed at call %d, after %v", failAt, after)
	}
	run(-1, false)
	var calls int
	_, err := fmt.Sscan(events["calls"], &calls)
	require.NoError(t, err)
	for failAt := range calls {
		if failAt > 1 && failAt < calls-14 {
			continue // of windows before the calibration's end, as TestMonitorKilledAnywhere has them
		}
		run(failAt, false)
		run(failAt, true)
	}
}
