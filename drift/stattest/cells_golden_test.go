package stattest_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/internal/golden"
	"github.com/millrace/millrace/drift/stattest"
)

// Statistics and p-values of the reference implementations, relative.
const (
	cellTolerance  = 1e-9
	cellPTolerance = 1e-6
)

type cellTest func(reference, current []float64) (stattest.Result, error)

func tvd(reference, current []float64) (stattest.Result, error) {
	return stattest.TVD(reference, current, stattest.Options{Permutations: 1})
}

func whole(v []float64) bool {
	return !slices.ContainsFunc(v, func(x float64) bool { return x != math.Trunc(x) })
}

func TestGoldenCells(t *testing.T) {
	for i, c := range golden.Load[struct {
		Reference, Current golden.Spec
		JensenShannon      float64
		Hellinger          float64
		KLDiv              float64 `json:"kl_div"`
		PSI                float64
		LInfinity          float64 `json:"l_infinity"`
		TVD                float64
		ChiSquare          *float64
		ChiSquareP         float64 `json:"chisquare_p"`
		GTest              float64 `json:"g_test"`
		GTestP             float64 `json:"g_test_p"`
		CramersV           float64 `json:"cramers_v"`
	}](t, "testdata/golden_cells.json") {
		what := fmt.Sprintf("case %d", i)
		r, k := c.Reference.Generate(), c.Current.Generate()
		equal := func(function string, f cellTest, want float64) stattest.Result {
			got, err := f(r, k)
			require.NoError(t, err, "%s of %s", function, what)
			golden.Equal(t, function, what, want, got.Score, cellTolerance)
			return got
		}
		equal("jensenshannon", stattest.JensenShannon, c.JensenShannon)
		equal("hellinger", stattest.Hellinger, c.Hellinger)
		equal("kl_div", stattest.KLDivergence, c.KLDiv)
		equal("psi", stattest.PSI, c.PSI)
		equal("l_infinity", stattest.LInfinity, c.LInfinity)
		if n := slices.Max(r); whole(r) && whole(k) && n < 1<<50 {
			equal("TVD", tvd, c.TVD)
		}
		if c.ChiSquare == nil {
			continue
		}
		got := equal("chisquare", stattest.ChiSquare, *c.ChiSquare)
		golden.Equal(t, "chisquare p", what, c.ChiSquareP, *got.PValue, cellPTolerance)
		golden.Equal(t, "Cramér's V", what, c.CramersV, *got.EffectSize, cellTolerance)
		got = equal("g_test", stattest.GTest, c.GTest)
		golden.Equal(t, "g_test p", what, c.GTestP, *got.PValue, cellPTolerance)
		golden.Equal(t, "Cramér's V", what, c.CramersV, *got.EffectSize, cellTolerance)
	}
}

func TestGoldenChiSquareSurvival(t *testing.T) {
	for _, c := range golden.Load[struct {
		DF   int
		X, P float64
	}](t, "testdata/golden_chi2.json") {
		golden.Equal(t, "chi-square survival", fmt.Sprintf("%v, %d degrees of freedom", c.X, c.DF), c.P, stattest.ChiSquareTail(c.DF, c.X), cellPTolerance)
	}
}

func TestGoldenFit(t *testing.T) {
	for i, c := range golden.Load[struct {
		Observed, Expected []float64
		ChiSquare          float64
		ChiSquareP         float64 `json:"chisquare_p"`
		GTest              float64 `json:"g_test"`
		GTestP             float64 `json:"g_test_p"`
	}](t, "testdata/golden_fit.json") {
		what := fmt.Sprintf("case %d", i)
		got, err := stattest.ChiSquareFit(c.Observed, c.Expected)
		require.NoError(t, err, what)
		golden.Equal(t, "chisquare fit", what, c.ChiSquare, got.Score, cellTolerance)
		golden.Equal(t, "chisquare fit p", what, c.ChiSquareP, *got.PValue, cellPTolerance)
		got, err = stattest.GTestFit(c.Observed, c.Expected)
		require.NoError(t, err, what)
		golden.Equal(t, "g_test fit", what, c.GTest, got.Score, cellTolerance)
		golden.Equal(t, "g_test fit p", what, c.GTestP, *got.PValue, cellPTolerance)
	}
}

