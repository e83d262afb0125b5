package drift

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/reason"
	"github.com/millrace/millrace/schemas"
)

const (
	reasonTime    = 30 * time.Second // that an event waits for its reason at most
	reasonRows    = 5_000_000        // that are counted for it, where they are not profiled
	reasonScan    = 100_000_000      // in windows before, whose time alone is read to count them
	reasonWindows = 12               // before the window, in which the beginning of a change is looked for
	reasonPast    = 90               // windows before it, whose quality is compared
	noReasonBytes = 300
)

// explain gives an event of kind drift or retraining its reason. The event goes without one where
// that cannot be found in time, and says so: its id and its breaches are not changed.
func (p *pass) explain(ctx context.Context, j *Judged) {
	if j.Event == nil || j.Event.Data.Kind != schemas.EventDrift && j.Event.Data.Kind != schemas.EventRetraining {
		return
	}
	p.giveReason(ctx, j, &j.Event.Data)
}

// explainAlarms does so with the events of alarms that begin to fire.
func (p *pass) explainAlarms(ctx context.Context, judged []Judged) {
	for i := range judged {
		for k := range judged[i].Alarms {
			e := &judged[i].Alarms[k].Data
			if e.Alarm.State == schemas.AlarmFiring && e.WindowStart.Equal(judged[i].WindowStart) {
				p.giveReason(ctx, &judged[i], e)
			}
		}
	}
}

func (p *pass) giveReason(ctx context.Context, j *Judged, e *schemas.EventData) {
	r, err := p.reason(ctx, j)
	if err != nil {
		p.log.Warn().Err(err).Str("model", j.Model).Str("version", j.Version).Time("window", j.WindowStart).Msg("an event goes without its reason")
		text := err.Error()
		e.NoReason = text[:min(len(text), noReasonBytes)]
		return
	}
	e.Reason = r
}

// reason says why a window breached.
func (p *pass) reason(ctx context.Context, j *Judged) (*schemas.Reason, error) {
	ctx, cancel := context.WithTimeout(ctx, reasonTime)
	defer cancel()
	return Explain(ctx, p.store, p.Version, j.WindowStart, j.Drift, j.Accuracy)
}

// Explain says why a window of a version breached its checks: see package reason. It counts the buckets of the
// window and of those before it, and reads what was found there. scores and figures are the window's own, where
// the store does not have them yet. It asks the store three things, and changes nothing.
func Explain(ctx context.Context, store Reasons, v Version, start time.Time, scores []schemas.DriftResult, figures []schemas.AccuracyResult) (*schemas.Reason, error) {
	if v.Reference == nil || len(v.Reference.Columns) == 0 {
		return nil, errors.New("no reason without a reference to compare with")
	}
	m, length := v.Manifest, v.Manifest.Monitoring.Window.Std()
	span := profile.Span{Start: start, End: start.Add(length)}
	found, err := store.Results(ctx, m, start.Add(-reasonPast*length), start)
	if err != nil {
		return nil, fmt.Errorf("read what was found before the breach: %w", err)
	}
	looked := profile.Span{Start: start.Add(-time.Duration(lookedWindows(v, start, found.Windows)) * length), End: span.End}
	buckets, err := store.CountBuckets(ctx, m, v.Reference, looked, reasonRows)
	if err != nil {
		return nil, fmt.Errorf("count the buckets before the breach: %w", err)
	}
	in := reason.Input{
		Start: span.Start, End: span.End, Checks: scores,
		History: reason.History{Length: profile.Bucket(v.Manifest.Monitoring.Unit())}, Columns: columnsOf(v, buckets, start),
	}
	for _, b := range buckets {
		in.History.Starts = append(in.History.Starts, b.Start)
		if !b.Start.Before(start) {
			in.Rows += b.Rows
		}
	}
	if len(in.Checks) == 0 { // an event of job accuracy
		for i := range found.Drift {
			if found.Drift[i].WindowStart.Equal(start) {
				in.Checks = append(in.Checks, found.Drift[i])
			}
		}
	}
	in.Quality, in.Past = pastOf(m, start, found, figures)
	if in.Segments, err = segmentsOf(ctx, store, v, looked, span); err != nil {
		return nil, err
	}
	r, rows := reason.Of(in)
	r.SQL = store.SelectedSQL(m, span, rows)
	if text, err := json.Marshal(r); err != nil {
		return nil, fmt.Errorf("encode the reason: %w", err)
	} else if len(text) > schemas.MaxReasonBytes {
		r.SQL = store.SelectedSQL(m, span, schemas.RowSelection{})
	}
	return &r, nil
}

