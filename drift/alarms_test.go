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

const calibrated = 14 // windows

// alarmWorld has a version whose alarm is calibrated on 14 windows, and no other checks of drift.
func alarmWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.Manifest.Target = nil
	w.Manifest.Monitoring.Checks = nil
	w.Manifest.Monitoring.FalseAlarms = &schemas.FalseAlarms{
		Every: schemas.Duration(48 * time.Hour), Windows: schemas.KOfN{K: 2, N: 3}, Close: 2, Season: "auto", Calibration: calibrated, Severity: schemas.SeverityCritical,
	}
	var rows []historytest.Observation // as one insert
	for i := range calibrated * 300 {
		rows = append(rows, w.Observe(historytest.Start.Add(time.Duration(i)*time.Hour/300), i, 0))
	}
	w.Put(rows)
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

// after stores hours behind the calibration, by their shift; -1 is one of few rows.
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

// TestAlarmOpenUnderOtherSettings: an alarm that is open when the rule changes stays open, and is resolved.
func TestAlarmOpenUnderOtherSettings(t *testing.T) {
	w := alarmWorld(t)
	pub := &topic{}
	w.after(0, 4, 4, 4, 0)
	w.tick(w.monitor(w, pub), historytest.WallClock)
	require.Equal(t, []string{"firing 2 of 2"}, told(t, pub))
	w.Manifest.Monitoring.FalseAlarms.Windows = schemas.KOfN{K: 1, N: 1}
	w.Hour(calibrated+5, 300, 0)
	w.Hour(calibrated+6, 300, 0)
	w.tick(w.monitor(w, pub), historytest.WallClock.Add(time.Second))
	require.Equal(t, []string{"firing 2 of 2", "resolved 5 of 2"}, told(t, pub))
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

// alarmRun is what a monitor that was killed and its successor have left.
type alarmRun struct {
	events map[string]string // by id
	rows   string
	calls  int
}

// killedAlarm forgets the windows from an hour on, and the calibration where that is before its end,
// and judges them by a monitor that is killed at a write or an event, and then by another.
func (w *world) killedAlarm(t *testing.T, from, failAt int, after bool) alarmRun {
	t.Helper()
	tables := []string{"drift_results", "windows", "alarms"}
	for _, table := range tables {
		require.NoError(t, w.Exec(t.Context(), fmt.Sprintf("ALTER TABLE %s.%s DELETE WHERE window_start >= toDateTime64('%s', 6, 'UTC') SETTINGS mutations_sync = 1",
			w.Database(), table, historytest.Start.Add(time.Duration(from)*time.Hour).Format(time.DateTime))))
	}
	if from < calibrated {
		require.NoError(t, w.Exec(t.Context(), "TRUNCATE TABLE "+w.Database()+".alarm_calibrations"))
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
	out := alarmRun{events: map[string]string{}, calls: f.calls}
	for i, text := range told(t, p) {
		if was, ok := out.events[p.events[i].ID]; ok {
			require.Equal(t, was, text, "a repeated event says the same")
		}
		out.events[p.events[i].ID] = text
	}
	var rows []struct {
		Text string `ch:"text"`
	}
	require.NoError(t, w.Select(t.Context(), &rows, "SELECT toString(tuple(window_start, revision, rows, phase, opened_at, recent, quiet, score, column)) AS text FROM "+w.Database()+".alarms FINAL ORDER BY text"))
	out.rows = fmt.Sprint(rows)
	return out
}

// TestAlarmKilledAnywhere ends the monitor before and after each of its writes and events, and starts
// another one: rows and the set of events are those of an undisturbed run.
func TestAlarmKilledAnywhere(t *testing.T) {
	w := alarmWorld(t)
	w.after(4, 4, 0, 0, -1, 0, 0)
	want := w.killedAlarm(t, 0, -1, false)
	require.Len(t, want.events, 4, "%v", want.events)
	again := w.killedAlarm(t, calibrated, -1, false)
	require.Equal(t, want.events, again.events)
	require.Equal(t, want.rows, again.rows)
	require.GreaterOrEqual(t, again.calls, 10)
	check := func(from, failAt int, after bool) {
		got := w.killedAlarm(t, from, failAt, after)
		require.Equal(t, want.events, got.events, "killed at call %d, after %v", failAt, after)
		require.Equal(t, want.rows, got.rows, "killed at call %d, after %v", failAt, after)
	}
	for _, after := range []bool{false, true} {
		check(0, 0, after) // the calibration is written
		for failAt := 0; failAt < again.calls; failAt += stride(3) {
			check(calibrated, failAt, after)
		}
	}
}