func TestGoldenBinary(t *testing.T) {
	for _, c := range golden.Load[struct {
		Table  [4]float64
		P      float64
		PSciPy *float64 `json:"p_scipy"`
		Odds   golden.Float
		Z, H   float64
		ZP     float64 `json:"z_p"`
	}](t, "testdata/golden_binary.json") {
		what := fmt.Sprint(c.Table)
		got, err := stattest.FisherExact(c.Table[:2], c.Table[2:])
		require.NoError(t, err, what)
		golden.Equal(t, "fisher_exact p", what, c.P, *got.PValue, cellPTolerance)
		if c.PSciPy != nil {
			golden.Equal(t, "fisher_exact p (SciPy)", what, *c.PSciPy, *got.PValue, cellPTolerance)
		}
		if odds := float64(c.Odds); odds > 0 && !math.IsInf(odds, 1) {
			golden.Equal(t, "fisher_exact", what, odds, got.Score, cellTolerance)
		}
		got, err = stattest.Z(c.Table[:2], c.Table[2:])
		require.NoError(t, err, what)
		golden.Equal(t, "z", what, c.Z, got.Score, cellTolerance)
		golden.Equal(t, "z p", what, c.ZP, *got.PValue, cellPTolerance)
		golden.Equal(t, "Cohen's h", what, c.H, *got.EffectSize, cellTolerance)
	}
}

// TestGoldenEvidently bins whole columns as Evidently does.
func TestGoldenEvidently(t *testing.T) {
	for i, c := range golden.Load[struct {
		Reference, Current golden.Spec
		Integers           bool
		P, Q               []float64
		JensenShannon      float64
		PSI                float64
		KLDiv              float64 `json:"kl_div"`
		Hellinger          float64
	}](t, "testdata/golden_evidently.json") {
		what := fmt.Sprintf("case %d", i)
		reference, current := stattest.NewSample(c.Reference.Generate()), stattest.NewSample(c.Current.Generate())
		bins, err := stattest.EvidentlyBins(reference, current, c.Integers)
		require.NoError(t, err, what)
		r, k := bins.Count(reference), bins.Count(current)
		for side, pair := range [][2][]float64{{c.P, r}, {c.Q, k}} {
			shares := slices.Clone(pair[1])
			for j := range shares {
				shares[j] /= []stattest.Sample{reference, current}[side].Rows()
			}
			slices.Sort(shares)
			require.Equal(t, pair[0], shares, what)
		}
		for _, f := range []struct {
			name string
			test cellTest
			want float64
		}{
			{"jensenshannon (Evidently)", stattest.JensenShannon, c.JensenShannon},
			{"psi (Evidently)", stattest.EvidentlyPSI, c.PSI},
			{"kl_div (Evidently)", stattest.EvidentlyKLDivergence, c.KLDiv},
		} {
			got, err := f.test(r, k)
			require.NoError(t, err, what)
			golden.Equal(t, f.name, what, f.want, got.Score, cellTolerance)
		}
		bins, err = stattest.EvidentlyHellingerBins(reference, current, c.Integers)
		require.NoError(t, err, what)
		got, err := stattest.Hellinger(bins.Count(reference), bins.Count(current))
		require.NoError(t, err, what)
		golden.Equal(t, "hellinger (Evidently)", what, c.Hellinger, got.Score, cellTolerance)
	}
}

// TestGoldenCategories has categorical columns.
func TestGoldenCategories(t *testing.T) {
	for i, c := range golden.Load[struct {
		Reference, Current []float64
		JensenShannon      float64
		PSI                float64
		KLDiv              float64 `json:"kl_div"`
		Hellinger          float64
		TVD                float64
		LInfinity          float64 `json:"l_infinity"`
	}](t, "testdata/golden_categories.json") {
		for _, f := range []struct {
			name string
			test cellTest
			want float64
		}{
			{"jensenshannon (Evidently)", stattest.JensenShannon, c.JensenShannon},
			{"psi (Evidently)", stattest.EvidentlyPSI, c.PSI},
			{"kl_div (Evidently)", stattest.EvidentlyKLDivergence, c.KLDiv},
			{"hellinger (Evidently)", stattest.Hellinger, c.Hellinger},
			{"TVD (Evidently)", tvd, c.TVD},
			{"l_infinity (NannyML)", stattest.LInfinity, c.LInfinity},
		} {
			got, err := f.test(c.Reference, c.Current)
			require.NoError(t, err)
			golden.Equal(t, f.name, fmt.Sprintf("case %d", i), f.want, got.Score, cellTolerance)
		}
	}
}

