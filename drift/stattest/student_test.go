package stattest_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/stattest"
)

// TestStudentOfManyRows: integrals of the density by mpmath, 60 digits. Of the 16 digits of a float64
// the incomplete beta function has lost 12 at 1e12 degrees of freedom.
func TestStudentOfManyRows(t *testing.T) {
	for _, c := range [][3]float64{
		{9999, 0.01, 0.99202148686930542},
		{9999, 1, 0.31733470675025736},
		{9999, 3, 0.0027064488557123498},
		{9999, 12, 5.9800880113664187e-33},
		{10000, 0.01, 0.99202148684935581},
		{10000, 1, 0.31733470433042912},
		{10000, 3, 0.0027064481899976663},
		{10000, 12, 5.9797796078113252e-33},
		{1e6, 0.01, 0.99202128936554767},
		{1e6, 1, 0.31731074983357813},
		{1e6, 3, 0.0026998625414217971},
		{1e6, 12, 3.5716851247650898e-33},
		{1e9, 0.01, 0.9920212873727316},
		{1e9, 1, 0.31731050810488483},
		{1e9, 3, 0.0026997961297379157},
		{1e9, 12, 3.5529828977411436e-33},
		{1e12, 0.01, 0.99202128737073879},
		{1e12, 1, 0.31731050786315607},
		{1e12, 3, 0.0026997960633266668},
		{1e12, 12, 3.5529642428288965e-33},
	} {
		require.InEpsilon(t, c[2], stattest.StudentTwoSided(c[0], c[1]), 1e-10, "%v degrees of freedom, %v", c[0], c[1])
	}
	require.Zero(t, stattest.StudentTwoSided(1e6, 1e100))
	require.Zero(t, stattest.StudentTwoSided(1e6, math.MaxFloat64))
}

// TestTTestOfManyRows: as many rows as can be counted have a p-value, and the one of the normal
// distribution.
func TestTTestOfManyRows(t *testing.T) {
	for _, rows := range []float64{1e6, 1e9, 1e12, 5e14} {
		// Means 0 and 2·d, deviations 1: t = -2.
		d := math.Sqrt(2 / rows)
		side := func(mean float64) stattest.Sample {
			return stattest.Sample{Values: []float64{mean - 1, mean + 1}, Weights: []float64{rows / 2, rows / 2}}
		}
		r, err := stattest.TTest(side(0), side(2*d))
		require.NoError(t, err)
		what := fmt.Sprint(rows, " rows")
		require.InEpsilon(t, -2, r.Score, 1e-6, what)
		require.InEpsilon(t, math.Erfc(math.Sqrt2), *r.PValue, 1e-5, what)
	}
}

// TestTTestOfFewAgainstMany: against a side of a thousand billion rows, few rows are not lost to
// rounding.
func TestTTestOfFewAgainstMany(t *testing.T) {
	few := stattest.NewSample([]float64{-1, -1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1})
	many := stattest.Sample{Values: []float64{-1, 1}, Weights: []float64{5e11, 5e11}}
	r, err := stattest.Lookup("t_test").Numeric(few, many, stattest.Options{})
	require.NoError(t, err)
	// Two or fewer of 20 fair coins, or as many: 2·211/2^20, of which t² has both ends.
	require.InEpsilon(t, 2*211.0/(1<<20), *r.PValue, 0.5)
}
