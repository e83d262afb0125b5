package drift

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// facts are what the retraining rule of a version is asked with beside a window's own results.
type facts struct {
	rule   *schemas.RetrainingRule
	first  time.Time                          // start of the version's first window that has rows
	asked  []askedWindow                      // those that have asked, of any kind
	labels map[int64]uint64                   // of finished windows, by end in microseconds
	drift  map[int64][]schemas.DriftResult    // of the windows that are judged for something else, by start
	known  map[int64][]schemas.AccuracyResult // their figures, by start
}

// askedWindow is a window that has asked for retraining.
type askedWindow struct {
	kind string
	end  int64 // in microseconds
}

func askedBy(w schemas.FinishedWindow) askedWindow {
	return askedWindow{w.WindowKind, w.WindowEnd.UnixMicro()}
}

// facts reads what the rule needs; nil where the manifest has none. What the store has of the
// judgements themselves does not count, as in recall.
func (p *pass) facts(ctx context.Context, job schemas.Job, judged []Judged, repeated func(schemas.FinishedWindow) bool) (*facts, error) {
	rule, err := p.Manifest.RetrainingRule()
	if rule == nil || err != nil {
		return nil, err
	}
	finished, err := p.store.FinishedWindows(ctx, p.Manifest, time.Time{})
	if err != nil {
		return nil, err
	}
	f := &facts{rule: rule, labels: map[int64]uint64{}, drift: map[int64][]schemas.DriftResult{}, known: map[int64][]schemas.AccuracyResult{}}
	for _, j := range judged {
		if f.first.IsZero() || j.WindowStart.Before(f.first) {
			f.first = j.WindowStart
		}
	}
	for _, w := range finished { // by revision: the last one counts
		if w.Job == string(schemas.JobReport) || repeated(w) {
			continue
		}
		f.finished(w)
	}
	if len(p.Manifest.Monitoring.Windows) > 0 && p.Manifest.Monitoring.Retraining.Budget > 0 {
		asked, err := p.store.Retrainings(ctx, p.Manifest)
		if err != nil {
			return nil, err
		}
		for _, w := range asked {
			if !repeated(w) {
				f.hasAsked(w)
			}
		}
	}
	if job == schemas.JobDrift {
		return f, nil
	}
	starts := make([]time.Time, len(judged))
	for i, j := range judged {
		starts[i] = j.WindowStart
	}
	slices.SortFunc(starts, time.Time.Compare)
	found, err := p.store.Results(ctx, p.Manifest, starts[0], starts[len(starts)-1])
	if err != nil {
		return nil, err
	}
	for _, d := range found.Drift {
		at := d.WindowStart.UnixMicro()
		f.drift[at] = append(f.drift[at], d)
	}
	for _, a := range found.Accuracy {
		at := a.WindowStart.UnixMicro()
		f.known[at] = append(f.known[at], a)
	}
	return f, nil
}

// finished adds what is known of a finished window.
func (f *facts) finished(w schemas.FinishedWindow) {
	if f.first.IsZero() || w.WindowStart.Before(f.first) {
		f.first = w.WindowStart
	}
	if w.Job == string(schemas.JobAccuracy) {
		f.labels[w.WindowEnd.UnixMicro()] = w.Labels
	}
	if w.Retraining {
		f.hasAsked(w)
	}
}

func (f *facts) hasAsked(w schemas.FinishedWindow) {
	if asked := askedBy(w); !slices.Contains(f.asked, asked) {
		f.asked = append(f.asked, asked)
	}
}

// monthly counts the windows that have asked in the calendar month in which a window ends, but itself.
func (f *facts) monthly(w schemas.FinishedWindow) int {
	year, month, _ := w.WindowEnd.UTC().Date()
	n := 0
	for _, asked := range f.asked {
		if y, m, _ := time.UnixMicro(asked.end).UTC().Date(); y == year && m == month && asked != askedBy(w) {
			n++
		}
	}
	return n
}

