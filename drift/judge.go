package drift

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/stattest"
	"github.com/millrace/millrace/schemas"
)

// Version is a model version with what it is compared with. Reference is nil where the
// manifest names none; then drift is judged once a reference has been learned, where the
// manifest says so (monitoring.reference). Neither is changed.
type Version struct {
	Manifest  *schemas.Manifest
	Reference *schemas.Reference
}

// jobs are those that the version's windows need.
func (v Version) jobs() []schemas.Job {
	var jobs []schemas.Job
	if v.Learns() || v.Reference != nil && len(v.Reference.Columns) > 0 {
		jobs = append(jobs, schemas.JobDrift)
	}
	if v.estimates() {
		jobs = append(jobs, schemas.JobEstimate)
	}
	if v.Manifest.Requires.LatencyMS > 0 {
		jobs = append(jobs, schemas.JobRequirement)
	}
	if v.Manifest.Target != nil {
		jobs = append(jobs, schemas.JobAccuracy)
	}
	return jobs
}

// checkOf returns the check of a figure, or nil.
func checkOf(m *schemas.Manifest, test schemas.Stattest, column string) *schemas.Check {
	for i := range m.Monitoring.Checks {
		if c := &m.Monitoring.Checks[i]; c.Stattest == test && c.Column == column {
			return c
		}
	}
	return nil
}

// tests are the scores of a column: psi and the test of its kind, and what else is checked.
func tests(m *schemas.Manifest, c *schemas.ReferenceColumn) []schemas.Stattest {
	out := []schemas.Stattest{schemas.StattestPSI}
	if len(c.Edges) > 0 {
		out = append(out, schemas.StattestKS)
	}
	if len(c.Edges) == 0 || checkOf(m, schemas.StattestChiSquare, c.Name) != nil {
		out = append(out, schemas.StattestChiSquare)
	}
	return out
}

// base is what all results of a window have in common.
func (p *pass) base(w window) schemas.DriftResult {
	return schemas.DriftResult{
		Model: p.Manifest.Name, Version: p.Manifest.Version, WindowStart: w.Start, WindowEnd: w.Start.Add(p.length()),
		Revision: w.revision, Rows: w.Rows, ComputedAt: p.now, WindowKind: p.Manifest.WindowKind(),
	}
}

// driftResults judges one window.
func (p *pass) driftResults(w window, counts []profile.Counts, faults *profile.Faults) ([]schemas.DriftResult, error) {
	rows, err := JudgeWindow(p.Version, p.base(w), counts, faults)
	if err != nil {
		err = fmt.Errorf("window %s: %w", w.Start.Format(time.RFC3339), err)
	}
	return rows, err
}

// JudgeDrift is JudgeWindow where the faults of rows were not counted: what they tell is not judged.
func JudgeDrift(v Version, base schemas.DriftResult, counts []profile.Counts) ([]schemas.DriftResult, error) {
	return JudgeWindow(v, base, counts, nil)
}

// JudgeWindow scores every column of the reference in one window, judges the scores that are
// checked (judgeChecks) and the quality of data (dataQuality), and returns a row for each score and
// check, and one for drift_share where it is checked. base is what all rows have in common; counts are the window's, by column of the
// reference. Threshold is nil where no check judges the score. A score that cannot be computed
// is left out and named in the error; the rows are valid all the same. The same counts give
// the same rows.
func JudgeWindow(v Version, base schemas.DriftResult, counts []profile.Counts, faults *profile.Faults) ([]schemas.DriftResult, error) {
	m := v.Manifest
	var rows []schemas.DriftResult
	var errs []error
	var checks []weighed
	for i := range v.Reference.Columns {
		c := &v.Reference.Columns[i]
		for _, test := range tests(m, c) {
			s, err := ColumnScore(test, profile.ReferenceCounts(c), counts[i], len(c.Edges) > 0)
			if err != nil {
				errs = append(errs, fmt.Errorf("column %q: %w", c.Name, err))
				continue
			}
			row := base
			row.Column, row.Stattest, row.Score, row.PValue = c.Name, string(test), s.Value, s.PValue
			row.Missing = uint64(counts[i].Missing)
			if check := checkOf(m, test, c.Name); check != nil {
				null, err := columnNull(test, profile.ReferenceCounts(c), counts[i], len(c.Edges) > 0, stattest.NullOptions{
					Seed: uint64(i), Enough: m.Monitoring.Rate / float64(10*len(m.Monitoring.Checks)),
				})
				if err != nil {
					errs = append(errs, fmt.Errorf("column %q: %w", c.Name, err))
					continue
				}
				weighed := weigh(&row, check, null)
				weighed.row = len(rows)
				checks = append(checks, weighed)
			}
			rows = append(rows, row)
		}
	}
	columns := len(rows)
	found, quality := v.dataQuality(base, counts, faults)
	for i := range quality {
		quality[i].row += columns
	}
	rows = append(rows, found...)
	if err := judgeChecks(rows, append(checks, quality...), m.Monitoring.Rate); err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	if check := checkOf(m, schemas.StattestShare, ""); check != nil && len(checks) > 0 {
		row := base
		judgeShare(&row, check, columnVerdicts(rows[:columns]))
		rows = append(rows, row)
	}
	return rows, errors.Join(errs...)
}

