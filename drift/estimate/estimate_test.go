package estimate_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/estimate"
)

// points are rows of x, y and weight, with ties of x.
func points(least, most int) *rapid.Generator[[][3]float64] {
	return rapid.Custom(func(t *rapid.T) [][3]float64 {
		rows := make([][3]float64, rapid.IntRange(least, most).Draw(t, "n"))
		for i := range rows {
			rows[i] = [3]float64{
				float64(rapid.IntRange(0, 8).Draw(t, "x")) / 8,
				float64(rapid.IntRange(-20, 20).Draw(t, "y")),
				float64(rapid.IntRange(1, 4).Draw(t, "w")),
			}
		}
		return rows
	})
}

func columns(rows [][3]float64) (x, y, w []float64) {
	for _, r := range rows {
		x, y, w = append(x, r[0]), append(y, r[1]), append(w, r[2])
	}
	return x, y, w
}

func squares(f func(float64) float64, rows [][3]float64) float64 {
	sum := 0.0
	for _, r := range rows {
		e := f(r[0]) - r[1]
		sum += r[2] * e * e
	}
	return sum
}

func TestIsotonicIsMonotoneAndIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y, w := columns(points(1, 40).Draw(t, "rows"))
		f, err := estimate.FitIsotonic(x, y, w)
		require.NoError(t, err)
		require.True(t, slices.IsSorted(f.X))
		require.True(t, slices.IsSorted(f.Y))
		before := math.Inf(-1)
		for v := -0.5; v < 1.5; v += 1.0 / 64 {
			require.GreaterOrEqual(t, f.At(v), before, "at %v", v)
			before = f.At(v)
		}
		fitted := make([]float64, len(x))
		for i, v := range x {
			fitted[i] = f.At(v)
		}
		again, err := estimate.FitIsotonic(x, fitted, w)
		require.NoError(t, err)
		for _, v := range x {
			require.InDelta(t, f.At(v), again.At(v), 1e-12)
		}
	})
}

// TestIsotonicIsOptimal compares with all ways to cut the distinct x into runs of one value:
// one of them is the optimum.
func TestIsotonicIsOptimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := points(1, 14).Draw(t, "rows")
		x, y, w := columns(rows)
		f, err := estimate.FitIsotonic(x, y, w)
		require.NoError(t, err)
		distinct := slices.Clone(x)
		slices.Sort(distinct)
		distinct = slices.Compact(distinct)
		best := math.Inf(1)
		for cuts := range 1 << (len(distinct) - 1) {
			value := map[float64]float64{}
			run, last, ok := 0, math.Inf(-1), true
			for i := range distinct {
				if i < len(distinct)-1 && cuts>>i&1 == 0 {
					continue
				}
				var sum, weight float64
				for _, r := range rows {
					if slices.Contains(distinct[run:i+1], r[0]) {
						sum, weight = sum+r[1]*r[2], weight+r[2]
					}
				}
				for _, v := range distinct[run : i+1] {
					value[v] = sum / weight
				}
				ok = ok && sum/weight >= last
				run, last = i+1, sum/weight
			}
			if ok {
				best = min(best, squares(func(v float64) float64 { return value[v] }, rows))
			}
		}
		require.InDelta(t, best, squares(f.At, rows), 1e-9)
	})
}

func TestIsotonicWeightsAreRepeatedRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := points(1, 30).Draw(t, "rows")
		x, y, w := columns(rows)
		var rx, ry []float64
		for _, r := range rows {
			for range int(r[2]) {
				rx, ry = append(rx, r[0]), append(ry, r[1])
			}
		}
		// Rows of weight 0 are not there, and the order of the rows does not count.
		x, y, w = append(x, 0.5), append(y, -1e6), append(w, 0)
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(rx), func(i, j int) { rx[i], rx[j], ry[i], ry[j] = rx[j], rx[i], ry[j], ry[i] })
		weighted, err := estimate.FitIsotonic(x, y, w)
		require.NoError(t, err)
		repeated, err := estimate.FitIsotonic(rx, ry, nil)
		require.NoError(t, err)
		for v := -0.25; v <= 1.25; v += 1.0 / 32 {
			require.InDelta(t, repeated.At(v), weighted.At(v), 1e-12)
		}
	})
}

