package quality_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/quality"
)

// TestRankingTies adds up many rows of one score: a plain sum of their weights would be
// further from the truth than the figures may be.
func TestRankingTies(t *testing.T) {
	const rows, w = 1 << 20, 0.1
	positive, scores, weights := make([]bool, rows), make([]float64, rows), make([]float64, rows)
	var p, n [2]float64
	for i := range positive {
		positive[i], weights[i] = i%3 == 0, w
		if i%7 < 3 {
			scores[i] = 1
		}
		if positive[i] {
			p[int(scores[i])]++
		} else {
			n[int(scores[i])]++
		}
	}
	r := quality.NewRanking()
	require.NoError(t, r.Add(positive, scores, weights))
	inPositive, inNegative := r.Rows()
	require.InEpsilon(t, (p[0]+p[1])*w, inPositive, 1e-15)
	require.InEpsilon(t, (n[0]+n[1])*w, inNegative, 1e-15)
}

// TestTieBound merges neighbouring scores: the area moves by no more than the bound says.
func TestTieBound(t *testing.T) {
	text, err := os.ReadFile("../testdata/golden.json") // of make_monitor.py, by scikit-learn
	require.NoError(t, err)
	var golden struct {
		Quality []struct {
			Positives, Negatives []float64
			ROCAUC               float64 `json:"roc_auc"`
		}
	}
	require.NoError(t, json.Unmarshal(text, &golden))
	require.NotEmpty(t, golden.Quality)
	rank := func(positives, negatives []float64) (auc, bound float64) {
		scores := make([]float64, len(positives))
		for i := range scores {
			scores[i] = float64(i)
		}
		r, err := quality.RankingOf(scores, positives, negatives)
		require.NoError(t, err)
		auc, err = r.ROCAUC()
		require.NoError(t, err)
		bound, err = r.TieBound()
		require.NoError(t, err)
		return auc, bound
	}
	for i, c := range golden.Quality {
		auc, bound := rank(c.Positives, c.Negatives)
		require.InDelta(t, c.ROCAUC, auc, 1e-12, "case %d", i)
		var p, n []float64
		for j := 0; j < len(c.Positives); j += 7 {
			var sp, sn float64
			for k := j; k < min(j+7, len(c.Positives)); k++ {
				sp += c.Positives[k]
				sn += c.Negatives[k]
			}
			p, n = append(p, sp), append(n, sn)
		}
		coarse, wide := rank(p, n)
		require.GreaterOrEqual(t, wide, bound)
		require.LessOrEqual(t, math.Abs(coarse-auc), wide)
	}
	for _, sides := range [][2][]float64{{nil, nil}, {{1}, {0}}, {{0}, {1}}} {
		r, err := quality.RankingOf(make([]float64, len(sides[0])), sides[0], sides[1])
		require.NoError(t, err)
		_, err = r.ROCAUC()
		require.Error(t, err, "%v", sides)
	}
}