// columnVerdicts are those of the checked columns: drifted where any of its checks did, ok
// where any could be judged.
func columnVerdicts(rows []schemas.DriftResult) map[string]schemas.DriftVerdict {
	out := map[string]schemas.DriftVerdict{}
	for i := range rows {
		r := &rows[i]
		switch v := schemas.DriftVerdict(r.Verdict); {
		case r.Threshold == nil, out[r.Column] == schemas.ScoreDrifted:
		case v == schemas.ScoreDrifted, out[r.Column] != schemas.ScoreOK:
			out[r.Column] = v
		}
	}
	return out
}

// windowVerdict is what the checks of a window found together where none was breached: ok where
// any of them could be judged, or there is none.
func windowVerdict(rows []schemas.DriftResult) schemas.Verdict {
	open := false
	for i := range rows {
		switch schemas.DriftVerdict(rows[i].Verdict) {
		case schemas.ScoreNotJudged:
			open = true
		case schemas.ScoreOK, schemas.ScoreDrifted:
			return schemas.VerdictOK
		}
	}
	if open {
		return schemas.VerdictNotJudged
	}
	return schemas.VerdictOK
}

// applyCheck copies what a check says into its result.
func applyCheck(r *schemas.DriftResult, c *schemas.Check) {
	threshold := c.Threshold
	r.Threshold, r.Severity, r.Retrain = &threshold, string(c.Severity), c.Retrain
}

// accuracyResults returns a row per quality figure of one window. An undefined figure, such
// as the precision of no positive prediction, has no value and breaches nothing.
func (p *pass) accuracyResults(w window, q profile.Quality) []schemas.AccuracyResult {
	m := p.Manifest
	var rows []schemas.AccuracyResult
	for _, figure := range m.Target.Figures() {
		row := p.accuracyRow(w, figure.Name)
		row.Labels = uint64(q.Labels())
		value, defined := qualityFigure(m.Target, q, figure.Name)
		if defined {
			row.Value = &value
			if i, err := figureInterval(m.Target, q, figure.Name, confidence); err != nil {
				row.NoInterval = err.Error()
			} else {
				row.Low, row.High = &i.Low, &i.High
			}
		}
		p.judgeFigure(&row)
		rows = append(rows, row)
	}
	return rows
}

// accuracyRow is the result of a figure in a window, still without a value.
func (p *pass) accuracyRow(w window, name schemas.Stattest) schemas.AccuracyResult {
	return schemas.AccuracyResult{
		Model: p.Manifest.Name, Version: p.Manifest.Version, WindowStart: w.Start, WindowEnd: w.Start.Add(p.length()),
		Revision: w.revision, Metric: string(name), Rows: w.Rows, ComputedAt: p.now, WindowKind: p.Manifest.WindowKind(),
	}
}

// judgeFigure compares the value of a figure with the threshold of its check, where it has both.
func (p *pass) judgeFigure(row *schemas.AccuracyResult) {
	name := schemas.Stattest(row.Metric)
	check := checkOf(p.Manifest, name, "")
	if check == nil {
		return
	}
	figure, known := schemas.FigureOf(name)
	threshold := check.Threshold
	row.Threshold, row.Severity, row.Retrain = &threshold, string(check.Severity), check.Retrain
	row.Breached = known && row.Value != nil && figure.Breached(*row.Value, threshold)
}

