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
	b, err := os.ReadFile(goldenPath)
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
			golden.Equal(t, "needs_calibration", what+" after", c.Errors[1], *f.Calibration.After, 1e-9)
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