// TestGoldenBins has NumPy's edges to the bit, and its counts.
func TestGoldenBins(t *testing.T) {
	for i, c := range golden.Load[struct {
		Spec, Current golden.Spec
		Integers      bool
		Bins          string
		N             int
		Edges         []golden.Float
		Counts        []float64
		CurrentCounts []float64 `json:"current_counts"`
	}](t, "testdata/golden_bins.json") {
		what := fmt.Sprintf("case %d: %s %d", i, c.Bins, c.N)
		sample := stattest.NewSample(c.Spec.Generate())
		var bins stattest.Bins
		var err error
		switch c.Bins {
		case "quantile":
			bins, err = stattest.QuantileBins(sample, c.N)
		case "width":
			bins, err = stattest.EqualWidthBins(sample, c.N)
		case "sturges":
			bins, err = stattest.SturgesBins(sample, c.Integers)
		default:
			t.Fatal(c.Bins)
		}
		require.NoError(t, err, what)
		require.Len(t, bins.Edges, len(c.Edges), what)
		for j, want := range c.Edges {
			golden.Equal(t, "bin edges, "+c.Bins, what, float64(want), bins.Edges[j], 0)
		}
		require.Equal(t, c.Counts, bins.Count(sample), what)
		require.Equal(t, c.CurrentCounts, bins.Count(stattest.NewSample(c.Current.Generate())), what)
	}
}

func TestGoldenCorrections(t *testing.T) {
	for i, c := range golden.Load[struct{ P, BH, Bonferroni []float64 }](t, "testdata/golden_corrections.json") {
		bh, err := stattest.BenjaminiHochberg(c.P)
		require.NoError(t, err)
		bonferroni, err := stattest.Bonferroni(c.P)
		require.NoError(t, err)
		for j := range c.P {
			what := fmt.Sprintf("case %d, value %d", i, j)
			golden.Equal(t, "Benjamini-Hochberg", what, c.BH[j], bh[j], 1e-14)
			golden.Equal(t, "Bonferroni", what, c.Bonferroni[j], bonferroni[j], 1e-14)
		}
	}
}

func TestGoldenChoice(t *testing.T) {
	for _, c := range golden.Load[struct {
		Numeric   bool
		Distinct  int
		Rows      float64
		Name      string
		Threshold float64
	}](t, "testdata/golden_choice.json") {
		require.Equal(t, c.Name, stattest.DefaultTest(c.Numeric, c.Distinct, c.Rows), "%+v", c)
		if test := stattest.Lookup(c.Name); test != nil && test.Cells != nil {
			require.Equal(t, c.Threshold, test.Threshold, c.Name)
		}
	}
}

func TestGoldenThresholds(t *testing.T) {
	for i, c := range golden.Load[struct {
		Spec            golden.Spec
		K, Lower, Upper float64
		Q               []float64
	}](t, "testdata/golden_thresholds.json") {
		what := fmt.Sprintf("case %d", i)
		x := c.Spec.Generate()
		lower, upper, err := stattest.SigmaThresholds(x, c.K)
		require.NoError(t, err)
		golden.Equal(t, "mean - k sigma", what, c.Lower, lower, 1e-12)
		golden.Equal(t, "mean + k sigma", what, c.Upper, upper, 1e-12)
		for j, level := range []float64{0, 0.05, 0.5, 0.95, 1} {
			got, err := stattest.QuantileThreshold(x, level)
			require.NoError(t, err)
			golden.Equal(t, "quantile of chunks", what, c.Q[j], got, 1e-14)
		}
	}
}
