package estimate_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/millrace/millrace/drift/estimate"
	"github.com/millrace/millrace/drift/internal/coverage"
)

// scored are the scores of a model, beta-distributed, and the probabilities that they stand
// for.
type scored struct {
	alpha, beta float64
	probability func(score float64) float64
}

func (s scored) draw(rng *rand.Rand, n int) estimate.Binary {
	d := distuv.Beta{Alpha: s.alpha, Beta: s.beta, Src: rng}
	b := estimate.Binary{Scores: make([]float64, n), Predicted: make([]int, n), Targets: make([]int, n)}
	for i := range n {
		b.Scores[i] = d.Rand()
		if rng.Float64() < s.probability(b.Scores[i]) {
			b.Targets[i] = 1
		}
		if b.Scores[i] > s.alpha/(s.alpha+s.beta) {
			b.Predicted[i] = 1
		}
	}
	return b
}

// cbpe are estimates of chunks of current from references, each drawn once for all metrics.
type cbpe struct {
	from, current    scored
	reference, chunk int
	drawn            [][]estimate.Estimate
}

// estimates returns those of draw i, in the order of the metrics.
func (c *cbpe) estimates(rng *rand.Rand, i int) ([]estimate.Estimate, error) {
	if i < len(c.drawn) {
		return c.drawn[i], nil
	}
	learnt := c.from.draw(rng, c.reference)
	chunks, err := estimate.Chunks(c.reference, 5)
	if err != nil {
		return nil, err
	}
	f, err := estimate.FitBinaryCBPE(learnt, chunks)
	if err != nil {
		return nil, err
	}
	if err := f.LearnIntervals(learnt); err != nil {
		return nil, err
	}
	out, err := f.Estimate(c.current.draw(rng, c.chunk), []estimate.Chunk{{Start: 0, End: c.chunk}})
	if err != nil {
		return nil, err
	}
	c.drawn = append(c.drawn, out[0].Estimates)
	return out[0].Estimates, nil
}

// of returns the draws of one metric.
func (c *cbpe) of(metric estimate.Metric) func(*rand.Rand) (coverage.Draw, error) {
	k, i := slices.Index(estimate.BinaryMetrics, metric), -1
	return func(rng *rand.Rand) (coverage.Draw, error) {
		i++
		all, err := c.estimates(rng, i)
		if err != nil {
			return coverage.Draw{}, err
		}
		e := all[k]
		if e.Realized == nil {
			return coverage.Draw{}, nil
		}
		return coverage.Draw{
			Shown:     e.Interval != nil,
			Holds:     e.Interval != nil && e.Interval.Low <= *e.Realized && *e.Realized <= e.Interval.High,
			Reference: e.SamplingError != nil && math.Abs(*e.Realized-*e.Value) <= 1.96**e.SamplingError,
		}, nil
	}
}

// TestCoverage: intervals of estimates hold what targets show, as often as they say, while
// scores stand for the same probabilities as in the reference. Where they do not, coverage is
// measured for drift/README.md. The reference's is NannyML's sampling error, 1.96 times.
func TestCoverage(t *testing.T) {
	identity := func(s float64) float64 { return s }
	square := func(s float64) float64 { return s * s }
	moved := func(by float64) func(float64) float64 {
		return func(s float64) float64 { return 1 / (1 + (1-s)/s*math.Exp(-by)) }
	}
	const other = "scores stand for other probabilities than in the reference"
	var cells []coverage.Cell
	for _, c := range []struct {
		name          string
		from, current scored
		known         string
	}{
		{"calibrated scores", scored{1, 1, identity}, scored{1, 1, identity}, ""},
		{"one in seven positive", scored{1, 6, identity}, scored{1, 6, identity}, ""},
		{"scores near 0 and 1", scored{0.3, 0.3, identity}, scored{0.3, 0.3, identity}, ""},
		{"scores not calibrated", scored{1, 1, square}, scored{1, 1, square}, ""},
		{"scores not calibrated, drift of their distribution", scored{1, 1, square}, scored{3, 1.5, square}, ""},
		{"drift of log odds by 0.3", scored{1, 1, identity}, scored{1, 1, moved(0.3)}, other},
		{"drift of log odds by 1", scored{1, 1, identity}, scored{1, 1, moved(1)}, other},
	} {
		for _, n := range [][2]int{{500, 100}, {500, 600}, {2000, 600}} {
			draws := &cbpe{from: c.from, current: c.current, reference: n[0], chunk: n[1]}
			for _, m := range estimate.BinaryMetrics {
				cells = append(cells, coverage.Cell{
					Interval: "cbpe's " + string(m), Slow: 4, Known: c.known, Above: 0.01,
					Sample: fmt.Sprintf("%s, reference of %d rows, chunk of %d", c.name, n[0], n[1]),
					Short:  m == estimate.ROCAUC && n[1] == 600 && n[0] == 500 && c.name == "calibrated scores",
					Draw:   draws.of(m),
				})
			}
		}
	}
	coverage.Run(t, cells)
}

