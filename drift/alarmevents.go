package drift

import (
	"math"
	"time"

	"github.com/millrace/millrace/drift/alarm"
	"github.com/millrace/millrace/schemas"
)

// change is something that events tell of an alarm.
type change struct {
	state     schemas.AlarmState
	opened    *time.Time // the alarm's opening
	window    time.Time  // start of the window that changed it
	withdrawn bool
}

// told are the openings and resolutions of windows in a row.
type told struct {
	opened   []time.Time
	resolved map[int64]time.Time // by opening: with which window
}

func (t *told) add(s alarm.State, w alarm.Decided) alarm.State {
	if w.Transition.Opened {
		t.opened = append(t.opened, w.Start)
	}
	if w.Transition.Resolved && s.OpenedAt != nil {
		t.resolved[s.OpenedAt.UnixMicro()] = w.Start
	}
	return w.After
}

func (t *told) has(opening time.Time) bool {
	for _, x := range t.opened {
		if x.Equal(opening) {
			return true
		}
	}
	return false
}

// changes compares windows as they were decided and as they are now, from the one that was judged
// on. prior is the alarm's state before it, before that after the last window. What was told and holds no longer is taken back:
// an alarm that did not open is withdrawn, one that did not close fires again.
func changes(prior, before alarm.State, now []alarm.Decided, was []*alarm.Decided) []change {
	old, current := told{resolved: map[int64]time.Time{}}, told{resolved: map[int64]time.Time{}}
	s := prior
	for _, w := range was {
		if w != nil {
			s = old.add(s, *w)
		}
	}
	s = prior
	for _, w := range now {
		s = current.add(s, w)
	}
	judged := now[0].Start
	openings := append(append([]time.Time{}, old.opened...), current.opened...)
	if prior.OpenedAt != nil {
		openings = append([]time.Time{*prior.OpenedAt}, openings...)
	}
	var out []change
	seen := map[int64]bool{}
	for _, opening := range openings {
		if seen[opening.UnixMicro()] {
			continue
		}
		seen[opening.UnixMicro()] = true
		earlier := prior.OpenedAt != nil && prior.OpenedAt.Equal(opening)
		wasClosed, closed := old.resolved, current.resolved
		oldEnd, hadEnded := wasClosed[opening.UnixMicro()]
		end, ended := closed[opening.UnixMicro()]
		switch told, holds := earlier || old.has(opening), earlier || current.has(opening); {
		case told && !holds && !hadEnded:
			out = append(out, change{state: schemas.AlarmResolved, opened: &opening, window: judged, withdrawn: true})
		case !told:
			out = append(out, change{state: schemas.AlarmFiring, opened: &opening, window: opening})
			hadEnded = false
		case holds && hadEnded && !ended:
			out = append(out, change{state: schemas.AlarmFiring, opened: &opening, window: judged})
		}
		if ended && (!hadEnded || !end.Equal(oldEnd)) {
			out = append(out, change{state: schemas.AlarmResolved, opened: &opening, window: end})
		}
	}
	last := now[len(now)-1]
	switch had, has := before.Phase == alarm.PhaseNoData, last.After.Phase == alarm.PhaseNoData; {
	case has && !had:
		out = append(out, change{state: schemas.AlarmNoData, opened: last.After.OpenedAt, window: last.Start})
	case had && !has:
		out = append(out, change{state: schemas.AlarmData, opened: last.After.OpenedAt, window: last.Start})
	}
	return out
}

// alarmEvent composes the event of a change that the judgement of a window made. What else is known of an alarm
// that fires belongs here; its reason is found afterwards (explainAlarms).
func (p *pass) alarmEvent(j *Judged, c change) schemas.Event {
	by, f := p.state.alarm.by, p.Manifest.Monitoring.FalseAlarms
	data := schemas.EventData{
		Kind: schemas.EventDrift, Job: schemas.JobDrift, Severity: f.Severity, Model: j.Model, Version: j.Version,
		WindowStart: c.window, WindowEnd: c.window.Add(p.length()), Revision: j.Revision,
		Alarm: &schemas.AlarmEvent{
			State: c.state, Judged: j.WindowStart, Withdrawn: c.withdrawn, Windows: schemas.KOfN{K: by.Options.K, N: by.Options.N}.String(),
			Threshold: by.Threshold, Asked: by.Options.Every.Seconds(), Promised: by.Promised.Seconds(), Warnings: by.Warnings,
		},
	}
	if c.opened != nil {
		opened := c.opened.UTC()
		data.Alarm.OpenedAt = &opened
	}
	if c.window.Equal(j.WindowStart) { // else that of another window, which was not counted now
		data.Rows = j.Rows
		if !j.Scored.NoData {
			data.Alarm.Score = j.Scored.Score
		}
		if c.state == schemas.AlarmFiring {
			data.Breaches = p.alarmBreaches(j.Scored)
		}
	}
	if p.cfg.ReportLink != nil {
		data.Report = p.cfg.ReportLink(j.Model, j.Version, "", c.window)
	}
	return schemas.NewEvent(data, p.now)
}

// alarmBreaches are the checks that scored above the alarm's threshold, the worst first, as
// distances: each threshold is the distance that has that score in a window with as many rows.
func (p *pass) alarmBreaches(s *alarm.Scored) []schemas.Breach {
	by := p.state.alarm.by
	out := make([]schemas.Breach, len(s.Breaches))
	for i, b := range s.Breaches {
		check := by.Checks[b.Check]
		limit := check.Mean + by.Threshold*check.Spread
		if rows := float64(s.Rows); rows < by.Usual {
			limit /= math.Sqrt(rows / by.Usual)
		}
		if check.Stattest == schemas.StattestPSI {
			limit *= limit
		}
		out[i] = schemas.Breach{Stattest: check.Stattest, Column: check.Column, Value: b.Value, Threshold: limit, Severity: p.Manifest.Monitoring.FalseAlarms.Severity}
	}
	return out
}
