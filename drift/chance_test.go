package drift_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// watched is a version of numeric columns with a reference of 20 bins, each checked by psi at
// the customary threshold 0.2.
func watched(rng *rand.Rand, columns, rows int) drift.Version {
	v := drift.Version{
		Manifest:  &schemas.Manifest{Name: "m", Version: "1", Monitoring: &schemas.Monitoring{MinRows: 100, Rate: 0.05}},
		Reference: &schemas.Reference{Rows: int64(rows)},
	}
	for i := range columns {
		c := schemas.ReferenceColumn{Name: fmt.Sprintf("f%d", i), Counts: drawn(rng, rows, even())}
		for k := 1; k < len(c.Counts); k++ {
			c.Edges = append(c.Edges, float64(k))
		}
		v.Reference.Columns = append(v.Reference.Columns, c)
		v.Manifest.Monitoring.Checks = append(v.Manifest.Monitoring.Checks, schemas.Check{Stattest: schemas.StattestPSI, Column: c.Name, Threshold: 0.2})
	}
	return v
}

// even are the shares of bins that are quantiles of the reference.
func even() []float64 {
	shares := make([]float64, 20)
	for i := range shares {
		shares[i] = 1.0 / 20
	}
	return shares
}

// tilted are shares that fall from the first bin to the last; psi of them is about slope²/3.
func tilted(slope float64) []float64 {
	shares := even()
	for i := range shares {
		shares[i] *= 1 + slope*(1-(2*float64(i)+1)/20)
	}
	return shares
}

// psiOf is psi of shares against even ones, of the 10 groups that it is computed over.
func psiOf(shares []float64) float64 {
	sum := 0.0
	for i := 0; i < len(shares); i += 2 {
		p := shares[i] + shares[i+1]
		sum += (p - 0.1) * math.Log(p/0.1)
	}
	return sum
}

// drawn is a multinomial draw.
func drawn(rng *rand.Rand, rows int, shares []float64) []int64 {
	out := make([]int64, len(shares))
	left, rest := rows, 1.0
	for i, s := range shares {
		n := left
		if i < len(shares)-1 && left > 0 {
			n = int(distuv.Binomial{N: float64(left), P: min(s/rest, 1), Src: rng}.Rand())
		}
		out[i] = int64(n)
		left, rest = left-n, rest-s
	}
	return out
}

// window judges a window of rows by shares of its first column; the others have not changed.
func window(t *testing.T, rng *rand.Rand, v drift.Version, rows int, shares []float64) []schemas.DriftResult {
	t.Helper()
	counts := make([]profile.Counts, len(v.Reference.Columns))
	for i := range counts {
		counts[i] = profile.Counts{Cells: drawn(rng, rows, even())}
	}
	counts[0] = profile.Counts{Cells: drawn(rng, rows, shares)}
	all, err := drift.JudgeDrift(v, schemas.DriftResult{Rows: uint64(rows)}, counts)
	require.NoError(t, err)
	var checked []schemas.DriftResult
	for i := range all {
		if all[i].Threshold != nil {
			checked = append(checked, all[i])
		}
	}
	return checked
}

// TestCleanWindowsHoldTheRate: of windows in which nothing drifted, at most the stated rate
// has a breach, whatever their rows and columns; by the score alone most small ones
// would have one. A column of a small window is never said not to have drifted.
func TestCleanWindowsHoldTheRate(t *testing.T) {
	for _, tc := range []struct {
		rows, columns, windows int
		least                  float64 // share of the windows that breach by the score alone
		judged                 bool
	}{
		{150, 1, 60, 0, true},
		{100, 20, 15, 0.05, false},
		{100, 200, 2, 0.5, false},
		{1000, 20, 4, 0, true},
		{16_000, 20, 4, 0, true},
	} {
		t.Run(fmt.Sprintf("%d rows of %d columns", tc.rows, tc.columns), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(tc.rows*tc.columns)))
			breached, byScore := 0, 0
			for range tc.windows {
				v := watched(rng, tc.columns, 20_000)
				any, score := false, false
				for _, r := range window(t, rng, v, tc.rows, even()) {
					any, score = any || r.Drifted, score || r.Score >= 0.2
					if !r.Drifted && !tc.judged {
						require.Equal(t, string(schemas.ScoreNotJudged), r.Verdict)
						require.Contains(t, r.Reason, "too few rows: of 100, at a rate of 0.05 over ")
					} else if !r.Drifted {
						require.Equal(t, string(schemas.ScoreOK), r.Verdict, r.Reason)
						require.LessOrEqual(t, *r.Smallest, 0.2)
					}
				}
				if any {
					breached++
				}
				if score {
					byScore++
				}
			}
			n := float64(tc.windows)
			require.LessOrEqual(t, float64(breached)/n, 0.05+3*math.Sqrt(0.05*0.95/n))
			require.GreaterOrEqual(t, float64(byScore)/n, tc.least)
		})
	}
}

