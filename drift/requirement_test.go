package drift_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/quality"
	"github.com/millrace/millrace/schemas"
)

func TestRequirements(t *testing.T) {
	r := schemas.Requirements{LatencyMS: 20, Accuracy: 0.8, ThroughputPS: 1000, MemoryMB: 500}
	figure := func(value, low, high float64) *schemas.AccuracyResult {
		return &schemas.AccuracyResult{Value: &value, Low: &low, High: &high}
	}
	for name, tc := range map[string]struct {
		latency  profile.Latency
		accuracy *schemas.AccuracyResult
		want     []drift.RequirementVerdict
	}{
		"met": {
			profile.Latency{Requests: 900, P99: 15_000, Low: 12_000, High: 25_000, Known: true},
			figure(0.8, 0.7, 0.9),
			[]drift.RequirementVerdict{drift.RequirementMet, drift.RequirementMet},
		},
		"open": {
			profile.Latency{Requests: 900, P99: 21_000, Low: 19_000, High: 25_000, Known: true},
			figure(0.79, 0.7, 0.85),
			[]drift.RequirementVerdict{drift.RequirementOpen, drift.RequirementOpen},
		},
		"breached": {
			profile.Latency{Requests: 900, P99: 22_000, Low: 20_001, High: 25_000, Known: true},
			figure(0.7, 0.65, 0.79),
			[]drift.RequirementVerdict{drift.RequirementBreached, drift.RequirementBreached},
		},
		"too few": {
			profile.Latency{Requests: 10, P99: 90_000},
			&schemas.AccuracyResult{},
			[]drift.RequirementVerdict{drift.RequirementTooFew, drift.RequirementTooFew},
		},
		"nothing": {want: []drift.RequirementVerdict{drift.RequirementTooFew, drift.RequirementTooFew}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []drift.RequirementVerdict
			for _, x := range drift.JudgeRequirements(r, tc.latency, tc.accuracy) {
				got = append(got, x.Verdict)
			}
			require.Equal(t, tc.want, got)
		})
	}
	require.Empty(t, drift.JudgeRequirements(schemas.Requirements{ThroughputPS: 1, MemoryMB: 1}, profile.Latency{}, nil))
}

// TestRequirementsBreachRarely: a model that is exactly as right as required breaches in one of
// forty windows.
func TestRequirementsBreachRarely(t *testing.T) {
	const seed, windows, rows, required = 20261204, 4000, 300, 0.8
	rng := rand.New(rand.NewPCG(seed, 1))
	breached := 0
	for range windows {
		right := int64(0)
		for range rows {
			if rng.Float64() < required {
				right++
			}
		}
		i, err := quality.MidP(float64(right), rows, 0.95)
		require.NoError(t, err)
		value := float64(right) / rows
		for _, x := range drift.JudgeRequirements(schemas.Requirements{Accuracy: required}, profile.Latency{}, &schemas.AccuracyResult{Value: &value, Low: &i.Low, High: &i.High}) {
			if x.Verdict == drift.RequirementBreached {
				breached++
			}
		}
	}
	t.Logf("seed %d: %d of %d windows breached", seed, breached, windows)
	require.InDelta(t, 0.025, float64(breached)/windows, 0.01)
}
