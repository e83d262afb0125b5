package drift

import (
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
