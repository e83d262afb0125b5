package drift

import (
	"context"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// RequirementVerdict says what a window tells of a requirement.
type RequirementVerdict string

// The verdicts. A breach is told only where the whole interval is beyond what is required: a
// value beyond it whose interval reaches back is open.
const (
	RequirementMet      RequirementVerdict = "met"
	RequirementOpen     RequirementVerdict = "open"
	RequirementBreached RequirementVerdict = "breached"
	RequirementTooFew   RequirementVerdict = "too_few" // nothing was measured, or too little for an interval
)

// Requirements of a manifest that windows measure, by their keys there. Throughput is what a
// lane can do, which traffic does not show, and memory is the worker's: no row tells them.
const (
	RequirementLatency  = "latency_ms"
	RequirementAccuracy = "accuracy"
)

// RequirementResult is one requirement in one window.
type RequirementResult struct {
	Requirement string
	Required    float64
	Value       *float64 // in the unit of Required; nil: nothing was measured
	Low, High   *float64 // the interval of 95 %
	Verdict     RequirementVerdict
}

// JudgeRequirements compares what a window measured with what its manifest requires, in the order
// of the manifest's keys, and leaves out what it does not require. latency is that of the
// window's requests; accuracy is the figure of that name, nil where labels have not come.
func JudgeRequirements(r schemas.Requirements, latency profile.Latency, accuracy *schemas.AccuracyResult) []RequirementResult {
	var out []RequirementResult
	if r.LatencyMS > 0 {
		x := RequirementResult{Requirement: RequirementLatency, Required: r.LatencyMS}
		if latency.Requests > 0 {
			x.Value = milliseconds(latency.P99)
		}
		if latency.Known {
			x.Low, x.High = milliseconds(latency.Low), milliseconds(latency.High)
		}
		out = append(out, x.judged(func(v float64) bool { return v <= r.LatencyMS }))
	}
	if r.Accuracy > 0 {
		x := RequirementResult{Requirement: RequirementAccuracy, Required: r.Accuracy}
		if accuracy != nil {
			x.Value, x.Low, x.High = accuracy.Value, accuracy.Low, accuracy.High
		}
		out = append(out, x.judged(func(v float64) bool { return v >= r.Accuracy }))
	}
	return out
}

func milliseconds(us float64) *float64 {
	v := us / 1000
	return &v
}

// judged returns the result with its verdict.
func (x RequirementResult) judged(met func(float64) bool) RequirementResult {
	switch {
	case x.Value == nil || x.Low == nil || x.High == nil:
		x.Verdict = RequirementTooFew
	case met(*x.Value):
		x.Verdict = RequirementMet
	case met(*x.Low) || met(*x.High):
		x.Verdict = RequirementOpen
	default:
		x.Verdict = RequirementBreached
	}
	return x
}

// judgeRequirements holds the latency of windows that have closed to what is required.
func (p *pass) judgeRequirements(ctx context.Context, windows []window) ([]Judged, error) {
	latencies, err := p.store.Latencies(ctx, p.Manifest, startsOf(windows))
	if err != nil {
		return nil, err
	}
	judged := make([]Judged, len(windows))
	for i, w := range windows {
		j := &judged[i]
		j.FinishedWindow = p.finishedWindow(schemas.JobRequirement, w)
		if w.Rows < uint64(p.Manifest.Monitoring.MinRows) {
			j.Verdict = string(schemas.VerdictTooFew)
			continue
		}
		required := schemas.Requirements{LatencyMS: p.Manifest.Requires.LatencyMS}
		j.Requirements = p.requirementRows(w, latencies[i].Requests, JudgeRequirements(required, latencies[i], nil))
		if len(j.Requirements) > 0 && j.Requirements[0].Verdict == string(RequirementTooFew) {
			j.Verdict = string(schemas.VerdictNotJudged)
		}
	}
	return judged, nil
}

// requiredAccuracy holds the accuracy of a window to what is required, by its figures; nothing
// where nothing is, or the target has none.
func (p *pass) requiredAccuracy(w window, figures []schemas.AccuracyResult) []schemas.RequirementResult {
	for i := range figures {
		if figures[i].Metric == string(schemas.StattestAccuracy) {
			required := schemas.Requirements{Accuracy: p.Manifest.Requires.Accuracy}
			return p.requirementRows(w, figures[i].Labels, JudgeRequirements(required, profile.Latency{}, &figures[i]))
		}
	}
	return nil
}

func (p *pass) requirementRows(w window, rows uint64, results []RequirementResult) []schemas.RequirementResult {
	out := make([]schemas.RequirementResult, len(results))
	for i, x := range results {
		out[i] = schemas.RequirementResult{
			Model: p.Manifest.Name, Version: p.Manifest.Version, WindowStart: w.Start, WindowEnd: w.Start.Add(p.length()), Revision: w.revision,
			Requirement: x.Requirement, Required: x.Required, Value: x.Value, Low: x.Low, High: x.High, Verdict: string(x.Verdict), Rows: rows, ComputedAt: p.now, WindowKind: p.Manifest.WindowKind(),
		}
	}
	return out
}

// requirementEvent lists the requirements that a window does not meet; nil where it meets all, or
// leaves it open.
func (p *pass) requirementEvent(job schemas.Job, j *Judged) *schemas.Event {
	data := schemas.EventData{
		Kind: schemas.EventRequirement, Job: job, Severity: schemas.SeverityWarning, Model: j.Model, Version: j.Version,
		WindowStart: j.WindowStart, WindowEnd: j.WindowEnd, WindowKind: j.WindowKind, Revision: j.Revision, Rows: j.Rows, Labels: j.Labels,
	}
	for _, r := range j.Requirements {
		if r.Verdict == string(RequirementBreached) {
			data.Breaches = append(data.Breaches, schemas.Breach{
				Stattest: schemas.Stattest(r.Requirement), Value: *r.Value, Threshold: r.Required, Severity: data.Severity,
			})
		}
	}
	if len(data.Breaches) == 0 {
		return nil
	}
	if p.cfg.ReportLink != nil {
		data.Report = p.cfg.ReportLink(j.Model, j.Version, j.WindowKind, j.WindowStart)
	}
	e := schemas.NewEvent(data, p.now)
	return &e
}
