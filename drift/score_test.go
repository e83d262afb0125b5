package drift_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/schemas"
)

type goldenFile struct {
	Drift []struct {
		Name               string
		Numeric            bool
		Reference, Current []int64
		Missing, Other     [2]int64
		PSI                float64
		DF                 int
		Chi2               *float64
		Chi2P              *float64 `json:"chi2_p"`
		CramersV           *float64 `json:"cramers_v"`
		KS                 *float64
		KSP                *float64 `json:"ks_p"`
	}
	Kolmogorov [][2]float64
	Groups     []struct {
		Reference []int64
		Groups    []int
	}
	Quality []struct {
		Positives, Negatives []int64
		TP, FP, FN, TN       int64
		Accuracy             float64
		Precision            *float64
		Recall               float64
		ROCAUC               float64 `json:"roc_auc"`
	}
}

// golden reads what testdata/make_golden.py computed with SciPy, NumPy and scikit-learn.
func golden(t *testing.T) goldenFile {
	t.Helper()
	text, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var g goldenFile
	require.NoError(t, json.Unmarshal(text, &g))
	require.Greater(t, len(g.Drift), 50)
	return g
}

// near compares relatively, and absolutely below 1e-300.
func near(t *testing.T, want, got, relative float64) {
	t.Helper()
	require.LessOrEqual(t, math.Abs(want-got), relative*math.Abs(want)+1e-300, "want %v, got %v", want, got)
}

func TestDriftScoresEqualSciPy(t *testing.T) {
	for _, c := range golden(t).Drift {
		t.Run(c.Name, func(t *testing.T) {
			reference := drift.Counts{Cells: c.Reference, Missing: c.Missing[0], Other: c.Other[0]}
			current := drift.Counts{Cells: c.Current, Missing: c.Missing[1], Other: c.Other[1]}
			s, err := drift.ColumnScore(schemas.StattestPSI, reference, current, c.Numeric)
			require.NoError(t, err)
			require.Nil(t, s.PValue)
			require.InDelta(t, c.PSI, s.Value, 1e-12*(1+c.PSI))

			s, err = drift.ColumnScore(schemas.StattestChiSquare, reference, current, c.Numeric)
			require.NoError(t, err)
			if c.Chi2P != nil {
				require.InDelta(t, *c.CramersV, s.Value, 1e-9)
				near(t, *c.Chi2P, *s.PValue, 1e-8)
			}
			if c.KS == nil {
				_, err = drift.ColumnScore(schemas.StattestKS, reference, current, c.Numeric)
				require.ErrorContains(t, err, "ordered bins")
				return
			}
			s, err = drift.ColumnScore(schemas.StattestKS, reference, current, c.Numeric)
			require.NoError(t, err)
			require.InDelta(t, *c.KS, s.Value, 1e-12)
			near(t, *c.KSP, *s.PValue, 1e-9)
		})
	}
}

func TestChiSquareEqualsSciPy(t *testing.T) {
	for _, c := range golden(t).Drift {
		if c.Numeric || c.Missing != [2]int64{} || c.Chi2 == nil {
			continue
		}
		x, err := drift.ChiSquare(append(slices.Clone(c.Reference), c.Other[0]), append(slices.Clone(c.Current), c.Other[1]))
		require.NoError(t, err)
		require.Equal(t, c.DF, x.DF, c.Name)
		near(t, *c.Chi2, x.Statistic, 1e-9)
	}
}

func TestKolmogorovEqualsSciPy(t *testing.T) {
	for _, c := range golden(t).Kolmogorov {
		near(t, c[1], drift.KolmogorovSurvival(c[0]), 1e-11)
	}
}

func TestGroupBins(t *testing.T) {
	for _, c := range golden(t).Groups {
		require.Equal(t, c.Groups, drift.GroupBins(c.Reference, 10), "%v", c.Reference)
	}
}

func TestScoreGuards(t *testing.T) {
	empty := drift.Counts{Cells: []int64{0, 0}}
	some := drift.Counts{Cells: []int64{3, 4}}
	gone := drift.Counts{Cells: []int64{0, 0}, Missing: 7}
	for _, test := range []schemas.Stattest{schemas.StattestPSI, schemas.StattestKS, schemas.StattestChiSquare} {
		for _, sides := range [][2]drift.Counts{{empty, some}, {some, empty}, {empty, empty}} {
			_, err := drift.ColumnScore(test, sides[0], sides[1], true)
			require.ErrorIs(t, err, drift.ErrNoRows, test)
		}
		_, err := drift.ColumnScore(test, some, drift.Counts{Cells: []int64{1}}, true)
		require.ErrorContains(t, err, "has 2 cells, the window 1", test)
		_, err = drift.ColumnScore(test, some, drift.Counts{Cells: []int64{-1, 4}}, true)
		require.ErrorContains(t, err, "negative", test)
		for _, sides := range [][2]drift.Counts{{some, gone}, {gone, some}, {gone, gone}, {some, some}} {
			s, err := drift.ColumnScore(test, sides[0], sides[1], true)
			require.NoError(t, err, test)
			require.False(t, math.IsNaN(s.Value) || math.IsInf(s.Value, 0), test)
		}
	}
	s, err := drift.ColumnScore(schemas.StattestKS, some, gone, true)
	require.NoError(t, err)
	require.Equal(t, drift.Score{Stattest: schemas.StattestKS, Value: 1}, s, "values that vanish differ as much as can be")
	s, err = drift.ColumnScore(schemas.StattestKS, gone, gone, true)
	require.NoError(t, err)
	require.Equal(t, drift.Score{Stattest: schemas.StattestKS}, s)
	_, err = drift.ColumnScore(schemas.StattestAUC, some, some, true)
	require.ErrorContains(t, err, "no drift score")
	_, err = drift.PSI([]int64{1}, []int64{1, 2})
	require.ErrorContains(t, err, "1 cells, the window 2")
}

