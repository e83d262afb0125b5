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
	"github.com/millrace/millrace/drift/internal/golden"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

type goldenFile struct {
	Drift []struct {
		Name               string
		Numeric            bool
		Reference, Current []int64
		Missing, Other     [2]int64
		PSI                float64
		Chi2P              *float64 `json:"chi2_p"`
		CramersV           *float64 `json:"cramers_v"`
		KS                 *float64
		KSP                *float64 `json:"ks_p"`
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

// reference reads what make_monitor.py computed with SciPy, NumPy and scikit-learn.
func reference(t *testing.T) goldenFile {
	t.Helper()
	text, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var g goldenFile
	require.NoError(t, json.Unmarshal(text, &g))
	require.Greater(t, len(g.Drift), 50)
	return g
}

func TestGoldenMonitorScores(t *testing.T) {
	for _, c := range reference(t).Drift {
		t.Run(c.Name, func(t *testing.T) {
			reference := profile.Counts{Cells: c.Reference, Missing: c.Missing[0], Other: c.Other[0]}
			current := profile.Counts{Cells: c.Current, Missing: c.Missing[1], Other: c.Other[1]}
			s, err := drift.ColumnScore(schemas.StattestPSI, reference, current, c.Numeric)
			require.NoError(t, err)
			require.Nil(t, s.PValue)
			golden.Equal(t, "monitor: psi", c.Name, c.PSI, s.Value, 1e-9)

			s, err = drift.ColumnScore(schemas.StattestChiSquare, reference, current, c.Numeric)
			require.NoError(t, err)
			if c.Chi2P != nil {
				golden.Equal(t, "monitor: Cramér's V", c.Name, *c.CramersV, s.Value, 1e-9)
				golden.Equal(t, "monitor: chisquare p", c.Name, *c.Chi2P, *s.PValue, 1e-8)
			}
			if c.KS == nil {
				_, err = drift.ColumnScore(schemas.StattestKS, reference, current, c.Numeric)
				require.ErrorContains(t, err, "ordered bins")
				return
			}
			s, err = drift.ColumnScore(schemas.StattestKS, reference, current, c.Numeric)
			require.NoError(t, err)
			golden.Equal(t, "monitor: ks", c.Name, *c.KS, s.Value, 1e-12)
			golden.Equal(t, "monitor: ks p", c.Name, *c.KSP, *s.PValue, 1e-9)
		})
	}
}

func TestScoreGuards(t *testing.T) {
	empty := profile.Counts{Cells: []int64{0, 0}}
	some := profile.Counts{Cells: []int64{3, 4}}
	gone := profile.Counts{Cells: []int64{0, 0}, Missing: 7}
	for _, test := range []schemas.Stattest{schemas.StattestPSI, schemas.StattestKS, schemas.StattestChiSquare} {
		for _, sides := range [][2]profile.Counts{{empty, some}, {some, empty}, {empty, empty}} {
			_, err := drift.ColumnScore(test, sides[0], sides[1], true)
			require.ErrorIs(t, err, drift.ErrNoRows, test)
		}
		_, err := drift.ColumnScore(test, some, profile.Counts{Cells: []int64{1}}, true)
		require.ErrorContains(t, err, "has 2 cells, the window 1", test)
		_, err = drift.ColumnScore(test, some, profile.Counts{Cells: []int64{-1, 4}}, true)
		require.ErrorContains(t, err, "negative", test)
		for _, sides := range [][2]profile.Counts{{some, gone}, {gone, some}, {gone, gone}, {some, some}} {
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
}

func counts(t *rapid.T, cells int, label string) []int64 {
	return rapid.SliceOfN(rapid.Int64Range(0, 1_000_000), cells, cells).Draw(t, label)
}

// TestScoreProperties: within range, symmetric and unmoved by the order of categories (of
// which none is merged), zero for the same shares.
func TestScoreProperties(t *testing.T) {
	tests := []schemas.Stattest{schemas.StattestPSI, schemas.StattestKS, schemas.StattestChiSquare}
	rapid.Check(t, func(t *rapid.T) {
		cells := rapid.IntRange(1, 60).Draw(t, "cells")
		a, b := counts(t, cells, "reference"), counts(t, cells, "current")
		score := func(test schemas.Stattest, a, b []int64) (drift.Score, bool) {
			s, err := drift.ColumnScore(test, profile.Counts{Cells: a}, profile.Counts{Cells: b}, test == schemas.StattestKS)
			if errors.Is(err, drift.ErrNoRows) {
				return s, false
			}
			require.NoError(t, err)
			require.GreaterOrEqual(t, s.Value, 0.0)
			require.Equal(t, test == schemas.StattestPSI, s.PValue == nil)
			if s.PValue != nil {
				require.LessOrEqual(t, s.Value, 1.0)
				require.True(t, *s.PValue >= 0 && *s.PValue <= 1, "p %v", *s.PValue)
			}
			return s, true
		}
		k := rapid.Int64Range(1, 50).Draw(t, "multiple")
		multiple := make([]int64, cells)
		for i := range multiple {
			multiple[i] = a[i] * k
		}
		ra, rb := slices.Clone(a), slices.Clone(b)
		slices.Reverse(ra)
		slices.Reverse(rb)
		for _, test := range tests {
			ab, ok := score(test, a, b)
			if !ok {
				return
			}
			ba, _ := score(test, b, a)
			turned, _ := score(test, ra, rb)
			require.InDelta(t, ab.Value, ba.Value, 1e-9*(1+ab.Value), test)
			require.InDelta(t, ab.Value, turned.Value, 1e-9*(1+ab.Value), test)
			if test == schemas.StattestPSI {
				continue // smoothing weighs less where there are more rows
			}
			same, _ := score(test, a, multiple)
			require.InDelta(t, 0, same.Value, 1e-12, test)
			require.InDelta(t, 1, *same.PValue, 1e-9, test)
		}
	})
}

func TestGoldenMonitorQuality(t *testing.T) {
	for i, c := range reference(t).Quality {
		q := profile.Quality{
			Confusion: profile.Confusion{TruePositive: c.TP, FalsePositive: c.FP, FalseNegative: c.FN, TrueNegative: c.TN},
			TwiceU:    twiceU(c.Positives, c.Negatives),
		}
		accuracy, ok := drift.QualityFigure(&schemas.Target{Kind: schemas.TargetBinary}, q, schemas.StattestAccuracy)
		require.True(t, ok)
		require.InDelta(t, c.Accuracy, accuracy, 1e-15)
		precision, ok := drift.QualityFigure(&schemas.Target{Kind: schemas.TargetBinary}, q, schemas.StattestPrecision)
		require.Equal(t, c.Precision != nil, ok)
		if ok {
			require.InDelta(t, *c.Precision, precision, 1e-15)
		}
		recall, ok := drift.QualityFigure(&schemas.Target{Kind: schemas.TargetBinary}, q, schemas.StattestRecall)
		require.True(t, ok)
		require.InDelta(t, c.Recall, recall, 1e-15)
		auc, ok := drift.QualityFigure(&schemas.Target{Kind: schemas.TargetBinary}, q, schemas.StattestAUC)
		require.True(t, ok)
		require.InDelta(t, c.ROCAUC, auc, 1e-12, "case %d", i)
	}
}

// twiceU counts pairs of labels by score, scores ascending.
func twiceU(positives, negatives []int64) uint64 {
	var u, below int64
	for i, p := range positives {
		u += p * (2*below + negatives[i])
		below += negatives[i]
	}
	return uint64(u)
}

func TestQualityUndefined(t *testing.T) {
	for _, metric := range []schemas.Stattest{schemas.StattestAccuracy, schemas.StattestPrecision, schemas.StattestRecall, schemas.StattestAUC} {
		v, ok := drift.QualityFigure(&schemas.Target{Kind: schemas.TargetBinary}, profile.Quality{}, metric)
		require.False(t, ok, metric)
		require.Zero(t, v, metric)
	}
	for _, c := range []profile.Confusion{{TruePositive: 1}, {FalseNegative: 1}, {TrueNegative: 1}, {FalsePositive: 1}} {
		_, ok := drift.QualityFigure(&schemas.Target{Kind: schemas.TargetBinary}, profile.Quality{Confusion: c}, schemas.StattestAUC)
		require.False(t, ok, "%v", c)
	}
}