// TestIntervalsOfEstimates: the same rows have the same intervals, whichever order they come
// in, and too few have none.
func TestIntervalsOfEstimates(t *testing.T) {
	rng := rand.New(rand.NewPCG(20261130, 1))
	reference, current := simulate(rng, 600, 1), simulate(rng, 300, 1)
	fit := func(b estimate.Binary) *estimate.BinaryCBPE {
		c, err := estimate.FitBinaryCBPE(b, []estimate.Chunk{{Start: 0, End: len(b.Scores)}})
		require.NoError(t, err)
		require.NoError(t, c.LearnIntervals(b))
		return c
	}
	of := func(c *estimate.BinaryCBPE, b estimate.Binary, end int) []estimate.Estimate {
		out, err := c.Estimate(b, []estimate.Chunk{{Start: 0, End: end}})
		require.NoError(t, err)
		return out[0].Estimates
	}
	c := fit(reference)
	turned := estimate.Binary{Scores: slices.Clone(current.Scores), Predicted: slices.Clone(current.Predicted)}
	slices.Reverse(turned.Scores)
	slices.Reverse(turned.Predicted)
	first, again := of(c, current, 300), of(fit(reference), turned, 300)
	for k, e := range first {
		require.NotNil(t, e.Interval, e.Metric)
		require.NoError(t, e.NoInterval)
		require.Equal(t, e.Interval, again[k].Interval, e.Metric)
		require.Less(t, e.Interval.Low, e.Interval.High)
		require.InDelta(t, *e.Value, (e.Interval.Low+e.Interval.High)/2, 0.05, e.Metric)
	}
	for _, e := range of(c, current, 99) {
		require.Nil(t, e.Interval)
		require.EqualError(t, e.NoInterval, string(e.Metric)+": too few for an interval: 99 rows, at least 100 are needed")
	}
	small := estimate.Binary{Scores: reference.Scores[:499], Predicted: reference.Predicted[:499], Targets: reference.Targets[:499]}
	bare, err := estimate.FitBinaryCBPE(small, []estimate.Chunk{{Start: 0, End: 499}})
	require.NoError(t, err)
	err = bare.LearnIntervals(small)
	require.ErrorIs(t, err, estimate.ErrTooFew)
	require.EqualError(t, err, "intervals of binary cbpe: too few for an interval: a reference of 499 rows, at least 500 are needed")
	require.ErrorContains(t, bare.LearnIntervals(estimate.Binary{Scores: current.Scores}), "300 rows and 0 targets")
	for _, e := range of(bare, current, 300) {
		require.Nil(t, e.Interval, "they were not learnt")
		require.EqualError(t, e.NoInterval, string(e.Metric)+": no interval: LearnIntervals has not been called")
	}
	// Of scores near 0 no positive is expected.
	low := estimate.Binary{Scores: make([]float64, 200), Predicted: make([]int, 200)}
	for i := range low.Scores {
		low.Scores[i] = 0.01 * rng.Float64()
	}
	auc := of(c, low, 200)[0]
	require.Nil(t, auc.Interval)
	require.EqualError(t, auc.NoInterval, "roc_auc: too few for an interval: the scores drifted to where only 60 rows of the reference say what they stand for, at least 400 are needed")
	rare := estimate.Binary{Scores: make([]float64, 600), Predicted: make([]int, 600), Targets: make([]int, 600)}
	for i := range rare.Scores {
		rare.Scores[i] = 0.01 * rng.Float64()
	}
	rare.Targets[0], rare.Targets[1] = 1, 1
	auc = of(fit(rare), low, 200)[0]
	require.Nil(t, auc.Interval)
	require.Regexp(t, "^roc_auc: too few for an interval: [0-9.]+ rows of one outcome are expected, at least 15 are needed$", auc.NoInterval.Error())
}