func counts(t *rapid.T, cells int, label string) []int64 {
	return rapid.SliceOfN(rapid.Int64Range(0, 1_000_000), cells, cells).Draw(t, label)
}

// TestScoreProperties: symmetric (but for the reference's groups), zero for the same
// shares, within range, and unmoved by the order of categories.
func TestScoreProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cells := rapid.IntRange(1, 60).Draw(t, "cells")
		a, b := counts(t, cells, "reference"), counts(t, cells, "current")
		ab, err := drift.PSI(a, b)
		if errors.Is(err, drift.ErrNoRows) {
			return
		}
		require.NoError(t, err)
		ba, err := drift.PSI(b, a)
		require.NoError(t, err)
		require.InDelta(t, ab, ba, 1e-9*(1+ab))
		require.GreaterOrEqual(t, ab, 0.0)

		d, p, err := drift.KS(a, b)
		require.NoError(t, err)
		d2, p2, err := drift.KS(b, a)
		require.NoError(t, err)
		require.InDelta(t, d, d2, 1e-12)
		require.InDelta(t, p, p2, 1e-9)
		require.True(t, d >= 0 && d <= 1 && p >= 0 && p <= 1, "D %v, p %v", d, p)

		x, err := drift.ChiSquare(a, b)
		require.NoError(t, err)
		require.True(t, x.CramersV >= 0 && x.CramersV <= 1 && x.PValue >= 0 && x.PValue <= 1 && x.Statistic >= 0, "%+v", x)

		ra, rb := slices.Clone(a), slices.Clone(b)
		slices.Reverse(ra)
		slices.Reverse(rb)
		turned, err := drift.PSI(ra, rb)
		require.NoError(t, err)
		require.InDelta(t, ab, turned, 1e-9*(1+ab))
		xt, err := drift.ChiSquare(ra, rb)
		require.NoError(t, err)
		require.InDelta(t, x.CramersV, xt.CramersV, 1e-9)

		k := rapid.Int64Range(1, 50).Draw(t, "multiple")
		for i := range b {
			b[i] = a[i] * k
		}
		d, p, err = drift.KS(a, b)
		require.NoError(t, err)
		require.InDelta(t, 0, d, 1e-12)
		require.InDelta(t, 1, p, 1e-9)
		x, err = drift.ChiSquare(a, b)
		require.NoError(t, err)
		require.InDelta(t, 0, x.CramersV, 1e-7)
	})
}

func TestGroupBinsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bins := counts(t, rapid.IntRange(1, 80).Draw(t, "bins"), "reference")
		g := drift.GroupBins(bins, 10)
		require.Len(t, g, len(bins))
		require.Equal(t, 0, g[0])
		for i := 1; i < len(g); i++ {
			require.True(t, g[i] == g[i-1] || g[i] == g[i-1]+1, "%v", g)
		}
		require.Less(t, g[len(g)-1], 10)
	})
}

// TestPSIGrowsWithShift moves mass step by step from the first bin to the last.
func TestPSIGrowsWithShift(t *testing.T) {
	reference := []int64{1000, 1000, 1000, 1000}
	last := -1.0
	for moved := int64(0); moved <= 1000; moved += 100 {
		psi, err := drift.PSI(reference, []int64{1000 - moved, 1000, 1000, 1000 + moved})
		require.NoError(t, err)
		require.Greater(t, psi, last)
		last = psi
	}
}

func TestQualityEqualsScikitLearn(t *testing.T) {
	for i, c := range golden(t).Quality {
		confusion := drift.Confusion{TruePositive: c.TP, FalsePositive: c.FP, FalseNegative: c.FN, TrueNegative: c.TN}
		accuracy, ok := confusion.Accuracy()
		require.True(t, ok)
		require.InDelta(t, c.Accuracy, accuracy, 1e-15)
		precision, ok := confusion.Precision()
		require.Equal(t, c.Precision != nil, ok)
		if ok {
			require.InDelta(t, *c.Precision, precision, 1e-15)
		}
		recall, ok := confusion.Recall()
		require.True(t, ok)
		require.InDelta(t, c.Recall, recall, 1e-15)
		auc, bound, ok := drift.ROCAUC(c.Positives, c.Negatives)
		require.True(t, ok)
		require.InDelta(t, c.ROCAUC, auc, 1e-12, "case %d", i)

		// Merging neighbouring scores moves the area by no more than the bound says.
		var p, n []int64
		for j := 0; j < len(c.Positives); j += 7 {
			var sp, sn int64
			for k := j; k < min(j+7, len(c.Positives)); k++ {
				sp += c.Positives[k]
				sn += c.Negatives[k]
			}
			p, n = append(p, sp), append(n, sn)
		}
		coarse, wide, ok := drift.ROCAUC(p, n)
		require.True(t, ok)
		require.GreaterOrEqual(t, wide, bound)
		require.LessOrEqual(t, math.Abs(coarse-auc), wide)
	}
}

func TestQualityUndefined(t *testing.T) {
	var q drift.Quality
	for _, f := range []func() (float64, bool){q.Accuracy, q.Precision, q.Recall, q.ROCAUC} {
		v, ok := f()
		require.False(t, ok)
		require.Zero(t, v)
	}
	for _, sides := range [][2][]int64{{nil, nil}, {{1}, {0}}, {{0}, {1}}, {{1, 2}, {1}}} {
		_, _, ok := drift.ROCAUC(sides[0], sides[1])
		require.False(t, ok, "%v", sides)
	}
}
