package estimator_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/estimate"
	"github.com/millrace/millrace/drift/estimator"
	"github.com/millrace/millrace/schemas"
)

func faults(e *schemas.Estimator) int {
	n := 0
	e.Check(func(string, ...any) { n++ })
	return n
}

// TestKeptEstimatesAsFitted: what is kept as JSON passes its check, and estimates what was fitted,
// whatever the scores: few, equal, at the ends, of one class.
func TestKeptEstimatesAsFitted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		n := rapid.SampledFrom([]int{1, 2, 11, 60, 499, 500, 1500}).Draw(t, "rows")
		shape := rapid.SampledFrom([]string{"uniform", "ends", "equal", "steps", "separate"}).Draw(t, "shape")
		rate := rapid.SampledFrom([]float64{0, 0.01, 0.5, 1}).Draw(t, "rate")
		scores, positive := make([]float64, n), make([]bool, n)
		for i := range scores {
			switch shape {
			case "uniform":
				scores[i] = rng.Float64()
			case "ends":
				scores[i] = float64(rng.IntN(2))
			case "equal":
				scores[i] = 0.25
			case "steps":
				scores[i] = float64(rng.IntN(5)) / 4
			default:
				scores[i] = math.Pow(rng.Float64(), 20)
			}
			positive[i] = rng.Float64() < rate
			if shape == "separate" {
				positive[i] = scores[i] > rate
			}
		}
		e, err := estimator.Fit(scores, positive, 0.5)
		if err != nil {
			return // said, of too few rows of a class
		}
		require.Zero(t, faults(e))
		require.Equal(t, n < estimator.Enough, len(e.Scores) == 0)
		text, err := json.Marshal(e)
		require.NoError(t, err)
		var kept schemas.Estimator
		require.NoError(t, json.Unmarshal(text, &kept))
		require.Zero(t, faults(&kept))
		c, err := estimator.Of(&kept)
		require.NoError(t, err)
		rows := estimate.Binary{Scores: scores, Predicted: make([]int, n), Targets: make([]int, n)}
		for i, s := range scores {
			if s >= 0.5 {
				rows.Predicted[i] = 1
			}
			if positive[i] {
				rows.Targets[i] = 1
			}
		}
		fitted, err := estimate.FitBinaryCBPE(rows, []estimate.Chunk{{End: n}})
		require.NoError(t, err)
		want, err := fitted.Estimate(rows, []estimate.Chunk{{End: n}})
		require.NoError(t, err)
		counts, err := c.Count(rows)
		require.NoError(t, err)
		got, err := c.EstimateCounts(counts)
		require.NoError(t, err)
		for k, e := range got.Estimates {
			of := want[0].Estimates[k]
			if e.Metric == estimate.ROCAUC {
				continue // TestCountsEstimateAsRowsDo
			}
			require.Equal(t, of.Value == nil, e.Value == nil, e.Metric)
			if e.Value != nil {
				require.InDelta(t, *of.Value, *e.Value, 1e-9, e.Metric)
			}
		}
	})
}

// TestHostileEstimators: what passes the check makes an estimator.
func TestHostileEstimators(t *testing.T) {
	inf := math.Inf(1)
	metrics := func() []schemas.EstimatorMetric {
		out := make([]schemas.EstimatorMetric, len(schemas.EstimatedFigures))
		for k, m := range schemas.EstimatedFigures {
			out[k] = schemas.EstimatorMetric{Metric: m, Share: 0.5}
		}
		return out
	}
	for name, e := range map[string]schemas.Estimator{
		"nothing":         {},
		"one point":       {X: []float64{0.5}, Metrics: metrics()[:1]},
		"points descend":  {X: []float64{0.5, 0.4}, Y: []float64{0, 1}, Metrics: metrics()},
		"points fall":     {X: []float64{0.4, 0.5}, Y: []float64{1, 0}, Metrics: metrics()},
		"NaN":             {X: []float64{math.NaN()}, Y: []float64{0}, Metrics: metrics()},
		"infinite":        {X: []float64{0.1}, Y: []float64{inf}, Metrics: metrics()},
		"too many points": {X: make([]float64, schemas.MaxCalibrationPoints+1), Y: make([]float64, schemas.MaxCalibrationPoints+1), Metrics: metrics()},
		"other metrics":   {Metrics: append(metrics()[1:], metrics()[0])},
		"scores":          {Rows: 5, Scores: []float64{0.5, 2}, Targets: "01", Metrics: metrics()},
		"targets":         {Rows: 5, Scores: []float64{0.5, 0.2}, Targets: "0é"[:2], Metrics: metrics()},
		"lengths":         {Rows: 5, Scores: []float64{0.5, 0.2}, Targets: "0", Metrics: metrics()},
		"more than rows":  {Rows: 1, Scores: []float64{0.5, 0.2}, Targets: "01", Metrics: metrics()},
		"deviation":       {Metrics: append(metrics()[:5], schemas.EstimatorMetric{Metric: "accuracy", Share: 1, Deviation: &inf})},
		"share":           {Metrics: append(metrics()[:5], schemas.EstimatorMetric{Metric: "accuracy", Share: math.NaN()})},
	} {
		require.Positive(t, faults(&e), name)
	}
	ones := make([]float64, 600)
	targets := make([]byte, 600)
	for i := range ones {
		ones[i], targets[i] = 1, '1'
	}
	for name, e := range map[string]schemas.Estimator{
		"no calibration": {Metrics: metrics()},
		"one point":      {X: []float64{0.5}, Y: []float64{0.25}, Metrics: metrics()},
		"points 0 and 1": {X: []float64{0, 1}, Y: []float64{0, 1}, Metrics: metrics()},
		"one class":      {Rows: 600, Scores: ones, Targets: string(targets), Metrics: metrics()},
	} {
		require.Zero(t, faults(&e), name)
		c, err := estimator.Of(&e)
		require.NoError(t, err, name)
		for _, score := range []float64{0, math.SmallestNonzeroFloat64, 0.5, 1} {
			counts, err := c.Count(estimate.Binary{Scores: []float64{score}, Predicted: []int{1}})
			require.NoError(t, err, name)
			_, err = c.EstimateCounts(counts)
			require.NoError(t, err, name)
		}
	}
}
