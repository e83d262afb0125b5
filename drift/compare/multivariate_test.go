package compare_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/compare"
)

// together has columns that move with each other on the reference, and each on its own on
// the current side: no column alone differs.
func together(t *testing.T, n int, apart bool) *memoryTable {
	t.Helper()
	seed := uint64(20)
	if apart {
		seed = 40
	}
	x := normal(seed, n, 0, 1)
	y, z := normal(seed+1, n, 0, 0.2), normal(seed+2, n, 0, 1)
	for i := range y {
		if apart {
			y[i] = z[(i+1)%n]*0.98 + y[i]
		} else {
			y[i] += x[i]
		}
	}
	return newTable(t, map[bool]string{false: "a", true: "b"}[apart], namedColumn{"x", x}, namedColumn{"y", y}, namedColumn{"z", z}, namedColumn{"c", letters(seed, n, 1, 1)})
}

func TestMultivariate(t *testing.T) {
	a, b := together(t, 400, false), together(t, 300, true)
	o := compare.Options{Multivariate: []string{"pca", "domain", "energy"}, Seed: 3}
	r := run(t, a, b, o)
	require.False(t, r.Dataset.Drifted)
	require.Len(t, r.Multivariate, 3)
	for i, method := range []string{"domain_classifier", "energy", "pca_reconstruction"} {
		m := r.Multivariate[i]
		require.Equal(t, method, m.Method)
		require.True(t, m.Drifted, "%s: %v", method, m.Score)
		require.Equal(t, []string{"x", "y", "z", "c"}, m.Columns)
		require.Len(t, m.Contributions, 4)
		first := []string{m.Contributions[0].Column, m.Contributions[1].Column}
		require.Contains(t, first, "y", "%s: %v", method, m.Contributions)
	}
	b.columnar = false
	o.Multivariate = []string{"pca", "energy"}
	require.Equal(t, r.Multivariate[1:], run(t, a, b, o).Multivariate, "the seed makes it again")

	same := run(t, a, together(t, 390, false), o)
	for _, m := range same.Multivariate {
		require.False(t, m.Drifted, "%s: %v", m.Method, m.Score)
	}
	require.Len(t, run(t, a, a, compare.Options{Multivariate: []string{"energy", "energy"}}).Multivariate, 1)
}

func TestMultivariateOfASample(t *testing.T) {
	a, b := together(t, 3000, false), together(t, 2000, true)
	r := run(t, a, b, compare.Options{Multivariate: []string{"pca"}, Memory: 4 * 32 * 500, Workers: 1})
	require.Contains(t, strings.Join(r.Notes, "\n"), "the multivariate methods see a sample of 500 rows of a")
	require.Equal(t, int64(500), r.Multivariate[0].Rows)
	require.True(t, r.Multivariate[0].Drifted)
}

func TestMultivariateThatCannotBe(t *testing.T) {
	x := newTable(t, "a", namedColumn{"x", normal(1, 100, 0, 1)}, namedColumn{"many", integers(2, 100, 1000)})
	r := run(t, x, x, compare.Options{Multivariate: []string{"pca"}, Categorical: []string{"many"}})
	require.Empty(t, r.Multivariate)
	require.Contains(t, r.Notes, "--multivariate is not judged: it needs at least 2 columns, and has x")
	few := newTable(t, "few", namedColumn{"x", normal(1, 10, 0, 1)}, namedColumn{"y", normal(2, 10, 0, 1)})
	r = run(t, few, few, compare.Options{Multivariate: []string{"pca"}, MinRows: new(5)})
	require.Empty(t, r.Multivariate)
	require.Contains(t, r.Notes, "--multivariate is not judged: few has 10 rows, at least 20 are needed on each side")
	require.NotNil(t, column(t, r, "x").Score, "the rest of the report stands")
	constant := newTable(t, "one", namedColumn{"x", make([]float64, 50)}, namedColumn{"y", make([]float64, 50)})
	r = run(t, constant, constant, compare.Options{Multivariate: []string{"pca"}})
	require.Empty(t, r.Multivariate)
	require.Contains(t, strings.Join(r.Notes, "\n"), "pca reconstruction: reference: not enough data: no column varies")
}
