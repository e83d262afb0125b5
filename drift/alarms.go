package drift

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/drift/alarm"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// alarmKeep is how many decided windows, beside Config.LateWindows, can still be revised.
const alarmKeep = 1000

// alarmState is what the monitor remembers of a version's alarm.
type alarmState struct {
	looked    time.Time // start of the first open window when windows to calibrate on were counted
	windows   int       // that there were
	cannot    error     // why no alarm can be calibrated; told once
	settings  string    // digest of what was asked for
	from      time.Time // windows from here on are decided
	scorer    *alarm.Scorer
	by        *alarm.Calibration
	decider   *alarm.Decider // replaced, not changed
	revisions map[int64]uint32
}

// deciding tells whether an alarm decides the window.
func (p *pass) deciding(start time.Time) bool {
	a := &p.state.alarm
	return p.Manifest.Monitoring.FalseAlarms != nil && a.scorer != nil && !start.Before(a.from)
}

// alarmDigest hashes what must be the same for what was kept to be used.
func alarmDigest(x any) (string, error) {
	text, err := json.Marshal(x)
	if err != nil {
		return "", err
	}
	h := sha256.Sum256(text)
	return hex.EncodeToString(h[:16]), nil
}

// cellsDigest hashes the cells of a reference, not what is in them.
func cellsDigest(ref *schemas.Reference) (string, error) {
	type column struct {
		Name       string
		Edges      []float64
		Categories []string
	}
	columns := make([]column, len(ref.Columns))
	for i, c := range ref.Columns {
		columns[i] = column{c.Name, c.Edges, c.Categories}
	}
	return alarmDigest(columns)
}

// calibration is what alarms of a version are to be calibrated to.
func (v Version) calibration() alarm.Options {
	mon, f := v.Manifest.Monitoring, v.Manifest.Monitoring.FalseAlarms
	return alarm.Options{
		Window: mon.Window.Std(), Every: f.Every.Std(), Rule: alarm.Rule{K: f.Windows.K, N: f.Windows.N, Close: f.Close},
		MinRows: mon.MinRows, Season: alarm.Season(f.Season), Seed: 1,
	}
}

// calibrationWindows is how many windows are calibrated on.
func (v Version) calibrationWindows() int {
	n := v.Manifest.Monitoring.FalseAlarms.Calibration
	if l := v.Manifest.Monitoring.Reference; l != nil {
		n = max(n, l.Windows)
	}
	return n
}

// readyAlarm reads the calibration of a version's alarm, or makes it of the first windows once
// enough have closed with min_rows rows; open is the start of the first window that has not closed, zero where
// none is known to have: then nothing is made. Like a learned reference it is read back after it was written.
func (m *Monitor) readyAlarm(ctx context.Context, v Version, state *versionState, open time.Time) error {
	a, man := &state.alarm, v.Manifest
	if man.Monitoring.FalseAlarms == nil || man.WindowKind() != "" || v.Reference == nil || len(v.Reference.Columns) == 0 || a.scorer != nil || a.cannot != nil ||
		!a.looked.IsZero() && !open.After(a.looked) {
		return nil //nolint:nilerr // why there is no alarm was told
	}
	key := schemas.AlarmCalibration{Model: man.Name, Version: man.Version, Seconds: uint64(man.Monitoring.Window.Std() / time.Second)}
	var err, err2 error
	key.Reference, err = cellsDigest(v.Reference)
	key.Settings, err2 = alarmDigest([]any{v.calibration(), v.calibrationWindows()})
	if err = errors.Join(err, err2); err != nil {
		return err
	}
	row, buckets, err := m.keptCalibration(ctx, v, key)
	if err != nil {
		return err
	}
	if row == nil && !open.IsZero() {
		if buckets == nil {
			if buckets, err = m.alarmBuckets(ctx, v, a, open); err != nil || buckets == nil {
				return err
			}
		}
		made, err := m.calibrate(v, key, buckets)
		if err != nil {
			a.cannot = err
			m.log.Error().Err(err).Str("model", man.Name).Str("version", man.Version).
				Msg("the alarm cannot be calibrated, and none is raised: give monitoring.false_alarms another season or more windows of calibration")
			return nil
		}
		if err := m.store.WriteAlarmCalibration(ctx, made); err != nil {
			return err
		}
		if row, _, err = m.keptCalibration(ctx, v, key); err != nil {
			return err
		}
		if row == nil {
			return fmt.Errorf("the calibration of alarms of %s/%s was written and is not there", man.Name, man.Version)
		}
	}
	if row == nil {
		return nil
	}
	return m.startAlarm(ctx, v, state, row)
}