// simulate returns n rows of uniform scores that are the probabilities of their targets, to a
// power: 1 is perfectly calibrated.
func simulate(rng *rand.Rand, n int, power float64) estimate.Binary {
	b := estimate.Binary{Scores: make([]float64, n), Predicted: make([]int, n), Targets: make([]int, n)}
	for i := range n {
		b.Scores[i] = rng.Float64()
		if rng.Float64() < math.Pow(b.Scores[i], power) {
			b.Targets[i] = 1
		}
		if b.Scores[i] >= 0.5 {
			b.Predicted[i] = 1
		}
	}
	return b
}

// TestCBPEIsUnbiased draws many chunks: the mean difference of estimated and realized values
// is within 4 of its standard errors of 0, where scores are calibrated and where calibration
// has to make them so.
func TestCBPEIsUnbiased(t *testing.T) {
	for name, power := range map[string]float64{"calibrated": 1, "needs calibration": 2} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, 11))
			reference := simulate(rng, 60_000, power)
			chunks, err := estimate.Chunks(len(reference.Scores), 10)
			require.NoError(t, err)
			f, err := estimate.FitBinaryCBPE(reference, chunks)
			require.NoError(t, err)
			if power != 1 {
				require.True(t, f.Calibration.Needed)
			} else {
				// Whether noise made calibration look better or not: scores hardly move.
				for s := 0.05; s < 1; s += 0.05 {
					require.InDelta(t, s, f.Calibration.At(s), 0.03)
				}
			}
			const repeats, size = 200, 500
			data := simulate(rng, repeats*size, power)
			chunks, err = estimate.ChunksOf(len(data.Scores), size)
			require.NoError(t, err)
			got, err := f.Estimate(data, chunks)
			require.NoError(t, err)
			for k, m := range estimate.BinaryMetrics {
				var sum, squares, outside float64
				for _, c := range got {
					e := c.Estimates[k]
					d := *e.Value - *e.Realized
					sum += d
					squares += d * d
					if *e.Realized < *e.Lower || *e.Realized > *e.Upper {
						outside++
					}
				}
				mean := sum / repeats
				stderr := math.Sqrt((squares/repeats - mean*mean) / repeats)
				// F1 and ROC AUC are no means of rows: their bias over a chunk is of the
				// order of 1/size.
				require.Less(t, math.Abs(mean), 4*stderr+1.0/size, "%s: bias %v", m, mean)
				require.LessOrEqual(t, outside/repeats, 0.03, "%s: realized values within 3 sampling errors", m)
			}
		})
	}
}

