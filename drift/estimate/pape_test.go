package estimate_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/estimate"
	"github.com/millrace/millrace/drift/internal/coverage"
	"github.com/millrace/millrace/drift/internal/golden"
)

// papeSide is a generated side of a case of PAPE; see make_pape.py.
type papeSide struct {
	N       int
	Seed    uint64
	Shift   int
	Quantum float64
	Classes int
}

const papeLevels = 6

func (s papeSide) category() []estimate.Feature {
	draws := func(seed uint64) []float64 {
		return golden.Spec{Kind: "int", N: s.N, Seed: seed, Levels: papeLevels}.Generate()
	}
	c := draws(s.Seed + 10)
	for k := range s.Shift {
		for i, v := range draws(s.Seed + 11 + uint64(k)) {
			c[i] = max(c[i], v)
		}
	}
	return []estimate.Feature{{Name: "c", Values: c, Categorical: true}}
}

func (s papeSide) binary() (estimate.Binary, []estimate.Feature) {
	b := estimate.Binary{
		Scores:    golden.Spec{Kind: "uniform", N: s.N, Seed: s.Seed, Quantum: s.Quantum}.Generate(),
		Predicted: make([]int, s.N), Targets: make([]int, s.N),
	}
	f := s.category()
	for i, u := range (golden.Spec{Kind: "uniform", N: s.N, Seed: s.Seed + 1}).Generate() {
		if b.Scores[i] >= 0.5 {
			b.Predicted[i] = 1
		}
		if u < b.Scores[i]*(1+f[0].Values[i])/6 {
			b.Targets[i] = 1
		}
	}
	return b, f
}

func (s papeSide) multiclass() (estimate.Multiclass, []estimate.Feature) {
	m := estimate.Multiclass{Scores: make([][]float64, s.Classes), Predicted: make([]int, s.N), Targets: make([]int, s.N)}
	total := make([]float64, s.N)
	for k := range m.Scores {
		m.Scores[k] = golden.Spec{Kind: "uniform", N: s.N, Seed: s.Seed + 20 + uint64(k), Quantum: s.Quantum}.Generate()
		for i, r := range m.Scores[k] {
			m.Scores[k][i] = float64(r*r) + 0.001
			total[i] += m.Scores[k][i]
		}
	}
	f := s.category()
	for i, u := range (golden.Spec{Kind: "uniform", N: s.N, Seed: s.Seed + 1}).Generate() {
		mix, reached, target := (1+f[0].Values[i])/6, 0.0, -1
		for k := range m.Scores {
			m.Scores[k][i] /= total[i]
			reached += float64(m.Scores[k][i]*mix) + (1-mix)/float64(s.Classes)
			if target < 0 && u < reached {
				target = k
			}
			if m.Scores[k][i] > m.Scores[m.Predicted[i]][i] {
				m.Predicted[i] = k
			}
		}
		if target < 0 {
			target = s.Classes - 1
		}
		m.Targets[i] = target
	}
	return m, f
}

// shares is the classifier of make_pape.py: the share of the chunk in each category.
type shares [papeLevels]float64

func trainShares(features []estimate.Feature, side []float64) (estimate.Nanny, error) {
	var chunk, rows, out shares
	for i, c := range features[0].Values {
		rows[int(c)]++
		chunk[int(c)] += side[i]
	}
	for k := range out {
		if rows[k] > 0 {
			out[k] = chunk[k] / rows[k]
		}
	}
	return out, nil
}

func (s shares) Predict(features []estimate.Feature) ([]float64, error) {
	out := make([]float64, len(features[0].Values))
	for i, c := range features[0].Values {
		out[i] = s[int(c)]
	}
	return out, nil
}

type papeCase struct {
	Reference, Analysis papeSide
	Size                int
	Sums                []int
	Want                []struct {
		Effective golden.Float
		Values    []golden.Float
	}
}

func (c papeCase) equal(t *testing.T, function string, got []estimate.ChunkEstimates) {
	t.Helper()
	require.Len(t, got, len(c.Want))
	for i, want := range c.Want {
		require.NoError(t, got[i].NoValue)
		golden.Equal(t, function, fmt.Sprintf("chunk %d: effective rows", i), float64(want.Effective), got[i].Ratios.Effective, 1e-11)
		for k, e := range got[i].Estimates {
			golden.Equal(t, function+" "+string(e.Metric), fmt.Sprintf("chunk %d", i), float64(want.Values[k]), nan(e.Value), 1e-11)
		}
	}
}

func sum(v []int) (n int) {
	for _, x := range v {
		n += x
	}
	return n
}

