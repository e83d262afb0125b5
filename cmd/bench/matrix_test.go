package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Latency and recorder bring the cases that they need, and those that are measured anyway are
// not run again for them.
func TestPlanBringsWhatIsNeeded(t *testing.T) {
	latency, recorder := []Case{latencyCase(ExactlyOnce), latencyCase(AtLeastOnce)}, []Case{recorderCase}
	for name, tc := range map[string]struct {
		only           []string
		cases, helpers []Case
	}{
		"everything":       {nil, cases(), nil},
		"latency":          {[]string{"latency_*"}, nil, latency},
		"recorder":         {[]string{"recorder"}, nil, recorder},
		"latency and case": {[]string{"latency_*", "json_mlp_exactly_once"}, latency[:1], latency[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := newPlan(tc.only)
			require.NoError(t, err)
			require.Equal(t, tc.cases, p.cases)
			require.Equal(t, tc.helpers, p.helpers)
		})
	}
}