func driftBreaches(rows []schemas.DriftResult) []schemas.Breach {
	var out []schemas.Breach
	for _, r := range rows {
		if r.Drifted {
			out = append(out, schemas.Breach{
				Stattest: schemas.Stattest(r.Stattest), Column: r.Column, Value: r.Score, Threshold: *r.Threshold,
				Severity: schemas.Severity(r.Severity), Retrain: r.Retrain,
			})
		}
	}
	return out
}

func accuracyBreaches(rows []schemas.AccuracyResult) []schemas.Breach {
	var out []schemas.Breach
	for _, r := range rows {
		if r.Breached {
			out = append(out, schemas.Breach{
				Stattest: schemas.Stattest(r.Metric), Value: *r.Value, Threshold: *r.Threshold,
				Severity: schemas.Severity(r.Severity), Retrain: r.Retrain,
			})
		}
	}
	return out
}

// event is what a job's breaches in one window come to: one event that lists them all, or nil
// without any, unless the window asks. It asks for retraining where the window does, neither job has asked for
// this window before, and the cool-down of last, the latest window that has asked, is over at the window's
// end. So a window whose late rows or labels make a revision does not ask for what a later
// window has asked for.
func (p *pass) event(job schemas.Job, w *schemas.FinishedWindow, breaches []schemas.Breach, asks asking, last *schemas.FinishedWindow) *schemas.Event {
	if len(breaches) == 0 && !asks.asks {
		return nil
	}
	slices.SortStableFunc(breaches, func(a, b schemas.Breach) int { return cmp.Compare(excess(b), excess(a)) })
	data := schemas.EventData{
		Kind: schemas.EventDrift, Job: job, Model: w.Model, Version: w.Version, WindowStart: w.WindowStart, WindowEnd: w.WindowEnd, WindowKind: w.WindowKind,
		Revision: w.Revision, Rows: w.Rows, Labels: w.Labels, Breaches: breaches,
	}
	if job != schemas.JobDrift {
		data.Kind = schemas.EventAccuracy // known, or estimated
	}
	for _, b := range breaches {
		if data.Severity == "" || b.Severity.AtLeast(data.Severity) {
			data.Severity = b.Severity
		}
	}
	if len(breaches) == 0 {
		data.Severity = schemas.SeverityInfo
	}
	if asks.asks {
		cooldown := p.Manifest.Monitoring.Retraining.Cooldown.Std()
		cool := last == nil || cooldown == 0 || !last.WindowEnd.After(w.WindowEnd.Add(-cooldown))
		if cool && !p.state.raised[w.WindowStart.UnixMicro()] {
			data.Kind = schemas.EventRetraining
			data.Retraining = p.retraining(w, asks.evidence)
			data.TrainingSQL = p.store.TrainingSQL(p.Manifest, trainingSpan(data.Retraining))
		} else if len(breaches) == 0 {
			return nil
		}
		if last != nil {
			data.LastRetraining = &schemas.RetrainingRequest{
				EventID: retrainingID(last), WindowStart: last.WindowStart.UTC(), WindowEnd: last.WindowEnd.UTC(), AskedAt: last.DoneAt.UTC(),
			}
		}
	}
	if p.cfg.ReportLink != nil {
		data.Report = p.cfg.ReportLink(w.Model, w.Version, w.WindowKind, w.WindowStart)
	}
	if data.Retraining != nil {
		data.Retraining.ID = schemas.EventID(data)
	}
	e := schemas.NewEvent(data, p.now)
	return &e
}

// retrainingID is the id of the event by which a window asked for retraining.
func retrainingID(w *schemas.FinishedWindow) string {
	return schemas.EventID(schemas.EventData{
		Model: w.Model, Version: w.Version, WindowStart: w.WindowStart, WindowEnd: w.WindowEnd, WindowKind: w.WindowKind, Kind: schemas.EventRetraining, Revision: w.Revision,
	})
}

// excess orders breaches: by how many times the threshold was exceeded, or missed; first those of
// a threshold that has no multiples.
func excess(b schemas.Breach) float64 {
	over, under := b.Value, b.Threshold
	figure, quality := schemas.FigureOf(b.Stattest)
	switch {
	case b.Stattest == schemas.StattestRowCount:
		over, under = under, over
	case !quality, figure.Direction == schemas.BreachesAbove:
	case figure.Direction == schemas.BreachesBeyond:
		over = math.Abs(over)
	default:
		over, under = under, over
	}
	if under <= 0 {
		return (over - under) * 1e9
	}
	return over / under
}