// TestShiftsOfTheThresholdAreSeen: where a column is judged, a shift as great as the threshold
// is more than chance in 80 % of windows and more; twice as great a one breaches.
func TestShiftsOfTheThresholdAreSeen(t *testing.T) {
	slope := 0.0
	for psiOf(tilted(slope)) < 0.2 {
		slope += 0.001
	}
	for _, tc := range []struct{ rows, columns, windows int }{{150, 1, 40}, {400, 20, 10}, {16_000, 20, 3}} {
		rng := rand.New(rand.NewPCG(2, uint64(tc.rows)))
		seen, smallest := 0, 0.0
		for range tc.windows {
			r := window(t, rng, watched(rng, tc.columns, 20_000), tc.rows, tilted(slope))[0]
			if *r.PCorrected <= 0.05 {
				seen++
			}
			smallest = *r.Smallest
			require.Equal(t, *r.Effect >= 0.2 && *r.PCorrected <= 0.05, r.Drifted)
		}
		require.LessOrEqual(t, smallest, 0.2, "%d rows: such windows are judged", tc.rows)
		require.GreaterOrEqual(t, float64(seen)/float64(tc.windows), 0.8-3*math.Sqrt(0.8*0.2/float64(tc.windows)), "%d rows", tc.rows)
	}
	rng := rand.New(rand.NewPCG(3, 3))
	v := watched(rng, 20, 20_000)
	wide := tilted(0.99)
	require.Greater(t, psiOf(wide), 0.35)
	for range 5 {
		rows := window(t, rng, v, 16_000, wide)
		require.Equal(t, string(schemas.ScoreDrifted), rows[0].Verdict)
		require.InDelta(t, rows[0].Score, *rows[0].Effect+*rows[0].Expected, 1e-12)
	}
}

// TestSameCountsSameRows: a job that is done again writes the same rows.
func TestSameCountsSameRows(t *testing.T) {
	var first []schemas.DriftResult
	for i := range 3 {
		rng := rand.New(rand.NewPCG(4, 4))
		rows := window(t, rng, watched(rng, 5, 2000), 150, tilted(0.8))
		if i == 0 {
			first = rows
		}
		require.Equal(t, first, rows)
	}
}

// TestShareOfColumnsThatCannotBeJudged: drift_share is judged where the columns that could
// not be judged would not decide.
func TestShareOfColumnsThatCannotBeJudged(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	v := watched(rng, 4, 20_000)
	share := func(rows int) schemas.DriftResult {
		all := window(t, rng, v, rows, even())
		return all[len(all)-1]
	}
	v.Manifest.Monitoring.Checks = append(v.Manifest.Monitoring.Checks, schemas.Check{Stattest: schemas.StattestShare, Threshold: 0.5})
	require.Equal(t, string(schemas.ScoreOK), share(16_000).Verdict)
	small := share(30)
	require.Equal(t, string(schemas.ScoreNotJudged), small.Verdict)
	require.Equal(t, "4 of 4 checked columns could not be judged", small.Reason)
	require.False(t, small.Drifted)
}

// TestVanishedValues: values that are all missing are a drift by ks, and not chance.
func TestVanishedValues(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	v := watched(rng, 1, 1000)
	v.Manifest.Monitoring.Checks[0].Stattest = schemas.StattestKS
	all, err := drift.JudgeDrift(v, schemas.DriftResult{Rows: 100}, []profile.Counts{{Cells: make([]int64, 20), Missing: 100}})
	require.NoError(t, err)
	require.Len(t, all, 2, "psi, which no check judges, and ks")
	require.Equal(t, string(schemas.ScoreDrifted), all[1].Verdict)
	require.Less(t, *all[1].PValue, 1e-3)
}

// TestLargestStep: what is dealt is the statistic of ks.
func TestLargestStep(t *testing.T) {
	n := 0
	for _, c := range reference(t).Drift {
		if c.KS == nil {
			continue
		}
		d, err := drift.LargestStep(asFloats(c.Reference), asFloats(c.Current))
		if err != nil {
			require.ErrorIs(t, err, drift.ErrNoRows)
			continue
		}
		require.InDelta(t, *c.KS, d, 1e-12, c.Name)
		n++
	}
	require.Greater(t, n, 20)
}

func asFloats(counts []int64) []float64 {
	out := make([]float64, len(counts))
	for i, n := range counts {
		out[i] = float64(n)
	}
	return out
}

// TestOneRowIsNotJudged: one row and one cannot be told from chance, whatever their distance is.
func TestOneRowIsNotJudged(t *testing.T) {
	v := watched(rand.New(rand.NewPCG(1, 1)), 1, 1)
	rows, err := drift.JudgeDrift(v, schemas.DriftResult{Rows: 1}, []profile.Counts{{Cells: append([]int64{1}, make([]int64, 19)...)}})
	require.NoError(t, err)
	require.Equal(t, string(schemas.ScoreNotJudged), rows[0].Verdict)
	require.Nil(t, rows[0].Smallest)
	require.Contains(t, rows[0].Reason, "no psi is told from chance")
}