// segmentsOf counts the rows by the values of segments, in the window and before it. Values that do not
// occur in both are left out.
func segmentsOf(ctx context.Context, store Reasons, v Version, looked, window profile.Span) ([]reason.Segment, error) {
	var out []reason.Segment
	if !looked.Start.Before(window.Start) {
		return nil, nil
	}
	for _, name := range v.Manifest.Monitoring.Segments {
		before, err := store.CountSegments(ctx, v.Manifest, v.Reference, name, profile.Span{Start: looked.Start, End: window.Start})
		if err != nil {
			return nil, fmt.Errorf("count segments before the breach: %w", err)
		}
		now, err := store.CountSegments(ctx, v.Manifest, v.Reference, name, window)
		if err != nil {
			return nil, fmt.Errorf("count the segments of the breach: %w", err)
		}
		for _, b := range before {
			for _, n := range now {
				if b.Value == n.Value {
					out = append(out, reason.Segment{Segment: name, Value: n.Value, Before: b.Columns, Window: n.Columns, Rows: n.Rows})
				}
			}
		}
	}
	return out, nil
}

// lookedWindows is how many windows before a breach are looked at: as many as one query may answer
// the cells of, and as have at most reasonScan rows.
func lookedWindows(v Version, start time.Time, finished []schemas.FinishedWindow) int {
	cells := 0
	for i := range v.Reference.Columns {
		cells += len(v.Reference.Columns[i].Counts) + 2
	}
	length := v.Manifest.Monitoring.Window.Std()
	perWindow := max(1, cells*int(length/profile.Bucket(v.Manifest.Monitoring.Unit())))
	windows := max(0, min(reasonWindows, chunkCells/perWindow-1))
	if length > chunkSpan/reasonWindows {
		windows = min(windows, 1)
	}
	rows, most := map[int64]uint64{}, uint64(0)
	for _, w := range finished {
		rows[w.WindowStart.UnixMicro()] = w.Rows
		most = max(most, w.Rows)
	}
	sum := uint64(0)
	for i := range windows {
		n, known := rows[start.Add(-time.Duration(i+1)*length).UnixMicro()]
		if !known {
			n = most
		}
		if sum += n; sum > reasonScan {
			return i
		}
	}
	return windows
}

// columnsOf are the columns of the reference, with the counts of buckets. The window starts at start,
// and the buckets end with it.
func columnsOf(v Version, buckets []profile.WindowCounts, start time.Time) []reason.Column {
	out := make([]reason.Column, len(v.Reference.Columns))
	for i := range v.Reference.Columns {
		ref := &v.Reference.Columns[i]
		_, output := v.Manifest.Output(ref.Name)
		c := reason.Column{Name: ref.Name, Output: output, Edges: ref.Edges, Categories: ref.Categories, Reference: profile.ReferenceCounts(ref)}
		c.Window.Cells = make([]int64, len(ref.Counts))
		for _, b := range buckets {
			c.Buckets = append(c.Buckets, b.Columns[i])
			if !b.Start.Before(start) {
				c.Window.Plus(b.Columns[i])
			}
		}
		out[i] = c
	}
	return out
}

// followed is the figure by which the quality of a version is followed: that of its first check of
// one, else the first of its target.
func followed(m *schemas.Manifest) schemas.Stattest {
	for _, c := range m.Monitoring.Checks {
		if c.Stattest.Quality() {
			return c.Stattest
		}
	}
	if m.Target != nil {
		return m.Target.Figures()[0].Name
	}
	return ""
}

// pastOf arranges what was found in windows up to start by window.
func pastOf(m *schemas.Manifest, start time.Time, found schemas.Results, figures []schemas.AccuracyResult) (reason.Quality, []reason.Past) {
	metric := followed(m)
	quality := reason.Quality{Metric: metric}
	var past []reason.Past
	at := map[int64]int{}
	of := func(w time.Time) *reason.Past {
		i, ok := at[w.UnixMicro()]
		if !ok {
			i = len(past)
			at[w.UnixMicro()] = i
			past = append(past, reason.Past{Start: w.UTC(), Scores: map[string]float64{}})
		}
		return &past[i]
	}
	for i := range found.Drift { // by window
		if d := &found.Drift[i]; d.Stattest == string(schemas.StattestPSI) && d.WindowStart.Before(start) {
			of(d.WindowStart).Scores[d.Column] = d.Score
		}
	}
	for _, of := range [][]schemas.AccuracyResult{found.Accuracy, figures} { // what was judged just now comes last
		for i := range of {
			if !of[i].WindowStart.Equal(start) {
				continue
			}
			switch of[i].Metric {
			case string(metric):
				quality.Realised = of[i].Value
			case string(metric.Estimated()):
				quality.Estimated = of[i].Value
			}
		}
	}
	for i := range found.Accuracy {
		a := &found.Accuracy[i]
		if !a.WindowStart.Before(start) {
			continue
		}
		switch a.Metric {
		case string(metric):
			of(a.WindowStart).Realised = a.Value
		case string(metric.Estimated()):
			of(a.WindowStart).Estimated = a.Value
		}
	}
	return quality, past
}
