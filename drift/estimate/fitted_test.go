package estimate_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/estimate"
)

// TestFittedEstimatesAlike: what was kept as JSON gives the same estimates to the last bit.
func TestFittedEstimatesAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		n := rapid.IntRange(20, 1000).Draw(t, "rows")
		reference, _ := hidden{}.draw(rng, n)
		c, err := estimate.FitBinaryCBPE(reference, []estimate.Chunk{{End: n}})
		if err != nil {
			t.Skip(err)
		}
		var kept estimate.Fitted
		require.NoError(t, json.Unmarshal(must(json.Marshal(c.Fitted())), &kept))
		again := must(kept.BinaryCBPE())
		data, _ := hidden{shift: 0.5}.draw(rng, 100)
		require.Equal(t, must(c.EstimateCounts(must(c.Count(data)))), must(again.EstimateCounts(must(again.Count(data)))))
	})
}

// FuzzFitted: numbers from outside give an error, or an estimator that does not panic.
func FuzzFitted(f *testing.F) {
	rng := rand.New(rand.NewPCG(20261203, 1))
	reference, _ := hidden{}.draw(rng, 300)
	c := must(estimate.FitBinaryCBPE(reference, []estimate.Chunk{{End: 300}}))
	f.Add(must(json.Marshal(c.Fitted())))
	f.Add([]byte(`{"x":[0,1],"y":[0,1],"metrics":[{"metric":"roc_auc","share":0}]}`))
	f.Add([]byte(`{"x":[0.5],"y":[2],"metrics":[]}`))
	data, _ := hidden{}.draw(rng, 50)
	f.Fuzz(func(t *testing.T, text []byte) {
		var kept estimate.Fitted
		if json.Unmarshal(text, &kept) != nil {
			return
		}
		c, err := kept.BinaryCBPE()
		if err != nil {
			return
		}
		counts, err := c.Count(data)
		require.NoError(t, err)
		got, err := c.EstimateCounts(counts)
		if err != nil {
			require.EqualError(t, err, "estimate of counts: the reference has no predictions")
			return
		}
		for _, e := range got.Estimates {
			if e.Value != nil {
				require.True(t, *e.Value >= 0 && *e.Value <= 1, "%s is %v", e.Metric, *e.Value)
			}
		}
	})
}

func TestFittedErrors(t *testing.T) {
	for want, f := range map[string]estimate.Fitted{
		"1 x and 0 y":                                    {X: []float64{0.5}},
		"point 0 is (2, 0), must be from 0 to 1":         {X: []float64{2}, Y: []float64{0}},
		"point 1, (0.5, 0.5), must be beyond (0.5, 0.1)": {X: []float64{0.5, 0.5}, Y: []float64{0.1, 0.5}},
		"0 metrics, want [roc_auc f1 precision recall specificity accuracy], or the first of them": {},
		`metric 0 is "f1", want "roc_auc"`:                                {Metrics: []estimate.FittedMetric{{Metric: estimate.F1}}},
		"roc_auc: share 2, must be from 0 to 1, and no deviation below 0": {Metrics: []estimate.FittedMetric{{Metric: estimate.ROCAUC, Share: 2}}},
	} {
		_, err := f.BinaryCBPE()
		require.EqualError(t, err, "fitted cbpe: "+want)
	}
}