// keptCalibration returns the calibration with that key, or the buckets of one for other settings, or
// nil.
func (m *Monitor) keptCalibration(ctx context.Context, v Version, key schemas.AlarmCalibration) (*schemas.AlarmCalibration, *alarm.Buckets, error) {
	rows, err := m.store.AlarmCalibrations(ctx, v.Manifest)
	if err != nil {
		return nil, nil, err
	}
	for i, r := range rows {
		if r.Reference == key.Reference && r.Settings == key.Settings {
			return &rows[i], nil, nil
		}
	}
	for _, r := range rows {
		var b alarm.Buckets
		if r.Reference != key.Reference {
			continue
		}
		if err := json.Unmarshal([]byte(r.Buckets), &b); err != nil {
			return nil, nil, fmt.Errorf("read the buckets of the calibration of alarms: %w", err)
		}
		if len(b.Buckets) >= v.calibrationWindows() {
			return nil, &b, nil
		}
	}
	return nil, nil, nil
}

// alarmBuckets counts the first windows; nil where fewer have closed than are wanted.
func (m *Monitor) alarmBuckets(ctx context.Context, v Version, a *alarmState, open time.Time) (*alarm.Buckets, error) {
	man, wanted := v.Manifest, v.calibrationWindows()
	length := man.Monitoring.Window.Std()
	counts, err := m.store.CountRows(ctx, man, profile.Span{End: open}, time.Time{})
	if err != nil {
		return nil, err
	}
	var first, last time.Time
	n := 0
	for _, c := range counts {
		if c.Rows < uint64(man.Monitoring.MinRows) || n == wanted {
			continue
		}
		if n > 0 && c.Start.Sub(first)/length >= schemas.MaxCalibrationWindows {
			n = 0 // a few rows of another century
		}
		if n == 0 {
			first = c.Start
		}
		last = c.Start
		n++
	}
	log := m.log.Info().Str("model", man.Name).Str("version", man.Version).Int("windows", n).Int("wanted", wanted)
	if n < wanted {
		if n > a.windows || a.looked.IsZero() {
			log.Msg("windows to calibrate the alarm on are awaited; until then no alarm is raised, and only monitoring.checks are judged")
		}
		a.windows, a.looked = n, open
		return nil, nil
	}
	out := &alarm.Buckets{Start: first.UTC(), Length: length}
	for i := range v.Reference.Columns {
		c := &v.Reference.Columns[i]
		out.Columns = append(out.Columns, alarm.Column{Name: c.Name, Numeric: len(c.Edges) > 0})
	}
	var starts []time.Time
	for at := first; !at.After(last); at = at.Add(length) {
		starts = append(starts, at)
	}
	p := &pass{Monitor: m, Version: v}
	windows := make([]window, len(starts))
	for i, s := range starts {
		windows[i].Start = s
	}
	for len(windows) > 0 {
		n := p.chunk(schemas.JobDrift, windows)
		counted, err := m.store.CountCells(ctx, man, v.Reference, startsOf(windows[:n]))
		if err != nil {
			return nil, err
		}
		for i := range counted {
			out.Buckets = append(out.Buckets, alarm.Bucket{Rows: int64(counted[i].Rows), Columns: counted[i].Columns})
		}
		windows = windows[n:]
	}
	return out, nil
}

