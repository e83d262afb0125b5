package stattest_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/internal/golden"
	"github.com/millrace/millrace/drift/stattest"
)

// numericCase is a case of golden_numeric.json: the figures of one test on one pair of sides.
type numericCase struct {
	Test      string        `json:"test"`
	Pair      string        `json:"pair"`
	Reference golden.Spec   `json:"reference"`
	Current   golden.Spec   `json:"current"`
	Score     golden.Float  `json:"score"`
	PValue    *golden.Float `json:"p_value"`
	Effect    *golden.Float `json:"effect_size"`
	Method    string        `json:"method"`
	Weights   []golden.Spec `json:"weights"` // of both sides
}

const (
	statisticTolerance = 1e-9
	pTolerance         = 1e-6
)

func TestGoldenNumeric(t *testing.T) {
	samples := map[string]stattest.Sample{}
	sample := func(key string, s golden.Spec) stattest.Sample {
		got, ok := samples[key]
		if !ok {
			got = stattest.NewSample(s.Generate())
			samples[key] = got
		}
		return got
	}
	for _, c := range golden.Load[numericCase](t, "testdata/golden_numeric.json") {
		if raceEnabled && c.Reference.N == 1000000 {
			continue // nothing is concurrent; the time is better spent without -race
		}
		what := c.Test + " of " + c.Pair
		test := stattest.Lookup(c.Test)
		require.NotNil(t, test, what)
		reference, current := sample("reference "+c.Pair, c.Reference), sample("current "+c.Pair, c.Current)
		if c.Weights != nil {
			var err error
			reference, err = stattest.NewWeightedSample(c.Reference.Generate(), c.Weights[0].Generate())
			require.NoError(t, err, what)
			current, err = stattest.NewWeightedSample(c.Current.Generate(), c.Weights[1].Generate())
			require.NoError(t, err, what)
		}
		got, err := test.Numeric(reference, current, stattest.Options{Permutations: 1, SciPy: true})
		require.NoError(t, err, what)
		golden.Equal(t, c.Test, what, float64(c.Score), got.Score, statisticTolerance)
		if c.PValue != nil {
			require.NotNil(t, got.PValue, what)
			golden.Equal(t, c.Test+" p", what, float64(*c.PValue), *got.PValue, pTolerance)
		} else {
			require.Equal(t, c.Test == "empirical_mmd", got.PValue != nil, what) // by permutation: not Evidently's
		}
		if c.Effect != nil {
			require.NotNil(t, got.EffectSize, what)
			golden.Equal(t, c.Test+" effect", what, float64(*c.Effect), *got.EffectSize, statisticTolerance)
		}
		if c.Test != "empirical_mmd" {
			require.Equal(t, c.Method, got.Method, what)
		}
	}
}

func TestGoldenAndersonSamples(t *testing.T) {
	for i, c := range golden.Load[struct {
		Samples []golden.Spec `json:"samples"`
		Score   golden.Float  `json:"score"`
		PValue  golden.Float  `json:"p_value"`
	}](t, "testdata/golden_anderson.json") {
		var samples []stattest.Sample
		for _, s := range c.Samples {
			samples = append(samples, stattest.NewSample(s.Generate()))
		}
		got, err := stattest.AndersonSamples(samples...)
		require.NoError(t, err)
		what := fmt.Sprintf("case %d of %d samples", i, len(samples))
		golden.Equal(t, "anderson of k samples", what, float64(c.Score), got.Score, statisticTolerance)
		golden.Equal(t, "anderson of k samples p", what, float64(c.PValue), *got.PValue, pTolerance)
	}
}
