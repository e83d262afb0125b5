package quality_test

import (
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