// calibrate makes the row of a calibration.
func (m *Monitor) calibrate(v Version, key schemas.AlarmCalibration, b *alarm.Buckets) (schemas.AlarmCalibration, error) {
	o := v.calibration()
	o.Workers = 2
	c, err := alarm.Calibrate(*b, o)
	if err != nil {
		return key, err
	}
	card, err := alarm.NewCard(*b, c)
	if err != nil {
		return key, err
	}
	key.From, key.To = b.Start, b.Start.Add(time.Duration(len(b.Buckets))*b.Length)
	for _, x := range []struct {
		from any
		to   *string
	}{{b, &key.Buckets}, {c, &key.Calibration}, {card, &key.Card}} {
		text, err := json.Marshal(x.from)
		if err != nil {
			return key, err
		}
		*x.to = string(text)
	}
	log := m.log.Info()
	if len(c.Warnings) > 0 {
		log = m.log.Warn()
	}
	log.Str("model", key.Model).Str("version", key.Version).Int("windows", c.Windows).Float64("threshold", c.Threshold).Stringer("asked", c.Options.Every).
		Stringer("promised", c.Promised).Strs("warnings", c.Warnings).Msg("alarm calibrated; false alarms are as rare as promised, and no rarer")
	return key, nil
}

// startAlarm takes a calibration up, and goes on where the alarm was: from the windows that it
// decided and that are finished at the same revision. What was written of others was not finished.
func (m *Monitor) startAlarm(ctx context.Context, v Version, state *versionState, row *schemas.AlarmCalibration) error {
	a := alarmState{settings: row.Settings, from: row.To.UTC(), by: &alarm.Calibration{}, revisions: map[int64]uint32{}}
	var b alarm.Buckets
	if err := errors.Join(json.Unmarshal([]byte(row.Buckets), &b), json.Unmarshal([]byte(row.Calibration), a.by)); err != nil {
		return fmt.Errorf("read the calibration of alarms of %s/%s: %w", row.Model, row.Version, err)
	}
	var err error
	if a.scorer, err = alarm.NewScorer(&b, a.by); err != nil {
		return err
	}
	keep := m.cfg.LateWindows + alarmKeep
	if a.decider, err = alarm.NewDecider(a.by.Options.Rule, keep); err != nil {
		return err
	}
	next := state.jobs[schemas.JobDrift].next
	if next.IsZero() {
		state.alarm = a
		return nil
	}
	decided, err := m.decidedWindows(ctx, v, &a, next, keep)
	if err != nil {
		return err
	}
	a.decider.Oldest = next.Add(-v.Manifest.Monitoring.Window.Std()) // windows that were finished without an alarm are not decided
	if n := len(decided); n > 0 && decided[n-1].Settings != a.settings {
		// By another rule or threshold: what is open stays open, and none of these windows is decided again.
		a.decider.Before, a.decider.Oldest = stateOf(decided[n-1]), decided[n-1].WindowStart.UTC()
		decided = nil
	}
	for i, w := range decided {
		if i == 0 {
			a.decider.Oldest = w.WindowStart.UTC().Add(-time.Microsecond)
			if len(decided) > keep {
				a.decider.Before, a.decider.Oldest = stateOf(w), w.WindowStart.UTC()
				continue
			}
		}
		if _, _, err := a.decider.Put(alarm.Window{Start: w.WindowStart, NoData: w.NoData, Above: w.Above}); err != nil {
			return err
		}
	}
	state.alarm = a
	return nil
}

