package estimate_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/estimate"
	"github.com/millrace/millrace/drift/internal/coverage"
)

// TestCountsEstimateAsRowsDo: from counts, all figures are those of the rows, and the ROC AUC is
// as near as it says.
func TestCountsEstimateAsRowsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		power, shift := rapid.Float64Range(0.5, 3).Draw(t, "power"), rapid.Float64Range(-1, 1).Draw(t, "shift")
		reference, _ := hidden{}.draw(rng, rapid.IntRange(20, 2000).Draw(t, "reference"))
		for i := range reference.Scores {
			reference.Scores[i] *= power / 3
		}
		c, err := estimate.FitBinaryCBPE(reference, []estimate.Chunk{{End: len(reference.Scores)}})
		if err != nil {
			t.Skip(err) // of so few rows, one class may have a single one
		}
		data, _ := hidden{shift: shift}.draw(rng, rapid.IntRange(2, 500).Draw(t, "rows"))
		n := len(data.Scores)
		rows := must(c.Estimate(data, []estimate.Chunk{{End: n}}))[0].Estimates
		half := n / 2
		counts := must(c.Count(estimate.Binary{Scores: data.Scores[:half+1], Predicted: data.Predicted[:half+1]}))
		if half+1 < n {
			require.NoError(t, counts.Merge(must(c.Count(estimate.Binary{Scores: data.Scores[half+1:], Predicted: data.Predicted[half+1:]}))))
		}
		got := must(c.EstimateCounts(counts))
		for k, e := range got.Estimates {
			within := 1e-11
			if e.Metric == estimate.ROCAUC {
				within = got.Within + 1e-4 // NannyML's is rounded
				require.LessOrEqual(t, got.Within, 0.5)
			}
			if e.Value == nil || rows[k].Value == nil {
				continue // of an expected class without rows
			}
			require.InDelta(t, *rows[k].Value, *e.Value, within, e.Metric)
			require.Equal(t, rows[k].SamplingError, e.SamplingError)
			require.Equal(t, rows[k].LowerThreshold, e.LowerThreshold)
		}
	})
}

// TestROCAUCOfCounts: with as many rows as a monitor judges, not knowing the order within cells
// costs less than a thousandth, and the cells are few.
func TestROCAUCOfCounts(t *testing.T) {
	const seed = 20261202
	rng := rand.New(rand.NewPCG(seed, 1))
	reference, _ := hidden{}.draw(rng, 20_000)
	for i, s := range reference.Scores {
		reference.Scores[i] = s * s // so that scores need calibration
	}
	c := must(estimate.FitBinaryCBPE(reference, []estimate.Chunk{{End: 20_000}}))
	require.True(t, c.Calibration.Needed)
	data, _ := hidden{}.draw(rng, 50_000)
	for i, s := range data.Scores {
		data.Scores[i] = s * s
	}
	got := must(c.EstimateCounts(must(c.Count(data))))
	rows := must(c.Estimate(data, []estimate.Chunk{{End: 50_000}}))[0].Estimates
	t.Logf("seed %d: %d cells, roc_auc %v ± %v from counts, %v from rows", seed, len(c.Cells())+1, *got.Estimates[0].Value, got.Within, *rows[0].Value)
	require.Less(t, len(c.Cells()), 500)
	require.Less(t, got.Within, 1e-3)
	require.InDelta(t, *rows[0].Value, *got.Estimates[0].Value, got.Within+1e-8)
}

func TestCountsErrors(t *testing.T) {
	rng := rand.New(rand.NewPCG(20261202, 2))
	reference, _ := hidden{}.draw(rng, 600)
	c := must(estimate.FitBinaryCBPE(reference, []estimate.Chunk{{End: 600}}))
	empty := must(c.Count(estimate.Binary{Scores: []float64{0.5}, Predicted: []int{1}}))
	for y := range empty.Rows {
		clear(empty.Rows[y])
		clear(empty.Above[y])
	}
	_, err := c.EstimateCounts(empty)
	require.ErrorIs(t, err, estimate.ErrEmpty)
	_, err = c.EstimateCounts(&estimate.ScoreCounts{})
	require.ErrorContains(t, err, "estimate of counts: counts of 0 cells, want ")
	require.ErrorContains(t, empty.Merge(&estimate.ScoreCounts{}), "and 0 cells")
	empty.Rows[1][0] = -1
	_, err = c.EstimateCounts(empty)
	require.EqualError(t, err, "estimate of counts: cell 0 has -1 rows, whose scores add up to 0 above its edge")
	_, err = c.Count(estimate.Binary{Scores: []float64{0.5}})
	require.EqualError(t, err, "count scores: there are no predictions")
	_, _, ok := estimate.Estimate{}.RealizedLess(nil)
	require.False(t, ok)
}

// TestCoverageOfRealizedLess: the interval of realized less estimated, of counts, holds 0 as
// often as it says where the concept stays, and leaves it where it drifts.
func TestCoverageOfRealizedLess(t *testing.T) {
	var cells []coverage.Cell
	for _, concept := range []float64{0, -0.5} {
		for _, n := range [][2]int{{1000, 600}, {4000, 2000}, {2000, 30000}} {
			for _, k := range []int{0, 1, 5} {
				known := ""
				if concept != 0 {
					known = "concept drift, which it is to leave"
				}
				cells = append(cells, coverage.Cell{
					Interval: "realized less cbpe's " + string(estimate.BinaryMetrics[k]) + ", of counts", Known: known, Slow: 10, Above: 0.01,
					Sample: fmt.Sprintf("concept moved by %v, reference of %d rows, window of %d", concept, n[0], n[1]),
					Short:  n[0] == 1000 && k == 5 && concept == 0,
					Draw: func(rng *rand.Rand) (coverage.Draw, error) {
						return drawRealizedLess(rng, n, k, hidden{concept: concept})
					},
				})
			}
		}
	}
	coverage.Run(t, cells)
}

func drawRealizedLess(rng *rand.Rand, n [2]int, k int, h hidden) (coverage.Draw, error) {
	reference, _ := hidden{}.draw(rng, n[0])
	data, _ := h.draw(rng, n[1])
	c, err := estimate.FitBinaryCBPE(reference, []estimate.Chunk{{End: n[0]}})
	if err != nil {
		return coverage.Draw{}, err
	}
	if err := c.LearnIntervals(reference); err != nil {
		return coverage.Draw{}, err
	}
	realized, err := c.Estimate(data, []estimate.Chunk{{End: n[1]}})
	if err != nil {
		return coverage.Draw{}, err
	}
	counts, err := c.Count(data)
	if err != nil {
		return coverage.Draw{}, err
	}
	got, err := c.EstimateCounts(counts)
	if err != nil {
		return coverage.Draw{}, err
	}
	_, i, ok := got.Estimates[k].RealizedLess(realized[0].Estimates[k].Realized)
	shown := ok && i != nil
	return coverage.Draw{Shown: shown, Holds: shown && i.Low <= 0 && 0 <= i.High}, nil
}