// TestGoldenPAPE takes the classifier as given: all else must be the published definition's.
func TestGoldenPAPE(t *testing.T) {
	const path = "testdata/golden_pape.json"
	o := estimate.PAPEOptions{Ratios: estimate.RatioOptions{Train: trainShares, Folds: 1}}
	for _, c := range goldenPartOf[papeCase](t, path, "binary") {
		reference, features := c.Reference.binary()
		data, current := c.Analysis.binary()
		require.Equal(t, c.Sums, []int{sum(reference.Targets), sum(data.Targets)}, "generated alike")
		p := must(estimate.FitBinaryPAPE(reference, features, must(estimate.ChunksOf(c.Reference.N, c.Size)), o))
		c.equal(t, "pape binary", must(p.Estimate(data, current, must(estimate.ChunksOf(c.Analysis.N, c.Size)))))
	}
	for _, c := range goldenPartOf[papeCase](t, path, "multiclass") {
		reference, features := c.Reference.multiclass()
		data, current := c.Analysis.multiclass()
		require.Equal(t, c.Sums, []int{sum(reference.Targets), sum(data.Targets)}, "generated alike")
		p := must(estimate.FitMulticlassPAPE(reference, features, must(estimate.ChunksOf(c.Reference.N, c.Size)), o))
		c.equal(t, "pape multiclass", must(p.Estimate(data, current, must(estimate.ChunksOf(c.Analysis.N, c.Size)))))
	}
}

// hidden is a model that scores by one feature, where another, which it does not see, says how
// much the first is worth.
type hidden struct {
	shift   float64 // of the mean of the other feature: covariate shift
	concept float64 // added to the log odds of the target: concept drift
}

func (h hidden) draw(rng *rand.Rand, n int) (estimate.Binary, []estimate.Feature) {
	odds := func(z float64) float64 { return 1 / (1 + math.Exp(-z)) }
	b := estimate.Binary{Scores: make([]float64, n), Predicted: make([]int, n), Targets: make([]int, n)}
	f := []estimate.Feature{{Name: "seen", Values: make([]float64, n)}, {Name: "unseen", Values: make([]float64, n)}, {Name: "noise", Values: make([]float64, n)}}
	for i := range n {
		x, u := rng.NormFloat64(), rng.NormFloat64()+h.shift
		f[0].Values[i], f[1].Values[i], f[2].Values[i] = x, u, rng.NormFloat64()
		if b.Scores[i] = odds(1.5 * x); b.Scores[i] >= 0.5 {
			b.Predicted[i] = 1
		}
		if rng.Float64() < odds(1.5*x*(1-0.5*math.Tanh(u))-0.5*u+h.concept*x) {
			b.Targets[i] = 1
		}
	}
	return b, f
}

// papeErrors are mean absolute errors of the estimated accuracy against the realized.
type papeErrors struct {
	cbpe, pape                      float64 // NaN where nothing was estimated
	cbpeSigned, papeSigned          float64 // mean of realized less estimated
	samplingError, effective, apart float64
}

func simulatePAPE(t *testing.T, h hidden, runs int) papeErrors {
	t.Helper()
	const rows, chunk, seed = 4000, 2000, 20261201
	rng := rand.New(rand.NewPCG(seed, math.Float64bits(h.shift)^math.Float64bits(h.concept)<<1))
	var e papeErrors
	known := 0.0
	for range runs {
		reference, features := hidden{}.draw(rng, rows)
		data, current := h.draw(rng, chunk)
		whole, part := []estimate.Chunk{{End: rows}}, []estimate.Chunk{{End: chunk}}
		k := len(estimate.BinaryMetrics) - 1 // accuracy
		a := must(must(estimate.FitBinaryCBPE(reference, whole)).Estimate(data, part))[0].Estimates[k]
		p := must(must(estimate.FitBinaryPAPE(reference, features, whole, estimate.PAPEOptions{})).Estimate(data, current, part))[0]
		e.cbpe += math.Abs(*a.Realized-*a.Value) / float64(runs)
		e.cbpeSigned += (*a.Realized - *a.Value) / float64(runs)
		e.samplingError += *a.SamplingError / float64(runs)
		e.effective += p.Ratios.Effective / float64(runs)
		if p.NoValue != nil {
			require.ErrorIs(t, p.NoValue, estimate.ErrApart)
			require.Nil(t, p.Estimates[k].Value)
			require.NotNil(t, p.Estimates[k].Realized)
			e.apart += 1 / float64(runs)
			continue
		}
		known++
		e.pape += math.Abs(*a.Realized - *p.Estimates[k].Value)
		e.papeSigned += *a.Realized - *p.Estimates[k].Value
	}
	e.pape, e.papeSigned = e.pape/known, e.papeSigned/known
	t.Logf("seed %d, %+v: error of cbpe %.4f, of pape %.4f, sampling error %.4f, effective rows %.0f, apart %.2f", seed, h, e.cbpe, e.pape, e.samplingError, e.effective, e.apart)
	return e
}

func papeRuns(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("MILLRACE_PAPE"); text != "" {
		return must(strconv.Atoi(text))
	}
	return 3
}