// decidedWindows returns more than keep of the last windows that an alarm decided, or all, and notes
// the revisions of finished ones.
func (m *Monitor) decidedWindows(ctx context.Context, v Version, a *alarmState, next time.Time, keep int) ([]schemas.AlarmWindow, error) {
	length := v.Manifest.Monitoring.Window.Std()
	for n := keep + 1; ; n *= 4 { // there may be long spans without rows
		from := a.from
		if int64(n) < int64(next.Sub(a.from)/length) {
			from = next.Add(-time.Duration(n) * length)
		}
		finished, err := m.store.FinishedWindows(ctx, v.Manifest, from)
		if err != nil {
			return nil, err
		}
		for _, w := range finished { // by revision
			if w.Job == string(schemas.JobDrift) && w.WindowEnd.Sub(w.WindowStart) == length {
				a.revisions[w.WindowStart.UnixMicro()] = w.Revision
			}
		}
		decided, err := m.store.AlarmWindows(ctx, v.Manifest, from)
		if err != nil {
			return nil, err
		}
		decided = slices.DeleteFunc(decided, func(w schemas.AlarmWindow) bool {
			revision, done := a.revisions[w.WindowStart.UnixMicro()]
			return !done || revision != w.Revision
		})
		if len(decided) > keep || !from.After(a.from) {
			return decided, nil
		}
	}
}

// stateOf is that of the alarm after a window.
func stateOf(w schemas.AlarmWindow) alarm.State {
	s := alarm.State{Phase: alarm.Phase(w.Phase), Open: w.OpenedAt != nil, Recent: w.Recent, Quiet: int(w.Quiet)}
	if w.OpenedAt != nil {
		at := w.OpenedAt.UTC()
		s.OpenedAt = &at
	}
	return s
}

// score scores a window by the alarm, if it decides it.
func (p *pass) scoreAlarm(w window, counts []profile.Counts) (*alarm.Scored, error) {
	if !p.deciding(w.Start) {
		return nil, nil //nolint:nilnil // no alarm decides it
	}
	s, err := p.state.alarm.scorer.Score(w.Start, alarm.Bucket{Rows: int64(w.Rows), Columns: counts})
	if err != nil {
		return nil, fmt.Errorf("score a window for the alarm: %w", err)
	}
	return &s, nil
}

// withoutRows adds the first window without any rows after the last finished one, so that the alarm
// knows of it; those behind it would say no more.
func (p *pass) withoutRows(windows []window, next, end time.Time) []window {
	at := next
	if a := &p.state.alarm; at.Before(a.from) {
		at = a.from // none is missed before the first that is decided
	}
	if !p.deciding(at) {
		return windows
	}
	var out []window
	silent := p.state.alarm.decider.State().Phase == alarm.PhaseNoData
	for _, w := range windows {
		if at.Before(w.Start) && !silent {
			out = append(out, window{WindowRows: profile.WindowRows{Start: at}})
		}
		out = append(out, w)
		if behind := w.Start.Add(p.length()); behind.After(at) {
			at, silent = behind, w.Rows < uint64(p.Manifest.Monitoring.MinRows)
		}
	}
	if at.Before(end) && !silent {
		out = append(out, window{WindowRows: profile.WindowRows{Start: at}})
	}
	return out
}

// decided is what judged windows did to an alarm. Nothing of it holds before its rows are written.
type decided struct {
	decider *alarm.Decider
	rows    []schemas.AlarmWindow
}

