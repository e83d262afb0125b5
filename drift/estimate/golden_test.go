package estimate_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/estimate"
	"github.com/millrace/millrace/drift/internal/golden"
)

const goldenPath = "testdata/golden_estimate.json"

// goldenPart returns the cases of one part of the golden file.
func goldenPart[T any](t *testing.T, part string) []T {
	t.Helper()
	return goldenPartOf[T](t, goldenPath, part)
}

func goldenPartOf[T any](t *testing.T, path, part string) []T {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err, "make golden makes it")
	var file struct {
		Cases []json.RawMessage `json:"cases"`
	}
	require.NoError(t, json.Unmarshal(b, &file))
	var out []T
	for _, raw := range file.Cases {
		var head struct {
			Part string `json:"part"`
		}
		require.NoError(t, json.Unmarshal(raw, &head))
		if head.Part != part {
			continue
		}
		var c T
		require.NoError(t, json.Unmarshal(raw, &c))
		out = append(out, c)
	}
	require.NotEmpty(t, out, part)
	return out
}

func TestGoldenIsotonic(t *testing.T) {
	for i, c := range goldenPart[struct {
		X, Y   golden.Spec
		W      *golden.Spec
		Points int
		At     []golden.Float
		Want   []golden.Float
	}](t, "isotonic") {
		var w []float64
		if c.W != nil {
			w = c.W.Generate()
		}
		f, err := estimate.FitIsotonic(c.X.Generate(), c.Y.Generate(), w)
		require.NoError(t, err, "case %d", i)
		golden.Equal(t, "isotonic", fmt.Sprintf("case %d: points", i), float64(c.Points), float64(len(f.X)), 0)
		for k, x := range c.At {
			golden.Equal(t, "isotonic", fmt.Sprintf("case %d at %v", i, x), float64(c.Want[k]), f.At(float64(x)), 1e-12)
		}
	}
}

// binarySide is a generated side of a binary case; see make_estimate.py.
type binarySide struct {
	Scores       golden.Spec
	Seed         uint64
	A, B, C, Cut float64
	Unknown      int
}

func (s binarySide) generate() estimate.Binary {
	b := estimate.Binary{Scores: s.Scores.Generate()}
	u := golden.Spec{Kind: "uniform", N: len(b.Scores), Seed: s.Seed}.Generate()
	b.Predicted, b.Targets = make([]int, len(u)), make([]int, len(u))
	for i, v := range b.Scores {
		v = min(max(v, 0), 1)
		b.Scores[i] = v
		if u[i] < float64(float64(float64(s.A*v)*v)+float64(s.B*v))+s.C {
			b.Targets[i] = 1
		}
		if v >= s.Cut {
			b.Predicted[i] = 1
		}
		if s.Unknown > 0 && (i+1)%s.Unknown == 0 {
			b.Targets[i] = estimate.Unknown
		}
	}
	return b
}