// TestCBPESeesTheDrop moves the scores to where the model is less sure.
func TestCBPESeesTheDrop(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	reference := simulate(rng, 20_000, 1)
	chunks, err := estimate.ChunksOf(20_000, 1000)
	require.NoError(t, err)
	f, err := estimate.FitBinaryCBPE(reference, chunks)
	require.NoError(t, err)
	unsure := simulate(rng, 5000, 1)
	for i, s := range unsure.Scores {
		unsure.Scores[i] = 0.35 + 0.3*s
	}
	unsure.Targets = nil
	got, err := f.Estimate(unsure, chunks[:5])
	require.NoError(t, err)
	for _, c := range got {
		accuracy := c.Estimates[slices.Index(estimate.BinaryMetrics, estimate.Accuracy)]
		require.True(t, accuracy.Alert)
		require.Nil(t, accuracy.Realized)
		require.Less(t, *accuracy.Value, *accuracy.LowerThreshold)
	}
	for _, c := range must(f.Estimate(reference, chunks)) {
		for _, e := range c.Estimates {
			require.False(t, e.Alert, "%s", e.Metric)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestMulticlassOrderOfClasses renames the classes: means over them stay.
func TestMulticlassOrderOfClasses(t *testing.T) {
	m := multiclassSide{N: 2000, Classes: 4, Seed: 5, Mix: 0.8}.generate()
	chunks, err := estimate.ChunksOf(2000, 400)
	require.NoError(t, err)
	turned := estimate.Multiclass{Predicted: make([]int, 2000), Targets: make([]int, 2000)}
	for k := range m.Scores {
		turned.Scores = append(turned.Scores, m.Scores[(k+1)%4])
	}
	for i := range m.Targets {
		turned.Targets[i], turned.Predicted[i] = (m.Targets[i]+3)%4, (m.Predicted[i]+3)%4
	}
	a := must(must(estimate.FitMulticlassCBPE(m, chunks)).Estimate(m, chunks))
	b := must(must(estimate.FitMulticlassCBPE(turned, chunks)).Estimate(turned, chunks))
	for i := range a {
		for k, e := range a[i].Estimates {
			require.InDelta(t, *e.Value, *b[i].Estimates[k].Value, 1e-9, "%s", e.Metric)
			require.InDelta(t, *e.SamplingError, *b[i].Estimates[k].SamplingError, 1e-12, "%s", e.Metric)
			require.InDelta(t, *e.Realized, *b[i].Estimates[k].Realized, 1e-12, "%s", e.Metric)
		}
	}
}

func TestInputsAreNotChanged(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	b := simulate(rng, 500, 2)
	before := estimate.Binary{Scores: slices.Clone(b.Scores), Predicted: slices.Clone(b.Predicted), Targets: slices.Clone(b.Targets)}
	chunks := must(estimate.ChunksOf(500, 100))
	must(must(estimate.FitBinaryCBPE(b, chunks)).Estimate(b, chunks))
	require.Equal(t, before, b)
	r, again := regressionSide{N: 300, Seed: 4}.generate(), regressionSide{N: 300, Seed: 4}.generate()
	must(must(estimate.FitDLE(r, chunks[:3], []estimate.Metric{estimate.MAE}, nil)).Estimate(r, chunks[:3]))
	require.Equal(t, again, r)
}

func TestChunks(t *testing.T) {
	require.Equal(t, []estimate.Chunk{{Start: 0, End: 4}, {Start: 4, End: 8}, {Start: 8, End: 9}}, must(estimate.ChunksOf(9, 4)))
	require.Len(t, must(estimate.Chunks(25, 10)), 13, "size 2, and the rest")
	require.Len(t, must(estimate.Chunks(20, 10)), 10)
	_, err := estimate.Chunks(9, 10)
	require.EqualError(t, err, "chunks: 9 rows in 10 chunks, a chunk must have a row")
	_, err = estimate.ChunksOf(9, 0)
	require.EqualError(t, err, "chunks: 9 rows in chunks of 0, both must be at least 1")
}

func TestThresholds(t *testing.T) {
	v := func(x float64) *float64 { return &x }
	lower, upper := estimate.Thresholds([]*float64{v(0.4), nil, v(0.6)}, 0, 1)
	require.InDelta(t, 0.2, *lower, 1e-15)
	require.InDelta(t, 0.8, *upper, 1e-15)
	lower, upper = estimate.Thresholds([]*float64{v(0), v(1)}, 0, 1)
	require.Zero(t, *lower)
	require.Equal(t, 1.0, *upper)
	lower, upper = estimate.Thresholds([]*float64{nil}, 0, 1)
	require.Nil(t, lower)
	require.Nil(t, upper)
}

// requireSound wants what every estimate promises, whatever the data.
func requireSound(t require.TestingT, got []estimate.ChunkEstimates, most float64) {
	for _, c := range got {
		for _, e := range c.Estimates {
			require.NotEqual(t, e.Interval == nil, e.NoInterval == nil, "%s has an interval or a reason", e.Metric)
			if e.SamplingError != nil { // over few rows of a rare kind above 1, too
				require.GreaterOrEqual(t, *e.SamplingError, 0.0, "%s", e.Metric)
			}
			for _, v := range []*float64{e.Value, e.Lower, e.Upper, e.Realized, e.LowerThreshold, e.UpperThreshold} {
				if v != nil {
					require.GreaterOrEqual(t, *v, 0.0, "%s", e.Metric)
					require.LessOrEqual(t, *v, most+1e-9, "%s", e.Metric)
				}
			}
			require.Equal(t, e.Value == nil || e.SamplingError == nil, e.Lower == nil, "%s", e.Metric)
			if e.Lower != nil {
				require.LessOrEqual(t, *e.Lower, *e.Value+1e-9, "%s", e.Metric)
				require.GreaterOrEqual(t, *e.Upper, *e.Value-1e-9, "%s", e.Metric)
			}
			if e.Alert {
				require.NotNil(t, e.Value, "%s", e.Metric)
				require.NotNil(t, e.LowerThreshold, "%s", e.Metric)
			}
		}
	}
}

// TestCBPEOfAnyRows takes few rows with many ties: an estimate, or an error, never a panic.
func TestCBPEOfAnyRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "n")
		scores := rapid.SliceOfN(rapid.SampledFrom([]float64{0, 1e-300, 0.25, 0.5, 0.5000001, 0.75, 1}), n, n)
		label := rapid.SliceOfN(rapid.IntRange(0, 1), n, n)
		reference := estimate.Binary{Scores: scores.Draw(t, "scores"), Predicted: label.Draw(t, "predicted"), Targets: label.Draw(t, "targets")}
		chunks, err := estimate.ChunksOf(n, rapid.IntRange(1, n).Draw(t, "size"))
		require.NoError(t, err)
		f, err := estimate.FitBinaryCBPE(reference, chunks)
		if err != nil {
			require.ErrorContains(t, err, "needed to choose")
			return
		}
		data := estimate.Binary{
			Scores: scores.Draw(t, "more scores"), Predicted: label.Draw(t, "more predicted"),
			Targets: rapid.SliceOfN(rapid.IntRange(estimate.Unknown, 1), n, n).Draw(t, "more targets"),
		}
		got, err := f.Estimate(data, chunks)
		require.NoError(t, err)
		requireSound(t, got, 1)
	})
}

func TestMulticlassCBPEOfAnyRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "n")
		m := estimate.Multiclass{Scores: make([][]float64, 3), Predicted: make([]int, n), Targets: make([]int, n)}
		for i := range n {
			s := rapid.SampledFrom([][3]float64{{1, 0, 0}, {0, 0, 1}, {0.25, 0.5, 0.25}, {0, 0.5, 0.5}, {0.125, 0.125, 0.75}}).Draw(t, "scores")
			for k := range s {
				m.Scores[k] = append(m.Scores[k], s[k])
			}
			m.Predicted[i] = rapid.IntRange(0, 2).Draw(t, "predicted")
			m.Targets[i] = rapid.IntRange(0, 2).Draw(t, "target")
		}
		chunks, err := estimate.ChunksOf(n, rapid.IntRange(1, n).Draw(t, "size"))
		require.NoError(t, err)
		f, err := estimate.FitMulticlassCBPE(m, chunks)
		if err != nil {
			return // too few rows of a class
		}
		got, err := f.Estimate(m, chunks)
		require.NoError(t, err)
		requireSound(t, got, 1)
	})
}

func TestDLEOfAnyRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "n")
		value := rapid.SliceOfN(rapid.SampledFrom([]float64{0, 1e-300, 1, 2, 3, 1e100}), n, n)
		feature := rapid.SliceOfN(rapid.SampledFrom([]float64{math.Inf(-1), -1e300, 0, 1, 1e300, math.Inf(1), math.NaN()}), n, n)
		r := estimate.Regression{
			Features: []estimate.Feature{
				{Name: "number", Values: feature.Draw(t, "number")},
				{Name: "category", Values: feature.Draw(t, "category"), Categorical: true},
			},
			Predicted: value.Draw(t, "predicted"), Targets: value.Draw(t, "targets"),
		}
		r.Targets[n-1] = 1
		if n > 1 && rapid.Bool().Draw(t, "unknown") {
			r.Targets[0] = math.NaN()
		}
		chunks, err := estimate.ChunksOf(n, rapid.IntRange(1, n).Draw(t, "size"))
		require.NoError(t, err)
		f, err := estimate.FitDLE(r, chunks, nil, estimate.TrainTrees(estimate.TreeOptions{Trees: 5, MinRows: 2}))
		require.NoError(t, err)
		got, err := f.Estimate(r, chunks)
		require.NoError(t, err)
		requireSound(t, got, math.Inf(1))
		for _, c := range got {
			for _, e := range c.Estimates {
				require.NotNil(t, e.Value, "%s", e.Metric)
			}
		}
	})
}