// decide lets the alarm decide the windows that it scored, in their order, and gives them their
// events.
func (p *pass) decide(judged []Judged) (decided, error) {
	a := &p.state.alarm
	if a.decider == nil {
		return decided{}, nil
	}
	copied := *a.decider
	copied.Windows = slices.Clone(copied.Windows)
	out := decided{decider: &copied}
	revisions := map[int64]uint32{}
	rows := map[int64]int{}
	for i := range judged {
		j := &judged[i]
		if j.Scored == nil {
			continue
		}
		before := copied.State()
		prior := stateBefore(&copied, j.WindowStart)
		now, was, err := copied.Put(j.Scored.Window())
		if errors.Is(err, alarm.ErrTooOld) {
			p.log.Info().Err(err).Str("model", j.Model).Str("version", j.Version).Time("window", j.WindowStart).Msg("the alarm stays as it was decided")
			continue
		} else if err != nil {
			return out, err
		}
		revisions[j.WindowStart.UnixMicro()] = j.Revision
		if now[0].After.Open {
			j.Verdict = string(schemas.VerdictBreached)
		}
		for _, change := range changes(prior, before, now, was) {
			e := p.alarmEvent(j, change)
			j.Alarms = append(j.Alarms, e)
		}
		for n, w := range now {
			key := w.Start.UnixMicro()
			revision, fresh := revisions[key]
			if !fresh {
				revision = a.revisions[key]
			}
			row := p.alarmRow(w, revision)
			if n == 0 {
				p.scoredRow(&row, j)
			} else if at, ok := rows[key]; ok {
				keepScores(&row, &out.rows[at])
			} else {
				row.Score = math.NaN() // to be read back
			}
			if at, ok := rows[key]; ok {
				out.rows[at] = row
			} else {
				rows[key] = len(out.rows)
				out.rows = append(out.rows, row)
			}
		}
	}
	return out, nil
}

func stateBefore(d *alarm.Decider, start time.Time) alarm.State {
	s := d.Before
	for _, w := range d.Windows {
		if !w.Start.Before(start) {
			break
		}
		s = w.After
	}
	return s
}

func (p *pass) alarmRow(w alarm.Decided, revision uint32) schemas.AlarmWindow {
	return schemas.AlarmWindow{
		Model: p.Manifest.Name, Version: p.Manifest.Version, WindowStart: w.Start, WindowEnd: w.Start.Add(p.length()), Revision: revision,
		NoData: w.NoData, Above: w.Above, Threshold: p.state.alarm.by.Threshold, Phase: string(w.After.Phase), OpenedAt: w.After.OpenedAt,
		Recent: w.After.Recent, Quiet: uint32(w.After.Quiet), Settings: p.state.alarm.settings, DecidedAt: p.now,
	}
}

func (p *pass) scoredRow(row *schemas.AlarmWindow, j *Judged) {
	row.Rows = j.Rows
	if j.Scored.NoData {
		return
	}
	check := p.state.alarm.by.Checks[j.Scored.Worst]
	row.Score, row.Column, row.Stattest = j.Scored.Score, check.Column, string(check.Stattest)
}

func keepScores(row, was *schemas.AlarmWindow) {
	row.Rows, row.Score, row.Column, row.Stattest = was.Rows, was.Score, was.Column, was.Stattest
}

// complete fills in the scores of windows that were decided again because an earlier one was
// judged again.
func (p *pass) complete(ctx context.Context, d *decided) error {
	missing := slices.ContainsFunc(d.rows, func(r schemas.AlarmWindow) bool { return math.IsNaN(r.Score) })
	if !missing {
		return nil
	}
	first := d.rows[0].WindowStart
	for _, r := range d.rows {
		if r.WindowStart.Before(first) {
			first = r.WindowStart
		}
	}
	kept, err := p.store.AlarmWindows(ctx, p.Manifest, first)
	if err != nil {
		return err
	}
	for i := range d.rows {
		r := &d.rows[i]
		if !math.IsNaN(r.Score) {
			continue
		}
		r.Score = 0
		for k := range kept {
			if kept[k].Revision == r.Revision && kept[k].WindowStart.Equal(r.WindowStart) {
				keepScores(r, &kept[k])
			}
		}
	}
	return nil
}

// took moves the state once the windows are written.
func (p *pass) took(d decided) {
	if d.decider == nil {
		return
	}
	a := &p.state.alarm
	a.decider = d.decider
	for _, r := range d.rows {
		a.revisions[r.WindowStart.UnixMicro()] = r.Revision
	}
	for at := range a.revisions {
		if at < d.decider.Oldest.UnixMicro() {
			delete(a.revisions, at)
		}
	}
}