// nan is how the golden file has what does not exist.
func nan(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

// equalEstimates compares chunks with rows of figures: value, sampling error, bounds,
// realized, thresholds, alert.
func equalEstimates(t *testing.T, function, what string, want map[string][][]golden.Float, got []estimate.ChunkEstimates, tolerance float64) {
	t.Helper()
	for m, rows := range want {
		require.Len(t, got, len(rows), "%s %s", what, m)
	}
	for i, chunk := range got {
		require.Len(t, chunk.Estimates, len(want))
		for _, e := range chunk.Estimates {
			alert := 0.0
			if e.Alert {
				alert = 1
			}
			rows := want[string(e.Metric)]
			require.NotNil(t, rows, "%s", e.Metric)
			for k, v := range []float64{
				nan(e.Value), nan(e.SamplingError), nan(e.Lower), nan(e.Upper),
				nan(e.Realized), nan(e.LowerThreshold), nan(e.UpperThreshold), alert,
			} {
				figure := []string{"value", "sampling error", "lower", "upper", "realized", "lower threshold", "upper threshold", "alert"}[k]
				golden.Equal(t, function+" "+string(e.Metric), fmt.Sprintf("%s chunk %d %s", what, i, figure), float64(rows[i][k]), v, tolerance)
			}
		}
	}
}

// TestGoldenCalibrate takes references on which the decision is close.
func TestGoldenCalibrate(t *testing.T) {
	apart := 0
	cases := goldenPart[struct {
		Reference     binarySide
		Plain, Needed bool
		Errors        []float64
	}](t, "calibration")
	for i, c := range cases {
		reference := c.Reference.generate()
		got, err := estimate.Calibrate(reference.Scores, reference.Targets)
		require.NoError(t, err)
		require.Equal(t, c.Needed, got.Needed, "case %d", i)
		golden.Equal(t, "needs_calibration", fmt.Sprintf("close case %d before", i), c.Errors[0], *got.Before, 1e-11)
		golden.Equal(t, "needs_calibration", fmt.Sprintf("close case %d after", i), c.Errors[1], *got.After, 1e-11)
		if c.Plain != got.Needed {
			apart++
		}
	}
	t.Logf("with numpy's own order of ties NannyML decided otherwise on %d of %d", apart, len(cases))
}

func TestGoldenBinaryCBPE(t *testing.T) {
	for i, c := range goldenPart[struct {
		Reference, Analysis binarySide
		Size                int
		Plain, Needed       bool
		Errors              []float64
		Positives           []int
		Want                map[string][][]golden.Float
	}](t, "binary") {
		what := fmt.Sprintf("case %d", i)
		reference, data := c.Reference.generate(), c.Analysis.generate()
		positives := 0
		for _, y := range reference.Targets {
			positives += y
		}
		require.Equal(t, c.Positives[0], positives, "%s: generated alike", what)

		chunks, err := estimate.ChunksOf(len(reference.Scores), c.Size)
		require.NoError(t, err)
		f, err := estimate.FitBinaryCBPE(reference, chunks)
		require.NoError(t, err, what)
		require.Equal(t, c.Needed, f.Calibration.Needed, what)
		require.Equal(t, c.Plain, f.Calibration.Needed, "%s: also with numpy's own order of ties", what)
		if len(c.Errors) > 0 {
			golden.Equal(t, "needs_calibration", what+" before", c.Errors[0], *f.Calibration.Before, 1e-11)
			golden.Equal(t, "needs_calibration", what+" after", c.Errors[1], *f.Calibration.After, 1e-11)
		}
		got, err := f.Estimate(reference, chunks)
		require.NoError(t, err, what)
		chunks, err = estimate.ChunksOf(len(data.Scores), c.Size)
		require.NoError(t, err)
		more, err := f.Estimate(data, chunks)
		require.NoError(t, err, what)
		equalEstimates(t, "cbpe binary", what, c.Want, append(got, more...), 1e-11)
	}
}

// multiclassSide is a generated side of a multiclass case; see make_estimate.py.
type multiclassSide struct {
	N, Classes     int
	Seed           uint64
	Mix            float64
	First, Quantum float64
	Top            *int
	Unknown        int
}

func (s multiclassSide) generate() estimate.Multiclass {
	m := estimate.Multiclass{Scores: make([][]float64, s.Classes), Predicted: make([]int, s.N), Targets: make([]int, s.N)}
	if s.First == 0 {
		s.First = 1
	}
	total := make([]float64, s.N)
	for k := range m.Scores {
		m.Scores[k] = golden.Spec{Kind: "uniform", N: s.N, Seed: s.Seed + uint64(k), Quantum: s.Quantum}.Generate()
		for i, r := range m.Scores[k] {
			r *= r
			if k == 0 {
				r *= s.First
			}
			r = float64(r) + 0.001
			m.Scores[k][i] = r
			total[i] += r
		}
	}
	u := golden.Spec{Kind: "uniform", N: s.N, Seed: s.Seed + 100}.Generate()
	for i := range u {
		reached, target := 0.0, -1
		for k := range m.Scores {
			m.Scores[k][i] /= total[i]
			reached += float64(m.Scores[k][i]*s.Mix) + (1-s.Mix)/float64(s.Classes)
			if target < 0 && u[i] < reached {
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
		if s.Top != nil {
			m.Predicted[i] = min(m.Predicted[i], *s.Top)
		}
		if s.Unknown > 0 && (i+1)%s.Unknown == 0 {
			m.Targets[i] = estimate.Unknown
		}
	}
	return m
}

func TestGoldenMulticlassCBPE(t *testing.T) {
	for i, c := range goldenPart[struct {
		Reference, Analysis multiclassSide
		Size                int
		Needed              []bool
		Sums                []int
		Want                map[string][][]golden.Float
	}](t, "multiclass") {
		what := fmt.Sprintf("case %d", i)
		reference, data := c.Reference.generate(), c.Analysis.generate()
		sums := []int{0, 0}
		for i, y := range reference.Targets {
			sums[0] += y
			sums[1] += reference.Predicted[i]
		}
		require.Equal(t, c.Sums, sums, "%s: generated alike", what)

		chunks, err := estimate.ChunksOf(len(reference.Targets), c.Size)
		require.NoError(t, err)
		f, err := estimate.FitMulticlassCBPE(reference, chunks)
		require.NoError(t, err, what)
		for k, needed := range c.Needed {
			require.Equal(t, needed, f.Calibrations[k].Needed, "%s class %d", what, k)
		}
		got, err := f.Estimate(reference, chunks)
		require.NoError(t, err, what)
		chunks, err = estimate.ChunksOf(len(data.Targets), c.Size)
		require.NoError(t, err)
		more, err := f.Estimate(data, chunks)
		require.NoError(t, err, what)
		equalEstimates(t, "cbpe multiclass", what, c.Want, append(got, more...), 1e-11)
	}
}

// regressionSide is a generated side of a regression case; see make_estimate.py.
type regressionSide struct {
	N           int
	Seed        uint64
	Scale       *float64
	Move, Shift float64
	Slope       *float64
	Noise       *float64
	Quantum     float64
	Levels      float64
	Missing     bool
	Unknown     int
}

func (s regressionSide) generate() estimate.Regression {
	or := func(v *float64, standard float64) float64 {
		if v == nil {
			return standard
		}
		return *v
	}
	if s.Levels == 0 {
		s.Levels = 6
	}
	scale := golden.Float(or(s.Scale, 1))
	a := golden.Spec{Kind: "uniform", N: s.N, Seed: s.Seed, Scale: &scale, Shift: golden.Float(s.Move)}.Generate()
	b := golden.Spec{Kind: "normal", N: s.N, Seed: s.Seed + 1}.Generate()
	c := golden.Spec{Kind: "int", N: s.N, Seed: s.Seed + 2, Levels: s.Levels}.Generate()
	e := golden.Spec{Kind: "normal", N: s.N, Seed: s.Seed + 3}.Generate()
	r := estimate.Regression{
		Features: []estimate.Feature{
			{Name: "a", Values: a},
			{Name: "b", Values: b},
			{Name: "c", Values: c, Categorical: true},
		},
		Predicted: make([]float64, s.N), Targets: make([]float64, s.N),
	}
	width := []float64{0.2, 1, 0.5, 2, 0.1, 0.7}
	for i := range a {
		p := s.Shift + float64(3*a[i]) + float64(b[i]*or(s.Slope, 0.5))
		y := p + float64(float64(e[i]*(float64(a[i]*a[i])+0.1))*width[int(c[i])]*or(s.Noise, 1))
		if s.Quantum != 0 {
			p, y = math.Floor(p/s.Quantum)*s.Quantum, math.Floor(y/s.Quantum)*s.Quantum
		}
		if s.Unknown > 0 && (i+1)%s.Unknown == 0 {
			y = math.NaN()
		}
		r.Predicted[i], r.Targets[i] = p, y
	}
	if s.Missing {
		for i := 16; i < len(a); i += 17 {
			a[i] = math.NaN()
		}
	}
	return r
}

type regressionCase struct {
	Reference, Analysis regressionSide
	Size                int
	Metrics             []estimate.Metric
	Sums                []golden.Float
	Want                map[string][][]golden.Float
}

// estimates fits the reference and estimates its chunks, then those of the analysis.
func (c regressionCase) estimates(t *testing.T, train estimate.Train) []estimate.ChunkEstimates {
	t.Helper()
	var out []estimate.ChunkEstimates
	var f *estimate.DLE
	for i, side := range []estimate.Regression{c.Reference.generate(), c.Analysis.generate()} {
		chunks, err := estimate.ChunksOf(len(side.Predicted), c.Size)
		require.NoError(t, err)
		if i == 0 {
			f, err = estimate.FitDLE(side, chunks, c.Metrics, train)
			require.NoError(t, err)
		}
		got, err := f.Estimate(side, chunks)
		require.NoError(t, err)
		out = append(out, got...)
	}
	return out
}

// stub is the nanny of make_estimate.py.
type stub struct{}

func (stub) Predict(features []estimate.Feature) ([]float64, error) {
	out := make([]float64, len(features[0].Values))
	for i := range out {
		out[i] = features[1].Values[i]*0.3 + features[3].Values[i]*0.02 + 0.1
	}
	return out, nil
}

// TestGoldenDLE takes the nanny as given: all else must be NannyML's.
func TestGoldenDLE(t *testing.T) {
	for i, c := range goldenPart[regressionCase](t, "regression") {
		got := c.estimates(t, func([]estimate.Feature, []float64) (estimate.Nanny, error) { return stub{}, nil })
		equalEstimates(t, "dle", fmt.Sprintf("case %d", i), c.Want, got, 1e-9)
	}
}

// TestNannyAsGoodAsLightGBM compares our trees' estimates of chunks, which the nanny has not
// seen, with the realized loss, and wants them about as near to it as those of NannyML with
// LightGBM, and near to these.
func TestNannyAsGoodAsLightGBM(t *testing.T) {
	for i, c := range goldenPart[regressionCase](t, "nanny") {
		got := c.estimates(t, nil)
		got = got[c.Reference.N/c.Size:]
		for k, m := range c.Metrics {
			want := c.Want[string(m)][c.Reference.N/c.Size:]
			require.Len(t, got, len(want))
			var ours, theirs, apart, realized float64
			for j, row := range want {
				value := *got[j].Estimates[k].Value
				realized += float64(row[4])
				ours += math.Abs(value - float64(row[4]))
				theirs += math.Abs(float64(row[0]) - float64(row[4]))
				apart += math.Abs(value - float64(row[0]))
			}
			require.LessOrEqual(t, ours, 1.25*theirs+0.01*realized, "case %d %s: LightGBM is off by %v, of %v", i, m, theirs, realized)
			require.LessOrEqual(t, apart, 0.06*realized, "case %d %s: from LightGBM's estimates", i, m)
			t.Logf("case %d %-5s: off the realized loss by %.2f %%, LightGBM by %.2f %%; apart %.2f %%",
				i, m, 100*ours/realized, 100*theirs/realized, 100*apart/realized)
		}
	}
}