// values are those of the rule's variables for a window. last is the end of the window that asked last.
func (f *facts) values(m *schemas.Manifest, j *Judged, breaches []schemas.Breach, last *schemas.FinishedWindow) map[string]any {
	out := m.RetrainingVariables()
	out[schemas.VarRows], out[schemas.VarBreaches] = float64(j.Rows), float64(len(breaches))
	critical := 0
	for _, b := range breaches {
		if b.Severity == schemas.SeverityCritical {
			critical++
		}
		if b.Retrain {
			out[schemas.VarRetrain] = true
		}
	}
	out[schemas.VarCritical] = float64(critical)
	out[schemas.VarAgeDays] = days(j.WindowEnd.Sub(f.first))
	since := time.Time{}
	if last != nil {
		since = last.WindowEnd
		out[schemas.VarDaysSince] = days(j.WindowEnd.Sub(since))
	}
	if m.Target != nil {
		labels := 0.0
		for end, n := range f.labels {
			// Of windows that slide, those that lie one before the other.
			at := time.UnixMicro(end)
			if apart := j.WindowEnd.Sub(at); at.After(since) && apart >= 0 && apart%m.Monitoring.Window.Std() == 0 {
				labels += float64(n)
			}
		}
		out[schemas.VarNewLabels] = labels
		if j.Job == string(schemas.JobAccuracy) {
			out[schemas.VarLabels] = float64(j.Labels)
		}
	}
	drift := j.Drift
	if len(drift) == 0 {
		drift = f.drift[j.WindowStart.UnixMicro()]
	}
	set := func(test, column string, value float64, breached bool) {
		name, flag := schemas.CheckVariable(schemas.Stattest(test), column), schemas.BreachedVariable(schemas.Stattest(test), column)
		if _, known := out[name]; known {
			out[name] = value
		}
		if _, known := out[flag]; known {
			out[flag] = breached
		}
	}
	for _, d := range drift {
		value := d.Score
		if d.Effect != nil {
			value = *d.Effect // what the threshold is held to
		}
		set(d.Stattest, d.Column, value, d.Drifted)
	}
	for _, a := range append(slices.Clone(f.known[j.WindowStart.UnixMicro()]), j.Accuracy...) {
		value := math.NaN()
		if a.Value != nil {
			value = *a.Value
		}
		set(a.Metric, "", value, a.Breached)
	}
	return out
}

func days(d time.Duration) float64 { return d.Hours() / 24 }

// asking is whether a window asks for retraining, but for the cool-down.
type asking struct {
	asks     bool
	evidence map[string]any
}

// asks tells whether a window asks for retraining: by its breaches, or as the rule says.
func (p *pass) asks(f *facts, j *Judged, breaches []schemas.Breach, last *schemas.FinishedWindow) (asking, error) {
	if f == nil {
		asks := slices.ContainsFunc(breaches, func(b schemas.Breach) bool { return b.Retrain })
		return asking{asks: asks}, nil
	}
	if j.Job == string(schemas.JobAccuracy) {
		f.labels[j.WindowEnd.UnixMicro()] = j.Labels
	}
	values := f.values(p.Manifest, j, breaches, last)
	asks, err := f.rule.Decide(values)
	if !asks || err != nil {
		return asking{}, err
	}
	if budget := p.Manifest.Monitoring.Retraining.Budget; budget > 0 && f.monthly(j.FinishedWindow) >= budget {
		return asking{}, nil
	}
	return asking{true, f.rule.Evidence(values)}, nil
}

// retraining is what an event of a window asks for, but its id.
func (p *pass) retraining(w *schemas.FinishedWindow, evidence map[string]any) *schemas.Retraining {
	span := p.cfg.TrainingSpan
	policy := p.Manifest.Monitoring.Retraining
	if policy.Span > 0 {
		span = policy.Span.Std()
	}
	r := &schemas.Retraining{TrainFrom: w.WindowEnd.Add(-span).UTC(), TrainTo: w.WindowEnd.UTC(), When: policy.When, Evidence: evidence}
	switch {
	case p.Manifest.Reference != nil:
		r.Compared = p.Manifest.Reference.SHA256
	case !p.state.learning.to.IsZero():
		r.Compared = "learned to " + p.state.learning.to.UTC().Format(time.RFC3339)
	}
	return r
}

// trainingSpan is that of the rows that a retraining starts from.
func trainingSpan(r *schemas.Retraining) profile.Span {
	return profile.Span{Start: r.TrainFrom, End: r.TrainTo}
}