// TestPAPEFollowsCovariateShift: CBPE errs the more the further the features move, PAPE stays
// near the truth until it says that it cannot tell. MILLRACE_PAPE=50 is the long form.
func TestPAPEFollowsCovariateShift(t *testing.T) {
	runs := papeRuns(t)
	for _, shift := range []float64{0, 0.5, 1, 1.5, 3} {
		e := simulatePAPE(t, hidden{shift: shift}, runs)
		require.True(t, math.IsNaN(e.pape) || e.pape < 4*e.samplingError, "shift %v", shift)
		switch {
		case shift == 0:
			require.Zero(t, e.apart)
			require.InDelta(t, e.cbpe, e.pape, 0.01, "where nothing moved, weighting costs little")
		case shift >= 3:
			require.InDelta(t, 1, e.apart, 1e-9, "the sides have nothing in common")
		case shift >= 1:
			require.Greater(t, e.cbpe, 3*e.samplingError)
			require.Less(t, e.pape, e.cbpe/2)
		}
	}
}

// TestEstimatesDoNotSeeConceptDrift: where the same features lead to other targets, neither
// estimate moves, and realized less estimated is the drift.
func TestEstimatesDoNotSeeConceptDrift(t *testing.T) {
	e := simulatePAPE(t, hidden{concept: -1.5}, papeRuns(t))
	require.Less(t, e.cbpeSigned, -8*e.samplingError)
	require.Less(t, e.papeSigned, -8*e.samplingError)
	require.InDelta(t, e.cbpeSigned, e.papeSigned, 2*e.samplingError, "both by the same")
}

// TestCoverageOfPAPE: its intervals hold what targets show.
func TestCoverageOfPAPE(t *testing.T) {
	var cells []coverage.Cell
	for _, shift := range []float64{0, 0.5, 1, 1.5} {
		const rows, chunk = 2000, 600
		cells = append(cells, coverage.Cell{
			Interval: "pape's accuracy", Sample: fmt.Sprintf("an unseen feature moved by %v, reference of %d rows, chunk of %d", shift, rows, chunk),
			Slow: 10, Short: shift == 0.5, Above: 0.01,
			Draw: func(rng *rand.Rand) (coverage.Draw, error) {
				reference, features := hidden{}.draw(rng, rows)
				data, current := hidden{shift: shift}.draw(rng, chunk)
				p, err := estimate.FitBinaryPAPE(reference, features, []estimate.Chunk{{End: rows}}, estimate.PAPEOptions{Intervals: true})
				if err != nil {
					return coverage.Draw{}, err
				}
				got, err := p.Estimate(data, current, []estimate.Chunk{{End: chunk}})
				if err != nil || got[0].NoValue != nil {
					return coverage.Draw{}, err
				}
				e := got[0].Estimates[len(got[0].Estimates)-1]
				return coverage.Draw{
					Shown:     e.Interval != nil,
					Holds:     e.Interval != nil && e.Interval.Low <= *e.Realized && *e.Realized <= e.Interval.High,
					Reference: math.Abs(*e.Realized-*e.Value) <= 1.96**e.SamplingError,
				}, nil
			},
		})
	}
	coverage.Run(t, cells)
}

func TestPAPEErrors(t *testing.T) {
	rng := rand.New(rand.NewPCG(20261201, 1))
	reference, features := hidden{}.draw(rng, 600)
	whole := []estimate.Chunk{{End: 600}}
	_, err := estimate.FitBinaryPAPE(reference, nil, whole, estimate.PAPEOptions{})
	require.EqualError(t, err, "fit binary pape: 0 features of the reference and 0 of the chunk, want the same, and at least 1")
	_, err = estimate.FitBinaryPAPE(reference, []estimate.Feature{{Name: "x", Values: []float64{1}}}, whole, estimate.PAPEOptions{})
	require.EqualError(t, err, "fit binary pape: features of 1 rows and 600 scores")
	p := must(estimate.FitBinaryPAPE(reference, features, whole, estimate.PAPEOptions{}))
	_, err = p.Estimate(reference, features[:2], whole)
	require.EqualError(t, err, "binary pape: rows 0 to 600: density ratios: 3 features of the reference and 2 of the chunk, want the same, and at least 1")
	other := []estimate.Feature{features[0], features[1], {Name: "noise", Values: features[2].Values, Categorical: true}}
	_, err = p.Estimate(reference, other, whole)
	require.EqualError(t, err, `binary pape: rows 0 to 600: density ratios: feature 2 is "noise" (categorical: false) of the reference and "noise" (categorical: true) of the chunk`)
	_, err = estimate.NewRatios(features, features, estimate.RatioOptions{Folds: -1})
	require.EqualError(t, err, "density ratios: folds must be at least 1, got -1")
	_, err = estimate.NewRatios(features, features, estimate.RatioOptions{Train: func([]estimate.Feature, []float64) (estimate.Nanny, error) { return nil, errors.New("no") }})
	require.EqualError(t, err, "density ratios: no")
	_, err = estimate.FitMulticlassPAPE(estimate.Multiclass{}, features, whole, estimate.PAPEOptions{})
	require.ErrorContains(t, err, "fit multiclass pape: fit multiclass cbpe: scores of 0 classes")

	// The same rows give the same ratios, and rows of the reference itself are worth nearly all.
	a, b := must(estimate.NewRatios(features, features, estimate.RatioOptions{})), must(estimate.NewRatios(features, features, estimate.RatioOptions{}))
	require.Equal(t, a, b)
	require.Greater(t, a.Effective, 500.0)
}
